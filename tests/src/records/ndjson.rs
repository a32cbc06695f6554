//! The format `ndjson` of file sources and sinks, written and read apart from the host.

use std::fs;
use std::io::Write;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::Record;

/// Writes a file that a source can read. Headers must have distinct names and values that are text.
///
/// # Panics
/// When the file cannot be written, or a header cannot stand in it.
#[track_caller]
pub fn write(path: &Path, records: &[Record]) {
    let mut file = std::io::BufWriter::new(fs::File::create(path).expect("a file of records"));
    for record in records {
        writeln!(file, "{}", encode(record)).expect("a file of records");
    }
    file.flush().expect("a file of records");
}

/// Reads a file that a sink wrote.
///
/// # Panics
/// When it is not there, or is no such file.
#[track_caller]
pub fn read(path: &Path) -> Vec<Record> {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(text.is_empty() || text.ends_with('\n'), "{} ends within a line", path.display());
    text.lines().map(decode).collect()
}

fn encode(record: &Record) -> Value {
    let mut object = Map::new();
    put(&mut object, "key", record.key.as_deref());
    put(&mut object, "value", record.value.as_deref());
    object.insert("timestamp".to_owned(), json!(record.timestamp));
    let mut headers = Map::new();
    for (name, value) in &record.headers {
        let value = value.as_ref().map(|value| String::from_utf8(value.clone()).expect("a header of text"));
        assert!(headers.insert(name.clone(), json!(value)).is_none(), "header {name} twice");
    }
    object.insert("headers".to_owned(), Value::Object(headers));
    Value::Object(object)
}

fn put(object: &mut Map<String, Value>, field: &str, bytes: Option<&[u8]>) {
    match bytes.map(|bytes| (std::str::from_utf8(bytes), bytes)) {
        None => object.insert(field.to_owned(), Value::Null),
        Some((Ok(text), _)) => object.insert(field.to_owned(), json!(text)),
        Some((Err(_), bytes)) => object.insert(format!("{field}Base64"), json!(STANDARD.encode(bytes))),
    };
}

#[track_caller]
fn decode(line: &str) -> Record {
    let object: Map<String, Value> = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"));
    let headers = match object.get("headers") {
        Some(Value::Object(headers)) => headers.iter().map(|(name, value)| (name.clone(), text(value))).collect(),
        None => vec![],
        Some(_) => panic!("headers are no object in {line}"),
    };
    let timestamp = object.get("timestamp").and_then(Value::as_i64).unwrap_or_else(|| panic!("no timestamp in {line}"));
    Record { key: take(&object, "key"), value: take(&object, "value"), timestamp, headers }
}

#[track_caller]
fn take(object: &Map<String, Value>, field: &str) -> Option<Vec<u8>> {
    match object.get(&format!("{field}Base64")) {
        Some(Value::String(base64)) => Some(STANDARD.decode(base64).expect("base64")),
        Some(other) => panic!("{field}Base64 is {other}"),
        None => text(object.get(field).unwrap_or_else(|| panic!("no {field} in a line of {object:?}"))),
    }
}

#[track_caller]
fn text(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone().into_bytes()),
        other => panic!("{other} is neither a string nor null"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::mixed;
    use super::*;

    #[test]
    fn records_come_back_as_they_were() {
        for record in mixed(1, 1_000) {
            assert_eq!(decode(&encode(&record).to_string()), record);
        }
    }
}
