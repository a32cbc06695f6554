//! What a guest may ask of the host: the imports of `weir:operator`.

use super::{
    allowance::Allowance,
    component::{InstanceContext, Limits},
    declared::Declarations,
    metrics::GuestMetrics,
    wasi::{self, CallClock},
    wit::imports::weir::operator as wit,
};
use crate::{
    record::{Column, Headers, Origin, Origins},
    state::{self, Most},
};
use std::{
    collections::HashSet,
    sync::{Arc, atomic::Ordering},
};
use wasmtime::{Result, bail, component::ResourceTable};
use wasmtime_wasi::WasiCtx;

/// A topic partition, file or generator, as guests see the origin of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitName {
    /// Topic or path.
    pub topic: String,
    /// Partition, 0 for what has none.
    pub partition: i32,
}

/// The numbers under which an operator and its declared states stand in stored keys. They are given once by name and
/// kept in every checkpoint's manifest, so that a state may be added anywhere in `init`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateNumbers {
    /// Number of the operator.
    pub operator: u16,
    /// Per declared state, in the order of declaration.
    pub states: Vec<u16>,
}

impl StateNumbers {
    /// The id of the state declared at `position`.
    #[must_use]
    pub fn of(&self, position: usize) -> state::StateId {
        state::StateId { operator: self.operator, state: self.states.get(position).copied().unwrap_or(u16::MAX) }
    }
}

/// What the running call is about.
#[derive(Default)]
pub(super) struct Call {
    pub headers: Option<Headers>,
    pub origins: Origins,
    pub rows: usize,
    /// Where the first record of the call was read, for log lines.
    pub first: Option<Origin>,
    pub keys: Column,
    pub shards: Vec<u16>,
    /// The worker's state, lent for the time of the call.
    pub state: Option<Box<state::Store>>,
    metrics: Vec<Observation>,
}

/// What a call counted; one for each metric at most, so that their number is bounded.
enum Observation {
    Add(u32, u64),
    Set(u32, f64),
    Observe(u32, Vec<f64>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Init,
    Call,
}

/// Data of one instance's store.
pub(super) struct HostState {
    pub wasi: WasiCtx,
    pub table: ResourceTable,
    pub allowance: Allowance,
    pub phase: Phase,
    pub declared: Declarations,
    pub call: Call,
    pub clock: Arc<CallClock>,
    job: Arc<str>,
    operator: Arc<str>,
    numbers: Arc<StateNumbers>,
    splits: Arc<Vec<SplitName>>,
    metrics: Option<Arc<GuestMetrics>>,
}

impl HostState {
    pub fn new(operator: Arc<str>, limits: &Limits, context: &InstanceContext) -> Self {
        let InstanceContext { job, numbers, splits, metrics } = context.clone();
        let clock = Arc::new(CallClock::default());
        let (wasi, table) = wasi::context(&clock);
        Self {
            wasi,
            table,
            allowance: Allowance::new(limits.memory, limits.output_bytes),
            phase: Phase::Init,
            declared: Declarations::default(),
            call: Call::default(),
            clock,
            job,
            operator,
            numbers,
            splits,
            metrics,
        }
    }

    /// A call begins. What an earlier one counted and nobody kept was of an answer that was not taken.
    pub fn begin_call(&mut self, first: Option<Origin>) {
        self.phase = Phase::Call;
        self.call.first = first;
        self.allowance.begin_call();
        self.call.metrics.clear();
    }

    /// Keeps what the call counted.
    pub fn keep_metrics(&mut self) {
        for observation in self.call.metrics.drain(..) {
            match (&self.metrics, observation) {
                (Some(metrics), Observation::Add(id, delta)) => metrics.add(id, delta),
                (Some(metrics), Observation::Set(id, value)) => metrics.set(id, value),
                (Some(metrics), Observation::Observe(id, values)) => metrics.observe(id, &values),
                (None, _) => {}
            }
        }
    }

    /// Forgets what the call counted, and what it did to map state.
    pub fn drop_effects(&mut self) {
        self.call.metrics.clear();
        if let Some(state) = &mut self.call.state {
            state.drop_call();
        }
    }

    fn in_init(&self, what: &str) -> Result<()> {
        if self.phase != Phase::Init {
            bail!("declare.{what} was called outside init");
        }
        Ok(())
    }

    fn in_call(&self, what: &str) -> Result<()> {
        if self.phase != Phase::Call {
            bail!("{what} was called outside process");
        }
        Ok(())
    }

    fn map_space(&self, state: u32) -> Result<state::StateId> {
        self.in_call("map-state")?;
        match self.declared.map_position(state) {
            Some(position) => Ok(self.numbers.of(position)),
            None => bail!("map state {state} was not declared ({} are)", self.declared.map_states().count()),
        }
    }

    /// Keys and shards of `groups`, one entry each.
    fn grouped(&self, groups: &[u32]) -> Result<(Column, Vec<u16>)> {
        let (mut keys, mut shards) = (Column::with_capacity(groups.len(), 0), Vec::with_capacity(groups.len()));
        for &group in groups {
            let Some(shard) = self.call.shards.get(group as usize) else {
                bail!("group {group} does not exist: this batch has {} keys", self.call.shards.len());
            };
            keys.push_bytes(self.call.keys.bytes(group as usize));
            shards.push(*shard);
        }
        Ok((keys, shards))
    }

    fn state(&mut self) -> Result<&mut state::Store> {
        match &mut self.call.state {
            Some(state) => Ok(state),
            None => bail!("map-state was called outside a keyed call"),
        }
    }
}

fn to_column(column: wit::columns::Column, rows: usize, what: &str) -> Result<Column> {
    match Column::from_parts(column.offsets, column.data, column.validity, rows) {
        Ok(column) => Ok(column),
        Err(e) => bail!("{what}: {e}"),
    }
}

fn from_column(column: &Column) -> wit::columns::Column {
    let (offsets, data, validity) = column.parts();
    wit::columns::Column { offsets: offsets.to_vec(), data: data.to_vec(), validity: validity.to_vec() }
}

impl wit::columns::Host for HostState {}

impl wit::declare::Host for HostState {
    fn input(&mut self, name: String) -> Result<u32> {
        self.in_init("input")?;
        self.declared.input(name)
    }
    fn port(&mut self, name: String) -> Result<u8> {
        self.in_init("port")?;
        self.declared.port(name)
    }
    fn value_state(&mut self, name: String, version: u32) -> Result<u32> {
        self.in_init("value-state")?;
        self.declared.value_state(name, version)
    }
    fn map_state(&mut self, name: String, version: u32) -> Result<u32> {
        self.in_init("map-state")?;
        self.declared.map_state(name, version)
    }
    fn counter(&mut self, name: String) -> Result<u32> {
        self.in_init("counter")?;
        self.declared.counter(name)
    }
    fn gauge(&mut self, name: String) -> Result<u32> {
        self.in_init("gauge")?;
        self.declared.gauge(name)
    }
    fn histogram(&mut self, name: String, bounds: Vec<f64>) -> Result<u32> {
        self.in_init("histogram")?;
        self.declared.histogram(name, bounds)
    }
}

impl wit::incoming::Host for HostState {
    fn watermark(&mut self) -> Result<i64> {
        self.in_call("incoming.watermark")?;
        Ok(i64::MIN)
    }
    fn processing_time(&mut self) -> Result<i64> {
        self.in_call("incoming.processing-time")?;
        Ok(self.clock.now_ms.load(Ordering::Relaxed))
    }
    fn seed(&mut self) -> Result<u64> {
        self.in_call("incoming.seed")?;
        Ok(self.clock.seed.load(Ordering::Relaxed))
    }
    fn read_headers(&mut self) -> Result<Option<wit::columns::Headers>> {
        self.in_call("incoming.read-headers")?;
        Ok(self.call.headers.as_ref().map(|headers| {
            let (offsets, names, values) = headers.parts();
            wit::columns::Headers { offsets: offsets.to_vec(), names: from_column(names), values: from_column(values) }
        }))
    }
    fn read_origins(&mut self) -> Result<wit::incoming::Origins> {
        self.in_call("incoming.read-origins")?;
        let mut names: Vec<String> = Vec::new();
        let (mut topics, mut partitions, mut offsets) = (Vec::new(), Vec::new(), Vec::new());
        for i in 0..self.call.rows {
            let origin = self.call.origins.get(i);
            let split = self.splits.get(origin.split as usize);
            let topic = split.map_or("", |s| s.topic.as_str());
            let at = names.iter().position(|n| n == topic).unwrap_or_else(|| {
                names.push(topic.to_owned());
                names.len() - 1
            });
            topics.push(at as u32);
            partitions.push(split.map_or(0, |s| s.partition.cast_unsigned()));
            offsets.push(origin.offset);
        }
        Ok(wit::incoming::Origins { names, topics, partitions, offsets })
    }
}

impl wit::map_state::Host for HostState {
    fn get(&mut self, state: u32, groups: Vec<u32>, keys: wit::columns::Column) -> Result<wit::columns::Column> {
        let space = self.map_space(state)?;
        let map_keys = to_column(keys, groups.len(), "map-state.get: keys")?;
        let (keys, shards) = self.grouped(&groups)?;
        let mut values = Column::with_capacity(groups.len(), 0);
        let most = self.allowance.answer();
        self.state()?.map_get(space, &keys, &shards, &map_keys, most, &mut values)?;
        Ok(from_column(&values))
    }
    fn put(&mut self, state: u32, groups: Vec<u32>, keys: wit::columns::Column, values: wit::columns::Column) -> Result<()> {
        let space = self.map_space(state)?;
        let map_keys = to_column(keys, groups.len(), "map-state.put: keys")?;
        let values = to_column(values, groups.len(), "map-state.put: values")?;
        let (keys, shards) = self.grouped(&groups)?;
        self.allowance.change(groups.len(), keys.data_len() + map_keys.data_len() + values.data_len())?;
        self.state()?.map_put(space, &keys, &shards, &map_keys, &values)?;
        Ok(())
    }
    fn scan(&mut self, state: u32, groups: Vec<u32>, after: wit::columns::Column, limit: u32) -> Result<wit::map_state::Entries> {
        let space = self.map_space(state)?;
        let after = to_column(after, groups.len(), "map-state.scan: after")?;
        let (keys, shards) = self.grouped(&groups)?;
        let (mut offsets, mut map_keys, mut values) = (vec![0u32], Column::new(), Column::new());
        for (i, shard) in shards.iter().enumerate() {
            let most = Most { entries: limit as usize, bytes: self.allowance.answer() };
            self.state()?.map_scan(space, keys.bytes(i), *shard, after.get(i), most, &mut map_keys, &mut values)?;
            offsets.push(map_keys.len() as u32);
        }
        Ok(wit::map_state::Entries { offsets, keys: from_column(&map_keys), values: from_column(&values) })
    }
    fn clear(&mut self, state: u32, groups: Vec<u32>) -> Result<()> {
        let space = self.map_space(state)?;
        let (keys, shards) = self.grouped(&groups)?;
        self.allowance.change(groups.len(), keys.data_len())?;
        for (i, shard) in shards.iter().enumerate() {
            self.state()?.map_clear(space, keys.bytes(i), *shard)?;
        }
        Ok(())
    }
}

impl wit::metrics::Host for HostState {
    fn add(&mut self, counter: u32, delta: u64) -> Result<()> {
        self.declared.has_counter(counter)?;
        let before = self.call.metrics.iter_mut().find_map(|o| match o {
            Observation::Add(id, sum) if *id == counter => Some(sum),
            _ => None,
        });
        match before {
            Some(sum) => *sum = sum.saturating_add(delta),
            None => self.call.metrics.push(Observation::Add(counter, delta)),
        }
        Ok(())
    }
    fn set(&mut self, gauge: u32, value: f64) -> Result<()> {
        self.declared.has_gauge(gauge)?;
        self.call.metrics.retain(|o| !matches!(o, Observation::Set(id, _) if *id == gauge));
        self.call.metrics.push(Observation::Set(gauge, value));
        Ok(())
    }
    fn observe(&mut self, histogram: u32, values: Vec<f64>) -> Result<()> {
        self.declared.has_histogram(histogram)?;
        self.allowance.observe(values.len())?;
        let before = self.call.metrics.iter_mut().find_map(|o| match o {
            Observation::Observe(id, all) if *id == histogram => Some(all),
            _ => None,
        });
        match before {
            Some(all) => all.extend(values),
            None => self.call.metrics.push(Observation::Observe(histogram, values)),
        }
        Ok(())
    }
}

/// Longest log message kept; the rest is cut.
const LOG_BYTES: usize = 4096;

impl wit::log::Host for HostState {
    fn write(&mut self, level: wit::log::Level, mut message: String) -> Result<()> {
        let (job, operator) = (&*self.job, &*self.operator);
        let split = self.call.first.and_then(|first| self.splits.get(first.split as usize));
        let (topic, partition) = (split.map(|split| split.topic.as_str()), split.map(|split| split.partition));
        let allowed = self.metrics.as_ref().is_none_or(|m| m.may_log());
        if !allowed {
            return Ok(());
        }
        if message.len() > LOG_BYTES {
            message.truncate(message.floor_char_boundary(LOG_BYTES));
        }
        match level {
            wit::log::Level::Trace => tracing::trace!(target: "guest", job, operator, topic, partition, "{message}"),
            wit::log::Level::Debug => tracing::debug!(target: "guest", job, operator, topic, partition, "{message}"),
            wit::log::Level::Info => tracing::info!(target: "guest", job, operator, topic, partition, "{message}"),
            wit::log::Level::Warn => tracing::warn!(target: "guest", job, operator, topic, partition, "{message}"),
            wit::log::Level::Error => tracing::error!(target: "guest", job, operator, topic, partition, "{message}"),
        }
        Ok(())
    }
}

/// Names declared twice are refused: a set of those seen.
pub(super) fn new_name(seen: &mut HashSet<(u8, String)>, kind: u8, what: &str, name: &str) -> Result<()> {
    if name.is_empty() || name.len() > 128 {
        bail!("a {what} must have a name of 1 to 128 bytes");
    }
    if !seen.insert((kind, name.to_owned())) {
        bail!("{what} `{name}` was declared twice");
    }
    Ok(())
}
