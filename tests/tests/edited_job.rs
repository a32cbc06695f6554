//! A job that is started again with another job file goes on with its state, or is refused by the name of what does not
//! fit; and its state can be looked at without it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use weir_tests::broker::broker;
use weir_tests::job::{Job, operator};
use weir_tests::records::Record;
use weir_tests::weir::{Folder, code};

const DEADLINE: Duration = Duration::from_secs(60);
const RECORDS: usize = 60;
const KEYS: usize = 6;
/// Bytes of an object's tail.
const TAIL: usize = 20;

fn count(id: &str, guest: &str, more: Value) -> Value {
    operator(id, guest, "in", more)
}

/// A job over a file that has grown to so many records.
fn job(folder: &Folder, records: usize, operator: Value) -> Job {
    let lines: Vec<String> = (0..records).map(|i| format!(r#"{{"key":"key-{}","value":{{"user":"u"}}}}"#, i % KEYS) + "\n").collect();
    fs::write(folder.path("in.ndjson"), lines.concat()).unwrap();
    let id = operator["id"].as_str().unwrap().to_owned();
    Job::new("edited").source("in", json!({ "file": { "path": "in.ndjson", "format": "ndjson" } })).operator(operator).sink(
        "out",
        &[&id],
        json!({ "file": { "path": "out.txt" } }),
    )
}

fn base() -> Value {
    count("count", "count", json!({ "key": "record" }))
}

/// A folder in which the job has run.
fn that_ran() -> Folder {
    let folder = Folder::new();
    folder.run(&job(&folder, RECORDS, base()), &[], DEADLINE).expect(code::OK);
    folder
}

#[test]
fn what_the_state_does_not_depend_on_may_change_and_counting_goes_on() {
    let folder = that_ran();
    let more = json!({ "key": "record", "onError": "skip", "limits": { "memory": "32MiB" } });
    let edited = job(&folder, 2 * RECORDS, count("count", "count", more))
        .operator(operator("also", "count", "in", json!({ "key": "record" })))
        .sink("also-out", &["also"], json!({ "file": { "path": "also.txt" } }))
        .runtime(json!({ "workers": 3 }));
    folder.run(&edited, &[], DEADLINE).expect(code::OK);
    let last = |file: &str| fs::read_to_string(folder.path(file)).unwrap().lines().last().unwrap().to_owned();
    assert_eq!(last("out.txt").split_once('\t').unwrap().1, (2 * RECORDS / KEYS).to_string());
    assert_eq!(last("also.txt").split_once('\t').unwrap().1, (RECORDS / KEYS).to_string());
}

#[test]
fn what_the_state_depends_on_is_refused_by_name_with_the_way_out() {
    let folder = that_ran();
    let with_shards = |job: Job, shards: u32| job.shards(shards);
    let renamed = job(&folder, RECORDS, count("counter", "count", json!({ "key": "record" })));
    let by_field = job(&folder, RECORDS, count("count", "count", json!({ "key": { "json": "user" } })));
    let other_states = job(&folder, RECORDS, count("count", "map-counts", json!({ "key": "record" })));
    let gone = job(&folder, RECORDS, operator("copy", "passthrough", "in", json!({})));
    let other_shards = with_shards(job(&folder, RECORDS, base()), 16);
    let other_source = Job::new("edited")
        .source("other", json!({ "file": { "path": "in.ndjson", "format": "ndjson" } }))
        .operator(operator("count", "count", "other", json!({ "key": "record" })))
        .sink("out", &["count"], json!({ "file": { "path": "out.txt" } }));
    for (job, names) in [
        (renamed, &["operator count has state in the checkpoint (count)", "has it become counter"][..]),
        (by_field, &["operator count keeps its state by record, the job now keys it by json user"]),
        (other_states, &["operator count: the checkpoint holds its state `count`", "it declares counts"]),
        (gone, &["operator count has state in the checkpoint"]),
        (other_shards, &["the run has 32 shards, the job now asks for 16"]),
        (other_source, &["in.ndjson[0] of source in", "not there any more"]),
    ] {
        folder.run(&job, &[], DEADLINE).expect(code::START_REFUSED).expect_named(names).expect_named(&["--fresh"]);
    }
    // Nothing was changed by the refusals: the job itself goes on.
    folder.run(&job(&folder, 2 * RECORDS, base()), &[], DEADLINE).expect(code::OK);
    let out = fs::read_to_string(folder.path("out.txt")).unwrap();
    assert_eq!(out.lines().count(), 2 * RECORDS);
}

#[test]
fn an_edited_job_over_kafka_is_refused_by_name_too() {
    let (input, output) = (broker().topic("edited-in", 2), broker().topic("edited-out", 2));
    let records: Vec<Record> = (0..RECORDS).map(|i| Record::keyed(format!("key-{}", i % KEYS), "")).collect();
    broker().produce(&input, &records);
    let job = |id: &str| {
        Job::new("edited-kafka").source("in", broker().source(&input)).operator(count(id, "count", json!({ "key": "record" }))).sink(
            "out",
            &[id],
            broker().sink(&output),
        )
    };
    let folder = Folder::new();
    folder.run(&job("count"), &["--until-end"], DEADLINE).expect(code::OK);
    let refused = folder.run(&job("counter"), &["--until-end"], DEADLINE).expect(code::START_REFUSED);
    refused.expect_named(&["operator count has state", "has it become counter"]);
    assert_eq!(broker().records(&output).len(), RECORDS);
}

#[test]
fn state_is_listed_read_and_dumped_without_the_job() {
    let folder = that_ran();
    let weir = |arguments: &[&str]| folder.command(&[&["state"], arguments].concat());
    let listed = weir(&["list", "job.yaml"]).expect(code::OK).text();
    for named in ["operator count keyed by record: count (value, version 1)", "source in in.ndjson[0] goes on at", "sink out has"] {
        assert!(listed.contains(named), "{named}: {listed}");
    }
    let dumped = weir(&["dump", ".weir/edited", "--operator", "count"]).expect(code::OK).text();
    assert_eq!(dumped.lines().count(), KEYS);
    let one = weir(&["get", "job.yaml", "--operator", "count", "--state", "count", "key-3"]).expect(code::OK).text();
    let one: Value = serde_json::from_str(&one).unwrap();
    // The SDK's encoding of a small number is one byte.
    assert_eq!((one["key"].as_str(), one["value"].as_str()), (Some("key-3"), Some("\n")));
    assert!(dumped.contains(&one.to_string()), "{dumped}");
    weir(&["get", "job.yaml", "--operator", "sum", "k"])
        .expect(code::BAD_JOB)
        .expect_named(&["no operator sum has state; these have: count"]);
    weir(&["dump", "job.yaml", "--epoch", "9999"]).expect(code::BAD_JOB).expect_named(&["there is no checkpoint of epoch 9999; there are"]);
    weir(&["list", "absent"]).expect(code::BAD_JOB).expect_named(&["absent"]);
}

#[test]
fn a_checkpoint_of_a_newer_format_is_refused_and_a_damaged_one_is_named() {
    let folder = that_ran();
    let store = folder.path(".weir/edited/checkpoints");
    let is_object = |path: &std::path::PathBuf| path.extension().is_some_and(|e| e == "ckpt");
    let object = fs::read_dir(&store).unwrap().map(|entry| entry.unwrap().path()).find(is_object).unwrap();
    let bytes = fs::read(&object).unwrap();
    // The tail of an object: bytes of the trailer, version, checksum of the trailer and of these two, magic.
    let tail = bytes.len() - TAIL;
    let mut newer = bytes.clone();
    newer[tail + 4] = 9;
    let trailer = u32::from_le_bytes(bytes[tail..tail + 4].try_into().unwrap()) as usize;
    let checksum = crc32c::crc32c(&newer[tail - trailer..tail + 8]);
    newer[tail + 8..tail + 12].copy_from_slice(&checksum.to_le_bytes());
    fs::write(&object, &newer).unwrap();
    let dump = |code| folder.command(&["state", "dump", "job.yaml"]).expect(code);
    dump(code::START_REFUSED).expect_named(&["has format 9, this build reads up to"]);
    let mut damaged = bytes;
    damaged[3] ^= 1;
    fs::write(&object, &damaged).unwrap();
    let name = object.file_name().unwrap().to_str().unwrap().to_owned();
    dump(code::START_REFUSED).expect_named(&[&name, "is corrupt"]);
}
