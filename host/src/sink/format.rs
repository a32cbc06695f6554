//! Records as lines of bytes.

use std::borrow::Cow;
use std::io::{self, Write};

use base64::engine::general_purpose::STANDARD;
use base64::write::EncoderWriter;
use csv_core::WriterBuilder;
use serde_json::{Map, Value};
use weir_spec::{CsvFormat, Format};

use crate::record::Batch;

/// Appends each record of a batch as a line.
///
/// Lines: key, tab, value; without a key the value alone; a null value as if it were empty. Bytes go out as they are,
/// so a value with line feeds in it is read back as several.
///
/// NDJSON: the envelope that [`source`](crate::source) reads, in which nothing is lost.
///
/// CSV: the columns of each value, which has to be a JSON object. The header is [`head`].
pub(super) fn encode(batch: &Batch, format: &Format, out: &mut Vec<u8>) -> io::Result<()> {
    match format {
        Format::Lines => lines(batch, out),
        Format::Ndjson => (0..batch.len()).try_for_each(|i| envelope(batch, i, out))?,
        Format::Csv(csv) => rows(batch, csv, out)?,
    }
    Ok(())
}

/// What a file or a stream begins with.
pub(super) fn head(format: &Format) -> Vec<u8> {
    let mut out = Vec::new();
    if let Format::Csv(csv) = format
        && csv.header
    {
        row(csv, csv.columns.iter().map(|name| Cow::Borrowed(name.as_str())), &mut out);
    }
    out
}

fn rows(batch: &Batch, format: &CsvFormat, out: &mut Vec<u8>) -> io::Result<()> {
    for value in batch.values().iter() {
        let refused = |what: String| {
            io::Error::new(io::ErrorKind::InvalidData, format!("the value of a record {what}; a CSV sink takes JSON objects"))
        };
        let value = value.ok_or_else(|| refused("is null".to_owned()))?;
        let object: Map<String, Value> = serde_json::from_slice(value).map_err(|e| refused(format!("is none: {e}")))?;
        row(format, format.columns.iter().map(|name| field_text(object.get(name))), out);
    }
    Ok(())
}

fn field_text(value: Option<&Value>) -> Cow<'_, str> {
    match value {
        None | Some(Value::Null) => Cow::Borrowed(""),
        Some(Value::String(text)) => Cow::Borrowed(text),
        Some(other) => Cow::Owned(other.to_string()),
    }
}

/// Appends a row; its fields are quoted where they have to be.
fn row<'a>(format: &CsvFormat, fields: impl Iterator<Item = Cow<'a, str>>, out: &mut Vec<u8>) {
    let mut writer = WriterBuilder::new().delimiter(format.delimiter_byte()).build();
    for (i, field) in fields.enumerate() {
        if i > 0 {
            append(out, 1, |room| writer.delimiter(room).1);
        }
        // At most each byte is a quote that is doubled, between two quotes.
        append(out, 2 * field.len() + 2, |room| writer.field(field.as_bytes(), room).2);
    }
    append(out, 3, |room| writer.terminator(room).1);
}

/// Appends what `write` leaves in a room of `most` bytes.
fn append(out: &mut Vec<u8>, most: usize, write: impl FnOnce(&mut [u8]) -> usize) {
    let len = out.len();
    out.resize(len + most + 2, 0);
    let written = write(out.get_mut(len..).unwrap_or_default());
    out.truncate(len + written);
}

fn lines(batch: &Batch, out: &mut Vec<u8>) {
    for (key, value) in batch.keys().iter().zip(batch.values().iter()) {
        if let Some(key) = key {
            out.extend_from_slice(key);
            out.push(b'\t');
        }
        out.extend_from_slice(value.unwrap_or_default());
        out.push(b'\n');
    }
}

fn envelope(batch: &Batch, i: usize, out: &mut Vec<u8>) -> io::Result<()> {
    let row = batch.row(i);
    out.push(b'{');
    field(b"\"key\":", b"\"keyBase64\":", row.key, out)?;
    out.push(b',');
    field(b"\"value\":", b"\"valueBase64\":", row.value, out)?;
    write!(out, ",\"timestamp\":{}", row.timestamp)?;
    if batch.row_headers(i).next().is_some() {
        out.extend_from_slice(b",\"headers\":");
        headers(batch, i, out)?;
    }
    out.extend_from_slice(b"}\n");
    Ok(())
}

/// A field under the name for text, or under the other where its bytes are none.
fn field(text_name: &[u8], binary_name: &[u8], bytes: Option<&[u8]>, out: &mut Vec<u8>) -> io::Result<()> {
    let Some(bytes) = bytes else {
        out.extend_from_slice(text_name);
        out.extend_from_slice(b"null");
        return Ok(());
    };
    match std::str::from_utf8(bytes) {
        Ok(value) => {
            out.extend_from_slice(text_name);
            text(value, out)
        }
        Err(_) => {
            out.extend_from_slice(binary_name);
            base64(bytes, out)
        }
    }
}

/// An object; where a name repeats, a list of pairs, since many readers of JSON keep one of them only.
fn headers(batch: &Batch, i: usize, out: &mut Vec<u8>) -> io::Result<()> {
    let repeated = batch.row_headers(i).enumerate().any(|(n, (name, _))| batch.row_headers(i).take(n).any(|(other, _)| other == name));
    let (open, between, close, end) = if repeated { ("[", ",", "]", b']') } else { ("", ":", "", b'}') };
    out.push(if repeated { b'[' } else { b'{' });
    for (n, (name, value)) in batch.row_headers(i).enumerate() {
        out.extend_from_slice(if n > 0 { b"," } else { b"" });
        out.extend_from_slice(open.as_bytes());
        text(std::str::from_utf8(name).map_err(io::Error::other)?, out)?;
        out.extend_from_slice(between.as_bytes());
        header_value(value, out)?;
        out.extend_from_slice(close.as_bytes());
    }
    out.push(end);
    Ok(())
}

fn header_value(value: Option<&[u8]>, out: &mut Vec<u8>) -> io::Result<()> {
    match value.map(std::str::from_utf8) {
        None => out.extend_from_slice(b"null"),
        Some(Ok(value)) => text(value, out)?,
        Some(Err(_)) => {
            out.extend_from_slice(b"{\"base64\":");
            base64(value.unwrap_or_default(), out)?;
            out.push(b'}');
        }
    }
    Ok(())
}

fn text(text: &str, out: &mut Vec<u8>) -> io::Result<()> {
    Ok(serde_json::to_writer(out, text)?)
}

fn base64(bytes: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    out.push(b'"');
    let mut encoder = EncoderWriter::new(&mut *out, &STANDARD);
    encoder.write_all(bytes)?;
    encoder.finish()?;
    drop(encoder);
    out.push(b'"');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Origin, RowRef};

    type Header<'a> = (&'a [u8], Option<&'a [u8]>);

    fn written(format: Format, key: Option<&[u8]>, value: Option<&[u8]>, headers: &[Header<'_>]) -> String {
        let mut batch = Batch::default();
        batch.push_with_headers(RowRef { key, value, timestamp: 5, origin: Origin { split: 0, offset: 0 } }, headers.iter().copied());
        let mut out = Vec::new();
        encode(&batch, &format, &mut out).unwrap();
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn a_line_is_key_tab_value_or_the_value_alone() {
        let line = |key, value| written(Format::Lines, key, value, &[]);
        assert_eq!(line(Some(b"k"), Some(b"v")), "k\tv\n");
        assert_eq!(line(None, Some(b"v")), "v\n");
        assert_eq!(line(Some(b"k"), None), "k\t\n");
        assert_eq!(line(Some(b""), Some(b"")), "\t\n");
        assert_eq!(line(None, None), "\n");
    }

    #[test]
    fn a_row_has_the_columns_asked_for_and_what_is_no_object_is_refused() {
        let csv = |columns: &[&str], delimiter: &str| {
            let columns = columns.iter().map(|name| (*name).to_owned()).collect();
            Format::Csv(CsvFormat { columns, delimiter: delimiter.to_owned(), ..CsvFormat::default() })
        };
        let value = br#"{"a": "x", "b": null, "c": [1, "y"], "d": true, "e": "q\"\n"}"#;
        assert_eq!(written(csv(&["e", "a", "b", "z", "c", "d"], ","), None, Some(value), &[]), "\"q\"\"\n\",x,,,\"[1,\"\"y\"\"]\",true\n");
        assert_eq!(written(csv(&["d", "a"], "\t"), Some(b"key"), Some(value), &[]), "true\tx\n");
        assert_eq!(written(csv(&["b"], ","), None, Some(value), &[]), "\"\"\n", "a row of one empty field is no empty line");
        assert_eq!(head(&csv(&["a", "b c"], ";")), b"a;b c\n");
        for refused in [None, Some(&b"[1]"[..]), Some(b"text")] {
            let mut batch = Batch::default();
            batch.push(RowRef { key: None, value: refused, timestamp: 5, origin: Origin { split: 0, offset: 0 } });
            let error = encode(&batch, &csv(&["a"], ","), &mut Vec::new()).unwrap_err();
            assert!(error.to_string().contains("a CSV sink takes JSON objects"), "{error}");
        }
    }

    #[test]
    fn an_envelope_tells_null_text_and_binary_apart() {
        let envelope = |key, value, headers: &[Header<'_>]| written(Format::Ndjson, key, value, headers);
        assert_eq!(envelope(None, Some("é\"\n".as_bytes()), &[]), "{\"key\":null,\"value\":\"é\\\"\\n\",\"timestamp\":5}\n");
        assert_eq!(envelope(Some(b"\xff"), None, &[]), "{\"keyBase64\":\"/w==\",\"value\":null,\"timestamp\":5}\n");
        assert_eq!(
            envelope(Some(b""), Some(b"\x00\xfe"), &[(b"a", Some(b"1")), (b"b", None), (b"c", Some(b"\xff"))]),
            "{\"key\":\"\",\"valueBase64\":\"AP4=\",\"timestamp\":5,\"headers\":{\"a\":\"1\",\"b\":null,\"c\":{\"base64\":\"/w==\"}}}\n"
        );
        assert_eq!(
            envelope(None, None, &[(b"a", Some(b"1")), (b"a", None)]),
            "{\"key\":null,\"value\":null,\"timestamp\":5,\"headers\":[[\"a\",\"1\"],[\"a\",null]]}\n"
        );
    }
}
