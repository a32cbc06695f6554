//! Where records go.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::operator::InputRef;
use crate::properties::Properties;
use crate::source::{Format, is_empty};

/// A sink of records, with exactly one connector.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sink {
    /// The name by which `onError: {deadLetter: …}` refers to it.
    #[schemars(regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"), length(max = 63))]
    pub id: String,
    /// What is written to it. Only a sink of dead letters may have none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<InputRef>,
    /// Topics of a Kafka cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kafka: Option<KafkaSink>,
    /// A file that grows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<FileSink>,
    /// Standard output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdout: Option<StdoutSink>,
    /// Nowhere: records are counted and dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blackhole: Option<BlackholeSink>,
}

/// The connector of a [`Sink`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SinkConnector<'a> {
    /// Topics of a Kafka cluster.
    Kafka(&'a KafkaSink),
    /// A file that grows.
    File(&'a FileSink),
    /// Standard output.
    Stdout(&'a StdoutSink),
    /// Nowhere.
    Blackhole(&'a BlackholeSink),
}

impl Sink {
    /// The one connector.
    ///
    /// # Panics
    /// When there is none, which [`Job::validate`](crate::Job::validate) refuses.
    #[expect(clippy::panic, reason = "readers validate a job before they hand it out")]
    pub fn connector(&self) -> SinkConnector<'_> {
        match self.connectors().next() {
            Some((_, connector)) => connector,
            None => panic!("sink `{}` has no connector: the job was not validated", self.id),
        }
    }

    /// All connectors given, with their fields' names.
    pub(crate) fn connectors(&self) -> impl Iterator<Item = (&'static str, SinkConnector<'_>)> {
        [
            self.kafka.as_ref().map(|kafka| ("kafka", SinkConnector::Kafka(kafka))),
            self.file.as_ref().map(|file| ("file", SinkConnector::File(file))),
            self.stdout.as_ref().map(|stdout| ("stdout", SinkConnector::Stdout(stdout))),
            self.blackhole.as_ref().map(|blackhole| ("blackhole", SinkConnector::Blackhole(blackhole))),
        ]
        .into_iter()
        .flatten()
    }
}

/// A topic of a Kafka cluster, or several among which each record chooses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KafkaSink {
    /// Brokers to start from, as `host:port,host:port`.
    pub brokers: String,
    /// The one topic; this or `topics` with `topicFrom`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// All topics that records may choose. They have to exist when the job starts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<String>,
    /// Where a record has the name of its topic. A record that names none of `topics` goes where `onError` of the operator
    /// it comes from says; one that comes from a source with no operator between stops the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_from: Option<TopicFrom>,
    /// What a crash may do to the records written.
    #[serde(default)]
    pub delivery: Delivery,
    /// How batches are compressed on their way to the broker.
    #[serde(default)]
    pub compression: Compression,
    /// librdkafka properties. Those that Weir sets itself are refused; secrets must be references.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub properties: Properties,
}

impl KafkaSink {
    /// All topics that it writes to; at least one in a job that was validated.
    pub fn topics(&self) -> impl Iterator<Item = &str> {
        self.topic.iter().chain(&self.topics).map(String::as_str)
    }
}

/// Where a record has the name of its topic: `{header: name}` or `{json: field.path}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum TopicFrom {
    /// The last header of this name.
    Header(String),
    /// A field of the value, which is JSON: names of nested objects' fields, joined by dots.
    Json(String),
}

/// What a crash may do to the records written to a topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Delivery {
    /// Nothing: an epoch's records are in one transaction with its commit. Consumers that read committed records only
    /// (`isolation.level=read_committed`) see them with the commit, each once. The topic has to be on the cluster of the
    /// job's Kafka sources, and sinks of this kind share one producer, so their properties have to be the same.
    #[default]
    ExactlyOnce,
    /// Some come again: records are written as they are made, and those after the last commit once more after a crash.
    /// They are seen within milliseconds, and the topic may be on any cluster.
    AtLeastOnce,
}

/// How batches are compressed on their way to the broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Compression {
    /// Not at all.
    None,
    /// Fast; the default.
    #[default]
    Lz4,
    /// Smaller than lz4, for more CPU.
    Zstd,
    /// For consumers that know nothing newer.
    Gzip,
    /// For consumers that know nothing newer.
    Snappy,
}

impl Compression {
    /// The value of librdkafka's `compression.type`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
        }
    }
}

/// A file that grows. After a crash it is cut back to the length of the last checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileSink {
    /// The file, relative to the job file's folder. Folders on the way to it are made.
    pub path: PathBuf,
    /// How records stand in it.
    #[serde(default)]
    pub format: Format,
}

/// Standard output.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct StdoutSink {
    /// How records stand in it.
    pub format: Format,
}

/// Nowhere: records are counted and dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BlackholeSink {}
