//! Job files.

use crate::kafka::Kafka;
use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// The folder of a job's state, in that of the job.
const STATE: &str = "state";

/// The folder of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The path of an example guest.
pub fn guest(name: &str) -> Result<PathBuf> {
    let path = root().join("guest-examples/bin").join(name).with_extension("wasm");
    path.canonicalize().with_context(|| format!("{} is not there: make guests", path.display()))
}

/// An operator that runs an example guest; a keyed one is keyed by the record's key.
pub fn operator(guest_name: &str, input: &str, keyed: bool) -> Result<Value> {
    let mut operator = json!({ "id": guest_name, "component": guest(guest_name)?, "inputs": [input] });
    if keyed && let Some(fields) = operator.as_object_mut() {
        fields.insert("key".into(), "record".into());
    }
    Ok(operator)
}

/// How a job delivers its output, and how long its epochs are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    guarantee: &'static str,
    epoch: Duration,
}

impl Delivery {
    /// As the yardstick does, with epochs as by default.
    pub const AT_LEAST_ONCE: Self = Self { guarantee: "at-least-once", epoch: Duration::from_secs(1) };
    /// In transactions of an epoch each, as by default.
    pub const EXACTLY_ONCE: Self = Self { guarantee: "exactly-once", ..Self::AT_LEAST_ONCE };

    /// The same with epochs of another length.
    pub const fn each(self, epoch: Duration) -> Self {
        Self { epoch, ..self }
    }
}

/// Where a job's records come from.
pub enum Source<'a> {
    /// A topic.
    Topic(&'a str),
    /// Records that the host makes up: the fields of a `generator`.
    Generator(Value),
}

/// A job file in a folder of its own, with the job's state; deleted with this value.
pub struct Job {
    folder: TempDir,
    path: PathBuf,
}

impl Job {
    /// A job to a topic through a chain of operators, the first of which reads `in`. All is as by default, but that its
    /// output is not compressed: neither is the yardstick's.
    pub fn new(name: &str, kafka: &Kafka, from: Source<'_>, to: &str, operators: Vec<Value>, delivery: Delivery) -> Result<Self> {
        let source = match from {
            Source::Topic(topic) => json!({ "id": "in", "kafka": { "brokers": kafka.bootstrap(), "topics": [topic] } }),
            Source::Generator(generator) => json!({ "id": "in", "generator": generator }),
        };
        let last = operators.last().and_then(|o| o.get("id")).cloned().unwrap_or_else(|| "in".into());
        let document = json!({
            "apiVersion": "weir.dev/v1alpha1",
            "kind": "StreamJob",
            "metadata": { "name": name },
            "spec": {
                "sources": [source],
                "operators": operators,
                "sinks": [{
                    "id": "out",
                    "inputs": [last],
                    "kafka": { "brokers": kafka.bootstrap(), "topic": to, "compression": "none", "delivery": delivery.guarantee },
                }],
                "checkpoint": { "interval": format!("{}ms", delivery.epoch.as_millis()), "path": STATE },
            },
        });
        let folder = tempfile::Builder::new().prefix("weir-bench-job-").tempdir()?;
        let path = folder.path().join("job.yaml");
        fs::write(&path, serde_json::to_vec_pretty(&document)?)?;
        Ok(Self { folder, path })
    }

    /// Deletes what the job keeps beside its checkpoints, as if it went on on another machine.
    pub fn wipe_rocksdb(&self) -> Result<()> {
        let folder = self.folder.path().join(STATE).join("rocksdb");
        fs::remove_dir_all(&folder).with_context(|| format!("cannot delete {}", folder.display()))
    }

    /// The folder in which it runs.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The job file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file that its run writes stderr to.
    pub fn stderr(&self) -> PathBuf {
        self.folder.path().join("stderr")
    }
}
