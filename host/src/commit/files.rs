//! The files of the last committed manifest, their merging beside the workers, and RocksDB's catching up from them.

use super::{Error, task::Task};
use crate::{
    checkpoint::{self, Checkpoint, Due, FileRef, Listed, Merged, Names, Object, Store},
    clock, state,
    worker::Shared,
};
use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

/// How often all that lies in the store is looked through for garbage.
const SWEEP_EVERY: Duration = Duration::from_secs(3600);

/// The thread in which RocksDB catches up beside the epochs.
const SPILL_THREAD: &str = "weir-spill";

/// A merge under way: what it replaces, and its result.
struct Merging {
    replaced: Vec<FileRef>,
    drops_tombstones: bool,
    task: Task<FileRef>,
}

/// State files of a run.
pub(crate) struct Files {
    store: Arc<Store>,
    /// Files of the committed state, oldest first.
    list: Vec<FileRef>,
    /// Deletions up to this epoch may be missing in them.
    forgotten_until: u64,
    /// Names that the last committed manifest needs, its own among them.
    referenced: BTreeSet<String>,
    /// Names that no manifest needs any more.
    unneeded: Vec<String>,
    /// At most two: one, and one of what has come behind its files since.
    merging: Vec<Merging>,
    disk: Option<Arc<state::Disk>>,
    spilling: Option<Task<()>>,
    /// A merge waits until RocksDB has caught up.
    merge_wants_spill: bool,
    /// All that lies in the store, to be looked through for garbage: when that was last asked for, and the list on its way.
    last_listing: Instant,
    listing: Option<Task<Vec<Listed>>>,
    epoch: u64,
}

impl Files {
    /// Begins with the files of `checkpoint`, if there is one, once no older process can commit any more.
    ///
    /// # Errors
    /// [`Error::Thread`].
    pub fn new(store: Arc<Store>, checkpoint: Option<&Checkpoint>, disk: Option<Arc<state::Disk>>) -> Result<Self, Error> {
        let list = checkpoint.map(Checkpoint::files).unwrap_or_default();
        let mut referenced: BTreeSet<_> = list.iter().map(|f| f.name.clone()).collect();
        referenced.extend(checkpoint.map(|c| c.own.name.clone()));
        let epoch = checkpoint.map_or(0, |c| c.manifest.epoch);
        let forgotten_until = checkpoint.map_or(0, |c| c.manifest.forgotten_until);
        Ok(Self {
            listing: Some(list_all(&store)?),
            last_listing: clock::monotonic(),
            store,
            list,
            forgotten_until,
            referenced,
            unneeded: Vec::new(),
            merging: Vec::new(),
            disk,
            spilling: None,
            merge_wants_spill: false,
            epoch,
        })
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Files of the committed state, oldest first.
    pub fn list(&self) -> &[FileRef] {
        &self.list
    }

    /// Deletions up to this epoch may be missing in the files.
    pub fn forgotten_until(&self) -> u64 {
        self.forgotten_until
    }

    /// Takes up a merge that has ended, so that the next manifest names its result, and tells whether that manifest has
    /// room for one more file (rule 19). Without room the next epoch waits for a merge.
    pub fn has_room(&mut self, names: &mut Names) -> Result<bool, Error> {
        self.adopt_merged()?;
        if self.list.len() >= checkpoint::MAX_FILES {
            self.merge_if_due(names)?;
        }
        Ok(self.list.len() < checkpoint::MAX_FILES)
    }

    fn adopt_merged(&mut self) -> Result<(), Error> {
        let mut under_way = Vec::with_capacity(self.merging.len());
        for merging in std::mem::take(&mut self.merging) {
            let Some(merged) = merging.task.poll()? else {
                under_way.push(merging);
                continue;
            };
            failpoint!("adopt");
            failpoint!("base-adopt", when merging.drops_tombstones);
            if let Some(list) = checkpoint::adopt(&self.list, &merging.replaced, merged.clone()) {
                self.list = list;
                if merging.drops_tombstones {
                    self.forgotten_until = self.forgotten_until.max(merged.last_epoch);
                }
            } else {
                self.unneeded.push(merged.name);
            }
            failpoint!("adopt");
            failpoint!("base-adopt", when merging.drops_tombstones);
        }
        self.merging = under_way;
        Ok(())
    }

    /// The manifest in `own` is committed: what only the one before needed is deleted. Nobody else can be about to name
    /// those files: the commit proves that this process owns the job, and a run that begins with them names copies of its own,
    /// or what the last commit before it names. What was `listed` before it is swept, too.
    pub fn committed(&mut self, own: FileRef, names: &mut Names, listed: Option<Vec<Listed>>) -> Result<(), Error> {
        let mut referenced: BTreeSet<_> = self.list.iter().map(|f| f.name.clone()).collect();
        referenced.insert(own.name.clone());
        self.unneeded.extend(self.referenced.difference(&referenced).cloned());
        self.referenced = referenced;
        if self.collect(&self.unneeded)? {
            self.unneeded.clear();
        }
        if let Some(listed) = listed {
            self.sweep(&listed, names.incarnation())?;
        } else if self.listing.is_none() && clock::since(self.last_listing) >= SWEEP_EVERY {
            self.last_listing = clock::monotonic();
            self.listing = Some(list_all(&self.store)?);
        }
        self.epoch = own.last_epoch;
        if own.entries > 0 {
            self.list.push(own);
        }
        // Beside what crashes have left, a base might be more than there is room for. A full list does not wait, see `has_room`.
        if self.listing.is_none() { self.merge_if_due(names) } else { Ok(()) }
    }

    /// All that lies in the store, once it is listed, for the commit that comes now.
    ///
    /// # Errors
    /// [`Error::Checkpoint`], [`Error::ThreadGone`]. A remote store that does not answer is looked through the next time.
    pub fn poll_listing(&mut self) -> Result<Option<Vec<Listed>>, Error> {
        let Some(listing) = &self.listing else { return Ok(None) };
        let listed = match listing.poll() {
            Ok(None) => return Ok(None),
            Err(Error::Checkpoint(error @ checkpoint::Error::Remote { .. })) => {
                tracing::warn!(%error, "the store is not looked through for garbage");
                None
            }
            listed => listed?,
        };
        self.listing = None;
        Ok(listed)
    }

    /// Deletes what crashed epochs and abandoned runs have left, of what was listed before the last commit (rule 21).
    fn sweep(&self, listed: &[Listed], incarnation: &str) -> Result<(), Error> {
        self.collect(&checkpoint::garbage(listed, &self.referenced, incarnation))?;
        // What is being merged is not listed yet.
        if self.merging.is_empty() { Ok(self.store.tidy(listed, &self.referenced)?) } else { Ok(()) }
    }

    /// False where a remote store did not take them: they lie there until a later commit, or until they are swept.
    fn collect(&self, garbage: &[String]) -> Result<bool, Error> {
        match self.store.collect(garbage) {
            Ok(()) => Ok(true),
            Err(error @ checkpoint::Error::Remote { .. }) => {
                tracing::warn!(%error, files = garbage.len(), "garbage is left");
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn merge_if_due(&mut self, names: &mut Names) -> Result<(), Error> {
        let due = match self.merging.as_slice() {
            [] => checkpoint::plan_merge_over(&self.list, self.disk.as_ref().map_or(0, |disk| disk.mark())),
            [merging] => Due { merge: checkpoint::plan_merge_beside(&self.list, &merging.replaced), catch_up: false },
            _ => Due::default(),
        };
        self.merge_wants_spill = due.catch_up && self.spilling.is_none();
        let Some(range) = due.merge else { return Ok(()) };
        let from_start = range.start == 0;
        let replaced = self.list.get(range).unwrap_or_default().to_vec();
        let (Some(first), Some(last)) = (replaced.first(), replaced.last()) else { return Ok(()) };
        let name = names.merge(first.first_epoch, last.last_epoch);
        // A catch-up of RocksDB from behind this range still needs its tombstones.
        let needs_none = |mark: u64| mark >= last.last_epoch || mark == 0 && self.spilling.is_none();
        let drops_tombstones = from_start && self.disk.as_ref().is_none_or(|disk| needs_none(disk.mark()));
        let (store, files) = (self.store.clone(), replaced.clone());
        let merge = move || Ok(checkpoint::merge_files(&store, &files, drops_tombstones, &name)?);
        self.merging.push(Merging { replaced, drops_tombstones, task: Task::start("weir-merge", merge)? });
        Ok(())
    }

    /// Lets RocksDB catch up with the committed state when a worker's memory is full, or a merge waits for it.
    pub fn spill_if_wanted(&mut self, shared: &Shared) -> Result<(), Error> {
        if let Some(spilling) = &self.spilling {
            if spilling.poll()?.is_none() {
                return Ok(());
            }
            self.spilling = None;
        }
        let Some(disk) = self.disk.clone() else { return Ok(()) };
        if disk.mark() >= self.epoch {
            return Ok(());
        }
        let is_wanted = shared.wants_spill.swap(false, Ordering::Relaxed);
        if !std::mem::take(&mut self.merge_wants_spill) && !is_wanted {
            return Ok(());
        }
        // Opened here, so that a merge which replaces them cannot take them away before they are read.
        let objects = open_after(&self.store, &self.list, disk.mark())?;
        let epoch = self.epoch;
        self.spilling = Some(Task::start(SPILL_THREAD, move || catch_up(&disk, &objects, epoch))?);
        Ok(())
    }

    /// Bytes of RocksDB's files.
    pub fn disk_bytes(&self) -> u64 {
        self.disk.as_ref().map_or(0, |disk| disk.bytes())
    }

    /// Whether a worker's memory is full of what is not committed yet: RocksDB holds all that is.
    pub fn wants_commit(&self, shared: &Shared) -> bool {
        let caught_up = self.disk.as_ref().is_some_and(|disk| disk.mark() >= self.epoch);
        caught_up && self.spilling.is_none() && shared.wants_spill.load(Ordering::Relaxed)
    }
}

fn list_all(store: &Arc<Store>) -> Result<Task<Vec<Listed>>, Error> {
    let store = store.clone();
    Task::start("weir-list", move || Ok(store.list()?))
}

fn open_after(store: &Store, files: &[FileRef], mark: u64) -> Result<Vec<Object>, checkpoint::Error> {
    let after_mark: Vec<_> = files.iter().filter(|file| file.last_epoch > mark).cloned().collect();
    store.open_files(&after_mark)
}

/// Brings RocksDB from a mark that a checkpoint follows from up to it (rule 20).
///
/// # Errors
/// [`Error::Checkpoint`], [`Error::State`].
pub(crate) fn bring_up(disk: &state::Disk, store: &Store, checkpoint: &Checkpoint) -> Result<(), Error> {
    if disk.mark() == checkpoint.manifest.epoch {
        return Ok(());
    }
    catch_up(disk, &open_after(store, &checkpoint.files(), disk.mark())?, checkpoint.manifest.epoch)
}

fn catch_up(disk: &state::Disk, objects: &[Object], epoch: u64) -> Result<(), Error> {
    let mut into = disk.catch_up(epoch)?;
    let mut merged = Merged::new(objects.iter().map(Object::scan))?;
    while merged.advance()? {
        into.put(merged.key(), merged.value())?;
        failpoint!("spill", every 500, when is_beside_epochs());
    }
    failpoint!("ingest", when is_beside_epochs());
    into.finish()?;
    failpoint!("ingest", when is_beside_epochs());
    Ok(())
}

/// Whether RocksDB catches up here while epochs go on, and not in a start, before the first of them.
#[cfg(feature = "failpoints")]
fn is_beside_epochs() -> bool {
    std::thread::current().name() == Some(SPILL_THREAD)
}
