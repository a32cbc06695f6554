//! Producing and transactions.

use super::*;

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
    // The broker answers before it has written the second.
    let patience = soon();
    while end() != 5 + 1 + 7 + 1 {
        assert!(Instant::now() < patience, "{} is not behind both markers", end());
    }

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

#[test]
fn a_record_that_a_broken_transaction_does_not_take_is_told_from_one_that_is_wrong_itself() {
    let narrow = name("narrow");
    Admin::new(&cluster(), PATIENCE).unwrap().create(&narrow, 1, &[("max.message.bytes", "1000")]).unwrap();
    let mut commits = committer(&name("tx"));
    commits.begin().unwrap();
    let handle = commits.outputs().topic(&narrow, "none", PATIENCE).unwrap();
    let produce = |value: &[u8]| commits.outputs().produce(&handle, row(None, Some(value), 1), std::iter::empty(), Some(0));
    produce(&[b'x'; 5_000]).unwrap();
    let patience = soon();
    // Sent and refused in the background.
    let broken = loop {
        match produce(b"small") {
            Ok(()) => {}
            Err(ProduceError::QueueFull) => commits.outputs().poll(),
            Err(error) => break error,
        }
        assert!(Instant::now() < patience, "the transaction did not break");
        std::thread::yield_now();
    };
    assert!(matches!(broken, ProduceError::Broken(_)), "{broken:?}");
    // Once its failed delivery is served, the record that was lost is named, and not one that was purged because of it.
    let lost =
        |error: &ProduceError| matches!(error, ProduceError::Broken(Error::Delivery { topic, transient: false, .. }) if *topic == narrow);
    while !lost(&produce(b"small").unwrap_err()) {
        assert!(Instant::now() < patience, "the record that was lost is not named");
        commits.outputs().poll();
        std::thread::yield_now();
    }
    let elsewhere = commits.outputs().produce(&handle, row(None, None, 1), std::iter::empty(), Some(7));
    assert!(matches!(elsewhere, Err(ProduceError::Broken(_))), "{elsewhere:?}");
    commits.abort(soon()).unwrap();
    commits.begin().unwrap();
    let elsewhere = commits.outputs().produce(&handle, row(None, None, 1), std::iter::empty(), Some(7));
    assert!(matches!(elsewhere, Err(ProduceError::Failed(Error::MissingPartition { partition: 7, .. }))), "{elsewhere:?}");
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
