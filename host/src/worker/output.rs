//! Where a worker's records leave: sinks, and the outputs held back while those of the epoch before are being flushed.

use super::{Error, Shared};
use crate::{
    clock,
    kafka::{Outbox, OutputProducer, ProduceError, TopicHandle},
    metrics::WorkerMetrics,
    record::Batch,
    sink::LocalSink,
};
use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// Wait for room in librdkafka's queue; it is emptied by its own threads.
const QUEUE_FULL_WAIT: Duration = Duration::from_micros(500);

/// A write to a local sink that takes as long is waiting for it, no work.
const SLOW_WRITE: Duration = Duration::from_millis(1);

/// A sink as a worker sees it.
#[derive(Clone)]
pub(crate) enum SinkWriter {
    /// A Kafka topic; the producer is the process's.
    Kafka {
        /// Producer shared by the workers.
        producer: OutputProducer,
        /// Topic.
        topic: Arc<TopicHandle>,
        /// Bytes of key, value and headers that a record may have.
        room: usize,
    },
    /// File, stdout or blackhole.
    Local(Arc<LocalSink>),
}

impl SinkWriter {
    /// Bytes of key, value and headers that a record may have.
    pub fn room(&self) -> usize {
        match self {
            Self::Kafka { room, .. } => *room,
            Self::Local(_) => usize::MAX,
        }
    }
}

/// The sinks of one worker.
pub(super) struct Output {
    shared: Arc<Shared>,
    sinks: Vec<SinkWriter>,
    /// While an epoch is being flushed, what belongs to the next one waits here.
    held: Option<VecDeque<(usize, Batch)>>,
    held_bytes: usize,
    spare: Vec<Batch>,
    outbox: Outbox,
    time: Arc<WorkerMetrics>,
    /// How long it has waited for room since that was last asked for.
    waited: Duration,
}

impl Output {
    pub fn new(shared: Arc<Shared>, sinks: Vec<SinkWriter>, time: Arc<WorkerMetrics>) -> Self {
        let (spare, outbox, waited) = (Vec::new(), Outbox::new(), Duration::ZERO);
        Self { shared, sinks, held: None, held_bytes: 0, spare, outbox, time, waited }
    }

    /// The worker's times.
    pub fn time(&self) -> &WorkerMetrics {
        &self.time
    }

    /// How long it has waited for room in a sink since the last call of this.
    pub fn take_waited(&mut self) -> Duration {
        std::mem::take(&mut self.waited)
    }

    /// Writes a batch, or holds it back.
    pub fn write(&mut self, sink: usize, batch: &Batch) -> Result<(), Error> {
        let Some(held) = &mut self.held else { return self.write_through(sink, batch) };
        let mut copy = self.spare.pop().unwrap_or_default();
        copy.clear();
        copy.extend_range(batch, 0..batch.len());
        self.held_bytes += copy.footprint();
        held.push_back((sink, copy));
        Ok(())
    }

    /// From now on outputs are held back: they belong to the next epoch.
    pub fn hold(&mut self) {
        self.held.get_or_insert_default();
    }

    /// The epoch before is delivered: what was held back goes out.
    pub fn release(&mut self) -> Result<(), Error> {
        for (sink, batch) in self.held.take().into_iter().flatten() {
            self.write_through(sink, &batch)?;
            if self.spare.len() < 4 {
                self.spare.push(batch);
            }
        }
        self.held_bytes = 0;
        Ok(())
    }

    /// Whether so much is held back that the worker has to wait for the commit.
    pub fn is_full(&self) -> bool {
        self.held_bytes > self.shared.settings.held_bytes
    }

    fn write_through(&mut self, sink: usize, batch: &Batch) -> Result<(), Error> {
        let Some(writer) = self.sinks.get(sink).cloned() else { return Ok(()) };
        self.shared.metrics.sink(sink).add(batch.len(), batch.data_len());
        match writer {
            SinkWriter::Local(local) => {
                // Whoever reads a pipe may stop reading: that is waiting, as for a topic.
                let begin = clock::monotonic();
                let written = self.time.wait(|| local.write(batch));
                self.waited += Some(clock::since(begin)).filter(|took| *took >= SLOW_WRITE).unwrap_or_default();
                written.map_err(|source| Error::Sink { id: self.id(sink), source })
            }
            SinkWriter::Kafka { producer, topic, .. } => self.produce(sink, &producer, &topic, batch),
        }
    }

    fn produce(&mut self, sink: usize, producer: &OutputProducer, topic: &TopicHandle, batch: &Batch) -> Result<(), Error> {
        producer.arrange(topic, batch, 0..batch.len(), None, &mut self.outbox);
        loop {
            match producer.produce_batch(topic, batch, &mut self.outbox) {
                Ok(_) | Err(ProduceError::QueueFull) => {}
                Err(ProduceError::Broken(error)) => return Err(error.into()),
                Err(error) => {
                    let row = self.outbox.take_next().unwrap_or(0);
                    let (topic, partition, offset) = self.shared.origin(batch, row);
                    return Err(Error::Produce { sink: self.id(sink), topic, partition, offset, reason: error.to_string() });
                }
            }
            failpoint!("produce");
            if self.outbox.is_empty() {
                return Ok(());
            }
            if self.shared.aborted.load(Ordering::Relaxed) {
                return Err(Error::Stopped);
            }
            let begin = clock::monotonic();
            std::thread::park_timeout(QUEUE_FULL_WAIT);
            self.waited += clock::since(begin);
            self.time.beat();
        }
    }

    fn id(&self, sink: usize) -> String {
        self.shared.plan.sinks.get(sink).cloned().unwrap_or_default()
    }
}
