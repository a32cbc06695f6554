//! The output columns of a call. A column exists from the first record on that differs from its parent; until then it
//! is "the parent's" and costs nothing.

use crate::bindings::{Column, Headers, Output, Reject};
use crate::column::{ColumnBuilder, position};
use crate::host::Call;
use crate::record::{header, range};

/// The input of the call, from which outputs take what they do not set.
#[derive(Clone, Copy)]
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

/// Which columns an output set itself.
#[derive(Clone, Copy, Default)]
pub(crate) struct Set {
    pub(crate) port: u8,
    pub(crate) key: bool,
    pub(crate) value: bool,
    pub(crate) timestamp: bool,
    pub(crate) headers: bool,
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

    // Always inlined, as `close` is, which the compiler otherwise calls for every record.
    #[inline(always)]
    pub(crate) fn values(&mut self) -> &mut ColumnBuilder {
        if self.values.is_none() {
            self.values = Some(self.first_values());
        }
        self.values.get_or_insert_default()
    }

    /// The values of the outputs so far, which are their parents'. Apart, so that the common case is small.
    #[cold]
    fn first_values(&self) -> ColumnBuilder {
        let bytes = self.parents_of.values.data.len();
        let mut column = ColumnBuilder::with_capacity(self.parents_of.timestamps.len(), bytes + bytes / 4);
        self.parents.iter().for_each(|row| column.push(self.parents_of.value(*row)));
        column
    }

    pub(crate) fn keys(&mut self) -> &mut ColumnBuilder {
        self.wide = true;
        let (parents_of, parents) = (self.parents_of, &self.parents);
        self.keys.get_or_insert_with(|| {
            let mut column = ColumnBuilder::with_capacity(parents_of.timestamps.len(), parents_of.keys.data.len());
            parents.iter().for_each(|row| column.push(parents_of.key(*row)));
            column
        })
    }

    pub(crate) fn timestamps(&mut self) -> &mut Vec<i64> {
        self.wide = true;
        let (parents_of, parents) = (self.parents_of, &self.parents);
        self.timestamps.get_or_insert_with(|| parents.iter().map(|row| parents_of.timestamp(*row)).collect())
    }

    pub(crate) fn headers(&mut self) -> &mut HeadersBuilder {
        self.wide = true;
        let (parents_of, parents) = (self.parents_of, &self.parents);
        self.headers.get_or_insert_with(|| {
            let mut headers = HeadersBuilder::default();
            parents.iter().for_each(|row| headers.push_parent(&parents_of, *row));
            headers
        })
    }

    /// Ends an output made from `row`: columns that it did not set get the parent's entry, where they exist.
    #[inline(always)]
    pub(crate) fn close(&mut self, row: u32, set: Set) {
        if !set.value
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
        if !set.key
            && let Some(keys) = &mut self.keys
        {
            keys.push(self.parents_of.key(row));
        }
        if !set.timestamp
            && let Some(timestamps) = &mut self.timestamps
        {
            timestamps.push(self.parents_of.timestamp(row));
        }
        if let Some(headers) = &mut self.headers {
            if set.headers {
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
