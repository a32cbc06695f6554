//! The loop that moves records. A worker is one thread that owns its partitions, shards, instances and state: no lock
//! lies on the record's way. Order of a turn: control, exchanges (most downstream first), sources, sleep.
//!
//! A barrier is aligned per worker: from the moment it is told to end an epoch until every exchange has handed it all of
//! that epoch, it reads no source and nothing behind a barrier. So what a worker does is a sequence of whole epochs, and
//! nothing of one can end up in the other.

mod error;
mod flow;
mod key;
mod keyed;
mod output;
mod source;
mod trace;

pub use error::Error;
pub(crate) use output::SinkWriter;
pub(crate) use source::{Reader, SourceReader};

use crate::{
    clock,
    exchange::{Inbox, Outbox, Received},
    log_limit::LogLimit,
    metrics::{JobMetrics, WorkerMetrics},
    operator::{Instance, Readers, SplitName},
    plan::{Plan, Target},
    record::Batch,
    state,
    trace::{Parent, Tracer},
};
use crossbeam_channel::{Receiver, Sender, TryRecvError};
use flow::{Flow, Node};
use key::KeyBy;
use keyed::Keyed;
use output::Output;
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use trace::Trace;

/// Longest sleep of a worker that has nothing to do and whom nobody wakes.
const IDLE: Duration = Duration::from_millis(100);
/// A busy worker sends half-filled lanes every so many turns.
const FLUSH_TURNS: u32 = 16;
/// A worker looks at its memory every so many turns that did something.
const MEMORY_TURNS: u32 = 64;

/// Numbers that workers need.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Most records of one call.
    pub batch_records: usize,
    /// Most bytes of keys and values of one call, unless one record has more.
    pub batch_bytes: usize,
    /// Most bytes of state of one call, unless one record's key has more.
    pub state_batch_bytes: usize,
    /// Outputs that one worker holds back while an epoch is being committed.
    pub held_bytes: usize,
    /// State that one worker keeps in memory.
    pub state_bytes: usize,
    /// Make a new instance for every call.
    pub fresh_instance_per_batch: bool,
}

/// What the workers of an attempt share; all of it is read-only or atomic.
pub struct Shared {
    /// Dataflow.
    pub plan: Arc<Plan>,
    /// Number of workers.
    pub workers: usize,
    /// Numbers.
    pub settings: Settings,
    /// Metrics.
    pub metrics: Arc<JobMetrics>,
    /// What makes spans, if anything.
    pub tracer: Tracer,
    /// Splits by number.
    pub splits: Arc<Vec<SplitName>>,
    /// The job is asked to end: no more waiting for retries.
    pub stopping: Arc<AtomicBool>,
    /// The attempt is torn down.
    pub aborted: AtomicBool,
    /// Bytes changed in the running epoch, of all workers.
    pub dirty_bytes: AtomicUsize,
    /// Bytes written to sinks in the running epoch, by all workers.
    pub output_bytes: AtomicUsize,
    /// Bounds what is logged of records that are skipped.
    pub(crate) skip_log: LogLimit,
    /// Set by a worker whose state does not fit any more because RocksDB is behind.
    pub wants_spill: AtomicBool,
}

impl Shared {
    fn is_ending(&self) -> bool {
        self.stopping.load(Ordering::Relaxed) || self.aborted.load(Ordering::Relaxed)
    }

    pub(crate) fn origin(&self, batch: &Batch, row: usize) -> (String, i32, i64) {
        let origin = batch.row(row).origin;
        let split = self.splits.get(origin.split as usize);
        (split.map(|s| s.topic.clone()).unwrap_or_default(), split.map_or(0, |s| s.partition), origin.offset)
    }
}

/// What a worker is told.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// End the running epoch.
    Barrier(u64),
    /// Where the spans of the next epoch hang: of the running one when no barrier is on its way.
    Trace(Parent),
    /// The outputs of the epoch before are delivered or, exactly once, committed: those held back may go.
    Release,
    /// The epoch is committed.
    Committed(u64),
    /// Read no further than these ends, by split; what has no end ends where it is.
    EndAt(Arc<HashMap<u32, i64>>),
    /// End now; everything uncommitted is dropped.
    Stop,
}

/// What a worker tells.
pub enum Event {
    /// The barrier has passed everything.
    Frozen {
        /// Worker.
        worker: usize,
        /// What the epoch changed.
        delta: state::FrozenDelta,
        /// Per split of this worker the position to go on from.
        positions: Vec<(u32, i64)>,
    },
    /// All sources of the worker have reached their ends.
    Exhausted(usize),
    /// The worker has ended.
    Failed {
        /// Worker.
        worker: usize,
        /// Why.
        error: Error,
    },
}

/// What makes a worker.
pub(crate) struct Parts {
    pub index: usize,
    pub shared: Arc<Shared>,
    pub instances: Vec<Instance>,
    /// Per operator, when there are several workers and it is keyed.
    pub exchanges: Vec<Option<(Outbox, Inbox)>>,
    pub sources: Vec<SourceReader>,
    pub sinks: Vec<SinkWriter>,
    pub state: state::Store,
    pub commands: Receiver<Command>,
    pub events: Sender<Event>,
    /// How it spends its time.
    pub time: Arc<WorkerMetrics>,
}

/// One worker.
pub(crate) struct Worker {
    index: usize,
    shared: Arc<Shared>,
    flow: Flow,
    inboxes: Vec<Option<Inbox>>,
    /// Keyed operators with their stages, most downstream first.
    downstream_first: Vec<(usize, usize)>,
    sources: Vec<SourceReader>,
    next_source: usize,
    commands: Receiver<Command>,
    events: Sender<Event>,
    fetched: Batch,
    /// The barrier on its way, and the highest stage that it has passed.
    barrier: Option<(u64, usize)>,
    exhausted_told: bool,
    dirty: usize,
    /// Bytes of state last told to the metrics.
    told_bytes: i64,
    turns: u32,
    /// Whether the last turn could take in nothing new: a sink, a commit or other workers have to go on first.
    held_up: bool,
}

/// Per port of an operator, the Kafka sinks that read it.
fn readers(operator: &crate::plan::OperatorNode, sinks: &[SinkWriter]) -> Vec<Readers> {
    let of_target = |target: &Target| match target {
        Target::Sink(sink) => sinks.get(*sink).and_then(SinkWriter::topics),
        Target::Operator { .. } => None,
    };
    operator.ports.iter().map(|(_, targets)| targets.iter().filter_map(of_target).collect()).collect()
}

impl Worker {
    pub fn new(parts: Parts) -> Self {
        let Parts { index, shared, instances, exchanges, sources, sinks, state, commands, events, time } = parts;
        let (outboxes, inboxes): (Vec<_>, Vec<_>) = exchanges.into_iter().map(Option::unzip).unzip();
        let mut nodes = Vec::with_capacity(instances.len());
        for ((instance, outbox), plan) in instances.into_iter().zip(outboxes).zip(&shared.plan.operators) {
            let states = instance.loaded().declared().value_states().count();
            let keyed = plan.key.as_ref().map(|key| (KeyBy::new(key), Keyed::new(states)));
            nodes.push(Node::new(instance, keyed, outbox, readers(plan, &sinks)));
        }
        let mut downstream_first: Vec<_> = shared.plan.keyed().map(|(i, o)| (i, o.stage)).collect();
        downstream_first.sort_by_key(|(_, stage)| std::cmp::Reverse(*stage));
        let output = Output::new(shared.clone(), sinks, time);
        let flow = Flow { shared: shared.clone(), nodes, output, trace: Trace::default(), state: Some(Box::new(state)) };
        Self {
            index,
            shared,
            flow,
            inboxes,
            downstream_first,
            sources,
            next_source: 0,
            commands,
            events,
            fetched: Batch::default(),
            barrier: None,
            exhausted_told: false,
            dirty: 0,
            told_bytes: 0,
            turns: 0,
            held_up: false,
        }
    }

    /// Runs until told to stop. What ends it otherwise is told to the coordinator.
    pub fn run(mut self, threads: &[std::thread::Thread]) {
        for outbox in self.flow.nodes.iter_mut().filter_map(|n| n.outbox.as_mut()) {
            outbox.set_receivers(threads);
        }
        for inbox in self.inboxes.iter_mut().flatten() {
            inbox.set_senders(threads);
        }
        loop {
            self.flow.output.time().beat();
            match self.turn() {
                Ok(true) => {}
                Ok(false) => self.sleep(),
                Err(Error::Stopped) => break,
                Err(error) => {
                    // A coordinator that is gone already tears the attempt down for another reason.
                    let _ = self.events.send(Event::Failed { worker: self.index, error });
                    break;
                }
            }
        }
        self.flow.output.time().end();
        self.shared.metrics.state_bytes_changed(-self.told_bytes);
    }

    /// One turn; true when something was done.
    fn turn(&mut self) -> Result<bool, Error> {
        self.obey()?;
        self.held_up = self.flow.output.is_full();
        if self.held_up {
            // What others wait for still goes out, a barrier above all: the commit that makes room may depend on it.
            self.push_out(0);
            self.outboxes(Outbox::wake);
            return Ok(false);
        }
        let start = clock::monotonic();
        let mut did = self.drain()?;
        did |= self.advance_barrier()?;
        self.held_up = self.barrier.is_some() || !self.push_out(0) || self.over_budget()?;
        if !self.held_up {
            did |= self.read()?;
        }
        // Now and then also while busy: a lane that fills slowly must not wait for the next barrier.
        if !did || self.turns.is_multiple_of(FLUSH_TURNS) {
            self.outboxes(|outbox| outbox.flush());
        }
        self.outboxes(Outbox::wake);
        if did {
            self.account(start);
        }
        Ok(did)
    }

    fn obey(&mut self) -> Result<(), Error> {
        loop {
            let command = match self.commands.try_recv() {
                Ok(command) => command,
                Err(TryRecvError::Empty) => return Ok(()),
                // The attempt is over before its coordinator could say so.
                Err(TryRecvError::Disconnected) => return Err(Error::Stopped),
            };
            match command {
                Command::Stop => return Err(Error::Stopped),
                Command::Barrier(epoch) => {
                    self.barrier = Some((epoch, 0));
                    self.send_barriers(epoch, 1);
                }
                Command::Trace(epoch) => self.flow.trace.told(epoch, self.barrier.is_some()),
                Command::Committed(epoch) => {
                    if let Some(state) = &mut self.flow.state {
                        state.committed(epoch)?;
                    }
                    self.sources.iter().for_each(SourceReader::committed);
                }
                Command::EndAt(ends) => self.sources.iter_mut().for_each(|source| source.end_at(&ends)),
                Command::Release => self.flow.output.release()?,
            }
        }
    }

    /// Works off what other workers sent, most downstream first, as long as what comes of it finds room.
    fn drain(&mut self) -> Result<bool, Error> {
        let mut did = false;
        for i in 0..self.downstream_first.len() {
            let Some(&(operator, stage)) = self.downstream_first.get(i) else { break };
            // With a barrier on its way everything before it has to come in: its commit is what makes room.
            while (self.barrier.is_some() || !self.over_budget()?) && self.push_out(stage) && !self.flow.output.is_full() {
                if self.shared.aborted.load(Ordering::Relaxed) {
                    return Err(Error::Stopped);
                }
                self.turns += 1;
                let Some(Some(inbox)) = self.inboxes.get_mut(operator) else { break };
                let Received::Records { input, batch, lane } = inbox.receive() else { break };
                let entered = self.flow.trace.exchange(operator);
                self.flow.run(operator, input, &batch)?;
                self.flow.trace.leave(entered);
                if let Some(Some(inbox)) = self.inboxes.get_mut(operator) {
                    inbox.give_back(lane, batch);
                }
                did = true;
            }
        }
        Ok(did)
    }

    /// Sends what waits in the exchanges behind `stage`; true when nothing waits there any more.
    fn push_out(&mut self, stage: usize) -> bool {
        let mut all = true;
        for (operator, of) in &self.downstream_first {
            if *of > stage
                && let Some(Node { outbox: Some(outbox), .. }) = self.flow.nodes.get_mut(*operator)
            {
                all &= outbox.push_out();
            }
        }
        all
    }

    fn outboxes(&mut self, mut f: impl FnMut(&mut Outbox)) {
        self.flow.nodes.iter_mut().filter_map(|n| n.outbox.as_mut()).for_each(&mut f);
    }

    fn send_barriers(&mut self, epoch: u64, stage: usize) {
        for (operator, of) in &self.downstream_first {
            if *of == stage
                && let Some(Node { outbox: Some(outbox), .. }) = self.flow.nodes.get_mut(*operator)
            {
                outbox.barrier(epoch);
            }
        }
    }

    /// Lets the barrier pass the stages whose exchanges have delivered it from every sender; behind the last one the
    /// epoch is over.
    fn advance_barrier(&mut self) -> Result<bool, Error> {
        let mut did = false;
        while let Some((epoch, passed)) = self.barrier {
            let stage = passed + 1;
            if passed == self.shared.plan.stages {
                self.freeze(epoch)?;
                return Ok(true);
            }
            let of_stage = self.downstream_first.iter().filter(|(_, of)| *of == stage);
            let aligned = of_stage.filter_map(|(i, _)| self.inboxes.get(*i)).flatten().all(|inbox| inbox.aligned(epoch));
            if !aligned {
                return Ok(did);
            }
            did = true;
            self.barrier = Some((epoch, stage));
            self.send_barriers(epoch, stage + 1);
        }
        Ok(did)
    }

    fn freeze(&mut self, epoch: u64) -> Result<(), Error> {
        self.barrier = None;
        self.flow.trace.barrier_passed();
        self.inboxes.iter_mut().flatten().for_each(Inbox::release);
        self.flow.output.hold();
        let Some(state) = &mut self.flow.state else { return Err(Error::Stopped) };
        let delta = state.freeze(epoch)?;
        self.shared.dirty_bytes.fetch_sub(std::mem::take(&mut self.dirty), Ordering::Relaxed);
        let positions = self.sources.iter_mut().flat_map(SourceReader::end_epoch).collect();
        self.events.send(Event::Frozen { worker: self.index, delta, positions }).map_err(|_| Error::Stopped)
    }

    /// Fetches from one source and sends it on; sources take turns.
    fn read(&mut self) -> Result<bool, Error> {
        for _ in 0..self.sources.len() {
            self.next_source = (self.next_source + 1) % self.sources.len();
            let Some(source) = self.sources.get_mut(self.next_source) else { continue };
            self.fetched.clear();
            source.fetch(self.shared.settings.batch_records, self.shared.settings.batch_bytes, &mut self.fetched)?;
            if self.fetched.is_empty() {
                continue;
            }
            let node = source.node();
            self.shared.metrics.source(node).add(self.fetched.len(), self.fetched.data_len());
            let plan = self.shared.plan.clone();
            if let Some(planned) = plan.sources.get(node) {
                let batch = std::mem::take(&mut self.fetched);
                let entered = self.flow.trace.source(node, &planned.id, &batch, self.index, &self.shared);
                self.flow.route(&planned.targets, &batch)?;
                self.flow.trace.leave(entered);
                self.fetched = batch;
            }
            return Ok(true);
        }
        if !self.exhausted_told && self.sources.iter().all(SourceReader::exhausted) {
            self.exhausted_told = true;
            self.events.send(Event::Exhausted(self.index)).map_err(|_| Error::Stopped)?;
        }
        Ok(false)
    }

    /// Tells the coordinator how much has changed, and gives back memory now and then.
    fn account(&mut self, start: Instant) {
        let waited = self.flow.output.take_waited();
        self.flow.output.time().blocked(waited);
        self.flow.output.time().busy(clock::since(start).saturating_sub(waited));
        self.turns += 1;
        let Some(state) = &self.flow.state else { return };
        let dirty = state.dirty_bytes() + self.sources.iter().map(SourceReader::kept_bytes).sum::<usize>();
        if dirty > self.dirty {
            self.shared.dirty_bytes.fetch_add(dirty - self.dirty, Ordering::Relaxed);
            self.dirty = dirty;
        }
        let bytes = i64::try_from(state.bytes()).unwrap_or(i64::MAX);
        self.shared.metrics.state_bytes_changed(bytes - self.told_bytes);
        self.told_bytes = bytes;
    }

    /// Whether the state has outgrown its budget and nothing can be given back before RocksDB has caught up.
    fn over_budget(&mut self) -> Result<bool, Error> {
        let budget = self.shared.settings.state_bytes;
        let Some(state) = &mut self.flow.state else { return Ok(false) };
        if self.turns < MEMORY_TURNS && state.bytes() < budget {
            return Ok(false);
        }
        self.turns = 0;
        // Early, so that RocksDB catches up in the background while there is still room: only what it holds can be evicted.
        if state.bytes() >= budget / 2 && state.unspilled_bytes() >= budget / 4 {
            self.shared.wants_spill.store(true, Ordering::Relaxed);
        }
        if state.bytes() < budget {
            return Ok(false);
        }
        state.evict(budget - budget / 8);
        if state.bytes() < budget {
            return Ok(false);
        }
        self.shared.wants_spill.store(true, Ordering::Relaxed);
        // A quarter more than the budget is the room in which work goes on while RocksDB catches up.
        Ok(state.bytes() > budget + budget / 4)
    }

    fn sleep(&self) {
        let wake = self.sources.iter().filter_map(SourceReader::next_wake).min().unwrap_or(IDLE);
        let begin = clock::monotonic();
        std::thread::park_timeout(wake.min(IDLE));
        let (time, slept) = (self.flow.output.time(), clock::since(begin));
        if self.held_up { time.blocked(slept) } else { time.idle(slept) }
    }
}
