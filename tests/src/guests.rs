//! The example guests that `make guests` builds.

use std::path::{Path, PathBuf};

/// The path of a component of guest-examples/bin, for the job file. `WEIR_GUESTS` names another folder, with components
/// that were built in another way.
///
/// # Panics
/// When it has not been built.
#[track_caller]
pub fn component(name: &str) -> String {
    let built = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest-examples/bin");
    let folder = std::env::var_os("WEIR_GUESTS").map_or_else(built, PathBuf::from);
    let path = folder.join(name).with_extension("wasm");
    match path.canonicalize() {
        Ok(path) => path.to_str().expect("the clone's path is UTF-8").to_owned(),
        Err(error) => panic!("guest {name} at {}: {error}; build the guests: make guests", path.display()),
    }
}
