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
//! A function is a library crate with `crate-type = ["cdylib"]`, and `cargo build --release --target wasm32-wasip2` makes
//! a component of it. One crate exports one function.
//!
//! # Where to look
//!
//! | | |
//! |---|---|
//! | read a record | [`Record`](transform::Record) of a transform, [`Record`](processor::Record) of a processor: key, value, time, `text()`, `json()`, `headers()`, `origin()` |
//! | emit | [`Context::emit`](transform::Context::emit) a value, [`forward`](transform::Context::forward) the record, [`output`](transform::Context::output) whatever else is to change |
//! | values | bytes and text as they are, [`Json`], [`Text`] |
//! | configuration | [`config`] |
//! | keep state | [`ValueState`] and [`MapState`], by [`processor::Context`] |
//! | several outputs | [`Port`] |
//! | refuse a record, fail, wait, stop | [`Error`] |
//! | count and log | [`Counter`], [`Gauge`], [`Histogram`], [`Context::log`](transform::Context::log) |
//! | test without a host | [`testing`] |
//! | do without this crate | [`bindings`] has the raw types; wit-bindgen works alone, too |
//!
//! A function must depend on nothing but its records, its state and its configuration: a batch may be processed again, cut
//! in two, or given to a new instance. So what it keeps in fields between records has to be a cache of something.

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
