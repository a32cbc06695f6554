//! Bytes of CSV -> records whose values are JSON objects of the row's columns. Rows are csv-core's: what it takes to find
//! where one ends, quoted line feeds and all, is its state machine.

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};
use weir_spec::CsvFormat;

use super::lines::{Lines, MAX_LINE};
use crate::record::{Batch, Origin, RowRef};

/// What some programs begin UTF-8 with. csv-core takes it away only where it is whole in its first input.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads rows from the bytes of [`Lines`].
pub(super) struct Rows {
    format: CsvFormat,
    reader: Reader,
    /// Text of the fields, one after the other, and where each ends.
    text: Vec<u8>,
    ends: Vec<usize>,
    text_len: usize,
    ends_len: usize,
    /// Bytes and quotes of the row that is being read.
    bytes: usize,
    quotes: usize,
    /// The names of the columns as they stand in the objects, `"name":`; none before they are known.
    names: Option<Vec<Vec<u8>>>,
    /// Line on which the row ended that was read last, and that on which it began.
    line: u64,
    /// Value of the record at hand.
    value: Vec<u8>,
}

/// What there is next.
pub(super) enum NextRow {
    /// A record was appended.
    Record,
    /// The header was read.
    Header,
    /// More bytes have to come first.
    Unknown,
    End,
}

/// Why a row is no record.
pub(super) enum RowError {
    /// It began at this offset and is longer than [`MAX_LINE`].
    TooLong { offset: u64 },
    /// It began on this line, at this offset.
    Malformed { line: u64, offset: u64, reason: String },
}

impl Rows {
    /// Of a stream from its first byte.
    pub(super) fn new(format: &CsvFormat) -> Self {
        let names = (!format.header).then(|| format.columns.iter().map(|name| member(name)).collect());
        let mut rows = Self {
            reader: ReaderBuilder::new().delimiter(format.delimiter_byte()).build(),
            format: format.clone(),
            text: vec![0; 4096],
            ends: vec![0; 64],
            text_len: 0,
            ends_len: 0,
            bytes: 0,
            quotes: 0,
            names,
            line: 1,
            value: Vec::new(),
        };
        rows.reader.set_line(1);
        rows
    }

    /// Of a stream that is read on behind its header, which other rows have read.
    pub(super) fn behind_header(format: &CsvFormat, header: &Self) -> Self {
        Self { names: header.names.clone(), ..Self::new(format) }
    }

    /// Whether the first row of the stream has yet to be read for the columns' names.
    pub(super) fn wants_header(&self) -> bool {
        self.names.is_none()
    }

    /// Bytes of a row that has come in part.
    pub(super) fn pending(&self) -> u64 {
        self.bytes as u64
    }

    /// Reads one row, and appends its record unless it is the header.
    pub(super) fn next_row(&mut self, lines: &mut Lines, split: u32, now: i64, into: &mut Batch) -> Result<NextRow, RowError> {
        if lines.offset() == 0 {
            if lines.unread().len() < BYTE_ORDER_MARK.len() && !lines.is_finished() {
                return Ok(NextRow::Unknown);
            }
            if lines.unread().starts_with(BYTE_ORDER_MARK) {
                lines.consume(BYTE_ORDER_MARK.len());
            }
        }
        let offset = lines.offset() - self.bytes as u64;
        loop {
            let input = lines.unread();
            if input.is_empty() && !lines.is_finished() {
                return Ok(NextRow::Unknown);
            }
            let (text, ends) = (self.text.get_mut(self.text_len..), self.ends.get_mut(self.ends_len..));
            let (text, ends) = (text.unwrap_or_default(), ends.unwrap_or_default());
            let (result, used, written, ended) = self.reader.read_record(input, text, ends);
            self.quotes += memchr::memchr_iter(b'"', input.get(..used).unwrap_or_default()).count();
            lines.consume(used);
            self.bytes += used;
            self.text_len += written;
            self.ends_len += ended;
            if self.bytes > MAX_LINE {
                return Err(RowError::TooLong { offset });
            }
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => self.text.resize(2 * self.text.len(), 0),
                ReadRecordResult::OutputEndsFull => self.ends.resize(2 * self.ends.len(), 0),
                ReadRecordResult::End => return Ok(NextRow::End),
                ReadRecordResult::Record => {
                    let row = self.take(split, offset, now, into);
                    let line = std::mem::replace(&mut self.line, self.reader.line());
                    (self.text_len, self.ends_len, self.bytes, self.quotes) = (0, 0, 0, 0);
                    return row.map_err(|reason| RowError::Malformed { line, offset, reason });
                }
            }
        }
    }

    /// Makes a record of the row that was read, or takes its fields as the columns' names.
    fn take(&mut self, split: u32, offset: u64, now: i64, into: &mut Batch) -> Result<NextRow, String> {
        // Only the end of the input can cut a quoted field off.
        if self.quotes % 2 == 1 {
            return Err("a quoted field is not closed".to_owned());
        }
        let text = self.text.get(..self.text_len).unwrap_or_default();
        let text = std::str::from_utf8(text).map_err(|_| "it is not UTF-8".to_owned())?;
        let ends = self.ends.get(..self.ends_len).unwrap_or_default();
        let fields = ends.iter().scan(0, |start, end| text.get(std::mem::replace(start, *end)..*end));
        let Some(names) = &self.names else {
            self.names = Some(header(&self.format, fields)?);
            return Ok(NextRow::Header);
        };
        if names.len() != ends.len() {
            return Err(format!("it has {} fields, and there are {} columns", ends.len(), names.len()));
        }
        self.value.clear();
        for (name, field) in names.iter().zip(fields) {
            self.value.push(if self.value.is_empty() { b'{' } else { b',' });
            self.value.extend_from_slice(name);
            serde_json::to_writer(&mut self.value, field).map_err(|e| e.to_string())?;
        }
        self.value.push(b'}');
        into.push(RowRef { key: None, value: Some(&self.value), timestamp: now, origin: Origin { split, offset: offset as i64 } });
        Ok(NextRow::Record)
    }
}

/// The names that the header gives, as they stand in the objects.
fn header<'a>(format: &CsvFormat, fields: impl Iterator<Item = &'a str>) -> Result<Vec<Vec<u8>>, String> {
    let fields: Vec<&str> = fields.collect();
    if !format.columns.is_empty() && !fields.iter().eq(format.columns.iter()) {
        return Err(format!("the header names the columns {}, `columns` {}", fields.join(", "), format.columns.join(", ")));
    }
    if let Some((_, twice)) = fields.iter().enumerate().find(|(i, name)| fields.iter().take(*i).any(|other| other == *name)) {
        return Err(format!("the header names the column `{twice}` twice"));
    }
    Ok(fields.into_iter().map(member).collect())
}

fn member(name: &str) -> Vec<u8> {
    format!("{}:", serde_json::Value::from(name)).into_bytes()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Read = Vec<(u64, String)>;

    /// Reads all rows of chunks, with the position behind each; the error with its line.
    fn read(mut rows: Rows, offset: u64, chunks: &[&[u8]]) -> Result<(Read, Vec<u64>), (u64, String)> {
        let (mut lines, mut chunks, mut batch, mut positions) = (Lines::new(offset), chunks.iter(), Batch::default(), vec![]);
        loop {
            match rows.next_row(&mut lines, 0, 7, &mut batch) {
                Ok(NextRow::Record | NextRow::Header) => positions.push(lines.offset()),
                Ok(NextRow::Unknown) => match chunks.next() {
                    Some(chunk) => lines.feed(chunk),
                    None => lines.finish(),
                },
                Ok(NextRow::End) => break,
                Err(RowError::Malformed { line, reason, .. }) => return Err((line, reason)),
                Err(RowError::TooLong { offset }) => return Err((0, format!("too long at {offset}"))),
            }
        }
        let row = |i| (batch.row(i).origin.offset as u64, String::from_utf8(batch.row(i).value.unwrap().to_vec()).unwrap());
        Ok(((0..batch.len()).map(row).collect(), positions))
    }

    fn with_header() -> CsvFormat {
        CsvFormat::default()
    }

    fn values(read: &Read) -> Vec<&str> {
        read.iter().map(|(_, value)| value.as_str()).collect()
    }

    const TEXT: &str = "\u{feff}a,b\r\n1,\"x\"\"y\"\r\n\r\n\"two\r\nlines\",\"é,\"\n,\nlast,4";
    const VALUES: [&str; 4] =
        [r#"{"a":"1","b":"x\"y"}"#, r#"{"a":"two\r\nlines","b":"é,"}"#, r#"{"a":"","b":""}"#, r#"{"a":"last","b":"4"}"#];

    #[test]
    fn rows_are_the_same_however_the_bytes_are_cut_and_from_whatever_row_they_are_read_on() {
        for size in 1..=TEXT.len() {
            let chunks: Vec<_> = TEXT.as_bytes().chunks(size).collect();
            let (all, positions) = read(Rows::new(&with_header()), 0, &chunks).unwrap();
            assert_eq!(values(&all), VALUES, "chunks of {size}");
            let mut header = Rows::new(&with_header());
            let mut lines = Lines::new(0);
            lines.feed(TEXT.as_bytes());
            assert!(matches!(header.next_row(&mut lines, 0, 0, &mut Batch::default()), Ok(NextRow::Header)));
            for (given, position) in positions.iter().enumerate() {
                let rest = TEXT.as_bytes().get(*position as usize..).unwrap();
                let (rest, _) = read(Rows::behind_header(&with_header(), &header), *position, &[rest]).unwrap();
                assert_eq!(rest, all.get(given..).unwrap(), "from {position}");
            }
        }
    }

    #[test]
    fn columns_and_delimiter_are_those_of_the_job_file() {
        let format = CsvFormat { columns: vec!["x\"".into(), "y".into()], header: false, delimiter: ";".into() };
        let (rows, _) = read(Rows::new(&format), 0, &[b"1,5;2\n"]).unwrap();
        assert_eq!(values(&rows), [r#"{"x\"":"1,5","y":"2"}"#]);
        let same = CsvFormat { columns: vec!["a".into()], ..with_header() };
        assert_eq!(values(&read(Rows::new(&same), 0, &[b"a\n1\n"]).unwrap().0), [r#"{"a":"1"}"#]);
        let (line, reason) = read(Rows::new(&same), 0, &[b"b\n1\n"]).unwrap_err();
        assert_eq!((line, reason.as_str()), (1, "the header names the columns b, `columns` a"));
    }

    #[test]
    fn a_row_that_is_no_record_is_named_by_its_line() {
        for (text, line, reason) in [
            (&b"a,b\n1,2\n3\n"[..], 3, "it has 1 fields, and there are 2 columns"),
            (b"a,b\n\"1\n\",2\n3,4,5\n", 4, "it has 3 fields, and there are 2 columns"),
            (b"a\n\"open\nto the end", 2, "a quoted field is not closed"),
            (b"a\n\xff\n", 2, "it is not UTF-8"),
            (b"a,b,a\n", 1, "the header names the column `a` twice"),
        ] {
            assert_eq!(read(Rows::new(&with_header()), 0, &[text]), Err((line, reason.to_owned())), "{}", String::from_utf8_lossy(text));
        }
        let (mut rows, mut lines) = (Rows::new(&with_header()), Lines::new(0));
        lines.feed(b"a\n\"");
        lines.feed(&vec![b'x'; MAX_LINE]);
        let mut next = || rows.next_row(&mut lines, 0, 0, &mut Batch::default());
        assert!(matches!(next(), Ok(NextRow::Header)));
        assert!(matches!(next(), Err(RowError::TooLong { offset: 2 })));
    }

    proptest! {
        #[test]
        fn what_the_sink_writes_is_read_back(rows in proptest::collection::vec([".*", "[\"\r\n,x]*"], 1..20)) {
            let format = CsvFormat { columns: vec!["p".into(), "q".into()], ..with_header() };
            let mut batch = Batch::default();
            for [p, q] in &rows {
                let value = serde_json::json!({ "p": p, "q": q, "other": 1 }).to_string();
                batch.push(RowRef { key: None, value: Some(value.as_bytes()), timestamp: 1, origin: Origin { split: 0, offset: 0 } });
            }
            let text = crate::sink::csv_text(&batch, &format);
            let (read, _) = read(Rows::new(&format), 0, &[&text]).unwrap();
            let expected: Vec<_> = rows.iter().map(|[p, q]| format!("{{\"p\":{},\"q\":{}}}", serde_json::json!(p), serde_json::json!(q))).collect();
            prop_assert_eq!(values(&read), expected);
        }
    }
}
