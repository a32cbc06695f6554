//! Golden cases: what example guests make of more than a thousand records, through files and through a real broker,
//! with one worker and several, in batches of one record, and with a fresh instance for every batch, and moved by
//! savepoints on the way.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use weir_tests::broker::{Received, broker};
use weir_tests::job::{Job, operator};
use weir_tests::model;
use weir_tests::records::{self, Random, Record, assert_equal_by_key};
use weir_tests::s3::S3;
use weir_tests::wait;
use weir_tests::weir::{Folder, code};

const RECORDS: usize = 1_500;
/// The most records that come while a job is stopped.
const MEANWHILE: usize = 400;
const DEADLINE: Duration = Duration::from_secs(60);
const PARTITIONS: i32 = 4;

/// How a case is run: none of these may change what comes out.
const VARIANTS: [(&str, &[&str]); 4] = [
    ("one-worker", &["--workers", "1"]),
    ("four-workers", &["--workers", "4"]),
    ("single-records", &["--workers", "4", "--batch-records", "1"]),
    ("fresh-instances", &["--workers", "4", "--fresh-instance-per-batch"]),
];

struct Case {
    name: &'static str,
    input: Vec<Record>,
    /// A chain; the first reads the source `in`, each port of the last is written to a sink of its own.
    operators: Vec<Value>,
    /// Per port what comes out of it; the main one has no name.
    expected: Vec<(&'static str, Vec<Record>)>,
    /// Whether time and headers of the output follow from the input, however its partitions interleave.
    whole: bool,
}

/// The reason that a record was refused for stands in a header, in words that no model knows.
const INVALID: &str = "invalid";

fn main(expected: Vec<Record>) -> Vec<(&'static str, Vec<Record>)> {
    vec![("", expected)]
}

fn copy() -> Case {
    let input = records::mixed(1, RECORDS);
    Case { name: "copy", operators: vec![], expected: main(model::copy(&input)), input, whole: true }
}

/// The same function is there twice: through the SDK, and over raw columns.
fn passthrough(component: &'static str) -> Case {
    let input = records::mixed(2, RECORDS);
    let operators = vec![operator("flip", component, "in", json!({}))];
    Case { name: component, operators, expected: main(model::passthrough(&input)), input, whole: true }
}

fn filter_map() -> Case {
    let input = records::mixed(3, RECORDS);
    let operators = vec![operator("cats", "filter-map", "in", json!({ "config": { "contains": "cat" } }))];
    Case { name: "filter-map", operators, expected: main(model::filter_map(&input, "cat")), input, whole: true }
}

fn word_count() -> Case {
    let input = records::lines(4, RECORDS);
    let operators = vec![operator("split", "split", "in", json!({})), operator("count", "count", "split", json!({ "key": "record" }))];
    Case { name: "word-count", operators, expected: main(model::word_count(&input)), input, whole: false }
}

fn keyed_average() -> Case {
    let input = records::numbers(5, RECORDS);
    let operators = vec![operator("average", "keyed-average", "in", json!({ "key": "record", "onError": "skip" }))];
    Case { name: "keyed-average", operators, expected: main(model::keyed_average(&input)), input, whole: true }
}

fn map_counts() -> Case {
    let input = records::commands(6, RECORDS);
    let more = json!({ "key": "record", "onError": "skip", "config": { "prefetch": true, "page": 3 } });
    let operators = vec![operator("counts", "map-counts", "in", more)];
    Case { name: "map-counts", operators, expected: main(model::map_counts(&input)), input, whole: true }
}

fn enrich_and_branch() -> Case {
    const REGIONS: [(&str, &str); 4] = [("DE", "europe"), ("FR", "europe"), ("US", "americas"), ("CA", "americas")];
    let input = records::orders(7, RECORDS);
    let regions: HashMap<_, _> = REGIONS.into_iter().collect();
    let more = json!({ "config": { "regions": regions, "largeFrom": 10_000 } });
    let operators = vec![operator("enrich", "enrich-and-branch", "in", more)];
    let mut ports = model::enrich_and_branch(&input, &REGIONS, 10_000);
    let expected = ["", "europe", "americas", INVALID].map(|port| (port, ports.remove(port).unwrap()));
    assert!(ports.is_empty());
    Case { name: "enrich-and-branch", operators, expected: expected.into(), input, whole: true }
}

fn fraud_velocity() -> Case {
    let input = records::payments(8, RECORDS);
    let more = json!({ "key": "record", "onError": "skip", "config": { "payments": 3, "withinMs": 30_000, "jump": 20 } });
    let operators = vec![operator("velocity", "fraud-velocity", "in", more)];
    let expected = main(model::fraud_velocity(&input, 3, 30_000, 20));
    for rule in ["velocity", "jump"] {
        assert!(expected[0].1.iter().filter(|alert| alert.text().contains(rule)).count() > 20, "hardly any alert of rule {rule}");
    }
    Case { name: "fraud-velocity", operators, expected, input, whole: true }
}

fn log_parse() -> Case {
    let input = records::log_lines(9, RECORDS);
    let operators = vec![operator("parse", "log-parse", "in", json!({}))];
    let (parsed, unparsed) = model::log_parse(&input);
    Case { name: "log-parse", operators, expected: vec![("", parsed), ("unparsed", unparsed)], input, whole: true }
}

impl Case {
    /// `sink` makes the sink of a port.
    fn job(&self, variant: &str, source: Value, sink: impl Fn(&str) -> Value) -> Job {
        let mut job = Job::new(format!("{}-{variant}", self.name)).source("in", source);
        let mut last = "in";
        for operator in &self.operators {
            job = job.operator(operator.clone());
            last = operator["id"].as_str().unwrap();
        }
        for (port, _) in &self.expected {
            let input = if port.is_empty() { last.to_owned() } else { format!("{last}.{port}") };
            job = job.sink(&format!("out-{port}x"), &[&input], sink(port));
        }
        job
    }

    fn check(&self, variant: &str, port: &str, expected: &[Record], mut actual: Vec<Record>) {
        let comparable = |records: Vec<Record>| if self.whole { records } else { records.into_iter().map(Record::bare).collect() };
        let what = format!("{} {variant} {port}", self.name);
        assert!(!expected.is_empty());
        if port == INVALID {
            for record in &mut actual {
                assert!(record.header("reason").is_some_and(|reason| !reason.is_empty()), "{what}: {record:?} has no reason");
                record.headers.clear();
            }
        }
        assert_equal_by_key(&what, &comparable(actual), &comparable(expected.to_vec()));
    }

    fn over_files(&self) {
        let folder = Folder::new();
        records::write(&folder.path("in.ndjson"), &self.input);
        for (variant, arguments) in VARIANTS {
            let out = |port: &str| format!("{variant}-{port}.ndjson");
            let source = json!({ "file": { "path": "in.ndjson", "format": "ndjson" } });
            let job = self.job(variant, source, |port| json!({ "file": { "path": out(port), "format": "ndjson" } }));
            folder.run(&job, arguments, DEADLINE).expect(code::OK);
            for (port, expected) in &self.expected {
                self.check(variant, port, expected, records::read(&folder.path(out(port))));
            }
        }
    }

    fn over_kafka(&self) {
        let broker = broker();
        let folder = Folder::new();
        let input = broker.topic(self.name, PARTITIONS);
        broker.produce(&input, &self.input);
        let partitions = partitions_of_keys(&broker.consume(&input));
        for (variant, arguments) in VARIANTS {
            let topic = |port: &str| broker.topic(&format!("{}-{variant}-{port}", self.name), PARTITIONS);
            let outputs: HashMap<&str, String> = self.expected.iter().map(|(port, _)| (*port, topic(port))).collect();
            let job = self.job(variant, broker.source(&input), |port| broker.sink(&outputs[port]));
            folder.run(&job, &[arguments, &["--until-end"]].concat(), DEADLINE).expect(code::OK);
            assert!(broker.is_at_end(&job.group(), &input), "{} {variant}: the committed offsets are not the ends", self.name);
            for (port, expected) in &self.expected {
                let received = broker.consume(&outputs[port]);
                for (key, partition) in partitions_of_keys(&received) {
                    let by_other_producer = partitions.get(&key).copied().unwrap_or(partition);
                    assert_eq!(partition, by_other_producer, "{} {variant}: partition of key {key:?}", self.name);
                }
                self.check(variant, port, expected, received.into_iter().map(|received| received.record).collect());
            }
        }
    }
}

/// Runs a case over Kafka as three runs, each with other workers and on another machine: from the start, from a savepoint
/// in a folder, and from one in S3 over checkpoints there. Each is stopped after at least as many epochs as the
/// seed says, while records flow.
fn by_savepoints(case: &Case, seed: u64) {
    let (broker, s3, mut random) = (broker(), S3::start(), Random::new(seed));
    let topic = |what: &str| broker.topic(&format!("{}-saved-{what}", case.name), PARTITIONS);
    let input = topic("in");
    let outputs: HashMap<&str, String> = case.expected.iter().map(|(port, _)| (*port, topic(port))).collect();
    let job = case.job("saved", broker.source(&input), |port| broker.sink(&outputs[port])).interval(Duration::from_millis(50));
    let kept = Folder::new();
    let places = [kept.path("savepoint").to_str().unwrap().to_owned(), s3.place("savepoint")];
    let mut rest = &case.input[..];
    for (step, workers) in [1, 4].into_iter().enumerate() {
        let folder = s3.folder();
        let from = places[..step].last().map(|place| ["--from-savepoint", place]);
        let job = job.clone().runtime(json!({ "workers": workers }));
        let mut run = folder.start(&job, from.as_ref().map_or(&[], |from| from));
        for _ in 0..=random.below(6) {
            let (some, later) = rest.split_at(10 + random.below(40) as usize);
            broker.produce(&input, some);
            rest = later;
            wait::until(&format!("{} with {workers} workers at the end of its input", case.name), DEADLINE, || {
                run.assert_running();
                broker.is_at_end(&job.group(), &input)
            });
        }
        let has_ended = AtomicBool::new(false);
        rest = thread::scope(|scope| {
            let flow = scope.spawn(|| {
                let mut sent = 0;
                while sent < MEANWHILE && !has_ended.load(Ordering::Relaxed) {
                    broker.produce(&input, &rest[sent..=sent]);
                    sent += 1;
                }
                sent
            });
            folder.command(&["stop", "job.yaml", "--savepoint", &places[step]]).expect(code::OK);
            has_ended.store(true, Ordering::Relaxed);
            &rest[flow.join().unwrap()..]
        });
        run.wait(DEADLINE).expect(code::OK);
    }
    broker.produce(&input, rest);
    let job = job.checkpoint(s3.store()).runtime(json!({ "workers": 2 }));
    s3.folder().run(&job, &["--from-savepoint", &places[1], "--until-end"], DEADLINE).expect(code::OK);
    assert!(broker.is_at_end(&job.group(), &input), "{}: the committed offsets are not the ends", case.name);
    for (port, expected) in &case.expected {
        case.check("by savepoints", port, expected, broker.records(&outputs[port]));
    }
}

/// The partition of each key.
fn partitions_of_keys(received: &[Received]) -> HashMap<Vec<u8>, i32> {
    let mut partitions = HashMap::new();
    for Received { partition, record, .. } in received {
        if let Some(key) = &record.key {
            let first = *partitions.entry(key.clone()).or_insert(*partition);
            assert_eq!(*partition, first, "{record:?} lies apart from others of its key");
        }
    }
    partitions
}

#[test]
fn a_copy_over_files_changes_nothing() {
    copy().over_files();
}

#[test]
fn a_copy_over_kafka_changes_nothing() {
    copy().over_kafka();
}

#[test]
fn passthrough_over_files_equals_the_model() {
    passthrough("passthrough").over_files();
}

#[test]
fn passthrough_without_the_sdk_over_files_equals_the_model() {
    passthrough("passthrough-raw").over_files();
}

#[test]
fn passthrough_over_kafka_equals_the_model() {
    passthrough("passthrough").over_kafka();
}

#[test]
fn filter_map_over_files_equals_the_model() {
    filter_map().over_files();
}

#[test]
fn filter_map_over_kafka_equals_the_model() {
    filter_map().over_kafka();
}

#[test]
fn word_count_over_files_equals_the_model() {
    word_count().over_files();
}

#[test]
fn word_count_over_kafka_equals_the_model() {
    word_count().over_kafka();
}

#[test]
fn keyed_average_over_files_equals_the_model() {
    keyed_average().over_files();
}

#[test]
fn keyed_average_over_kafka_equals_the_model() {
    keyed_average().over_kafka();
}

#[test]
fn map_counts_over_files_equals_the_model() {
    map_counts().over_files();
}

#[test]
fn map_counts_over_kafka_equals_the_model() {
    map_counts().over_kafka();
}

#[test]
fn enrich_and_branch_over_files_equals_the_model() {
    enrich_and_branch().over_files();
}

#[test]
fn enrich_and_branch_over_kafka_equals_the_model() {
    enrich_and_branch().over_kafka();
}

#[test]
fn fraud_velocity_over_files_equals_the_model() {
    fraud_velocity().over_files();
}

#[test]
fn fraud_velocity_over_kafka_equals_the_model() {
    fraud_velocity().over_kafka();
}

#[test]
fn log_parse_over_files_equals_the_model() {
    log_parse().over_files();
}

#[test]
fn log_parse_over_kafka_equals_the_model() {
    log_parse().over_kafka();
}

#[test]
fn functions_without_state_that_move_by_savepoints_equal_the_model() {
    for (case, seed) in
        [copy(), passthrough("passthrough"), passthrough("passthrough-raw"), filter_map(), enrich_and_branch()].iter().zip(1..)
    {
        by_savepoints(case, seed);
    }
}

#[test]
fn functions_with_state_that_move_by_savepoints_equal_the_model() {
    for (case, seed) in [word_count(), keyed_average(), map_counts(), fraud_velocity(), log_parse()].iter().zip(1..) {
        by_savepoints(case, seed);
    }
}
