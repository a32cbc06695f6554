//! The document: metadata, and the dataflow with what it needs to run.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::operator::Operator;
use crate::quantity::{ByteSize, Duration};
use crate::sink::Sink;
use crate::source::Source;

/// A stream job, in the shape of a Kubernetes resource. Paths in it are relative to the job file's folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Job {
    /// The version of this format.
    pub api_version: ApiVersion,
    /// The kind of document.
    pub kind: Kind,
    /// The job's name and what is attached to it.
    pub metadata: Metadata,
    /// What the job does.
    pub spec: JobSpec,
}

impl Job {
    /// Where checkpoints and local state are kept: `checkpoint.path`, or `.weir/<name>`.
    pub fn checkpoint_path(&self) -> PathBuf {
        match &self.spec.checkpoint.path {
            Some(path) => path.clone(),
            None => PathBuf::from(".weir").join(&self.metadata.name),
        }
    }
}

/// Versions of the job file that this build reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ApiVersion {
    /// The first draft; may change without notice.
    #[serde(rename = "weir.dev/v1alpha1")]
    V1Alpha1,
}

/// Kinds of document that this build reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Kind {
    /// A dataflow from sources through operators to sinks.
    StreamJob,
}

/// The job's name and what is attached to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metadata {
    /// A DNS-1123 label. Part of the transactional id and of the state's place: a job renamed is another job.
    #[schemars(regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"), length(max = 63))]
    pub name: String,
    /// Kubernetes namespace, a DNS-1123 label; no effect on a local run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"), length(max = 63))]
    pub namespace: Option<String>,
    /// Kubernetes labels; no effect on a local run.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Kubernetes annotations; no effect on a local run.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// The dataflow, and what it needs to run. Ids are unique over sources, operators and sinks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JobSpec {
    /// The unit of state, ownership and shuffle: a key's shard is its hash modulo this. Fixed for a run; 1 to 4096.
    #[serde(default = "default_shards")]
    #[schemars(range(min = 1, max = 4096))]
    pub shards: u32,
    /// Where records come from; at least one.
    #[schemars(length(min = 1))]
    pub sources: Vec<Source>,
    /// What is done to them, in any order; a job without operators copies.
    #[serde(default)]
    pub operators: Vec<Operator>,
    /// Where records go; at least one.
    #[schemars(length(min = 1))]
    pub sinks: Vec<Sink>,
    /// When progress is made durable, and where.
    #[serde(default)]
    pub checkpoint: Checkpoint,
    /// What the process may use.
    #[serde(default)]
    pub runtime: Runtime,
}

fn default_shards() -> u32 {
    32
}

/// When progress is made durable, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Checkpoint {
    /// The longest an epoch lasts: state and source positions are committed this often. At least 10ms.
    pub interval: Duration,
    /// An epoch ends early when this much changed state, or of standard input, has gathered.
    pub dirty_bytes: ByteSize,
    /// An epoch ends early when so many bytes of outputs, keys and values, have been written in it. With exactly-once sinks
    /// that is about how much a crash makes the job write again.
    pub output_bytes: ByteSize,
    /// A broker aborts a transaction that is open for longer, so an epoch and its commit have to be over within it; from
    /// 1s to 15m, which is what brokers allow by default. After a crash it is also how long readers of committed records
    /// wait at most for what the process left open, unless the job starts again before. Longer than any outage of the
    /// brokers: what they abort while they start is not always hidden from readers.
    pub transaction_timeout: Duration,
    /// The folder of local state, and of checkpoints where no `store` is named; `.weir/<name>` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// Where checkpoints are kept instead: a place that outlives this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<CheckpointStore>,
}

/// A store of checkpoints that other machines reach, too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CheckpointStore {
    /// S3, or a server that speaks its protocol.
    pub s3: S3,
}

/// A place in S3. Credentials come from the environment, under the names that AWS's own tools use (`AWS_ACCESS_KEY_ID`,
/// `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_WEB_IDENTITY_TOKEN_FILE`), or from the machine's role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct S3 {
    /// The bucket, which is there already.
    pub bucket: String,
    /// What the names of objects begin with, up to their last `/`; the job's name when absent. No two jobs may share it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// The server's URL; `AWS_ENDPOINT_URL`, or else AWS when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The region; `AWS_REGION`, or else `us-east-1` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
}

impl Default for Checkpoint {
    fn default() -> Self {
        Self {
            interval: Duration::secs(1),
            dirty_bytes: ByteSize::mib(64),
            output_bytes: ByteSize::mib(256),
            transaction_timeout: Duration::secs(120),
            path: None,
            store: None,
        }
    }
}

/// What the process may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Runtime {
    /// Worker threads; the CPUs of the cgroup when absent. More than `shards` are refused: they would idle.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub workers: Option<u16>,
    /// The budget of hot state, caches, queues, buffers and guests together.
    pub memory: ByteSize,
    /// The most records of a batch.
    #[schemars(range(min = 1, max = 65536))]
    pub batch_records: u32,
    /// A batch is cut when its keys and values reach this size.
    pub batch_bytes: ByteSize,
    /// A batch is cut when the state its keys bring along reaches this size.
    pub state_batch_bytes: ByteSize,
    /// A job that fails for reasons that may pass (a broker that is away, say) restarts inside the process. When nothing
    /// could be committed for this long since the first failure, the process ends with the last error; it looks after each
    /// try, of which one may take 30 s.
    pub give_up_after: Duration,
    /// The port of the metrics and health endpoint; none is opened when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics_port: Option<u16>,
    /// The address that endpoint listens on.
    pub metrics_address: IpAddr,
}

impl Default for Runtime {
    fn default() -> Self {
        Self {
            workers: None,
            memory: ByteSize::mib(512),
            batch_records: 1024,
            batch_bytes: ByteSize::kib(256),
            state_batch_bytes: ByteSize::mib(4),
            give_up_after: Duration::secs(300),
            metrics_port: None,
            metrics_address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        }
    }
}
