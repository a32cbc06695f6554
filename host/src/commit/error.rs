//! Why an attempt ends.

use super::LogError;
use crate::{checkpoint, kafka, state, worker};
use std::time::Duration;

/// What ends an attempt.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A worker.
    #[error(transparent)]
    Worker(#[from] worker::Error),
    /// A worker's thread is gone without a word.
    #[error("worker {0} ended unexpectedly")]
    WorkerGone(usize),
    /// The checkpoint store.
    #[error(transparent)]
    Checkpoint(#[from] checkpoint::Error),
    /// The job was asked to end, and its last epoch was not committed in time.
    #[error("not drained and committed within {0:?} after the job was asked to end; the next start goes on from the last checkpoint")]
    DrainDeadline(Duration),
    /// There is more to read than this attempt reads.
    #[error("topic `{topic}` partition {partition} is new")]
    NewPartition {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
    },
    /// A background thread is gone without a word.
    #[error("thread {0} ended unexpectedly")]
    ThreadGone(&'static str),
    /// The commit log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Kafka.
    #[error(transparent)]
    Kafka(#[from] kafka::Error),
    /// A local sink.
    #[error("sink {id}: {source}")]
    Sink {
        /// Sink.
        id: String,
        /// Cause.
        source: crate::sink::Error,
    },
    /// The system refused a thread.
    #[error("cannot start thread {name}: {source}")]
    Thread {
        /// Name of the thread.
        name: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// RocksDB.
    #[error(transparent)]
    State(#[from] state::Error),
}
