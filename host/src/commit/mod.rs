//! Epochs, and the one function that commits them.
//!
//! Order of a commit (rule 7): barrier passed by all workers → outputs flushed → delta and manifest put → offsets with
//! metadata committed → entries clean. State, source positions, the name of the manifest and exactly-once outputs are one
//! transaction. At-least-once outputs are delivered before it, so after a crash they may come again.

mod discovery;
mod ends;
mod error;
mod files;
mod log;
pub mod requests;
mod savepoints;
mod task;

pub(crate) use discovery::Discovery;
pub(crate) use ends::Ends;
pub use error::Error;
pub(crate) use files::{Files, bring_up};
pub use log::LogError;
pub(crate) use log::{CommitLog, KafkaLog, SplitOffset};
pub(crate) use savepoints::Savepoints;

use crate::{
    checkpoint::{
        CommitMetadata, FileRef, MANIFEST_FORMAT, Manifest, ManifestRef, Mode, Names, OperatorState, SinkPosition, SplitPosition, Writer,
    },
    clock, kafka,
    metrics::JobMetrics,
    sink::LocalSink,
    state,
    trace::Span,
    worker::{Command, Event, Shared},
};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    thread::Thread,
    time::{Duration, Instant},
};

/// How often clients' events are served while nothing else happens.
const TICK: Duration = Duration::from_millis(20);
/// An idle job commits again after this, so that its offsets do not expire (rule 14).
const RECOMMIT: Duration = Duration::from_secs(3600);
/// An epoch that nothing changed, this long after the start, tells that the job waits for records and can do its work.
const QUIET: Duration = Duration::from_secs(10);
/// How often the lag is measured.
const LAG_EVERY: Duration = Duration::from_millis(500);

/// How much local sinks hold, as a manifest names it.
pub(crate) fn positions(sinks: &[(String, Arc<LocalSink>)]) -> Vec<SinkPosition> {
    sinks.iter().map(|(id, sink)| SinkPosition { sink: id.clone(), bytes: sink.bytes() }).collect()
}

/// A split with its name in manifests and commits.
#[derive(Clone, Debug)]
pub(crate) struct SplitInfo {
    /// Id of the source.
    pub source: String,
    /// Topic or path.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// Whether its position is committed to Kafka.
    pub kafka: bool,
    /// Where to go on.
    pub next: i64,
}

/// What stays the same over a run's epochs.
pub(crate) struct Run {
    pub id: String,
    /// Id of the savepoint that it began from, if it did.
    pub began_from: Option<String>,
    pub plan_hash: String,
    pub shards: u16,
    pub operators: Vec<OperatorState>,
}

/// A way to tell a worker something.
pub(crate) struct WorkerHandle {
    pub commands: Sender<Command>,
    pub thread: Thread,
    /// Dead as soon as the worker's thread has ended, in whatever way.
    pub alive: Weak<()>,
}

impl WorkerHandle {
    pub fn tell(&self, command: Command) {
        // A worker that is gone has said why, or is noticed by its thread's end.
        let _ = self.commands.send(command);
        self.thread.unpark();
    }
}

/// What makes a coordinator.
pub(crate) struct Coordinator {
    pub shared: Arc<Shared>,
    pub workers: Vec<WorkerHandle>,
    pub events: Receiver<Event>,
    pub stop: Arc<AtomicBool>,
    pub run: Run,
    pub names: Names,
    pub files: Files,
    pub log: CommitLog,
    pub splits: Vec<SplitInfo>,
    /// Of at-least-once outputs.
    pub producers: Vec<kafka::OutputProducer>,
    pub consumer: Option<Arc<kafka::Consumer>>,
    /// Looks for new partitions, unless the run is bounded.
    pub discovery: Option<Discovery>,
    pub local_sinks: Vec<(String, Arc<LocalSink>)>,
    pub savepoints: Savepoints,
    pub metrics: Arc<JobMetrics>,
    pub interval: Duration,
    pub dirty_bytes: usize,
    pub output_bytes: usize,
    /// Longest delivery of at-least-once outputs where no transaction sets it.
    pub delivery_timeout: Duration,
    /// How long a job that was asked to end may take to drain and commit.
    pub drain_timeout: Duration,
    /// Last epoch that began.
    pub epoch: u64,
    /// When something was last committed; none before the first commit of this attempt, which comes even if it is empty:
    /// whoever was here before finds another's commit then, and ends (rule 9).
    pub last_commit: Option<Instant>,
    /// Outputs wait for the first commit: it makes a local sink known, whose bytes nobody could tell from another's.
    pub holds_first: bool,
    /// The epoch that [`Coordinator::begin`] has begun.
    pub first: Option<InFlight>,
    /// When this attempt began.
    pub began: Instant,
    /// Whether this attempt has committed something that it has read, or found nothing to read for long. Its first commit,
    /// which may be of nothing, is no progress.
    pub has_progressed: bool,
    /// The newest commits that were sent, whatever came of them.
    pub attempted: Vec<CommitMetadata>,
    /// The trace of the running epoch.
    pub trace: Span,
    /// Where to stop, of a job that is being drained.
    pub ends: Ends,
}

/// An epoch between its barrier and its commit.
pub(crate) struct InFlight {
    epoch: u64,
    started: Instant,
    deltas: Vec<Option<state::FrozenDelta>>,
    changed: bool,
    last: bool,
    trace: Span,
}

impl Coordinator {
    /// Runs epochs until the sources have ended or a stop is asked for, and the last epoch is committed.
    ///
    /// # Errors
    /// What ended the attempt; nothing of the epochs that were not committed is left.
    pub fn run(&mut self) -> Result<(), Error> {
        self.epochs().map_err(|error| self.log.fence().map_or(error, Error::Log))
    }

    /// Aborts what a failed attempt has left open, once its workers have ended. The newest commits that were sent, and
    /// whether there was progress.
    pub fn end(mut self) -> (Vec<CommitMetadata>, bool) {
        self.log.abandon();
        (self.attempted, self.has_progressed)
    }

    /// Before the workers have anything to do. Where the run is older than this attempt or outputs wait for the first commit, the
    /// first epoch ends at once, before anything was read: whoever ran the job before soon finds another's commit, and what the
    /// outputs come of belongs to the next.
    pub fn begin(&mut self, is_new: bool) {
        self.begin_trace(false);
        self.first = (!is_new || self.holds_first).then(|| self.begin_epoch(false));
    }

    fn epochs(&mut self) -> Result<(), Error> {
        let mut exhausted = vec![false; self.workers.len()];
        let mut in_flight = self.first.take();
        let mut last_epoch = clock::monotonic();
        let mut last_lag = clock::monotonic();
        let mut ending_since = None;
        loop {
            // Until the epoch is due; one that is due already waits for something else.
            let left = self.interval.saturating_sub(clock::since(last_epoch));
            match self.events.recv_timeout(if left.is_zero() { TICK } else { TICK.min(left) }) {
                Ok(Event::Failed { error, .. }) => return Err(error.into()),
                Ok(Event::Exhausted(worker)) => exhausted.iter_mut().skip(worker).take(1).for_each(|e| *e = true),
                Ok(Event::Frozen { worker, delta, positions }) => {
                    self.frozen(&mut in_flight, worker, delta, &positions);
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    if let Some(gone) = self.workers.iter().position(|w| w.alive.strong_count() == 0) {
                        return Err(Error::WorkerGone(gone));
                    }
                }
            }
            self.serve_clients()?;
            if clock::since(last_lag) >= LAG_EVERY {
                last_lag = clock::monotonic();
                self.measure();
            }
            if let Some(done) = in_flight.take_if(|f| f.deltas.iter().all(Option::is_some)) {
                let last = done.last;
                self.commit(done)?;
                if last {
                    return self.savepoints.ended();
                }
            }
            let stopping = self.stop.load(Ordering::Relaxed);
            let ending = stopping || exhausted.iter().all(|e| *e);
            if stopping && clock::since(*ending_since.get_or_insert_with(clock::monotonic)) > self.drain_timeout {
                return Err(Error::DrainDeadline(self.drain_timeout));
            }
            if let Some(discovery) = &mut self.discovery {
                discovery.poll(&self.splits)?;
            }
            self.files.spill_if_wanted(&self.shared)?;
            if self.savepoints.poll(&self.stop)? {
                tracing::info!("asked to end after what the sources hold now");
                self.ends.ask(&self.splits, self.consumer.clone())?;
            }
            if let Some(ends) = self.ends.poll()? {
                let ends = Arc::new(ends);
                self.workers.iter().for_each(|w| w.tell(Command::EndAt(ends.clone())));
            }
            let due = self.savepoints.is_wanted(ending)
                || clock::since(last_epoch) >= self.interval
                || self.shared.dirty_bytes.load(Ordering::Relaxed) >= self.dirty_bytes
                || self.shared.output_bytes.load(Ordering::Relaxed) >= self.output_bytes
                || self.files.wants_commit(&self.shared);
            if in_flight.is_none() && (due || ending) && self.files.has_room(&mut self.names)? {
                last_epoch = clock::monotonic();
                in_flight = Some(self.begin_epoch(ending));
            }
        }
    }

    fn begin_epoch(&mut self, last: bool) -> InFlight {
        self.epoch += 1;
        self.workers.iter().for_each(|w| w.tell(Command::Barrier(self.epoch)));
        let trace = self.begin_trace(last);
        let deltas = self.workers.iter().map(|_| None).collect();
        InFlight { epoch: self.epoch, started: clock::monotonic(), deltas, changed: false, last, trace }
    }

    /// Begins the trace of the next epoch, if there is one, and gives that of the one before.
    fn begin_trace(&mut self, last: bool) -> Span {
        let next = if last { Span::default() } else { self.shared.tracer.epoch(&self.shared.plan.name, self.epoch + 1) };
        if !next.parent().is_none() || !self.trace.parent().is_none() {
            self.workers.iter().for_each(|w| w.tell(Command::Trace(next.parent().clone())));
        }
        std::mem::replace(&mut self.trace, next)
    }

    fn frozen(&mut self, in_flight: &mut Option<InFlight>, worker: usize, delta: state::FrozenDelta, positions: &[(u32, i64)]) {
        let Some(in_flight) = in_flight else { return };
        in_flight.changed |= !delta.is_empty();
        for (split, next) in positions {
            if let Some(info) = self.splits.get_mut(*split as usize) {
                in_flight.changed |= info.next != *next;
                info.next = *next;
            }
        }
        if let Some(slot) = in_flight.deltas.get_mut(worker) {
            *slot = Some(delta);
        }
    }

    /// The commit, traced. The epoch's trace ends with it.
    fn commit(&mut self, mut done: InFlight) -> Result<(), Error> {
        let epoch = std::mem::take(&mut done.trace);
        epoch.set("weir.changed", u64::from(done.changed));
        let span = epoch.parent().child("commit");
        let committed = self.make_final(done, &span);
        if let Err(error) = &committed {
            span.fail(error);
        }
        committed
    }

    /// Nothing else in Weir makes an epoch final.
    fn make_final(&mut self, done: InFlight, span: &Span) -> Result<(), Error> {
        let mut written = None;
        if !done.changed {
            self.log.renew();
        }
        let listed = self.files.poll_listing()?;
        let asked = listed.is_some() || self.savepoints.is_wanted(done.last);
        if is_due(done.changed, asked, self.last_commit.map(clock::since)) {
            let deadline = clock::monotonic() + self.log.patience().unwrap_or(self.delivery_timeout);
            let flush = span.parent().child("flush outputs");
            for producer in self.output_producers() {
                producer.flush_until(deadline)?;
            }
            let sinks = self.sync_sinks()?;
            drop(flush);
            let holds = self.log.holds_outputs() || self.holds();
            if !holds {
                self.release_outputs(done.last);
            }
            let deltas = done.deltas.into_iter().flatten().map(state::FrozenDelta::into_sorted).collect();
            let (own, bytes) = self.encode(done.epoch, deltas, sinks)?;
            let put = span.parent().child("put checkpoint");
            put.set("weir.bytes", bytes.len() as u64);
            failpoint!("delta-put");
            self.files.store().put_if_absent(&own.name, &bytes)?;
            failpoint!("manifest-put");
            drop(put);
            let manifest = ManifestRef { name: own.name.clone(), checksum: own.checksum };
            let metadata =
                CommitMetadata { epoch: done.epoch, manifest: Some(manifest), ..CommitMetadata::empty(&self.run.id, Mode::Alone) };
            let offsets: Vec<_> = self.splits.iter().filter(|s| s.kafka).map(SplitInfo::offset).collect();
            self.attempted.drain(..self.attempted.len().saturating_sub(1));
            self.attempted.push(metadata.clone());
            let sent = span.parent().child("commit offsets");
            self.log.commit(&metadata, &offsets)?;
            failpoint!("committed");
            drop(sent);
            if done.last {
                self.close_if_wanted(&own, metadata, &offsets)?;
            } else {
                self.savepoints.committed(self.files.store(), &own, self.files.list(), &self.run.id)?;
            }
            if holds && !done.last {
                self.log.begin()?;
                self.release_outputs(done.last);
            }
            self.files.committed(own, &mut self.names, listed)?;
            written = Some(bytes.len());
            self.last_commit = Some(clock::monotonic());
        } else {
            self.release_outputs(done.last);
            // Nothing has changed: an epoch more would give a worker whose memory is full nothing to evict.
            self.shared.wants_spill.store(false, Ordering::Relaxed);
        }
        self.has_progressed |= done.changed || clock::since(self.began) >= QUIET;
        self.workers.iter().for_each(|w| w.tell(Command::Committed(done.epoch)));
        self.metrics.epoch_ended(done.epoch, written, clock::since(done.started));
        Ok(())
    }

    /// Whether outputs wait for the first commit.
    fn holds(&self) -> bool {
        self.holds_first && self.last_commit.is_none()
    }

    /// After the last commit: takes the savepoint that is wanted, and then closes the run, if its end was asked for with it
    /// (rule 15). Until then the run can go on, so a savepoint that fails costs nothing.
    fn close_if_wanted(&mut self, own: &FileRef, last: CommitMetadata, offsets: &[SplitOffset]) -> Result<(), Error> {
        let Some(closing) = self.savepoints.last_committed(self.files.store(), own, self.files.list(), &self.run.id)? else {
            return Ok(());
        };
        let closed = CommitMetadata { closed: true, ..last };
        self.attempted.push(closed.clone());
        self.log.commit(&closed, offsets)?;
        self.savepoints.closed(closing)
    }

    /// Lets the next epoch's outputs go. Exactly once, they wait for this epoch's commit; at least once, only for its
    /// flush, which would never end otherwise. After the last epoch nothing more may leave, because nothing more will be
    /// committed.
    fn release_outputs(&self, last: bool) {
        if !last {
            self.workers.iter().for_each(|w| w.tell(Command::Release));
        }
    }

    /// All that outputs go through.
    fn output_producers(&self) -> impl Iterator<Item = &kafka::OutputProducer> {
        self.producers.iter().chain(self.log.outputs())
    }

    fn sync_sinks(&self) -> Result<Vec<SinkPosition>, Error> {
        let positions = positions(&self.local_sinks);
        let flush = |(id, sink): &(String, Arc<LocalSink>)| sink.flush().map_err(|source| Error::Sink { id: id.clone(), source });
        self.local_sinks.iter().try_for_each(flush)?;
        Ok(positions)
    }

    /// The epoch's object: its changes, and the manifest as footer.
    fn encode(&mut self, epoch: u64, deltas: Vec<state::SortedDelta>, sinks: Vec<SinkPosition>) -> Result<(FileRef, Vec<u8>), Error> {
        let name = self.names.epoch(epoch);
        let position =
            |s: &SplitInfo| SplitPosition { source: s.source.clone(), topic: s.topic.clone(), partition: s.partition, next: s.next };
        let manifest = Manifest {
            format: MANIFEST_FORMAT,
            run: self.run.id.clone(),
            began_from: self.run.began_from.clone(),
            mode: Mode::Alone,
            epoch,
            incarnation: self.names.incarnation().to_owned(),
            shards: self.run.shards,
            plan: self.run.plan_hash.clone(),
            operators: self.run.operators.clone(),
            files: self.files.list().to_vec(),
            forgotten_until: self.files.forgotten_until(),
            splits: self.splits.iter().map(position).collect(),
            sinks,
        };
        let merged = state::merge_sorted(deltas);
        let mut writer = Writer::new(&name, Vec::with_capacity(merged.bytes() + 4096));
        for (key, value) in merged.iter() {
            writer.append(key, value)?;
        }
        let written = writer.finish(&manifest.to_json()?)?;
        Ok((FileRef::written(name, epoch, epoch, &written), written.sink))
    }

    fn serve_clients(&self) -> Result<(), Error> {
        for producer in self.output_producers() {
            producer.poll();
            producer.check()?;
            producer.take_errors().iter().for_each(|error| tracing::warn!(%error, "kafka producer"));
        }
        for error in self.consumer.iter().flat_map(|c| c.poll_events()) {
            if !error.is_transient() {
                return Err(error.into());
            }
            tracing::warn!(%error, "kafka consumer");
        }
        Ok(())
    }

    fn measure(&self) {
        self.metrics.set_disk_bytes(self.files.disk_bytes());
        let Some(consumer) = &self.consumer else { return };
        // What librdkafka does not know yet is measured next time.
        let Ok(progress) = consumer.progress() else { return };
        let next = |p: &kafka::Progress| self.splits.iter().find(|s| s.topic == p.topic && s.partition == p.partition).map(|s| s.next);
        let mut all = Some(0);
        for of in &progress {
            let lag = of.high.zip(of.position.or_else(|| next(of))).map(|(high, position)| (high - position).max(0));
            if let Some(lag) = lag {
                self.metrics.set_partition_lag(&of.topic, of.partition, lag);
            }
            all = all.zip(lag).map(|(all, lag)| all + lag);
        }
        if let Some(lag) = all {
            self.metrics.set_lag(lag);
        }
    }
}

/// Whether an epoch is committed: one that changed nothing only if a savepoint or a list of the store waits for it, if this
/// attempt has committed nothing yet, or if offsets might expire otherwise.
fn is_due(changed: bool, asked: bool, since_last: Option<Duration>) -> bool {
    changed || asked || since_last.is_none_or(|since| since >= RECOMMIT)
}

impl SplitInfo {
    pub fn offset(&self) -> SplitOffset {
        SplitOffset { topic: self.topic.clone(), partition: self.partition, offset: self.next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_14_an_epoch_that_changed_nothing_is_committed_once_an_hour() {
        let hour = Duration::from_secs(60 * 60);
        let idle = |since_last| is_due(false, false, since_last);
        assert!(!idle(Some(Duration::ZERO)) && !idle(Some(hour - Duration::from_nanos(1))));
        assert!(idle(Some(hour)) && idle(Some(hour * 2)));
        assert!(idle(None), "an attempt's first epoch");
        assert!(is_due(true, false, Some(Duration::ZERO)) && is_due(false, true, Some(Duration::ZERO)));
    }
}
