//! Builds a plan.

use super::{ComponentFacts, FunctionKind, OnError, OperatorNode, Plan, SourceNode, Target};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use weir_spec::{InputRef, Job, Operator};

/// Why a job cannot be planned although its file is well formed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A process function without a key.
    #[error(
        "spec.operators[{position}] ({id}): its component is a process function, which keeps state per key; say what the key is, for example `key: record`"
    )]
    KeyMissing {
        /// Operator.
        id: String,
        /// Its index.
        position: usize,
    },
    /// A key for a transform function.
    #[error(
        "spec.operators[{position}] ({id}): its component is a transform function, which has no keys; remove `key`, or build it as a process function"
    )]
    KeyOnTransform {
        /// Operator.
        id: String,
        /// Its index.
        position: usize,
    },
    /// A port that the upstream component does not declare.
    #[error("{at}: operator {upstream} has no port `{port}`; its component declares {}", list(.known))]
    UnknownPort {
        /// Path of the input in the job file.
        at: String,
        /// Upstream operator.
        upstream: String,
        /// Port asked for.
        port: String,
        /// Ports it declares.
        known: Vec<String>,
    },
    /// The number of inputs does not fit the component.
    #[error("spec.operators[{position}] ({id}): its component declares {} inputs ({}), but the job file gives {given}", .declared.len(), .declared.join(", "))]
    InputCount {
        /// Operator.
        id: String,
        /// Its index.
        position: usize,
        /// Inputs declared.
        declared: Vec<String>,
        /// Inputs given.
        given: usize,
    },
    /// A reference that the reader of job files should have refused.
    #[error("{at}: `{name}` is neither a source nor an operator that comes before it")]
    Dangling {
        /// Path in the job file.
        at: String,
        /// What was referred to.
        name: String,
    },
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

/// Where the records of an [`InputRef`] come from.
#[derive(Clone, Copy)]
enum Upstream {
    Source(usize),
    Operator(usize, usize),
}

struct Builder<'a> {
    job: &'a Job,
    components: &'a [ComponentFacts],
    plan: Plan,
    /// Index in the plan by id.
    operators: HashMap<&'a str, usize>,
}

pub(super) fn build(job: &Job, components: &[ComponentFacts]) -> Result<Plan, PlanError> {
    let spec = &job.spec;
    let plan = Plan {
        name: job.metadata.name.clone(),
        shards: u16::try_from(spec.shards).unwrap_or(u16::MAX),
        sources: spec.sources.iter().map(|s| SourceNode { id: s.id.clone(), targets: vec![] }).collect(),
        operators: vec![],
        sinks: spec.sinks.iter().map(|s| s.id.clone()).collect(),
        stages: 0,
        hash: hash(job, components),
    };
    let mut builder = Builder { job, components, plan, operators: HashMap::new() };
    for position in order(job)? {
        builder.operator(position)?;
    }
    builder.sinks()?;
    Ok(builder.plan)
}

/// Positions of the operators, upstream first, otherwise in the order of the job file.
fn order(job: &Job) -> Result<Vec<usize>, PlanError> {
    let operators = &job.spec.operators;
    let mut placed: Vec<usize> = Vec::with_capacity(operators.len());
    while placed.len() < operators.len() {
        let ready = |o: &Operator| {
            o.inputs.iter().all(|input| operators.iter().position(|up| up.id == input.id).is_none_or(|up| placed.contains(&up)))
        };
        let next = operators.iter().enumerate().find(|(i, o)| !placed.contains(i) && ready(o)).map(|(i, _)| i);
        match next {
            Some(next) => placed.push(next),
            None => {
                let stuck = operators.iter().enumerate().find(|(i, _)| !placed.contains(i));
                let (position, name) = stuck.map(|(i, o)| (i, o.id.clone())).unwrap_or_default();
                return Err(PlanError::Dangling { at: format!("spec.operators[{position}].inputs"), name });
            }
        }
    }
    Ok(placed)
}

impl<'a> Builder<'a> {
    fn operator(&mut self, position: usize) -> Result<(), PlanError> {
        let (Some(operator), Some(facts)) = (self.job.spec.operators.get(position), self.components.get(position)) else {
            return Ok(());
        };
        let id = operator.id.clone();
        match (facts.kind, &operator.key) {
            (FunctionKind::Process, None) => return Err(PlanError::KeyMissing { id, position }),
            (FunctionKind::Transform, Some(_)) => return Err(PlanError::KeyOnTransform { id, position }),
            _ => {}
        }
        if facts.inputs.len() > 1 && facts.inputs.len() != operator.inputs.len() {
            let (declared, given) = (facts.inputs.clone(), operator.inputs.len());
            return Err(PlanError::InputCount { id, position, declared, given });
        }
        let index = self.plan.operators.len();
        let mut stage = 0;
        for (i, input) in operator.inputs.iter().enumerate() {
            let upstream = self.upstream(input, || format!("spec.operators[{position}].inputs[{i}]"))?;
            stage = stage.max(self.stage(upstream));
            let number = if facts.inputs.len() > 1 { i as u32 } else { 0 };
            self.connect(upstream, Target::Operator { index, input: number });
        }
        stage += usize::from(operator.key.is_some());
        self.plan.stages = self.plan.stages.max(stage);
        let names = std::iter::once(String::new()).chain(facts.ports.iter().cloned());
        let node = OperatorNode {
            id,
            position,
            kind: facts.kind,
            key: operator.key.clone(),
            ports: names.map(|name| (name, vec![])).collect(),
            on_error: self.on_error(operator, position)?,
            stage,
        };
        self.plan.operators.push(node);
        self.operators.insert(&operator.id, index);
        Ok(())
    }

    fn on_error(&self, operator: &Operator, position: usize) -> Result<OnError, PlanError> {
        match &operator.on_error {
            weir_spec::OnError::Fail => Ok(OnError::Fail),
            weir_spec::OnError::Skip => Ok(OnError::Skip),
            weir_spec::OnError::DeadLetter(sink) => match self.plan.sinks.iter().position(|s| s == sink) {
                Some(sink) => Ok(OnError::DeadLetter(sink)),
                None => Err(PlanError::Dangling { at: format!("spec.operators[{position}].onError"), name: sink.clone() }),
            },
        }
    }

    fn sinks(&mut self) -> Result<(), PlanError> {
        for (index, sink) in self.job.spec.sinks.iter().enumerate() {
            for (i, input) in sink.inputs.iter().enumerate() {
                let upstream = self.upstream(input, || format!("spec.sinks[{index}].inputs[{i}]"))?;
                self.connect(upstream, Target::Sink(index));
            }
        }
        Ok(())
    }

    fn upstream(&self, input: &InputRef, at: impl Fn() -> String) -> Result<Upstream, PlanError> {
        let dangling = || PlanError::Dangling { at: at(), name: input.to_string() };
        if let Some(source) = self.plan.sources.iter().position(|s| s.id == input.id) {
            return Ok(Upstream::Source(source));
        }
        let index = *self.operators.get(input.id.as_str()).ok_or_else(dangling)?;
        let node = self.plan.operators.get(index).ok_or_else(dangling)?;
        let Some(port) = &input.port else { return Ok(Upstream::Operator(index, 0)) };
        match node.ports.iter().skip(1).position(|(name, _)| name == port) {
            Some(port) => Ok(Upstream::Operator(index, port + 1)),
            None => Err(PlanError::UnknownPort {
                at: at(),
                upstream: node.id.clone(),
                port: port.clone(),
                known: node.ports.iter().skip(1).map(|(name, _)| name.clone()).collect(),
            }),
        }
    }

    fn stage(&self, upstream: Upstream) -> usize {
        match upstream {
            Upstream::Source(_) => 0,
            Upstream::Operator(index, _) => self.plan.operators.get(index).map_or(0, |o| o.stage),
        }
    }

    fn connect(&mut self, upstream: Upstream, target: Target) {
        let targets = match upstream {
            Upstream::Source(index) => self.plan.sources.get_mut(index).map(|s| &mut s.targets),
            Upstream::Operator(index, port) => self.plan.operators.get_mut(index).and_then(|o| o.ports.get_mut(port)).map(|p| &mut p.1),
        };
        if let Some(targets) = targets {
            targets.push(target);
        }
    }
}

/// What must be the same for stored state to be read: a filter may be added, a keyed operator may not change its key.
fn hash(job: &Job, components: &[ComponentFacts]) -> String {
    let mut text = format!("shards {}\n", job.spec.shards);
    for (operator, facts) in job.spec.operators.iter().zip(components) {
        if operator.key.is_some() {
            text += &format!("{} {:?} {}\n", operator.id, operator.key, facts.states.join(","));
        }
    }
    Sha256::digest(text).iter().take(8).map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
#[path = "build_tests.rs"]
mod tests;
