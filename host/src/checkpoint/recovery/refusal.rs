//! Why a job does not start. Each text says what is wrong, where, and how to mend it.

use super::SplitId;
use crate::checkpoint::{MetadataError, StateKind};

fn perhaps(to: Option<&str>) -> String {
    to.map_or_else(String::new, |id| format!("; has it become {id}, which declares the same states? Then name it so again"))
}

fn among(states: &[String]) -> String {
    if states.is_empty() { String::new() } else { format!("; it declares {}", states.join(", ")) }
}

/// A reason to stop at the start. None of them is passed over; only `--fresh` gives the old run up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The store says that a run has begun, the commit log knows nothing.
    #[error(
        "run {run} has begun by the checkpoint store, but nothing is committed for it: the offsets expired or were deleted, the topic \
         was made anew, or the job points to another cluster or group. Point it back, begin a new run with the last checkpoint by \
         --from-checkpoint, or give up the state with --fresh"
    )]
    NothingCommitted {
        /// The run that the marker names.
        run: String,
    },
    /// The store is another job's.
    #[error(
        "the checkpoint store is that of job {owner}, and this is job {job}: give it a store of its own, or its name back. A renamed \
         job goes on from a savepoint; --fresh does not take another job's store either"
    )]
    OtherJob {
        /// The job that the marker names.
        owner: String,
        /// This job.
        job: String,
    },
    /// A run that would go back to the savepoint that the command line names.
    #[error(
        "epoch {epoch} of run {run} is committed, and it has not ended, but the checkpoint store does not say how it began: the job \
         points to another store, or it was lost or damaged. Point it back, start without the savepoint, or give up what was done \
         since it with --fresh"
    )]
    StoreLost {
        /// The run that is committed.
        run: String,
        /// Its epoch.
        epoch: u64,
    },
    /// Some places hold a commit, this one does not.
    #[error(
        "run {run} has committed, but no offset is committed for {split}: it expired or was deleted. \
         Restore the offset, begin a new run with the last checkpoint by --from-checkpoint, or give up the state with --fresh"
    )]
    MissingOffset {
        /// The split without an offset.
        split: SplitId,
        /// The run that the other commits name.
        run: String,
    },
    /// Someone else commits here.
    #[error(
        "the offset committed for {place} is not this job's: {reason}. Another program uses the group, or a tool reset its offsets. \
         Give the job a group of its own, begin a new run with the last checkpoint by --from-checkpoint, or begin anew with --fresh"
    )]
    ForeignMetadata {
        /// Where the commit stands.
        place: String,
        /// What is wrong with its metadata.
        reason: MetadataError,
    },
    /// A commit of a run that shares its shards in another way.
    #[error(
        "{place} is committed by a run in mode {found}, this job runs in mode {expected}: \
         take a savepoint in mode {found} and start from it, or begin anew with --fresh"
    )]
    OtherMode {
        /// Where the commit stands.
        place: String,
        /// The mode it names.
        found: String,
        /// The mode of this job.
        expected: &'static str,
    },
    /// Two runs commit under one group.
    #[error(
        "{place} is committed by run {run}, {other_place} by run {other_run}: two jobs share a group. \
         Give each its own, or begin anew with --fresh"
    )]
    TwoRuns {
        /// Where the one commit stands.
        place: String,
        /// Its run.
        run: String,
        /// Where the other stands.
        other_place: String,
        /// Its run.
        other_run: String,
    },
    /// Commits of one run that cannot both be its last.
    #[error(
        "{place} is committed at epoch {epoch}, {other_place} at epoch {other_epoch}, though each commit names both: \
         someone changed one of them. Set the older one to the newer commit, or begin anew with --fresh"
    )]
    CommitsDiffer {
        /// Where the one commit stands.
        place: String,
        /// Its epoch.
        epoch: u64,
        /// Where the other stands.
        other_place: String,
        /// Its epoch.
        other_epoch: u64,
    },
    /// The run has ended for good.
    #[error("run {run} is closed: it was stopped with a savepoint. Start from the savepoint, or begin anew with --fresh")]
    ClosedRun {
        /// The run.
        run: String,
    },
    /// The commit names a checkpoint that the store has not.
    #[error(
        "checkpoint {name}, which epoch {epoch} of run {run} committed, is not in the checkpoint store: the job points to another store, \
         or it was deleted. Point it back, or give up the state with --fresh"
    )]
    AbsentManifest {
        /// Name in the store.
        name: String,
        /// The run.
        run: String,
        /// The epoch.
        epoch: u64,
    },
    /// The checkpoint that the commit names is damaged, or not the one meant.
    #[error(
        "checkpoint {name} cannot be used: {reason}. Bring the object back from a copy, start from a \
         savepoint, or give up the state with --fresh"
    )]
    CorruptManifest {
        /// Name in the store.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// Written by a later release.
    #[error(
        "{what} has format {found}, this build reads up to {known}: start the job with the release that wrote it, or a later one; \
         --fresh gives up its state"
    )]
    NewerFormat {
        /// A commit or a checkpoint.
        what: String,
        /// Format found.
        found: u32,
        /// Newest format that this build reads.
        known: u32,
    },
    /// An operator of the checkpoint is not in the job.
    #[error(
        "operator {operator} has state in the checkpoint ({}), and the job has no operator of that id{}. Give it back, \
         or give up all state with --fresh", .states.join(", "), perhaps(.renamed.as_deref())
    )]
    OperatorGone {
        /// Its id.
        operator: String,
        /// Names of its states.
        states: Vec<String>,
        /// An operator of the job with the same states.
        renamed: Option<String>,
    },
    /// An operator is keyed in another way, so its state belongs to other keys.
    #[error(
        "operator {operator} keeps its state by {stored}, the job now keys it by {now}: what is stored belongs to other keys. \
         Set the key back, give the operator another id beside the old one, or give up all state with --fresh"
    )]
    OtherKey {
        /// The operator.
        operator: String,
        /// The key in the checkpoint.
        stored: String,
        /// The key now.
        now: String,
    },
    /// The component does not declare a state that the checkpoint holds.
    #[error(
        "operator {operator}: the checkpoint holds its state `{state}`, which its component does not declare any more{}. Declare it, \
         or give up all state with --fresh", among(.now)
    )]
    StateGone {
        /// The operator.
        operator: String,
        /// The state.
        state: String,
        /// States that are declared.
        now: Vec<String>,
    },
    /// A state has become one of another kind.
    #[error(
        "operator {operator}: its state `{state}` is a {} state in the checkpoint, and a {} state in its component: give the new one \
         another name, or give up all state with --fresh", .stored.as_str(), .now.as_str()
    )]
    OtherKind {
        /// The operator.
        operator: String,
        /// The state.
        state: String,
        /// Kind in the checkpoint.
        stored: StateKind,
        /// Kind declared.
        now: StateKind,
    },
    /// A state's stored values have another version.
    #[error(
        "operator {operator}: the values of its state `{state}` are of version {stored} in the checkpoint, its component declares version \
         {now}, and values are not migrated: run the component that declares version {stored}, declare the new values under another \
         name, or give up all state with --fresh"
    )]
    OtherVersion {
        /// The operator.
        operator: String,
        /// The state.
        state: String,
        /// Version in the checkpoint.
        stored: u32,
        /// Version declared.
        now: u32,
    },
    /// The number of shards has changed.
    #[error(
        "the run has {found} shards, the job now asks for {expected}: they are fixed for a run. Set {found} \
         again, or begin anew with --fresh"
    )]
    OtherShards {
        /// Shards in the manifest.
        found: u16,
        /// Shards of the job now.
        expected: u16,
    },
    /// Offset and manifest come from one commit and must agree.
    #[error(
        "{split} is committed at offset {committed}, its checkpoint of epoch {epoch} says {}: someone moved the offset. \
         Set it back to what the checkpoint says, or begin anew with --fresh",
        .manifest.map_or_else(|| "nothing of it".to_owned(), |next| next.to_string())
    )]
    OffsetDiffers {
        /// The split.
        split: SplitId,
        /// The committed offset.
        committed: i64,
        /// The manifest's; `None`: it does not have the split.
        manifest: Option<i64>,
        /// The manifest's epoch.
        epoch: u64,
    },
    /// Records that the state has not seen are gone, or the log is shorter than it was.
    #[error(
        "{split} goes on at offset {next}, but the log holds {start} to {}: retention took records that were not processed yet, \
         or the topic was made anew. --fresh begins with what is there",
        .end.map_or_else(|| "an unknown end".to_owned(), |end| end.to_string())
    )]
    OutOfRange {
        /// The split.
        split: SplitId,
        /// Offset of the next record.
        next: i64,
        /// First offset there.
        start: i64,
        /// Offset after the last there.
        end: Option<i64>,
    },
    /// A partition of the checkpoint is no more.
    #[error("{split} has a position in the checkpoint, but is not there any more: bring it back, or begin anew with --fresh")]
    Vanished {
        /// The split.
        split: SplitId,
    },
    /// What a savepoint holds does not fit the job.
    #[error("savepoint {id}: {reason}{way_out}")]
    Savepoint {
        /// Its id.
        id: String,
        /// What does not fit.
        reason: Box<Refusal>,
        /// A way out that only savepoints have.
        way_out: &'static str,
    },
}
