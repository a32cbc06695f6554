//! Kills at random moments and at every failpoint, with an oracle that names what they cost: nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::time::Duration;

use weir_tests::broker::{Broker, broker};
use weir_tests::counting::Counting;
use weir_tests::faults::series::{self, Kill, POINTS};
use weir_tests::job::{Job, operator};
use weir_tests::records::{Record, assert_equal_by_key};
use weir_tests::wait;
use weir_tests::weir::{Folder, code};

#[test]
fn nothing_is_lost_repeated_reordered_or_computed_wrongly_by_random_kills_and_one_at_each_failpoint() {
    // Random ones in between, so that what a failpoint leaves is found by starts of all kinds.
    let [first, second] = [POINTS[..6].iter(), POINTS[6..].iter()].map(|points| points.copied().map(Kill::At));
    let pairs = second.rev().flat_map(|kill| [Kill::Random, kill]);
    let kills: Vec<Kill> = pairs.chain([Kill::TakeOver]).chain(first.rev()).collect();
    let report = series::run("faults", broker(), 1, &kills);
    assert!(report.findings.is_empty(), "of {} records, through {report:?}\n{}", report.records, report.findings);
    assert_eq!(report.points.len(), POINTS.len());
    assert_eq!((report.phases.values().sum::<u64>(), report.take_overs), (9, 1), "{:?}", report.phases);
    assert_eq!(report.unanswered.values().sum::<u64>(), 1, "{:?}", report.unanswered);
}

#[test]
fn a_job_without_state_is_exact_through_kills_around_its_commits() {
    const DEADLINE: Duration = Duration::from_secs(60);
    const KEYS: u64 = 500;
    const COMMITS_BETWEEN: u64 = 5;
    let record = |number: u64| (format!("key-{}", number % KEYS), number.to_string());
    let (input, output) = (broker().topic("stateless-in", 2), broker().topic("stateless-out", 2));
    let job = Job::new("stateless")
        .checkpoint(serde_json::json!({ "interval": "50ms", "transactionTimeout": "10s" }))
        .source("in", broker().source(&input))
        .operator(operator("pass", "passthrough", "in", serde_json::json!({})))
        .sink("out", &["pass"], broker().sink(&output))
        .runtime(serde_json::json!({ "workers": 2 }));
    let folder = Folder::new();
    let load = broker().load_of(&input, (0..).map(record), 0, 10_000);
    for (point, hit) in ["begin", "produce", "delta-put", "manifest-put", "offsets-sent", "commit-sent", "committed"].into_iter().zip(3..) {
        series::end_at(&folder, &job, point, hit);
        let mut run = folder.start(&job, &[]);
        let before = broker().epoch(&job.group(), &input);
        wait::until("commits after it", DEADLINE, || {
            run.assert_running();
            broker().epoch(&job.group(), &input) > before + COMMITS_BETWEEN
        });
        run.kill_9();
    }
    let sent = load.stop();
    folder.run(&job, &["--until-end"], DEADLINE).expect(code::OK);
    let bare = |records: Vec<Record>| records.into_iter().map(Record::bare).collect::<Vec<_>>();
    // As the guest changes them.
    let changed = |value: String| value.into_bytes().into_iter().map(|byte| byte ^ 0x20).collect::<Vec<_>>();
    let expected = (0..sent).map(record).map(|(key, value)| Record::keyed(key, changed(value))).collect();
    assert_equal_by_key("out", &bare(broker().records(&output)), &bare(expected));
}

#[test]
fn only_the_build_with_failpoints_knows_them_and_it_refuses_any_other_by_name() {
    let job = Job::new("armed").sink("out", &[], serde_json::json!({ "blackhole": {} }));
    let refused = Folder::new().start_armed(&job, "nowhere:1:marker", &[]).wait(Duration::from_secs(60)).expect(code::BAD_JOB);
    refused.expect_named(&["there is no failpoint `nowhere`", &POINTS.join(", ")]);
    let ordinary = Folder::new().with_variable("WEIR_FAILPOINT", "nowhere:1:marker").command(&["version"]);
    ordinary.expect(code::OK);
}

#[test]
fn rule_7_outputs_are_delivered_before_their_epoch_is_committed() {
    const DEADLINE: Duration = Duration::from_secs(60);
    const KEYS: u64 = 1_000;
    let (from, (to, way_there)) = (broker(), Broker::proxied());
    let (input, counts) = (from.topic("undelivered-in", 2), to.topic("out", 2));
    let at_least_once = serde_json::json!({ "delivery": "at-least-once" });
    let counting = Counting::over("undelivered", from, &input, &to, &counts, at_least_once);
    let one_of_each: Vec<Record> = (0..KEYS).map(|key| Record::keyed(format!("key-{key}"), "")).collect();
    let folder = Folder::new();
    from.produce(&input, &one_of_each);
    let mut run = folder.start(&counting.job, &[]);
    counting.await_end(&mut run, DEADLINE);
    way_there.lose_requests();
    from.produce(&input, &one_of_each);
    wait::until("outputs that are lost", DEADLINE, || way_there.hits() > 0);
    // Time for many epochs, of which nothing is delivered: none may be committed, for what it wrote dies with the process.
    assert!(run.ended_within(Duration::from_secs(2)).is_none());
    run.kill_9();
    way_there.open();
    from.produce(&input, &one_of_each);
    let mut run = folder.start(&counting.job, &[]);
    counting.await_end(&mut run, DEADLINE);
    run.terminate();
    run.wait(DEADLINE).expect(code::OK);
    counting.assert_none_missing(3 * KEYS, KEYS);
}
