//! From Kafka to Kafka at a steady rate: the time from when a record was due to be produced, so that a producer held up
//! hides nothing, until a consumer of committed records has the guest's rewritten copy.

use super::{Bench, passthrough};
use crate::job::operator;
use crate::kafka::{Kafka, PARTITIONS, send};
use anyhow::{Context as _, Result, ensure};
use rdkafka::Message as _;
use rdkafka::consumer::BaseConsumer;
use rdkafka::producer::{BaseProducer, Producer as _};
use std::time::{Duration, Instant};

/// Records due at once, every millisecond: 50,000 a second.
const OF_TICK: u64 = 50;
const TICK: Duration = Duration::from_millis(1);
/// Not measured: the job's start, and the first seconds after it.
const WARM_UP: Duration = Duration::from_secs(4);
/// Measured.
const MEASURED: Duration = Duration::from_secs(10);
/// For what was produced last to arrive.
const PATIENCE: Duration = Duration::from_secs(20);

/// The 99th percentiles in milliseconds, without Weir and with it.
pub fn measure(bench: &Bench) -> Result<Vec<f64>> {
    Ok(vec![direct(bench)?, through_weir(bench)?])
}

/// The consumer reads what the producer writes.
fn direct(bench: &Bench) -> Result<f64> {
    let topic = bench.topic("paced")?;
    let p99 = percentile(bench.kafka()?, &topic, &topic, 0)?;
    bench.kafka()?.delete(&topic)?;
    Ok(p99)
}

fn through_weir(bench: &Bench) -> Result<f64> {
    let (from, to) = (bench.topic("paced")?, bench.topic("out")?);
    let job = bench.job(&from, &to, vec![operator("passthrough", "in", false)?])?;
    let mut run = bench.weir.start(&job, &[])?;
    let p99 = percentile(bench.kafka()?, &from, &to, 0x20);
    run.assert_running()?;
    bench.kafka()?.delete(&from)?;
    bench.kafka()?.delete(&to)?;
    p99
}

/// From a paced producer into `from` to a consumer of `to`, where every byte has the bits of `flipped` flipped.
fn percentile(kafka: &Kafka, from: &str, to: &str, flipped: u8) -> Result<f64> {
    let consumer = kafka.reader(to, false)?;
    let epoch = Instant::now();
    let mut latencies = std::thread::scope(|scope| {
        let produce = || produce(kafka, from, epoch);
        let producer = std::thread::Builder::new().name("producer".into()).spawn_scoped(scope, produce)?;
        let latencies = consume(&consumer, epoch, flipped);
        producer.join().map_err(|_| anyhow::anyhow!("the producer panicked"))??;
        latencies
    })?;
    latencies.sort_unstable();
    let p99 = latencies.get(latencies.len() * 99 / 100).context("nothing was measured")?;
    Ok(*p99 as f64 / 1e6)
}

fn ticks() -> u64 {
    ((WARM_UP + MEASURED).as_nanos() / TICK.as_nanos()) as u64
}

/// Each record's number is the time at which it is due, in nanoseconds since `epoch`.
fn produce(kafka: &Kafka, topic: &str, epoch: Instant) -> Result<()> {
    let producer: BaseProducer = kafka.config().set("linger.ms", "1").set("enable.idempotence", "true").create()?;
    let mut value = Vec::new();
    let mut partitions = (0..PARTITIONS).cycle();
    for tick in 0..ticks() {
        let due = TICK * u32::try_from(tick)?;
        while let Some(early) = due.checked_sub(epoch.elapsed()).filter(|early| !early.is_zero()) {
            std::thread::park_timeout(early);
        }
        value.clear();
        passthrough::write(due.as_nanos() as u64, &mut value);
        for partition in partitions.by_ref().take(OF_TICK as usize) {
            send(&producer, topic, partition, &[], &value)?;
        }
        producer.poll(Duration::ZERO);
    }
    producer.flush(PATIENCE)?;
    Ok(())
}

/// Nanoseconds of each record that was due after the warm-up.
fn consume(consumer: &BaseConsumer, epoch: Instant, flipped: u8) -> Result<Vec<u64>> {
    let (mut left, warm) = (ticks() * OF_TICK, WARM_UP.as_nanos() as u64);
    let mut latencies = Vec::with_capacity(usize::try_from(left)?);
    while left > 0 {
        ensure!(epoch.elapsed() < WARM_UP + MEASURED + PATIENCE, "{left} records did not come");
        let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
        let message = message?;
        let due = passthrough::number(message.payload().unwrap_or_default(), flipped).context("a value without a number")?;
        left -= 1;
        if due >= warm {
            latencies.push((epoch.elapsed().as_nanos() as u64).saturating_sub(due));
        }
    }
    Ok(latencies)
}
