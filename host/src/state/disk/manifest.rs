//! A look at the log of RocksDB's own manifest, before RocksDB reads it: there are damaged ones that it (11.8) reads for ever.

use std::path::Path;

/// Records do not cross the blocks of a log.
const BLOCK: usize = 32 * 1024;
/// Masked checksum, length and kind of a record. Fewer bytes at a block's end are padding.
const HEADER: usize = 7;
/// A whole record, or the first, a middle or the last part of one.
const KINDS: std::ops::RangeInclusive<u8> = 1..=4;

/// Whether a folder holds a database and each record of its manifest is whole.
pub(super) fn is_sound(folder: &Path) -> bool {
    let Ok(current) = std::fs::read_to_string(folder.join("CURRENT")) else { return false };
    let Ok(log) = std::fs::read(folder.join(current.trim_end())) else { return false };
    log.chunks(BLOCK).all(|block| records_are_whole(block).is_some())
}

fn records_are_whole(mut block: &[u8]) -> Option<()> {
    while block.len() >= HEADER {
        let (&[a, b, c, d, e, f, kind], _) = block.split_first_chunk::<HEADER>()?;
        let (masked, length) = (u32::from_le_bytes([a, b, c, d]), usize::from(u16::from_le_bytes([e, f])));
        let (record, rest) = block.split_at_checked(HEADER + length)?;
        let checksum = crc32c::crc32c(record.get(HEADER - 1..)?);
        // As RocksDB masks them: a log may hold checksums as data.
        if !KINDS.contains(&kind) || checksum.rotate_right(15).wrapping_add(0xa282_ead8) != masked {
            return None;
        }
        block = rest;
    }
    Some(())
}
