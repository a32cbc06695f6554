//! One instance of a component, called with a batch at a time.

use super::{
    component::{InstanceContext, Loaded},
    fault::{CallError, LoadError},
    host::HostState,
    wit::{BatchRef, ColumnRef, Fault, KeyedBatchRef, Processed, RawOutput},
};
use crate::{
    plan::FunctionKind,
    record::{Batch, Column},
    state,
};
use std::sync::Arc;
use wasmtime::{Store, Trap, WasmBacktrace, component::Instance as WasmInstance};

/// An operator of one worker: its component, and an instance while there is a healthy one.
pub struct Instance {
    loaded: Arc<Loaded>,
    context: InstanceContext,
    live: Option<(Store<HostState>, WasmInstance)>,
}

/// A batch whose records are numbered by their distinct keys.
#[derive(Default)]
pub struct Grouped {
    /// Per record the number of its key.
    pub groups: Vec<u32>,
    /// The distinct keys, by first appearance.
    pub keys: Column,
    /// Their shards.
    pub shards: Vec<u16>,
}

impl Instance {
    /// An operator without an instance: the first call makes one.
    #[must_use]
    pub fn new(loaded: Arc<Loaded>, context: InstanceContext) -> Self {
        Self { loaded, context, live: None }
    }

    /// The component.
    #[must_use]
    pub fn loaded(&self) -> &Loaded {
        &self.loaded
    }

    /// Numbers of the operator's states in stored keys.
    #[must_use]
    pub fn numbers(&self) -> &super::StateNumbers {
        &self.context.numbers
    }

    /// Drops the instance; the next call makes a fresh one.
    pub fn discard(&mut self) {
        self.live = None;
    }

    /// Fuel that the last call of this instance has consumed.
    #[must_use]
    pub fn fuel_used(&self) -> u64 {
        let left = self.live.as_ref().and_then(|(store, _)| store.get_fuel().ok());
        left.map_or(self.loaded.limits.fuel, |left| self.loaded.limits.fuel.saturating_sub(left))
    }

    /// Keeps what the last call counted: its answer was taken.
    pub fn keep_metrics(&mut self) {
        if let Some((store, _)) = &mut self.live {
            store.data_mut().keep_metrics();
        }
    }

    /// Makes an instance when there is none.
    ///
    /// # Errors
    /// When `init` fails, or declares other things than it did when the component was loaded.
    pub fn warm(&mut self) -> Result<(), LoadError> {
        if self.live.is_none() {
            let (store, instance) = self.loaded.instantiate(&self.context)?;
            if store.data().declared != *self.loaded.declared() {
                return Err(LoadError::Undecided { operator: self.loaded.operator.to_string() });
            }
            self.live = Some((store, instance));
        }
        Ok(())
    }

    /// One call of a transform function. After an error nothing of it is kept.
    ///
    /// # Errors
    /// How the call failed.
    pub fn transform(&mut self, batch: &Batch, now_ms: i64) -> Result<RawOutput, CallError> {
        debug_assert_eq!(self.loaded.kind, FunctionKind::Transform);
        let result = self.call(batch, now_ms, |loaded, store, instance| {
            let function = instance.get_typed_func::<(BatchRef<'_>,), (Result<RawOutput, Fault>,)>(&mut *store, loaded.process)?;
            let argument = BatchRef { timestamps: batch.timestamps(), keys: batch.keys().into(), values: batch.values().into() };
            Ok(function.call(store, (argument,))?.0)
        });
        self.settle(result)
    }

    /// One call of a process function, with the value states of the batch's keys (one column per declared value state,
    /// one entry per key). The worker's state is lent to the call for map state and
    /// given back in every case; what the call did to map state is staged there until the caller keeps or drops it.
    ///
    /// # Errors
    /// How the call failed.
    pub fn process(
        &mut self,
        input: u32,
        batch: &Batch,
        grouped: &Grouped,
        states: &[Column],
        state: &mut Option<Box<state::Store>>,
        now_ms: i64,
    ) -> Result<Processed, CallError> {
        self.ready()?;
        let maps = self.loaded.declared().map_states().next().is_some();
        if let (true, Some((store, _))) = (maps, &mut self.live) {
            let call = &mut store.data_mut().call;
            call.keys.clone_from(&grouped.keys);
            call.shards.clone_from(&grouped.shards);
            call.state = state.take();
        }
        let result = self.call(batch, now_ms, |loaded, store, instance| {
            type Answer = (Result<Processed, Fault>,);
            let function = instance.get_typed_func::<(u32, KeyedBatchRef<'_>), Answer>(&mut *store, loaded.process)?;
            let columns: Vec<ColumnRef<'_>> = states.iter().map(ColumnRef::from).collect();
            let argument = KeyedBatchRef {
                timestamps: batch.timestamps(),
                values: batch.values().into(),
                groups: &grouped.groups,
                keys: (&grouped.keys).into(),
                states: &columns,
            };
            Ok(function.call(store, (input, argument))?.0)
        });
        if let (true, Some((store, _))) = (maps, &mut self.live) {
            *state = store.data_mut().call.state.take();
        }
        self.settle(result)
    }

    /// An instance that trapped or ran too long cannot be entered again.
    fn settle<T>(&mut self, result: Result<T, CallError>) -> Result<T, CallError> {
        if matches!(result, Err(CallError::Trap(_) | CallError::Deadline(_))) {
            self.discard();
        }
        result
    }

    fn ready(&mut self) -> Result<(), CallError> {
        self.warm().map_err(|e| CallError::Fatal(e.to_string()))
    }

    fn call<T>(
        &mut self,
        batch: &Batch,
        now_ms: i64,
        run: impl FnOnce(&Loaded, &mut Store<HostState>, &WasmInstance) -> wasmtime::Result<Result<T, Fault>>,
    ) -> Result<T, CallError> {
        self.ready()?;
        let Some((store, instance)) = &mut self.live else { return Err(CallError::Fatal("no instance".into())) };
        self.loaded.refuel(store);
        let host = store.data_mut();
        host.begin_call((!batch.is_empty()).then(|| batch.origins().get(0)));
        host.clock.start(now_ms, seed(batch));
        if self.loaded.wants_incoming {
            host.call.rows = batch.len();
            host.call.headers = batch.headers().cloned();
            host.call.origins.clone_from(batch.origins());
        }
        match run(&self.loaded, store, instance) {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(fault)) => {
                store.data_mut().drop_effects();
                Err(fault.into())
            }
            Err(error) => {
                store.data_mut().drop_effects();
                match error.downcast::<state::Error>() {
                    // Keys and shapes are the guest's doing; all else about state is the host's, and no record's fault.
                    Ok(error @ (state::Error::KeyTooLong { .. } | state::Error::Shape { .. } | state::Error::TooMuch { .. })) => {
                        Err(CallError::Trap(error.to_string()))
                    }
                    Ok(error) => Err(CallError::State(error)),
                    Err(error) => Err(self.trapped(&error)),
                }
            }
        }
    }

    fn trapped(&self, error: &wasmtime::Error) -> CallError {
        match error.downcast_ref::<Trap>() {
            Some(Trap::Interrupt) => CallError::Deadline(self.loaded.limits.deadline),
            Some(Trap::OutOfFuel) => CallError::Trap(format!("all fuel consumed ({} per call)", self.loaded.limits.fuel)),
            Some(trap) => CallError::Trap(format!("{trap}{}", place(error))),
            // wasmtime has no type for it.
            None if error.root_cause().to_string().contains("fuel allocated for hostcalls") => {
                let bytes = self.loaded.limits.output_bytes;
                CallError::Trap(format!("handed over more than {bytes} bytes (limits.outputBytes)"))
            }
            None => CallError::Trap(format!("{:#}{}", error.root_cause(), place(error))),
        }
    }
}

/// The innermost named function of the guest's stack.
fn place(error: &wasmtime::Error) -> String {
    let frames = error.downcast_ref::<WasmBacktrace>().map(WasmBacktrace::frames).unwrap_or_default();
    let name = frames.iter().find_map(|f| f.symbols().first().and_then(|s| s.name()).or_else(|| f.func_name()));
    name.map(|n| format!(" in {n}")).unwrap_or_default()
}

/// Seed of a call: the origin of its first record, so that a repeated call draws the same numbers.
fn seed(batch: &Batch) -> u64 {
    if batch.is_empty() {
        return 0;
    }
    let origin = batch.origins().get(0);
    u64::from(origin.split).rotate_left(48) ^ origin.offset.cast_unsigned()
}

impl From<Fault> for CallError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Rejected(reject) => Self::Rejected(reject),
            Fault::Failed(reason) => Self::Failed(reason),
            Fault::Retry(reason) => Self::Retry(reason),
            Fault::Fatal(reason) => Self::Fatal(reason),
        }
    }
}
