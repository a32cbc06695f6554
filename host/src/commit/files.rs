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
/// The same after the store has not told what lies in it.
const SWEEP_AGAIN: Duration = Duration::from_secs(60);

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
    unneeded: BTreeSet<String>,
    /// At most two: one, and one of what has come behind its files since.
    merging: Vec<Merging>,
    disk: Option<Arc<state::Disk>>,
    spilling: Option<Task<()>>,
    /// A merge waits until RocksDB has caught up.
    merge_wants_spill: bool,
    /// All that lies in the store, to be looked through for garbage.
    listing: Option<Task<Vec<Listed>>>,
    /// That was done, or cannot be done now.
    is_looked_through: bool,
    /// When it is asked for next.
    next_listing: Instant,
    epoch: u64,
}

impl Files {
    /// Begins with the files of `checkpoint`, if there is one. No older attempt can commit any more.
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
            is_looked_through: false,
            next_listing: clock::monotonic() + SWEEP_EVERY,
            store,
            list,
            forgotten_until,
            referenced,
            unneeded: BTreeSet::new(),
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
            }
            // One without entries is not taken up either.
            if !self.list.iter().any(|file| file.name == merged.name) {
                self.unneeded.insert(merged.name);
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
        // What crashed epochs and abandoned runs have left.
        let left = listed.iter().flat_map(|listed| checkpoint::garbage(listed, &self.referenced, names.incarnation()));
        self.unneeded.extend(left);
        self.collect()?;
        if let Some(listed) = listed {
            // What is being merged is not listed yet.
            if self.merging.is_empty() {
                self.store.tidy(&listed, &self.referenced)?;
            }
        } else if self.listing.is_none() && clock::monotonic() >= self.next_listing {
            self.next_listing = clock::monotonic() + SWEEP_EVERY;
            self.listing = Some(list_all(&self.store)?);
        }
        self.epoch = own.last_epoch;
        if own.entries > 0 {
            self.list.push(own);
        }
        // Beside what crashes have left, a base might be more than there is room for. A full list does not wait, see `has_room`.
        if self.is_looked_through { self.merge_if_due(names) } else { Ok(()) }
    }

    /// All that lies in the store, once it is listed, for the commit that comes now.
    ///
    /// # Errors
    /// [`Error::Checkpoint`], [`Error::ThreadGone`]. A remote store that does not answer is looked through later.
    pub fn poll_listing(&mut self) -> Result<Option<Vec<Listed>>, Error> {
        let Some(listing) = &self.listing else { return Ok(None) };
        let listed = match listing.poll() {
            Ok(None) => return Ok(None),
            Err(Error::Checkpoint(error @ checkpoint::Error::Remote { .. })) => {
                tracing::warn!(%error, "the store is not looked through for garbage");
                self.next_listing = clock::monotonic() + SWEEP_AGAIN;
                None
            }
            listed => listed?,
        };
        self.listing = None;
        self.is_looked_through = true;
        Ok(listed)
    }

    /// Deletes what is not needed. Where a remote store does not take that, it is left until a later commit.
    fn collect(&mut self) -> Result<(), Error> {
        match self.store.collect(&self.unneeded) {
            Ok(()) => self.unneeded.clear(),
            Err(error @ checkpoint::Error::Remote { .. }) => {
                tracing::warn!(%error, files = self.unneeded.len(), "garbage is left");
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::checkpoint::Writer;

    const DEADLINE: Duration = Duration::from_secs(30);

    /// Commits an epoch that deletes a key.
    fn commit_a_deletion(files: &mut Files, names: &mut Names, epoch: u64) -> String {
        let name = names.epoch(epoch);
        let mut writer = Writer::new(&name, Vec::new());
        writer.append(b"key", None).unwrap();
        let written = writer.finish(&[]).unwrap();
        files.store().put_if_absent(&name, &written.sink).unwrap();
        let listed = files.poll_listing().unwrap();
        files.committed(FileRef::written(name.clone(), epoch, epoch, &written), names, listed).unwrap();
        name
    }

    fn names_in(store: &Store) -> Vec<String> {
        store.list().unwrap().into_iter().map(|listed| listed.name).collect()
    }

    #[test]
    fn what_others_left_and_a_merged_file_without_entries_are_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open_folder(folder.path()).unwrap());
        let left = Names::new("other").unwrap().merge(1, 2);
        store.put_if_absent(&left, b"left").unwrap();
        let mut names = Names::new("own").unwrap();
        let mut files = Files::new(store.clone(), None, None).unwrap();
        let start = clock::monotonic();
        let mut epoch = 0;
        // Merged once the list is read and there are four.
        while files.merging.is_empty() {
            epoch += 1;
            commit_a_deletion(&mut files, &mut names, epoch);
            assert!(clock::since(start) < DEADLINE);
            assert!(files.merging.is_empty() || !names_in(&store).contains(&left), "merged beside what was left");
        }
        while !files.list().is_empty() {
            files.has_room(&mut names).unwrap();
            assert!(clock::since(start) < DEADLINE);
        }
        let last = commit_a_deletion(&mut files, &mut names, epoch + 1);
        assert_eq!(names_in(&store), [last]);
    }
}
