//! From a kill until the job has caught up with a steady load: until what its committed output lacks is less than an
//! epoch's worth of records, the time for which it lacks them anyway. The job is started again at once.

use super::Bench;
use super::kept::{Filled, State};
use crate::job::Job;
use crate::load::Load;
use anyhow::{Result, ensure};
use std::time::{Duration, Instant};

/// Records a second, in thousands.
const LOAD: Load = Load::thousands(50);
const EPOCH: Duration = Duration::from_secs(1);
/// Keys that the load changes, evenly spread over all.
const CHANGED: u64 = 100_000;
/// Bytes of an entry where the state is to have a size.
const ENTRY: usize = 250;
/// Of an entry that only counts.
const LEAST: usize = 32;
/// The load before a kill.
const STEADY: Duration = Duration::from_secs(5);
/// For a job to catch up.
const PATIENCE: Duration = Duration::from_secs(180);

/// State of a size.
#[derive(Clone, Copy)]
pub struct Recovery {
    state: State,
}

impl Recovery {
    /// No more than the counts of the load's keys, 3 MB.
    pub const NONE: Self = Self { state: State { keys: CHANGED, entry: LEAST } };
    /// What fits in memory.
    pub const HUNDRED_MB: Self = Self { state: State { keys: 100_000_000 / ENTRY as u64, entry: ENTRY } };
    /// What does not.
    pub const ONE_GB: Self = Self { state: State { keys: 1_000_000_000 / ENTRY as u64, entry: ENTRY } };

    /// Seconds, with RocksDB's files still there.
    pub fn kept(self, bench: &Bench) -> Result<f64> {
        let [kept] = self.measure(bench, [|_| Ok(())])?;
        Ok(kept)
    }

    /// Seconds, with RocksDB's files still there and without them.
    pub fn kept_and_wiped(self, bench: &Bench) -> Result<Vec<f64>> {
        Ok(self.measure(bench, [|_| Ok(()), Job::wipe_rocksdb])?.to_vec())
    }

    /// Seconds after each of some kills, between which and the start that follows something is done to the job's files.
    fn measure<const N: usize>(self, bench: &Bench, meanwhile: [fn(&Job) -> Result<()>; N]) -> Result<[f64; N]> {
        let mut filled = self.state.fill(bench, EPOCH)?;
        let from = filled.from.clone();
        let record = |number, due: Duration, key: &mut Vec<u8>, value: &mut Vec<u8>| {
            self.state.write(number % CHANGED * (self.state.keys / CHANGED), due.as_nanos() as u64, key, value);
        };
        let (seconds, produced) = LOAD.during(bench.kafka()?, &from, record, |begun| {
            let mut seconds = [0.0; N];
            for (seconds, meanwhile) in seconds.iter_mut().zip(meanwhile) {
                await_steady(&mut filled, begun)?;
                let killed = Instant::now();
                filled.kill(meanwhile)?;
                await_caught_up(&mut filled, begun, killed)?;
                *seconds = killed.elapsed().as_secs_f64();
            }
            Ok(seconds)
        })?;
        filled.end(produced)?;
        Ok(seconds)
    }
}

/// Leaves the job alone for a while, at the end of which it keeps up with the load.
fn await_steady(filled: &mut Filled<'_>, begun: Instant) -> Result<()> {
    let since = Instant::now();
    while since.elapsed() < STEADY {
        filled.to.next()?;
    }
    await_caught_up(filled, begun, since)
}

/// Reads the output until a record has come that was due after `since`, and fewer are missing than an epoch's.
fn await_caught_up(filled: &mut Filled<'_>, begun: Instant, since: Instant) -> Result<()> {
    let start = Instant::now();
    loop {
        if let Some(due) = filled.to.next()? {
            let missing = LOAD.within(begun.elapsed()).saturating_sub(filled.more());
            if begun + Duration::from_nanos(due) > since && missing < LOAD.within(EPOCH) {
                return Ok(());
            }
        }
        filled.run.assert_running()?;
        ensure!(start.elapsed() < PATIENCE, "the job did not catch up within {PATIENCE:?}:\n{}", filled.run.stderr());
    }
}
