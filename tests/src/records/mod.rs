//! Records as tests see them.

mod compare;
mod generate;
mod ndjson;

pub use compare::assert_equal_by_key;
pub use generate::{Random, commands, lines, log_lines, mixed, numbers, orders, payments};
pub use ndjson::{read, write};

use std::fmt;

const SOME_TIME: i64 = 1_700_000_000_000;

/// A header: its name and its value, which may be null.
pub type Header = (String, Option<Vec<u8>>);

/// A record without its place.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Record {
    /// The key, or null.
    pub key: Option<Vec<u8>>,
    /// The value; null is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Event time in milliseconds since 1970.
    pub timestamp: i64,
    /// Headers in order.
    pub headers: Vec<Header>,
}

impl Record {
    /// A record with key and value, at some time: librdkafka takes 0 for "now".
    pub fn keyed(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        Self { key: Some(key.into()), value: Some(value.into()), timestamp: SOME_TIME, headers: vec![] }
    }

    /// Only the key and the value, where time and headers depend on how inputs interleave.
    pub fn bare(self) -> Self {
        Self { timestamp: 0, headers: vec![], ..self }
    }

    /// The value as text; a null is empty.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.value.as_deref().unwrap_or_default()).into_owned()
    }

    /// The value of a header as text, when the record has it once.
    pub fn header(&self, name: &str) -> Option<String> {
        let mut found = self.headers.iter().filter(|(header, _)| header == name);
        match (found.next(), found.next()) {
            (Some((_, Some(value))), None) => Some(String::from_utf8_lossy(value).into_owned()),
            _ => None,
        }
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {} @{}", shown(self.key.as_deref()), shown(self.value.as_deref()), self.timestamp)?;
        for (name, value) in &self.headers {
            write!(f, " {name}:{}", shown(value.as_deref()))?;
        }
        Ok(())
    }
}

/// Bytes as text, cut to what a failure's output can bear.
fn shown(bytes: Option<&[u8]>) -> String {
    const LONGEST: usize = 80;
    match bytes {
        None => "null".to_owned(),
        Some(bytes) if bytes.len() <= LONGEST => format!("\"{}\"", bytes.escape_ascii()),
        Some(bytes) => format!("\"{}…\" ({} bytes)", bytes[..LONGEST].escape_ascii(), bytes.len()),
    }
}
