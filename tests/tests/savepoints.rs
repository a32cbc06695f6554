//! Savepoints: a job goes on from one as if it had never stopped, with any number of workers; and what cannot be gone on
//! from is refused by name.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use weir_tests::broker::broker;
use weir_tests::counting::Counting;
use weir_tests::job::{Job, operator};
use weir_tests::records::Record;
use weir_tests::weir::{Folder, code};

const DEADLINE: Duration = Duration::from_secs(60);
const KEYS: u64 = 500;
const PER_SECOND: u64 = 5_000;

fn with_workers(counting: &Counting<'_>, workers: usize) -> Job {
    counting.job.clone().runtime(json!({ "workers": workers, "memory": "128MiB" }))
}

#[test]
fn a_job_that_stops_with_a_savepoint_goes_on_from_it_with_other_workers_and_loses_and_repeats_nothing() {
    let counting = Counting::new("moved", broker());
    let load = broker().load(counting.input(), KEYS, PER_SECOND);
    let mut place = Folder::new();
    let mut from: Option<std::path::PathBuf> = None;
    let kept = Folder::new();
    for (step, workers) in [1, 4, 2].into_iter().enumerate() {
        let job = with_workers(&counting, workers);
        let arguments = from.iter().flat_map(|from| ["--from-savepoint", from.to_str().unwrap()]).collect::<Vec<_>>();
        let before = counting.committed();
        let mut run = place.start(&job, &arguments);
        counting.await_committed(&mut run, before + PER_SECOND / 2, DEADLINE);
        if step == 1 {
            // A savepoint on the way disturbs nothing.
            place.command(&["savepoint", "job.yaml", kept.path("on-the-way").to_str().unwrap()]).expect(code::OK);
            run.assert_running();
        }
        let to = kept.path(format!("savepoint-{step}"));
        let stopped = place.command(&["stop", "job.yaml", "--savepoint", to.to_str().unwrap()]).expect(code::OK);
        stopped.expect_named(&["stopped; savepoint of epoch"]);
        run.wait(DEADLINE).expect(code::OK);
        // Rule 15: the run is closed.
        place.run(&job, &[], DEADLINE).expect(code::START_REFUSED).expect_named(&["is closed", "savepoint"]);
        from = Some(to);
        if step == 1 {
            // Another machine: nothing is left of the job but the savepoint.
            place = Folder::new();
        }
    }
    let sent = load.stop();
    let arguments = ["--from-savepoint", from.as_deref().unwrap().to_str().unwrap()];
    let mut run = place.start(&with_workers(&counting, 2), &arguments);
    counting.await_end(&mut run, DEADLINE);
    run.kill_9();
    // The same command line goes on with the run that began from the savepoint.
    let mut run = place.start(&with_workers(&counting, 2), &arguments);
    counting.await_end(&mut run, DEADLINE);
    run.terminate();
    run.wait(DEADLINE).expect(code::OK);
    counting.assert_exact(sent, KEYS);
    place.command(&["state", "dump", kept.path("on-the-way").to_str().unwrap()]).expect(code::OK);
}

#[test]
fn state_that_nothing_claims_and_what_is_no_savepoint_are_refused_by_name() {
    let counting = Counting::new("unclaimed", broker());
    let (folder, kept) = (Folder::new(), Folder::new());
    broker().produce(counting.input(), &(0..100).map(|i| Record::keyed(format!("key-{}", i % 10), "v")).collect::<Vec<_>>());
    let mut run = folder.start(&counting.job, &[]);
    counting.await_committed(&mut run, 100, DEADLINE);
    let to = kept.path("s");
    let to = to.to_str().unwrap();
    folder.command(&["savepoint", "job.yaml", to]).expect(code::OK).expect_named(&["savepoint of epoch"]);
    folder.command(&["savepoint", "job.yaml", to]).expect(code::WORLD).expect_named(&["not empty"]);
    folder.command(&["stop", "job.yaml"]).expect(code::OK).expect_named(&["stopped"]);
    run.wait(DEADLINE).expect(code::OK);
    folder.command(&["savepoint", "job.yaml", kept.path("t").to_str().unwrap()]).expect(code::BAD_JOB).expect_named(&["no job is running"]);

    let other = Job::new("unclaimed")
        .source("in", broker().source(counting.input()))
        .operator(operator("other", "count", "in", json!({ "key": "record" })))
        .sink("out", &["other"], broker().sink(counting.counts()));
    let refused = folder.run(&other, &["--from-savepoint", to, "--until-end"], DEADLINE).expect(code::START_REFUSED);
    refused.expect_named(&["operator count has state", "become other", "--allow-non-restored-state"]);
    let begun = ["--from-savepoint", to, "--allow-non-restored-state", "--until-end"];
    folder.run(&other, &begun, DEADLINE).expect(code::OK).expect_named(&["state `count` of operator count is left behind"]);
    let shards = folder.run(&counting.job.clone().shards(7), &["--from-savepoint", to], DEADLINE).expect(code::START_REFUSED);
    shards.expect_named(&["32 shards"]);

    let missing = kept.path("missing");
    folder
        .run(&counting.job, &["--from-savepoint", missing.to_str().unwrap()], DEADLINE)
        .expect(code::START_REFUSED)
        .expect_named(&["missing", "no whole savepoint"]);
    damage(Path::new(to));
    folder.run(&counting.job, &["--from-savepoint", to], DEADLINE).expect(code::START_REFUSED).expect_named(&[".ckpt", "corrupt"]);
    fs::remove_file(Path::new(to).join("savepoint.json")).unwrap();
    folder.run(&counting.job, &["--from-savepoint", to], DEADLINE).expect(code::START_REFUSED).expect_named(&["no whole savepoint"]);
}

/// Cuts the last byte off an object.
fn damage(savepoint: &Path) {
    let object =
        fs::read_dir(savepoint).unwrap().map(|entry| entry.unwrap().path()).find(|path| path.extension().is_some_and(|e| e == "ckpt"));
    let object = object.unwrap();
    let bytes = fs::read(&object).unwrap();
    fs::write(&object, &bytes[..bytes.len() - 1]).unwrap();
}
