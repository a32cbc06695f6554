//! What stands beside the objects in a local folder: the run's marker, the commit record of a job without any Kafka
//! connector (rule 12), and the lock that keeps a second process out.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{CommitMetadata, Error, Store, document};

const MARKER: &str = "run.json";
const COMMITTED: &str = "committed";
const LOCK: &str = "lock";

/// Says that a run has begun: from then on a commit that is missing is a fault, not a first start (rule 14).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RunMarker {
    format: u32,
    /// The run.
    pub run: String,
    /// Name of the job, whose store it is.
    pub job: String,
    /// When the run began, in ms since the epoch.
    pub created: i64,
    /// Id of the savepoint that it began from, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub savepoint: Option<String>,
    /// Where that was, if not in the store itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
}

impl RunMarker {
    /// The marker of a run that began from nothing.
    #[must_use]
    pub fn new(run: &str, job: &str, created: i64) -> Self {
        Self { format: document::FORMAT, run: run.to_owned(), job: job.to_owned(), created, savepoint: None, place: None }
    }

    /// The marker in a store, if a run has begun there.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::NewerFormat`], [`Error::Io`].
    pub fn read(store: &Store) -> Result<Option<Self>, Error> {
        match store.read(MARKER) {
            Ok(text) => document::open(MARKER, &text).map(Some),
            Err(Error::Absent { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Puts the marker, in place of an earlier run's. To be called after the commit that begins the run.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Encode`].
    pub fn write(&self, store: &Store) -> Result<(), Error> {
        store.replace(MARKER, &document::seal("run marker", self)?)
    }
}

/// The commit record of a job that touches no Kafka: one small file, replaced in one step. When
/// [`LocalCommitLog::commit`] returns, the epoch is committed, also across a power cut.
#[derive(Debug)]
pub struct LocalCommitLog {
    store: Store,
    dir: PathBuf,
}

impl LocalCommitLog {
    /// The commit record in the job's folder, which the caller has locked.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open_folder(dir: &Path) -> Result<Self, Error> {
        Ok(Self { store: Store::open_folder(dir)?, dir: dir.to_owned() })
    }

    /// Where the record is, for messages.
    pub fn path(&self) -> PathBuf {
        self.dir.join(COMMITTED)
    }

    /// The last commit, if there is one.
    ///
    /// # Errors
    /// [`Error::CommitRecord`] for text that is no commit, [`Error::Io`].
    pub fn read(&self) -> Result<Option<CommitMetadata>, Error> {
        let bytes = match self.store.read(COMMITTED) {
            Ok(bytes) => bytes,
            Err(Error::Absent { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let text = String::from_utf8_lossy(&bytes);
        let commit = CommitMetadata::parse(text.trim_end()).map_err(|source| Error::CommitRecord { path: self.path(), source })?;
        Ok(Some(commit))
    }

    /// Commits. On an error it is unknown which of the two commits stands: [`LocalCommitLog::read`] tells (rule 9).
    ///
    /// # Errors
    /// [`Error::CommitRecord`] if the names are too long, [`Error::Io`].
    pub fn commit(&self, commit: &CommitMetadata) -> Result<(), Error> {
        let text = commit.encode().map_err(|source| Error::CommitRecord { path: self.path(), source })?;
        self.store.replace(COMMITTED, format!("{text}\n").as_bytes())
    }
}

/// Keeps a folder to one process for as long as it is held; the system releases it when the process dies.
#[derive(Debug)]
pub struct FolderLock {
    // Closing the file releases the lock.
    _file: File,
}

impl FolderLock {
    /// Locks a folder that exists, or says who holds it.
    ///
    /// # Errors
    /// [`Error::Locked`], [`Error::Io`].
    pub fn acquire(dir: &Path) -> Result<Self, Error> {
        let path = dir.join(LOCK);
        // Not truncated on opening: until the lock is ours, the content is the holder's.
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = opened.map_err(|e| Error::io("open", &path, e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let known = file.read_to_string(&mut pid).is_ok() && !pid.trim().is_empty();
                let pid = if known { pid.trim().to_owned() } else { "unknown".to_owned() };
                return Err(Error::Locked { dir: dir.to_owned(), pid });
            }
            Err(TryLockError::Error(e)) => return Err(Error::io("lock", &path, e)),
        }
        let written = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
        written.map_err(|e| Error::io("write", &path, e))?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::checkpoint::{ManifestRef, Mode};

    #[test]
    fn the_last_commit_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let log = LocalCommitLog::open_folder(folder.path()).unwrap();
        assert_eq!(log.read().unwrap(), None);
        let first = CommitMetadata::empty("r", Mode::Alone);
        log.commit(&first).unwrap();
        assert_eq!(log.read().unwrap(), Some(first.clone()));
        let second = CommitMetadata { epoch: 1, manifest: Some(ManifestRef { name: "m".into(), checksum: 3 }), ..first };
        log.commit(&second).unwrap();
        assert_eq!(log.read().unwrap(), Some(second));
    }

    #[test]
    fn a_commit_record_that_is_no_commit_is_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("committed"), b"weir1;run=\xff").unwrap();
        let error = LocalCommitLog::open_folder(folder.path()).unwrap().read().unwrap_err();
        assert!(matches!(error, Error::CommitRecord { .. }), "{error}");
        assert!(error.to_string().contains("committed"), "{error}");
    }

    #[test]
    fn a_marker_is_replaced_by_the_next_runs_and_a_newer_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_folder(folder.path()).unwrap();
        assert_eq!(RunMarker::read(&store).unwrap(), None);
        for run in ["r1", "r2"] {
            let marker = RunMarker { place: Some("p".into()), ..RunMarker::new(run, "job", 5) };
            marker.write(&store).unwrap();
            assert_eq!(RunMarker::read(&store).unwrap(), Some(marker));
        }
        assert_eq!(store.read("run.json").unwrap(), br#"{"format":3,"run":"r2","job":"job","created":5,"place":"p","crc32c":"0a539f2e"}"#);
        let second = br#"{"format":2,"run":"r2","job":"job","created":5,"crc32c":"6095f0a1"}"#;
        store.replace("run.json", second).unwrap();
        assert_eq!(RunMarker::read(&store).unwrap().unwrap().run, "r2");
        store.replace("run.json", br#"{"format":1,"run":"r1","job":"job","created":5}"#).unwrap();
        assert_eq!(RunMarker::read(&store).unwrap().unwrap().run, "r1");
        store.replace("run.json", br#"{"format":9}"#).unwrap();
        assert!(matches!(RunMarker::read(&store), Err(Error::NewerFormat { found: 9, .. })));
    }

    #[test]
    fn rule_12_a_folder_is_locked_by_one_process() {
        let folder = tempfile::tempdir().unwrap();
        let held = FolderLock::acquire(folder.path()).unwrap();
        let own = std::process::id().to_string();
        assert!(matches!(FolderLock::acquire(folder.path()), Err(Error::Locked { pid, .. }) if pid == own));
        drop(held);
        FolderLock::acquire(folder.path()).unwrap();
    }
}
