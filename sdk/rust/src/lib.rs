//! Writes Weir's user functions in Rust: rows over the columns of `weir:operator`.
//!
//! A function without state implements [`transform::Transform`], one with state per key [`processor::Processor`]:
//!
//! ```
//! use weir_sdk::processor::{Context, Declare, Processor, Record};
//! use weir_sdk::{Result, Text, ValueState};
//!
//! struct WordCount {
//!     count: ValueState<u64>,
//! }
//!
//! impl Processor for WordCount {
//!     fn init(declare: &mut Declare, _config: &str) -> Result<Self> {
//!         Ok(Self { count: declare.value_state("count", 1) })
//!     }
//!
//!     fn process(&mut self, _record: Record<'_>, cx: &mut Context<'_>) -> Result {
//!         let count = cx.get(self.count)?.unwrap_or(0) + 1;
//!         cx.put(self.count, &count);
//!         cx.emit(Text(count));
//!         Ok(())
//!     }
//! }
//! weir_sdk::processor!(WordCount);
//! ```
//!
//! [`testing`] runs a function natively, without a host. Raw wit-bindgen works without this crate; its types are in
//! [`bindings`].

// The exported macros name this crate by its path, in here too.
extern crate self as weir_sdk;

pub mod bindings;
mod codec;
mod column;
mod context;
mod error;
mod host;
mod map;
mod metrics;
mod output;
mod payload;
pub mod processor;
mod record;
mod state;
pub mod testing;
pub mod transform;

pub use codec::{Codec, MapKey, OrderedBytes, Postcard, Raw};
pub use column::{ColumnBuilder, Entries};
pub use context::{Emission, Port};
pub use error::{Error, Result};
pub use host::Level;
pub use map::MapState;
pub use metrics::{Counter, Gauge, Histogram};
pub use payload::{Json, Payload, Text, config};
pub use record::Origin;
pub use state::ValueState;

#[doc(hidden)]
pub use wit_bindgen;

/// The answer to a call of `process` before `init`.
#[doc(hidden)]
#[must_use]
pub fn not_initialised() -> bindings::Fault {
    bindings::Fault::Fatal("process was called before init".to_owned())
}
