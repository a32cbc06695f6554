//! What a Kafka source reads: from where, of which topics, and over which connections.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use weir_tests::broker::{Broker, broker};
use weir_tests::job::Job;
use weir_tests::port;
use weir_tests::records::Record;
use weir_tests::wait;
use weir_tests::weir::{Folder, Run, code};

const DEADLINE: Duration = Duration::from_secs(60);

/// A job that copies what a source reads to a topic.
fn copy(name: &str, source: Value, output: &str) -> Job {
    Job::new(name).source("in", json!({ "kafka": source })).sink("out", &["in"], broker().sink(output))
}

fn source(topics: Value, more: Value) -> Value {
    let mut source = json!({ "brokers": broker().bootstrap() });
    for fields in [topics, more] {
        source.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    }
    source
}

/// Records `0`, `1`, … with those times.
fn numbered(count: i64) -> Vec<Record> {
    (0..count).map(|i| Record { timestamp: 1_000 * (i + 1), ..Record::keyed(i.to_string(), i.to_string()) }).collect()
}

fn values(topic: &str) -> BTreeSet<String> {
    broker().records(topic).iter().map(Record::text).collect()
}

fn range(from: i64, to: i64) -> BTreeSet<String> {
    (from..to).map(|i| i.to_string()).collect()
}

#[test]
fn a_new_run_starts_at_a_time_or_at_offsets_and_a_later_one_where_it_was() {
    let input = broker().topic("start", 1);
    broker().produce(&input, &numbered(10));
    let offsets = |offset: i64| json!({ "offsets": [{ "topic": input, "partition": 0, "offset": offset }] });
    for (name, position, read) in [
        ("timestamp", json!({ "timestamp": 4_000 }), range(3, 10)),
        ("between", json!({ "timestamp": 4_001 }), range(4, 10)),
        ("future", json!({ "timestamp": 99_000 }), range(0, 0)),
        ("offsets", offsets(7), range(7, 10)),
        ("end", offsets(10), range(0, 0)),
        ("elsewhere", json!("earliest"), range(0, 10)),
    ] {
        let output = broker().topic("started", 1);
        let job =
            |position| copy(&format!("start-{name}"), source(json!({ "topics": [input] }), json!({ "startPosition": position })), &output);
        let folder = Folder::new();
        folder.run(&job(position), &["--until-end"], DEADLINE).expect(code::OK);
        assert_eq!(values(&output), read, "{name}");
        folder.run(&job(json!("earliest")), &["--until-end"], DEADLINE).expect(code::OK);
        assert_eq!(values(&output), read, "{name}: a run that goes on took the start position again");
    }
}

#[test]
fn start_offsets_that_are_not_there_are_refused_by_name() {
    let (input, output) = (broker().topic("no-start", 1), broker().topic("not-started", 1));
    broker().produce(&input, &numbered(10));
    for (topic, partition, offset, named) in [
        (input.as_str(), 0, 11, "holds 0 to 10"),
        (input.as_str(), 1, 0, "the source does not read"),
        ("another", 0, 0, "the source does not read"),
    ] {
        let position = json!({ "offsets": [{ "topic": topic, "partition": partition, "offset": offset }] });
        let job = copy("no-start", source(json!({ "topics": [input] }), json!({ "startPosition": position })), &output);
        let outcome = Folder::new().run(&job, &["--until-end"], DEADLINE).expect(code::BAD_JOB);
        outcome.expect_named(&["source in", &format!("{topic}[{partition}]"), named]);
    }
}

fn await_values(run: &mut Run, topic: &str, expected: &BTreeSet<String>) {
    wait::until("all records copied", DEADLINE, || {
        run.assert_running();
        values(topic) == *expected
    });
}

#[test]
fn rule_16_new_partitions_and_new_topics_of_a_pattern_are_read_from_their_first_record() {
    let prefix = broker().topic("shop", 1);
    let output = broker().topic("shops", 1);
    let [first, second, other] = ["a", "b", "c"].map(|end| format!("{prefix}.{end}"));
    broker().create_topic(&first, 1);
    broker().produce(&first, &numbered(5));
    let pattern = json!({ "topicPattern": format!("{prefix}\\.[ab]") });
    let job = copy("pattern", source(pattern, json!({ "discoveryInterval": "1s" })), &output);
    let folder = Folder::new();
    let mut run = folder.start(&job, &[]);
    await_values(&mut run, &output, &range(0, 5));
    broker().add_partitions(&first, 3);
    let more: Vec<Record> = (5..40).map(|i| Record::keyed(i.to_string(), i.to_string())).collect();
    broker().produce(&first, &more);
    await_values(&mut run, &output, &range(0, 40));
    broker().create_topic(&second, 2);
    broker().create_topic(&other, 1);
    let of = |from: i64, to: i64| (from..to).map(|i| Record::keyed(i.to_string(), i.to_string())).collect::<Vec<_>>();
    broker().produce(&second, &of(40, 50));
    broker().produce(&other, &of(900, 910));
    await_values(&mut run, &output, &range(0, 50));
    run.terminate();
    run.wait(DEADLINE).expect(code::OK);
    assert_eq!(broker().records(&output).len(), 50, "records came twice");
}

#[test]
fn a_topic_that_vanishes_under_a_running_job_and_a_pattern_without_a_topic_end_it_by_name() {
    let broker_of_its_own = Broker::start();
    let input = broker_of_its_own.topic("vanishing", 1);
    broker_of_its_own.produce(&input, &numbered(3));
    let job = |topics: Value| {
        let mut source = json!({ "brokers": broker_of_its_own.bootstrap(), "discoveryInterval": "1s" });
        source.as_object_mut().unwrap().extend(topics.as_object().unwrap().clone());
        Job::new("vanishing").source("in", json!({ "kafka": source })).sink("out", &["in"], json!({ "blackhole": {} }))
    };
    let folder = Folder::new();
    let job_of_topic = job(json!({ "topics": [input] }));
    let mut run = folder.start(&job_of_topic, &[]);
    wait::until("all input committed", DEADLINE, || {
        run.assert_running();
        broker_of_its_own.is_at_end(&job_of_topic.group(), &input)
    });
    broker_of_its_own.delete_topic(&input);
    run.wait(DEADLINE).expect(code::WORLD).expect_named(&[&input]);
    let none = Folder::new().run(&job(json!({ "topicPattern": "none-.*" })), &[], DEADLINE).expect(code::WORLD);
    none.expect_named(&["no topic matches the pattern `none-.*`"]);
}

#[test]
fn records_that_retention_took_stop_the_job_or_are_passed_over_as_it_says() {
    for (policy, read) in [
        ("fail", None),
        ("earliest", Some(range(0, 3).into_iter().chain(range(8, 12)).collect::<BTreeSet<_>>())),
        ("latest", Some(range(0, 3))),
    ] {
        let (input, output) = (broker().topic("retained", 1), broker().topic("kept", 1));
        broker().produce(&input, &numbered(3));
        let job =
            copy(&format!("retention-{policy}"), source(json!({ "topics": [input] }), json!({ "onOffsetOutOfRange": policy })), &output);
        let folder = Folder::new();
        folder.run(&job, &["--until-end"], DEADLINE).expect(code::OK);
        let more: Vec<Record> = (3..12).map(|i| Record::keyed(i.to_string(), i.to_string())).collect();
        broker().produce(&input, &more);
        broker().delete_records(&input, 0, 8);
        let code = if read.is_some() { code::OK } else { code::START_REFUSED };
        let outcome = folder.run(&job, &["--until-end"], DEADLINE).expect(code);
        match read {
            Some(read) => {
                outcome.expect_named(&["records are gone that were never read", &input]);
                assert_eq!(values(&output), read, "{policy}");
            }
            None => drop(outcome.expect_named(&[&format!("{input}[0]"), "goes on at offset 3, but the log holds 8 to 12"])),
        }
    }
}

/// A broker with a listener for clients that encrypt and show a password, and where its certificate is.
fn secured(folder: &Path) -> (Broker, String) {
    let tool = |arguments: &[&str]| {
        let output = Command::new("keytool").args(arguments).current_dir(folder).output().expect("keytool, which comes with Java");
        assert!(output.status.success(), "keytool: {}", String::from_utf8_lossy(&output.stdout));
    };
    // The broker's own certificate, and one of somebody else.
    for (name, certificate) in [("broker.p12", "ca.pem"), ("other.p12", "other.pem")] {
        let store = ["-keystore", name, "-storetype", "PKCS12", "-storepass", "changeit", "-alias", "broker"];
        let made = ["-genkeypair", "-keyalg", "RSA", "-keysize", "2048", "-validity", "30", "-dname", "CN=127.0.0.1"];
        tool(&[&made[..], &["-ext", "san=ip:127.0.0.1"], &store].concat());
        tool(&[&["-exportcert", "-rfc", "-file", certificate], &store[..]].concat());
    }
    // The other listeners have ports of kafka.sh's choice.
    let port = port::free();
    let store = folder.join("broker.p12");
    let jaas = "org.apache.kafka.common.security.plain.PlainLoginModule required user_alice=\"wonder-land\";";
    let broker = Broker::with_listener(
        &format!("SASL_SSL://127.0.0.1:{port}"),
        &format!(
            "sasl.enabled.mechanisms=PLAIN\nlistener.name.sasl_ssl.plain.sasl.jaas.config={jaas}\nssl.keystore.location={}\n\
         ssl.keystore.type=PKCS12\nssl.keystore.password=changeit\nssl.client.auth=none\n",
            store.display()
        ),
    );
    (broker, format!("127.0.0.1:{port}"))
}

#[test]
fn a_job_over_sasl_ssl_runs_and_a_wrong_password_or_certificate_is_named_and_not_shown() {
    let folder = Folder::new();
    let (secured, address) = secured(&folder.path(""));
    let (input, output) = (secured.topic("secret-in", 1), secured.topic("secret-out", 1));
    secured.produce(&input, &numbered(20));
    let job = |name: &str, properties: &Value| {
        Job::new(name).source("in", json!({ "kafka": { "brokers": address, "topics": [input], "properties": properties } })).sink(
            "out",
            &["in"],
            json!({ "kafka": { "brokers": address, "topic": output, "properties": properties } }),
        )
    };
    let properties = json!({
        "security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN", "sasl.username": "alice", "sasl.password": { "file": "password" },
        "ssl.ca.location": folder.path("ca.pem"),
    });
    fs::write(folder.path("password"), "wonder-land").unwrap();
    folder.run(&job("secured", &properties), &["--until-end"], DEADLINE).expect(code::OK);
    assert_eq!(secured.records(&output).len(), 20);

    fs::write(folder.path("password"), "looking-glass").unwrap();
    let refused = folder.run(&job("wrong-password", &properties), &["--until-end"], Duration::from_secs(90)).expect(code::WORLD);
    assert!(!refused.stderr.contains("looking-glass"), "the password is shown:\n{}", refused.stderr);
    refused.expect_named(&["authentication failed"]);

    fs::write(folder.path("password"), "wonder-land").unwrap();
    let mut untrusted = properties;
    untrusted["ssl.ca.location"] = json!(folder.path("other.pem"));
    let refused = folder.run(&job("untrusted", &untrusted), &["--until-end"], Duration::from_secs(90)).expect(code::WORLD);
    refused.expect_named(&["authentication failed", "certificate"]);
}
