//! Where a worker's records leave: sinks, and the outputs held back while those of the epoch before are being flushed.

use super::{Error, Shared};
use crate::{
    clock,
    kafka::{Outbox, OutputProducer, ProduceError, TopicHandle},
    metrics::WorkerMetrics,
    record::Batch,
    sink::{LocalSink, Topics},
};
use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// Wait for room in librdkafka's queue; it is emptied by its own threads.
const QUEUE_FULL_WAIT: Duration = Duration::from_micros(500);

/// What is held back is gathered in a batch until it has so many records.
const HELD_RECORDS: usize = 8192;
/// Or until it has so many bytes of keys and values.
const HELD_BYTES: usize = 256 << 10;

/// A write to a local sink that takes as long is waiting for it, no work.
const SLOW_WRITE: Duration = Duration::from_millis(1);

/// A sink as a worker sees it.
#[derive(Clone)]
pub(crate) enum SinkWriter {
    /// Topics of Kafka; the producer is the process's.
    Kafka {
        /// Producer shared by the workers.
        producer: OutputProducer,
        /// Which topic a record goes to.
        topics: Arc<Topics>,
        /// The topics, in the same order.
        handles: Arc<[TopicHandle]>,
    },
    /// File, stdout or blackhole.
    Local(Arc<LocalSink>),
}

impl SinkWriter {
    /// Its topics, if it is one of Kafka.
    pub fn topics(&self) -> Option<Arc<Topics>> {
        match self {
            Self::Kafka { topics, .. } => Some(topics.clone()),
            Self::Local(_) => None,
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
    /// Bytes written in the running epoch.
    written: usize,
    /// Buffers of what was held back, for the next time: no more bytes than may be held back.
    spare: Vec<Batch>,
    outbox: Outbox,
    /// The position of each record's topic, where records choose.
    chosen: Vec<usize>,
    scratch: Vec<u8>,
    time: Arc<WorkerMetrics>,
    /// How long it has waited for room since that was last asked for.
    waited: Duration,
}

impl Output {
    pub fn new(shared: Arc<Shared>, sinks: Vec<SinkWriter>, time: Arc<WorkerMetrics>) -> Self {
        let (held_bytes, written, spare, chosen, scratch, waited) = Default::default();
        Self { shared, sinks, held: None, held_bytes, written, spare, outbox: Outbox::new(), chosen, scratch, time, waited }
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
        match held.back_mut() {
            Some((to, last)) if *to == sink && last.len() < HELD_RECORDS && last.data_len() < HELD_BYTES => {
                let before = last.footprint();
                last.extend_range(batch, 0..batch.len());
                self.held_bytes += last.footprint() - before;
            }
            _ => {
                let mut copy = self.spare.pop().unwrap_or_default();
                copy.extend_range(batch, 0..batch.len());
                self.held_bytes += copy.footprint();
                held.push_back((sink, copy));
            }
        }
        Ok(())
    }

    /// From now on outputs are held back: they belong to the next epoch.
    pub fn hold(&mut self) {
        self.shared.output_bytes.fetch_sub(std::mem::take(&mut self.written), Ordering::Relaxed);
        self.held.get_or_insert_default();
    }

    /// The epoch before is delivered: what was held back goes out.
    pub fn release(&mut self) -> Result<(), Error> {
        let mut kept: usize = self.spare.iter().map(Batch::footprint).sum();
        for (sink, mut batch) in self.held.take().into_iter().flatten() {
            self.write_through(sink, &batch)?;
            kept += batch.footprint();
            if kept <= self.shared.settings.held_bytes {
                batch.clear();
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
        self.written += batch.data_len();
        self.shared.output_bytes.fetch_add(batch.data_len(), Ordering::Relaxed);
        match writer {
            SinkWriter::Local(local) => {
                // Whoever reads a pipe may stop reading: that is waiting, as for a topic.
                let begin = clock::monotonic();
                let written = self.time.wait(|| local.write(batch));
                self.waited += Some(clock::since(begin)).filter(|took| *took >= SLOW_WRITE).unwrap_or_default();
                written.map_err(|source| Error::Sink { id: self.id(sink), source })
            }
            SinkWriter::Kafka { producer, topics, handles } if topics.are_chosen() => {
                let chosen = self.choose(sink, &topics, batch)?;
                for (position, handle) in handles.iter().enumerate() {
                    let rows = chosen.iter().enumerate().filter(|(_, of_row)| **of_row == position).map(|(row, _)| row);
                    producer.arrange(handle, batch, rows, None, &mut self.outbox);
                    self.produce(sink, &producer, handle, batch)?;
                }
                self.chosen = chosen;
                Ok(())
            }
            SinkWriter::Kafka { producer, handles, .. } => {
                let Some(handle) = handles.first() else { return Ok(()) };
                producer.arrange(handle, batch, 0..batch.len(), None, &mut self.outbox);
                self.produce(sink, &producer, handle, batch)
            }
        }
    }

    /// The position of each record's topic. What an operator emits was checked with its answer, so only what comes from a
    /// source can have none.
    fn choose(&mut self, sink: usize, topics: &Topics, batch: &Batch) -> Result<Vec<usize>, Error> {
        let mut chosen = std::mem::take(&mut self.chosen);
        chosen.clear();
        for row in 0..batch.len() {
            match topics.choose(batch, row, &mut self.scratch) {
                Ok(position) => chosen.push(position),
                Err(reason) => return Err(self.refused(sink, batch, row, reason)),
            }
        }
        Ok(chosen)
    }

    fn refused(&self, sink: usize, batch: &Batch, row: usize, reason: String) -> Error {
        let (topic, partition, offset) = self.shared.origin(batch, row);
        Error::Produce { sink: self.id(sink), topic, partition, offset, reason }
    }

    /// Produces what is in the outbox.
    fn produce(&mut self, sink: usize, producer: &OutputProducer, topic: &TopicHandle, batch: &Batch) -> Result<(), Error> {
        loop {
            match producer.produce_batch(topic, batch, &mut self.outbox) {
                Ok(_) | Err(ProduceError::QueueFull) => {}
                Err(ProduceError::Broken(error)) => return Err(error.into()),
                Err(error) => {
                    let row = self.outbox.take_next().unwrap_or(0);
                    return Err(self.refused(sink, batch, row, error.to_string()));
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
