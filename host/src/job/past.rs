//! What earlier attempts of this process have left behind: by it a process that was taken over knows itself as such.

use super::{Error, world::World};
use crate::{
    checkpoint::{CommitMetadata, MetadataError},
    clock,
    commit::{self, LogError},
    kafka::{Cluster, Consumer, ConsumerSettings},
};
use std::time::Duration;

/// Commits remembered: the last one that succeeded, and those whose outcome nobody knew.
const KEPT: usize = 4;
/// A look at committed offsets fetches no records: the least memory for them, in bytes.
const NO_PREFETCH: usize = 1;
/// Longest look at the committed offsets before the transactional id is taken over.
const LOOK: Duration = Duration::from_secs(10);

/// What a process remembers from attempt to attempt.
#[derive(Default)]
pub(super) struct Past {
    /// A new run is to be begun.
    pub fresh: bool,
    /// RocksDB has shown damage: it is loaded anew.
    pub distrusts_disk: bool,
    /// What stands in the names of copies from a savepoint, and the job's commits when it was drawn.
    copies: Option<(Vec<CommitMetadata>, String)>,
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

    /// What stands in the names of copies from a savepoint: the same in every attempt that finds these commits, so that it goes on
    /// where the one before was cut off. Whoever has committed in between may be about to delete what that one has copied.
    pub fn copies(&mut self, commits: Vec<CommitMetadata>) -> String {
        let copies = self.copies.take().filter(|(found, _)| *found == commits);
        self.copies.insert(copies.unwrap_or_else(|| (commits, clock::unique_id()))).1.clone()
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

    /// Refuses to take the job away from a process that has committed since (rule 9). A commit on its way is not waited for:
    /// it may be this process's own, which only the takeover resolves.
    ///
    /// # Errors
    /// [`LogError::Fenced`], or why the committed offsets cannot be read: without them nothing is taken over.
    pub fn check_owner(&self, cluster: &Cluster, group: &str) -> Result<(), Error> {
        let Some((topic, partition)) = &self.place else { return Ok(()) };
        let settings = ConsumerSettings {
            group: group.to_owned(),
            client_id: group.to_owned(),
            prefetch: NO_PREFETCH,
            queues: 1,
            report_ends: false,
            stable: false,
        };
        let looking = Consumer::new(cluster, &settings)?;
        let found = looking.committed(&[(topic, *partition)], LOOK)?;
        let Some(found) = found.first().filter(|found| found.offset.is_some()) else { return Ok(()) };
        let meanwhile = match CommitMetadata::parse(&found.metadata) {
            Ok(last) if self.commits.contains(&last) => return Ok(()),
            Ok(last) => format!("epoch {} of run {}", last.epoch, last.run),
            // Of no process: what it means is judged when the job is recovered.
            Err(MetadataError::Foreign { .. }) => return Ok(()),
            Err(error) => error.to_string(),
        };
        let reason = format!("another process has committed meanwhile: {meanwhile}");
        Err(commit::Error::Log(LogError::Fenced { reason }).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Mode;

    #[test]
    fn rule_21_what_an_attempt_has_copied_is_used_again_only_while_nobody_has_committed() {
        let mut past = Past::new(false);
        let commit = |run: &str| vec![CommitMetadata::empty(run, Mode::Alone)];
        let first = past.copies(vec![]);
        assert_eq!(past.copies(vec![]), first);
        let second = past.copies(commit("a"));
        assert_ne!(second, first);
        assert_eq!(past.copies(commit("a")), second);
        assert_ne!(past.copies(commit("b")), second);
        assert_ne!(past.copies(vec![]), first, "it was given up");
    }
}
