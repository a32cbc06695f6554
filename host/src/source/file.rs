//! A file, read once from a position to its end.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use weir_spec::{CsvFormat, Format};

use super::csv::{NextRow, RowError, Rows};
use super::lines::{CHUNK, LineReader, Lines, Refill};
use super::{Error, FetchLimits, Fetched};
use crate::record::Batch;

/// A file whose lines are records.
pub struct FileSource {
    file: File,
    path: String,
    /// Where this run began to read.
    start: u64,
    reader: LineReader,
}

impl FileSource {
    pub(super) fn open(path: &Path, format: &Format, split: u32, start: u64) -> Result<Self, Error> {
        let name = path.display().to_string();
        let failed = |source| Error::Open { path: name.clone(), source };
        // Asked before it is opened, because opening a named pipe waits for its writer.
        let metadata = fs::metadata(path).map_err(failed)?;
        if !metadata.is_file() {
            return Err(Error::NotAFile { path: name });
        }
        if metadata.len() < start {
            return Err(Error::Shorter { path: name, length: metadata.len(), position: start });
        }
        let mut file = File::open(path).map_err(failed)?;
        let header = match format {
            Format::Csv(csv) if start > 0 => read_header(&mut file, &name, csv)?,
            _ => None,
        };
        file.seek(SeekFrom::Start(start)).map_err(failed)?;
        Ok(Self { file, reader: LineReader::new(start, format, split, header.as_ref()), path: name, start })
    }

    pub(super) fn fetch(&mut self, limits: FetchLimits, into: &mut Batch) -> Result<Fetched, Error> {
        let (file, path) = (&mut self.file, &self.path);
        let fetched = self.reader.fetch(path, limits, into, |lines| match lines.read(file) {
            Ok(()) => Ok(Refill::Done),
            Err(source) => Err(Error::Read { path: path.clone(), source }),
        });
        match fetched {
            Err(Error::Record { path, line, offset, reason }) => {
                let line = line + self.lines_before_start()?;
                Err(Error::Record { path, line, offset, reason })
            }
            other => other,
        }
    }

    pub(super) fn position(&self) -> i64 {
        self.reader.position()
    }

    /// Counted only when an error wants to name a line, since it reads all that an earlier run has read.
    fn lines_before_start(&self) -> Result<u64, Error> {
        let failed = |source| Error::Read { path: self.path.clone(), source };
        let mut read = BufReader::with_capacity(CHUNK, File::open(&self.path).map_err(failed)?.take(self.start));
        let mut lines = 0;
        loop {
            let chunk = read.fill_buf().map_err(failed)?;
            if chunk.is_empty() {
                return Ok(lines);
            }
            lines += memchr::memchr_iter(b'\n', chunk).count() as u64;
            let used = chunk.len();
            read.consume(used);
        }
    }
}

/// The names of the columns, which an earlier run has read; none where the job file has them.
fn read_header(file: &mut File, path: &str, format: &CsvFormat) -> Result<Option<Rows>, Error> {
    let (mut rows, mut lines) = (Rows::new(format), Lines::new(0));
    while rows.wants_header() {
        match rows.next_row(&mut lines, 0, 0, &mut Batch::default()) {
            Ok(NextRow::Unknown) => lines.read(file).map_err(|source| Error::Read { path: path.to_owned(), source })?,
            Ok(NextRow::Header | NextRow::Record) => {}
            Ok(NextRow::End) => return Ok(None),
            Err(RowError::TooLong { offset }) => return Err(Error::LongLine { path: path.to_owned(), offset }),
            Err(RowError::Malformed { line, offset, reason }) => return Err(Error::Record { path: path.to_owned(), line, offset, reason }),
        }
    }
    Ok(Some(rows))
}
