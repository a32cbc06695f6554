//! What ended a job, and the one place where errors get their meaning.

use crate::{checkpoint, commit, fault::Kind, kafka, operator, plan, sink, source, state, worker};
use std::time::Duration;

/// Why a job ended, or did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A component.
    #[error(transparent)]
    Load(#[from] operator::LoadError),
    /// The dataflow.
    #[error(transparent)]
    Plan(#[from] plan::PlanError),
    /// A secret that the job refers to.
    #[error(transparent)]
    Secret(#[from] weir_spec::SecretError),
    /// Two Kafka clusters where one has to hold a commit.
    #[error("{what} uses brokers {found}, but source or sink {first} uses {expected}: all Kafka sources must be on one cluster")]
    TwoClusters {
        /// The source that differs.
        what: String,
        /// Its brokers.
        found: String,
        /// The first one.
        first: String,
        /// The brokers of that.
        expected: String,
    },
    /// An exactly-once sink on a cluster that does not hold the commit.
    #[error(
        "sink {sink} uses brokers {found}, but the job commits to {expected}: an exactly-once sink has to be on the cluster of the sources; with `delivery: at-least-once` it may be on any"
    )]
    SinkElsewhere {
        /// The sink.
        sink: String,
        /// Its brokers.
        found: String,
        /// Those of the commit.
        expected: String,
    },
    /// Two exactly-once sinks that one producer cannot serve.
    #[error("sinks {first} and {sink} have different properties: exactly-once sinks share one producer, so give both the same")]
    TwoProducers {
        /// The sink that differs.
        sink: String,
        /// The first one.
        first: String,
    },
    /// A start position that the topics do not have.
    #[error("source {source_id}: its start position names offset {offset} of {topic}[{partition}], which {found}")]
    StartPosition {
        /// The source.
        source_id: String,
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The offset.
        offset: i64,
        /// What is there instead.
        found: String,
    },
    /// A pattern for which there is no topic.
    #[error("source {source_id}: no topic matches the pattern `{pattern}`; it has to match a whole name")]
    NoTopic {
        /// The source.
        source_id: String,
        /// The pattern.
        pattern: String,
    },
    /// Two sources for one topic.
    #[error(
        "topic {topic} is read by source {first} and by source {second}: read it once; several operators may take that source as input"
    )]
    TopicTwice {
        /// The topic.
        topic: String,
        /// The one source.
        first: String,
        /// The other.
        second: String,
    },
    /// The state folder cannot be made.
    #[error("{0}. The job keeps its state there; `spec.checkpoint.path` names another folder")]
    StateFolder(#[source] checkpoint::Error),
    /// The start was refused.
    #[error("refused to start: {0}")]
    Refused(#[from] checkpoint::Refusal),
    /// The run cannot go on.
    #[error(transparent)]
    Run(#[from] commit::Error),
    /// What might have passed did not.
    #[error("nothing could be committed for {after:?} (runtime.giveUpAfter), although the job was restarted; the last error: {source}")]
    GaveUp {
        /// The time.
        after: Duration,
        /// What ended the last attempt.
        source: Box<Error>,
    },
}

macro_rules! through_run {
    ($($inner:ty),*) => {$(
        impl From<$inner> for Error {
            fn from(error: $inner) -> Self {
                Self::Run(error.into())
            }
        }
    )*};
}
through_run!(checkpoint::Error, commit::LogError, kafka::Error, state::Error, worker::Error);

impl From<kafka::CommitError> for Error {
    fn from(error: kafka::CommitError) -> Self {
        commit::LogError::from(error).into()
    }
}

impl Error {
    /// Whether whoever read standard output has closed it, as `head` does: the end that was asked for.
    #[must_use]
    pub fn is_closed_stdout(&self) -> bool {
        matches!(
            self,
            Self::Run(
                commit::Error::Worker(worker::Error::Sink { source: sink::Error::Closed, .. })
                    | commit::Error::Sink { source: sink::Error::Closed, .. }
            )
        )
    }

    /// Whether RocksDB found damage in its files, which are made of the checkpoint's and can be made again.
    #[must_use]
    pub fn is_damaged_disk(&self) -> bool {
        let Self::Run(commit::Error::State(error) | commit::Error::Worker(worker::Error::State(error))) = self else { return false };
        error.is_damaged_disk()
    }

    /// Whether a checkpoint object is gone.
    #[must_use]
    pub fn is_absent_object(&self) -> bool {
        matches!(self, Self::Run(commit::Error::Checkpoint(checkpoint::Error::Absent { .. })))
    }

    /// What is to be done.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Load(_)
            | Self::Plan(_)
            | Self::TwoClusters { .. }
            | Self::SinkElsewhere { .. }
            | Self::TwoProducers { .. }
            | Self::Secret(_) => Kind::BadJob,
            Self::StartPosition { .. } | Self::TopicTwice { .. } => Kind::BadJob,
            Self::NoTopic { .. } => Kind::World,
            Self::StateFolder(error) => of_checkpoint(error),
            Self::Refused(_) => Kind::Refused,
            Self::GaveUp { .. } => Kind::World,
            Self::Run(error) => match error {
                commit::Error::Worker(error) => of_worker(error),
                commit::Error::NewPartition { .. } => Kind::Retry,
                commit::Error::WorkerGone(_) | commit::Error::ThreadGone(_) => Kind::Bug,
                commit::Error::Checkpoint(error) => of_checkpoint(error),
                commit::Error::Log(commit::LogError::Kafka(error)) => of_commit(error),
                commit::Error::Log(commit::LogError::Local(error)) => of_checkpoint(error),
                commit::Error::Log(commit::LogError::TimedOut { .. }) => Kind::Retry,
                commit::Error::Log(commit::LogError::Fenced { .. }) => Kind::Fenced,
                commit::Error::Log(commit::LogError::Metadata(_)) => Kind::Bug,
                commit::Error::Kafka(error) => of_kafka(error),
                commit::Error::Sink { source, .. } => of_sink(source),
                commit::Error::Thread { .. } | commit::Error::DrainDeadline(_) => Kind::World,
                commit::Error::State(error) => of_state(error),
            },
        }
    }
}

fn of_worker(error: &worker::Error) -> Kind {
    match error {
        worker::Error::Poison { .. } | worker::Error::Guest { .. } => Kind::Guest,
        worker::Error::GaveUp { .. } => Kind::Retry,
        worker::Error::Load(_) => Kind::BadJob,
        worker::Error::State(error) => of_state(error),
        worker::Error::Kafka(error) => of_kafka(error),
        worker::Error::Source { source, .. } => of_source(source),
        worker::Error::Sink { source, .. } => of_sink(source),
        worker::Error::Produce { .. } => Kind::World,
        worker::Error::Stopped => Kind::Retry,
    }
}

fn of_kafka(error: &kafka::Error) -> Kind {
    match error {
        kafka::Error::OwnedProperty { .. } | kafka::Error::Configuration { .. } | kafka::Error::TopicName { .. } => Kind::BadJob,
        kafka::Error::OffsetOutOfRange { .. } => Kind::Refused,
        kafka::Error::Fenced { .. } => Kind::Fenced,
        kafka::Error::Stray { .. } | kafka::Error::Taken { .. } => Kind::Bug,
        kafka::Error::Delivery { transient: false, .. } => Kind::World,
        kafka::Error::Delivery { .. } | kafka::Error::FlushDeadline { .. } => Kind::Retry,
        other if other.is_transient() => Kind::Retry,
        _ => Kind::World,
    }
}

fn of_commit(error: &kafka::CommitError) -> Kind {
    match error {
        kafka::CommitError::Refused(_) => Kind::Bug,
        kafka::CommitError::Fenced { .. } => Kind::Fenced,
        kafka::CommitError::Retriable { .. } | kafka::CommitError::Aborted { .. } => Kind::Retry,
        kafka::CommitError::LeftOpen { .. } | kafka::CommitError::Unknown { .. } => Kind::Retry,
        kafka::CommitError::Fatal { .. } => Kind::World,
    }
}

fn of_checkpoint(error: &checkpoint::Error) -> Kind {
    match error {
        checkpoint::Error::Corrupt { .. } | checkpoint::Error::NewerFormat { .. } | checkpoint::Error::Absent { .. } => Kind::Refused,
        checkpoint::Error::Locked { .. } | checkpoint::Error::NoSavepoint { .. } | checkpoint::Error::NoCheckpoint { .. } => Kind::Refused,
        checkpoint::Error::Remote { transient: true, .. } => Kind::Retry,
        checkpoint::Error::Remote { .. } | checkpoint::Error::NotEmpty { .. } => Kind::World,
        checkpoint::Error::Io { .. } => Kind::World,
        _ => Kind::Bug,
    }
}

fn of_state(error: &state::Error) -> Kind {
    match error {
        damaged if damaged.is_damaged_disk() => Kind::Retry,
        state::Error::Disk { .. } | state::Error::Folder { .. } => Kind::World,
        state::Error::VersionMismatch { .. } | state::Error::Corrupt { .. } => Kind::Refused,
        _ => Kind::Bug,
    }
}

fn of_source(error: &source::Error) -> Kind {
    match error {
        source::Error::Shorter { .. } => Kind::Refused,
        source::Error::NotAFile { .. } | source::Error::LongLine { .. } | source::Error::Record { .. } => Kind::BadJob,
        _ => Kind::World,
    }
}

fn of_sink(error: &sink::Error) -> Kind {
    match error {
        sink::Error::NotEmpty { .. } | sink::Error::Shorter { .. } => Kind::Refused,
        sink::Error::NotAFile { .. } => Kind::BadJob,
        _ => Kind::World,
    }
}
