//! What measurements share.

use crate::job::{Delivery, Job, Source};
use crate::kafka::Kafka;
use crate::weir::Weir;
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeSet;

/// A broker, started for the first measurement that needs it, and topics that are filled once.
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
    fn name(&self, what: &str) -> String {
        self.names.set(self.names.get() + 1);
        format!("{what}-{}", self.names.get())
    }

    /// A new, empty topic.
    pub fn topic(&self, what: &str) -> Result<String> {
        let topic = self.name(what);
        self.kafka()?.create(&topic)?;
        Ok(topic)
    }

    /// A new job to a topic, with its components compiled.
    pub fn job(&self, from: Source<'_>, to: &str, operators: Vec<Value>, delivery: Delivery) -> Result<Job> {
        let job = Job::new(&self.name("bench"), self.kafka()?, from, to, operators, delivery)?;
        self.weir.warm(&job)?;
        Ok(job)
    }

    /// Runs a new job over all of a topic. Gives its CPU seconds, start and end included, and hands the topic with its
    /// output, which is deleted afterwards, to `check`.
    pub fn run(
        &self,
        from: &str,
        operators: Vec<Value>,
        delivery: Delivery,
        check: impl FnOnce(&Kafka, &str) -> Result<()>,
    ) -> Result<f64> {
        let to = self.topic("out")?;
        let cpu = self.weir.run(&self.job(Source::Topic(from), &to, operators, delivery)?)?;
        let kafka = self.kafka()?;
        check(kafka, &to)?;
        kafka.delete(&to)?;
        Ok(cpu)
    }
}
