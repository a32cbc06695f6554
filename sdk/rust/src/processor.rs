//! Functions with state per key.
//!
//! The job file says what the key is (`key: record`, or a field of the value). Records of one key come in the order of
//! their source, and what a function puts is seen by the next record of that key.
//!
//! ```
//! use weir_sdk::processor::{Context, Declare, Input, Prefetch, Processor, Record};
//! use weir_sdk::{MapState, Result, Text, ValueState};
//!
//! /// Emits an order with its customer's name, once per order number: `names` and `orders` are its two inputs.
//! struct Enrich {
//!     orders: Input,
//!     name: ValueState<String>,
//!     seen: MapState<String, ()>,
//! }
//!
//! impl Processor for Enrich {
//!     fn init(declare: &mut Declare, _config: &str) -> Result<Self> {
//!         let _names = declare.input("names");
//!         Ok(Self { orders: declare.input("orders"), name: declare.value_state("name", 1), seen: declare.map_state("seen", 1) })
//!     }
//!
//!     fn process(&mut self, record: Record<'_>, cx: &mut Context<'_>) -> Result {
//!         if record.input != self.orders {
//!             cx.put(self.name, &record.text()?.to_owned());
//!             return Ok(());
//!         }
//!         let order = record.text()?;
//!         let mut seen = cx.map(self.seen);
//!         if seen.get(order)?.is_none() {
//!             seen.put(order, &());
//!             let name = cx.get(self.name)?.unwrap_or_default();
//!             cx.emit(Text(format_args!("{order} for {name}")));
//!         }
//!         Ok(())
//!     }
//!
//!     // Not needed, but it saves a call of the host for each record.
//!     fn prefetch(&self, record: &Record<'_>, wanted: &mut Prefetch<'_>) {
//!         if let (true, Ok(order)) = (record.input == self.orders, record.text()) {
//!             wanted.map(self.seen, order);
//!         }
//!     }
//! }
//! weir_sdk::processor!(Enrich);
//!
//! # use weir_sdk::testing::{ProcessorTest, Row};
//! let mut test = ProcessorTest::<Enrich>::new("{}")?;
//! test.batch(0, &[Row::keyed("c-1", "Ada")]).unwrap();
//! let batch = test.batch(1, &[Row::keyed("c-1", "o-7"), Row::keyed("c-1", "o-7")]).unwrap();
//! assert_eq!(batch.texts(), ["o-7 for Ada"]);
//! assert_eq!(test.value(test.function().name, "c-1")?, Some("Ada".to_owned()));
//! # Ok::<(), weir_sdk::Error>(())
//! ```

use crate::bindings::{Column, Fault, KeyedBatch, Processed};
use crate::codec::{Codec, MapKey, OrderedBytes};
use crate::column::position;
use crate::error::{Error, Result};
use crate::host::{Call, Host, Imports, MapHost, log_panics};
use crate::map::{MapState, Overlay, address};
use crate::metrics::Metrics;
use crate::output::Parents;
use crate::record::{Place, record_methods};
use crate::state::{ValueState, Values};
use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

/// One of several inputs that the function declared; they compare equal to [`Record::input`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Input(pub(crate) u32);

/// A record of a keyed function.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The key that the state belongs to.
    pub key: &'a [u8],
    /// The value; None is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Event time in milliseconds since the Unix epoch.
    pub timestamp: i64,
    /// Which of the operator's inputs it came from.
    pub input: Input,
    place: Place<'a>,
}

impl<'a> Record<'a> {
    record_methods!();
}

/// Declares what a keyed function needs: all that [`crate::transform::Declare`] offers, inputs and states.
pub struct Declare {
    base: crate::context::Declare,
    maps: u32,
}

impl Declare {
    /// Names the next of the operator's inputs, in the order of the job file.
    pub fn input(&mut self, name: &str) -> Input {
        Input(self.host.declare_input(name))
    }

    /// A value per key. By `name` it is found again after a restart. `version` names the encoding of stored values:
    /// another type or codec needs a higher one, or old bytes would be read as the new type. The host refuses to go on
    /// with stored state of another version.
    pub fn value_state<T, C: Codec<T>>(&mut self, name: &str, version: u32) -> ValueState<T, C> {
        ValueState { id: self.host.declare_value_state(name, version), types: PhantomData }
    }

    /// A map per key. `version` as for [`value_state`](Self::value_state).
    pub fn map_state<K: MapKey, V, C: Codec<V>>(&mut self, name: &str, version: u32) -> MapState<K, V, C> {
        self.maps += 1;
        MapState { id: self.host.declare_map_state(name, version), types: PhantomData }
    }
}

impl Deref for Declare {
    type Target = crate::context::Declare;

    fn deref(&self) -> &Self::Target {
        &self.base
    }
}

impl DerefMut for Declare {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.base
    }
}

/// The running record's state, and all that [`crate::transform::Context`] offers. An error returned for the record
/// undoes its outputs and its writes.
pub struct Context<'a> {
    base: crate::context::Context<'a>,
    stored: &'a [Column],
    group: usize,
    values: &'a mut Values,
    maps: &'a mut [Overlay],
    map_host: &'a dyn MapHost,
}

impl Context<'_> {
    /// The key's value; None when it has none. Sees what earlier records of the batch put.
    ///
    /// # Errors
    /// When the stored bytes are no `T`; the job stops, for going on would overwrite them.
    #[inline]
    pub fn get<T, C: Codec<T>>(&self, state: ValueState<T, C>) -> Result<Option<T>> {
        let stored = self.values.get(self.stored, state.id, self.group);
        stored.map(|bytes| C::decode(bytes).map_err(|error| undecodable("value", state.id, &error))).transpose()
    }

    /// Sets the key's value. A value without an encoding rejects the record.
    #[inline]
    pub fn put<T, C: Codec<T>>(&mut self, state: ValueState<T, C>, value: &T) {
        let written = self.values.put(state.id, self.group, |out| C::encode(value, out));
        self.base.note(written);
    }

    /// Deletes the key's value.
    pub fn delete<T, C>(&mut self, state: ValueState<T, C>) {
        self.values.delete(state.id, self.group);
    }

    /// The key's map.
    pub fn map<K, V, C>(&mut self, state: MapState<K, V, C>) -> Map<'_, K, V, C> {
        Map {
            overlay: self.maps.get_mut(state.id as usize),
            host: self.map_host,
            failure: &mut self.base.failure,
            group: position(self.group),
            state,
        }
    }
}

impl<'a> Deref for Context<'a> {
    type Target = crate::context::Context<'a>;

    fn deref(&self) -> &Self::Target {
        &self.base
    }
}

impl DerefMut for Context<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.base
    }
}

/// One key's map. It sees what earlier records of the batch wrote; a first read of an entry is a call of the host
/// unless [`Processor::prefetch`] asked for it.
pub struct Map<'c, K, V, C> {
    overlay: Option<&'c mut Overlay>,
    host: &'c dyn MapHost,
    failure: &'c mut Option<Error>,
    group: u32,
    state: MapState<K, V, C>,
}

impl<K: MapKey, V, C: Codec<V>> Map<'_, K, V, C> {
    /// The value under `key`.
    ///
    /// # Errors
    /// When the stored bytes are no `V`; the job stops.
    pub fn get<Q: OrderedBytes + ?Sized>(&mut self, key: &Q) -> Result<Option<V>>
    where
        K: Borrow<Q>,
    {
        let address = self.address(key);
        let Some(overlay) = &mut self.overlay else { return Ok(None) };
        let decode = |bytes: &[u8]| C::decode(bytes).map_err(|error| undecodable("map", self.state.id, &error));
        overlay.get(self.host, &address).map(decode).transpose()
    }

    /// Sets the value under `key`. A value without an encoding rejects the record.
    pub fn put<Q: OrderedBytes + ?Sized>(&mut self, key: &Q, value: &V)
    where
        K: Borrow<Q>,
    {
        let mut bytes = Vec::new();
        if let Err(error) = C::encode(value, &mut bytes) {
            self.failure.get_or_insert(error);
            return;
        }
        let address = self.address(key);
        if let Some(overlay) = &mut self.overlay {
            overlay.put(&address, Some(bytes));
        }
    }

    /// Deletes the entry under `key`.
    pub fn remove<Q: OrderedBytes + ?Sized>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
    {
        let address = self.address(key);
        if let Some(overlay) = &mut self.overlay {
            overlay.put(&address, None);
        }
    }

    /// Deletes all entries.
    pub fn clear(&mut self) {
        if let Some(overlay) = &mut self.overlay {
            overlay.clear(self.group);
        }
    }

    /// At most `limit` entries behind the key `after` (None: from the first), in the order of the keys.
    ///
    /// # Errors
    /// When stored bytes are no `K` or `V`; the job stops.
    pub fn scan(&self, after: Option<&K>, limit: u32) -> Result<Vec<(K, V)>> {
        let Some(overlay) = &self.overlay else { return Ok(Vec::new()) };
        let after = after.map(|key| {
            let mut bytes = Vec::new();
            key.append(&mut bytes);
            bytes
        });
        let entries = overlay.scan(self.host, self.group, after.as_deref(), limit);
        let decode = |(key, value): &(Vec<u8>, Vec<u8>)| Ok((K::decode(key)?, C::decode(value)?));
        let decoded: Result<Vec<(K, V)>> = entries.iter().map(decode).collect();
        decoded.map_err(|error| undecodable("map", self.state.id, &error))
    }

    fn address<Q: OrderedBytes + ?Sized>(&self, key: &Q) -> Vec<u8> {
        let mut address = address(self.group, &[]);
        key.append(&mut address);
        address
    }
}

fn undecodable(kind: &str, state: u32, error: &Error) -> Error {
    Error::fatal(format!("{kind} state {state}: stored bytes do not decode: {}", error.message()))
}

/// Collects which map entries a batch will read.
pub struct Prefetch<'a> {
    group: u32,
    wanted: &'a mut [BTreeSet<Vec<u8>>],
}

impl Prefetch<'_> {
    /// The record will read `key` of its key's map.
    pub fn map<K, V, C, Q>(&mut self, state: MapState<K, V, C>, key: &Q)
    where
        K: Borrow<Q>,
        Q: OrderedBytes + ?Sized,
    {
        let mut address = address(self.group, &[]);
        key.append(&mut address);
        if let Some(wanted) = self.wanted.get_mut(state.id as usize) {
            wanted.insert(address);
        }
    }
}

/// A function with state per key.
pub trait Processor: Sized {
    /// Makes the function from the operator's configuration, JSON text (see [`crate::config`]).
    ///
    /// # Errors
    /// When it cannot run so: the job is refused.
    fn init(declare: &mut Declare, config: &str) -> Result<Self>;

    /// Processes one record; those of one key come in order.
    ///
    /// # Errors
    /// A reject undoes this record's outputs and writes and sends it to the dead letters; other errors end the batch,
    /// see [`crate::Error`].
    fn process(&mut self, record: Record<'_>, cx: &mut Context<'_>) -> Result;

    /// Says which map entries `process` will read, so that a batch reads them in one call of the host. Called for all
    /// records of a batch before the first is processed; never needed for what comes out.
    fn prefetch(&self, record: &Record<'_>, wanted: &mut Prefetch<'_>) {
        let _ = (record, wanted);
    }
}

/// A processor in a component or a test: rows over columns.
pub struct Runner<P> {
    pub(crate) function: P,
    host: Rc<dyn Host>,
    map_host: Rc<dyn MapHost>,
    metrics: Metrics,
    values: Values,
    maps: Vec<Overlay>,
}

impl<P: Processor> Runner<P> {
    /// Runs the function's `init` in a component.
    ///
    /// # Errors
    /// The function's, as text.
    pub fn init(config: &str) -> Result<Self, String> {
        log_panics();
        Self::with_host(Rc::new(Imports), Rc::new(Imports), config).map_err(|error| error.message().to_owned())
    }

    pub(crate) fn with_host(host: Rc<dyn Host>, map_host: Rc<dyn MapHost>, config: &str) -> Result<Self> {
        let mut declare = Declare { base: crate::context::Declare::new(host.clone()), maps: 0 };
        let function = P::init(&mut declare, config)?;
        let maps = (0..declare.maps).map(Overlay::new).collect();
        Ok(Self { function, host, map_host, metrics: Metrics::default(), values: Values::default(), maps })
    }

    /// Processes one batch of input number `input`.
    ///
    /// # Errors
    /// When the function failed otherwise than by rejecting records.
    pub fn process(&mut self, input: u32, batch: &KeyedBatch) -> Result<Processed, Fault> {
        self.metrics.clear();
        self.maps.iter_mut().for_each(Overlay::begin);
        self.values.begin(batch.states.len(), batch.keys.len());
        let host = self.host.clone();
        let call = Call::new(&*host);
        if !self.maps.is_empty() {
            self.prefetch(Input(input), batch, &call);
        }
        let KeyedBatch { timestamps, values, groups, keys, states } = batch;
        let base = crate::context::Context::new(Parents { timestamps, keys, values, groups, call: &call }, &mut self.metrics);
        let mut cx = Context { base, stored: states, group: 0, values: &mut self.values, maps: &mut self.maps, map_host: &*self.map_host };
        for record in records(Input(input), batch, &call) {
            cx.base.row = position(record.place.row);
            cx.group = groups.get(record.place.row).copied().unwrap_or_default() as usize;
            let mark = cx.base.outputs.len();
            let result = self.function.process(record, &mut cx);
            match cx.base.error(result) {
                None => {
                    cx.values.accept();
                    cx.maps.iter_mut().for_each(Overlay::accept);
                }
                Some(error) => {
                    cx.base.outputs.truncate(mark);
                    cx.base.outputs.reject(cx.base.row, error.into_reject()?);
                    cx.values.reject();
                    cx.maps.iter_mut().for_each(Overlay::reject);
                }
            }
        }
        let output = cx.base.finish().finish();
        self.maps.iter_mut().for_each(|map| map.flush(&*self.map_host));
        Ok(Processed { output, changes: self.values.changes(states) })
    }

    fn prefetch(&mut self, input: Input, batch: &KeyedBatch, call: &Call<'_>) {
        let mut wanted = vec![BTreeSet::new(); self.maps.len()];
        for record in records(input, batch, call) {
            let group = batch.groups.get(record.place.row).copied().unwrap_or_default();
            self.function.prefetch(&record, &mut Prefetch { group, wanted: &mut wanted });
        }
        for (map, wanted) in self.maps.iter_mut().zip(wanted) {
            if !wanted.is_empty() {
                map.prefetch(&*self.map_host, wanted);
            }
        }
    }
}

fn records<'a>(input: Input, batch: &'a KeyedBatch, call: &'a Call<'a>) -> impl Iterator<Item = Record<'a>> {
    let rows = batch.timestamps.iter().zip(&batch.groups).zip(&batch.values).enumerate();
    rows.map(move |(row, ((timestamp, group), value))| Record {
        key: batch.keys.get(*group as usize).unwrap_or_default(),
        value,
        timestamp: *timestamp,
        input,
        place: Place { call, row },
    })
}

/// Exports a [`Processor`] as the component's function.
#[macro_export]
macro_rules! processor {
    ($function:ty) => {
        const _: () = {
            ::std::thread_local! {
                static RUNNER: ::std::cell::RefCell<::std::option::Option<$crate::processor::Runner<$function>>> =
                    const { ::std::cell::RefCell::new(::std::option::Option::None) };
            }

            #[allow(dead_code, reason = "only a component exports it")]
            struct Component;

            impl $crate::bindings::processor::exports::weir::operator::process_function::Guest for Component {
                fn init(config: ::std::string::String) -> ::std::result::Result<(), ::std::string::String> {
                    let runner = $crate::processor::Runner::init(&config)?;
                    RUNNER.with(|slot| *slot.borrow_mut() = ::std::option::Option::Some(runner));
                    ::std::result::Result::Ok(())
                }

                fn process(
                    input: u32,
                    records: $crate::bindings::KeyedBatch,
                ) -> ::std::result::Result<$crate::bindings::Processed, $crate::bindings::Fault> {
                    RUNNER.with(|slot| match slot.borrow_mut().as_mut() {
                        ::std::option::Option::Some(runner) => runner.process(input, &records),
                        ::std::option::Option::None => ::std::result::Result::Err($crate::not_initialised()),
                    })
                }
            }

            #[cfg(target_arch = "wasm32")]
    $crate::bindings::processor::export_processor!(Component with_types_in $crate::bindings::processor);
        };
    };
}
