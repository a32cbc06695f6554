//! Sources as a worker reads them.

use super::Error;
use crate::{kafka::WorkerQueue, record::Batch, source};
use std::{collections::HashMap, time::Duration};

/// What a worker reads from.
pub(crate) enum Reader {
    /// Partitions of a Kafka cluster.
    Kafka {
        queue: WorkerQueue,
        /// Per split the offset to go on from.
        next: HashMap<u32, i64>,
        /// Bounded runs: per split the offset to stop at, until it is reached.
        until: Option<HashMap<u32, i64>>,
    },
    /// File, stdin or generator.
    Local { source: Box<source::LocalSource>, split: u32, ended: bool },
}

/// A source of one worker.
pub(crate) struct SourceReader {
    node: usize,
    id: String,
    reader: Reader,
}

impl SourceReader {
    /// `node` is the index of the source in the plan, `id` its id.
    pub fn new(node: usize, id: &str, reader: Reader) -> Self {
        Self { node, id: id.to_owned(), reader }
    }

    /// Index of the source in the plan.
    pub fn node(&self) -> usize {
        self.node
    }

    /// Appends what is there. Never waits.
    pub fn fetch(&mut self, records: usize, bytes: usize, into: &mut Batch) -> Result<(), Error> {
        match &mut self.reader {
            Reader::Local { ended: true, .. } => Ok(()),
            Reader::Local { source, ended, .. } => match source.fetch(records, bytes, into) {
                Ok(source::Fetched::End) => {
                    *ended = true;
                    Ok(())
                }
                Ok(source::Fetched::Records(_) | source::Fetched::Idle) => Ok(()),
                Err(error) => Err(Error::Source { id: self.id.clone(), source: error }),
            },
            Reader::Kafka { queue, next, until } => {
                if let Err(error) = queue.fetch(records, bytes, into) {
                    if !error.is_transient() {
                        return Err(error.into());
                    }
                    tracing::warn!(source = self.id, %error, "fetch failed; librdkafka tries again");
                }
                advance(into, next);
                while let Some(end) = queue.take_end() {
                    let position = next.entry(end.split).or_insert(end.offset);
                    *position = end.offset.max(*position);
                }
                if let Some(until) = until {
                    until.retain(|split, end| next.get(split).is_none_or(|n| n < end));
                }
                Ok(())
            }
        }
    }

    /// Ends the source: partitions where `ends` says, a file at its end, what has none where it is.
    pub fn end_at(&mut self, ends: &HashMap<u32, i64>) {
        match &mut self.reader {
            Reader::Kafka { next, until, .. } => {
                let left = next.iter().filter_map(|(split, next)| Some((*split, *ends.get(split).filter(|end| *end > next)?)));
                *until = Some(left.collect());
            }
            Reader::Local { source, ended, .. } => *ended |= !matches!(**source, source::LocalSource::File(_)),
        }
    }

    /// Whether everything up to the end has been fetched.
    pub fn exhausted(&self) -> bool {
        match &self.reader {
            Reader::Kafka { until, .. } => until.as_ref().is_some_and(HashMap::is_empty),
            Reader::Local { ended, .. } => *ended,
        }
    }

    /// Ends an epoch: per split the position to go on from.
    pub fn end_epoch(&mut self) -> Vec<(u32, i64)> {
        match &mut self.reader {
            Reader::Kafka { next, .. } => next.iter().map(|(split, next)| (*split, *next)).collect(),
            Reader::Local { source, split, .. } => {
                source.end_epoch();
                vec![(*split, source.position())]
            }
        }
    }

    /// The epochs that have ended are committed.
    pub fn committed(&self) {
        if let Reader::Local { source, .. } = &self.reader {
            source.committed();
        }
    }

    /// Bytes that the source keeps until the running epoch is committed.
    pub fn kept_bytes(&self) -> usize {
        match &self.reader {
            Reader::Local { source, .. } => source.kept_bytes(),
            Reader::Kafka { .. } => 0,
        }
    }

    /// When to look again although nobody wakes the worker.
    pub fn next_wake(&self) -> Option<Duration> {
        match &self.reader {
            Reader::Local { source, ended: false, .. } => source.next_wake(),
            Reader::Local { .. } | Reader::Kafka { .. } => None,
        }
    }
}

/// Moves the positions behind the records fetched. Runs of one split are long: one look-up each.
fn advance(fetched: &Batch, next: &mut HashMap<u32, i64>) {
    let mut i = fetched.len();
    let mut last = None;
    while i > 0 {
        i -= 1;
        let origin = fetched.row(i).origin;
        if last != Some(origin.split) {
            last = Some(origin.split);
            let position = next.entry(origin.split).or_insert(0);
            *position = (*position).max(origin.offset + 1);
        }
    }
}
