//! The tree as a serde deserialiser whose errors keep their parts: path, valid names, and a way to mend.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, Expected, IntoDeserializer, MapAccess, SeqAccess, Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::tree::{Content, Entry, Node};
use crate::problem::{FieldPath, Problem, Segment, did_you_mean, quote};

/// A problem on its way out of the tree; each map and list it leaves puts its step in front of the path.
#[derive(Debug)]
pub(super) struct Fault(Box<Problem>);

impl Fault {
    fn new(message: impl Into<String>) -> Self {
        Self::of(Problem::new(FieldPath::default(), message))
    }

    fn of(problem: Problem) -> Self {
        Self(Box::new(problem))
    }

    fn under(mut self, segment: Segment) -> Self {
        self.0.path.prepend(segment);
        self
    }

    pub(super) fn into_problem(self) -> Problem {
        *self.0
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let expected = plain(&expected.to_string());
        let problem = Problem::new(FieldPath::default(), format!("expected {expected}, found {}", kind(found)));
        Self::of(match found {
            Unexpected::Unit => problem.help("give it a value, or remove the field"),
            Unexpected::Bool(_) | Unexpected::Unsigned(_) | Unexpected::Signed(_) | Unexpected::Float(_)
                if expected.contains("a string") =>
            {
                problem.help("put the value in quotes")
            }
            _ => problem,
        })
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format!("expected {}", plain(&expected.to_string())))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let hint = did_you_mean(variant, expected.iter().copied());
        let message = format!("unknown value {}{hint}", quote(variant));
        Self::of(Problem::new(FieldPath::default(), message).valid(expected.iter().copied()))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let hint = did_you_mean(field, expected.iter().copied());
        let problem = Problem::new(FieldPath::default().field(field), format!("unknown field {}{hint}", quote(field)));
        Self::of(match expected {
            [] => problem.help("remove it: nothing can be set here"),
            expected => problem.valid(expected.iter().copied()).help("use one of the valid fields, or remove this one"),
        })
    }

    fn missing_field(field: &'static str) -> Self {
        let path = FieldPath::default().field(field);
        Self::of(Problem::new(path, format!("missing field `{field}`")).help(format!("add `{field}: …`")))
    }
}

fn kind(found: Unexpected<'_>) -> &'static str {
    match found {
        Unexpected::Unit | Unexpected::Option => "nothing",
        Unexpected::Bool(_) => "a boolean",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) => "an integer",
        Unexpected::Float(_) => "a number with a fraction",
        Unexpected::Str(_) | Unexpected::Char(_) => "a string",
        Unexpected::Seq => "a list",
        Unexpected::Map => "a map",
        _ => "something else",
    }
}

/// serde's words for a type in those of someone who writes YAML.
fn plain(expected: &str) -> String {
    match expected {
        "u16" => format!("a whole number from 0 to {}", u16::MAX),
        "u32" => format!("a whole number from 0 to {}", u32::MAX),
        "u64" => format!("a whole number from 0 to {}", u64::MAX),
        "a sequence" => "a list".to_owned(),
        "path string" => "a path".to_owned(),
        other if other.starts_with("struct ") => "a map".to_owned(),
        other => other.to_owned(),
    }
}

impl<'de> Deserializer<'de> for &'de Node {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.content {
            Content::Null => visitor.visit_unit(),
            Content::Bool(value) => visitor.visit_bool(*value),
            Content::Unsigned(value) => visitor.visit_u64(*value),
            Content::Signed(value) => visitor.visit_i64(*value),
            Content::Float(value) => visitor.visit_f64(*value),
            Content::Text(value) => visitor.visit_borrowed_str(value),
            Content::List(items) => visitor.visit_seq(Items { items: items.iter().enumerate() }),
            Content::Map(entries) => visitor.visit_map(Entries { entries: entries.iter(), current: None }),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.content {
            Content::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    /// serde would take a list as a struct's fields in their order.
    fn deserialize_struct<V: Visitor<'de>>(self, _: &'static str, _: &'static [&'static str], visitor: V) -> Result<V::Value, Fault> {
        match self.content {
            Content::List(_) => Err(de::Error::invalid_type(Unexpected::Seq, &visitor)),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(self, _: &'static str, variants: &'static [&'static str], visitor: V) -> Result<V::Value, Fault> {
        match &self.content {
            Content::Text(name) => visitor.visit_enum(Variant { name, value: None }),
            Content::Map(entries) if let [entry] = entries.as_slice() => {
                visitor.visit_enum(Variant { name: &entry.key, value: Some(&entry.value) })
            }
            Content::Map(_) => {
                let problem = Problem::new(FieldPath::default(), "expected exactly one of the valid names in this map");
                Err(Fault::of(problem.valid(variants.iter().copied())))
            }
            _ => Err(Fault::of(Problem::new(FieldPath::default(), "expected one of the valid names").valid(variants.iter().copied()))),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier ignored_any
    }
}

struct Items<I> {
    items: I,
}

impl<'de, I: Iterator<Item = (usize, &'de Node)>> SeqAccess<'de> for Items<I> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        match self.items.next() {
            Some((index, node)) => seed.deserialize(node).map(Some).map_err(|e| e.under(Segment::Index(index))),
            None => Ok(None),
        }
    }
}

struct Entries<'de> {
    entries: std::slice::Iter<'de, Entry>,
    current: Option<&'de Entry>,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        self.current = self.entries.next();
        match self.current {
            Some(entry) => seed.deserialize(name(&entry.key)).map(Some),
            None => Ok(None),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        match self.current.take() {
            Some(entry) => seed.deserialize(&entry.value).map_err(|e| e.under(Segment::Field(entry.key.clone()))),
            None => Err(Fault::new("a value was asked for before its key")),
        }
    }
}

/// `name`, or `{name: value}`.
struct Variant<'de> {
    name: &'de str,
    value: Option<&'de Node>,
}

impl<'de> EnumAccess<'de> for Variant<'de> {
    type Error = Fault;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Fault> {
        Ok((seed.deserialize(name(self.name))?, self))
    }
}

impl<'de> Variant<'de> {
    fn value(&self) -> Result<&'de Node, Fault> {
        self.value.ok_or_else(|| {
            let problem = Problem::new(FieldPath::default(), format!("`{}` needs a value", self.name));
            Fault::of(problem.help(format!("write `{{{}: …}}`", self.name)))
        })
    }

    fn under(&self, fault: Fault) -> Fault {
        fault.under(Segment::Field(self.name.to_owned()))
    }
}

impl<'de> VariantAccess<'de> for Variant<'de> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        match self.value {
            None => Ok(()),
            Some(_) => {
                let problem = Problem::new(FieldPath::default(), format!("`{}` takes no value", self.name));
                Err(Fault::of(problem.help(format!("write `{}` alone, without braces or colon", self.name))))
            }
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fault> {
        seed.deserialize(self.value()?).map_err(|fault| self.under(fault))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Fault> {
        self.value()?.deserialize_any(visitor).map_err(|fault| self.under(fault))
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, Fault> {
        self.value()?.deserialize_any(visitor).map_err(|fault| self.under(fault))
    }
}

fn name(name: &str) -> StrDeserializer<'_, Fault> {
    name.into_deserializer()
}
