//! Fetched records, one queue per worker.

use super::error::Error;
use super::ffi::{Client, FetchedMessage, MessageQueue, Waker};
use super::properties::topic_name;
use crate::record::{Batch, Origin, RowRef};
use rdkafka::error::RDKafkaErrorCode;
use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

/// All partitions that queues of one consumer own.
pub(super) type Owned = Arc<Mutex<HashSet<(String, i32)>>>;

/// The end of a partition: everything before `offset` has been fetched, and nothing committed is behind it yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionEnd {
    /// The split.
    pub split: u32,
    /// Offset of the next record: behind transaction markers and aborted records at the tail.
    pub offset: i64,
}

/// The records of the partitions that one worker owns.
///
/// Guarantees: per partition, records come in offset order. A record is handed out once. Dropping a queue drops what is
/// in it; the consumer it came from lives at least as long.
pub struct WorkerQueue {
    queue: MessageQueue,
    splits: Vec<OwnedSplit>,
    /// Split of the last record: runs of one partition are long.
    last: OwnedPlace,
    failed: Option<Error>,
    ends: VecDeque<PartitionEnd>,
    owned: Owned,
}

struct OwnedSplit {
    topic: String,
    place: OwnedPlace,
}

#[derive(Clone, Copy)]
struct OwnedPlace {
    /// Number of the topic in librdkafka; 0 until its first record.
    topic_id: usize,
    partition: i32,
    split: u32,
}

impl WorkerQueue {
    pub(super) fn new(client: Arc<Client>, owned: Owned) -> Result<Self, Error> {
        let refused = || Error::Configuration { name: None, reason: "librdkafka made no queue".into() };
        let queue = MessageQueue::new(client).ok_or_else(refused)?;
        let nowhere = OwnedPlace { topic_id: 0, partition: -1, split: 0 };
        Ok(Self { queue, splits: Vec::new(), last: nowhere, failed: None, ends: VecDeque::new(), owned })
    }

    /// Takes a partition: its records come to this queue and carry `split` as their origin. To be called before the
    /// partition is assigned; a partition has one queue for the consumer's lifetime.
    ///
    /// # Errors
    /// [`Error::TopicName`], [`Error::Taken`].
    pub fn own(&mut self, topic: &str, partition: i32, split: u32) -> Result<(), Error> {
        let name = topic_name(topic)?;
        let first = self.owned.lock().unwrap_or_else(PoisonError::into_inner).insert((topic.into(), partition));
        if !first {
            return Err(Error::Taken { topic: topic.into(), partition });
        }
        if !self.queue.forward(&name, partition) {
            return Err(Error::MissingPartition { topic: topic.into(), partition });
        }
        self.splits.push(OwnedSplit { topic: topic.into(), place: OwnedPlace { topic_id: 0, partition, split } });
        Ok(())
    }

    /// Sets who is told, by a librdkafka thread, when this queue stops being empty; unparking a thread or setting a flag
    /// is what it may do, nothing longer. It is called on the change only: park after [`WorkerQueue::fetch`] has
    /// returned 0, never before, or a filled queue stays unnoticed.
    pub fn on_ready(&mut self, waker: Waker) {
        self.queue.set_waker(waker);
    }

    /// Appends what has been fetched to `into` and returns how many records that were; 0 when there is nothing. It does
    /// not wait. A record that would take `into` beyond `max_bytes` of keys and values is kept for the next call, unless
    /// `into` is empty.
    ///
    /// # Errors
    /// Of a partition or of librdkafka, after the records before it have been handed out. Whether to go on is said by
    /// [`Error::is_transient`].
    pub fn fetch(&mut self, max_records: usize, max_bytes: usize, into: &mut Batch) -> Result<usize, Error> {
        let mut fetched = 0;
        while fetched < max_records {
            if self.failed.is_some() || self.queue.refill(max_records - fetched, 0) == 0 {
                break;
            }
            while fetched < max_records
                && let Some(message) = self.queue.peek()
            {
                if let Some(code) = message.error() {
                    self.event(code);
                    break;
                }
                let size = message.key().map_or(0, <[u8]>::len) + message.value().map_or(0, <[u8]>::len);
                if !into.is_empty() && into.data_len() + size > max_bytes {
                    return Ok(fetched);
                }
                let Some(split) = find(&mut self.splits, &mut self.last, message) else {
                    self.failed = Some(Error::Stray { topic: message.topic().into(), partition: message.partition() });
                    break;
                };
                if let Err(error) = copy(message, split, into) {
                    self.failed = Some(error);
                    break;
                }
                self.queue.advance();
                fetched += 1;
            }
        }
        match self.failed.take_if(|_| fetched == 0) {
            Some(error) => Err(error),
            None => Ok(fetched),
        }
    }

    /// The next partition end reached, for consumers that report ends. An end comes after the partition's records, and
    /// again when more have come since.
    pub fn take_end(&mut self) -> Option<PartitionEnd> {
        self.ends.pop_front()
    }

    /// Takes the error in the next message's place.
    fn event(&mut self, code: RDKafkaErrorCode) {
        let Some(message) = self.queue.peek() else { return };
        let (topic, partition, offset) = (message.topic(), message.partition(), message.offset());
        if code == RDKafkaErrorCode::PartitionEOF {
            if let Some(split) = find(&mut self.splits, &mut self.last, message) {
                self.ends.push_back(PartitionEnd { split, offset });
            }
        } else if topic.is_empty() {
            self.failed = Some(Error::client("fetch", code, &message.reason()));
        } else {
            self.failed = Some(Error::partition("fetch", topic, partition, offset, code, &message.reason()));
        }
        self.queue.advance();
    }
}

/// The split of a message's partition.
#[inline]
fn find(splits: &mut [OwnedSplit], last: &mut OwnedPlace, message: FetchedMessage<'_>) -> Option<u32> {
    let (topic_id, partition) = (message.topic_id(), message.partition());
    if last.topic_id != topic_id || last.partition != partition {
        *last = find_slowly(splits, message)?;
    }
    Some(last.split)
}

fn find_slowly(splits: &mut [OwnedSplit], message: FetchedMessage<'_>) -> Option<OwnedPlace> {
    let (topic_id, partition) = (message.topic_id(), message.partition());
    if let Some(known) = splits.iter().find(|s| s.place.topic_id == topic_id && s.place.partition == partition) {
        return Some(known.place);
    }
    let topic = message.topic();
    let first = splits.iter_mut().find(|s| s.place.partition == partition && s.topic == topic)?;
    first.place.topic_id = topic_id;
    Some(first.place)
}

#[inline]
fn copy(message: FetchedMessage<'_>, split: u32, into: &mut Batch) -> Result<(), Error> {
    let origin = Origin { split, offset: message.offset() };
    let row = RowRef { key: message.key(), value: message.value(), timestamp: message.timestamp(), origin };
    match message.headers() {
        Ok(None) => into.push(row),
        Ok(Some(headers)) => into.push_with_headers(row, headers),
        Err(code) => {
            let (topic, partition, offset) = (message.topic(), message.partition(), message.offset());
            return Err(Error::partition("headers cannot be read", topic, partition, offset, code, ""));
        }
    }
    Ok(())
}
