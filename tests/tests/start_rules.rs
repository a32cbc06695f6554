//! Where a job goes on: a state that is not exactly the one it left is refused by name, and never taken for a new start
//! (rule 14 of the exactly-once protocol).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use weir_tests::broker::{Committed, broker};
use weir_tests::job::{Job, operator};
use weir_tests::model;
use weir_tests::records::{Record, assert_equal_by_key};
use weir_tests::wait;
use weir_tests::weir::{Folder, Run, code};

const DEADLINE: Duration = Duration::from_secs(60);
const RECORDS: usize = 500;
const PARTITIONS: i32 = 2;

/// A job that counts by key.
struct Counting {
    folder: Folder,
    input: String,
    counts: String,
    job: Job,
}

fn records() -> Vec<Record> {
    (0..RECORDS).map(|position| Record::keyed(format!("key-{}", position % 7), "")).collect()
}

impl Counting {
    fn new(name: &str) -> Self {
        let (input, counts) = (broker().topic(&format!("{name}-in"), PARTITIONS), broker().topic(&format!("{name}-out"), 1));
        let job = Job::new(name)
            .source("in", broker().source(&input))
            .operator(operator("count", "count", "in", json!({ "key": "record" })))
            .sink("out", &["count"], broker().sink(&counts));
        Self { folder: Folder::new(), input, counts, job }
    }

    /// One that has counted some records and ended.
    fn that_ran(name: &str) -> Self {
        let counting = Self::new(name);
        counting.produce();
        counting.to_the_end(&[]);
        assert_eq!(counting.counted(), RECORDS);
        counting
    }

    fn produce(&self) {
        broker().produce(&self.input, &records());
    }

    fn to_the_end(&self, more: &[&str]) {
        self.folder.run(&self.job, &[&["--until-end"], more].concat(), DEADLINE).expect(code::OK);
    }

    fn counted(&self) -> usize {
        broker().records(&self.counts).len()
    }

    /// What is committed for the first partition.
    fn committed(&self) -> Committed {
        broker().committed(&self.job.group(), &self.input)[0].clone().expect("a committed offset")
    }

    /// How a refusal names the first partition.
    fn first_partition(&self) -> String {
        format!("{}[0]", self.input)
    }

    /// The start is refused, with these words; nothing is read, written or committed.
    fn assert_refused(&self, names: &[&str]) {
        let before = (self.counted(), broker().committed(&self.job.group(), &self.input));
        self.folder.run(&self.job, &["--until-end"], DEADLINE).expect(code::START_REFUSED).expect_named(names);
        assert_eq!((self.counted(), broker().committed(&self.job.group(), &self.input)), before, "a refused start changed something");
    }

    /// `--fresh` counts all that the topic holds, beginning at 1.
    fn assert_starts_fresh(&self) {
        let before = self.counted();
        self.to_the_end(&["--fresh"]);
        let output = broker().records(&self.counts).split_off(before);
        assert_equal_by_key("fresh", &output, &model::count(&broker().records(&self.input)));
    }

    /// Starts a run without end and waits until it has counted.
    fn start_and_await(&self, counted: usize) -> Run {
        let mut run = self.folder.start(&self.job, &[]);
        wait::until(&format!("{counted} counts"), DEADLINE, || {
            run.assert_running();
            self.counted() >= counted
        });
        run
    }
}

#[test]
fn a_run_goes_on_where_the_one_before_ended() {
    let counting = Counting::that_ran("goes-on");
    counting.produce();
    counting.to_the_end(&[]);
    let output = broker().records(&counting.counts);
    assert_equal_by_key("both runs", &output, &model::count(&[records(), records()].concat()));
}

#[test]
fn offsets_that_are_all_gone_are_refused_and_fresh_starts_anew() {
    let counting = Counting::that_ran("group-gone");
    broker().delete_group(&counting.job.group());
    counting.assert_refused(&["nothing is committed", "--fresh"]);
    counting.assert_starts_fresh();
}

#[test]
fn one_partitions_offset_that_is_gone_is_refused_and_fresh_starts_anew() {
    let counting = Counting::that_ran("offset-gone");
    broker().delete_offset(&counting.job.group(), &counting.input, 0);
    counting.assert_refused(&["no offset is committed", &counting.first_partition(), "--fresh"]);
    counting.assert_starts_fresh();
}

#[test]
fn an_offset_that_someone_else_committed_is_refused_and_fresh_starts_anew() {
    for (name, metadata) in [("foreign-none", ""), ("foreign-text", "someone else's"), ("foreign-alike", "weir1;run")] {
        let counting = Counting::that_ran(name);
        let foreign = Committed { metadata: metadata.to_owned(), ..counting.committed() };
        broker().commit(&counting.job.group(), &counting.input, 0, &foreign);
        counting.assert_refused(&["is not this job's", &counting.first_partition(), "--fresh"]);
        counting.assert_starts_fresh();
    }
}

#[test]
fn an_offset_that_someone_moved_is_refused() {
    let counting = Counting::that_ran("moved");
    let committed = counting.committed();
    let moved = Committed { offset: committed.offset - 10, ..committed.clone() };
    broker().commit(&counting.job.group(), &counting.input, 0, &moved);
    counting.assert_refused(&["moved", &counting.first_partition(), &committed.offset.to_string(), &moved.offset.to_string()]);
}

#[test]
fn an_absent_checkpoint_is_refused_and_fresh_starts_anew() {
    let counting = Counting::that_ran("no-checkpoint");
    let files = checkpoints(&counting.folder.path(counting.job.state_folder()));
    assert!(!files.is_empty(), "no checkpoint was written");
    for file in files {
        fs::remove_file(file).unwrap();
    }
    counting.assert_refused(&["checkpoint", ".ckpt", "is not in the checkpoint store", "--fresh"]);
    counting.assert_starts_fresh();
}

#[test]
fn checkpoint_objects_that_go_under_a_running_job_end_it_by_name() {
    let counting = Counting::new("gone-meanwhile");
    counting.produce();
    let mut run = counting.start_and_await(RECORDS);
    run.freeze();
    for file in checkpoints(&counting.folder.path(counting.job.state_folder())) {
        fs::remove_file(file).unwrap();
    }
    run.thaw();
    wait::until("a merge of files, one of which is gone", DEADLINE, || {
        counting.produce();
        run.ended_within(Duration::ZERO).is_some()
    });
    run.wait(DEADLINE).expect(code::START_REFUSED).expect_named(&["error: checkpoint object", ".ckpt does not exist"]);
}

#[test]
fn a_damaged_checkpoint_is_refused_and_fresh_starts_anew() {
    let counting = Counting::that_ran("damaged");
    for file in checkpoints(&counting.folder.path(counting.job.state_folder())) {
        let mut bytes = fs::read(&file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x40;
        fs::write(&file, bytes).unwrap();
    }
    counting.assert_refused(&[".ckpt"]);
    counting.assert_starts_fresh();
}

#[test]
fn an_absent_state_folder_is_refused() {
    let counting = Counting::that_ran("no-folder");
    fs::remove_dir_all(counting.folder.path(counting.job.state_folder())).unwrap();
    counting.assert_refused(&["is not in the checkpoint store", "--fresh"]);
}

#[test]
fn an_offset_before_the_first_record_that_is_left_is_refused_and_fresh_starts_anew() {
    let counting = Counting::that_ran("out-of-range");
    let next = counting.committed().offset;
    counting.produce();
    let left = next + 10;
    broker().delete_records(&counting.input, 0, left);
    counting.assert_refused(&[&counting.first_partition(), &next.to_string(), &left.to_string(), "--fresh"]);
    counting.assert_starts_fresh();
}

/// The same number of partitions, and more records than were committed: only the topic itself is another one. Nothing begins
/// while it is gone, and nothing when it is there again.
#[test]
fn an_input_topic_that_is_gone_or_made_anew_with_more_records_is_refused_and_fresh_starts_anew() {
    let counting = Counting::that_ran("made-anew");
    let marker = counting.folder.path(counting.job.state_folder()).join("checkpoints/run.json");
    let run = fs::read(&marker).unwrap();
    broker().delete_topic(&counting.input);
    let gone = format!("topic `{}` does not exist", counting.input);
    counting.folder.run(&counting.job, &["--until-end"], DEADLINE).expect(code::WORLD).expect_named(&[&gone]);
    assert_eq!((counting.counted(), fs::read(&marker).unwrap()), (RECORDS, run.clone()), "a new run has begun");

    broker().create_topic(&counting.input, PARTITIONS);
    (0..3).for_each(|_| counting.produce());
    counting.assert_refused(&["nothing is committed for it", "the topic was made anew", "--fresh"]);
    assert_eq!(fs::read(&marker).unwrap(), run, "a new run has begun");
    counting.assert_starts_fresh();
}

#[test]
fn one_of_two_input_topics_that_is_gone_or_made_anew_with_more_records_is_refused_by_name() {
    let mut counting = Counting::new("one-made-anew");
    let other = broker().topic("one-made-anew-other", PARTITIONS);
    let mut both = broker().source(&counting.input);
    both["kafka"]["topics"] = json!([counting.input, other]);
    counting.job = Job::new("one-made-anew")
        .source("in", both)
        .operator(operator("count", "count", "in", json!({ "key": "record" })))
        .sink("out", &["count"], broker().sink(&counting.counts));
    counting.produce();
    broker().produce(&other, &records());
    counting.to_the_end(&[]);
    broker().delete_topic(&counting.input);
    let gone = format!("topic `{}` does not exist", counting.input);
    counting.folder.run(&counting.job, &["--until-end"], DEADLINE).expect(code::WORLD).expect_named(&[&gone]);

    broker().create_topic(&counting.input, PARTITIONS);
    (0..3).for_each(|_| counting.produce());
    counting.assert_refused(&["no offset is committed", &counting.first_partition(), "--fresh"]);
}

#[test]
fn rule_16_an_input_topic_that_is_made_anew_under_a_running_job_ends_it_by_name_and_the_next_start_is_refused() {
    let counting = Counting::new("made-anew-meanwhile");
    counting.produce();
    let mut run = counting.start_and_await(RECORDS);
    wait::until("all input committed", DEADLINE, || {
        run.assert_running();
        broker().is_at_end(&counting.job.group(), &counting.input)
    });
    broker().recreate(&counting.input, PARTITIONS);
    run.wait(DEADLINE).expect(code::START_REFUSED).expect_named(&[&format!("topic `{}` partition", counting.input), "is out of range"]);
    (0..3).for_each(|_| counting.produce());
    counting.assert_refused(&["nothing is committed for it", "the topic was made anew", "--fresh"]);
    counting.assert_starts_fresh();
}

#[test]
fn a_second_run_on_the_same_state_is_refused_and_names_the_first_ones_pid() {
    let counting = Counting::new("locked");
    counting.produce();
    let mut first = counting.start_and_await(RECORDS);
    counting.folder.run(&counting.job, &[], DEADLINE).expect(code::START_REFUSED).expect_named(&[&first.pid().to_string()]);
    counting.folder.run(&counting.job, &["--fresh"], DEADLINE).expect(code::START_REFUSED).expect_named(&[&first.pid().to_string()]);
    first.assert_running();
    first.terminate();
    first.wait(DEADLINE).expect(code::OK);
    assert_eq!(counting.counted(), RECORDS);
}

#[test]
fn sigterm_drains_and_commits_and_the_next_start_replays_nothing() {
    let counting = Counting::new("drains");
    for round in 1..=3 {
        counting.produce();
        let mut run = counting.start_and_await(round * RECORDS);
        run.terminate();
        run.wait(DEADLINE).expect(code::OK);
        assert!(broker().is_at_end(&counting.job.group(), &counting.input), "the committed offset is not the end");
    }
    let output = broker().records(&counting.counts);
    assert_equal_by_key("three runs", &output, &model::count(&[records(), records(), records()].concat()));
}

#[test]
fn a_run_that_another_process_took_over_ends_as_fenced() {
    let counting = Counting::new("taken-over");
    counting.produce();
    let first = counting.start_and_await(RECORDS);
    let elsewhere = Folder::new();
    elsewhere.run(&counting.job, &["--fresh", "--until-end"], DEADLINE).expect(code::OK);
    let taken = broker().committed(&counting.job.group(), &counting.input);
    counting.produce();
    first.wait(DEADLINE).expect(code::FENCED);
    assert_eq!(broker().committed(&counting.job.group(), &counting.input), taken, "a fenced run has committed");
}

/// The files of checkpoints in a folder, at any depth.
fn checkpoints(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            found.extend(checkpoints(&path));
        } else if path.extension().is_some_and(|extension| extension == "ckpt") {
            found.push(path);
        }
    }
    found
}
