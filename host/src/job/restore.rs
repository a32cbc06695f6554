//! Each worker's state, made from the checkpoint that a start goes on from.

use super::{Error, Prepared, budget::Budget, recover::Start};
use crate::{
    checkpoint::{self, FileRef, Store},
    clock, commit,
    operator::{self, StateNumbers},
    state::{self, StateId},
};
use std::{path::Path, sync::Arc};

/// Memory of a hot entry beside the bytes of its key and value.
const ENTRY_OVERHEAD: u64 = 96;

/// Entries between two looks at how much memory they take.
const LOOK_EVERY: u64 = 4096;

/// Why state is not in memory.
enum Unloaded {
    /// It does not fit.
    TooLarge,
    Failed(Error),
}

impl<E: Into<Error>> From<E> for Unloaded {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Makes the states: in RocksDB, where an earlier process of the run has left it, and it is brought up; in memory if they fit
/// there; or else in RocksDB, which is loaded.
///
/// # Errors
/// What cannot be read of the store, and what RocksDB refuses.
pub(super) fn restore(
    prepared: &Prepared,
    start: &Start,
    store: &Store,
    (dir, distrusts_disk): (&Path, bool),
    numbers: &[StateNumbers],
    budget: &Budget,
) -> Result<(Vec<state::Store>, Option<Arc<state::Disk>>), Error> {
    let (workers, began) = (prepared.workers(), clock::monotonic());
    let files = start.checkpoint.as_ref().map(checkpoint::Checkpoint::files).unwrap_or_default();
    let size: u64 = files.iter().map(|f| f.bytes + f.entries * ENTRY_OVERHEAD).sum();
    let reusable = |mark| !distrusts_disk && start.checkpoint.as_ref().is_some_and(|c| c.brings_up(mark));
    let open = || state::Disk::open(&dir.join("rocksdb"), budget.disk_cache, &start.run, reusable);
    let disk = prepared.plan.keyed().next().map(|_| open()).transpose()?.map(Arc::new);
    let empty = || {
        let mut states: Vec<_> = (0..workers).map(|_| state::Store::new(disk.clone())).collect();
        register(prepared, numbers, &mut states).map(|()| states)
    };
    let mut states = empty()?;
    // Without a keyed operator there is no state.
    let (Some(checkpoint), Some(disk)) = (&start.checkpoint, &disk) else { return Ok((states, disk)) };
    let (epoch, mark) = (checkpoint.manifest.epoch, disk.mark());
    if mark > 0 {
        commit::bring_up(disk, store, checkpoint)?;
        tracing::info!(from = mark, to = epoch, ms = clock::since(began).as_millis(), "state restored: RocksDB is brought up");
        return Ok((states, Some(disk.clone())));
    }
    let fits = size <= budget.state as u64;
    let loaded = if fits { load(store, &files, epoch, &mut states, budget.state) } else { Err(Unloaded::TooLarge) };
    let live = match loaded {
        Ok(live) => live,
        Err(Unloaded::TooLarge) => {
            states = empty()?;
            let mut load = disk.load(epoch)?;
            let live = checkpoint::restore(store, &files, |key, value| load.put(key, Some(value)).map_err(Error::from))?;
            load.finish()?;
            live
        }
        Err(Unloaded::Failed(error)) => return Err(error),
    };
    tracing::info!(entries = live, files = files.len(), ms = clock::since(began).as_millis(), "state restored");
    Ok((states, Some(disk.clone())))
}

/// Loads the state into memory, of which it may take `most` bytes; how many entries.
fn load(store: &Store, files: &[FileRef], epoch: u64, states: &mut [state::Store], most: usize) -> Result<u64, Unloaded> {
    let (workers, mut loaded) = (states.len(), 0u64);
    checkpoint::restore(store, files, |key, value| {
        let shard = state::layout::Prefix::split(key).map_or(0, |(prefix, _)| prefix.shard);
        if let Some(state) = states.get_mut(usize::from(shard) % workers) {
            state.insert_restored(epoch, key, Some(value))?;
        }
        loaded += 1;
        if loaded.is_multiple_of(LOOK_EVERY) && states.iter().map(state::Store::bytes).sum::<usize>() > most {
            return Err(Unloaded::TooLarge);
        }
        Ok(())
    })
}

fn register(prepared: &Prepared, numbers: &[StateNumbers], states: &mut [state::Store]) -> Result<(), Error> {
    for (loaded, numbers) in prepared.loaded.iter().zip(numbers) {
        for (position, declared) in loaded.declared().states.iter().enumerate() {
            let kind = match declared.kind {
                operator::StateKind::Value => state::Kind::Value,
                operator::StateKind::Map => state::Kind::Map,
            };
            let id: StateId = numbers.of(position);
            states.iter_mut().try_for_each(|s| s.register(id, kind, declared.version))?;
        }
    }
    Ok(())
}
