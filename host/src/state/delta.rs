//! What changed in one epoch, on its way to a checkpoint object.

#![expect(clippy::indexing_slicing, reason = "rows point into the arena that was written with them")]

use super::layout::PREFIX_BYTES;
use super::slab::Entry;
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// Length of an absent value.
const TOMBSTONE: u32 = u32::MAX;

/// The operator and the state in a prefix's number, without the shard.
const STATE: u64 = 0xffff_0000_ffff;

/// One entry: its bytes are `[key][value]` at `start` of the arena. `prefix` and `head` decide nearly every comparison
/// without touching the arena.
#[derive(Debug)]
struct Row {
    prefix: u64,
    /// Of the key behind what all keys of its state begin with, eight bytes, padded with zeros; 0 until it is sorted.
    head: u64,
    start: usize,
    key: u32,
    value: u32,
}

/// A worker's changes of one epoch, in the order of the hot layer: cheap to take, sorted on another thread.
#[derive(Debug)]
pub struct FrozenDelta {
    epoch: u64,
    arena: Vec<u8>,
    rows: Vec<Row>,
}

impl FrozenDelta {
    pub(super) fn with_capacity(epoch: u64, rows: usize, bytes: usize) -> Self {
        Self { epoch, arena: Vec::with_capacity(bytes), rows: Vec::with_capacity(rows) }
    }

    pub(super) fn push(&mut self, entry: &Entry) {
        let key = entry.key.as_slice();
        let start = self.arena.len();
        self.arena.extend_from_slice(&entry.prefix.bytes());
        self.arena.extend_from_slice(key);
        let value = entry.stored().map_or(TOMBSTONE, |stored| {
            self.arena.extend_from_slice(stored);
            stored.len() as u32
        });
        let key = (PREFIX_BYTES + key.len()) as u32;
        self.rows.push(Row { prefix: entry.prefix.number(), head: 0, start, key, value });
    }

    /// The epoch.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// True when nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Bytes of keys and values.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.arena.len()
    }

    /// Sorts the entries by key.
    #[must_use]
    pub fn into_sorted(mut self) -> SortedDelta {
        let arena = &self.arena;
        let key = |row: &Row| &arena[row.start + PREFIX_BYTES..row.start + row.key as usize];
        let common = common_beginnings(&self.rows, key);
        for row in &mut self.rows {
            let skip = common.iter().find(|(state, ..)| *state == row.prefix & STATE).map_or(0, |(_, _, length)| *length);
            row.head = head(&key(row)[skip..]);
        }
        self.rows.sort_unstable_by(|a, b| match (a.prefix, a.head).cmp(&(b.prefix, b.head)) {
            Ordering::Equal => key(a).cmp(key(b)),
            decided => decided,
        });
        SortedDelta { epoch: self.epoch, arena: self.arena, rows: self.rows }
    }
}

fn head(key: &[u8]) -> u64 {
    let mut head = [0; 8];
    let known = key.len().min(8);
    head[..known].copy_from_slice(&key[..known]);
    u64::from_be_bytes(head)
}

/// Per state one of its keys, and how many bytes all of its keys begin with: keys like `customer-0000012345` differ only
/// behind them.
fn common_beginnings<'a>(rows: &[Row], key: impl Fn(&Row) -> &'a [u8]) -> Vec<(u64, &'a [u8], usize)> {
    let mut common: Vec<(u64, &[u8], usize)> = Vec::new();
    for row in rows {
        let (state, this) = (row.prefix & STATE, key(row));
        match common.iter_mut().find(|(known, ..)| *known == state) {
            None => common.push((state, this, this.len())),
            Some((_, first, length)) if !this.starts_with(&first[..*length]) => {
                *length = first.iter().zip(this).take_while(|(a, b)| a == b).count();
            }
            Some(_) => {}
        }
    }
    common
}

/// A worker's changes of one epoch in key order, each key once.
#[derive(Debug)]
pub struct SortedDelta {
    epoch: u64,
    arena: Vec<u8>,
    rows: Vec<Row>,
}

impl SortedDelta {
    /// The epoch.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// True when nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Bytes of keys and values.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.arena.len()
    }

    /// Whole keys with stored values (`None` = deleted), in key order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> + '_ {
        (0..self.rows.len()).map(|i| self.row(i))
    }

    fn row(&self, i: usize) -> (&[u8], Option<&[u8]>) {
        let row = &self.rows[i];
        let value = row.start + row.key as usize;
        (&self.arena[row.start..value], (row.value != TOMBSTONE).then(|| &self.arena[value..value + row.value as usize]))
    }
}

/// The changes of one epoch of all workers of a process.
#[derive(Debug)]
pub struct MergedDelta {
    parts: Vec<SortedDelta>,
}

/// Makes one sorted sequence of the deltas of several workers. Their keys are distinct, since a shard has one owner.
#[must_use]
pub fn merge_sorted(parts: Vec<SortedDelta>) -> MergedDelta {
    MergedDelta { parts }
}

impl MergedDelta {
    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.parts.iter().map(SortedDelta::len).sum()
    }

    /// True when nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of keys and values.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(SortedDelta::bytes).sum()
    }

    /// Whole keys with stored values (`None` = deleted), in key order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> + '_ {
        let head = |part: usize, i: usize| (i < self.parts[part].len()).then(|| Reverse((self.parts[part].row(i).0, part, i)));
        let mut heads: BinaryHeap<_> = (0..self.parts.len()).filter_map(|part| head(part, 0)).collect();
        std::iter::from_fn(move || {
            let Reverse((_, part, i)) = heads.pop()?;
            heads.extend(head(part, i + 1));
            Some(self.parts[part].row(i))
        })
    }
}
