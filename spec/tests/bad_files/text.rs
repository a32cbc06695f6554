//! Text that is no YAML, or no single document of unique fields.

use super::Case;

pub const CASES: &[Case] = &[
    Case {
        name: "an unclosed bracket",
        edits: &[("[lines]}", "[lines}")],
        refusal: "job.yaml:7:50: not valid YAML: mismatched bracket '[' closed by '}'",
    },
    Case {
        name: "a tab as indentation",
        edits: &[("    - id: split", "\t- id: split")],
        refusal: "job.yaml:9:2: not valid YAML: tabs disallowed within this context (block indentation)",
    },
    Case {
        name: "a field twice",
        edits: &[("      inputs: [split]\n", "      inputs: [split]\n      inputs: [lines]\n")],
        refusal: r"job.yaml:15:7: the field `inputs` stands here twice
  help: remove one of the two",
    },
    Case {
        name: "two documents",
        edits: &[("apiVersion", "---\nkind: Other\n---\napiVersion")],
        refusal: r"job.yaml:4:1: more than one document
  help: keep one job per file: remove what follows `---`",
    },
    Case {
        name: "an unknown anchor",
        edits: &[("name: word-count", "name: *nobody")],
        refusal: "job.yaml:3:18: not valid YAML: reference to unknown value",
    },
    Case {
        name: "a number that JSON has not",
        edits: &[("key: record", "config: .nan")],
        refusal: "job.yaml:15:15: not valid YAML: value `.nan` is not a finite number",
    },
];
