//! Local sinks: a file, standard output, nowhere. Kafka's has a room of its own; which of its topics a record goes to is
//! said here.
//!
//! Promises:
//! - The records of one batch stay together and in their order; batches of one worker stay in theirs.
//! - What was written before a [`LocalSink::flush`] that succeeded outlives a crash, in a file. A file that is opened
//!   at its committed length holds what was committed and nothing else. Standard output cannot be taken back.
//! - Nothing is overwritten without being told to.

mod format;
mod topics;

#[cfg(test)]
mod tests;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use weir_spec::{Format, SinkConnector};

pub use topics::Topics;

use crate::record::Batch;

/// Why a local sink cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be created, or not by this user.
    #[error("cannot open {}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A folder, a pipe or a device, which cannot be cut back after a crash.
    #[error("{} is no regular file", path.display())]
    NotAFile {
        /// The file.
        path: PathBuf,
    },
    /// A new run would mix its records with what is there.
    #[error("{} already has {bytes} bytes; move it away, or start with --fresh to overwrite it", path.display())]
    NotEmpty {
        /// The file.
        path: PathBuf,
        /// Bytes it has.
        bytes: u64,
    },
    /// Committed records are gone.
    #[error("{} has {bytes} bytes, but {committed} were committed: it was cut or replaced since", path.display())]
    Shorter {
        /// The file.
        path: PathBuf,
        /// Bytes it has.
        bytes: u64,
        /// Bytes at the last commit.
        committed: u64,
    },
    /// Writing failed; part of the batch may have been written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Nobody reads standard output any more, as when `head` has seen enough: a reason to end, and not a failure.
    #[error("standard output was closed by its reader")]
    Closed,
    /// The connector is Kafka's.
    #[error("a Kafka sink is no local sink")]
    NotLocal,
}

/// What a file that is opened may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// A run without a checkpoint: nothing.
    New,
    /// As [`Start::New`], but what is there is thrown away.
    Fresh,
    /// A run that goes on: what was committed. What follows it is cut off.
    Resume {
        /// What [`LocalSink::bytes`] was at the commit.
        committed: u64,
    },
}

/// A sink that needs no broker, shared by the workers.
pub struct LocalSink {
    target: Target,
    format: Format,
    /// Held while a batch is written, since workers share the end of one file. Batches are turned into bytes before,
    /// side by side, so that the lock covers one system call.
    written: Mutex<Written>,
    /// Buffers that keep their room from batch to batch, as many as workers were writing at once.
    spare: Mutex<Vec<Vec<u8>>>,
}

enum Target {
    File { file: File, path: PathBuf },
    Stdout(File),
    Blackhole,
}

#[derive(Clone, Copy, Default)]
struct Written {
    bytes: u64,
    records: u64,
}

impl LocalSink {
    /// Opens a sink; a file's path is relative to `base_dir`, and only a file minds how the run starts. It is to be
    /// [cut](Self::cut) before the first record.
    ///
    /// # Errors
    /// What cannot be opened, or does not hold what it should.
    pub fn open(connector: SinkConnector<'_>, base_dir: &Path, start: Start) -> Result<Self, Error> {
        let (target, format, bytes) = match connector {
            SinkConnector::File(sink) => {
                let path = base_dir.join(&sink.path);
                let (file, bytes) = open_file(&path, start)?;
                (Target::File { file, path }, sink.format.clone(), bytes)
            }
            SinkConnector::Stdout(sink) => {
                // The bare descriptor, past the standard library's buffer, so that a batch is one write.
                let out = io::stdout().as_fd().try_clone_to_owned();
                let out = out.map_err(|source| Error::Open { path: PathBuf::from(STDOUT), source })?;
                (Target::Stdout(File::from(out)), sink.format.clone(), 0)
            }
            SinkConnector::Blackhole(_) => (Target::Blackhole, Format::Lines, 0),
            SinkConnector::Kafka(_) => return Err(Error::NotLocal),
        };
        Ok(Self::over(target, format, bytes))
    }

    fn over(target: Target, format: Format, bytes: u64) -> Self {
        Self { target, format, written: Mutex::new(Written { bytes, records: 0 }), spare: Mutex::default() }
    }

    /// Cuts a file back to what it should start with. Until then it is as it was found. To be called before anything is
    /// written.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn cut(&self) -> Result<(), Error> {
        let Target::File { file, .. } = &self.target else { return Ok(()) };
        let length = self.bytes();
        let is_longer = file.metadata().map_err(|source| self.failed(source))?.len() > length;
        if is_longer {
            file.set_len(length).and_then(|()| file.sync_all()).map_err(|source| self.failed(source))?;
        }
        Ok(())
    }

    /// Writes the records of a batch, and waits until they are written; not until they are on disk.
    ///
    /// # Errors
    /// [`Error::Write`] or [`Error::Closed`]. A file then has to be opened anew at its committed length.
    pub fn write(&self, batch: &Batch) -> Result<(), Error> {
        let mut file = match &self.target {
            Target::Blackhole => {
                lock(&self.written).add(batch.data_len(), batch.len());
                return Ok(());
            }
            Target::File { file, .. } | Target::Stdout(file) => file,
        };
        let mut buffer = lock(&self.spare).pop().unwrap_or_default();
        buffer.clear();
        format::encode(batch, &self.format, &mut buffer).map_err(|source| self.failed(source))?;
        {
            let mut written = lock(&self.written);
            if written.bytes == 0 {
                let head = format::head(&self.format);
                file.write_all(&head).map_err(|source| self.failed(source))?;
                written.add(head.len(), 0);
            }
            file.write_all(&buffer).map_err(|source| self.failed(source))?;
            written.add(buffer.len(), batch.len());
        }
        lock(&self.spare).push(buffer);
        Ok(())
    }

    /// Makes what was written outlive a crash, where that is possible. Other workers may write meanwhile.
    ///
    /// # Errors
    /// [`Error::Write`]. The system may have dropped what it could not write, so another flush would prove nothing.
    pub fn flush(&self) -> Result<(), Error> {
        match &self.target {
            Target::File { file, .. } => file.sync_data().map_err(|source| self.failed(source)),
            Target::Stdout(_) | Target::Blackhole => Ok(()),
        }
    }

    /// A file's length; of other sinks, bytes since they were opened: written ones, or keys and values dropped.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        lock(&self.written).bytes
    }

    /// Records written or dropped since the sink was opened.
    #[must_use]
    pub fn records(&self) -> u64 {
        lock(&self.written).records
    }

    fn failed(&self, source: io::Error) -> Error {
        match &self.target {
            Target::Stdout(_) if source.kind() == io::ErrorKind::BrokenPipe => Error::Closed,
            Target::File { path, .. } => Error::Write { path: path.clone(), source },
            Target::Stdout(_) | Target::Blackhole => Error::Write { path: PathBuf::from(STDOUT), source },
        }
    }
}

const STDOUT: &str = "standard output";

impl Written {
    fn add(&mut self, bytes: usize, records: usize) {
        self.bytes += bytes as u64;
        self.records += records as u64;
    }
}

/// What these locks guard is whole between any two statements, so a panic elsewhere spoils nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A batch as a file of CSV, for the test of its reader.
#[cfg(test)]
pub(crate) fn csv_text(batch: &Batch, format: &weir_spec::CsvFormat) -> Vec<u8> {
    let format = Format::Csv(format.clone());
    let mut text = format::head(&format);
    format::encode(batch, &format, &mut text).unwrap_or_default();
    text
}

/// Opens a file for appending. The length that it should start with, which it may exceed.
fn open_file(path: &Path, start: Start) -> Result<(File, u64), Error> {
    let failed = |source| Error::Open { path: path.to_owned(), source };
    let bytes = match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => Some(metadata.len()),
        Ok(_) => return Err(Error::NotAFile { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed(error)),
    };
    let length = match (start, bytes.unwrap_or(0)) {
        (Start::New, bytes @ 1..) => return Err(Error::NotEmpty { path: path.to_owned(), bytes }),
        (Start::New | Start::Fresh, _) => 0,
        (Start::Resume { committed }, bytes) if bytes < committed => {
            return Err(Error::Shorter { path: path.to_owned(), bytes, committed });
        }
        (Start::Resume { committed }, _) => committed,
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if bytes.is_none() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    // Append: each write goes to the end, also after the file was cut.
    let file = OpenOptions::new().create(true).append(true).open(path).map_err(failed)?;
    if bytes.is_none() {
        // A file's name is an entry of its folder, which a crash can lose by itself.
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
    }
    Ok((file, length))
}
