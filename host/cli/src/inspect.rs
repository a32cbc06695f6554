//! `weir inspect`: what a component is.

use crate::args::Inspect;
use crate::check::component_text;
use crate::exit::Failure;
use crate::terminal;
use sha2::{Digest, Sha256};
use weir_host::job::{Settings, default_limits};
use weir_host::operator::{Engine, Loaded};

/// Loads the component and prints what it declares.
pub fn run(args: &Inspect, surroundings: Settings) -> Result<(), Failure> {
    let path = &args.component;
    let bytes = std::fs::read(path).map_err(|e| Failure::usage(format_args!("cannot read {}: {e}", path.display())))?;
    let engine = Engine::new(surroundings.component_cache.as_deref()).map_err(Failure::world)?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let loaded = Loaded::load(&engine, &name, path, args.config.clone(), default_limits()).map_err(Failure::usage)?;
    let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    let shown = component_text(&name, loaded.kind(), loaded.declared(), loaded.imports());
    terminal::print(&format!("{shown}  size     {} bytes\n  digest   sha256:{digest}\n", bytes.len()))
}
