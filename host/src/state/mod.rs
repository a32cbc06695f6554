//! Keyed state: a hot layer in memory, RocksDB where it overflows.
//!
//! Promise: a [`Store`] answers with the newest value of every key, and what leaves it as a [`FrozenDelta`] is exactly
//! what changed since the delta before. It knows nothing of Kafka, components or time.
//!
//! **One owner, no locks.** A worker owns one [`Store`]. The newest value wins in its table; there is no undo data:
//! abort means to drop the store and to build a new one by recovery.
//!
//! **RocksDB only ever receives committed deltas.** [`Disk`] applies the merged entries of all checkpoint objects
//! committed since its mark, in bulk, so it is always exactly the state at one committed epoch, the mark. Hence the
//! invariant that lets workers read while another thread is in the middle of a catch-up:
//! *an entry whose last change is newer than the mark is in its worker's table*, because eviction only takes entries
//! that changed at or before the mark. A read gets to RocksDB only for a key that is not in the table, so for a key
//! that the running catch-up does not touch: it is the same before, during and after. (A scan merges both sides, and
//! the table's side wins.)
//! As long as nothing was ever written to the disk, the table is the whole state and no read leaves it.
//!
//! **Bytes.** Keys and stored values are laid out by [`layout`]; those bytes stand in checkpoints and never change.

mod delta;
mod disk;
pub mod layout;
mod map;
mod slab;
mod store;
#[cfg(test)]
mod tests;

pub use delta::{FrozenDelta, MergedDelta, SortedDelta, merge_sorted};
pub use disk::{Disk, Ingestion};
pub use map::Most;
pub use store::{Evicted, Slots, Store};

use std::path::PathBuf;

/// A declared state: its operator's number in the plan and its own number in that operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StateId {
    /// Number of the operator; `0xffff` is reserved.
    pub operator: u16,
    /// Number of the state within the operator.
    pub state: u16,
}

/// How a state's entries are keyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One value for a key.
    Value,
    /// Ordered entries for a key.
    Map,
}

/// What went wrong in the state room.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// RocksDB refused.
    #[error("RocksDB in {}: cannot {action}: {source}", folder.display())]
    Disk {
        /// Folder of the database.
        folder: PathBuf,
        /// What was tried.
        action: &'static str,
        /// RocksDB's reason.
        source: rocksdb::Error,
    },
    /// The folder could not be prepared.
    #[error("state folder {}: {source}", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A bulk load into a disk that already has a mark.
    #[error("RocksDB in {}: cannot load epoch {epoch}: it holds epoch {mark} already", folder.display())]
    NotEmpty {
        /// Folder of the database.
        folder: PathBuf,
        /// Epoch to load.
        epoch: u64,
        /// Epoch that it holds.
        mark: u64,
    },
    /// Epochs only rise.
    #[error("epoch {epoch} does not come after epoch {last}")]
    EpochOrder {
        /// Epoch given.
        epoch: u64,
        /// Epoch before it.
        last: u64,
    },
    /// A second epoch was frozen before the first one was committed, or another one was committed than was frozen.
    #[error("epoch {epoch} cannot go on while the frozen epoch is {frozen:?}")]
    Frozen {
        /// Epoch given.
        epoch: u64,
        /// Epoch that is frozen.
        frozen: Option<u64>,
    },
    /// A value was stored by another version of the state.
    #[error("operator {operator}, state {state}: a value of version {stored} is stored, the component declares version {current}")]
    VersionMismatch {
        /// Number of the operator.
        operator: u16,
        /// Number of the state.
        state: u16,
        /// Version of the stored value.
        stored: u32,
        /// Version that is declared.
        current: u32,
    },
    /// Bytes that this room did not write.
    #[error("operator {operator}, state {state}: corrupt entry: {detail}")]
    Corrupt {
        /// Number of the operator.
        operator: u16,
        /// Number of the state.
        state: u16,
        /// What is wrong with them.
        detail: &'static str,
    },
    /// A state that was not registered, or as another kind.
    #[error("operator {}, state {}: not registered as a {kind:?} state", id.operator, id.state)]
    Unregistered {
        /// The state.
        id: StateId,
        /// The kind it was used as.
        kind: Kind,
    },
    /// States have to be registered before their entries are restored, once, and not under the reserved operator.
    #[error("operator {}, state {}: cannot be registered: {reason}", id.operator, id.state)]
    Registration {
        /// The state.
        id: StateId,
        /// Why not.
        reason: &'static str,
    },
    /// A key longer than the layout can hold.
    #[error("operator {}, state {}: a key of {bytes} bytes is longer than 65,535", id.operator, id.state)]
    KeyTooLong {
        /// The state.
        id: StateId,
        /// Its length.
        bytes: usize,
    },
    /// More than one answer may hold.
    #[error("operator {}, state {}: the answer to one call would have more than {bytes} bytes; ask for fewer entries", id.operator, id.state)]
    TooMuch {
        /// The state.
        id: StateId,
        /// The limit.
        bytes: usize,
    },
    /// Columns of one call that do not fit each other.
    #[error("operator {}, state {}: columns of one call do not fit: {detail}", id.operator, id.state)]
    Shape {
        /// The state.
        id: StateId,
        /// Which ones.
        detail: &'static str,
    },
}

impl Error {
    /// Whether RocksDB found bytes that it did not write: loading it anew mends that.
    #[must_use]
    pub fn is_damaged_disk(&self) -> bool {
        matches!(self, Self::Disk { source, .. } if source.kind() == rocksdb::ErrorKind::Corruption)
    }
}

type Result<T> = std::result::Result<T, Error>;
