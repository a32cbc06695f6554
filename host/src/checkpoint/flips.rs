//! Single bits that a disk or a network flips in what a start reads: it has the right state, or says which file is wrong.

use super::delta::{TAIL_BYTES, TRAILER_BYTES};
use super::recovery::ManifestFact;
use super::{
    Access, Checkpoint, Error, FileRef, Location, Manifest, Names, NewRun, OperatorState, Savepoint, SavepointSource, StateDescriptor,
    StateKind, Store, Writer, find_checkpoint, merge_files, restore,
};
use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// For each part of each file.
const FLIPS: usize = 100;

type State = BTreeMap<Vec<u8>, Vec<u8>>;

/// A store with a merged base, a delta, and a last epoch whose footer is the manifest; and a savepoint of it.
struct Taken {
    folder: tempfile::TempDir,
    own: FileRef,
    /// Base and delta.
    files: Vec<FileRef>,
    state: State,
}

impl Taken {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_folder(&folder.path().join("store")).unwrap();
        let mut names = Names::new("a").unwrap();
        let (mut files, mut own, mut state) = (Vec::new(), None, State::new());
        for epoch in 1..=4u64 {
            let name = names.epoch(epoch);
            let mut writer = Writer::with_block_bytes(&name, Vec::new(), 2048);
            for user in (0..400u64).filter(|user| user % epoch == 0) {
                let key = [&[0, 1, 0, (user / 100) as u8, 0, 0][..], format!("user-{user:05}").as_bytes()].concat();
                let value = (user % 7 != epoch % 7).then(|| [&[1], epoch.to_be_bytes().as_slice()].concat());
                writer.append(&key, value.as_deref()).unwrap();
                match value {
                    Some(value) => state.insert(key, value),
                    None => state.remove(&key),
                };
            }
            let written = writer.finish(&manifest(epoch, &files).to_json().unwrap()).unwrap();
            store.put_if_absent(&name, &written.sink).unwrap();
            let file = FileRef::written(name, epoch, epoch, &written);
            match epoch {
                4 => own = Some(file),
                _ => files.push(file),
            }
            if epoch == 2 {
                files = vec![merge_files(&store, &files, true, &names.merge(1, 2)).unwrap()];
            }
        }
        let own = own.unwrap();
        let source = SavepointSource::open(&store, &own, &files, ("s1", "count", "r"), 5).unwrap();
        source.write(&Location::Folder(folder.path().join("savepoint")), &access(), folder.path()).unwrap();
        Self { folder, own, files, state }
    }

    fn path(&self, place: &str, name: &str) -> PathBuf {
        self.folder.path().join(place).join(name)
    }

    /// What a start reads whose commit names the last epoch.
    fn start(&self) -> Result<State, String> {
        let store = Store::open_folder(&self.path("store", "")).unwrap();
        match find_checkpoint(&store, &self.own.name).map_err(|e| e.to_string())? {
            ManifestFact::Found(found) if found.own == self.own => read(&store, &found).map_err(|e| e.to_string()),
            other => Err(format!("{other:?}")),
        }
    }

    /// What a new run reads that begins with the savepoint.
    fn start_from_savepoint(&self) -> Result<State, Error> {
        let savepoint = Savepoint::open(&Location::Folder(self.path("savepoint", "")), &access(), self.folder.path())?;
        let into = tempfile::tempdir().unwrap();
        let store = Store::open_folder(into.path()).unwrap();
        let (splits, sinks, named) = Default::default();
        let run = NewRun { id: "new", plan: "q", splits, sinks, dropped: &[], named: &named, copies: "c" };
        let checkpoint = savepoint.import(&store, &mut Names::new("b").unwrap(), run)?;
        read(&store, &checkpoint)
    }

    /// Flips single bits in each part of a file. What a start makes of each: nothing, or a refusal that names one of `named`.
    /// How many were refused.
    fn flip(&self, (place, name): (&str, &str), named: &[&str], start: impl Fn() -> Result<State, String>) -> usize {
        let path = self.path(place, name);
        let whole = fs::read(&path).unwrap();
        let (mut random, mut refused) = (7u64, 0);
        for part in parts(name, &whole) {
            for _ in 0..FLIPS {
                random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let at = part.start + (random >> 33) as usize % part.len();
                let mut flipped = whole.clone();
                flipped[at] ^= 1 << (random >> 24 & 7);
                fs::write(&path, &flipped).unwrap();
                match start() {
                    Ok(state) => assert!(state == self.state, "bit {} of byte {at} of {place}/{name} is misread", random >> 24 & 7),
                    Err(error) => {
                        assert!(named.iter().any(|name| error.contains(name)), "byte {at} of {place}/{name}: {error}");
                        refused += 1;
                    }
                }
            }
        }
        fs::write(&path, whole).unwrap();
        refused
    }
}

fn access() -> Access {
    Access::new(Default::default())
}

fn manifest(epoch: u64, files: &[FileRef]) -> Manifest {
    let state = StateDescriptor { name: "count".into(), number: 0, kind: StateKind::Value, version: 1 };
    let operators = vec![OperatorState { id: "count".into(), number: 1, key: None, states: vec![state] }];
    Manifest { operators, files: files.to_vec(), ..Manifest::example(epoch) }
}

fn read(store: &Store, checkpoint: &Checkpoint) -> Result<State, Error> {
    let mut state = State::new();
    let put = |key: &[u8], value: &[u8]| {
        state.insert(key.to_owned(), value.to_owned());
        Ok::<(), Error>(())
    };
    restore(store, &checkpoint.files(), put)?;
    Ok(state)
}

/// The first bytes, data, manifest, index and checksums of an object; a document is one part.
fn parts(name: &str, bytes: &[u8]) -> Vec<Range<usize>> {
    if Path::new(name).extension().is_none_or(|extension| extension != "ckpt") {
        return vec![0..bytes.len(); 5];
    }
    let trailer = bytes.len() - TAIL_BYTES - TRAILER_BYTES;
    let length = |at: usize| u64::from_le_bytes(bytes[trailer + at..trailer + at + 8].try_into().unwrap()) as usize;
    let (blocks, manifest) = (length(0), length(8));
    let parts = [0..16, 16..blocks, blocks..blocks + manifest, blocks + manifest..trailer, trailer..bytes.len()];
    parts.into_iter().filter(|part| !part.is_empty()).collect()
}

#[test]
fn rule_18_a_bit_flipped_in_manifest_delta_or_base_is_refused_by_the_files_name() {
    let taken = Taken::new();
    assert_eq!(taken.start().as_ref(), Ok(&taken.state));
    for (name, parts) in [(&taken.own.name, 5), (&taken.files[0].name, 4), (&taken.files[1].name, 5)] {
        let refused = taken.flip(("store", name), &[name], || taken.start());
        assert_eq!(refused, parts * FLIPS, "every byte of {name} stands under a checksum");
    }
    assert_eq!(taken.start().as_ref(), Ok(&taken.state));
}

#[test]
fn rule_15_a_bit_flipped_in_a_savepoint_is_refused_by_the_files_name_and_never_misread() {
    let taken = Taken::new();
    let start = || taken.start_from_savepoint().map_err(|e| e.to_string());
    assert_eq!(start().as_ref(), Ok(&taken.state));
    for (name, parts) in [(&taken.own.name, 5), (&taken.files[0].name, 4), (&taken.files[1].name, 5)] {
        let refused = taken.flip(("savepoint", name), &[name], start);
        assert_eq!(refused, parts * FLIPS, "every byte of {name} stands under a checksum");
    }
    let refused = taken.flip(("savepoint", "savepoint.json"), &["savepoint.json"], start);
    assert_eq!(refused, 5 * FLIPS, "every byte of the document stands under a checksum");
    assert_eq!(start().as_ref(), Ok(&taken.state));
}
