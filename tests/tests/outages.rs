//! A broker, a topic or a disk that fails for longer than a moment.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::json;
use weir_tests::broker::{ACLS, Broker, broker};
use weir_tests::counting::Counting;
use weir_tests::job::{Job, operator};
use weir_tests::records::Record;
use weir_tests::wait;
use weir_tests::weir::{Folder, Run, code};

const DEADLINE: Duration = Duration::from_secs(120);
const KEYS: u64 = 1_000;
const PER_SECOND: u64 = 5_000;
/// The budget of a [`Counting`] job.
const MEMORY: u64 = 128 << 20;

fn terminate(mut run: Run) {
    run.terminate();
    run.wait(DEADLINE).expect(code::OK);
}

/// The job goes on running for a while without what it needs.
fn outlives(run: &mut Run, time: Duration) -> u64 {
    let mut highest = 0;
    let ended = wait::for_some(time, || {
        run.assert_running();
        highest = highest.max(run.memory());
        None::<()>
    });
    assert_eq!(ended, None);
    highest
}

/// Each count comes out once although the broker fails so many times under load. The job has to commit within `patience`
/// after each time.
#[track_caller]
fn counts_exactly(counting: &Counting<'_>, times: usize, fail: impl Fn(&mut Run), patience: Duration) {
    let folder = Folder::new();
    let (load, mut run) = counting.under_load(&folder, KEYS, PER_SECOND, patience);
    for _ in 0..times {
        fail(&mut run);
        let before = counting.committed();
        counting.await_committed(&mut run, before + PER_SECOND, patience);
    }
    counting.end_exactly(run, load.stop(), KEYS, patience);
}

/// Kills the broker and starts it again when it has been away for a while.
fn away(broker: &Broker, time: Duration) -> impl Fn(&mut Run) {
    move |run| {
        broker.kill();
        outlives(run, time);
        broker.restart();
    }
}

#[test]
fn a_broker_that_is_gone_for_a_minute_three_times_under_load_costs_no_count() {
    let broker = Broker::start();
    let counting = Counting::new("outages", &broker);
    counts_exactly(&counting, 3, away(&broker, Duration::from_secs(60)), DEADLINE);
}

#[test]
fn a_broker_that_is_killed_under_load_and_started_again_at_once_costs_no_count() {
    let broker = Broker::start();
    let counting = Counting::new("killed-broker", &broker);
    counts_exactly(&counting, 3, away(&broker, Duration::ZERO), DEADLINE);
}

/// The broker ends the open transaction itself, as soon as it is back.
#[test]
fn outages_that_are_longer_than_a_transaction_may_take_cost_no_count() {
    let broker = Broker::start();
    let mut counting = Counting::new("long-outages", &broker);
    counting.job = counting.job.checkpoint(json!({ "transactionTimeout": "10s" }));
    counts_exactly(&counting, 3, away(&broker, Duration::from_secs(20)), DEADLINE);
}

#[test]
fn a_broker_that_stood_still_until_it_was_fenced_is_found_again_and_costs_no_count() {
    // Less than the minute after which what a client has not delivered ends the attempt.
    const FOUND_AGAIN: Duration = Duration::from_secs(45);
    let broker = Broker::start();
    let mut counting = Counting::new("fenced-broker", &broker);
    counting.job = counting.job.checkpoint(json!({ "interval": "20ms" }));
    let stands_still = |run: &mut Run| {
        broker.freeze();
        // Longer than the session of a broker with its controller.
        outlives(run, Duration::from_secs(4));
        broker.thaw();
    };
    counts_exactly(&counting, 8, stands_still, FOUND_AGAIN);
}

#[test]
fn a_sink_that_stands_still_for_two_minutes_holds_the_source_up_in_flat_memory_and_costs_no_count() {
    let (from, to) = (Broker::start(), Broker::start());
    let (input, counts) = (from.topic("in", 2), to.topic("out", 2));
    let at_least_once = json!({ "delivery": "at-least-once" });
    let counting = Counting::over("stalled-sink", &from, &input, &to, &counts, at_least_once);
    let folder = Folder::new();
    let (load, mut run) = counting.under_load(&folder, KEYS, PER_SECOND, DEADLINE);
    to.freeze();
    let in_the_first_minute = outlives(&mut run, Duration::from_secs(60));
    let in_the_second = outlives(&mut run, Duration::from_secs(60));
    let (committed, there) = (counting.committed(), from.ends(&input).iter().sum::<i64>().cast_unsigned());
    assert!(there - committed > 60 * PER_SECOND, "{committed} of {there} were committed beside a sink that stood still");
    assert!(in_the_first_minute < MEMORY, "{in_the_first_minute} bytes of memory");
    assert!(in_the_second < in_the_first_minute + MEMORY / 16, "memory grew from {in_the_first_minute} to {in_the_second} bytes");
    to.thaw();
    let sent = load.stop();
    counting.await_end(&mut run, DEADLINE);
    terminate(run);
    counting.assert_none_missing(sent, KEYS);
}

#[test]
fn a_broker_that_is_down_at_the_start_is_waited_for() {
    const SENT: u64 = 5_000;
    let broker = Broker::start();
    let counting = Counting::new("down-at-start", &broker);
    let records: Vec<Record> = (0..SENT).map(|i| Record::keyed(format!("key-{}", i % KEYS), "")).collect();
    broker.produce(counting.input(), &records);
    broker.kill();
    let folder = Folder::new();
    let mut run = folder.start(&counting.job, &[]);
    outlives(&mut run, Duration::from_secs(5));
    broker.restart();
    counting.await_end(&mut run, DEADLINE);
    terminate(run);
    counting.assert_exact(SENT, KEYS);
}

#[test]
fn a_broker_that_does_not_come_ends_the_job_after_the_configured_time_with_its_address() {
    // Bound and never listened on: nothing answers there, and nobody else takes the port.
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    drop(socket);
    let job = Job::new("no-broker")
        .source("in", json!({ "kafka": { "brokers": address, "topics": ["in"] } }))
        .sink("out", &["in"], json!({ "blackhole": {} }))
        .runtime(json!({ "giveUpAfter": "3s" }));
    let outcome = Folder::new().run(&job, &[], DEADLINE).expect(code::WORLD);
    outcome.expect_named(&["nothing could be committed for 3s", "runtime.giveUpAfter", &address]);
}

#[test]
fn a_job_that_waits_for_its_broker_stops_when_it_is_told_to_and_says_little_meanwhile() {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    drop(socket);
    let job = Job::new("waiting").source("in", json!({ "kafka": { "brokers": address, "topics": ["in"] } })).sink(
        "out",
        &["in"],
        json!({ "kafka": { "brokers": address, "topic": "out" } }),
    );
    let folder = Folder::new();
    let mut run = folder.start(&job, &[]);
    wait::until("a broker is missed", DEADLINE, || run.stderr().contains(&address));
    run.terminate();
    let outcome = run.wait(Duration::from_secs(10)).expect(code::OK).expect_named(&["nothing to commit"]);
    // Each client says each thing once.
    let lines = outcome.stderr.lines().filter(|line| line.contains(&address)).count();
    assert!(lines < 20 && !outcome.stderr.contains(" ERROR "), "{lines} lines: {}", outcome.stderr);
}

#[test]
fn a_missing_topic_and_one_that_may_not_be_used_end_the_job_at_once_by_name() {
    let broker = Broker::with_properties(ACLS);
    let (input, counts) = (broker.topic("in", 2), broker.topic("out", 2));
    let refused = |name: &str, input: &str, counts: &str, names: &[&str]| {
        let counting = Counting::over(name, &broker, input, &broker, counts, json!({}));
        Folder::new().run(&counting.job, &["--until-end"], DEADLINE).expect(code::WORLD).expect_named(names);
    };
    broker.produce(&input, &[Record::keyed("key-0", "")]);
    refused("no-source", "in-missing", &counts, &["topic `in-missing` does not exist"]);
    refused("no-sink", &input, "out-missing", &["topic `out-missing` does not exist"]);
    let (hidden, closed) = (broker.topic("hidden", 2), broker.topic("closed", 2));
    broker.produce(&hidden, &[Record::keyed("key-0", "")]);
    broker.deny("Read", &hidden);
    broker.deny("Write", &closed);
    refused("hidden", &hidden, &counts, &["not authorised", &hidden]);
    refused("closed", &input, &closed, &["not authorised", &closed]);
}

#[test]
fn a_topic_that_was_made_anew_with_fewer_partitions_ends_the_job_by_name() {
    let broker = Broker::start();
    let counting = Counting::new("shrunk", &broker);
    let folder = Folder::new();
    broker.produce(counting.input(), &[Record::keyed("key-0", "")]);
    folder.run(&counting.job, &["--until-end"], DEADLINE).expect(code::OK);
    broker.recreate(counting.input(), 1);
    let outcome = folder.run(&counting.job, &["--until-end"], DEADLINE).expect(code::START_REFUSED);
    outcome.expect_named(&["nothing is committed for it", "the topic was made anew"]);
}

/// A file system of a fixed size in a folder. Unmounted when dropped.
struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    fn mount(folder: PathBuf, size: &str) -> Self {
        fs::create_dir_all(&folder).unwrap();
        system(&["mount", "-t", "tmpfs", "-o", &format!("size={size}"), "weir-test", folder.to_str().unwrap()]);
        Self { folder }
    }

    fn grow(&self, size: &str) {
        system(&["mount", "-o", &format!("remount,size={size}"), self.folder.to_str().unwrap()]);
    }

    /// As a system does with a disk that fails. Waits until no file on it is open for writing.
    fn make_read_only(&self) {
        let remount = ["mount", "-o", "remount,ro", self.folder.to_str().unwrap()];
        wait::until("the disk is read-only", DEADLINE, || as_root(&remount).status.success());
    }

    fn make_writable(&self) {
        system(&["mount", "-o", "remount,rw", self.folder.to_str().unwrap()]);
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        system(&["umount", "--lazy", self.folder.to_str().unwrap()]);
    }
}

/// Runs a command as root.
fn as_root(command: &[&str]) -> Output {
    let root = fs::metadata("/proc/self").unwrap().uid() == 0;
    let mut words = if root { vec![] } else { vec!["sudo", "-n"] };
    words.extend_from_slice(command);
    Command::new(words[0]).args(&words[1..]).output().unwrap()
}

/// The same, and it has to do what it should.
fn system(command: &[&str]) {
    let output = as_root(command);
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Runs a job over 300,000 keys until its disk is full, gives space, and lets it go on.
fn fills_up(name: &str, small: impl Fn(&Folder, &Job) -> PathBuf, size: &str, memory: &str, named: &str) {
    const RECORDS: u64 = 900_000;
    let folder = Folder::new();
    let job = Job::new(name)
        .source("in", json!({ "generator": { "template": { "keyed": { "keys": 300_000, "valueBytes": 8 } }, "count": RECORDS } }))
        .operator(operator("count", "count", "in", json!({ "key": "record" })))
        .sink("out", &["count"], json!({ "file": { "path": "out.txt" } }))
        .runtime(json!({ "memory": memory, "workers": 2 }));
    let disk = SmallDisk::mount(small(&folder, &job), size);
    folder.run(&job, &[], DEADLINE).expect(code::WORLD).expect_named(&[named, "No space left on device"]);
    disk.grow("1g");
    folder.run(&job, &[], DEADLINE).expect(code::OK);

    let mut counts: HashMap<String, u64> = HashMap::new();
    for line in fs::read_to_string(folder.path("out.txt")).unwrap().lines() {
        let (key, count) = line.split_once('\t').unwrap();
        let last = counts.entry(key.to_owned()).or_default();
        *last += 1;
        assert_eq!(count, last.to_string(), "key {key}");
    }
    assert_eq!(counts.values().sum::<u64>(), RECORDS);
}

#[test]
fn a_full_disk_under_the_checkpoints_ends_the_job_by_name_and_with_space_it_goes_on_exactly() {
    fills_up("full-store", |folder, job| folder.path(job.state_folder()), "1m", "256MiB", "checkpoints");
}

#[test]
fn a_full_disk_under_rocksdb_ends_the_job_by_name_and_with_space_it_goes_on_exactly() {
    fills_up("full-rocksdb", |folder, job| folder.path(job.state_folder()).join("rocksdb"), "4m", "32MiB", "rocksdb");
}

/// Runs a job whose folder is a disk of its own that is made read-only, starts it once more meanwhile, and lets it go on.
/// `READ_ONLY` is what both have to say beside the folder.
fn becomes_read_only(name: &str, folder_of: &str, under_the_running_job: bool) {
    const READ_ONLY: &str = "Read-only file system";
    let counting = Counting::new(name, broker());
    let folder = Folder::new();
    let place = counting.job.state_folder().join(folder_of);
    let named = place.to_str().unwrap().trim_end_matches('/');
    let disk = SmallDisk::mount(folder.path(&place), "1g");
    let (load, run) = counting.under_load(&folder, KEYS, PER_SECOND, DEADLINE);
    if under_the_running_job {
        disk.make_read_only();
        run.wait(DEADLINE).expect(code::WORLD).expect_named(&[named, READ_ONLY]);
    } else {
        terminate(run);
        disk.make_read_only();
    }
    let committed = counting.committed();
    folder.run(&counting.job, &[], DEADLINE).expect(code::WORLD).expect_named(&[named, READ_ONLY]);
    assert_eq!(counting.committed(), committed, "a start that is refused commits nothing");
    disk.make_writable();
    let mut run = folder.start(&counting.job, &[]);
    counting.await_committed(&mut run, committed + PER_SECOND, DEADLINE);
    counting.end_exactly(run, load.stop(), KEYS, DEADLINE);
}

#[test]
fn checkpoints_that_become_read_only_under_a_job_end_it_by_name_and_once_writable_it_goes_on_exactly() {
    becomes_read_only("read-only-store", "checkpoints", true);
}

#[test]
fn a_start_over_a_read_only_state_folder_is_refused_by_name_and_once_writable_it_goes_on_exactly() {
    becomes_read_only("read-only-folder", "", false);
}

#[test]
fn a_start_over_a_read_only_rocksdb_is_refused_by_name_and_once_writable_it_goes_on_exactly() {
    becomes_read_only("read-only-rocksdb", "rocksdb", false);
}
