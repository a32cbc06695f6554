//! The map states of a batch: what was read is kept, what is written goes to the host once, at the end of the batch.

use crate::bindings::Column;
use crate::codec::Postcard;
use crate::column::ColumnBuilder;
use crate::host::MapHost;
use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};
use std::marker::PhantomData;
use std::ops::Bound;

/// Owns none of them, so that a handle can be sent and copied whatever they are.
type Types<K, V, C> = fn() -> (K, V, C);

/// A map per key from `K` to `V`, its values stored by the codec `C`.
pub struct MapState<K, V, C = Postcard> {
    pub(crate) id: u32,
    pub(crate) types: PhantomData<Types<K, V, C>>,
}

impl<K, V, C> Clone for MapState<K, V, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V, C> Copy for MapState<K, V, C> {}

impl<K, V, C> std::fmt::Debug for MapState<K, V, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MapState({})", self.id)
    }
}

/// A group (big-endian) and a map key behind it: sorts by group, then by key.
type Address = Vec<u8>;

const GROUP_BYTES: usize = 4;

#[derive(Clone, Debug)]
struct Cached {
    value: Option<Vec<u8>>,
    /// Whether the function wrote it; otherwise it is what the host has.
    written: bool,
}

#[derive(Debug)]
enum Undo {
    Entry(Address, Option<Cached>),
    Cleared(u32),
}

/// One map state in the running batch.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    id: u32,
    entries: BTreeMap<Address, Cached>,
    /// Groups whose stored entries are void: for them the overlay is all there is.
    cleared: BTreeSet<u32>,
    undo: Vec<Undo>,
}

/// A map entry as bytes.
pub(crate) type Pair = (Vec<u8>, Vec<u8>);

impl Overlay {
    pub(crate) fn new(id: u32) -> Self {
        Self { id, ..Self::default() }
    }

    pub(crate) fn begin(&mut self) {
        self.entries.clear();
        self.cleared.clear();
        self.undo.clear();
    }

    /// Reads all of `wanted` in one call. Only before the first record.
    pub(crate) fn prefetch(&mut self, host: &dyn MapHost, wanted: BTreeSet<Address>) {
        let groups: Vec<u32> = wanted.iter().map(|address| split(address).0).collect();
        let keys: Column = wanted.iter().map(|address| Some(split(address).1)).collect();
        let found = host.get(self.id, &groups, &keys);
        for (address, value) in wanted.into_iter().zip(&found) {
            self.entries.insert(address, Cached { value: value.map(<[u8]>::to_vec), written: false });
        }
    }

    pub(crate) fn get(&mut self, host: &dyn MapHost, address: &[u8]) -> Option<&[u8]> {
        if !self.entries.contains_key(address) {
            let (group, key) = split(address);
            let value = if self.cleared.contains(&group) {
                None
            } else {
                let key: Column = std::iter::once(Some(key)).collect();
                host.get(self.id, &[group], &key).get(0).map(<[u8]>::to_vec)
            };
            self.entries.insert(address.to_vec(), Cached { value, written: false });
        }
        self.entries.get(address)?.value.as_deref()
    }

    /// None deletes.
    pub(crate) fn put(&mut self, address: &[u8], value: Option<Vec<u8>>) {
        let cached = Cached { value, written: true };
        let before = match self.entries.entry(address.to_vec()) {
            Entry::Occupied(mut entry) => Some(entry.insert(cached)),
            Entry::Vacant(entry) => {
                entry.insert(cached);
                None
            }
        };
        self.undo.push(Undo::Entry(address.to_vec(), before));
    }

    pub(crate) fn clear(&mut self, group: u32) {
        let from = group.to_be_bytes().to_vec();
        let mut rest = self.entries.split_off(&from);
        if let Some(next) = group.checked_add(1) {
            let mut behind = rest.split_off(next.to_be_bytes().as_slice());
            self.entries.append(&mut behind);
        }
        self.undo.extend(rest.into_iter().map(|(address, before)| Undo::Entry(address, Some(before))));
        if self.cleared.insert(group) {
            self.undo.push(Undo::Cleared(group));
        }
    }

    /// At most `limit` entries of the group behind the key `after`, in order of the keys' bytes: pages of the host,
    /// merged with what the overlay knows better.
    pub(crate) fn scan(&self, host: &dyn MapHost, group: u32, after: Option<&[u8]>, limit: u32) -> Vec<Pair> {
        let mut found = Vec::new();
        let mut after = after.map(<[u8]>::to_vec);
        while found.len() < limit as usize {
            let page = if self.cleared.contains(&group) { Vec::new() } else { page(host, self.id, group, after.as_deref(), limit) };
            let last = if page.len() < limit as usize { None } else { page.last().map(|(key, _)| key.clone()) };
            found.extend(self.merge(group, after.as_deref(), last.as_deref(), page));
            if last.is_none() {
                break;
            }
            after = last;
        }
        found.truncate(limit as usize);
        found
    }

    /// `page` holds all that the host has in (after, last]; None for `last`: up to the end of the map.
    fn merge(&self, group: u32, after: Option<&[u8]>, last: Option<&[u8]>, page: Vec<Pair>) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut merged: BTreeMap<_, _> = page.into_iter().collect();
        let start = address(group, after.unwrap_or_default());
        let start = if after.is_some() { Bound::Excluded(start) } else { Bound::Included(start) };
        let end = match (last, group.checked_add(1)) {
            (Some(last), _) => Bound::Included(address(group, last)),
            (None, Some(next)) => Bound::Excluded(address(next, &[])),
            (None, None) => Bound::Unbounded,
        };
        for (address, cached) in self.entries.range((start, end)) {
            let key = split(address).1;
            match &cached.value {
                Some(value) => merged.insert(key.to_vec(), value.clone()),
                None => merged.remove(key),
            };
        }
        merged
    }

    #[inline]
    pub(crate) fn accept(&mut self) {
        self.undo.clear();
    }

    pub(crate) fn reject(&mut self) {
        while let Some(undo) = self.undo.pop() {
            match undo {
                Undo::Entry(address, Some(before)) => {
                    self.entries.insert(address, before);
                }
                Undo::Entry(address, None) => {
                    self.entries.remove(&address);
                }
                Undo::Cleared(group) => {
                    self.cleared.remove(&group);
                }
            }
        }
    }

    /// Hands over the batch's writes: one call for what was cleared, one for what was put.
    pub(crate) fn flush(&mut self, host: &dyn MapHost) {
        if !self.cleared.is_empty() {
            let groups: Vec<u32> = self.cleared.iter().copied().collect();
            host.clear(self.id, &groups);
        }
        let mut groups = Vec::new();
        let (mut keys, mut values) = (ColumnBuilder::default(), ColumnBuilder::default());
        for (address, cached) in self.entries.iter().filter(|(_, cached)| cached.written) {
            let (group, key) = split(address);
            groups.push(group);
            keys.push(Some(key));
            values.push(cached.value.as_deref());
        }
        if !groups.is_empty() {
            host.put(self.id, &groups, &keys.finish(), &values.finish());
        }
    }
}

fn page(host: &dyn MapHost, state: u32, group: u32, after: Option<&[u8]>, limit: u32) -> Vec<Pair> {
    let after: Column = std::iter::once(after).collect();
    let entries = host.scan(state, &[group], &after, limit);
    let pairs = entries.keys.iter().zip(&entries.values);
    pairs.filter_map(|(key, value)| Some((key?.to_vec(), value?.to_vec()))).collect()
}

pub(crate) fn address(group: u32, key: &[u8]) -> Address {
    let mut address = Vec::with_capacity(GROUP_BYTES + key.len());
    address.extend_from_slice(&group.to_be_bytes());
    address.extend_from_slice(key);
    address
}

fn split(address: &[u8]) -> (u32, &[u8]) {
    address.split_first_chunk::<GROUP_BYTES>().map_or((0, address), |(group, key)| (u32::from_be_bytes(*group), key))
}
