//! CSV in and out.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::time::Duration;

use serde_json::json;
use weir_tests::job::{Job, operator};
use weir_tests::weir::{Folder, code};

const DEADLINE: Duration = Duration::from_secs(60);

fn row(i: usize) -> String {
    let name = if i.is_multiple_of(3) { format!("\"line of \"\"{i}\"\"\r\nand the next\"") } else { format!("name {i}") };
    format!("key-{},{name},{i}\r\n", i % 7)
}

/// From a file to a file, through two functions that together copy.
fn copy(input: serde_json::Value, workers: usize) -> Job {
    Job::new("csv")
        .source("in", input)
        .operator(operator("flip", "passthrough", "in", json!({})))
        .operator(operator("copy", "passthrough", "flip", json!({})))
        .sink(
            "out",
            &["copy"],
            json!({ "file": { "path": "out.csv", "format": { "csv": { "columns": ["n", "name"], "delimiter": ";" } } } }),
        )
        .runtime(json!({ "workers": workers }))
}

#[test]
fn rows_are_read_and_written_once_also_when_the_file_grows_between_runs() {
    for workers in [1, 4] {
        let folder = Folder::new();
        let mut input = OpenOptions::new().create(true).append(true).open(folder.path("in.csv")).unwrap();
        input.write_all(b"key,name,n\r\n").unwrap();
        let job = copy(json!({ "file": { "path": "in.csv", "format": { "csv": {} } } }), workers);
        let mut expected = "n;name\n".to_owned();
        for run in 0..3 {
            for i in run * 50..(run + 1) * 50 {
                input.write_all(row(i).as_bytes()).unwrap();
                let name = row(i).trim_end().split_once(',').unwrap().1.rsplit_once(',').unwrap().0.to_owned();
                expected += &format!("{i};{name}\n");
            }
            folder.run(&job, &[], DEADLINE).expect(code::OK);
            assert_eq!(fs::read_to_string(folder.path("out.csv")).unwrap(), expected, "run {run} with {workers} workers");
        }
    }
}

#[test]
fn a_row_that_is_no_record_and_a_value_that_is_no_row_are_named() {
    let folder = Folder::new();
    fs::write(folder.path("in.csv"), "key,name,n\nk,\"two\nlines\",1\nk,2\n").unwrap();
    let refused = folder.run(&copy(json!({ "file": { "path": "in.csv", "format": { "csv": {} } } }), 1), &[], DEADLINE);
    refused.expect(code::BAD_JOB).expect_named(&["in.csv: line 4", "it has 2 fields, and there are 3 columns"]);
    let folder = Folder::new();
    fs::write(folder.path("in.txt"), "no object\n").unwrap();
    let refused = folder.run(&copy(json!({ "file": { "path": "in.txt" } }), 1), &[], DEADLINE);
    refused.expect(code::WORLD).expect_named(&["out.csv", "a CSV sink takes JSON objects"]);
}
