//! What a hostile or mistaken file can cost: an error, and little time, memory or stack.
#![allow(clippy::unwrap_used)]

use std::fmt::Write;
use std::path::Path;

fn refusal(text: &str) -> String {
    weir_spec::parse(text, "job.yaml").unwrap_err().to_string()
}

const TOO_LARGE: &str = "too large once aliases are expanded: at most 100000 values of 4194304 bytes, nested 64 deep";

#[test]
fn aliases_of_aliases_are_not_expanded_without_end() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
        writeln!(text, "a{level}: &a{level} [{aliases}]").unwrap();
    }
    let refusal = refusal(&text);
    assert!(refusal.ends_with(TOO_LARGE), "{refusal}");
}

#[test]
fn a_long_text_is_not_copied_without_end() {
    let text = format!("a: &a {}\nb: [{}]\n", "x".repeat(500_000), "*a,".repeat(90));
    let refusal = refusal(&text);
    assert!(refusal.ends_with(TOO_LARGE), "{refusal}");
}

#[test]
fn deep_nesting_is_refused_before_the_stack_ends() {
    let many = refusal(&format!("spec: {}", "[".repeat(50_000)));
    assert!(many.ends_with("not valid YAML: recursion limit exceeded"), "{many}");
    let some = refusal(&format!("spec: {}", "[".repeat(100) + &"]".repeat(100)));
    assert!(some.ends_with(TOO_LARGE), "{some}");
    let mut text = String::from("a0: &a0 [x]\n");
    for level in 1..5_000 {
        writeln!(text, "a{level}: &a{level} [*a{}]", level - 1).unwrap();
    }
    let aliases = refusal(&text);
    assert!(aliases.ends_with(TOO_LARGE), "{aliases}");
}

#[test]
fn more_values_than_a_job_has_are_refused() {
    let refusal = refusal(&format!("spec: [{}]", "0,".repeat(150_000)));
    assert!(refusal.ends_with(TOO_LARGE), "{refusal}");
}

#[test]
fn more_bytes_than_a_job_has_are_refused() {
    assert_eq!(refusal(&"#".repeat(1_048_577)), "job.yaml: the file has 1048577 bytes, and a job file at most 1048576");
}

#[test]
fn an_alias_that_holds_itself_is_refused() {
    let refusal = refusal("spec: &spec {sources: [*spec]}\n");
    assert!(refusal.starts_with("job.yaml:1:24: not valid YAML: "), "{refusal}");
}

#[test]
fn the_longest_chain_of_operators_is_checked_in_order() {
    let mut text =
        String::from("apiVersion: weir.dev/v1alpha1\nkind: StreamJob\nmetadata: {name: chain}\nspec:\n  sources: [{id: o0, stdin: {}}]\n");
    text += "  sinks: [{id: out, inputs: [o9000], blackhole: {}}]\n  operators:\n";
    for index in (1..=9_000).rev() {
        writeln!(text, "  - {{id: o{index}, component: a.wasm, inputs: [o{}]}}", index - 1).unwrap();
    }
    let job = weir_spec::parse(&text, "job.yaml").unwrap();
    assert_eq!(job.spec.operators.len(), 9_000);
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let refusal = weir_spec::read(Path::new("no/such/job.yaml")).unwrap_err().to_string();
    assert!(refusal.starts_with("cannot read the job file no/such/job.yaml: "), "{refusal}");
}

#[test]
fn control_characters_of_a_file_do_not_reach_the_terminal() {
    let refusal = refusal("\"\\e[2Jkind\": StreamJob\n");
    assert!(refusal.contains("unknown field `\\u{1b}[2Jkind`") && !refusal.contains('\u{1b}'), "{refusal}");
}
