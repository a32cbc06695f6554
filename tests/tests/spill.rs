//! State that does not fit into memory.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use serde_json::json;
use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::time::Duration;
use weir_tests::job::{Job, operator};
use weir_tests::wait;
use weir_tests::weir::{Folder, code};

const RECORDS: u64 = 1_500_000;
const KEYS: u64 = 400_000;

/// By far more than the state's share of the smallest budget holds: keys go to RocksDB and come back from it many times.
#[test]
fn counts_stay_exact_when_most_of_the_state_lies_in_rocksdb() {
    let folder = Folder::new();
    let job = Job::new("spill")
        .source("in", json!({ "generator": { "template": { "keyed": { "keys": KEYS, "valueBytes": 8 } }, "count": RECORDS } }))
        .operator(operator("count", "count", "in", json!({ "key": "record" })))
        .sink("out", &["count"], json!({ "file": { "path": "out.txt" } }))
        .runtime(json!({ "memory": "32MiB", "workers": 2 }));
    let mut run = folder.start(&job, &["--metrics-port", "0"]);
    let mut on_disk = 0.0_f64;
    wait::until("the end of the run", Duration::from_secs(240), || {
        let metrics = run.try_get("/metrics").map(|(_, text)| text).unwrap_or_default();
        let bytes = metrics.lines().find_map(|line| line.strip_prefix("weir_state_disk_bytes ")?.parse().ok());
        on_disk = on_disk.max(bytes.unwrap_or(0.0));
        run.ended_within(Duration::ZERO).is_some()
    });
    run.wait(Duration::ZERO).expect(code::OK);
    assert!(on_disk > 1e6, "weir_state_disk_bytes was never above {on_disk}");

    let mut counts: HashMap<String, u64> = HashMap::new();
    let out = std::fs::File::open(folder.path("out.txt")).unwrap();
    for line in BufReader::new(out).lines() {
        let line = line.unwrap();
        let (key, count) = line.split_once('\t').unwrap();
        let last = counts.entry(key.to_owned()).or_default();
        *last += 1;
        assert_eq!(count, last.to_string(), "key {key}");
    }
    assert_eq!(counts.values().sum::<u64>(), RECORDS);
    assert!(counts.len() as u64 > KEYS * 9 / 10, "{} of {KEYS} keys", counts.len());
    let tables = std::fs::read_dir(folder.path(".weir/spill/rocksdb")).unwrap();
    let tables = tables.filter(|f| f.as_ref().unwrap().path().extension().is_some_and(|e| e == "sst")).count();
    assert!(tables > 0, "nothing was spilled, so this test shows nothing");
}
