//! The one object format, for an epoch's delta and for a merged base alike (rule 17).
//!
//! An object is a sorted run of entries `key → Some(value) | None`, `None` being a tombstone. Layout, version 1, all
//! numbers little-endian; the bytes are frozen and pinned by a golden test:
//!
//! ```text
//! block*    entries one after the other, about 64 KiB: shared, unshared, tag, key suffix, value
//!           shared, unshared: LEB128, bytes in common with the key before and bytes that follow; shared = 0 at a block's start
//!           tag: LEB128, 0 = tombstone, n + 1 = a value of n bytes
//! manifest  JSON, or nothing
//! index     per block: bytes u32, entries u32, crc32c u32, bytes of the first key u32, first key
//! trailer   bytes of blocks u64, of manifest u64, of index u64, blocks u32, entries u64, tombstones u64,
//!           crc32c of the manifest u32, crc32c of the index u32
//! tail      bytes of the trailer u32, version u32, checksum u32, magic "WEIRCKPT"
//! ```
//!
//! The checksum is the crc32c of the trailer and the first two fields of the tail. As the trailer holds the index's
//! checksum and the index the blocks', it stands for every byte of the object, and can be compared without reading them.
//! The tail keeps its shape in every version, so that an older build can tell a newer object from a damaged one.

mod reader;
#[cfg(test)]
mod tests;
mod writer;

pub use reader::{Input, Object, Scan};
pub use writer::{Writer, Written};

pub(crate) const MAGIC: [u8; 8] = *b"WEIRCKPT";
/// Newest version of the object format that this build reads, and the one it writes.
pub const VERSION: u32 = 1;
pub(crate) const TAIL_BYTES: usize = 20;
pub(crate) const TRAILER_BYTES: usize = 52;
/// A block is closed once it holds this many bytes.
pub(crate) const BLOCK_BYTES: usize = 64 * 1024;
/// Most bytes of key and value together, so that every length of a block fits its u32.
pub(crate) const MAX_ENTRY_BYTES: usize = 1 << 30;
