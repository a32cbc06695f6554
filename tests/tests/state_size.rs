//! What an epoch costs: checkpoints follow the keys that changed, not the keys that there are.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use weir_tests::broker::broker;
use weir_tests::job::{Job, operator};
use weir_tests::records::Record;
use weir_tests::wait;
use weir_tests::weir::{Folder, Run, code};

const KEYS: u64 = 1_000_000;
const DEADLINE: Duration = Duration::from_secs(120);

/// Checkpoint objects by name, with their sizes in bytes.
type Objects = BTreeMap<String, u64>;

/// The objects in a checkpoint store now. An object that is deleted meanwhile is left out.
fn objects(store: &Path) -> Objects {
    let entries = fs::read_dir(store).unwrap().map(Result::unwrap);
    let object = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().unwrap();
        let bytes = entry.metadata().ok()?.len();
        (name.ends_with(".ckpt") && !name.starts_with('.')).then_some((name, bytes))
    };
    entries.filter_map(object).collect()
}

/// Waits until all input is committed. All objects that were there at some time meanwhile.
fn await_committed(run: &mut Run, job: &Job, input: &str, store: &Path) -> Objects {
    let mut seen = Objects::new();
    wait::until("all input committed", DEADLINE, || {
        run.assert_running();
        let at_end = broker().is_at_end(&job.group(), input);
        seen.extend(objects(store));
        at_end
    });
    seen
}

/// Merged files are made in the background, from several epochs'.
fn is_of_an_epoch(name: &str) -> bool {
    !name.starts_with("merge-")
}

fn records(step: usize) -> Vec<Record> {
    (0..KEYS).step_by(step).map(|key| Record::keyed(format!("key-{key}"), "")).collect()
}

#[test]
fn an_epoch_that_changes_one_key_in_a_hundred_of_a_million_writes_a_few_hundredths_of_the_state() {
    let input = broker().topic("keys", 4);
    let job = Job::new("state-size")
        .interval(Duration::from_secs(1))
        .source("in", broker().source(&input))
        .operator(operator("count", "count", "in", json!({ "key": "record" })))
        .sink("nowhere", &["count"], json!({ "blackhole": {} }));
    let folder = Folder::new();
    let store = folder.path(job.state_folder()).join("checkpoints");
    broker().produce(&input, &records(1));
    let mut run = folder.start(&job, &[]);
    wait::until("a checkpoint store", DEADLINE, || store.is_dir());
    let loaded = await_committed(&mut run, &job, &input, &store);
    // Each key changed once while they were loaded, so the epochs' objects together are the state.
    let state: u64 = loaded.iter().filter(|(name, _)| is_of_an_epoch(name)).map(|(_, bytes)| bytes).sum();
    assert!(state > KEYS, "the state of a million keys has {state} bytes");

    let changed = records(100);
    for _ in 0..3 {
        // Each key several times: an epoch writes its last value only.
        broker().produce(&input, changed.iter().chain(&changed).chain(&changed));
        let mut later = await_committed(&mut run, &job, &input, &store);
        later.retain(|name, _| is_of_an_epoch(name) && !loaded.contains_key(name));
        assert!(!later.is_empty(), "changes were committed without an object");
        for (name, bytes) in later {
            assert!(bytes * 100 <= state * 3, "{name} has {bytes} bytes; the state of all keys has {state}");
        }
    }
    run.terminate();
    run.wait(DEADLINE).expect(code::OK);
}
