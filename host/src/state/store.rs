//! The hot layer: a hash table over the newest values of a worker's keys.

#![expect(clippy::indexing_slicing, reason = "columns of one call are checked to have one length before they are walked")]

mod epochs;

pub use epochs::Evicted;

use super::disk::Disk;
use super::layout::{PREFIX_BYTES, Prefix, RESERVED_OPERATOR, split_version, store_value};
use super::map::CallOverlay;
use super::slab::{DIRTY, Entry, INDEXED, REFERENCED, Slab};
use super::{Error, Kind, Result, StateId};
use crate::record::Column;
use compact_bytes::CompactBytes;
use epochs::Frozen;
use foldhash::quality::RandomState;
use hashbrown::HashTable;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

const NONE: u32 = u32::MAX;
/// Memory of an entry: its slot and its share of the table, which is between 7/16 and 7/8 full.
const ENTRY_BYTES: usize = size_of::<Entry>() + 16;
/// Memory of an entry of the ordered index besides its key.
const INDEX_BYTES: usize = 40;

/// What the table holds. The hash is kept here so that growing the table touches no entry.
struct Bucket {
    hash: u32,
    slot: u32,
}

/// The table wants 64 bits, of which it uses the highest seven and as many low ones as it has buckets.
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

fn respread(bucket: &Bucket) -> u64 {
    spread(bucket.hash)
}

/// Where the keys of a call were found: written by [`Store::load_values`], used by [`Store::apply_values`]. Reusable.
#[derive(Debug, Default)]
pub struct Slots {
    generation: u64,
    hashes: Vec<u32>,
    slots: Vec<u32>,
}

pub(super) struct Registered {
    pub version: u32,
    pub kind: Kind,
}

/// Keys that the table lacks, to be read from the disk in order.
#[derive(Default)]
struct Lacking {
    bytes: Vec<u8>,
    /// End in `bytes` and row in the call.
    rows: Vec<(usize, u32)>,
}

/// The state of one worker.
pub struct Store {
    hasher: RandomState,
    table: HashTable<Bucket>,
    pub(super) slab: Slab,
    /// Entries of map states by whole key.
    pub(super) index: BTreeMap<Box<[u8]>, u32>,
    states: BTreeMap<StateId, Registered>,
    /// States that were restored without being registered: their operator is gone from the plan.
    orphans: BTreeSet<StateId>,
    disk: Option<Arc<Disk>>,
    dirty: Vec<u32>,
    dirty_bytes: usize,
    heap: usize,
    index_bytes: usize,
    frozen: Option<Frozen>,
    epoch: u64,
    /// The disk counts only once its mark reaches this: below it, deletions may already be forgotten here, or the
    /// restored state is newer.
    floor: u64,
    /// Moves when slots may have been given to other keys.
    generation: u64,
    hand: u32,
    /// The disk's mark when an eviction found nothing more to take: before it moves, looking again is in vain.
    stuck_at: Option<u64>,
    /// Bytes frozen by epoch, of epochs after the disk's mark.
    unspilled: VecDeque<(u64, usize)>,
    pub(super) call: CallOverlay,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("entries", &self.table.len()).field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

impl Store {
    /// An empty store over `disk`, whose state (at its mark) is part of what the store answers.
    #[must_use]
    pub fn new(disk: Option<Arc<Disk>>) -> Self {
        Self {
            hasher: RandomState::default(),
            table: HashTable::new(),
            slab: Slab::default(),
            index: BTreeMap::new(),
            states: BTreeMap::new(),
            orphans: BTreeSet::new(),
            disk,
            dirty: Vec::new(),
            dirty_bytes: 0,
            heap: 0,
            index_bytes: 0,
            frozen: None,
            epoch: 0,
            floor: 0,
            generation: 0,
            hand: 0,
            stuck_at: None,
            unspilled: VecDeque::new(),
            call: CallOverlay::default(),
        }
    }

    /// Declares a state and the version that its values have. Before anything is restored.
    ///
    /// # Errors
    /// The operator's number is reserved, the state is declared twice, or its entries were restored already.
    pub fn register(&mut self, id: StateId, kind: Kind, version: u32) -> Result<()> {
        let refuse = |reason| Err(Error::Registration { id, reason });
        if id.operator == RESERVED_OPERATOR {
            return refuse("the operator's number is reserved");
        }
        if self.orphans.contains(&id) {
            return refuse("its entries were restored already");
        }
        if self.states.insert(id, Registered { version, kind }).is_some() { refuse("it is registered already") } else { Ok(()) }
    }

    /// Adds a committed entry: a whole key with its stored value as of `epoch`, the epoch that is being restored. `None`
    /// is a deletion that comes after the disk's mark.
    ///
    /// # Errors
    /// The bytes are no entry.
    pub fn insert_restored(&mut self, epoch: u64, key: &[u8], stored: Option<&[u8]>) -> Result<()> {
        let corrupt = |operator, state, detail| Error::Corrupt { operator, state, detail };
        let (prefix, key) = Prefix::split(key).ok_or_else(|| corrupt(0, 0, "its key is too short"))?;
        if stored.is_some_and(|stored| split_version(stored).is_none()) {
            return Err(corrupt(prefix.operator, prefix.state, "its value has no version"));
        }
        let indexed = match self.states.get(&prefix.id()) {
            Some(state) => state.kind == Kind::Map,
            None => {
                self.orphans.insert(prefix.id());
                false
            }
        };
        if self.disk_in_use().is_none() {
            self.floor = self.floor.max(epoch);
        }
        self.epoch = self.epoch.max(epoch);
        let hash = self.hash(prefix, key);
        if let Some(slot) = self.find(hash, prefix, key) {
            self.remove(slot);
        }
        self.insert(hash, prefix, key, CompactBytes::new(stored.unwrap_or_default()), epoch, indexed);
        Ok(())
    }

    /// Estimate of the memory held, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.table.len() * ENTRY_BYTES + self.heap + self.index_bytes + self.dirty.len() * 4
    }

    /// Bytes that a delta of the running epoch would have now.
    #[must_use]
    pub fn dirty_bytes(&self) -> usize {
        self.dirty_bytes
    }

    /// Number of entries in memory, deleted and absent ones included.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.table.len()
    }

    /// Reads one value state for the distinct `keys` of a call: `out` gets one entry per key, null where there is none.
    ///
    /// # Errors
    /// The state is not a value state, the disk cannot be read, or a stored value has another version.
    pub fn load_values(&mut self, id: StateId, keys: &Column, shards: &[u16], out: &mut Column, slots: &mut Slots) -> Result<()> {
        let version = self.version(id, Kind::Value)?;
        self.resolve(id, Kind::Value, keys, shards, slots)?;
        for &slot in &slots.slots {
            out.push(self.value(slot, id, version)?);
        }
        Ok(())
    }

    /// Changes values of keys that were loaded by `slots`: entry `i` of `values` belongs to key `groups[i]`; null
    /// deletes. `keys` and `shards` are those of the load.
    ///
    /// # Errors
    /// The columns do not fit each other, or the store has evicted since the load.
    pub fn apply_values(
        &mut self,
        id: StateId,
        keys: &Column,
        shards: &[u16],
        slots: &Slots,
        groups: &[u32],
        values: &Column,
    ) -> Result<()> {
        let version = self.version(id, Kind::Value)?;
        if groups.len() != values.len() || slots.slots.len() != keys.len() || slots.slots.len() != shards.len() {
            return Err(Error::Shape { id, detail: "one value for each group, one slot and shard for each key" });
        }
        if slots.generation != self.generation {
            return Err(Error::Shape { id, detail: "the slots are older than the last eviction" });
        }
        for (i, &group) in groups.iter().enumerate() {
            let group = group as usize;
            let Some(&slot) = slots.slots.get(group) else {
                return Err(Error::Shape { id, detail: "a group's number is beyond the keys" });
            };
            let value = values.get(i);
            if slot != NONE {
                self.write(slot, value, version);
            } else if let Some(value) = value {
                // Without a slot the key is absent for certain: the disk does not count yet.
                self.put(slots.hashes[group], Prefix::new(id, shards[group]), keys.bytes(group), Some(value), version, false);
            }
        }
        Ok(())
    }

    /// The disk, once it has to be asked for what the table lacks.
    pub(super) fn disk_in_use(&self) -> Option<&Disk> {
        self.disk.as_deref().filter(|disk| disk.mark() >= self.floor.max(1))
    }

    pub(super) fn version(&self, id: StateId, kind: Kind) -> Result<u32> {
        self.states.get(&id).filter(|state| state.kind == kind).map(|state| state.version).ok_or(Error::Unregistered { id, kind })
    }

    /// The guest's bytes in a slot.
    #[inline]
    pub(super) fn value(&self, slot: u32, id: StateId, current: u32) -> Result<Option<&[u8]>> {
        if slot == NONE { Ok(None) } else { self.slab.get(slot).stored().map(|stored| unwrap_value(stored, id, current)).transpose() }
    }

    #[inline]
    pub(super) fn hash(&self, prefix: Prefix, key: &[u8]) -> u32 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u64(prefix.number());
        hasher.write(key);
        hasher.finish() as u32
    }

    pub(super) fn find(&self, hash: u32, prefix: Prefix, key: &[u8]) -> Option<u32> {
        let same = |bucket: &Bucket| bucket.hash == hash && self.slab.get(bucket.slot).is(prefix, key);
        self.table.find(spread(hash), same).map(|bucket| bucket.slot)
    }

    /// Finds the slots of keys, reading from the disk what is not in the table. In passes whose steps do not depend on
    /// each other, so that the processor waits for many memory accesses at a time instead of one after another.
    pub(super) fn resolve(&mut self, id: StateId, kind: Kind, keys: &Column, shards: &[u16], slots: &mut Slots) -> Result<()> {
        if keys.len() != shards.len() {
            return Err(Error::Shape { id, detail: "one shard for each key" });
        }
        slots.generation = self.generation;
        slots.hashes.clear();
        slots.hashes.extend(shards.iter().enumerate().map(|(i, &shard)| self.hash(Prefix::new(id, shard), keys.bytes(i))));
        slots.slots.clear();
        slots.slots.extend(
            slots
                .hashes
                .iter()
                .map(|&hash| self.table.iter_hash(spread(hash)).find(|bucket| bucket.hash == hash).map_or(NONE, |bucket| bucket.slot)),
        );
        let mut lacking = 0;
        for (i, slot) in slots.slots.iter_mut().enumerate() {
            if *slot != NONE {
                let (prefix, key) = (Prefix::new(id, shards[i]), keys.bytes(i));
                if !self.slab.get(*slot).is(prefix, key) {
                    *slot = self.find(slots.hashes[i], prefix, key).unwrap_or(NONE);
                }
            }
            if *slot == NONE {
                lacking += 1;
                continue;
            }
            let entry = self.slab.get_mut(*slot);
            if !entry.has(REFERENCED) {
                entry.flags |= REFERENCED;
            }
        }
        if lacking > 0 && self.disk_in_use().is_some() { self.fetch(id, kind, keys, shards, slots) } else { Ok(()) }
    }

    /// Reads the keys without a slot from the disk in one sorted lookup and keeps what it finds. That a value is absent
    /// is kept too; map entries are too many for that.
    #[cold]
    fn fetch(&mut self, id: StateId, kind: Kind, keys: &Column, shards: &[u16], slots: &mut Slots) -> Result<()> {
        let Some(disk) = self.disk.clone() else { return Ok(()) };
        let mut lacking = Lacking::default();
        for (i, _) in slots.slots.iter().enumerate().filter(|(_, slot)| **slot == NONE) {
            lacking.bytes.extend_from_slice(&Prefix::new(id, shards[i]).bytes());
            lacking.bytes.extend_from_slice(keys.bytes(i));
            lacking.rows.push((lacking.bytes.len(), i as u32));
        }
        let mut start = 0;
        let mut wanted: Vec<(&[u8], usize)> = Vec::with_capacity(lacking.rows.len());
        for &(end, row) in &lacking.rows {
            wanted.push((&lacking.bytes[start..end], row as usize));
            start = end;
        }
        wanted.sort_unstable();
        let sorted: Vec<&[u8]> = wanted.iter().map(|(key, _)| *key).collect();
        disk.multi_get(&sorted, |at, stored| {
            let row = wanted[at].1;
            let (hash, prefix, key) = (slots.hashes[row], Prefix::new(id, shards[row]), keys.bytes(row));
            slots.slots[row] = match self.find(hash, prefix, key) {
                Some(slot) => slot,
                None if stored.is_none() && kind == Kind::Map => NONE,
                None => self.insert(hash, prefix, key, CompactBytes::new(stored.unwrap_or_default()), 0, kind == Kind::Map),
            };
            Ok(())
        })
    }

    /// Changes the value of a key whether it is in the table or not.
    pub(super) fn put(&mut self, hash: u32, prefix: Prefix, key: &[u8], value: Option<&[u8]>, version: u32, indexed: bool) {
        let slot = match self.find(hash, prefix, key) {
            Some(slot) => slot,
            None => self.insert(hash, prefix, key, CompactBytes::empty(), 0, indexed),
        };
        self.write(slot, value, version);
    }

    #[inline]
    fn write(&mut self, slot: u32, value: Option<&[u8]>, version: u32) {
        let entry = self.slab.get_mut(slot);
        let (heap, length) = (entry.heap(), entry.value.len());
        match value {
            Some(value) => store_value(&mut entry.value, version, value),
            None => entry.value = CompactBytes::empty(),
        }
        self.heap = self.heap - heap + entry.heap();
        if entry.has(DIRTY) {
            self.dirty_bytes = self.dirty_bytes - length + entry.value.len();
        } else {
            entry.flags |= DIRTY;
            self.dirty.push(slot);
            self.dirty_bytes += PREFIX_BYTES + entry.key.len() + entry.value.len();
        }
    }

    fn insert(&mut self, hash: u32, prefix: Prefix, key: &[u8], value: CompactBytes, changed: u64, indexed: bool) -> u32 {
        let entry = Entry { key: CompactBytes::new(key), value, changed, prefix, flags: if indexed { INDEXED } else { 0 } };
        self.heap += entry.heap();
        let full = indexed.then(|| entry.full_key());
        let slot = self.slab.insert(entry);
        if let Some(full) = full {
            self.index_bytes += INDEX_BYTES + full.len();
            self.index.insert(full, slot);
        }
        self.table.insert_unique(spread(hash), Bucket { hash, slot }, respread);
        slot
    }

    /// Forgets an entry that is not dirty.
    fn remove(&mut self, slot: u32) {
        self.generation += 1;
        let entry = self.slab.remove(slot);
        self.heap -= entry.heap();
        if entry.has(INDEXED) {
            let full = entry.full_key();
            self.index_bytes -= INDEX_BYTES + full.len();
            self.index.remove(&full);
        }
        let hash = self.hash(entry.prefix, entry.key.as_slice());
        if let Ok(found) = self.table.find_entry(spread(hash), |bucket| bucket.slot == slot) {
            found.remove();
        }
    }
}

impl Slots {
    /// Slot of each key of the call.
    pub(super) fn all(&self) -> &[u32] {
        &self.slots
    }
}

/// The guest's bytes of a stored value, if it has the declared version.
#[inline]
pub(super) fn unwrap_value(stored: &[u8], id: StateId, current: u32) -> Result<&[u8]> {
    match split_version(stored) {
        Some((version, value)) if version == current => Ok(value),
        Some((stored, _)) => Err(Error::VersionMismatch { operator: id.operator, state: id.state, stored, current }),
        None => Err(Error::Corrupt { operator: id.operator, state: id.state, detail: "its value has no version" }),
    }
}
