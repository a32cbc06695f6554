//! Columns: n byte strings in the layout of Arrow's Binary arrays.

use crate::bindings::Column;

impl Column {
    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Entry `index`; None when it is null or there is no such entry.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        let (start, end) = (*self.offsets.get(index)?, *self.offsets.get(index + 1)?);
        if self.is_null(index) {
            return None;
        }
        self.data.get(start as usize..end as usize)
    }

    /// All entries in order; None for a null.
    #[must_use]
    pub fn iter(&self) -> Entries<'_> {
        let (start, ends) = self.offsets.split_first().map_or((0, [].as_slice()), |(first, ends)| (*first, ends));
        Entries { column: self, start: start as usize, ends: ends.iter(), index: 0 }
    }

    fn is_null(&self, index: usize) -> bool {
        !self.validity.is_empty() && self.validity.get(index >> 3).is_none_or(|bits| bits >> (index & 7) & 1 == 0)
    }
}

/// The entries of a column in order.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    column: &'a Column,
    start: usize,
    ends: std::slice::Iter<'a, u32>,
    index: usize,
}

impl<'a> Iterator for Entries<'a> {
    type Item = Option<&'a [u8]>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let end = *self.ends.next()? as usize;
        let start = std::mem::replace(&mut self.start, end);
        let index = self.index;
        self.index += 1;
        if self.column.is_null(index) {
            return Some(None);
        }
        Some(self.column.data.get(start..end))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.ends.size_hint()
    }
}

impl ExactSizeIterator for Entries<'_> {}

impl<'a> IntoIterator for &'a Column {
    type Item = Option<&'a [u8]>;
    type IntoIter = Entries<'a>;

    fn into_iter(self) -> Entries<'a> {
        self.iter()
    }
}

/// Builds a [`Column`] entry by entry.
#[derive(Clone, Debug)]
pub struct ColumnBuilder {
    offsets: Vec<u32>,
    data: Vec<u8>,
    /// Positions of nulls, rising: nulls are rare, and most columns never make a bitmap.
    nulls: Vec<u32>,
}

impl Default for ColumnBuilder {
    fn default() -> Self {
        Self::with_capacity(0, 0)
    }
}

impl ColumnBuilder {
    /// A builder with room for `entries` entries of together `bytes` bytes.
    #[must_use]
    pub fn with_capacity(entries: usize, bytes: usize) -> Self {
        let mut offsets = Vec::with_capacity(entries + 1);
        offsets.push(0);
        Self { offsets, data: Vec::with_capacity(bytes), nulls: Vec::new() }
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends an entry; None is a null.
    #[inline]
    pub fn push(&mut self, entry: Option<&[u8]>) {
        match entry {
            Some(bytes) => self.data.extend_from_slice(bytes),
            None => self.nulls.push(position(self.len())),
        }
        self.close();
    }

    /// Appends an entry that `write` appends to the buffer it is given; it must not remove what stands there.
    #[inline]
    pub fn push_with<R>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        let result = write(&mut self.data);
        self.close();
        result
    }

    /// Keeps the first `entries` entries.
    pub fn truncate(&mut self, entries: usize) {
        let Some(end) = self.offsets.get(entries) else { return };
        self.data.truncate(*end as usize);
        self.offsets.truncate(entries + 1);
        while self.nulls.last().is_some_and(|null| *null as usize >= entries) {
            self.nulls.pop();
        }
    }

    /// The column.
    #[must_use]
    pub fn finish(self) -> Column {
        let mut validity = Vec::new();
        if !self.nulls.is_empty() {
            let entries = self.len();
            validity.resize(entries.div_ceil(8), 0xff);
            if let (Some(last), true) = (validity.last_mut(), !entries.is_multiple_of(8)) {
                *last = (1 << (entries % 8)) - 1;
            }
            for null in self.nulls {
                if let Some(bits) = validity.get_mut(null as usize >> 3) {
                    *bits &= !(1 << (null & 7));
                }
            }
        }
        Column { offsets: self.offsets, data: self.data, validity }
    }

    #[inline]
    fn close(&mut self) {
        self.offsets.push(position(self.data.len()));
    }
}

impl<'a> FromIterator<Option<&'a [u8]>> for Column {
    fn from_iter<I: IntoIterator<Item = Option<&'a [u8]>>>(entries: I) -> Self {
        let mut column = ColumnBuilder::default();
        for entry in entries {
            column.push(entry);
        }
        column.finish()
    }
}

/// A length as the u32 that the contract uses: on wasm32 always exact; elsewhere what is too long ends up as a column
/// that breaks the rules, never as one with other content.
#[inline]
pub(crate) fn position(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
