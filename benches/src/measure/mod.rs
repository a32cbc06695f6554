//! What is measured, one module each. A measurement takes one value of each of its figures per round, and checks that
//! what came out is right: a wrong answer has no speed.

pub mod allocations;
mod boundary;
mod idle;
mod keyed_average;
mod latency;
mod passthrough;
mod start;
mod word_count;

use crate::figure::{self, Figure};
use crate::job::{Delivery, Job, Weir};
use crate::kafka::Kafka;
use anyhow::{Context as _, Result};
use keyed_average::KeyedAverage;
use serde_json::Value;
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeSet;
use word_count::WordCount;

/// A measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    Boundary,
    Passthrough,
    WordCount,
    WordCount1M,
    KeyedAverage,
    KeyedAverage20M,
    ExactlyOnce,
    Latency,
    Start,
    Idle,
    Allocations,
}

impl Measure {
    /// All, in the order of a round.
    pub const ALL: [Self; 11] = [
        Self::Boundary,
        Self::Passthrough,
        Self::WordCount,
        Self::WordCount1M,
        Self::KeyedAverage,
        Self::ExactlyOnce,
        Self::Latency,
        Self::Start,
        Self::Idle,
        Self::Allocations,
        Self::KeyedAverage20M,
    ];

    /// Its figures.
    pub const fn figures(self) -> &'static [Figure] {
        match self {
            Self::Boundary => &[figure::BOUNDARY, figure::SDK],
            Self::Passthrough => &[figure::COPY_LOOP, figure::PASSTHROUGH],
            Self::WordCount => &[figure::WORD_COUNT],
            Self::WordCount1M => &[figure::WORD_COUNT_1M],
            Self::KeyedAverage => &[figure::AVERAGE],
            Self::KeyedAverage20M => &[figure::AVERAGE_20M],
            Self::ExactlyOnce => &[figure::EXACTLY_ONCE_PASSTHROUGH, figure::EXACTLY_ONCE_WORDS],
            Self::Latency => &[figure::LATENCY_WITHOUT, figure::LATENCY],
            Self::Start => &[figure::START],
            Self::Idle => &[figure::IDLE],
            Self::Allocations => &[figure::ALLOCATIONS],
        }
    }

    /// Rounds in a run: more where they are uneven, one where it takes minutes.
    pub const fn rounds(self) -> usize {
        match self {
            Self::Passthrough | Self::Latency | Self::Start => 5,
            Self::KeyedAverage20M => 1,
            _ => 3,
        }
    }

    /// Takes one value of each figure, in their order.
    pub fn take(self, bench: &Bench) -> Result<Vec<f64>> {
        match self {
            Self::Boundary => boundary::measure(bench),
            Self::Passthrough => passthrough::measure(bench),
            Self::WordCount => one(WordCount { distinct: 10_000 }.measure(bench)),
            Self::WordCount1M => one(WordCount { distinct: 1_000_000 }.measure(bench)),
            Self::KeyedAverage => one(KeyedAverage::ONE_MILLION.measure(bench)),
            Self::KeyedAverage20M => one(KeyedAverage::TWENTY_MILLION.measure(bench)),
            Self::ExactlyOnce => Ok(vec![passthrough::exactly_once(bench)?, WordCount { distinct: 10_000 }.exactly_once(bench)?]),
            Self::Latency => latency::measure(bench),
            Self::Start => one(start::measure(bench)),
            Self::Idle => one(idle::measure(bench)),
            Self::Allocations => one(allocations::measure(bench)),
        }
    }
}

fn one(value: Result<f64>) -> Result<Vec<f64>> {
    value.map(|value| vec![value])
}

/// What measurements share: a broker, started for the first that needs it, and topics that are filled once.
pub struct Bench {
    /// The binary under test.
    pub weir: Weir,
    kafka: OnceCell<Kafka>,
    filled: RefCell<BTreeSet<String>>,
    names: Cell<u32>,
}

impl Bench {
    /// Nothing started yet.
    pub fn new() -> Result<Self> {
        Ok(Self { weir: Weir::find()?, kafka: OnceCell::new(), filled: RefCell::default(), names: Cell::new(0) })
    }

    /// The broker.
    pub fn kafka(&self) -> Result<&Kafka> {
        if self.kafka.get().is_none() {
            // Nobody else sets it.
            let _ = self.kafka.set(Kafka::start()?);
        }
        self.kafka.get().context("no broker")
    }

    /// Makes a topic and fills it, unless that was done before.
    pub fn filled(&self, topic: &str, fill: impl FnOnce(&Kafka) -> Result<()>) -> Result<()> {
        if !self.filled.borrow().contains(topic) {
            let kafka = self.kafka()?;
            kafka.create(topic)?;
            fill(kafka)?;
            self.filled.borrow_mut().insert(topic.to_owned());
        }
        Ok(())
    }

    /// A name that begins with `what` and was not given before: a job's name is that of its state and its offsets.
    pub fn name(&self, what: &str) -> String {
        self.names.set(self.names.get() + 1);
        format!("{what}-{}", self.names.get())
    }

    /// A new, empty topic.
    pub fn topic(&self, what: &str) -> Result<String> {
        let topic = self.name(what);
        self.kafka()?.create(&topic)?;
        Ok(topic)
    }

    /// A new job from a topic to a topic, with its components compiled, that delivers as the yardstick does.
    pub fn job(&self, from: &str, to: &str, operators: Vec<Value>) -> Result<Job> {
        self.job_that_delivers(from, to, operators, Delivery::AtLeastOnce)
    }

    fn job_that_delivers(&self, from: &str, to: &str, operators: Vec<Value>, delivery: Delivery) -> Result<Job> {
        let job = Job::new(&self.name("bench"), self.kafka()?, from, to, operators, delivery)?;
        self.weir.warm(&job)?;
        Ok(job)
    }

    /// Runs a new job over all of a topic. Gives its CPU seconds, start and end included, and hands the topic with its
    /// output, which is deleted afterwards, to `check`.
    pub fn run(&self, from: &str, operators: Vec<Value>, check: impl FnOnce(&Kafka, &str) -> Result<()>) -> Result<f64> {
        self.run_that_delivers(from, operators, Delivery::AtLeastOnce, check)
    }

    /// The same, delivered in another way.
    pub fn run_that_delivers(
        &self,
        from: &str,
        operators: Vec<Value>,
        delivery: Delivery,
        check: impl FnOnce(&Kafka, &str) -> Result<()>,
    ) -> Result<f64> {
        let to = self.topic("out")?;
        let cpu = self.weir.run(&self.job_that_delivers(from, &to, operators, delivery)?)?;
        let kafka = self.kafka()?;
        check(kafka, &to)?;
        kafka.delete(&to)?;
        Ok(cpu)
    }
}
