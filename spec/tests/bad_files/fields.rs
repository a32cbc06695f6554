//! One bad file at least for each field that the other files have none for.

use super::Case;

pub const CASES: &[Case] = &[
    Case {
        name: "labels that are a list",
        edits: &[("metadata: {name: word-count}", "metadata: {name: word-count, labels: [a]}")],
        refusal: r"job.yaml:3:30: metadata.labels: expected a map, found a list",
    },
    Case {
        name: "an annotation that is a number",
        edits: &[("metadata: {name: word-count}", "metadata: {name: word-count, annotations: {a: 1}}")],
        refusal: r"job.yaml:3:44: metadata.annotations.a: expected a string, found an integer
  found: `1`
  help: put the value in quotes",
    },
    Case {
        name: "a checkpoint in no folder",
        edits: &[("interval: 1s", "interval: 1s, path: ''")],
        refusal: r"job.yaml:23:30: spec.checkpoint.path: must not be empty
  help: name a folder, or remove the field",
    },
    Case {
        name: "no room for an answer",
        edits: &[("      inputs: [split]", "      limits: {outputBytes: 0, outputRecords: 0}\n      inputs: [split]")],
        refusal: r"job.yaml:14:16: spec.operators[1].limits.outputBytes: must be at least 1B
  found: `0`
job.yaml:14:32: spec.operators[1].limits.outputRecords: must be at least 1
  found: `0`",
    },
    Case {
        name: "state batches of nothing",
        edits: &[("  checkpoint:", "  runtime: {stateBatchBytes: 1}\n  checkpoint:")],
        refusal: r"job.yaml:23:13: spec.runtime.stateBatchBytes: must be at least 1KiB
  found: `1`",
    },
    Case {
        name: "a file sink of an unknown format",
        edits: &[("format: ndjson", "format: json")],
        refusal: r"job.yaml:22:37: spec.sinks[1].file.format: unknown value `json`
  valid: lines, ndjson, csv",
    },
    Case {
        name: "a sink without a name",
        edits: &[("    - id: counts\n      inputs: [count]\n", "    - id: Counts!\n      inputs: [count]\n")],
        refusal: r"job.yaml:18:7: spec.sinks[0].id: `Counts!` is no valid name
  help: use 1 to 63 lower-case letters, digits and `-`, with a letter or digit at both ends",
    },
    Case {
        name: "a sink without brokers",
        edits: &[("brokers: \"localhost:9092\", topic: counts", "brokers: \"\", topic: counts")],
        refusal: r"job.yaml:20:15: spec.sinks[0].kafka.brokers: `` is no list of brokers
  help: write `host:port`, several joined by commas",
    },
    Case {
        name: "an unknown compression",
        edits: &[("topic: counts}", "topic: counts, compression: brotli}")],
        refusal: r"job.yaml:20:57: spec.sinks[0].kafka.compression: unknown value `brotli`
  valid: none, lz4, zstd, gzip, snappy",
    },
    Case {
        name: "standard output that is a word",
        edits: &[("kafka: {brokers: \"localhost:9092\", topic: counts}", "stdout: yes")],
        refusal: r"job.yaml:20:7: spec.sinks[0].stdout: expected a map, found a string
  found: `yes`",
    },
    Case {
        name: "standard output of an unknown format",
        edits: &[("kafka: {brokers: \"localhost:9092\", topic: counts}", "stdout: {format: xml}")],
        refusal: r"job.yaml:20:16: spec.sinks[0].stdout.format: unknown value `xml`
  valid: lines, ndjson, csv",
    },
    Case {
        name: "a file source without a path",
        edits: &[("kafka: {brokers: \"localhost:9092\", topics: [lines]}", "file: {format: lines}")],
        refusal: r"job.yaml:7:7: spec.sources[0].file.path: missing field `path`
  help: add `path: …`",
    },
    Case {
        name: "a file source of no file",
        edits: &[("kafka: {brokers: \"localhost:9092\", topics: [lines]}", "file: {path: ''}")],
        refusal: r"job.yaml:7:14: spec.sources[0].file.path: must not be empty
  help: name the file to read",
    },
    Case {
        name: "a file source of an unknown format",
        edits: &[("kafka: {brokers: \"localhost:9092\", topics: [lines]}", "file: {path: in, format: parquet}")],
        refusal: r"job.yaml:7:24: spec.sources[0].file.format: unknown value `parquet`
  valid: lines, ndjson, csv",
    },
    Case {
        name: "a generator that counts down",
        edits: &[("kafka: {brokers: \"localhost:9092\", topics: [lines]}", "generator: {template: lines, count: -1, seed: -1}")],
        refusal: r"job.yaml:7:36: spec.sources[0].generator.count: expected a whole number from 0 to 18446744073709551615
  found: `-1`",
    },
    Case {
        name: "a generator with a word for a seed",
        edits: &[("kafka: {brokers: \"localhost:9092\", topics: [lines]}", "generator: {template: lines, seed: random}")],
        refusal: r"job.yaml:7:36: spec.sources[0].generator.seed: expected a whole number from 0 to 18446744073709551615, found a string
  found: `random`",
    },
    Case {
        name: "a source with a bad name",
        edits: &[("    - id: lines\n", "    - id: 'lines and more'\n")],
        refusal: r"job.yaml:6:7: spec.sources[0].id: `lines and more` is no valid name
  help: use 1 to 63 lower-case letters, digits and `-`, with a letter or digit at both ends
job.yaml:11:16: spec.operators[0].inputs[0]: no source or operator has the id `lines`
  valid: lines and more, split, count",
    },
    Case {
        name: "an unknown way out of a lost offset",
        edits: &[("topics: [lines]", "topics: [lines], onOffsetOutOfRange: skip")],
        refusal: r"job.yaml:7:59: spec.sources[0].kafka.onOffsetOutOfRange: unknown value `skip`
  valid: fail, earliest, latest",
    },
    Case {
        name: "standard input of an unknown format",
        edits: &[("kafka: {brokers: \"localhost:9092\", topics: [lines]}", "stdin: {format: avro}")],
        refusal: r"job.yaml:7:15: spec.sources[0].stdin.format: unknown value `avro`
  valid: lines, ndjson, csv",
    },
    Case {
        name: "a sink without a topic",
        edits: &[("\"localhost:9092\", topic: counts}", "\"localhost:9092\"}")],
        refusal: r"job.yaml:20:7: spec.sinks[0].kafka: no topic is named
  help: give it a `topic`, or `topics` with `topicFrom`",
    },
    Case {
        name: "one topic beside several",
        edits: &[("topic: counts}", "topic: counts, topics: [a, b]}")],
        refusal: r"job.yaml:20:42: spec.sinks[0].kafka.topic: stands beside `topics`
  found: `counts`
  help: keep `topic`, or `topics` with `topicFrom`",
    },
    Case {
        name: "one topic to choose from",
        edits: &[("topic: counts}", "topic: counts, topicFrom: {header: to}}")],
        refusal: r"job.yaml:20:42: spec.sinks[0].kafka.topic: stands beside `topicFrom`
  found: `counts`
  help: keep `topic`, or `topics` with `topicFrom`",
    },
    Case {
        name: "topics among which nothing chooses",
        edits: &[("topic: counts}", "topics: [a, b]}")],
        refusal: r"job.yaml:20:42: spec.sinks[0].kafka.topics: no `topicFrom` says how a record chooses among them
  help: add `topicFrom: {header: NAME}` or `{json: FIELD}`, or keep one, as `topic`",
    },
    Case {
        name: "a choice among nothing, by a header without a name",
        edits: &[("topic: counts}", "topicFrom: {header: ''}}")],
        refusal: r"job.yaml:20:7: spec.sinks[0].kafka.topics: must not be empty
  help: name the topics that records may choose
job.yaml:20:54: spec.sinks[0].kafka.topicFrom.header: must not be empty
  help: name a header",
    },
    Case {
        name: "a choice by a JSON field without a name",
        edits: &[("topic: counts}", "topics: [a, a, a b], topicFrom: {json: ''}}")],
        refusal: r"job.yaml:20:54: spec.sinks[0].kafka.topics[1]: `a` stands there twice
  help: name each topic once
job.yaml:20:57: spec.sinks[0].kafka.topics[2]: `a b` is no topic name
  help: use 1 to 249 letters, digits, `.`, `_` and `-`
job.yaml:20:75: spec.sinks[0].kafka.topicFrom.json: must not be empty
  help: name a field of a JSON value",
    },
    Case {
        name: "a choice by an unknown place",
        edits: &[("topic: counts}", "topics: [a], topicFrom: {key: x}}")],
        refusal: r"job.yaml:20:55: spec.sinks[0].kafka.topicFrom: unknown value `key`
  valid: header, json",
    },
    Case {
        name: "CSV files without columns",
        edits: &[
            ("kafka: {brokers: \"localhost:9092\", topics: [lines]}", "file: {path: in, format: {csv: {header: false}}}"),
            ("kafka: {brokers: \"localhost:9092\", topic: counts}", "file: {path: out, format: {csv: {}}}"),
        ],
        refusal: r"job.yaml:7:33: spec.sources[0].file.format.csv.columns: must not be empty
  help: name the columns, or let the first row do it, by `header: true`
job.yaml:20:34: spec.sinks[0].file.format.csv.columns: must not be empty
  help: name the columns to write",
    },
    Case {
        name: "CSV files with a column twice and no delimiter",
        edits: &[
            (
                "kafka: {brokers: \"localhost:9092\", topics: [lines]}",
                "file: {path: in, format: {csv: {columns: [a, a], delimiter: \"\"}}}",
            ),
            ("kafka: {brokers: \"localhost:9092\", topic: counts}", "file: {path: out, format: {csv: {columns: [a], delimiter: ab}}}"),
        ],
        refusal: r"job.yaml:7:52: spec.sources[0].file.format.csv.columns[1]: `a` stands there twice
  help: name each column once
job.yaml:7:56: spec.sources[0].file.format.csv.delimiter: `` is no delimiter
  help: use one ASCII character, such as `,`, `;` or a tab, and no quote or line feed
job.yaml:20:54: spec.sinks[0].file.format.csv.delimiter: `ab` is no delimiter
  help: use one ASCII character, such as `,`, `;` or a tab, and no quote or line feed",
    },
    Case {
        name: "a CSV source of files with a word for a header",
        edits: &[("kafka: {brokers: \"localhost:9092\", topics: [lines]}", "file: {path: in, format: {csv: {header: maybe}}}")],
        refusal: r"job.yaml:7:39: spec.sources[0].file.format.csv.header: expected a boolean, found a string
  found: `maybe`",
    },
    Case {
        name: "a CSV sink of files with a word for a header",
        edits: &[("kafka: {brokers: \"localhost:9092\", topic: counts}", "file: {path: out, format: {csv: {header: maybe}}}")],
        refusal: r"job.yaml:20:40: spec.sinks[0].file.format.csv.header: expected a boolean, found a string
  found: `maybe`",
    },
    Case {
        name: "CSV streams without columns",
        edits: &[
            ("kafka: {brokers: \"localhost:9092\", topics: [lines]}", "stdin: {format: {csv: {header: false}}}"),
            ("kafka: {brokers: \"localhost:9092\", topic: counts}", "stdout: {format: {csv: {}}}"),
        ],
        refusal: r"job.yaml:7:24: spec.sources[0].stdin.format.csv.columns: must not be empty
  help: name the columns, or let the first row do it, by `header: true`
job.yaml:20:25: spec.sinks[0].stdout.format.csv.columns: must not be empty
  help: name the columns to write",
    },
    Case {
        name: "CSV streams with a column twice and no delimiter",
        edits: &[
            ("kafka: {brokers: \"localhost:9092\", topics: [lines]}", "stdin: {format: {csv: {columns: [a, a], delimiter: \"\"}}}"),
            ("kafka: {brokers: \"localhost:9092\", topic: counts}", "stdout: {format: {csv: {columns: [a], delimiter: ab}}}"),
        ],
        refusal: r"job.yaml:7:43: spec.sources[0].stdin.format.csv.columns[1]: `a` stands there twice
  help: name each column once
job.yaml:7:47: spec.sources[0].stdin.format.csv.delimiter: `` is no delimiter
  help: use one ASCII character, such as `,`, `;` or a tab, and no quote or line feed
job.yaml:20:45: spec.sinks[0].stdout.format.csv.delimiter: `ab` is no delimiter
  help: use one ASCII character, such as `,`, `;` or a tab, and no quote or line feed",
    },
    Case {
        name: "a CSV source of streams with a word for a header",
        edits: &[("kafka: {brokers: \"localhost:9092\", topics: [lines]}", "stdin: {format: {csv: {header: maybe}}}")],
        refusal: r"job.yaml:7:30: spec.sources[0].stdin.format.csv.header: expected a boolean, found a string
  found: `maybe`",
    },
    Case {
        name: "a CSV sink of streams with a word for a header",
        edits: &[("kafka: {brokers: \"localhost:9092\", topic: counts}", "stdout: {format: {csv: {header: maybe}}}")],
        refusal: r"job.yaml:20:31: spec.sinks[0].stdout.format.csv.header: expected a boolean, found a string
  found: `maybe`",
    },
    Case {
        name: "dead letters as CSV",
        edits: &[("format: ndjson", "format: {csv: {columns: [a]}}")],
        refusal: r"job.yaml:16:17: spec.operators[1].onError.deadLetter: `poison` writes CSV, and the value of a dead letter may be anything
  help: send dead letters to a sink with `format: ndjson`",
    },
];
