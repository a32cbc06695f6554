//! A batch of records as columns, each record with its origin.

#![expect(clippy::indexing_slicing, reason = "all columns of a batch have its length: kept by every method here")]

use super::Column;
use std::ops::Range;

/// Where a record comes from: its split (a topic partition, file or generator; numbered by the job) and its offset there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Number of the split in the job's list of splits.
    pub split: u32,
    /// Kafka offset, byte position of the line, or number of the generated record.
    pub offset: i64,
}

/// Origins of a batch, as columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins {
    splits: Vec<u32>,
    offsets: Vec<i64>,
}

impl Origins {
    /// Origin of record `i`.
    #[must_use]
    pub fn get(&self, i: usize) -> Origin {
        Origin { split: self.splits[i], offset: self.offsets[i] }
    }
}

/// Why buffers are no headers. The index is that of the offending entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeadersError {
    /// The first offset has to be 0.
    #[error("offsets[0] is {0:?}, not 0")]
    First(Option<u32>),
    /// Offsets must not fall.
    #[error("offsets fall at entry {index}: {from} to {to}")]
    Falling {
        /// Record whose end lies before its start.
        index: usize,
        /// Its start.
        from: u32,
        /// Its end.
        to: u32,
    },
    /// The last offset has to be the number of names and of values.
    #[error("the last offset is {last}, but there are {names} names and {values} values")]
    Entries {
        /// Last offset.
        last: u32,
        /// Names.
        names: usize,
        /// Values.
        values: usize,
    },
    /// A name has to be UTF-8.
    #[error("names[{index}] is null or not UTF-8")]
    Name {
        /// Its entry.
        index: usize,
    },
}

/// Headers of a batch: record `i` has entries `offsets[i]..offsets[i + 1]` of names and values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headers {
    offsets: Vec<u32>,
    names: Column,
    values: Column,
}

impl Default for Headers {
    fn default() -> Self {
        Self { offsets: vec![0], names: Column::new(), values: Column::new() }
    }
}

impl Headers {
    /// Headers for `rows` records that have none.
    #[must_use]
    pub fn none(rows: usize) -> Self {
        Self { offsets: vec![0; rows + 1], ..Self::default() }
    }

    /// Takes over buffers from outside after checking that they are headers: as many names as values, and offsets into
    /// them.
    ///
    /// # Errors
    /// What is wrong, and at which entry.
    pub fn from_parts(offsets: Vec<u32>, names: Column, values: Column) -> Result<Self, HeadersError> {
        match offsets.first() {
            Some(0) => {}
            first => return Err(HeadersError::First(first.copied())),
        }
        if let Some(index) = offsets.windows(2).position(|w| w[0] > w[1]) {
            return Err(HeadersError::Falling { index, from: offsets[index], to: offsets[index + 1] });
        }
        let last = offsets[offsets.len() - 1];
        if last as usize != names.len() || names.len() != values.len() {
            return Err(HeadersError::Entries { last, names: names.len(), values: values.len() });
        }
        if let Some(index) = (0..names.len()).find(|i| names.get(*i).is_none_or(|name| std::str::from_utf8(name).is_err())) {
            return Err(HeadersError::Name { index });
        }
        Ok(Self { offsets, names, values })
    }

    /// The buffers: offsets, names, values.
    #[must_use]
    pub fn parts(&self) -> (&[u32], &Column, &Column) {
        (&self.offsets, &self.names, &self.values)
    }

    /// Number of records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Bytes of all names and values.
    #[must_use]
    pub fn data_len(&self) -> usize {
        self.names.data_len() + self.values.data_len()
    }

    fn capacity_bytes(&self) -> usize {
        self.offsets.capacity() * 4 + self.names.capacity_bytes() + self.values.capacity_bytes()
    }

    /// True without records.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Headers of record `i`: name (UTF-8) and value.
    pub fn row(&self, i: usize) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> + '_ {
        (self.offsets[i] as usize..self.offsets[i + 1] as usize).map(|h| (self.names.bytes(h), self.values.get(h)))
    }

    /// Adds a header to the record that [`Headers::end_row`] closes next.
    pub fn push(&mut self, name: &[u8], value: Option<&[u8]>) {
        self.names.push_bytes(name);
        self.values.push(value);
    }

    /// Closes a record.
    pub fn end_row(&mut self) {
        self.offsets.push(self.names.len() as u32);
    }

    fn push_row(&mut self, from: Option<&Self>, i: usize) {
        if let Some(from) = from {
            for (name, value) in from.row(i) {
                self.push(name, value);
            }
        }
        self.end_row();
    }

    /// Appends the rows at `positions` of `from`, which may have none.
    pub fn gather(&mut self, from: Option<&Self>, positions: impl Iterator<Item = usize>) {
        positions.for_each(|i| self.push_row(from, i));
    }
}

/// One record of a batch, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowRef<'a> {
    /// Key; `None` is a null key.
    pub key: Option<&'a [u8]>,
    /// Value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Event time in milliseconds since the Unix epoch.
    pub timestamp: i64,
    /// Where it comes from.
    pub origin: Origin,
}

/// Records as columns of one length.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Event times in milliseconds since the Unix epoch.
    pub(crate) timestamps: Vec<i64>,
    pub(crate) keys: Column,
    pub(crate) values: Column,
    pub(crate) headers: Option<Headers>,
    pub(crate) origins: Origins,
}

impl Batch {
    /// Number of records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.timestamps.len()
    }

    /// True without records.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.timestamps.is_empty()
    }

    /// Bytes of keys and values.
    #[must_use]
    pub fn data_len(&self) -> usize {
        self.keys.data_len() + self.values.data_len()
    }

    /// Bytes that the batch holds on to in memory.
    #[must_use]
    pub fn footprint(&self) -> usize {
        let headers = self.headers.as_ref().map_or(0, Headers::capacity_bytes);
        let columns = self.keys.capacity_bytes() + self.values.capacity_bytes() + headers;
        columns + self.timestamps.capacity() * 8 + self.origins.offsets.capacity() * 12
    }

    /// Record `i`.
    #[must_use]
    pub fn row(&self, i: usize) -> RowRef<'_> {
        RowRef { key: self.keys.get(i), value: self.values.get(i), timestamp: self.timestamps[i], origin: self.origins.get(i) }
    }

    /// Headers of record `i`.
    pub fn row_headers(&self, i: usize) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> + '_ {
        self.headers.iter().flat_map(move |h| h.row(i))
    }

    /// Event times.
    #[must_use]
    pub fn timestamps(&self) -> &[i64] {
        &self.timestamps
    }

    /// Keys.
    #[must_use]
    pub fn keys(&self) -> &Column {
        &self.keys
    }

    /// Values.
    #[must_use]
    pub fn values(&self) -> &Column {
        &self.values
    }

    /// Headers; `None` when no record has any.
    #[must_use]
    pub fn headers(&self) -> Option<&Headers> {
        self.headers.as_ref()
    }

    /// Origins.
    #[must_use]
    pub fn origins(&self) -> &Origins {
        &self.origins
    }

    /// Forgets the records and keeps the buffers.
    pub fn clear(&mut self) {
        self.timestamps.clear();
        self.keys.clear();
        self.values.clear();
        self.headers = None;
        self.origins.splits.clear();
        self.origins.offsets.clear();
    }

    /// Appends a record without headers.
    #[inline]
    pub fn push(&mut self, row: RowRef<'_>) {
        self.push_columns(row);
        if let Some(headers) = &mut self.headers {
            headers.end_row();
        }
    }

    /// Appends a record with headers.
    pub fn push_with_headers<'h>(&mut self, row: RowRef<'_>, headers: impl Iterator<Item = (&'h [u8], Option<&'h [u8]>)>) {
        let rows = self.len();
        let all = self.headers.get_or_insert_with(|| Headers::none(rows));
        headers.for_each(|(name, value)| all.push(name, value));
        all.end_row();
        self.push_columns(row);
    }

    fn push_columns(&mut self, row: RowRef<'_>) {
        self.timestamps.push(row.timestamp);
        self.keys.push(row.key);
        self.values.push(row.value);
        self.origins.splits.push(row.origin.split);
        self.origins.offsets.push(row.origin.offset);
    }

    /// Appends record `i` of `from`, headers included.
    #[inline]
    pub fn push_from(&mut self, from: &Self, i: usize) {
        if from.headers.is_some() || self.headers.is_some() {
            let rows = self.len();
            self.headers.get_or_insert_with(|| Headers::none(rows)).push_row(from.headers.as_ref(), i);
        }
        self.push_columns(from.row(i));
    }

    /// Appends records `rows` of `from`.
    pub fn extend_range(&mut self, from: &Self, rows: Range<usize>) {
        if from.headers.is_some() || self.headers.is_some() {
            let before = self.len();
            self.headers.get_or_insert_with(|| Headers::none(before)).gather(from.headers.as_ref(), rows.clone());
        }
        self.timestamps.extend_from_slice(&from.timestamps[rows.clone()]);
        self.keys.extend_range(&from.keys, rows.clone());
        self.values.extend_range(&from.values, rows.clone());
        self.origins.splits.extend_from_slice(&from.origins.splits[rows.clone()]);
        self.origins.offsets.extend_from_slice(&from.origins.offsets[rows]);
    }

    /// Appends the origins of the records of `from` at `positions`.
    pub fn gather_origins(&mut self, from: &Self, positions: &[u32]) {
        self.origins.splits.extend(positions.iter().map(|&p| from.origins.splits[p as usize]));
        self.origins.offsets.extend(positions.iter().map(|&p| from.origins.offsets[p as usize]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Batch {
        let mut batch = Batch::default();
        for i in 0..20i64 {
            let value = vec![i as u8; i as usize];
            let row = RowRef {
                key: (i % 4 != 0).then_some(&b"k"[..]),
                value: (i % 5 != 0).then_some(&value),
                timestamp: i,
                origin: Origin { split: 7, offset: 100 + i },
            };
            if i == 11 {
                batch.push_with_headers(row, [(&b"trace"[..], Some(&b"1"[..])), (b"none", None)].into_iter());
            } else {
                batch.push(row);
            }
        }
        batch
    }

    #[test]
    fn copying_rows_one_by_one_or_by_range_gives_the_same_batch_with_headers_and_origins() {
        let from = sample();
        let (mut one_by_one, mut by_range) = (Batch::default(), Batch::default());
        (0..20).for_each(|i| one_by_one.push_from(&from, i));
        by_range.extend_range(&from, 0..6);
        by_range.extend_range(&from, 6..20);
        assert_eq!(one_by_one, from);
        assert_eq!(by_range, from);
        assert_eq!(from.row_headers(11).collect::<Vec<_>>(), [(&b"trace"[..], Some(&b"1"[..])), (b"none", None)]);
        assert_eq!(from.row_headers(12).count(), 0);
        assert_eq!(from.row(19).origin, Origin { split: 7, offset: 119 });
    }
}
