//! The kafka room against a real broker.
//!
//! The broker is started once for this test program by the driver script (`WEIR_KAFKA_SH`, or tests/kafka/kafka.sh of
//! this repository) and killed when the program ends.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, unsafe_code)]

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
    let settings = ConsumerSettings { group: group.into(), client_id: "test".into(), prefetch_kib: 16_384, report_ends };
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

#[test]
fn a_record_comes_back_as_it_was_sent() {
    let topic = topic("round-trip", 1);
    let mut sent = Batch::default();
    sent.push(row(None, Some(b"null key"), 1));
    sent.push(row(Some(b"tombstone"), None, 2));
    sent.push(row(Some(b""), Some(b""), 1_700_000_000_123));
    sent.push_with_headers(
        row(Some("Schlüssel".as_bytes()), Some("Wert \u{1f30d}".as_bytes()), 4),
        [
            (&b"trace"[..], Some(&b"1"[..])),
            ("größe".as_bytes(), Some(b"\x00\xff")),
            (b"empty", Some(b"")),
            (b"null", None),
            (b"trace", Some(b"2")),
        ]
        .into_iter(),
    );
    sent.push(row(Some(b"k"), Some(&[7; 100_000]), 5));
    produce_all(&producer(), &topic, &sent, None);

    let consumer = consumer_of("round-trip", false);
    let mut queue = consumer.queue().unwrap();
    queue.own(&topic, 0, 42).unwrap();
    consumer.assign(&[(&topic, 0, 0)]).unwrap();
    let mut got = Batch::default();
    fetch_n(&mut queue, sent.len(), &mut got);
    assert_eq!(got.len(), sent.len());
    for i in 0..sent.len() {
        let (s, g) = (sent.row(i), got.row(i));
        assert_eq!((s.key, s.value, s.timestamp), (g.key, g.value, g.timestamp), "record {i}");
        assert_eq!(g.origin, Origin { split: 42, offset: i as i64 });
        assert_eq!(sent.row_headers(i).collect::<Vec<_>>(), got.row_headers(i).collect::<Vec<_>>(), "record {i}");
    }
    assert!(consumer.poll_events().is_empty());
}

#[test]
fn keys_choose_partitions_like_the_java_client_and_keyless_records_use_all() {
    let topic = topic("partitions", 4);
    let producer = producer();
    let sent = numbered(2_000);
    produce_all(&producer, &topic, &sent, None);
    let found = read_all(&topic, 4);
    for (partition, values) in found.iter().enumerate() {
        let expected: Vec<Vec<u8>> = (0..sent.len())
            .map(|i| sent.row(i))
            .filter(|r| partition_for(r.key.unwrap(), 4) as usize == partition)
            .map(|r| r.value.unwrap().to_vec())
            .collect();
        assert!(!expected.is_empty());
        assert_eq!(values, &expected, "partition {partition}: right records, in the order sent");
    }

    let mut keyless = Batch::default();
    keyless.push(row(None, Some(b"x"), 1));
    let handle = producer.topic(&topic, "none", PATIENCE).unwrap();
    let mut outbox = Outbox::new();
    for _ in 0..8 {
        producer.arrange(&handle, &keyless, 0..1, None, &mut outbox);
        assert_eq!(producer.produce_batch(&handle, &keyless, &mut outbox).unwrap(), 1);
    }
    producer.flush_until(soon()).unwrap();
    let after = read_all(&topic, 4);
    for partition in 0..4 {
        assert_eq!(after[partition].len() - found[partition].len(), 2, "partition {partition}");
    }
}

#[test]
fn two_queues_share_the_partitions_and_each_gets_only_its_own() {
    let topic = topic("shared", 4);
    let sent = numbered(20_000);
    produce_all(&producer(), &topic, &sent, None);
    let consumer = consumer_of("shared", false);
    let mut queues = [consumer.queue().unwrap(), consumer.queue().unwrap()];
    for p in 0..4 {
        queues[p as usize % 2].own(&topic, p, 10 + p as u32).unwrap();
    }
    assert_eq!(queues[0].own(&topic, 1, 0).unwrap_err(), Error::Taken { topic: topic.clone(), partition: 1 });
    consumer.assign(&[(&topic, 0, 0), (&topic, 1, 0), (&topic, 2, 0), (&topic, 3, 0)]).unwrap();
    let watermarks = consumer.watermarks(&[(&topic, 0), (&topic, 1), (&topic, 2), (&topic, 3)], PATIENCE).unwrap();
    assert_eq!(watermarks.iter().map(|w| w.end).sum::<i64>(), 20_000);
    let counts = [watermarks[0].end + watermarks[2].end, watermarks[1].end + watermarks[3].end];
    std::thread::scope(|scope| {
        for (worker, (queue, n)) in queues.iter_mut().zip(counts).enumerate() {
            scope.spawn(move || {
                let mut got = Batch::default();
                fetch_n(queue, n as usize, &mut got);
                let mut next = [0; 4];
                for i in 0..got.len() {
                    let origin = got.row(i).origin;
                    let partition = origin.split as usize - 10;
                    assert_eq!(partition % 2, worker);
                    assert_eq!(origin.offset, next[partition], "in offset order, once");
                    next[partition] += 1;
                }
            });
        }
    });
    let progress = consumer.progress().unwrap();
    assert_eq!(progress.iter().filter_map(|p| p.position).sum::<i64>(), 20_000);
    assert_eq!(progress.iter().filter_map(|p| p.high).sum::<i64>(), 20_000);
}

#[test]
fn a_fetch_keeps_to_its_limits_and_loses_nothing_between_calls() {
    let topic = topic("limits", 1);
    produce_all(&producer(), &topic, &numbered(3_000), Some(0));
    let consumer = consumer_of("limits", false);
    let mut queue = consumer.queue().unwrap();
    queue.own(&topic, 0, 0).unwrap();
    consumer.assign(&[(&topic, 0, 0)]).unwrap();
    let (mut seen, end) = (0, soon());
    let mut batch = Batch::default();
    while seen < 3_000 {
        assert!(Instant::now() < end);
        batch.clear();
        let max_records = 1 + seen % 700;
        let n = queue.fetch(max_records, 5_000, &mut batch).unwrap();
        assert!(n <= max_records && batch.data_len() <= 5_000, "{n} records, {} bytes", batch.data_len());
        for i in 0..n {
            assert_eq!(batch.row(i).origin.offset, (seen + i) as i64);
        }
        seen += n;
    }
    batch.clear();
    produce_all(&producer(), &topic, &numbered(1), Some(0));
    while queue.fetch(10, 0, &mut batch).unwrap() == 0 {
        assert!(Instant::now() < end, "one record gets through even when it is larger than the limit");
        std::thread::yield_now();
    }
    assert_eq!(batch.len(), 1);
}

#[test]
fn the_waker_fires_when_an_empty_queue_gets_a_record() {
    let topic = topic("waker", 1);
    let consumer = consumer_of("waker", false);
    let mut queue = consumer.queue().unwrap();
    queue.own(&topic, 0, 0).unwrap();
    consumer.assign(&[(&topic, 0, 0)]).unwrap();
    let fired = Arc::new(AtomicBool::new(false));
    let (flag, me) = (Arc::clone(&fired), std::thread::current());
    queue.on_ready(Arc::new(move || {
        flag.store(true, Ordering::SeqCst);
        me.unpark();
    }));
    let mut batch = Batch::default();
    for round in 0..3 {
        assert_eq!(queue.fetch(10, 1000, &mut batch).unwrap(), 0);
        fired.store(false, Ordering::SeqCst);
        produce_all(&producer(), &topic, &numbered(1), Some(0));
        let end = soon();
        // What librdkafka tells itself wakes too; each time the queue has to have been looked at before the next wait.
        let mut fetched = 0;
        while fetched == 0 {
            while !fired.swap(false, Ordering::SeqCst) {
                assert!(Instant::now() < end, "round {round}: not woken");
                std::thread::park_timeout(Duration::from_secs(1));
            }
            fetched = queue.fetch(10, 1000, &mut batch).unwrap();
        }
        assert_eq!(fetched, 1, "round {round}");
        batch.clear();
    }
}

#[test]
fn paused_partitions_stay_silent_until_resumed() {
    let topic = topic("pause", 2);
    let consumer = consumer_of("pause", false);
    let mut queue = consumer.queue().unwrap();
    queue.own(&topic, 0, 0).unwrap();
    queue.own(&topic, 1, 1).unwrap();
    consumer.assign(&[(&topic, 0, 0), (&topic, 1, 0)]).unwrap();
    consumer.pause(&[(&topic, 0)]).unwrap();
    produce_all(&producer(), &topic, &numbered(10), Some(0));
    produce_all(&producer(), &topic, &numbered(10), Some(1));
    let mut got = Batch::default();
    fetch_n(&mut queue, 10, &mut got);
    assert!((0..got.len()).all(|i| got.row(i).origin.split == 1));
    consumer.resume(&[(&topic, 0)]).unwrap();
    fetch_n(&mut queue, 20, &mut got);
}

#[test]
fn a_start_position_becomes_an_offset() {
    let topic = topic("start", 1);
    produce_all(&producer(), &topic, &numbered(100), Some(0));
    let consumer = consumer_of("start", false);
    let at = |position| consumer.offsets_for_start(&[(&topic, 0, position)], PATIENCE).unwrap()[0];
    assert_eq!(at(Position::Earliest), 0);
    assert_eq!(at(Position::Latest), 100);
    assert_eq!(at(Position::Timestamp(1_040)), 40);
    assert_eq!(at(Position::Timestamp(9_000_000_000_000)), 100, "no such late record: the end");
    assert_eq!(at(Position::Offset(7)), 7);
    let many = [(&*topic, 0, Position::Offset(3)), (&topic, 0, Position::Timestamp(9_000_000_000_000)), (&topic, 0, Position::Offset(4))];
    assert_eq!(consumer.offsets_for_start(&many, PATIENCE).unwrap(), [3, 100, 4]);
}

/// Rules 11 and 14: offset and metadata are one commit, read back stably.
#[test]
fn offsets_and_their_metadata_are_committed_together_and_read_back() {
    let (topic, group) = (topic("offsets", 2), name("group"));
    let reader = consumer_of(&group, false);
    let read = || reader.committed(&[(&topic, 0), (&topic, 1)], PATIENCE).unwrap();
    assert!(read().iter().all(|c| c.offset.is_none() && c.metadata.is_empty()));
    let mut commits = committer(&name("tx"));
    let long = "m".repeat(4096);
    for round in 1..=20 {
        let metadata = format!("run=1 epoch={round}");
        let offsets = [
            OffsetCommit { topic: &topic, partition: 0, offset: round, metadata: &metadata },
            OffsetCommit { topic: &topic, partition: 1, offset: 0, metadata: &long },
        ];
        commits.commit_offsets(&group, &offsets, soon()).unwrap();
        let found = read();
        assert_eq!((found[0].offset, found[0].metadata.as_str()), (Some(round), metadata.as_str()), "never stale");
        assert_eq!((found[1].offset, found[1].metadata.as_str()), (Some(0), long.as_str()));
    }
    let too_long = "m".repeat(4097);
    for metadata in ["not ASCII: ü", too_long.as_str()] {
        let offsets = [OffsetCommit { topic: &topic, partition: 0, offset: 99, metadata }];
        assert!(matches!(commits.commit_offsets(&group, &offsets, soon()), Err(CommitError::Refused(_))));
    }
    assert_eq!(read()[0].offset, Some(20));
}

#[test]
fn outputs_become_visible_with_the_commit_and_never_after_an_abort() {
    let (topic, group) = (topic("outputs", 1), name("group"));
    let mut commits = committer(&name("tx"));
    let consumer = consumer_of(&group, true);
    let end = || consumer.watermarks(&[(&topic, 0)], PATIENCE).unwrap()[0].end;
    let offsets = [OffsetCommit { topic: &topic, partition: 0, offset: 1, metadata: "x" }];

    commits.begin().unwrap();
    produce_all(commits.outputs(), &topic, &numbered(5), Some(0));
    assert_eq!(end(), 0, "the last stable offset stands before an open transaction");
    commits.commit_offsets(&group, &offsets, soon()).unwrap();

    commits.begin().unwrap();
    produce_all(commits.outputs(), &topic, &numbered(7), Some(0));
    commits.abort(soon()).unwrap();
    assert_eq!(read_all(&topic, 1)[0].len(), 5);
    assert_eq!(end(), 5 + 1 + 7 + 1, "behind both markers");

    let mut queue = consumer.queue().unwrap();
    queue.own(&topic, 0, 3).unwrap();
    consumer.assign(&[(&topic, 0, 0)]).unwrap();
    let mut got = Batch::default();
    let patience = soon();
    let reached = loop {
        queue.fetch(100, 1 << 20, &mut got).unwrap();
        if let Some(reached) = queue.take_end() {
            break reached;
        }
        assert!(Instant::now() < patience, "no end reported");
        std::thread::yield_now();
    };
    assert_eq!((reached, got.len()), (PartitionEnd { split: 3, offset: 14 }, 5), "the end lies behind aborted records and markers");
}

/// Rule 7: init_transactions comes before the offset fetch, and it fences.
#[test]
fn a_second_producer_with_the_same_transactional_id_fences_the_first() {
    let (topic, group, id) = (topic("fence", 1), name("group"), name("tx"));
    let offsets = |offset| [OffsetCommit { topic: &topic, partition: 0, offset, metadata: "m" }];
    let mut first = committer(&id);
    first.commit_offsets(&group, &offsets(1), soon()).unwrap();
    first.begin().unwrap();
    produce_all(first.outputs(), &topic, &numbered(3), Some(0));
    let mut second = committer(&id);
    second.commit_offsets(&group, &offsets(2), soon()).unwrap();
    let refused = first.commit_offsets(&group, &offsets(9), soon()).unwrap_err();
    assert!(matches!(refused, CommitError::Fenced { .. }), "{refused}");
    assert!(first.commit_offsets(&group, &offsets(9), soon()).is_err(), "and stays fenced");
    let committed = consumer_of(&group, false).committed(&[(&topic, 0)], PATIENCE).unwrap();
    assert_eq!(committed[0].offset, Some(2));
    assert!(read_all(&topic, 1)[0].is_empty());
}

#[test]
fn an_offset_that_is_not_there_is_named_and_nothing_is_read() {
    let topic = topic("range", 1);
    produce_all(&producer(), &topic, &numbered(10), Some(0));
    let consumer = consumer_of("range", false);
    let mut queue = consumer.queue().unwrap();
    queue.own(&topic, 0, 0).unwrap();
    consumer.assign(&[(&topic, 0, 1_000)]).unwrap();
    let error = fetch_error(&mut queue);
    assert!(matches!(&error, Error::OffsetOutOfRange { topic: t, partition: 0, offset: 1_000, .. } if *t == topic), "{error}");
}

#[test]
fn a_missing_topic_is_named_by_every_call() {
    let missing = Error::MissingTopic { topic: "no-such-topic".into() };
    let consumer = consumer_of("missing", false);
    assert_eq!(consumer.partitions("no-such-topic", PATIENCE).unwrap_err(), missing);
    assert_eq!(consumer.watermarks(&[("no-such-topic", 0)], PATIENCE).unwrap_err(), missing);
    assert_eq!(producer().topic("no-such-topic", "none", PATIENCE).err(), Some(missing.clone()));
    let admin = Admin::new(&cluster(), PATIENCE).unwrap();
    assert_eq!(admin.describe("no-such-topic").unwrap_err(), missing);
    assert!(matches!(admin.create("not a name", 1, &[]), Err(Error::TopicName { .. })));
    let there = topic("there", 1);
    let beyond = Error::MissingPartition { topic: there.clone(), partition: 5 };
    assert_eq!(consumer.watermarks(&[(&there, 0), (&there, 5)], PATIENCE).unwrap_err(), beyond);
    assert_eq!(admin.create(&there, 1, &[]).unwrap_err(), Error::TopicExists { topic: there });
}

#[test]
fn a_full_queue_is_reported_and_nothing_is_lost() {
    let topic = topic("full", 2);
    let small = OutputProducer::new(&cluster(), &limits(500)).unwrap();
    let handle = small.topic(&topic, "none", PATIENCE).unwrap();
    let sent = numbered(5_000);
    let (mut short, end) = (0, soon());
    let mut outbox = Outbox::new();
    small.arrange(&handle, &sent, 0..sent.len(), None, &mut outbox);
    while !outbox.is_empty() {
        assert!(Instant::now() < end);
        let before = outbox.len();
        let accepted = small.produce_batch(&handle, &sent, &mut outbox).unwrap();
        assert_eq!(outbox.len(), before - accepted);
        short += usize::from(!outbox.is_empty());
        small.poll();
    }
    assert!(short > 0, "a queue of 500 takes no 5,000 records at once");
    small.flush_until(soon()).unwrap();
    assert_eq!(small.queue_len(), 0);
    let mut found: Vec<_> = read_all(&topic, 2).concat();
    found.sort();
    let expected: Vec<_> = (0..sent.len()).map(|i| sent.row(i).value.unwrap().to_vec()).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_record_that_the_client_or_the_broker_finds_too_large_is_an_error() {
    let large = vec![b'x'; 2_000_000];
    let mut batch = numbered(2);
    batch.push(row(None, Some(&large), 1));
    let wide = topic("wide", 1);
    let client = producer();
    let handle = client.topic(&wide, "none", PATIENCE).unwrap();
    let mut outbox = Outbox::new();
    client.arrange(&handle, &batch, 0..3, None, &mut outbox);
    assert!(matches!(client.produce_batch(&handle, &batch, &mut outbox), Err(ProduceError::TooLarge { bytes: 2_000_000, .. })));
    assert_eq!(outbox.take_next(), Some(2), "those before it are accepted");
    client.flush_until(soon()).unwrap();

    let narrow = name("narrow");
    Admin::new(&cluster(), PATIENCE).unwrap().create(&narrow, 1, &[("max.message.bytes", "1000")]).unwrap();
    let handle = client.topic(&narrow, "none", PATIENCE).unwrap();
    client.produce(&handle, row(None, Some(&large[..5_000]), 1), std::iter::empty(), None).unwrap();
    let lost = client.flush_until(soon()).unwrap_err();
    assert!(matches!(&lost, Error::Delivery { topic, partition: 0, .. } if *topic == narrow), "{lost}");
    assert_eq!(client.check(), Err(lost), "and stays known");

    let mut commits = committer(&name("tx"));
    commits.begin().unwrap();
    let handle = commits.outputs().topic(&narrow, "none", PATIENCE).unwrap();
    commits.outputs().produce(&handle, row(None, Some(&large[..5_000]), 1), std::iter::empty(), None).unwrap();
    let offsets = [OffsetCommit { topic: &narrow, partition: 0, offset: 1, metadata: "" }];
    let aborted = commits.commit_offsets(&name("group"), &offsets, soon()).unwrap_err();
    assert!(matches!(&aborted, CommitError::Aborted { action: "flush", .. }), "{aborted}");
    commits.commit_offsets(&name("group"), &offsets, soon()).unwrap();
}

#[test]
fn topics_are_listed_described_filled_and_read_by_the_admin() {
    let topic = topic("admin", 3);
    let admin = Admin::new(&cluster(), PATIENCE).unwrap();
    assert!(admin.list().unwrap().contains(&(topic.clone(), 3)));
    let lines = ["a", "b", "c", "d"].map(|v| Line { key: Some(v.into()), value: Some(v.into()) });
    assert_eq!(admin.produce(&topic, lines.into_iter()).unwrap(), 4);
    let described = admin.describe(&topic).unwrap();
    assert_eq!(described.partitions.iter().map(|p| p.bounds.end - p.bounds.low).sum::<i64>(), 4);
    assert!(described.partitions.iter().all(|p| p.leader == 1 && p.in_sync == [1]));
    let seen = Mutex::new(Vec::new());
    let stop_at = |n: usize| {
        admin.consume(&topic, Position::Earliest, true, |record| {
            let mut seen = seen.lock().unwrap();
            seen.extend(record.map(|(_, batch, i)| batch.row(i).value.unwrap().to_vec()));
            if seen.len() == n { std::ops::ControlFlow::Break(()) } else { std::ops::ControlFlow::Continue(()) }
        })
    };
    stop_at(4).unwrap();
    let mut seen = seen.into_inner().unwrap();
    seen.sort();
    assert_eq!(seen, [b"a", b"b", b"c", b"d"]);
}

#[test]
fn a_cluster_that_does_not_answer_ends_each_call_at_its_deadline() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let cluster = Cluster::new(&nobody.local_addr().unwrap().to_string(), BTreeMap::new()).unwrap();
    let settings = ConsumerSettings { group: "g".into(), client_id: "test".into(), prefetch_kib: 1024, report_ends: false };
    let consumer = Consumer::new(&cluster, &settings).unwrap();
    let short = Duration::from_millis(300);
    let begun = Instant::now();
    assert!(consumer.committed(&[("t", 0)], short).unwrap_err().is_transient(), "a failing fetch is no empty answer");
    assert!(consumer.partitions("t", short).unwrap_err().is_transient());
    let commits = CommitSettings { transactional_id: "t".into(), transaction_timeout: Duration::from_secs(20), producer: limits(10) };
    assert!(matches!(CommitProducer::init(&cluster, &commits, begun + short * 3), Err(CommitError::Retriable { .. })));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}
