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

/// What a start says of how long it took to restore the state, in ms: the best of three.
fn restored_in(folder: &Folder, job: &Job) -> u64 {
    let of_one = |_| {
        let mut run = folder.start(job, &[]);
        let mut said = None;
        wait::until("state restored", DEADLINE, || {
            run.assert_running();
            let stderr = run.stderr();
            let line = stderr.lines().find(|line| line.contains("state restored"));
            said = line.and_then(|line| line.split("ms=").nth(1)?.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok());
            said.is_some()
        });
        run.kill_9();
        said.unwrap()
    };
    (0..3).map(of_one).min().unwrap()
}

#[test]
fn after_5000_epochs_over_a_million_keys_the_store_is_small_its_files_are_few_and_a_start_as_fast_as_after_50() {
    const PER_EPOCH: u64 = 40;
    /// Files of a manifest stay below 24 by simulation; beside them lie those that are just being made or deleted.
    const MOST_FILES: usize = 24;
    let input = broker().topic("long-run", 4);
    let job = Job::new("long-run")
        .interval(Duration::from_millis(10))
        .source("in", broker().source(&input))
        .operator(operator("count", "count", "in", json!({ "key": "record" })))
        .sink("nowhere", &["count"], json!({ "blackhole": {} }));
    let folder = Folder::new();
    let store = folder.path(job.state_folder()).join("checkpoints");
    let counting = |epochs: u64, run: &mut Run| {
        let begin = epoch(&job, &input);
        let load = broker().load(&input, KEYS, PER_EPOCH * 200);
        let (mut most_files, mut most_bytes) = (0, 0);
        wait::until("many epochs", DEADLINE, || {
            run.assert_running();
            let now = objects(&store);
            (most_files, most_bytes) = (most_files.max(now.len()), most_bytes.max(now.values().sum::<u64>()));
            epoch(&job, &input) >= begin + epochs
        });
        load.stop();
        (most_files, most_bytes)
    };
    broker().produce(&input, &records(1));
    let mut run = folder.start(&job, &[]);
    wait::until("a checkpoint store", DEADLINE, || {
        run.assert_running();
        store.is_dir()
    });
    let loaded = await_committed(&mut run, &job, &input, &store);
    let live: u64 = loaded.iter().filter(|(name, _)| is_of_an_epoch(name)).map(|(_, bytes)| bytes).sum();
    let (early_files, _) = counting(50, &mut run);
    run.kill_9();
    let early = restored_in(&folder, &job);
    let mut run = folder.start(&job, &[]);
    let (files, bytes) = counting(5_000, &mut run);
    run.kill_9();
    let late = restored_in(&folder, &job);
    let said = format!("{bytes} bytes of {live} live; {early_files} and {files} files; restored in {early} and {late} ms");
    println!("{said}");
    assert!(bytes <= 3 * live, "{said}");
    assert!(files <= 2 * MOST_FILES, "{said}");
    // Single starts differ by half on a machine with neighbours; what is read is bounded by the bytes above.
    assert!(late <= 3 * early, "{said}");
}

fn epoch(job: &Job, input: &str) -> u64 {
    let text = broker().committed(&job.group(), input).into_iter().flatten().next().map(|at| at.metadata).unwrap_or_default();
    text.split(';').find_map(|field| field.strip_prefix("epoch=")?.parse().ok()).unwrap_or(0)
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
