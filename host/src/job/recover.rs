//! Gathers the facts of a start, lets the pure decision decide, and carries it out.

use super::{
    Error, Prepared, StartFrom,
    past::Past,
    world::{self, BROKER_TIMEOUT, Single, World},
};
use crate::{
    checkpoint::{
        self, Checkpoint, CommitMetadata, Decision, Facts, ManifestRef, MetadataError, Mode, Names, NewRun, OperatorState, RunMarker,
        Savepoint, SinkPosition, SplitPosition, StateDescriptor, StateKind, Store,
        recovery::{
            Committed, Expected, ExpectedOperator, FromSavepoint, ManifestFact, OutOfRange, Position, SavepointFact, SingleCommit,
            SplitFact, SplitId,
        },
    },
    clock,
    commit::{CommitLog, SplitInfo, SplitOffset},
    operator::{self, StateNumbers},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

/// Where a run stands when its workers start.
pub(super) struct Start {
    /// The run has yet to be begun by [`begin`].
    pub new: bool,
    pub run: String,
    /// Id of the savepoint that the run began from, if it did.
    pub began_from: Option<String>,
    pub epoch: u64,
    /// The commit that it starts from.
    pub commit: CommitMetadata,
    pub checkpoint: Option<Checkpoint>,
    /// What [`begin`] makes the checkpoint of, for a new run that begins with a savepoint.
    pub savepoint: Option<Beginning>,
    /// Per split the position to go on from.
    pub positions: Vec<i64>,
}

/// A savepoint that a run begins with.
pub(super) struct Beginning {
    pub savepoint: Savepoint,
    /// States that are left behind, by the numbers of operator and state.
    dropped: Vec<(u16, u16)>,
    /// Objects that the job's last commit needs.
    named: BTreeSet<String>,
    copies: String,
}

impl Start {
    /// How long a file sink was at the commit that the start goes on from; nothing for a sink that it does not know.
    pub fn sink_bytes(&self, id: &str) -> Option<u64> {
        let savepoint = self.savepoint.as_ref().map(|from| &from.savepoint.checkpoint);
        let manifest = &self.checkpoint.as_ref().or(savepoint)?.manifest;
        manifest.sinks.iter().find(|sink| sink.sink == id).map(|sink| sink.bytes)
    }
}

/// Finds out where to go on. A new run is not begun yet: what else may refuse to start comes first.
///
/// # Errors
/// A named refusal (rule 14), or what could not be looked at.
pub(super) fn recover(prepared: &Prepared, world: &World, store: &Store, dir: &Path, past: &mut Past) -> Result<Start, Error> {
    let mut facts = facts(prepared, world, store, past.fresh)?;
    let savepoint = begins_with(prepared, store, dir, &facts)?;
    facts.savepoint = savepoint.as_ref().map(|savepoint| SavepointFact {
        id: savepoint.document.id.clone(),
        checkpoint: savepoint.checkpoint.clone(),
        allow_non_restored: prepared.settings.allow_non_restored_state,
    });
    match checkpoint::decide(&facts) {
        Decision::Refuse(refusal) => Err(refusal.into()),
        Decision::StartFresh => {
            let positions = world::start_positions(prepared, world)?;
            let run = clock::unique_id();
            let commit = CommitMetadata::empty(&run, Mode::Alone);
            Ok(Start { new: true, run, began_from: None, epoch: 0, commit, checkpoint: None, savepoint: None, positions })
        }
        Decision::StartFrom(from) => {
            for what in &from.left_behind {
                tracing::warn!("{what} is left behind in the savepoint");
            }
            let run = clock::unique_id();
            let commit = CommitMetadata::empty(&run, Mode::Alone);
            let FromSavepoint { positions, dropped, .. } = *from;
            let positions = in_order(world, positions);
            let found = facts.manifests.values().filter_map(|fact| match fact {
                ManifestFact::Found(found) => Some(found.files().into_iter().map(|file| file.name)),
                _ => None,
            });
            let named = found.flatten().collect();
            let copies = past.copies(commits(&facts.splits, facts.single.as_ref()).cloned().collect());
            let savepoint = savepoint.map(|savepoint| Beginning { savepoint, dropped, named, copies });
            let began_from = savepoint.as_ref().map(|from| from.savepoint.document.id.clone());
            Ok(Start { new: true, run, began_from, epoch: 0, commit, checkpoint: None, savepoint, positions })
        }
        Decision::Resume(resume) => {
            let marker = marker_of(prepared, &facts, &resume.run);
            if facts.marker.as_ref() != Some(&marker) {
                marker.write(store)?;
            }
            let positions = in_order(world, resume.positions);
            tracing::info!(run = resume.run, epoch = resume.epoch, "resuming");
            for (split, skipped) in &resume.skipped {
                tracing::warn!(%split, skipped, "records are gone that were never read; going on as onOffsetOutOfRange says");
            }
            let manifest = resume.checkpoint.as_ref().map(|c| ManifestRef { name: c.own.name.clone(), checksum: c.own.checksum });
            let commit = CommitMetadata { epoch: resume.epoch, manifest, ..CommitMetadata::empty(&resume.run, Mode::Alone) };
            Ok(Start {
                new: false,
                run: resume.run,
                began_from: marker.savepoint,
                epoch: resume.epoch,
                commit,
                checkpoint: resume.checkpoint,
                savepoint: None,
                positions,
            })
        }
    }
}

fn in_order(world: &World, positions: Vec<(SplitId, i64)>) -> Vec<i64> {
    let positions: BTreeMap<_, _> = positions.into_iter().collect();
    world.splits.iter().map(|s| positions.get(&id(s)).copied().unwrap_or(0)).collect()
}

fn out_of_range(prepared: &Prepared, split: &world::Split) -> OutOfRange {
    let kafka = prepared.job.spec.sources.get(split.source).and_then(|source| source.kafka.as_ref());
    match kafka.map(|kafka| kafka.on_offset_out_of_range).unwrap_or_default() {
        weir_spec::OnOffsetOutOfRange::Fail => OutOfRange::Refuse,
        weir_spec::OnOffsetOutOfRange::Earliest => OutOfRange::Earliest,
        weir_spec::OnOffsetOutOfRange::Latest => OutOfRange::Latest,
    }
}

fn id(split: &world::Split) -> SplitId {
    SplitId { source: split.id.clone(), topic: split.topic.clone(), partition: split.partition }
}

fn marker(prepared: &Prepared, run: &str) -> RunMarker {
    RunMarker::new(run, &prepared.plan.name, clock::now_ms())
}

/// Where the savepoint is that the command line names, if it names one.
fn asked_place(prepared: &Prepared) -> Option<String> {
    match &prepared.settings.from {
        Some(StartFrom::Savepoint(place)) => Some(place.to_string()),
        _ => None,
    }
}

/// What a new run is to begin with. Of the job's own checkpoints it is the committed one where the commit is still known, and
/// otherwise the newest that is there (rule 11). A run that began so goes on: the command line may stay as it is. A
/// savepoint is not needed any more then.
fn begins_with(prepared: &Prepared, store: &Store, dir: &Path, facts: &Facts) -> Result<Option<Savepoint>, Error> {
    let began = checkpoint::began_from(facts);
    let wanted = match &prepared.settings.from {
        None => return Ok(None),
        Some(StartFrom::Savepoint(place)) => {
            let access = prepared.access();
            let goes_on = match Savepoint::look(place, &access, dir)? {
                Some(document) => began == Some(&*document.id),
                None => began_at(facts) == Some(&*place.to_string()),
            };
            let savepoint = (facts.fresh || !goes_on).then(|| Savepoint::open(place, &access, dir));
            return Ok(savepoint.transpose()?);
        }
        Some(StartFrom::Checkpoint(epoch)) => *epoch,
    };
    let fits = |epoch: u64| wanted.is_none_or(|wanted| wanted == epoch);
    if !facts.fresh && began.and_then(checkpoint::epoch_of).is_some_and(fits) && !checkpoint::has_lost_commits(facts) {
        return Ok(None);
    }
    let committed = facts.manifests.values().find_map(|fact| match fact {
        ManifestFact::Found(found) if fits(found.manifest.epoch) => Some((**found).clone()),
        _ => None,
    });
    let found = match committed {
        Some(committed) => Some(committed),
        None => checkpoint::checkpoints(store, fits)?.into_iter().next().inspect(|found| {
            let (run, epoch) = (&found.manifest.run, found.manifest.epoch);
            tracing::warn!(run, epoch, "nothing is known of a commit of this checkpoint: its outputs may be missing");
        }),
    };
    let found = found.ok_or_else(|| checkpoint::Error::NoCheckpoint { store: store.place(), epoch: wanted })?;
    Ok(Some(Savepoint::of(prepared.store(dir)?, found, &prepared.plan.name)?))
}

/// Where the savepoint was that the committed run began from, as its marker says.
fn began_at(facts: &Facts) -> Option<&str> {
    let began_from = checkpoint::began_from(facts)?;
    let marker = facts.marker.as_ref().filter(|marker| marker.savepoint.as_deref() == Some(began_from))?;
    marker.place.as_deref()
}

/// The marker that a run which goes on has to have. A savepoint that the command line names is the one that it began from.
fn marker_of(prepared: &Prepared, facts: &Facts, run: &str) -> RunMarker {
    let own = facts.marker.clone().filter(|marker| marker.run == run);
    let mut marker = own.unwrap_or_else(|| marker(prepared, run));
    marker.savepoint = checkpoint::began_from(facts).map(str::to_owned);
    marker.place = asked_place(prepared).or_else(|| began_at(facts).map(str::to_owned));
    marker
}

/// What a start finds.
fn facts(prepared: &Prepared, world: &World, store: &Store, fresh: bool) -> Result<Facts, Error> {
    let kafka: Vec<_> = world.splits.iter().filter(|s| s.bounds.is_some()).map(|s| (s.topic.as_str(), s.partition)).collect();
    let mut committed = match &world.consumer {
        Some(consumer) if !kafka.is_empty() => consumer.committed(&kafka, BROKER_TIMEOUT)?,
        _ => Vec::new(),
    }
    .into_iter();
    let mut splits = Vec::with_capacity(world.splits.len());
    for split in &world.splits {
        let position = match split.bounds {
            None => Position::ManifestOnly,
            Some(_) => Position::Kafka(committed.next().and_then(|c| {
                let offset = c.offset?;
                Some(Committed { offset, metadata: CommitMetadata::parse(&c.metadata) })
            })),
        };
        let (start, end) = split.bounds.map_or((0, None), |b| (b.low, Some(b.end)));
        splits.push(SplitFact { split: id(split), position, start, end, out_of_range: out_of_range(prepared, split) });
    }
    let single = single(world)?;
    let names: BTreeSet<_> = commits(&splits, single.as_ref()).filter_map(|m| Some(m.manifest.as_ref()?.name.clone())).collect();
    let mut manifests: BTreeMap<String, ManifestFact> = BTreeMap::new();
    for name in names {
        let fact = checkpoint::find_checkpoint(store, &name)?;
        manifests.insert(name, fact);
    }
    let marker = match RunMarker::read(store) {
        Err(error @ checkpoint::Error::Corrupt { .. }) if fresh => {
            tracing::warn!(%error, "the marker of the run before is put anew");
            None
        }
        read => read?,
    };
    let (job, operators) = (prepared.plan.name.clone(), expected_operators(prepared));
    let expected = Expected { job, shards: prepared.plan.shards, operators };
    Ok(Facts { fresh, expected, splits, single, manifests, marker, savepoint: None })
}

/// All commits found, of those that can be read.
fn commits<'a>(splits: &'a [SplitFact], single: Option<&'a SingleCommit>) -> impl Iterator<Item = &'a CommitMetadata> {
    let of_splits = splits.iter().filter_map(|s| match &s.position {
        Position::Kafka(Some(c)) => Some(&c.metadata),
        _ => None,
    });
    of_splits.chain(single.and_then(|s| s.committed.as_ref())).filter_map(|m| m.as_ref().ok())
}

fn expected_operators(prepared: &Prepared) -> Vec<ExpectedOperator> {
    let expected = |(operator, loaded): (&crate::plan::OperatorNode, &Arc<operator::Loaded>)| {
        let states = loaded.declared().states.iter().map(|s| (s.name.clone(), kind_of(s), s.version));
        Some(ExpectedOperator { id: operator.id.clone(), key: key_text(operator.key.as_ref()?), states: states.collect() })
    };
    prepared.plan.operators.iter().zip(&prepared.loaded).filter_map(expected).collect()
}

/// A key as manifests name it. Frozen.
fn key_text(key: &weir_spec::Key) -> String {
    match key {
        weir_spec::Key::Record => "record".to_owned(),
        weir_spec::Key::Json(path) => format!("json {path}"),
    }
}

fn kind_of(declared: &operator::DeclaredState) -> StateKind {
    match declared.kind {
        operator::StateKind::Value => StateKind::Value,
        operator::StateKind::Map => StateKind::Map,
    }
}

fn single(world: &World) -> Result<Option<SingleCommit>, Error> {
    Ok(match (&world.single, &world.log, &world.consumer) {
        (Some(Single::Local), CommitLog::Local(log), _) => {
            Some(SingleCommit { place: log.path().display().to_string(), committed: log.read()?.map(Ok::<_, MetadataError>) })
        }
        (Some(Single::SinkTopic(topic)), _, Some(consumer)) => {
            let found = consumer.committed(&[(topic, 0)], BROKER_TIMEOUT)?.into_iter().next().filter(|c| c.offset.is_some());
            let committed = found.map(|c| CommitMetadata::parse(&c.metadata));
            Some(SingleCommit { place: format!("{topic}[0] of group {}", world.group), committed })
        }
        _ => None,
    })
}

/// Begins a run: concrete start offsets and "empty", or what a savepoint's state has become here, are committed first, then
/// the marker is put, then records flow.
pub(super) fn begin(
    prepared: &Prepared,
    world: &mut World,
    store: &Store,
    start: &mut Start,
    sinks: Vec<SinkPosition>,
) -> Result<(), Error> {
    if let Some(from) = &start.savepoint {
        let position = |(s, next): (&world::Split, &i64)| SplitPosition {
            source: s.id.clone(),
            topic: s.topic.clone(),
            partition: s.partition,
            next: *next,
        };
        let run = NewRun {
            id: &start.run,
            plan: &prepared.plan.hash,
            splits: world.splits.iter().zip(&start.positions).map(position).collect(),
            sinks,
            dropped: &from.dropped,
            named: &from.named,
            copies: &from.copies,
        };
        let mut names = Names::new(&clock::unique_id())?;
        let imported = from.savepoint.import(store, &mut names, run)?;
        let manifest = Some(ManifestRef { name: imported.own.name.clone(), checksum: imported.own.checksum });
        start.epoch = imported.manifest.epoch;
        start.commit = CommitMetadata { epoch: start.epoch, manifest, ..CommitMetadata::empty(&start.run, Mode::Alone) };
        start.checkpoint = Some(imported);
    }
    let kafka = world.splits.iter().zip(&start.positions).filter(|(s, _)| s.bounds.is_some());
    let offset = |(s, offset): (&world::Split, &i64)| SplitOffset { topic: s.topic.clone(), partition: s.partition, offset: *offset };
    let offsets: Vec<_> = kafka.map(offset).collect();
    world.log.commit(&start.commit, &offsets)?;
    tracing::info!(run = start.run, savepoint = start.began_from.as_deref(), "a new run begins");
    let mut marker = marker(prepared, &start.run);
    marker.savepoint = start.began_from.clone();
    marker.place = asked_place(prepared).filter(|_| start.savepoint.is_some());
    marker.write(store)?;
    Ok(())
}

/// The splits as the coordinator commits them.
pub(super) fn split_infos(world: &World, start: &Start) -> Vec<SplitInfo> {
    let info = |(split, next): (&world::Split, &i64)| SplitInfo {
        source: split.id.clone(),
        topic: split.topic.clone(),
        partition: split.partition,
        kafka: split.bounds.is_some(),
        next: *next,
    };
    world.splits.iter().zip(&start.positions).map(info).collect()
}

/// Numbers of all keyed operators and their states: those of the checkpoint by name, new ones behind them.
pub(super) fn numbers(prepared: &Prepared, start: &Start) -> (Vec<OperatorState>, Vec<StateNumbers>) {
    let mut known = start.checkpoint.as_ref().map(|c| c.manifest.operators.clone()).unwrap_or_default();
    let mut all = Vec::with_capacity(prepared.loaded.len());
    for (operator, loaded) in prepared.plan.operators.iter().zip(&prepared.loaded) {
        let declared = &loaded.declared().states;
        if declared.is_empty() {
            all.push(StateNumbers::default());
            continue;
        }
        let at = known.iter().position(|o| o.id == operator.id).unwrap_or_else(|| {
            let number = known.iter().map(|o| o.number + 1).max().unwrap_or(0);
            known.push(OperatorState { id: operator.id.clone(), number, key: None, states: vec![] });
            known.len() - 1
        });
        let Some(entry) = known.get_mut(at) else { continue };
        entry.key = operator.key.as_ref().map(key_text);
        let states = declared.iter().map(|state| number_of(entry, state)).collect();
        all.push(StateNumbers { operator: entry.number, states });
    }
    (known, all)
}

fn number_of(entry: &mut OperatorState, declared: &operator::DeclaredState) -> u16 {
    if let Some(known) = entry.states.iter_mut().find(|s| s.name == declared.name) {
        known.version = declared.version;
        return known.number;
    }
    let number = entry.states.iter().map(|s| s.number + 1).max().unwrap_or(0);
    entry.states.push(StateDescriptor { name: declared.name.clone(), number, kind: kind_of(declared), version: declared.version });
    number
}
