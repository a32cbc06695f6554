//! Checkpoints and savepoints in a real S3 server: another machine goes on from them, a server that is away costs time
//! and nothing else, and what is damaged there is refused by name.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;
use std::time::{Duration, Instant};

use serde_json::json;
use weir_tests::broker::broker;
use weir_tests::counting::Counting;
use weir_tests::records::Record;
use weir_tests::s3::S3;
use weir_tests::wait;
use weir_tests::weir::code;

const DEADLINE: Duration = Duration::from_secs(120);
const KEYS: u64 = 2_000;
const PER_SECOND: u64 = 5_000;

fn counting(name: &str, s3: &S3) -> Counting<'static> {
    let mut counting = Counting::new(name, broker());
    counting.job = counting.job.checkpoint(s3.store());
    counting
}

#[test]
fn another_machine_goes_on_from_checkpoints_in_s3_after_kills_and_counts_exactly() {
    let s3 = S3::start();
    let counting = counting("s3-moved", &s3);
    let load = broker().load(counting.input(), KEYS, PER_SECOND);
    let mut folder = s3.folder();
    for round in 1..=4 {
        let mut run = folder.start(&counting.job, &[]);
        // Not earlier: what is committed is not told while the transaction of the one that was killed is open.
        let before = counting.committed();
        counting.await_committed(&mut run, before + PER_SECOND, DEADLINE);
        run.kill_9();
        assert!(!folder.path(counting.job.state_folder()).join("checkpoints").exists(), "no checkpoints beside the local state");
        // With the copies of this machine, and without.
        if round % 2 == 0 {
            folder = s3.folder();
        }
    }
    let sent = load.stop();
    let mut run = folder.start(&counting.job, &[]);
    counting.await_end(&mut run, DEADLINE);
    run.terminate();
    let ended = run.wait(DEADLINE).expect(code::OK);
    assert!(!ended.text().contains(s3.secret()), "the secret is in the log");
    counting.assert_exact(sent, KEYS);

    // What no manifest needs is deleted: at most a merge's inputs stand beside its result.
    assert!(s3.objects("s3-moved").len() <= 70, "{} objects", s3.objects("s3-moved").len());
    for place in ["job.yaml", &s3.place("s3-moved")] {
        let entries = folder.command(&["state", "dump", place, "--operator", "count"]).expect(code::OK);
        assert_eq!(entries.text().lines().filter(|line| line.contains("\"key\"")).count() as u64, KEYS, "{place}");
    }
}

#[test]
fn a_store_that_is_away_for_ten_transactions_costs_no_record_and_no_restart_loop() {
    const AWAY: Duration = Duration::from_secs(60);
    // Pauses are of 200 ms, twice as long each time, and of 10 s at the most: no more than this even if a try takes no time.
    const MOST: u64 = 11;
    // A try takes 3 s to give the store up, and some more.
    const FEWEST: u64 = 5;
    let s3 = S3::start();
    let mut counting = counting("s3-away", &s3);
    counting.job = counting.job.checkpoint(json!({ "transactionTimeout": "6s" }));
    let load = broker().load(counting.input(), KEYS, PER_SECOND);
    let folder = s3.folder();
    let mut run = folder.start(&counting.job, &["--metrics-port", "0"]);
    counting.await_committed(&mut run, PER_SECOND, DEADLINE);
    s3.stop();
    let away = Instant::now();
    wait::until(&format!("the store was away for {AWAY:?}"), DEADLINE, || {
        run.assert_running();
        away.elapsed() > AWAY
    });
    let (before, restarts) = (counting.committed(), run.restarts());
    assert!((FEWEST..=MOST).contains(&restarts), "{restarts} restarts in {AWAY:?}: {}", run.stderr());
    s3.resume();
    counting.await_committed(&mut run, before + 3 * PER_SECOND, DEADLINE);
    counting.end_exactly(run, load.stop(), KEYS, DEADLINE).expect_named(&["s3://weir-test/s3-away"]);
}

#[test]
fn a_store_that_is_down_at_the_start_is_waited_for() {
    let s3 = S3::start();
    let mut counting = counting("s3-down", &s3);
    counting.job = counting.job.checkpoint(json!({ "transactionTimeout": "4s" }));
    let load = broker().load(counting.input(), KEYS, PER_SECOND);
    s3.stop();
    let folder = s3.folder();
    let mut run = folder.start(&counting.job, &["--metrics-port", "0"]);
    wait::until("the store is missed", DEADLINE, || {
        run.assert_running();
        run.restarts() > 0
    });
    s3.resume();
    counting.await_committed(&mut run, PER_SECOND, DEADLINE);
    let sent = load.stop();
    counting.await_end(&mut run, DEADLINE);
    run.terminate();
    run.wait(DEADLINE).expect(code::OK);
    counting.assert_exact(sent, KEYS);
}

#[test]
fn a_savepoint_moves_a_job_from_a_folder_to_s3_and_back() {
    let s3 = S3::start();
    let mut here = Counting::new("s3-savepoint", broker());
    here.job = here.job.runtime(json!({ "workers": 1, "memory": "128MiB" }));
    let load = broker().load(here.input(), KEYS, PER_SECOND);
    let folder = s3.folder();
    let mut run = folder.start(&here.job, &[]);
    here.await_committed(&mut run, PER_SECOND, DEADLINE);
    let there = s3.place("savepoints/one");
    folder.command(&["stop", "job.yaml", "--savepoint", &there]).expect(code::OK).expect_named(&["stopped; savepoint of epoch", &there]);
    run.wait(DEADLINE).expect(code::OK);

    let remote = here.job.clone().checkpoint(s3.store()).runtime(json!({ "workers": 4, "memory": "128MiB" }));
    let elsewhere = s3.folder();
    let before = here.committed();
    let mut run = elsewhere.start(&remote, &["--from-savepoint", &there]);
    here.await_committed(&mut run, before + PER_SECOND, DEADLINE);
    elsewhere.command(&["savepoint", "job.yaml", &there]).expect(code::WORLD).expect_named(&["not empty"]);
    let back = elsewhere.path("two");
    let back = back.to_str().unwrap();
    elsewhere.command(&["stop", "job.yaml", "--savepoint", back]).expect(code::OK);
    run.wait(DEADLINE).expect(code::OK);

    let folder = s3.folder();
    let local = here.job.clone().runtime(json!({ "workers": 2, "memory": "128MiB" }));
    let sent = load.stop();
    let run = folder.start(&local, &["--from-savepoint", back]);
    here.end_exactly(run, sent, KEYS, DEADLINE);
}

#[test]
fn what_is_missing_or_damaged_in_s3_is_refused_by_name_also_where_a_copy_is_whole() {
    let s3 = S3::start();
    let counting = counting("s3-damaged", &s3);
    broker().produce(counting.input(), &(0..2_000).map(|i| Record::keyed(format!("key-{i}"), "v")).collect::<Vec<_>>());
    let folder = s3.folder();
    folder.run(&counting.job, &["--until-end"], DEADLINE).expect(code::OK);
    let objects = s3.objects("s3-damaged");
    let objects: Vec<_> = objects.iter().filter(|path| path.extension().is_some_and(|e| e == "ckpt")).collect();
    let largest = objects.iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let name = largest.file_name().unwrap().to_str().unwrap();
    let whole = fs::read(largest).unwrap();

    fs::write(largest, &whole[..whole.len() - 1]).unwrap();
    folder.run(&counting.job, &[], DEADLINE).expect(code::START_REFUSED).expect_named(&[name]);
    let mut flipped = whole.clone();
    flipped[whole.len() / 3] ^= 4;
    fs::write(largest, &flipped).unwrap();
    s3.folder().run(&counting.job, &[], DEADLINE).expect(code::START_REFUSED).expect_named(&[name, "corrupt"]);
    fs::remove_file(largest).unwrap();
    folder.run(&counting.job, &[], DEADLINE).expect(code::START_REFUSED).expect_named(&[name]);
    fs::write(largest, &whole).unwrap();
    folder.run(&counting.job, &["--until-end"], DEADLINE).expect(code::OK);
}

#[test]
fn a_bucket_that_is_not_there_and_wrong_credentials_end_the_job_by_name() {
    let s3 = S3::start();
    let mut counting = counting("s3-refused", &s3);
    let wrong = s3.folder().with_variable("AWS_SECRET_ACCESS_KEY", "a-wrong-secret");
    let refused = wrong.run(&counting.job, &["--until-end"], DEADLINE).expect(code::WORLD);
    refused.expect_named(&["s3://weir-test/s3-refused"]);
    let mut store = s3.store();
    store["store"]["s3"]["bucket"] = json!("no-such-bucket");
    counting.job = counting.job.checkpoint(store);
    s3.folder().run(&counting.job, &["--until-end"], DEADLINE).expect(code::WORLD).expect_named(&["s3://no-such-bucket", "no such bucket"]);
}
