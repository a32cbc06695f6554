//! What is done to records: a component, its inputs and its limits.

use std::borrow::Cow;
use std::convert::Infallible;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::quantity::{ByteSize, Duration};

/// A WebAssembly component that turns records into records.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Operator {
    /// The name by which `inputs` refer to it, and its state is found again.
    #[schemars(regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"), length(max = 63))]
    pub id: String,
    /// The component's file, relative to the job file's folder.
    pub component: PathBuf,
    /// What it reads: ids of sources and operators, or `id.port` for a port that an operator's guest declares. The
    /// position in this list is the input's number in the guest.
    #[schemars(length(min = 1))]
    pub inputs: Vec<InputRef>,
    /// The key of its inputs. Present, records go to the shard of their key and the guest may keep state by key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Key>,
    /// Handed to the guest's `init` as JSON text; `{}` when absent.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub config: Value,
    /// What becomes of a record that the guest rejects, or that makes it fail.
    #[serde(default)]
    pub on_error: OnError,
    /// What one call may use.
    #[serde(default)]
    pub limits: Limits,
}

/// An input of an operator or a sink, written `id` or `id.port`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct InputRef {
    /// The source or operator.
    pub id: String,
    /// The port that the operator's guest declares; its main output when absent.
    pub port: Option<String>,
}

impl From<String> for InputRef {
    fn from(text: String) -> Self {
        match text.split_once('.') {
            Some((id, port)) => Self { id: id.to_owned(), port: Some(port.to_owned()) },
            None => Self { id: text, port: None },
        }
    }
}

impl From<InputRef> for String {
    fn from(input: InputRef) -> Self {
        input.to_string()
    }
}

impl FromStr for InputRef {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(text.to_owned().into())
    }
}

impl fmt::Display for InputRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.port {
            Some(port) => write!(f, "{}.{port}", self.id),
            None => f.write_str(&self.id),
        }
    }
}

impl JsonSchema for InputRef {
    fn schema_name() -> Cow<'static, str> {
        "InputRef".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "The id of a source or operator, or id.port for a port that an operator's guest declares.",
            "type": "string",
            "pattern": r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)?$",
        })
    }
}

/// The key of an operator's inputs: `record` or `{json: field.path}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Key {
    /// The record's own key, as the source or the upstream operator set it.
    Record,
    /// A field of the value, which is JSON: names of nested objects' fields, joined by dots.
    Json(String),
}

/// What becomes of a record that the guest rejects, or that makes it fail: `fail`, `skip` or `{deadLetter: sink-id}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OnError {
    /// The job stops at it.
    #[default]
    Fail,
    /// It is counted and dropped.
    Skip,
    /// It goes to this sink like any output, with the operator, the reason and its origin in its headers.
    DeadLetter(String),
}

/// What one call of a guest may use. A record that exceeds a limit in a batch of its own is an error of that record, but
/// for the deadline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Limits {
    /// The linear memory of an instance, 64KiB to 4GiB.
    pub memory: ByteSize,
    /// Instructions of a call, roughly.
    #[schemars(range(min = 1))]
    pub fuel: u64,
    /// The time of a call, at most half of `checkpoint.transactionTimeout` where a sink is exactly-once. It only ever restarts
    /// the job: what becomes of a record is decided by fuel.
    pub deadline: Duration,
    /// Records that a call may return.
    #[schemars(range(min = 1))]
    pub output_records: u64,
    /// Bytes that a call may return: keys, values, headers and state together.
    pub output_bytes: ByteSize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: ByteSize::mib(64),
            fuel: 10_000_000_000,
            deadline: Duration::secs(10),
            output_records: 1_000_000,
            output_bytes: ByteSize::mib(64),
        }
    }
}
