//! Sizes and durations as a person writes them.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};

const SIZE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("B", 1),
];

/// In milliseconds, largest first.
const DURATION_UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Why a text is no quantity. Displays with the ways to write one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Not a whole number with one of the size units.
    #[error(
        "not a size: write a whole number with a unit (B, KiB, MiB, GiB, TiB, kB, MB, GB, TB), such as 64MiB, \
         or a plain number of bytes"
    )]
    Size,
    /// Not a whole number with one of the duration units.
    #[error("not a duration: write a whole number with a unit (ms, s, m, h), such as 500ms or 10s")]
    Duration,
    /// More than 64 bits hold.
    #[error("too large: the most is 2^64 - 1 of the smallest unit")]
    TooLarge,
}

/// A number of bytes: `64MiB`, `1GB`, or a plain integer. Displays in the largest unit that is exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

impl ByteSize {
    /// So many bytes.
    pub const fn bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// So many KiB (1,024 bytes); what exceeds 64 bits is cut to the largest size.
    pub const fn kib(count: u64) -> Self {
        Self(count.saturating_mul(1 << 10))
    }

    /// So many MiB (1,048,576 bytes); what exceeds 64 bits is cut to the largest size.
    pub const fn mib(count: u64) -> Self {
        Self(count.saturating_mul(1 << 20))
    }

    /// The size in bytes.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The size in bytes, cut to what this machine can address.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for ByteSize {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        scaled(text, &SIZE_UNITS, QuantityError::Size).map(Self)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_scaled(f, self.0, &SIZE_UNITS, "B")
    }
}

/// A span of time of whole milliseconds: `500ms`, `1s`, `2m`, `1h`. Displays in the largest unit that is exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(u64);

impl Duration {
    /// So many milliseconds.
    pub const fn millis(millis: u64) -> Self {
        Self(millis)
    }

    /// So many seconds; what exceeds 64 bits of milliseconds is cut to the longest duration.
    pub const fn secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1_000))
    }

    /// The duration in milliseconds.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// The duration as the standard library's.
    pub const fn as_std(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0)
    }
}

impl From<Duration> for std::time::Duration {
    fn from(duration: Duration) -> Self {
        duration.as_std()
    }
}

impl FromStr for Duration {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        scaled(text, &DURATION_UNITS, QuantityError::Duration).map(Self)
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_scaled(f, self.0, &DURATION_UNITS, "ms")
    }
}

fn scaled(text: &str, units: &[(&str, u64)], malformed: QuantityError) -> Result<u64, QuantityError> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start_matches(' ');
    let factor = units.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
    match (number, factor) {
        ("", _) | (_, None) => Err(malformed),
        (number, Some(factor)) => number.parse::<u64>().ok().and_then(|n| n.checked_mul(factor)).ok_or(QuantityError::TooLarge),
    }
}

fn write_scaled(f: &mut fmt::Formatter<'_>, value: u64, units: &[(&str, u64)], zero: &str) -> fmt::Result {
    let exact = units.iter().find(|(_, factor)| value != 0 && value.is_multiple_of(*factor));
    match exact {
        Some((unit, factor)) => write!(f, "{}{unit}", value / factor),
        None => write!(f, "{value}{zero}"),
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Size;
        impl Visitor<'_> for Size {
            type Value = ByteSize;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as 64MiB")
            }

            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<ByteSize, E> {
                Ok(ByteSize(bytes))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ByteSize, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Size)
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Span;
        impl Visitor<'_> for Span {
            type Value = Duration;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration with a unit, such as 500ms or 10s")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Span)
    }
}

impl JsonSchema for ByteSize {
    fn schema_name() -> Cow<'static, str> {
        "ByteSize".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A number of bytes: 64MiB, 1GB, or a plain integer.",
            "anyOf": [
                {"type": "string", "pattern": "^[0-9]+ *(B|KiB|MiB|GiB|TiB|kB|MB|GB|TB)$"},
                {"type": "integer", "minimum": 0},
            ],
        })
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A span of time: 500ms, 1s, 2m, 1h.",
            "type": "string",
            "pattern": "^[0-9]+ *(ms|s|m|h)$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_shown_in_the_largest_exact_unit_and_read_back() {
        for (text, bytes, shown) in [
            ("64MiB", 64 << 20, "64MiB"),
            ("1GB", 1_000_000_000, "1GB"),
            ("1024KiB", 1 << 20, "1MiB"),
            ("1 kB", 1_000, "1kB"),
            ("0B", 0, "0B"),
            ("1025B", 1025, "1025B"),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
            assert_eq!(ByteSize(bytes).to_string(), shown);
            assert_eq!(shown.parse(), Ok(ByteSize(bytes)), "{shown}");
        }
    }

    #[test]
    fn a_duration_is_shown_in_the_largest_exact_unit_and_read_back() {
        for (text, millis, shown) in [
            ("500ms", 500, "500ms"),
            ("1s", 1_000, "1s"),
            ("120s", 120_000, "2m"),
            ("90s", 90_000, "90s"),
            ("1h", 3_600_000, "1h"),
            ("0s", 0, "0ms"),
        ] {
            assert_eq!(text.parse(), Ok(Duration(millis)), "{text}");
            assert_eq!(Duration(millis).to_string(), shown);
            assert_eq!(shown.parse(), Ok(Duration(millis)), "{shown}");
        }
    }

    #[test]
    fn quantities_without_a_known_unit_are_refused() {
        for text in ["", "MiB", "64", "64mb", "64Mi", "1.5MiB", "-1B", "1MiB ", "٣B"] {
            assert_eq!(text.parse::<ByteSize>(), Err(QuantityError::Size), "{text}");
        }
        for text in ["", "s", "1", "1.5s", "1min", "-1s", "1m30s"] {
            assert_eq!(text.parse::<Duration>(), Err(QuantityError::Duration), "{text}");
        }
    }

    #[test]
    fn quantities_beyond_64_bits_are_refused_not_wrapped() {
        assert_eq!("16777216TiB".parse::<ByteSize>(), Err(QuantityError::TooLarge));
        assert_eq!("99999999999999999999B".parse::<ByteSize>(), Err(QuantityError::TooLarge));
        assert_eq!("18446744073709551615s".parse::<Duration>(), Err(QuantityError::TooLarge));
    }
}
