//! Where records come from.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::properties::Properties;
use crate::quantity::Duration;

/// A source of records, with exactly one connector.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Source {
    /// The name by which `inputs` refer to it.
    #[schemars(regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"), length(max = 63))]
    pub id: String,
    /// Topics of a Kafka cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kafka: Option<KafkaSource>,
    /// A file, read once from its start to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<FileSource>,
    /// Standard input, to its end. Promises nothing across a crash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin: Option<StdinSource>,
    /// Records made up by the host, the same for the same seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generator: Option<GeneratorSource>,
}

/// The connector of a [`Source`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SourceConnector<'a> {
    /// Topics of a Kafka cluster.
    Kafka(&'a KafkaSource),
    /// A file.
    File(&'a FileSource),
    /// Standard input.
    Stdin(&'a StdinSource),
    /// Records made up by the host.
    Generator(&'a GeneratorSource),
}

impl Source {
    /// The one connector.
    ///
    /// # Panics
    /// When there is none, which [`Job::validate`](crate::Job::validate) refuses.
    #[expect(clippy::panic, reason = "readers validate a job before they hand it out")]
    pub fn connector(&self) -> SourceConnector<'_> {
        match self.connectors().next() {
            Some((_, connector)) => connector,
            None => panic!("source `{}` has no connector: the job was not validated", self.id),
        }
    }

    /// All connectors given, with their fields' names.
    pub(crate) fn connectors(&self) -> impl Iterator<Item = (&'static str, SourceConnector<'_>)> {
        [
            self.kafka.as_ref().map(|kafka| ("kafka", SourceConnector::Kafka(kafka))),
            self.file.as_ref().map(|file| ("file", SourceConnector::File(file))),
            self.stdin.as_ref().map(|stdin| ("stdin", SourceConnector::Stdin(stdin))),
            self.generator.as_ref().map(|generator| ("generator", SourceConnector::Generator(generator))),
        ]
        .into_iter()
        .flatten()
    }
}

/// Topics of a Kafka cluster. Only committed records are read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KafkaSource {
    /// Brokers to start from, as `host:port,host:port`.
    pub brokers: String,
    /// The topics; this or `topicPattern`. A topic is read by one source; several operators may take that source as input.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<String>,
    /// A regular expression: all topics whose whole name matches it, those that are made later too. Kafka's own, whose
    /// names begin with `__`, never do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_pattern: Option<String>,
    /// Where a new run begins. A run that goes on begins at its committed offsets, and what is new since then at its
    /// first record.
    #[serde(default)]
    pub start_position: StartPosition,
    /// How often new partitions and topics are looked for; at least 1s. The job restarts inside the process to read them.
    #[serde(default = "default_discovery_interval")]
    pub discovery_interval: Duration,
    /// What is done when records that were not read yet are gone, because retention took them.
    #[serde(default)]
    pub on_offset_out_of_range: OnOffsetOutOfRange,
    /// librdkafka properties. Those that Weir sets itself are refused; secrets must be references.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub properties: Properties,
}

pub(crate) fn is_empty(properties: &Properties) -> bool {
    properties.0.is_empty()
}

fn default_discovery_interval() -> Duration {
    Duration::secs(60)
}

/// Where a new run begins to read a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum StartPosition {
    /// The oldest record the topic still holds.
    #[default]
    Earliest,
    /// The first record after the run began.
    Latest,
    /// The first record with this time or a later one, in milliseconds since 1970; behind the last one where there is none.
    Timestamp(i64),
    /// These offsets. Partitions that are not named begin with their oldest record.
    Offsets(Vec<StartOffset>),
}

/// Where a new run begins to read a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StartOffset {
    /// The topic.
    pub topic: String,
    /// The partition.
    #[schemars(range(min = 0))]
    pub partition: i32,
    /// Offset of the first record to read.
    #[schemars(range(min = 0))]
    pub offset: i64,
}

/// What is done when a partition does not hold the next record to read any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OnOffsetOutOfRange {
    /// The job stops: those records were never processed.
    #[default]
    Fail,
    /// It goes on with the oldest record that is there.
    Earliest,
    /// It goes on behind the last record.
    Latest,
}

/// How records stand in a file or a pipe.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Format {
    /// One record a line. Read: the line's bytes without its end (`\n` or `\r\n`) are the value, the key is null and the
    /// time is when the line was read. Written: `key TAB value`, or the value alone where the key is null; a null value
    /// is written as an empty one; time and headers are dropped. Bytes are written as they are, so a line feed in a
    /// value makes two lines of it.
    #[default]
    Lines,
    /// One JSON object a line: `{"key": …, "value": …, "timestamp": …, "headers": …}`, in which nothing is lost.
    ///
    /// `key` is a string or null. `value` is a string, null, or any other JSON, which stands for its own text without
    /// the whitespace between its tokens. Bytes that are not UTF-8 stand as padded base64 in `keyBase64` and
    /// `valueBase64` instead. `timestamp` is the event time in milliseconds since 1970, an integer. `headers` is an
    /// object, or a list of `[name, value]` where names repeat; a header's value is a string, null or
    /// `{"base64": …}`.
    ///
    /// Read: every field may be absent; without `timestamp` the time is when the line was read. Other fields, and a
    /// field given twice, are refused. Written: `key`, `value` and `timestamp` always, `headers` only where there are
    /// some; a value always as a string or null, also where it is JSON.
    Ndjson,
    /// Rows of fields, as RFC 4180 has them: a field may stand in quotes, with line feeds and doubled quotes in it.
    ///
    /// Read: the value is a JSON object with a string for each column, the key is null and the time is when the row was
    /// read. Empty lines are passed over. Written: the value has to be a JSON object, of which the columns named are
    /// taken; a string stands for itself, null and a column that is not there for an empty field, and anything else for
    /// its JSON text. Key, time and headers are dropped.
    Csv(CsvFormat),
}

/// The columns of CSV and what stands between them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CsvFormat {
    /// The names of the columns in their order. A source with a header takes them from there when this is absent, and
    /// refuses a header that differs from it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// Whether the first row holds the columns' names. A sink writes it where it begins a file or a stream.
    pub header: bool,
    /// What stands between fields: one ASCII character.
    pub delimiter: String,
}

impl Default for CsvFormat {
    fn default() -> Self {
        Self { columns: Vec::new(), header: true, delimiter: ",".to_owned() }
    }
}

impl CsvFormat {
    /// What stands between fields.
    pub fn delimiter_byte(&self) -> u8 {
        self.delimiter.as_bytes().first().copied().unwrap_or(b',')
    }
}

/// A file, read once from its start to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileSource {
    /// The file, relative to the job file's folder.
    pub path: PathBuf,
    /// How records stand in it.
    #[serde(default)]
    pub format: Format,
}

/// Standard input, to its end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct StdinSource {
    /// How records stand in it.
    pub format: Format,
}

/// Records made up by the host, the same for the same seed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GeneratorSource {
    /// How many records; endless when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// Records per second over all shards; as fast as they are taken when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub rate: Option<u64>,
    /// What the made-up content depends on.
    #[serde(default)]
    pub seed: u64,
    /// What the records look like.
    pub template: Template,
}

/// What generated records look like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Template {
    /// Values are lines of several English-like words; keys are null.
    Lines,
    /// Values are 0, 1, 2, … as decimal text; keys are null.
    Sequence,
    /// Keys are drawn from a fixed set, values are printable bytes of a fixed length.
    Keyed(KeyedTemplate),
}

/// Records with keys from a fixed set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyedTemplate {
    /// How many distinct keys, at least one.
    #[schemars(range(min = 1))]
    pub keys: u64,
    /// The length of each value in bytes, at most 1 MiB.
    #[schemars(range(max = 1_048_576))]
    pub value_bytes: u32,
}
