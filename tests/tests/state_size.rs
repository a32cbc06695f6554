//! What an epoch costs: checkpoints follow the keys that changed, not the keys that there are.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
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

/// A job that counts a million keys and has counted each once.
struct Loaded {
    job: Job,
    input: String,
    folder: Folder,
    store: PathBuf,
    run: Run,
    /// The objects that there were at some time meanwhile.
    seen: Objects,
    /// Bytes of the state. Each key changed once, so the epochs' objects together are it.
    bytes: u64,
}

impl Loaded {
    /// In epochs that are long enough for each object to be seen.
    fn new(name: &str) -> Self {
        let input = broker().topic(name, 4);
        let job = Job::new(name)
            .interval(Duration::from_secs(1))
            .source("in", broker().source(&input))
            .operator(operator("count", "count", "in", json!({ "key": "record" })))
            .sink("nowhere", &["count"], json!({ "blackhole": {} }));
        let folder = Folder::new();
        let store = folder.path(job.state_folder()).join("checkpoints");
        broker().produce(&input, &records(1));
        let mut run = folder.start(&job, &[]);
        wait::until("a checkpoint store", DEADLINE, || {
            run.assert_running();
            store.is_dir()
        });
        let seen = await_committed(&mut run, &job, &input, &store);
        let bytes = seen.iter().filter(|(name, _)| is_of_an_epoch(name)).map(|(_, bytes)| bytes).sum();
        assert!(bytes > KEYS, "the state of a million keys has {bytes} bytes");
        Self { job, input, folder, store, run, seen, bytes }
    }

    /// Starts anew with short epochs, changes a few keys in each of so many, and kills the job. The most files and bytes in its
    /// store meanwhile.
    fn go_on(self, epochs: u64) -> (Folder, Job, usize, u64) {
        self.run.kill_9();
        let mut run = self.folder.start(&self.job.clone().interval(Duration::from_millis(10)), &[]);
        let epoch = || broker().epoch(&self.job.group(), &self.input);
        let begin = epoch();
        let load = broker().load(&self.input, KEYS, 8_000);
        let (mut files, mut bytes) = (0, 0);
        wait::until(&format!("{epochs} epochs"), DEADLINE, || {
            run.assert_running();
            let now = objects(&self.store);
            (files, bytes) = (files.max(now.len()), bytes.max(now.values().sum()));
            epoch() >= begin + epochs
        });
        load.stop();
        run.kill_9();
        (self.folder, self.job, files, bytes)
    }
}

/// What a start says of how long it took to restore the state, in ms.
fn restored_in(folder: &Folder, job: &Job) -> u64 {
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
}

#[test]
fn after_5000_epochs_over_a_million_keys_the_store_is_small_its_files_are_few_and_a_start_as_fast_as_after_50() {
    /// Files of a manifest stay below 24 by simulation; beside them lie those that are just being made or deleted.
    const MOST_FILES: usize = 24;
    let (early_folder, early_job, early_files, _) = Loaded::new("early").go_on(50);
    let late = Loaded::new("late");
    let live = late.bytes;
    let (folder, job, files, bytes) = late.go_on(5_000);
    // In turns, so that what else the machine does meets both alike; the best of each, in which it did least.
    let turns: Vec<_> = (0..7).map(|_| (restored_in(&early_folder, &early_job), restored_in(&folder, &job))).collect();
    let best = |of: fn(&(u64, u64)) -> u64| turns.iter().map(of).min().unwrap();
    let (early_ms, late_ms) = (best(|turn| turn.0), best(|turn| turn.1));
    let said = format!("{bytes} bytes of {live} live; {early_files} and {files} files; restored in {turns:?} ms");
    println!("{said}");
    assert!(bytes <= 3 * live, "{said}");
    assert!(files <= 2 * MOST_FILES, "{said}");
    assert!(late_ms * 5 <= early_ms * 6, "{said}");
}

#[test]
fn an_epoch_that_changes_one_key_in_a_hundred_of_a_million_writes_a_few_hundredths_of_the_state() {
    let Loaded { job, input, folder: _folder, store, mut run, seen: loaded, bytes: state } = Loaded::new("state-size");
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
