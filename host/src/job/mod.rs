//! A job from its file to its end: load, plan, recover, run, and restart inside the process when that can help.

mod attempt;
mod budget;
mod error;
mod past;
mod recover;
mod restore;
mod world;

pub use error::Error;

use crate::{
    checkpoint::{self, Access, Copies, FolderLock, Location, Store},
    clock,
    commit::{self, requests::Requests},
    fault::Kind,
    kafka,
    metrics::JobMetrics,
    operator::{Engine, GuestMetrics, Limits, Loaded},
    plan::{ComponentFacts, Plan},
    source::Stdin,
    trace::Tracer,
    worker,
};
use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// Folder of the checkpoint store, inside the job's state folder.
pub const CHECKPOINTS: &str = "checkpoints";
/// Folder of the copies of what a remote store holds, inside the job's state folder.
const COPIES: &str = "copies";
/// First pause before a restart inside the process; it doubles up to [`RESTART_LAST`].
const RESTART_FIRST: Duration = Duration::from_millis(200);
/// Longest pause between restarts.
const RESTART_LAST: Duration = Duration::from_secs(10);

/// What a new run begins with, instead of nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartFrom {
    /// The savepoint at a place.
    Savepoint(Location),
    /// A checkpoint in the job's own store: that of an epoch, or the last one.
    Checkpoint(Option<u64>),
}

/// What the command line and the environment add to a job file.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Folder of the job file: relative paths in it start here.
    pub base_dir: PathBuf,
    /// Instead of `runtime.workers`.
    pub workers: Option<usize>,
    /// Instead of `runtime.batchRecords`.
    pub batch_records: Option<usize>,
    /// Begin a new run and give up the state of the one before.
    pub fresh: bool,
    /// Begin a new run with this, unless the last run began with it.
    pub from: Option<StartFrom>,
    /// Leave state and positions of it behind that nothing in the job claims.
    pub allow_non_restored_state: bool,
    /// Kafka sources end where their topics end now.
    pub until_end: bool,
    /// Make a new instance for every call.
    pub fresh_instance_per_batch: bool,
    /// Where compiled components are kept.
    pub component_cache: Option<PathBuf>,
    /// What makes spans, if anything.
    pub tracer: Tracer,
    /// Environment variables that secrets may refer to.
    pub environment: BTreeMap<String, String>,
}

/// Asks a running job to end.
#[derive(Debug, Default)]
pub struct Control {
    stop: Arc<AtomicBool>,
}

impl Control {
    /// A control that asks for nothing yet.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Drain what was read, commit it, end.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked for.
    #[must_use]
    pub fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// What a job did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Records read.
    pub records_in: u64,
    /// Records handed to sinks.
    pub records_out: u64,
    /// Last epoch.
    pub epoch: u64,
}

/// A job whose components are loaded and that is planned; nothing is started.
pub struct Prepared {
    job: weir_spec::Job,
    settings: Settings,
    plan: Arc<Plan>,
    /// In the order of the plan's operators.
    loaded: Vec<Arc<Loaded>>,
    guest_metrics: Vec<Arc<GuestMetrics>>,
    metrics: Arc<JobMetrics>,
    /// Read by one attempt after the other.
    stdin: Stdin,
}

impl Prepared {
    /// Loads the components of a job and plans it.
    ///
    /// # Errors
    /// What is wrong with a component or with the dataflow, by its place in the job file.
    pub fn new(job: weir_spec::Job, settings: Settings) -> Result<Self, Error> {
        let engine = Engine::new(settings.component_cache.as_deref())?;
        let mut loaded = Vec::with_capacity(job.spec.operators.len());
        for operator in &job.spec.operators {
            let path = settings.base_dir.join(&operator.component);
            let config = if operator.config.is_null() { "{}".to_owned() } else { operator.config.to_string() };
            let limits = limits_within(&job, operator);
            loaded.push(Arc::new(Loaded::load(&engine, &operator.id, &path, config, limits)?));
        }
        let facts: Vec<_> = loaded.iter().map(|l| facts(l)).collect();
        let plan = Arc::new(Plan::new(&job, &facts)?);
        let loaded: Vec<_> = plan.operators.iter().filter_map(|o| loaded.get(o.position).cloned()).collect();
        let metrics = Arc::new(JobMetrics::new(&plan));
        let guest_metrics = metrics.with_registry(|registry| {
            let mut taken = HashMap::new();
            let register = |(l, o): (&Arc<Loaded>, &crate::plan::OperatorNode)| {
                GuestMetrics::register(l.declared(), &o.id, registry, &mut taken).map(Arc::new)
            };
            loaded.iter().zip(&plan.operators).map(register).collect::<Result<_, _>>()
        })?;
        let stdin = Stdin::new(job.spec.checkpoint.dirty_bytes.as_usize());
        Ok(Self { job, settings, plan, loaded, guest_metrics, metrics, stdin })
    }

    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Operators with their components, upstream first.
    pub fn components(&self) -> impl Iterator<Item = (&str, &Loaded)> {
        self.plan.operators.iter().zip(&self.loaded).map(|(o, l)| (o.id.as_str(), &**l))
    }

    /// The job's metrics.
    #[must_use]
    pub fn metrics(&self) -> Arc<JobMetrics> {
        self.metrics.clone()
    }

    /// Whether a partition lost the records to read next, and the job says where to go on: the next attempt does.
    fn goes_on_elsewhere(&self, error: &Error) -> bool {
        let Error::Run(commit::Error::Kafka(error) | commit::Error::Worker(worker::Error::Kafka(error))) = error else { return false };
        let kafka::Error::OffsetOutOfRange { topic, .. } = error else { return false };
        let sources = self.job.spec.sources.iter().filter_map(|source| source.kafka.as_ref());
        sources
            .filter(|kafka| kafka.topic_pattern.is_some() || kafka.topics.contains(topic))
            .any(|kafka| kafka.on_offset_out_of_range != weir_spec::OnOffsetOutOfRange::Fail)
    }

    /// Where the job's checkpoints are, and how they are reached.
    fn store(&self, dir: &Path) -> Result<Store, checkpoint::Error> {
        let location = store_location(&self.job, dir);
        Store::at(&location, &self.access(), Copies::Kept(dir.join(COPIES)))
    }

    fn access(&self) -> Access {
        store_access(&self.job, self.settings.environment.clone())
    }

    fn state_dir(&self) -> PathBuf {
        self.settings.base_dir.join(self.job.checkpoint_path())
    }

    fn workers(&self) -> usize {
        let asked = self.settings.workers.or(self.job.spec.runtime.workers.map(usize::from));
        // The number that the cgroup and the affinity mask leave.
        let workers = asked.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get));
        workers.clamp(1, usize::from(self.plan.shards))
    }
}

/// Where the checkpoints of a job with the state folder `dir` are.
#[must_use]
pub fn store_location(job: &weir_spec::Job, dir: &Path) -> Location {
    match &job.spec.checkpoint.store {
        None => Location::Folder(dir.join(CHECKPOINTS)),
        Some(store) => {
            let prefix = store.s3.prefix.as_ref().unwrap_or(&job.metadata.name);
            Location::S3 { bucket: store.s3.bucket.clone(), prefix: prefix.clone() }
        }
    }
}

/// How the job's store is reached, and other places like it. An answer has to come in half of the longest transaction
/// (rule 10).
#[must_use]
pub fn store_access(job: &weir_spec::Job, environment: BTreeMap<String, String>) -> Access {
    let s3 = job.spec.checkpoint.store.as_ref().map(|store| &store.s3);
    let (endpoint, region) = (s3.and_then(|s3| s3.endpoint.clone()), s3.and_then(|s3| s3.region.clone()));
    Access { endpoint, region, deadline: job.spec.checkpoint.transaction_timeout.as_std() / 2, ..Access::new(environment) }
}

/// The limits of an operator that sets none.
#[must_use]
pub fn default_limits() -> Limits {
    limits(&weir_spec::Limits::default())
}

fn limits(limits: &weir_spec::Limits) -> Limits {
    Limits {
        memory: limits.memory.as_usize(),
        fuel: limits.fuel,
        deadline: limits.deadline.as_std(),
        output_bytes: limits.output_bytes.as_usize(),
        output_records: usize::try_from(limits.output_records).unwrap_or(usize::MAX),
    }
}

/// The limits of an operator in a job. Outputs in a transaction cannot outlast it: a call that takes longer than half of that
/// would have the broker abort it, again after each restart, and the cause would be named nowhere.
fn limits_within(job: &weir_spec::Job, operator: &weir_spec::Operator) -> Limits {
    let asked = limits(&operator.limits);
    let exactly_once = |sink: &weir_spec::Sink| sink.kafka.as_ref().is_some_and(|kafka| kafka.delivery == weir_spec::Delivery::ExactlyOnce);
    let longest = job.spec.checkpoint.transaction_timeout.as_std() / 2;
    if asked.deadline <= longest || !job.spec.sinks.iter().any(exactly_once) {
        return asked;
    }
    tracing::debug!(operator = operator.id, asked = ?asked.deadline, ?longest, "the deadline of a call is half of the transaction's time-out");
    Limits { deadline: longest, ..asked }
}

fn facts(loaded: &Loaded) -> ComponentFacts {
    let declared = loaded.declared();
    ComponentFacts {
        kind: loaded.kind(),
        inputs: declared.inputs.clone(),
        ports: declared.ports.clone(),
        states: declared.states.iter().map(|s| format!("{} {:?} {}", s.name, s.kind, s.version)).collect(),
    }
}

/// Runs a job until its sources end or `control` asks for it; every epoch is committed then.
///
/// # Errors
/// What ended the job, after restarts where they could help. What is committed stays committed.
pub fn run(prepared: &Prepared, control: &Arc<Control>) -> Result<Summary, Error> {
    let dir = prepared.state_dir();
    // Makes the folder in which the lock lies.
    Requests::open(&dir).map_err(Error::StateFolder)?;
    let _lock = FolderLock::acquire(&dir)?;
    let mut waiting = Waiting { control, requests: Requests::open(&dir)?, stops: Vec::new() };
    waiting.requests.clear()?;
    let outcome = attempts(prepared, &mut waiting, &dir);
    waiting.end(outcome.is_ok())?;
    outcome
}

/// A job between two attempts.
struct Waiting<'a> {
    control: &'a Arc<Control>,
    requests: Requests,
    /// Requests to stop that were taken up meanwhile.
    stops: Vec<String>,
}

impl Waiting<'_> {
    /// Waits, unless the job is asked to end.
    fn wait(&mut self, pause: Duration) -> Result<(), Error> {
        let start = clock::monotonic();
        while clock::since(start) < pause && !self.control.stopping() {
            if let Some((id, request)) = self.requests.poll()? {
                if request.stop && !request.drain && request.savepoint.is_none() {
                    self.stops.push(id);
                    self.control.stop();
                } else {
                    let reason = "the job has failed and waits to begin again; its log says why. Ask again once it commits";
                    self.requests.answer(&id, Err(reason.to_owned()))?;
                }
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Answers what was asked.
    fn end(self, in_order: bool) -> Result<(), Error> {
        let of_one = |id: &String| self.requests.answer(id, if in_order { Ok(None) } else { Err("the job failed".to_owned()) });
        self.stops.iter().try_for_each(of_one)?;
        Ok(self.requests.refuse_all()?)
    }
}

fn attempts(prepared: &Prepared, waiting: &mut Waiting<'_>, dir: &Path) -> Result<Summary, Error> {
    let control = waiting.control;
    let (mut pause, mut failing_since) = (RESTART_FIRST, None);
    let give_up_after = prepared.job.spec.runtime.give_up_after.as_std();
    let mut past = past::Past::new(prepared.settings.fresh);
    loop {
        let outcome = attempt::attempt(prepared, control, dir, &mut past);
        let had_begun = prepared.metrics.snapshot().ready;
        prepared.metrics.set_ready(false);
        let error = match outcome {
            Ok(()) => return Ok(summary(prepared)),
            Err(error) if error.is_closed_stdout() => return Ok(summary(prepared)),
            Err(error) if error.is_absent_object() => world::check_owner(prepared, &past).err().unwrap_or(error),
            Err(error) => error,
        };
        prepared.metrics.error(error.kind());
        if past.take_progressed() {
            (pause, failing_since) = (RESTART_FIRST, None);
        }
        past.distrusts_disk |= error.is_damaged_disk();
        let again = error.kind() == Kind::Retry || prepared.goes_on_elsewhere(&error);
        if !again || (had_begun && control.stopping()) {
            return Err(error);
        }
        if control.stopping() {
            return Ok(stopped(prepared, &error));
        }
        // From the first failure on: a state that takes long to restore is no reason to give up at the first miss behind it.
        if clock::since(*failing_since.get_or_insert_with(clock::monotonic)) >= give_up_after {
            return Err(Error::GaveUp { after: give_up_after, source: Box::new(error) });
        }
        tracing::warn!(%error, pause_ms = pause.as_millis(), "attempt failed; restarting from the last checkpoint");
        prepared.metrics.restarted();
        waiting.wait(pause)?;
        if control.stopping() {
            return Ok(stopped(prepared, &error));
        }
        pause = (pause * 2).min(RESTART_LAST);
    }
}

/// The end that was asked for, of a job that has nothing under way: what it had read before it failed is read again.
fn stopped(prepared: &Prepared, error: &Error) -> Summary {
    tracing::warn!(%error, "stopped while it waited to begin again; there was nothing to commit");
    summary(prepared)
}

fn summary(prepared: &Prepared) -> Summary {
    let snapshot = prepared.metrics.snapshot();
    Summary { records_in: snapshot.records_in, records_out: snapshot.records_out, epoch: snapshot.epoch }
}
