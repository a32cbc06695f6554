//! How a command ends badly: one message for people, one status for scripts.

use std::fmt::Display;
use weir_host::fault::Kind;

/// Status after a second signal, as shells have it for Ctrl-C.
pub const INTERRUPTED: u8 = 130;

/// Why a command failed.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    /// Decides the status of the process.
    pub kind: Kind,
    /// What happened and, where there is one, how to mend it.
    pub message: String,
}

impl Failure {
    /// A failure of this kind.
    pub fn new(kind: Kind, error: impl Display) -> Self {
        Self { kind, message: error.to_string() }
    }

    /// What the user gave cannot be used.
    pub fn usage(error: impl Display) -> Self {
        Self::new(Kind::BadJob, error)
    }

    /// What the command stands on does not work.
    pub fn world(error: impl Display) -> Self {
        Self::new(Kind::World, error)
    }
}
