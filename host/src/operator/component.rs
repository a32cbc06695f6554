//! A loaded component: compiled, linked, asked what it declares.

use super::{
    declared::Declarations,
    engine::{Engine, TICK},
    fault::LoadError,
    host::{HostState, SplitName, StateNumbers},
    metrics::GuestMetrics,
    wasi,
    wit::imports::weir::operator as wit,
};
use crate::plan::FunctionKind;
use std::{path::Path, sync::Arc, time::Duration};
use wasmtime::{
    Store,
    component::{Component, ComponentExportIndex, HasSelf, Instance, InstancePre, Linker},
};

pub(super) const TRANSFORM: &str = "weir:operator/transform-function@0.1.0";
pub(super) const PROCESS: &str = "weir:operator/process-function@0.1.0";

/// What a guest may use. Every limit is per call or per instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of linear memory.
    pub memory: usize,
    /// Fuel (about one unit an instruction) per call.
    pub fuel: u64,
    /// Wall-clock time per call.
    pub deadline: Duration,
    /// Bytes of one call's answer.
    pub output_bytes: usize,
    /// Records of one call's answer.
    pub output_records: usize,
}

impl Limits {
    pub(super) fn deadline_ticks(&self) -> u64 {
        u64::try_from(self.deadline.as_millis() / TICK.as_millis()).unwrap_or(u64::MAX / 2).saturating_add(2)
    }
}

/// A component that is ready to be instantiated.
pub struct Loaded {
    pub(super) operator: Arc<str>,
    pub(super) config: String,
    pub(super) limits: Limits,
    pub(super) kind: FunctionKind,
    pub(super) pre: InstancePre<HostState>,
    pub(super) engine: Engine,
    pub(super) init: ComponentExportIndex,
    pub(super) process: ComponentExportIndex,
    pub(super) wants_incoming: bool,
    declared: Declarations,
    imports: Vec<String>,
}

/// What instances of one operator share within a run.
#[derive(Clone)]
pub struct InstanceContext {
    /// Name of the job.
    pub job: Arc<str>,
    /// Numbers of the operator and its states.
    pub numbers: Arc<StateNumbers>,
    /// Splits of the job, by number.
    pub splits: Arc<Vec<SplitName>>,
    /// Metrics of the operator.
    pub metrics: Option<Arc<GuestMetrics>>,
}

/// What the first bytes say a file is instead of a component; `None` when they are a component's.
fn not_a_component(bytes: &[u8]) -> Option<&'static str> {
    // The preamble: magic, then version and layer.
    match (bytes.get(..4), bytes.get(4..8)) {
        (Some(b"\0asm"), Some([1, 0, 0, 0])) => {
            Some("it is a core module; build it for a target that gives components, in Rust `cargo build --target wasm32-wasip2`")
        }
        (Some(b"\0asm"), _) => None,
        _ => Some("it is no WebAssembly file"),
    }
}

impl Loaded {
    /// Reads, compiles and links the component at `path`, and runs `init` once to learn what it declares.
    ///
    /// # Errors
    /// Names the operator, the file and what is wrong with it.
    pub fn load(engine: &Engine, operator: &str, path: &Path, config: String, limits: Limits) -> Result<Self, LoadError> {
        let name = || operator.to_owned();
        let bytes = std::fs::read(path).map_err(|source| LoadError::Read { operator: name(), path: path.into(), source })?;
        let component = Component::new(engine.wasmtime(), &bytes).map_err(|e| LoadError::Compile {
            operator: name(),
            path: path.into(),
            reason: not_a_component(&bytes).map_or_else(|| format!("{e:#}"), str::to_owned),
        })?;
        let imports = component.component_type().imports(engine.wasmtime()).map(|(import, _)| import.to_owned()).collect::<Vec<_>>();
        let (kind, interface) = if let Some((_, index)) = component.get_export(None, TRANSFORM) {
            (FunctionKind::Transform, index)
        } else if let Some((_, index)) = component.get_export(None, PROCESS) {
            (FunctionKind::Process, index)
        } else {
            return Err(LoadError::NoFunction { operator: name(), path: path.into(), transform: TRANSFORM, process: PROCESS });
        };
        let function = |function| {
            let missing =
                || LoadError::Compile { operator: name(), path: path.into(), reason: format!("the interface has no `{function}`") };
            component.get_export(Some(&interface), function).map(|(_, index)| index).ok_or_else(missing)
        };
        let pre = linker(engine).and_then(|linker| linker.instantiate_pre(&component)).map_err(|e| LoadError::Import {
            operator: name(),
            path: path.into(),
            reason: format!("{e:#}"),
        })?;
        let mut loaded = Self {
            operator: operator.into(),
            config,
            limits,
            kind,
            pre,
            engine: engine.clone(),
            init: function("init")?,
            process: function("process")?,
            wants_incoming: imports.iter().any(|i| i.starts_with("weir:operator/incoming@")),
            declared: Declarations::default(),
            imports,
        };
        let (store, _) =
            loaded.instantiate(&InstanceContext { job: "".into(), numbers: Arc::default(), splits: Arc::default(), metrics: None })?;
        loaded.declared = store.into_data().declared;
        Ok(loaded)
    }

    /// Which function it is.
    #[must_use]
    pub fn kind(&self) -> FunctionKind {
        self.kind
    }

    /// What its instances may use.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What it declared.
    #[must_use]
    pub fn declared(&self) -> &Declarations {
        &self.declared
    }

    /// Names of what it imports.
    #[must_use]
    pub fn imports(&self) -> &[String] {
        &self.imports
    }

    /// A fresh instance after `init`.
    pub(super) fn instantiate(&self, context: &InstanceContext) -> Result<(Store<HostState>, Instance), LoadError> {
        let init = |reason: String| LoadError::Init { operator: self.operator.to_string(), reason };
        let host = HostState::new(self.operator.clone(), &self.limits, context);
        let mut store = Store::new(self.engine.wasmtime(), host);
        store.limiter(|host| &mut host.allowance);
        self.refuel(&mut store);
        let instance = self.pre.instantiate(&mut store).map_err(|e| init(format!("{e:#}")))?;
        let function =
            instance.get_typed_func::<(&str,), (Result<(), String>,)>(&mut store, self.init).map_err(|e| init(format!("{e:#}")))?;
        let (answer,) = function.call(&mut store, (&self.config,)).map_err(|e| init(format!("{e:#}")))?;
        answer.map_err(init)?;
        Ok((store, instance))
    }

    /// Gives a call its fuel, its time and the room for its answer.
    pub(super) fn refuel(&self, store: &mut Store<HostState>) {
        // Fuel is switched on for the engine, which is the only reason for which setting it can fail.
        let _ = store.set_fuel(self.limits.fuel);
        store.set_epoch_deadline(self.limits.deadline_ticks());
        store.set_hostcall_fuel(self.limits.output_bytes);
    }
}

fn linker(engine: &Engine) -> wasmtime::Result<Linker<HostState>> {
    let mut linker = Linker::new(engine.wasmtime());
    wasi::add_to_linker(&mut linker)?;
    wit::declare::add_to_linker::<_, HasSelf<_>>(&mut linker, |host| host)?;
    wit::incoming::add_to_linker::<_, HasSelf<_>>(&mut linker, |host| host)?;
    wit::map_state::add_to_linker::<_, HasSelf<_>>(&mut linker, |host| host)?;
    wit::metrics::add_to_linker::<_, HasSelf<_>>(&mut linker, |host| host)?;
    wit::log::add_to_linker::<_, HasSelf<_>>(&mut linker, |host| host)?;
    Ok(linker)
}
