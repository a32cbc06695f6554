//! A keyed job whose state is as large as wanted and whose output tells what is lost or comes twice: it keeps the last
//! value of each key, and counts.

use super::Bench;
use crate::data::Random;
use crate::job::{Delivery, Job, Source, operator};
use crate::kafka::Kafka;
use crate::weir::{Run, WITH_METRICS};
use anyhow::{Context as _, Result, ensure};
use rdkafka::Message as _;
use rdkafka::consumer::BaseConsumer;
use std::io::Write as _;
use std::time::{Duration, Instant};

/// Bytes of a number in values.
const NUMBER: usize = 8;
/// Bytes of a key.
const KEY: usize = 16;
/// Longest time without a record.
const PATIENCE: Duration = Duration::from_secs(60);

/// A new job with exactly-once output.
pub fn job(bench: &Bench, from: Source<'_>, to: &str, epoch: Duration) -> Result<Job> {
    bench.job(from, to, vec![operator("keep", "in", true)?], Delivery::EXACTLY_ONCE.each(epoch))
}

/// The job's state once every one of its keys has come.
#[derive(Clone, Copy)]
pub struct State {
    pub keys: u64,
    /// Bytes of an entry: the key, a count, and a value that begins with a number.
    pub entry: usize,
}

impl State {
    /// Writes a record with a number by which it is known again.
    pub fn write(self, key_number: u64, number: u64, key: &mut Vec<u8>, value: &mut Vec<u8>) {
        // Writing to memory does not fail.
        let _ = write!(key, "key-{key_number:012}");
        value.extend(number.to_le_bytes());
        // Not the same for all: nothing of it may be saved by whoever compresses.
        let mut random = Random::new(number);
        let end = self.entry - KEY - NUMBER;
        while value.len() < end {
            value.extend(random.next().to_le_bytes());
        }
        value.truncate(end);
    }

    /// Makes a topic with each key once and starts a job of it that goes on; ends when all keys are in its output.
    pub fn fill(self, bench: &Bench, epoch: Duration) -> Result<Filled<'_>> {
        let (kafka, from, to) = (bench.kafka()?, bench.topic("kept")?, bench.topic("out")?);
        kafka.fill(&from, self.keys, |number, key, value| self.write(number, 0, key, value))?;
        let job = job(bench, Source::Topic(&from), &to, epoch)?;
        let run = bench.weir.start(&job, &WITH_METRICS)?;
        let mut filled = Filled { bench, state: self, from, to: Counts::new(kafka, &to, self.keys)?, out: to, job, run };
        filled.await_all(0)?;
        Ok(filled)
    }
}

/// A job with its state, which is running.
pub struct Filled<'b> {
    bench: &'b Bench,
    state: State,
    /// The topic that it reads.
    pub from: String,
    /// What it has put out.
    pub to: Counts,
    out: String,
    pub job: Job,
    pub run: Run,
}

impl Filled<'_> {
    /// Reads on until so many records beyond those that filled the state are in the output.
    pub fn await_all(&mut self, more: u64) -> Result<()> {
        let mut last = Instant::now();
        while self.to.seen() < self.state.keys + more {
            if self.to.next()?.is_some() {
                last = Instant::now();
            }
            self.run.assert_running()?;
            ensure!(last.elapsed() < PATIENCE, "nothing came for {PATIENCE:?}:\n{}", self.run.stderr());
        }
        Ok(())
    }

    /// How many records have come beyond those that filled the state.
    pub fn more(&self) -> u64 {
        self.to.seen() - self.state.keys
    }

    /// Starts the job again, after `meanwhile`, once it has been killed.
    pub fn kill(&mut self, meanwhile: impl FnOnce(&Job) -> Result<()>) -> Result<()> {
        self.run.kill()?;
        meanwhile(&self.job)?;
        self.run = self.bench.weir.start(&self.job, &WITH_METRICS)?;
        Ok(())
    }

    /// Ends when the output of all `more` records has come, and no record twice.
    pub fn end(mut self, more: u64) -> Result<()> {
        self.await_all(more)?;
        ensure!(self.more() == more, "{} records came out of {more}", self.more());
        self.run.kill()?;
        let kafka = self.bench.kafka()?;
        kafka.delete(&self.from)?;
        kafka.delete(&self.out)
    }
}

/// The job's committed output, checked as it comes: of each key the counts 1, 2, 3 and so on.
pub struct Counts {
    consumer: BaseConsumer,
    of_key: Vec<u64>,
    seen: u64,
}

impl Counts {
    /// The output in a topic, from its beginning.
    pub fn new(kafka: &Kafka, topic: &str, keys: u64) -> Result<Self> {
        Ok(Self { consumer: kafka.reader(topic, false)?, of_key: vec![0; usize::try_from(keys)?], seen: 0 })
    }

    /// The number of the next record; none if it does not come within a moment.
    pub fn next(&mut self) -> Result<Option<u64>> {
        let Some(message) = self.consumer.poll(Duration::from_millis(20)) else { return Ok(None) };
        let message = message?;
        let key = message.key().and_then(|key| std::str::from_utf8(key).ok()?.strip_prefix("key-")?.parse::<usize>().ok());
        let count = key.and_then(|key| self.of_key.get_mut(key)).context("not a key of the input")?;
        let mut numbers = message.payload().unwrap_or_default().chunks_exact(NUMBER).map(number);
        let (said, number) = numbers.next().zip(numbers.next()).context("not two numbers")?;
        *count += 1;
        ensure!(said == *count, "a record of {key:?} is counted as {said}, not {count}");
        self.seen += 1;
        Ok(Some(number))
    }

    /// How many have come.
    pub fn seen(&self) -> u64 {
        self.seen
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}
