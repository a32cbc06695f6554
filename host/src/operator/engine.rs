//! One wasmtime engine for the process: compilation cache, fuel, and the clock that ends calls which run too long.

use super::fault::LoadError;
use crate::clock;
use std::{path::Path, sync::Arc, sync::Weak, time::Duration};

/// How often running guests are asked whether their deadline has passed.
pub(super) const TICK: Duration = Duration::from_millis(50);

/// The engine. Cheap to clone; the ticking thread ends with the last clone.
#[derive(Clone)]
pub struct Engine {
    inner: wasmtime::Engine,
    _alive: Arc<()>,
}

impl Engine {
    /// Sets up the engine. Compiled components are kept in `cache` (by digest and compiler version) when it is given.
    ///
    /// # Errors
    /// When the cache folder cannot be used or the configuration does not fit this machine.
    pub fn new(cache: Option<&Path>) -> Result<Self, LoadError> {
        let fail = |e: &dyn std::fmt::Display| LoadError::Engine(e.to_string());
        let mut config = wasmtime::Config::new();
        config.consume_fuel(true).epoch_interruption(true).wasm_backtrace_max_frames(std::num::NonZeroUsize::new(8));
        if let Some(folder) = cache {
            let mut settings = wasmtime::CacheConfig::new();
            // By default, the 256th start would press a component anew, with 140 MiB of memory beside a job's budget.
            settings.with_directory(folder).with_optimized_compression_usage_counter_threshold(u64::MAX);
            config.cache(Some(wasmtime::Cache::new(settings).map_err(|e| fail(&e))?));
        }
        let inner = wasmtime::Engine::new(&config).map_err(|e| fail(&e))?;
        let alive = Arc::new(());
        let (engine, watched) = (inner.weak(), Arc::downgrade(&alive));
        std::thread::Builder::new().name("weir-deadline".into()).spawn(move || tick(&engine, &watched)).map_err(|e| fail(&e))?;
        Ok(Self { inner, _alive: alive })
    }

    pub(super) fn wasmtime(&self) -> &wasmtime::Engine {
        &self.inner
    }
}

fn tick(engine: &wasmtime::EngineWeak, alive: &Weak<()>) {
    while alive.strong_count() > 0 {
        clock::pause(TICK);
        let Some(engine) = engine.upgrade() else { return };
        engine.increment_epoch();
    }
}
