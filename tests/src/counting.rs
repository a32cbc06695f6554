//! A job that counts the records of each key, and what its output has to be.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::broker::{Broker, Load};
use crate::faults::oracle::{Findings, Sequences};
use crate::job::{Job, operator};
use crate::wait;
use crate::weir::{Folder, Outcome, Run, code};

/// From a topic of one broker to a topic of the same or another one.
#[derive(Debug)]
pub struct Counting<'a> {
    /// The job.
    pub job: Job,
    from: &'a Broker,
    input: String,
    to: &'a Broker,
    counts: String,
}

impl<'a> Counting<'a> {
    /// A job over new topics of one broker.
    pub fn new(name: &str, broker: &'a Broker) -> Self {
        let (input, counts) = (broker.topic(&format!("{name}-in"), 2), broker.topic(&format!("{name}-out"), 2));
        Self::over(name, broker, &input, broker, &counts, json!({}))
    }

    /// A job over these topics; `delivery` holds further fields of the sink's connector.
    pub fn over(name: &str, from: &'a Broker, input: &str, to: &'a Broker, counts: &str, delivery: Value) -> Self {
        let mut sink = to.sink(counts);
        if let (Some(Value::Object(sink)), Value::Object(more)) = (sink.get_mut("kafka"), delivery) {
            sink.extend(more);
        }
        let job = Job::new(name)
            .source("in", from.source(input))
            .operator(operator("count", "count", "in", json!({ "key": "record" })))
            .sink("out", &["count"], sink)
            .runtime(json!({ "memory": "128MiB", "workers": 2 }));
        Self { job, from, input: input.to_owned(), to, counts: counts.to_owned() }
    }

    /// The broker of its input.
    pub fn broker(&self) -> &'a Broker {
        self.from
    }

    /// The topic of its input.
    pub fn input(&self) -> &str {
        &self.input
    }

    /// The topic of its output.
    pub fn counts(&self) -> &str {
        &self.counts
    }

    /// How many input records it has committed.
    #[track_caller]
    pub fn committed(&self) -> u64 {
        self.from.committed(&self.job.group(), &self.input).iter().flatten().map(|at| at.offset.cast_unsigned()).sum()
    }

    /// How many commits there were, as they are numbered.
    #[track_caller]
    pub fn epoch(&self) -> u64 {
        self.from.epoch(&self.job.group(), &self.input)
    }

    /// The object of the committed epoch.
    #[track_caller]
    pub fn own(&self) -> String {
        let committed = self.from.committed(&self.job.group(), &self.input)[0].clone().expect("a commit");
        committed.metadata.split(';').find_map(|field| field.strip_prefix("manifest=")).expect("a checkpoint").to_owned()
    }

    /// The same, and all that its manifest names, of a store whose objects are files.
    #[track_caller]
    pub fn named(&self, store: &Path) -> BTreeSet<String> {
        let own = self.own();
        let manifest = String::from_utf8_lossy(&fs::read(store.join(&own)).expect("the epoch's object")).into_owned();
        let names = fs::read_dir(store).expect("a store").map(|entry| entry.expect("a file").file_name().into_string().expect("a name"));
        names.filter(|name| *name == own || manifest.contains(&format!("\"{name}\""))).collect()
    }

    /// Waits until so many input records are committed.
    #[track_caller]
    pub fn await_committed(&self, run: &mut Run, records: u64, deadline: Duration) {
        let committed = wait::for_some(deadline, || {
            run.assert_running();
            (self.committed() >= records).then_some(())
        });
        assert!(committed.is_some(), "{records} records were not committed within {deadline:?}; stderr:\n{}", run.stderr());
    }

    /// Waits until all input is committed.
    #[track_caller]
    pub fn await_end(&self, run: &mut Run, deadline: Duration) {
        wait::until("all input committed", deadline, || {
            run.assert_running();
            self.from.is_at_end(&self.job.group(), &self.input)
        });
    }

    /// A load of so many records a second over `keys` keys, and the job in this folder, which has committed a second of it.
    #[track_caller]
    pub fn under_load(&self, folder: &Folder, keys: u64, per_second: u64, deadline: Duration) -> (Load, Run) {
        let load = self.from.load(&self.input, keys, per_second);
        let mut run = folder.start(&self.job, &[]);
        self.await_committed(&mut run, per_second, deadline);
        (load, run)
    }

    /// Lets the job come to the end of its input and ends it: each of the `sent` records has counted once.
    #[track_caller]
    pub fn end_exactly(&self, mut run: Run, sent: u64, keys: u64, deadline: Duration) -> Outcome {
        self.await_end(&mut run, deadline);
        run.terminate();
        let ended = run.wait(deadline).expect(code::OK);
        self.assert_exact(sent, keys);
        ended
    }

    /// The counts of each key are 1, 2, 3, … up to how often it was sent: nothing is lost, repeated or out of order.
    /// Input is `sent` records of [`Broker::load`] over `keys` keys.
    #[track_caller]
    pub fn assert_exact(&self, sent: u64, keys: u64) {
        assert_all_counted(self.found(), sent, keys);
    }

    /// The same, but that counts may come again.
    #[track_caller]
    pub fn assert_none_missing(&self, sent: u64, keys: u64) {
        let mut found = self.found();
        for counts in found.values_mut() {
            let mut seen = HashSet::new();
            counts.retain(|count| seen.insert(count.clone()));
        }
        assert_all_counted(found, sent, keys);
    }

    /// What came out, by key.
    fn found(&self) -> Sequences {
        let mut found = Sequences::new();
        for received in self.to.consume(&self.counts) {
            let count = received.record.text().parse().expect("a count");
            let key = String::from_utf8(received.record.key.expect("a key")).expect("a key that is text");
            found.entry(key).or_default().push((count, String::new()));
        }
        found
    }
}

#[track_caller]
fn assert_all_counted(found: Sequences, sent: u64, keys: u64) {
    let counts = |key| (1..=sent / keys + u64::from(key < sent % keys)).map(|count| (count, String::new())).collect();
    let expected = (0..keys.min(sent)).map(|key| (format!("key-{key}"), counts(key))).collect();
    let mut findings = Findings::default();
    findings.compare("counts", &expected, found);
    assert!(findings.is_empty(), "of {sent} records of {keys} keys\n{findings}");
}
