//! Running averages per CPU-second: keys of 16 bytes, each as likely as any other, values of decimal text.

use super::Bench;
use crate::data::{Draws, Random};
use crate::job::{Delivery, Source, operator};
use crate::kafka::Kafka;
use crate::weir::{Run, WITH_METRICS};
use anyhow::{Context as _, Result, ensure};
use std::io::Write as _;
use std::time::{Duration, Instant};

/// Between two looks at a running job.
const LOOK: Duration = Duration::from_millis(50);
/// Until every key has come once.
const DEADLINE: Duration = Duration::from_secs(900);

/// A topic in which every key comes once before any comes again.
#[derive(Clone, Copy)]
pub struct KeyedAverage {
    keys: u64,
    records: u64,
    /// Whether only what follows after every key has come once is measured: the state is as large as it gets then.
    from_full: bool,
}

impl KeyedAverage {
    /// State that fits in memory. The whole process is measured.
    pub const ONE_MILLION: Self = Self { keys: 1_000_000, records: 4_000_000, from_full: false };
    /// State beyond the default memory budget of 512 MiB.
    pub const TWENTY_MILLION: Self = Self { keys: 20_000_000, records: 22_000_000, from_full: true };

    /// Records per CPU-second.
    pub fn measure(self, bench: &Bench) -> Result<f64> {
        let topic = format!("numbers-{}", self.keys);
        bench.filled(&topic, |kafka| {
            let mut draws = Draws::new(self.keys);
            let mut numbers = numbers(self.keys);
            kafka.fill(&topic, self.records, |_, key, value| write(draws.next(), numbers.next(), key, value))
        })?;
        let operators = vec![operator("keyed-average", "in", true)?];
        if !self.from_full {
            let cpu = bench.run(&topic, operators, Delivery::AT_LEAST_ONCE, |kafka, to| self.check(kafka, to))?;
            return Ok(self.records as f64 / cpu);
        }
        let to = bench.topic("out")?;
        let job = bench.job(Source::Topic(&topic), &to, operators, Delivery::AT_LEAST_ONCE)?;
        let mut run = bench.weir.start(&job, &[&["--until-end"], &WITH_METRICS[..]].concat())?;
        let (read, before) = self.await_full(&mut run)?;
        let cpu = run.wait()?;
        self.check(bench.kafka()?, &to)?;
        bench.kafka()?.delete(&to)?;
        Ok((self.records - read) as f64 / (cpu - before))
    }

    /// Waits until as many records are read as there are keys; how many exactly, and the CPU seconds up to there.
    fn await_full(self, run: &mut Run) -> Result<(u64, f64)> {
        let start = Instant::now();
        loop {
            run.assert_running()?;
            let read = run.metrics().and_then(|metrics| metrics.sum("weir_source_records_total")).unwrap_or(0.0) as u64;
            if read >= self.keys {
                return Ok((read, run.cpu()?));
            }
            ensure!(start.elapsed() < DEADLINE, "{read} of {} records read in {DEADLINE:?}", self.keys);
            std::thread::park_timeout(LOOK);
        }
    }

    /// Every record has an output, and the last of each key is its average.
    fn check(self, kafka: &Kafka, topic: &str) -> Result<()> {
        use rdkafka::Message as _;
        // Per key a sum and of how many records. Keys are numbers from 0 on, so an array holds 20 million of them.
        let mut expected = vec![(0.0, 0u32); usize::try_from(self.keys)?];
        let (mut draws, mut numbers) = (Draws::new(self.keys), numbers(self.keys));
        for _ in 0..self.records {
            let (key, number) = (draws.next(), numbers.next());
            let (sum, count) = expected.get_mut(usize::try_from(key)?).context("a key beyond the keys")?;
            (*sum, *count) = (*sum + value_of(number), *count + 1);
        }
        // Per key the last average and how many came.
        let mut found = vec![(0.0, 0u32); expected.len()];
        let read = kafka.read(topic, |message| {
            let key = text(message.key()).and_then(|k| k.strip_prefix("key-")?.parse::<usize>().ok());
            let (average, count) = key.and_then(|key| found.get_mut(key)).context("not a key of the input")?;
            *average = text(message.payload()).and_then(|v| v.parse().ok()).context("not a number")?;
            *count += 1;
            Ok(())
        })?;
        ensure!(read == self.records, "{read} records came out of {}", self.records);
        for (key, ((sum, count), (average, times))) in expected.into_iter().zip(found).enumerate() {
            // Sums of quarters are exact, in any order.
            let right = times == count && (average - sum / f64::from(count)).abs() < 1e-9;
            ensure!(right, "key {key}: {average} after {times} records, not {} after {count}", sum / f64::from(count));
        }
        Ok(())
    }
}

fn numbers(keys: u64) -> Random {
    Random::new(!keys)
}

fn value_of(number: u64) -> f64 {
    (number % 4000) as f64 / 4.0
}

fn write(key_number: u64, number: u64, key: &mut Vec<u8>, value: &mut Vec<u8>) {
    // Writing to memory does not fail.
    let _ = write!(key, "key-{key_number:012}");
    let _ = write!(value, "{}", value_of(number));
}

fn text(bytes: Option<&[u8]>) -> Option<&str> {
    std::str::from_utf8(bytes?).ok()
}
