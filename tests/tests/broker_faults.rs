//! A broker whose answers are late, lost or cut off, by a proxy between it and the job.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;
use std::time::Duration;

use serde_json::json;
use weir_tests::broker::{Broker, Load};
use weir_tests::counting::Counting;
use weir_tests::proxy::{Api, Effect, Proxy, Way};
use weir_tests::wait;
use weir_tests::weir::{Folder, Run, code};

const DEADLINE: Duration = Duration::from_secs(90);
const KEYS: u64 = 500;
const PER_SECOND: u64 = 3_000;
/// Longer than a commit is waited for, and a restart takes.
const LATE: Duration = Duration::from_secs(6);
/// Longer than a start with a takeover that is repeated, and all that there is to read; and than outputs take to fill memory.
const VERY_LATE: Duration = Duration::from_secs(15);

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
    let (load, mut run) = counting.under_load(&folder, KEYS, PER_SECOND, DEADLINE);
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
        let late = 1 + u64::from(api == Api::Abort);
        wait::until(&format!("the late {api:?} comes behind the next attempt's begin"), DEADLINE, || proxy.overtaken() == late);
    }
    counting.end_exactly(run, load.stop(), KEYS, DEADLINE);
}

/// A transaction of which the broker knows less than the client, or nothing.
#[test]
fn rule_9_what_announces_a_transaction_and_is_lost_or_cut_off_costs_no_count() {
    let (broker, proxy) = Broker::proxied();
    let counting = counting("unannounced", &broker);
    let folder = Folder::new();
    let (load, mut run) = counting.under_load(&folder, KEYS, PER_SECOND, DEADLINE);
    for api in [Api::AddPartitionsToTxn, Api::AddOffsetsToTxn] {
        for way in [Way::Request, Way::Answer] {
            for effect in [Effect::Drop, Effect::Reset] {
                goes_on(&counting, &mut run);
                proxy.harm(api, way, effect, 1);
                wait::until(&format!("{effect:?} of {api:?} {way:?}"), DEADLINE, || proxy.hits() > 0);
                proxy.heal();
            }
        }
    }
    goes_on(&counting, &mut run);
    run.kill_9();
    // The first transaction of a process: nothing of it is known.
    proxy.harm(Api::AddOffsetsToTxn, Way::Request, Effect::Drop, 1);
    let mut run = folder.start(&counting.job, &[]);
    goes_on(&counting, &mut run);
    assert_eq!(proxy.heal(), 1);
    counting.end_exactly(run, load.stop(), KEYS, DEADLINE);
}

#[test]
fn a_transactional_id_whose_takeover_is_interrupted_is_taken_over_by_the_next_try() {
    let (broker, proxy) = Broker::proxied();
    let counting = counting("interrupted", &broker);
    let folder = Folder::new();
    let load = broker.load(counting.input(), KEYS, PER_SECOND);
    let lost = [Way::Request, Way::Answer].into_iter().flat_map(|way| [(way, Effect::Reset), (way, Effect::Drop)]);
    for (way, effect) in lost.chain([(Way::Answer, Effect::Delay(LATE))]) {
        proxy.harm(Api::InitProducerId, way, effect, 1);
        let mut run = folder.start(&counting.job, &[]);
        goes_on(&counting, &mut run);
        assert_eq!(proxy.heal(), 1, "{effect:?} of {way:?}");
        run.kill_9();
    }
    let run = folder.start(&counting.job, &[]);
    counting.end_exactly(run, load.stop(), KEYS, DEADLINE);
}

/// A broker cannot tell it from another process's. While it ends a transaction it refuses both, so this one is idle.
#[test]
fn a_takeover_that_arrives_after_its_own_repetition_fences_the_process_and_costs_no_count() {
    let (broker, proxy) = Broker::proxied();
    let counting = counting("late-takeover", &broker);
    let folder = Folder::new();
    let (load, run) = counting.under_load(&folder, KEYS, PER_SECOND, DEADLINE);
    run.kill_9();
    let sent = load.stop();
    proxy.harm(Api::InitProducerId, Way::Request, Effect::Delay(VERY_LATE), 1);
    let mut run = folder.start(&counting.job, &[]);
    counting.await_committed(&mut run, sent, DEADLINE);
    wait::until("the late takeover", DEADLINE, || {
        run.assert_running();
        proxy.overtaken() == 1
    });
    let more = (sent..).map(|number| (format!("key-{}", number % KEYS), String::new()));
    let load = broker.load_of(counting.input(), more, 0, PER_SECOND);
    run.wait(DEADLINE).expect(code::FENCED).expect_named(&["resuming", "fenced"]);
    assert_eq!(proxy.heal(), 1);
    let run = folder.start(&counting.job, &[]);
    counting.end_exactly(run, sent + load.stop(), KEYS, DEADLINE);
}

/// A job that has committed and was ended, and its load, which goes on.
fn ended(counting: &Counting<'_>, folder: &Folder) -> Load {
    let (load, mut run) = counting.under_load(folder, KEYS, PER_SECOND, DEADLINE);
    run.terminate();
    run.wait(DEADLINE).expect(code::OK);
    load
}

/// Starts a job whose offset fetches are all harmed: it waits, begins no new run, and goes on once they are not any more.
fn waits_for_its_offsets((counting, proxy): (&Counting<'_>, &Proxy), folder: &Folder, (way, effect): (Way, Effect)) {
    proxy.harm(Api::OffsetFetch, way, effect, u64::MAX);
    let mut run = folder.start(&counting.job, &[]);
    wait::until(&format!("{effect:?} of an offset fetch's {way:?}"), DEADLINE, || proxy.hits() > 0);
    assert!(run.ended_within(Duration::from_secs(2)).is_none(), "it ended: {}", run.stderr());
    assert!(!run.stderr().contains("a new run begins"), "{}", run.stderr());
    proxy.heal();
    goes_on(counting, &mut run);
    assert!(!run.stderr().contains("a new run begins"), "{}", run.stderr());
    run.kill_9();
}

#[test]
fn an_offset_fetch_that_fails_is_never_read_as_no_offset() {
    let (broker, proxy) = Broker::proxied();
    let counting = counting("unfetched", &broker);
    let folder = Folder::new();
    let load = ended(&counting, &folder);
    for way in [Way::Request, Way::Answer] {
        for effect in [Effect::Reset, Effect::Drop, Effect::Delay(LATE)] {
            waits_for_its_offsets((&counting, &proxy), &folder, (way, effect));
        }
    }
    let run = folder.start(&counting.job, &[]);
    counting.end_exactly(run, load.stop(), KEYS, DEADLINE);
}

#[test]
fn rule_14_an_error_within_the_answer_to_an_offset_fetch_is_waited_out_or_ends_the_job_by_name_and_is_never_read_as_no_offset() {
    const LOADING: i16 = 14;
    const NOT_COORDINATOR: i16 = 16;
    const TOPIC_FORBIDDEN: i16 = 29;
    const GROUP_FORBIDDEN: i16 = 30;
    const UNSTABLE: i16 = 88;
    let (broker, proxy) = Broker::proxied();
    let counting = counting("refused", &broker);
    let folder = Folder::new();
    let load = ended(&counting, &folder);
    let passing = [LOADING, NOT_COORDINATOR, UNSTABLE].map(Effect::RefusePartitions);
    for effect in passing.into_iter().chain([LOADING, NOT_COORDINATOR].map(Effect::RefuseGroup)) {
        waits_for_its_offsets((&counting, &proxy), &folder, (Way::Answer, effect));
    }
    for (effect, named) in [
        (Effect::RefusePartitions(TOPIC_FORBIDDEN), counting.input()),
        (Effect::RefusePartitions(GROUP_FORBIDDEN), "the consumer group"),
        (Effect::RefuseGroup(GROUP_FORBIDDEN), "the consumer group"),
    ] {
        proxy.harm(Api::OffsetFetch, Way::Answer, effect, u64::MAX);
        let refused = folder.run(&counting.job, &[], DEADLINE).expect(code::WORLD).expect_named(&["not authorised", named]);
        assert!(!refused.stderr.contains("a new run begins"), "{effect:?}: {}", refused.stderr);
        assert!(proxy.heal() > 0, "{effect:?}");
    }
    let run = folder.start(&counting.job, &[]);
    counting.end_exactly(run, load.stop(), KEYS, DEADLINE);
}

/// The newest epoch of which an object lies in the job's store.
fn newest_put(counting: &Counting<'_>, folder: &Folder) -> u64 {
    let store = folder.path(counting.job.state_folder()).join("checkpoints");
    let names = fs::read_dir(store).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter_map(|name| name.strip_suffix(".ckpt")?.split('-').next()?.parse().ok()).max().unwrap_or(0)
}

#[test]
fn rule_9_a_job_killed_before_it_knew_the_outcome_of_its_commit_finds_it_out_and_costs_no_count() {
    let (broker, proxy) = Broker::proxied();
    let counting = counting("unanswered", &broker);
    let folder = Folder::new();
    let (load, mut run) = counting.under_load(&folder, KEYS, PER_SECOND, DEADLINE);
    for way in [Way::Request, Way::Answer, Way::Answer, Way::Request] {
        goes_on(&counting, &mut run);
        proxy.harm(Api::Commit, way, Effect::Drop, 1);
        wait::until(&format!("a commit without its {way:?}"), DEADLINE, || proxy.hits() > 0);
        run.kill_9();
        proxy.heal();
        let put = newest_put(&counting, &folder);
        run = folder.start(&counting.job, &[]);
        goes_on(&counting, &mut run);
        let resumed = run.resumed().unwrap();
        match way {
            Way::Request => assert!(resumed < put, "epoch {put} was never committed: {}", run.stderr()),
            Way::Answer => assert_eq!(resumed, put, "epoch {put} was committed: {}", run.stderr()),
        }
    }
    counting.end_exactly(run, load.stop(), KEYS, DEADLINE);
}

#[test]
fn a_broker_that_hears_and_is_not_heard_and_the_other_way_round_costs_no_count() {
    let (broker, proxy) = Broker::proxied();
    let counting = counting("one-way", &broker);
    let folder = Folder::new();
    let (load, mut run) = counting.under_load(&folder, KEYS, PER_SECOND, DEADLINE);
    for way in [Way::Answer, Way::Request] {
        goes_on(&counting, &mut run);
        let hits = proxy.hits();
        proxy.block(way);
        let epoch = || broker.epoch(&counting.job.group(), counting.input());
        let before = epoch();
        // Longer than a transaction may be open.
        assert!(run.ended_within(Duration::from_secs(4)).is_none(), "it ended: {}", run.stderr());
        let after = epoch();
        // A commit may have been on its way.
        assert!(after <= before + 1, "{way:?} is blocked: epoch {before}, then {after}");
        assert!(proxy.hits() > hits, "{way:?} is blocked, and nothing was held up");
        proxy.open();
    }
    goes_on(&counting, &mut run);
    counting.end_exactly(run, load.stop(), KEYS, DEADLINE);
}

#[test]
fn rule_8_outputs_behind_a_slow_flush_are_held_back_within_the_budget_and_then_the_source_is_held_up() {
    const FAST: u64 = 20_000;
    /// Far more than a job that has caught up leaves unread.
    const UNREAD: u64 = 12_500;
    const MEMORY: u64 = 128 << 20;
    let (broker, proxy) = Broker::proxied();
    let (input, counts) = (broker.topic("slow-flush-in", 2), broker.topic("slow-flush-out", 2));
    // A request that is late is not sent again.
    let patient = json!({ "properties": { "socket.timeout.ms": "60000" } });
    let mut counting = Counting::over("slow-flush", &broker, &input, &broker, &counts, patient);
    counting.job = counting.job.runtime(json!({ "memory": "128MiB", "workers": 2, "metricsPort": 0 }));
    let folder = Folder::new();
    let (load, run) = counting.under_load(&folder, KEYS, FAST, DEADLINE);
    let taken = || run.sample(r#"weir_source_records_total{source="in"}"#) as u64;
    // Else so much may be on its way to the broker already that the source is held up before a flush begins.
    wait::until("a job that has caught up", DEADLINE, || taken() + FAST / 20 > load.delivered());
    proxy.harm(Api::Produce, Way::Request, Effect::Delay(VERY_LATE), 1);
    wait::until("outputs wait", DEADLINE, || proxy.hits() > 0);
    let (mut before, mut times, mut memory) = (0, 0, 0);
    wait::until("the source is held up", DEADLINE, || {
        let now = taken();
        times = if now == before { times + 1 } else { 0 };
        (before, memory) = (now, memory.max(run.memory()));
        times >= 50 && load.delivered() > now + UNREAD
    });
    let emitted = run.sample(r#"weir_operator_records_out_total{operator="count"}"#);
    let given = run.sample(r#"weir_sink_records_total{sink="out"}"#);
    assert!(given > 0.0 && emitted > given, "{emitted} records were emitted and {given} given to the sink: none is held back");
    assert_eq!(run.restarts(), 0, "what a restart drops was emitted and not given: {}", run.stderr());
    assert!(memory < MEMORY, "{memory} bytes of memory");
    counting.end_exactly(run, load.stop(), KEYS, DEADLINE);
}
