//! Word count over a million lines through a real broker: every word's counts are 1, 2, 3, … without a gap, up to the
//! number that was counted apart, for any number of workers, and through kill -9. At-least-once outputs are delivered
//! before the commit, so after a kill some of them come again; exactly-once outputs never do.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::{BTreeSet, HashMap};
use std::sync::OnceLock;
use std::time::Duration;

use rdkafka::message::Message;
use serde_json::{Value, json};
use weir_tests::broker::broker;
use weir_tests::job::{Job, operator};
use weir_tests::model;
use weir_tests::records::{Random, Record};
use weir_tests::wait;
use weir_tests::weir::{Folder, code};

const LINES: usize = 1_000_000;
const VOCABULARY: u64 = 5_000;
const PARTITIONS: i32 = 4;
const DEADLINE: Duration = Duration::from_secs(180);

/// Lines of one or two words, some far more frequent than others.
fn lines() -> impl Iterator<Item = String> {
    let mut random = Random::new(20);
    (0..LINES).map(move |position| {
        let first = random.skewed(VOCABULARY);
        if position % 2 == 0 { format!("w{first}") } else { format!("W{first} w{}", random.below(VOCABULARY)) }
    })
}

/// The topic of the lines and the count of each word in them.
fn input() -> &'static (String, HashMap<String, u64>) {
    static INPUT: OnceLock<(String, HashMap<String, u64>)> = OnceLock::new();
    INPUT.get_or_init(|| {
        let topic = broker().topic("lines", PARTITIONS);
        let records: Vec<Record> = lines().map(|line| Record { value: Some(line.into_bytes()), ..Record::default() }).collect();
        broker().produce(&topic, &records);
        let mut counts = HashMap::new();
        for line in lines() {
            for word in model::words(line.as_bytes()) {
                *counts.entry(word).or_default() += 1;
            }
        }
        (topic, counts)
    })
}

fn job(name: &str, lines: &str, sink: Value) -> Job {
    // A kill between offsets and commit holds up whoever asks for the offsets until this time is over.
    Job::new(name)
        .checkpoint(json!({ "transactionTimeout": "10s" }))
        .source("lines", broker().source(lines))
        .operator(operator("split", "split", "lines", json!({})))
        .operator(operator("count", "count", "split", json!({ "key": "record" })))
        .sink("counts", &["count"], sink)
}

/// Reads the counts of all words, of which none may be left out, and compares the last ones.
fn check(what: &str, topic: &str, expected: &HashMap<String, u64>, may_come_again: bool) {
    // Of each word the highest count and the last one.
    let mut seen: HashMap<String, (u64, u64)> = HashMap::new();
    broker().consume_each(topic, |message| {
        let word = std::str::from_utf8(message.key().unwrap()).unwrap();
        let count: u64 = std::str::from_utf8(message.payload().unwrap()).unwrap().parse().unwrap();
        if !seen.contains_key(word) {
            seen.insert(word.to_owned(), (0, 0));
        }
        let (highest, last) = seen.get_mut(word).unwrap();
        let follows = count == *last + 1 || (may_come_again && (1..=*highest).contains(&count));
        assert!(follows, "{what}: count {count} of {word} after {last}, at {}/{}", message.partition(), message.offset());
        *last = count;
        *highest = count.max(*highest);
    });
    assert_eq!(seen.len(), expected.len(), "{what}: distinct words");
    for (word, count) in expected {
        assert_eq!(seen.get(word), Some(&(*count, *count)), "{what}: highest and last count of {word}");
    }
}

#[test]
fn a_million_lines_are_counted_exactly_by_one_two_and_four_workers() {
    let (lines, expected) = input();
    for workers in ["1", "2", "4"] {
        let folder = Folder::new();
        let counts = broker().topic("counts", PARTITIONS);
        let job = job(&format!("workers-{workers}"), lines, broker().sink(&counts));
        folder.run(&job, &["--until-end", "--workers", workers], DEADLINE).expect(code::OK);
        assert!(broker().is_at_end(&job.group(), lines), "{workers} workers: the committed offsets are not the ends");
        check(&format!("{workers} workers"), &counts, expected, false);
    }
}

#[test]
fn no_count_is_lost_repeated_or_reordered_by_kill_9_at_any_moment() {
    let counts = broker().topic("counts-killed", PARTITIONS);
    through_kills("killed", 21, &counts, broker().sink(&counts), false);
}

#[test]
fn at_least_once_counts_come_again_after_kill_9_and_none_is_lost_or_wrong() {
    let counts = broker().topic("counts-again", PARTITIONS);
    let mut sink = broker().sink(&counts);
    sink["kafka"]["delivery"] = json!("at-least-once");
    through_kills("again", 22, &counts, sink, true);
}

fn through_kills(name: &str, seed: u64, counts: &str, sink: Value, may_come_again: bool) {
    const KILLS: u64 = 6;
    let (lines, expected) = input();
    let folder = Folder::new();
    let job = job(name, lines, sink);
    let mut random = Random::new(seed);
    let mut runs = BTreeSet::new();
    let mut before = 0;
    for kill in 0..KILLS {
        // Somewhere in the kill's own stretch of the input, which leaves the last stretch to the run that ends.
        let stretch = LINES as u64 / (KILLS + 1);
        let progress = kill * stretch + random.below(stretch);
        let later = Duration::from_millis(random.below(200));
        let mut run = folder.start(&job, &["--workers", "2"]);
        wait::until(&format!("{progress} lines committed"), DEADLINE, || {
            run.assert_running();
            let committed = committed(&job, lines);
            committed >= progress && (committed > before || before == LINES as u64)
        });
        run.ended_within(later);
        run.kill_9();
        before = committed(&job, lines);
        runs.extend(run_ids(&job, lines));
    }
    folder.run(&job, &["--until-end", "--workers", "2"], DEADLINE).expect(code::OK);
    assert!(broker().is_at_end(&job.group(), lines), "the committed offsets are not the ends");
    runs.extend(run_ids(&job, lines));
    assert_eq!(runs.len(), 1, "a start after a kill did not go on with the run before: {runs:?}");
    check(name, counts, expected, may_come_again);
}

/// How many lines the job has committed.
fn committed(job: &Job, lines: &str) -> u64 {
    broker().committed(&job.group(), lines).into_iter().flatten().map(|committed| committed.offset as u64).sum()
}

/// The runs that the job's commits name.
fn run_ids(job: &Job, lines: &str) -> BTreeSet<String> {
    let committed = broker().committed(&job.group(), lines).into_iter().flatten();
    committed
        .map(|committed| {
            let run = committed.metadata.split(';').find_map(|field| field.strip_prefix("run="));
            run.unwrap_or_else(|| panic!("no run in the metadata `{}`", committed.metadata)).to_owned()
        })
        .collect()
}
