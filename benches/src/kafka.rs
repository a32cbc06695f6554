//! A real Kafka for the run, and what fills, reads and watches its topics.

use anyhow::{Context as _, Result, bail, ensure};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::fs;
use std::path::Path;
use std::process::{self, Command};
use std::time::Duration;
use tempfile::TempDir;

/// Partitions of every topic.
pub const PARTITIONS: i32 = 4;
/// Name of the broker's folder, before the pid of its run.
const FOLDER: &str = "weir-bench-kafka-";
/// For one request, and for the next record of a topic that is read to its end.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Between two looks at a full producer.
const QUEUE_FULL_WAIT: Duration = Duration::from_millis(1);

/// A broker of this process. It ends, and its data is deleted, with this value; however the process ends, it ends too.
pub struct Kafka {
    folder: TempDir,
    bootstrap: String,
}

impl Kafka {
    /// Starts a broker with the optimising compiler and a heap for benchmarks.
    pub fn start() -> Result<Self> {
        remove_folders_of_ended_runs()?;
        let folder = tempfile::Builder::new().prefix(&format!("{FOLDER}{}-", process::id())).tempdir()?;
        let bootstrap = script(folder.path(), "start")?.trim().to_owned();
        Ok(Self { folder, bootstrap })
    }

    /// The addresses to start from.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// A new, empty topic.
    pub fn create(&self, topic: &str) -> Result<()> {
        let new = NewTopic::new(topic, PARTITIONS, TopicReplication::Fixed(1));
        let created = block_on(self.admin()?.create_topics([&new], &admin_options()))??;
        ensure!(created.iter().all(std::result::Result::is_ok), "topic {topic} was not created: {created:?}");
        // Clients made from now on find leaders at once.
        let client: BaseConsumer = self.config().create()?;
        for _ in 0..1000 {
            let metadata = client.fetch_metadata(Some(topic), TIMEOUT)?;
            let leaders = metadata.topics().iter().flat_map(|t| t.partitions()).filter(|p| p.leader() >= 0);
            if leaders.count() == PARTITIONS.unsigned_abs() as usize {
                return Ok(());
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
        bail!("topic {topic} has no leaders")
    }

    /// Deletes a topic, so that its data does not stay until the end.
    pub fn delete(&self, topic: &str) -> Result<()> {
        let deleted = block_on(self.admin()?.delete_topics(&[topic], &admin_options()))??;
        ensure!(deleted.iter().all(std::result::Result::is_ok), "topic {topic} was not deleted: {deleted:?}");
        Ok(())
    }

    /// Produces `count` records, each to the next partition. `record` writes the record of a number into the buffers for
    /// key and value, which it finds empty; an empty key is a null one.
    pub fn fill(&self, topic: &str, count: u64, mut record: impl FnMut(u64, &mut Vec<u8>, &mut Vec<u8>)) -> Result<()> {
        let mut config = self.config();
        config.set("linger.ms", "5").set("batch.size", "1000000").set("batch.num.messages", "100000").set("enable.idempotence", "true");
        let producer: BaseProducer = config.create()?;
        let (mut key, mut value) = (Vec::new(), Vec::new());
        for number in 0..count {
            key.clear();
            value.clear();
            record(number, &mut key, &mut value);
            send(&producer, topic, i32::try_from(number % PARTITIONS.unsigned_abs() as u64)?, &key, &value)?;
            if number % 1000 == 0 {
                producer.poll(Duration::ZERO);
            }
        }
        producer.flush(TIMEOUT).with_context(|| format!("filling {topic}"))
    }

    /// Hands every committed record of a topic to `take`; returns how many there were.
    pub fn read(&self, topic: &str, mut take: impl FnMut(&BorrowedMessage<'_>) -> Result<()>) -> Result<u64> {
        let consumer = self.reader(topic, true)?;
        let (mut count, mut ended) = (0, 0);
        while ended < PARTITIONS {
            match consumer.poll(TIMEOUT) {
                Some(Ok(message)) => {
                    take(&message)?;
                    count += 1;
                }
                Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
                Some(Err(error)) => return Err(error).with_context(|| format!("reading {topic}")),
                None => bail!("reading {topic}: nothing for {TIMEOUT:?}, and no end"),
            }
        }
        Ok(count)
    }

    /// A consumer of the whole topic from its beginning; it reads committed records, and can report partitions' ends.
    pub fn reader(&self, topic: &str, ends: bool) -> Result<BaseConsumer> {
        let mut config = self.config();
        config
            .set("group.id", "reader")
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed")
            .set("enable.partition.eof", ends.to_string())
            .set("fetch.wait.max.ms", "10")
            .set("fetch.message.max.bytes", "4194304")
            // By default a reader whose queue is full looks no sooner than a second later whether it still is: reading
            // 4 million records took 20 s.
            .set("fetch.queue.backoff.ms", "10")
            .set("check.crcs", "false");
        let consumer: BaseConsumer = config.create()?;
        let mut assignment = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            assignment.add_partition_offset(topic, partition, Offset::Beginning)?;
        }
        consumer.assign(&assignment)?;
        Ok(consumer)
    }

    /// The settings of a client.
    pub fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap);
        config
    }

    fn admin(&self) -> Result<AdminClient<DefaultClientContext>> {
        Ok(self.config().create()?)
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        // The broker's watcher kills what is left when this process is gone.
        let _ = script(self.folder.path(), "wipe");
    }
}

/// Puts a record into the producer's queue, and waits for room where it is full.
pub fn send(producer: &BaseProducer, topic: &str, partition: i32, key: &[u8], value: &[u8]) -> Result<()> {
    let mut record = BaseRecord::to(topic).partition(partition).payload(value);
    if !key.is_empty() {
        record = record.key(key);
    }
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => record = back,
            Err((error, _)) => return Err(error.into()),
        }
        producer.poll(QUEUE_FULL_WAIT);
    }
}

/// A run that was interrupted leaves gigabytes.
fn remove_folders_of_ended_runs() -> Result<()> {
    for entry in fs::read_dir(std::env::temp_dir())?.flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(FOLDER)?.split('-').next());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            // Another run may be at it too.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    Ok(())
}

fn admin_options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(TIMEOUT)).operation_timeout(Some(TIMEOUT))
}

/// The admin client completes its futures on a thread of its own: nothing needs a runtime's drivers.
fn block_on<F: Future>(future: F) -> Result<F::Output> {
    Ok(tokio::runtime::Builder::new_current_thread().build()?.block_on(future))
}

/// Runs kafka.sh on the cluster in `folder`; what it printed.
fn script(folder: &Path, verb: &str) -> Result<String> {
    let output = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/kafka/kafka.sh"))
        .arg(verb)
        .env("WEIR_KAFKA_RUN", folder)
        .env("WEIR_KAFKA_OWNER", process::id().to_string())
        .env("WEIR_KAFKA_HEAP", "1g")
        .env("WEIR_KAFKA_JIT", "full")
        .env_remove("WEIR_KAFKA_PORT")
        .output()
        .context("kafka.sh does not run")?;
    ensure!(output.status.success(), "kafka.sh {verb} failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}
