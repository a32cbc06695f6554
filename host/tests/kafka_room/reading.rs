//! Fetching, offsets and positions.

use super::*;

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
fn paused_partitions_stay_silent() {
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
