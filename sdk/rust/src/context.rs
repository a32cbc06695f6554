//! What a function does with a record: emit, count, log.

use crate::error::{Error, Result};
use crate::host::{Call, Host, Level};
use crate::metrics::{Counter, Gauge, Histogram, Metrics};
use crate::output::{Outputs, Parents, Set};
use crate::payload::Payload;
use std::rc::Rc;

/// Where an output goes: 0, or one that the function declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port(pub(crate) u8);

impl Port {
    /// The port that every function has.
    pub const MAIN: Self = Self(0);
}

/// Declares what the function needs; only in `init`, and the same every time.
pub struct Declare {
    pub(crate) host: Rc<dyn Host>,
}

impl Declare {
    pub(crate) fn new(host: Rc<dyn Host>) -> Self {
        Self { host }
    }

    /// An output besides [`Port::MAIN`].
    pub fn port(&mut self, name: &str) -> Port {
        Port(self.host.declare_port(name))
    }

    /// A sum that only rises.
    pub fn counter(&mut self, name: &str) -> Counter {
        Counter(self.host.declare_counter(name))
    }

    /// A value that is set.
    pub fn gauge(&mut self, name: &str) -> Gauge {
        Gauge(self.host.declare_gauge(name))
    }

    /// A distribution; `bounds` are the finite, rising upper bounds of its buckets.
    pub fn histogram(&mut self, name: &str, bounds: &[f64]) -> Histogram {
        Histogram(self.host.declare_histogram(name, bounds))
    }

    /// A line in the job's log.
    pub fn log(&self, level: Level, message: &str) {
        self.host.log(level, message);
    }
}

/// The running record's outputs, metrics and log lines. An error returned for the record undoes its outputs, but not
/// what it counted and logged.
pub struct Context<'a> {
    pub(crate) outputs: Outputs<'a>,
    pub(crate) row: u32,
    /// The first value of the running record that could not be encoded.
    pub(crate) failure: Option<Error>,
    metrics: &'a mut Metrics,
    call: &'a Call<'a>,
}

impl<'a> Context<'a> {
    pub(crate) fn new(parents: Parents<'a>, metrics: &'a mut Metrics) -> Self {
        let call = parents.call;
        Self { outputs: Outputs::new(parents), row: 0, failure: None, metrics, call }
    }

    /// Emits `value`; key, time and headers are those of the record.
    #[inline]
    pub fn emit(&mut self, value: impl Payload) {
        self.emit_to(Port::MAIN, value);
    }

    /// Emits `value` on `port`; key, time and headers are those of the record.
    #[inline]
    pub fn emit_to(&mut self, port: Port, value: impl Payload) {
        let written = self.outputs.values().push_with(|out| value.append(out));
        self.note(written);
        self.outputs.close_value(self.row, port.0);
    }

    /// Emits what `write` appends to the buffer it is given, which already holds other values and must only grow.
    #[inline]
    pub fn emit_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.outputs.values().push_with(write);
        self.outputs.close_value(self.row, Port::MAIN.0);
    }

    /// Emits the record as it is. A function that does nothing else copies no value.
    #[inline]
    pub fn forward(&mut self) {
        self.forward_to(Port::MAIN);
    }

    /// Emits the record as it is on `port`.
    #[inline]
    pub fn forward_to(&mut self, port: Port) {
        self.outputs.close_parent(self.row, port.0);
    }

    /// Starts an output that is like the record except for what is set; [`Emission::send`] emits it.
    pub fn output(&mut self) -> Emission<'_, 'a> {
        Emission { cx: self, set: Set::default(), sent: false }
    }

    /// Adds to a counter.
    #[inline]
    pub fn add(&mut self, counter: Counter, delta: u64) {
        self.metrics.add(counter, delta);
    }

    /// Sets a gauge.
    pub fn set(&mut self, gauge: Gauge, value: f64) {
        self.metrics.set(gauge, value);
    }

    /// Adds a value to a histogram.
    pub fn observe(&mut self, histogram: Histogram, value: f64) {
        self.metrics.observe(histogram, value);
    }

    /// A line in the job's log.
    pub fn log(&self, level: Level, message: &str) {
        self.call.host.log(level, message);
    }

    /// The event time up to which no more records are expected; None while nothing is known.
    #[must_use]
    pub fn watermark(&self) -> Option<i64> {
        Some(self.call.watermark()).filter(|watermark| *watermark != i64::MIN)
    }

    /// The wall clock of the batch, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn processing_time(&self) -> i64 {
        self.call.processing_time()
    }

    /// A number to draw randomness from: one per batch, the same when the batch is repeated.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.call.seed()
    }

    pub(crate) fn note(&mut self, written: Result) {
        if let Err(error) = written {
            self.failure.get_or_insert(error);
        }
    }

    /// The error that the running record ended with. A record that went well moves no error about.
    #[inline]
    pub(crate) fn error(&mut self, result: Result) -> Option<Error> {
        if result.is_ok() && self.failure.is_none() {
            return None;
        }
        let failure = self.failure.take();
        result.err().or(failure)
    }

    /// Flushes the metrics of a call that went well.
    pub(crate) fn finish(self) -> Outputs<'a> {
        self.metrics.flush(self.call.host);
        self.outputs
    }
}

/// An output in the making. Dropped without [`send`](Self::send), it is not emitted.
#[must_use = "an output is emitted by send()"]
pub struct Emission<'c, 'a> {
    cx: &'c mut Context<'a>,
    set: Set,
    sent: bool,
}

impl Emission<'_, '_> {
    /// The port; [`Port::MAIN`] if not set.
    pub fn port(mut self, port: Port) -> Self {
        self.set.set_port(port.0);
        self
    }

    /// The key.
    pub fn key(mut self, key: impl Payload) -> Self {
        let outputs = self.cx.outputs.len();
        let keys = self.cx.outputs.keys();
        keys.truncate(outputs);
        let written = keys.push_with(|out| key.append(out));
        self.cx.note(written);
        self.set.add(Set::KEY);
        self
    }

    /// No key.
    pub fn no_key(mut self) -> Self {
        let outputs = self.cx.outputs.len();
        let keys = self.cx.outputs.keys();
        keys.truncate(outputs);
        keys.push(None);
        self.set.add(Set::KEY);
        self
    }

    /// The value.
    pub fn value(mut self, value: impl Payload) -> Self {
        let outputs = self.cx.outputs.len();
        let values = self.cx.outputs.values();
        values.truncate(outputs);
        let written = values.push_with(|out| value.append(out));
        self.cx.note(written);
        self.set.add(Set::VALUE);
        self
    }

    /// No value: deletes the key in a compacted topic.
    pub fn tombstone(mut self) -> Self {
        let outputs = self.cx.outputs.len();
        let values = self.cx.outputs.values();
        values.truncate(outputs);
        values.push(None);
        self.set.add(Set::VALUE);
        self
    }

    /// The event time in milliseconds since the Unix epoch.
    pub fn timestamp(mut self, timestamp: i64) -> Self {
        let outputs = self.cx.outputs.len();
        let timestamps = self.cx.outputs.timestamps();
        timestamps.truncate(outputs);
        timestamps.push(timestamp);
        self.set.add(Set::TIMESTAMP);
        self
    }

    /// A header; the first one replaces all of the record's. None is a header without a value.
    pub fn header(mut self, name: &str, value: Option<&[u8]>) -> Self {
        self.cx.outputs.headers().entry(name, value);
        self.set.add(Set::HEADERS);
        self
    }

    /// No headers, unless [`header`](Self::header) adds some.
    pub fn no_headers(mut self) -> Self {
        self.cx.outputs.headers();
        self.set.add(Set::HEADERS);
        self
    }

    /// Emits the output.
    pub fn send(mut self) {
        self.cx.outputs.close(self.cx.row, self.set);
        self.sent = true;
    }
}

impl Drop for Emission<'_, '_> {
    fn drop(&mut self) {
        if !self.sent {
            let outputs = self.cx.outputs.len();
            self.cx.outputs.truncate(outputs);
        }
    }
}
