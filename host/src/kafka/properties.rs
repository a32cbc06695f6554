//! Which librdkafka properties a job may set, and the base configuration of every client.

use super::context::Context;
use super::error::Error;
use super::ffi;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use std::collections::BTreeMap;
use std::ffi::CString;

const COMMITS: &str = "offsets are committed by Weir with the checkpoint";
const EXACTLY_ONCE: &str = "Weir's delivery guarantee rests on it";
const NAMED: &str = "it is derived from the job's name";
const GROUP: &str = "Weir assigns partitions itself";
const OPTION: &str = "it has an option of its own in the job file";
const ACCOUNTED: &str = "it is part of the job's memory budget";

/// Properties that Weir sets itself, each with the reason given to who tries.
pub const OWNED_PROPERTIES: &[(&str, &str)] = &[
    ("acks", EXACTLY_ONCE),
    ("allow.auto.create.topics", "a misspelt topic has to be an error"),
    ("auto.commit.enable", COMMITS),
    ("auto.commit.interval.ms", COMMITS),
    ("auto.offset.reset", "a lost offset is a fault, never a fresh start; see the source's start position"),
    ("bootstrap.servers", OPTION),
    ("client.id", NAMED),
    ("delivery.report.only.error", EXACTLY_ONCE),
    ("enable.auto.commit", COMMITS),
    ("enable.auto.offset.store", COMMITS),
    ("enable.gapless.guarantee", EXACTLY_ONCE),
    ("enable.idempotence", EXACTLY_ONCE),
    ("enable.partition.eof", "Weir needs it where a run is bounded"),
    ("group.id", NAMED),
    ("group.instance.id", NAMED),
    ("group.protocol", GROUP),
    ("isolation.level", EXACTLY_ONCE),
    ("log.queue", "logs go to Weir's log"),
    ("message.send.max.retries", EXACTLY_ONCE),
    ("metadata.broker.list", OPTION),
    ("partition.assignment.strategy", GROUP),
    ("partitioner", "records are partitioned as the Java client does, murmur2 of the key"),
    ("plugin.library.paths", "it would load foreign code into the process"),
    ("queue.buffering.max.kbytes", ACCOUNTED),
    ("queue.buffering.max.messages", ACCOUNTED),
    ("queued.max.messages.kbytes", ACCOUNTED),
    ("queued.min.messages", ACCOUNTED),
    ("request.required.acks", EXACTLY_ONCE),
    ("retries", EXACTLY_ONCE),
    ("statistics.interval.ms", "Weir has metrics of its own"),
    ("transaction.timeout.ms", OPTION),
    ("transactional.id", NAMED),
];

/// Other names of properties that have a default here. librdkafka takes the one that is set last, and they are set in no order.
const ALIASES: &[(&str, &str)] = &[("linger.ms", "queue.buffering.max.ms"), ("fetch.message.max.bytes", "max.partition.fetch.bytes")];

/// A Kafka cluster as a job names it: brokers and librdkafka properties (security, sockets, tuning), checked against
/// [`OWNED_PROPERTIES`]. Its debug form shows no property's value: it may be a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Cluster {
    brokers: String,
    properties: BTreeMap<String, String>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("brokers", &self.brokers).field("properties", &self.properties.keys()).finish()
    }
}

impl Cluster {
    /// A cluster by its bootstrap addresses (`host:port,host:port`) and properties.
    ///
    /// # Errors
    /// [`Error::OwnedProperty`] for the first property that Weir sets itself.
    pub fn new(brokers: &str, properties: BTreeMap<String, String>) -> Result<Self, Error> {
        let cluster = Self { brokers: brokers.into(), properties: BTreeMap::new() };
        cluster.with(properties)
    }

    /// The same cluster with more properties, as a sink or source sets them for itself; they win over the cluster's.
    ///
    /// # Errors
    /// [`Error::OwnedProperty`] for the first property that Weir sets itself.
    pub fn with(&self, properties: BTreeMap<String, String>) -> Result<Self, Error> {
        for name in properties.keys() {
            if let Some((_, reason)) = OWNED_PROPERTIES.iter().find(|(owned, _)| owned == name) {
                return Err(Error::OwnedProperty { name: name.clone(), reason });
            }
        }
        let mut merged = self.properties.clone();
        merged.extend(properties);
        Ok(Self { brokers: self.brokers.clone(), properties: merged })
    }

    /// The bootstrap addresses.
    #[must_use]
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// A property that the job sets.
    pub(super) fn property(&self, name: &str) -> Option<&str> {
        self.properties.get(name).map(String::as_str)
    }

    /// The context of a client. Every client begins with this, so the first one sets what librdkafka's memory goes by.
    pub(super) fn context(&self) -> Result<Context, Error> {
        ffi::keep_freed_memory();
        let refused = |_| Error::Configuration { name: Some("bootstrap.servers".into()), reason: "a NUL byte".into() };
        CString::new(self.brokers.as_str()).map(Context::new).map_err(refused)
    }

    /// A client's configuration: `defaults`, over them the job's properties, over these what Weir owns.
    pub(super) fn config(&self, client_id: &str, defaults: &[(&str, &str)], owned: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set_log_level(RDKafkaLogLevel::Warning);
        let aliased = |name: &str| ALIASES.iter().any(|(of, alias)| *of == name && self.properties.contains_key(*alias));
        for (name, value) in defaults.iter().filter(|(name, _)| !aliased(name)) {
            config.set(*name, *value);
        }
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        config.set("bootstrap.servers", &self.brokers).set("client.id", client_id);
        for (name, value) in owned {
            config.set(*name, *value);
        }
        config
    }
}

/// A topic name as C wants it, after checking it: rdkafka and librdkafka abort on what no broker would take.
pub(super) fn topic_name(topic: &str) -> Result<CString, Error> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    let fits = (1..=249).contains(&topic.len()) && topic.bytes().all(legal) && topic != "." && topic != "..";
    let refused = || Error::TopicName { topic: topic.into() };
    if fits { CString::new(topic).map_err(|_| refused()) } else { Err(refused()) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn properties(of: &[(&str, &str)]) -> BTreeMap<String, String> {
        of.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn an_owned_property_is_refused_by_name_with_its_reason() {
        let refused = Cluster::new("b:9092", properties(&[("linger.ms", "1"), ("transactional.id", "x")])).unwrap_err();
        assert!(matches!(&refused, Error::OwnedProperty { name, .. } if name == "transactional.id"), "{refused}");
        let cluster = Cluster::new("b:9092", properties(&[])).unwrap();
        assert!(cluster.with(properties(&[("acks", "1")])).is_err());
    }

    #[test]
    fn the_job_wins_over_defaults_and_weir_over_the_job() {
        let cluster = Cluster::new("b:9092", properties(&[("linger.ms", "1"), ("ssl.key.password", "hunter2")])).unwrap();
        let config = cluster.with(properties(&[("linger.ms", "2")])).unwrap().config(
            "me",
            &[("linger.ms", "5"), ("batch.size", "9")],
            &[("acks", "all")],
        );
        assert_eq!(config.get("linger.ms"), Some("2"));
        assert_eq!(config.get("batch.size"), Some("9"));
        assert_eq!(config.get("acks"), Some("all"));
        assert_eq!(config.get("bootstrap.servers"), Some("b:9092"));
        assert!(!format!("{cluster:?}").contains("hunter2"));
    }

    #[test]
    fn a_property_under_its_other_name_wins_over_the_default() {
        let cluster = Cluster::new("b:9092", properties(&[("queue.buffering.max.ms", "2")])).unwrap();
        let config = cluster.config("me", &[("linger.ms", "5")], &[]);
        assert_eq!((config.get("linger.ms"), config.get("queue.buffering.max.ms")), (None, Some("2")));
    }

    #[test]
    fn owned_properties_are_sorted_and_named_once() {
        assert!(OWNED_PROPERTIES.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn names_that_no_broker_takes_are_refused() {
        for name in ["", ".", "..", "a b", "a\0b", "ä", &"x".repeat(250)] {
            assert!(topic_name(name).is_err(), "{name:?}");
        }
        assert!(topic_name("orders.v1_x-2").is_ok());
    }
}
