//! Standard input. A thread of its own reads it, so that no worker waits for it. What is not committed yet is kept: a pipe
//! gives nothing twice, and an attempt that failed has to be followed by one that reads on from the last commit.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};

use weir_spec::Format;

use super::csv::Rows;
use super::lines::{LineReader, Lines, Refill};
use super::{Error, FetchLimits, Fetched};
use crate::record::Batch;

const NAME: &str = "standard input";

/// Bytes of a chunk: what a pipe holds on Linux.
const CHUNK: usize = 64 << 10;

/// Bytes read ahead of the worker.
const AHEAD: u64 = 16 * CHUNK as u64;

/// The standard input of a process. It outlives attempts, which read it one after the other.
///
/// Its thread begins with the first of them and ends with the input, or with the next chunk after this was dropped. A
/// thread that waits for a terminal cannot be woken, so nobody joins it; it holds nothing that has to be put in order.
pub struct Stdin {
    shared: Arc<Shared>,
    epoch_bytes: u64,
}

#[derive(Default)]
struct Shared {
    kept: Mutex<Kept>,
    /// Notified when the worker has taken a chunk, and when nobody reads any more.
    taken: Condvar,
}

/// What was read and is not committed. Offsets count from where the process began to read.
#[derive(Default)]
struct Kept {
    /// The run's position at offset 0; nothing before the first attempt.
    base: Option<i64>,
    chunks: VecDeque<Arc<[u8]>>,
    /// Where the first chunk begins and the last one ends.
    begin: u64,
    end: u64,
    /// The chunk that the worker takes next, and where it begins.
    next: usize,
    taken: u64,
    /// Line feeds before `begin`.
    lines: u64,
    /// What has read the header of CSV.
    header: Option<Rows>,
    /// How the input ended.
    ended: Option<Result<(), Arc<io::Error>>>,
    /// Who is woken.
    waker: Option<Thread>,
    dropped: bool,
}

impl Stdin {
    /// Nothing is read yet. At most twice `epoch_bytes`, a batch, a line and a mebibyte will be in memory.
    #[must_use]
    pub fn new(epoch_bytes: usize) -> Self {
        Self { shared: Arc::default(), epoch_bytes: epoch_bytes as u64 }
    }

    /// The source of an attempt, which begins at a position of the run. That of the first attempt is where the input is.
    pub(super) fn open(&self, format: &Format, split: u32, position: i64, waker: Thread) -> Result<StdinSource, Error> {
        if self.shared.lock().base.is_none() {
            // The bare descriptor, past the standard library's buffer: chunks are buffers already.
            let input = io::stdin().as_fd().try_clone_to_owned().map_err(|source| Error::Open { path: NAME.to_owned(), source })?;
            self.pump(File::from(input))?;
        }
        self.source(format, split, position, waker)
    }

    /// Begins to read any input.
    pub(super) fn pump(&self, input: impl Read + Send + 'static) -> Result<(), Error> {
        let shared = self.shared.clone();
        let thread = thread::Builder::new().name("weir-stdin".to_owned()).spawn(move || shared.pump(input));
        thread.map(drop).map_err(|source| Error::Thread { source })
    }

    /// The source of an attempt, of an input that is being read.
    pub(super) fn source(&self, format: &Format, split: u32, position: i64, waker: Thread) -> Result<StdinSource, Error> {
        let mut kept = self.shared.lock();
        let base = *kept.base.get_or_insert(position);
        let offset = position.checked_sub(base).and_then(|offset| u64::try_from(offset).ok());
        let offset = offset.filter(|offset| (kept.begin..=kept.end).contains(offset)).ok_or(Error::Position { split, position })?;
        kept.begin_at(offset);
        kept.waker = Some(waker);
        let header = kept.header.as_ref().filter(|_| offset > 0);
        let reader = LineReader::new(offset, format, split, header);
        Ok(StdinSource { shared: self.shared.clone(), reader, base, lines: kept.lines, epoch_bytes: self.epoch_bytes, barrier: offset })
    }
}

impl Drop for Stdin {
    fn drop(&mut self) {
        self.shared.lock().dropped = true;
        self.shared.taken.notify_one();
    }
}

impl Shared {
    /// What is behind the lock is whole at any time, so a panic of another holder is no reason to stop.
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads until the input ends, fails, or nobody wants it any more.
    fn pump(&self, mut input: impl Read) {
        let mut buffer = vec![0; CHUNK];
        while self.waits_for_room() {
            let read = match input.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read,
            };
            let mut kept = self.lock();
            match read {
                Ok(0) => kept.ended = Some(Ok(())),
                Ok(read) => {
                    kept.chunks.push_back(buffer.get(..read).unwrap_or_default().into());
                    kept.end += read as u64;
                }
                Err(error) => kept.ended = Some(Err(Arc::new(error))),
            }
            if let Some(waker) = &kept.waker {
                waker.unpark();
            }
            if kept.ended.is_some() {
                return;
            }
        }
    }

    /// False when nobody reads any more.
    fn waits_for_room(&self) -> bool {
        let full = |kept: &mut Kept| !kept.dropped && kept.end - kept.taken >= AHEAD;
        !self.taken.wait_while(self.lock(), full).unwrap_or_else(PoisonError::into_inner).dropped
    }

    /// Gives the reader of lines the next chunk.
    fn refill(&self, lines: &mut Lines) -> Result<Refill, Error> {
        let mut kept = self.lock();
        if let Some(chunk) = kept.chunks.get(kept.next).cloned() {
            kept.next += 1;
            kept.taken += chunk.len() as u64;
            drop(kept);
            self.taken.notify_one();
            lines.feed(&chunk);
            return Ok(Refill::Done);
        }
        match &kept.ended {
            None => return Ok(Refill::NotYet),
            Some(Ok(())) => lines.finish(),
            Some(Err(error)) => {
                return Err(Error::Read { path: NAME.to_owned(), source: io::Error::new(error.kind(), error.clone()) });
            }
        }
        Ok(Refill::Done)
    }
}

impl Kept {
    /// Lets go of the chunks before an offset.
    fn release(&mut self, offset: u64) {
        while let Some(chunk) = self.chunks.pop_front_if(|chunk| self.begin + chunk.len() as u64 <= offset) {
            self.begin += chunk.len() as u64;
            self.lines += line_feeds(&chunk);
            self.next = self.next.saturating_sub(1);
        }
    }

    /// Lets go of everything before an offset: reading goes on there.
    fn begin_at(&mut self, offset: u64) {
        self.release(offset);
        if let Some(first) = self.chunks.front_mut()
            && let Some((before, rest)) = first.split_at_checked((offset - self.begin) as usize)
        {
            self.lines += line_feeds(before);
            *first = rest.into();
        }
        (self.begin, self.next, self.taken) = (offset, 0, offset);
    }
}

fn line_feeds(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

/// Standard input, of one attempt.
pub struct StdinSource {
    shared: Arc<Shared>,
    reader: LineReader,
    base: i64,
    /// Line feeds before where the attempt began.
    lines: u64,
    /// Most bytes of an epoch, but for its last batch: more are read when it has ended.
    epoch_bytes: u64,
    /// Where the running epoch began.
    barrier: u64,
}

impl StdinSource {
    pub(super) fn fetch(&mut self, limits: FetchLimits, into: &mut Batch) -> Result<Fetched, Error> {
        if self.epoch_bytes() >= self.epoch_bytes {
            return Ok(Fetched::Idle);
        }
        let shared = &self.shared;
        self.reader.fetch(NAME, limits, into, |lines| shared.refill(lines)).map_err(|error| match error {
            Error::Record { path, line, offset, reason } => Error::Record { path, line: line + self.lines, offset, reason },
            other => other,
        })
    }

    pub(super) fn position(&self) -> i64 {
        self.base + self.reader.position()
    }

    /// Bytes of the running epoch.
    pub(super) fn epoch_bytes(&self) -> u64 {
        (self.reader.position() as u64).saturating_sub(self.barrier)
    }

    /// The running epoch ends here.
    pub(super) fn end_epoch(&mut self) {
        self.barrier = self.reader.position() as u64;
    }

    /// All epochs that have ended are committed, and will not be read again.
    pub(super) fn committed(&self) {
        self.shared.lock().release(self.barrier);
    }
}

/// The next attempt may begin behind the header, which is not kept for longer than any other row.
impl Drop for StdinSource {
    fn drop(&mut self) {
        if let Some(header) = self.reader.take_header() {
            self.shared.lock().header = Some(header);
        }
    }
}
