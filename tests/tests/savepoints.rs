//! Savepoints: a job goes on from one as if it had never stopped, with any number of workers; and what cannot be gone on
//! from is refused by name.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::json;
use weir_tests::broker::broker;
use weir_tests::counting::Counting;
use weir_tests::job::{Job, operator};
use weir_tests::records::Record;
use weir_tests::wait;
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
    let run = place.start(&with_workers(&counting, 2), &arguments);
    counting.end_exactly(run, sent, KEYS, DEADLINE);
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
    // The run that began from it goes on without it, unless it is to begin anew.
    let anew = ["--fresh", "--from-savepoint", to];
    folder.run(&counting.job, &anew, DEADLINE).expect(code::START_REFUSED).expect_named(&[".ckpt", "corrupt"]);
    fs::remove_file(Path::new(to).join("savepoint.json")).unwrap();
    folder.run(&counting.job, &anew, DEADLINE).expect(code::START_REFUSED).expect_named(&["no whole savepoint"]);
}

#[test]
fn rule_11_a_job_whose_offsets_are_lost_goes_on_from_its_last_checkpoint() {
    let counting = Counting::new("forgotten", broker());
    let folder = Folder::new();
    let (load, run) = counting.under_load(&folder, KEYS, PER_SECOND, DEADLINE);
    folder.command(&["stop", "job.yaml"]).expect(code::OK);
    run.wait(DEADLINE).expect(code::OK);
    broker().delete_group(&counting.job.group());
    let refused = folder.run(&counting.job, &[], DEADLINE).expect(code::START_REFUSED);
    refused.expect_named(&["nothing is committed", "--from-checkpoint"]);
    let refused = folder.run(&counting.job, &["--from-checkpoint=999999"], DEADLINE).expect(code::START_REFUSED);
    refused.expect_named(&["no checkpoint of epoch 999999", "weir state list"]);

    let mut run = folder.start(&counting.job, &["--from-checkpoint"]);
    counting.await_committed(&mut run, 2 * PER_SECOND, DEADLINE);
    run.kill_9();
    // The same command line goes on with the run that began so.
    let run = folder.start(&counting.job, &["--from-checkpoint"]);
    counting.end_exactly(run, load.stop(), KEYS, DEADLINE);
}

#[test]
fn an_older_checkpoint_is_gone_back_to_by_its_epoch_and_what_came_after_is_processed_again() {
    let counting = Counting::new("undone", broker());
    let folder = Folder::new();
    let records = |from: usize| (from..from + 100).map(|i| Record::keyed(format!("key-{}", i % 10), "v")).collect::<Vec<_>>();
    broker().produce(counting.input(), &records(0));
    folder.run(&counting.job, &["--until-end"], DEADLINE).expect(code::OK);
    let epoch = format!("--from-checkpoint={}", counting.epoch());
    broker().produce(counting.input(), &records(100));
    folder.run(&counting.job, &["--until-end"], DEADLINE).expect(code::OK);
    assert_eq!(broker().records(counting.counts()).len(), 200);
    for expected in [300, 300] {
        folder.run(&counting.job, &[&epoch, "--until-end"], DEADLINE).expect(code::OK);
        let counted = broker().records(counting.counts());
        assert_eq!(counted.len(), expected, "the second time the run goes on");
        assert!(counted.iter().all(|record| record.text().parse::<u32>().unwrap() <= 20), "each record counts once in the state");
    }
    folder.run(&counting.job, &[&epoch, "--from-savepoint", "x"], DEADLINE).expect(code::BAD_JOB).expect_named(&["cannot be used with"]);
}

#[test]
fn a_drained_job_has_processed_all_that_its_sources_held_when_it_was_asked() {
    let counting = Counting::new("drained", broker());
    let (folder, kept) = (Folder::new(), Folder::new());
    let load = broker().load(counting.input(), KEYS, 50_000);
    let mut run = folder.start(&counting.job, &[]);
    counting.await_committed(&mut run, 1, DEADLINE);
    run.freeze();
    let before = load.delivered();
    wait::until("a backlog", DEADLINE, || load.delivered() >= before + 100_000);
    let (sent, to) = (load.stop(), kept.path("drained"));
    let requests = folder.path(counting.job.state_folder()).join("requests");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            wait::until("the request", DEADLINE, || fs::read_dir(&requests).is_ok_and(|mut found| found.next().is_some()));
            run.thaw();
        });
        let stopped = folder.command(&["stop", "job.yaml", "--drain", "--savepoint", to.to_str().unwrap()]);
        stopped.expect(code::OK).expect_named(&["stopped; savepoint of epoch"]);
    });
    run.wait(DEADLINE).expect(code::OK);
    assert!(broker().is_at_end(&counting.job.group(), counting.input()));
    counting.assert_exact(sent, KEYS);
    folder.run(&counting.job, &[], DEADLINE).expect(code::START_REFUSED).expect_named(&["is closed"]);
}

#[test]
fn rule_26_a_drained_job_ends_where_the_last_offsets_are_markers_and_aborted_records() {
    for (name, savepoint, aborted) in [("marked", false, false), ("marked-savepoint", true, false), ("aborted", true, true)] {
        let counting = Counting::new(name, broker());
        let (folder, kept) = (Folder::new(), Folder::new());
        transaction(counting.input(), 100, true);
        let mut run = folder.start(&counting.job, &[]);
        counting.await_committed(&mut run, 100, DEADLINE);
        if aborted {
            transaction(counting.input(), 50, false);
        }
        let to = kept.path("savepoint");
        let savepoint = savepoint.then(|| ["--savepoint", to.to_str().unwrap()]);
        let stop: Vec<_> = ["stop", "job.yaml", "--drain", "--timeout", "30"].into_iter().chain(savepoint.into_iter().flatten()).collect();
        folder.command(&stop).expect(code::OK).expect_named(&["stopped"]);
        run.wait(DEADLINE).expect(code::OK);
        assert!(broker().is_at_end(&counting.job.group(), counting.input()), "{name}");
        counting.assert_exact(100, 10);
    }
}

/// Produces records of ten keys in one transaction, and waits until its markers are there.
fn transaction(topic: &str, records: i64, commit: bool) {
    let before = broker().ends(topic);
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker().bootstrap()).set("transactional.id", topic).set("partitioner", "murmur2_random");
    let producer: BaseProducer = config.create().unwrap();
    producer.init_transactions(DEADLINE).unwrap();
    producer.begin_transaction().unwrap();
    for record in 0..records {
        producer.send(BaseRecord::<str, str>::to(topic).key(&format!("key-{}", record % 10)).payload("")).unwrap();
    }
    producer.flush(DEADLINE).unwrap();
    if commit {
        producer.commit_transaction(DEADLINE).unwrap()
    } else {
        producer.abort_transaction(DEADLINE).unwrap()
    }
    let end = before.iter().sum::<i64>() + records + before.len() as i64;
    wait::until("the markers of a transaction", DEADLINE, || broker().ends(topic).iter().sum::<i64>() == end);
}

#[test]
fn a_job_that_waits_to_begin_again_hears_weir_stop_and_takes_no_savepoint() {
    let input = broker().topic("waits", 1);
    let endless = json!({ "key": "record", "config": { "do": "loop" }, "limits": { "fuel": u64::MAX / 2, "deadline": "100ms" } });
    let job = Job::new("waits").source("in", broker().source(&input)).operator(operator("hostile", "hostile", "in", endless)).sink(
        "nowhere",
        &["hostile"],
        json!({ "blackhole": {} }),
    );
    broker().produce(&input, &[Record::keyed("key", "strike")]);
    let folder = Folder::new();
    let mut run = folder.start(&job, &[]);
    // The pause behind the last is long enough for both commands.
    wait::until("several failed attempts", DEADLINE, || {
        run.assert_running();
        run.stderr().matches("attempt failed; restarting").count() > 5
    });
    let refused = folder.command(&["savepoint", "job.yaml", "savepoint"]).expect(code::WORLD);
    refused.expect_named(&["waits to begin again", "Ask again"]);
    folder.command(&["stop", "job.yaml"]).expect(code::OK).expect_named(&["stopped"]);
    run.wait(DEADLINE).expect(code::OK).expect_named(&["there was nothing to commit", "ran longer than its deadline"]);
}

/// Cuts the last byte off an object.
fn damage(savepoint: &Path) {
    let object =
        fs::read_dir(savepoint).unwrap().map(|entry| entry.unwrap().path()).find(|path| path.extension().is_some_and(|e| e == "ckpt"));
    let object = object.unwrap();
    let bytes = fs::read(&object).unwrap();
    fs::write(&object, &bytes[..bytes.len() - 1]).unwrap();
}
