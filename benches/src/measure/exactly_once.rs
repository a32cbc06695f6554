//! What exactly-once delivery costs: the same job with at-least-once and with exactly-once output, and in short epochs
//! beside the bare loop that copies in transactions of that length.
//!
//! The ways take turns, there and back, and what counts is the median of their CPU seconds: a machine that gets slower or
//! faster meanwhile does so for all of them, and neighbours that take its memory for some seconds meet single runs. Before
//! the first turn each way runs once without being counted: a broker whose transactions are not compiled yet is slower at
//! them, and librdkafka spends CPU time in waiting for it.

use super::word_count::WordCount;
use super::{Bench, passthrough};
use crate::figure::median;
use crate::job::Delivery;
use anyhow::Result;
use std::io::{Write as _, stderr};
use std::time::Duration;

/// Epochs for which the time between commits is short.
const SHORT: Duration = Duration::from_millis(100);
/// Times there and back for what is held against 5 %: runs of the same way, of 4 s each, differ by as much as that and more.
const TURNS: usize = 6;
/// Times there and back for four ways.
const TURNS_SHORT: usize = 3;

/// Records per CPU-second with exactly-once output as a share of those with at-least-once output: a passthrough job.
pub fn passthrough(bench: &Bench) -> Result<f64> {
    exactly_over_at_least(|delivery| passthrough::job(bench, delivery))
}

/// The same of a word count.
pub fn word_count(bench: &Bench) -> Result<f64> {
    let words = WordCount { distinct: 10_000 };
    exactly_over_at_least(|delivery| words.job(bench, delivery))
}

fn exactly_over_at_least(job: impl Fn(Delivery) -> Result<f64>) -> Result<f64> {
    let [at_least, exactly] = there_and_back(TURNS, [&|| job(Delivery::AT_LEAST_ONCE), &|| job(Delivery::EXACTLY_ONCE)])?;
    Ok(at_least / exactly)
}

/// In short epochs, per CPU-second: the records of the loop with transactions, that as a share of the loop's without, the
/// exactly-once job's as a share of the loop's with transactions and of the at-least-once job's, and the last as a
/// multiple of what it is for the loops.
pub fn short(bench: &Bench) -> Result<Vec<f64>> {
    let cpu = |delivery: Delivery| move || passthrough::job(bench, delivery.each(SHORT));
    let [copy, copy_tx, at_least, exactly] = there_and_back(
        TURNS_SHORT,
        [
            &|| passthrough::copy_loop(bench, None),
            &|| passthrough::copy_loop(bench, Some(SHORT)),
            &cpu(Delivery::AT_LEAST_ONCE),
            &cpu(Delivery::EXACTLY_ONCE),
        ],
    )?;
    let (of_loops, of_jobs) = (copy / copy_tx, at_least / exactly);
    Ok(vec![passthrough::RECORDS as f64 / copy_tx, of_loops, copy_tx / exactly, of_jobs, of_jobs / of_loops])
}

/// Runs each once; then each in turn, from the first to the last and back again, `turns` times: the medians of what those
/// give.
fn there_and_back<const N: usize>(turns: usize, runs: [&dyn Fn() -> Result<f64>; N]) -> Result<[f64; N]> {
    for run in runs {
        run()?;
    }
    let mut taken: [Vec<f64>; N] = std::array::from_fn(|_| vec![]);
    for _ in 0..turns {
        for (run, taken) in runs.iter().zip(&mut taken) {
            taken.push(run()?);
        }
        for (run, taken) in runs.iter().zip(&mut taken).rev() {
            taken.push(run()?);
        }
    }
    writeln!(stderr(), "CPU seconds of each run, by way: {taken:.2?}")?;
    Ok(taken.map(|taken| median(&taken)))
}
