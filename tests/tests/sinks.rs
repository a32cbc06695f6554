//! What becomes of records that a sink or a keyed edge does not take, and where dead letters go.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use weir_tests::broker::broker;
use weir_tests::job::{Job, operator};
use weir_tests::records::{self, Record};
use weir_tests::weir::{Folder, code};

const DEADLINE: Duration = Duration::from_secs(60);

/// A topic that takes batches of 100,000 bytes, and one of two megabytes.
const SMALL: &str = "100000";
const LARGE: &str = "2000000";

#[test]
fn an_output_too_large_for_its_topic_goes_where_on_error_says_and_a_large_topic_takes_it() {
    let input = broker().topic_with("sizes", 1, &[("max.message.bytes", LARGE)]);
    let records: Vec<Record> =
        (0..200).map(|i| Record::keyed(format!("key-{i}"), vec![b'x'; if i % 50 == 7 { 300_000 } else { 1_000 }])).collect();
    broker().produce(&input, &records);
    for (on_error, takes, copied, letters) in [
        (json!({ "deadLetter": "letters" }), SMALL, 196, 4),
        (json!("skip"), SMALL, 196, 0),
        (json!({ "deadLetter": "letters" }), LARGE, 200, 0),
    ] {
        let output = broker().topic_with("sized", 1, &[("max.message.bytes", takes)]);
        let job = Job::new(format!("sizes-{output}"))
            .source("in", broker().source(&input))
            .operator(operator("copy", "passthrough", "in", json!({ "onError": on_error })))
            .sink("out", &["copy"], broker().sink(&output));
        let to_letters = on_error.is_object();
        let job =
            if to_letters { job.sink("letters", &[], json!({ "file": { "path": "letters.ndjson", "format": "ndjson" } })) } else { job };
        let folder = Folder::new();
        folder.run(&job, &["--until-end"], DEADLINE).expect(code::OK);
        assert_eq!(broker().records(&output).len(), copied, "{on_error} {takes}");
        let dead = if to_letters { records::read(&folder.path("letters.ndjson")) } else { vec![] };
        assert_eq!(dead.len(), letters, "{on_error} {takes}");
        for letter in dead {
            let reason = letter.header("weir-reason").unwrap();
            assert!(reason.contains("larger than its sink's topic takes") && reason.contains("max.message.bytes"), "{reason}");
        }
    }
    let output = broker().topic_with("sized", 1, &[("max.message.bytes", SMALL)]);
    let job = Job::new("sizes-fail").source("in", broker().source(&input)).operator(operator("copy", "passthrough", "in", json!({}))).sink(
        "out",
        &["copy"],
        broker().sink(&output),
    );
    let outcome = Folder::new().run(&job, &["--until-end"], DEADLINE).expect(code::GUEST);
    outcome.expect_named(&["operator copy", &format!("{input}/0 offset 7"), "max.message.bytes"]);
}

fn with_null_keys(folder: &Folder) -> Value {
    let keyed = |i: usize| Record { key: (i % 10 != 3).then(|| format!("key-{}", i % 4).into_bytes()), ..Record::keyed("", "v") };
    records::write(&folder.path("in.ndjson"), &(0..50).map(keyed).collect::<Vec<_>>());
    json!({ "file": { "path": "in.ndjson", "format": "ndjson" } })
}

#[test]
fn a_null_key_at_a_keyed_edge_goes_where_on_error_says_with_one_worker_and_several() {
    for workers in [1, 4] {
        for (on_error, ends, counted) in [(json!("skip"), code::OK, 45), (json!("fail"), code::GUEST, 0)] {
            let folder = Folder::new();
            let job = Job::new("null-keys")
                .source("in", with_null_keys(&folder))
                .operator(operator("count", "count", "in", json!({ "key": "record", "onError": on_error })))
                .sink("out", &["count"], json!({ "file": { "path": "out.txt" } }))
                .runtime(json!({ "workers": workers }));
            let outcome = folder.run(&job, &[], DEADLINE).expect(ends);
            if ends == code::OK {
                assert_eq!(fs::read_to_string(folder.path("out.txt")).unwrap().lines().count(), counted);
                outcome.expect_named(&["5 errors", "null key"]);
            } else {
                outcome.expect_named(&["operator count", "in.ndjson/0", "null key"]);
            }
        }
    }
}

#[test]
fn dead_letters_go_to_any_sink_with_reason_and_origin() {
    let topic = broker().topic("dead-letters", 1);
    for (name, sink) in [
        ("kafka", broker().sink(&topic)),
        ("file", json!({ "file": { "path": "letters.ndjson", "format": "ndjson" } })),
        ("stdout", json!({ "stdout": { "format": "ndjson" } })),
        ("blackhole", json!({ "blackhole": {} })),
    ] {
        let folder = Folder::new();
        let job = Job::new(format!("letters-to-{name}"))
            .source("in", with_null_keys(&folder))
            .operator(operator("count", "count", "in", json!({ "key": "record", "onError": { "deadLetter": "letters" } })))
            .sink("out", &["count"], json!({ "file": { "path": "out.txt" } }))
            .sink("letters", &[], sink);
        let outcome = folder.run(&job, &[], DEADLINE).expect(code::OK);
        let letters = match name {
            "kafka" => broker().records(&topic),
            "file" => records::read(&folder.path("letters.ndjson")),
            "stdout" => {
                fs::write(folder.path("stdout.ndjson"), &outcome.stdout).unwrap();
                records::read(&folder.path("stdout.ndjson"))
            }
            _ => continue,
        };
        assert_eq!(letters.len(), 5, "{name}");
        for letter in letters {
            let header = |name: &str| letter.header(name).unwrap_or_else(|| panic!("{name} of {letter:?}"));
            assert_eq!((header("weir-operator"), header("weir-source-topic")), ("count".to_owned(), "in.ndjson".to_owned()));
            assert!(header("weir-reason").contains("null key") && header("weir-source-offset").parse::<u64>().is_ok());
            assert_eq!((letter.key.as_ref(), letter.text()), (None, "v".to_owned()), "{name}");
        }
    }
}

fn routed(topics: &[String], from: &Value, delivery: &str) -> Value {
    let mut sink = broker().sink("");
    sink["kafka"] = json!({ "brokers": sink["kafka"]["brokers"], "topics": topics, "topicFrom": from, "delivery": delivery });
    sink
}

#[test]
fn records_choose_among_a_sinks_topics_and_one_that_names_none_goes_where_on_error_says() {
    for (from, delivery, workers) in [(json!({ "header": "to" }), "exactly-once", 1), (json!({ "json": "order.to" }), "at-least-once", 2)] {
        let name = format!("routed-{delivery}");
        let input = broker().topic(&name, 2);
        let topics: Vec<String> = ["eu", "us", "nobodys"].iter().map(|name| broker().topic(&format!("routed-{name}"), 3)).collect();
        let record = |i: usize| {
            // One in ten names a topic that exists, but is none of the sink's; one in ten names none at all.
            let to = match i % 10 {
                8 => Some(input.as_str()),
                9 => None,
                n => topics.get(n % 2).map(String::as_str),
            };
            let value = json!({ "order": { "to": to, "n": i } }).to_string();
            let headers = to.map(|to| ("to".to_owned(), Some(to.as_bytes().to_vec()))).into_iter().collect();
            Record { headers, ..Record::keyed(format!("key-{}", i % 7), value) }
        };
        let records: Vec<Record> = (0..500).map(record).collect();
        broker().produce(&input, &records);
        let job = Job::new(name)
            .source("in", broker().source(&input))
            // It flips a bit of each byte, so two of them copy.
            .operator(operator("flip", "passthrough", "in", json!({})))
            .operator(operator("copy", "passthrough", "flip", json!({ "onError": { "deadLetter": "letters" } })))
            .sink("out", &["copy"], routed(&topics, &from, delivery))
            .sink("letters", &[], json!({ "file": { "path": "letters.ndjson", "format": "ndjson" } }))
            .runtime(json!({ "workers": workers }));
        let folder = Folder::new();
        folder.run(&job, &["--until-end"], DEADLINE).expect(code::OK);
        for (position, topic) in topics.iter().enumerate() {
            let came = broker().records(topic);
            let sent = |key: &[u8]| {
                let of_key =
                    records.iter().enumerate().filter(|(i, r)| i % 10 < 8 && i % 10 % 2 == position && r.key.as_deref() == Some(key));
                of_key.map(|(_, r)| r.text()).collect::<Vec<_>>()
            };
            assert_eq!(came.len(), [200, 200, 0][position], "{topic}");
            for key in (0..7).map(|k| format!("key-{k}").into_bytes()) {
                let of_key: Vec<_> = came.iter().filter(|r| r.key.as_ref() == Some(&key)).map(Record::text).collect();
                assert_eq!(of_key, if position < 2 { sent(&key) } else { vec![] }, "{topic}: each in the order it was sent");
            }
        }
        let letters = records::read(&folder.path("letters.ndjson"));
        assert_eq!(letters.len(), 100);
        assert!(letters.iter().all(|letter| letter.header("weir-reason").unwrap().contains("topic")));
    }
}

#[test]
fn a_record_that_names_no_topic_stops_a_job_without_an_operator_and_a_missing_topic_is_named_at_the_start() {
    let (input, there) = (broker().topic("unrouted-in", 1), broker().topic("unrouted", 1));
    broker().produce(&input, &[Record::keyed("key", "value")]);
    let from = json!({ "header": "to" });
    let job = |name: &str, topics: &[String]| {
        Job::new(name).source("in", broker().source(&input)).sink("out", &["in"], routed(topics, &from, "exactly-once"))
    };
    let outcome = Folder::new().run(&job("unrouted", std::slice::from_ref(&there)), &["--until-end"], DEADLINE).expect(code::WORLD);
    outcome.expect_named(&["sink out", &format!("{input}/0 offset 0"), "no header `to`"]);
    let missing = "nobody-made-this".to_owned();
    let outcome = Folder::new().run(&job("unroutable", &[there, missing]), &["--until-end"], DEADLINE).expect(code::WORLD);
    outcome.expect_named(&["nobody-made-this", "does not exist"]);
}
