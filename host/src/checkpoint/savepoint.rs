//! Savepoints: a whole copy of one committed checkpoint, in a place of its own, that is never changed or collected.
//!
//! The place is a store: it holds the checkpoint's objects under their names, and `savepoint.json`, which is put last. So
//! a savepoint is there whole or not at all. What is read from one is not trusted: names cannot leave the folder, and each
//! object's length and checksum have to be those that the manifest gives.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{
    Access, Checkpoint, Copies, Error, FileRef, Location, MANIFEST_FORMAT, Manifest, Merged, Names, SinkPosition, SplitPosition, Store,
    Writer, document,
};
use crate::state::layout::Prefix;

/// Name of the document in the store.
const DOCUMENT: &str = "savepoint.json";

/// What `savepoint.json` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SavepointDocument {
    format: u32,
    /// Stands for this savepoint and no other.
    pub id: String,
    /// Name of the job that it was taken of.
    pub job: String,
    /// The run.
    pub run: String,
    /// The epoch, whose end it holds.
    pub epoch: u64,
    /// When it was taken, in ms since the epoch.
    pub created: i64,
    /// Name of the epoch's object, whose footer is the manifest.
    manifest: String,
    /// Its checksum.
    checksum: u32,
}

/// A savepoint that is about to be written: its files are open, so nothing can take them away meanwhile.
#[derive(Debug)]
pub struct SavepointSource {
    document: SavepointDocument,
    files: Vec<(FileRef, File)>,
}

impl SavepointSource {
    /// Of a committed checkpoint in `store`, under an id that was never given before.
    ///
    /// # Errors
    /// [`Error::Absent`], [`Error::Io`].
    pub fn open(store: &Store, own: &FileRef, files: &[FileRef], (id, job, run): (&str, &str, &str), created: i64) -> Result<Self, Error> {
        let (id, job, run) = (id.to_owned(), job.to_owned(), run.to_owned());
        let (manifest, checksum) = (own.name.clone(), own.checksum);
        let document = SavepointDocument { format: document::FORMAT, id, job, run, epoch: own.last_epoch, created, manifest, checksum };
        let open = |file: &FileRef| Ok((file.clone(), store.open_bytes(&file.name)?));
        Ok(Self { document, files: files.iter().chain([own]).map(open).collect::<Result<_, Error>>()? })
    }

    /// Writes it into a place that is empty or not there, and proves that each copy is what the manifest names, to its last
    /// byte. Copies on their way to a remote place pass through `scratch`, a folder of this machine.
    ///
    /// # Errors
    /// [`Error::NotEmpty`], [`Error::Io`], [`Error::Remote`]; [`Error::Corrupt`] where a file is damaged. What is left in the
    /// place then is no savepoint.
    pub fn write(self, into: &Location, access: &Access, scratch: &Path) -> Result<SavepointDocument, Error> {
        let store = Store::at(into, access, Copies::Unnamed(scratch.to_owned()))?;
        if !store.list()?.is_empty() {
            return Err(Error::NotEmpty { place: store.place() });
        }
        for (file, mut bytes) in self.files {
            let mut upload = store.upload(&file.name)?;
            io::copy(&mut bytes, &mut upload).map_err(|e| Error::io("copy into", Path::new(&store.place()).join(&file.name), e))?;
            upload.publish()?;
            store.open_file(&file)?.verify()?;
        }
        store.replace(DOCUMENT, &document::seal("savepoint", &self.document)?)?;
        Ok(self.document)
    }
}

/// A run that begins with a savepoint.
#[derive(Debug)]
pub struct NewRun<'a> {
    /// Its id.
    pub id: &'a str,
    /// Hash of its plan.
    pub plan: &'a str,
    /// Where it begins to read.
    pub splits: Vec<SplitPosition>,
    /// What its local sinks hold.
    pub sinks: Vec<SinkPosition>,
    /// States that are left behind: numbers of operators and their states.
    pub dropped: &'a [(u16, u16)],
    /// Objects of the store that the job's last commit names: they are not copied.
    pub named: &'a BTreeSet<String>,
    /// Stands in the names of copies. What an earlier attempt has put under the same is not copied again.
    pub copies: &'a str,
}

/// A whole savepoint.
#[derive(Debug)]
pub struct Savepoint {
    store: Store,
    /// What it says of itself.
    pub document: SavepointDocument,
    /// The checkpoint that it holds.
    pub checkpoint: Checkpoint,
}

impl Savepoint {
    /// What the savepoint at a place says of itself; none if no savepoint was finished there.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::NewerFormat`], [`Error::Io`], [`Error::Remote`].
    pub fn look(from: &Location, access: &Access, scratch: &Path) -> Result<Option<SavepointDocument>, Error> {
        Ok(look(from, access, scratch)?.map(|(_, document)| document))
    }

    /// Reads the savepoint at a place and looks at each of its objects. Those of a remote place pass through `scratch`, a
    /// folder of this machine.
    ///
    /// # Errors
    /// [`Error::NoSavepoint`]; [`Error::Corrupt`], [`Error::NewerFormat`], and [`Error::Absent`] by the
    /// object that is not what it should be; [`Error::Io`], [`Error::Remote`].
    pub fn open(from: &Location, access: &Access, scratch: &Path) -> Result<Self, Error> {
        let (store, document) = look(from, access, scratch)?.ok_or_else(|| Error::NoSavepoint { place: from.to_string() })?;
        let untrusted = |error| match error {
            Error::Name { name } => Error::corrupt(DOCUMENT, format!("it names an object {name:?}"), 0),
            error => error,
        };
        let object = store.open(&document.manifest).map_err(untrusted)?;
        let checkpoint = Checkpoint::of(&object)?;
        let named = (checkpoint.own.checksum, &checkpoint.manifest.run, checkpoint.manifest.epoch);
        if named != (document.checksum, &document.run, document.epoch) {
            return Err(Error::corrupt(&document.manifest, format!("it is not the object that {DOCUMENT} names"), 0));
        }
        store.open_files(&checkpoint.manifest.files).map_err(untrusted)?;
        Ok(Self { store, document, checkpoint })
    }

    /// A checkpoint in the job's own store, as what a new run begins with: its id is the name of its object. Every file has to
    /// be there.
    ///
    /// # Errors
    /// [`Error::Absent`], [`Error::Corrupt`], [`Error::Io`], [`Error::Remote`].
    pub fn of(store: Store, checkpoint: Checkpoint, job: &str) -> Result<Self, Error> {
        store.open_files(&checkpoint.manifest.files)?;
        let (own, manifest) = (&checkpoint.own, &checkpoint.manifest);
        let document = SavepointDocument {
            format: document::FORMAT,
            id: own.name.clone(),
            job: job.to_owned(),
            run: manifest.run.clone(),
            epoch: manifest.epoch,
            created: 0,
            manifest: own.name.clone(),
            checksum: own.checksum,
        };
        Ok(Self { store, document, checkpoint })
    }

    /// Puts its state into a store, as what a run begins with: copies of its files, or, where states are left behind, one file
    /// without those. Its epoch comes after the savepoint's.
    /// Every byte of what the run is to begin with has been read and found sound then.
    ///
    /// # Errors
    /// As [`Savepoint::open`], and what `store` refuses. What was put before an error is garbage.
    pub fn import(&self, store: &Store, names: &mut Names, run: NewRun<'_>) -> Result<Checkpoint, Error> {
        let from = self.checkpoint.files();
        let files = if run.dropped.is_empty() {
            let mut copies = Names::new(run.copies)?;
            from.into_iter().map(|file| copy(&self.store, store, &mut copies, run.named, file)).collect::<Result<_, _>>()?
        } else {
            vec![self.merge_without(store, names, &from, run.dropped)?]
        };
        let old = &self.checkpoint.manifest;
        let epoch = old.epoch + 1;
        let mut operators = old.operators.clone();
        for operator in &mut operators {
            let number = operator.number;
            operator.states.retain(|state| !run.dropped.contains(&(number, state.number)));
        }
        operators.retain(|operator| !operator.states.is_empty());
        let manifest = Manifest {
            format: MANIFEST_FORMAT,
            run: run.id.to_owned(),
            began_from: Some(self.document.id.clone()),
            mode: old.mode,
            epoch,
            incarnation: names.incarnation().to_owned(),
            shards: old.shards,
            plan: run.plan.to_owned(),
            operators,
            files,
            forgotten_until: epoch,
            splits: run.splits,
            sinks: run.sinks,
        };
        let name = names.epoch(epoch);
        let written = Writer::new(&name, Vec::new()).finish(&manifest.to_json()?)?;
        store.put_if_absent(&name, &written.sink)?;
        Ok(Checkpoint { manifest, own: FileRef::written(name, epoch, epoch, &written) })
    }

    fn merge_without(&self, store: &Store, names: &mut Names, files: &[FileRef], dropped: &[(u16, u16)]) -> Result<FileRef, Error> {
        let objects = self.store.open_files(files)?;
        let (first, last) = (files.first().map_or(0, |file| file.first_epoch), self.checkpoint.manifest.epoch);
        let name = names.merge(first, last);
        let mut writer = Writer::new(&name, store.upload(&name)?);
        let mut merged = Merged::new(objects.iter().map(super::Object::scan))?;
        while merged.advance()? {
            let state = Prefix::split(merged.key()).map(|(prefix, _)| (prefix.operator, prefix.state));
            let stays = state.is_some_and(|state| !dropped.contains(&state));
            if let Some(value) = merged.value().filter(|_| stays) {
                writer.append(merged.key(), Some(value))?;
            }
        }
        let written = writer.finish(&[])?;
        let file = FileRef::written(name, first, last, &written);
        written.sink.publish()?;
        Ok(file)
    }
}

/// A sound copy of a file, under a name of its own: an older process may still be about to delete what has the file's, even
/// where it is there no more. It cannot be about to delete what is `named`.
fn copy(from: &Store, into: &Store, names: &mut Names, named: &BTreeSet<String>, file: FileRef) -> Result<FileRef, Error> {
    if named.contains(&file.name) && is_sound(into, &file)? == Some(true) {
        return Ok(file);
    }
    let copied = loop {
        let copied = FileRef { name: names.merge(file.first_epoch, file.last_epoch), ..file.clone() };
        match is_sound(into, &copied)? {
            Some(true) => return Ok(copied),
            Some(false) => {}
            None => break copied,
        }
    };
    let mut bytes = from.open_sound(&file)?;
    let mut upload = into.upload(&copied.name)?;
    io::copy(&mut bytes, &mut upload).map_err(|e| Error::io("copy into", Path::new(&into.place()).join(&copied.name), e))?;
    upload.publish()?;
    into.open_sound(&copied)?;
    Ok(copied)
}

/// Whether an object is there, and sound.
fn is_sound(store: &Store, file: &FileRef) -> Result<Option<bool>, Error> {
    match store.open_sound(file) {
        Ok(_) => Ok(Some(true)),
        Err(Error::Corrupt { .. }) => Ok(Some(false)),
        Err(Error::Absent { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The store at a place and the document in it; none if no savepoint was finished there.
fn look(from: &Location, access: &Access, scratch: &Path) -> Result<Option<(Store, SavepointDocument)>, Error> {
    // Opening a store makes its folder; a look may not.
    if from.folder().is_some_and(|dir| !dir.is_dir()) {
        return Ok(None);
    }
    let store = Store::at(from, access, Copies::Unnamed(scratch.to_owned()))?;
    match store.read(DOCUMENT) {
        Err(Error::Absent { .. }) => Ok(None),
        text => Ok(Some((store, document::open(DOCUMENT, &text?)?))),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::checkpoint::{OperatorState, StateDescriptor, StateKind, restore};
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::PathBuf;

    const GOLDEN: &str = concat!(
        r#"{"format":3,"id":"s1","job":"count","run":"r","epoch":2,"created":5,"manifest":"000000000002-a-2.ckpt","checksum":7,"#,
        r#""crc32c":"c1118ad3"}"#
    );

    #[test]
    fn the_document_keeps_its_text_and_one_of_format_1_is_still_read() {
        let read = |text: &str| document::open::<SavepointDocument>(DOCUMENT, text.as_bytes());
        let found = read(GOLDEN).unwrap();
        assert_eq!(String::from_utf8(document::seal("savepoint", &found).unwrap()).unwrap(), GOLDEN);
        let first = GOLDEN.replace(r#""format":3"#, r#""format":1"#);
        let first = read(&format!("{}}}", &first[..first.find(r#","crc32c""#).unwrap()])).unwrap();
        assert_eq!(SavepointDocument { format: 3, ..first }, found);
    }

    fn access() -> Access {
        Access::new(Default::default())
    }

    fn open(dir: &Path) -> Result<Savepoint, Error> {
        Savepoint::open(&Location::Folder(dir.to_owned()), &access(), dir)
    }

    /// Its copies have names of its own.
    fn begins<'a>(id: &'a str, dropped: &'a [(u16, u16)], named: &'a BTreeSet<String>) -> NewRun<'a> {
        NewRun { id, plan: "q", splits: vec![], sinks: vec![], dropped, named, copies: id }
    }

    fn key(operator: u8, state: u8, rest: &str) -> Vec<u8> {
        [&[0, operator, 0, 0, 0, state][..], rest.as_bytes()].concat()
    }

    /// A store with two epochs of two operators, and the files of the second.
    fn taken(folder: &Path) -> (Store, PathBuf) {
        let store = Store::open_folder(&folder.join("store")).unwrap();
        let mut names = Names::new("a").unwrap();
        let state = |number| StateDescriptor { name: format!("s{number}"), number, kind: StateKind::Value, version: 1 };
        let operator = |number| OperatorState { id: format!("o{number}"), number, key: None, states: vec![state(0), state(1)] };
        let mut files: Vec<FileRef> = Vec::new();
        for epoch in [1, 2] {
            let operators = vec![operator(1), operator(2)];
            let manifest = Manifest { operators, files: files.clone(), ..Manifest::example(epoch) };
            let name = names.epoch(epoch);
            let mut writer = Writer::new(&name, Vec::new());
            for (operator, state) in [(1, 0), (1, 1), (2, 0)] {
                writer.append(&key(operator, state, &format!("of-{epoch}")), Some(b"\x01v")).unwrap();
            }
            let written = writer.finish(&manifest.to_json().unwrap()).unwrap();
            store.put_if_absent(&name, &written.sink).unwrap();
            files.push(FileRef::written(name, epoch, epoch, &written));
        }
        let own = files.pop().unwrap();
        let dir = folder.join("savepoint");
        let source = SavepointSource::open(&store, &own, &files, ("s1", "count", "r"), 5).unwrap();
        files.iter().chain([&own]).for_each(|file| store.delete(&file.name).unwrap());
        source.write(&Location::Folder(dir.clone()), &access(), folder).unwrap();
        (store, dir)
    }

    fn entries(store: &Store, checkpoint: &Checkpoint) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut all = BTreeMap::new();
        let put = |key: &[u8], value: &[u8]| {
            all.insert(key.to_owned(), value.to_owned());
            Ok::<(), Error>(())
        };
        restore(store, &checkpoint.files(), put).unwrap();
        all
    }

    #[test]
    fn what_is_imported_is_what_was_taken_also_twice_and_after_the_job_deleted_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let (store, dir) = taken(folder.path());
        let savepoint = open(&dir).unwrap();
        let mut names = Names::new("b").unwrap();
        for run in ["one", "two"] {
            let checkpoint = savepoint.import(&store, &mut names, begins(run, &[], &BTreeSet::new())).unwrap();
            assert_eq!((checkpoint.manifest.epoch, checkpoint.manifest.run.as_str()), (3, run));
            assert_eq!(entries(&store, &checkpoint).len(), 6);
            assert_eq!(Checkpoint::of(&store.open(&checkpoint.own.name).unwrap()).unwrap(), checkpoint);
        }
    }

    fn names_of(checkpoint: &Checkpoint) -> BTreeSet<String> {
        checkpoint.files().into_iter().map(|file| file.name).collect()
    }

    #[test]
    fn rule_18_an_import_keeps_the_names_of_the_last_commit_and_gives_all_else_names_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let (store, dir) = taken(folder.path());
        let mut names = Names::new("b").unwrap();
        let first = open(&dir).unwrap().import(&store, &mut names, begins("one", &[], &BTreeSet::new())).unwrap();
        let all = names_of(&first);
        assert!(all.is_disjoint(&names_of(&open(&dir).unwrap().checkpoint)));
        let mut again = |named: &BTreeSet<String>| {
            let own = Store::open_folder(&folder.path().join("store")).unwrap();
            let from = Savepoint::of(own, first.clone(), "count").unwrap();
            from.import(&store, &mut names, begins("two", &[], named)).unwrap()
        };
        assert_eq!(names_of(&again(&all)), all);
        let copied = again(&BTreeSet::new());
        assert!(all.is_disjoint(&names_of(&copied)));
        assert_eq!(names_of(&again(&BTreeSet::new())), names_of(&copied), "an attempt that was cut off is gone on with");
        // An older process may still be about to delete what only a commit before the last one named.
        all.iter().for_each(|name| store.delete(name).unwrap());
        assert_eq!(entries(&store, &copied).len(), 6);
    }

    #[test]
    fn a_damaged_object_of_the_store_is_left_alone_and_the_savepoints_comes_under_another_name() {
        let folder = tempfile::tempdir().unwrap();
        let (store, dir) = taken(folder.path());
        let savepoint = open(&dir).unwrap();
        let name = savepoint.checkpoint.files()[0].name.clone();
        let damaged = folder.path().join("store").join(&name);
        fs::copy(dir.join(&name), &damaged).unwrap();
        flip(&damaged);
        let named = names_of(&savepoint.checkpoint);
        let imported = savepoint.import(&store, &mut Names::new("b").unwrap(), begins("two", &[], &named)).unwrap();
        assert_eq!(entries(&store, &imported).len(), 6);
        assert!(!names_of(&imported).contains(&name), "{name} is damaged");
    }

    #[test]
    fn a_savepoint_is_read_to_its_last_byte_before_a_run_begins_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let (store, dir) = taken(folder.path());
        let savepoint = open(&dir).unwrap();
        let name = savepoint.checkpoint.files()[0].name.clone();
        flip(&dir.join(&name));
        let refused = open(&dir).unwrap().import(&store, &mut Names::new("b").unwrap(), begins("x", &[], &BTreeSet::new())).unwrap_err();
        assert!(matches!(&refused, Error::Corrupt { object, .. } if *object == name), "{refused}");
    }

    /// Flips a bit of the first block, which only its checksum tells.
    fn flip(object: &Path) {
        let mut bytes = fs::read(object).unwrap();
        bytes[20] ^= 1;
        fs::write(object, bytes).unwrap();
    }

    #[test]
    fn dropped_states_leave_no_entry_behind() {
        let folder = tempfile::tempdir().unwrap();
        let (store, dir) = taken(folder.path());
        let dropped = [(1, 1), (2, 0), (2, 1)];
        let checkpoint = open(&dir).unwrap().import(&store, &mut Names::new("b").unwrap(), begins("x", &dropped, &BTreeSet::new()));
        let checkpoint = checkpoint.unwrap();
        assert_eq!(entries(&store, &checkpoint).into_keys().collect::<Vec<_>>(), [key(1, 0, "of-1"), key(1, 0, "of-2")]);
        let left: Vec<_> = checkpoint.manifest.operators.iter().map(|o| (o.id.as_str(), o.states.len())).collect();
        assert_eq!(left, [("o1", 1)]);
    }

    #[test]
    fn what_is_no_whole_savepoint_is_refused_by_name_and_no_folder_is_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let (_, dir) = taken(folder.path());
        assert!(matches!(open(&folder.path().join("nothing")), Err(Error::NoSavepoint { .. })));
        assert!(!folder.path().join("nothing").exists());
        assert!(matches!(open(&folder.path().join("store")), Err(Error::NoSavepoint { .. })), "no document: never finished");
        let own = open(&dir).unwrap().checkpoint.own;
        let again = SavepointSource::open(&Store::open_folder(&dir).unwrap(), &own, &[], ("s2", "count", "r"), 5).unwrap();
        let error = again.write(&Location::Folder(dir.clone()), &access(), folder.path()).unwrap_err().to_string();
        assert!(error.contains("not empty"), "{error}");

        let first = dir.join("000000000001-a-1.ckpt");
        let whole = fs::read(&first).unwrap();
        fs::write(&first, &whole[..whole.len() - 1]).unwrap();
        assert!(matches!(open(&dir), Err(Error::Corrupt { object, .. }) if object == "000000000001-a-1.ckpt"));
        fs::remove_file(&first).unwrap();
        assert!(matches!(open(&dir), Err(Error::Absent { .. })));
        let path = dir.join(DOCUMENT);
        let found: SavepointDocument = document::open(DOCUMENT, &fs::read(&path).unwrap()).unwrap();
        let outside = SavepointDocument { manifest: "../store/x".into(), ..found };
        fs::write(&path, document::seal("savepoint", &outside).unwrap()).unwrap();
        assert!(matches!(open(&dir), Err(Error::Corrupt { .. })), "no name leads out of the folder");
    }
}
