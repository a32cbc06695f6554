//! A start from a savepoint: a new run that begins with its state and its positions (rule 15).

use std::collections::BTreeMap;

use super::{Facts, ManifestFact, Refusal, SplitId, agreed_commit, fits, in_range, key};
use crate::checkpoint::{Checkpoint, CommitMetadata, Manifest, OperatorState, epoch_of};

/// A savepoint that the user asks to start from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavepointFact {
    /// Its id.
    pub id: String,
    /// What it holds.
    pub checkpoint: Checkpoint,
    /// State and positions that nothing in the job claims may be left behind.
    pub allow_non_restored: bool,
}

/// How to begin from a savepoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FromSavepoint {
    /// Offset of the first record of each split.
    pub positions: Vec<(SplitId, i64)>,
    /// States that are left behind, by the numbers of operator and state.
    pub dropped: Vec<(u16, u16)>,
    /// The same and positions left behind, in words.
    pub left_behind: Vec<String>,
}

/// The positions of the splits that the job reads now are the savepoint's, whatever is committed for them: those commits are
/// another run's. A split that the savepoint does not know is new and begins with its first record.
pub(super) fn start_from(facts: &Facts, savepoint: &SavepointFact) -> Result<FromSavepoint, Refusal> {
    plan(facts, savepoint).map_err(|reason| {
        let leaves = matches!(reason, Refusal::OperatorGone { .. } | Refusal::StateGone { .. } | Refusal::Vanished { .. });
        let way_out = if leaves { "; --allow-non-restored-state leaves it behind" } else { "" };
        Refusal::Savepoint { id: savepoint.id.clone(), reason: Box::new(reason), way_out }
    })
}

fn plan(facts: &Facts, savepoint: &SavepointFact) -> Result<FromSavepoint, Refusal> {
    keeps_a_run(facts, savepoint)?;
    let manifest = &savepoint.checkpoint.manifest;
    if manifest.shards != facts.expected.shards {
        return Err(Refusal::OtherShards { found: manifest.shards, expected: facts.expected.shards });
    }
    let (mut dropped, mut left_behind) = (Vec::new(), Vec::new());
    for stored in &manifest.operators {
        let claimed = claimed(facts, stored, savepoint.allow_non_restored);
        for state in stored.states.iter().filter(|state| !claimed.states.iter().any(|s| s.number == state.number)) {
            dropped.push((stored.number, state.number));
            left_behind.push(format!("state `{}` of operator {}", state.name, stored.id));
        }
        if !claimed.states.is_empty() || stored.states.is_empty() {
            fits(&claimed, &facts.expected.operators)?;
        }
    }
    let mut known: BTreeMap<_, _> =
        manifest.splits.iter().map(|split| ((split.source.as_str(), split.topic.as_str(), split.partition), split.next)).collect();
    let mut positions = Vec::with_capacity(facts.splits.len());
    for fact in &facts.splits {
        let next = known.remove(&key(&fact.split)).unwrap_or(fact.start);
        let (split, next, _) = in_range(fact, next)?;
        positions.push((split, next));
    }
    for (source, topic, partition) in known.into_keys() {
        let split = SplitId { source: source.to_owned(), topic: topic.to_owned(), partition };
        if !savepoint.allow_non_restored {
            return Err(Refusal::Vanished { split });
        }
        left_behind.push(format!("the position in {split}"));
    }
    Ok(FromSavepoint { positions, dropped, left_behind })
}

/// Id of the savepoint that the committed run began from: its manifest says so, or its marker. The marker in the store may be
/// another run's, when a crash came before the run's own was put, or a process that was fenced has put its. Where no commit is
/// agreed on, the marker is all there is.
#[must_use]
pub fn began_from(facts: &Facts) -> Option<&str> {
    let commit = agreed_commit(facts).ok().flatten();
    let of_manifest = commit.and_then(|commit| manifest(facts, commit)?.began_from.as_deref());
    let of_run = facts.marker.as_ref().filter(|marker| commit.is_none_or(|commit| commit.run == marker.run));
    of_manifest.or_else(|| of_run?.savepoint.as_deref())
}

/// A run that is committed and not closed, and of which neither marker nor manifest says how it began, may have begun from
/// this savepoint, and would go back to it (rule 14). What a crash leaves between the transaction that begins a run and its
/// marker looks the same before format 4, but then nothing was read yet.
fn keeps_a_run(facts: &Facts, savepoint: &SavepointFact) -> Result<(), Refusal> {
    // A checkpoint of the store itself is no savepoint from elsewhere.
    if facts.fresh || epoch_of(&savepoint.id).is_some() {
        return Ok(());
    }
    let Ok(Some(commit)) = agreed_commit(facts) else { return Ok(()) };
    let is_marked = facts.marker.as_ref().is_some_and(|marker| marker.run == commit.run);
    let begun = savepoint.checkpoint.manifest.epoch + 1;
    let says = |found: &Manifest| found.says_how_it_began() || (found.epoch, found.forgotten_until) == (begun, begun);
    if is_marked || commit.manifest.is_none() || manifest(facts, commit).is_some_and(says) {
        return Ok(());
    }
    Err(Refusal::StoreLost { run: commit.run.clone(), epoch: commit.epoch })
}

/// The manifest that a commit names, where it is there and can be read.
fn manifest<'a>(facts: &'a Facts, commit: &CommitMetadata) -> Option<&'a Manifest> {
    match facts.manifests.get(&commit.manifest.as_ref()?.name)? {
        ManifestFact::Found(found) => Some(&found.manifest),
        _ => None,
    }
}

/// The operator without what nothing claims, if that may be left behind.
fn claimed(facts: &Facts, stored: &OperatorState, allow_non_restored: bool) -> OperatorState {
    let mut claimed = stored.clone();
    if allow_non_restored {
        let now = facts.expected.operators.iter().find(|operator| operator.id == stored.id);
        claimed.states.retain(|state| now.is_some_and(|now| now.states.iter().any(|(name, ..)| *name == state.name)));
    }
    claimed
}
