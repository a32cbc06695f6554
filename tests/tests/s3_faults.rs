//! A store whose answers are errors, late, lost or cut off, by a proxy between it and the job; and what was put reaching it
//! when the job has long given it up.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::json;
use weir_tests::broker::{Load, broker};
use weir_tests::counting::Counting;
use weir_tests::http_proxy::{Effect, HttpProxy};
use weir_tests::records::Record;
use weir_tests::s3::S3;
use weir_tests::wait;
use weir_tests::weir::{Folder, Run, code};

const DEADLINE: Duration = Duration::from_secs(90);
const KEYS: u64 = 500;
const PER_SECOND: u64 = 3_000;
/// With its metrics, among which is the number of restarts.
const METRICS: &[&str] = &["--metrics-port", "0"];
/// An epoch's object, in the path of a request.
const EPOCH: &str = "/00000";

/// A job with a store behind a proxy. An answer is waited for half as long as a transaction may be open.
fn counting(name: &str, s3: &S3, transaction: &str) -> (Counting<'static>, HttpProxy) {
    let (store, proxy) = s3.store_behind_proxy();
    let mut counting = Counting::new(name, broker());
    counting.job = counting.job.checkpoint(store).checkpoint(json!({ "transactionTimeout": transaction }));
    (counting, proxy)
}

fn goes_on(counting: &Counting<'_>, run: &mut Run) {
    let before = counting.committed();
    counting.await_committed(run, before + PER_SECOND / 2, DEADLINE);
}

#[test]
fn rule_18_a_put_that_is_refused_slow_or_answered_to_nobody_is_made_once_without_a_restart() {
    let s3 = S3::start();
    let (counting, proxy) = counting("s3-puts", &s3, "40s");
    let load = broker().load(counting.input(), KEYS, PER_SECOND);
    let probe = proxy.harm("PUT", "/probe-", Effect::LoseAnswer, 1);
    let folder = s3.folder();
    let mut run = folder.start(&counting.job, METRICS);
    wait::until("the first put", DEADLINE, || probe.hits() == 1);
    let late = Effect::Delay(Duration::from_secs(1));
    for effect in [Effect::Answer(500), Effect::Answer(503), late, Effect::LoseAnswer, Effect::Close] {
        for (method, path) in [("PUT", EPOCH), ("PUT", "/merge-"), ("POST", "?delete")] {
            goes_on(&counting, &mut run);
            let harm = proxy.harm(method, path, effect, 2);
            wait::until(&format!("{effect:?} of {method} {path}"), DEADLINE, || harm.hits() == 2);
        }
    }
    goes_on(&counting, &mut run);
    assert_eq!(run.restarts(), 0, "{}", run.stderr());
    counting.end_exactly(run, load.stop(), KEYS, DEADLINE);
}

#[test]
fn what_a_start_asks_and_gets_no_good_answer_to_is_asked_again_and_never_read_as_not_there() {
    let s3 = S3::start();
    let (counting, proxy) = counting("s3-gets", &s3, "20s");
    let load = broker().load(counting.input(), KEYS, PER_SECOND);
    let folder = s3.folder();
    let mut run = folder.start(&counting.job, METRICS);
    goes_on(&counting, &mut run);
    run.kill_9();
    let slow = (Effect::Delay(Duration::from_secs(1)), 1);
    let soon = [Effect::Answer(500), Effect::Answer(503), Effect::LoseAnswer, Effect::CutAnswer, Effect::Close];
    for (effect, times) in soon.map(|effect| (effect, 2)).into_iter().chain([slow]) {
        let asked = [("HEAD", EPOCH), ("GET", EPOCH), ("GET", "/run.json")];
        // Beside the epochs, which do without it.
        let listing = proxy.harm("GET", "list-type", effect, times);
        let harms = asked.map(|(method, path)| proxy.harm(method, path, effect, times));
        // Without copies, so that all is asked of the store.
        let folder = s3.folder();
        let mut run = folder.start(&counting.job, METRICS);
        goes_on(&counting, &mut run);
        assert_eq!(harms.map(|harm| harm.hits()), [times; 3], "{effect:?} of {asked:?}");
        assert!(listing.hits() > 0, "{effect:?} of a listing");
        assert!(!run.stderr().contains("a new run begins"), "{}", run.stderr());
        assert!(run.restarts() <= 10, "{effect:?}: {}", run.stderr());
        run.kill_9();
    }
    let folder = s3.folder();
    let run = folder.start(&counting.job, METRICS);
    counting.end_exactly(run, load.stop(), KEYS, DEADLINE);
}

#[test]
fn a_start_fetches_the_objects_of_a_checkpoint_beside_each_other() {
    const OBJECTS: u64 = 8;
    let s3 = S3::start();
    let (counting, proxy) = counting("s3-beside", &s3, "40s");
    let load = broker().load(counting.input(), KEYS, PER_SECOND);
    let folder = s3.folder();
    // Without merges each epoch's object stays.
    let merges = proxy.harm("PUT", "/merge-", Effect::Hold, u64::MAX);
    let mut run = folder.start(&counting.job, METRICS);
    wait::until("a checkpoint of several objects", DEADLINE, || {
        run.assert_running();
        counting.epoch() > OBJECTS
    });
    run.kill_9();
    drop(merges);
    let late = proxy.harm("GET", ".ckpt", Effect::Delay(Duration::from_millis(500)), u64::MAX);
    let folder = s3.folder();
    let mut run = folder.start(&counting.job, METRICS);
    goes_on(&counting, &mut run);
    assert!(late.most_at_once() >= OBJECTS / 2, "of {} objects {} at once", late.hits(), late.most_at_once());
    drop(late);
    counting.end_exactly(run, load.stop(), KEYS, DEADLINE);
}

#[test]
fn a_job_that_waits_for_its_store_stops_when_it_is_told_to() {
    let s3 = S3::start();
    let (counting, proxy) = counting("s3-silent", &s3, "120s");
    let silence = proxy.harm("", "", Effect::Swallow, u64::MAX);
    let folder = s3.folder();
    let mut run = folder.start(&counting.job, METRICS);
    wait::until("the store is asked", DEADLINE, || silence.hits() > 0);
    run.terminate();
    run.wait(Duration::from_secs(20)).expect(code::OK).expect_named(&["nothing to commit"]);
}

#[test]
fn rule_10_a_store_of_errors_silence_or_slowness_for_longer_than_a_transaction_costs_no_record_and_few_restarts() {
    const LONGER: Duration = Duration::from_secs(10);
    let s3 = S3::start();
    let (counting, proxy) = counting("s3-sick", &s3, "4s");
    let load = broker().load(counting.input(), KEYS, PER_SECOND);
    let folder = s3.folder();
    let mut run = folder.start(&counting.job, METRICS);
    let late = Effect::Delay(Duration::from_secs(5));
    for effect in [Effect::Answer(500), Effect::Answer(503), Effect::Swallow, Effect::Mute, Effect::Close, late] {
        goes_on(&counting, &mut run);
        let before = run.restarts();
        let harm = proxy.harm("", "", effect, u64::MAX);
        let sick = Instant::now();
        wait::until(&format!("{effect:?} for {LONGER:?}"), DEADLINE, || {
            run.assert_running();
            sick.elapsed() > LONGER
        });
        let restarted = run.restarts() - before;
        assert!(harm.hits() > 0 && (1..=5).contains(&restarted), "{effect:?}: {restarted} restarts in {LONGER:?}: {}", run.stderr());
    }
    goes_on(&counting, &mut run);
    counting.end_exactly(run, load.stop(), KEYS, DEADLINE);
}

#[test]
fn rule_10_a_store_that_stays_away_ends_the_job_by_name_and_once_it_is_back_the_job_goes_on_exactly() {
    let s3 = S3::start();
    let (mut counting, proxy) = counting("s3-gone", &s3, "4s");
    let patient = counting.job.clone();
    counting.job = counting.job.runtime(json!({ "giveUpAfter": "10s" }));
    let load = broker().load(counting.input(), KEYS, PER_SECOND);
    let folder = s3.folder();
    let mut run = folder.start(&counting.job, METRICS);
    goes_on(&counting, &mut run);
    let away = proxy.harm("", "", Effect::Close, u64::MAX);
    run.wait(DEADLINE).expect(code::WORLD).expect_named(&["runtime.giveUpAfter", "s3://"]);
    assert!(away.hits() > 0);
    drop(away);
    let run = folder.start(&patient, METRICS);
    counting.end_exactly(run, load.stop(), KEYS, DEADLINE);
}

#[test]
fn rule_18_a_put_that_arrives_when_the_job_has_given_it_up_changes_nothing() {
    let s3 = S3::start();
    let (counting, proxy) = counting("s3-late", &s3, "4s");
    let load = broker().load(counting.input(), KEYS, PER_SECOND);
    let folder = s3.folder();
    let mut run = folder.start(&counting.job, METRICS);
    let mut given_up = 0;
    for path in [EPOCH, "/merge-", EPOCH] {
        goes_on(&counting, &mut run);
        let harm = proxy.harm("PUT", path, Effect::Hold, 1);
        wait::until(&format!("{path} is given up"), DEADLINE, || run.restarts() > given_up);
        goes_on(&counting, &mut run);
        given_up = run.restarts();
        harm.release();
        wait::until(&format!("{path} arrives"), DEADLINE, || harm.late() == [200]);
    }
    goes_on(&counting, &mut run);
    assert!(given_up <= 6, "{given_up} restarts: {}", run.stderr());
    run.kill_9();
    let folder = s3.folder();
    let run = folder.start(&counting.job, METRICS);
    counting.end_exactly(run, load.stop(), KEYS, DEADLINE);
}

/// An epoch's object, a merged one, or a deletion reaches the store when the successor has committed for long, and its sender
/// stands still.
#[test]
fn rule_9_what_a_process_that_was_taken_over_has_sent_to_its_store_harms_nothing_when_it_arrives() {
    let s3 = S3::start();
    for (name, method, path) in
        [("s3-zombie-put", "PUT", EPOCH), ("s3-zombie-merge", "PUT", "/merge-"), ("s3-zombie-delete", "POST", "?delete")]
    {
        let (counting, proxy) = counting(name, &s3, "40s");
        let load = broker().load(counting.input(), KEYS, PER_SECOND);
        let here = s3.folder();
        let mut zombie = here.start(&counting.job, METRICS);
        goes_on(&counting, &mut zombie);
        let sent = proxy.harm(method, path, Effect::Hold, 1);
        wait::until(&format!("{method} {path}"), DEADLINE, || sent.hits() == 1);
        zombie.freeze();
        let there = s3.folder();
        let mut successor = there.start(&counting.job, METRICS);
        // What is committed can be looked at from then on: offsets that were on their way are not any more.
        let resumed = wait::for_some(DEADLINE, || successor.resumed()).expect("an epoch that the successor goes on from");
        wait::until("five epochs of the successor", DEADLINE, || {
            successor.assert_running();
            counting.epoch() > resumed + 5
        });
        sent.release();
        wait::until(&format!("{method} {path} arrives"), DEADLINE, || sent.answered() == 1);
        goes_on(&counting, &mut successor);
        zombie.thaw();
        zombie.wait(DEADLINE).expect(code::FENCED).expect_named(&["fenced"]);
        goes_on(&counting, &mut successor);
        successor.kill_9();
        // From the store alone.
        let elsewhere = s3.folder();
        let run = elsewhere.start(&counting.job, METRICS);
        counting.end_exactly(run, load.stop(), KEYS, DEADLINE);
    }
}

/// A job that was stopped with a savepoint, and its load, which goes on.
fn stopped_with_savepoint(counting: &Counting<'_>, s3: &S3, folder: &Folder) -> (Load, String) {
    let load = broker().load(counting.input(), KEYS, PER_SECOND);
    let mut run = folder.start(&counting.job, METRICS);
    goes_on(counting, &mut run);
    let savepoint = s3.place(&format!("savepoints/{}", counting.job.group()));
    folder.command(&["stop", "job.yaml", "--savepoint", &savepoint]).expect(code::OK);
    run.wait(DEADLINE).expect(code::OK);
    (load, savepoint)
}

/// Starts the job with the option in its command, kills it, and does so once more: the first start may put the marker anew,
/// the second reads what that one has put.
fn goes_on_over_starts(counting: &Counting<'_>, folder: &Folder, arguments: &[&str]) {
    for _ in 0..2 {
        let mut run = folder.start(&counting.job, arguments);
        goes_on(counting, &mut run);
        assert!(!run.stderr().contains("a new run begins"), "{}", run.stderr());
        run.kill_9();
    }
}

/// The run's marker is the one object that is replaced. It says with which savepoint the run began, so that the option may
/// stay in the command.
#[test]
fn rule_14_a_runs_marker_that_arrives_late_does_not_make_a_later_start_begin_anew() {
    let s3 = S3::start();
    let (counting, proxy) = counting("s3-marker", &s3, "4s");
    let folder = s3.folder();
    let (load, savepoint) = stopped_with_savepoint(&counting, &s3, &folder);
    let arguments = [METRICS, &["--from-savepoint", &savepoint]].concat();
    let marker = proxy.harm("PUT", "/run.json", Effect::Hold, 1);
    let mut run = folder.start(&counting.job, &arguments);
    wait::until("the marker is given up", DEADLINE, || run.restarts() > 0);
    goes_on(&counting, &mut run);
    marker.release();
    wait::until("the marker arrives and is refused", DEADLINE, || marker.late() == [412]);
    run.kill_9();
    goes_on_over_starts(&counting, &folder, &arguments);
    let run = folder.start(&counting.job, &arguments);
    counting.end_exactly(run, load.stop(), KEYS, DEADLINE);
}

#[test]
fn rule_14_a_run_whose_marker_a_crash_has_cut_off_goes_on_over_starts() {
    let s3 = S3::start();
    let (counting, proxy) = counting("s3-cut-off", &s3, "40s");
    let folder = s3.folder();
    let (_load, savepoint) = stopped_with_savepoint(&counting, &s3, &folder);
    let arguments = [METRICS, &["--from-savepoint", &savepoint]].concat();
    let mut run = folder.start(&counting.job, &arguments);
    goes_on(&counting, &mut run);
    run.kill_9();
    // Once more from the same savepoint; the run is committed when its marker is put.
    let marker = proxy.harm("PUT", "/run.json", Effect::Swallow, 1);
    let run = folder.start(&counting.job, &[&arguments[..], &["--fresh"]].concat());
    wait::until("the marker is put", DEADLINE, || marker.hits() == 1);
    run.kill_9();
    goes_on_over_starts(&counting, &folder, &arguments);
}

#[test]
fn rule_18_an_upload_by_parts_whose_steps_fail_and_whose_end_nobody_hears_is_there_once() {
    // Keys that are alike in nothing, so that what they are merged into has several parts of 8 MiB.
    const LONG_KEYS: u64 = 20_000;
    const ROUNDS: u64 = 3;
    let s3 = S3::start();
    let (mut counting, proxy) = counting("s3-parts", &s3, "40s");
    counting.job = counting.job.checkpoint(json!({ "dirtyBytes": "1MiB" }));
    let harms = [
        proxy.harm("POST", "?uploads", Effect::Answer(503), 1),
        proxy.harm("PUT", "partNumber=", Effect::Answer(500), 1),
        proxy.harm("PUT", "partNumber=", Effect::LoseAnswer, 1),
        proxy.harm("POST", "uploadId=", Effect::LoseAnswer, 1),
    ];
    for _ in 0..ROUNDS {
        let round: Vec<_> = (0..LONG_KEYS).map(|i| Record::keyed(format!("{i:06}{}", "x".repeat(1_000)), "")).collect();
        broker().produce(counting.input(), &round);
        let folder = s3.folder();
        let mut run = folder.start(&counting.job, METRICS);
        counting.await_end(&mut run, DEADLINE);
        assert_eq!(run.restarts(), 0, "{}", run.stderr());
        run.terminate();
        run.wait(DEADLINE).expect(code::OK);
    }
    assert_eq!(harms.map(|harm| harm.hits()), [1; 4]);
    let mut counts = HashMap::new();
    for received in broker().consume(counting.counts()) {
        let count = counts.entry(received.record.key.clone().unwrap()).or_insert(0);
        *count += 1;
        assert_eq!(received.record.text(), count.to_string());
    }
    assert!(counts.len() as u64 == LONG_KEYS && counts.values().all(|count| *count == ROUNDS), "{} keys", counts.len());
}

/// The copies of checkpoint objects that a job keeps beside its local state.
fn copies(counting: &Counting<'_>, folder: &Folder) -> Vec<PathBuf> {
    let copies = fs::read_dir(folder.path(counting.job.state_folder()).join("copies")).unwrap().map(|entry| entry.unwrap().path());
    copies.filter(|path| path.extension().is_some_and(|extension| extension == "ckpt")).collect()
}

const WAYS_OF_DAMAGE: usize = 65;

/// Damages an object's file: its tail byte by byte, the parts before it, all over; or cut off, empty, too long or empty of
/// meaning.
fn damage(file: &Path, how: usize) {
    let mut bytes = fs::read(file).unwrap();
    let length = bytes.len();
    match how {
        0..20 => bytes[length - 1 - how] ^= 1 << (how % 8),
        20..40 => bytes[length - 1 - 20 - (how - 20) * 8] ^= 1 << (how % 8),
        40..60 => bytes[(how - 40) * length / 20] ^= 1 << (how % 8),
        60 => bytes.truncate(length - 1),
        61 => bytes.truncate(length / 2),
        62 => bytes.clear(),
        63 => bytes.push(0),
        _ => bytes.fill(0),
    }
    fs::write(file, bytes).unwrap();
}

#[test]
fn rule_18_a_damaged_copy_of_an_object_is_fetched_anew_and_costs_no_count() {
    let s3 = S3::start();
    let (counting, proxy) = counting("s3-copies", &s3, "40s");
    let folder = s3.folder();
    let is_whole = |copy: &Path| {
        let object = s3.objects("s3-copies").into_iter().find(|object| object.file_name() == copy.file_name());
        object.is_some_and(|object| fs::read(object).unwrap() == fs::read(copy).unwrap())
    };
    let (mut rounds, mut ways) = (0, 0);
    while ways < WAYS_OF_DAMAGE {
        let records: Vec<_> = (0..KEYS).map(|i| Record::keyed(format!("key-{i}"), "")).collect();
        broker().produce(counting.input(), &records);
        rounds += 1;
        let mut damaged = vec![];
        if rounds > 3 {
            damaged = copies(&counting, &folder);
            // What a run has left that no manifest names is not looked at.
            let named = counting.named(s3.objects("s3-copies")[0].parent().unwrap());
            damaged.retain(|copy| is_whole(copy) && copy.file_name().is_some_and(|name| named.contains(name.to_str().unwrap())));
        }
        for copy in &damaged {
            damage(copy, ways % WAYS_OF_DAMAGE);
            ways += 1;
        }
        let gets = [EPOCH, "/merge-"].map(|path| proxy.harm("GET", path, Effect::Delay(Duration::ZERO), u64::MAX));
        folder.run(&counting.job, &["--until-end"], DEADLINE).expect(code::OK);
        assert_eq!(gets.iter().map(|get| get.hits()).sum::<u64>(), damaged.len() as u64, "{damaged:?}");
        // What the new manifest does not need is deleted.
        assert!(damaged.iter().all(|copy| !copy.exists() || is_whole(copy)), "{damaged:?}");
    }
    println!("{ways} copies damaged in {rounds} rounds");
    counting.assert_exact(rounds * KEYS, KEYS);
}
