//! Job files.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::guests;

/// A job file in the making. Connectors and operators are given as the JSON that stands in the file.
#[derive(Clone, Debug)]
pub struct Job {
    name: String,
    sources: Vec<Value>,
    operators: Vec<Value>,
    sinks: Vec<Value>,
    shards: Option<u32>,
    checkpoint: Value,
    runtime: Value,
}

impl Job {
    /// A job with epochs of 100 ms, and nothing in it yet.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            sources: vec![],
            operators: vec![],
            sinks: vec![],
            shards: None,
            checkpoint: json!({ "interval": "100ms" }),
            runtime: json!({}),
        }
    }

    /// The longest an epoch lasts.
    pub fn interval(self, interval: Duration) -> Self {
        self.checkpoint(json!({ "interval": format!("{}ms", interval.as_millis()) }))
    }

    /// Further fields of `checkpoint`, such as `{"transactionTimeout": "10s"}`.
    pub fn checkpoint(mut self, fields: Value) -> Self {
        self.checkpoint = with(self.checkpoint, fields);
        self
    }

    /// How many shards, instead of the default.
    pub fn shards(mut self, shards: u32) -> Self {
        self.shards = Some(shards);
        self
    }

    /// The fields of `runtime`, such as `{"memory": "64MiB"}`.
    pub fn runtime(mut self, runtime: Value) -> Self {
        self.runtime = runtime;
        self
    }

    /// A source with its connector, such as `{"file": {…}}`.
    pub fn source(mut self, id: &str, connector: Value) -> Self {
        self.sources.push(with(connector, json!({ "id": id })));
        self
    }

    /// An operator, as [`operator`] makes it.
    pub fn operator(mut self, operator: Value) -> Self {
        self.operators.push(operator);
        self
    }

    /// A sink with its connector and what it writes.
    pub fn sink(mut self, id: &str, inputs: &[&str], connector: Value) -> Self {
        self.sinks.push(with(connector, json!({ "id": id, "inputs": inputs })));
        self
    }

    /// The consumer group whose offsets the job commits.
    pub fn group(&self) -> String {
        format!("weir-{}", self.name)
    }

    /// Where the job keeps checkpoints and state, relative to the job file's folder.
    pub fn state_folder(&self) -> PathBuf {
        PathBuf::from(".weir").join(&self.name)
    }

    /// The document; JSON is YAML too.
    pub fn text(&self) -> String {
        let mut document = json!({
            "apiVersion": "weir.dev/v1alpha1",
            "kind": "StreamJob",
            "metadata": { "name": self.name },
            "spec": {
                "sources": self.sources,
                "operators": self.operators,
                "sinks": self.sinks,
                "checkpoint": self.checkpoint,
                "runtime": self.runtime,
            },
        });
        if let Some(shards) = self.shards {
            document["spec"]["shards"] = json!(shards);
        }
        serde_json::to_string_pretty(&document).expect("JSON of strings and maps")
    }
}

/// An operator that runs an example guest. `more` holds further fields, such as `{"key": "record"}`.
#[track_caller]
pub fn operator(id: &str, guest: &str, input: &str, more: Value) -> Value {
    with(more, json!({ "id": id, "component": guests::component(guest), "inputs": [input] }))
}

/// The fields of both objects.
fn with(mut object: Value, fields: Value) -> Value {
    let (Value::Object(all), Value::Object(fields)) = (&mut object, fields) else { panic!("{object} is no JSON object") };
    all.extend(fields);
    object
}
