//! Starts from savepoints and checkpoints that are damaged, lost, or cut off: what was whole before stays so.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use weir_tests::broker::broker;
use weir_tests::counting::Counting;
use weir_tests::records::Record;
use weir_tests::wait;
use weir_tests::weir::{Folder, code};

const DEADLINE: Duration = Duration::from_secs(60);
const KEYS: u64 = 500;

fn records(count: u64) -> Vec<Record> {
    (0..count).map(|i| Record::keyed(format!("key-{}", i % KEYS), "v")).collect()
}

/// A job that has counted some records, has written a savepoint, and was killed: its run is not closed.
struct Killed {
    counting: Counting<'static>,
    folder: Folder,
    savepoint: PathBuf,
    sent: u64,
}

impl Killed {
    fn new(name: &str) -> Self {
        let (counting, folder, sent) = (Counting::new(name, broker()), Folder::new(), 4 * KEYS);
        broker().produce(counting.input(), &records(sent));
        let mut run = folder.start(&counting.job, &[]);
        counting.await_committed(&mut run, sent, DEADLINE);
        let savepoint = folder.path("savepoint");
        folder.command(&["savepoint", "job.yaml", savepoint.to_str().unwrap()]).expect(code::OK);
        run.kill_9();
        Self { counting, folder, savepoint, sent }
    }

    fn as_begun(&self) -> [&str; 2] {
        ["--from-savepoint", self.savepoint.to_str().unwrap()]
    }

    /// The job goes on as if nothing had been.
    fn goes_on(&self, arguments: &[&str]) {
        broker().produce(self.counting.input(), &records(KEYS));
        let run = self.folder.start(&self.counting.job, arguments);
        self.counting.end_exactly(run, self.sent + KEYS, KEYS, DEADLINE);
    }
}

/// Objects of a store by size, the largest first.
fn objects(store: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(store).unwrap().map(|entry| entry.unwrap().path());
    let mut objects: Vec<_> = paths.filter(|path| path.extension().is_some_and(|e| e == "ckpt")).collect();
    objects.sort_by_key(|path| std::cmp::Reverse(fs::metadata(path).unwrap().len()));
    objects
}

/// Flips a bit of an object's data, which only its block's checksum tells.
fn flip(object: &Path) {
    let mut bytes = fs::read(object).unwrap();
    bytes[40] ^= 4;
    fs::write(object, bytes).unwrap();
}

#[test]
fn a_savepoint_with_a_flipped_bit_is_refused_before_it_takes_the_place_of_the_run() {
    let job = Killed::new("rotten-savepoint");
    let rotten = objects(&job.savepoint).remove(0);
    flip(&rotten);
    // Not in the job's own store any more, where it would be found whole.
    let store = job.folder.path(job.counting.job.state_folder()).join("checkpoints");
    let own = store.join(rotten.file_name().unwrap());
    let kept = fs::read(&own).unwrap();
    fs::remove_file(&own).unwrap();
    let refused = job.folder.run(&job.counting.job, &job.as_begun(), DEADLINE).expect(code::START_REFUSED);
    refused.expect_named(&[rotten.file_name().unwrap().to_str().unwrap(), "corrupt"]);
    fs::write(&own, kept).unwrap();
    job.goes_on(&[]);
}

#[test]
fn a_whole_savepoint_mends_a_store_in_which_its_objects_are_damaged() {
    let job = Killed::new("rotten-store");
    let store = job.folder.path(job.counting.job.state_folder()).join("checkpoints");
    let rotten = objects(&store).remove(0);
    flip(&rotten);
    let refused = job.folder.run(&job.counting.job, &[], DEADLINE).expect(code::START_REFUSED);
    refused.expect_named(&[rotten.file_name().unwrap().to_str().unwrap()]);
    job.goes_on(&job.as_begun());
}

#[test]
fn a_run_that_began_from_a_savepoint_goes_on_by_the_same_command_when_the_savepoint_is_gone() {
    let job = Killed::new("gone-savepoint");
    let mut run = job.folder.start(&job.counting.job, &job.as_begun());
    // Its marker, which says with which savepoint it began, is put before that.
    wait::until("a run from the savepoint", DEADLINE, || run.stderr().contains("state restored"));
    job.counting.await_end(&mut run, DEADLINE);
    run.kill_9();
    fs::remove_dir_all(&job.savepoint).unwrap();
    job.goes_on(&job.as_begun());
    let elsewhere = job.folder.path("elsewhere");
    let refused = job.folder.run(&job.counting.job, &["--from-savepoint", elsewhere.to_str().unwrap()], DEADLINE);
    refused.expect(code::START_REFUSED).expect_named(&["no whole savepoint"]);
}

#[test]
fn rule_14_a_run_that_began_from_a_savepoint_does_not_go_back_to_it_when_the_marker_is_another_runs() {
    let mut job = Killed::new("marker-of-another");
    let marker = job.folder.path(job.counting.job.state_folder()).join("checkpoints/run.json");
    let of_the_run_before = fs::read(&marker).unwrap();
    let mut run = job.folder.start(&job.counting.job, &job.as_begun());
    wait::until("a run from the savepoint", DEADLINE, || run.stderr().contains("a new run begins"));
    broker().produce(job.counting.input(), &records(KEYS));
    job.sent += KEYS;
    job.counting.await_end(&mut run, DEADLINE);
    run.kill_9();
    // As a crash leaves it that comes before the run's own one is put; a start that names no savepoint puts it then.
    fs::write(&marker, &of_the_run_before).unwrap();
    job.folder.run(&job.counting.job, &["--until-end"], DEADLINE).expect(code::OK);
    job.folder.run(&job.counting.job, &[&["--until-end"][..], &job.as_begun()].concat(), DEADLINE).expect(code::OK);
    // As a process of the run before puts it that wakes up late. The savepoint may go then: a start has put the marker right.
    fs::write(&marker, &of_the_run_before).unwrap();
    job.folder.run(&job.counting.job, &[&["--until-end"][..], &job.as_begun()].concat(), DEADLINE).expect(code::OK);
    fs::remove_dir_all(&job.savepoint).unwrap();
    job.goes_on(&job.as_begun());
}

#[test]
fn rule_14_a_lost_store_is_no_reason_to_go_back_to_the_savepoint_that_the_command_names() {
    let job = Killed::new("lost-store");
    let mut run = job.folder.start(&job.counting.job, &job.as_begun());
    job.counting.await_committed(&mut run, job.sent, DEADLINE);
    broker().produce(job.counting.input(), &records(KEYS));
    job.counting.await_end(&mut run, DEADLINE);
    run.kill_9();
    let elsewhere = Folder::new();
    let refused = elsewhere.run(&job.counting.job, &job.as_begun(), DEADLINE).expect(code::START_REFUSED);
    refused.expect_named(&["has not ended", "the checkpoint store does not say how it began", "--fresh"]);
    let fresh = [&["--fresh", "--until-end"][..], &job.as_begun()].concat();
    elsewhere.run(&job.counting.job, &fresh, DEADLINE).expect(code::OK);
}

#[test]
fn the_store_of_another_job_is_refused_by_its_name_also_with_fresh() {
    let job = Killed::new("owner");
    let store = job.folder.path(job.counting.job.state_folder());
    let other = Counting::new("intruder", broker());
    let own = other.job.clone().checkpoint(json!({ "path": store }));
    for arguments in [&[][..], &["--fresh"], &["--from-checkpoint"]] {
        let refused = job.folder.run(&own, arguments, DEADLINE).expect(code::START_REFUSED);
        refused.expect_named(&["that of job owner", "this is job intruder"]);
    }
    job.goes_on(&[]);
}

#[test]
fn rule_11_offsets_that_are_lost_again_are_recovered_again() {
    let job = Killed::new("lost-twice");
    for _ in 0..2 {
        broker().delete_group(&job.counting.job.group());
        job.folder.run(&job.counting.job, &[], DEADLINE).expect(code::START_REFUSED).expect_named(&["--from-checkpoint"]);
        job.folder.run(&job.counting.job, &["--from-checkpoint", "--until-end"], DEADLINE).expect(code::OK);
    }
    job.goes_on(&["--from-checkpoint"]);
}

#[test]
fn a_file_that_a_savepoint_does_not_find_begins_anew_also_after_a_crash_before_the_first_commit() {
    let (input, folder, elsewhere) = (broker().topic("moved-file", 1), Folder::new(), Folder::new());
    let counting = Counting::over("moved-file", broker(), &input, broker(), &broker().topic("moved-out", 1), json!({}));
    let job = counting.job.sink("file", &["count"], json!({ "file": { "path": "out.txt" } }));
    broker().produce(&input, &records(KEYS));
    let mut run = folder.start(&job, &[]);
    wait::until("all input committed", DEADLINE, || {
        run.assert_running();
        broker().is_at_end(&job.group(), &input)
    });
    let savepoint = elsewhere.path("savepoint");
    folder.command(&["stop", "job.yaml", "--savepoint", savepoint.to_str().unwrap()]).expect(code::OK);
    run.wait(DEADLINE).expect(code::OK);

    broker().produce(&input, &records(KEYS));
    let marker = elsewhere.path("marker");
    let arguments = ["--from-savepoint", savepoint.to_str().unwrap()];
    elsewhere.start_armed(&job, &format!("delta-put:1:{}", marker.display()), &arguments).wait(DEADLINE);
    assert_eq!(fs::read_to_string(marker).unwrap(), "delta-put");
    elsewhere.run(&job, &["--until-end", "--from-savepoint", savepoint.to_str().unwrap()], DEADLINE).expect(code::OK);
    let out = fs::read_to_string(elsewhere.path("out.txt")).unwrap();
    let counts: Vec<_> = out.lines().map(|line| line.split_once('\t').unwrap().1).collect();
    assert_eq!(counts, vec!["2"; usize::try_from(KEYS).unwrap()]);
}

#[test]
fn a_file_sink_that_is_added_holds_what_was_committed_and_nothing_else_after_a_kill_at_any_time() {
    let (input, folder) = (broker().topic("added-file", 1), Folder::new());
    let counting = Counting::over("added-file", broker(), &input, broker(), &broker().topic("added-out", 1), json!({}));
    broker().produce(&input, &records(KEYS));
    folder.run(&counting.job, &["--until-end"], DEADLINE).expect(code::OK);
    let path = folder.path("added.txt");
    // So long that whatever is in the file is not committed.
    let edited = counting.job.clone().sink("added", &["count"], json!({ "file": { "path": path } })).interval(Duration::from_secs(30));
    broker().produce(&input, &records(KEYS));
    let mut run = folder.start(&edited, &[]);
    wait::until("records in the file", DEADLINE, || {
        run.assert_running();
        fs::metadata(&path).is_ok_and(|about| about.len() > 0)
    });
    run.kill_9();
    folder.run(&edited, &["--until-end"], DEADLINE).expect(code::OK);
    let added = fs::read_to_string(&path).unwrap();
    let counts: Vec<_> = added.lines().map(|line| line.split_once('\t').unwrap().1).collect();
    assert_eq!(counts, vec!["2"; usize::try_from(KEYS).unwrap()]);
}
