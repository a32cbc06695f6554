//! `weir check`: what a job file means, without starting anything.

use crate::args::{self, PlanFormat};
use crate::exit::Failure;
use crate::run::{base_dir, read};
use crate::terminal;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fmt::Write;
use weir_host::job::{Prepared, Settings};
use weir_host::operator::{Declarations, Loaded, StateKind};
use weir_host::plan::{FunctionKind, OnError, OperatorNode, Plan, Target};

/// Reads the job, loads its components, prints the plan.
pub fn run(args: &args::Check, surroundings: Settings) -> Result<(), Failure> {
    let settings = Settings { base_dir: base_dir(&args.job), ..surroundings };
    let prepared = Prepared::new(read(&args.job)?, settings).map_err(|e| Failure::new(e.kind(), e))?;
    let plan = prepared.plan();
    let components: HashMap<&str, &Loaded> = prepared.components().collect();
    let text = match args.format {
        PlanFormat::Text => text(plan, &components),
        PlanFormat::Mermaid => plan.to_mermaid(),
        PlanFormat::Json => format!("{:#}\n", to_json(plan, &components)),
    };
    terminal::print(&text)
}

fn text(plan: &Plan, components: &HashMap<&str, &Loaded>) -> String {
    let mut text = plan.to_text();
    for operator in &plan.operators {
        if let Some(component) = components.get(operator.id.as_str()) {
            text.push_str(&component_text(&operator.id, component.kind(), component.declared(), component.imports()));
        }
    }
    text
}

pub fn component_text(id: &str, kind: FunctionKind, declared: &Declarations, imports: &[String]) -> String {
    let states: Vec<_> = declared.states.iter().map(|s| format!("{} ({}, version {})", s.name, state_kind(s.kind), s.version)).collect();
    let mut text = format!("component of {id}: {}\n", function(kind));
    for (name, items) in [
        ("inputs", &declared.inputs[..]),
        ("ports", &declared.ports),
        ("states", &states),
        ("metrics", &metric_names(declared)),
        ("imports", imports),
    ] {
        if !items.is_empty() {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  {name:<8} {}", items.join(", "));
        }
    }
    text
}

fn metric_names(declared: &Declarations) -> Vec<String> {
    let histograms = declared.histograms.iter().map(|(name, _)| name);
    declared.counters.iter().chain(&declared.gauges).chain(histograms).cloned().collect()
}

fn to_json(plan: &Plan, components: &HashMap<&str, &Loaded>) -> Value {
    let operator = |operator: &OperatorNode| {
        let mut value = operator_json(plan, operator);
        if let (Some(component), Value::Object(fields)) = (components.get(operator.id.as_str()), &mut value) {
            fields.extend(declared_json(component.declared()));
            fields.insert("imports".into(), json!(component.imports()));
        }
        value
    };
    json!({
        "job": plan.name,
        "shards": plan.shards,
        "stages": plan.stages,
        "stateHash": plan.hash,
        "sources": plan.sources.iter().map(|s| json!({ "id": s.id, "to": targets(plan, &s.targets) })).collect::<Vec<_>>(),
        "operators": plan.operators.iter().map(operator).collect::<Vec<_>>(),
        "sinks": plan.sinks.iter().map(|id| json!({ "id": id })).collect::<Vec<_>>(),
    })
}

fn operator_json(plan: &Plan, operator: &OperatorNode) -> Value {
    let ports = operator.ports.iter().map(|(name, to)| {
        let name = if name.is_empty() { "main" } else { name };
        json!({ "name": name, "to": targets(plan, to) })
    });
    json!({
        "id": operator.id,
        "kind": function(operator.kind),
        "stage": operator.stage,
        "key": operator.key,
        "onError": match operator.on_error {
            OnError::Fail => json!("fail"),
            OnError::Skip => json!("skip"),
            OnError::DeadLetter(sink) => json!({ "deadLetter": plan.sinks.get(sink) }),
        },
        "ports": ports.collect::<Vec<_>>(),
    })
}

fn declared_json(declared: &Declarations) -> serde_json::Map<String, Value> {
    let states = declared.states.iter().map(|s| json!({ "name": s.name, "kind": state_kind(s.kind), "version": s.version }));
    let mut fields = serde_json::Map::new();
    fields.insert("inputs".into(), json!(declared.inputs));
    fields.insert("states".into(), states.collect());
    fields.insert("metrics".into(), json!(metric_names(declared)));
    fields
}

fn targets(plan: &Plan, targets: &[Target]) -> Vec<Value> {
    let one = |target: &Target| match *target {
        Target::Sink(sink) => json!({ "sink": plan.sinks.get(sink) }),
        Target::Operator { index, input } => json!({ "operator": plan.operators.get(index).map(|o| &o.id), "input": input }),
    };
    targets.iter().map(one).collect()
}

fn function(kind: FunctionKind) -> &'static str {
    match kind {
        FunctionKind::Transform => "transform-function",
        FunctionKind::Process => "process-function",
    }
}

fn state_kind(kind: StateKind) -> &'static str {
    match kind {
        StateKind::Value => "value",
        StateKind::Map => "map",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_host::operator::DeclaredState;
    use weir_host::plan::SourceNode;

    fn plan() -> Plan {
        let count = OperatorNode {
            id: "count".into(),
            position: 0,
            kind: FunctionKind::Process,
            key: Some(weir_spec::Key::Record),
            ports: vec![(String::new(), vec![Target::Sink(0)]), ("late".into(), vec![])],
            on_error: OnError::DeadLetter(1),
            stage: 1,
        };
        Plan {
            name: "j".into(),
            shards: 32,
            sources: vec![SourceNode { id: "in".into(), targets: vec![Target::Operator { index: 0, input: 0 }] }],
            operators: vec![count],
            sinks: vec!["out".into(), "dead".into()],
            stages: 1,
            hash: "00ff".into(),
        }
    }

    #[test]
    fn the_plan_as_json_names_every_edge_by_id() {
        let value = to_json(&plan(), &HashMap::new());
        assert_eq!(value["sources"], json!([{ "id": "in", "to": [{ "operator": "count", "input": 0 }] }]));
        assert_eq!(value["operators"][0]["key"], "record");
        assert_eq!(value["operators"][0]["onError"], json!({ "deadLetter": "dead" }));
        assert_eq!(value["operators"][0]["ports"], json!([{ "name": "main", "to": [{ "sink": "out" }] }, { "name": "late", "to": [] }]));
    }

    #[test]
    fn a_component_is_shown_with_what_it_declares_and_imports() {
        let mut declared = Declarations::default();
        declared.states.push(DeclaredState { name: "count".into(), kind: StateKind::Value, version: 2 });
        declared.counters.push("words".into());
        let imports = ["weir:operator/declare@0.1.0".to_owned()];
        assert_eq!(
            component_text("count", FunctionKind::Process, &declared, &imports),
            "component of count: process-function\n  states   count (value, version 2)\n  metrics  words\n  imports  weir:operator/declare@0.1.0\n"
        );
        assert_eq!(declared_json(&declared)["states"], json!([{ "name": "count", "kind": "value", "version": 2 }]));
    }
}
