//! Topics: what the `weir topics` commands do. Blocking calls with deadlines.

use super::consumer::{Consumer, ConsumerSettings, Position, Watermarks};
use super::context::Context;
use super::error::Error;
use super::ffi;
use super::producer::{OutputProducer, ProduceError, ProducerSettings};
use super::properties::{Cluster, topic_name};
use crate::clock;
use crate::record::{Batch, Origin, RowRef};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use std::collections::HashSet;
use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// A topic as the cluster describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicDescription {
    /// Its name.
    pub name: String,
    /// Its partitions, ascending.
    pub partitions: Vec<PartitionDescription>,
}

/// A partition as the cluster describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionDescription {
    /// Its number.
    pub partition: i32,
    /// Broker id of its leader; -1 without one.
    pub leader: i32,
    /// Broker ids of its replicas.
    pub replicas: Vec<i32>,
    /// Broker ids of those in sync.
    pub in_sync: Vec<i32>,
    /// Its bounds.
    pub bounds: Watermarks,
}

/// A record to produce by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The key; `None` is a null key.
    pub key: Option<Vec<u8>>,
    /// The value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
}

/// Manages and shows the topics of one cluster.
pub struct Admin {
    cluster: Cluster,
    client: AdminClient<Context>,
    timeout: Duration,
}

/// How often a call that waits looks whether its client has met an error.
const LOOK: Duration = Duration::from_millis(50);
/// Name of the client, and of the group that it never commits to.
const CLIENT: &str = "weir-topics";

impl Admin {
    /// An administrator whose calls end after `timeout`.
    ///
    /// # Errors
    /// [`Error::Configuration`].
    pub fn new(cluster: &Cluster, timeout: Duration) -> Result<Self, Error> {
        let config = cluster.config(CLIENT, &[], &[("allow.auto.create.topics", "false")]);
        let client = config.create_with_context(cluster.context()?).map_err(|e| Error::from_call("create an admin client", &e))?;
        Ok(Self { cluster: cluster.clone(), client, timeout })
    }

    /// Names and partition counts of all topics, by name; internal ones (`__…`) left out.
    ///
    /// # Errors
    /// The cluster does not answer in time.
    pub fn list(&self) -> Result<Vec<(String, usize)>, Error> {
        let metadata = self.client.inner().fetch_metadata(None, self.timeout).map_err(|e| self.named("list topics", &e))?;
        let shown = metadata.topics().iter().filter(|t| !t.name().starts_with("__"));
        let mut topics: Vec<_> = shown.map(|t| (t.name().to_owned(), t.partitions().len())).collect();
        topics.sort();
        Ok(topics)
    }

    /// Creates a topic with the cluster's replication factor and waits until its partitions have leaders.
    ///
    /// # Errors
    /// [`Error::TopicExists`], [`Error::TopicName`], [`Error::NotAuthorised`], what the broker has against the settings, or no answer in time.
    pub fn create(&self, topic: &str, partitions: u32, configs: &[(&str, &str)]) -> Result<(), Error> {
        topic_name(topic)?;
        let count = i32::try_from(partitions).unwrap_or(i32::MAX);
        let mut new = NewTopic::new(topic, count, TopicReplication::Fixed(-1));
        new.config = configs.to_vec();
        let options = AdminOptions::new().operation_timeout(Some(self.timeout)).request_timeout(Some(self.timeout));
        let deadline = Instant::now() + self.timeout;
        let results = self
            .answer("create a topic", self.client.create_topics([&new], &options), deadline)?
            .map_err(|e| self.named("create a topic", &e))?;
        for result in results {
            result.map_err(|(_, code)| Error::topic("create it", topic, code, ""))?;
        }
        self.await_leaders(topic, partitions as usize, deadline)
    }

    /// The controller answers before every broker knows the topic.
    fn await_leaders(&self, topic: &str, partitions: usize, deadline: Instant) -> Result<(), Error> {
        loop {
            let metadata = self.client.inner().fetch_metadata(Some(topic), self.timeout).map_err(|e| self.named("read metadata", &e))?;
            let led = metadata.topics().iter().flat_map(rdkafka::metadata::MetadataTopic::partitions).filter(|p| p.leader() >= 0).count();
            if led == partitions {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(self.late(&format!("topic `{topic}`: wait for leaders")));
            }
            clock::pause(Duration::from_millis(20));
        }
    }

    /// The largest batch of records that each topic takes (`max.message.bytes`), in the same order; `None` where this user
    /// may not see it.
    ///
    /// # Errors
    /// The cluster does not answer in time.
    pub fn max_message_bytes(&self, topics: &[&str]) -> Result<Vec<Option<usize>>, Error> {
        const ACTION: &str = "describe topics";
        let resources: Vec<_> = topics.iter().map(|topic| ResourceSpecifier::Topic(topic)).collect();
        let options = AdminOptions::new().request_timeout(Some(self.timeout));
        let described = self
            .answer(ACTION, self.client.describe_configs(&resources, &options), Instant::now() + self.timeout)?
            .map_err(|e| self.named(ACTION, &e))?;
        let largest = |described: rdkafka::admin::ConfigResourceResult| {
            let described = described.ok()?;
            described.get("max.message.bytes")?.value.as_ref()?.parse().ok()
        };
        Ok(described.into_iter().map(largest).collect())
    }

    /// Partitions, leaders and bounds of a topic.
    ///
    /// # Errors
    /// [`Error::MissingTopic`], [`Error::NotAuthorised`], or no answer in time.
    pub fn describe(&self, topic: &str) -> Result<TopicDescription, Error> {
        let consumer = self.consumer(false)?;
        let numbers = consumer.partitions(topic, self.timeout)?;
        let places: Vec<_> = numbers.iter().map(|p| (topic, *p)).collect();
        let bounds = consumer.watermarks(&places, self.timeout)?;
        let metadata = self.client.inner().fetch_metadata(Some(topic), self.timeout).map_err(|e| self.named("read metadata", &e))?;
        let mut partitions: Vec<_> = metadata.topics().iter().flat_map(rdkafka::metadata::MetadataTopic::partitions).collect();
        partitions.sort_by_key(|p| p.id());
        let describe = |(p, bounds): (&rdkafka::metadata::MetadataPartition, Watermarks)| PartitionDescription {
            partition: p.id(),
            leader: p.leader(),
            replicas: p.replicas().to_vec(),
            in_sync: p.isr().to_vec(),
            bounds,
        };
        Ok(TopicDescription { name: topic.into(), partitions: partitions.into_iter().zip(bounds).map(describe).collect() })
    }

    /// Produces lines with the current time and returns how many were acknowledged, which is all of them.
    ///
    /// # Errors
    /// [`Error::MissingTopic`], [`Error::Delivery`], a line too large, or not all acknowledged `timeout` after the last line.
    pub fn produce(&self, topic: &str, lines: impl Iterator<Item = Line>) -> Result<u64, Error> {
        let settings = ProducerSettings::new(CLIENT, 100_000, 65_536);
        let producer = OutputProducer::new(&self.cluster, &settings)?;
        let handle = producer.topic(topic, "none", self.timeout)?;
        let mut produced = 0;
        for line in lines {
            let timestamp = clock::now_ms();
            let row = RowRef { key: line.key.as_deref(), value: line.value.as_deref(), timestamp, origin: Origin { split: 0, offset: 0 } };
            loop {
                match producer.produce(&handle, row, std::iter::empty(), None) {
                    Ok(()) => break,
                    Err(ProduceError::QueueFull) => producer.flush_until(Instant::now() + self.timeout)?,
                    Err(ProduceError::Failed(error) | ProduceError::Broken(error)) => return Err(error),
                    Err(large @ ProduceError::TooLarge { .. }) => {
                        return Err(Error::Broker { action: "produce".into(), reason: large.to_string(), transient: false });
                    }
                }
            }
            produced += 1;
            if produced % 1000 == 0 {
                producer.poll();
                producer.check()?;
            }
        }
        producer.flush_until(Instant::now() + self.timeout)?;
        Ok(produced)
    }

    /// Shows the committed records of a topic from a position on, partition by partition in offset order, until `each` breaks; without
    /// `follow` also when every partition's end has been reached. `each` gets the partition, the record (its origin has the
    /// offset) and the batch and row that its headers stand in; between records it is called with `None`, at least every 100 ms, and may break.
    ///
    /// # Errors
    /// [`Error::MissingTopic`], [`Error::NotAuthorised`], [`Error::OffsetOutOfRange`], or no answer in time.
    pub fn consume(
        &self,
        topic: &str,
        from: Position,
        follow: bool,
        mut each: impl FnMut(Option<(i32, &Batch, usize)>) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let consumer = self.consumer(!follow)?;
        let mut queue = consumer.queue()?;
        let numbers = consumer.partitions(topic, self.timeout)?;
        let positions: Vec<_> = numbers.iter().map(|p| (topic, *p, from)).collect();
        let starts = consumer.offsets_for_start(&positions, self.timeout)?;
        let mut ended = HashSet::new();
        for p in &numbers {
            queue.own(topic, *p, p.cast_unsigned())?;
        }
        let assigned: Vec<_> = numbers.iter().zip(starts).map(|(p, start)| (topic, *p, start)).collect();
        consumer.assign(&assigned)?;
        let me = std::thread::current();
        queue.on_ready(Arc::new(move || me.unpark()));
        let mut batch = Batch::default();
        while follow || ended.len() < numbers.len() {
            batch.clear();
            match queue.fetch(1000, 1 << 20, &mut batch) {
                Ok(0) => {
                    if each(None).is_break() {
                        return Ok(());
                    }
                    std::thread::park_timeout(Duration::from_millis(100));
                }
                Ok(n) => {
                    for i in 0..n {
                        if each(Some((batch.row(i).origin.split.cast_signed(), &batch, i))).is_break() {
                            return Ok(());
                        }
                    }
                }
                Err(error) if error.is_transient() => {}
                Err(error) => return Err(error),
            }
            if let Some(fault) = consumer.poll_events().into_iter().find(|e| !e.is_transient()) {
                return Err(fault);
            }
            while let Some(end) = queue.take_end() {
                consumer.pause(&[(topic, end.split.cast_signed())])?;
                ended.insert(end.split);
            }
        }
        Ok(())
    }

    fn consumer(&self, report_ends: bool) -> Result<Consumer, Error> {
        let settings =
            ConsumerSettings { group: CLIENT.into(), client_id: CLIENT.into(), prefetch: 16 << 20, queues: 1, report_ends, stable: true };
        Consumer::new(&self.cluster, &settings)
    }

    /// The error of a call; a named one that the client met meanwhile (a wrong password) says more than "timed out".
    fn named(&self, action: &str, error: &rdkafka::error::KafkaError) -> Error {
        self.met().unwrap_or_else(|| Error::from_call(action, error))
    }

    /// What the client has met that no waiting mends.
    fn met(&self) -> Option<Error> {
        ffi::serve(self.client.inner());
        self.client.inner().context().find_brokers(self.client.inner());
        self.client.inner().context().take_errors().into_iter().find(|e| !e.is_transient())
    }

    /// Runs a future on this thread until its deadline, or until the client meets what no waiting mends: rdkafka's admin
    /// calls are completed by a thread of their client, which says nothing of a wrong password.
    fn answer<F: Future>(&self, action: &str, future: F, deadline: Instant) -> Result<F::Output, Error> {
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut task = std::task::Context::from_waker(&waker);
        let mut future = pin!(future);
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut task) {
                return Ok(output);
            }
            if let Some(named) = self.met() {
                return Err(named);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(self.late(action));
            }
            std::thread::park_timeout(left.min(LOOK));
        }
    }

    fn late(&self, action: &str) -> Error {
        Error::Broker { action: action.into(), reason: format!("no answer within {:?}", self.timeout), transient: true }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
