//! A look into a store without the job: what checkpoints there are, and what is in them. Reads only, and may do so while
//! the job runs.

use super::{Access, Checkpoint, Copies, Error, Location, OperatorState, StateDescriptor, Store, epoch_of, restore};
use crate::state::layout::{Prefix, split_map, split_version};
use std::{cmp::Reverse, collections::HashMap, time::SystemTime};

/// A store that is looked at.
#[derive(Debug)]
pub struct View {
    store: Store,
}

/// An entry of the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Id of the operator; empty if the manifest does not name it.
    pub operator: &'a str,
    /// Name of the state; empty if the manifest does not name it.
    pub state: &'a str,
    /// Shard of the key.
    pub shard: u16,
    /// The record's key.
    pub key: &'a [u8],
    /// The guest's key, in a map state.
    pub map_key: Option<&'a [u8]>,
    /// Version of the value.
    pub version: u32,
    /// The guest's bytes.
    pub value: &'a [u8],
}

impl View {
    /// The store at a place that is there. What is read from afar passes through unnamed files in the system's folder for
    /// such.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Remote`].
    pub fn open(location: &Location, access: &Access) -> Result<Self, Error> {
        if let Some(dir) = location.folder() {
            // Opening a store makes its folder; a look may not.
            std::fs::read_dir(dir).map_err(|e| Error::io("read", dir, e))?;
        }
        Ok(Self { store: Store::at(location, access, Copies::Unnamed(std::env::temp_dir()))? })
    }

    /// Where the store is.
    #[must_use]
    pub fn place(&self) -> String {
        self.store.place()
    }

    /// Every checkpoint of which the object is there, newest first: by run, the last one begun first, and by epoch. The
    /// newest may not be committed yet. One that vanishes meanwhile is left out.
    ///
    /// # Errors
    /// [`Error::NewerFormat`], [`Error::Corrupt`], [`Error::Io`] and [`Error::Remote`], with the object's name.
    pub fn checkpoints(&self) -> Result<Vec<Checkpoint>, Error> {
        checkpoints(&self.store, |_| true)
    }

    /// Hands every entry of a checkpoint's state to `take`, in the order of operator, shard, state and key; how many.
    ///
    /// # Errors
    /// [`Error::Absent`] when garbage collection has taken a file meanwhile, before any entry was handed out;
    /// [`Error::Corrupt`], [`Error::NewerFormat`], [`Error::Io`], [`Error::Remote`]; and what `take` returns.
    pub fn entries<E: From<Error>>(&self, checkpoint: &Checkpoint, mut take: impl FnMut(Entry<'_>) -> Result<(), E>) -> Result<u64, E> {
        restore(&self.store, &checkpoint.files(), |key, value| {
            let own = &checkpoint.own.name;
            take(entry(&checkpoint.manifest.operators, key, value).ok_or_else(|| Error::corrupt(own, "an entry cannot be read", 0))?)
        })
    }
}

/// As [`View::checkpoints`], of a store that is open, and only those of the epochs that are `wanted`.
///
/// # Errors
/// The same.
pub fn checkpoints(store: &Store, wanted: impl Fn(u64) -> bool) -> Result<Vec<Checkpoint>, Error> {
    let mut found = Vec::new();
    // Merged files have no manifest, nor have probes; what begins with a dot is being put.
    for listed in store.list()?.into_iter().filter(|listed| epoch_of(&listed.name).is_some_and(&wanted)) {
        match store.open(&listed.name).and_then(|object| Checkpoint::of(&object)) {
            Ok(checkpoint) => found.push((listed.modified, checkpoint)),
            Err(Error::Absent { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(newest_first(found))
}

/// A store's clock may tell whole seconds only, so within a run epochs decide.
fn newest_first(mut found: Vec<(SystemTime, Checkpoint)>) -> Vec<Checkpoint> {
    let mut last: HashMap<String, SystemTime> = HashMap::new();
    for (modified, Checkpoint { manifest, .. }) in &found {
        last.entry(manifest.run.clone()).and_modify(|last| *last = (*last).max(*modified)).or_insert(*modified);
    }
    found.sort_by_cached_key(|(modified, Checkpoint { manifest, .. })| {
        Reverse((last.get(&manifest.run).copied(), manifest.run.clone(), manifest.epoch, *modified))
    });
    found.into_iter().map(|(_, checkpoint)| checkpoint).collect()
}

fn entry<'a>(operators: &'a [OperatorState], key: &'a [u8], value: &'a [u8]) -> Option<Entry<'a>> {
    let (prefix, rest) = Prefix::split(key)?;
    let operator = operators.iter().find(|operator| operator.number == prefix.operator);
    let state = operator.and_then(|operator| operator.states.iter().find(|state| state.number == prefix.state));
    let is_map = state.is_some_and(|state: &StateDescriptor| state.kind == super::StateKind::Map);
    let (key, map_key) = if is_map { split_map(rest).map(|(key, map_key)| (key, Some(map_key)))? } else { (rest, None) };
    let (version, value) = split_version(value)?;
    Some(Entry {
        operator: operator.map_or("", |operator| &operator.id),
        state: state.map_or("", |state| &state.name),
        shard: prefix.shard,
        key,
        map_key,
        version,
        value,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::checkpoint::{FileRef, MANIFEST_FORMAT, Manifest, Names, StateKind, Writer};

    fn operators() -> Vec<OperatorState> {
        let state = |name: &str, number, kind| StateDescriptor { name: name.into(), number, kind, version: 1 };
        let states = vec![state("sum", 0, StateKind::Value), state("seen", 1, StateKind::Map)];
        vec![OperatorState { id: "count".into(), number: 3, key: None, states }]
    }

    #[test]
    fn entries_are_shown_by_name_with_keys_of_maps_apart() {
        let value = b"\x00\x03\x00\x07\x00\x00user";
        let shown = Entry { operator: "count", state: "sum", shard: 7, key: b"user", map_key: None, version: 1, value: b"9" };
        assert_eq!(entry(&operators(), value, b"\x019"), Some(shown));
        let map = b"\x00\x03\x00\x07\x00\x01\x00\x04usershop";
        let shown = Entry { state: "seen", map_key: Some(b"shop"), ..shown };
        assert_eq!(entry(&operators(), map, b"\x019"), Some(shown));
        assert_eq!(entry(&operators(), b"short", b"\x019"), None);
    }

    #[test]
    fn checkpoints_of_one_second_are_in_the_order_of_their_epochs_and_runs_stay_together() {
        let at = |seconds| SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        let of = |run: &str, epoch| {
            let name = format!("{epoch:012}-a-1.ckpt");
            let own = FileRef { name, bytes: 1, checksum: 1, first_epoch: epoch, last_epoch: epoch, entries: 0, tombstones: 0 };
            Checkpoint { manifest: Manifest { run: run.into(), ..Manifest::example(epoch) }, own }
        };
        let found =
            vec![(at(9), of("new", 3)), (at(9), of("new", 4)), (at(9), of("old", 9)), (at(7), of("old", 8)), (at(10), of("new", 2))];
        let names: Vec<_> = newest_first(found).into_iter().map(|c| (c.manifest.run, c.manifest.epoch)).collect();
        let expected = [("new", 4), ("new", 3), ("new", 2), ("old", 9), ("old", 8)];
        assert_eq!(names, expected.map(|(run, epoch)| (run.to_owned(), epoch)));
    }

    #[test]
    fn checkpoints_come_newest_first_and_a_newer_format_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_folder(folder.path()).unwrap();
        let mut names = Names::new("a").unwrap();
        let mut put = |epoch, format| {
            let manifest = Manifest { format, operators: operators(), ..Manifest::example(epoch) };
            let name = names.epoch(epoch);
            let mut writer = Writer::new(&name, Vec::new());
            writer.append(b"\x00\x03\x00\x07\x00\x00user", Some(b"\x019")).unwrap();
            store.put_if_absent(&name, &writer.finish(&manifest.to_json().unwrap()).unwrap().sink).unwrap();
        };
        put(1, 1);
        put(2, MANIFEST_FORMAT);
        let at = |dir: &std::path::Path| View::open(&Location::Folder(dir.to_owned()), &Access::new(Default::default()));
        let view = at(folder.path()).unwrap();
        let checkpoints = view.checkpoints().unwrap();
        assert_eq!(checkpoints.iter().map(|c| c.manifest.epoch).collect::<Vec<_>>(), [2, 1]);
        let mut seen = 0;
        let count = view.entries(checkpoints.first().unwrap(), |entry| {
            seen += entry.value.len();
            Ok::<(), Error>(())
        });
        assert_eq!((count.unwrap(), seen), (1, 1));
        put(3, MANIFEST_FORMAT + 1);
        assert!(matches!(view.checkpoints(), Err(Error::NewerFormat { .. })));
        assert!(at(&folder.path().join("absent")).is_err() && !folder.path().join("absent").exists());
    }
}
