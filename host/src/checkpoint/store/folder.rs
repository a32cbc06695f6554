//! A store in a local folder.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Listed, names};
use crate::checkpoint::Error;

/// A folder of objects. Assumes a file system with hard links, which the probe of [`super::Store::check_writable`] proves.
#[derive(Debug)]
pub(super) struct Folder {
    dir: PathBuf,
    unfinished: AtomicU64,
}

impl Folder {
    /// The folder, which is made if it is not there.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        fs::create_dir_all(dir).map_err(|e| Error::io("create folder", dir, e))?;
        Ok(Self { dir: dir.to_owned(), unfinished: AtomicU64::new(0) })
    }

    pub fn put_if_absent(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let mut upload = self.upload(name)?;
        upload.write_all(bytes).map_err(|e| Error::io("write", upload.unfinished(), e))?;
        upload.publish()
    }

    pub fn upload(&self, name: &str) -> Result<Upload, Error> {
        let path = self.path(name)?;
        let number = self.unfinished.fetch_add(1, Ordering::Relaxed);
        let unfinished = self.dir.join(format!(".{name}.{}-{number}.tmp", std::process::id()));
        // One that bears the same name is a leftover of a dead process that had this process's id.
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&unfinished);
        let file = open.map_err(|e| Error::io("create", &unfinished, e))?;
        Ok(Upload { file, unfinished, path, name: name.to_owned(), dir: self.dir.clone() })
    }

    pub fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let mut upload = self.upload(name)?;
        upload.write_all(bytes).map_err(|e| Error::io("write", upload.unfinished(), e))?;
        upload.sync()?;
        upload.keep()?;
        sync_folder(&self.dir)
    }

    /// An object's file, open for reading, and its path.
    pub fn open_file(&self, name: &str) -> Result<(File, PathBuf), Error> {
        let path = self.path(name)?;
        match File::open(&path) {
            Ok(file) => Ok((file, path)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                Err(Error::Absent { object: name.to_owned(), store: self.dir.display().to_string() })
            }
            Err(e) => Err(Error::io("open", path, e)),
        }
    }

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

    pub fn delete(&self, name: &str) -> Result<(), Error> {
        let path = self.path(name)?;
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("delete", &path, e)),
            _ => Ok(()),
        }
    }

    fn path(&self, name: &str) -> Result<PathBuf, Error> {
        names::check(name)?;
        Ok(self.dir.join(name))
    }
}

/// An object in the making. Dropped before it is published, it leaves nothing.
#[derive(Debug)]
pub(super) struct Upload {
    file: File,
    unfinished: PathBuf,
    path: PathBuf,
    name: String,
    dir: PathBuf,
}

impl Upload {
    /// Makes the object appear, whole and on disk, unless its name is taken.
    pub fn publish(self) -> Result<(), Error> {
        self.sync()?;
        // A link, unlike a rename, fails where the name is taken.
        fs::hard_link(&self.unfinished, &self.path).map_err(|e| match e.kind() {
            io::ErrorKind::AlreadyExists => Error::Exists { object: self.name.clone(), store: self.dir.display().to_string() },
            // By a process that has taken the job over, for which it is garbage.
            io::ErrorKind::NotFound => Error::Absent { object: self.name.clone(), store: self.dir.display().to_string() },
            _ => Error::io("link", &self.path, e),
        })?;
        sync_folder(&self.dir)
    }

    /// Makes it appear in place of what bears its name; on disk only if it was synced.
    pub fn keep(self) -> Result<(), Error> {
        fs::rename(&self.unfinished, &self.path).map_err(|e| Error::io("replace", &self.path, e))
    }

    /// The object's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What was written so far, and where it is.
    pub fn file(&self) -> &File {
        &self.file
    }

    pub fn unfinished(&self) -> &Path {
        &self.unfinished
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn names_in(store: &Folder) -> Vec<String> {
        let mut names: Vec<String> = store.list().unwrap().into_iter().map(|listed| listed.name).collect();
        names.sort();
        names
    }

    #[test]
    fn a_name_is_given_once_and_keeps_its_first_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let store = Folder::open(&folder.path().join("deep/er")).unwrap();
        store.put_if_absent("a", b"first").unwrap();
        assert!(matches!(store.put_if_absent("a", b"second"), Err(Error::Exists { .. })));
        assert_eq!(fs::read(store.open_file("a").unwrap().1).unwrap(), b"first");
        assert_eq!(names_in(&store), ["a"], "no leftover of the put that failed");
    }

    #[test]
    fn an_upload_that_is_dropped_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = Folder::open(folder.path()).unwrap();
        let mut upload = store.upload("a").unwrap();
        upload.write_all(b"half").unwrap();
        assert!(matches!(store.open_file("a"), Err(Error::Absent { .. })), "not there before it is published");
        drop(upload);
        assert_eq!(names_in(&store), Vec::<String>::new());
    }

    #[test]
    fn an_upload_that_somebody_deletes_is_absent() {
        let folder = tempfile::tempdir().unwrap();
        let store = Folder::open(folder.path()).unwrap();
        let upload = store.upload("a").unwrap();
        fs::remove_file(upload.unfinished()).unwrap();
        assert!(matches!(upload.publish(), Err(Error::Absent { object, .. }) if object == "a"));
    }

    #[test]
    fn listing_tells_length_and_deleting_twice_is_fine() {
        let folder = tempfile::tempdir().unwrap();
        let store = Folder::open(folder.path()).unwrap();
        store.put_if_absent("a", b"123").unwrap();
        assert_eq!(store.list().unwrap().iter().map(|listed| (listed.name.as_str(), listed.bytes)).collect::<Vec<_>>(), [("a", 3)]);
        store.delete("a").unwrap();
        store.delete("a").unwrap();
        assert!(matches!(store.open_file("a"), Err(Error::Absent { object, .. }) if object == "a"));
    }

    #[test]
    fn no_name_leads_out_of_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let store = Folder::open(folder.path()).unwrap();
        for name in ["", ".", "..", "../a", "/a", "a/b", "a\0"] {
            assert!(matches!(store.put_if_absent(name, b""), Err(Error::Name { .. })), "{name:?}");
        }
    }

    #[test]
    fn a_folder_that_is_a_file_is_named_in_the_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, b"").unwrap();
        let error = Folder::open(&path).unwrap_err().to_string();
        assert!(error.contains("file") && error.contains("exists"), "{error}");
    }
}
