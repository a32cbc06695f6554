//! From the start of the process until a consumer has the first count of a word, with the components compiled before.

use super::Bench;
use super::word_count::{WordCount, operators};
use crate::job::{Delivery, Source};
use anyhow::{Result, ensure};
use std::time::{Duration, Instant};

/// For the consumer to connect and find its topic empty.
const CONNECT: Duration = Duration::from_millis(500);
/// For the first record.
const PATIENCE: Duration = Duration::from_secs(20);

/// Milliseconds.
pub fn measure(bench: &Bench) -> Result<f64> {
    let from = WordCount { distinct: 10_000 }.input(bench)?;
    let to = bench.topic("out")?;
    let kafka = bench.kafka()?;
    let job = bench.job(Source::Topic(&from), &to, operators()?, Delivery::AT_LEAST_ONCE)?;
    let consumer = kafka.reader(&to, false)?;
    ensure!(consumer.poll(CONNECT).is_none(), "a new topic has records");
    let start = Instant::now();
    let run = bench.weir.start(&job, &[])?;
    let first = loop {
        ensure!(start.elapsed() < PATIENCE, "nothing came out within {PATIENCE:?}:\n{}", run.stderr());
        if let Some(message) = consumer.poll(Duration::from_millis(100)) {
            message?;
            break start.elapsed();
        }
    };
    drop(run);
    kafka.delete(&to)?;
    Ok(first.as_secs_f64() * 1e3)
}
