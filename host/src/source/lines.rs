//! Bytes as they come -> lines, each with its number and its offset.

#![expect(clippy::indexing_slicing, reason = "start <= searched <= end <= buffer.len(): kept by every method of Lines")]

use std::io::{self, Read};

use memchr::memchr;
use weir_spec::Format;

use super::csv::{NextRow, RowError, Rows};
use super::{Error, Fetched, ndjson};
use crate::clock;
use crate::record::{Batch, Origin, RowRef};

/// Bytes of the longest line that is read: a file without line feeds must not fill the memory.
pub const MAX_LINE: usize = 64 << 20;

/// Bytes that one read asks for.
pub(super) const CHUNK: usize = 256 << 10;

/// A line without its end (`\n` or `\r\n`).
pub(super) struct Line<'a> {
    /// Counted from 1 where reading began.
    number: u64,
    /// Byte offset of its first byte.
    offset: u64,
    bytes: &'a [u8],
}

/// What a stream has next.
pub(super) enum Next<'a> {
    Line(Line<'a>),
    /// More bytes have to come first.
    Unknown,
    End,
}

/// Cuts a stream into lines. Unread bytes are `buffer[start..end]`; up to `searched` they hold no line feed.
pub(super) struct Lines {
    buffer: Vec<u8>,
    start: usize,
    searched: usize,
    end: usize,
    /// Of `buffer[start]` in the stream.
    offset: u64,
    /// Lines handed out.
    count: u64,
    finished: bool,
}

impl Lines {
    /// Of a stream whose first byte to come has this offset.
    pub(super) fn new(offset: u64) -> Self {
        Self { buffer: Vec::new(), start: 0, searched: 0, end: 0, offset, count: 0, finished: false }
    }

    /// Reads once, up to [`CHUNK`] bytes or the room there is; no bytes are the end of the stream.
    pub(super) fn read(&mut self, from: &mut impl Read) -> io::Result<()> {
        self.make_room(CHUNK);
        let read = loop {
            match from.read(&mut self.buffer[self.end..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.end += read;
        self.finished = read == 0;
        Ok(())
    }

    /// Takes in bytes that were read elsewhere.
    pub(super) fn feed(&mut self, chunk: &[u8]) {
        self.make_room(chunk.len());
        self.buffer[self.end..self.end + chunk.len()].copy_from_slice(chunk);
        self.end += chunk.len();
    }

    /// Says that no more bytes come: what is left is the last line.
    pub(super) fn finish(&mut self) {
        self.finished = true;
    }

    /// Offset of the first byte that was not handed out.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The bytes at hand that were not handed out.
    pub(super) fn unread(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Whether no more bytes come.
    pub(super) fn is_finished(&self) -> bool {
        self.finished
    }

    /// So many of the unread bytes are handed out.
    pub(super) fn consume(&mut self, bytes: usize) {
        self.start += bytes;
        self.searched = self.start;
        self.offset += bytes as u64;
    }

    /// The next line. The error is the offset of a line longer than [`MAX_LINE`].
    fn next_line(&mut self) -> Result<Next<'_>, u64> {
        let (line_end, next) = match memchr(b'\n', &self.buffer[self.searched..self.end]) {
            Some(at) => (self.searched + at, self.searched + at + 1),
            None if !self.finished => {
                self.searched = self.end;
                return if self.end - self.start > MAX_LINE { Err(self.offset) } else { Ok(Next::Unknown) };
            }
            None if self.start == self.end => return Ok(Next::End),
            None => (self.end, self.end),
        };
        let line = &self.buffer[self.start..line_end];
        if line.len() > MAX_LINE {
            return Err(self.offset);
        }
        self.count += 1;
        let offset = self.offset;
        self.offset += (next - self.start) as u64;
        (self.start, self.searched) = (next, next);
        Ok(Next::Line(Line { number: self.count, offset, bytes: line.strip_suffix(b"\r").unwrap_or(line) }))
    }

    /// Makes `buffer[end..]` hold at least `bytes`. What is moved to the front is less than a line whenever lines are
    /// used up before more is read.
    fn make_room(&mut self, bytes: usize) {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.searched -= self.start;
            self.start = 0;
        }
        let needed = self.end + bytes;
        if self.buffer.len() < needed {
            self.buffer.resize(needed.max(2 * self.buffer.len()), 0);
        }
    }
}

/// What came of asking for more bytes.
pub(super) enum Refill {
    /// There are some, or the lines were told that none will come.
    Done,
    /// None yet.
    NotYet,
}

/// How bytes become records.
enum Decoder {
    Lines,
    Ndjson,
    Csv(Box<Rows>),
}

/// Records from lines, or from rows of CSV.
pub(super) struct LineReader {
    lines: Lines,
    /// Offset from which it reads.
    begin: u64,
    decoder: Decoder,
    split: u32,
}

impl LineReader {
    /// Of a stream whose first byte to come has this offset. For CSV, `header` is what has read the stream's beginning, if
    /// that is not where it is read from.
    pub(super) fn new(offset: u64, format: &Format, split: u32, header: Option<&Rows>) -> Self {
        let decoder = match format {
            Format::Lines => Decoder::Lines,
            Format::Ndjson => Decoder::Ndjson,
            Format::Csv(csv) => Decoder::Csv(Box::new(header.map_or_else(|| Rows::new(csv), |header| Rows::behind_header(csv, header)))),
        };
        Self { lines: Lines::new(offset), begin: offset, decoder, split }
    }

    /// Byte offset of the next line: whoever reads on there gets what was not handed out, also where part of a row is at hand.
    pub(super) fn position(&self) -> i64 {
        let offset = match &self.decoder {
            Decoder::Csv(rows) if rows.wants_header() => self.begin,
            Decoder::Csv(rows) => self.lines.offset - rows.pending(),
            Decoder::Lines | Decoder::Ndjson => self.lines.offset,
        };
        offset as i64
    }

    /// What has read the header of CSV, once it is read. No more records come after that.
    pub(super) fn take_header(&mut self) -> Option<Rows> {
        match std::mem::replace(&mut self.decoder, Decoder::Lines) {
            Decoder::Csv(rows) if !rows.wants_header() => Some(*rows),
            Decoder::Csv(_) | Decoder::Lines | Decoder::Ndjson => None,
        }
    }

    /// Appends records until a limit is reached or `refill` has nothing more. `path` names the stream in errors.
    pub(super) fn fetch(
        &mut self,
        path: &str,
        limits: super::FetchLimits,
        into: &mut Batch,
        mut refill: impl FnMut(&mut Lines) -> Result<Refill, Error>,
    ) -> Result<Fetched, Error> {
        let (rows_before, bytes_before, now) = (into.len(), into.data_len(), clock::now_ms());
        loop {
            let fetched = into.len() - rows_before;
            if limits.reached(fetched, into.data_len() - bytes_before) {
                return Ok(Fetched::Records(fetched));
            }
            match self.next(path, now, into)? {
                Found::Record => {}
                Found::End => return Ok(if fetched > 0 { Fetched::Records(fetched) } else { Fetched::End }),
                Found::Unknown => match refill(&mut self.lines)? {
                    Refill::Done => {}
                    Refill::NotYet if fetched > 0 => return Ok(Fetched::Records(fetched)),
                    Refill::NotYet => return Ok(Fetched::Idle),
                },
            }
        }
    }

    fn next(&mut self, path: &str, now: i64, into: &mut Batch) -> Result<Found, Error> {
        let path = || path.to_owned();
        let is_ndjson = matches!(self.decoder, Decoder::Ndjson);
        if let Decoder::Csv(rows) = &mut self.decoder {
            return match rows.next_row(&mut self.lines, self.split, now, into) {
                Ok(NextRow::Record | NextRow::Header) => Ok(Found::Record),
                Ok(NextRow::Unknown) => Ok(Found::Unknown),
                Ok(NextRow::End) => Ok(Found::End),
                Err(RowError::TooLong { offset }) => Err(Error::LongLine { path: path(), offset }),
                Err(RowError::Malformed { line, offset, reason }) => Err(Error::Record { path: path(), line, offset, reason }),
            };
        }
        match self.lines.next_line().map_err(|offset| Error::LongLine { path: path(), offset })? {
            Next::Line(line) => match push(&line, is_ndjson, self.split, now, into) {
                Ok(()) => Ok(Found::Record),
                Err(reason) => Err(Error::Record { path: path(), line: line.number, offset: line.offset, reason }),
            },
            Next::End => Ok(Found::End),
            Next::Unknown => Ok(Found::Unknown),
        }
    }
}

/// What a stream had next.
enum Found {
    /// A record, or a header.
    Record,
    /// More bytes have to come first.
    Unknown,
    End,
}

/// Appends the record of a line; the error says why it is none.
#[inline]
fn push(line: &Line<'_>, is_ndjson: bool, split: u32, now: i64, into: &mut Batch) -> Result<(), String> {
    let origin = Origin { split, offset: line.offset as i64 };
    if !is_ndjson {
        into.push(RowRef { key: None, value: Some(line.bytes), timestamp: now, origin });
        return Ok(());
    }
    let envelope = ndjson::parse(line.bytes)?;
    let row =
        RowRef { key: envelope.key.as_deref(), value: envelope.value.as_deref(), timestamp: envelope.timestamp.unwrap_or(now), origin };
    if envelope.headers.is_empty() {
        into.push(row);
    } else {
        into.push_with_headers(row, envelope.headers.iter().map(|(name, value)| (name.as_bytes(), value.as_deref())));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(chunks: &[&[u8]]) -> Vec<(u64, u64, Vec<u8>)> {
        let mut lines = Lines::new(100);
        let mut chunks = chunks.iter();
        let mut found = Vec::new();
        loop {
            match lines.next_line().unwrap() {
                Next::Line(line) => found.push((line.number, line.offset, line.bytes.to_vec())),
                Next::End => return found,
                Next::Unknown => match chunks.next() {
                    Some(chunk) => lines.feed(chunk),
                    None => lines.finish(),
                },
            }
        }
    }

    #[test]
    fn lines_are_the_same_however_the_bytes_are_cut_into_chunks() {
        let text = b"one\r\n\ntwo\rx\n\r\nlast\r";
        let expected = [(1, 100, "one"), (2, 105, ""), (3, 106, "two\rx"), (4, 112, ""), (5, 114, "last")];
        let expected = expected.map(|(number, offset, line)| (number, offset, line.as_bytes().to_vec()));
        for size in 1..=text.len() {
            assert_eq!(cut(&text.chunks(size).collect::<Vec<_>>()), expected, "chunks of {size}");
        }
        assert_eq!(cut(&[]), []);
        assert_eq!(cut(&[b"x\n"]), [(1, 100, b"x".to_vec())]);
    }

    #[test]
    fn a_line_is_refused_with_its_offset_only_when_it_is_longer_than_the_limit() {
        let mut lines = Lines::new(0);
        lines.feed(b"short\n");
        lines.feed(&vec![b'x'; MAX_LINE]);
        assert!(matches!(lines.next_line(), Ok(Next::Line(_))));
        assert!(matches!(lines.next_line(), Ok(Next::Unknown)), "as long as the limit, so far");
        lines.feed(b"\n");
        assert!(matches!(lines.next_line(), Ok(Next::Line(line)) if line.bytes.len() == MAX_LINE));
        lines.feed(&vec![b'x'; MAX_LINE + 1]);
        assert_eq!(lines.next_line().err(), Some(6 + MAX_LINE as u64 + 1));
        lines.feed(b"\n");
        assert_eq!(lines.next_line().err(), Some(6 + MAX_LINE as u64 + 1), "nor is it taken when its end is there");
    }
}
