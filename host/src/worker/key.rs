//! The key of a record at a keyed edge.

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Longest key at a keyed edge, in bytes.
pub(super) const MAX_KEY: usize = 1024;

/// How records get their key at a keyed edge.
pub(super) enum KeyBy {
    /// The key that they have.
    Record,
    /// A field of the JSON value: its text for a string, its JSON text for what is no string.
    Json(Vec<String>),
}

impl KeyBy {
    pub fn new(key: &weir_spec::Key) -> Self {
        match key {
            weir_spec::Key::Record => Self::Record,
            weir_spec::Key::Json(path) => Self::Json(path.split('.').map(str::to_owned).collect()),
        }
    }
}

/// Writes the JSON field at `path` of `value` into `key`.
pub(super) fn json_key(value: Option<&[u8]>, path: &[String], key: &mut Vec<u8>) -> Result<(), String> {
    let Some(value) = value else { return Err(format!("a tombstone has no JSON field `{}` to key by", path.join("."))) };
    let mut reader = serde_json::Deserializer::from_slice(value);
    let raw =
        Field(path).deserialize(&mut reader).map_err(|e| format!("the value is not JSON with the key field `{}`: {e}", path.join(".")))?;
    let Some(raw) = raw.filter(|r| r.get() != "null") else {
        return Err(format!("the value has no JSON field `{}` to key by", path.join(".")));
    };
    key.clear();
    if raw.get().starts_with('"') {
        let text: std::borrow::Cow<'_, str> = serde_json::from_str(raw.get()).map_err(|e| e.to_string())?;
        key.extend_from_slice(text.as_bytes());
    } else {
        key.extend_from_slice(raw.get().as_bytes());
    }
    Ok(())
}

/// Finds one field and skips the rest without building it.
struct Field<'p>(&'p [String]);

impl<'de> DeserializeSeed<'de> for Field<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        if self.0.is_empty() { serde::Deserialize::deserialize(reader).map(Some) } else { reader.deserialize_map(self) }
    }
}

impl<'de> Visitor<'de> for Field<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "an object with the field `{}`", self.0.first().map_or("", |n| n))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let Some((name, rest)) = self.0.split_first() else { return Ok(None) };
        let mut found = None;
        while let Some(key) = map.next_key::<std::borrow::Cow<'_, str>>()? {
            if key == *name {
                found = map.next_value_seed(Field(rest))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(value: &str, path: &str) -> Result<String, String> {
        let path: Vec<_> = path.split('.').map(str::to_owned).collect();
        let mut key = vec![];
        json_key(Some(value.as_bytes()), &path, &mut key).map(|()| String::from_utf8(key).unwrap())
    }

    #[test]
    fn a_json_field_becomes_the_key_wherever_it_lies() {
        assert_eq!(key(r#"{"x":1,"user":{"id":"é\"1","n":[1]},"y":{}}"#, "user.id").unwrap(), "é\"1");
        assert_eq!(key(r#"{"n": 42}"#, "n").unwrap(), "42");
    }

    #[test]
    fn a_value_without_the_field_says_so() {
        assert_eq!(key(r#"{"n": null}"#, "n").unwrap_err(), "the value has no JSON field `n` to key by");
        assert!(key(r#"{"n": 1}"#, "n.m").unwrap_err().contains("an object with the field `m`"));
        assert!(key("plain", "n").unwrap_err().contains("not JSON"));
    }
}
