//! Rules of sources and sinks on their own: one connector each, and what that connector needs.

use std::collections::HashMap;
use std::path::Path;

use super::Findings;
use crate::job::JobSpec;
use crate::problem::{FieldPath, Problem, quote};
use crate::properties::{Properties, Property, is_secret, owned};
use crate::quantity::Duration;
use crate::sink::{KafkaSink, SinkConnector, TopicFrom};
use crate::source::{CsvFormat, Format, GeneratorSource, KafkaSource, SourceConnector, StartPosition, Template};

const SOURCES: [&str; 4] = ["kafka", "file", "stdin", "generator"];
const SINKS: [&str; 4] = ["kafka", "file", "stdout", "blackhole"];

pub(super) fn check(spec: &JobSpec, path: &FieldPath, findings: &mut Findings) {
    let sources = path.field("sources");
    findings.not_empty(&sources, spec.sources.is_empty(), "add a source: a job reads from somewhere");
    let mut taken = Taken::default();
    for (index, source) in spec.sources.iter().enumerate() {
        let at = sources.index(index);
        let connectors: Vec<_> = source.connectors().collect();
        findings.one_connector(&at, &source.id, connectors.iter().map(|(name, _)| *name), SOURCES);
        for (name, connector) in connectors {
            findings.source(&at.field(name), &source.id, connector, &mut taken);
        }
    }
    let sinks = path.field("sinks");
    findings.not_empty(&sinks, spec.sinks.is_empty(), "add a sink; `blackhole: {}` drops what reaches it");
    for (index, sink) in spec.sinks.iter().enumerate() {
        let at = sinks.index(index);
        let connectors: Vec<_> = sink.connectors().collect();
        findings.one_connector(&at, &sink.id, connectors.iter().map(|(name, _)| *name), SINKS);
        for (name, connector) in connectors {
            findings.sink(&at.field(name), &sink.id, connector, &mut taken);
        }
    }
}

/// What only one source or sink may use, with the id of the one that does.
#[derive(Default)]
struct Taken<'a> {
    topics: HashMap<(&'a str, &'a str), &'a str>,
    files: HashMap<&'a Path, &'a str>,
    stdin: Option<&'a str>,
}

impl Findings {
    fn one_connector(&mut self, path: &FieldPath, id: &str, given: impl Iterator<Item = &'static str>, valid: [&'static str; 4]) {
        let given: Vec<_> = given.collect();
        match given.as_slice() {
            [_] => {}
            [] => {
                let problem = Problem::new(path.clone(), format!("{} has no connector", quote(id)));
                self.add(problem.valid(valid).help("add exactly one of the valid fields"));
            }
            several => {
                let message = format!("{} has {} connectors: {}", quote(id), several.len(), several.join(", "));
                self.add(Problem::new(path.clone(), message).help("keep exactly one of them"));
            }
        }
    }

    fn source<'a>(&mut self, path: &FieldPath, id: &'a str, connector: SourceConnector<'a>, taken: &mut Taken<'a>) {
        match connector {
            SourceConnector::Kafka(kafka) => self.kafka_source(path, id, kafka, taken),
            SourceConnector::File(file) => {
                self.not_empty(&path.field("path"), file.path.as_os_str().is_empty(), "name the file to read");
                self.source_format(path, &file.format);
            }
            SourceConnector::Stdin(stdin) => {
                self.source_format(path, &stdin.format);
                if let Some(other) = taken.stdin.replace(id) {
                    let message = format!("standard input is already read by {}", quote(other));
                    self.add(Problem::new(path.clone(), message).help("take that source as input instead"));
                }
            }
            SourceConnector::Generator(generator) => self.generator(path, generator),
        }
    }

    fn kafka_source<'a>(&mut self, path: &FieldPath, id: &'a str, kafka: &'a KafkaSource, taken: &mut Taken<'a>) {
        self.brokers(path, &kafka.brokers);
        let topics = path.field("topics");
        match &kafka.topic_pattern {
            None => self.not_empty(&topics, kafka.topics.is_empty(), "name at least one topic, or give a `topicPattern`"),
            Some(pattern) => self.topic_pattern(path, pattern, !kafka.topics.is_empty()),
        }
        self.start_position(path, &kafka.start_position);
        self.range(&path.field("discoveryInterval"), kafka.discovery_interval, Duration::secs(1)..=Duration::secs(3600));
        for (index, topic) in kafka.topics.iter().enumerate() {
            let at = topics.index(index);
            self.topic(&at, topic);
            // Offsets are committed per topic and partition, so a topic has one position in a job.
            if let Some(other) = taken.topics.insert((&kafka.brokers, topic), id) {
                let message = format!("topic {} is already read by {}", quote(topic), quote(other));
                self.add(Problem::new(at, message).help("read it once; several operators may take that source as input"));
            }
        }
        self.properties(path, &kafka.properties);
    }

    fn topic_pattern(&mut self, path: &FieldPath, pattern: &str, with_topics: bool) {
        let at = path.field("topicPattern");
        if with_topics {
            let problem = Problem::new(at.clone(), "stands beside `topics`");
            self.add(problem.help("keep one of them; a pattern can name topics too: `orders|payments`"));
        }
        if let Err(error) = regex_lite::Regex::new(pattern) {
            let message = format!("{} is no regular expression: {error}", quote(pattern));
            self.add(Problem::new(at, message).help("write one that matches whole names, such as `orders-.*`"));
        }
    }

    fn start_position(&mut self, path: &FieldPath, position: &StartPosition) {
        let at = path.field("startPosition");
        match position {
            StartPosition::Earliest | StartPosition::Latest => {}
            StartPosition::Timestamp(time) => self.at_least(&at.field("timestamp"), *time, 0),
            StartPosition::Offsets(offsets) => {
                let at = at.field("offsets");
                self.not_empty(&at, offsets.is_empty(), "name at least one partition");
                for (index, start) in offsets.iter().enumerate() {
                    let at = at.index(index);
                    self.topic(&at.field("topic"), &start.topic);
                    self.at_least(&at.field("partition"), start.partition, 0);
                    self.at_least(&at.field("offset"), start.offset, 0);
                }
            }
        }
    }

    fn generator(&mut self, path: &FieldPath, generator: &GeneratorSource) {
        if let Some(rate) = generator.rate {
            self.at_least(&path.field("rate"), rate, 1);
        }
        if let Template::Keyed(keyed) = &generator.template {
            let at = path.field("template").field("keyed");
            self.at_least(&at.field("keys"), keyed.keys, 1);
            self.range(&at.field("valueBytes"), keyed.value_bytes, 0..=1 << 20);
        }
    }

    fn sink<'a>(&mut self, path: &FieldPath, id: &'a str, connector: SinkConnector<'a>, taken: &mut Taken<'a>) {
        match connector {
            SinkConnector::Kafka(kafka) => {
                self.brokers(path, &kafka.brokers);
                self.sink_topics(path, kafka);
                self.properties(path, &kafka.properties);
            }
            SinkConnector::File(file) => {
                let at = path.field("path");
                self.not_empty(&at, file.path.as_os_str().is_empty(), "name the file to write");
                if let Some(other) = taken.files.insert(&file.path, id) {
                    let message = format!("this file is already written by {}", quote(other));
                    self.add(Problem::new(at, message).help("give one sink both inputs, or write to another file"));
                }
                self.sink_format(path, &file.format);
            }
            SinkConnector::Stdout(stdout) => self.sink_format(path, &stdout.format),
            SinkConnector::Blackhole(_) => {}
        }
    }

    fn source_format(&mut self, path: &FieldPath, format: &Format) {
        let Format::Csv(csv) = format else { return };
        let at = path.field("format").field("csv");
        let nameless = !csv.header && csv.columns.is_empty();
        self.not_empty(&at.field("columns"), nameless, "name the columns, or let the first row do it, by `header: true`");
        self.csv(&at, csv);
    }

    fn sink_format(&mut self, path: &FieldPath, format: &Format) {
        let Format::Csv(csv) = format else { return };
        let at = path.field("format").field("csv");
        self.not_empty(&at.field("columns"), csv.columns.is_empty(), "name the columns to write");
        self.csv(&at, csv);
    }

    fn csv(&mut self, at: &FieldPath, csv: &CsvFormat) {
        let columns = at.field("columns");
        for (index, name) in csv.columns.iter().enumerate() {
            if csv.columns.iter().take(index).any(|other| other == name) {
                let problem = Problem::new(columns.index(index), format!("{} stands there twice", quote(name)));
                self.add(problem.help("name each column once"));
            }
        }
        let admitted = |byte: &u8| byte.is_ascii() && !matches!(byte, b'"' | b'\r' | b'\n');
        if !matches!(csv.delimiter.as_bytes(), [byte] if admitted(byte)) {
            let problem = Problem::new(at.field("delimiter"), format!("{} is no delimiter", quote(&csv.delimiter)));
            self.add(problem.help("use one ASCII character, such as `,`, `;` or a tab, and no quote or line feed"));
        }
    }

    fn brokers(&mut self, path: &FieldPath, brokers: &str) {
        let is_address = |broker: &str| {
            let broker = broker.trim();
            let (host, port) = broker.rsplit_once(':').unwrap_or((broker, "9092"));
            !host.is_empty() && !host.contains(char::is_whitespace) && port.parse::<u16>().is_ok_and(|port| port > 0)
        };
        if !brokers.split(',').all(is_address) {
            let message = format!("{} is no list of brokers", quote(brokers));
            self.add(Problem::new(path.field("brokers"), message).help("write `host:port`, several joined by commas"));
        }
    }

    fn sink_topics(&mut self, path: &FieldPath, kafka: &KafkaSink) {
        let (one, several, from) = (path.field("topic"), path.field("topics"), path.field("topicFrom"));
        match (&kafka.topic, &kafka.topic_from) {
            (Some(_), None) if kafka.topics.is_empty() => {}
            (None, Some(_)) => self.not_empty(&several, kafka.topics.is_empty(), "name the topics that records may choose"),
            (Some(_), _) => {
                let other = if kafka.topics.is_empty() { "topicFrom" } else { "topics" };
                self.add(Problem::new(one.clone(), format!("stands beside `{other}`")).help("keep `topic`, or `topics` with `topicFrom`"));
            }
            (None, None) if kafka.topics.is_empty() => {
                let problem = Problem::new(path.clone(), "no topic is named");
                self.add(problem.help("give it a `topic`, or `topics` with `topicFrom`"));
            }
            (None, None) => {
                let problem = Problem::new(several.clone(), "no `topicFrom` says how a record chooses among them");
                self.add(problem.help("add `topicFrom: {header: NAME}` or `{json: FIELD}`, or keep one, as `topic`"));
            }
        }
        match &kafka.topic_from {
            Some(TopicFrom::Header(name)) => self.not_empty(&from.field("header"), name.is_empty(), "name a header"),
            Some(TopicFrom::Json(field)) => self.not_empty(&from.field("json"), field.is_empty(), "name a field of a JSON value"),
            None => {}
        }
        if let Some(topic) = &kafka.topic {
            self.topic(&one, topic);
        }
        for (index, topic) in kafka.topics.iter().enumerate() {
            let at = several.index(index);
            self.topic(&at, topic);
            if kafka.topics.iter().take(index).any(|other| other == topic) {
                self.add(Problem::new(at, format!("{} stands there twice", quote(topic))).help("name each topic once"));
            }
        }
    }

    /// The names that Kafka's own `Topic.validate` admits.
    fn topic(&mut self, path: &FieldPath, topic: &str) {
        let admitted = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if !(1..=249).contains(&topic.len()) || !topic.bytes().all(admitted) || topic == "." || topic == ".." {
            let problem = Problem::new(path.clone(), format!("{} is no topic name", quote(topic)));
            self.add(problem.help("use 1 to 249 letters, digits, `.`, `_` and `-`"));
        }
    }

    fn properties(&mut self, path: &FieldPath, properties: &Properties) {
        for (name, value) in &properties.0 {
            let at = path.field("properties").field(name.as_str());
            if let Some(mend) = owned(name) {
                self.add(Problem::new(at, format!("property {} belongs to Weir", quote(name))).help(mend));
            } else if is_secret(name) && matches!(value, Property::Text(_)) {
                let message = format!("property {} is a secret, and must not stand in the job file", quote(name));
                self.add(Problem::new(at, message).help("refer to it: `{env: NAME}` or `{file: PATH}`"));
            }
        }
    }
}
