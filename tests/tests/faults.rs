//! Kills at random moments and at every failpoint, with an oracle that names what they cost: nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::time::Duration;

use weir_tests::broker::broker;
use weir_tests::faults::series::{self, Kill, POINTS};
use weir_tests::job::Job;
use weir_tests::weir::{Folder, code};

#[test]
fn nothing_is_lost_repeated_reordered_or_computed_wrongly_by_random_kills_and_one_at_each_failpoint() {
    // A random one between any two others, so that what a failpoint leaves is found by starts of all kinds.
    let kills: Vec<Kill> = POINTS.into_iter().rev().flat_map(|point| [Kill::Random, Kill::At(point)]).collect();
    let report = series::run("faults", broker(), 1, &kills);
    assert!(report.findings.is_empty(), "of {} records, through {report:?}\n{}", report.sent, report.findings);
    assert_eq!(report.points.len(), POINTS.len());
    assert_eq!(report.phases.values().sum::<u64>(), POINTS.len() as u64, "{:?}", report.phases);
}

#[test]
fn only_the_build_with_failpoints_knows_them_and_it_refuses_any_other_by_name() {
    let job = Job::new("armed").sink("out", &[], serde_json::json!({ "blackhole": {} }));
    let refused = Folder::new().start_armed(&job, "nowhere:1:marker").wait(Duration::from_secs(60)).expect(code::BAD_JOB);
    refused.expect_named(&["there is no failpoint `nowhere`", &POINTS.join(", ")]);
    let ordinary = Folder::new().with_variable("WEIR_FAILPOINT", "nowhere:1:marker").command(&["version"]);
    ordinary.expect(code::OK);
}
