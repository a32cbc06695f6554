//! What a component declares in `init`.

use super::{host::new_name, metrics};
use std::collections::HashSet;
use wasmtime::{Result, bail};

/// Kind of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StateKind {
    /// One value per key.
    Value,
    /// Entries per key, each stored by itself.
    Map,
}

/// A state as declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclaredState {
    /// Name, unique within the operator.
    pub name: String,
    /// Kind.
    pub kind: StateKind,
    /// Version of the stored values' format.
    pub version: u32,
}

/// Inputs, ports, states and metrics, each in the order of declaration.
#[derive(Clone, Debug, Default)]
pub struct Declarations {
    /// Names of the inputs; empty = one input.
    pub inputs: Vec<String>,
    /// Names of the ports beside the main one: port 1 is the first.
    pub ports: Vec<String>,
    /// States of both kinds.
    pub states: Vec<DeclaredState>,
    /// Counters.
    pub counters: Vec<String>,
    /// Gauges.
    pub gauges: Vec<String>,
    /// Histograms with their bucket bounds.
    pub histograms: Vec<(String, Vec<f64>)>,
    seen: HashSet<(u8, String)>,
}

impl PartialEq for Declarations {
    fn eq(&self, other: &Self) -> bool {
        (&self.inputs, &self.ports, &self.states, &self.counters, &self.gauges, &self.histograms)
            == (&other.inputs, &other.ports, &other.states, &other.counters, &other.gauges, &other.histograms)
    }
}

const INPUT: u8 = 0;
const PORT: u8 = 1;
const STATE: u8 = 2;
const METRIC: u8 = 3;
/// More than any real function needs, few enough for labels and lookups.
const MAX_STATES: usize = 64;
const MAX_METRICS: usize = 64;
const MAX_INPUTS: usize = 64;

impl Declarations {
    pub(super) fn input(&mut self, name: String) -> Result<u32> {
        new_name(&mut self.seen, INPUT, "input", &name)?;
        if self.inputs.len() == MAX_INPUTS {
            bail!("more than {MAX_INPUTS} inputs");
        }
        self.inputs.push(name);
        Ok(self.inputs.len() as u32 - 1)
    }

    pub(super) fn port(&mut self, name: String) -> Result<u8> {
        new_name(&mut self.seen, PORT, "port", &name)?;
        let Ok(port) = u8::try_from(self.ports.len() + 1) else { bail!("more than 255 ports") };
        self.ports.push(name);
        Ok(port)
    }

    pub(super) fn value_state(&mut self, name: String, version: u32) -> Result<u32> {
        self.state(name, StateKind::Value, version)?;
        Ok(self.value_states().count() as u32 - 1)
    }

    pub(super) fn map_state(&mut self, name: String, version: u32) -> Result<u32> {
        self.state(name, StateKind::Map, version)?;
        Ok(self.map_states().count() as u32 - 1)
    }

    fn state(&mut self, name: String, kind: StateKind, version: u32) -> Result<()> {
        new_name(&mut self.seen, STATE, "state", &name)?;
        if self.states.len() == MAX_STATES {
            bail!("more than {MAX_STATES} states");
        }
        self.states.push(DeclaredState { name, kind, version });
        Ok(())
    }

    fn metric(&mut self, name: &str) -> Result<()> {
        // As Prometheus will see it: two that differ in other characters only would be one series with two values.
        new_name(&mut self.seen, METRIC, "metric", &metrics::clean(name))?;
        if metrics::is_taken(name) {
            bail!("metric `{name}` is the host's");
        }
        if self.counters.len() + self.gauges.len() + self.histograms.len() == MAX_METRICS {
            bail!("more than {MAX_METRICS} metrics");
        }
        Ok(())
    }

    pub(super) fn counter(&mut self, name: String) -> Result<u32> {
        self.metric(&name)?;
        self.counters.push(name);
        Ok(self.counters.len() as u32 - 1)
    }

    pub(super) fn gauge(&mut self, name: String) -> Result<u32> {
        self.metric(&name)?;
        self.gauges.push(name);
        Ok(self.gauges.len() as u32 - 1)
    }

    pub(super) fn histogram(&mut self, name: String, bounds: Vec<f64>) -> Result<u32> {
        self.metric(&name)?;
        if bounds.len() > 64 || !bounds.iter().all(|b| b.is_finite()) || !bounds.windows(2).all(|w| matches!(w, [a, b] if a < b)) {
            bail!("histogram `{name}`: the bounds must be at most 64 finite, rising numbers");
        }
        self.histograms.push((name, bounds));
        Ok(self.histograms.len() as u32 - 1)
    }

    pub(super) fn has_counter(&self, id: u32) -> Result<()> {
        declared("counter", id, self.counters.len())
    }

    pub(super) fn has_gauge(&self, id: u32) -> Result<()> {
        declared("gauge", id, self.gauges.len())
    }

    pub(super) fn has_histogram(&self, id: u32) -> Result<()> {
        declared("histogram", id, self.histograms.len())
    }

    /// Value states with their positions, in the order of their ids.
    pub fn value_states(&self) -> impl Iterator<Item = (usize, &DeclaredState)> {
        self.of_kind(StateKind::Value)
    }

    /// Map states with their positions, in the order of their ids.
    pub fn map_states(&self) -> impl Iterator<Item = (usize, &DeclaredState)> {
        self.of_kind(StateKind::Map)
    }

    fn of_kind(&self, kind: StateKind) -> impl Iterator<Item = (usize, &DeclaredState)> {
        self.states.iter().enumerate().filter(move |(_, s)| s.kind == kind)
    }

    pub(super) fn map_position(&self, id: u32) -> Option<usize> {
        self.map_states().nth(id as usize).map(|(position, _)| position)
    }
}

fn declared(what: &str, id: u32, count: usize) -> Result<()> {
    if id as usize >= count {
        bail!("{what} {id} was not declared ({count} are)");
    }
    Ok(())
}
