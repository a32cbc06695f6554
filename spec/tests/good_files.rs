//! Files that are read, and what they come to.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::path::{Path, PathBuf};

use weir_spec::{ByteSize, Duration, InputRef, Job, Key, Limits, OnError, SinkConnector, SourceConnector, Template};

const FULL: &str = include_str!("good.yaml");

const SMALLEST: &str = "
apiVersion: weir.dev/v1alpha1
kind: StreamJob
metadata: {name: copy}
spec:
  sources: [{id: in, stdin: {}}]
  sinks: [{id: out, inputs: [in], stdout: {}}]
";

#[test]
fn the_full_file_survives_a_round_trip_through_json() {
    let job = weir_spec::parse(FULL, "good.yaml").unwrap();
    let json = serde_json::to_string_pretty(&job).unwrap();
    // JSON is YAML, so the reader takes it as it is.
    assert_eq!(weir_spec::parse(&json, "good.json").unwrap(), job);
    assert_eq!(serde_json::from_str::<Job>(&json).unwrap(), job);
}

#[test]
fn the_full_file_comes_to_what_it_says() {
    let job = weir_spec::parse(FULL, "good.yaml").unwrap();
    assert_eq!(job.checkpoint_path(), PathBuf::from("./state/word-count"));
    assert_eq!(job.spec.checkpoint.dirty_bytes, ByteSize::bytes(1_000_000_000));
    assert_eq!(job.spec.checkpoint.interval, Duration::millis(500));
    assert_eq!(job.spec.runtime.metrics_address.to_string(), "0.0.0.0");
    let [split, count, by_user] = job.spec.operators.as_slice() else { unreachable!() };
    assert_eq!((&split.key, &split.on_error, &split.limits), (&None, &OnError::Skip, &Limits::default()));
    assert_eq!(count.inputs[1], InputRef { id: "split".into(), port: Some("late".into()) });
    assert_eq!(count.key, Some(Key::Record));
    assert_eq!(count.on_error, OnError::DeadLetter("poison".into()));
    assert_eq!(count.limits.fuel, 20_000_000_000);
    let config = serde_json::json!({"top": 10, "weights": [1, 2.5, -3], "nothing": null, "when": "no"});
    assert_eq!(count.config, config);
    assert_eq!((&by_user.key, &by_user.on_error), (&Some(Key::Json("user.id".into())), &OnError::Fail));
    let SourceConnector::Generator(generator) = job.spec.sources[3].connector() else { unreachable!() };
    assert!(matches!(&generator.template, Template::Keyed(keyed) if keyed.keys == 1000 && keyed.value_bytes == 100));
    assert!(matches!(job.spec.sinks[3].connector(), SinkConnector::Blackhole(_)));
}

#[test]
fn what_is_left_out_has_its_documented_default() {
    let job = weir_spec::parse(SMALLEST, "copy.yaml").unwrap();
    assert_eq!(job.spec.shards, 32);
    assert_eq!(job.metadata.namespace, None);
    assert_eq!(job.checkpoint_path(), PathBuf::from(".weir/copy"));
    assert_eq!(
        serde_json::to_value(&job.spec.checkpoint).unwrap(),
        serde_json::json!({"interval": "1s", "dirtyBytes": "64MiB", "outputBytes": "256MiB", "transactionTimeout": "2m"})
    );
    assert_eq!(
        serde_json::to_value(&job.spec.runtime).unwrap(),
        serde_json::json!({
            "memory": "512MiB", "batchRecords": 1024, "batchBytes": "256KiB", "stateBatchBytes": "4MiB",
            "giveUpAfter": "5m", "metricsAddress": "127.0.0.1",
        })
    );
    assert_eq!(
        serde_json::to_value(Limits::default()).unwrap(),
        serde_json::json!({
            "memory": "64MiB", "fuel": 10_000_000_000_u64, "deadline": "10s", "outputRecords": 1_000_000,
            "outputBytes": "64MiB",
        })
    );
}

#[test]
fn properties_reach_the_client_as_text_with_secrets_resolved() {
    let job = weir_spec::parse(&FULL.replace("{file: secrets/key-password}", "{env: PEM}"), "good.yaml").unwrap();
    let SourceConnector::Kafka(kafka) = job.spec.sources[0].connector() else { unreachable!() };
    let resolved = kafka.properties.resolve(|name| Some(format!("<{name}>")), Path::new("")).unwrap();
    let pairs: Vec<_> = resolved.iter().collect();
    assert_eq!(
        pairs,
        [
            ("fetch.min.bytes", "1024"),
            ("sasl.password", "<KAFKA_PASSWORD>"),
            ("sasl.username", "weir"),
            ("security.protocol", "sasl_ssl"),
            ("socket.keepalive.enable", "true"),
            ("ssl.key.location", "/etc/weir/key.pem"),
            ("ssl.key.password", "<PEM>"),
        ]
    );
}

#[test]
fn anchors_and_merge_keys_spare_repetition() {
    let text = FULL
        .replace("brokers: \"localhost:9092,other:9093\"", "brokers: &brokers \"localhost:9092,other:9093\"")
        .replace("{brokers: \"localhost:9092\", topic: counts", "{brokers: *brokers, topic: counts");
    let job = weir_spec::parse(&text, "good.yaml").unwrap();
    let SinkConnector::Kafka(kafka) = job.spec.sinks[0].connector() else { unreachable!() };
    assert_eq!(kafka.brokers, "localhost:9092,other:9093");
}

#[test]
fn a_namespace_is_accepted_and_moves_no_local_state() {
    let named = weir_spec::parse(&SMALLEST.replace("name: copy", "name: copy, namespace: streams"), "copy.yaml").unwrap();
    let plain = weir_spec::parse(SMALLEST, "copy.yaml").unwrap();
    assert_eq!(named.metadata.namespace.as_deref(), Some("streams"));
    assert_eq!(named.checkpoint_path(), plain.checkpoint_path());
    assert_eq!(named.spec, plain.spec);
}

#[test]
fn a_file_is_read_from_its_path() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/good.yaml");
    assert_eq!(weir_spec::read(&path).unwrap(), weir_spec::parse(FULL, "good.yaml").unwrap());
}

#[test]
fn the_checked_in_schema_is_the_one_of_the_types() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("job.schema.json");
    let checked_in = std::fs::read_to_string(&path).unwrap();
    assert!(
        checked_in == format!("{:#}\n", weir_spec::json_schema()),
        "spec/job.schema.json is out of date: cargo run -p weir-spec --example schema > spec/job.schema.json"
    );
}

#[test]
fn the_checked_in_reference_is_the_one_of_the_types() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/job-file.md");
    assert!(
        std::fs::read_to_string(&path).unwrap_or_default() == weir_spec::reference(),
        "docs/job-file.md is out of date: cargo run -p weir-spec --example reference > docs/job-file.md"
    );
}
