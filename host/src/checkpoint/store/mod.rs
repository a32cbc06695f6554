//! The checkpoint store: objects, each put once and never changed, in a local folder or in S3.

mod crypto;
mod folder;
mod names;
mod s3;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

pub use names::{Location, Names, epoch_of, is_of_another};
pub use s3::{Access, Copies};

use super::delta::Input;
use super::{Error, FileRef, Object};
use folder::Folder;
use s3::S3;

/// More than any document has.
const DOCUMENT_BYTES: u64 = 1 << 20;

/// Objects under names.
///
/// Guarantees: an object is there whole or not at all, also after a power cut; a name is never given twice; what
/// `put_if_absent`, `replace` and `publish` returned from is durable. What was opened can be read to its end, even if it
/// is deleted meanwhile.
#[derive(Debug)]
pub struct Store(Place);

#[derive(Debug)]
enum Place {
    Folder { folder: Folder, dir: PathBuf },
    S3(S3),
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
        Ok(Self(Place::Folder { folder: Folder::open(dir)?, dir: dir.to_owned() }))
    }

    /// The store at `location`. Nothing is asked of a remote one yet.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Remote`] for settings that cannot be.
    pub fn at(location: &Location, access: &Access, copies: Copies) -> Result<Self, Error> {
        match location {
            Location::Folder(dir) => Self::open_folder(dir),
            Location::S3 { bucket, prefix } => Ok(Self(Place::S3(S3::at(bucket, prefix, location, access, copies)?))),
        }
    }

    /// Where it is, for messages.
    #[must_use]
    pub fn place(&self) -> String {
        match &self.0 {
            Place::Folder { dir, .. } => dir.display().to_string(),
            Place::S3(s3) => s3.place().to_owned(),
        }
    }

    /// Puts an object, unless its name is taken.
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::Name`], [`Error::Io`], [`Error::Remote`].
    pub fn put_if_absent(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        match &self.0 {
            Place::Folder { folder, .. } => folder.put_if_absent(name, bytes),
            Place::S3(s3) => s3.put_if_absent(name, bytes),
        }
    }

    /// Begins an object that is written piece by piece; it is not there before [`Upload::publish`].
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Io`].
    pub fn upload(&self, name: &str) -> Result<Upload<'_>, Error> {
        Ok(match &self.0 {
            Place::Folder { folder, .. } => Upload { file: folder.upload(name)?, to: None },
            Place::S3(s3) => Upload { file: s3.upload(name)?, to: Some(s3) },
        })
    }

    /// Puts a small document in place of the one of that name, in one step. For the run's marker and the commit record;
    /// objects are never replaced.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Io`], [`Error::Remote`].
    pub(crate) fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        match &self.0 {
            Place::Folder { folder, .. } => folder.replace(name, bytes),
            Place::S3(s3) => s3.replace(name, bytes),
        }
    }

    /// A small document's bytes.
    ///
    /// # Errors
    /// [`Error::Absent`], [`Error::Name`], [`Error::Io`], [`Error::Remote`]; [`Error::Corrupt`] for one that is too large
    /// to be a document.
    pub fn read(&self, name: &str) -> Result<Vec<u8>, Error> {
        let bytes = match &self.0 {
            Place::Folder { folder, .. } => {
                let (file, path) = folder.open_file(name)?;
                let mut bytes = Vec::new();
                file.take(DOCUMENT_BYTES + 1).read_to_end(&mut bytes).map_err(|e| Error::io("read", path, e))?;
                bytes
            }
            Place::S3(s3) => s3.read(name, DOCUMENT_BYTES + 1)?,
        };
        if bytes.len() as u64 > DOCUMENT_BYTES {
            return Err(Error::corrupt(name, "it is longer than any such document", DOCUMENT_BYTES));
        }
        Ok(bytes)
    }

    /// An object's file, to be copied as it is.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub(super) fn open_bytes(&self, name: &str) -> Result<File, Error> {
        self.file(name, None).map(|(file, _)| file)
    }

    /// An object, its footer read and checked, its blocks to be read as they are needed.
    ///
    /// # Errors
    /// [`Error::Absent`], [`Error::Name`], [`Error::Io`], [`Error::Remote`], [`Error::Corrupt`], [`Error::NewerFormat`].
    pub fn open(&self, name: &str) -> Result<Object, Error> {
        let (file, path) = self.file(name, None)?;
        Object::open(name, Input::File { file, path })
    }

    fn file(&self, name: &str, bytes: Option<u64>) -> Result<(File, PathBuf), Error> {
        match &self.0 {
            Place::Folder { folder, .. } => folder.open_file(name),
            Place::S3(s3) => s3.fetch(&[(name, bytes)])?.pop().ok_or_else(|| Error::Name { name: name.to_owned() }),
        }
    }

    /// The object that a manifest names; another one under its name is [`Error::Corrupt`].
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_file(&self, file: &FileRef) -> Result<Object, Error> {
        let (opened, path) = self.file(&file.name, Some(file.bytes))?;
        named(file, opened, path)
    }

    /// The file of an object that a manifest names, to be copied as it is, once every byte of it has been checked.
    ///
    /// # Errors
    /// As [`Store::open_file`].
    pub(super) fn open_sound(&self, file: &FileRef) -> Result<File, Error> {
        let (opened, path) = self.file(&file.name, Some(file.bytes))?;
        let checked = opened.try_clone().map_err(|e| Error::io("open", &path, e))?;
        named(file, checked, path)?.verify()?;
        Ok(opened)
    }

    /// All objects that a manifest names; those that have to come from afar come side by side.
    ///
    /// # Errors
    /// As [`Store::open_file`].
    pub fn open_files(&self, files: &[FileRef]) -> Result<Vec<Object>, Error> {
        match &self.0 {
            Place::Folder { .. } => files.iter().map(|file| self.open_file(file)).collect(),
            Place::S3(s3) => {
                let wanted: Vec<_> = files.iter().map(|file| (file.name.as_str(), Some(file.bytes))).collect();
                let opened = s3.fetch(&wanted)?;
                files.iter().zip(opened).map(|(file, (opened, path))| named(file, opened, path)).collect()
            }
        }
    }

    /// All that is there, in no order, leftovers of unfinished puts included.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Remote`].
    pub fn list(&self) -> Result<Vec<Listed>, Error> {
        match &self.0 {
            Place::Folder { folder, .. } => folder.list(),
            Place::S3(s3) => s3.list(),
        }
    }

    /// Deletes an object; one that is not there is as good as deleted.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::Io`], [`Error::Remote`].
    pub fn delete(&self, name: &str) -> Result<(), Error> {
        match &self.0 {
            Place::Folder { folder, .. } => folder.delete(name),
            Place::S3(s3) => s3.delete(&[name]),
        }
    }

    /// Deletes what nothing refers to any more.
    ///
    /// # Errors
    /// As [`Store::delete`]. Some may be deleted then.
    pub fn collect(&self, garbage: &BTreeSet<String>) -> Result<(), Error> {
        match &self.0 {
            Place::Folder { folder, .. } => garbage.iter().try_for_each(|name| {
                failpoint!("garbage");
                folder.delete(name)
            }),
            Place::S3(_) if garbage.is_empty() => Ok(()),
            Place::S3(s3) => {
                failpoint!("garbage");
                s3.delete(&garbage.iter().map(String::as_str).collect::<Vec<_>>())
            }
        }
    }

    /// Deletes copies of objects that are not in the store any more: of what is neither `listed` nor `named`, which may have come
    /// since.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn tidy(&self, listed: &[Listed], named: &BTreeSet<String>) -> Result<(), Error> {
        match &self.0 {
            Place::Folder { .. } => Ok(()),
            Place::S3(s3) => s3.tidy(listed, named),
        }
    }

    /// Proves before the first epoch that an object can be put and deleted.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Remote`].
    pub fn check_writable(&self, names: &mut Names) -> Result<(), Error> {
        let probe = names.probe();
        self.put_if_absent(&probe, b"weir")?;
        self.delete(&probe)
    }
}

fn named(file: &FileRef, opened: File, path: PathBuf) -> Result<Object, Error> {
    let object = Object::open(&file.name, Input::File { file: opened, path })?;
    if (object.bytes(), object.checksum()) != (file.bytes, file.checksum) {
        let (bytes, checksum) = (object.bytes(), object.checksum());
        let what =
            format!("the manifest names {} bytes with checksum {:08x}, found {bytes} bytes with {checksum:08x}", file.bytes, file.checksum);
        return Err(Error::corrupt(&file.name, what, 0));
    }
    Ok(object)
}

/// An object in the making, in a file of this machine. Dropped before it is published, it leaves nothing.
#[derive(Debug)]
pub struct Upload<'a> {
    file: folder::Upload,
    to: Option<&'a S3>,
}

impl Upload<'_> {
    /// Makes the object appear, whole and durable, unless its name is taken.
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::Io`], [`Error::Remote`]; [`Error::Absent`] where somebody has deleted what was written.
    pub fn publish(self) -> Result<(), Error> {
        match self.to {
            None => self.file.publish(),
            Some(s3) => s3.publish(self.file),
        }
    }
}

impl Write for Upload<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
