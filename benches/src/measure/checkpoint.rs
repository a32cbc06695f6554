//! What an epoch's checkpoint takes when one of a hundred keys has changed in it, as the job itself tells: the time from
//! the barrier to the commit, and the bytes written.

use super::Bench;
use super::kept::{Filled, State};
use crate::figure::median;
use crate::load::Load;
use anyhow::{Context as _, Result, ensure};
use std::time::{Duration, Instant};

/// Changes a second, in thousands: of as many keys.
const LOAD: Load = Load::thousands(20);
/// Bytes of an entry: it only counts.
const ENTRY: usize = 32;
/// From a key to the one that changes next, so that changes are everywhere: no factor of the number of keys.
const STRIDE: u64 = 7919;
/// Epochs under the load before any is measured.
const WARM_UP: usize = 2;
/// Epochs that are measured.
const MEASURED: usize = 10;
/// For an epoch to end.
const PATIENCE: Duration = Duration::from_secs(300);

/// State of so many keys.
#[derive(Clone, Copy)]
pub struct Checkpoint {
    pub keys: u64,
}

impl Checkpoint {
    /// Milliseconds and bytes, of the epoch in the middle of some.
    pub fn measure(self, bench: &Bench) -> Result<Vec<f64>> {
        // In which the load changes one of a hundred keys.
        let epoch = Duration::from_millis(self.keys / 100 * 1000 / LOAD.within(Duration::from_secs(1)));
        let state = State { keys: self.keys, entry: ENTRY };
        let mut filled = state.fill(bench, epoch)?;
        let from = filled.from.clone();
        let record = |number, _, key: &mut Vec<u8>, value: &mut Vec<u8>| state.write(number * STRIDE % self.keys, number, key, value);
        let (values, produced) = LOAD.during(bench.kafka()?, &from, record, |_| {
            let (mut last, mut seconds, mut bytes) = (Commits::of(&filled).context("the job tells no metrics")?, vec![], vec![]);
            for _ in 0..WARM_UP + MEASURED {
                let next = await_commit(&mut filled, last.count)?;
                // Almost always one.
                let commits = next.count - last.count;
                seconds.push((next.seconds - last.seconds) / commits);
                bytes.push((next.bytes - last.bytes) / commits);
                last = next;
            }
            let middle = |values: &[f64]| median(values.get(WARM_UP..).unwrap_or_default());
            Ok(vec![middle(&seconds) * 1e3, middle(&bytes)])
        })?;
        filled.end(produced)?;
        Ok(values)
    }
}

/// Reads the output until the job has made more commits than `count`.
fn await_commit(filled: &mut Filled<'_>, count: f64) -> Result<Commits> {
    let start = Instant::now();
    loop {
        // As many records as are there between two looks.
        while filled.to.next()?.is_some() {}
        if let Some(commits) = Commits::of(filled).filter(|commits| commits.count > count) {
            return Ok(commits);
        }
        filled.run.assert_running()?;
        ensure!(start.elapsed() < PATIENCE, "no epoch ended within {PATIENCE:?}:\n{}", filled.run.stderr());
    }
}

/// The commits of a process so far.
struct Commits {
    count: f64,
    seconds: f64,
    bytes: f64,
}

impl Commits {
    fn of(filled: &Filled<'_>) -> Option<Self> {
        let metrics = filled.run.metrics()?;
        Some(Self {
            count: metrics.sum("weir_checkpoint_duration_seconds_count")?,
            seconds: metrics.sum("weir_checkpoint_duration_seconds_sum")?,
            bytes: metrics.sum("weir_checkpoint_written_bytes_total")?,
        })
    }
}
