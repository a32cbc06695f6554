#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use crate::checkpoint::{FileRef, Manifest, SplitPosition, StateDescriptor};

mod crash;
mod savepoint;

const NAME: &str = "000000000007-a-7.ckpt";

fn split(partition: i32) -> SplitId {
    SplitId { source: "in".into(), topic: "words".into(), partition }
}

fn commit() -> CommitMetadata {
    let manifest = Some(ManifestRef { name: NAME.into(), checksum: 5 });
    CommitMetadata { run: "r".into(), mode: Mode::Alone, epoch: 7, manifest, closed: false }
}

fn kafka(partition: i32, offset: i64, metadata: CommitMetadata) -> SplitFact {
    let position = Position::Kafka(Some(Committed { offset, metadata: Ok(metadata) }));
    SplitFact { split: split(partition), position, start: 10, end: Some(1000), out_of_range: OutOfRange::Refuse }
}

fn with_states(states: &[(&str, StateKind, u32)]) -> ExpectedOperator {
    let states = states.iter().map(|(name, kind, version)| ((*name).to_owned(), *kind, *version)).collect();
    ExpectedOperator { id: "count".into(), key: "record".into(), states }
}

fn count() -> ExpectedOperator {
    with_states(&[("n", StateKind::Value, 1)])
}

/// What the checkpoint knows of the operator `count`.
fn stored() -> OperatorState {
    let states = vec![StateDescriptor { name: "n".into(), number: 0, kind: StateKind::Value, version: 1 }];
    OperatorState { id: "count".into(), number: 0, key: Some("record".into()), states }
}

fn with_operators(operators: Vec<ExpectedOperator>) -> Facts {
    with(running(), |facts| facts.expected.operators = operators)
}

fn checkpoint() -> Checkpoint {
    let position = |partition, next| SplitPosition { source: "in".into(), topic: "words".into(), partition, next };
    Checkpoint {
        manifest: Manifest {
            shards: 32,
            operators: vec![stored()],
            splits: vec![position(0, 100), position(1, 200)],
            ..Manifest::example(7)
        },
        own: FileRef { name: NAME.into(), bytes: 1, checksum: 5, first_epoch: 7, last_epoch: 7, entries: 1, tombstones: 0 },
    }
}

/// A job in the middle of its run: two partitions, both committed at epoch 7.
fn running() -> Facts {
    Facts {
        fresh: false,
        expected: Expected { job: "count-words".into(), shards: 32, operators: vec![count()] },
        splits: vec![kafka(0, 100, commit()), kafka(1, 200, commit())],
        single: None,
        manifests: [(NAME.to_owned(), ManifestFact::Found(Box::new(checkpoint())))].into(),
        marker: Some(RunMarker::new("r", "count-words", 0)),
        savepoint: None,
    }
}

/// The same job right after the transaction that began the run.
fn begun() -> Facts {
    let empty = CommitMetadata::empty("r", Mode::Alone);
    Facts { splits: vec![kafka(0, 50, empty.clone()), kafka(1, 60, empty)], manifests: BTreeMap::new(), ..running() }
}

fn never_started() -> Facts {
    let mut facts = Facts { marker: None, manifests: BTreeMap::new(), ..running() };
    facts.splits.iter_mut().for_each(|fact| fact.position = Position::Kafka(None));
    facts
}

/// A job whose only commit record is one line elsewhere, and whose source is a file.
fn file_job() -> Facts {
    let mut facts = running();
    facts.splits.iter_mut().for_each(|fact| fact.position = Position::ManifestOnly);
    facts.single = Some(SingleCommit { place: "the state folder".into(), committed: Some(Ok(commit())) });
    facts
}

fn with(mut facts: Facts, change: impl FnOnce(&mut Facts)) -> Facts {
    change(&mut facts);
    facts
}

fn with_manifest(change: impl FnOnce(&mut Checkpoint)) -> Facts {
    let mut changed = checkpoint();
    change(&mut changed);
    with(running(), |facts| facts.manifests = [(NAME.to_owned(), ManifestFact::Found(Box::new(changed)))].into())
}

fn with_metadata(metadata: Result<CommitMetadata, MetadataError>) -> Facts {
    with(running(), |facts| facts.splits[1].position = Position::Kafka(Some(Committed { offset: 200, metadata })))
}

fn added() -> Facts {
    with(running(), |facts| facts.splits.push(SplitFact { position: Position::Kafka(None), ..kafka(2, 0, commit()) }))
}

enum Expect {
    Fresh,
    /// Epoch, whether there is a checkpoint, offsets in the order of the splits.
    Resume(u64, bool, &'static [i64]),
    /// Offsets in the order of the splits, and how much is left behind.
    From(&'static [i64], usize),
    /// The refusal, and what its text must name besides `--fresh` or a savepoint.
    Refuse(fn(&Refusal) -> bool, &'static str),
}
use Expect::{Fresh, From, Refuse, Resume as Resumes};

fn check(rows: Vec<(&str, Facts, Expect)>) {
    for (name, facts, expected) in rows {
        match (decide(&facts), expected) {
            (Decision::StartFresh, Fresh) => {}
            (Decision::Resume(resume), Resumes(epoch, state, offsets)) => {
                assert_eq!((resume.run.as_str(), resume.epoch, resume.checkpoint.is_some()), ("r", epoch, state), "{name}");
                let expected: Vec<_> = facts.splits.iter().map(|fact| fact.split.clone()).zip(offsets.iter().copied()).collect();
                assert_eq!(resume.positions, expected, "{name}");
            }
            (Decision::StartFrom(start), From(offsets, left_behind)) => {
                let expected: Vec<_> = facts.splits.iter().map(|fact| fact.split.clone()).zip(offsets.iter().copied()).collect();
                assert_eq!((start.positions, start.left_behind.len()), (expected, left_behind), "{name}");
            }
            (Decision::Refuse(refusal), Refuse(kind, names)) => {
                let text = refusal.to_string();
                assert!(kind(&refusal), "{name}: {refusal:?}");
                assert!(text.contains(names) && text.contains("--fresh"), "{name}: {text}");
                assert!(!text.contains("  "), "{name}: {text}");
            }
            (decision, _) => unreachable!("{name}: {decision:?}"),
        }
    }
}

#[test]
fn starts_and_resumes() {
    let rows = vec![
        ("nothing anywhere", never_started(), Fresh),
        ("asked for a new run", with(running(), |facts| facts.fresh = true), Fresh),
        ("asked for a new run over damage", with(with_metadata(Err(foreign())), |facts| facts.fresh = true), Fresh),
        (
            "no commit record yet",
            with(never_started(), |facts| facts.single = Some(SingleCommit { place: "f".into(), committed: None })),
            Fresh,
        ),
        ("crash after the first commit, before the marker", with(begun(), |facts| facts.marker = None), Resumes(0, false, &[50, 60])),
        (
            "crash of a new run's start, the marker is the old run's",
            with(begun(), |facts| facts.marker = Some(RunMarker::new("old", "count-words", 0))),
            Resumes(0, false, &[50, 60]),
        ),
        ("crash before the first checkpoint", begun(), Resumes(0, false, &[50, 60])),
        ("crash after a commit", running(), Resumes(7, true, &[100, 200])),
        (
            "crash after a put whose commit did not land",
            with(running(), |facts| {
                facts.manifests.insert("000000000008-a-8.ckpt".into(), ManifestFact::Found(Box::new(checkpoint())));
            }),
            Resumes(7, true, &[100, 200]),
        ),
        (
            "an operator and a state were added",
            with_operators(vec![
                with_states(&[("sum", StateKind::Map, 3), ("n", StateKind::Value, 1)]),
                ExpectedOperator { id: "new".into(), ..count() },
            ]),
            Resumes(7, true, &[100, 200]),
        ),
        (
            "a checkpoint that knows no keys",
            with_manifest(|c| c.manifest.operators.iter_mut().for_each(|o| o.key = None)),
            Resumes(7, true, &[100, 200]),
        ),
        ("the marker is lost", with(running(), |facts| facts.marker = None), Resumes(7, true, &[100, 200])),
        ("rule 16: a new partition starts at its beginning", added(), Resumes(7, true, &[100, 200, 10])),
        (
            "records are gone, and the job goes on with the oldest",
            with(running(), |facts| {
                (facts.splits[0].start, facts.splits[0].out_of_range) = (150, OutOfRange::Earliest);
            }),
            Resumes(7, true, &[150, 200]),
        ),
        (
            "records are gone, and the job goes on with the newest",
            with(running(), |facts| {
                (facts.splits[0].start, facts.splits[0].out_of_range) = (150, OutOfRange::Latest);
            }),
            Resumes(7, true, &[1000, 200]),
        ),
        ("all records read", with(running(), |facts| facts.splits[0].end = Some(100)), Resumes(7, true, &[100, 200])),
        ("the end is not known", with(running(), |facts| facts.splits[0].end = None), Resumes(7, true, &[100, 200])),
        ("rule 12: positions from the manifest", file_job(), Resumes(7, true, &[100, 200])),
        (
            "rule 12: an empty run of files",
            with(file_job(), |facts| {
                facts.single = Some(SingleCommit { place: "f".into(), committed: Some(Ok(CommitMetadata::empty("r", Mode::Alone))) });
            }),
            Resumes(0, false, &[10, 10]),
        ),
        (
            "Kafka and a file together",
            with(running(), |facts| facts.splits[1].position = Position::ManifestOnly),
            Resumes(7, true, &[100, 200]),
        ),
    ];
    check(rows);
}

fn foreign() -> MetadataError {
    MetadataError::Foreign { found: "x".into() }
}

#[test]
fn rule_11_offsets_are_lost_where_some_are_not_there_or_not_this_jobs() {
    let lost = with(running(), |facts| facts.splits[1].position = Position::Kafka(None));
    let all_lost = with(never_started(), |facts| facts.marker = Some(RunMarker::new("r", "count-words", 0)));
    for facts in [lost, all_lost, with_metadata(Err(foreign()))] {
        assert!(has_lost_commits(&facts), "{facts:?}");
    }
    let closed = with(running(), |facts| facts.splits.iter_mut().for_each(close));
    let absent = with(running(), |facts| facts.manifests.clear());
    for facts in [running(), begun(), added(), never_started(), closed, absent] {
        assert!(!has_lost_commits(&facts), "{facts:?}");
    }
}

fn close(split: &mut SplitFact) {
    if let Position::Kafka(Some(Committed { metadata: Ok(metadata), .. })) = &mut split.position {
        metadata.closed = true;
    }
}

#[test]
fn rule_14_commits_that_cannot_be_followed_are_refused() {
    let lost = |facts: &mut Facts| facts.splits[1].position = Position::Kafka(None);
    let rows = vec![
        (
            "another job's store",
            with(running(), |facts| facts.marker = Some(RunMarker::new("r", "other", 0))),
            Refuse(|r| matches!(r, Refusal::OtherJob { .. }), "job other"),
        ),
        (
            "another job's store, anew",
            with(running(), |facts| (facts.marker, facts.fresh) = (Some(RunMarker::new("r", "other", 0)), true)),
            Refuse(|r| matches!(r, Refusal::OtherJob { .. }), "this is job count-words"),
        ),
        (
            "all offsets lost",
            with(never_started(), |facts| facts.marker = Some(RunMarker::new("r", "count-words", 0))),
            Refuse(|r| matches!(r, Refusal::NothingCommitted { .. }), "run r"),
        ),
        (
            "the commit record lost",
            with(file_job(), |facts| facts.single = None),
            Refuse(|r| matches!(r, Refusal::NothingCommitted { .. }), "run r"),
        ),
        ("one offset lost", with(running(), lost), Refuse(|r| matches!(r, Refusal::MissingOffset { .. }), "words[1] of source in")),
        (
            "one offset lost in an empty run",
            with(begun(), lost),
            Refuse(|r| matches!(r, Refusal::MissingOffset { .. }), "words[1] of source in"),
        ),
        ("someone else's metadata", with_metadata(Err(foreign())), Refuse(|r| matches!(r, Refusal::ForeignMetadata { .. }), "words[1]")),
        (
            "a later release's metadata",
            with_metadata(Err(MetadataError::Newer { found: 2, known: 1 })),
            Refuse(|r| matches!(r, Refusal::NewerFormat { found: 2, .. }), "the commit at words[1]"),
        ),
        (
            "rule 2: another mode",
            with_metadata(Err(MetadataError::UnknownMode { found: "group".into() })),
            Refuse(|r| matches!(r, Refusal::OtherMode { .. }), "mode group"),
        ),
        (
            "two runs",
            with_metadata(Ok(CommitMetadata { run: "s".into(), ..commit() })),
            Refuse(|r| matches!(r, Refusal::TwoRuns { .. }), "words[1] of source in by run s"),
        ),
        (
            "one offset is of an older commit",
            with_metadata(Ok(CommitMetadata { epoch: 6, ..commit() })),
            Refuse(|r| matches!(r, Refusal::CommitsDiffer { epoch: 7, other_epoch: 6, .. }), "words[1]"),
        ),
        (
            "one offset names another checkpoint",
            with_metadata(Ok(CommitMetadata { manifest: None, ..commit() })),
            Refuse(|r| matches!(r, Refusal::CommitsDiffer { .. }), "words[1]"),
        ),
        (
            "rule 15: a closed run",
            with(running(), |facts| {
                facts.splits = [0, 1].map(|i| kafka(i, 100, CommitMetadata { closed: true, ..commit() })).into();
            }),
            Refuse(|r| matches!(r, Refusal::ClosedRun { .. }), "run r is closed"),
        ),
    ];
    check(rows);
}

#[test]
fn checkpoints_that_do_not_fit_are_refused() {
    let found = |fact: ManifestFact| with(running(), |facts| facts.manifests = [(NAME.to_owned(), fact)].into());
    let rows = vec![
        ("not in the store", found(ManifestFact::Absent), Refuse(|r| matches!(r, Refusal::AbsentManifest { .. }), NAME)),
        ("not looked up", with(running(), |facts| facts.manifests.clear()), Refuse(|r| matches!(r, Refusal::AbsentManifest { .. }), NAME)),
        (
            "damaged",
            found(ManifestFact::Corrupt("bad block".into())),
            Refuse(|r| matches!(r, Refusal::CorruptManifest { .. }), "bad block"),
        ),
        (
            "of a later release",
            found(ManifestFact::Newer { found: 2, known: 1 }),
            Refuse(|r| matches!(r, Refusal::NewerFormat { .. }), NAME),
        ),
        (
            "another object of that name",
            with_manifest(|c| c.own.checksum = 6),
            Refuse(|r| matches!(r, Refusal::CorruptManifest { .. }), "00000006"),
        ),
        (
            "of another run",
            with_manifest(|c| c.manifest.run = "s".into()),
            Refuse(|r| matches!(r, Refusal::CorruptManifest { .. }), "run s"),
        ),
        ("of another epoch", with_manifest(|c| c.manifest.epoch = 8), Refuse(|r| matches!(r, Refusal::CorruptManifest { .. }), "epoch 8")),
        ("an operator is gone", with_operators(vec![]), Refuse(|r| matches!(r, Refusal::OperatorGone { renamed: None, .. }), "count")),
        (
            "an operator was renamed",
            with_operators(vec![ExpectedOperator { id: "counter".into(), ..count() }]),
            Refuse(|r| matches!(r, Refusal::OperatorGone { renamed: Some(_), .. }), "become counter"),
        ),
        (
            "an operator is keyed in another way",
            with_operators(vec![ExpectedOperator { key: "json user".into(), ..count() }]),
            Refuse(|r| matches!(r, Refusal::OtherKey { .. }), "by record, the job now keys it by json user"),
        ),
        (
            "a state is gone",
            with_operators(vec![with_states(&[("sum", StateKind::Value, 1)])]),
            Refuse(|r| matches!(r, Refusal::StateGone { .. }), "`n`, which its component does not declare any more; it declares sum"),
        ),
        (
            "a state is of another kind",
            with_operators(vec![with_states(&[("n", StateKind::Map, 1)])]),
            Refuse(|r| matches!(r, Refusal::OtherKind { .. }), "`n` is a value state in the checkpoint, and a map state"),
        ),
        (
            "a state's version was raised",
            with_operators(vec![with_states(&[("n", StateKind::Value, 2)])]),
            Refuse(|r| matches!(r, Refusal::OtherVersion { stored: 1, now: 2, .. }), "version 1"),
        ),
        (
            "a state's version was lowered",
            with_operators(vec![with_states(&[("n", StateKind::Value, 0)])]),
            Refuse(|r| matches!(r, Refusal::OtherVersion { stored: 1, now: 0, .. }), "version 0"),
        ),
        (
            "other shards",
            with_manifest(|c| c.manifest.shards = 8),
            Refuse(|r| matches!(r, Refusal::OtherShards { found: 8, expected: 32 }), "8 shards"),
        ),
    ];
    check(rows);
}

#[test]
fn positions_that_do_not_fit_are_refused() {
    let rows = vec![
        (
            "offset moved",
            with_manifest(|c| c.manifest.splits[1].next = 199),
            Refuse(|r| matches!(r, Refusal::OffsetDiffers { committed: 200, manifest: Some(199), .. }), "says 199"),
        ),
        (
            "committed, but not in the manifest",
            with_manifest(|c| c.manifest.splits.truncate(1)),
            Refuse(|r| matches!(r, Refusal::OffsetDiffers { manifest: None, .. }), "nothing of it"),
        ),
        (
            "retention took records",
            with(running(), |facts| facts.splits[0].start = 101),
            Refuse(|r| matches!(r, Refusal::OutOfRange { next: 100, start: 101, .. }), "words[0]"),
        ),
        (
            "the topic was made anew",
            with(running(), |facts| facts.splits[1].end = Some(199)),
            Refuse(|r| matches!(r, Refusal::OutOfRange { next: 200, .. }), "10 to 199"),
        ),
        (
            "out of range in an empty run",
            with(begun(), |facts| facts.splits[0].start = 51),
            Refuse(|r| matches!(r, Refusal::OutOfRange { .. }), "words[0]"),
        ),
        (
            "a file got shorter",
            with(file_job(), |facts| facts.splits[0].end = Some(99)),
            Refuse(|r| matches!(r, Refusal::OutOfRange { .. }), "words[0]"),
        ),
        (
            "rule 16: a partition is gone",
            with(running(), |facts| {
                facts.splits.pop();
            }),
            Refuse(|r| matches!(r, Refusal::Vanished { .. }), "words[1]"),
        ),
    ];
    check(rows);
}
