//! The plan for people: text and Mermaid.

use super::{OnError, Plan, Target};
use std::fmt::Write;

impl Plan {
    /// The plan as indented text: each node with who reads it.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = format!("job {} ({} shards, keyed edges on the longest way: {})\n", self.name, self.shards, self.stages);
        for source in &self.sources {
            line(&mut out, format_args!("  source   {} -> {}", source.id, self.names(&source.targets)));
        }
        for operator in &self.operators {
            let key = match &operator.key {
                None => String::new(),
                Some(weir_spec::Key::Record) => ", keyed by the record's key".into(),
                Some(weir_spec::Key::Json(path)) => format!(", keyed by JSON field {path}"),
            };
            let fault = match operator.on_error {
                OnError::Fail => "fail".into(),
                OnError::Skip => "skip".into(),
                OnError::DeadLetter(sink) => format!("dead letter to {}", self.sink(sink)),
            };
            line(&mut out, format_args!("  operator {} (stage {}{key}; on error: {fault})", operator.id, operator.stage));
            for (port, targets) in &operator.ports {
                let port = if port.is_empty() { "main" } else { port };
                line(&mut out, format_args!("           {port} -> {}", self.names(targets)));
            }
        }
        for sink in &self.sinks {
            line(&mut out, format_args!("  sink     {sink}"));
        }
        out
    }

    /// The plan as a Mermaid flowchart; keyed edges are thick.
    #[must_use]
    pub fn to_mermaid(&self) -> String {
        let mut out = String::from("flowchart LR\n");
        for (i, source) in self.sources.iter().enumerate() {
            line(&mut out, format_args!("  s{i}([{}])", source.id));
        }
        for (i, operator) in self.operators.iter().enumerate() {
            line(&mut out, format_args!("  o{i}[{}]", operator.id));
        }
        for (i, sink) in self.sinks.iter().enumerate() {
            line(&mut out, format_args!("  k{i}[({sink})]"));
        }
        for (i, source) in self.sources.iter().enumerate() {
            self.edges(&mut out, &format!("s{i}"), "", &source.targets);
        }
        for (i, operator) in self.operators.iter().enumerate() {
            for (port, targets) in &operator.ports {
                self.edges(&mut out, &format!("o{i}"), port, targets);
            }
            if let OnError::DeadLetter(sink) = operator.on_error {
                line(&mut out, format_args!("  o{i} -. errors .-> k{sink}"));
            }
        }
        out
    }

    fn edges(&self, out: &mut String, from: &str, port: &str, targets: &[Target]) {
        let label = if port.is_empty() { String::new() } else { format!("|{port}|") };
        for target in targets {
            match *target {
                Target::Sink(sink) => line(out, format_args!("  {from} -->{label} k{sink}")),
                Target::Operator { index, .. } => {
                    let keyed = self.operators.get(index).is_some_and(|o| o.key.is_some());
                    let arrow = if keyed { "==>" } else { "-->" };
                    line(out, format_args!("  {from} {arrow}{label} o{index}"));
                }
            }
        }
    }

    fn names(&self, targets: &[Target]) -> String {
        let name = |target: &Target| match *target {
            Target::Sink(sink) => self.sink(sink).to_owned(),
            Target::Operator { index, .. } => self.operators.get(index).map_or("", |o| &o.id).to_owned(),
        };
        if targets.is_empty() { "(nobody)".into() } else { targets.iter().map(name).collect::<Vec<_>>().join(", ") }
    }

    fn sink(&self, index: usize) -> &str {
        self.sinks.get(index).map_or("", |s| s)
    }
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{text}");
}
