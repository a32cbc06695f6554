//! What can go wrong in a guest, and what it means for the batch at hand.

use super::wit::Reject;

/// How one call ended badly. Nothing of such a call is kept.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The guest trapped: unreachable code, memory access, stack, or no fuel left.
    #[error("trapped: {0}")]
    Trap(String),
    /// The deadline passed. Wall clock decides no record's fate: a record that runs into it alone restarts the job and
    /// is no poison.
    #[error("ran longer than its deadline of {0:?}")]
    Deadline(std::time::Duration),
    /// The guest's answer breaks a rule of the interface.
    #[error("returned malformed output: {0}")]
    Malformed(String),
    /// The guest answered `failed`.
    #[error("failed: {0}")]
    Failed(String),
    /// The guest wants one record taken out.
    #[error("rejected record {}: {}", .0.position, .0.reason)]
    Rejected(Reject),
    /// The guest asks for the same call after a back-off.
    #[error("asks for a retry: {0}")]
    Retry(String),
    /// The guest asks to stop the job.
    #[error("reported a fatal fault: {0}")]
    Fatal(String),
    /// The state of the batch's keys is more than one call should carry: the batch is to be cut.
    #[error("the keys of the batch have {0} bytes of state")]
    TooMuchState(usize),
    /// State could not be read: the host's fault, not the guest's.
    #[error(transparent)]
    State(#[from] crate::state::Error),
}

impl CallError {
    /// Its kind in metrics.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Trap(_) => "trap",
            Self::Deadline(_) => "deadline",
            Self::Malformed(_) => "malformed",
            Self::Failed(_) => "failed",
            Self::Rejected(_) => "rejected",
            Self::Retry(_) => "retry",
            Self::Fatal(_) => "fatal",
            Self::TooMuchState(_) => "too-much-state",
            Self::State(_) => "state",
        }
    }
}

/// What a user can do about a component that is not there.
fn how_to_mend(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::NotFound => "; build it, or mend its path, which begins at the job file's folder",
        _ => "",
    }
}

/// Why a component cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("operator {operator}: cannot read component {path}: {source}{}", how_to_mend(source))]
    Read {
        /// Operator of the job file.
        operator: String,
        /// Path as resolved.
        path: std::path::PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// The file is no component, or not for this wasmtime.
    #[error("operator {operator}: {path} is not a WebAssembly component that Weir can load: {reason}")]
    Compile {
        /// Operator of the job file.
        operator: String,
        /// Path as resolved.
        path: std::path::PathBuf,
        /// Cause.
        reason: String,
    },
    /// An import that the host does not offer.
    #[error("operator {operator}: {path} imports what is not granted: {reason}")]
    Import {
        /// Operator of the job file.
        operator: String,
        /// Path as resolved.
        path: std::path::PathBuf,
        /// Cause.
        reason: String,
    },
    /// No function interface among the exports.
    #[error(
        "operator {operator}: {path} exports neither {transform} nor {process}: build it against world `transform` or `processor` of weir:operator@0.1.0"
    )]
    NoFunction {
        /// Operator of the job file.
        operator: String,
        /// Path as resolved.
        path: std::path::PathBuf,
        /// Name of the transform interface.
        transform: &'static str,
        /// Name of the process interface.
        process: &'static str,
    },
    /// `init` refused the configuration, or trapped.
    #[error("operator {operator}: init failed: {reason}; check `config` of this operator in the job file")]
    Init {
        /// Operator of the job file.
        operator: String,
        /// Cause in the guest's words.
        reason: String,
    },
    /// A later instance declared other things than the first.
    #[error(
        "operator {operator}: init declared other states, ports, inputs or metrics than the first time; it must always declare the same"
    )]
    Undecided {
        /// Operator of the job file.
        operator: String,
    },
    /// Two metrics of functions would have one name.
    #[error(
        "operator {operator}: its metric `{metric}` and one of operator {other} would both be exported as {exported}; rename one of the metrics or operators"
    )]
    MetricTwice {
        /// Operator of the job file.
        operator: String,
        /// The metric as its component declares it.
        metric: String,
        /// The operator that has the name already.
        other: String,
        /// The name.
        exported: String,
    },
    /// The engine could not be set up.
    #[error("the WebAssembly engine could not be set up: {0}")]
    Engine(String),
}
