//! Files that are refused, each with all that is said about it.
//!
//! A case edits one good job, so that what is wrong with it is what it shows.

mod fields;
mod meaning;
mod shape;
mod text;

const GOOD: &str = r#"apiVersion: weir.dev/v1alpha1
kind: StreamJob
metadata: {name: word-count}
spec:
  sources:
    - id: lines
      kafka: {brokers: "localhost:9092", topics: [lines]}
  operators:
    - id: split
      component: ./split.wasm
      inputs: [lines]
    - id: count
      component: ./count.wasm
      inputs: [split]
      key: record
      onError: {deadLetter: poison}
  sinks:
    - id: counts
      inputs: [count]
      kafka: {brokers: "localhost:9092", topic: counts}
    - id: poison
      file: {path: ./poison.ndjson, format: ndjson}
  checkpoint: {interval: 1s}
"#;

struct Case {
    name: &'static str,
    /// Texts of the good job, each with what stands in its place.
    edits: &'static [(&'static str, &'static str)],
    refusal: &'static str,
}

fn check(cases: &[Case]) {
    let mut wrong = Vec::new();
    for case in cases {
        let mut text = GOOD.to_owned();
        for (from, to) in case.edits {
            assert!(text.contains(from), "{}: {from:?} does not stand in the job", case.name);
            text = text.replacen(from, to, 1);
        }
        let said = match weir_spec::parse(&text, "job.yaml") {
            Ok(_) => "nothing: the job is accepted".to_owned(),
            Err(error) => error.to_string(),
        };
        if said != case.refusal {
            wrong.push(format!("== {}\n-- said\n{said}\n-- should say\n{}", case.name, case.refusal));
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn the_job_that_cases_edit_is_good() {
    assert!(weir_spec::parse(GOOD, "job.yaml").is_ok());
}

#[test]
fn what_has_the_wrong_shape_is_refused_with_place_and_remedy() {
    check(shape::CASES);
}

#[test]
fn what_is_no_single_yaml_document_is_refused_with_its_place() {
    check(text::CASES);
}

#[test]
fn what_cannot_be_meant_is_refused_with_place_and_remedy() {
    check(meaning::CASES);
}

#[test]
fn a_bad_value_of_any_field_is_refused_with_place_and_remedy() {
    check(fields::CASES);
}

/// Every place of the schema, as `spec.sources[].kafka.topics`.
fn places(schema: &serde_json::Value, node: &serde_json::Value, at: &str, above: &[String], into: &mut std::collections::BTreeSet<String>) {
    let referred = node["$ref"].as_str().and_then(|reference| reference.rsplit('/').next()).map(str::to_owned);
    if let Some(name) = referred.filter(|name| !above.contains(name)) {
        let definition = schema.pointer(&format!("/$defs/{name}"));
        places(schema, definition.unwrap_or(&serde_json::Value::Null), at, &[above, &[name]].concat(), into);
    }
    for any in ["oneOf", "anyOf", "allOf"] {
        node[any].as_array().into_iter().flatten().for_each(|one| places(schema, one, at, above, into));
    }
    if node["items"].is_object() {
        places(schema, &node["items"], &format!("{at}[]"), above, into);
    }
    for (field, of_field) in node["properties"].as_object().into_iter().flatten() {
        let place = if at.is_empty() { field.clone() } else { format!("{at}.{field}") };
        places(schema, of_field, &place, above, into);
        into.insert(place);
    }
}

/// The places that a refusal names, without the numbers of entries.
fn named(refusal: &str) -> Vec<String> {
    let place = |line: &str| {
        let path = line.split_once(' ')?.1.split(": ").next()?;
        let parts = path.split_inclusive('[').map(|part| part.trim_start_matches(|c: char| c.is_ascii_digit()));
        Some(parts.collect::<String>())
    };
    refusal.lines().filter(|line| line.starts_with("job.yaml:")).filter_map(place).collect()
}

#[test]
fn every_field_of_the_schema_has_a_bad_file() {
    // What a function is configured with is its own.
    const FREE: [&str; 1] = ["spec.operators[].config"];
    let schema = weir_spec::json_schema();
    let mut all = std::collections::BTreeSet::new();
    places(&schema, &schema, "", &[], &mut all);
    assert!(all.len() > 60, "{all:?}");
    let cases = shape::CASES.iter().chain(meaning::CASES).chain(text::CASES).chain(fields::CASES);
    let covered: Vec<String> = cases.flat_map(|case| named(case.refusal)).collect();
    let is_covered = |place: &String| {
        covered.iter().any(|at| at == place || at.starts_with(&format!("{place}.")) || at.starts_with(&format!("{place}[")))
    };
    let bare: Vec<_> = all.iter().filter(|place| !is_covered(place) && !FREE.contains(&place.as_str())).collect();
    assert!(bare.is_empty(), "no bad file for {bare:?}");
}

#[test]
fn an_empty_file_is_refused() {
    let refusal = weir_spec::parse("", "job.yaml").map_err(|error| error.to_string());
    assert_eq!(refusal.err().as_deref(), Some("job.yaml:1:1: expected a map, found nothing\n  help: give it a value, or remove the field"));
}

#[test]
fn a_literal_secret_is_never_repeated() {
    let places = [
        "topic: counts, properties: {sasl.password: hunter2}",
        "topic: counts, properties: {ssl.key.pem: hunter2}",
        "topic: counts, properties: {sasl.password: {env: [hunter2]}}",
        "topic: counts, properties: [hunter2]",
        "topic: counts, propertys: {sasl.password: hunter2}",
        "topic: counts, sasl.password: hunter2",
        "topic: counts, password: hunter2",
        "topic: counts, apiKey: hunter2",
    ];
    for place in places {
        let refusal = weir_spec::parse(&GOOD.replace("topic: counts", place), "job.yaml").map_err(|error| format!("{error}\n{error:?}"));
        assert!(refusal.as_ref().is_err_and(|refusal| !refusal.contains("hunter2")), "{place}: {refusal:?}");
    }
}
