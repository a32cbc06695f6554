//! What a job must hold beyond its types: names, ranges, and one well-formed graph.

mod connector;
mod graph;

use std::fmt::Display;
use std::ops::RangeInclusive;

use crate::job::{Job, JobSpec, Runtime, S3};
use crate::operator::{Key, Limits, Operator};
use crate::problem::{FieldPath, Problem, quote};
use crate::quantity::{ByteSize, Duration};
use crate::sink::{Delivery, Sink};

impl Job {
    /// Checks every rule that needs no component: ids, references, cycles, connectors, ranges, secrets.
    ///
    /// # Errors
    /// All problems found; without positions, which only the reader knows.
    pub fn validate(&self) -> Result<(), Vec<Problem>> {
        let mut findings = Findings::default();
        let spec = FieldPath::default().field("spec");
        let metadata = FieldPath::default().field("metadata");
        findings.label(&metadata.field("name"), &self.metadata.name);
        if let Some(namespace) = &self.metadata.namespace {
            findings.label(&metadata.field("namespace"), namespace);
        }
        findings.range(&spec.field("shards"), self.spec.shards, 1..=4096);
        connector::check(&self.spec, &spec, &mut findings);
        for (index, operator) in self.spec.operators.iter().enumerate() {
            findings.operator(&spec.field("operators").index(index), operator);
        }
        graph::check(&self.spec, &spec, &mut findings);
        findings.checkpoint(&spec.field("checkpoint"), &self.spec);
        findings.runtime(&spec.field("runtime"), &self.spec.runtime, self.spec.shards);
        findings.into_result()
    }
}

/// The problems found so far.
#[derive(Default)]
struct Findings {
    problems: Vec<Problem>,
}

impl Findings {
    fn add(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    fn into_result(self) -> Result<(), Vec<Problem>> {
        if self.problems.is_empty() { Ok(()) } else { Err(self.problems) }
    }

    /// A DNS-1123 label: names become parts of transactional ids, group names, file names and Kubernetes objects.
    fn label(&mut self, path: &FieldPath, name: &str) {
        if !is_label(name) {
            let message = format!("{} is no valid name", quote(name));
            self.add(
                Problem::new(path.clone(), message)
                    .help("use 1 to 63 lower-case letters, digits and `-`, with a letter or digit at both ends"),
            );
        }
    }

    fn range<T: PartialOrd + Display>(&mut self, path: &FieldPath, value: T, range: RangeInclusive<T>) {
        if !range.contains(&value) {
            let message = format!("must be from {} to {}", range.start(), range.end());
            self.add(Problem::new(path.clone(), message));
        }
    }

    fn at_least<T: PartialOrd + Display>(&mut self, path: &FieldPath, value: T, least: T) {
        if value < least {
            self.add(Problem::new(path.clone(), format!("must be at least {least}")));
        }
    }

    fn not_empty(&mut self, path: &FieldPath, is_empty: bool, help: &str) {
        if is_empty {
            self.add(Problem::new(path.clone(), "must not be empty").help(help));
        }
    }

    fn operator(&mut self, path: &FieldPath, operator: &Operator) {
        let component = path.field("component");
        self.not_empty(&component, operator.component.as_os_str().is_empty(), "name the component's .wasm file");
        if let Some(Key::Json(field)) = &operator.key
            && field.split('.').any(str::is_empty)
        {
            let problem = Problem::new(path.field("key").field("json"), format!("{} is no field path", quote(field)));
            self.add(problem.help("join names of nested fields by single dots, such as `user.id`"));
        }
        self.limits(&path.field("limits"), &operator.limits);
    }

    fn limits(&mut self, path: &FieldPath, limits: &Limits) {
        self.range(&path.field("memory"), limits.memory, ByteSize::kib(64)..=ByteSize::mib(4096));
        self.at_least(&path.field("fuel"), limits.fuel, 1);
        self.at_least(&path.field("deadline"), limits.deadline, Duration::millis(1));
        self.at_least(&path.field("outputRecords"), limits.output_records, 1);
        self.at_least(&path.field("outputBytes"), limits.output_bytes, ByteSize::bytes(1));
    }

    fn checkpoint(&mut self, path: &FieldPath, spec: &JobSpec) {
        let checkpoint = &spec.checkpoint;
        let is_exactly_once = |sink: &&Sink| sink.kafka.as_ref().is_some_and(|kafka| kafka.delivery == Delivery::ExactlyOnce);
        if let Some(sink) = spec.sinks.iter().find(is_exactly_once)
            && checkpoint.interval.as_std() > checkpoint.transaction_timeout.as_std() / 2
        {
            let message = format!(
                "an epoch is one transaction with the exactly-once sink {}, and may last half of transactionTimeout ({}) at most",
                quote(&sink.id),
                checkpoint.transaction_timeout
            );
            let help = "lower it, raise `transactionTimeout`, or give the sink `delivery: at-least-once`";
            self.add(Problem::new(path.field("interval"), message).help(help));
        }
        self.range(&path.field("transactionTimeout"), checkpoint.transaction_timeout, Duration::secs(1)..=Duration::secs(900));
        self.range(&path.field("interval"), checkpoint.interval, Duration::millis(10)..=Duration::secs(3600));
        self.at_least(&path.field("dirtyBytes"), checkpoint.dirty_bytes, ByteSize::kib(64));
        self.at_least(&path.field("outputBytes"), checkpoint.output_bytes, ByteSize::kib(64));
        let is_empty = checkpoint.path.as_ref().is_some_and(|folder| folder.as_os_str().is_empty());
        self.not_empty(&path.field("path"), is_empty, "name a folder, or remove the field");
        if let Some(store) = &checkpoint.store {
            self.s3(&path.field("store").field("s3"), &store.s3, spec);
        }
    }

    fn s3(&mut self, path: &FieldPath, s3: &S3, spec: &JobSpec) {
        let in_bucket = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
        if !(3..=63).contains(&s3.bucket.len()) || !s3.bucket.bytes().all(in_bucket) {
            let problem = Problem::new(path.field("bucket"), format!("{} is no name of a bucket", quote(&s3.bucket)));
            self.add(problem.help("use 3 to 63 lower-case letters, digits, `-` and `.`"));
        }
        let in_prefix = |b: u8| b.is_ascii_alphanumeric() || b"-._=".contains(&b);
        let is_part = |part: &str| !part.trim_matches('.').is_empty() && part.bytes().all(in_prefix);
        if let Some(prefix) = s3.prefix.as_ref().filter(|prefix| !prefix.split('/').all(is_part)) {
            let problem = Problem::new(path.field("prefix"), format!("{} is no prefix", quote(prefix)));
            self.add(problem.help("join parts of letters, digits, `-`, `.`, `_` and `=` by single `/`, such as `weir/orders`"));
        }
        if let Some(endpoint) = s3.endpoint.as_ref().filter(|e| !e.starts_with("https://") && !e.starts_with("http://")) {
            let problem = Problem::new(path.field("endpoint"), format!("{} is no URL of a server", quote(endpoint)));
            self.add(problem.help("begin it with `https://`, or with `http://` where the network is trusted"));
        }
        let is_empty = s3.region.as_ref().is_some_and(String::is_empty);
        self.not_empty(&path.field("region"), is_empty, "name a region, or remove the field");
        let has_kafka = spec.sources.iter().any(|source| source.kafka.is_some()) || spec.sinks.iter().any(|sink| sink.kafka.is_some());
        if !has_kafka {
            let message = "a job without a Kafka source or sink commits to a file, which a store cannot hold beside the checkpoints";
            self.add(Problem::new(path.clone(), message).help("remove `store`: checkpoints are kept in `checkpoint.path` then"));
        }
    }

    fn runtime(&mut self, path: &FieldPath, runtime: &Runtime, shards: u32) {
        if let Some(workers) = runtime.workers {
            let field = path.field("workers");
            self.at_least(&field, workers, 1);
            if u32::from(workers) > shards {
                let message = format!("{workers} workers for {shards} shards: each worker needs a shard of its own");
                self.add(Problem::new(field, message).help("lower `workers`, or raise `spec.shards` of a new run"));
            }
        }
        self.at_least(&path.field("memory"), runtime.memory, ByteSize::mib(32));
        self.range(&path.field("batchRecords"), runtime.batch_records, 1..=65_536);
        self.at_least(&path.field("batchBytes"), runtime.batch_bytes, ByteSize::kib(1));
        self.at_least(&path.field("stateBatchBytes"), runtime.state_batch_bytes, ByteSize::kib(1));
    }
}

fn is_label(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    name.len() <= 63
        && name.bytes().all(|b| inner(b) || b == b'-')
        && name.bytes().next().is_some_and(inner)
        && name.bytes().next_back().is_some_and(inner)
}
