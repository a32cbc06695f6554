//! The output columns of a call. A column exists from the first record on that differs from its parent; until then it
//! is "the parent's" and costs nothing.

use crate::bindings::{Column, Headers, Output, Reject};
use crate::column::{ColumnBuilder, position};
use crate::host::Call;
use crate::record::{header, range};

/// The input of the call, from which outputs take what they do not set.
pub(crate) struct Parents<'a> {
    pub(crate) timestamps: &'a [i64],
    pub(crate) keys: &'a Column,
    pub(crate) values: &'a Column,
    /// Which of `keys` belongs to a record; empty when there is one key per record.
    pub(crate) groups: &'a [u32],
    pub(crate) call: &'a Call<'a>,
}

impl<'a> Parents<'a> {
    fn key(&self, row: u32) -> Option<&'a [u8]> {
        self.keys.get(self.groups.get(row as usize).copied().unwrap_or(row) as usize)
    }

    fn value(&self, row: u32) -> Option<&'a [u8]> {
        self.values.get(row as usize)
    }

    fn timestamp(&self, row: u32) -> i64 {
        self.timestamps.get(row as usize).copied().unwrap_or_default()
    }

    // The columns of the outputs so far, when one first differs from its parent. Apart, so that what happens for every
    // record is small enough to be inlined.

    #[cold]
    fn first_values(&self, parents: &[u32]) -> ColumnBuilder {
        let bytes = self.values.data.len();
        let mut column = ColumnBuilder::with_capacity(self.timestamps.len(), bytes + bytes / 4);
        parents.iter().for_each(|row| column.push(self.value(*row)));
        column
    }

    #[cold]
    fn first_keys(&self, parents: &[u32]) -> ColumnBuilder {
        let mut column = ColumnBuilder::with_capacity(self.timestamps.len(), self.keys.data.len());
        parents.iter().for_each(|row| column.push(self.key(*row)));
        column
    }

    #[cold]
    fn first_headers(&self, parents: &[u32]) -> HeadersBuilder {
        let mut headers = HeadersBuilder::default();
        parents.iter().for_each(|row| headers.push_parent(self, *row));
        headers
    }
}

#[derive(Default)]
pub(crate) struct HeadersBuilder {
    /// Per finished record, the end of its entries.
    ends: Vec<u32>,
    names: ColumnBuilder,
    values: ColumnBuilder,
}

impl HeadersBuilder {
    pub(crate) fn entry(&mut self, name: &str, value: Option<&[u8]>) {
        self.names.push(Some(name.as_bytes()));
        self.values.push(value);
    }

    fn close(&mut self) {
        self.ends.push(position(self.names.len()));
    }

    fn push_parent(&mut self, parents: &Parents<'_>, row: u32) {
        if let Some(headers) = parents.call.headers() {
            for (name, value) in range(headers, row as usize).filter_map(|entry| header(headers, entry)) {
                self.entry(name, value);
            }
        }
        self.close();
    }

    fn truncate(&mut self, records: usize) {
        self.ends.truncate(records);
        let entries = self.ends.last().copied().unwrap_or_default() as usize;
        self.names.truncate(entries);
        self.values.truncate(entries);
    }

    fn finish(self) -> Headers {
        let offsets = std::iter::once(0).chain(self.ends).collect();
        Headers { offsets, names: self.names.finish(), values: self.values.finish() }
    }
}

/// What an output set itself: its port, and bits for the columns. Two bytes, which go into a call without memory.
#[derive(Clone, Copy, Default)]
pub(crate) struct Set {
    port: u8,
    columns: u8,
}

impl Set {
    pub(crate) const KEY: u8 = 1;
    pub(crate) const VALUE: u8 = 2;
    pub(crate) const TIMESTAMP: u8 = 4;
    pub(crate) const HEADERS: u8 = 8;

    pub(crate) fn new(port: u8, columns: u8) -> Self {
        Self { port, columns }
    }

    pub(crate) fn set_port(&mut self, port: u8) {
        self.port = port;
    }

    pub(crate) fn add(&mut self, column: u8) {
        self.columns |= column;
    }

    fn has(self, column: u8) -> bool {
        self.columns & column != 0
    }
}

pub(crate) struct Outputs<'a> {
    parents_of: Parents<'a>,
    parents: Vec<u32>,
    ports: Vec<u8>,
    keys: Option<ColumnBuilder>,
    values: Option<ColumnBuilder>,
    timestamps: Option<Vec<i64>>,
    headers: Option<HeadersBuilder>,
    /// Whether there is any column besides `parents` and `values`: if not, most outputs are done at once.
    wide: bool,
    rejects: Vec<Reject>,
}

impl<'a> Outputs<'a> {
    pub(crate) fn new(parents_of: Parents<'a>) -> Self {
        Self {
            parents: Vec::with_capacity(parents_of.timestamps.len()),
            parents_of,
            ports: Vec::new(),
            keys: None,
            values: None,
            timestamps: None,
            headers: None,
            wide: false,
            rejects: Vec::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.parents.len()
    }

    #[inline]
    pub(crate) fn values(&mut self) -> &mut ColumnBuilder {
        let Self { values, parents, parents_of, .. } = self;
        values.get_or_insert_with(|| parents_of.first_values(parents))
    }

    #[inline]
    pub(crate) fn keys(&mut self) -> &mut ColumnBuilder {
        self.wide = true;
        let Self { keys, parents, parents_of, .. } = self;
        keys.get_or_insert_with(|| parents_of.first_keys(parents))
    }

    #[inline]
    pub(crate) fn timestamps(&mut self) -> &mut Vec<i64> {
        self.wide = true;
        let Self { timestamps, parents, parents_of, .. } = self;
        timestamps.get_or_insert_with(|| parents.iter().map(|row| parents_of.timestamp(*row)).collect())
    }

    #[inline]
    pub(crate) fn headers(&mut self) -> &mut HeadersBuilder {
        self.wide = true;
        let Self { headers, parents, parents_of, .. } = self;
        headers.get_or_insert_with(|| parents_of.first_headers(parents))
    }

    /// Ends an output made from `row` that has its value and nothing else of its own.
    #[inline]
    pub(crate) fn close_value(&mut self, row: u32, port: u8) {
        if self.wide || port != 0 {
            self.close_wide(row, Set::new(port, Set::VALUE));
        }
        self.parents.push(row);
    }

    /// Ends an output made from `row` that is its parent on another port.
    #[inline]
    pub(crate) fn close_parent(&mut self, row: u32, port: u8) {
        if self.wide || port != 0 || self.values.is_some() {
            self.close(row, Set::new(port, 0));
        } else {
            self.parents.push(row);
        }
    }

    /// Ends an output made from `row`: columns that it did not set get the parent's entry, where they exist.
    pub(crate) fn close(&mut self, row: u32, set: Set) {
        if !set.has(Set::VALUE)
            && let Some(values) = &mut self.values
        {
            values.push(self.parents_of.value(row));
        }
        if self.wide || set.port != 0 {
            self.close_wide(row, set);
        }
        self.parents.push(row);
    }

    #[cold]
    fn close_wide(&mut self, row: u32, set: Set) {
        if set.port != 0 || !self.ports.is_empty() {
            self.wide = true;
            self.ports.resize(self.parents.len(), 0);
            self.ports.push(set.port);
        }
        if !set.has(Set::KEY)
            && let Some(keys) = &mut self.keys
        {
            keys.push(self.parents_of.key(row));
        }
        if !set.has(Set::TIMESTAMP)
            && let Some(timestamps) = &mut self.timestamps
        {
            timestamps.push(self.parents_of.timestamp(row));
        }
        if let Some(headers) = &mut self.headers {
            if set.has(Set::HEADERS) {
                headers.close();
            } else {
                headers.push_parent(&self.parents_of, row);
            }
        }
    }

    /// Takes back all outputs from number `outputs` on, and what an unfinished one has set.
    pub(crate) fn truncate(&mut self, outputs: usize) {
        self.parents.truncate(outputs);
        self.ports.truncate(outputs);
        if let Some(keys) = &mut self.keys {
            keys.truncate(outputs);
        }
        if let Some(values) = &mut self.values {
            values.truncate(outputs);
        }
        if let Some(timestamps) = &mut self.timestamps {
            timestamps.truncate(outputs);
        }
        if let Some(headers) = &mut self.headers {
            headers.truncate(outputs);
        }
    }

    pub(crate) fn reject(&mut self, row: u32, reason: String) {
        self.rejects.push(Reject { position: row, reason });
    }

    pub(crate) fn finish(self) -> Output {
        let ports = if self.ports.iter().all(|port| *port == 0) { Vec::new() } else { self.ports };
        Output {
            parents: self.parents,
            ports,
            keys: self.keys.map(ColumnBuilder::finish),
            values: self.values.map(ColumnBuilder::finish),
            timestamps: self.timestamps,
            headers: self.headers.map(HeadersBuilder::finish),
            rejects: self.rejects,
        }
    }
}
