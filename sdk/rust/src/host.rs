//! The imports of a function, behind traits: the component's own on WebAssembly, memory in [`crate::testing`].

use crate::bindings::processor::weir::operator::{declare, incoming, log, map_state, metrics};
use crate::bindings::{Column, Headers};
use std::cell::OnceCell;

pub use incoming::Origins;
pub use log::Level;
pub use map_state::Entries;

/// Imports that every function has.
pub trait Host {
    fn declare_input(&self, name: &str) -> u32;
    fn declare_port(&self, name: &str) -> u8;
    fn declare_value_state(&self, name: &str, version: u32) -> u32;
    fn declare_map_state(&self, name: &str, version: u32) -> u32;
    fn declare_counter(&self, name: &str) -> u32;
    fn declare_gauge(&self, name: &str) -> u32;
    fn declare_histogram(&self, name: &str, bounds: &[f64]) -> u32;
    fn watermark(&self) -> i64;
    fn processing_time(&self) -> i64;
    fn seed(&self) -> u64;
    fn read_headers(&self) -> Option<Headers>;
    fn read_origins(&self) -> Origins;
    fn add(&self, counter: u32, delta: u64);
    fn set(&self, gauge: u32, value: f64);
    fn observe(&self, histogram: u32, values: &[f64]);
    fn log(&self, level: Level, message: &str);
}

/// Imports of keyed functions only. A trait of its own, so that a transform does not import `map-state`.
pub trait MapHost {
    fn get(&self, state: u32, groups: &[u32], keys: &Column) -> Column;
    fn put(&self, state: u32, groups: &[u32], keys: &Column, values: &Column);
    fn scan(&self, state: u32, groups: &[u32], after: &Column, limit: u32) -> Entries;
    fn clear(&self, state: u32, groups: &[u32]);
}

/// The imports of the component.
#[derive(Debug)]
pub struct Imports;

impl Host for Imports {
    fn declare_input(&self, name: &str) -> u32 {
        declare::input(name)
    }

    fn declare_port(&self, name: &str) -> u8 {
        declare::port(name)
    }

    fn declare_value_state(&self, name: &str, version: u32) -> u32 {
        declare::value_state(name, version)
    }

    fn declare_map_state(&self, name: &str, version: u32) -> u32 {
        declare::map_state(name, version)
    }

    fn declare_counter(&self, name: &str) -> u32 {
        declare::counter(name)
    }

    fn declare_gauge(&self, name: &str) -> u32 {
        declare::gauge(name)
    }

    fn declare_histogram(&self, name: &str, bounds: &[f64]) -> u32 {
        declare::histogram(name, bounds)
    }

    fn watermark(&self) -> i64 {
        incoming::watermark()
    }

    fn processing_time(&self) -> i64 {
        incoming::processing_time()
    }

    fn seed(&self) -> u64 {
        incoming::seed()
    }

    fn read_headers(&self) -> Option<Headers> {
        incoming::read_headers()
    }

    fn read_origins(&self) -> Origins {
        incoming::read_origins()
    }

    fn add(&self, counter: u32, delta: u64) {
        metrics::add(counter, delta);
    }

    fn set(&self, gauge: u32, value: f64) {
        metrics::set(gauge, value);
    }

    fn observe(&self, histogram: u32, values: &[f64]) {
        metrics::observe(histogram, values);
    }

    fn log(&self, level: Level, message: &str) {
        log::write(level, message);
    }
}

impl MapHost for Imports {
    fn get(&self, state: u32, groups: &[u32], keys: &Column) -> Column {
        map_state::get(state, groups, keys)
    }

    fn put(&self, state: u32, groups: &[u32], keys: &Column, values: &Column) {
        map_state::put(state, groups, keys, values);
    }

    fn scan(&self, state: u32, groups: &[u32], after: &Column, limit: u32) -> Entries {
        map_state::scan(state, groups, after, limit)
    }

    fn clear(&self, state: u32, groups: &[u32]) {
        map_state::clear(state, groups);
    }
}

/// What is asked of the host about the running call, at most once per call.
pub(crate) struct Call<'a> {
    pub(crate) host: &'a dyn Host,
    headers: OnceCell<Option<Headers>>,
    origins: OnceCell<Origins>,
    watermark: OnceCell<i64>,
    processing_time: OnceCell<i64>,
    seed: OnceCell<u64>,
}

impl<'a> Call<'a> {
    pub(crate) fn new(host: &'a dyn Host) -> Self {
        Self {
            host,
            headers: OnceCell::new(),
            origins: OnceCell::new(),
            watermark: OnceCell::new(),
            processing_time: OnceCell::new(),
            seed: OnceCell::new(),
        }
    }

    pub(crate) fn headers(&self) -> Option<&Headers> {
        self.headers.get_or_init(|| self.host.read_headers()).as_ref()
    }

    pub(crate) fn origins(&self) -> &Origins {
        self.origins.get_or_init(|| self.host.read_origins())
    }

    pub(crate) fn watermark(&self) -> i64 {
        *self.watermark.get_or_init(|| self.host.watermark())
    }

    pub(crate) fn processing_time(&self) -> i64 {
        *self.processing_time.get_or_init(|| self.host.processing_time())
    }

    pub(crate) fn seed(&self) -> u64 {
        *self.seed.get_or_init(|| self.host.seed())
    }
}

/// Sends a panic's message to the job's log: the trap that follows has only a stack.
pub(crate) fn log_panics() {
    #[cfg(target_arch = "wasm32")]
    std::panic::set_hook(Box::new(|panic| log::write(Level::Error, &panic.to_string())));
}
