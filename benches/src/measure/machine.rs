//! How fast the machine is from minute to minute, told by a fixed piece of work that has nothing to do with Weir.

use crate::data::Random;
use crate::ffi::thread_cpu;
use anyhow::Result;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Entries of the table that is updated, of eight bytes: 64 MiB, so that it needs the caches and the memory as state does.
const ENTRIES: u64 = 8 << 20;
/// Random updates in a turn, which takes about a hundredth of a second.
const UPDATES: usize = 500_000;
/// From turn to turn.
const PAUSE: Duration = Duration::from_millis(500);

/// Measures the machine a little now and then.
pub struct Machine {
    table: Vec<u64>,
    last: Instant,
    /// Updates since it was asked last, and the CPU seconds that they took.
    done: (usize, f64),
}

impl Machine {
    /// Nothing measured yet.
    pub fn new() -> Self {
        Self { table: vec![1; ENTRIES as usize], last: Instant::now(), done: (0, 0.0) }
    }

    /// Does a turn of work if the last one is long ago. To be called often.
    ///
    /// # Errors
    ///
    /// CPU time cannot be read.
    pub fn work_if_due(&mut self) -> Result<()> {
        if self.last.elapsed() >= PAUSE {
            let before = thread_cpu()?;
            self.work();
            let (updates, seconds) = self.done;
            self.done = (updates + UPDATES, seconds + thread_cpu()? - before);
            self.last = Instant::now();
        }
        Ok(())
    }

    /// Updates per CPU second since this was asked last; NaN if none was made.
    pub fn since_last(&mut self) -> f64 {
        let (updates, seconds) = std::mem::take(&mut self.done);
        updates as f64 / seconds
    }

    /// Updates entries all over the table, the same ones in each turn.
    fn work(&mut self) {
        let mut random = Random::new(0);
        for _ in 0..UPDATES {
            if let Some(entry) = self.table.get_mut(random.below(ENTRIES) as usize) {
                *entry = entry.wrapping_add(1);
            }
        }
        black_box(&self.table);
    }
}
