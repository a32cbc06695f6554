//! Jobs without a Kafka source. What they have read stands in their checkpoints only, and the commit at partition 0 of their
//! sink's topic or, without any Kafka, in a file (rule 12).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use weir_tests::broker::broker;
use weir_tests::job::{Job, operator};
use weir_tests::model;
use weir_tests::records::{self, Record, assert_equal_by_key};
use weir_tests::wait;
use weir_tests::weir::{Folder, code};

const DEADLINE: Duration = Duration::from_secs(90);
const KEYS: u64 = 500;
const GENERATED: u64 = 40_000;
const PER_SECOND: u64 = 4_000;
const IN_FILE: u64 = 500_000;
const KILLS: usize = 3;
const NEW: &str = "a new run begins";

/// A source whose records are due one after the other, and those records.
fn generated() -> (Value, Vec<Record>) {
    let template = json!({ "keyed": { "keys": KEYS, "valueBytes": 8 } });
    let mut source = json!({ "generator": { "template": template, "seed": 12, "count": GENERATED } });
    let folder = Folder::new();
    let job = Job::new("made").source("in", source.clone()).sink("out", &["in"], file("made.ndjson"));
    folder.run(&job, &[], DEADLINE).expect(code::OK);
    let records = records::read(&folder.path("made.ndjson"));
    assert_eq!(records.len() as u64, GENERATED);
    source["generator"]["rate"] = json!(PER_SECOND);
    (source, records)
}

fn file(path: &str) -> Value {
    json!({ "file": { "path": path, "format": "ndjson" } })
}

/// Counts what a source gives, into a file.
fn counting(name: &str, source: &Value) -> Job {
    Job::new(name)
        .checkpoint(json!({ "transactionTimeout": "10s" }))
        .source("in", source.clone())
        .operator(operator("count", "count", "in", json!({ "key": "record" })))
        .sink("file", &["count"], file("out.ndjson"))
}

/// Kills the job several times on its way, and lets it come to its end. `epoch` says which is committed.
fn through_kills(job: &Job, folder: &Folder, epoch: impl Fn() -> u64) {
    for kill in 0..KILLS {
        let mut run = folder.start(job, &[]);
        wait::until("a start", DEADLINE, || {
            run.assert_running();
            run.stderr().contains(if kill == 0 { NEW } else { "resuming" })
        });
        let begun = epoch();
        wait::until(&format!("an epoch beyond {begun}"), DEADLINE, || {
            run.assert_running();
            epoch() > begun
        });
        run.kill_9();
    }
    let ended = folder.run(job, &[], DEADLINE).expect(code::OK).expect_named(&["resuming"]);
    assert!(!ended.stderr.contains(NEW), "{}", ended.stderr);
}

/// Only what does not depend on when it was made.
fn bare(records: Vec<Record>) -> Vec<Record> {
    records.into_iter().map(Record::bare).collect()
}

fn assert_counted(what: &str, output: Vec<Record>, input: &[Record]) {
    assert_equal_by_key(what, &bare(output), &bare(model::count(input)));
}

/// A start is refused by name, and leaves the file sink as it was.
fn assert_refused(job: &Job, folder: &Folder) {
    let before = fs::read(folder.path("out.ndjson")).unwrap();
    let refused = folder.run(job, &[], DEADLINE).expect(code::START_REFUSED);
    refused.expect_named(&["has begun by the checkpoint store, but nothing is committed for it", "--fresh"]);
    assert!(fs::read(folder.path("out.ndjson")).unwrap() == before, "a refused start has changed the output");
}

#[test]
fn rule_12_a_job_that_only_writes_to_kafka_counts_exactly_through_kills_and_is_refused_without_its_commit() {
    let (folder, (source, input)) = (Folder::new(), generated());
    let counts = broker().topic("generated-out", 2);
    let job = counting("generated", &source).sink("topic", &["count"], broker().sink(&counts)).runtime(json!({ "workers": 2 }));
    through_kills(&job, &folder, || broker().epoch(&job.group(), &counts));
    let committed = broker().committed(&job.group(), &counts);
    assert!(committed[0].as_ref().is_some_and(|at| at.offset == 0) && committed[1].is_none(), "{committed:?}");
    assert_counted("topic", broker().records(&counts), &input);
    assert_counted("file", records::read(&folder.path("out.ndjson")), &input);

    broker().delete_group(&job.group());
    assert_refused(&job, &folder);
    assert_eq!(broker().records(&counts).len(), input.len());
}

#[test]
fn rule_12_a_job_whose_commit_went_with_its_topic_does_not_begin_anew() {
    let (folder, (mut source, input)) = (Folder::new(), generated());
    source["generator"].as_object_mut().unwrap().remove("rate");
    let counts = broker().topic("deleted-out", 2);
    let job = counting("deleted", &source).sink("topic", &["count"], broker().sink(&counts));
    folder.run(&job, &[], DEADLINE).expect(code::OK);
    assert_eq!(broker().records(&counts).len(), input.len());
    broker().delete_topic(&counts);
    assert_refused(&job, &folder);
    broker().create_topic(&counts, 2);
    assert_refused(&job, &folder);
    assert_eq!(broker().records(&counts), []);
}

#[test]
fn rule_12_a_job_without_kafka_counts_exactly_through_kills_and_is_refused_without_its_commit() {
    let folder = Folder::new();
    let input: Vec<_> = (0..IN_FILE).map(|i| Record::keyed(format!("key-{}", i % KEYS), "")).collect();
    records::write(&folder.path("in.ndjson"), &input);
    // Batches of one record, so that the file is not at its end before the last kill.
    let job = counting("files", &file("in.ndjson")).runtime(json!({ "workers": 2, "batchRecords": 1 }));
    let record = folder.path(job.state_folder()).join("committed");
    through_kills(&job, &folder, || {
        let text = fs::read_to_string(&record).unwrap_or_default();
        text.split(';').find_map(|field| field.strip_prefix("epoch=")?.parse().ok()).unwrap_or(0)
    });
    assert_counted("file", records::read(&folder.path("out.ndjson")), &input);

    fs::remove_file(&record).unwrap();
    assert_refused(&job, &folder);
}
