//! Resident memory of a word count whose topic is empty.

use super::Bench;
use super::word_count::operators;
use crate::job::{Delivery, Source};
use anyhow::{Context as _, Result};
use std::fs;
use std::time::{Duration, Instant};

/// How long the job has had nothing to do.
const IDLE: Duration = Duration::from_secs(6);

/// MB, of 1,000,000 bytes.
pub fn measure(bench: &Bench) -> Result<f64> {
    let (from, to) = (bench.topic("empty")?, bench.topic("out")?);
    let job = bench.job(Source::Topic(&from), &to, operators()?, Delivery::AT_LEAST_ONCE)?;
    let mut run = bench.weir.start(&job, &[])?;
    let start = Instant::now();
    while let Some(left) = IDLE.checked_sub(start.elapsed()).filter(|left| !left.is_zero()) {
        std::thread::park_timeout(left);
    }
    run.assert_running()?;
    let status = fs::read_to_string(format!("/proc/{}/status", run.pid()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("the kernel names no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024.0 / 1e6)
}
