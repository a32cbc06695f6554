//! The topics of a Kafka sink, and which of them a record goes to.

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use weir_spec::{KafkaSink, TopicFrom};

use crate::record::{Batch, json_field};

/// A topic and what it takes.
#[derive(Debug, PartialEq, Eq)]
struct Topic {
    name: String,
    /// Bytes of key, value and headers that a record may have.
    bytes: usize,
}

/// Where a record has the name of its topic.
#[derive(Debug)]
enum NamedBy {
    Header(Vec<u8>),
    Json(Vec<String>),
}

/// The one topic of a Kafka sink, or those among which each record chooses.
#[derive(Debug)]
pub struct Topics {
    topics: Vec<Topic>,
    choice: Option<(NamedBy, HashMap<Vec<u8>, usize, RandomState>)>,
}

impl Topics {
    /// Those of a sink, in the job file's order, each with the bytes of key, value and headers that its records may have.
    #[must_use]
    pub fn new(sink: &KafkaSink, bytes: &[usize]) -> Self {
        let of = |(i, name): (usize, &str)| Topic { name: name.to_owned(), bytes: bytes.get(i).copied().unwrap_or(usize::MAX) };
        let topics: Vec<_> = sink.topics().enumerate().map(of).collect();
        let choice = sink.topic_from.as_ref().map(|from| {
            let named_by = match from {
                TopicFrom::Header(name) => NamedBy::Header(name.clone().into_bytes()),
                TopicFrom::Json(path) => NamedBy::Json(path.split('.').map(str::to_owned).collect()),
            };
            (named_by, topics.iter().enumerate().map(|(i, topic)| (topic.name.clone().into_bytes(), i)).collect())
        });
        Self { topics, choice }
    }

    /// Whether each record chooses its topic.
    #[must_use]
    pub fn are_chosen(&self) -> bool {
        self.choice.is_some()
    }

    /// Bytes of key, value and headers that every topic takes.
    #[must_use]
    pub fn least_bytes(&self) -> usize {
        self.topics.iter().map(|topic| topic.bytes).min().unwrap_or(usize::MAX)
    }

    /// The position of a record's topic in the job file's order. `scratch` is overwritten.
    ///
    /// # Errors
    /// Why it has none.
    pub fn choose(&self, batch: &Batch, row: usize, scratch: &mut Vec<u8>) -> Result<usize, String> {
        let Some((named_by, positions)) = &self.choice else { return Ok(0) };
        match named_by {
            NamedBy::Header(name) => {
                let found = batch.row_headers(row).filter(|(header, _)| header == name).last();
                let value = found.and_then(|(_, value)| value);
                let value = value.ok_or_else(|| format!("it has no header `{}` that names its topic", String::from_utf8_lossy(name)))?;
                scratch.clear();
                scratch.extend_from_slice(value);
            }
            NamedBy::Json(path) => {
                json_field(batch.row(row).value, path, scratch).map_err(|reason| format!("no topic is named: {reason}"))?;
            }
        }
        positions.get(scratch.as_slice()).copied().ok_or_else(|| {
            let named: String = String::from_utf8_lossy(scratch).chars().take(SHOWN).collect();
            format!("the topic `{named}` that it names is none of the sink's `topics`")
        })
    }

    /// Whether the record's topic takes a record of so many bytes. `scratch` is overwritten.
    ///
    /// # Errors
    /// Why no topic takes it.
    pub fn check(&self, batch: &Batch, row: usize, bytes: usize, scratch: &mut Vec<u8>) -> Result<(), String> {
        let position = self.choose(batch, row, scratch)?;
        match self.topics.get(position) {
            Some(topic) if bytes > topic.bytes => {
                Err(format!("an output of {bytes} bytes is larger than its sink's topic takes: {} (max.message.bytes)", topic.bytes))
            }
            _ => Ok(()),
        }
    }
}

/// Characters shown of what should be a topic's name, which is never longer.
const SHOWN: usize = 249;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Origin, RowRef};

    fn sink(from: TopicFrom) -> KafkaSink {
        let topics = vec!["eu".to_owned(), "us".to_owned()];
        let (brokers, delivery, compression, properties) = Default::default();
        KafkaSink { brokers, topic: None, topics, topic_from: Some(from), delivery, compression, properties }
    }

    fn chosen(topics: &Topics, value: Option<&str>, headers: &[(&str, Option<&str>)]) -> Result<usize, String> {
        let mut batch = Batch::default();
        let row = RowRef { key: None, value: value.map(str::as_bytes), timestamp: 1, origin: Origin { split: 0, offset: 0 } };
        batch.push_with_headers(row, headers.iter().map(|(name, value)| (name.as_bytes(), value.map(str::as_bytes))));
        topics.choose(&batch, 0, &mut b"left over".to_vec())
    }

    #[test]
    fn a_header_names_the_topic_and_the_last_of_several_counts() {
        let topics = Topics::new(&sink(TopicFrom::Header("to".into())), &[9, 9]);
        assert!(topics.are_chosen());
        assert_eq!(chosen(&topics, None, &[("to", Some("eu")), ("x", None), ("to", Some("us"))]), Ok(1));
        for headers in [&[][..], &[("to", None)], &[("To", Some("eu"))]] {
            assert_eq!(chosen(&topics, None, headers), Err("it has no header `to` that names its topic".into()));
        }
        let elsewhere = chosen(&topics, None, &[("to", Some("__consumer_offsets"))]).unwrap_err();
        assert_eq!(elsewhere, "the topic `__consumer_offsets` that it names is none of the sink's `topics`");
        assert!(chosen(&topics, None, &[("to", Some(&"x".repeat(100_000)))]).unwrap_err().len() < 400);
    }

    #[test]
    fn a_json_field_names_the_topic() {
        let topics = Topics::new(&sink(TopicFrom::Json("order.region".into())), &[9, 9]);
        assert_eq!(chosen(&topics, Some(r#"{"order": {"region": "eu"}}"#), &[]), Ok(0));
        assert!(chosen(&topics, None, &[]).unwrap_err().contains("tombstone"));
        assert!(chosen(&topics, Some(r#"{"order": {}}"#), &[]).unwrap_err().contains("`order.region`"));
    }

    #[test]
    fn each_topic_has_its_own_limit() {
        let topics = Topics::new(&sink(TopicFrom::Header("to".into())), &[5, 8]);
        let mut batch = Batch::default();
        for to in ["eu", "us"] {
            let row = RowRef { key: None, value: Some(b"x"), timestamp: 1, origin: Origin { split: 0, offset: 0 } };
            batch.push_with_headers(row, std::iter::once((&b"to"[..], Some(to.as_bytes()))));
        }
        assert_eq!(topics.least_bytes(), 5);
        let mut scratch = Vec::new();
        assert!(topics.check(&batch, 0, 6, &mut scratch).unwrap_err().contains("larger than its sink's topic takes: 5"));
        assert_eq!(topics.check(&batch, 1, 6, &mut scratch), Ok(()));
    }
}
