//! One attempt: everything is made from the last checkpoint, runs, and is dropped. Nothing outlives it but what is
//! committed, so a restart is the recovery code and no other.

use super::{
    Control, Error, Prepared,
    budget::Budget,
    past::Past,
    recover::{self, Start},
    restore,
    world::{self, World},
};
use crate::{
    checkpoint::Names,
    clock,
    commit::{self, Coordinator, Files, Run, Savepoints, WorkerHandle},
    exchange,
    kafka::OutputProducer,
    operator::{Instance, InstanceContext, SplitName, StateNumbers},
    sink::{LocalSink, Topics},
    source::LocalSource,
    worker::{self, Command, Parts, Reader, Shared, SinkWriter, SourceReader, Worker},
};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Weak, atomic::Ordering},
    thread::{JoinHandle, Thread},
    time::Duration,
};
use weir_spec::{Delivery, SinkConnector, SourceConnector};

/// Commands and events in flight between the coordinator and a worker: a barrier, a commit, a stop.
const CHANNEL: usize = 16;
/// Stack of a worker: room for wasmtime's own megabyte and for chained operators.
const WORKER_STACK: usize = 8 << 20;
/// A job that was asked to end is given this long.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(60);

/// Runs the job until it ends by itself or is asked to; everything is committed then.
pub(super) fn attempt(prepared: &Prepared, control: &Arc<Control>, dir: &Path, past: &mut Past) -> Result<(), Error> {
    let workers = prepared.workers();
    let budget = Budget::of(prepared.job.spec.runtime.memory.as_usize(), workers, producers(prepared));
    let store = Arc::new(prepared.store(dir)?);
    let mut names = Names::new(&clock::unique_id())?;
    let mut world = world::look(prepared, &budget, dir, past)?;
    let mut start = recover::recover(prepared, &world, &store, dir, past)?;
    let sinks = open_sinks(prepared, &budget, &world, &start, past.fresh)?;
    if start.new {
        recover::begin(prepared, &mut world, &store, &mut start, commit::positions(&sinks.locals))?;
        past.fresh = false;
    }
    // Not before a new run's own commit has landed: what stood there until then is an older run's.
    past.starts_from(&world, start.commit.clone());
    sinks.cut()?;
    world.log.begin()?;
    store.check_writable(&mut names)?;
    let (operators, numbers) = recover::numbers(prepared, &start);
    let (states, disk) = restore::restore(prepared, &start, &store, (dir, past.distrusts_disk), &numbers, &budget)?;
    past.distrusts_disk = false;
    let shared = share(prepared, control, &world, &budget, workers);

    let (events, from_workers) = bounded(CHANNEL * workers);
    let threads = Threads::spawn(workers)?;
    let mut sources = open_sources(prepared, &world, &start, &threads.threads())?;
    let mut exchanges = connect(prepared, &shared, &budget, workers);
    let (mut commands, mut parts) = (Vec::with_capacity(workers), Vec::with_capacity(workers));
    let times = prepared.metrics.workers(workers);
    for (index, (state, time)) in states.into_iter().zip(times).enumerate() {
        let (command, receiver) = bounded(CHANNEL);
        commands.push(command);
        parts.push(Parts {
            index,
            shared: shared.clone(),
            instances: instances(prepared, &numbers, &shared)?,
            exchanges: exchanges.iter_mut().map(|e| e.as_mut().and_then(|ends| ends.pop_front())).collect(),
            sources: sources.get_mut(index).map(std::mem::take).unwrap_or_default(),
            sinks: sinks.writers.clone(),
            state,
            commands: receiver,
            events: events.clone(),
            time,
        });
    }
    drop(events);
    let savepoints = Savepoints::open(dir, &prepared.plan.name, prepared.access())?;
    start_reading(&world, &start)?;
    prepared.metrics.resumed(start.epoch);
    prepared.metrics.set_ready(true);
    let mut coordinator = Coordinator {
        shared: shared.clone(),
        workers: threads.handles(&commands),
        events: from_workers,
        stop: control.stop.clone(),
        run: Run {
            id: start.run.clone(),
            began_from: start.began_from.clone(),
            plan_hash: prepared.plan.hash.clone(),
            shards: prepared.plan.shards,
            operators,
        },
        names,
        files: Files::new(store, start.checkpoint.as_ref(), disk)?,
        splits: recover::split_infos(&world, &start),
        producers: sinks.producers,
        discovery: world::discovery(prepared, &world),
        log: world.log,
        consumer: world.consumer,
        local_sinks: sinks.locals,
        savepoints,
        metrics: prepared.metrics.clone(),
        interval: prepared.job.spec.checkpoint.interval.as_std(),
        dirty_bytes: prepared.job.spec.checkpoint.dirty_bytes.as_usize(),
        output_bytes: prepared.job.spec.checkpoint.output_bytes.as_usize(),
        delivery_timeout: world::BROKER_TIMEOUT,
        drain_timeout: DRAIN_TIMEOUT,
        epoch: start.epoch,
        last_commit: None,
        holds_first: sinks.has_unknown,
        first: None,
        began: clock::monotonic(),
        has_progressed: false,
        attempted: Vec::new(),
        trace: Default::default(),
        ends: Default::default(),
    };
    coordinator.begin(start.new);
    // From here on outputs may be in the transaction, and whatever fails is the coordinator's to clear up.
    parts.into_iter().for_each(|parts| threads.hand_over(parts));
    let outcome = coordinator.run();
    shared.aborted.store(true, Ordering::Relaxed);
    if let Some(consumer) = &coordinator.consumer {
        consumer.stop_fetching();
    }
    threads.stop(&commands);
    past.ended(coordinator.end());
    Ok(outcome?)
}

fn share(prepared: &Prepared, control: &Arc<Control>, world: &World, budget: &Budget, workers: usize) -> Arc<Shared> {
    let runtime = &prepared.job.spec.runtime;
    let splits = world.splits.iter().map(|s| SplitName { topic: s.topic.clone(), partition: s.partition }).collect();
    Arc::new(Shared {
        plan: prepared.plan.clone(),
        workers,
        settings: worker::Settings {
            batch_records: prepared.settings.batch_records.unwrap_or(runtime.batch_records as usize).max(1),
            batch_bytes: runtime.batch_bytes.as_usize(),
            state_batch_bytes: runtime.state_batch_bytes.as_usize(),
            held_bytes: budget.held,
            state_bytes: budget.state / workers,
            fresh_instance_per_batch: prepared.settings.fresh_instance_per_batch,
        },
        metrics: prepared.metrics.clone(),
        tracer: prepared.settings.tracer.clone(),
        splits: Arc::new(splits),
        stopping: control.stop.clone(),
        aborted: false.into(),
        dirty_bytes: 0.into(),
        output_bytes: 0.into(),
        skip_log: Default::default(),
        wants_spill: false.into(),
    })
}

/// The workers' threads, each waiting for its parts: they have to exist before anything can be told to wake them.
struct Threads {
    threads: Vec<(JoinHandle<()>, Sender<(Parts, Vec<Thread>)>, Weak<()>)>,
}

impl Threads {
    fn spawn(workers: usize) -> Result<Self, Error> {
        let mut threads = Vec::with_capacity(workers);
        for index in 0..workers {
            let (sender, receiver): (Sender<(Parts, Vec<Thread>)>, Receiver<_>) = bounded(1);
            let alive = Arc::new(());
            let watched = Arc::downgrade(&alive);
            let name = format!("weir-worker-{index}");
            let body = move || {
                // Nothing comes when the attempt failed before its workers could start.
                if let Ok((parts, threads)) = receiver.recv() {
                    Worker::new(parts).run(&threads);
                }
                drop(alive);
            };
            let handle = std::thread::Builder::new().name(name.clone()).stack_size(WORKER_STACK).spawn(body);
            let handle = handle.map_err(|source| commit::Error::Thread { name, source })?;
            threads.push((handle, sender, watched));
        }
        Ok(Self { threads })
    }

    fn threads(&self) -> Vec<Thread> {
        self.threads.iter().map(|(handle, ..)| handle.thread().clone()).collect()
    }

    fn hand_over(&self, parts: Parts) {
        if let Some((_, sender, _)) = self.threads.get(parts.index) {
            // The thread waits for exactly this.
            let _ = sender.send((parts, self.threads()));
        }
    }

    fn handles(&self, commands: &[Sender<Command>]) -> Vec<WorkerHandle> {
        let handle = |((handle, _, alive), commands): (&(JoinHandle<()>, _, Weak<()>), &Sender<Command>)| WorkerHandle {
            commands: commands.clone(),
            thread: handle.thread().clone(),
            alive: alive.clone(),
        };
        self.threads.iter().zip(commands).map(handle).collect()
    }

    /// Ends the workers and waits for them.
    fn stop(self, commands: &[Sender<Command>]) {
        for ((handle, ..), commands) in self.threads.iter().zip(commands) {
            // A worker that has ended already needs no command; one with a full channel is about to look at it.
            let _ = commands.send(Command::Stop);
            handle.thread().unpark();
        }
    }
}

/// Waited for, because workers hold clients, files and RocksDB's lock, which the next attempt needs. One that got no
/// command ends by its closed channel.
impl Drop for Threads {
    fn drop(&mut self) {
        for (handle, sender, _) in self.threads.drain(..) {
            drop(sender);
            if handle.join().is_err() {
                tracing::error!("a worker panicked");
            }
        }
    }
}

fn instances(prepared: &Prepared, numbers: &[StateNumbers], shared: &Shared) -> Result<Vec<Instance>, Error> {
    let mut instances = Vec::with_capacity(prepared.loaded.len());
    for ((loaded, numbers), metrics) in prepared.loaded.iter().zip(numbers).zip(&prepared.guest_metrics) {
        let (job, numbers) = (prepared.plan.name.as_str().into(), Arc::new(numbers.clone()));
        let context = InstanceContext { job, numbers, splits: shared.splits.clone(), metrics: Some(metrics.clone()) };
        let mut instance = Instance::new(loaded.clone(), context);
        instance.warm()?;
        instances.push(instance);
    }
    Ok(instances)
}

/// Per operator the ends of its exchange, one pair a worker; none where nothing has to be exchanged.
fn connect(
    prepared: &Prepared,
    shared: &Shared,
    budget: &Budget,
    workers: usize,
) -> Vec<Option<std::collections::VecDeque<(exchange::Outbox, exchange::Inbox)>>> {
    let settings = &shared.settings;
    let max_bytes = exchange::batch_bytes(budget.exchange, workers, prepared.plan.keyed().count(), settings.batch_bytes);
    let ends = |(operator, loaded): (&crate::plan::OperatorNode, &Arc<crate::operator::Loaded>)| {
        let inputs = loaded.declared().inputs.len();
        let exchanged = operator.key.is_some() && workers > 1;
        exchanged.then(|| exchange::connect(workers, inputs, settings.batch_records, max_bytes).into())
    };
    prepared.plan.operators.iter().zip(&prepared.loaded).map(ends).collect()
}

/// The sinks of an attempt.
#[derive(Default)]
struct Sinks {
    writers: Vec<SinkWriter>,
    /// Of at-least-once outputs.
    producers: Vec<OutputProducer>,
    locals: Vec<(String, Arc<LocalSink>)>,
    /// The checkpoint that the run goes on from does not know one of the local ones.
    has_unknown: bool,
}

impl Sinks {
    /// Cuts files back to what is committed. Not before the run is: until then an older run may need what they hold.
    fn cut(&self) -> Result<(), Error> {
        let cut = |(id, sink): &(String, Arc<LocalSink>)| sink.cut().map_err(|source| commit::Error::Sink { id: id.clone(), source });
        Ok(self.locals.iter().try_for_each(cut)?)
    }
}

/// How many producers of outputs there are: one of all exactly-once sinks, and one of each other.
fn producers(prepared: &Prepared) -> usize {
    let delivery = |sink: &weir_spec::Sink| sink.kafka.as_ref().map(|kafka| kafka.delivery);
    let deliveries: Vec<_> = prepared.job.spec.sinks.iter().filter_map(delivery).collect();
    let at_least_once = deliveries.iter().filter(|delivery| **delivery == Delivery::AtLeastOnce).count();
    at_least_once + usize::from(at_least_once < deliveries.len())
}

fn open_sinks(prepared: &Prepared, budget: &Budget, world: &World, start: &Start, fresh: bool) -> Result<Sinks, Error> {
    let mut sinks = Sinks::default();
    for (index, sink) in prepared.job.spec.sinks.iter().enumerate() {
        match sink.connector() {
            SinkConnector::Kafka(kafka) => {
                let producer = match (kafka.delivery, world.log.outputs()) {
                    (Delivery::ExactlyOnce, Some(transactional)) => transactional.clone(),
                    _ => {
                        let cluster = world::cluster(prepared, &kafka.brokers, &kafka.properties)?;
                        let bytes = || world.message_bytes.get(index).into_iter().flatten().copied();
                        let (largest, smallest) = (bytes().max().unwrap_or_default(), bytes().min().unwrap_or_default());
                        let settings = world::producer_settings(prepared, budget, largest, smallest);
                        let producer = OutputProducer::new(&cluster, &settings)?;
                        sinks.producers.push(producer.clone());
                        producer
                    }
                };
                let handle = |topic| producer.topic(topic, kafka.compression.as_str(), world::BROKER_TIMEOUT);
                let handles = kafka.topics().map(handle).collect::<Result<_, _>>()?;
                let topics = Arc::new(Topics::new(kafka, &world.record_bytes(index)));
                sinks.writers.push(SinkWriter::Kafka { producer, topics, handles });
            }
            connector => {
                // A savepoint may be started from elsewhere, where what the sink had written is not.
                let elsewhere = start.savepoint.is_some() && !is_there(prepared, connector);
                let known = start.sink_bytes(&sink.id).filter(|_| !elsewhere);
                let begin = match (start.new && start.savepoint.is_none(), fresh, known) {
                    (true, true, _) => crate::sink::Start::Fresh,
                    (true, false, _) => crate::sink::Start::New,
                    (false, _, Some(committed)) => crate::sink::Start::Resume { committed },
                    // While a run is empty, all that is in the file is what the run itself left uncommitted.
                    (false, _, None) if start.checkpoint.is_none() && start.savepoint.is_none() => {
                        crate::sink::Start::Resume { committed: 0 }
                    }
                    // A sink that the checkpoint does not know: nothing in that file is this job's to cut.
                    (false, _, None) => crate::sink::Start::New,
                };
                sinks.has_unknown |= !start.new && start.checkpoint.is_some() && known.is_none();
                let local = LocalSink::open(connector, &prepared.settings.base_dir, begin);
                let local = Arc::new(local.map_err(|source| commit::Error::Sink { id: sink.id.clone(), source })?);
                sinks.locals.push((sink.id.clone(), local.clone()));
                sinks.writers.push(SinkWriter::Local(local));
            }
        }
    }
    Ok(sinks)
}

fn is_there(prepared: &Prepared, connector: SinkConnector<'_>) -> bool {
    matches!(connector, SinkConnector::File(file) if prepared.settings.base_dir.join(&file.path).exists())
}

/// Source partition p belongs to shard p mod S (rule 1), and a shard to worker shard mod W.
fn owner(prepared: &Prepared, partition: usize, workers: usize) -> usize {
    partition % usize::from(prepared.plan.shards) % workers
}

fn open_sources(prepared: &Prepared, world: &World, start: &Start, threads: &[Thread]) -> Result<Vec<Vec<SourceReader>>, Error> {
    let workers = threads.len();
    let mut readers: Vec<Vec<SourceReader>> = threads.iter().map(|_| Vec::new()).collect();
    for (source, spec) in prepared.job.spec.sources.iter().enumerate() {
        let splits = world.splits.iter().zip(&start.positions).enumerate().filter(|(_, (s, _))| s.source == source);
        let SourceConnector::Kafka(_) = spec.connector() else {
            for (split, (_, position)) in splits {
                let worker = split % workers;
                let (Some(thread), Some(of_worker)) = (threads.get(worker), readers.get_mut(worker)) else { continue };
                let place = (prepared.settings.base_dir.as_path(), &prepared.stdin);
                let opened = LocalSource::open(spec.connector(), place, split as u32, *position, thread.clone());
                let opened = opened.map_err(|source| worker::Error::Source { id: spec.id.clone(), source })?;
                let reader = Reader::Local { source: Box::new(opened), split: split as u32, ended: false };
                of_worker.push(SourceReader::new(source, &spec.id, reader));
            }
            continue;
        };
        let Some(consumer) = &world.consumer else { continue };
        let mut owned: Vec<Vec<(u32, &world::Split, i64)>> = threads.iter().map(|_| Vec::new()).collect();
        for (split, (info, position)) in splits {
            if let Some(of_worker) = owned.get_mut(owner(prepared, info.partition as usize, workers)) {
                of_worker.push((split as u32, info, *position));
            }
        }
        for ((owned, of_worker), thread) in owned.into_iter().zip(&mut readers).zip(threads) {
            if owned.is_empty() {
                continue;
            }
            let mut queue = consumer.queue()?;
            let thread = thread.clone();
            queue.on_ready(Arc::new(move || thread.unpark()));
            for (split, info, _) in &owned {
                queue.own(&info.topic, info.partition, *split)?;
            }
            let next: HashMap<_, _> = owned.iter().map(|(split, _, position)| (*split, *position)).collect();
            let ends = owned.iter().filter_map(|(split, info, position)| {
                let end = info.bounds?.end;
                (*position < end).then_some((*split, end))
            });
            let until = prepared.settings.until_end.then(|| ends.collect());
            of_worker.push(SourceReader::new(source, &spec.id, Reader::Kafka { queue, next, until }));
        }
    }
    Ok(readers)
}

fn start_reading(world: &World, start: &Start) -> Result<(), Error> {
    let Some(consumer) = &world.consumer else { return Ok(()) };
    let kafka = world.splits.iter().zip(&start.positions).filter(|(s, _)| s.bounds.is_some());
    let starts: Vec<_> = kafka.map(|(s, position)| (s.topic.as_str(), s.partition, *position)).collect();
    Ok(consumer.assign(&starts)?)
}
