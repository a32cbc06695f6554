//! What an epoch costs: checkpoints follow the keys that changed, not the keys that there are.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::ops::RangeInclusive;
use std::os::unix::fs::MetadataExt;
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
/// Some thousand epochs, each with two files and a transaction, on a slow disk.
const EPOCHS_DEADLINE: Duration = Duration::from_secs(600);

/// Files of a checkpoint store by name.
type Files = BTreeMap<String, Metadata>;

/// All that is in a checkpoint store now, objects in the making and the run's marker among them. A file that is deleted
/// meanwhile is left out.
fn files(store: &Path) -> Files {
    let entries = fs::read_dir(store).unwrap().map(Result::unwrap);
    let file = |entry: fs::DirEntry| Some((entry.file_name().into_string().unwrap(), entry.metadata().ok()?));
    entries.filter_map(file).collect()
}

/// Bytes of files. One that has just been put has two names for a moment.
fn bytes(files: &Files) -> u64 {
    files.values().map(|about| (about.ino(), about.len())).collect::<BTreeMap<_, _>>().values().sum()
}

/// Without those in the making.
fn is_object(name: &str) -> bool {
    name.ends_with(".ckpt") && !name.starts_with('.')
}

/// Merged files are made in the background, from several epochs'.
fn is_of_an_epoch(name: &str) -> bool {
    is_object(name) && !name.starts_with("merge-")
}

/// By the names of the epochs' objects. Quicker than to ask the broker, so that more of what comes and goes is seen.
fn newest_epoch(files: &Files) -> u64 {
    let epochs = files.keys().filter(|name| is_object(name)).filter_map(|name| name.split_once('-')?.0.parse().ok());
    epochs.max().expect("an epoch's object")
}

/// Waits until all input is committed. All files that were there at some time meanwhile.
fn await_committed(run: &mut Run, job: &Job, input: &str, store: &Path) -> Files {
    let mut seen = Files::new();
    wait::until("all input committed", DEADLINE, || {
        run.assert_running();
        let at_end = broker().is_at_end(&job.group(), input);
        seen.extend(files(store));
        at_end
    });
    seen
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
    /// The files that there were at some time meanwhile.
    seen: Files,
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
        let bytes = seen.iter().filter(|(name, _)| is_of_an_epoch(name)).map(|(_, about)| about.len()).sum();
        assert!(bytes > KEYS, "the state of a million keys has {bytes} bytes");
        Self { job, input, folder, store, run, seen, bytes }
    }

    /// Starts anew with short epochs, changes a few keys in each of so many, and kills the job.
    fn go_on(self, epochs: u64) -> GoneOn {
        self.run.kill_9();
        let mut run = self.folder.start(&self.job.clone().interval(Duration::from_millis(10)), &[]);
        let begin = newest_epoch(&files(&self.store));
        let load = broker().load(&self.input, KEYS, 8_000);
        let mut looks = vec![];
        wait::until(&format!("{epochs} epochs"), EPOCHS_DEADLINE, || {
            run.assert_running();
            let now = files(&self.store);
            looks.push(Look { epoch: newest_epoch(&now) - begin, files: now.len(), bytes: bytes(&now) });
            looks.last().unwrap().epoch >= epochs
        });
        load.stop();
        run.kill_9();
        GoneOn { folder: self.folder, job: self.job, looks }
    }
}

/// What there was in a store at some time: epochs since the start, all files, and their bytes.
struct Look {
    epoch: u64,
    files: usize,
    bytes: u64,
}

/// A job that was killed, and what its store held meanwhile.
struct GoneOn {
    folder: Folder,
    job: Job,
    looks: Vec<Look>,
}

impl GoneOn {
    /// The most files in 19 of 20 looks in these epochs. In the others a base is being made, and meanwhile the epochs' own
    /// objects add up: once in some thousand epochs, and for less than a second.
    fn usual_files(&self, epochs: RangeInclusive<u64>) -> usize {
        let mut seen: Vec<_> = self.looks.iter().filter(|look| epochs.contains(&look.epoch)).map(|look| look.files).collect();
        assert!(seen.len() >= 500, "{} looks in epochs {epochs:?}", seen.len());
        seen.sort_unstable();
        seen[seen.len() * 19 / 20]
    }

    fn most_files(&self) -> usize {
        self.looks.iter().map(|look| look.files).max().unwrap()
    }

    fn most_bytes(&self) -> u64 {
        self.looks.iter().map(|look| look.bytes).max().unwrap()
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
    /// Four files of a size are merged, and with the epochs there is one size more: three files, and one in the making.
    const ONE_MORE_SIZE: usize = 4;
    const TURNS: usize = 15;
    let early_job = Loaded::new("early").go_on(50);
    let late = Loaded::new("late");
    let live = late.bytes;
    let late_job = late.go_on(5_000);
    let (early, late) = (late_job.usual_files(50..=1_000), late_job.usual_files(4_000..=5_000));
    let (files, bytes) = (late_job.most_files(), late_job.most_bytes());
    // In turns, so that what else the machine does meets both of a turn alike.
    let restored = |of: &GoneOn| restored_in(&of.folder, &of.job);
    let turns: Vec<_> = (0..TURNS).map(|_| (restored(&early_job), restored(&late_job))).collect();
    let as_fast = turns.iter().filter(|(early, late)| late * 5 <= early * 6).count();
    let said = format!(
        "{bytes} bytes of {live} live; at most {files} files, mostly {early} in epochs 50 to 1,000 and {late} in 4,000 to 5,000; \
         restored in {turns:?} ms"
    );
    println!("{said}");
    assert!(bytes <= 3 * live, "{said}");
    assert!(files <= 2 * MOST_FILES, "{said}");
    assert!(late <= early + ONE_MORE_SIZE, "{said}");
    // The median of the turns is within 20 %.
    assert!(as_fast > TURNS / 2, "{said}");
}

#[test]
fn bases_that_crashes_have_left_are_gone_before_the_next_one_is_made() {
    const LIVES: usize = 6;
    let Loaded { job, input, folder, store, run, bytes: live, .. } = Loaded::new("crashes");
    run.kill_9();
    // So much that a base is due by then at the latest. It stays due, for each life ends when its base is whole and no manifest
    // names it yet.
    broker().produce(&input, &records(1)[..KEYS as usize * 3 / 5]);
    let most: Vec<u64> = (0..LIVES)
        .map(|_| {
            let marker = folder.path("marker");
            let mut armed = folder.start_armed(&job, &format!("base-adopt:1:{}", marker.display()), &[]);
            let mut most = 0;
            wait::until("the end of a life", DEADLINE, || {
                most = most.max(bytes(&files(&store)));
                armed.ended_within(Duration::ZERO).is_some()
            });
            assert_eq!(fs::read_to_string(&marker).unwrap_or_default(), "base-adopt", "{}", armed.stderr());
            fs::remove_file(&marker).unwrap();
            most
        })
        .collect();
    println!("{most:?} bytes of {live} live");
    assert!(most.iter().all(|most| *most <= 3 * live), "{most:?} bytes of {live} live");
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
        for (name, bytes) in later.iter().map(|(name, about)| (name, about.len())) {
            assert!(bytes * 100 <= state * 3, "{name} has {bytes} bytes; the state of all keys has {state}");
        }
    }
    run.terminate();
    run.wait(DEADLINE).expect(code::OK);
}
