//! The commit log: the one place whose change makes an epoch final.

use crate::{
    checkpoint::{self, CommitMetadata, LocalCommitLog},
    clock::{self, Moment},
    kafka::{self, CommitError, CommitProducer, OffsetCommit},
};
use std::time::Duration;

/// How long a failed attempt waits for its outputs and tries to abort their transaction. What it leaves open, the next start
/// aborts.
const ABORT: Duration = Duration::from_secs(1);

/// A position as it is committed.
pub(crate) struct SplitOffset {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
}

/// Where epochs are committed. Any Kafka connector makes Kafka the commit log (rule 12).
pub(crate) enum CommitLog {
    /// Offsets of the group, in a transaction, with the metadata on each.
    Kafka(Box<KafkaLog>),
    /// A file beside the checkpoints.
    Local(LocalCommitLog),
}

/// Offsets of a group, committed in transactions.
pub(crate) struct KafkaLog {
    /// Owner of the transactional id.
    pub producer: CommitProducer,
    /// Group.
    pub group: String,
    /// A job without a Kafka source commits offset 0 of this topic's partition 0.
    pub sink_topic: Option<String>,
    /// After this the broker aborts a transaction; half of it is the longest commit (rule 10).
    pub timeout: Duration,
    /// Whether outputs are produced in the transaction, which is always open then.
    pub outputs: bool,
    /// When the open transaction began.
    pub begun: Moment,
}

/// Why a commit failed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Kafka.
    #[error("commit: {0}")]
    Kafka(#[from] CommitError),
    /// Local.
    #[error(transparent)]
    Local(#[from] checkpoint::Error),
    /// The broker has ended the transaction, because it was open for longer than its time-out.
    #[error("the transaction was open for {open:?}, and the broker ends it after `checkpoint.transactionTimeout`, {timeout:?}: {reason}")]
    TimedOut {
        /// How long.
        open: Duration,
        /// How long it may be.
        timeout: Duration,
        /// librdkafka's words.
        reason: String,
    },
    /// Another process has taken the transactional id over.
    #[error("fenced: {reason}")]
    Fenced {
        /// librdkafka's words, or whose commit was found.
        reason: String,
    },
    /// The metadata does not fit into a commit.
    #[error("commit metadata: {0}")]
    Metadata(#[from] checkpoint::MetadataError),
}

impl CommitLog {
    /// Makes `metadata` the last commit, atomically, with the position of every split.
    ///
    /// # Errors
    /// By what stands in the log afterwards, see [`CommitError`].
    pub fn commit(&mut self, metadata: &CommitMetadata, splits: &[SplitOffset]) -> Result<(), LogError> {
        match self {
            Self::Local(log) => Ok(log.commit(metadata)?),
            Self::Kafka(log) => {
                if !log.outputs {
                    log.begun = Moment::now();
                }
                let KafkaLog { producer, group, sink_topic, timeout, .. } = &mut **log;
                let text = metadata.encode()?;
                let of_split = splits.iter().map(|s| (s.topic.as_str(), s.partition, s.offset));
                let single = sink_topic.iter().map(|topic| (topic.as_str(), 0, 0));
                let offsets: Vec<_> = of_split
                    .chain(single)
                    .map(|(topic, partition, offset)| OffsetCommit { topic, partition, offset, metadata: &text })
                    .collect();
                Ok(producer.commit_offsets(group, &offsets, clock::monotonic() + *timeout / 2)?)
            }
        }
    }

    /// Begins the transaction that the next outputs belong to, where there are such.
    ///
    /// # Errors
    /// See [`CommitError`].
    pub fn begin(&mut self) -> Result<(), LogError> {
        if let Self::Kafka(log) = self
            && log.outputs
        {
            log.producer.begin()?;
            failpoint!("begin");
            log.begun = Moment::now();
        }
        Ok(())
    }

    /// Lets the time of the open transaction begin anew, in which nothing was produced: the broker does not know of it yet. So
    /// a process that was idle or has restored for long does not take its being fenced for a transaction that was open for too
    /// long.
    pub fn renew(&mut self) {
        if let Self::Kafka(log) = self {
            log.begun = Moment::now();
        }
    }

    /// Whether outputs are part of the commit: those of the next epoch have to wait for it.
    pub fn holds_outputs(&self) -> bool {
        matches!(self, Self::Kafka(log) if log.outputs)
    }

    /// The producer of outputs that become visible with the commit.
    pub fn outputs(&self) -> Option<&kafka::OutputProducer> {
        match self {
            Self::Kafka(log) => Some(log.producer.outputs()),
            Self::Local(_) => None,
        }
    }

    /// How long outputs may take to be delivered, and the commit after that.
    pub fn patience(&self) -> Option<Duration> {
        match self {
            Self::Kafka(log) => Some(log.timeout / 2),
            Self::Local(_) => None,
        }
    }

    /// Aborts what a failed attempt has left open, so that readers of the outputs need not wait for its time-out. Nothing
    /// may be produced any more.
    pub fn abandon(&mut self) {
        let Self::Kafka(log) = self else { return };
        if let Err(error) = log.producer.abort(clock::monotonic() + ABORT) {
            tracing::warn!(%error, "a transaction is left open: readers of its outputs wait until the next start or its time-out");
        }
    }

    /// What the broker thinks of this process, where that is the cause behind whatever failed first: fenced, unless its
    /// transaction has simply been open for too long. The next attempt finds out whether another process has committed since.
    pub fn fence(&self) -> Option<LogError> {
        let Self::Kafka(log) = self else { return None };
        let Err(kafka::Error::Fenced { reason }) = log.producer.outputs().check() else { return None };
        let (open, timeout) = (log.begun.elapsed(), log.timeout);
        Some(if open >= timeout { LogError::TimedOut { open, timeout, reason } } else { LogError::Fenced { reason } })
    }
}
