//! Rules of the graph: unique ids, references that lead somewhere, nothing dangling, no cycle.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use super::Findings;
use crate::job::JobSpec;
use crate::operator::{InputRef, OnError, Operator};
use crate::problem::{FieldPath, Problem, did_you_mean, quote};
use crate::sink::Sink;
use crate::source::Format;

#[derive(Clone, Copy, PartialEq)]
enum Role {
    Source,
    Operator,
    Sink,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Source => "a source",
            Self::Operator => "an operator",
            Self::Sink => "a sink",
        }
    }
}

/// Each step needs the one before: what an id means, where references lead, and only then what is left unread.
pub(super) fn check(spec: &JobSpec, path: &FieldPath, findings: &mut Findings) {
    let nodes = nodes(spec, path);
    let Some(roles) = findings.ids(&nodes) else {
        return;
    };
    let upstream = nodes.iter().filter(|(_, role, _)| *role != Role::Sink).map(|(id, _, _)| *id).collect();
    let graph = Graph { roles, upstream, sinks: spec.sinks.iter().map(|sink| sink.id.as_str()).collect() };
    if findings.references(spec, path, &graph) {
        findings.unread(spec, &nodes);
    }
    findings.cycle(&spec.operators, path);
}

/// Every source, operator and sink, in this order, with where it stands.
fn nodes<'a>(spec: &'a JobSpec, path: &FieldPath) -> Vec<(&'a str, Role, FieldPath)> {
    let sources = spec.sources.iter().map(|source| source.id.as_str()).enumerate();
    let operators = spec.operators.iter().map(|operator| operator.id.as_str()).enumerate();
    let sinks = spec.sinks.iter().map(|sink| sink.id.as_str()).enumerate();
    sources
        .map(|(index, id)| (id, Role::Source, path.field("sources").index(index)))
        .chain(operators.map(|(index, id)| (id, Role::Operator, path.field("operators").index(index))))
        .chain(sinks.map(|(index, id)| (id, Role::Sink, path.field("sinks").index(index))))
        .collect()
}

fn is_csv(sink: &Sink) -> bool {
    let of_file = sink.file.as_ref().map(|file| &file.format);
    let format = of_file.or_else(|| sink.stdout.as_ref().map(|stdout| &stdout.format));
    matches!(format, Some(Format::Csv(_)))
}

fn dead_letters(spec: &JobSpec) -> impl Iterator<Item = &str> {
    spec.operators.iter().filter_map(|operator| match &operator.on_error {
        OnError::DeadLetter(sink) => Some(sink.as_str()),
        OnError::Fail | OnError::Skip => None,
    })
}

struct Graph<'a> {
    roles: HashMap<&'a str, Role>,
    /// What may be an input, in the document's order.
    upstream: Vec<&'a str>,
    sinks: Vec<&'a str>,
}

impl Findings {
    /// What each id names; `None` when one names several things.
    fn ids<'a>(&mut self, nodes: &[(&'a str, Role, FieldPath)]) -> Option<HashMap<&'a str, Role>> {
        let mut roles: HashMap<&str, Role> = HashMap::new();
        let mut unique = true;
        for (id, role, path) in nodes {
            let at = path.field("id");
            self.label(&at, id);
            if let Some(other) = roles.get(id) {
                unique = false;
                let message = format!("id {} is already taken by {}", quote(id), other.name());
                self.add(Problem::new(at, message).help("ids are unique over sources, operators and sinks"));
            } else {
                roles.insert(*id, *role);
            }
        }
        unique.then_some(roles)
    }

    /// Whether all inputs and dead letters lead somewhere.
    fn references(&mut self, spec: &JobSpec, path: &FieldPath, graph: &Graph<'_>) -> bool {
        let before = self.problems.len();
        for (index, operator) in spec.operators.iter().enumerate() {
            let at = path.field("operators").index(index);
            let inputs = at.field("inputs");
            self.not_empty(&inputs, operator.inputs.is_empty(), "name what the operator reads");
            self.inputs(&inputs, &operator.inputs, graph);
            if let OnError::DeadLetter(sink) = &operator.on_error {
                let at = at.field("onError").field("deadLetter");
                self.dead_letter(&at, sink, graph);
                let target = spec.sinks.iter().find(|s| s.id == *sink);
                if target.is_some_and(is_csv) {
                    let message = format!("{} writes CSV, and the value of a dead letter may be anything", quote(sink));
                    self.add(Problem::new(at.clone(), message).help("send dead letters to a sink with `format: ndjson`"));
                }
                if target.and_then(|target| target.kafka.as_ref()).is_some_and(|kafka| kafka.topic_from.is_some()) {
                    let message = format!("{} lets each record choose its topic, and a dead letter may choose none", quote(sink));
                    self.add(Problem::new(at, message).help("send dead letters to a sink with one `topic`"));
                }
            }
        }
        let dead_letters: HashSet<&str> = dead_letters(spec).collect();
        for (index, sink) in spec.sinks.iter().enumerate() {
            let inputs = path.field("sinks").index(index).field("inputs");
            if sink.inputs.is_empty() && !dead_letters.contains(sink.id.as_str()) {
                let message = format!("nothing is written to sink {}", quote(&sink.id));
                self.add(
                    Problem::new(inputs.clone(), message)
                        .help("name what it writes, or make it the `deadLetter` of an operator, or remove it"),
                );
            }
            self.inputs(&inputs, &sink.inputs, graph);
        }
        self.problems.len() == before
    }

    fn inputs(&mut self, path: &FieldPath, inputs: &[InputRef], graph: &Graph<'_>) {
        let mut seen: HashSet<&InputRef> = HashSet::new();
        for (index, input) in inputs.iter().enumerate() {
            let at = path.index(index);
            if !seen.insert(input) {
                let message = format!("input {} is named twice", quote(&input.to_string()));
                self.add(Problem::new(at, message).help("remove one of the two"));
                continue;
            }
            match graph.roles.get(input.id.as_str()) {
                None => {
                    let hint = did_you_mean(&input.id, graph.upstream.iter().copied());
                    let message = format!("no source or operator has the id {}{hint}", quote(&input.id));
                    self.add(Problem::new(at, message).valid(graph.upstream.iter().copied()));
                }
                Some(Role::Sink) => {
                    let message = format!("{} is a sink, and nothing can be read from it", quote(&input.id));
                    self.add(Problem::new(at, message).valid(graph.upstream.iter().copied()));
                }
                Some(Role::Source) if input.port.is_some() => {
                    let message = format!("{} is a source, and has no ports", quote(&input.id));
                    self.add(Problem::new(at, message).help(format!("write `{}`", input.id)));
                }
                Some(Role::Source | Role::Operator) => self.port(&at, input),
            }
        }
    }

    fn port(&mut self, path: &FieldPath, input: &InputRef) {
        match input.port.as_deref() {
            Some("errors") => {
                let message = format!("dead letters of {} do not leave by a port", quote(&input.id));
                self.add(
                    Problem::new(path.clone(), message).help(format!("set `onError: {{deadLetter: …}}` to a sink's id on `{}`", input.id)),
                );
            }
            Some(port) => self.label(path, port),
            None => {}
        }
    }

    fn dead_letter(&mut self, path: &FieldPath, sink: &str, graph: &Graph<'_>) {
        let message = match graph.roles.get(sink) {
            Some(Role::Sink) => return,
            Some(other) => format!("{} is {}, and dead letters go to a sink", quote(sink), other.name()),
            None => {
                let hint = did_you_mean(sink, graph.sinks.iter().copied());
                format!("no sink has the id {}{hint}", quote(sink))
            }
        };
        self.add(Problem::new(path.clone(), message).valid(graph.sinks.iter().copied()));
    }

    /// Output that nobody reads is a mistake in the wiring, not a way to drop records: that is `blackhole`.
    fn unread(&mut self, spec: &JobSpec, nodes: &[(&str, Role, FieldPath)]) {
        let operators = spec.operators.iter().flat_map(|operator| &operator.inputs);
        let sinks = spec.sinks.iter().flat_map(|sink| &sink.inputs);
        let read: HashSet<&str> = operators.chain(sinks).map(|input| input.id.as_str()).collect();
        for (id, role, path) in nodes {
            if *role != Role::Sink && !read.contains(id) {
                let message = format!("nothing reads the output of {}", quote(id));
                self.add(Problem::new(path.field("id"), message).help(format!("add `{id}` to the `inputs` of an operator or a sink")));
            }
        }
    }

    fn cycle(&mut self, operators: &[Operator], path: &FieldPath) {
        if let Some(cycle) = cycle(operators) {
            let mut names: Vec<&str> = cycle.iter().map(|(_, id)| *id).collect();
            names.extend(names.first().copied());
            let index = cycle.first().map(|(index, _)| *index).unwrap_or_default();
            let at = path.field("operators").index(index).field("inputs");
            self.add(
                Problem::new(at, format!("records would go round: {}", names.join(" -> ")))
                    .help("remove one of these inputs; to feed records back, write them to a topic and read it"),
            );
        }
    }
}

/// One cycle in the order in which records would go round, as operators' positions and ids, from the one that the
/// document names first.
fn cycle(operators: &[Operator]) -> Option<Vec<(usize, &str)>> {
    let mut by_id: HashMap<&str, usize> = HashMap::new();
    for (index, operator) in operators.iter().enumerate() {
        by_id.entry(&operator.id).or_insert(index);
    }
    let upstream: Vec<Vec<usize>> = operators
        .iter()
        .map(|operator| operator.inputs.iter().filter_map(|input| by_id.get(input.id.as_str()).copied()).collect())
        .collect();
    let unsettled = unsettled(&upstream);
    let above = |index: usize| upstream.get(index)?.iter().copied().find(|upstream| unsettled.contains(upstream));
    // Each unsettled operator has an unsettled one above it, so the way up meets itself.
    let mut way: Vec<usize> = Vec::new();
    let mut at = unsettled.iter().copied().min()?;
    let mut depth: HashMap<usize, usize> = HashMap::new();
    while let Entry::Vacant(unseen) = depth.entry(at) {
        unseen.insert(way.len());
        way.push(at);
        at = above(at)?;
    }
    let mut cycle = way.split_off(depth.get(&at).copied()?);
    cycle.reverse();
    let first = cycle.iter().enumerate().min_by_key(|(_, index)| **index).map(|(place, _)| place)?;
    cycle.rotate_left(first);
    Some(cycle.into_iter().filter_map(|index| Some((index, operators.get(index)?.id.as_str()))).collect())
}

/// The operators that are on a cycle or below one: those left when operators whose inputs are all settled are taken
/// away again and again (Kahn's topological sort).
fn unsettled(upstream: &[Vec<usize>]) -> HashSet<usize> {
    let mut readers: HashMap<usize, Vec<usize>> = HashMap::new();
    for (reader, above) in upstream.iter().enumerate() {
        for index in above {
            readers.entry(*index).or_default().push(reader);
        }
    }
    let mut open: Vec<usize> = upstream.iter().map(Vec::len).collect();
    let mut unsettled: HashSet<usize> = (0..upstream.len()).collect();
    let mut settled: Vec<usize> = open.iter().enumerate().filter(|(_, open)| **open == 0).map(|(index, _)| index).collect();
    while let Some(index) = settled.pop() {
        unsettled.remove(&index);
        for reader in readers.get(&index).into_iter().flatten() {
            if let Some(open) = open.get_mut(*reader) {
                *open -= 1;
                if *open == 0 {
                    settled.push(*reader);
                }
            }
        }
    }
    unsettled
}
