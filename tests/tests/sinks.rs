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
