//! The value states of a batch: the host's columns, overlaid by what the function has put since.

use crate::bindings::{Column, StateChange};
use crate::codec::Postcard;
use crate::column::{ColumnBuilder, position};
use std::marker::PhantomData;

/// A value per key of type `T`, stored by the codec `C`.
pub struct ValueState<T, C = Postcard> {
    pub(crate) id: u32,
    pub(crate) types: PhantomData<fn() -> (T, C)>,
}

impl<T, C> Clone for ValueState<T, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T, C> Copy for ValueState<T, C> {}

impl<T, C> std::fmt::Debug for ValueState<T, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ValueState({})", self.id)
    }
}

/// What became of one state of one group.
#[derive(Clone, Copy, Debug)]
enum Slot {
    Unchanged,
    /// `arena[start..start + length]`, with room for `capacity` bytes.
    Put {
        start: usize,
        length: usize,
        capacity: usize,
    },
    Deleted,
}

/// A slot before the running record changed it. The bytes of a `Put` stand in `undo_bytes`, at its end.
#[derive(Debug)]
struct Undo {
    slot: usize,
    before: Slot,
}

/// Kept from batch to batch for its allocations.
#[derive(Debug, Default)]
pub(crate) struct Values {
    groups: usize,
    slots: Vec<Slot>,
    arena: Vec<u8>,
    encoded: Vec<u8>,
    undo: Vec<Undo>,
    undo_bytes: Vec<u8>,
}

impl Values {
    pub(crate) fn begin(&mut self, states: usize, groups: usize) {
        self.groups = groups;
        self.slots.clear();
        self.slots.resize(states * groups, Slot::Unchanged);
        self.arena.clear();
        self.accept();
    }

    #[inline]
    pub(crate) fn get<'a>(&'a self, stored: &'a [Column], state: u32, group: usize) -> Option<&'a [u8]> {
        match *self.slots.get(self.slot(state, group))? {
            Slot::Unchanged => stored.get(state as usize)?.get(group),
            Slot::Put { start, length, .. } => self.arena.get(start..start + length),
            Slot::Deleted => None,
        }
    }

    /// Puts what `encode` appends to the buffer it is given. On an error nothing is changed.
    #[inline]
    pub(crate) fn put<E>(&mut self, state: u32, group: usize, encode: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
        self.encoded.clear();
        encode(&mut self.encoded)?;
        let index = self.slot(state, group);
        let length = self.encoded.len();
        let Some(slot) = self.slots.get_mut(index) else { return Ok(()) };
        let before = *slot;
        match before {
            Slot::Put { start, length: old, capacity } if length <= capacity => {
                *slot = Slot::Put { start, length, capacity };
                if let Some(bytes) = self.arena.get_mut(start..start + length.max(old)) {
                    self.undo_bytes.extend_from_slice(bytes.get(..old).unwrap_or_default());
                    if let Some(bytes) = bytes.get_mut(..length) {
                        bytes.copy_from_slice(&self.encoded);
                    }
                }
            }
            _ => {
                // A value that has outgrown its place once will grow again: doubling bounds what is left behind.
                let grown = matches!(before, Slot::Put { .. });
                let capacity = if grown { length.next_power_of_two() } else { length };
                let start = self.arena.len();
                *slot = Slot::Put { start, length, capacity };
                self.arena.extend_from_slice(&self.encoded);
                self.arena.resize(start + capacity, 0);
                if let Slot::Put { start, length, .. } = before {
                    let bytes = self.arena.get(start..start + length).unwrap_or_default();
                    self.undo_bytes.extend_from_slice(bytes);
                }
            }
        }
        self.undo.push(Undo { slot: index, before });
        Ok(())
    }

    pub(crate) fn delete(&mut self, state: u32, group: usize) {
        let index = self.slot(state, group);
        let Some(slot) = self.slots.get_mut(index) else { return };
        let before = std::mem::replace(slot, Slot::Deleted);
        if let Slot::Put { start, length, .. } = before {
            self.undo_bytes.extend_from_slice(self.arena.get(start..start + length).unwrap_or_default());
        }
        self.undo.push(Undo { slot: index, before });
    }

    /// The running record is done: what it put stays.
    #[inline]
    pub(crate) fn accept(&mut self) {
        self.undo.clear();
        self.undo_bytes.clear();
    }

    /// The running record is rejected: back to what was before it.
    pub(crate) fn reject(&mut self) {
        while let Some(Undo { slot, before }) = self.undo.pop() {
            if let Slot::Put { start, length, .. } = before {
                let saved = self.undo_bytes.split_off(self.undo_bytes.len().saturating_sub(length));
                if let Some(bytes) = self.arena.get_mut(start..start + saved.len()) {
                    bytes.copy_from_slice(&saved);
                }
            }
            if let Some(slot) = self.slots.get_mut(slot) {
                *slot = before;
            }
        }
    }

    /// One change per group and state that was touched.
    pub(crate) fn changes(&self, stored: &[Column]) -> Vec<StateChange> {
        if self.groups == 0 {
            return Vec::new();
        }
        let per_state = self.slots.chunks(self.groups).zip(stored).zip(0..);
        per_state.filter_map(|((slots, stored), state)| self.change(slots, stored, state)).collect()
    }

    fn change(&self, slots: &[Slot], stored: &Column, state: u32) -> Option<StateChange> {
        let mut groups = Vec::with_capacity(slots.len());
        let mut values = ColumnBuilder::with_capacity(slots.len(), self.arena.len());
        for (group, slot) in slots.iter().enumerate() {
            match *slot {
                Slot::Put { start, length, .. } => values.push(self.arena.get(start..start + length)),
                Slot::Deleted if stored.get(group).is_some() => values.push(None),
                Slot::Deleted | Slot::Unchanged => continue,
            }
            groups.push(position(group));
        }
        (!groups.is_empty()).then(|| StateChange { state, groups, values: values.finish() })
    }

    #[inline]
    fn slot(&self, state: u32, group: usize) -> usize {
        state as usize * self.groups + group
    }
}
