//! Functions without state: map, filter, flat-map, branch, re-key.
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use weir_sdk::transform::{Context, Declare, Record, Transform};
//! use weir_sdk::{Error, Json, Port, Result, config};
//!
//! #[derive(Deserialize)]
//! struct Config {
//!     large_from: u64,
//! }
//!
//! #[derive(Deserialize, Serialize)]
//! struct Order<'a> {
//!     customer: &'a str,
//!     cents: u64,
//! }
//!
//! /// Keys orders by customer, and branches off the large ones.
//! struct Orders {
//!     config: Config,
//!     large: Port,
//! }
//!
//! impl Transform for Orders {
//!     fn init(declare: &mut Declare, json: &str) -> Result<Self> {
//!         Ok(Self { config: config(json)?, large: declare.port("large") })
//!     }
//!
//!     fn process(&mut self, record: Record<'_>, cx: &mut Context<'_>) -> Result {
//!         let order: Order = record.json()?; // another shape: the record is rejected
//!         if order.cents == 0 {
//!             return Err(Error::reject("an order of nothing"));
//!         }
//!         let port = if order.cents >= self.config.large_from { self.large } else { Port::MAIN };
//!         cx.output().port(port).key(order.customer).value(Json(&order)).send();
//!         Ok(())
//!     }
//! }
//! weir_sdk::transform!(Orders);
//!
//! # use weir_sdk::testing::{Row, TransformTest};
//! let mut test = TransformTest::<Orders>::new(r#"{"large_from": 1000}"#)?;
//! let orders = [r#"{"customer":"ada","cents":5}"#, r#"{"customer":"bob","cents":5000}"#, "{}"].map(Row::value);
//! let batch = test.batch(&orders).unwrap();
//! let seen: Vec<_> = batch.outputs.iter().map(|output| (output.row.key_text(), output.port.as_str())).collect();
//! assert_eq!(seen, [("ada", ""), ("bob", "large")]);
//! assert_eq!(batch.rejects.len(), 1);
//! # Ok::<(), weir_sdk::Error>(())
//! ```
//!
//! In the job file the port is an input of whoever reads it, by the operator's id: `inputs: [orders.large]`.

use crate::bindings::{Batch, Fault, Output};
use crate::column::position;
use crate::error::Result;
use crate::host::{Call, Host, Imports, log_panics};
use crate::metrics::Metrics;
use crate::output::Parents;
use crate::record::{Place, record_methods};
use std::rc::Rc;

pub use crate::context::{Context, Declare};

/// A record of a function without state.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value; None is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Event time in milliseconds since the Unix epoch.
    pub timestamp: i64,
    place: Place<'a>,
}

impl<'a> Record<'a> {
    record_methods!();
}

/// A function without state.
pub trait Transform: Sized {
    /// Makes the function from the operator's configuration, JSON text (see [`crate::config`]).
    ///
    /// # Errors
    /// When it cannot run so: the job is refused.
    fn init(declare: &mut Declare, config: &str) -> Result<Self>;

    /// Processes one record. What is emitted 0 times is dropped.
    ///
    /// # Errors
    /// A reject undoes this record's outputs and sends it to the dead letters; other errors end the batch, see
    /// [`crate::Error`].
    fn process(&mut self, record: Record<'_>, cx: &mut Context<'_>) -> Result;
}

/// A transform in a component or a test: rows over columns.
pub struct Runner<T> {
    pub(crate) function: T,
    host: Rc<dyn Host>,
    metrics: Metrics,
}

impl<T: Transform> Runner<T> {
    /// Runs the function's `init` in a component.
    ///
    /// # Errors
    /// The function's, as text.
    pub fn init(config: &str) -> Result<Self, String> {
        log_panics();
        Self::with_host(Rc::new(Imports), config).map_err(|error| error.message().to_owned())
    }

    pub(crate) fn with_host(host: Rc<dyn Host>, config: &str) -> Result<Self> {
        let function = T::init(&mut Declare::new(host.clone()), config)?;
        Ok(Self { function, host, metrics: Metrics::default() })
    }

    /// Processes one batch.
    ///
    /// # Errors
    /// When the function failed otherwise than by rejecting records.
    pub fn process(&mut self, batch: &Batch) -> Result<Output, Fault> {
        self.metrics.clear();
        let call = Call::new(&*self.host);
        let Batch { timestamps, keys, values } = batch;
        let parents = Parents { timestamps, keys, values, groups: &[], call: &call };
        let mut cx = Context::new(parents, &mut self.metrics);
        for (row, ((timestamp, key), value)) in timestamps.iter().zip(keys).zip(values).enumerate() {
            cx.row = position(row);
            let mark = cx.outputs.len();
            let record = Record { key, value, timestamp: *timestamp, place: Place { call: &call, row } };
            let result = self.function.process(record, &mut cx);
            if let Some(error) = cx.error(result) {
                cx.outputs.truncate(mark);
                cx.outputs.reject(cx.row, error.into_reject()?);
            }
        }
        Ok(cx.finish().finish())
    }
}

/// Exports a [`Transform`] as the component's function.
#[macro_export]
macro_rules! transform {
    ($function:ty) => {
        const _: () = {
            ::std::thread_local! {
                static RUNNER: ::std::cell::RefCell<::std::option::Option<$crate::transform::Runner<$function>>> =
                    const { ::std::cell::RefCell::new(::std::option::Option::None) };
            }

            #[allow(dead_code, reason = "only a component exports it")]
            struct Component;

            impl $crate::bindings::transform::exports::weir::operator::transform_function::Guest for Component {
                fn init(config: ::std::string::String) -> ::std::result::Result<(), ::std::string::String> {
                    let runner = $crate::transform::Runner::init(&config)?;
                    RUNNER.with(|slot| *slot.borrow_mut() = ::std::option::Option::Some(runner));
                    ::std::result::Result::Ok(())
                }

                fn process(records: $crate::bindings::Batch) -> ::std::result::Result<$crate::bindings::Output, $crate::bindings::Fault> {
                    RUNNER.with(|slot| match slot.borrow_mut().as_mut() {
                        ::std::option::Option::Some(runner) => runner.process(&records),
                        ::std::option::Option::None => ::std::result::Result::Err($crate::not_initialised()),
                    })
                }
            }

            #[cfg(target_arch = "wasm32")]
    $crate::bindings::transform::export_transform!(Component with_types_in $crate::bindings::transform);
        };
    };
}
