//! Jobs of the right shape that mean nothing, or nothing good.

use super::Case;

pub const CASES: &[Case] = &[
    Case {
        name: "a name that is no DNS label",
        edits: &[("name: word-count", "name: Word_Count")],
        refusal: r"job.yaml:3:12: metadata.name: `Word_Count` is no valid name
  help: use 1 to 63 lower-case letters, digits and `-`, with a letter or digit at both ends",
    },
    Case {
        name: "a namespace that is no DNS label",
        edits: &[("{name: word-count}", "{name: word-count, namespace: Streams}")],
        refusal: r"job.yaml:3:30: metadata.namespace: `Streams` is no valid name
  help: use 1 to 63 lower-case letters, digits and `-`, with a letter or digit at both ends",
    },
    Case {
        name: "a name that is too long",
        edits: &[("name: word-count", "name: wwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwww")],
        refusal: r"job.yaml:3:12: metadata.name: `wwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwww` is no valid name
  help: use 1 to 63 lower-case letters, digits and `-`, with a letter or digit at both ends",
    },
    Case {
        name: "too many shards",
        edits: &[("spec:\n", "spec:\n  shards: 5000\n")],
        refusal: r"job.yaml:5:3: spec.shards: must be from 1 to 4096
  found: `5000`",
    },
    Case {
        name: "neither source nor sink",
        edits: &[
            ("  sources:\n    - id: lines\n      kafka: {brokers: \"localhost:9092\", topics: [lines]}\n", "  sources: []\n"),
            ("inputs: [lines]", "inputs: [old]"),
            (
                "  sinks:\n    - id: counts\n      inputs: [count]\n      kafka: {brokers: \"localhost:9092\", topic: counts}\n    - id: poison\n      file: {path: ./poison.ndjson, format: ndjson}\n",
                "  sinks: []\n",
            ),
            ("      onError: {deadLetter: poison}\n", ""),
        ],
        refusal: r"job.yaml:5:3: spec.sources: must not be empty
  help: add a source: a job reads from somewhere
job.yaml:9:16: spec.operators[0].inputs[0]: no source or operator has the id `old`
  valid: split, count
job.yaml:14:3: spec.sinks: must not be empty
  help: add a sink; `blackhole: {}` drops what reaches it",
    },
    Case {
        name: "no connector",
        edits: &[("      kafka: {brokers: \"localhost:9092\", topics: [lines]}\n", "")],
        refusal: r"job.yaml:6:7: spec.sources[0]: `lines` has no connector
  valid: kafka, file, stdin, generator
  help: add exactly one of the valid fields",
    },
    Case {
        name: "two connectors",
        edits: &[("      file: {path", "      stdout: {}\n      file: {path")],
        refusal: r"job.yaml:21:7: spec.sinks[1]: `poison` has 2 connectors: file, stdout
  help: keep exactly one of them",
    },
    Case {
        name: "brokers without a host",
        edits: &[(r#""localhost:9092", topics"#, r#""localhost:9092,:9093", topics"#)],
        refusal: r"job.yaml:7:15: spec.sources[0].kafka.brokers: `localhost:9092,:9093` is no list of brokers
  help: write `host:port`, several joined by commas",
    },
    Case {
        name: "no topics",
        edits: &[("topics: [lines]", "topics: []")],
        refusal: r"job.yaml:7:42: spec.sources[0].kafka.topics: must not be empty
  help: name at least one topic, or give a `topicPattern`",
    },
    Case {
        name: "a pattern that is none, beside topics",
        edits: &[("topics: [lines]", "topics: [lines], topicPattern: '('")],
        refusal: r"job.yaml:7:59: spec.sources[0].kafka.topicPattern: stands beside `topics`
  found: `(`
  help: keep one of them; a pattern can name topics too: `orders|payments`
job.yaml:7:59: spec.sources[0].kafka.topicPattern: `(` is no regular expression: found open group without closing ')'
  help: write one that matches whole names, such as `orders-.*`",
    },
    Case {
        name: "a start before all time, and at no offset",
        edits: &[("topics: [lines]", "topics: [lines], startPosition: {timestamp: -1}, discoveryInterval: 10ms")],
        refusal: r"job.yaml:7:75: spec.sources[0].kafka.startPosition.timestamp: must be at least 0
  found: `-1`
job.yaml:7:91: spec.sources[0].kafka.discoveryInterval: must be from 1s to 1h
  found: `10ms`",
    },
    Case {
        name: "start offsets that there cannot be",
        edits: &[("topics: [lines]", "topics: [lines], startPosition: {offsets: [{topic: 'a b', partition: -1, offset: -2}]}")],
        refusal: r"job.yaml:7:86: spec.sources[0].kafka.startPosition.offsets[0].topic: `a b` is no topic name
  help: use 1 to 249 letters, digits, `.`, `_` and `-`
job.yaml:7:100: spec.sources[0].kafka.startPosition.offsets[0].partition: must be at least 0
  found: `-1`
job.yaml:7:115: spec.sources[0].kafka.startPosition.offsets[0].offset: must be at least 0
  found: `-2`",
    },
    Case {
        name: "a topic that Kafka refuses",
        edits: &[("topic: counts", "topic: word counts")],
        refusal: r"job.yaml:20:42: spec.sinks[0].kafka.topic: `word counts` is no topic name
  help: use 1 to 249 letters, digits, `.`, `_` and `-`",
    },
    Case {
        name: "a topic read twice",
        edits: &[
            ("  operators:", "    - id: again\n      kafka: {brokers: \"localhost:9092\", topics: [lines]}\n  operators:"),
            ("inputs: [lines]", "inputs: [lines, again]"),
        ],
        refusal: r"job.yaml:9:51: spec.sources[1].kafka.topics[0]: topic `lines` is already read by `lines`
  help: read it once; several operators may take that source as input",
    },
    Case {
        name: "standard input read twice",
        edits: &[
            ("  operators:", "    - {id: a, stdin: {}}\n    - {id: b, stdin: {}}\n  operators:"),
            ("inputs: [lines]", "inputs: [lines, a, b]"),
        ],
        refusal: r"job.yaml:9:15: spec.sources[2].stdin: standard input is already read by `a`
  help: take that source as input instead",
    },
    Case {
        name: "a file written twice",
        edits: &[("  checkpoint:", "    - {id: b, inputs: [count], file: {path: ./poison.ndjson}}\n  checkpoint:")],
        refusal: r"job.yaml:23:39: spec.sinks[2].file.path: this file is already written by `poison`
  found: `./poison.ndjson`
  help: give one sink both inputs, or write to another file",
    },
    Case {
        name: "a literal secret",
        edits: &[("topic: counts", "topic: counts, properties: {sasl.password: hunter2}")],
        refusal: r#"job.yaml:20:70: spec.sinks[0].kafka.properties["sasl.password"]: property `sasl.password` is a secret, and must not stand in the job file
  help: refer to it: `{env: NAME}` or `{file: PATH}`"#,
    },
    Case {
        name: "a property that Weir owns",
        edits: &[("topics: [lines]", "topics: [lines], properties: {auto.offset.reset: latest}")],
        refusal: r#"job.yaml:7:72: spec.sources[0].kafka.properties["auto.offset.reset"]: property `auto.offset.reset` belongs to Weir
  help: set `startPosition` instead: it applies to a new run only"#,
    },
    Case {
        name: "a property that runs native code",
        edits: &[("topics: [lines]", "topics: [lines], properties: {plugin.library.paths: ./evil.so}")],
        refusal: r#"job.yaml:7:72: spec.sources[0].kafka.properties["plugin.library.paths"]: property `plugin.library.paths` belongs to Weir
  help: remove it: a job file must not run native code or commands on the host"#,
    },
    Case {
        name: "a generator that stands still",
        edits: &[(
            r#"kafka: {brokers: "localhost:9092", topics: [lines]}"#,
            "generator: {rate: 0, template: {keyed: {keys: 0, valueBytes: 2000000}}}",
        )],
        refusal: r"job.yaml:7:19: spec.sources[0].generator.rate: must be at least 1
  found: `0`
job.yaml:7:47: spec.sources[0].generator.template.keyed.keys: must be at least 1
  found: `0`
job.yaml:7:56: spec.sources[0].generator.template.keyed.valueBytes: must be from 0 to 1048576
  found: `2000000`",
    },
    Case {
        name: "an id twice, which hides what follows from it",
        edits: &[("- id: count\n", "- id: lines\n")],
        refusal: r"job.yaml:12:7: spec.operators[1].id: id `lines` is already taken by a source
  help: ids are unique over sources, operators and sinks",
    },
    Case {
        name: "an unknown input, which hides that its meant one is unread",
        edits: &[("inputs: [count]", "inputs: [cout]")],
        refusal: r"job.yaml:19:16: spec.sinks[0].inputs[0]: no source or operator has the id `cout`, did you mean `count`?
  valid: lines, split, count",
    },
    Case {
        name: "a sink as an input",
        edits: &[("inputs: [split]", "inputs: [split, poison]")],
        refusal: r"job.yaml:14:23: spec.operators[1].inputs[1]: `poison` is a sink, and nothing can be read from it
  valid: lines, split, count",
    },
    Case {
        name: "a port of a source",
        edits: &[("inputs: [lines]", "inputs: [lines.late]")],
        refusal: r"job.yaml:11:16: spec.operators[0].inputs[0]: `lines` is a source, and has no ports
  found: `lines.late`
  help: write `lines`",
    },
    Case {
        name: "dead letters by a port",
        edits: &[("inputs: [count]", "inputs: [count, count.errors]")],
        refusal: r"job.yaml:19:23: spec.sinks[0].inputs[1]: dead letters of `count` do not leave by a port
  found: `count.errors`
  help: set `onError: {deadLetter: …}` to a sink's id on `count`",
    },
    Case {
        name: "a port that is no name",
        edits: &[("inputs: [split]", "inputs: [split, split.to.late]")],
        refusal: r"job.yaml:14:23: spec.operators[1].inputs[1]: `to.late` is no valid name
  found: `split.to.late`
  help: use 1 to 63 lower-case letters, digits and `-`, with a letter or digit at both ends",
    },
    Case {
        name: "an input twice",
        edits: &[("inputs: [split]", "inputs: [split, split]")],
        refusal: r"job.yaml:14:23: spec.operators[1].inputs[1]: input `split` is named twice
  help: remove one of the two",
    },
    Case {
        name: "an operator without inputs",
        edits: &[("inputs: [lines]", "inputs: []"), ("inputs: [split]", "inputs: [split, lines]")],
        refusal: r"job.yaml:11:7: spec.operators[0].inputs: must not be empty
  help: name what the operator reads",
    },
    Case {
        name: "a sink without inputs",
        edits: &[("      onError: {deadLetter: poison}\n", "")],
        refusal: r"job.yaml:20:7: spec.sinks[1].inputs: nothing is written to sink `poison`
  help: name what it writes, or make it the `deadLetter` of an operator, or remove it",
    },
    Case {
        name: "output that nobody reads",
        edits: &[("inputs: [count]", "inputs: [split]")],
        refusal: r"job.yaml:12:7: spec.operators[1].id: nothing reads the output of `count`
  help: add `count` to the `inputs` of an operator or a sink",
    },
    Case {
        name: "a cycle",
        edits: &[("inputs: [lines]", "inputs: [lines, count]")],
        refusal: r"job.yaml:11:7: spec.operators[0].inputs: records would go round: split -> count -> split
  help: remove one of these inputs; to feed records back, write them to a topic and read it",
    },
    Case {
        name: "an operator that reads itself",
        edits: &[("inputs: [split]", "inputs: [split, count.again]")],
        refusal: r"job.yaml:14:7: spec.operators[1].inputs: records would go round: count -> count
  help: remove one of these inputs; to feed records back, write them to a topic and read it",
    },
    Case {
        name: "dead letters to an operator",
        edits: &[("deadLetter: poison", "deadLetter: split"), ("      file: {path", "      inputs: [count]\n      file: {path")],
        refusal: r"job.yaml:16:17: spec.operators[1].onError.deadLetter: `split` is an operator, and dead letters go to a sink
  valid: counts, poison",
    },
    Case {
        name: "dead letters to nowhere",
        edits: &[("deadLetter: poison", "deadLetter: posion"), ("      file: {path", "      inputs: [count]\n      file: {path")],
        refusal: r"job.yaml:16:17: spec.operators[1].onError.deadLetter: no sink has the id `posion`, did you mean `poison`?
  valid: counts, poison",
    },
    Case {
        name: "a key path with a gap",
        edits: &[("key: record", "key: {json: user..id}")],
        refusal: r"job.yaml:15:13: spec.operators[1].key.json: `user..id` is no field path
  help: join names of nested fields by single dots, such as `user.id`",
    },
    Case {
        name: "no component",
        edits: &[("component: ./split.wasm", r#"component: """#)],
        refusal: r"job.yaml:10:7: spec.operators[0].component: must not be empty
  help: name the component's .wasm file",
    },
    Case {
        name: "limits that nothing meets",
        edits: &[("key: record", "limits: {memory: 5GiB, fuel: 0, deadline: 0s}")],
        refusal: r"job.yaml:15:16: spec.operators[1].limits.memory: must be from 64KiB to 4GiB
  found: `5GiB`
job.yaml:15:30: spec.operators[1].limits.fuel: must be at least 1
  found: `0`
job.yaml:15:39: spec.operators[1].limits.deadline: must be at least 1ms
  found: `0s`",
    },
    Case {
        name: "a checkpoint at every moment",
        edits: &[("interval: 1s", "interval: 1ms, dirtyBytes: 1, outputBytes: 1kB")],
        refusal: r"job.yaml:23:16: spec.checkpoint.interval: must be from 10ms to 1h
  found: `1ms`
job.yaml:23:31: spec.checkpoint.dirtyBytes: must be at least 64KiB
  found: `1`
job.yaml:23:46: spec.checkpoint.outputBytes: must be at least 64KiB
  found: `1kB`",
    },
    Case {
        name: "an epoch longer than a transaction may be",
        edits: &[("interval: 1s", "interval: 2m")],
        refusal: r"job.yaml:23:16: spec.checkpoint.interval: an epoch is one transaction with the exactly-once sink `counts`, and may last half of transactionTimeout (2m) at most
  found: `2m`
  help: lower it, raise `transactionTimeout`, or give the sink `delivery: at-least-once`",
    },
    Case {
        name: "a transaction for longer than brokers allow",
        edits: &[("interval: 1s", "transactionTimeout: 1h")],
        refusal: r"job.yaml:23:16: spec.checkpoint.transactionTimeout: must be from 1s to 15m
  found: `1h`",
    },
    Case {
        name: "a store of checkpoints that cannot be",
        edits: &[("interval: 1s", "store: {s3: {bucket: Mine, prefix: /weir//orders, endpoint: s3.example.com, region: ''}}")],
        refusal: r"job.yaml:23:29: spec.checkpoint.store.s3.bucket: `Mine` is no name of a bucket
  help: use 3 to 63 lower-case letters, digits, `-` and `.`
job.yaml:23:43: spec.checkpoint.store.s3.prefix: `/weir//orders` is no prefix
  help: join parts of letters, digits, `-`, `.`, `_` and `=` by single `/`, such as `weir/orders`
job.yaml:23:66: spec.checkpoint.store.s3.endpoint: `s3.example.com` is no URL of a server
  help: begin it with `https://`, or with `http://` where the network is trusted
job.yaml:23:92: spec.checkpoint.store.s3.region: must not be empty
  help: name a region, or remove the field",
    },
    Case {
        name: "a store for a job without Kafka",
        edits: &[
            ("kafka: {brokers: \"localhost:9092\", topics: [lines]}", "file: {path: in, format: lines}"),
            ("kafka: {brokers: \"localhost:9092\", topic: counts}", "stdout: {format: lines}"),
            ("interval: 1s", "store: {s3: {bucket: mine}}"),
        ],
        refusal: r"job.yaml:23:24: spec.checkpoint.store.s3: a job without a Kafka source or sink commits to a file, which a store cannot hold beside the checkpoints
  help: remove `store`: checkpoints are kept in `checkpoint.path` then",
    },
    Case {
        name: "more workers than shards",
        edits: &[("spec:\n", "spec:\n  shards: 2\n  runtime: {workers: 4}\n")],
        refusal: r"job.yaml:6:13: spec.runtime.workers: 4 workers for 2 shards: each worker needs a shard of its own
  found: `4`
  help: lower `workers`, or raise `spec.shards` of a new run",
    },
    Case {
        name: "a batch of nothing",
        edits: &[("  checkpoint:", "  runtime: {batchRecords: 0, batchBytes: 0, memory: 1MiB}\n  checkpoint:")],
        refusal: r"job.yaml:23:13: spec.runtime.batchRecords: must be from 1 to 65536
  found: `0`
job.yaml:23:30: spec.runtime.batchBytes: must be at least 1KiB
  found: `0`
job.yaml:23:45: spec.runtime.memory: must be at least 32MiB
  found: `1MiB`",
    },
];
