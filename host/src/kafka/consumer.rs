//! The consumer of one cluster: assignment, offsets, progress. Records come out of its [`WorkerQueue`]s.

use super::context::Context;
use super::error::Error;
use super::ffi::{self, Client};
use super::properties::{Cluster, topic_name};
use super::queue::{Owned, WorkerQueue};
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::sync::Arc;
use std::time::Duration;

/// Events served by one call of [`Consumer::poll_events`]: log lines and errors come in bursts, and a call has to be short.
const EVENTS: usize = 32;

/// What a consumer is made with.
#[derive(Debug, Clone)]
pub struct ConsumerSettings {
    /// Group whose committed offsets [`Consumer::committed`] reads. The consumer never joins it.
    pub group: String,
    /// Name of the client in the broker's logs and quotas.
    pub client_id: String,
    /// Memory for records fetched ahead, in bytes.
    pub prefetch: usize,
    /// Worker queues that share it.
    pub queues: usize,
    /// Whether queues report that a partition's end is reached, also where the last offsets are no records.
    pub report_ends: bool,
    /// Whether only what is committed is read, and [`Consumer::committed`] waits for transactions that are on their way.
    pub stable: bool,
}

/// Where to start reading a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// The first record that is still there.
    Earliest,
    /// Behind the last committed record.
    Latest,
    /// The first record with this time or a later one, in milliseconds since the Unix epoch; behind the last record when there is none.
    Timestamp(i64),
    /// This offset.
    Offset(i64),
}

/// Bounds of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermarks {
    /// Offset of the first record that is still there.
    pub low: i64,
    /// The last stable offset: behind the last record that a reader of committed records can see.
    pub end: i64,
}

/// What a group has committed for a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// Offset of the next record; `None` when the group has committed nothing.
    pub offset: Option<i64>,
    /// The commit's metadata; bytes that are not UTF-8 (none that Weir commits) are replaced.
    pub metadata: String,
}

/// How far a partition has been read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// Offset behind the last record handed out or kept in a queue; `None` before the first.
    pub position: Option<i64>,
    /// The partition's high watermark as of the last fetch; `None` before the first.
    pub high: Option<i64>,
}

/// What librdkafka keeps beside what is in a fetched record, in bytes.
const RECORD_OVERHEAD: usize = 400;

/// Where fetching pauses.
#[derive(Debug, PartialEq, Eq)]
struct Prefetch {
    /// Records in a queue.
    records: usize,
    /// KiB of their values; keys and headers are in no limit of librdkafka's.
    kib: usize,
    /// Bytes of a broker's answer, which are taken in whole.
    answer: usize,
}

impl Prefetch {
    /// Half of the memory for values, half for what is beside them, which for short records is more. An answer comes on top:
    /// for records of 60 bytes about half of the memory again, for shorter ones more. It cannot be less than a megabyte.
    fn of(memory: usize, queues: usize) -> Self {
        let of_queue = memory / 2 / queues.max(1);
        Self {
            records: (of_queue / RECORD_OVERHEAD).clamp(100, 10_000_000),
            kib: (of_queue / 1024).clamp(64, 1 << 20),
            answer: (memory / 16).clamp(1 << 20, 48 << 20),
        }
    }
}

/// Reads partitions of one cluster; one for each process and cluster.
///
/// Guarantees: never joins a group, never commits, never chooses an offset. Every partition has one [`WorkerQueue`], and
/// is assigned once: to go back to an earlier offset, drop the queues and make a new consumer.
///
/// Assumes that [`Consumer::poll_events`] is called at least every second.
pub struct Consumer {
    client: Arc<Client>,
    owned: Owned,
}

impl Consumer {
    /// A consumer without partitions. Makes no connection yet.
    ///
    /// # Errors
    /// [`Error::Configuration`].
    pub fn new(cluster: &Cluster, settings: &ConsumerSettings) -> Result<Self, Error> {
        let prefetch = Prefetch::of(settings.prefetch, settings.queues);
        let (records, kib) = (prefetch.records.to_string(), prefetch.kib.to_string());
        // librdkafka refuses an answer that may be shorter than a request.
        let request = cluster.property("message.max.bytes").and_then(|bytes| bytes.parse().ok()).unwrap_or(0).min(1_000_000_000);
        let answer = prefetch.answer.max(request).to_string();
        let of_partition = prefetch.answer.min(4 << 20).to_string();
        let ends = settings.report_ends.to_string();
        let defaults = [
            ("fetch.max.bytes", answer.as_str()),
            ("fetch.message.max.bytes", of_partition.as_str()),
            // Data that is there is answered at once; this is how long an idle fetch keeps out a newly assigned partition.
            ("fetch.wait.max.ms", "50"),
            // A full queue is looked at again after this: the default of 1 s lets a fast reader run dry.
            ("fetch.queue.backoff.ms", "10"),
            ("fetch.error.backoff.ms", "100"),
            ("reconnect.backoff.max.ms", "1000"),
            // The stable fetch of offsets waits for open transactions in these steps.
            ("retry.backoff.ms", "10"),
            ("retry.backoff.max.ms", "10"),
            ("check.crcs", "false"),
        ];
        let owned = [
            ("group.id", settings.group.as_str()),
            ("group.protocol", "classic"),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", "error"),
            ("isolation.level", if settings.stable { "read_committed" } else { "read_uncommitted" }),
            ("allow.auto.create.topics", "false"),
            ("queued.max.messages.kbytes", kib.as_str()),
            ("queued.min.messages", records.as_str()),
            ("enable.partition.eof", ends.as_str()),
        ];
        let config = cluster.config(&settings.client_id, &defaults, &owned);
        let client: Client = config.create_with_context(cluster.context()?).map_err(|e| Error::from_call("create a consumer", &e))?;
        Ok(Self { client: Arc::new(client), owned: Owned::default() })
    }

    /// A queue for one worker.
    ///
    /// # Errors
    /// When librdkafka makes none.
    pub fn queue(&self) -> Result<WorkerQueue, Error> {
        WorkerQueue::new(Arc::clone(&self.client), Arc::clone(&self.owned))
    }

    /// Starts reading partitions, each from its offset. Their queues have to own them already. Partitions assigned
    /// before go on.
    ///
    /// # Errors
    /// [`Error::TopicName`]; [`Error::Stray`] for a partition that no queue owns; librdkafka's refusal of a partition that is assigned already.
    pub fn assign(&self, starts: &[(&str, i32, i64)]) -> Result<(), Error> {
        let owned = self.owned.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((topic, partition, _)) = starts.iter().find(|(t, p, _)| !owned.contains(&((*t).to_owned(), *p))) {
            return Err(Error::Stray { topic: (*topic).into(), partition: *partition });
        }
        let list = list(starts.iter().map(|(t, p, o)| (*t, *p, Offset::from_raw(*o))))?;
        self.client.incremental_assign(&list).map_err(|e| Error::from_call("assign partitions", &e))
    }

    /// Stops fetching. What a queue has not taken from librdkafka yet is fetched again once it goes on.
    ///
    /// # Errors
    /// [`Error::TopicName`]. A partition that is not assigned is passed over.
    pub fn pause(&self, partitions: &[(&str, i32)]) -> Result<(), Error> {
        self.client.pause(&unset(partitions)?).map_err(|e| Error::from_call("pause partitions", &e))
    }

    /// Stops fetching of all partitions, for good: to be called before queues are dropped, or librdkafka goes on with what
    /// nobody will take.
    pub fn stop_fetching(&self) {
        let owned = self.owned.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let partitions: Vec<_> = owned.iter().map(|(topic, partition)| (topic.as_str(), *partition)).collect();
        // It fails for a topic's name only, and their queues have taken them.
        let _ = self.pause(&partitions);
    }

    /// Serves logs and events of the client, and returns its errors since the last call, oldest first: lost connections,
    /// authentication. Errors of partitions come out of [`WorkerQueue::fetch`].
    #[must_use]
    pub fn poll_events(&self) -> Vec<Error> {
        let mut errors = Vec::new();
        for _ in 0..EVENTS {
            if let Some(Ok(message)) = self.client.poll(Duration::ZERO) {
                use rdkafka::Message as _;
                errors.push(Error::Stray { topic: message.topic().into(), partition: message.partition() });
            }
        }
        self.client.context().find_brokers(self.client.client());
        errors.extend(self.client.context().take_errors());
        errors
    }

    /// The partitions of a topic, ascending.
    ///
    /// # Errors
    /// [`Error::MissingTopic`], [`Error::NotAuthorised`], or the cluster does not answer in time.
    pub fn partitions(&self, topic: &str, timeout: Duration) -> Result<Vec<i32>, Error> {
        partitions_of(self.client.client(), topic, timeout)
    }

    /// Bounds of partitions, asked from the broker.
    ///
    /// # Errors
    /// Of the first partition that has one.
    pub fn watermarks(&self, partitions: &[(&str, i32)], timeout: Duration) -> Result<Vec<Watermarks>, Error> {
        let at = |offset| self.query(list(partitions.iter().map(|(t, p)| (*t, *p, offset)))?, timeout);
        let (low, end) = (at(Offset::Beginning)?, at(Offset::End)?);
        Ok(low.into_iter().zip(end).map(|(low, end)| Watermarks { low, end }).collect())
    }

    /// The offsets that positions mean now, in the same order. [`Position::Offset`] is returned as it is; whether it is
    /// still there shows when it is read.
    ///
    /// # Errors
    /// Of the first partition that has one.
    pub fn offsets_for_start(&self, starts: &[(&str, i32, Position)], timeout: Duration) -> Result<Vec<i64>, Error> {
        let raw = |position| match position {
            Position::Earliest => Offset::Beginning,
            Position::Latest => Offset::End,
            Position::Timestamp(at) => Offset::Offset(at.max(0)),
            Position::Offset(offset) => Offset::Offset(offset),
        };
        let asked: Vec<_> = starts.iter().filter(|(_, _, p)| !matches!(p, Position::Offset(_))).collect();
        let found = self.query(list(asked.iter().map(|(t, p, at)| (*t, *p, raw(*at))))?, timeout)?;
        // No record with that time or a later one: the end.
        let behind: Vec<_> = asked.iter().zip(&found).filter(|(_, offset)| **offset < 0).map(|((t, p, _), _)| (*t, *p)).collect();
        let mut ends = self.query(list(behind.iter().map(|(t, p)| (*t, *p, Offset::End)))?, timeout)?.into_iter();
        let mut found = found.into_iter();
        let one = |(topic, partition, position): &(&str, i32, Position)| {
            let missing = || Error::MissingPartition { topic: (*topic).into(), partition: *partition };
            match position {
                Position::Offset(offset) => Ok(*offset),
                _ => match found.next().ok_or_else(missing)? {
                    offset if offset < 0 => ends.next().ok_or_else(missing),
                    offset => Ok(offset),
                },
            }
        };
        starts.iter().map(one).collect()
    }

    /// Asks the partitions' leaders for offsets, by time or as bounds, as a reader of committed records sees them.
    fn query(&self, list: TopicPartitionList, timeout: Duration) -> Result<Vec<i64>, Error> {
        if list.count() == 0 {
            return Ok(Vec::new());
        }
        let asked = list.clone();
        let found = self.client.offsets_for_times(list, timeout).map_err(|e| self.explain(&asked, &e, timeout))?;
        found
            .elements()
            .iter()
            .map(|e| element_error("list offsets", e).map_or_else(|| Ok(e.offset().to_raw().unwrap_or(-1)), Err))
            .collect()
    }

    /// librdkafka fails the whole query without saying which topic or partition is not there.
    fn explain(&self, asked: &TopicPartitionList, error: &KafkaError, timeout: Duration) -> Error {
        for element in asked.elements() {
            match self.partitions(element.topic(), timeout) {
                Err(named) => return named,
                Ok(partitions) if !partitions.contains(&element.partition()) => {
                    return Error::MissingPartition { topic: element.topic().into(), partition: element.partition() };
                }
                Ok(_) => {}
            }
        }
        Error::from_call("list offsets", error)
    }

    /// All topics of the cluster with their partitions, Kafka's own left out.
    ///
    /// # Errors
    /// The cluster does not answer in time.
    pub fn topics(&self, timeout: Duration) -> Result<Vec<(String, Vec<i32>)>, Error> {
        let metadata = self.client.client().fetch_metadata(None, timeout).map_err(|e| Error::from_call("list topics", &e))?;
        let of = |topic: &rdkafka::metadata::MetadataTopic| {
            let mut partitions: Vec<i32> = topic.partitions().iter().map(rdkafka::metadata::MetadataPartition::id).collect();
            partitions.sort_unstable();
            (topic.name().to_owned(), partitions)
        };
        let there = |topic: &&rdkafka::metadata::MetadataTopic| topic.error().is_none() && !topic.name().starts_with("__");
        Ok(metadata.topics().iter().filter(there).map(of).collect())
    }

    /// What the consumer's group has committed for partitions, in the same order. A stable one waits while a
    /// transaction that commits some of them is open.
    ///
    /// # Errors
    /// Of the first partition that has one, or no stable answer came in time. Never is a failure reported as "no offset".
    pub fn committed(&self, partitions: &[(&str, i32)], timeout: Duration) -> Result<Vec<Committed>, Error> {
        let list =
            self.client.committed_offsets(unset(partitions)?, timeout).map_err(|e| Error::from_call("fetch committed offsets", &e))?;
        let metadata = ffi::list_metadata(&list);
        let one = |(element, metadata): (_, Vec<u8>)| match element_error("fetch committed offsets", &element) {
            Some(error) => Err(error),
            None => Ok(Committed {
                topic: element.topic().into(),
                partition: element.partition(),
                offset: element.offset().to_raw().filter(|o| *o >= 0),
                metadata: String::from_utf8_lossy(&metadata).into_owned(),
            }),
        };
        list.elements().into_iter().zip(metadata).map(one).collect()
    }

    /// How far each assigned partition has been read, without asking the broker.
    ///
    /// # Errors
    /// When librdkafka does not know a partition.
    pub fn progress(&self) -> Result<Vec<Progress>, Error> {
        let list = self.client.position().map_err(|e| Error::from_call("read positions", &e))?;
        let one = |e: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| {
            let high = ffi::last_watermarks(&self.client, &topic_name(e.topic())?, e.partition()).map(|(_, high)| high);
            let position = e.offset().to_raw().filter(|o| *o >= 0);
            Ok(Progress { topic: e.topic().into(), partition: e.partition(), position, high })
        };
        list.elements().iter().map(one).collect()
    }
}

fn element_error(action: &str, element: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>) -> Option<Error> {
    let code = element.error().err()?.rdkafka_error_code()?;
    Some(Error::partition(action, element.topic(), element.partition(), -1, code, ""))
}

fn unset(partitions: &[(&str, i32)]) -> Result<TopicPartitionList, Error> {
    list(partitions.iter().map(|(t, p)| (*t, *p, Offset::Invalid)))
}

fn list<'a>(partitions: impl Iterator<Item = (&'a str, i32, Offset)>) -> Result<TopicPartitionList, Error> {
    let mut list = TopicPartitionList::new();
    for (topic, partition, offset) in partitions {
        topic_name(topic)?;
        list.add_partition_offset(topic, partition, offset).map_err(|e| Error::from_topic_call("offset", topic, &e))?;
    }
    Ok(list)
}

/// The partitions of a topic, ascending, by any client.
pub(super) fn partitions_of(client: &rdkafka::client::Client<Context>, topic: &str, timeout: Duration) -> Result<Vec<i32>, Error> {
    topic_name(topic)?;
    let metadata = client.fetch_metadata(Some(topic), timeout).map_err(|e| Error::from_topic_call("read metadata", topic, &e))?;
    let missing = || Error::MissingTopic { topic: topic.into() };
    let found = metadata.topics().iter().find(|t| t.name() == topic).ok_or_else(missing)?;
    if let Some(code) = found.error() {
        return Err(Error::topic("read metadata", topic, code.into(), ""));
    }
    let mut partitions: Vec<i32> = found.partitions().iter().map(rdkafka::metadata::MetadataPartition::id).collect();
    if partitions.is_empty() {
        return Err(missing());
    }
    partitions.sort_unstable();
    Ok(partitions)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn what_queues_hold_of_records_of_any_length_is_within_the_memory_given() {
        for memory in [4 << 20, 16 << 20, 64 << 20, 1 << 30] {
            for queues in [1, 2, 16, 32] {
                let prefetch = Prefetch::of(memory, queues);
                for bytes in [1, 60, 400, 10_000] {
                    let records = prefetch.records.min(prefetch.kib * 1024 / bytes);
                    let held = queues * records * (RECORD_OVERHEAD + bytes);
                    assert!(held <= memory, "{held} of {memory} for {bytes} bytes in {queues} queues");
                }
            }
        }
    }

    #[test]
    fn a_job_may_set_longer_requests_than_an_answer_is() {
        let settings =
            ConsumerSettings { group: "g".into(), client_id: "c".into(), prefetch: 1, queues: 1, report_ends: false, stable: true };
        let longer = BTreeMap::from([("message.max.bytes".to_owned(), "20000000".to_owned())]);
        assert!(Consumer::new(&Cluster::new("127.0.0.1:1", longer).unwrap(), &settings).is_ok());
    }
}
