//! Entries of the hot layer, one cache line each, in chunks that never move: growth neither copies them nor doubles memory.

#![expect(clippy::indexing_slicing, reason = "slots come from insert() and are below the number of chunks times their size")]

use super::layout::Prefix;
use compact_bytes::CompactBytes;

const CHUNK_BITS: u32 = 10;
const CHUNK: usize = 1 << CHUNK_BITS;

/// Changed in the running epoch: listed in the store's dirty list.
pub(super) const DIRTY: u8 = 1;
/// Used since the clock's hand came by.
pub(super) const REFERENCED: u8 = 2;
/// Listed in the ordered index.
pub(super) const INDEXED: u8 = 4;
const VACANT: u8 = 8;

#[repr(align(64))]
#[derive(Debug)]
pub(super) struct Entry {
    /// What follows the prefix in the key.
    pub key: CompactBytes,
    /// Stored bytes; empty is absent, since a stored value begins with its version.
    pub value: CompactBytes,
    /// Epoch of the last change that was frozen; 0 for what came from the disk.
    pub changed: u64,
    pub prefix: Prefix,
    pub flags: u8,
}

impl Entry {
    #[inline]
    pub fn is(&self, prefix: Prefix, key: &[u8]) -> bool {
        self.prefix == prefix && self.key.as_slice() == key
    }

    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    pub fn occupied(&self) -> bool {
        !self.has(VACANT)
    }

    #[inline]
    pub fn stored(&self) -> Option<&[u8]> {
        (!self.value.is_empty()).then(|| self.value.as_slice())
    }

    /// Bytes outside the entry.
    #[inline]
    pub fn heap(&self) -> usize {
        heap(&self.key) + heap(&self.value)
    }

    /// Whole key.
    pub fn full_key(&self) -> Box<[u8]> {
        [&self.prefix.bytes()[..], self.key.as_slice()].concat().into_boxed_slice()
    }

    fn vacant() -> Self {
        let prefix = Prefix { operator: 0, shard: 0, state: 0 };
        Self { key: CompactBytes::empty(), value: CompactBytes::empty(), changed: 0, prefix, flags: VACANT }
    }
}

#[inline]
fn heap(bytes: &CompactBytes) -> usize {
    if bytes.spilled() { bytes.capacity() } else { 0 }
}

#[derive(Debug, Default)]
pub(super) struct Slab {
    chunks: Vec<Box<[Entry]>>,
    free: Vec<u32>,
}

impl Slab {
    /// Slots there are, vacant ones included.
    pub fn slots(&self) -> u32 {
        (self.chunks.len() << CHUNK_BITS) as u32
    }

    #[inline]
    pub fn get(&self, slot: u32) -> &Entry {
        &self.chunks[(slot >> CHUNK_BITS) as usize][slot as usize % CHUNK]
    }

    #[inline]
    pub fn get_mut(&mut self, slot: u32) -> &mut Entry {
        &mut self.chunks[(slot >> CHUNK_BITS) as usize][slot as usize % CHUNK]
    }

    pub fn insert(&mut self, entry: Entry) -> u32 {
        if self.free.is_empty() {
            let first = self.slots();
            self.chunks.push((0..CHUNK).map(|_| Entry::vacant()).collect());
            self.free.extend((first..first + CHUNK as u32).rev());
        }
        let slot = self.free.pop().unwrap_or_default();
        *self.get_mut(slot) = entry;
        slot
    }

    pub fn remove(&mut self, slot: u32) -> Entry {
        self.free.push(slot);
        std::mem::replace(self.get_mut(slot), Entry::vacant())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_one_cache_line() {
        assert_eq!((size_of::<Entry>(), align_of::<Entry>()), (64, 64));
    }
}
