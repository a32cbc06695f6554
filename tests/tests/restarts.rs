//! Faults of the broker under a running job.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::time::Duration;

use serde_json::json;
use weir_tests::broker::Broker;
use weir_tests::job::{Job, operator};
use weir_tests::records::Record;
use weir_tests::wait;
use weir_tests::weir::{Folder, code};

const DEADLINE: Duration = Duration::from_secs(90);
const RECORDS: u64 = 2_000;
const KEYS: u64 = 10;

#[test]
fn a_broker_that_is_killed_and_comes_back_under_a_running_job_costs_no_count() {
    let broker = Broker::start();
    let (input, counts) = (broker.topic("in", 2), broker.topic("out", 2));
    let job = Job::new("outlives-broker")
        .source("in", broker.source(&input))
        .operator(operator("count", "count", "in", json!({ "key": "record" })))
        .sink("out", &["count"], broker.sink(&counts));
    let records: Vec<Record> = (0..RECORDS).map(|position| Record::keyed(format!("key-{}", position % KEYS), "")).collect();
    let folder = Folder::new();
    let mut run = folder.start(&job, &[]);
    for round in 1..=2 {
        broker.produce(&input, &records);
        wait::until(&format!("round {round} committed"), DEADLINE, || {
            run.assert_running();
            broker.is_at_end(&job.group(), &input)
        });
        if round == 1 {
            broker.kill();
            broker.restart();
        }
    }
    run.terminate();
    run.wait(DEADLINE).expect(code::OK);
    let mut last: HashMap<Vec<u8>, String> = HashMap::new();
    for record in broker.records(&counts) {
        last.insert(record.key.clone().unwrap(), record.text());
    }
    assert_eq!(last.len() as u64, KEYS);
    let expected = (2 * RECORDS / KEYS).to_string();
    assert!(last.values().all(|count| *count == expected), "last counts: {last:?}");
}
