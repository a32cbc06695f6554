//! The one merge function over files: newest wins, in one streaming pass.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::io::Write;
use std::path::Path;

use super::delta::Scan;
use super::{Error, FileRef, Object, Store, Writer, Written};

/// Several scans as one, in key order; of equal keys the entry of the newest scan alone.
#[derive(Debug)]
pub struct Merged<'a> {
    heads: BinaryHeap<Head<'a>>,
    key: Vec<u8>,
    value: Vec<u8>,
    live: bool,
}

impl<'a> Merged<'a> {
    /// Merges scans, oldest first.
    ///
    /// # Errors
    /// As [`Scan::advance`].
    pub fn new(scans: impl IntoIterator<Item = Scan<'a>>) -> Result<Self, Error> {
        let mut heads = BinaryHeap::new();
        for (age, mut scan) in scans.into_iter().enumerate() {
            if scan.advance()? {
                heads.push(Head { scan, age });
            }
        }
        Ok(Self { heads, key: Vec::new(), value: Vec::new(), live: false })
    }

    /// Goes to the next key; false at the end.
    ///
    /// # Errors
    /// As [`Scan::advance`].
    pub fn advance(&mut self) -> Result<bool, Error> {
        let Some(newest) = self.heads.peek_mut() else { return Ok(false) };
        self.key.clear();
        self.key.extend_from_slice(newest.scan.key());
        self.value.clear();
        let value = newest.scan.value();
        self.live = value.is_some();
        self.value.extend_from_slice(value.unwrap_or_default());
        advance_head(newest)?;
        while let Some(older) = self.heads.peek_mut() {
            if older.scan.key() != self.key {
                break;
            }
            advance_head(older)?;
        }
        Ok(true)
    }

    /// The key at hand.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// Its newest value; `None` is a tombstone.
    pub fn value(&self) -> Option<&[u8]> {
        self.live.then_some(&self.value)
    }
}

fn advance_head(mut head: PeekMut<'_, Head<'_>>) -> Result<(), Error> {
    if !head.scan.advance()? {
        PeekMut::pop(head);
    }
    Ok(())
}

/// A scan that stands on an entry. The greatest head is the one to take next: the smallest key, of equal ones the newest.
#[derive(Debug)]
struct Head<'a> {
    scan: Scan<'a>,
    age: usize,
}

impl Ord for Head<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        other.scan.key().cmp(self.scan.key()).then(self.age.cmp(&other.age))
    }
}

impl PartialOrd for Head<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head<'_> {}

/// Merges objects, oldest first, into one without a manifest.
///
/// Tombstones may be dropped only if the oldest object is the oldest of the whole list: else what they hide in older
/// ones comes back.
///
/// # Errors
/// As [`Scan::advance`] and [`Writer::append`].
pub fn merge<W: Write>(objects: &[Object], drop_tombstones: bool, mut into: Writer<W>) -> Result<Written<W>, Error> {
    let mut merged = Merged::new(objects.iter().map(Object::scan))?;
    while merged.advance()? {
        if merged.value().is_some() || !drop_tombstones {
            into.append(merged.key(), merged.value())?;
        }
        failpoint!("base", every 5_000, when drop_tombstones);
    }
    failpoint!("base", when drop_tombstones);
    into.finish(&[])
}

/// Merges files of a committed manifest, adjacent and oldest first, into a new object. Holds one block of each in memory.
///
/// The result is garbage unless a list takes it up by [`adopt`](super::adopt). `drop_tombstones` as for [`merge`].
///
/// # Errors
/// [`Error::Absent`], [`Error::Corrupt`], [`Error::Exists`], [`Error::Io`], [`Error::Remote`]. Nothing is left in the store then.
pub fn merge_files(store: &Store, files: &[FileRef], drop_tombstones: bool, name: &str) -> Result<FileRef, Error> {
    let objects = store.open_files(files)?;
    let upload = Writer::new(name, store.upload(name)?);
    failpoint!("merge");
    let written = merge(&objects, drop_tombstones, upload).map_err(|e| e.within(Path::new(&store.place())))?;
    let first_epoch = files.first().map_or(0, |file| file.first_epoch);
    let last_epoch = files.last().map_or(0, |file| file.last_epoch);
    let merged = FileRef::written(name.to_owned(), first_epoch, last_epoch, &written);
    failpoint!("merge");
    written.sink.publish()?;
    failpoint!("merge");
    Ok(merged)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::checkpoint::delta::Input;
    use std::collections::BTreeMap;

    type Entries = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

    fn object(entries: &Entries) -> Object {
        // Small blocks, so that heads cross them while others stand still.
        let mut writer = Writer::with_block_bytes("o", Vec::new(), 64);
        entries.iter().for_each(|(key, value)| writer.append(key, value.as_deref()).unwrap());
        Object::open("o", Input::Memory(writer.finish(&[]).unwrap().sink)).unwrap()
    }

    fn entries(object: &Object) -> Entries {
        let mut scan = object.scan();
        let mut all = Entries::new();
        while scan.advance().unwrap() {
            all.insert(scan.key().to_owned(), scan.value().map(<[u8]>::to_owned));
        }
        all
    }

    /// Overlapping runs with tombstones, from a fixed seed.
    fn runs(count: u64) -> Vec<Entries> {
        let mut seed = 7u64;
        let mut next = move || {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            seed >> 33
        };
        let mut run = |run: u64| -> Entries {
            (0..200)
                .map(|_| (next() % 500, next() % 3 > 0))
                .map(|(key, live)| (key.to_be_bytes()[6..].to_vec(), live.then(|| format!("{run}:{key}").into_bytes())))
                .collect()
        };
        (0..count).map(&mut run).collect()
    }

    #[test]
    fn the_newest_entry_of_a_key_wins() {
        let runs = runs(9);
        let mut expected = Entries::new();
        runs.iter().for_each(|run| expected.extend(run.clone()));
        let objects: Vec<Object> = runs.iter().map(object).collect();
        for drop_tombstones in [false, true] {
            let merged = merge(&objects, drop_tombstones, Writer::new("m", Vec::new())).unwrap();
            let merged = Object::open("m", Input::Memory(merged.sink)).unwrap();
            if drop_tombstones {
                expected.retain(|_, value| value.is_some());
            }
            assert_eq!(entries(&merged), expected);
        }
    }

    #[test]
    fn merging_adjacent_files_first_changes_nothing() {
        let objects: Vec<Object> = runs(6).iter().map(object).collect();
        let at_once = merge(&objects, true, Writer::new("m", Vec::new())).unwrap().sink;
        let middle = merge(&objects[2..5], false, Writer::new("m", Vec::new())).unwrap().sink;
        let middle = Object::open("m", Input::Memory(middle)).unwrap();
        let mut objects = objects.into_iter();
        let mut stepwise: Vec<Object> = objects.by_ref().take(2).collect();
        stepwise.push(middle);
        stepwise.extend(objects.skip(3));
        assert_eq!(merge(&stepwise, true, Writer::new("m", Vec::new())).unwrap().sink, at_once);
    }

    #[test]
    fn a_damaged_file_stops_the_merge_by_its_name_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_folder(folder.path()).unwrap();
        let mut files = Vec::new();
        for (epoch, run) in (1u64..).zip(&runs(3)) {
            let mut writer = Writer::new("o", Vec::new());
            run.iter().for_each(|(key, value)| writer.append(key, value.as_deref()).unwrap());
            let name = format!("f{epoch}");
            store.put_if_absent(&name, &writer.finish(&[]).unwrap().sink).unwrap();
            files.push(FileRef::to(&store.open(&name).unwrap(), epoch, epoch));
        }
        let base = merge_files(&store, &files, true, "base").unwrap();
        assert_eq!((base.first_epoch, base.last_epoch, base.tombstones), (1, 3, 0));
        assert_eq!(FileRef::to(&store.open("base").unwrap(), 1, 3), base);

        let mut damaged = store.read("f2").unwrap();
        damaged[10] ^= 1;
        store.replace("f2", &damaged).unwrap();
        let before = store.list().unwrap().len();
        assert!(matches!(merge_files(&store, &files, true, "again"), Err(Error::Corrupt { object, .. }) if object == "f2"));
        assert_eq!(store.list().unwrap().len(), before);

        store.replace("f2", &store.read("f1").unwrap()).unwrap();
        assert!(
            matches!(merge_files(&store, &files, true, "again"), Err(Error::Corrupt { object, .. }) if object == "f2"),
            "another object"
        );
    }
}
