//! What a start makes of what it finds: a pure function from facts to a decision.
//!
//! Promises: the commit alone decides which checkpoint holds; a run that has begun never starts over by itself (rule 14);
//! whatever does not fit together is refused, with a text that says what, where, and how to mend it. Nothing is repaired.

mod refusal;
mod savepoint;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::{Checkpoint, CommitMetadata, ManifestRef, MetadataError, Mode, OperatorState, RunMarker, StateKind};

pub use refusal::Refusal;
pub use savepoint::{FromSavepoint, SavepointFact, began_from};

/// A part of a source that is read by itself: a topic's partition, a file, a generator.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SplitId {
    /// Id of the source in the job file.
    pub source: String,
    /// Topic, or path of a file.
    pub topic: String,
    /// Partition; 0 where there are none.
    pub partition: i32,
}

impl fmt::Display for SplitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}] of source {}", self.topic, self.partition, self.source)
    }
}

/// What stands in one place of the commit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The committed offset.
    pub offset: i64,
    /// The metadata committed with it.
    pub metadata: Result<CommitMetadata, MetadataError>,
}

/// Where a split's position is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Position {
    /// In Kafka, with the commit's metadata; `None`: nothing is committed there.
    Kafka(Option<Committed>),
    /// In the manifest only: files and generators.
    ManifestOnly,
}

/// A split that the job reads now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitFact {
    /// Which.
    pub split: SplitId,
    /// What is committed for it.
    pub position: Position,
    /// First offset that is there.
    pub start: i64,
    /// Offset after the last that is there; `None` where that is not known.
    pub end: Option<i64>,
    /// What is done when the next record is not there.
    pub out_of_range: OutOfRange,
}

/// What is done when a split does not hold the next record to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutOfRange {
    /// Refuse: it was never processed.
    Refuse,
    /// Go on with the oldest record.
    Earliest,
    /// Go on behind the last one.
    Latest,
}

/// The commit record of a job without a Kafka source: on partition 0 of a sink topic, or a local file (rule 12).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SingleCommit {
    /// Where, for messages.
    pub place: String,
    /// What is committed there.
    pub committed: Option<Result<CommitMetadata, MetadataError>>,
}

/// What the store holds under a name that a commit gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManifestFact {
    /// An epoch's object with its manifest.
    Found(Box<Checkpoint>),
    /// Nothing.
    Absent,
    /// Something that cannot be read, and why.
    Corrupt(String),
    /// An object or manifest of a later release.
    Newer {
        /// Format found.
        found: u32,
        /// Newest format that this build reads.
        known: u32,
    },
}

/// What the job is now, to be compared with what is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Name of the job.
    pub job: String,
    /// Number of shards.
    pub shards: u16,
    /// The operators that keep state.
    pub operators: Vec<ExpectedOperator>,
}

/// An operator that keeps state, as the job has it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedOperator {
    /// Id in the job file.
    pub id: String,
    /// How its input is keyed.
    pub key: String,
    /// Name, kind and version of each state.
    pub states: Vec<(String, StateKind, u32)>,
}

/// Everything that a start has found. The commits are from one stable fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The user asked for a new run (`--fresh`).
    pub fresh: bool,
    /// What the job is now.
    pub expected: Expected,
    /// All splits that the job reads now.
    pub splits: Vec<SplitFact>,
    /// The commit record, where no split carries it.
    pub single: Option<SingleCommit>,
    /// What the store holds under each name that a commit gives.
    pub manifests: BTreeMap<String, ManifestFact>,
    /// The marker in the store. It may be another run's than the committed one.
    pub marker: Option<RunMarker>,
    /// The savepoint to start from, where the user asks for one.
    pub savepoint: Option<SavepointFact>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Begin a new run: commit concrete start offsets and "empty", then put the marker.
    StartFresh,
    /// Begin a new run with a savepoint's state: import it, commit its positions and the import's name, then put the marker.
    StartFrom(Box<FromSavepoint>),
    /// Go on with a run.
    Resume(Box<Resume>),
    /// Stop, and show why.
    Refuse(Refusal),
}

/// How to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resume {
    /// The run. If the marker does not name it yet, a crash came between the first commit and the marker: put it.
    pub run: String,
    /// The last committed epoch; 0 if only the commit that began the run is there.
    pub epoch: u64,
    /// State to restore; `None` while the run is empty.
    pub checkpoint: Option<Checkpoint>,
    /// Offset of the next record of each split.
    pub positions: Vec<(SplitId, i64)>,
    /// Splits that do not hold the next record and go on elsewhere, as the job asks for, and how many offsets away.
    pub skipped: Vec<(SplitId, i64)>,
}

/// Decides.
#[must_use]
pub fn decide(facts: &Facts) -> Decision {
    if let Some(owner) = facts.marker.as_ref().map(|marker| &marker.job).filter(|owner| **owner != facts.expected.job) {
        return Decision::Refuse(Refusal::OtherJob { owner: owner.clone(), job: facts.expected.job.clone() });
    }
    // A run that began from this savepoint goes on: its command line may stay as it is over restarts.
    let unused = |savepoint: &&SavepointFact| facts.fresh || began_from(facts) != Some(savepoint.id.as_str());
    if let Some(savepoint) = facts.savepoint.as_ref().filter(unused) {
        return match savepoint::start_from(facts, savepoint) {
            Ok(start) => Decision::StartFrom(Box::new(start)),
            Err(refusal) => Decision::Refuse(refusal),
        };
    }
    if facts.fresh {
        return Decision::StartFresh;
    }
    match resume(facts) {
        Ok(None) => Decision::StartFresh,
        Ok(Some(resume)) => Decision::Resume(Box::new(resume)),
        Err(refusal) => Decision::Refuse(refusal),
    }
}

/// Whether a run cannot go on because offsets were lost or changed at the broker, whatever else is there.
#[must_use]
pub fn has_lost_commits(facts: &Facts) -> bool {
    let lost = |refusal: &Refusal| {
        matches!(refusal, Refusal::NothingCommitted { .. } | Refusal::MissingOffset { .. } | Refusal::ForeignMetadata { .. })
    };
    resume(facts).is_err_and(|refusal| lost(&refusal))
}

fn resume(facts: &Facts) -> Result<Option<Resume>, Refusal> {
    let Some(commit) = agreed_commit(facts)? else {
        return match &facts.marker {
            None => Ok(None),
            Some(marker) => Err(Refusal::NothingCommitted { run: marker.run.clone() }),
        };
    };
    let checkpoint = commit.manifest.as_ref().map(|named| agreed_checkpoint(facts, commit, named)).transpose()?;
    let positions = match checkpoint {
        Some(checkpoint) => positions_after(facts, checkpoint)?,
        None => positions_of_empty_run(facts, commit)?,
    };
    let elsewhere = |(split, next, wanted): &(SplitId, i64, i64)| (next != wanted).then(|| (split.clone(), next - wanted));
    let skipped = positions.iter().filter_map(elsewhere).collect();
    let positions = positions.into_iter().map(|(split, next, _)| (split, next)).collect();
    Ok(Some(Resume { run: commit.run.clone(), epoch: commit.epoch, checkpoint: checkpoint.cloned(), positions, skipped }))
}

/// The one commit that every place names; `None` if nothing is committed anywhere.
fn agreed_commit(facts: &Facts) -> Result<Option<&CommitMetadata>, Refusal> {
    let of_splits = facts.splits.iter().filter_map(|fact| match &fact.position {
        Position::Kafka(Some(committed)) => Some((fact.split.to_string(), &committed.metadata)),
        Position::Kafka(None) | Position::ManifestOnly => None,
    });
    let single = facts.single.iter().filter_map(|single| Some((single.place.clone(), single.committed.as_ref()?)));
    let mut agreed: Option<(String, &CommitMetadata)> = None;
    for (place, metadata) in of_splits.chain(single) {
        let commit = match metadata {
            Ok(commit) => commit,
            Err(MetadataError::Newer { found, known }) => {
                return Err(Refusal::NewerFormat { what: format!("the commit at {place}"), found: *found, known: *known });
            }
            Err(MetadataError::UnknownMode { found }) => {
                return Err(Refusal::OtherMode { place, found: found.clone(), expected: Mode::Alone.as_str() });
            }
            Err(reason) => return Err(Refusal::ForeignMetadata { place, reason: reason.clone() }),
        };
        if commit.closed {
            return Err(Refusal::ClosedRun { run: commit.run.clone() });
        }
        match &agreed {
            None => agreed = Some((place, commit)),
            Some((first, other)) if other.run != commit.run => {
                return Err(Refusal::TwoRuns {
                    place: first.clone(),
                    run: other.run.clone(),
                    other_place: place,
                    other_run: commit.run.clone(),
                });
            }
            // Alone, a commit names every split, so they cannot differ unless someone changed one of them.
            Some((first, other)) if *other != commit => {
                return Err(Refusal::CommitsDiffer {
                    place: first.clone(),
                    epoch: other.epoch,
                    other_place: place,
                    other_epoch: commit.epoch,
                });
            }
            Some(_) => {}
        }
    }
    Ok(agreed.map(|(_, commit)| commit))
}

/// The checkpoint that the commit names, if it is whole, is the one meant, and fits the job.
fn agreed_checkpoint<'a>(facts: &'a Facts, commit: &CommitMetadata, named: &ManifestRef) -> Result<&'a Checkpoint, Refusal> {
    let name = named.name.clone();
    let checkpoint = match facts.manifests.get(&named.name) {
        Some(ManifestFact::Found(checkpoint)) => checkpoint,
        None | Some(ManifestFact::Absent) => return Err(Refusal::AbsentManifest { name, run: commit.run.clone(), epoch: commit.epoch }),
        Some(ManifestFact::Corrupt(reason)) => return Err(Refusal::CorruptManifest { name, reason: reason.clone() }),
        Some(ManifestFact::Newer { found, known }) => {
            return Err(Refusal::NewerFormat { what: format!("checkpoint {name}"), found: *found, known: *known });
        }
    };
    let manifest = &checkpoint.manifest;
    if checkpoint.own.checksum != named.checksum {
        let reason = format!("its checksum is {:08x}, the commit names {:08x}", checkpoint.own.checksum, named.checksum);
        return Err(Refusal::CorruptManifest { name, reason });
    }
    if (&manifest.run, manifest.mode, manifest.epoch) != (&commit.run, commit.mode, commit.epoch) {
        let reason =
            format!("it is of run {} epoch {}, the commit names run {} epoch {}", manifest.run, manifest.epoch, commit.run, commit.epoch);
        return Err(Refusal::CorruptManifest { name, reason });
    }
    if manifest.shards != facts.expected.shards {
        return Err(Refusal::OtherShards { found: manifest.shards, expected: facts.expected.shards });
    }
    manifest.operators.iter().try_for_each(|stored| fits(stored, &facts.expected.operators))?;
    Ok(checkpoint)
}

/// Whether the job still has what reads an operator's state. What is new in it begins empty; all else about an operator
/// may change.
fn fits(stored: &OperatorState, now: &[ExpectedOperator]) -> Result<(), Refusal> {
    let operator = stored.id.clone();
    let Some(found) = now.iter().find(|operator| operator.id == stored.id) else {
        let states = |o: &ExpectedOperator| o.states.iter().map(|(name, ..)| name).eq(stored.states.iter().map(|s| &s.name));
        let renamed = now.iter().find(|o| states(o)).map(|o| o.id.clone());
        return Err(Refusal::OperatorGone { operator, states: stored.states.iter().map(|s| s.name.clone()).collect(), renamed });
    };
    if let Some(key) = stored.key.as_ref().filter(|key| **key != found.key) {
        return Err(Refusal::OtherKey { operator, stored: key.clone(), now: found.key.clone() });
    }
    for state in &stored.states {
        let name = state.name.clone();
        match found.states.iter().find(|(name, ..)| *name == state.name) {
            None => {
                let now = found.states.iter().map(|(name, ..)| name.clone()).collect();
                return Err(Refusal::StateGone { operator, state: name, now });
            }
            Some((_, kind, _)) if *kind != state.kind => {
                return Err(Refusal::OtherKind { operator, state: name, stored: state.kind, now: *kind });
            }
            Some((_, _, version)) if *version != state.version => {
                return Err(Refusal::OtherVersion { operator, state: name, stored: state.version, now: *version });
            }
            Some(_) => {}
        }
    }
    Ok(())
}

fn positions_after(facts: &Facts, checkpoint: &Checkpoint) -> Result<Vec<(SplitId, i64, i64)>, Refusal> {
    let (splits, epoch) = (&checkpoint.manifest.splits, checkpoint.manifest.epoch);
    let known: BTreeMap<(&str, &str, i32), i64> =
        splits.iter().map(|split| ((split.source.as_str(), split.topic.as_str(), split.partition), split.next)).collect();
    let now: BTreeSet<_> = facts.splits.iter().map(|fact| key(&fact.split)).collect();
    if let Some((source, topic, partition)) = known.keys().find(|split| !now.contains(*split)) {
        let split = SplitId { source: (*source).to_owned(), topic: (*topic).to_owned(), partition: *partition };
        return Err(Refusal::Vanished { split });
    }
    let mut positions = Vec::with_capacity(facts.splits.len());
    for fact in &facts.splits {
        let split = fact.split.clone();
        let next = match (known.get(&key(&split)).copied(), &fact.position) {
            (Some(next), Position::ManifestOnly) => next,
            (Some(next), Position::Kafka(Some(committed))) if committed.offset == next => next,
            (manifest, Position::Kafka(Some(committed))) => {
                return Err(Refusal::OffsetDiffers { split, committed: committed.offset, manifest, epoch });
            }
            (Some(_), Position::Kafka(None)) => return Err(Refusal::MissingOffset { split, run: checkpoint.manifest.run.clone() }),
            // New since the commit: from its beginning, or records written before it was noticed were lost (rule 16).
            (None, _) => fact.start,
        };
        positions.push(in_range(fact, next)?);
    }
    Ok(positions)
}

/// While a run is empty nothing tells a partition added since from an offset lost since, so the missing one is refused.
fn positions_of_empty_run(facts: &Facts, commit: &CommitMetadata) -> Result<Vec<(SplitId, i64, i64)>, Refusal> {
    let position = |fact: &SplitFact| match &fact.position {
        Position::Kafka(Some(committed)) => in_range(fact, committed.offset),
        Position::Kafka(None) => Err(Refusal::MissingOffset { split: fact.split.clone(), run: commit.run.clone() }),
        Position::ManifestOnly => Ok((fact.split.clone(), fact.start, fact.start)),
    };
    facts.splits.iter().map(position).collect()
}

/// The split, where it goes on, and where it should have.
fn in_range(fact: &SplitFact, next: i64) -> Result<(SplitId, i64, i64), Refusal> {
    let split = fact.split.clone();
    if next >= fact.start && fact.end.is_none_or(|end| next <= end) {
        return Ok((split, next, next));
    }
    match fact.out_of_range {
        OutOfRange::Refuse => Err(Refusal::OutOfRange { split, next, start: fact.start, end: fact.end }),
        OutOfRange::Earliest => Ok((split, fact.start, next)),
        OutOfRange::Latest => Ok((split, fact.end.unwrap_or(fact.start), next)),
    }
}

fn key(split: &SplitId) -> (&str, &str, i32) {
    (&split.source, &split.topic, split.partition)
}
