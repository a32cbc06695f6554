//! From job file to dataflow: pure, and blind to how anything runs.
//!
//! The graph is cut at keyed edges. What lies between two cuts runs chained in one call stack of a worker; at a cut
//! records go to the worker that owns their key's shard. An operator's *stage* counts the cuts before it: a barrier
//! reaches stage n on a worker only when it has passed stage n - 1 there.

mod build;
mod render;

pub use build::PlanError;

/// Which function interface a component exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FunctionKind {
    /// `transform-function`: stateless.
    Transform,
    /// `process-function`: keyed.
    Process,
}

/// What the planner has to know of an operator's component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentFacts {
    /// Function interface.
    pub kind: FunctionKind,
    /// Inputs declared by name; empty = one input that takes the union of all.
    pub inputs: Vec<String>,
    /// Ports declared beside the main one.
    pub ports: Vec<String>,
    /// States: name, kind and version as text, for the plan's hash.
    pub states: Vec<String>,
}

/// Where records go next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// An operator's input.
    Operator {
        /// Index in [`Plan::operators`].
        index: usize,
        /// Number of the input.
        input: u32,
    },
    /// A sink, by its index in [`Plan::sinks`].
    Sink(usize),
}

/// A source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceNode {
    /// Id in the job file.
    pub id: String,
    /// Who reads it.
    pub targets: Vec<Target>,
}

/// An operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorNode {
    /// Id in the job file.
    pub id: String,
    /// Index in the job file.
    pub position: usize,
    /// Function interface.
    pub kind: FunctionKind,
    /// How its input is keyed; `None` = it takes records as they come.
    pub key: Option<weir_spec::Key>,
    /// Per port (0 is the main one) its name and who reads it.
    pub ports: Vec<(String, Vec<Target>)>,
    /// What becomes of a record that it cannot process.
    pub on_error: OnError,
    /// Keyed edges before it, its own included.
    pub stage: usize,
}

/// What becomes of a poison record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// The job stops.
    Fail,
    /// It is counted and left out.
    Skip,
    /// It goes to a sink, by its index in [`Plan::sinks`].
    DeadLetter(usize),
}

/// A dataflow that can be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Name of the job.
    pub name: String,
    /// Number of shards: fixed for a run.
    pub shards: u16,
    /// Sources in the order of the job file.
    pub sources: Vec<SourceNode>,
    /// Operators, upstream before downstream.
    pub operators: Vec<OperatorNode>,
    /// Ids of the sinks in the order of the job file.
    pub sinks: Vec<String>,
    /// Highest stage.
    pub stages: usize,
    /// Hash of what stored state depends on: shards, keyed operators, how they are keyed, their states.
    pub hash: String,
}

impl Plan {
    /// Plans `job`, given the facts of each operator's component in the order of the job file.
    ///
    /// # Errors
    /// Names the operator, what does not fit, and how to mend it.
    pub fn new(job: &weir_spec::Job, components: &[ComponentFacts]) -> Result<Self, PlanError> {
        build::build(job, components)
    }

    /// The keyed operators: each has an exchange before it.
    pub fn keyed(&self) -> impl Iterator<Item = (usize, &OperatorNode)> {
        self.operators.iter().enumerate().filter(|(_, o)| o.key.is_some())
    }
}
