//! The files of the last committed manifest, their merging beside the workers, and RocksDB's catching up from them.

use super::Error;
use crate::{
    checkpoint::{self, Checkpoint, FileRef, Merged, Names, Object, Store},
    state,
    worker::Shared,
};
use crossbeam_channel::{Receiver, bounded};
use std::{
    collections::HashSet,
    sync::{Arc, atomic::Ordering},
};

/// A merge on its way: what it replaces, and its result.
struct Merging {
    replaced: Vec<FileRef>,
    result: Receiver<Result<FileRef, checkpoint::Error>>,
}

/// State files of a run.
pub(crate) struct Files {
    store: Arc<Store>,
    /// Files of the committed state, oldest first.
    list: Vec<FileRef>,
    /// Names that the last committed manifest needs, its own among them.
    referenced: HashSet<String>,
    merging: Option<Merging>,
    disk: Option<Arc<state::Disk>>,
    spilling: Option<Receiver<Result<(), Error>>>,
    epoch: u64,
}

impl Files {
    /// Begins with the files of `checkpoint`, if there is one.
    pub fn new(store: Arc<Store>, checkpoint: Option<&Checkpoint>, disk: Option<Arc<state::Disk>>) -> Self {
        let list = checkpoint.map(Checkpoint::files).unwrap_or_default();
        let mut referenced: HashSet<_> = list.iter().map(|f| f.name.clone()).collect();
        referenced.extend(checkpoint.map(|c| c.own.name.clone()));
        let epoch = checkpoint.map_or(0, |c| c.manifest.epoch);
        Self { store, list, referenced, merging: None, disk, spilling: None, epoch }
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Files of the committed state, oldest first.
    pub fn list(&self) -> &[FileRef] {
        &self.list
    }

    /// Takes up a merge that has ended, so that the next manifest names its result, and tells whether that manifest has
    /// room for one more file (rule 19). Without room the next epoch waits for the merge under way.
    pub fn has_room(&mut self) -> Result<bool, Error> {
        self.adopt_merged()?;
        Ok(self.list.len() < checkpoint::MAX_FILES)
    }

    fn adopt_merged(&mut self) -> Result<(), Error> {
        let Some(merging) = &self.merging else { return Ok(()) };
        let Ok(result) = merging.result.try_recv() else { return Ok(()) };
        let merged = result?;
        if let Some(list) = checkpoint::adopt(&self.list, &merging.replaced, merged.clone()) {
            self.list = list;
        } else {
            self.store.delete(&merged.name)?;
        }
        self.merging = None;
        Ok(())
    }

    /// The manifest in `object` is committed: what only the one before needed is deleted. The folder is locked by this
    /// process, so nobody else can be about to name those files.
    pub fn committed(&mut self, object: &Object, epoch: u64, names: &mut Names) -> Result<(), Error> {
        let own = FileRef::to(object, epoch, epoch);
        let mut referenced: HashSet<_> = self.list.iter().map(|f| f.name.clone()).collect();
        referenced.insert(own.name.clone());
        for name in self.referenced.difference(&referenced) {
            self.store.delete(name)?;
        }
        self.referenced = referenced;
        self.epoch = epoch;
        if own.entries > 0 {
            self.list.push(own);
        }
        self.merge_if_due(names)
    }

    fn merge_if_due(&mut self, names: &mut Names) -> Result<(), Error> {
        if self.merging.is_some() {
            return Ok(());
        }
        let Some(range) = checkpoint::plan_merge(&self.list) else { return Ok(()) };
        let from_start = range.start == 0;
        let replaced = self.list.get(range).unwrap_or_default().to_vec();
        let (Some(first), Some(last)) = (replaced.first(), replaced.last()) else { return Ok(()) };
        let name = names.merge(first.first_epoch, last.last_epoch);
        // A catch-up of RocksDB from behind this range still needs its tombstones.
        let disk_is_past = self.disk.as_ref().is_none_or(|d| d.mark() == 0 || d.mark() >= last.last_epoch);
        let drop_tombstones = from_start && disk_is_past && self.spilling.is_none();
        let (result, receiver) = bounded(1);
        let (store, files) = (self.store.clone(), replaced.clone());
        spawn("weir-merge", move || {
            // The coordinator is gone only when the attempt is over; then the file is garbage.
            let _ = result.send(checkpoint::merge_files(&store, &files, drop_tombstones, &name));
        })?;
        self.merging = Some(Merging { replaced, result: receiver });
        Ok(())
    }

    /// Lets RocksDB catch up with the committed state when a worker's memory is full.
    pub fn spill_if_wanted(&mut self, shared: &Shared) -> Result<(), Error> {
        if let Some(spilling) = &self.spilling {
            let Ok(result) = spilling.try_recv() else { return Ok(()) };
            result?;
            self.spilling = None;
        }
        let Some(disk) = self.disk.clone() else { return Ok(()) };
        if !shared.wants_spill.swap(false, Ordering::Relaxed) || disk.mark() >= self.epoch {
            return Ok(());
        }
        // Opened here, so that a merge which replaces them cannot take them away before they are read.
        let after_mark = self.list.iter().filter(|f| f.last_epoch > disk.mark());
        let objects = after_mark.map(|f| self.store.open_file(f)).collect::<Result<Vec<_>, _>>()?;
        let (result, receiver) = bounded(1);
        let epoch = self.epoch;
        spawn("weir-spill", move || {
            // As above.
            let _ = result.send(catch_up(&disk, &objects, epoch));
        })?;
        self.spilling = Some(receiver);
        Ok(())
    }
}

fn catch_up(disk: &state::Disk, objects: &[Object], epoch: u64) -> Result<(), Error> {
    let mut into = disk.catch_up(epoch)?;
    let mut merged = Merged::new(objects.iter().map(Object::scan))?;
    while merged.advance()? {
        into.put(merged.key(), merged.value())?;
    }
    Ok(into.finish()?)
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), Error> {
    std::thread::Builder::new().name(name.into()).spawn(run).map(drop).map_err(|source| Error::Thread { name: name.into(), source })
}
