//! Local sources: a file, standard input, records made up by the host. Kafka's has a room of its own.
//!
//! Promises:
//! - A source appends to the batch it is given and never waits: one that has nothing yet says so, and wakes the thread
//!   that fetches or tells it when to come again.
//! - Its position says where to go on after what it handed out. Reopened there, it gives the same records with the same
//!   origins as if it had never stopped: standard input only within a process, which keeps what is not committed.
//! - It is one split.
//! - It allocates nothing per record, except for NDJSON with escapes, base64 or headers.

mod csv;
mod file;
mod generator;
mod lines;
mod ndjson;
pub(crate) mod random;
mod stdin;
mod words;

#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;
use std::thread::Thread;
use std::time::Duration;

use weir_spec::SourceConnector;

use crate::record::Batch;
pub use file::FileSource;
pub use generator::Generator;
pub use lines::MAX_LINE;
pub use stdin::{Stdin, StdinSource};

/// Why a local source cannot go on. None of these goes away by asking again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is absent, or not for this user.
    #[error("cannot open {path}: {source}")]
    Open {
        /// The file, or "standard input".
        path: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A folder, a pipe or a device.
    #[error("{path} is no regular file; what comes through a pipe is read by the source `stdin`")]
    NotAFile {
        /// The file.
        path: String,
    },
    /// The run read further than the file now goes.
    #[error("{path} has {length} bytes, but was read up to byte {position} before: it was cut or replaced since")]
    Shorter {
        /// The file.
        path: String,
        /// Bytes it has.
        length: u64,
        /// Bytes read before.
        position: u64,
    },
    /// A negative position, or one of standard input that this process has not read or does not keep any more.
    #[error("split {split} cannot begin at position {position}")]
    Position {
        /// Number of the split.
        split: u32,
        /// The position asked for.
        position: i64,
    },
    /// Reading failed.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file, or "standard input".
        path: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A line longer than [`MAX_LINE`].
    #[error("{path}: the line at byte {offset} is longer than {MAX_LINE} bytes")]
    LongLine {
        /// The file, or "standard input".
        path: String,
        /// Byte offset of the line.
        offset: u64,
    },
    /// A line that is no record.
    #[error("{path}: line {line}, at byte {offset}, is no record: {reason}")]
    Record {
        /// The file, or "standard input".
        path: String,
        /// Number of the line, from 1.
        line: u64,
        /// Byte offset of the line.
        offset: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The thread that reads standard input did not start.
    #[error("cannot start the thread that reads standard input: {source}")]
    Thread {
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The connector is Kafka's.
    #[error("split {split} is Kafka's, not a local source's")]
    NotLocal {
        /// Number of the split.
        split: u32,
    },
}

/// What a fetch found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// So many records were appended, at least one.
    Records(usize),
    /// Nothing yet.
    Idle,
    /// Nothing, now or ever.
    End,
}

/// When a fetch has enough. At least one record is fetched if one is there.
#[derive(Clone, Copy)]
struct FetchLimits {
    records: usize,
    bytes: usize,
}

impl FetchLimits {
    fn reached(self, records: usize, bytes: usize) -> bool {
        records > 0 && (records >= self.records || bytes >= self.bytes)
    }
}

/// A source that needs no broker.
pub enum LocalSource {
    /// A file. Its position is the byte offset of the next line; a record's offset that of its line.
    File(FileSource),
    /// Standard input. Its position is the bytes that the run has used of it; a record's offset counts from where the process
    /// began.
    Stdin(StdinSource),
    /// Made-up records. Its position is the number of the next one.
    Generator(Generator),
}

impl LocalSource {
    /// Opens a source at `position`, which [`LocalSource::position`] gave; 0 is the start. A process that opens standard
    /// input for the first time begins where that is. Paths are relative to `base_dir`, records get `split` in their
    /// origins, and `waker` is the thread that fetches.
    ///
    /// # Errors
    /// What cannot be opened, or not there.
    pub fn open(
        connector: SourceConnector<'_>,
        (base_dir, stdin): (&Path, &Stdin),
        split: u32,
        position: i64,
        waker: Thread,
    ) -> Result<Self, Error> {
        let start = u64::try_from(position).map_err(|_| Error::Position { split, position })?;
        Ok(match connector {
            SourceConnector::File(file) => Self::File(FileSource::open(&base_dir.join(&file.path), &file.format, split, start)?),
            SourceConnector::Stdin(spec) => Self::Stdin(stdin.open(&spec.format, split, position, waker)?),
            SourceConnector::Generator(generator) => Self::Generator(Generator::new(generator, split, start)),
            SourceConnector::Kafka(_) => return Err(Error::NotLocal { split }),
        })
    }

    /// Appends up to `max_records` records, and no more once their keys and values have `max_bytes`; at least one if
    /// there is one. Does not wait. After [`Fetched::Idle`] the waker is unparked when there may be more, or
    /// [`LocalSource::next_wake`] says when.
    ///
    /// # Errors
    /// What cannot be read, or which line is no record. `into` then ends with the records before it.
    pub fn fetch(&mut self, max_records: usize, max_bytes: usize, into: &mut Batch) -> Result<Fetched, Error> {
        let limits = FetchLimits { records: max_records, bytes: max_bytes };
        match self {
            Self::File(file) => file.fetch(limits, into),
            Self::Stdin(stdin) => stdin.fetch(limits, into),
            Self::Generator(generator) => Ok(generator.fetch(limits, into)),
        }
    }

    /// Where to go on after what was fetched.
    #[must_use]
    pub fn position(&self) -> i64 {
        match self {
            Self::File(file) => file.position(),
            Self::Stdin(stdin) => stdin.position(),
            Self::Generator(generator) => generator.position(),
        }
    }

    /// Ends an epoch after what was fetched.
    pub fn end_epoch(&mut self) {
        if let Self::Stdin(stdin) = self {
            stdin.end_epoch();
        }
    }

    /// The epochs that have ended are committed: nobody goes back behind them.
    pub fn committed(&self) {
        if let Self::Stdin(stdin) = self {
            stdin.committed();
        }
    }

    /// Bytes that are kept of the running epoch.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        match self {
            Self::Stdin(stdin) => usize::try_from(stdin.epoch_bytes()).unwrap_or(usize::MAX),
            Self::File(_) | Self::Generator(_) => 0,
        }
    }

    /// How long until there is a record, where only time brings one.
    #[must_use]
    pub fn next_wake(&self) -> Option<Duration> {
        match self {
            Self::Generator(generator) => generator.next_wake(),
            Self::File(_) | Self::Stdin(_) => None,
        }
    }
}
