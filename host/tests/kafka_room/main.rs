//! The kafka room against a real broker.
//!
//! The broker is started once for this test program by the driver script (`WEIR_KAFKA_SH`, or tests/kafka/kafka.sh of
//! this repository) and killed when the program ends.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, unsafe_code)]

mod admin;
mod reading;
mod writing;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};
use weir_host::kafka::*;
use weir_host::record::{Batch, Origin, RowRef, partition_for};

const PATIENCE: Duration = Duration::from_secs(30);

struct Broker {
    bootstrap: String,
    data: tempfile::TempDir,
}

static BROKER: OnceLock<Broker> = OnceLock::new();
static PID: AtomicU32 = AtomicU32::new(0);

/// Statics are not dropped; the broker is killed by the pid that its driver wrote down.
extern "C" fn kill_broker() {
    let pid = PID.swap(0, Ordering::SeqCst);
    if pid != 0 {
        // SAFETY: a signal to a process that this program started.
        unsafe { libc::kill(pid.cast_signed(), libc::SIGKILL) };
        if let Some(broker) = BROKER.get() {
            let _ = std::fs::remove_dir_all(broker.data.path());
        }
    }
}

fn broker() -> &'static Broker {
    BROKER.get_or_init(|| {
        let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/kafka/kafka.sh");
        let script = std::env::var_os("WEIR_KAFKA_SH").map_or(beside, PathBuf::from);
        assert!(script.is_file(), "no broker driver at {}; set WEIR_KAFKA_SH", script.display());
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("run");
        let mut start = Command::new(&script);
        // The owner is for a test program that is killed; at an ordinary end `kill_broker` is quicker and tidies up.
        start.args(["start", "1"]).env("WEIR_KAFKA_RUN", &run).env("WEIR_KAFKA_OWNER", std::process::id().to_string());
        let started = start.output().unwrap();
        assert!(started.status.success(), "{} start: {}", script.display(), String::from_utf8_lossy(&started.stderr));
        let pid: u32 = std::fs::read_to_string(run.join("node1/pid")).unwrap().trim().parse().unwrap();
        PID.store(pid, Ordering::SeqCst);
        // SAFETY: the handler needs nothing that exit has torn down by then.
        unsafe { libc::atexit(kill_broker) };
        let bootstrap = String::from_utf8(started.stdout).unwrap().lines().last().unwrap().trim().to_owned();
        Broker { bootstrap, data: dir }
    })
}

fn cluster() -> Cluster {
    Cluster::new(&broker().bootstrap, BTreeMap::new()).unwrap()
}

fn name(what: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{what}-{}", COUNT.fetch_add(1, Ordering::SeqCst))
}

fn topic(what: &str, partitions: u32) -> String {
    let name = name(what);
    Admin::new(&cluster(), PATIENCE).unwrap().create(&name, partitions, &[]).unwrap();
    name
}

fn consumer_of(group: &str, report_ends: bool) -> Consumer {
    let settings =
        ConsumerSettings { group: group.into(), client_id: "test".into(), prefetch: 16 << 20, queues: 1, report_ends, stable: true };
    Consumer::new(&cluster(), &settings).unwrap()
}

fn limits(queue_records: u32) -> ProducerSettings {
    ProducerSettings::new("test", queue_records, 65_536)
}

fn producer() -> OutputProducer {
    OutputProducer::new(&cluster(), &limits(1_000_000)).unwrap()
}

fn committer(id: &str) -> CommitProducer {
    let settings = CommitSettings { transactional_id: id.into(), transaction_timeout: Duration::from_secs(20), producer: limits(100_000) };
    CommitProducer::init(&cluster(), &settings, soon()).unwrap()
}

fn soon() -> Instant {
    Instant::now() + PATIENCE
}

fn row<'a>(key: Option<&'a [u8]>, value: Option<&'a [u8]>, timestamp: i64) -> RowRef<'a> {
    RowRef { key, value, timestamp, origin: Origin { split: 0, offset: 0 } }
}

fn numbered(n: usize) -> Batch {
    let mut batch = Batch::default();
    for i in 0..n {
        batch.push(row(Some(format!("key-{}", i % 97).as_bytes()), Some(format!("{i:08}").as_bytes()), 1_000 + i as i64));
    }
    batch
}

fn produce_all(producer: &OutputProducer, topic: &str, batch: &Batch, partition: Option<i32>) {
    let handle = producer.topic(topic, "none", PATIENCE).unwrap();
    let mut outbox = Outbox::new();
    producer.arrange(&handle, batch, 0..batch.len(), partition, &mut outbox);
    while !outbox.is_empty() {
        producer.produce_batch(&handle, batch, &mut outbox).unwrap();
        producer.poll();
    }
    producer.flush_until(soon()).unwrap();
}

/// Fetches until there are `n` records; the queue's own waker ends each wait.
fn fetch_n(queue: &mut WorkerQueue, n: usize, into: &mut Batch) {
    let end = soon();
    let me = std::thread::current();
    queue.on_ready(Arc::new(move || me.unpark()));
    while into.len() < n {
        if queue.fetch(1024, 1 << 30, into).unwrap() == 0 {
            assert!(Instant::now() < end, "{} of {n} records came", into.len());
            std::thread::park_timeout(Duration::from_secs(1));
        }
    }
}

fn fetch_error(queue: &mut WorkerQueue) -> Error {
    let end = soon();
    let mut batch = Batch::default();
    loop {
        match queue.fetch(1024, 1 << 20, &mut batch) {
            Err(error) if !error.is_transient() => return error,
            _ => assert!(Instant::now() < end, "no error came"),
        }
        std::thread::yield_now();
    }
}

fn read_all(topic: &str, partitions: u32) -> Vec<Vec<Vec<u8>>> {
    let mut found = vec![Vec::new(); partitions as usize];
    Admin::new(&cluster(), PATIENCE)
        .unwrap()
        .consume(topic, Position::Earliest, false, |record| {
            if let Some((partition, batch, i)) = record {
                found[partition as usize].push(batch.row(i).value.unwrap_or_default().to_vec());
            }
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    found
}
