//! RocksDB, one for a process: committed state that does not fit in memory. A cache of the checkpoint store: what it holds
//! of a run is used again after a restart if the run can go on from there, and wiped otherwise.

mod manifest;
mod memory;

use super::{Error, Result};
use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, ColumnFamilyDescriptor, DB, DBCompressionType, DBRawIterator, DataBlockIndexType,
    IngestExternalFileOptions, Options, ReadOptions, SstFileWriter,
};
use rustix::fs::Advice;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Key of the mark (epoch, u64 BE, and the run's name behind it); it lies in the range of the reserved operator.
const MARK_KEY: &[u8] = b"\xff\xff\0\0\0\0mark";
/// Files that are ingested have about this size.
const FILE_BYTES: u64 = 64 << 20;
/// Linux reads no more for one advice than a device's read-ahead or largest request, 128 KiB as a rule.
const READ_AHEAD_BYTES: u64 = 128 << 10;
const COLUMN_FAMILY: &str = "default";

/// RocksDB with exactly the state at one committed epoch. Shared by the workers, which read; one thread at a time writes.
pub struct Disk {
    db: DB,
    options: Options,
    folder: PathBuf,
    run: String,
    mark: AtomicU64,
    begun: AtomicBool,
    writer: Mutex<()>,
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk").field("folder", &self.folder).field("mark", &self.mark()).finish_non_exhaustive()
    }
}

/// Leveled, filled by whole files, so that write buffers and the log hold nothing.
fn options(cache_bytes: usize) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&Cache::new_lru_cache(cache_bytes));
    table.set_bloom_filter(10.0, false);
    table.set_block_size(4096);
    // In partitions: a whole filter of a 32 MiB file is larger than one of the cache's shards, so it would be read and
    // checked again for every key (measured with 9 M keys and a cache of 64 MiB: two thirds of all CPU).
    table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    table.set_partition_filters(true);
    table.set_metadata_block_size(4096);
    table.set_pin_top_level_index_and_filter(true);
    table.set_cache_index_and_filter_blocks(true);
    table.set_cache_index_and_filter_blocks_with_high_priority(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
    table.set_data_block_hash_ratio(0.75);
    table.set_format_version(5);
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_block_based_table_factory(&table);
    // Each look-up would decompress a block: 55,800 records per CPU second with LZ4, 65,200 without (5 M keys, 128 MiB).
    options.set_compression_type(DBCompressionType::None);
    options.set_max_background_jobs(2);
    options.set_level_zero_file_num_compaction_trigger(4);
    options.set_level_zero_slowdown_writes_trigger(200);
    options.set_level_zero_stop_writes_trigger(400);
    options.set_target_file_size_base(32 << 20);
    options.set_max_bytes_for_level_base(256 << 20);
    options.set_level_compaction_dynamic_level_bytes(true);
    options.set_max_open_files(-1);
    options.set_keep_log_file_num(2);
    options
}

fn open(options: &Options, folder: &Path) -> std::result::Result<DB, rocksdb::Error> {
    let family = ColumnFamilyDescriptor::new(COLUMN_FAMILY, options.clone());
    DB::open_cf_descriptors(options, folder, [family])
}

impl Disk {
    /// Opens the database in `folder` as a part of `run`'s state. It stays as it was left if it holds that run's state at an
    /// epoch that is `reusable` (rule 20). Otherwise, or if it cannot be read, it is wiped; other files in the folder stay.
    ///
    /// # Errors
    /// The folder cannot be made or emptied, or another process holds the database.
    pub fn open(folder: &Path, cache_bytes: usize, run: &str, reusable: impl FnOnce(u64) -> bool) -> Result<Self> {
        let options = options(cache_bytes);
        let failed = |action, source| Error::Disk { folder: folder.to_owned(), action, source };
        let io = |source| Error::Folder { folder: folder.to_owned(), source };
        std::fs::create_dir_all(folder).map_err(io)?;
        let left = if manifest::is_sound(folder) { Self::left(&options, folder, run) } else { None };
        let (db, mark) = match left.filter(|(_, mark)| reusable(*mark)) {
            Some(kept) => kept,
            None => {
                DB::destroy(&options, folder).map_err(|e| failed("remove the old database", e))?;
                std::fs::create_dir_all(folder).map_err(io)?;
                (open(&options, folder).map_err(|e| failed("open", e))?, 0)
            }
        };
        let (mark, begun) = (AtomicU64::new(mark), AtomicBool::new(mark > 0));
        Ok(Self { db, options, folder: folder.to_owned(), run: run.to_owned(), mark, begun, writer: Mutex::new(()) })
    }

    /// The database that an earlier process has left, with its mark, if it is of `run` and can be read.
    fn left(options: &Options, folder: &Path, run: &str) -> Option<(DB, u64)> {
        let unreadable = |error: &rocksdb::Error| tracing::warn!(%error, folder = %folder.display(), "RocksDB is loaded anew");
        let db = open(options, folder).inspect_err(unreadable).ok()?;
        let mark = db.get(MARK_KEY).inspect_err(unreadable).ok()??;
        let (epoch, of_run) = mark.split_first_chunk::<8>()?;
        (of_run == run.as_bytes()).then(|| (db, u64::from_be_bytes(*epoch)))
    }

    /// Bytes of its table files; 0 where RocksDB does not say.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.db.property_int_value(rocksdb::properties::TOTAL_SST_FILES_SIZE).ok().flatten().unwrap_or(0)
    }

    /// The committed epoch whose state this is; 0 while nothing was written.
    #[must_use]
    pub fn mark(&self) -> u64 {
        self.mark.load(Ordering::Acquire)
    }

    /// Whether a write was ever begun: from then on the database may hold keys, even while the mark is still 0.
    pub(super) fn begun(&self) -> bool {
        self.begun.load(Ordering::Acquire)
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Begins to apply what was committed after the mark up to `epoch`. Workers may go on reading. A catch-up that is
    /// dropped or fails leaves the disk as it was and may be repeated.
    ///
    /// # Errors
    /// `epoch` does not come after the mark, or the folder cannot be written.
    pub fn catch_up(&self, epoch: u64) -> Result<Ingestion<'_>> {
        let guard = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let last = self.mark();
        if epoch <= last {
            return Err(Error::EpochOrder { epoch, last });
        }
        self.ingest(epoch, guard)
    }

    /// Begins to fill an empty disk with the state at `epoch`.
    ///
    /// # Errors
    /// The disk is not empty, or its folder cannot be written.
    pub fn load(&self, epoch: u64) -> Result<Ingestion<'_>> {
        let guard = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mark = self.mark();
        if mark != 0 {
            return Err(Error::NotEmpty { folder: self.folder.clone(), epoch, mark });
        }
        self.ingest(epoch, guard)
    }

    fn ingest<'a>(&'a self, epoch: u64, guard: MutexGuard<'a, ()>) -> Result<Ingestion<'a>> {
        self.begun.store(true, Ordering::Release);
        let files = self.folder.join("ingest");
        let io = |source| Error::Folder { folder: files.clone(), source };
        if files.exists() {
            std::fs::remove_dir_all(&files).map_err(io)?;
        }
        std::fs::create_dir_all(&files).map_err(io)?;
        let may_read_back = (memory::limit() / 2).saturating_sub(self.bytes());
        Ok(Ingestion { disk: self, epoch, folder: files, done: Vec::new(), current: None, may_read_back, _writer: guard })
    }

    /// Looks up `keys`, which are sorted, and reports each with its position.
    pub(super) fn multi_get(&self, keys: &[&[u8]], mut found: impl FnMut(usize, Option<&[u8]>) -> Result<()>) -> Result<()> {
        let Some(family) = self.db.cf_handle(COLUMN_FAMILY) else {
            return Err(Error::Folder {
                folder: self.folder.clone(),
                source: std::io::Error::other("the default column family is not open"),
            });
        };
        for (i, value) in self.db.batched_multi_get_cf(family, keys.iter().copied(), true).into_iter().enumerate() {
            found(i, value.map_err(|e| self.error("read", e))?.as_deref())?;
        }
        Ok(())
    }

    /// Iterates over the keys from `start` on and below `end`.
    pub(super) fn iter_range(&self, start: &[u8], end: Option<Vec<u8>>) -> Range<'_> {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(end.unwrap_or_else(|| MARK_KEY.to_vec()));
        let mut iterator = self.db.raw_iterator_opt(options);
        iterator.seek(start);
        Range { disk: self, iterator }
    }

    fn error(&self, action: &'static str, source: rocksdb::Error) -> Error {
        Error::Disk { folder: self.folder.clone(), action, source }
    }
}

/// A range that is being read.
pub(super) struct Range<'a> {
    disk: &'a Disk,
    iterator: DBRawIterator<'a>,
}

impl Range<'_> {
    /// The entry at which the range stands; `None` at its end.
    pub fn item(&self) -> Result<Option<(&[u8], &[u8])>> {
        match self.iterator.item() {
            None => self.iterator.status().map(|()| None).map_err(|e| self.disk.error("scan", e)),
            found => Ok(found),
        }
    }

    pub fn next(&mut self) {
        self.iterator.next();
    }
}

/// Entries on their way to the disk, as sorted files that RocksDB takes over unchanged, all at once and the mark with
/// them: no write buffer, no second copy, and never half of them. Takes them in key order, each key once.
pub struct Ingestion<'a> {
    disk: &'a Disk,
    epoch: u64,
    folder: PathBuf,
    done: Vec<PathBuf>,
    current: Option<(SstFileWriter<'a>, PathBuf)>,
    /// Bytes of files that may still be read back into memory.
    may_read_back: u64,
    _writer: MutexGuard<'a, ()>,
}

impl Ingestion<'_> {
    /// Adds the newest stored value of a whole key; `None` deletes it.
    ///
    /// # Errors
    /// RocksDB refused, also when the keys are not in order.
    pub fn put(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<()> {
        let failed = |e| self.disk.error("write a file to ingest", e);
        if self.current.is_none() {
            let path = self.folder.join(format!("{}.sst", self.done.len()));
            let writer = SstFileWriter::create(&self.disk.options);
            writer.open(&path).map_err(failed)?;
            self.current = Some((writer, path));
        }
        let Some((writer, _)) = &mut self.current else { return Ok(()) };
        match value {
            Some(value) => writer.put(key, value),
            None => writer.delete(key),
        }
        .map_err(failed)?;
        if writer.file_size() >= FILE_BYTES { self.close() } else { Ok(()) }
    }

    fn close(&mut self) -> Result<()> {
        if let Some((mut writer, path)) = self.current.take() {
            writer.finish().map_err(|e| self.disk.error("finish a file to ingest", e))?;
            if let Err(error) = self.read_back(&path) {
                tracing::debug!(%error, file = %path.display(), "not read back into memory");
            }
            self.done.push(path);
        }
        Ok(())
    }

    /// Has the system read a file back into memory, beside us: RocksDB's writer gives the pages of a file up once they are
    /// written, so that each look-up after it would read from the disk and be waited for. Only while all files have half of
    /// the memory at most: more would push out what was read before.
    fn read_back(&mut self, file: &Path) -> std::io::Result<()> {
        let file = std::fs::File::open(file)?;
        let bytes = file.metadata()?.len();
        if bytes > self.may_read_back {
            return Ok(());
        }
        self.may_read_back -= bytes;
        for at in (0..bytes).step_by(READ_AHEAD_BYTES as usize) {
            rustix::fs::fadvise(&file, at, NonZeroU64::new(READ_AHEAD_BYTES), Advice::WillNeed)?;
        }
        Ok(())
    }

    /// Hands the files to RocksDB and moves the mark; readers see it only after that.
    ///
    /// # Errors
    /// RocksDB refused.
    pub fn finish(mut self) -> Result<()> {
        let mark = [&self.epoch.to_be_bytes()[..], self.disk.run.as_bytes()].concat();
        self.put(MARK_KEY, Some(&mark))?;
        self.close()?;
        let mut options = IngestExternalFileOptions::default();
        options.set_move_files(true);
        let files = std::mem::take(&mut self.done);
        self.disk.db.ingest_external_file_opts(&options, files).map_err(|e| self.disk.error("ingest", e))?;
        self.disk.mark.store(self.epoch, Ordering::Release);
        std::fs::remove_dir_all(&self.folder).map_err(|source| Error::Folder { folder: self.folder.clone(), source })
    }
}
