//! Reads an object back, block by block, and trusts no byte before its checksum.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::{MAGIC, TAIL_BYTES, TRAILER_BYTES, VERSION};
use crate::checkpoint::Error;

/// Where an object's bytes are.
#[derive(Debug)]
pub enum Input {
    /// In memory, whole.
    Memory(Vec<u8>),
    /// In a file, read a block at a time.
    File {
        /// Open for reading.
        file: File,
        /// For errors.
        path: PathBuf,
    },
}

impl Input {
    fn len(&self) -> Result<u64, Error> {
        match self {
            Self::Memory(bytes) => Ok(bytes.len() as u64),
            Self::File { file, path } => Ok(file.metadata().map_err(|e| Error::io("read", path, e))?.len()),
        }
    }

    /// Fills `out` with `length` bytes from `at`; fewer bytes there are damage, not an I/O fault.
    fn read_at(&self, object: &str, at: u64, length: usize, out: &mut Vec<u8>) -> Result<(), Error> {
        out.clear();
        let missing = || Error::corrupt(object, "bytes are missing", at);
        match self {
            Self::Memory(bytes) => {
                let start = usize::try_from(at).map_err(|_| missing())?;
                let part = start.checked_add(length).and_then(|end| bytes.get(start..end)).ok_or_else(missing)?;
                out.extend_from_slice(part);
                Ok(())
            }
            Self::File { file, path } => {
                out.resize(length, 0);
                file.read_exact_at(out, at).map_err(|e| match e.kind() {
                    io::ErrorKind::UnexpectedEof => missing(),
                    _ => Error::io("read", path, e),
                })
            }
        }
    }
}

#[derive(Debug)]
struct Block {
    at: u64,
    bytes: u32,
    entries: u32,
    checksum: u32,
    first_key: Vec<u8>,
}

/// An object whose footer has been read and checked. Blocks are read and checked as a [`Scan`] comes to them.
#[derive(Debug)]
pub struct Object {
    name: String,
    input: Input,
    bytes: u64,
    checksum: u32,
    entries: u64,
    tombstones: u64,
    manifest: Vec<u8>,
    blocks: Vec<Block>,
}

impl Object {
    /// Reads the footer.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::NewerFormat`], [`Error::Io`].
    pub fn open(name: &str, input: Input) -> Result<Self, Error> {
        let bytes = input.len()?;
        let corrupt = |what: &str, at: u64| Error::corrupt(name, what, at);
        let mut part = Vec::new();

        let tail_at = bytes.checked_sub(TAIL_BYTES as u64).ok_or_else(|| corrupt("too short to be an object", 0))?;
        input.read_at(name, tail_at, TAIL_BYTES, &mut part)?;
        let mut tail = Fields { rest: &part };
        let (trailer_bytes, version, checksum) = (tail.u32(), tail.u32(), tail.u32());
        let (Some(trailer_bytes), Some(version), Some(checksum)) = (trailer_bytes, version, checksum) else {
            return Err(corrupt("tail is cut short", tail_at));
        };
        if tail.rest != MAGIC {
            return Err(corrupt("does not end as an object does: cut short, or something else", tail_at));
        }
        let trailer_at =
            tail_at.checked_sub(u64::from(trailer_bytes)).ok_or_else(|| corrupt("trailer is longer than the object", tail_at))?;
        input.read_at(name, trailer_at, trailer_bytes as usize + 8, &mut part)?;
        if crc32c::crc32c(&part) != checksum {
            return Err(corrupt("checksum of the trailer does not match", trailer_at));
        }
        if version > VERSION {
            return Err(Error::NewerFormat { object: name.to_owned(), found: version, known: VERSION });
        }
        if version != VERSION || trailer_bytes as usize != TRAILER_BYTES {
            return Err(corrupt("trailer has an unknown shape", trailer_at));
        }
        let footer = Trailer::parse(&part).ok_or_else(|| corrupt("trailer is cut short", trailer_at))?;
        let manifest_at = footer.block_bytes;
        let index_at = manifest_at.checked_add(footer.manifest_bytes);
        let end = index_at.and_then(|at| at.checked_add(footer.index_bytes));
        let Some(index_at) = index_at.filter(|_| end == Some(trailer_at)) else {
            return Err(corrupt("lengths of the parts do not add up", trailer_at));
        };

        // Lengths are bounded by the object's own from here on, so no damage makes this allocate without bound.
        input.read_at(name, index_at, footer.index_bytes as usize, &mut part)?;
        if crc32c::crc32c(&part) != footer.index_checksum {
            return Err(corrupt("checksum of the index does not match", index_at));
        }
        let blocks = parse_index(&part, &footer).ok_or_else(|| corrupt("index contradicts itself", index_at))?;
        let mut manifest = Vec::new();
        input.read_at(name, manifest_at, footer.manifest_bytes as usize, &mut manifest)?;
        if crc32c::crc32c(&manifest) != footer.manifest_checksum {
            return Err(corrupt("checksum of the manifest does not match", manifest_at));
        }
        let (entries, tombstones) = (footer.entries, footer.tombstones);
        Ok(Self { name: name.to_owned(), input, bytes, checksum, entries, tombstones, manifest, blocks })
    }

    /// Name in the store.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Length in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Stands for every byte of the object; see [`super`].
    pub fn checksum(&self) -> u32 {
        self.checksum
    }

    /// Entries, tombstones included.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Tombstones among the entries.
    pub fn tombstones(&self) -> u64 {
        self.tombstones
    }

    /// The manifest's JSON; empty in a merged object.
    pub fn manifest(&self) -> &[u8] {
        &self.manifest
    }

    /// Reads every block, and checks it.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Io`].
    pub fn verify(&self) -> Result<(), Error> {
        let mut scan = self.scan();
        while scan.advance()? {}
        Ok(())
    }

    /// All entries, in key order.
    pub fn scan(&self) -> Scan<'_> {
        Scan { object: self, next_block: 0, block: Vec::new(), block_at: 0, at: 0, left: 0, key: Vec::new(), value: None, started: false }
    }
}

/// A cursor over entries. Begins before the first: call [`Scan::advance`].
#[derive(Debug)]
pub struct Scan<'a> {
    object: &'a Object,
    next_block: usize,
    block: Vec<u8>,
    block_at: u64,
    at: usize,
    left: u32,
    key: Vec<u8>,
    value: Option<Range<usize>>,
    started: bool,
}

impl Scan<'_> {
    /// Goes to the next entry; false at the end.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Io`]. The cursor is of no use after one.
    pub fn advance(&mut self) -> Result<bool, Error> {
        if self.left == 0 {
            if self.at != self.block.len() {
                return Err(self.corrupt("block holds more than its entries"));
            }
            return self.load_block();
        }
        let Some((shared, unshared, value)) = self.entry_lengths() else {
            return Err(self.corrupt("entry is cut short"));
        };
        let key_end = self.at.saturating_add(unshared);
        let value_end = key_end.saturating_add(value.unwrap_or(0));
        let suffix = self.block.get(self.at..key_end).filter(|_| value_end <= self.block.len());
        let Some((suffix, before)) = suffix.zip(self.key.get(shared..)) else {
            return Err(self.corrupt("entry reaches beyond its block"));
        };
        if self.started && suffix <= before {
            return Err(self.corrupt("keys are out of order"));
        }
        self.key.truncate(shared);
        self.key.extend_from_slice(suffix);
        self.value = value.map(|_| key_end..value_end);
        self.at = value_end;
        self.left -= 1;
        self.started = true;
        Ok(true)
    }

    /// The key of the entry that the last `advance` went to.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// Its value; `None` is a tombstone.
    pub fn value(&self) -> Option<&[u8]> {
        self.value.clone().and_then(|range| self.block.get(range))
    }

    /// Reads shared, unshared and the value's length of the entry at hand, and goes to its key.
    fn entry_lengths(&mut self) -> Option<(usize, usize, Option<usize>)> {
        let mut rest = self.block.get(self.at..)?;
        let before = rest.len();
        let shared = varint(&mut rest)?;
        let unshared = varint(&mut rest)?;
        let tag = varint(&mut rest)?;
        self.at += before - rest.len();
        Some((shared, unshared, tag.checked_sub(1)))
    }

    fn load_block(&mut self) -> Result<bool, Error> {
        let object = self.object;
        let Some(block) = object.blocks.get(self.next_block) else { return Ok(false) };
        object.input.read_at(&object.name, block.at, block.bytes as usize, &mut self.block)?;
        (self.block_at, self.at, self.left) = (block.at, 0, block.entries);
        self.next_block += 1;
        if crc32c::crc32c(&self.block) != block.checksum {
            return Err(self.corrupt("checksum of the block does not match"));
        }
        self.advance()?;
        if self.key != block.first_key {
            return Err(self.corrupt("block does not begin with the key that the index names"));
        }
        Ok(true)
    }

    fn corrupt(&self, what: &str) -> Error {
        Error::corrupt(&self.object.name, what, self.block_at + self.at as u64)
    }
}

struct Trailer {
    block_bytes: u64,
    manifest_bytes: u64,
    index_bytes: u64,
    blocks: u32,
    entries: u64,
    tombstones: u64,
    manifest_checksum: u32,
    index_checksum: u32,
}

impl Trailer {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields { rest: bytes };
        Some(Self {
            block_bytes: fields.u64()?,
            manifest_bytes: fields.u64()?,
            index_bytes: fields.u64()?,
            blocks: fields.u32()?,
            entries: fields.u64()?,
            tombstones: fields.u64()?,
            manifest_checksum: fields.u32()?,
            index_checksum: fields.u32()?,
        })
    }
}

/// `None` unless the index agrees with the trailer and with itself, and no block is empty.
fn parse_index(bytes: &[u8], trailer: &Trailer) -> Option<Vec<Block>> {
    let mut fields = Fields { rest: bytes };
    let mut blocks: Vec<Block> = Vec::new();
    let (mut at, mut entries) = (0u64, 0u64);
    while !fields.rest.is_empty() {
        let (length, count, checksum, key_length) = (fields.u32()?, fields.u32()?, fields.u32()?, fields.u32()?);
        let first_key = fields.take(key_length as usize)?.to_owned();
        if count == 0 || blocks.last().is_some_and(|before| before.first_key >= first_key) {
            return None;
        }
        blocks.push(Block { at, bytes: length, entries: count, checksum, first_key });
        at += u64::from(length);
        entries += u64::from(count);
    }
    let agrees = at == trailer.block_bytes && entries == trailer.entries && blocks.len() as u64 == u64::from(trailer.blocks);
    (agrees && trailer.tombstones <= entries).then_some(blocks)
}

struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (part, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(part)
    }

    fn u32(&mut self) -> Option<u32> {
        let (part, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(u32::from_le_bytes(*part))
    }

    fn u64(&mut self) -> Option<u64> {
        let (part, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(u64::from_le_bytes(*part))
    }
}

/// LEB128 of at most 32 bits.
fn varint(rest: &mut &[u8]) -> Option<usize> {
    let mut number = 0u64;
    for shift in [0, 7, 14, 21, 28] {
        let (&byte, tail) = rest.split_first()?;
        *rest = tail;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return u32::try_from(number).ok().map(|number| number as usize);
        }
    }
    None
}
