use super::*;

fn job(operators: &str, sinks: &str) -> Job {
    let text = format!(
        "apiVersion: weir.dev/v1alpha1\nkind: StreamJob\nmetadata: {{name: j}}\nspec:\n  sources:\n  - {{id: in, stdin: {{format: lines}}}}\n  operators:\n{operators}\n  sinks:\n{sinks}\n"
    );
    weir_spec::parse(&text, "job.yaml").unwrap()
}

fn facts(kind: FunctionKind, ports: &[&str]) -> ComponentFacts {
    ComponentFacts { kind, inputs: vec![], ports: ports.iter().map(|p| (*p).to_owned()).collect(), states: vec![] }
}

const SPLIT: &str = "  - {id: split, component: a.wasm, inputs: [in]}";
const COUNT: &str = "  - {id: count, component: b.wasm, inputs: [split], key: record}";

#[test]
fn operators_are_ordered_upstream_first_and_staged_at_keyed_edges() {
    let top = "  - {id: top, component: c.wasm, inputs: [count, split], key: record}";
    let job = job(&[top, COUNT, SPLIT].join("\n"), "  - {id: out, inputs: [top], blackhole: {}}");
    let components = [facts(FunctionKind::Process, &[]), facts(FunctionKind::Process, &[]), facts(FunctionKind::Transform, &[])];
    let plan = Plan::new(&job, &components).unwrap();
    let order: Vec<_> = plan.operators.iter().map(|o| (o.id.as_str(), o.stage)).collect();
    assert_eq!(order, [("split", 0), ("count", 1), ("top", 2)]);
    assert_eq!(plan.stages, 2);
    assert_eq!(plan.operators[0].ports[0].1, [Target::Operator { index: 1, input: 0 }, Target::Operator { index: 2, input: 0 }]);
    assert_eq!(
        plan.to_mermaid(),
        "flowchart LR\n  s0([in])\n  o0[split]\n  o1[count]\n  o2[top]\n  k0[(out)]\n  s0 --> o0\n  o0 ==> o1\n  o0 ==> o2\n  o1 ==> o2\n  o2 --> k0\n"
    );
}

#[test]
fn a_key_must_fit_the_kind_of_function() {
    let sinks = "  - {id: out, inputs: [split], blackhole: {}}";
    let error = Plan::new(&job(SPLIT, sinks), &[facts(FunctionKind::Process, &[])]).unwrap_err();
    assert!(matches!(error, PlanError::KeyMissing { .. }), "{error}");
    let keyed = "  - {id: split, component: a.wasm, inputs: [in], key: record}";
    let error = Plan::new(&job(keyed, sinks), &[facts(FunctionKind::Transform, &[])]).unwrap_err();
    assert!(matches!(error, PlanError::KeyOnTransform { .. }), "{error}");
}

#[test]
fn an_unknown_port_is_refused_with_the_known_ones() {
    let sinks = "  - {id: out, inputs: [split, split.lates], blackhole: {}}";
    let error = Plan::new(&job(SPLIT, sinks), &[facts(FunctionKind::Transform, &["late"])]).unwrap_err();
    assert_eq!(error.to_string(), "spec.sinks[0].inputs[1]: operator split has no port `lates`; its component declares late");
}

#[test]
fn the_hash_follows_keyed_state_and_nothing_else() {
    let sinks = "  - {id: out, inputs: [count], blackhole: {}}";
    let components = [facts(FunctionKind::Transform, &[]), facts(FunctionKind::Process, &[])];
    let base = Plan::new(&job(&[SPLIT, COUNT].join("\n"), sinks), &components).unwrap().hash;
    let more = "  - {id: also, component: c.wasm, inputs: [in]}";
    let sinks2 = "  - {id: out, inputs: [count, also], blackhole: {}}";
    let three = [components[0].clone(), components[1].clone(), facts(FunctionKind::Transform, &[])];
    assert_eq!(Plan::new(&job(&[SPLIT, COUNT, more].join("\n"), sinks2), &three).unwrap().hash, base);
    let by_field = "  - {id: count, component: b.wasm, inputs: [split], key: {json: user}}";
    assert_ne!(Plan::new(&job(&[SPLIT, by_field].join("\n"), sinks), &components).unwrap().hash, base);
}
