//! Words counted per CPU-second: lines from a topic, split and counted by two guests, one output record per word. Start
//! and end of the process count.

use super::Bench;
use crate::data::{Draws, word, word_number};
use crate::job::{Delivery, operator};
use crate::kafka::Kafka;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// Words of a topic.
const WORDS: u64 = 4_000_000;
/// Words of a line.
const OF_LINE: u64 = 10;

/// Lines of so many distinct words, each as likely as any other.
#[derive(Clone, Copy)]
pub struct WordCount {
    pub distinct: u64,
}

impl WordCount {
    /// Words per CPU-second.
    pub fn measure(self, bench: &Bench) -> Result<f64> {
        Ok(WORDS as f64 / self.job(bench, Delivery::AT_LEAST_ONCE)?)
    }

    /// CPU seconds of the job.
    pub fn job(self, bench: &Bench, delivery: Delivery) -> Result<f64> {
        bench.run(&self.input(bench)?, operators()?, delivery, |kafka, to| self.check(kafka, to))
    }

    /// Fills the topic; its name.
    pub fn input(self, bench: &Bench) -> Result<String> {
        let topic = format!("words-{}", self.distinct);
        let mut draws = Draws::new(self.distinct);
        let line = |_, _: &mut Vec<u8>, value: &mut Vec<u8>| {
            for at in 0..OF_LINE {
                if at > 0 {
                    value.push(b' ');
                }
                word(draws.next(), value);
            }
        };
        bench.filled(&topic, |kafka| kafka.fill(&topic, WORDS / OF_LINE, line))?;
        Ok(topic)
    }

    /// Each word comes as often as it stands in the input, with the counts 1, 2, 3 and so on.
    fn check(self, kafka: &Kafka, topic: &str) -> Result<()> {
        use rdkafka::Message as _;
        let mut missing = vec![0_u64; usize::try_from(self.distinct)?];
        let mut draws = Draws::new(self.distinct);
        for _ in 0..WORDS {
            *missing.get_mut(usize::try_from(draws.next())?).context("a draw out of range")? += 1;
        }
        let mut counts = vec![0_u64; missing.len()];
        kafka.read(topic, |message| {
            let key = message.key().unwrap_or_default();
            let at = word_number(key).and_then(|n| usize::try_from(n).ok());
            let (count, missing) = at.and_then(|at| counts.get_mut(at).zip(missing.get_mut(at))).context("no word of the input")?;
            ensure!(*missing > 0, "the word {} comes too often", key.escape_ascii());
            (*count, *missing) = (*count + 1, *missing - 1);
            let said = message.payload().and_then(|v| std::str::from_utf8(v).ok()).and_then(|v| v.parse().ok());
            ensure!(said == Some(*count), "{} is counted as {said:?}, not {count}", key.escape_ascii());
            Ok(())
        })?;
        ensure!(missing.iter().all(|n| *n == 0), "{} counts are missing", missing.iter().sum::<u64>());
        Ok(())
    }
}

/// The two guests of word count.
pub fn operators() -> Result<Vec<Value>> {
    Ok(vec![operator("split", "in", false)?, operator("count", "split", true)?])
}
