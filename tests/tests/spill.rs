//! State that does not fit into memory.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use serde_json::json;
use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;
use weir_tests::broker::broker;
use weir_tests::counting::Counting;
use weir_tests::job::{Job, operator};
use weir_tests::wait;
use weir_tests::weir::{Folder, Run, code};

const RECORDS: u64 = 1_500_000;
const KEYS: u64 = 400_000;
const DEADLINE: Duration = Duration::from_secs(120);

fn disk_bytes(run: &Run) -> f64 {
    let metrics = run.try_get("/metrics").map(|(_, text)| text).unwrap_or_default();
    metrics.lines().find_map(|line| line.strip_prefix("weir_state_disk_bytes ")?.parse().ok()).unwrap_or(0.0)
}

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
        on_disk = on_disk.max(disk_bytes(&run));
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
    assert!(!tables(&folder.path(".weir/spill/rocksdb")).is_empty(), "nothing was spilled, so this test shows nothing");
}

/// Rule 20: what a process that was killed has left of RocksDB is brought up to the last commit instead of being loaded anew.
/// Where it is damaged or gone, it is loaded.
#[test]
fn a_killed_job_goes_on_with_the_rocksdb_that_it_left_and_loads_one_that_is_damaged() {
    let counting = Counting::new("kept-disk", broker());
    let job = counting.job.clone().interval(Duration::from_millis(100)).runtime(json!({ "memory": "32MiB", "workers": 2 }));
    let (folder, load) = (Folder::new(), broker().load(counting.input(), KEYS, 60_000));
    let rocksdb = folder.path(job.state_folder()).join("rocksdb");
    let mut how = vec![];
    for life in 0..4 {
        let mut run = folder.start(&job, &["--metrics-port", "0"]);
        let before = counting.committed();
        counting.await_committed(&mut run, before + 300_000, DEADLINE);
        if life == 0 {
            wait::until("RocksDB in use", DEADLINE, || disk_bytes(&run) > 1e6);
        }
        how.push(run.kill_9().stderr.contains("RocksDB is brought up"));
        match life {
            1 => folder.wipe_rocksdb(&job),
            2 => tables(&rocksdb).iter().for_each(|table| flip_each_block(table)),
            _ => {}
        }
    }
    let sent = load.stop();
    let mut run = folder.start(&job, &[]);
    counting.await_end(&mut run, DEADLINE);
    run.terminate();
    run.wait(DEADLINE).expect(code::OK);
    assert_eq!(how[..3], [false, true, false], "nothing there; left by a kill; removed");
    counting.assert_exact(sent, KEYS);
}

fn tables(rocksdb: &Path) -> Vec<PathBuf> {
    let paths = std::fs::read_dir(rocksdb).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "sst")).collect()
}

/// One bit of each 4 KiB, but not of the footer: the database opens, and shows its damage when it is read.
fn flip_each_block(table: &Path) {
    let mut bytes = std::fs::read(table).unwrap();
    let data = bytes.len() / 2;
    bytes[..data].iter_mut().step_by(4096).for_each(|byte| *byte ^= 1);
    std::fs::write(table, bytes).unwrap();
}
