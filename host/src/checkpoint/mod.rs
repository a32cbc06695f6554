//! Checkpoints: what a job's state looks like at rest, and what a start makes of what it finds there.
//!
//! Promises:
//! - **One format** ([`delta`]): an epoch's changes and a merged base are both sorted runs of key → value or tombstone.
//!   An object is written once and never again; whatever damages it is reported with its name and place, never misread.
//! - **One put an epoch**: the [`Manifest`] is the footer of the epoch's object, and the commit names it by
//!   [`CommitMetadata`]. An object that no commit names has no meaning.
//! - **Bounded cost**: [`plan_merge_over`] keeps the list short, the store within about three times the live state, and the
//!   bytes rewritten logarithmic in its size.
//! - **A start is a decision, not a guess** ([`recovery`]): a pure function from the facts found to start, resume or a
//!   refusal that says what is wrong, where, and how to mend it.
//!
//! Keys are opaque here; only [`View`], and a savepoint that leaves states behind, take them apart.
//! The room knows no Kafka, RocksDB or wasmtime, and of tokio only what the client of S3 needs; time and unique numbers are
//! handed in.

mod commit_log;
pub mod delta;
mod document;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod flips;
mod manifest;
mod merge;
mod merge_plan;
mod metadata;
pub mod recovery;
mod restore;
mod savepoint;
mod store;
mod view;

use std::io;
use std::path::{Path, PathBuf};

pub use commit_log::{FolderLock, LocalCommitLog, RunMarker};
pub use delta::{Object, Writer, Written};
pub use manifest::{
    Checkpoint, FileRef, MANIFEST_FORMAT, Manifest, Mode, OperatorState, SinkPosition, SplitPosition, StateDescriptor, StateKind,
};
pub use merge::{Merged, merge, merge_files};
pub use merge_plan::{Due, MAX_FILES, adopt, garbage, plan_merge_beside, plan_merge_over};
pub use metadata::{CommitMetadata, MAX_METADATA_BYTES, ManifestRef, MetadataError};
pub use recovery::{Decision, Facts, Refusal, began_from, decide, has_lost_commits};
pub use restore::{find_checkpoint, restore};
pub use savepoint::{NewRun, Savepoint, SavepointDocument, SavepointSource};
pub use store::{Access, Copies, Listed, Location, Names, Store, Upload, epoch_of, is_of_another};
pub use view::{Entry, View, checkpoints};

/// What can go wrong with objects, the store or the folder. What a server refuses for now has been tried again until the
/// deadline of [`Access`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bytes are not what was written. The job must stop: going on would compute from wrong state.
    #[error("checkpoint object {object} is corrupt: {what} (at byte {at})")]
    Corrupt {
        /// Name in the store.
        object: String,
        /// Which part, and what is wrong with it.
        what: String,
        /// Byte offset in the object of the part that failed.
        at: u64,
    },
    /// Sound, but written by a later release.
    #[error("{object} has format {found}, this build reads up to {known}: start it with the release that wrote it, or a later one")]
    NewerFormat {
        /// Name in the store.
        object: String,
        /// Format number found.
        found: u32,
        /// Newest format number that this build reads.
        known: u32,
    },
    /// A key was handed to the writer that is not greater than the one before.
    #[error("checkpoint object {object}: entry {entry} is not in key order")]
    KeyOrder {
        /// Name of the object in the making.
        object: String,
        /// Position of the entry, from 0.
        entry: u64,
    },
    /// A key or value beyond what the format holds (1 GiB together).
    #[error("checkpoint object {object}: entry {entry} has {bytes} bytes, more than an object holds in one entry")]
    EntryTooLarge {
        /// Name of the object in the making.
        object: String,
        /// Position of the entry, from 0.
        entry: u64,
        /// Bytes of key and value.
        bytes: usize,
    },
    /// The name is taken. Names are unique per attempt, so this is another process under the same incarnation.
    #[error("checkpoint object {object} exists already in {store}: two processes write under one incarnation")]
    Exists {
        /// Name in the store.
        object: String,
        /// Where the store is.
        store: String,
    },
    /// There is no object of that name.
    #[error("checkpoint object {object} does not exist in {store}")]
    Absent {
        /// Name in the store.
        object: String,
        /// Where the store is.
        store: String,
    },
    /// A place in which no savepoint was finished.
    #[error("{place} holds no whole savepoint: it was not finished, or this is another place")]
    NoSavepoint {
        /// The place.
        place: String,
    },
    /// A job to be started from a checkpoint that is not there.
    #[error("{store} holds no checkpoint{}; `weir state list` shows those it has", .epoch.map_or_else(String::new, |epoch| format!(" of epoch {epoch}")))]
    NoCheckpoint {
        /// Where the store is.
        store: String,
        /// The epoch asked for.
        epoch: Option<u64>,
    },
    /// A place for a savepoint that holds something.
    #[error("cannot write a savepoint into {place}: it is not empty; name a place that is, or that is not there")]
    NotEmpty {
        /// The place.
        place: String,
    },
    /// A remote store refused, or did not answer in time.
    #[error("cannot {action} {object} in {store}: {reason}")]
    Remote {
        /// What was tried, as a verb.
        action: &'static str,
        /// Name in the store.
        object: String,
        /// Where the store is.
        store: String,
        /// Whether it may answer later.
        transient: bool,
        /// What the store says.
        reason: String,
    },
    /// A name that could leave the folder or be mistaken for something else.
    #[error("{name:?} is not a name for a checkpoint object or incarnation")]
    Name {
        /// The name as given.
        name: String,
    },
    /// Another process uses the folder.
    #[error("folder {dir} is in use by process {pid}: stop it, or give this job another folder")]
    Locked {
        /// The state folder.
        dir: PathBuf,
        /// Process id that the holder wrote, or "unknown".
        pid: String,
    },
    /// The commit record in the local folder cannot be read.
    #[error("commit record {path}: {source}")]
    CommitRecord {
        /// The file.
        path: PathBuf,
        /// What is wrong with its text.
        source: MetadataError,
    },
    /// A document could not be put as JSON.
    #[error("cannot encode {what}: {source}")]
    Encode {
        /// Which document.
        what: &'static str,
        /// The encoder's reason.
        source: serde_json::Error,
    },
    /// The file system refused.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn corrupt(object: &str, what: impl Into<String>, at: u64) -> Self {
        Self::Corrupt { object: object.to_owned(), what: what.into(), at }
    }

    /// The same with the whole path, where a file of `dir` is named by its name alone.
    fn within(self, dir: &Path) -> Self {
        match self {
            Self::Io { action, path, source } => Self::Io { action, path: dir.join(path), source },
            other => other,
        }
    }

    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io { action, path: path.into(), source }
    }
}
