//! Topics, and clusters that do not answer.

use super::*;

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
    let settings =
        ConsumerSettings { group: "g".into(), client_id: "test".into(), prefetch: 1 << 20, queues: 1, report_ends: false, stable: true };
    let consumer = Consumer::new(&cluster, &settings).unwrap();
    let short = Duration::from_millis(300);
    let begun = Instant::now();
    assert!(consumer.committed(&[("t", 0)], short).unwrap_err().is_transient(), "a failing fetch is no empty answer");
    assert!(consumer.partitions("t", short).unwrap_err().is_transient());
    let commits = CommitSettings { transactional_id: "t".into(), transaction_timeout: Duration::from_secs(20), producer: limits(10) };
    assert!(matches!(CommitProducer::init(&cluster, &commits, begun + short * 3), Err(CommitError::Retriable { .. })));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}
