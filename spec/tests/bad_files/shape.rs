//! Fields and values that the document's types do not have.

use super::Case;

pub const CASES: &[Case] = &[
    Case {
        name: "a misspelt field",
        edits: &[("onError:", "onErrr:")],
        refusal: r"job.yaml:16:7: spec.operators[1].onErrr: unknown field `onErrr`, did you mean `onError`?
  valid: id, component, inputs, key, config, onError, limits
  help: use one of the valid fields, or remove this one",
    },
    Case {
        name: "a field in snake case",
        edits: &[("topics: [lines]", "topics: [lines], start_position: latest")],
        refusal: r"job.yaml:7:59: spec.sources[0].kafka.start_position: unknown field `start_position`, did you mean `startPosition`?
  found: `latest`
  valid: brokers, topics, topicPattern, startPosition, discoveryInterval, onOffsetOutOfRange, properties
  help: use one of the valid fields, or remove this one",
    },
    Case {
        name: "an unknown field that is near nothing",
        edits: &[("  checkpoint:", "  replicas: 3\n  checkpoint:")],
        refusal: r"job.yaml:23:3: spec.replicas: unknown field `replicas`
  found: `3`
  valid: shards, sources, operators, sinks, checkpoint, runtime
  help: use one of the valid fields, or remove this one",
    },
    Case {
        name: "an unknown field at the root",
        edits: &[("kind: StreamJob", "kind: StreamJob\nstatus: {}")],
        refusal: r"job.yaml:3:1: status: unknown field `status`
  valid: apiVersion, kind, metadata, spec
  help: use one of the valid fields, or remove this one",
    },
    Case {
        name: "a field where none can be",
        edits: &[(r#"kafka: {brokers: "localhost:9092", topic: counts}"#, "blackhole: {format: lines}")],
        refusal: r"job.yaml:20:19: spec.sinks[0].blackhole.format: unknown field `format`
  found: `lines`
  help: remove it: nothing can be set here",
    },
    Case {
        name: "a missing field",
        edits: &[("      component: ./count.wasm\n", "")],
        refusal: r"job.yaml:12:7: spec.operators[1].component: missing field `component`
  help: add `component: …`",
    },
    Case {
        name: "a missing section",
        edits: &[("metadata: {name: word-count}\n", "")],
        refusal: r"job.yaml:1:1: metadata: missing field `metadata`
  help: add `metadata: …`",
    },
    Case {
        name: "a delivery that there is not",
        edits: &[("topic: counts}", "topic: counts, delivery: exactlyOnce}")],
        refusal: r"job.yaml:20:57: spec.sinks[0].kafka.delivery: unknown value `exactlyOnce`, did you mean `exactly-once`?
  valid: exactly-once, at-least-once",
    },
    Case {
        name: "a time without a unit",
        edits: &[("  checkpoint:", "  runtime: {giveUpAfter: 5}\n  checkpoint:")],
        refusal: r"job.yaml:23:13: spec.runtime.giveUpAfter: expected a duration with a unit, such as 500ms or 10s, found an integer
  found: `5`",
    },
    Case {
        name: "another version",
        edits: &[("v1alpha1", "v1")],
        refusal: r"job.yaml:1:1: apiVersion: unknown value `weir.dev/v1`
  valid: weir.dev/v1alpha1",
    },
    Case {
        name: "another kind",
        edits: &[("StreamJob", "Deployment")],
        refusal: r"job.yaml:2:1: kind: unknown value `Deployment`
  valid: StreamJob",
    },
    Case {
        name: "a string for a number",
        edits: &[("spec:\n", "spec:\n  shards: many\n")],
        refusal: r"job.yaml:5:3: spec.shards: expected a whole number from 0 to 4294967295, found a string
  found: `many`",
    },
    Case {
        name: "a negative number",
        edits: &[("spec:\n", "spec:\n  shards: -1\n")],
        refusal: r"job.yaml:5:3: spec.shards: expected a whole number from 0 to 4294967295
  found: `-1`",
    },
    Case {
        name: "a number beyond its type",
        edits: &[("  checkpoint:", "  runtime: {metricsPort: 70000}\n  checkpoint:")],
        refusal: r"job.yaml:23:13: spec.runtime.metricsPort: expected a whole number from 0 to 65535
  found: `70000`",
    },
    Case {
        name: "a number for a string",
        edits: &[("topic: counts", "topic: 42")],
        refusal: r"job.yaml:20:42: spec.sinks[0].kafka.topic: expected a string, found an integer
  found: `42`
  help: put the value in quotes",
    },
    Case {
        name: "a string for a list",
        edits: &[("inputs: [split]", "inputs: split")],
        refusal: r"job.yaml:14:7: spec.operators[1].inputs: expected a list, found a string
  found: `split`",
    },
    Case {
        name: "a section left empty",
        edits: &[("interval: 1s", "interval:")],
        refusal: r"job.yaml:23:16: spec.checkpoint.interval: expected a duration with a unit, such as 500ms or 10s, found nothing
  help: give it a value, or remove the field",
    },
    Case {
        name: "a section with nothing in it",
        edits: &[("checkpoint: {interval: 1s}", "checkpoint:")],
        refusal: r"job.yaml:23:3: spec.checkpoint: expected a map, found nothing
  help: give it a value, or remove the field",
    },
    Case {
        name: "a list for a map",
        edits: &[("{interval: 1s}", "[1s]")],
        refusal: "job.yaml:23:3: spec.checkpoint: expected a map, found a list",
    },
    Case {
        name: "a duration without a unit",
        edits: &[("interval: 1s", "interval: 1000")],
        refusal: r"job.yaml:23:16: spec.checkpoint.interval: expected a duration with a unit, such as 500ms or 10s, found an integer
  found: `1000`",
    },
    Case {
        name: "a duration with a strange unit",
        edits: &[("interval: 1s", "interval: 1min")],
        refusal: r"job.yaml:23:16: spec.checkpoint.interval: not a duration: write a whole number with a unit (ms, s, m, h), such as 500ms or 10s
  found: `1min`",
    },
    Case {
        name: "a size with a strange unit",
        edits: &[("interval: 1s", "dirtyBytes: 64Mb")],
        refusal: r"job.yaml:23:16: spec.checkpoint.dirtyBytes: not a size: write a whole number with a unit (B, KiB, MiB, GiB, TiB, kB, MB, GB, TB), such as 64MiB, or a plain number of bytes
  found: `64Mb`",
    },
    Case {
        name: "a size that is too large",
        edits: &[("interval: 1s", "dirtyBytes: 99999999TiB")],
        refusal: r"job.yaml:23:16: spec.checkpoint.dirtyBytes: too large: the most is 2^64 - 1 of the smallest unit
  found: `99999999TiB`",
    },
    Case {
        name: "a negative size",
        edits: &[("interval: 1s", "dirtyBytes: -5")],
        refusal: r"job.yaml:23:16: spec.checkpoint.dirtyBytes: expected a size such as 64MiB, found an integer
  found: `-5`",
    },
    Case {
        name: "an unknown choice",
        edits: &[("topics: [lines]", "topics: [lines], startPosition: latests")],
        refusal: r"job.yaml:7:59: spec.sources[0].kafka.startPosition: unknown value `latests`, did you mean `latest`?
  valid: earliest, latest, timestamp, offsets",
    },
    Case {
        name: "an unknown choice with a value",
        edits: &[("{deadLetter: poison}", "{deadLeter: poison}")],
        refusal: r"job.yaml:16:7: spec.operators[1].onError: unknown value `deadLeter`, did you mean `deadLetter`?
  valid: fail, skip, deadLetter",
    },
    Case {
        name: "a choice without its value",
        edits: &[("{deadLetter: poison}", "deadLetter")],
        refusal: r"job.yaml:16:7: spec.operators[1].onError: `deadLetter` needs a value
  help: write `{deadLetter: …}`",
    },
    Case {
        name: "a choice with a value too many",
        edits: &[("key: record", "key: {record: id}")],
        refusal: r"job.yaml:15:7: spec.operators[1].key: `record` takes no value
  help: write `record` alone, without braces or colon",
    },
    Case {
        name: "two choices at once",
        edits: &[("{deadLetter: poison}", "{deadLetter: poison, skip: true}")],
        refusal: r"job.yaml:16:7: spec.operators[1].onError: expected exactly one of the valid names in this map
  valid: fail, skip, deadLetter",
    },
    Case {
        name: "a number for a choice",
        edits: &[("key: record", "key: 5")],
        refusal: r"job.yaml:15:7: spec.operators[1].key: expected one of the valid names
  found: `5`
  valid: record, json",
    },
    Case {
        name: "an address that is none",
        edits: &[("  checkpoint:", "  runtime: {metricsAddress: localhost}\n  checkpoint:")],
        refusal: r"job.yaml:23:13: spec.runtime.metricsAddress: invalid IP address syntax
  found: `localhost`",
    },
    Case {
        name: "a property with a fraction",
        edits: &[("topic: counts", "topic: counts, properties: {linger.ms: 0.5}")],
        refusal: r#"job.yaml:20:70: spec.sinks[0].kafka.properties["linger.ms"]: expected a string, an integer, true or false, {env: NAME} or {file: PATH}, found a number with a fraction
  help: put the value in quotes"#,
    },
    Case {
        name: "a reference to a secret that is misspelt",
        edits: &[("topic: counts", "topic: counts, properties: {sasl.password: {evn: PASSWORD}}")],
        refusal: r#"job.yaml:20:70: spec.sinks[0].kafka.properties["sasl.password"]: unknown value `evn`, did you mean `env`?
  valid: env, file"#,
    },
    Case {
        name: "a secret in a misspelt place",
        edits: &[("topic: counts", "topic: counts, sasl.password: hunter2")],
        refusal: r#"job.yaml:20:57: spec.sinks[0].kafka["sasl.password"]: unknown field `sasl.password`
  valid: brokers, topic, topics, topicFrom, delivery, compression, properties
  help: use one of the valid fields, or remove this one"#,
    },
];
