//! A process within the limits of a container.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::time::Duration;

use serde_json::json;
use weir_tests::cgroup::Cgroup;
use weir_tests::job::{Job, operator};
use weir_tests::wait;
use weir_tests::weir::{Folder, code};

const LIMIT: u64 = 1 << 30;
/// Drawn from twice as many, so that ten million come at least once.
const RECORDS: u64 = 14_000_000;
const DRAWN_FROM: u64 = 20_000_000;
const KEYS: u64 = 10_000_000;
const DEADLINE: Duration = Duration::from_secs(600);

#[test]
fn ten_million_keys_live_in_a_container_of_a_gibibyte_with_default_settings() {
    let group = Cgroup::new(LIMIT, 2);
    let folder = Folder::new();
    let job = Job::new("ten-million")
        .interval(Duration::from_secs(1))
        .source("in", json!({ "generator": { "template": { "keyed": { "keys": DRAWN_FROM, "valueBytes": 8 } }, "count": RECORDS } }))
        .operator(operator("count", "count", "in", json!({ "key": "record" })))
        .sink("out", &["count"], json!({ "file": { "path": "out.txt" } }));
    let outcome = folder.start_within(&group, &job, &[]).wait(DEADLINE);
    assert_eq!(group.killed(), 0, "the kernel killed it for want of memory");
    outcome.expect(code::OK);

    // Each record counts one more of its key, in order; so what is counted is known without the input.
    let mut counts = vec![0u32; DRAWN_FROM as usize];
    for line in BufReader::new(fs::File::open(folder.path("out.txt")).unwrap()).lines() {
        let line = line.unwrap();
        let (key, count) = line.split_once('\t').unwrap();
        let last = &mut counts[key.strip_prefix("key-").unwrap().parse::<usize>().unwrap()];
        *last += 1;
        assert_eq!(count.parse::<u32>().unwrap(), *last, "{key}");
    }
    assert_eq!(counts.iter().map(|count| u64::from(*count)).sum::<u64>(), RECORDS);
    let keys = counts.iter().filter(|count| **count > 0).count() as u64;
    assert!(keys >= KEYS, "{keys} keys");
}

#[test]
fn there_are_as_many_workers_as_the_container_has_cpus() {
    let group = Cgroup::new(LIMIT, 1);
    let folder = Folder::new();
    let job = Job::new("one-cpu").source("in", json!({ "generator": { "template": "sequence", "rate": 10 } })).sink(
        "out",
        &["in"],
        json!({ "blackhole": {} }),
    );
    let mut run = folder.start_within(&group, &job, &[]);
    let workers = |threads: Vec<String>| threads.iter().filter(|name| name.starts_with("weir-worker")).count();
    wait::until("a worker", DEADLINE, || {
        run.assert_running();
        workers(run.threads()) > 0
    });
    wait::until("a committed epoch", DEADLINE, || folder.path(job.state_folder()).join("committed").exists());
    assert_eq!(workers(run.threads()), 1);
    run.terminate();
    run.wait(DEADLINE).expect(code::OK);
}
