//! Records as a test writes and reads them.

use crate::bindings::{Column, Output};
use crate::record::{header, range};

/// One record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value; None is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Event time in milliseconds since the Unix epoch.
    pub timestamp: i64,
    /// The headers in order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Row {
    /// A record with a value and no key, at time 0.
    pub fn value(value: impl AsRef<[u8]>) -> Self {
        Self { value: Some(value.as_ref().to_vec()), ..Self::default() }
    }

    /// A record with a key and a value, at time 0.
    pub fn keyed(key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        Self { key: Some(key.as_ref().to_vec()), ..Self::value(value) }
    }

    /// A record with a key and no value, at time 0.
    pub fn tombstone(key: impl AsRef<[u8]>) -> Self {
        Self { key: Some(key.as_ref().to_vec()), ..Self::default() }
    }

    /// The same record at another event time.
    #[must_use]
    pub fn at(self, timestamp: i64) -> Self {
        Self { timestamp, ..self }
    }

    /// The same record with one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.to_owned(), Some(value.as_ref().to_vec())));
        self
    }

    /// The key as text; empty when it is null or not UTF-8.
    #[must_use]
    pub fn key_text(&self) -> &str {
        text(self.key.as_deref())
    }

    /// The value as text; empty when it is null or not UTF-8.
    #[must_use]
    pub fn value_text(&self) -> &str {
        text(self.value.as_deref())
    }
}

fn text(bytes: Option<&[u8]>) -> &str {
    std::str::from_utf8(bytes.unwrap_or_default()).unwrap_or_default()
}

/// One output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emitted {
    /// The record, with what it has from its parent filled in.
    pub row: Row,
    /// The name of the port; empty for port 0.
    pub port: String,
    /// The position of the row it was made from.
    pub parent: usize,
}

/// What a batch gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outputs {
    /// In order of emission.
    pub outputs: Vec<Emitted>,
    /// Positions of rejected rows, with the reasons.
    pub rejects: Vec<(usize, String)>,
}

impl Outputs {
    /// The values of all outputs as text.
    #[must_use]
    pub fn texts(&self) -> Vec<String> {
        self.outputs.iter().map(|output| output.row.value_text().to_owned()).collect()
    }

    pub(super) fn new(rows: &[Row], ports: &[String], output: Output) -> Self {
        let outputs = (0..).zip(&output.parents).map(|(at, parent)| {
            let parent = *parent as usize;
            let mut row = rows.get(parent).cloned().unwrap_or_default();
            set(&mut row.key, output.keys.as_ref(), at);
            set(&mut row.value, output.values.as_ref(), at);
            if let Some(timestamp) = output.timestamps.as_ref().and_then(|timestamps| timestamps.get(at)) {
                row.timestamp = *timestamp;
            }
            if let Some(headers) = &output.headers {
                let entries = range(headers, at).filter_map(|entry| header(headers, entry));
                row.headers = entries.map(|(name, value)| (name.to_owned(), value.map(<[u8]>::to_vec))).collect();
            }
            let port = output.ports.get(at).copied().unwrap_or_default() as usize;
            let port = port.checked_sub(1).and_then(|port| ports.get(port)).cloned().unwrap_or_default();
            Emitted { row, port, parent }
        });
        let outputs = outputs.collect();
        let rejects = output.rejects.into_iter().map(|reject| (reject.position as usize, reject.reason)).collect();
        Self { outputs, rejects }
    }

    /// Positions of keyed rows become those of all rows; the others are rejects.
    pub(super) fn place(&mut self, positions: &[usize], keyless: &[usize]) {
        let place = |at: &mut usize| *at = positions.get(*at).copied().unwrap_or(*at);
        self.outputs.iter_mut().for_each(|output| place(&mut output.parent));
        self.rejects.iter_mut().for_each(|(at, _)| place(at));
        self.rejects.extend(keyless.iter().map(|at| (*at, "the record has no key".to_owned())));
        self.rejects.sort();
    }
}

fn set(field: &mut Option<Vec<u8>>, column: Option<&Column>, at: usize) {
    if let Some(column) = column {
        *field = column.get(at).map(<[u8]>::to_vec);
    }
}
