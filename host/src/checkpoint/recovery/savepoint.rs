//! A start from a savepoint: a new run that begins with its state and its positions (rule 15).

use std::collections::BTreeMap;

use super::{Facts, ManifestFact, Refusal, SplitId, agreed_commit, fits, in_range, key};
use crate::checkpoint::{Checkpoint, Manifest, OperatorState, epoch_of};

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

/// A run that is committed and not closed, and whose marker is not in the store, may have begun from this savepoint, and
/// would go back to it (rule 14). What a crash leaves between the transaction that begins a run and its marker looks the
/// same, but then nothing was read yet.
fn keeps_a_run(facts: &Facts, savepoint: &SavepointFact) -> Result<(), Refusal> {
    // A checkpoint of the store itself is no savepoint from elsewhere.
    if facts.fresh || facts.marker.is_some() || epoch_of(&savepoint.id).is_some() {
        return Ok(());
    }
    let Ok(Some(commit)) = agreed_commit(facts) else { return Ok(()) };
    let Some(named) = &commit.manifest else { return Ok(()) };
    let begun = savepoint.checkpoint.manifest.epoch + 1;
    let is_begun = |manifest: &Manifest| (manifest.epoch, manifest.forgotten_until) == (begun, begun);
    match facts.manifests.get(&named.name) {
        Some(ManifestFact::Found(found)) if is_begun(&found.manifest) => Ok(()),
        _ => Err(Refusal::StoreLost { run: commit.run.clone(), epoch: commit.epoch }),
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
