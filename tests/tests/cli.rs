//! The commands beside `weir run`, and what must not be seen in any of them: secrets.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use weir_tests::broker::broker;
use weir_tests::guests;
use weir_tests::job::{Job, operator};
use weir_tests::records::Record;
use weir_tests::wait;
use weir_tests::weir::{Folder, code};

const DEADLINE: Duration = Duration::from_secs(60);

#[test]
fn inspect_shows_function_declarations_imports_size_and_digest() {
    let folder = Folder::new();
    let shown = folder.command(&["inspect", &guests::component("log-parse")]).expect(code::OK).text();
    let size = fs::metadata(guests::component("log-parse")).unwrap().len();
    for named in [
        "component of log-parse: transform-function",
        "ports    unparsed",
        "lines_warn",
        "weir:operator/declare@0.1.0",
        &format!("size     {size} bytes"),
        "digest   sha256:",
    ] {
        assert!(shown.contains(named), "{named}: {shown}");
    }
    let config = r#"{"pattern": "("}"#;
    let refused = folder.command(&["inspect", &guests::component("log-parse"), "--config", config]).expect(code::BAD_JOB);
    refused.expect_named(&["config: pattern"]);
    folder.command(&["inspect", "absent.wasm"]).expect(code::BAD_JOB).expect_named(&["absent.wasm"]);
    fs::write(folder.path("text.wasm"), "no component").unwrap();
    folder.command(&["inspect", "text.wasm"]).expect(code::BAD_JOB).expect_named(&["text.wasm", "it is no WebAssembly file"]);
    fs::write(folder.path("core.wasm"), b"\0asm\x01\0\0\0").unwrap();
    folder.command(&["inspect", "core.wasm"]).expect(code::BAD_JOB).expect_named(&["core.wasm", "it is a core module", "wasm32-wasip2"]);
}

#[test]
fn what_is_not_there_is_named_with_a_way_out() {
    let folder = Folder::new();
    let job = Job::new("absent")
        .source("in", json!({ "file": { "path": "in.txt", "format": "lines" } }))
        .operator(json!({ "id": "copy", "component": "absent.wasm", "inputs": ["in"] }))
        .sink("out", &["copy"], json!({ "blackhole": {} }));
    fs::write(folder.path("job.yaml"), job.text()).unwrap();
    for (arguments, status, named) in [
        (&["run", "absent.yaml"][..], code::BAD_JOB, &["absent.yaml"][..]),
        (&["check", "job.yaml"], code::BAD_JOB, &["operator copy", "absent.wasm", "build it", "the job file's folder"]),
        (&["state", "list", "absent.yaml"], code::BAD_JOB, &["absent.yaml"]),
        (&["state", "list", "job.yaml"], code::WORLD, &["no checkpoint", "has not committed"]),
        (&["topics", "--brokers", "localhost:1", "list"], code::WORLD, &["localhost:1", "--brokers"]),
    ] {
        folder.command(arguments).expect(status).expect_named(named);
    }
}

#[test]
fn a_run_that_finds_nothing_new_says_how_to_begin_anew() {
    let folder = Folder::new();
    fs::write(folder.path("in.txt"), "a\nb\n").unwrap();
    let job = Job::new("twice").source("in", json!({ "file": { "path": "in.txt", "format": "lines" } })).sink(
        "out",
        &["in"],
        json!({ "stdout": { "format": "lines" } }),
    );
    let first = folder.run(&job, &[], DEADLINE).expect(code::OK);
    assert!(!first.stderr.contains("--fresh"), "{}", first.stderr);
    let second = folder.run(&job, &[], DEADLINE).expect(code::OK).expect_named(&["nothing new", "--fresh"]);
    assert_eq!((first.text(), second.text()), ("a\nb\n".into(), String::new()));
    assert_eq!(folder.run(&job, &["--fresh"], DEADLINE).expect(code::OK).text(), "a\nb\n");
}

#[test]
fn completions_name_every_command() {
    let folder = Folder::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = folder.command(&["completions", shell]).expect(code::OK).text();
        for command in ["run", "check", "state", "inspect", "topics", "completions", "until-end"] {
            assert!(script.contains(command), "{shell}: {command}");
        }
    }
}

#[test]
fn check_refuses_a_component_whose_imports_are_not_granted() {
    let folder = Folder::new();
    let mut bytes = fs::read(guests::component("passthrough")).unwrap();
    let (name, by) = (&b"wasi:cli/environment"[..], &b"evil:cli/environment"[..]);
    let places: Vec<usize> = (0..bytes.len() - name.len()).filter(|at| bytes[*at..].starts_with(name)).collect();
    places.iter().for_each(|at| bytes[*at..at + by.len()].copy_from_slice(by));
    fs::write(folder.path("forged.wasm"), bytes).unwrap();
    let job = Job::new("forged")
        .source("in", json!({ "generator": { "template": "sequence" } }))
        .operator(json!({ "id": "forged", "component": "forged.wasm", "inputs": ["in"] }))
        .sink("out", &["forged"], json!({ "blackhole": {} }));
    fs::write(folder.path("job.yaml"), job.text()).unwrap();
    folder.command(&["check", "job.yaml"]).expect(code::BAD_JOB).expect_named(&["operator forged", "evil:cli/environment"]);
}

/// What no output may hold, and no file that a job writes.
const CANARY: &str = "canary-kFq7-secret";

/// A job whose clients have a password by reference: the broker asks for none, so they connect all the same.
fn with_secrets(name: &str, input: &str, output: &str, folder: &Folder) -> Job {
    fs::write(folder.path("password"), format!("{CANARY}\n")).unwrap();
    let by_file = json!({ "sasl.password": { "file": "password" }, "ssl.key.password": { "env": "CANARY" } });
    let source = json!({ "kafka": { "brokers": broker().bootstrap(), "topics": [input], "properties": by_file } });
    let sink =
        json!({ "kafka": { "brokers": broker().bootstrap(), "topic": output, "properties": { "sasl.password": { "env": "CANARY" } } } });
    Job::new(name)
        .source("in", source)
        .operator(operator("poison", "poison", "in", json!({ "key": "record", "onError": { "deadLetter": "letters" } })))
        .sink("out", &["poison"], sink)
        .sink("letters", &[], json!({ "file": { "path": "letters.ndjson", "format": "ndjson" } }))
        .runtime(json!({ "metricsPort": 0 }))
}

fn assert_no_canary(what: &str, bytes: &[u8]) {
    let found = bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes());
    assert!(!found, "the secret stands in {what}:\n{}", String::from_utf8_lossy(bytes));
}

fn assert_no_canary_below(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => assert_no_canary_below(&path),
            false if path.ends_with("password") => {}
            false => assert_no_canary(&path.display().to_string(), &fs::read(&path).unwrap()),
        }
    }
}

#[test]
fn a_secret_is_in_no_log_check_metric_error_dead_letter_or_state() {
    let (input, output) = (broker().topic("canary-in", 1), broker().topic("canary-out", 1));
    let mut records: Vec<Record> = (0..100).map(|i| Record::keyed(format!("key-{i}"), "")).collect();
    records.push(Record::keyed("key", "poison"));
    broker().produce(&input, &records);
    let folder = Folder::new().with_variable("CANARY", CANARY);
    let job = with_secrets("canary", &input, &output, &folder);
    let mut run = folder.start(&job, &["--log", "trace"]);
    wait::until("all input committed", DEADLINE, || {
        run.assert_running();
        broker().is_at_end(&job.group(), &input)
    });
    assert_no_canary("the metrics", run.get("/metrics").1.as_bytes());
    run.terminate();
    run.wait(DEADLINE).expect(code::OK);
    for format in ["text", "mermaid", "json"] {
        let checked = folder.command(&["check", "job.yaml", "--format", format]).expect(code::OK);
        assert_no_canary("the check", checked.stdout.as_slice());
    }
    let listed = folder.command(&["state", "list", "job.yaml"]).expect(code::OK);
    assert_no_canary("the list of states", &listed.stdout);

    // Errors that are about a client with the secret, and about the secret itself.
    let mut unreachable = with_secrets("canary-unreachable", &input, "no-such-topic", &folder).text();
    unreachable = unreachable.replace("no-such-topic", "no-such-topic-at-all");
    fs::write(folder.path("unreachable.yaml"), unreachable).unwrap();
    let refused = folder.command(&["run", "unreachable.yaml", "--until-end", "--log", "trace"]).expect(code::WORLD);
    assert_no_canary("an error", refused.stderr.as_bytes());
    let mechanism = with_secrets("canary-mechanism", &input, &output, &folder).text();
    let mechanism = mechanism.replace("\"sasl.password\"", "\"sasl.mechanism\": \"NONSENSE\", \"sasl.password\"");
    fs::write(folder.path("mechanism.yaml"), mechanism).unwrap();
    let refused = folder.command(&["run", "mechanism.yaml", "--until-end", "--log", "trace"]);
    assert_ne!(refused.status.code(), Some(code::OK));
    assert_no_canary("an error of the configuration", refused.stderr.as_bytes());
    assert_no_canary_below(&folder.path(""));
    let letters = fs::read_to_string(folder.path("letters.ndjson")).unwrap();
    assert!(letters.contains("poison"), "{letters}");
    // The test can fail: the secret is where it was put.
    assert!(fs::read_to_string(folder.path("password")).unwrap().contains(CANARY));
}
