//! A field of a JSON value, found without building the value.

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Writes the field at `path` (names of nested objects' fields) of a JSON value into `into`: its text for a string, its
/// JSON text for what is no string.
///
/// # Errors
/// Why there is none: a tombstone, no JSON, no such field, or null.
pub fn json_field(value: Option<&[u8]>, path: &[String], into: &mut Vec<u8>) -> Result<(), String> {
    let Some(value) = value else { return Err(format!("a tombstone has no JSON field `{}`", path.join("."))) };
    let mut reader = serde_json::Deserializer::from_slice(value);
    let raw =
        Field(path).deserialize(&mut reader).map_err(|e| format!("the value is not JSON with the field `{}`: {e}", path.join(".")))?;
    let Some(raw) = raw.filter(|r| r.get() != "null") else {
        return Err(format!("the value has no JSON field `{}`", path.join(".")));
    };
    into.clear();
    if raw.get().starts_with('"') {
        let text: std::borrow::Cow<'_, str> = serde_json::from_str(raw.get()).map_err(|e| e.to_string())?;
        into.extend_from_slice(text.as_bytes());
    } else {
        into.extend_from_slice(raw.get().as_bytes());
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

    fn field(value: &str, path: &str) -> Result<String, String> {
        let path: Vec<_> = path.split('.').map(str::to_owned).collect();
        let mut field = vec![];
        json_field(Some(value.as_bytes()), &path, &mut field).map(|()| String::from_utf8(field).unwrap())
    }

    #[test]
    fn a_field_is_found_wherever_it_lies() {
        assert_eq!(field(r#"{"x":1,"user":{"id":"é\"1","n":[1]},"y":{}}"#, "user.id").unwrap(), "é\"1");
        assert_eq!(field(r#"{"n": 42}"#, "n").unwrap(), "42");
    }

    #[test]
    fn a_value_without_the_field_says_so() {
        assert_eq!(field(r#"{"n": null}"#, "n").unwrap_err(), "the value has no JSON field `n`");
        assert!(field(r#"{"n": 1}"#, "n.m").unwrap_err().contains("an object with the field `m`"));
        assert!(field("plain", "n").unwrap_err().contains("not JSON"));
    }
}
