//! The example guests that `make guests` builds.

use std::path::Path;

/// The path of a component of guest-examples/bin, for the job file.
///
/// # Panics
/// When it has not been built.
#[track_caller]
pub fn component(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest-examples/bin").join(name).with_extension("wasm");
    match path.canonicalize() {
        Ok(path) => path.to_str().expect("the clone's path is UTF-8").to_owned(),
        Err(error) => panic!("guest {name} at {}: {error}; build the guests: make guests", path.display()),
    }
}
