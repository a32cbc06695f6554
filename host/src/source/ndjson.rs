//! The envelope of one record as a line of JSON, read.
//!
//! `{"key": …, "value": …, "timestamp": …, "headers": …}`, every field optional and none twice:
//! - `key`, `value`: a string or null; `value` may be any other JSON, which stands for its own text without the
//!   whitespace between its tokens. `keyBase64`, `valueBase64`: bytes as padded standard base64, or null.
//! - `timestamp`: milliseconds since 1970 as an integer, or null.
//! - `headers`: an object, or a list of `[name, value]` where names repeat; a value is a string, null, or
//!   `{"base64": …}`.
//!
//! [`sink`](crate::sink) writes it.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A record read; what it can it borrows from the line.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Envelope<'a> {
    pub(super) key: Option<Cow<'a, [u8]>>,
    pub(super) value: Option<Cow<'a, [u8]>>,
    pub(super) timestamp: Option<i64>,
    pub(super) headers: Vec<(Cow<'a, str>, Option<Cow<'a, [u8]>>)>,
}

/// Which fields a line has had, by the column they fill.
#[derive(Default)]
struct Seen {
    key: bool,
    value: bool,
    timestamp: bool,
    headers: bool,
}

/// Reads a line; the error says why it is no envelope.
pub(super) fn parse(line: &[u8]) -> Result<Envelope<'_>, String> {
    let text = std::str::from_utf8(line).map_err(|error| format!("not UTF-8 at byte {} of the line", error.valid_up_to()))?;
    let mut cursor = Cursor { text, at: 0 };
    let mut envelope = Envelope::default();
    let mut seen = Seen::default();
    cursor.expect('{')?;
    if !cursor.take('}') {
        loop {
            let Text(name) = cursor.json()?;
            cursor.expect(':')?;
            envelope.read_field(&name, &mut seen, &mut cursor)?;
            if !cursor.take(',') {
                break;
            }
        }
        cursor.expect('}')?;
    }
    cursor.end()?;
    Ok(envelope)
}

impl<'a> Envelope<'a> {
    fn read_field(&mut self, name: &str, seen: &mut Seen, cursor: &mut Cursor<'a>) -> Result<(), String> {
        let seen = match name {
            "key" | "keyBase64" => &mut seen.key,
            "value" | "valueBase64" => &mut seen.value,
            "timestamp" => &mut seen.timestamp,
            "headers" => &mut seen.headers,
            _ => return Err(format!("unknown field {name:?}: there are key, keyBase64, value, valueBase64, timestamp and headers")),
        };
        if std::mem::replace(seen, true) {
            return Err(format!("field {name:?} is given twice, or beside its base64 form"));
        }
        match name {
            "key" => self.key = cursor.json::<Option<Text<'a>>>()?.map(Text::into_bytes),
            "keyBase64" => self.key = cursor.base64(name)?,
            "value" => self.value = cursor.value()?,
            "valueBase64" => self.value = cursor.base64(name)?,
            "timestamp" => self.timestamp = cursor.json()?,
            _ => self.headers = cursor.json::<Option<HeaderList<'a>>>()?.map_or_else(Vec::new, |list| list.0),
        }
        Ok(())
    }
}

/// A place in a line. Fields are read one by one, and not the whole object by serde, because only so is it known where
/// the text of a value begins and ends.
struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// What follows the whitespace here.
    fn peek(&mut self) -> Option<char> {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
        self.rest().chars().next()
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.at += wanted.len_utf8();
        }
        found
    }

    fn expect(&mut self, wanted: char) -> Result<(), String> {
        if self.take(wanted) { Ok(()) } else { Err(self.unexpected(&format!("`{wanted}`"))) }
    }

    fn end(&mut self) -> Result<(), String> {
        if self.peek().is_none() { Ok(()) } else { Err(self.unexpected("the end of the line")) }
    }

    fn unexpected(&mut self, wanted: &str) -> String {
        match self.peek() {
            Some(found) => format!("{found:?} at byte {} of the line, where {wanted} is expected", self.at),
            None => format!("the line ends where {wanted} is expected"),
        }
    }

    /// Reads one JSON value.
    fn json<T: Deserialize<'a>>(&mut self) -> Result<T, String> {
        let mut values = serde_json::Deserializer::from_str(self.rest()).into_iter::<T>();
        match values.next() {
            Some(Ok(value)) => {
                self.at += values.byte_offset();
                Ok(value)
            }
            Some(Err(error)) => {
                // serde_json counts from where it was set to work, so its place is taken off and ours put in.
                let message = error.to_string();
                let place = format!(" at line {} column {}", error.line(), error.column());
                Err(format!("{} near byte {} of the line", message.strip_suffix(&place).unwrap_or(&message), self.at + error.column()))
            }
            None => Err(self.unexpected("a JSON value")),
        }
    }

    fn base64(&mut self, name: &str) -> Result<Option<Cow<'a, [u8]>>, String> {
        let text: Option<Text<'a>> = self.json()?;
        text.map(|Text(text)| STANDARD.decode(&*text).map(Cow::Owned).map_err(|error| format!("{name:?} is no base64: {error}")))
            .transpose()
    }

    fn value(&mut self) -> Result<Option<Cow<'a, [u8]>>, String> {
        if self.peek() == Some('"') {
            return Ok(Some(self.json::<Text<'a>>()?.into_bytes()));
        }
        let start = self.at;
        let IgnoredAny = self.json()?;
        let text = self.text.get(start..self.at).unwrap_or_default();
        Ok((text != "null").then(|| compact(text)))
    }
}

/// Valid JSON without the whitespace between its tokens. Numbers keep all their digits and objects the order of their
/// fields, which a detour over a parsed value would not.
fn compact(text: &str) -> Cow<'_, [u8]> {
    if !text.contains([' ', '\t', '\r', '\n']) {
        return Cow::Borrowed(text.as_bytes());
    }
    let (mut in_string, mut escaped) = (false, false);
    let kept = text.bytes().filter(|&byte| {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            return true;
        }
        in_string = byte == b'"';
        !matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
    });
    Cow::Owned(kept.collect())
}

/// A JSON string, borrowed where it has no escapes.
#[derive(serde::Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> Text<'a> {
    fn into_bytes(self) -> Cow<'a, [u8]> {
        match self.0 {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        }
    }
}

#[derive(serde::Deserialize)]
#[serde(untagged, deny_unknown_fields, expecting = "a header's value is a string, null or {\"base64\": \"…\"}")]
enum HeaderValue<'a> {
    Text(#[serde(borrow)] Text<'a>),
    Binary {
        #[serde(borrow)]
        base64: Cow<'a, str>,
    },
}

impl<'a> HeaderValue<'a> {
    fn into_bytes<E: serde::de::Error>(self) -> Result<Cow<'a, [u8]>, E> {
        match self {
            Self::Text(text) => Ok(text.into_bytes()),
            Self::Binary { base64 } => {
                let bytes = STANDARD.decode(&*base64).map_err(|error| E::custom(format_args!("a header's value is no base64: {error}")))?;
                Ok(Cow::Owned(bytes))
            }
        }
    }
}

/// Headers in their order, from an object or from a list of pairs.
struct HeaderList<'a>(Vec<(Cow<'a, str>, Option<Cow<'a, [u8]>>)>);

impl<'de> Deserialize<'de> for HeaderList<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = HeaderList<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("headers as an object or as a list of [name, value]")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut headers = Vec::new();
        while let Some((Text(name), value)) = map.next_entry::<Text<'de>, Option<HeaderValue<'de>>>()? {
            headers.push((name, value.map(HeaderValue::into_bytes).transpose()?));
        }
        Ok(HeaderList(headers))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut headers = Vec::new();
        while let Some((Text(name), value)) = seq.next_element::<(Text<'de>, Option<HeaderValue<'de>>)>()? {
            headers.push((name, value.map(HeaderValue::into_bytes).transpose()?));
        }
        Ok(HeaderList(headers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Envelope<'_> {
        parse(line.as_bytes()).unwrap_or_else(|reason| panic!("{line}: {reason}"))
    }

    fn refused(line: &[u8]) -> String {
        parse(line).unwrap_err()
    }

    #[test]
    fn what_is_absent_or_null_is_null_and_what_is_empty_is_empty() {
        assert_eq!(read("{}"), Envelope::default());
        let nulls = r#" { "key" : null, "value": null, "timestamp": null, "headers": null } "#;
        assert_eq!(read(nulls), Envelope::default());
        let empty = read(r#"{"key":"","valueBase64":"","headers":{}}"#);
        assert_eq!((empty.key.as_deref(), empty.value.as_deref()), (Some(&b""[..]), Some(&b""[..])));
    }

    #[test]
    fn strings_are_unescaped_and_base64_is_decoded() {
        let envelope = read(r#"{"valueBase64":"/wA=","key":"a\"\u00e9\ud83d\ude00\n","timestamp":-5}"#);
        assert_eq!(envelope.key.as_deref(), Some("a\"é😀\n".as_bytes()));
        assert_eq!(envelope.value.as_deref(), Some(&[0xff, 0][..]));
        assert_eq!(envelope.timestamp, Some(-5));
    }

    #[test]
    fn a_value_that_is_no_string_is_its_own_compact_text() {
        for (given, text) in [
            (r#"{"b": [1, 2 , {"x y": "a \" b\\"} ], "a": 1.50}"#, r#"{"b":[1,2,{"x y":"a \" b\\"}],"a":1.50}"#),
            ("123456789012345678901234567890", "123456789012345678901234567890"),
            ("true", "true"),
            ("[ ]", "[]"),
            (r#"{"é":"ü "}"#, r#"{"é":"ü "}"#),
        ] {
            let line = format!(r#"{{"value": {given} , "key":"k"}}"#);
            let envelope = read(&line);
            assert_eq!(envelope.value.as_deref(), Some(text.as_bytes()), "{given}");
            assert_eq!(envelope.key.as_deref(), Some(&b"k"[..]));
        }
    }

    #[test]
    fn headers_are_an_object_or_a_list_of_pairs() {
        let as_object = read(r#"{"headers":{"a":"1","b":null,"c":{"base64":"/w=="}}}"#).headers;
        let as_list = read(r#"{"headers":[["a","1"],["b",null],["c",{"base64":"/w=="}]]}"#).headers;
        assert_eq!(as_object, as_list);
        let seen: Vec<_> = as_object.iter().map(|(name, value)| (&**name, value.as_deref())).collect();
        assert_eq!(seen, [("a", Some(&b"1"[..])), ("b", None), ("c", Some(&b"\xff"[..]))]);
        let repeated = read(r#"{"headers":[["a","1"],["a","2"]]}"#).headers;
        assert_eq!(repeated.len(), 2);
    }

    #[test]
    fn what_is_no_envelope_is_refused_with_its_reason() {
        for (line, reason) in [
            ("", "the line ends where `{` is expected"),
            ("hello", "'h' at byte 0 of the line, where `{` is expected"),
            ("[1]", "'[' at byte 0 of the line, where `{` is expected"),
            (r#"{"key":"a""#, "the line ends where `}` is expected"),
            (r#"{"key":"a"} x"#, "'x' at byte 12 of the line, where the end of the line is expected"),
            (r#"{"key":"a",}"#, "near byte 12 of the line"),
            (r#"{"key":5}"#, "invalid type: integer `5`, expected"),
            (r#"{"timestamp":1.5}"#, "expected i64 near byte"),
            (r#"{"value":{"a":}}"#, "expected value near byte"),
            (r#"{"valu":1}"#, r#"unknown field "valu": there are key, keyBase64, value"#),
            (r#"{"key":"a","key":null}"#, r#"field "key" is given twice, or beside its base64 form"#),
            (r#"{"value":null,"valueBase64":null}"#, r#"field "valueBase64" is given twice"#),
            (r#"{"keyBase64":"_w=="}"#, r#""keyBase64" is no base64: "#),
            (r#"{"headers":{"a":1}}"#, "a header's value is a string, null or"),
            (r#"{"headers":{"a":{"base64":"/w==","b":1}}}"#, "a header's value is a string, null or"),
            (r#"{"headers":{"a":{"base64":"?"}}}"#, "a header's value is no base64: "),
            (r#"{"headers":[["a"]]}"#, "invalid length 1"),
            (r#"{"headers":"a"}"#, "expected headers as an object or as a list"),
        ] {
            let found = refused(line.as_bytes());
            assert!(found.contains(reason), "{line}: {found}");
        }
        assert_eq!(refused(b"{\"key\":\"\xff\"}"), "not UTF-8 at byte 8 of the line");
    }
}
