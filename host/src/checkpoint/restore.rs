//! Reading committed state back: the one way from a checkpoint to live entries, for a start and for a shard taken over.

use super::recovery::ManifestFact;
use super::{Checkpoint, Error, FileRef, Merged, Store};

/// What the store holds under the name that a commit gives, as a fact for [`decide`](super::decide).
///
/// # Errors
/// [`Error::Io`], [`Error::Remote`] and [`Error::Name`]: what could not be looked at is no fact.
pub fn find_checkpoint(store: &Store, name: &str) -> Result<ManifestFact, Error> {
    match store.open(name).and_then(|object| Checkpoint::of(&object)) {
        Ok(checkpoint) => Ok(ManifestFact::Found(Box::new(checkpoint))),
        Err(Error::Absent { .. }) => Ok(ManifestFact::Absent),
        Err(Error::NewerFormat { found, known, .. }) => Ok(ManifestFact::Newer { found, known }),
        Err(error @ Error::Corrupt { .. }) => Ok(ManifestFact::Corrupt(error.to_string())),
        Err(error) => Err(error),
    }
}

/// Hands every live entry of the state that `files` (oldest first, see [`Checkpoint::files`]) hold to `apply`, in key order.
/// Returns how many there were. Holds one block of each file in memory.
///
/// # Errors
/// [`Error::Absent`] or [`Error::Corrupt`] with the file's name, [`Error::Io`], [`Error::Remote`], and what `apply` returns. Entries handed out
/// before an error are to be thrown away.
pub fn restore<E: From<Error>>(store: &Store, files: &[FileRef], mut apply: impl FnMut(&[u8], &[u8]) -> Result<(), E>) -> Result<u64, E> {
    // All are opened before the first entry: a file that is missing shows at once.
    let objects = store.open_files(files)?;
    let mut merged = Merged::new(objects.iter().map(super::Object::scan))?;
    let mut live = 0;
    while merged.advance()? {
        if let Some(value) = merged.value() {
            apply(merged.key(), value)?;
            live += 1;
            failpoint!("restore", when live % 1024 == 0);
        }
    }
    Ok(live)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::checkpoint::{MANIFEST_FORMAT, Manifest, Names, Writer, adopt, merge_files, merge_plan::plan_merge};
    use std::collections::BTreeMap;

    fn manifest(epoch: u64, files: Vec<FileRef>) -> Manifest {
        Manifest { files, ..Manifest::example(epoch) }
    }

    #[test]
    fn state_is_the_same_after_every_epoch_however_files_were_merged() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_folder(folder.path()).unwrap();
        let mut names = Names::new("a").unwrap();
        let mut expected: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        let mut files: Vec<FileRef> = Vec::new();
        for epoch in 1..=60u64 {
            let changes: BTreeMap<Vec<u8>, Option<Vec<u8>>> = (0..epoch % 7)
                .map(|i| ((epoch * 31 + i * i) % 50, (epoch + i) % 4 > 0))
                .map(|(key, live)| (key.to_be_bytes().to_vec(), live.then(|| epoch.to_be_bytes().to_vec())))
                .collect();
            let name = names.epoch(epoch);
            let mut writer = Writer::new(&name, Vec::new());
            for (key, value) in &changes {
                writer.append(key, value.as_deref()).unwrap();
                match value {
                    Some(value) => expected.insert(key.clone(), value.clone()),
                    None => expected.remove(key),
                };
            }
            let json = manifest(epoch, files.clone()).to_json().unwrap();
            store.put_if_absent(&name, &writer.finish(&json).unwrap().sink).unwrap();

            let ManifestFact::Found(checkpoint) = find_checkpoint(&store, &name).unwrap() else { unreachable!("it was put") };
            let mut restored = BTreeMap::new();
            let live = restore(&store, &checkpoint.files(), |key, value| {
                restored.insert(key.to_owned(), value.to_owned());
                Ok::<(), Error>(())
            });
            assert_eq!(live.unwrap(), expected.len() as u64);
            assert_eq!(restored, expected, "epoch {epoch}");

            files = checkpoint.files();
            if let Some(range) = plan_merge(&files) {
                let merged = names.merge(1, epoch);
                let stretch: Vec<FileRef> = files.get(range.clone()).unwrap().to_vec();
                let merged = merge_files(&store, &stretch, range.start == 0, &merged).unwrap();
                files = adopt(&files, &stretch, merged).unwrap();
            }
        }
        assert!(files.len() < 16 && files.iter().any(|file| file.name.starts_with("merge-")), "{files:?}");
    }

    #[test]
    fn a_missing_or_damaged_file_is_named_before_any_entry_is_handed_out() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_folder(folder.path()).unwrap();
        for name in ["f1", "f2"] {
            let mut writer = Writer::new(name, Vec::new());
            writer.append(b"key", Some(b"value")).unwrap();
            store.put_if_absent(name, &writer.finish(&[]).unwrap().sink).unwrap();
        }
        let files: Vec<FileRef> = ["f1", "f2"].map(|name| FileRef::to(&store.open(name).unwrap(), 1, 1)).into();
        store.delete("f2").unwrap();
        let error = restore(&store, &files, |_, _| -> Result<(), Error> { unreachable!("no entry is handed out") }).unwrap_err();
        assert!(matches!(error, Error::Absent { object, .. } if object == "f2"));
    }

    #[test]
    fn what_a_commit_names_is_found_absent_or_corrupt() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_folder(folder.path()).unwrap();
        assert_eq!(find_checkpoint(&store, "x").unwrap(), ManifestFact::Absent);
        store.put_if_absent("x", b"no object").unwrap();
        assert!(matches!(find_checkpoint(&store, "x").unwrap(), ManifestFact::Corrupt(reason) if reason.contains('x')));
        let newer = Writer::new("y", Vec::new()).finish(br#"{"format":7}"#).unwrap().sink;
        store.put_if_absent("y", &newer).unwrap();
        assert_eq!(find_checkpoint(&store, "y").unwrap(), ManifestFact::Newer { found: 7, known: MANIFEST_FORMAT });
    }
}
