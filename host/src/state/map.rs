//! Map states: ordered entries of a key, each an entry of its own, and the changes of the running call.
//!
//! A guest changes maps in the middle of a call that may still trap, so its changes wait in the [`CallOverlay`] and
//! reach the store by [`Store::commit_call`] only.

use super::disk::Range;
use super::layout::{PREFIX_BYTES, Prefix, end_of_range, push_map};
use super::store::{Slots, unwrap_value};
use super::{Error, Kind, Result, StateId, Store};
use crate::record::Column;
use std::collections::{BTreeMap, BTreeSet, btree_map};
use std::iter::Peekable;
use std::ops::Bound;

/// Map changes of the running call, by whole key.
#[derive(Debug, Default)]
pub(super) struct CallOverlay {
    changes: BTreeMap<Box<[u8]>, Option<Box<[u8]>>>,
    /// Whole beginnings of maps that were cleared before those changes.
    cleared: BTreeSet<Box<[u8]>>,
    /// Buffers that outlive a call: keys without prefix, and where they were found.
    keys: Column,
    slots: Slots,
    key: Vec<u8>,
}

/// How large the answer to a scan may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Most {
    /// Entries of each map.
    pub entries: usize,
    /// Bytes of all keys and values together.
    pub bytes: usize,
}

/// What a read of one key finds in the overlay.
enum Staged<'a> {
    Changed(Option<&'a [u8]>),
    Untouched,
}

impl CallOverlay {
    /// `map` is how many bytes of the whole key are common to its map.
    fn get(&self, key: &[u8], map: usize) -> Staged<'_> {
        match self.changes.get(key) {
            Some(value) => Staged::Changed(value.as_deref()),
            None if self.clears(key.get(..map).unwrap_or(key)) => Staged::Changed(None),
            None => Staged::Untouched,
        }
    }

    fn clears(&self, map: &[u8]) -> bool {
        !self.cleared.is_empty() && self.cleared.contains(map)
    }

    fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.cleared.is_empty()
    }
}

/// Whole beginning of the keys of a map.
fn map_start(id: StateId, key: &[u8], shard: u16) -> Result<Vec<u8>> {
    let mut start = Vec::with_capacity(PREFIX_BYTES + 2 + key.len());
    start.extend_from_slice(&Prefix::new(id, shard).bytes());
    push_map(&mut start, id, key)?;
    Ok(start)
}

impl Store {
    /// Reads entries of a map state: entry `i` is `map_keys[i]` of the map at `keys[i]`; null where there is none.
    /// `most` is how many bytes of values the answer may have: keys may repeat, so few of them can ask for much.
    ///
    /// # Errors
    /// [`Error::TooMuch`]; the state is no map state, the columns do not fit, the disk cannot be read, or a value has another version.
    pub fn map_get(&mut self, id: StateId, keys: &Column, shards: &[u16], map_keys: &Column, most: usize, out: &mut Column) -> Result<()> {
        let version = self.version(id, Kind::Map)?;
        check(id, keys, shards, map_keys)?;
        let (mut whole, mut slots) = (std::mem::take(&mut self.call.keys), std::mem::take(&mut self.call.slots));
        let read = self.map_read(id, version, (keys, shards, map_keys), (&mut whole, &mut slots), most, out);
        (self.call.keys, self.call.slots) = (whole, slots);
        read
    }

    fn map_read(
        &mut self,
        id: StateId,
        version: u32,
        (keys, shards, map_keys): (&Column, &[u16], &Column),
        (whole, slots): (&mut Column, &mut Slots),
        most: usize,
        out: &mut Column,
    ) -> Result<()> {
        whole.clear();
        for i in 0..keys.len() {
            self.call.key.clear();
            push_map(&mut self.call.key, id, keys.bytes(i))?;
            self.call.key.extend_from_slice(map_keys.bytes(i));
            whole.push_bytes(&self.call.key);
        }
        self.resolve(id, Kind::Map, whole, shards, slots)?;
        let staged = !self.call.is_empty();
        for (i, (&slot, &shard)) in slots.all().iter().zip(shards).enumerate() {
            if out.data_len() > most {
                return Err(Error::TooMuch { id, bytes: most });
            }
            if staged {
                self.call.key.clear();
                self.call.key.extend_from_slice(&Prefix::new(id, shard).bytes());
                self.call.key.extend_from_slice(whole.bytes(i));
                let map = PREFIX_BYTES + 2 + keys.bytes(i).len();
                if let Staged::Changed(value) = self.call.get(&self.call.key, map) {
                    out.push(value);
                    continue;
                }
            }
            out.push(self.value(slot, id, version)?);
        }
        Ok(())
    }

    /// Stages changes of a map state for the running call: as in [`Store::map_get`], with a value each; null deletes.
    ///
    /// # Errors
    /// The state is no map state, the columns do not fit, or a key is too long.
    pub fn map_put(&mut self, id: StateId, keys: &Column, shards: &[u16], map_keys: &Column, values: &Column) -> Result<()> {
        self.version(id, Kind::Map)?;
        check(id, keys, shards, map_keys)?;
        if values.len() != keys.len() {
            return Err(Error::Shape { id, detail: "one value for each map key" });
        }
        for (i, &shard) in shards.iter().enumerate() {
            let mut key = map_start(id, keys.bytes(i), shard)?;
            key.extend_from_slice(map_keys.bytes(i));
            self.call.changes.insert(key.into_boxed_slice(), values.get(i).map(Box::from));
        }
        Ok(())
    }

    /// Reads up to `most.entries` entries of the map at `key`, in byte order of their map keys, from the first one behind
    /// `after` on. Fewer than that means that there are no more.
    ///
    /// # Errors
    /// [`Error::TooMuch`]; the state is no map state, the disk cannot be read, or a value has another version.
    #[expect(clippy::too_many_arguments, reason = "the shape of the import that it answers")]
    pub fn map_scan(
        &mut self,
        id: StateId,
        key: &[u8],
        shard: u16,
        after: Option<&[u8]>,
        most: Most,
        out_keys: &mut Column,
        out_values: &mut Column,
    ) -> Result<()> {
        let version = self.version(id, Kind::Map)?;
        let start = map_start(id, key, shard)?;
        let mut taken = 0;
        if most.entries == 0 {
            return Ok(());
        }
        self.scan(&start, after, |key, value| {
            out_keys.push_bytes(key.get(start.len()..).unwrap_or_default());
            out_values.push_bytes(match value {
                Found::Staged(value) => value,
                Found::Stored(stored) => unwrap_value(stored, id, version)?,
            });
            taken += 1;
            if out_keys.data_len() + out_values.data_len() > most.bytes {
                return Err(Error::TooMuch { id, bytes: most.bytes });
            }
            Ok(taken < most.entries)
        })
    }

    /// Stages the deletion of all entries of the map at `key`.
    ///
    /// # Errors
    /// The state is no map state, or the key is too long.
    pub fn map_clear(&mut self, id: StateId, key: &[u8], shard: u16) -> Result<()> {
        self.version(id, Kind::Map)?;
        let start = map_start(id, key, shard)?;
        let staged: Vec<Box<[u8]>> = range(&self.call.changes, &start, None).map(|(key, _)| key.clone()).collect();
        for key in staged {
            self.call.changes.remove(&key);
        }
        self.call.cleared.insert(start.into_boxed_slice());
        Ok(())
    }

    /// Applies the map changes of the call that has succeeded.
    ///
    /// # Errors
    /// A cleared map cannot be read from the disk: the store is to be dropped.
    pub fn commit_call(&mut self) -> Result<()> {
        if self.call.is_empty() {
            return Ok(());
        }
        let changes = std::mem::take(&mut self.call.changes);
        for start in std::mem::take(&mut self.call.cleared) {
            let mut doomed = Vec::new();
            self.scan(&start, None, |key, _| {
                doomed.push(Box::from(key));
                Ok(true)
            })?;
            doomed.iter().try_for_each(|key| self.put_whole(key, None))?;
        }
        changes.iter().try_for_each(|(key, value)| self.put_whole(key, value.as_deref()))
    }

    /// Forgets the map changes of the call that has failed.
    pub fn drop_call(&mut self) {
        self.call.changes.clear();
        self.call.cleared.clear();
    }

    fn put_whole(&mut self, whole: &[u8], value: Option<&[u8]>) -> Result<()> {
        let Some((prefix, key)) = Prefix::split(whole) else { return Ok(()) };
        let version = self.version(prefix.id(), Kind::Map)?;
        let hash = self.hash(prefix, key);
        self.put(hash, prefix, key, value, version, true);
        Ok(())
    }

    /// Calls `take` for the present entries whose whole keys begin with `start`, in order, until it says no: overlay
    /// over table over disk, since each hides what lies below it.
    fn scan(&self, start: &[u8], after: Option<&[u8]>, mut take: impl FnMut(&[u8], Found<'_>) -> Result<bool>) -> Result<()> {
        let mut staged = range(&self.call.changes, start, after).peekable();
        let cleared = self.call.clears(start);
        let mut table = (!cleared).then(|| range(&self.index, start, after)).into_iter().flatten().peekable();
        let mut disk = self.disk_in_use().filter(|_| !cleared).map(|disk| {
            // The least key behind k is k with a zero byte.
            let from = after.map_or_else(|| start.to_vec(), |after| [start, after, &[0]].concat());
            disk.iter_range(&from, end_of_range(start))
        });
        loop {
            let least = next_key(&mut staged, &mut table, disk.as_ref())?;
            let Some(key) = least else { return Ok(()) };
            let on_staged = staged.next_if(|(at, _)| ***at == *key).map(|(_, value)| value.as_deref().map(Found::Staged));
            let in_table = table.next_if(|(at, _)| ***at == *key).map(|(_, &slot)| self.slab.get(slot).stored().map(Found::Stored));
            let on_disk = disk.as_ref().map(Range::item).transpose()?.flatten().filter(|(at, _)| *at == &*key);
            let moves = on_disk.is_some();
            let found = on_staged.or(in_table).unwrap_or_else(|| on_disk.map(|(_, stored)| Found::Stored(stored)));
            if let Some(found) = found
                && !take(&key, found)?
            {
                return Ok(());
            }
            if let Some(disk) = disk.as_mut().filter(|_| moves) {
                disk.next();
            }
        }
    }
}

/// A value on the way: as the guest gave it, or with its version.
enum Found<'a> {
    Staged(&'a [u8]),
    Stored(&'a [u8]),
}

/// Least whole key of the three sides.
fn next_key<'a, V: 'a, W: 'a>(
    staged: &mut Peekable<impl Iterator<Item = (&'a Box<[u8]>, V)>>,
    table: &mut Peekable<impl Iterator<Item = (&'a Box<[u8]>, W)>>,
    disk: Option<&Range<'_>>,
) -> Result<Option<Box<[u8]>>> {
    let (staged, table) = (staged.peek().map(|(key, _)| &***key), table.peek().map(|(key, _)| &***key));
    let disk = disk.map(Range::item).transpose()?.flatten().map(|(key, _)| key);
    Ok([staged, table, disk].into_iter().flatten().min().map(Box::from))
}

/// Entries whose keys begin with `start` and lie behind `start` + `after`.
fn range<'a, V>(all: &'a BTreeMap<Box<[u8]>, V>, start: &[u8], after: Option<&[u8]>) -> btree_map::Range<'a, Box<[u8]>, V> {
    let from = match after {
        Some(after) => Bound::Excluded([start, after].concat().into_boxed_slice()),
        None => Bound::Included(Box::from(start)),
    };
    let to = end_of_range(start).map_or(Bound::Unbounded, |end| Bound::Excluded(end.into_boxed_slice()));
    all.range((from, to))
}

fn check(id: StateId, keys: &Column, shards: &[u16], map_keys: &Column) -> Result<()> {
    if keys.len() == map_keys.len() && keys.len() == shards.len() {
        Ok(())
    } else {
        Err(Error::Shape { id, detail: "one key and one shard for each map key" })
    }
}
