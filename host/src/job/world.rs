//! What is outside: clusters, topics and their partitions, local sources; and who of the workers reads what.

use super::{Error, Prepared, budget::Budget, past::Past};
use crate::{
    checkpoint::LocalCommitLog,
    clock::{self, Moment},
    commit::{CommitLog, Discovery, KafkaLog},
    kafka::{Admin, Cluster, CommitProducer, CommitSettings, Consumer, ConsumerSettings, Position, ProducerSettings, Watermarks},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::Duration,
};
use weir_spec::{Delivery, SinkConnector, SourceConnector, StartPosition};

/// What a topic takes unless it is told otherwise, and where nobody may see what it was told.
const DEFAULT_MESSAGE_BYTES: usize = 1_048_588;
/// What a batch of one record has beside key, value and headers, at most.
const BATCH_OVERHEAD: usize = 200;
/// Longest wait for an answer of a broker.
pub(super) const BROKER_TIMEOUT: Duration = Duration::from_secs(30);

/// A part of a source that is read by itself.
#[derive(Clone, Debug)]
pub(super) struct Split {
    /// Index of the source in the plan.
    pub source: usize,
    /// Id of the source.
    pub id: String,
    /// Topic, or path of a file.
    pub topic: String,
    /// Partition, 0 where there are none.
    pub partition: i32,
    /// First and last offset, for Kafka.
    pub bounds: Option<Watermarks>,
}

/// The outside of a job.
pub(super) struct World {
    pub consumer: Option<Arc<Consumer>>,
    pub log: CommitLog,
    pub group: String,
    pub splits: Vec<Split>,
    /// What each topic of each sink takes; nothing for a local sink.
    pub message_bytes: Vec<Vec<usize>>,
    /// Where the commit stands when no Kafka source carries it.
    pub single: Option<Single>,
}

impl World {
    /// Bytes of key, value and headers that a record of each topic of a sink may have.
    pub fn record_bytes(&self, sink: usize) -> Vec<usize> {
        self.message_bytes.get(sink).into_iter().flatten().map(|bytes| bytes.saturating_sub(BATCH_OVERHEAD)).collect()
    }

    /// A partition that every commit to Kafka names.
    pub fn committed_place(&self) -> Option<(String, i32)> {
        let of_split = self.splits.iter().find(|s| s.bounds.is_some()).map(|s| (s.topic.clone(), s.partition));
        of_split.or_else(|| match &self.single {
            Some(Single::SinkTopic(topic)) => Some((topic.clone(), 0)),
            _ => None,
        })
    }
}

/// The place of a commit that no split carries.
pub(super) enum Single {
    /// Partition 0 of a sink's topic.
    SinkTopic(String),
    /// A file.
    Local,
}

/// The cluster of a connector, secrets resolved.
pub(super) fn cluster(prepared: &Prepared, brokers: &str, properties: &weir_spec::Properties) -> Result<Cluster, Error> {
    let environment = &prepared.settings.environment;
    let resolved = properties.resolve(|name| environment.get(name).cloned(), &prepared.settings.base_dir)?;
    let properties: BTreeMap<_, _> = resolved.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    Ok(Cluster::new(brokers, properties)?)
}

/// For a producer into topics of which the largest and the smallest take batches of so many bytes.
pub(super) fn producer_settings(prepared: &Prepared, budget: &Budget, largest: usize, smallest: usize) -> ProducerSettings {
    let (client, kib) = (format!("weir-{}", prepared.plan.name), budget.produce_kib_for(largest));
    let settings = ProducerSettings::new(&client, budget.produce_records, kib);
    let batch_bytes = settings.batch_bytes.min(smallest.saturating_sub(BATCH_OVERHEAD));
    ProducerSettings { record_bytes: largest, batch_bytes, ..settings }
}

/// What each topic of each sink takes: bytes of a batch of records (`max.message.bytes`).
///
/// # Errors
/// What cannot be reached.
fn message_bytes(prepared: &Prepared) -> Result<Vec<Vec<usize>>, Error> {
    let mut admins: Vec<(Cluster, Admin)> = Vec::new();
    let mut all = Vec::with_capacity(prepared.job.spec.sinks.len());
    for sink in &prepared.job.spec.sinks {
        let SinkConnector::Kafka(kafka) = sink.connector() else {
            all.push(Vec::new());
            continue;
        };
        let cluster = cluster(prepared, &kafka.brokers, &kafka.properties)?;
        if !admins.iter().any(|(known, _)| *known == cluster) {
            admins.push((cluster.clone(), Admin::new(&cluster, BROKER_TIMEOUT)?));
        }
        let Some((_, admin)) = admins.iter().find(|(known, _)| *known == cluster) else { continue };
        let topics: Vec<_> = kafka.topics().collect();
        let mut bytes = admin.max_message_bytes(&topics)?;
        bytes.resize(topics.len(), None);
        all.push(bytes.into_iter().map(|bytes| bytes.unwrap_or(DEFAULT_MESSAGE_BYTES)).collect());
    }
    Ok(all)
}

/// Connects, takes the transactional id over (which fences an older process), and looks at what there is to read.
///
/// # Errors
/// What cannot be reached, does not exist, or is not allowed.
pub(super) fn look(prepared: &Prepared, budget: &Budget, dir: &Path, past: &Past) -> Result<World, Error> {
    let group = group(prepared);
    let place = CommitPlace::of(prepared)?;
    let settings = {
        let sources = prepared.job.spec.sources.iter().filter(|s| matches!(s.connector(), SourceConnector::Kafka(_))).count();
        ConsumerSettings {
            group: group.clone(),
            client_id: group.clone(),
            prefetch: budget.fetch,
            queues: sources * prepared.workers(),
            // Bounded runs stop there, and any run may be drained: behind the last record the end alone tells of what is
            // no record, markers of transactions above all (rule 26).
            report_ends: true,
            stable: true,
        }
    };
    let consumer = place.as_ref().map(|place| Consumer::new(&place.cluster, &settings).map(Arc::new)).transpose()?;
    let message_bytes = message_bytes(prepared)?;
    let single = match &place {
        None => Some(Single::Local),
        Some(CommitPlace { sink_topic: Some(topic), .. }) => Some(Single::SinkTopic(topic.clone())),
        Some(_) => None,
    };
    let log = match place {
        None => CommitLog::Local(LocalCommitLog::open_folder(dir)?),
        Some(place) => {
            past.check_owner(&place.cluster, &group)?;
            CommitLog::Kafka(Box::new(take_over(prepared, budget, &group, place, &message_bytes)?))
        }
    };
    let mut splits = Vec::new();
    for (source, spec) in prepared.job.spec.sources.iter().enumerate() {
        match (spec.connector(), &consumer) {
            (SourceConnector::Kafka(kafka), Some(consumer)) => kafka_splits(consumer, source, &spec.id, kafka, &mut splits)?,
            (connector, _) => splits.push(local_split(source, &spec.id, connector)),
        }
    }
    Ok(World { consumer, log, group, splits, message_bytes, single })
}

/// Looks whether another process has taken a running job over, whose checkpoint object is gone: that one deletes what it does
/// not need.
///
/// # Errors
/// As of [`Past::check_owner`].
pub(super) fn check_owner(prepared: &Prepared, past: &Past) -> Result<(), Error> {
    CommitPlace::of(prepared)?.map_or(Ok(()), |place| past.check_owner(&place.cluster, &group(prepared)))
}

/// Whose offsets are committed.
fn group(prepared: &Prepared) -> String {
    format!("weir-{}", prepared.plan.name)
}

/// Takes the transactional id over. Before any offset is read (rule 7): from here on no older process can commit.
fn take_over(
    prepared: &Prepared,
    budget: &Budget,
    group: &str,
    place: CommitPlace,
    message_bytes: &[Vec<usize>],
) -> Result<KafkaLog, Error> {
    let timeout = prepared.job.spec.checkpoint.transaction_timeout.as_std();
    let producer = if place.outputs {
        // Those of at-least-once sinks among them: a smaller batch than there could be does no harm.
        let sizes = || message_bytes.iter().flatten().copied();
        let default = DEFAULT_MESSAGE_BYTES;
        producer_settings(prepared, budget, sizes().max().unwrap_or(default), sizes().min().unwrap_or(default))
    } else {
        ProducerSettings::new(group, 1000, 1024)
    };
    let settings = CommitSettings { transactional_id: group.to_owned(), transaction_timeout: timeout, producer };
    let producer = CommitProducer::init(&place.producer, &settings, clock::monotonic() + BROKER_TIMEOUT)?;
    let (sink_topic, outputs) = (place.sink_topic, place.outputs);
    Ok(KafkaLog { producer, group: group.to_owned(), sink_topic, timeout, outputs, begun: Moment::now() })
}

/// Where a job with a Kafka connector commits.
struct CommitPlace {
    /// Where the offsets lie.
    cluster: Cluster,
    /// Without a Kafka source they are those of this sink's topic.
    sink_topic: Option<String>,
    /// The same cluster, with the properties of the transactional producer.
    producer: Cluster,
    /// Whether there are exactly-once sinks, whose outputs go through that producer.
    outputs: bool,
}

impl CommitPlace {
    /// The cluster of the Kafka sources, or else that of the first Kafka sink, exactly-once ones first; `None` without any.
    fn of(prepared: &Prepared) -> Result<Option<Self>, Error> {
        let mut sinks = Vec::new();
        for sink in &prepared.job.spec.sinks {
            if let SinkConnector::Kafka(kafka) = sink.connector() {
                sinks.push((&sink.id, kafka, cluster(prepared, &kafka.brokers, &kafka.properties)?));
            }
        }
        // Stable: those of one kind stay in the job file's order.
        sinks.sort_by_key(|(_, kafka, _)| kafka.delivery != Delivery::ExactlyOnce);
        let (cluster, sink_topic) = match (source_cluster(prepared)?, sinks.first()) {
            (Some(cluster), _) => (cluster, None),
            (None, Some((_, kafka, cluster))) => (cluster.clone(), kafka.topics().next().map(str::to_owned)),
            (None, None) => return Ok(None),
        };
        let mut exactly_once = sinks.into_iter().filter(|(_, kafka, _)| kafka.delivery == Delivery::ExactlyOnce);
        let Some((first, _, producer)) = exactly_once.next() else {
            return Ok(Some(Self { producer: cluster.clone(), cluster, sink_topic, outputs: false }));
        };
        let elsewhere = |id: &str, found: &Cluster| Error::SinkElsewhere {
            sink: id.to_owned(),
            found: found.brokers().to_owned(),
            expected: cluster.brokers().to_owned(),
        };
        if producer.brokers() != cluster.brokers() {
            return Err(elsewhere(first, &producer));
        }
        for (id, _, other) in exactly_once {
            if other.brokers() != cluster.brokers() {
                return Err(elsewhere(id, &other));
            }
            if other != producer {
                return Err(Error::TwoProducers { sink: id.clone(), first: first.clone() });
            }
        }
        Ok(Some(Self { cluster, sink_topic, producer, outputs: true }))
    }
}

/// The one cluster of all Kafka sources.
fn source_cluster(prepared: &Prepared) -> Result<Option<Cluster>, Error> {
    let mut found: Option<(&str, &str, Cluster)> = None;
    for source in &prepared.job.spec.sources {
        let SourceConnector::Kafka(kafka) = source.connector() else { continue };
        let cluster = cluster(prepared, &kafka.brokers, &kafka.properties)?;
        match &found {
            Some((first, expected, other)) if *other != cluster => {
                return Err(Error::TwoClusters {
                    what: format!("source {}", source.id),
                    found: kafka.brokers.clone(),
                    first: (*first).to_owned(),
                    expected: (*expected).to_owned(),
                });
            }
            Some(_) => {}
            None => found = Some((&source.id, &kafka.brokers, cluster)),
        }
    }
    Ok(found.map(|(_, _, cluster)| cluster))
}

fn kafka_splits(
    consumer: &Consumer,
    source: usize,
    id: &str,
    kafka: &weir_spec::KafkaSource,
    splits: &mut Vec<Split>,
) -> Result<(), Error> {
    let topics = topics_of(consumer, kafka)?;
    if let (Some(pattern), true) = (&kafka.topic_pattern, topics.is_empty()) {
        return Err(Error::NoTopic { source_id: id.to_owned(), pattern: pattern.clone() });
    }
    for (topic, partitions) in topics {
        if let Some(other) = splits.iter().find(|s| s.bounds.is_some() && s.topic == topic) {
            return Err(Error::TopicTwice { topic, first: other.id.clone(), second: id.to_owned() });
        }
        let named: Vec<_> = partitions.iter().map(|p| (topic.as_str(), *p)).collect();
        let bounds = consumer.watermarks(&named, BROKER_TIMEOUT)?;
        for (partition, bounds) in partitions.into_iter().zip(bounds) {
            splits.push(Split { source, id: id.to_owned(), topic: topic.clone(), partition, bounds: Some(bounds) });
        }
    }
    Ok(())
}

/// The topics of a source with their partitions.
fn topics_of(consumer: &Consumer, kafka: &weir_spec::KafkaSource) -> Result<Vec<(String, Vec<i32>)>, crate::kafka::Error> {
    let Some(pattern) = &kafka.topic_pattern else {
        return kafka.topics.iter().map(|topic| Ok((topic.clone(), consumer.partitions(topic, BROKER_TIMEOUT)?))).collect();
    };
    // The reader of job files has refused what is no expression; one that is none matches nothing.
    let Ok(pattern) = regex_lite::Regex::new(&format!("^(?:{pattern})$")) else { return Ok(Vec::new()) };
    let mut topics = consumer.topics(BROKER_TIMEOUT)?;
    topics.retain(|(topic, _)| pattern.is_match(topic));
    Ok(topics)
}

/// Where a new run starts to read each split.
///
/// # Errors
/// [`Error::StartPosition`], or what the brokers say.
pub(super) fn start_positions(prepared: &Prepared, world: &World) -> Result<Vec<i64>, Error> {
    let mut positions = Vec::with_capacity(world.splits.len());
    for (source, spec) in prepared.job.spec.sources.iter().enumerate() {
        let splits: Vec<_> = world.splits.iter().filter(|s| s.source == source).collect();
        match (spec.connector(), &world.consumer) {
            (SourceConnector::Kafka(kafka), Some(consumer)) => {
                let asked: Vec<_> = splits.iter().map(|s| (s.topic.as_str(), s.partition, position(kafka, s))).collect();
                let found = consumer.offsets_for_start(&asked, BROKER_TIMEOUT)?;
                named_offsets_are_there(kafka, &spec.id, &splits)?;
                positions.extend(found);
            }
            _ => positions.extend(splits.iter().map(|_| 0)),
        }
    }
    Ok(positions)
}

fn position(kafka: &weir_spec::KafkaSource, split: &Split) -> Position {
    match &kafka.start_position {
        StartPosition::Earliest => Position::Earliest,
        StartPosition::Latest => Position::Latest,
        StartPosition::Timestamp(time) => Position::Timestamp(*time),
        StartPosition::Offsets(offsets) => {
            let named = offsets.iter().find(|o| o.topic == split.topic && o.partition == split.partition);
            named.map_or(Position::Earliest, |named| Position::Offset(named.offset))
        }
    }
}

/// An offset that is not there would fail at the first fetch only, and a misspelt topic not at all.
fn named_offsets_are_there(kafka: &weir_spec::KafkaSource, id: &str, splits: &[&Split]) -> Result<(), Error> {
    let StartPosition::Offsets(offsets) = &kafka.start_position else { return Ok(()) };
    for named in offsets {
        let split = splits.iter().find(|s| s.topic == named.topic && s.partition == named.partition);
        let found = match split.and_then(|s| s.bounds) {
            None => "the source does not read".to_owned(),
            Some(bounds) if !(bounds.low..=bounds.end).contains(&named.offset) => format!("holds {} to {}", bounds.low, bounds.end),
            Some(_) => continue,
        };
        let (source_id, topic, partition, offset) = (id.to_owned(), named.topic.clone(), named.partition, named.offset);
        return Err(Error::StartPosition { source_id, topic, partition, offset, found });
    }
    Ok(())
}

/// Looks for new partitions as often as the most impatient source asks for. A bounded run reads what there was at its start.
pub(super) fn discovery(prepared: &Prepared, world: &World) -> Option<Discovery> {
    let consumer = world.consumer.clone().filter(|_| !prepared.settings.until_end)?;
    let sources: Vec<_> = prepared.job.spec.sources.iter().filter_map(|source| source.kafka.clone()).collect();
    let interval = sources.iter().map(|kafka| kafka.discovery_interval.as_std()).min()?;
    Some(Discovery::new(interval, move || {
        let mut found = BTreeSet::new();
        for kafka in &sources {
            for (topic, partitions) in topics_of(&consumer, kafka)? {
                found.extend(partitions.into_iter().map(|partition| (topic.clone(), partition)));
            }
        }
        Ok(found)
    }))
}

fn local_split(source: usize, id: &str, connector: SourceConnector<'_>) -> Split {
    let topic = match connector {
        SourceConnector::File(file) => file.path.display().to_string(),
        SourceConnector::Stdin(_) => "stdin".into(),
        SourceConnector::Generator(_) => "generator".into(),
        SourceConnector::Kafka(_) => String::new(),
    };
    Split { source, id: id.to_owned(), topic, partition: 0, bounds: None }
}
