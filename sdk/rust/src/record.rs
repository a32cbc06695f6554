//! What a record gives besides its key, value and time.

use crate::bindings::Headers;
use crate::error::{Error, Result};
use crate::host::Call;
use serde::Deserialize;

/// Where a record was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin<'a> {
    /// The topic, or the name of another kind of source.
    pub topic: &'a str,
    /// The partition of the topic.
    pub partition: u32,
    /// The position in the partition.
    pub offset: i64,
}

/// The record's place in the running call: looks up what is rarely wanted.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) call: &'a Call<'a>,
    pub(crate) row: usize,
}

impl<'a> Place<'a> {
    pub(crate) fn headers(self) -> impl Iterator<Item = (&'a str, Option<&'a [u8]>)> {
        let headers = self.call.headers();
        let entries = headers.map_or(0..0, |headers| range(headers, self.row));
        entries.filter_map(move |entry| header(headers?, entry))
    }

    pub(crate) fn origin(self) -> Option<Origin<'a>> {
        let origins = self.call.origins();
        let topic = *origins.topics.get(self.row)? as usize;
        Some(Origin {
            topic: origins.names.get(topic)?,
            partition: *origins.partitions.get(self.row)?,
            offset: *origins.offsets.get(self.row)?,
        })
    }
}

impl std::fmt::Debug for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "row {}", self.row)
    }
}

pub(crate) fn range(headers: &Headers, row: usize) -> std::ops::Range<usize> {
    match (headers.offsets.get(row), headers.offsets.get(row + 1)) {
        (Some(start), Some(end)) => *start as usize..*end as usize,
        _ => 0..0,
    }
}

pub(crate) fn header(headers: &Headers, entry: usize) -> Option<(&str, Option<&[u8]>)> {
    let name = std::str::from_utf8(headers.names.get(entry)?).ok()?;
    Some((name, headers.values.get(entry)))
}

pub(crate) fn text(value: Option<&[u8]>) -> Result<&str> {
    Ok(std::str::from_utf8(present(value)?)?)
}

pub(crate) fn json<'a, T: Deserialize<'a>>(value: Option<&'a [u8]>) -> Result<T> {
    Ok(serde_json::from_slice(present(value)?)?)
}

fn present(value: Option<&[u8]>) -> Result<&[u8]> {
    value.ok_or_else(|| Error::reject("the record has no value"))
}

/// The methods that both kinds of record have.
macro_rules! record_methods {
    () => {
        /// The value as text.
        ///
        /// # Errors
        /// A reject when the value is null or not UTF-8.
        pub fn text(&self) -> $crate::Result<&'a str> {
            $crate::record::text(self.value)
        }

        /// The value parsed as JSON; strings without escapes may be borrowed.
        ///
        /// # Errors
        /// A reject when the value is null or does not have the shape of `T`.
        pub fn json<T: serde::Deserialize<'a>>(&self) -> $crate::Result<T> {
            $crate::record::json(self.value)
        }

        /// The headers in order, names possibly repeated. The first use in a batch asks the host for all of them.
        pub fn headers(&self) -> impl Iterator<Item = (&'a str, Option<&'a [u8]>)> {
            self.place.headers()
        }

        /// Where the record, or the one it was made from, was read. The first use in a batch asks the host.
        #[must_use]
        pub fn origin(&self) -> Option<$crate::Origin<'a>> {
            self.place.origin()
        }

        /// The position in the running batch.
        #[must_use]
        pub fn position(&self) -> usize {
            self.place.row
        }
    };
}
pub(crate) use record_methods;
