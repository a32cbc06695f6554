//! Where a worker's records leave: sinks, and the outputs held back while the epoch before is being committed.

use super::{Error, Shared};
use crate::{
    kafka::{OutputProducer, ProduceError, TopicHandle},
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

/// A sink as a worker sees it.
#[derive(Clone)]
pub(crate) enum SinkWriter {
    /// A Kafka topic; the producer is the process's.
    Kafka {
        /// Producer shared by the workers.
        producer: Arc<OutputProducer>,
        /// Topic.
        topic: Arc<TopicHandle>,
    },
    /// File, stdout or blackhole.
    Local(Arc<LocalSink>),
}

/// The sinks of one worker.
pub(super) struct Output {
    shared: Arc<Shared>,
    sinks: Vec<SinkWriter>,
    /// While an epoch is being committed, what belongs to the next one waits here.
    held: Option<VecDeque<(usize, Batch)>>,
    held_bytes: usize,
    spare: Vec<Batch>,
}

impl Output {
    pub fn new(shared: Arc<Shared>, sinks: Vec<SinkWriter>) -> Self {
        Self { shared, sinks, held: None, held_bytes: 0, spare: Vec::new() }
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

    /// The epoch before is committed: what was held back goes out.
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

    fn write_through(&self, sink: usize, batch: &Batch) -> Result<(), Error> {
        let Some(writer) = self.sinks.get(sink) else { return Ok(()) };
        self.shared.metrics.sink(sink).add(batch.len(), batch.data_len());
        match writer {
            SinkWriter::Local(local) => local.write(batch).map_err(|source| Error::Sink { id: self.id(sink), source }),
            SinkWriter::Kafka { producer, topic } => self.produce(sink, producer, topic, batch),
        }
    }

    fn produce(&self, sink: usize, producer: &OutputProducer, topic: &TopicHandle, batch: &Batch) -> Result<(), Error> {
        let mut done = 0;
        while done < batch.len() {
            match producer.produce_batch(topic, batch, done..batch.len(), None) {
                Ok(accepted) => done += accepted,
                Err(ProduceError::QueueFull) => {}
                Err(error) => {
                    let (topic, partition, offset) = self.shared.origin(batch, done);
                    return Err(Error::Produce { sink: self.id(sink), topic, partition, offset, reason: error.to_string() });
                }
            }
            if done < batch.len() {
                if self.shared.aborted.load(Ordering::Relaxed) {
                    return Err(Error::Stopped);
                }
                std::thread::park_timeout(QUEUE_FULL_WAIT);
            }
        }
        Ok(())
    }

    fn id(&self, sink: usize) -> String {
        self.shared.plan.sinks.get(sink).cloned().unwrap_or_default()
    }
}
