//! The bytes of state entries, as they stand in checkpoints and in RocksDB. Frozen: changed only under a new format.
//!
//! ```text
//! key    [operator u16 BE][shard u16 BE][state u16 BE] then
//!          value state  [key]
//!          map state    [length of key u16 BE][key][map key]
//! value  [state version, LEB128][the guest's bytes]
//! ```
//! So a shard of an operator is one range, a map is one range within it, and byte order is the order of map keys.

use super::{Error, Result, StateId};
use compact_bytes::CompactBytes;

/// Bytes in front of every key.
pub const PREFIX_BYTES: usize = 6;
/// No operator has this number: keys that begin with it are this room's own.
pub const RESERVED_OPERATOR: u16 = u16::MAX;
/// Longest version in LEB128: five bytes hold 35 bits.
const VERSION_BYTES: usize = 5;

/// The fixed beginning of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Prefix {
    /// Number of the operator.
    pub operator: u16,
    /// Shard of the key.
    pub shard: u16,
    /// Number of the state in its operator.
    pub state: u16,
}

impl Prefix {
    /// Prefix of a state in a shard.
    #[must_use]
    pub fn new(id: StateId, shard: u16) -> Self {
        Self { operator: id.operator, shard, state: id.state }
    }

    /// The state.
    #[must_use]
    pub fn id(self) -> StateId {
        StateId { operator: self.operator, state: self.state }
    }

    /// As a number whose order is that of the bytes.
    pub(super) fn number(self) -> u64 {
        u64::from(self.operator) << 32 | u64::from(self.shard) << 16 | u64::from(self.state)
    }

    /// The six bytes.
    #[must_use]
    pub fn bytes(self) -> [u8; PREFIX_BYTES] {
        let ([a, b], [c, d], [e, f]) = (self.operator.to_be_bytes(), self.shard.to_be_bytes(), self.state.to_be_bytes());
        [a, b, c, d, e, f]
    }

    /// Prefix and rest of a whole key; `None` when it is too short.
    #[must_use]
    pub fn split(key: &[u8]) -> Option<(Self, &[u8])> {
        let ([a, b, c, d, e, f], rest) = key.split_first_chunk::<PREFIX_BYTES>()?;
        let (operator, shard, state) = (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]), u16::from_be_bytes([*e, *f]));
        Some((Self { operator, shard, state }, rest))
    }
}

/// Writes what all entries of the map at `key` have behind the prefix.
pub(super) fn push_map(out: &mut Vec<u8>, id: StateId, key: &[u8]) -> Result<()> {
    let length = u16::try_from(key.len()).map_err(|_| Error::KeyTooLong { id, bytes: key.len() })?;
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(key);
    Ok(())
}

/// Key and map key of an entry of a map state, from what stands behind the prefix; `None` when it is too short.
#[must_use]
pub fn split_map(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = rest.split_first_chunk::<2>()?;
    rest.split_at_checked(u16::from_be_bytes(*length).into())
}

/// The least key behind all keys that begin with `start`; `None` when there is none.
pub(super) fn end_of_range(start: &[u8]) -> Option<Vec<u8>> {
    let mut end = start.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return Some(end);
        }
    }
    None
}

/// A version in LEB128, and how many of the bytes it takes.
fn encode_version(mut version: u32) -> ([u8; VERSION_BYTES], usize) {
    let mut bytes = [0; VERSION_BYTES];
    let mut used = 0;
    for byte in &mut bytes {
        *byte = (version & 0x7f) as u8;
        version >>= 7;
        used += 1;
        if version == 0 {
            break;
        }
        *byte |= 0x80;
    }
    (bytes, used)
}

/// Replaces `stored` by a value of a state version; reuses its memory unless that is far too much.
pub(super) fn store_value(stored: &mut CompactBytes, version: u32, value: &[u8]) {
    let (bytes, used) = encode_version(version);
    let length = used + value.len();
    if stored.capacity() < length || (stored.spilled() && stored.capacity() / 4 > length) {
        *stored = CompactBytes::with_capacity(length);
    } else {
        stored.clear();
    }
    stored.extend_from_slice(bytes.get(..used).unwrap_or_default());
    stored.extend_from_slice(value);
}

/// State version and the guest's bytes of a stored value; `None` when the version is malformed.
#[inline]
#[must_use]
pub fn split_version(stored: &[u8]) -> Option<(u32, &[u8])> {
    let mut version = 0u64;
    for (i, byte) in stored.iter().enumerate().take(VERSION_BYTES) {
        version |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Some((u32::try_from(version).ok()?, stored.get(i + 1..)?));
        }
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const ID: StateId = StateId { operator: 0x0102, state: 0x0506 };

    #[test]
    fn the_bytes_of_keys_are_pinned() {
        let prefix = Prefix::new(ID, 0x0304);
        assert_eq!(prefix.bytes(), [1, 2, 3, 4, 5, 6]);
        assert_eq!(Prefix::split(b"\x01\x02\x03\x04\x05\x06key"), Some((prefix, &b"key"[..])));
        assert_eq!(Prefix::split(b"\x01\x02\x03\x04\x05"), None);
        let mut map = Vec::new();
        push_map(&mut map, ID, b"key").unwrap();
        assert_eq!(map, b"\x00\x03key");
        assert_eq!(split_map(b"\x00\x03keymap key"), Some((&b"key"[..], &b"map key"[..])));
        assert_eq!(split_map(b"\x00\x03ke"), None);
        assert!(matches!(push_map(&mut map, ID, &[0; 65_536]), Err(Error::KeyTooLong { bytes: 65_536, .. })));
    }

    #[test]
    fn the_bytes_of_values_are_pinned() {
        for (version, bytes) in [
            (0, &b"\x00v"[..]),
            (1, b"\x01v"),
            (127, b"\x7fv"),
            (128, b"\x80\x01v"),
            (300, b"\xac\x02v"),
            (u32::MAX, b"\xff\xff\xff\xff\x0fv"),
        ] {
            let mut stored = CompactBytes::new(&[9; 40]);
            store_value(&mut stored, version, b"v");
            assert_eq!(stored.as_slice(), bytes);
            assert_eq!(split_version(bytes), Some((version, &b"v"[..])));
        }
        assert_eq!(split_version(b""), None);
        assert_eq!(split_version(b"\x80\x80"), None);
        assert_eq!(split_version(b"\xff\xff\xff\xff\x1fv"), None);
    }

    #[test]
    fn the_end_of_a_range_lies_behind_its_longest_key() {
        assert_eq!(end_of_range(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(end_of_range(b"a\xff\xff"), Some(b"b".to_vec()));
        assert_eq!(end_of_range(b"\xff"), None);
    }
}
