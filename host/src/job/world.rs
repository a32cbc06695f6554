//! What is outside: clusters, topics and their partitions, local sources; and who of the workers reads what.

use super::{Error, Prepared, budget::Budget};
use crate::{
    checkpoint::LocalCommitLog,
    clock,
    commit::CommitLog,
    kafka::{Cluster, CommitProducer, CommitSettings, Consumer, ConsumerSettings, Position, ProducerSettings, Watermarks},
};
use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};
use weir_spec::{SinkConnector, SourceConnector, StartPosition};

/// Longest wait for an answer of a broker.
pub(super) const BROKER_TIMEOUT: Duration = Duration::from_secs(30);
/// A transaction left open is aborted by the broker after this; it holds up readers until then (rule 24).
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(15);

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
    /// Where a new run starts.
    pub start: i64,
}

/// The outside of a job.
pub(super) struct World {
    pub consumer: Option<Arc<Consumer>>,
    pub log: CommitLog,
    pub group: String,
    pub splits: Vec<Split>,
    /// Where the commit stands when no Kafka source carries it.
    pub single: Option<Single>,
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

pub(super) fn producer_settings(prepared: &Prepared, budget: &Budget) -> ProducerSettings {
    ProducerSettings { client_id: format!("weir-{}", prepared.plan.name), queue_records: 1_000_000, queue_kib: budget.produce_kib }
}

/// Connects, takes the transactional id over (which fences an older process), and looks at what there is to read.
///
/// # Errors
/// What cannot be reached, does not exist, or is not allowed.
pub(super) fn look(prepared: &Prepared, budget: &Budget, dir: &Path) -> Result<World, Error> {
    let name = &prepared.plan.name;
    let group = format!("weir-{name}");
    let commit_cluster = commit_cluster(prepared)?;
    let local = || Ok::<_, Error>(CommitLog::Local(LocalCommitLog::open_folder(dir)?));
    let log = match &commit_cluster {
        None => local()?,
        Some((cluster, sink_topic)) => {
            let settings = CommitSettings {
                transactional_id: group.clone(),
                transaction_timeout: TRANSACTION_TIMEOUT,
                producer: ProducerSettings { client_id: group.clone(), queue_records: 1000, queue_kib: 1024 },
            };
            // Before any offset is read (rule 7): from here on no older process can commit.
            let producer = CommitProducer::init(cluster, &settings, clock::monotonic() + BROKER_TIMEOUT)?;
            CommitLog::Kafka { producer, group: group.clone(), sink_topic: sink_topic.clone(), timeout: TRANSACTION_TIMEOUT / 2 }
        }
    };
    let single = match &commit_cluster {
        None => Some(Single::Local),
        Some((_, Some(topic))) => Some(Single::SinkTopic(topic.clone())),
        Some((_, None)) => None,
    };
    let consumer = match &commit_cluster {
        None => None,
        Some((cluster, _)) => {
            let queues = u32::try_from(prepared.workers()).unwrap_or(1);
            let settings = ConsumerSettings {
                group: group.clone(),
                client_id: group.clone(),
                prefetch_kib: (budget.fetch_kib / queues).max(1024),
                report_ends: prepared.settings.until_end,
            };
            Some(Arc::new(Consumer::new(cluster, &settings)?))
        }
    };
    let mut splits = Vec::new();
    for (source, spec) in prepared.job.spec.sources.iter().enumerate() {
        match (spec.connector(), &consumer) {
            (SourceConnector::Kafka(kafka), Some(consumer)) => kafka_splits(consumer, source, &spec.id, kafka, &mut splits)?,
            (connector, _) => splits.push(local_split(source, &spec.id, connector)),
        }
    }
    Ok(World { consumer, log, group, splits, single })
}

/// The cluster that holds the commit: that of the Kafka sources, or else of the first Kafka sink, whose topic is named then.
fn commit_cluster(prepared: &Prepared) -> Result<Option<(Cluster, Option<String>)>, Error> {
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
    if let Some((_, _, cluster)) = found {
        return Ok(Some((cluster, None)));
    }
    for sink in &prepared.job.spec.sinks {
        if let SinkConnector::Kafka(kafka) = sink.connector() {
            return Ok(Some((cluster(prepared, &kafka.brokers, &kafka.properties)?, Some(kafka.topic.clone()))));
        }
    }
    Ok(None)
}

fn kafka_splits(
    consumer: &Consumer,
    source: usize,
    id: &str,
    kafka: &weir_spec::KafkaSource,
    splits: &mut Vec<Split>,
) -> Result<(), Error> {
    for topic in &kafka.topics {
        let partitions = consumer.partitions(topic, BROKER_TIMEOUT)?;
        let named: Vec<_> = partitions.iter().map(|p| (topic.as_str(), *p)).collect();
        let bounds = consumer.watermarks(&named, BROKER_TIMEOUT)?;
        let position = match kafka.start_position {
            StartPosition::Earliest => Position::Earliest,
            StartPosition::Latest => Position::Latest,
        };
        let starts: Vec<_> = named.iter().map(|(topic, p)| (*topic, *p, position)).collect();
        let starts = consumer.offsets_for_start(&starts, BROKER_TIMEOUT)?;
        for ((partition, bounds), start) in partitions.into_iter().zip(bounds).zip(starts) {
            splits.push(Split { source, id: id.to_owned(), topic: topic.clone(), partition, bounds: Some(bounds), start });
        }
    }
    Ok(())
}

fn local_split(source: usize, id: &str, connector: SourceConnector<'_>) -> Split {
    let topic = match connector {
        SourceConnector::File(file) => file.path.display().to_string(),
        SourceConnector::Stdin(_) => "stdin".into(),
        SourceConnector::Generator(_) => "generator".into(),
        SourceConnector::Kafka(_) => String::new(),
    };
    Split { source, id: id.to_owned(), topic, partition: 0, bounds: None, start: 0 }
}
