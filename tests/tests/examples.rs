//! The shipped job files of the examples do what their READMEs say.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use weir_tests::weir::{Folder, Outcome, code};

const DEADLINE: Duration = Duration::from_secs(60);

/// Runs a shipped job file on a copy of its folder, so that what it writes goes away with it.
fn run(example: &str) -> (Folder, Outcome) {
    let folder = Folder::new();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest-examples").canonicalize().unwrap();
    std::os::unix::fs::symlink(examples.join("bin"), folder.path("bin")).unwrap();
    fs::create_dir(folder.path(example)).unwrap();
    for entry in fs::read_dir(examples.join(example)).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), folder.path(example).join(entry.file_name())).unwrap();
        }
    }
    let outcome = folder.run_file(&folder.path(example).join("job.yaml"), &[], DEADLINE).expect(code::OK);
    (folder, outcome)
}

fn read(folder: &Folder, file: &str) -> String {
    fs::read_to_string(folder.path(file)).unwrap()
}

#[test]
fn enrich_and_branch_writes_a_file_for_each_region() {
    let (folder, _) = run("enrich-and-branch");
    let out = |name: &str| read(&folder, &format!("enrich-and-branch/out/{name}"));
    let europe = r#"{"id":"o-1","country":"DE","region":"europe","items":2,"cents":9998,"class":"small"}"#;
    assert_eq!(out("europe.txt"), format!("o-1\t{europe}\n"));
    assert!(out("americas.txt").contains(r#""class":"large""#));
    assert!(out("elsewhere.txt").contains(r#""region":null"#));
    let invalid = out("invalid.ndjson");
    assert!(invalid.lines().count() == 2 && invalid.contains("no piece of lamp is ordered"), "{invalid}");
}

#[test]
fn fraud_velocity_raises_one_alert_of_each_kind() {
    let (_, outcome) = run("fraud-velocity");
    let expected = "card-1\t{\"rule\":\"velocity\",\"merchant\":\"games\",\"cents\":1100,\"before\":2}\n\
                    card-1\t{\"rule\":\"jump\",\"merchant\":\"jewels\",\"cents\":99000,\"before\":0}\n";
    assert_eq!(String::from_utf8(outcome.stdout).unwrap(), expected);
}

#[test]
fn log_parse_writes_json_and_keeps_what_it_cannot_parse() {
    let (folder, _) = run("log-parse");
    let parsed = read(&folder, "log-parse/out/parsed.jsonl");
    let first = r#"{"component":"checkout","level":"INFO","message":"order o-1 placed","time":"2026-11-27T10:00:00Z"}"#;
    assert_eq!((parsed.lines().count(), parsed.lines().next()), (3, Some(first)));
    assert_eq!(read(&folder, "log-parse/out/unparsed.txt"), "    at com.shop.Stock.take(Stock.java:17)\n");
}
