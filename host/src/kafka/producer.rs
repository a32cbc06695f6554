//! Output records.

use super::consumer::partitions_of;
use super::error::Error;
use super::ffi::{self, NewHeaders, ProducerClient, ProducerTopic};
use super::outbox::{Outbox, choose};
use super::properties::{Cluster, topic_name};
use crate::record::{Batch, RowRef};
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::producer::Producer as _;
use std::ffi::CString;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Events served by one [`OutputProducer::poll`].
const EVENTS: usize = 32;
/// Longest wait inside a flush before events are served again: failed deliveries are only settled by serving them.
const FLUSH_STEP_MS: i32 = 10;

/// What a producer is made with.
#[derive(Debug, Clone)]
pub struct ProducerSettings {
    /// Name of the client in the broker's logs and quotas.
    pub client_id: String,
    /// Most records that wait for their acknowledgement.
    pub queue_records: u32,
    /// Most KiB of values that wait for their acknowledgement.
    pub queue_kib: u32,
    /// Bytes of the largest record.
    pub record_bytes: usize,
    /// Bytes of the largest batch of several records.
    pub batch_bytes: usize,
}

/// What librdkafka puts into a message or a batch unless told otherwise.
const DEFAULT_BYTES: usize = 1_000_000;

impl ProducerSettings {
    /// Settings for records and batches of the usual sizes.
    #[must_use]
    pub fn new(client_id: &str, queue_records: u32, queue_kib: u32) -> Self {
        Self { client_id: client_id.to_owned(), queue_records, queue_kib, record_bytes: DEFAULT_BYTES, batch_bytes: DEFAULT_BYTES }
    }
}

/// Why a record was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProduceError {
    /// Try again when acknowledgements have come; poll meanwhile.
    #[error("the producer's queue is full")]
    QueueFull,
    /// The record is larger than `message.max.bytes` of the client.
    #[error("topic `{topic}`: a record of {bytes} bytes is larger than the producer takes (message.max.bytes)")]
    TooLarge {
        /// The topic.
        topic: String,
        /// Bytes of key and value.
        bytes: usize,
    },
    /// The record has no place in the topic: no such partition, or a timestamp that no broker takes.
    #[error(transparent)]
    Failed(#[from] Error),
    /// No fault of this record: the transaction has failed, or the producer is fenced or failed for good.
    #[error(transparent)]
    Broken(Error),
}

/// Produces records, from several threads at once: idempotent and in order per partition and thread.
///
/// A record accepted is acknowledged by all in-sync replicas once [`OutputProducer::flush_until`] has succeeded, or
/// [`OutputProducer::check`] fails from then on. Clones share one client.
#[derive(Clone)]
pub struct OutputProducer {
    client: Arc<ProducerClient>,
}

/// A topic to produce to.
pub struct TopicHandle {
    topic: ProducerTopic,
    name: String,
    partitions: u32,
    /// Where records without a key go next; moved on from batch to batch, so that each fills one partition's request.
    keyless: AtomicU32,
}

impl TopicHandle {
    /// The topic's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Number of partitions when the handle was made; records with keys go by it.
    #[must_use]
    pub fn partitions(&self) -> u32 {
        self.partitions
    }
}

impl OutputProducer {
    /// A plain producer, outside of transactions.
    ///
    /// # Errors
    /// [`Error::Configuration`].
    pub fn new(cluster: &Cluster, settings: &ProducerSettings) -> Result<Self, Error> {
        Self::with(cluster, settings, &[], &[])
    }

    /// A producer with more properties, such as the job may change and such as Weir owns.
    pub(super) fn with(
        cluster: &Cluster,
        settings: &ProducerSettings,
        more: &[(&str, &str)],
        more_owned: &[(&str, &str)],
    ) -> Result<Self, Error> {
        let (records, kib) = (settings.queue_records.to_string(), settings.queue_kib.to_string());
        // Between what librdkafka admits.
        let record_bytes = settings.record_bytes.clamp(1000, 1_000_000_000).to_string();
        let batch_bytes = settings.batch_bytes.clamp(1000, DEFAULT_BYTES).to_string();
        let defaults = [
            ("linger.ms", "2"),
            ("batch.num.messages", "100000"),
            ("batch.size", batch_bytes.as_str()),
            ("message.max.bytes", record_bytes.as_str()),
            ("reconnect.backoff.max.ms", "1000"),
            ("retry.backoff.ms", "10"),
            ("retry.backoff.max.ms", "1000"),
        ];
        let owned = [
            ("enable.idempotence", "true"),
            ("acks", "all"),
            ("delivery.report.only.error", "true"),
            ("allow.auto.create.topics", "false"),
            ("queue.buffering.max.messages", records.as_str()),
            ("queue.buffering.max.kbytes", kib.as_str()),
        ];
        let config = cluster.config(&settings.client_id, &[&defaults[..], more].concat(), &[&owned[..], more_owned].concat());
        let client: ProducerClient =
            config.create_with_context(cluster.context()?).map_err(|e| Error::from_call("create a producer", &e))?;
        Ok(Self { client: Arc::new(client) })
    }

    pub(super) fn client(&self) -> &ProducerClient {
        &self.client
    }

    /// A handle of a topic that exists, with the codec of its records as librdkafka names it (`none`, `lz4`, …).
    ///
    /// # Errors
    /// [`Error::MissingTopic`], [`Error::NotAuthorised`], or the cluster does not answer in time.
    pub fn topic(&self, name: &str, codec: &str, timeout: Duration) -> Result<TopicHandle, Error> {
        self.count_partitions(name, timeout)?;
        // Again: every answer makes librdkafka ask for a producer id, unless its connection was not quite up at the first.
        // Left alone it would try again after half a second, in which nothing can be produced.
        let partitions = self.count_partitions(name, timeout)?;
        let refused = || Error::Configuration { name: None, reason: format!("librdkafka made no handle of topic `{name}` with {codec}") };
        let codec = CString::new(codec).map_err(|_| refused())?;
        let topic = ProducerTopic::new(Arc::clone(&self.client), &topic_name(name)?, &codec).ok_or_else(refused)?;
        Ok(TopicHandle { topic, name: name.into(), partitions, keyless: AtomicU32::new(0) })
    }

    fn count_partitions(&self, topic: &str, timeout: Duration) -> Result<u32, Error> {
        let partitions = partitions_of(self.client.client(), topic, timeout)?;
        Ok(u32::try_from(partitions.len()).unwrap_or(u32::MAX))
    }

    /// Produces one record: to `partition`, or else by murmur2 of its key as the Java client does, or else (no key) to the partition
    /// whose turn it is. The timestamp 0 becomes 1 (librdkafka would put the current time in its place).
    ///
    /// # Errors
    /// The record was not accepted.
    pub fn produce<'h>(
        &self,
        topic: &TopicHandle,
        row: RowRef<'_>,
        headers: impl Iterator<Item = (&'h [u8], Option<&'h [u8]>)>,
        partition: Option<i32>,
    ) -> Result<(), ProduceError> {
        let partitions = topic.partitions();
        let keyless = if row.key.is_none() && partition.is_none() { next_keyless(topic, partitions) } else { 0 };
        let partition = partition.unwrap_or_else(|| choose(row.key, partitions, keyless));
        topic.topic.produce(partition, row, NewHeaders::copy(headers)).map_err(|code| self.refusal(topic, partition, row, code))
    }

    /// Puts `rows` of a batch into an outbox, each with its partition as [`OutputProducer::produce`] chooses it; those
    /// without a key stay together. What was in the outbox is forgotten.
    pub fn arrange(
        &self,
        topic: &TopicHandle,
        batch: &Batch,
        rows: impl Iterator<Item = usize>,
        partition: Option<i32>,
        outbox: &mut Outbox,
    ) {
        let partitions = topic.partitions();
        outbox.refill(batch, rows, partition, partitions, next_keyless(topic, partitions));
    }

    /// Produces what is in the outbox, rows of the batch that it was arranged from, and returns how many were accepted:
    /// they are taken out of it. What remains did not fit into the queue: poll and call again, meanwhile doing something else.
    ///
    /// # Errors
    /// The outbox's next row was refused, for another reason than a full queue. [`Outbox::take_next`] takes it out.
    pub fn produce_batch(&self, topic: &TopicHandle, batch: &Batch, outbox: &mut Outbox) -> Result<usize, ProduceError> {
        let with_headers = batch.headers().is_some();
        let before = outbox.len();
        while let Some((partition, i)) = outbox.peek() {
            let row = batch.row(i);
            let headers = if with_headers { NewHeaders::copy(batch.row_headers(i)) } else { None };
            match topic.topic.produce(partition, row, headers) {
                Ok(()) => outbox.take_next(),
                Err(Code::QueueFull) => break,
                Err(code) => return Err(self.refusal(topic, partition, row, code)),
            };
        }
        Ok(before - outbox.len())
    }

    /// Serves logs, errors and failed deliveries. To be called now and then while producing, and while the queue is full.
    pub fn poll(&self) {
        for _ in 0..EVENTS {
            self.client.poll(Duration::ZERO);
        }
        self.client.context().find_brokers(self.client.client());
    }

    /// Errors of the client since the last call: lost connections, authentication.
    #[must_use]
    pub fn take_errors(&self) -> Vec<Error> {
        self.client.context().take_errors()
    }

    /// Fails once a record was not delivered or the producer failed for good, and then for ever: what was accepted after
    /// the lost record may be there without it.
    ///
    /// # Errors
    /// The producer's fatal error, [`Error::Fenced`] among them; [`Error::Delivery`] with the first record lost.
    pub fn check(&self) -> Result<(), Error> {
        // First: a producer that failed for good drops its records, and they are not the cause.
        if let Some((code, reason)) = self.client.client().fatal_error() {
            return Err(Error::client("kafka producer", code, &reason));
        }
        self.client.context().undelivered().map_or(Ok(()), Err)
    }

    /// Waits until all records accepted so far are acknowledged. Records that other threads produce meanwhile prolong it.
    ///
    /// # Errors
    /// As [`OutputProducer::check`]; [`Error::FlushDeadline`].
    pub fn flush_until(&self, deadline: Instant) -> Result<(), Error> {
        loop {
            let done = ffi::flush_step(&self.client, FLUSH_STEP_MS);
            self.poll();
            self.check()?;
            if done {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(Error::FlushDeadline { queued: self.queue_len() });
            }
        }
    }

    /// Waits until each record accepted so far is acknowledged or given up, as all are once the producer has failed for good;
    /// false where some are neither at the deadline.
    pub(super) fn settle_until(&self, deadline: Instant) -> bool {
        loop {
            let settled = ffi::flush_step(&self.client, FLUSH_STEP_MS) || self.client.client().fatal_error().is_some();
            self.poll();
            if settled || Instant::now() >= deadline {
                return settled;
            }
        }
    }

    fn refusal(&self, topic: &TopicHandle, partition: i32, row: RowRef<'_>, code: Code) -> ProduceError {
        let bytes = row.key.map_or(0, <[u8]>::len) + row.value.map_or(0, <[u8]>::len);
        match code {
            Code::QueueFull => ProduceError::QueueFull,
            Code::MessageSizeTooLarge => ProduceError::TooLarge { topic: topic.name.clone(), bytes },
            // The record that was lost before says more than that no other may follow it.
            Code::State | Code::Fatal => ProduceError::Broken(self.check().err().unwrap_or_else(|| Error::Broker {
                action: format!("topic `{}`: produce", topic.name),
                reason: "the transaction has failed".into(),
                transient: true,
            })),
            code => ProduceError::Failed(Error::partition("produce", &topic.name, partition, -1, code, "")),
        }
    }

    /// Records not yet acknowledged, and events not yet served.
    #[must_use]
    pub fn queue_len(&self) -> usize {
        usize::try_from(self.client.in_flight_count()).unwrap_or(0)
    }
}

fn next_keyless(topic: &TopicHandle, partitions: u32) -> u32 {
    topic.keyless.fetch_add(1, Ordering::Relaxed) % partitions.max(1)
}
