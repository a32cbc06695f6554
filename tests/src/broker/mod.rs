//! One real Apache Kafka per test binary: a node that `tests/kafka/kafka.sh` starts with the first test that asks for
//! it, and that ends with the test process, however that ends. A test that ends its broker itself starts its own, and
//! one that ends a broker of several a [cluster](Broker::cluster).

mod cluster;
mod load;
mod offsets;
mod read;
mod write;

pub use load::Load;
pub use offsets::Committed;
pub use read::Received;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use serde_json::{Value, json};

use crate::port;
use crate::proxy::Proxy;
use crate::wait;

/// For one request. Generous: after a kill -9 the broker holds some back until the transaction is cleared.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Files of a cluster's further properties, listener and size of a node's heap, in its folder.
const EXTRA: &str = "extra.properties";
const LISTENER: &str = "listener";
const HEAP: &str = "heap";
/// Name of a cluster's folder, before the pid of its test process and its number in it.
const FOLDER: &str = "weir-test-kafka-";

/// As many as the broker's default.
const REPLICAS: TopicReplication<'static> = TopicReplication::Fixed(-1);

/// Properties of a broker that checks who may do what; what no rule names is allowed.
pub const ACLS: &str = "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=true
";

/// The broker of this test binary.
pub fn broker() -> &'static Broker {
    static BROKER: OnceLock<Broker> = OnceLock::new();
    BROKER.get_or_init(Broker::start)
}

/// A running broker. Its data is deleted when it is dropped.
#[derive(Debug)]
pub struct Broker {
    folder: PathBuf,
    bootstrap: String,
    /// Where jobs reach it.
    for_jobs: String,
    topics: AtomicU32,
}

impl Broker {
    /// Starts a broker of the caller's own.
    ///
    /// # Panics
    /// When it does not start, with what kafka.sh said.
    pub fn start() -> Self {
        Self::with_properties("")
    }

    /// Starts a broker of the caller's own with more properties, one a line.
    ///
    /// # Panics
    /// When it does not start, with what kafka.sh said.
    pub fn with_properties(properties: &str) -> Self {
        Self::with("", properties)
    }

    fn with(listener: &str, properties: &str) -> Self {
        Self::of_nodes(1, "512m", listener, properties)
    }

    fn of_nodes(nodes: usize, heap: &str, listener: &str, properties: &str) -> Self {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        remove_folders_of_ended_tests();
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("{FOLDER}{}-{number}", process::id()));
        fs::create_dir_all(&folder).expect("the broker's folder");
        fs::write(folder.join(EXTRA), properties).expect("the broker's properties");
        fs::write(folder.join(LISTENER), listener).expect("the broker's listener");
        fs::write(folder.join(HEAP), heap).expect("the size of a heap");
        let bootstrap = script(&folder, ["start", &nodes.to_string()]).trim().to_owned();
        Self { folder, for_jobs: bootstrap.clone(), bootstrap, topics: AtomicU32::new(0) }
    }

    /// Starts a broker that jobs reach through a proxy, and tests directly.
    ///
    /// # Panics
    /// When it does not start, with what kafka.sh said.
    pub fn proxied() -> (Self, Proxy) {
        let free = port::free();
        let proxy = Proxy::start(free);
        let address = format!("127.0.0.1:{}", proxy.port());
        let mut broker = Self::with(&format!("PROXIED_PLAINTEXT://127.0.0.1:{free}@{address}"), "");
        broker.for_jobs = address;
        (broker, proxy)
    }

    /// Starts a broker of the caller's own with a further listener, `PROTOCOL://HOST:PORT`, and what that needs.
    ///
    /// # Panics
    /// When it does not start, with what kafka.sh said.
    pub fn with_listener(listener: &str, properties: &str) -> Self {
        Self::with(listener, properties)
    }

    /// The addresses to start from.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Deletes a topic and makes one of the same name.
    #[track_caller]
    pub fn recreate(&self, topic: &str, partitions: i32) {
        self.delete_topic(topic);
        self.create(topic, partitions);
    }

    /// Makes a topic of exactly this name.
    #[track_caller]
    pub fn create_topic(&self, name: &str, partitions: i32) {
        self.create(name, partitions);
    }

    /// Deletes a topic.
    #[track_caller]
    pub fn delete_topic(&self, name: &str) {
        let deleted = block_on(self.admin().delete_topics(&[name], &admin_options())).expect("the broker answers");
        assert!(deleted.iter().all(Result::is_ok), "topic {name} was not deleted: {deleted:?}");
    }

    /// Gives a topic more partitions.
    #[track_caller]
    pub fn add_partitions(&self, topic: &str, partitions: usize) {
        let more = NewPartitions::new(topic, partitions);
        let made = block_on(self.admin().create_partitions([&more], &admin_options())).expect("the broker answers");
        assert!(made.iter().all(Result::is_ok), "partitions of {topic} were not made: {made:?}");
        let seen = || self.partitions(topic) == partitions as i32;
        wait::until(&format!("{partitions} partitions of {topic}"), TIMEOUT, seen);
    }

    /// Denies an operation on a topic to everyone. Needs a broker with [`ACLS`].
    pub fn deny(&self, operation: &str, topic: &str) {
        let tool = ["tool", "org.apache.kafka.tools.AclCommand", "--bootstrap-server", &self.bootstrap];
        let rule = ["--add", "--deny-principal", "User:*", "--operation", operation, "--topic", topic];
        script(&self.folder, [&tool[..], &rule].concat());
    }

    /// Kills the broker.
    pub fn kill(&self) {
        self.kill_node(1);
    }

    /// Starts a broker that was killed on the same data and port.
    pub fn restart(&self) {
        self.restart_node(1);
    }

    /// Stops the broker's process without ending it: connections stay, and nothing answers.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// Lets a frozen broker go on.
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = fs::read_to_string(self.folder.join("node1/pid")).expect("the broker's pid");
        let status = Command::new("sh").args(["-c", "kill \"-$1\" \"$2\"", "sh", signal, pid.trim()]).status();
        assert!(status.expect("sh runs").success(), "SIG{signal} could not be sent to the broker");
    }

    /// A new topic whose name begins with `what`.
    #[track_caller]
    pub fn topic(&self, what: &str, partitions: i32) -> String {
        let name = format!("{what}-{}", self.topics.fetch_add(1, Ordering::Relaxed));
        self.create(&name, partitions);
        name
    }

    /// A new topic with settings of its own.
    #[track_caller]
    pub fn topic_with(&self, what: &str, partitions: i32, settings: &[(&str, &str)]) -> String {
        let name = format!("{what}-{}", self.topics.fetch_add(1, Ordering::Relaxed));
        self.create_with(&name, partitions, settings);
        name
    }

    #[track_caller]
    fn create(&self, name: &str, partitions: i32) {
        self.create_with(name, partitions, &[]);
    }

    #[track_caller]
    fn create_with(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) {
        // The records' times are made up and long past: by the default retention the broker would delete them.
        let topic = NewTopic::new(name, partitions, REPLICAS).set("retention.ms", "-1");
        let topic = settings.iter().fold(topic, |topic, (name, value)| topic.set(name, value));
        let created = block_on(self.admin().create_topics([&topic], &admin_options())).expect("the broker answers");
        assert!(created.iter().all(Result::is_ok), "topic {name} was not created: {created:?}");
        let client = self.client();
        wait::until(&format!("topic {name} in the broker's metadata"), TIMEOUT, || {
            let metadata = client.fetch_metadata(Some(name), TIMEOUT).expect("the broker's metadata");
            let leaders = metadata.topics().iter().flat_map(|topic| topic.partitions()).filter(|partition| partition.leader() >= 0);
            leaders.count() == partitions as usize
        });
    }

    /// The connector of a source of this topic.
    pub fn source(&self, topic: &str) -> Value {
        json!({ "kafka": { "brokers": self.for_jobs, "topics": [topic] } })
    }

    /// The connector of a sink into this topic.
    pub fn sink(&self, topic: &str) -> Value {
        json!({ "kafka": { "brokers": self.for_jobs, "topic": topic } })
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap);
        config
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.config().create().expect("an admin client")
    }

    fn client(&self) -> BaseConsumer {
        self.config().create().expect("a client")
    }

    fn partitions(&self, topic: &str) -> i32 {
        let client = self.client();
        let metadata = client.fetch_metadata(Some(topic), TIMEOUT).expect("the broker's metadata");
        metadata.topics()[0].partitions().len() as i32
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        script(&self.folder, ["wipe"]);
        // At worst the next test process removes it.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn admin_options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(TIMEOUT)).operation_timeout(Some(TIMEOUT))
}

/// The admin client completes its futures on a thread of its own: nothing needs a runtime's drivers.
fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
}

/// Runs kafka.sh on the cluster in `folder`; what it printed.
///
/// # Panics
/// When it fails, with what it said: a missing tool is a failure.
#[track_caller]
fn script<A: AsRef<OsStr>>(folder: &Path, arguments: impl IntoIterator<Item = A>) -> String {
    let output = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("kafka/kafka.sh"))
        .args(arguments)
        .env("WEIR_KAFKA_RUN", folder)
        .env("WEIR_KAFKA_OWNER", process::id().to_string())
        .env("WEIR_KAFKA_EXTRA", folder.join(EXTRA))
        .env("WEIR_KAFKA_LISTENER", fs::read_to_string(folder.join(LISTENER)).expect("the broker's listener"))
        .env("WEIR_KAFKA_HEAP", fs::read_to_string(folder.join(HEAP)).expect("the size of a heap"))
        .env_remove("WEIR_KAFKA_PORT")
        .output()
        .expect("kafka.sh runs");
    assert!(output.status.success(), "kafka.sh failed: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("kafka.sh prints text")
}

/// A test process ends without dropping the broker that its tests share: a later one removes the data.
fn remove_folders_of_ended_tests() {
    for entry in fs::read_dir(std::env::temp_dir()).expect("the folder of temporary files").flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(FOLDER)?.split('-').next());
        let Some(pid) = pid else { continue };
        if !Path::new("/proc").join(pid).exists() {
            // Another test process may be at it too.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
