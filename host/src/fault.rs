//! What an error means for the job. Every error of the host is mapped to one of these, in one place each.

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Restart inside the process, by the recovery code, after a back-off.
    Retry,
    /// The job file or the command line is wrong: mend it.
    BadJob,
    /// Something outside does not work: a broker, a disk, a topic.
    World,
    /// The start was refused: what is committed does not fit the job, or its state is damaged.
    Refused,
    /// Another process has taken the job over: stop.
    Fenced,
    /// A user function stops the job.
    Guest,
    /// A mistake in Weir.
    Bug,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 7] = [Self::Retry, Self::BadJob, Self::World, Self::Refused, Self::Fenced, Self::Guest, Self::Bug];

    /// Its name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::BadJob => "bad-job",
            Self::World => "world",
            Self::Refused => "refused",
            Self::Fenced => "fenced",
            Self::Guest => "guest",
            Self::Bug => "bug",
        }
    }

    /// Exit code of the process.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Bug => 1,
            Self::BadJob => 2,
            Self::World | Self::Retry => 3,
            Self::Refused => 4,
            Self::Fenced => 5,
            Self::Guest => 6,
        }
    }
}
