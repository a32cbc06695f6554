//! From Kafka to Kafka at a steady rate: the time from when a record was due to be produced, so that a producer held up
//! hides nothing, until a consumer of committed records has the guest's rewritten copy.

use super::{Bench, passthrough};
use crate::job::{Delivery, Source, operator};
use crate::kafka::Kafka;
use crate::load::Load;
use anyhow::{Context as _, Result, ensure};
use rdkafka::Message as _;
use std::time::{Duration, Instant};

/// Records a second, in thousands.
const LOAD: Load = Load::thousands(50);
/// Not measured: the job's start, and the first seconds after it.
const WARM_UP: Duration = Duration::from_secs(4);
/// Measured.
const MEASURED: Duration = Duration::from_secs(10);
/// For what was produced last to arrive.
const PATIENCE: Duration = Duration::from_secs(20);
/// Epochs that make readers of committed records wait little, and those of a job that says nothing of them.
const EPOCHS: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(1)];

/// Milliseconds of the 50th and the 99th percentile, without Weir and with it.
pub fn measure(bench: &Bench) -> Result<Vec<f64>> {
    Ok([direct(bench)?, through_weir(bench, Delivery::AT_LEAST_ONCE)?].concat())
}

/// The same with Weir and exactly-once output, for each length of epochs.
pub fn exactly_once(bench: &Bench) -> Result<Vec<f64>> {
    let percentiles: Vec<_> =
        EPOCHS.map(|epoch| through_weir(bench, Delivery::EXACTLY_ONCE.each(epoch))).into_iter().collect::<Result<_>>()?;
    Ok(percentiles.concat())
}

/// The consumer reads what the producer writes.
fn direct(bench: &Bench) -> Result<[f64; 2]> {
    let topic = bench.topic("paced")?;
    let percentiles = percentiles(bench.kafka()?, &topic, &topic, 0)?;
    bench.kafka()?.delete(&topic)?;
    Ok(percentiles)
}

fn through_weir(bench: &Bench, delivery: Delivery) -> Result<[f64; 2]> {
    let (from, to) = (bench.topic("paced")?, bench.topic("out")?);
    let job = bench.job(Source::Topic(&from), &to, vec![operator("passthrough", "in", false)?], delivery)?;
    let mut run = bench.weir.start(&job, &[])?;
    let percentiles = percentiles(bench.kafka()?, &from, &to, 0x20);
    run.assert_running()?;
    bench.kafka()?.delete(&from)?;
    bench.kafka()?.delete(&to)?;
    percentiles
}

/// From a paced producer into `from` to a consumer of `to`, where every byte has the bits of `flipped` flipped.
fn percentiles(kafka: &Kafka, from: &str, to: &str, flipped: u8) -> Result<[f64; 2]> {
    // Each record's number is the time at which it is due, in nanoseconds since the load began.
    let record = |_, due: Duration, _: &mut Vec<u8>, value: &mut Vec<u8>| passthrough::write(due.as_nanos() as u64, value);
    let (mut latencies, _) = LOAD.during(kafka, from, record, |begun| consume(kafka, to, begun, flipped))?;
    latencies.sort_unstable();
    let percentile = |of_hundred| latencies.get(latencies.len() * of_hundred / 100).map(|nanos| *nanos as f64 / 1e6);
    Ok([percentile(50).context("nothing was measured")?, percentile(99).context("nothing was measured")?])
}

/// Nanoseconds of each record that is due while it is measured.
fn consume(kafka: &Kafka, topic: &str, begun: Instant, flipped: u8) -> Result<Vec<u64>> {
    let consumer = kafka.reader(topic, false)?;
    let mut left = LOAD.within(MEASURED);
    let (warm, end) = (WARM_UP.as_nanos() as u64, (WARM_UP + MEASURED).as_nanos() as u64);
    let mut latencies = Vec::with_capacity(usize::try_from(left)?);
    while left > 0 {
        ensure!(begun.elapsed() < WARM_UP + MEASURED + PATIENCE, "{left} records did not come");
        let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
        let message = message?;
        let due = passthrough::number(message.payload().unwrap_or_default(), flipped).context("a value without a number")?;
        if (warm..end).contains(&due) {
            left -= 1;
            latencies.push((begun.elapsed().as_nanos() as u64).saturating_sub(due));
        }
    }
    Ok(latencies)
}
