//! YAML as a tree of values, each with its position.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::DuplicateKeyPolicy;
use serde_saphyr::{Location, MessageFormatter, Options, Spanned, UserMessageFormatter};

use super::Position;
use crate::problem::{FieldPath, Problem, Segment, quote};

const MAX_DEPTH: usize = 64;
const MAX_NODES: usize = 100_000;
const MAX_TEXT: usize = 4 << 20;

/// A value and where it stands.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) position: Position,
    pub(super) content: Content,
}

#[derive(Debug)]
pub(super) enum Content {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_position: Position,
    pub(super) value: Node,
}

/// Where a path leads: the field's key or the list's element; for a field that is not there, what should hold it.
pub(super) struct Place<'a> {
    pub(super) position: Position,
    /// The value; absent when the field is not there.
    pub(super) node: Option<&'a Node>,
}

impl Node {
    pub(super) fn parse(text: &str) -> Result<Self, Box<Problem>> {
        serde_saphyr::from_str_with_options(text, options()).map_err(|error| Box::new(syntax(&error)))
    }

    pub(super) fn locate(&self, path: &FieldPath) -> Place<'_> {
        let mut place = Place { position: self.position, node: Some(self) };
        for segment in path.segments() {
            let step = match (segment, place.node.map(|node| &node.content)) {
                (Segment::Field(name), Some(Content::Map(entries))) => {
                    entries.iter().find(|entry| entry.key == *name).map(|entry| (entry.key_position, &entry.value))
                }
                (Segment::Index(index), Some(Content::List(items))) => items.get(*index).map(|item| (item.position, item)),
                _ => None,
            };
            match step {
                Some((position, node)) => place = Place { position, node: Some(node) },
                None => return Place { node: None, ..place },
            }
        }
        place
    }

    /// A scalar as text for a person; `None` for lists, maps, and what shows nothing.
    pub(super) fn scalar(&self) -> Option<String> {
        match &self.content {
            Content::Null | Content::List(_) | Content::Map(_) => None,
            Content::Bool(value) => Some(quote(&value.to_string())),
            Content::Unsigned(value) => Some(quote(&value.to_string())),
            Content::Signed(value) => Some(quote(&value.to_string())),
            Content::Float(value) => Some(quote(&value.to_string())),
            Content::Text(value) => (!value.is_empty()).then(|| quote(value)),
        }
    }
}

fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_events: 4 * MAX_NODES,
            // Counts aliased text once for each alias.
            max_total_scalar_bytes: MAX_TEXT,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MAX_NODES,
            max_replay_stack_depth: MAX_DEPTH,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        // As in YAML 1.2: `no` is a country and `0755` has its zero.
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
    }
}

fn syntax(error: &serde_saphyr::Error) -> Problem {
    let path = FieldPath::default();
    let mut problem = match innermost(error) {
        serde_saphyr::Error::DuplicateMappingKey { key, .. } => {
            let key = key.as_deref().map(|key| format!(" {}", quote(key))).unwrap_or_default();
            Problem::new(path, format!("the field{key} stands here twice")).help("remove one of the two")
        }
        serde_saphyr::Error::MultipleDocuments { .. } => {
            Problem::new(path, "more than one document").help("keep one job per file: remove what follows `---`")
        }
        serde_saphyr::Error::Budget { .. }
        | serde_saphyr::Error::AliasReplayLimitExceeded { .. }
        | serde_saphyr::Error::AliasReplayStackDepthExceeded { .. } => Problem::new(
            path,
            format!("too large once aliases are expanded: at most {MAX_NODES} values of {MAX_TEXT} bytes, nested {MAX_DEPTH} deep"),
        ),
        other => Problem::new(path, format!("not valid YAML: {}", UserMessageFormatter.format_message(other))),
    };
    problem.position = error.location().map(position);
    problem
}

/// What is wrong, without the wrappers for aliases on the way to it and for the text around it, which may hold secrets.
fn innermost(mut error: &serde_saphyr::Error) -> &serde_saphyr::Error {
    use serde_saphyr::Error::{AliasError, WithSnippet};
    while let AliasError { error: inner, .. } | WithSnippet { error: inner, .. } = error {
        error = inner;
    }
    error
}

fn position(location: Location) -> Position {
    Position { line: location.line(), column: location.column() }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Content>::deserialize(deserializer)?;
        // Where the text stands, also when it was brought here by an alias: that is what has to be mended.
        Ok(Self { position: position(spanned.defined), content: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that JSON has")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Content, E> {
        Ok(Content::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Content, E> {
        Ok(Content::Bool(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Content, E> {
        Ok(Content::Unsigned(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Content, E> {
        Ok(Content::Signed(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Content, E> {
        Ok(Content::Float(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Content, E> {
        Ok(Content::Text(value.to_owned()))
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Content, E> {
        Ok(Content::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Content, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Content::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Content, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let key_position = position(key.defined);
            entries.push(Entry { key: key.value, key_position, value: map.next_value()? });
        }
        Ok(Content::Map(entries))
    }
}
