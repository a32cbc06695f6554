//! Three brokers, two of which have to have what is acknowledged: under load one of them is killed and comes back, by what
//! it is to the job. Each count has to come out once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use serde_json::json;
use weir_tests::broker::Broker;
use weir_tests::counting::Counting;
use weir_tests::weir::Folder;

const DEADLINE: Duration = Duration::from_secs(90);
const KEYS: u64 = 1_000;
const PER_SECOND: u64 = 3_000;

/// The cluster of this test binary, of which each test in turn kills brokers.
fn cluster() -> MutexGuard<'static, Broker> {
    static CLUSTER: OnceLock<Mutex<Broker>> = OnceLock::new();
    let cluster = CLUSTER.get_or_init(|| Mutex::new(Broker::cluster())).lock().unwrap_or_else(PoisonError::into_inner);
    cluster.mend();
    cluster
}

/// A job under load goes on without each of these brokers, in turn, and beside it when it is there again.
fn outlives(what: &str, victims: [fn(&Counting<'_>) -> i32; 2]) {
    let cluster = cluster();
    let mut counting = Counting::new(&cluster.job_name(what), &cluster);
    counting.job = counting.job.checkpoint(json!({ "transactionTimeout": "20s" }));
    let folder = Folder::new();
    let (load, mut run) = counting.under_load(&folder, KEYS, PER_SECOND, DEADLINE);
    let mut goes_on = || {
        let before = counting.committed();
        counting.await_committed(&mut run, before + PER_SECOND, DEADLINE);
    };
    for victim in victims {
        let victim = victim(&counting);
        cluster.kill_node(victim);
        goes_on();
        cluster.restart_node(victim);
        cluster.await_in_sync();
        goes_on();
    }
    counting.end_exactly(run, load.stop(), KEYS, DEADLINE);
}

#[test]
fn the_leader_of_input_or_output_that_is_killed_under_load_costs_no_count() {
    outlives("led", [|counting| counting.broker().leader(counting.input(), 0), |counting| counting.broker().leader(counting.counts(), 0)]);
}

#[test]
fn the_coordinator_of_transactions_that_is_killed_under_load_costs_no_count() {
    outlives("in-transactions", [|counting| counting.broker().coordinator_of_transactions(&counting.job.group()); 2]);
}

#[test]
fn the_coordinator_of_the_group_that_is_killed_under_load_costs_no_count() {
    outlives("in-a-group", [|counting| counting.broker().coordinator_of_group(&counting.job.group()); 2]);
}
