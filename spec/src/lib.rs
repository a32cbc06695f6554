//! The job file: one document, in the shape of a Kubernetes resource.
//!
//! - [`job`], [`source`], [`operator`] and [`sink`] are the document's types, one serde and JSON schema for all uses;
//!   unknown fields are refused everywhere.
//! - [`quantity`] holds sizes and durations, [`properties`] Kafka client properties and the secrets among them.
//! - [`read`] and [`parse`] turn YAML into a job that is valid as far as it can be told without its components; what
//!   is wrong comes back as [`Error`] with file, line, column, field and a way to mend it.
//! - [`Job::validate`] applies the same rules to a job that came another way.
//! - [`json_schema`] is the schema for editors and for Kubernetes.
//!
//! Depends on no part of the host.

pub mod job;
pub mod operator;
pub mod problem;
pub mod properties;
pub mod quantity;
mod reader;
mod reference;
pub mod sink;
pub mod source;
mod validate;

pub use job::{ApiVersion, Checkpoint, CheckpointStore, Job, JobSpec, Kind, Metadata, Runtime, S3};
pub use operator::{InputRef, Key, Limits, OnError, Operator};
pub use problem::{Error, FieldPath, Position, Problem};
pub use properties::{Properties, Property, ResolvedProperties, SecretError, SecretRef};
pub use quantity::{ByteSize, Duration};
pub use reader::{parse, read};
pub use reference::reference;
pub use sink::{BlackholeSink, Compression, Delivery, FileSink, KafkaSink, Sink, SinkConnector, StdoutSink, TopicFrom};
pub use source::{
    CsvFormat, FileSource, Format, GeneratorSource, KafkaSource, KeyedTemplate, OnOffsetOutOfRange, Source, SourceConnector, StartOffset,
    StartPosition, StdinSource, Template,
};

/// The JSON schema of the job file.
pub fn json_schema() -> serde_json::Value {
    schemars::schema_for!(Job).to_value()
}
