//! Operators: WebAssembly components, their instances, their limits.
//!
//! Promise: a call either answers with output that keeps every rule of `weir:operator`, or leaves nothing behind. A
//! guest has no file, socket, variable or argument; its clock and its random numbers come from the call; its fuel, time,
//! memory and the size of its answer are bounded.

mod allowance;
mod component;
mod declared;
mod engine;
mod fault;
mod host;
mod instance;
mod metrics;
mod output;
mod wasi;
mod wit;

pub use component::{InstanceContext, Limits, Loaded};
pub use declared::{Declarations, DeclaredState, StateKind};
pub use engine::Engine;
pub use fault::{CallError, LoadError};
pub use host::{SplitName, StateNumbers};
pub use instance::{Grouped, Instance};
pub use metrics::GuestMetrics;
pub use output::{Readers, assemble, check_change};
pub use wit::{Fault, Processed, RawOutput, Reject, StateChange};
