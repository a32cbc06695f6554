//! Names of objects, and where a store is.

use std::fmt;
use std::path::{Path, PathBuf};

use super::super::Error;

/// Where a store is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Location {
    /// A folder of this machine.
    Folder(PathBuf),
    /// Objects in S3.
    S3 {
        /// The bucket.
        bucket: String,
        /// What their names begin with, without the `/` behind it; may be empty.
        prefix: String,
    },
}

impl Location {
    /// What a command line means: `s3://bucket/prefix`, or else a folder.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let Some(rest) = text.strip_prefix("s3://") else { return Self::Folder(PathBuf::from(text)) };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        Self::S3 { bucket: bucket.to_owned(), prefix: prefix.trim_matches('/').to_owned() }
    }

    /// The same, seen from another working folder.
    ///
    /// # Errors
    /// The system does not tell the working folder.
    pub fn absolute(self) -> std::io::Result<Self> {
        match self {
            Self::Folder(dir) => Ok(Self::Folder(std::path::absolute(dir)?)),
            remote => Ok(remote),
        }
    }

    /// The folder, if it is one.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        match self {
            Self::Folder(dir) => Some(dir),
            Self::S3 { .. } => None,
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(dir) => dir.display().fmt(f),
            Self::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

/// Refuses what could lead out of a store or be mistaken for something else.
pub(super) fn check(name: &str) -> Result<(), Error> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if name.is_empty() || name.len() > 200 || name.trim_matches('.').is_empty() || !name.bytes().all(allowed) {
        return Err(Error::Name { name: name.to_owned() });
    }
    Ok(())
}

/// Names for what one incarnation puts: unique per attempt (rule 18), and sorted by epoch.
#[derive(Debug)]
pub struct Names {
    incarnation: String,
    counter: u64,
}

impl Names {
    /// Names of an incarnation, the id of one attempt to run the job.
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

    /// Name for an object that only proves that one can be put.
    pub fn probe(&mut self) -> String {
        self.counter += 1;
        format!("probe-{}-{}.ckpt", self.incarnation, self.counter)
    }

    /// Name for another attempt at merging the changes of these epochs.
    pub fn merge(&mut self, first_epoch: u64, last_epoch: u64) -> String {
        self.counter += 1;
        format!("merge-{first_epoch}-{last_epoch}-{}-{}.ckpt", self.incarnation, self.counter)
    }
}

/// Whether a name is an object's of another incarnation, or of a put that was cut off and is not this one's: what garbage
/// collection may touch.
#[must_use]
pub fn is_of_another(name: &str, incarnation: &str) -> bool {
    let object = cut_off(name);
    let put_by = incarnation_of(object.unwrap_or(name));
    (object.is_some() || put_by.is_some()) && put_by != Some(incarnation)
}

/// The epoch whose object, with its manifest, has this name; none for every other name.
#[must_use]
pub fn epoch_of(name: &str) -> Option<u64> {
    let (epoch, _) = name.split_once('-').filter(|_| incarnation_of(name).is_some())?;
    epoch.parse().ok()
}

/// What was being put, of a name that a put has until it is done.
fn cut_off(name: &str) -> Option<&str> {
    let (object, attempt) = name.strip_prefix('.')?.strip_suffix(".tmp")?.rsplit_once('.')?;
    let (process, put) = attempt.split_once('-')?;
    (is_number(process) && is_number(put)).then_some(object)
}

/// Who put the object of a name that [`Names`] makes.
fn incarnation_of(name: &str) -> Option<&str> {
    let parts: Vec<&str> = name.strip_suffix(".ckpt")?.split('-').collect();
    let (incarnation, counter) = match parts.as_slice() {
        ["probe", incarnation, counter] => (incarnation, counter),
        ["merge", first, last, incarnation, counter] if is_number(first) && is_number(last) => (incarnation, counter),
        [epoch, incarnation, counter] if epoch.len() >= 12 && is_number(epoch) => (incarnation, counter),
        _ => return None,
    };
    (is_incarnation(incarnation) && is_number(counter)).then_some(incarnation)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_incarnation(text: &str) -> bool {
    (1..=40).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_a_folder_unless_it_says_s3() {
        for text in ["s3://bucket/a/b", "s3://bucket", "a/b", "/a"] {
            assert_eq!(Location::parse(text).to_string(), text);
        }
        let (bucket, prefix) = ("bucket".to_owned(), "a".to_owned());
        assert_eq!(Location::parse("s3://bucket/a/"), Location::S3 { bucket, prefix });
        assert_eq!(Location::parse("a").folder(), Some(Path::new("a")));
    }

    #[test]
    fn names_are_frozen_unique_and_known_again() {
        let mut names = Names::new("a1").unwrap();
        let made = [names.epoch(7), names.epoch(7), names.merge(1, 7), names.probe()];
        assert_eq!(made, ["000000000007-a1-1.ckpt", "000000000007-a1-2.ckpt", "merge-1-7-a1-3.ckpt", "probe-a1-4.ckpt"]);
        assert!(matches!(Names::new("a-b"), Err(Error::Name { .. })));
        assert!(made.iter().all(|name| is_of_another(name, "b2") && !is_of_another(name, "a1")));
        assert_eq!(epoch_of("000000000007-a1-1.ckpt"), Some(7));
        for other in ["merge-1-7-a1-2.ckpt", "probe-a1-3.ckpt", ".000000000007-a1-1.ckpt.77-0.tmp", "run.json", "7"] {
            assert_eq!(epoch_of(other), None, "{other}");
        }
        let cut_off = ".000000000007-a1-1.ckpt.77-0.tmp";
        assert!(is_of_another(cut_off, "b2") && !is_of_another(cut_off, "a1") && is_of_another(".committed.77-1.tmp", "a1"));
        for other in ["run.json", "committed", "notes.ckpt", "merge-x-7-a1-3.ckpt", ".notes.tmp", ".notes.a-1.tmp", "7-a1-1.ckpt"] {
            assert!(!is_of_another(other, "b2"), "{other}");
        }
    }
}
