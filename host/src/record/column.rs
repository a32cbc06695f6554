//! One variable-width column in Arrow's Binary layout.

#![expect(clippy::indexing_slicing, reason = "the layout is an invariant of Column: validated when built")]

use std::ops::Range;

/// n byte strings: entry `i` is `data[offsets[i]..offsets[i + 1]]`; `offsets` has n + 1 entries, begins with 0, never
/// falls and ends with the length of `data`. `validity` has bit `i % 8` of byte `i / 8` set where entry `i` is present;
/// empty means that no entry is null. A null has no bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    offsets: Vec<u32>,
    data: Vec<u8>,
    validity: Vec<u8>,
}

/// Why three buffers are no column. The index is that of the offending entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// There has to be one offset more than there are entries.
    #[error("{found} offsets where {expected} are needed (one more than entries)")]
    OffsetCount {
        /// Offsets found.
        found: usize,
        /// Entries + 1.
        expected: usize,
    },
    /// The first offset has to be 0.
    #[error("the first offset is {0}, not 0")]
    FirstOffset(u32),
    /// Offsets must not fall.
    #[error("the offsets fall at entry {index}: {from} to {to}")]
    Falling {
        /// Entry whose end lies before its start.
        index: usize,
        /// Its start.
        from: u32,
        /// Its end.
        to: u32,
    },
    /// The last offset has to be the length of the data.
    #[error("the last offset is {last}, but there are {data} bytes of data")]
    LastOffset {
        /// Last offset.
        last: u32,
        /// Bytes of data.
        data: usize,
    },
    /// A validity bitmap is empty or has one bit for each entry.
    #[error("the validity bitmap has {found} bytes, {expected} are needed")]
    ValidityLength {
        /// Bytes found.
        found: usize,
        /// ceil(entries / 8).
        expected: usize,
    },
    /// A null entry must not have bytes.
    #[error("entry {index} is null but has {bytes} bytes")]
    NullWithBytes {
        /// The null entry.
        index: usize,
        /// Its bytes.
        bytes: usize,
    },
}

impl Default for Column {
    fn default() -> Self {
        Self::new()
    }
}

impl Column {
    /// A column without entries.
    #[must_use]
    pub fn new() -> Self {
        Self { offsets: vec![0], data: Vec::new(), validity: Vec::new() }
    }

    /// A column without entries, with room for `rows` entries of `bytes` in all.
    #[must_use]
    pub fn with_capacity(rows: usize, bytes: usize) -> Self {
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        Self { offsets, data: Vec::with_capacity(bytes), validity: Vec::new() }
    }

    /// Takes over buffers from outside after checking that they are a column of `rows` entries.
    ///
    /// # Errors
    /// What is wrong, and at which entry.
    pub fn from_parts(offsets: Vec<u32>, data: Vec<u8>, validity: Vec<u8>, rows: usize) -> Result<Self, LayoutError> {
        if offsets.len() != rows + 1 {
            return Err(LayoutError::OffsetCount { found: offsets.len(), expected: rows + 1 });
        }
        if offsets[0] != 0 {
            return Err(LayoutError::FirstOffset(offsets[0]));
        }
        // A fold without an early exit compiles to vector code; the exact place is looked for only when it failed.
        let rising = offsets.windows(2).fold(true, |ok, w| ok & (w[0] <= w[1]));
        if !rising {
            let index = offsets.windows(2).position(|w| w[0] > w[1]).unwrap_or(0);
            return Err(LayoutError::Falling { index, from: offsets[index], to: offsets[index + 1] });
        }
        if offsets[rows] as usize != data.len() {
            return Err(LayoutError::LastOffset { last: offsets[rows], data: data.len() });
        }
        if !validity.is_empty() {
            if validity.len() != rows.div_ceil(8) {
                return Err(LayoutError::ValidityLength { found: validity.len(), expected: rows.div_ceil(8) });
            }
            for index in 0..rows {
                let bytes = (offsets[index + 1] - offsets[index]) as usize;
                if bytes > 0 && validity[index / 8] >> (index % 8) & 1 == 0 {
                    return Err(LayoutError::NullWithBytes { index, bytes });
                }
            }
        }
        Ok(Self { offsets, data, validity })
    }

    /// The buffers: offsets, data, validity.
    #[must_use]
    pub fn parts(&self) -> (&[u32], &[u8], &[u8]) {
        (&self.offsets, &self.data, &self.validity)
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// True without entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of all entries together.
    #[must_use]
    pub fn data_len(&self) -> usize {
        self.data.len()
    }

    /// Bytes that the buffers hold on to.
    #[must_use]
    pub fn capacity_bytes(&self) -> usize {
        self.offsets.capacity() * 4 + self.data.capacity() + self.validity.capacity()
    }

    /// Whether entry `i` is null.
    #[must_use]
    pub fn is_null(&self, i: usize) -> bool {
        !self.validity.is_empty() && self.validity[i / 8] >> (i % 8) & 1 == 0
    }

    /// Entry `i`; `None` is null.
    #[must_use]
    pub fn get(&self, i: usize) -> Option<&[u8]> {
        if self.is_null(i) { None } else { Some(self.bytes(i)) }
    }

    /// Bytes of entry `i`; a null has none.
    #[must_use]
    pub fn bytes(&self, i: usize) -> &[u8] {
        &self.data[self.offsets[i] as usize..self.offsets[i + 1] as usize]
    }

    /// Whether some entry is null.
    #[must_use]
    pub fn has_nulls(&self) -> bool {
        (0..self.len()).any(|i| self.is_null(i))
    }

    /// All entries in order.
    pub fn iter(&self) -> impl Iterator<Item = Option<&[u8]>> + '_ {
        (0..self.len()).map(|i| self.get(i))
    }

    /// Forgets the entries and keeps the buffers.
    pub fn clear(&mut self) {
        self.offsets.truncate(1);
        self.data.clear();
        self.validity.clear();
    }

    /// Appends an entry.
    #[inline]
    pub fn push(&mut self, entry: Option<&[u8]>) {
        match entry {
            Some(bytes) => self.push_bytes(bytes),
            None => self.push_null(),
        }
    }

    /// Appends a present entry.
    #[inline]
    pub fn push_bytes(&mut self, bytes: &[u8]) {
        let i = self.len();
        self.data.extend_from_slice(bytes);
        self.offsets.push(self.data.len() as u32);
        if !self.validity.is_empty() {
            self.mark(i, true);
        }
    }

    /// Appends a null.
    pub fn push_null(&mut self) {
        let i = self.len();
        self.need_validity();
        self.offsets.push(self.data.len() as u32);
        self.mark(i, false);
    }

    /// Appends entries `rows` of `from`.
    pub fn extend_range(&mut self, from: &Self, rows: Range<usize>) {
        let (start, end) = (from.offsets[rows.start], from.offsets[rows.end]);
        let first = self.len();
        let base = self.data.len() as u32;
        self.data.extend_from_slice(&from.data[start as usize..end as usize]);
        self.offsets.extend(from.offsets[rows.start + 1..=rows.end].iter().map(|o| o - start + base));
        if from.validity.is_empty() && self.validity.is_empty() {
            return;
        }
        // In place: the buffer keeps its room from batch to batch.
        self.validity.resize(first.div_ceil(8), 0xff);
        if first.is_multiple_of(8) && rows.start.is_multiple_of(8) && !from.validity.is_empty() {
            self.validity.extend_from_slice(&from.validity[rows.start / 8..rows.end.div_ceil(8)]);
            self.set_unused_bits();
        } else {
            self.validity.reserve(rows.len().div_ceil(8));
            for (at, i) in (first..).zip(rows) {
                self.mark(at, !from.is_null(i));
            }
        }
    }

    /// Appends the entries of `from` at `positions`, in their order.
    pub fn gather(&mut self, from: &Self, positions: &[u32]) {
        self.offsets.reserve(positions.len());
        if from.validity.is_empty() && self.validity.is_empty() {
            for &p in positions {
                self.data.extend_from_slice(from.bytes(p as usize));
                self.offsets.push(self.data.len() as u32);
            }
        } else {
            for &p in positions {
                self.push(from.get(p as usize));
            }
        }
    }

    fn need_validity(&mut self) {
        if self.validity.is_empty() {
            self.validity.resize(self.len().div_ceil(8), 0xff);
        }
    }

    /// Bits behind the last entry are 1, so that equal columns have equal bytes.
    fn set_unused_bits(&mut self) {
        let used = self.len() % 8;
        if let (1.., Some(last)) = (used, self.validity.last_mut()) {
            *last |= 0xff << used;
        }
    }

    /// Sets the bit of entry `i`, which is the last one or lies just behind it.
    fn mark(&mut self, i: usize, present: bool) {
        if i / 8 == self.validity.len() {
            self.validity.push(0xff);
        }
        let bit = 1 << (i % 8);
        if present {
            self.validity[i / 8] |= bit;
        } else {
            self.validity[i / 8] &= !bit;
        }
    }
}

impl<'a> FromIterator<Option<&'a [u8]>> for Column {
    fn from_iter<I: IntoIterator<Item = Option<&'a [u8]>>>(entries: I) -> Self {
        let mut column = Self::new();
        entries.into_iter().for_each(|e| column.push(e));
        column
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(column: &Column) -> Vec<Option<Vec<u8>>> {
        column.iter().map(|e| e.map(<[u8]>::to_vec)).collect()
    }

    fn sample(n: usize) -> Vec<Option<Vec<u8>>> {
        (0..n).map(|i| (i % 3 != 1).then(|| vec![i as u8; i % 5])).collect()
    }

    fn build(entries: &[Option<Vec<u8>>]) -> Column {
        entries.iter().map(|e| e.as_deref()).collect()
    }

    #[test]
    fn pushed_entries_read_back_with_nulls_and_empties_apart() {
        for n in [0, 1, 7, 8, 9, 64, 65] {
            assert_eq!(rows(&build(&sample(n))), sample(n));
        }
    }

    #[test]
    fn the_bytes_of_the_layout_are_pinned() {
        let column = build(&[Some(b"ab".to_vec()), None, Some(vec![]), Some("é".into())]);
        assert_eq!(column.parts(), (&[0u32, 2, 2, 2, 4][..], &b"ab\xc3\xa9"[..], &[0b1111_1101u8][..]));
    }

    #[test]
    fn extending_and_gathering_equal_pushing_row_by_row() {
        let from = build(&sample(40));
        for into in [Column::new(), build(&sample(5)), build(&[Some(vec![1])])] {
            let before = rows(&into);
            let mut extended = into.clone();
            extended.extend_range(&from, 3..29);
            assert_eq!(rows(&extended), [&before[..], &sample(40)[3..29]].concat());
            let mut aligned = into.clone();
            aligned.extend_range(&from, 8..21);
            let pushed: Column = before.iter().chain(&sample(40)[8..21]).map(Option::as_deref).collect();
            assert_eq!(aligned, pushed);
            let mut gathered = into;
            gathered.gather(&from, &[39, 0, 0, 17]);
            let picked: Vec<_> = [39, 0, 0, 17].map(|i: usize| sample(40)[i].clone()).into();
            assert_eq!(rows(&gathered), [before, picked].concat());
        }
    }

    #[test]
    fn malformed_buffers_are_refused_with_the_index() {
        let refuse = |o: &[u32], d: &[u8], v: &[u8], n| Column::from_parts(o.to_vec(), d.to_vec(), v.to_vec(), n).unwrap_err();
        assert_eq!(refuse(&[0, 1], b"a", &[], 2), LayoutError::OffsetCount { found: 2, expected: 3 });
        assert_eq!(refuse(&[], b"", &[], 0), LayoutError::OffsetCount { found: 0, expected: 1 });
        assert_eq!(refuse(&[1, 1], b"a", &[], 1), LayoutError::FirstOffset(1));
        assert_eq!(refuse(&[0, 2, 1], b"a", &[], 2), LayoutError::Falling { index: 1, from: 2, to: 1 });
        assert_eq!(refuse(&[0, 2], b"a", &[], 1), LayoutError::LastOffset { last: 2, data: 1 });
        assert_eq!(refuse(&[0, 1], b"a", &[1, 1], 1), LayoutError::ValidityLength { found: 2, expected: 1 });
        assert_eq!(refuse(&[0, 1], b"a", &[0], 1), LayoutError::NullWithBytes { index: 0, bytes: 1 });
    }
}
