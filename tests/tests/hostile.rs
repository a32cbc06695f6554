//! Guests that misbehave: the host survives in its memory, says who and what it was, and everything else comes out whole.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use weir_tests::guests;
use weir_tests::job::{Job, operator};
use weir_tests::records::{self, Record};
use weir_tests::weir::{Folder, Run, code};

const RECORDS: usize = 200;
/// The record on which the guest strikes.
const STRUCK: usize = 57;
const DEADLINE: Duration = Duration::from_secs(60);
const MIB: u64 = 1 << 20;
/// What the guest may use by default, and what a run may use beside it.
const LIMIT: u64 = 64 * MIB;
const SLACK: u64 = 64 * MIB;

fn job(name: &str, task: &str) -> Job {
    let limits = json!({ "fuel": 200_000_000, "outputBytes": "4MiB", "outputRecords": 100_000 });
    let hostile = json!({ "key": "record", "config": { "do": task }, "limits": limits, "onError": { "deadLetter": "letters" } });
    Job::new(name)
        .source("in", json!({ "file": { "path": "in.ndjson", "format": "ndjson" } }))
        .operator(operator("hostile", "hostile", "in", hostile))
        .operator(operator("neighbour", "count", "in", json!({ "key": "record" })))
        .sink("out", &["hostile"], file("out"))
        .sink("counts", &["neighbour"], file("counts"))
        .sink("letters", &[], file("letters"))
        .runtime(json!({ "workers": 1 }))
}

fn file(name: &str) -> Value {
    json!({ "file": { "path": format!("{name}.ndjson"), "format": "ndjson" } })
}

fn folder() -> Folder {
    let folder = Folder::new();
    let value = |i| if i == STRUCK { "strike" } else { "fine" };
    let records: Vec<Record> = (0..RECORDS).map(|i| Record::keyed(format!("key-{}", i % 16), value(i))).collect();
    records::write(&folder.path("in.ndjson"), &records);
    folder
}

fn read(folder: &Folder, name: &str) -> Vec<Record> {
    records::read(&folder.path(format!("{name}.ndjson")))
}

/// Waits for the end of a run that has to end well; the most memory that it was seen to use.
fn watched(mut run: Run) -> (u64, String) {
    let mut highest = 0;
    let ended = weir_tests::wait::for_some(DEADLINE, || {
        highest = highest.max(run.peak().unwrap_or(0));
        run.ended_within(Duration::ZERO)
    });
    assert!(ended.is_some(), "weir did not end within {DEADLINE:?}");
    (highest, run.wait(DEADLINE).expect(code::OK).stderr)
}

/// What a run without misbehaviour uses. Compiling the component is part of it.
fn peaceful() -> u64 {
    let folder = folder();
    let (memory, _) = watched(folder.start(&job("peaceful", "nothing"), &[]));
    assert_eq!(read(&folder, "out").len(), RECORDS);
    memory
}

/// The guest fails on one record with one of these reasons: that one becomes a dead letter, and nothing else changes.
#[test]
fn a_guest_that_misbehaves_on_a_record_loses_that_record_only_and_the_reason_says_what_it_did() {
    let baseline = peaceful();
    for (task, reason) in [
        ("loop", "all fuel consumed (200000000 per call)"),
        ("sleep", "all fuel consumed"),
        ("memory", "trapped: wasm trap"),
        ("stack", "trapped: wasm trap: call stack exhausted"),
        ("trap", "trapped: wasm trap: wasm `unreachable` instruction executed"),
        ("flood-histogram", "more than 1048576 values to histograms"),
        ("unknown-counter", "counter 9 was not declared (1 are)"),
        ("flood-map", "changes more than 4194304 bytes of map state (limits.outputBytes)"),
        ("large-read", "the answer to one call would have more than"),
        ("unknown-map", "map state 7 was not declared (1 are)"),
        ("unknown-group", "group 100000 does not exist"),
        ("falling-map-keys", "map-state.get: keys: the offsets fall at entry 1: 5 to 2"),
        ("declare-late", "declare.port was called outside init"),
        ("falling-offsets", "values: 3 offsets where 2 are needed"),
        ("offsets-fall", "values: the first offset is 7, not 0"),
        ("beyond-data", "values: the last offset is 2, but there are 0 bytes of data"),
        ("short-validity", "keys: the validity bitmap has 1000 bytes, 1 are needed"),
        ("positions", "parents[0] is 1000000, the batch has 1 records"),
        ("ports", "ports[0] is 3, but 0 ports are declared"),
        ("times", "timestamps has 0 entries for 1 output records"),
        ("headers", "headers: names[0] is null or not UTF-8"),
        ("groups", "changes of state 0: groups[0] is 1, the batch has 1 keys"),
        ("state-twice", "changes: state 0 stands there twice"),
        ("group-twice", "changes of state 0: group 0 is changed twice"),
        ("unknown-state", "changes: state 5 was not declared (1 value states are)"),
        ("flood-records", "500000 output records for one call; the limit is 100000"),
        ("flood-bytes", "handed over more than 4194304 bytes (limits.outputBytes)"),
    ] {
        let folder = folder();
        let (memory, stderr) = watched(folder.start(&job(task, task), &[]));
        let letters = read(&folder, "letters");
        assert_eq!(letters.len(), 1, "{task}: {letters:?}\n{stderr}");
        let letter = &letters[0];
        let header = |name: &str| letter.header(name).unwrap_or_default();
        assert_eq!((letter.text(), header("weir-operator")), ("strike".to_owned(), "hostile".to_owned()), "{task}");
        let origin = (header("weir-source-topic"), header("weir-source-partition"), header("weir-source-offset"));
        assert_eq!(origin.0, "in.ndjson", "{task}");
        assert_eq!(origin.1, "0", "{task}");
        assert!(header("weir-reason").contains(reason), "{task}: {}", header("weir-reason"));
        assert_eq!(read(&folder, "out").len(), RECORDS - 1, "{task}");
        assert_eq!(read(&folder, "counts").len(), RECORDS, "{task}: the neighbour's output is not whole");
        assert!(memory <= baseline + LIMIT + SLACK, "{task}: {} MiB, without misbehaviour {}", memory / MIB, baseline / MIB);
    }
}

#[test]
fn a_guest_that_floods_its_log_or_a_counter_is_cut_short_and_its_records_are_not() {
    for task in ["flood-log", "flood-counter"] {
        let folder = folder();
        let (_, stderr) = watched(folder.start(&job(task, task), &[]));
        assert_eq!(read(&folder, "out").len(), RECORDS, "{task}");
        let lines = stderr.lines().filter(|line| line.contains("flood ")).count();
        assert!(lines <= 1_000, "{task}: {lines} lines were logged");
    }
}

#[test]
fn a_guest_that_misbehaves_in_init_is_refused_before_anything_is_read() {
    for (task, reason) in [
        ("fail-in-init", "told to fail"),
        ("trap-in-init", "unreachable"),
        ("loop-in-init", "fuel"),
        ("many-series", "more than 64 metrics"),
        ("same-series", "metric `a_b` was declared twice"),
    ] {
        let folder = folder();
        let outcome = folder.run(&job(task, task), &[], DEADLINE).expect(code::BAD_JOB);
        outcome.expect_named(&["operator hostile", reason]);
        assert!(!folder.path("counts.ndjson").exists(), "{task}: the job had begun");
    }
}

#[test]
fn a_guest_that_declares_by_time_and_chance_declares_the_same_in_every_instance() {
    let folder = folder();
    let job = job("by-chance", "by-chance").runtime(json!({ "workers": 4, "batchRecords": 1 }));
    for arguments in [&[][..], &["--fresh", "--fresh-instance-per-batch"]] {
        folder.run(&job, arguments, DEADLINE).expect(code::OK);
        assert_eq!(read(&folder, "out").len(), RECORDS);
    }
}

/// The component of an example guest with a name in it replaced by one of the same length.
fn forged(folder: &Folder, guest: &str, name: &str, by: &str) -> Value {
    assert_eq!(name.len(), by.len());
    let mut bytes = fs::read(guests::component(guest)).unwrap();
    let mut found = 0;
    for at in 0..bytes.len() - name.len() {
        if bytes[at..].starts_with(name.as_bytes()) {
            bytes[at..at + name.len()].copy_from_slice(by.as_bytes());
            found += 1;
        }
    }
    assert!(found > 0, "{guest} does not name {name}");
    fs::write(folder.path("forged.wasm"), bytes).unwrap();
    json!({ "id": "forged", "component": "forged.wasm", "inputs": ["in"] })
}

#[test]
fn a_component_that_imports_what_is_not_granted_or_claims_another_contract_is_refused_by_name() {
    for (guest, name, by, named) in [
        ("passthrough", "wasi:filesystem/preopens", "wasi:http/outgoing-handl", "wasi:http/outgoing-handl"),
        ("passthrough", "wasi:cli/environment", "evil:cli/environment", "evil:cli/environment"),
        ("passthrough", "weir:operator/incoming", "weir:operator/backdoor", "weir:operator/backdoor"),
        ("passthrough", "transform-function@0.1.0", "transform-function@0.2.0", "weir:operator/transform-function@0.1.0"),
    ] {
        let folder = folder();
        let forged = forged(&folder, guest, name, by);
        let job = Job::new("forged").source("in", json!({ "file": { "path": "in.ndjson", "format": "ndjson" } })).operator(forged).sink(
            "out",
            &["forged"],
            file("out"),
        );
        let outcome = folder.run(&job, &[], DEADLINE).expect(code::BAD_JOB);
        outcome.expect_named(&["operator forged", "forged.wasm", named]);
    }
}
