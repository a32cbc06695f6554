//! What exactly-once delivery costs: the same job with at-least-once and with exactly-once output, and in short epochs
//! beside the bare loop that copies in transactions of that length.
//!
//! The ways take turns, there and back, and their CPU seconds are summed: a machine that gets slower or faster meanwhile
//! does so for all of them.

use super::word_count::WordCount;
use super::{Bench, passthrough};
use crate::job::Delivery;
use anyhow::Result;
use std::time::Duration;

/// Epochs for which the time between commits is short.
const SHORT: Duration = Duration::from_millis(100);

/// Records per CPU-second with exactly-once output as a share of those with at-least-once output: a passthrough job.
pub fn passthrough(bench: &Bench) -> Result<f64> {
    let cpu = |delivery| move || passthrough::job(bench, delivery);
    let [at_least, exactly] = there_and_back([&cpu(Delivery::AT_LEAST_ONCE), &cpu(Delivery::EXACTLY_ONCE)])?;
    Ok(at_least / exactly)
}

/// The same of a word count.
pub fn word_count(bench: &Bench) -> Result<f64> {
    let words = WordCount { distinct: 10_000 };
    let cpu = |delivery| move || words.job(bench, delivery);
    let [at_least, exactly] = there_and_back([&cpu(Delivery::AT_LEAST_ONCE), &cpu(Delivery::EXACTLY_ONCE)])?;
    Ok(at_least / exactly)
}

/// In short epochs, per CPU-second: the records of the loop with transactions, that as a share of the loop's without, the
/// exactly-once job's as a share of the loop's with transactions and of the at-least-once job's, and the last as a
/// multiple of what it is for the loops.
pub fn short(bench: &Bench) -> Result<Vec<f64>> {
    let cpu = |delivery: Delivery| move || passthrough::job(bench, delivery.each(SHORT));
    let [copy, copy_tx, at_least, exactly] = there_and_back([
        &|| passthrough::copy_loop(bench, None),
        &|| passthrough::copy_loop(bench, Some(SHORT)),
        &cpu(Delivery::AT_LEAST_ONCE),
        &cpu(Delivery::EXACTLY_ONCE),
    ])?;
    let (of_loops, of_jobs) = (copy / copy_tx, at_least / exactly);
    Ok(vec![2.0 * passthrough::RECORDS as f64 / copy_tx, of_loops, copy_tx / exactly, of_jobs, of_jobs / of_loops])
}

/// Runs each in turn, from the first to the last and back again; the sums of what they give.
fn there_and_back<const N: usize>(runs: [&dyn Fn() -> Result<f64>; N]) -> Result<[f64; N]> {
    let mut sums = [0.0; N];
    for (run, sum) in runs.iter().zip(&mut sums) {
        *sum += run()?;
    }
    for (run, sum) in runs.iter().zip(&mut sums).rev() {
        *sum += run()?;
    }
    Ok(sums)
}
