//! A broker whose answers are late, lost or cut off, by a proxy between it and the job.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::time::Duration;

use serde_json::json;
use weir_tests::broker::Broker;
use weir_tests::counting::Counting;
use weir_tests::proxy::{Api, Effect, Way};
use weir_tests::wait;
use weir_tests::weir::{Folder, Run, code};

const DEADLINE: Duration = Duration::from_secs(90);
const KEYS: u64 = 500;
const PER_SECOND: u64 = 3_000;
/// Longer than a commit is waited for.
const LATE: Duration = Duration::from_secs(4);

/// A job whose commits are waited for for one second.
fn counting<'a>(name: &str, broker: &'a Broker) -> Counting<'a> {
    let mut counting = Counting::new(name, broker);
    counting.job = counting.job.checkpoint(json!({ "transactionTimeout": "2s" }));
    counting
}

fn goes_on(counting: &Counting<'_>, run: &mut Run) {
    let before = counting.committed();
    counting.await_committed(run, before + PER_SECOND / 2, DEADLINE);
}

/// Drains the job, and compares all that came out.
#[test]
fn rule_9_a_commit_or_abort_that_is_lost_late_or_cut_off_in_either_direction_costs_no_count() {
    let (broker, proxy) = Broker::proxied();
    let counting = counting("lost-commits", &broker);
    let folder = Folder::new();
    let load = broker.load(counting.input(), KEYS, PER_SECOND);
    let mut run = folder.start(&counting.job, &[]);
    goes_on(&counting, &mut run);
    for api in [Api::Commit, Api::Abort] {
        for way in [Way::Request, Way::Answer] {
            for effect in [Effect::Drop, Effect::Reset, Effect::Delay(LATE)] {
                proxy.harm(api, way, effect, 1);
                if api == Api::Abort {
                    // Without its answer the offsets are not in the transaction, which is aborted then.
                    proxy.harm(Api::AddOffsetsToTxn, Way::Answer, Effect::Drop, 1);
                }
                wait::until(&format!("{effect:?} of {api:?} {way:?}"), DEADLINE, || proxy.hits() > u64::from(api == Api::Abort));
                goes_on(&counting, &mut run);
                proxy.heal();
            }
        }
    }
    counting.end_exactly(run, load.stop(), KEYS, DEADLINE);
}

#[test]
fn a_transactional_id_whose_takeover_is_interrupted_is_taken_over_by_the_next_try() {
    let (broker, proxy) = Broker::proxied();
    let counting = counting("interrupted", &broker);
    let folder = Folder::new();
    let load = broker.load(counting.input(), KEYS, PER_SECOND);
    for (way, effect) in [(Way::Request, Effect::Reset), (Way::Answer, Effect::Reset), (Way::Answer, Effect::Drop)] {
        proxy.harm(Api::InitProducerId, way, effect, 1);
        let mut run = folder.start(&counting.job, &[]);
        goes_on(&counting, &mut run);
        assert_eq!(proxy.heal(), 1, "{effect:?} of {way:?}");
        run.kill_9();
    }
    let run = folder.start(&counting.job, &[]);
    counting.end_exactly(run, load.stop(), KEYS, DEADLINE);
}

#[test]
fn an_offset_fetch_that_fails_is_never_read_as_no_offset() {
    let (broker, proxy) = Broker::proxied();
    let counting = counting("unfetched", &broker);
    let folder = Folder::new();
    let load = broker.load(counting.input(), KEYS, PER_SECOND);
    let mut run = folder.start(&counting.job, &[]);
    goes_on(&counting, &mut run);
    run.terminate();
    run.wait(DEADLINE).expect(code::OK);
    for effect in [Effect::Reset, Effect::Drop] {
        proxy.harm(Api::OffsetFetch, Way::Answer, effect, u64::MAX);
        let mut run = folder.start(&counting.job, &[]);
        wait::until(&format!("{effect:?} of an offset fetch"), DEADLINE, || proxy.hits() > 0);
        assert!(run.ended_within(Duration::from_secs(2)).is_none(), "it ended: {}", run.stderr());
        assert!(!run.stderr().contains("a new run begins"), "{}", run.stderr());
        proxy.heal();
        goes_on(&counting, &mut run);
        run.kill_9();
    }
    let run = folder.start(&counting.job, &[]);
    counting.end_exactly(run, load.stop(), KEYS, DEADLINE);
}

#[test]
fn a_broker_that_hears_and_is_not_heard_and_the_other_way_round_costs_no_count() {
    let (broker, proxy) = Broker::proxied();
    let counting = counting("one-way", &broker);
    let folder = Folder::new();
    let load = broker.load(counting.input(), KEYS, PER_SECOND);
    let mut run = folder.start(&counting.job, &[]);
    for way in [Way::Answer, Way::Request] {
        goes_on(&counting, &mut run);
        proxy.block(way);
        // Longer than a transaction may be open.
        assert!(run.ended_within(Duration::from_secs(4)).is_none(), "it ended: {}", run.stderr());
        proxy.open();
    }
    goes_on(&counting, &mut run);
    counting.end_exactly(run, load.stop(), KEYS, DEADLINE);
}
