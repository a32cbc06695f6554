//! The commit log: the one place whose change makes an epoch final.

use crate::{
    checkpoint::{self, CommitMetadata, LocalCommitLog},
    clock,
    kafka::{CommitError, CommitProducer, OffsetCommit},
};
use std::time::Duration;

/// A position as it is committed.
pub(crate) struct SplitOffset {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
}

/// Where epochs are committed. Any Kafka connector makes Kafka the commit log (rule 12).
pub(crate) enum CommitLog {
    /// Offsets of the group, in a transaction, with the metadata on each.
    Kafka {
        /// Owner of the transactional id.
        producer: CommitProducer,
        /// Group.
        group: String,
        /// A job without a Kafka source commits offset 0 of this topic's partition 0.
        sink_topic: Option<String>,
        /// Longest commit.
        timeout: Duration,
    },
    /// A file beside the checkpoints.
    Local(LocalCommitLog),
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
            Self::Kafka { producer, group, sink_topic, timeout } => {
                let text = metadata.encode()?;
                let of_split = splits.iter().map(|s| (s.topic.as_str(), s.partition, s.offset));
                let single = sink_topic.iter().map(|topic| (topic.as_str(), 0, 0));
                let offsets: Vec<_> = of_split
                    .chain(single)
                    .map(|(topic, partition, offset)| OffsetCommit { topic, partition, offset, metadata: &text })
                    .collect();
                Ok(producer.commit_offsets(group, &offsets, clock::monotonic() + *timeout)?)
            }
        }
    }
}
