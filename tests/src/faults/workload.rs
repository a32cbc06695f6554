//! The workload of kill runs: more keys than fit into the job's memory, value and map state, two keyed stages, two sinks
//! and dead letters, all exactly once.

use serde_json::json;

use crate::broker::Broker;
use crate::job::{Job, operator};
use crate::records::Random;

/// Distinct keys. Each comes up once before any comes again.
pub const KEYS: u64 = 120_000;
/// Keys that half of the later records go to.
const HOT: u64 = 400;
/// As in the guest `ledger`.
pub const PARTS: u64 = 3;
/// As in the guest `ledger`.
pub const BUCKETS: u64 = 97;
const PARTITIONS: i32 = 4;

/// What a record asks of the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// To book an amount.
    Book(u64),
    /// To forget the key.
    Close,
    /// To reject the record.
    Reject,
}

/// An input record. Its number is its position in the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Input {
    /// Position in the input, and the first word of the value.
    pub number: u64,
    /// Number of the key.
    pub key: u64,
    /// The second word of the value.
    pub what: What,
}

impl Input {
    /// The record's key.
    pub fn key(&self) -> String {
        format!("k{}", self.key)
    }

    /// The record's value.
    pub fn value(&self) -> String {
        match self.what {
            What::Book(amount) => format!("{} {amount}", self.number),
            What::Close => format!("{} close", self.number),
            What::Reject => format!("{} reject", self.number),
        }
    }
}

/// The input of a seed, which never ends.
pub fn inputs(seed: u64) -> impl Iterator<Item = Input> + Send + 'static {
    let mut random = Random::new(seed);
    (0..).map(move |number| {
        let key = match number {
            0..KEYS => number,
            _ if random.below(2) == 0 => random.below(HOT),
            _ => random.below(KEYS),
        };
        let what = match random.below(100) {
            0..4 => What::Close,
            4 => What::Reject,
            _ => What::Book(random.below(10_000)),
        };
        Input { number, key, what }
    })
}

/// The job and its topics.
#[derive(Debug)]
pub struct Workload<'a> {
    /// Where the topics lie.
    pub broker: &'a Broker,
    /// The job.
    pub job: Job,
    /// The topic of [`inputs`].
    pub input: String,
    /// What the ledgers say, by key.
    pub entries: String,
    /// Counts by bucket.
    pub moves: String,
    /// Rejected records.
    pub letters: String,
}

impl<'a> Workload<'a> {
    /// A job over new topics.
    pub fn new(name: &str, broker: &'a Broker) -> Self {
        let topic = |what: &str| broker.topic(&format!("{name}-{what}"), PARTITIONS);
        let (input, entries, moves, letters) = (topic("in"), topic("entries"), topic("moves"), topic("letters"));
        let job = Job::new(name)
            // A kill between offsets and commit holds up whoever reads until the next start has cleared it.
            .checkpoint(json!({ "interval": "50ms", "transactionTimeout": "10s" }))
            .source("in", broker.source(&input))
            .operator(operator("ledger", "ledger", "in", json!({ "key": "record", "onError": { "deadLetter": "letters" } })))
            .operator(operator("tally", "count", "ledger.moved", json!({ "key": "record" })))
            .sink("entries", &["ledger"], broker.sink(&entries))
            .sink("moves", &["tally"], broker.sink(&moves))
            .sink("letters", &[], broker.sink(&letters))
            .runtime(json!({ "memory": "32MiB", "workers": 2 }));
        Self { broker, job, input, entries, moves, letters }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_input_over_all_keys() {
        let first: Vec<Input> = inputs(7).take(KEYS as usize + 1_000).collect();
        assert_eq!(first, inputs(7).take(first.len()).collect::<Vec<_>>());
        assert_ne!(first, inputs(8).take(first.len()).collect::<Vec<_>>());
        let keys: std::collections::BTreeSet<u64> = first.iter().map(|input| input.key).collect();
        assert!(keys.len() as u64 == KEYS && first.iter().any(|input| input.what == What::Close));
    }
}
