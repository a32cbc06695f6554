//! The checkpoint store: a local folder of objects, each put once and never changed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use super::delta::Input;
use super::{Error, FileRef, Object};

/// A folder of objects.
///
/// Guarantees: an object is there whole or not at all, also after a power cut; a name is never given twice; what
/// `put_if_absent`, `replace` and `publish` returned from is on disk.
/// Assumes a file system with hard links, which [`Store::check_writable`] proves.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    unfinished: AtomicU64,
}

/// An object as the store lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Name in the store.
    pub name: String,
    /// Length in bytes.
    pub bytes: u64,
    /// When it was put, by the store's clock.
    pub modified: SystemTime,
}

impl Store {
    /// The store in a folder, which is made if it is not there.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open_folder(dir: &Path) -> Result<Self, Error> {
        fs::create_dir_all(dir).map_err(|e| Error::io("create folder", dir, e))?;
        Ok(Self { dir: dir.to_owned(), unfinished: AtomicU64::new(0) })
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Puts an object, unless its name is taken.
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::Name`], [`Error::Io`].
    pub fn put_if_absent(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let mut upload = self.upload(name)?;
        upload.write_all(bytes).map_err(|e| Error::io("write", &upload.unfinished, e))?;
        upload.publish()
    }

    /// Begins an object that is written piece by piece; it is not there before [`Upload::publish`].
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Io`].
    pub fn upload(&self, name: &str) -> Result<Upload, Error> {
        let path = self.path(name)?;
        let number = self.unfinished.fetch_add(1, Ordering::Relaxed);
        let unfinished = self.dir.join(format!(".{name}.{}-{number}.tmp", std::process::id()));
        // One that bears the same name is a leftover of a dead process that had this process's id.
        let file = File::create(&unfinished).map_err(|e| Error::io("create", &unfinished, e))?;
        Ok(Upload { file, unfinished, path, name: name.to_owned(), dir: self.dir.clone() })
    }

    /// Puts a small document in place of the one of that name, in one step. For the run's marker and the commit record;
    /// objects are never replaced.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Io`].
    pub(crate) fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let mut upload = self.upload(name)?;
        upload.write_all(bytes).map_err(|e| Error::io("write", &upload.unfinished, e))?;
        upload.sync()?;
        fs::rename(&upload.unfinished, &upload.path).map_err(|e| Error::io("replace", &upload.path, e))?;
        sync_folder(&self.dir)
    }

    /// An object's bytes.
    ///
    /// # Errors
    /// [`Error::Absent`], [`Error::Name`], [`Error::Io`].
    pub fn read(&self, name: &str) -> Result<Vec<u8>, Error> {
        let path = self.path(name)?;
        fs::read(&path).map_err(|e| self.absent_or(name, "read", &path, e))
    }

    /// An object's file, to be copied as it is: it can be read even if the object is deleted meanwhile.
    ///
    /// # Errors
    /// [`Error::Absent`], [`Error::Name`], [`Error::Io`].
    pub(super) fn open_bytes(&self, name: &str) -> Result<File, Error> {
        let path = self.path(name)?;
        File::open(&path).map_err(|e| self.absent_or(name, "open", &path, e))
    }

    /// An object, its footer read and checked, its blocks to be read as they are needed.
    ///
    /// # Errors
    /// [`Error::Absent`], [`Error::Name`], [`Error::Io`], [`Error::Corrupt`], [`Error::NewerFormat`].
    pub fn open(&self, name: &str) -> Result<Object, Error> {
        let path = self.path(name)?;
        let file = File::open(&path).map_err(|e| self.absent_or(name, "open", &path, e))?;
        Object::open(name, Input::File { file, path })
    }

    /// The object that a manifest names; another one under its name is [`Error::Corrupt`].
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_file(&self, file: &FileRef) -> Result<Object, Error> {
        let object = self.open(&file.name)?;
        if (object.bytes(), object.checksum()) != (file.bytes, file.checksum) {
            let (bytes, checksum) = (object.bytes(), object.checksum());
            let what = format!(
                "the manifest names {} bytes with checksum {:08x}, found {bytes} bytes with {checksum:08x}",
                file.bytes, file.checksum
            );
            return Err(Error::corrupt(&file.name, what, 0));
        }
        Ok(object)
    }

    /// All that is in the folder, in no order, leftovers of unfinished puts included.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn list(&self) -> Result<Vec<Listed>, Error> {
        let failed = |e| Error::io("list", &self.dir, e);
        let mut listed = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let about = match entry.metadata() {
                Ok(about) => about,
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue, // deleted while we list
                Err(e) => return Err(Error::io("read", entry.path(), e)),
            };
            if let (true, Ok(name)) = (about.is_file(), entry.file_name().into_string()) {
                let modified = about.modified().map_err(|e| Error::io("read", entry.path(), e))?;
                listed.push(Listed { name, bytes: about.len(), modified });
            }
        }
        Ok(listed)
    }

    /// Deletes an object; one that is not there is as good as deleted.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Io`].
    pub fn delete(&self, name: &str) -> Result<(), Error> {
        let path = self.path(name)?;
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("delete", &path, e)),
            _ => Ok(()),
        }
    }

    /// Proves before the first epoch that objects can be put and deleted.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn check_writable(&self) -> Result<(), Error> {
        let probe = format!("probe-{}", std::process::id());
        self.delete(&probe)?;
        self.put_if_absent(&probe, b"weir")?;
        self.delete(&probe)
    }

    fn path(&self, name: &str) -> Result<PathBuf, Error> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        if name.is_empty() || name.len() > 200 || name.trim_matches('.').is_empty() || !name.bytes().all(allowed) {
            return Err(Error::Name { name: name.to_owned() });
        }
        Ok(self.dir.join(name))
    }

    fn absent_or(&self, name: &str, action: &'static str, path: &Path, error: io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::NotFound => Error::Absent { object: name.to_owned(), dir: self.dir.clone() },
            _ => Error::io(action, path, error),
        }
    }
}

/// An object in the making. Dropped before it is published, it leaves nothing.
#[derive(Debug)]
pub struct Upload {
    file: File,
    unfinished: PathBuf,
    path: PathBuf,
    name: String,
    dir: PathBuf,
}

impl Upload {
    /// Makes the object appear, whole and on disk, unless its name is taken.
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::Io`].
    pub fn publish(self) -> Result<(), Error> {
        self.sync()?;
        // A link, unlike a rename, fails where the name is taken.
        fs::hard_link(&self.unfinished, &self.path).map_err(|e| match e.kind() {
            io::ErrorKind::AlreadyExists => Error::Exists { object: self.name.clone(), dir: self.dir.clone() },
            _ => Error::io("link", &self.path, e),
        })?;
        sync_folder(&self.dir)
    }

    fn sync(&self) -> Result<(), Error> {
        self.file.sync_all().map_err(|e| Error::io("sync", &self.unfinished, e))
    }
}

impl Write for Upload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // After a rename it is gone already; what cannot be removed now is collected as garbage.
        let _ = fs::remove_file(&self.unfinished);
    }
}

fn sync_folder(dir: &Path) -> Result<(), Error> {
    let folder = OpenOptions::new().read(true).open(dir).map_err(|e| Error::io("open folder", dir, e))?;
    folder.sync_all().map_err(|e| Error::io("sync folder", dir, e))
}

/// Names for what one incarnation puts: unique per attempt (rule 18), and sorted by epoch.
#[derive(Debug)]
pub struct Names {
    incarnation: String,
    counter: u64,
}

impl Names {
    /// Names of an incarnation, the id of one process start.
    ///
    /// # Errors
    /// [`Error::Name`] unless it has 1 to 40 ASCII letters and digits.
    pub fn new(incarnation: &str) -> Result<Self, Error> {
        if !is_incarnation(incarnation) {
            return Err(Error::Name { name: incarnation.to_owned() });
        }
        Ok(Self { incarnation: incarnation.to_owned(), counter: 0 })
    }

    /// The incarnation.
    pub fn incarnation(&self) -> &str {
        &self.incarnation
    }

    /// Name for another attempt at an epoch's object.
    pub fn epoch(&mut self, epoch: u64) -> String {
        self.counter += 1;
        format!("{epoch:012}-{}-{}.ckpt", self.incarnation, self.counter)
    }

    /// Name for another attempt at merging the changes of these epochs.
    pub fn merge(&mut self, first_epoch: u64, last_epoch: u64) -> String {
        self.counter += 1;
        format!("merge-{first_epoch}-{last_epoch}-{}-{}.ckpt", self.incarnation, self.counter)
    }
}

/// Whether a name is one that [`Names`] makes, or the leftover of a put that a crash cut off: what garbage collection may touch.
#[must_use]
pub fn is_object_name(name: &str) -> bool {
    let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if let Some((_, attempt)) = name.strip_prefix('.').and_then(|name| name.strip_suffix(".tmp")?.rsplit_once('.')) {
        return attempt.split_once('-').is_some_and(|(process, put)| number(process) && number(put));
    }
    let Some(stem) = name.strip_suffix(".ckpt") else { return false };
    let parts: Vec<&str> = stem.split('-').collect();
    match parts.as_slice() {
        ["merge", first, last, incarnation, counter] => number(first) && number(last) && is_incarnation(incarnation) && number(counter),
        [epoch, incarnation, counter] => epoch.len() >= 12 && number(epoch) && is_incarnation(incarnation) && number(counter),
        _ => false,
    }
}

fn is_incarnation(text: &str) -> bool {
    (1..=40).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn names_in(store: &Store) -> Vec<String> {
        let mut names: Vec<String> = store.list().unwrap().into_iter().map(|listed| listed.name).collect();
        names.sort();
        names
    }

    #[test]
    fn a_name_is_given_once_and_keeps_its_first_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_folder(&folder.path().join("deep/er")).unwrap();
        store.put_if_absent("a", b"first").unwrap();
        assert!(matches!(store.put_if_absent("a", b"second"), Err(Error::Exists { .. })));
        assert_eq!(store.read("a").unwrap(), b"first");
        assert_eq!(names_in(&store), ["a"], "no leftover of the put that failed");
    }

    #[test]
    fn an_upload_that_is_dropped_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_folder(folder.path()).unwrap();
        let mut upload = store.upload("a").unwrap();
        upload.write_all(b"half").unwrap();
        assert!(matches!(store.read("a"), Err(Error::Absent { .. })), "not there before it is published");
        drop(upload);
        assert_eq!(names_in(&store), Vec::<String>::new());
    }

    #[test]
    fn listing_tells_length_and_deleting_twice_is_fine() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_folder(folder.path()).unwrap();
        store.check_writable().unwrap();
        store.put_if_absent("a", b"123").unwrap();
        assert_eq!(store.list().unwrap().iter().map(|listed| (listed.name.as_str(), listed.bytes)).collect::<Vec<_>>(), [("a", 3)]);
        store.delete("a").unwrap();
        store.delete("a").unwrap();
        assert!(matches!(store.open("a"), Err(Error::Absent { object, .. }) if object == "a"));
    }

    #[test]
    fn no_name_leads_out_of_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_folder(folder.path()).unwrap();
        for name in ["", ".", "..", "../a", "/a", "a/b", "a\0"] {
            assert!(matches!(store.put_if_absent(name, b""), Err(Error::Name { .. })), "{name:?}");
        }
        assert!(matches!(Names::new("a-b"), Err(Error::Name { .. })));
    }

    #[test]
    fn a_folder_that_is_a_file_is_named_in_the_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, b"").unwrap();
        let error = Store::open_folder(&path).unwrap_err().to_string();
        assert!(error.contains("file") && error.contains("exists"), "{error}");
    }

    #[test]
    fn names_are_frozen_unique_and_known_again() {
        let mut names = Names::new("a1").unwrap();
        let made = [names.epoch(7), names.epoch(7), names.merge(1, 7)];
        assert_eq!(made, ["000000000007-a1-1.ckpt", "000000000007-a1-2.ckpt", "merge-1-7-a1-3.ckpt"]);
        assert!(made.iter().all(|name| is_object_name(name)));
        assert!(is_object_name(".000000000007-a1-1.ckpt.77-0.tmp") && is_object_name(".committed.77-1.tmp"));
        for other in ["run.json", "committed", "notes.ckpt", "merge-x-7-a1-3.ckpt", ".notes.tmp", ".notes.a-1.tmp", "7-a1-1.ckpt"] {
            assert!(!is_object_name(other), "{other}");
        }
    }
}
