//! Writes one object, front to back, in one pass.

use std::io::Write;

use super::{BLOCK_BYTES, MAGIC, MAX_ENTRY_BYTES, TRAILER_BYTES, VERSION};
use crate::checkpoint::Error;

/// Takes entries in key order and writes an object to `sink`: a `Vec<u8>` for an epoch's delta (hand in a used one,
/// cleared, to save its allocation), an [`Upload`](crate::checkpoint::Upload) for a merged base.
///
/// Holds one block and the index in memory, whatever the size of the object.
#[derive(Debug)]
pub struct Writer<W> {
    object: String,
    sink: W,
    block_limit: usize,
    block: Vec<u8>,
    block_entries: u32,
    first_key: Vec<u8>,
    last_key: Vec<u8>,
    index: Vec<u8>,
    blocks: u32,
    block_bytes: u64,
    entries: u64,
    tombstones: u64,
}

/// What [`Writer::finish`] leaves behind.
#[derive(Debug)]
pub struct Written<W> {
    /// The sink, with every byte written to it.
    pub sink: W,
    /// Length of the object in bytes.
    pub bytes: u64,
    /// Stands for every byte of the object; see [`super`].
    pub checksum: u32,
    /// Entries, tombstones included.
    pub entries: u64,
    /// Tombstones among them.
    pub tombstones: u64,
}

impl<W: Write> Writer<W> {
    /// Starts an object. Its name serves the errors only.
    pub fn new(object: &str, sink: W) -> Self {
        Self::with_block_bytes(object, sink, BLOCK_BYTES)
    }

    pub(crate) fn with_block_bytes(object: &str, sink: W, block_limit: usize) -> Self {
        Self {
            object: object.to_owned(),
            sink,
            block_limit,
            block: Vec::with_capacity(block_limit + block_limit / 8),
            block_entries: 0,
            first_key: Vec::new(),
            last_key: Vec::new(),
            index: Vec::new(),
            blocks: 0,
            block_bytes: 0,
            entries: 0,
            tombstones: 0,
        }
    }

    /// Entries so far.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Appends one entry; `None` is a tombstone.
    ///
    /// # Errors
    /// [`Error::KeyOrder`] unless the key is greater than the one before, [`Error::EntryTooLarge`], [`Error::Io`] of the sink.
    pub fn append(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), Error> {
        let value_bytes = value.map_or(0, <[u8]>::len);
        let bytes = key.len().saturating_add(value_bytes);
        if bytes > MAX_ENTRY_BYTES {
            return Err(Error::EntryTooLarge { object: self.object.clone(), entry: self.entries, bytes });
        }
        let common = self.last_key.iter().zip(key).take_while(|(a, b)| a == b).count();
        if self.entries > 0 && key.get(common..) <= self.last_key.get(common..) {
            return Err(Error::KeyOrder { object: self.object.clone(), entry: self.entries });
        }
        let suffix = key.get(common..).unwrap_or_default();
        self.last_key.truncate(common);
        self.last_key.extend_from_slice(suffix);
        if self.block_entries == 0 {
            self.first_key.clear();
            self.first_key.extend_from_slice(key);
            self.put_entry(0, key, value);
        } else {
            self.put_entry(common, suffix, value);
        }
        self.block_entries += 1;
        self.entries += 1;
        self.tombstones += u64::from(value.is_none());
        if self.block.len() >= self.block_limit { self.close_block() } else { Ok(()) }
    }

    fn put_entry(&mut self, shared: usize, suffix: &[u8], value: Option<&[u8]>) {
        put_varint(&mut self.block, shared);
        put_varint(&mut self.block, suffix.len());
        put_varint(&mut self.block, value.map_or(0, |value| value.len() + 1));
        self.block.extend_from_slice(suffix);
        self.block.extend_from_slice(value.unwrap_or_default());
    }

    fn close_block(&mut self) -> Result<(), Error> {
        if self.block_entries == 0 {
            return Ok(());
        }
        // Both lengths fit: a block ends with the entry that crosses the limit, and an entry has 1 GiB at most.
        for field in [self.block.len() as u32, self.block_entries, crc32c::crc32c(&self.block), self.first_key.len() as u32] {
            self.index.extend_from_slice(&field.to_le_bytes());
        }
        self.index.extend_from_slice(&self.first_key);
        self.sink.write_all(&self.block).map_err(|e| Error::io("write", &self.object, e))?;
        self.blocks += 1;
        self.block_bytes += self.block.len() as u64;
        self.block.clear();
        self.block_entries = 0;
        Ok(())
    }

    /// Closes the object with its footer; `manifest` may be empty: none.
    ///
    /// # Errors
    /// [`Error::Io`] of the sink.
    pub fn finish(mut self, manifest: &[u8]) -> Result<Written<W>, Error> {
        self.close_block()?;
        let mut trailer = Vec::with_capacity(TRAILER_BYTES + super::TAIL_BYTES);
        for field in [self.block_bytes, manifest.len() as u64, self.index.len() as u64] {
            trailer.extend_from_slice(&field.to_le_bytes());
        }
        trailer.extend_from_slice(&self.blocks.to_le_bytes());
        trailer.extend_from_slice(&self.entries.to_le_bytes());
        trailer.extend_from_slice(&self.tombstones.to_le_bytes());
        trailer.extend_from_slice(&crc32c::crc32c(manifest).to_le_bytes());
        trailer.extend_from_slice(&crc32c::crc32c(&self.index).to_le_bytes());
        trailer.extend_from_slice(&(TRAILER_BYTES as u32).to_le_bytes());
        trailer.extend_from_slice(&VERSION.to_le_bytes());
        let checksum = crc32c::crc32c(&trailer);
        trailer.extend_from_slice(&checksum.to_le_bytes());
        trailer.extend_from_slice(&MAGIC);
        for part in [manifest, &self.index, &trailer] {
            self.sink.write_all(part).map_err(|e| Error::io("write", &self.object, e))?;
        }
        let bytes = self.block_bytes + (manifest.len() + self.index.len() + trailer.len()) as u64;
        Ok(Written { sink: self.sink, bytes, checksum, entries: self.entries, tombstones: self.tombstones })
    }
}

/// LEB128. Callers have bounded the number to 2³¹.
fn put_varint(out: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}
