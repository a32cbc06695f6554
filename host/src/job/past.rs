//! What earlier attempts of this process have left behind: by it a process that was taken over knows itself as such.

use super::{Error, world::World};
use crate::{
    checkpoint::CommitMetadata,
    commit::{self, LogError},
    kafka::Consumer,
};
use std::time::Duration;

/// Commits remembered: the last one that succeeded, and those whose outcome nobody knew.
const KEPT: usize = 4;
/// Longest look at the committed offsets before the transactional id is taken over. They may be held up by a transaction
/// that only that resolves.
const LOOK: Duration = Duration::from_secs(5);

/// What a process remembers from attempt to attempt.
#[derive(Default)]
pub(super) struct Past {
    /// A new run is to be begun.
    pub fresh: bool,
    /// RocksDB has shown damage: it is loaded anew.
    pub distrusts_disk: bool,
    /// There was progress since this was last asked for.
    progressed: bool,
    /// A partition that every commit of the job names.
    place: Option<(String, i32)>,
    /// The newest commits of this process, and the one that it began from.
    commits: Vec<CommitMetadata>,
}

impl Past {
    /// The past of a process that has just started.
    pub fn new(fresh: bool) -> Self {
        Self { fresh, ..Self::default() }
    }

    /// An attempt starts with this as the last commit.
    pub fn starts_from(&mut self, world: &World, commit: CommitMetadata) {
        self.place = world.committed_place();
        self.remember([commit]);
    }

    /// These were committed, or may have been.
    fn remember(&mut self, commits: impl IntoIterator<Item = CommitMetadata>) {
        self.commits.extend(commits);
        self.commits.drain(..self.commits.len().saturating_sub(KEPT));
    }

    /// An attempt has ended that sent these commits, and whether there was progress in it.
    pub fn ended(&mut self, (commits, progressed): (Vec<CommitMetadata>, bool)) {
        self.remember(commits);
        self.progressed |= progressed;
    }

    /// Whether there was progress since this was last asked for.
    pub fn take_progressed(&mut self) -> bool {
        std::mem::take(&mut self.progressed)
    }

    /// Refuses to take the job away from a process that has committed since (rule 9).
    ///
    /// # Errors
    /// [`LogError::Fenced`]. What cannot be read now is judged when the job is recovered.
    pub fn check_owner(&self, consumer: &Consumer) -> Result<(), Error> {
        let Some((topic, partition)) = &self.place else { return Ok(()) };
        let Ok(found) = consumer.committed(&[(topic, *partition)], LOOK) else { return Ok(()) };
        let Some(Ok(last)) = found.first().map(|found| CommitMetadata::parse(&found.metadata)) else { return Ok(()) };
        if self.commits.contains(&last) {
            return Ok(());
        }
        let reason = format!("another process has committed epoch {} of run {} meanwhile", last.epoch, last.run);
        Err(commit::Error::Log(LogError::Fenced { reason }).into())
    }
}
