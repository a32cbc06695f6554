//! Records as lines of bytes.

use std::io::{self, Write};

use base64::engine::general_purpose::STANDARD;
use base64::write::EncoderWriter;
use weir_spec::Format;

use crate::record::Batch;

/// Appends each record of a batch as a line.
///
/// Lines: key, tab, value; without a key the value alone; a null value as if it were empty. Bytes go out as they are,
/// so a value with line feeds in it is read back as several.
///
/// NDJSON: the envelope that [`source`](crate::source) reads, in which nothing is lost.
pub(super) fn encode(batch: &Batch, format: Format, out: &mut Vec<u8>) -> io::Result<()> {
    match format {
        Format::Lines => lines(batch, out),
        Format::Ndjson => (0..batch.len()).try_for_each(|i| envelope(batch, i, out))?,
    }
    Ok(())
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
        encode(&batch, format, &mut out).unwrap();
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
