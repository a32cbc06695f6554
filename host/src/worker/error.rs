//! What ends a worker's attempt.

use crate::{kafka, operator, sink, source, state};

/// Why a worker cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A record that its operator cannot process, with `onError: fail`.
    #[error(
        "operator {operator} cannot process the record at {topic}/{partition} offset {offset}: {reason}; set `onError` of this operator to `skip` or `deadLetter` to go on without such records"
    )]
    Poison {
        /// Operator.
        operator: String,
        /// Topic or path of the record's source.
        topic: String,
        /// Partition.
        partition: i32,
        /// Offset.
        offset: i64,
        /// What went wrong.
        reason: String,
    },
    /// The guest asked to stop, or its component does not do what it declared.
    #[error("operator {operator} stops the job: {reason}")]
    Guest {
        /// Operator.
        operator: String,
        /// What it said.
        reason: String,
    },
    /// One record alone ran into the wall-clock deadline, or the guest asked for retries until they ran out.
    #[error("operator {operator} at {topic}/{partition} offset {offset}: {reason}")]
    GaveUp {
        /// Operator.
        operator: String,
        /// Topic or path of the first record's source.
        topic: String,
        /// Partition.
        partition: i32,
        /// Offset.
        offset: i64,
        /// What was tried.
        reason: String,
    },
    /// An instance could not be made.
    #[error(transparent)]
    Load(#[from] operator::LoadError),
    /// State could not be read or changed.
    #[error(transparent)]
    State(#[from] state::Error),
    /// Kafka.
    #[error(transparent)]
    Kafka(#[from] kafka::Error),
    /// A local source.
    #[error("source {id}: {source}")]
    Source {
        /// Source.
        id: String,
        /// Cause.
        source: source::Error,
    },
    /// A local sink.
    #[error("sink {id}: {source}")]
    Sink {
        /// Sink.
        id: String,
        /// Cause.
        source: sink::Error,
    },
    /// A record that the sink's topic does not take.
    #[error("sink {sink}: the record from {topic}/{partition} offset {offset} cannot be produced: {reason}")]
    Produce {
        /// Sink.
        sink: String,
        /// Topic or path of the record's source.
        topic: String,
        /// Partition.
        partition: i32,
        /// Offset.
        offset: i64,
        /// What the client said.
        reason: String,
    },
    /// The attempt is being ended.
    #[error("stopped")]
    Stopped,
}
