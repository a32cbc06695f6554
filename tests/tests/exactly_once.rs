//! Outputs, offsets and state are one transaction: a process that was taken over, stood still or failed leaves nothing of
//! what it had not committed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;
use std::iter;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;
use weir_tests::broker::{Broker, broker};
use weir_tests::counting::Counting;
use weir_tests::job::{Job, operator};
use weir_tests::proxy::{Api, Effect, Proxy, Way};
use weir_tests::records::Record;
use weir_tests::s3::S3;
use weir_tests::wait;
use weir_tests::weir::{Folder, Run, code};

const DEADLINE: Duration = Duration::from_secs(90);
/// For 80 calls, each of which takes a second on a slow machine.
const SLOW_DEADLINE: Duration = Duration::from_secs(300);
const KEYS: u64 = 500;
const PER_SECOND: u64 = 5_000;
/// So many files of alike size are merged.
const MERGED_AT: u64 = 4;
/// The longest transaction of a job whose guest is slow.
const TRANSACTION: Duration = Duration::from_secs(6);
/// Longer than another job's transaction may be open.
const BEYOND_THE_TIME_OUT: Duration = Duration::from_secs(8);

/// A job whose transactions time out soon.
fn counting<'a>(name: &str, broker: &'a Broker) -> Counting<'a> {
    let mut counting = Counting::new(name, broker);
    counting.job = counting.job.checkpoint(json!({ "transactionTimeout": "5s" }));
    counting
}

/// What becomes of the transaction of a process that was stopped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// Its successor ends it.
    BySuccessor,
    /// The broker has ended it before, because it was open for too long.
    ByBroker,
}

/// Stops a process within its transaction, with outputs in it that nobody has acknowledged: requests that bring them, or only
/// the answers, are lost. Once it goes on, it sends them again.
fn stop_in_transaction((proxy, lost): (&Proxy, Way), run: &mut Run) {
    proxy.harm(Api::Produce, lost, Effect::Drop, u64::MAX);
    wait::until("outputs that are not acknowledged", DEADLINE, || {
        run.assert_running();
        proxy.hits() > 0
    });
    run.freeze();
    proxy.heal();
}

/// Whether the broker has an open transaction of the job's.
fn is_open(counting: &Counting<'_>) -> bool {
    counting.broker().open_transactions().contains(&counting.job.group())
}

/// Another process over the same checkpoints takes over the job of one that was stopped within its transaction, which then goes
/// on. `elsewhere` makes the folder of a machine that has nothing of the job's but the checkpoints.
fn take_over(counting: &Counting<'_>, (proxy, lost): (&Proxy, Way), ended: Ended, here: &Folder, elsewhere: &dyn Fn() -> Folder) {
    let (broker, job) = (counting.broker(), &counting.job);
    let (load, mut zombie) = counting.under_load(here, KEYS, PER_SECOND, DEADLINE);
    stop_in_transaction((proxy, lost), &mut zombie);
    assert!(is_open(counting), "no transaction is open");
    if ended == Ended::ByBroker {
        wait::until("the broker has ended the transaction", DEADLINE, || !is_open(counting));
    }
    let stopped_at = counting.epoch();
    let there = elsewhere();
    let mut successor = there.start(job, &[]);
    wait::until("five epochs of the successor", DEADLINE, || {
        successor.assert_running();
        counting.epoch() > stopped_at + 5
    });
    zombie.thaw();
    zombie.wait(DEADLINE).expect(code::FENCED).expect_named(&["fenced"]);
    let sent = load.stop();
    counting.end_exactly(successor, sent, KEYS, DEADLINE);
    // The store has every count: a start from it alone goes on with each.
    broker.produce(counting.input(), &(0..KEYS).map(|key| Record::keyed(format!("key-{key}"), "")).collect::<Vec<_>>());
    elsewhere().run(job, &["--until-end"], DEADLINE).expect(code::OK);
    counting.assert_exact(sent + KEYS, KEYS);
}

#[test]
fn rule_9_a_process_stopped_in_its_transaction_and_taken_over_ends_as_fenced_and_nothing_of_it_is_seen_or_stored() {
    let (broker, proxy) = Broker::proxied();
    for (name, lost) in [("zombie-unheard", Way::Request), ("zombie-unanswered", Way::Answer)] {
        let counting = Counting::new(name, &broker);
        let here = Folder::new();
        take_over(&counting, (&proxy, lost), Ended::BySuccessor, &here, &|| here.twin(&counting.job));
    }
}

#[test]
fn rule_9_a_process_whose_transaction_the_broker_ended_before_it_was_taken_over_ends_as_fenced_too() {
    let (broker, proxy) = Broker::proxied();
    let mut counting = Counting::new("late-zombie", &broker);
    counting.job = counting.job.checkpoint(json!({ "transactionTimeout": "10s" }));
    let here = Folder::new();
    take_over(&counting, (&proxy, Way::Answer), Ended::ByBroker, &here, &|| here.twin(&counting.job));
}

#[test]
fn rule_9_a_process_stopped_in_its_transaction_and_taken_over_leaves_a_store_in_s3_as_its_successor_made_it() {
    let (s3, (broker, proxy)) = (S3::start(), Broker::proxied());
    let mut counting = Counting::new("s3-zombie", &broker);
    counting.job = counting.job.checkpoint(s3.store());
    take_over(&counting, (&proxy, Way::Answer), Ended::BySuccessor, &s3.folder(), &|| s3.folder());
}

#[test]
fn a_process_that_stood_still_for_longer_than_its_transaction_may_goes_on_exactly() {
    let (broker, proxy) = Broker::proxied();
    let counting = counting("stood-still", &broker);
    let folder = Folder::new();
    let (load, mut run) = counting.under_load(&folder, KEYS, PER_SECOND, DEADLINE);
    stop_in_transaction((&proxy, Way::Answer), &mut run);
    wait::until("the broker has ended the transaction", DEADLINE, || broker.is_transaction_over(&counting.job.group()));
    run.thaw();
    wait::until("it begins again", DEADLINE, || run.stderr().contains("restarting from the last checkpoint"));
    counting.end_exactly(run, load.stop(), KEYS, DEADLINE);
}

#[test]
fn rule_9_an_idle_process_that_was_taken_over_ends_as_fenced_also_before_its_successor_has_committed() {
    let (broker, proxy) = Broker::proxied();
    let counting = counting("idle-zombie", &broker);
    let once = (0..KEYS).map(|key| Record::keyed(format!("key-{key}"), "")).collect::<Vec<_>>();
    let here = Folder::new();
    broker.produce(counting.input(), &once);
    let mut idle = here.start(&counting.job, &[]);
    counting.await_committed(&mut idle, KEYS, DEADLINE);
    assert!(idle.ended_within(BEYOND_THE_TIME_OUT).is_none(), "{}", idle.stderr());
    proxy.harm(Api::AddOffsetsToTxn, Way::Request, Effect::Drop, u64::MAX);
    let there = here.twin(&counting.job);
    let mut successor = there.start(&counting.job, &[]);
    wait::until("the successor's first commit, which is lost", DEADLINE, || {
        successor.assert_running();
        proxy.hits() > 0
    });
    broker.produce(counting.input(), &once);
    idle.wait(DEADLINE).expect(code::FENCED).expect_named(&["fenced"]);
    proxy.heal();
    counting.end_exactly(successor, 2 * KEYS, KEYS, DEADLINE);
}

#[test]
fn rule_9_a_process_that_cannot_tell_who_committed_last_takes_nothing_over() {
    let (broker, proxy) = Broker::proxied();
    let counting = counting("unsure-zombie", &broker);
    let here = Folder::new();
    let (load, mut zombie) = counting.under_load(&here, KEYS, PER_SECOND, DEADLINE);
    // Within its transaction: in one that begins once it goes on, it is fenced without having to ask.
    stop_in_transaction((&proxy, Way::Answer), &mut zombie);
    let stopped_at = counting.epoch();
    let there = here.twin(&counting.job);
    let mut successor = there.start(&counting.job, &[]);
    assert!(successor.ended_within(BEYOND_THE_TIME_OUT).is_none(), "{}", successor.stderr());
    wait::until("commits of the successor", DEADLINE, || counting.epoch() > stopped_at + 1);
    proxy.harm(Api::OffsetFetch, Way::Answer, Effect::Drop, u64::MAX);
    zombie.thaw();
    wait::until("it has looked, and gone on", DEADLINE, || {
        zombie.assert_running();
        zombie.stderr().matches("restarting from the last checkpoint").count() > 1
    });
    assert!(proxy.heal() > 0);
    zombie.wait(DEADLINE).expect(code::FENCED).expect_named(&["another process has committed"]);
    counting.end_exactly(successor, load.stop(), KEYS, DEADLINE);
}

/// Told to abort, librdkafka would ask for another epoch, and fence the successor by that.
#[test]
fn rule_9_a_process_whose_outputs_are_too_old_to_be_announced_leaves_its_successor_alone() {
    let (broker, proxy) = Broker::proxied();
    let counting = counting("unannounced", &broker);
    let here = Folder::new();
    let (load, mut zombie) = counting.under_load(&here, KEYS, PER_SECOND, DEADLINE);
    proxy.harm(Api::Commit, Way::Answer, Effect::LastOfAll, 1);
    wait::until("requests behind the last answer", DEADLINE, || {
        zombie.assert_running();
        proxy.hits() > 1
    });
    zombie.freeze();
    proxy.heal();
    proxy.open();
    let stopped_at = counting.epoch();
    let there = here.twin(&counting.job);
    let mut successor = there.start(&counting.job, &[]);
    assert!(successor.ended_within(BEYOND_THE_TIME_OUT).is_none(), "{}", successor.stderr());
    wait::until("commits of the successor", DEADLINE, || counting.epoch() > stopped_at + 1);
    let takeovers = proxy.takeovers();
    zombie.thaw();
    zombie.wait(DEADLINE).expect(code::FENCED).expect_named(&["fenced"]);
    assert_eq!(proxy.takeovers(), takeovers, "it has asked for another epoch, or its successor has begun again");
    counting.end_exactly(successor, load.stop(), KEYS, DEADLINE);
}

/// It learns of its last commit when its successor has merged and deleted what it merges next. Its outputs are in no
/// transaction, which would be fenced first.
#[test]
fn rule_9_a_process_whose_checkpoint_objects_its_successor_has_deleted_ends_as_fenced_and_not_as_refused() {
    let (broker, proxy) = Broker::proxied();
    let mut counting = Counting::new("robbed", &broker);
    let (mut source, mut sink) = (broker.source(counting.input()), broker.sink(counting.counts()));
    // A request that waits for its answer while the process stands still is not given up.
    source["kafka"]["properties"] = json!({ "socket.timeout.ms": "60000" });
    sink["kafka"]["delivery"] = json!("at-least-once");
    let count = operator("count", "count", "in", json!({ "key": "record" }));
    counting.job = Job::new("robbed").source("in", source).operator(count).sink("out", &["count"], sink);
    let here = Folder::new();
    let mut zombie = here.start(&counting.job, &[]);
    let commit_one = |run: &mut Run, records: u64| {
        broker.produce(counting.input(), &[Record::keyed("key", "")]);
        counting.await_committed(run, records, DEADLINE);
    };
    (1..MERGED_AT).for_each(|records| commit_one(&mut zombie, records));
    let files = || -> Vec<_> {
        let found = fs::read_dir(here.path(counting.job.state_folder()).join("checkpoints")).unwrap();
        found.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|extension| extension == "ckpt")).collect()
    };
    let first = files();
    assert!(!first.is_empty(), "no checkpoint was written");
    proxy.harm(Api::Commit, Way::Answer, Effect::Delay(BEYOND_THE_TIME_OUT), 1);
    broker.produce(counting.input(), &[Record::keyed("key", "")]);
    wait::until("a commit without an answer", DEADLINE, || {
        zombie.assert_running();
        proxy.hits() > 0
    });
    // Nor does it read on.
    proxy.lose_requests();
    zombie.freeze();
    proxy.open();
    let there = here.twin(&counting.job);
    let mut successor = there.start(&counting.job, &[]);
    let mut records = MERGED_AT;
    counting.await_committed(&mut successor, records, DEADLINE);
    while first.iter().any(|file| files().contains(file)) {
        records += 1;
        assert!(records < 10 * MERGED_AT, "the successor has not merged: {:?}", files());
        commit_one(&mut successor, records);
    }
    zombie.thaw();
    zombie.wait(DEADLINE).expect(code::FENCED).expect_named(&["another process has committed"]);
    successor.assert_running();
    successor.terminate();
    successor.wait(DEADLINE).expect(code::OK);
}

/// What it was writing is garbage to its successor, which is listed and deleted at once.
#[test]
fn rule_21_a_process_stopped_while_it_merges_and_taken_over_ends_as_fenced_and_costs_no_count() {
    const KEYS: u64 = 500_000;
    const MOST_ROUNDS: u64 = 10;
    const EPOCH: Duration = Duration::from_secs(2);
    let mut counting = Counting::new("merging", broker());
    counting.job = counting.job.runtime(json!({ "workers": 2 })).interval(EPOCH);
    let here = Folder::new();
    let store = here.path(counting.job.state_folder()).join("checkpoints");
    let is_unfinished = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".merge-"));
    let records: Vec<_> = (0..KEYS).map(|key| Record::keyed(format!("key-{key}"), "")).collect();
    let mut zombie = here.start(&counting.job, &[]);
    let mut rounds = 0;
    // Each changes all of the state, mostly within an epoch, so that much is to be merged then and there is nothing else to do.
    let unfinished = loop {
        rounds += 1;
        assert!(rounds <= MOST_ROUNDS, "no merge was met in {MOST_ROUNDS} rounds");
        broker().produce(counting.input(), &records);
        let merging = || fs::read_dir(&store).into_iter().flatten().flatten().map(|entry| entry.path()).find(|path| is_unfinished(path));
        let Some(unfinished) = wait::for_some(2 * EPOCH, merging) else { continue };
        zombie.freeze();
        if unfinished.exists() {
            break unfinished;
        }
        zombie.thaw();
    };
    let there = here.twin(&counting.job);
    let mut successor = there.start(&counting.job, &[]);
    wait::until("its successor to delete what it was writing", DEADLINE, || {
        successor.assert_running();
        !unfinished.exists()
    });
    zombie.thaw();
    zombie.wait(DEADLINE).expect(code::FENCED);
    println!("in round {rounds}");
    counting.end_exactly(successor, rounds * KEYS, KEYS, DEADLINE);
}

#[test]
fn a_job_that_fails_leaves_no_transaction_open_and_nothing_of_it_to_see() {
    let (input, output) = (broker().topic("poisoned-in", 1), broker().topic("poisoned-out", 1));
    let job = Job::new("poisoned")
        .source("in", broker().source(&input))
        .operator(operator("poison", "poison", "in", json!({ "key": "record" })))
        .sink("out", &["poison"], broker().sink(&output));
    let mut records: Vec<Record> = (0..100).map(|i| Record::keyed(format!("key-{i}"), "fine")).collect();
    records.push(Record::keyed("key", "poison"));
    broker().produce(&input, &records);
    Folder::new().run(&job, &["--until-end"], DEADLINE).expect(code::GUEST);
    assert!(!broker().open_transactions().contains(&job.group()), "the transaction is still open");
    assert_eq!(broker().records(&output), []);
}

/// A job whose guest does `task` on each record that says `strike`, with all the fuel and time that it likes.
fn struck(name: &str, [input, output]: [&str; 2], task: &str) -> Job {
    let limits = json!({ "fuel": u64::MAX / 2, "deadline": "10m" });
    Job::new(name)
        // Short epochs: the first ones of an attempt are over before it reads, which is no progress.
        .checkpoint(json!({ "transactionTimeout": format!("{TRANSACTION:?}"), "interval": "10ms" }))
        .source("in", broker().source(input))
        .operator(operator("hostile", "hostile", "in", json!({ "key": "record", "config": { "do": task }, "limits": limits })))
        .sink("out", &["hostile"], broker().sink(output))
        .runtime(json!({ "giveUpAfter": "10s", "workers": 1, "batchRecords": 1 }))
}

fn records(values: impl IntoIterator<Item = &'static str>) -> Vec<Record> {
    values.into_iter().zip(0..).map(|(value, number)| Record::keyed(format!("key-{number}"), value)).collect()
}

/// The guest does what its configuration says in the middle of them.
fn struck_records() -> Vec<Record> {
    records(iter::repeat_n("fine", 100).chain(["strike"]).chain(iter::repeat_n("fine", 100)))
}

#[test]
fn a_guest_that_is_slow_for_longer_in_all_than_a_transaction_may_be_open_costs_no_record() {
    let (input, output) = (broker().topic("slow-in", 1), broker().topic("slow-out", 1));
    let sent = records(["strike", "fine"].into_iter().cycle().take(80));
    broker().produce(&input, &sent);
    let begun = Instant::now();
    Folder::new().run(&struck("slow", [&input, &output], "slow"), &["--until-end"], SLOW_DEADLINE).expect(code::OK);
    assert!(begun.elapsed() > TRANSACTION, "the guest was not slow: {:?}", begun.elapsed());
    assert_eq!(broker().records(&output), sent);
}

#[test]
fn a_call_that_would_outlast_its_transaction_ends_the_job_by_name_and_what_was_committed_is_exact() {
    let (input, output) = (broker().topic("endless-in", 1), broker().topic("endless-out", 1));
    let (folder, job) = (Folder::new(), struck("endless", [&input, &output], "loop"));
    let sent = struck_records();
    broker().produce(&input, &sent);
    folder.run(&job, &[], DEADLINE).expect(code::WORLD).expect_named(&["runtime.giveUpAfter", "operator hostile", "deadline of 3s"]);
    assert!(!broker().open_transactions().contains(&job.group()), "the transaction is still open");
    let committed = broker().records(&output);
    assert_eq!(committed, sent[..committed.len()]);
    // With a guest that is mended, the job goes on from there.
    folder.run(&struck("endless", [&input, &output], "nothing"), &["--until-end"], DEADLINE).expect(code::OK);
    assert_eq!(broker().records(&output), sent);
}

/// Each call is within its deadline, and an epoch's barrier waits for all of them.
#[test]
fn guests_that_are_slow_together_for_longer_than_a_transaction_may_be_open_end_the_job_by_name_and_nothing_is_seen() {
    const LINKS: usize = 40;
    let (input, output) = (broker().topic("chain-in", 1), broker().topic("chain-out", 1));
    let chain = |task: &str| {
        let config = json!({ "key": "record", "config": { "do": task }, "limits": { "fuel": u64::MAX / 2, "deadline": "10m" } });
        // What is read at once is one epoch: the first records are in the transaction when the guests are struck.
        let job = Job::new("chain")
            .checkpoint(json!({ "transactionTimeout": format!("{TRANSACTION:?}"), "interval": "3s" }))
            .source("in", broker().source(&input))
            .operator(operator("hostile-0", "hostile", "in", config.clone()));
        let links =
            (1..LINKS).map(|link| operator(&format!("hostile-{link}"), "hostile", &format!("hostile-{}", link - 1), config.clone()));
        links
            .fold(job, Job::operator)
            .sink("out", &[&format!("hostile-{}", LINKS - 1)], broker().sink(&output))
            .runtime(json!({ "giveUpAfter": "10s", "workers": 1, "batchRecords": 1 }))
    };
    let sent = struck_records();
    broker().produce(&input, &sent);
    let folder = Folder::new();
    folder
        .run(&chain("slow"), &[], SLOW_DEADLINE)
        .expect(code::WORLD)
        .expect_named(&["runtime.giveUpAfter", "checkpoint.transactionTimeout"]);
    assert_eq!(broker().records(&output), []);
    folder.run(&chain("nothing"), &["--until-end"], DEADLINE).expect(code::OK);
    assert_eq!(broker().records(&output), sent);
}

#[test]
fn an_exactly_once_sink_on_another_cluster_is_refused_with_the_way_out() {
    let other = Broker::start();
    let (input, counts) = (broker().topic("here", 1), other.topic("there", 1));
    let counting = Counting::over("elsewhere", broker(), &input, &other, &counts, json!({}));
    let outcome = Folder::new().run(&counting.job, &["--until-end"], DEADLINE).expect(code::BAD_JOB);
    outcome.expect_named(&["sink out", other.bootstrap(), broker().bootstrap(), "delivery: at-least-once"]);
}
