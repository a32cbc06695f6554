//! Poison records: what a guest cannot process is taken out alone, with its reason and its origin, and everything else
//! comes out as if it had never been there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use weir_tests::broker::broker;
use weir_tests::job::{Job, operator};
use weir_tests::model;
use weir_tests::records::{Record, assert_equal_by_key};
use weir_tests::weir::{Folder, code};

/// One batch.
const RECORDS: usize = 1_024;
const DEADLINE: Duration = Duration::from_secs(60);

/// Records of 16 keys, of which some are poison: offset and value.
fn records(poison: &[(usize, &str)]) -> Vec<Record> {
    let mut records: Vec<Record> = (0..RECORDS).map(|position| Record::keyed(format!("key-{}", position % 16), "good")).collect();
    for (offset, value) in poison {
        records[*offset].value = Some(value.as_bytes().to_vec());
        records[*offset].headers = vec![("trace".to_owned(), Some(b"kept".to_vec()))];
    }
    records
}

struct Topics {
    input: String,
    counts: String,
    neighbour: String,
    letters: String,
}

/// The topics of a test, with the records in the first, which has one partition: the offset is the record's position.
fn topics(records: &[Record]) -> Topics {
    let [input, counts, neighbour, letters] = ["poison", "counts", "neighbour", "letters"].map(|what| broker().topic(what, 1));
    broker().produce(&input, records);
    Topics { input, counts, neighbour, letters }
}

/// Counts with the guest under test, and beside it with one that minds no poison. An endless loop runs out of fuel
/// within a fraction of a second, and a whole batch does not.
fn job(name: &str, topics: &Topics, on_error: Value) -> Job {
    let limits = json!({ "fuel": 100_000_000 });
    let with_letters = on_error.is_object();
    let job = Job::new(name)
        .source("in", broker().source(&topics.input))
        .operator(operator("counter", "poison", "in", json!({ "key": "record", "onError": on_error, "limits": limits })))
        .operator(operator("neighbour", "count", "in", json!({ "key": "record" })))
        .sink("counts", &["counter"], broker().sink(&topics.counts))
        .sink("neighbour-counts", &["neighbour"], broker().sink(&topics.neighbour));
    if with_letters { job.sink("letters", &[], broker().sink(&topics.letters)) } else { job }
}

/// The counts are those of the other records alone; the neighbour's are those of all.
fn check_counts(what: &str, topics: &Topics, records: &[Record], poison: &[(usize, &str)]) {
    let good: Vec<Record> = records.iter().filter(|record| record.value.as_deref() == Some(b"good")).cloned().collect();
    assert_eq!(good.len(), RECORDS - poison.len());
    assert_equal_by_key(what, &broker().records(&topics.counts), &model::count(&good));
    assert_equal_by_key(what, &broker().records(&topics.neighbour), &model::count(records));
}

#[test]
fn poison_in_one_batch_becomes_dead_letters_with_reason_and_origin_and_all_else_comes_out() {
    // What each value makes the guest do, and a word of the reason.
    let reasons = BTreeMap::from([("poison", "trap"), ("loop", "fuel"), ("fail", "told to fail"), ("reject", "told to reject")]);
    let batches: [[(usize, &str); 3]; 3] = [
        [(100, "poison"), (511, "loop"), (1023, "reject")],
        // Neighbours of one key, at the very start.
        [(0, "fail"), (16, "poison"), (17, "poison")],
        [(700, "reject"), (701, "reject"), (702, "fail")],
    ];
    for (number, poison) in batches.iter().enumerate() {
        let records = records(poison);
        let topics = topics(&records);
        let what = format!("batch {number}");
        let job = job(&format!("letters-{number}"), &topics, json!({ "deadLetter": "letters" }));
        Folder::new().run(&job, &["--until-end", "--workers", "1"], DEADLINE).expect(code::OK);
        check_counts(&what, &topics, &records, poison);
        let letters = broker().records(&topics.letters);
        for (letter, (offset, value)) in in_order_of_origin(letters, poison.len()).iter().zip(poison) {
            assert_letter(letter, &records[*offset], &topics.input, *offset, reasons[value]);
        }
    }
}

fn in_order_of_origin(mut letters: Vec<Record>, expected: usize) -> Vec<Record> {
    assert_eq!(letters.len(), expected, "dead letters: {letters:?}");
    letters.sort_by_key(|letter| letter.header("weir-source-offset").unwrap_or_default().parse::<usize>().ok());
    letters
}

/// A dead letter is the record with its own headers, and tells operator, reason and origin.
fn assert_letter(letter: &Record, record: &Record, topic: &str, offset: usize, reason: &str) {
    assert_eq!((&letter.key, &letter.value, letter.timestamp), (&record.key, &record.value, record.timestamp), "{letter:?}");
    assert_eq!(letter.header("trace").as_deref(), Some("kept"), "{letter:?}");
    assert_eq!(letter.header("weir-operator").as_deref(), Some("counter"), "{letter:?}");
    assert_eq!(letter.header("weir-source-topic").as_deref(), Some(topic), "{letter:?}");
    assert_eq!(letter.header("weir-source-partition").as_deref(), Some("0"), "{letter:?}");
    assert_eq!(letter.header("weir-source-offset"), Some(offset.to_string()), "{letter:?}");
    assert!(letter.header("weir-reason").is_some_and(|found| found.contains(reason)), "no `{reason}` in {letter:?}");
}

#[test]
fn with_skip_the_job_goes_on_without_the_poison() {
    let poison = [(5, "loop"), (500, "poison"), (501, "reject")];
    let records = records(&poison);
    let topics = topics(&records);
    let job = job("skips", &topics, json!("skip"));
    Folder::new().run(&job, &["--until-end"], DEADLINE).expect(code::OK);
    check_counts("skip", &topics, &records, &poison);
}

#[test]
fn with_fail_the_job_stops_at_the_poison_by_name_and_again_when_it_is_started_again() {
    for value in ["poison", "loop", "fail", "reject"] {
        let records = records(&[(777, value)]);
        let topics = topics(&records);
        let job = job(&format!("fails-{value}"), &topics, json!("fail"));
        let folder = Folder::new();
        let origin = format!("{}/0 offset 777", topics.input);
        for _ in 0..2 {
            folder.run(&job, &["--until-end"], DEADLINE).expect(code::GUEST).expect_named(&["counter", &origin]);
        }
        let beyond = broker().committed(&job.group(), &topics.input)[0].as_ref().is_some_and(|committed| committed.offset > 777);
        assert!(!beyond, "{value}: the poison record was committed");
    }
}
