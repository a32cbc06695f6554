//! Every metric of the host: names, labels, and what a progress line needs of them.

use crate::{clock, fault::Kind, plan::Plan};
use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

type Seconds = Counter<f64, AtomicU64>;
type Labels<const N: usize> = [(&'static str, String); N];

/// Counters of one operator.
#[derive(Clone, Default)]
pub struct OperatorMetrics {
    id: String,
    failures: Family<Labels<2>, Counter>,
    dead_letters: Counter,
    records_in: Counter,
    records_out: Counter,
    calls: Counter,
    faults: Counter,
    fuel: Counter,
}

impl OperatorMetrics {
    pub(crate) fn records_in(&self, records: usize) {
        self.records_in.inc_by(records as u64);
    }

    pub(crate) fn records_out(&self, records: usize) {
        self.records_out.inc_by(records as u64);
    }

    pub(crate) fn call(&self, fuel: u64) {
        self.calls.inc();
        self.fuel.inc_by(fuel);
    }

    /// A call that failed; `kind` is one of a closed set.
    pub(crate) fn call_failed(&self, kind: &'static str) {
        self.failures.get_or_create(&[("operator", self.id.clone()), ("kind", kind.to_owned())]).inc();
    }

    pub(crate) fn dead_letter(&self) {
        self.dead_letters.inc();
    }

    pub(crate) fn fault(&self) {
        self.faults.inc();
    }
}

/// Counters of one source or sink.
#[derive(Clone, Default)]
pub struct EdgeMetrics {
    records: Counter,
    bytes: Counter,
}

impl EdgeMetrics {
    pub(crate) fn add(&self, records: usize, bytes: usize) {
        self.records.inc_by(records as u64);
        self.bytes.inc_by(bytes as u64);
    }
}

/// How a worker spends its time, and when it was last seen to go on.
pub struct WorkerMetrics {
    busy: Seconds,
    blocked: Seconds,
    idle: Seconds,
    begun: Instant,
    /// Milliseconds since `begun`, and one; 0 while it does not run.
    seen: AtomicU64,
}

impl WorkerMetrics {
    /// The worker goes on, or waits for something outside of it.
    pub(crate) fn beat(&self) {
        let seen = u64::try_from(clock::since(self.begun).as_millis()).unwrap_or(u64::MAX - 1);
        self.seen.store(seen + 1, Ordering::Relaxed);
    }

    /// Waits for something outside of the worker, for as long as that takes.
    pub(crate) fn wait<T>(&self, wait: impl FnOnce() -> T) -> T {
        self.end();
        let result = wait();
        self.beat();
        result
    }

    /// The worker has ended.
    pub(crate) fn end(&self) {
        self.seen.store(0, Ordering::Relaxed);
    }

    pub(crate) fn busy(&self, time: Duration) {
        self.busy.inc_by(time.as_secs_f64());
    }

    pub(crate) fn blocked(&self, time: Duration) {
        self.blocked.inc_by(time.as_secs_f64());
    }

    pub(crate) fn idle(&self, time: Duration) {
        self.idle.inc_by(time.as_secs_f64());
    }

    /// For how long it has not been seen.
    fn unseen(&self) -> Option<Duration> {
        let seen = self.seen.load(Ordering::Relaxed).checked_sub(1)?;
        Some(clock::since(self.begun).saturating_sub(Duration::from_millis(seen)))
    }
}

/// All metrics of a job. Cheap to update from any thread.
pub struct JobMetrics {
    registry: Mutex<Registry>,
    operators: Vec<OperatorMetrics>,
    sources: Vec<EdgeMetrics>,
    sinks: Vec<EdgeMetrics>,
    nobody: (OperatorMetrics, EdgeMetrics),
    epoch: Gauge,
    lag: Gauge,
    ready: Gauge,
    state_bytes: Gauge,
    restarts: Counter,
    checkpoints: Counter,
    checkpoint_bytes: Counter,
    checkpoint_seconds: Histogram,
    checkpoint_last: Gauge,
    commit_time: Gauge<f64, AtomicU64>,
    errors: Family<Labels<1>, Counter>,
    disk_bytes: Gauge,
    partition_lag: Family<Labels<2>, Gauge>,
    worker_time: Family<Labels<2>, Seconds>,
    workers: Mutex<Vec<Arc<WorkerMetrics>>>,
}

/// What a progress line shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Records read by all sources.
    pub records_in: u64,
    /// Records handed to all sinks.
    pub records_out: u64,
    /// Records in Kafka that are not read yet; `None` before it is known.
    pub lag: Option<i64>,
    /// Last epoch that ended in order: committed, or nothing had changed.
    pub epoch: u64,
    /// Checkpoints committed by this process.
    pub checkpoints: u64,
    /// Records that their operator could not process.
    pub faults: u64,
    /// Bytes of keyed state in memory.
    pub state_bytes: u64,
    /// Whether the job is restored and running.
    pub ready: bool,
}

impl JobMetrics {
    /// Registers the metrics of a plan.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        let mut registry = Registry::with_prefix("weir");
        let operators = register_operators(&mut registry, plan.operators.iter().map(|o| o.id.as_str()));
        let sources = register_edges(&mut registry, "source", plan.sources.iter().map(|s| s.id.as_str()));
        let sinks = register_edges(&mut registry, "sink", plan.sinks.iter().map(String::as_str));
        let this = Self {
            operators,
            sources,
            sinks,
            nobody: Default::default(),
            epoch: Gauge::default(),
            lag: Gauge::default(),
            ready: Gauge::default(),
            state_bytes: Gauge::default(),
            restarts: Counter::default(),
            checkpoints: Counter::default(),
            checkpoint_bytes: Counter::default(),
            checkpoint_seconds: Histogram::new([0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0]),
            checkpoint_last: Gauge::default(),
            commit_time: Gauge::default(),
            errors: Family::default(),
            disk_bytes: Gauge::default(),
            partition_lag: Family::default(),
            worker_time: Family::default(),
            workers: Mutex::default(),
            registry: Mutex::default(),
        };
        this.lag.set(-1);
        registry.register("epoch", "Last epoch that ended in order", this.epoch.clone());
        registry.register("source_lag_records", "Records in Kafka not yet read; -1 before it is known", this.lag.clone());
        registry.register("ready", "1 when the job is restored and running", this.ready.clone());
        registry.register_with_unit("state_memory", "Keyed state in memory", Unit::Bytes, this.state_bytes.clone());
        registry.register("restarts", "Restarts inside the process", this.restarts.clone());
        registry.register("checkpoints", "Committed epochs that wrote a checkpoint", this.checkpoints.clone());
        registry.register_with_unit("checkpoint_written", "Bytes of checkpoint objects", Unit::Bytes, this.checkpoint_bytes.clone());
        registry.register_with_unit("checkpoint_duration", "Barrier to commit", Unit::Seconds, this.checkpoint_seconds.clone());
        registry.register_with_unit("checkpoint_last", "Bytes of the last checkpoint object", Unit::Bytes, this.checkpoint_last.clone());
        let time = "When an epoch last ended in order or the job resumed, since the Unix epoch";
        registry.register_with_unit("last_commit_timestamp", time, Unit::Seconds, this.commit_time.clone());
        registry.register("errors", "Errors that ended an attempt to run the job, by what is to be done about them", this.errors.clone());
        // A sum that is not there yet cannot be told from one that nobody exports.
        Kind::ALL.iter().for_each(|kind| drop(this.errors.get_or_create(&[("kind", kind.name().to_owned())])));
        registry.register_with_unit("state_disk", "Keyed state in RocksDB's files", Unit::Bytes, this.disk_bytes.clone());
        let lag = "Records of a partition not yet read";
        registry.register("source_partition_lag_records", lag, this.partition_lag.clone());
        let time = "Time of a worker: busy with records, blocked by sinks, commits or other workers, idle";
        registry.register_with_unit("worker_time", time, Unit::Seconds, this.worker_time.clone());
        Self { registry: Mutex::new(registry), ..this }
    }

    pub(crate) fn operator(&self, index: usize) -> &OperatorMetrics {
        self.operators.get(index).unwrap_or(&self.nobody.0)
    }

    pub(crate) fn source(&self, index: usize) -> &EdgeMetrics {
        self.sources.get(index).unwrap_or(&self.nobody.1)
    }

    pub(crate) fn sink(&self, index: usize) -> &EdgeMetrics {
        self.sinks.get(index).unwrap_or(&self.nobody.1)
    }

    pub(crate) fn set_ready(&self, ready: bool) {
        self.ready.set(i64::from(ready));
    }

    pub(crate) fn set_lag(&self, lag: i64) {
        self.lag.set(lag);
    }

    /// Adds a worker's change in bytes of state.
    pub(crate) fn state_bytes_changed(&self, by: i64) {
        self.state_bytes.inc_by(by);
    }

    pub(crate) fn restarted(&self) {
        self.restarts.inc();
    }

    /// An attempt ended badly.
    pub(crate) fn error(&self, kind: Kind) {
        self.errors.get_or_create(&[("kind", kind.name().to_owned())]).inc();
    }

    pub(crate) fn set_partition_lag(&self, topic: &str, partition: i32, lag: i64) {
        let labels = [("topic", topic.to_owned()), ("partition", partition.to_string())];
        self.partition_lag.get_or_create(&labels).set(lag);
    }

    pub(crate) fn set_disk_bytes(&self, bytes: u64) {
        self.disk_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// The workers of an attempt.
    pub(crate) fn workers(&self, count: usize) -> Vec<Arc<WorkerMetrics>> {
        let worker = |index: usize| {
            let time = |state: &str| self.worker_time.get_or_create(&[("worker", index.to_string()), ("state", state.to_owned())]).clone();
            let (busy, blocked, idle) = (time("busy"), time("blocked"), time("idle"));
            Arc::new(WorkerMetrics { busy, blocked, idle, begun: clock::monotonic(), seen: AtomicU64::new(0) })
        };
        let workers: Vec<_> = (0..count).map(worker).collect();
        *self.workers.lock().unwrap_or_else(PoisonError::into_inner) = workers.clone();
        workers
    }

    /// A worker that has stood still for longer than `limit`, and for how long. Waiting for a sink, a commit, other
    /// workers or records is not standing still.
    #[must_use]
    pub fn standing_still(&self, limit: Duration) -> Option<(usize, Duration)> {
        let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        let still = workers.iter().enumerate().filter_map(|(index, worker)| Some((index, worker.unseen()?)));
        still.filter(|(_, time)| *time > limit).max_by_key(|(_, time)| *time)
    }

    /// The epoch from which the job goes on.
    pub(crate) fn resumed(&self, epoch: u64) {
        self.epoch.set(i64::try_from(epoch).unwrap_or(i64::MAX));
        self.commit_time.set(clock::now_ms() as f64 / 1000.0);
    }

    /// An epoch has ended in order: by a commit with so many bytes of a checkpoint, or without one, as nothing had changed.
    pub(crate) fn epoch_ended(&self, epoch: u64, checkpoint: Option<usize>, took: Duration) {
        self.resumed(epoch);
        if let Some(bytes) = checkpoint {
            self.checkpoint_last.set(i64::try_from(bytes).unwrap_or(i64::MAX));
            self.checkpoints.inc();
            self.checkpoint_bytes.inc_by(bytes as u64);
            self.checkpoint_seconds.observe(took.as_secs_f64());
        }
    }

    /// Gives guests a place to register their own metrics.
    pub(crate) fn with_registry<T>(&self, f: impl FnOnce(&mut Registry) -> T) -> T {
        f(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What a progress line shows.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            records_in: self.sources.iter().map(|s| s.records.get()).sum(),
            records_out: self.sinks.iter().map(|s| s.records.get()).sum(),
            lag: Some(self.lag.get()).filter(|l| *l >= 0),
            epoch: u64::try_from(self.epoch.get()).unwrap_or(0),
            checkpoints: self.checkpoints.get(),
            faults: self.operators.iter().map(|o| o.faults.get()).sum(),
            state_bytes: u64::try_from(self.state_bytes.get()).unwrap_or(0),
            ready: self.ready.get() == 1,
        }
    }

    /// All metrics in Prometheus' text format (OpenMetrics).
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Encoding into a String fails only when a metric's own encoder does, and these have none.
        let _ = self.with_registry(|registry| encode(&mut text, registry));
        text
    }
}

/// One counter a label value, under one name.
fn counters<'i>(
    registry: &mut Registry,
    name: String,
    help: &str,
    label: &'static str,
    ids: impl Iterator<Item = &'i str>,
) -> Vec<Counter> {
    let family = Family::<[(&'static str, String); 1], Counter>::default();
    registry.register(name, help, family.clone());
    ids.map(|id| family.get_or_create(&[(label, id.to_owned())]).clone()).collect()
}

fn register_operators<'i>(registry: &mut Registry, ids: impl Iterator<Item = &'i str> + Clone) -> Vec<OperatorMetrics> {
    let failures = Family::<Labels<2>, Counter>::default();
    registry.register("operator_call_failures", "Calls that failed, by kind; their batch is called again or cut", failures.clone());
    let mut all = |name: &str, help| counters(registry, format!("operator_{name}"), help, "operator", ids.clone()).into_iter();
    let ins = all("records_in", "Records given to the operator");
    let outs = all("records_out", "Records that it emitted");
    let calls = all("calls", "Calls of its component");
    let faults = all("faults", "Records that it could not process");
    let fuel = all("fuel", "Fuel that its calls consumed, about one a WebAssembly instruction");
    let letters = all("dead_letters", "Records that went to its dead-letter sink");
    let zipped = ins.zip(outs).zip(calls.zip(faults)).zip(fuel.zip(letters)).zip(ids.clone());
    let metrics = |((((records_in, records_out), (calls, faults)), (fuel, dead_letters)), id): (_, &str)| {
        let (id, failures) = (id.to_owned(), failures.clone());
        OperatorMetrics { id, failures, dead_letters, records_in, records_out, calls, faults, fuel }
    };
    zipped.map(metrics).collect()
}

fn register_edges<'i>(registry: &mut Registry, kind: &'static str, ids: impl Iterator<Item = &'i str> + Clone) -> Vec<EdgeMetrics> {
    let records = counters(registry, format!("{kind}_records"), "Records passed", kind, ids.clone());
    let bytes = counters(registry, format!("{kind}_bytes"), "Bytes of keys and values passed", kind, ids);
    records.into_iter().zip(bytes).map(|(records, bytes)| EdgeMetrics { records, bytes }).collect()
}
