//! Standard input, read by a thread of its own so that the worker never waits for it.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::thread::{self, Thread};

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};
use weir_spec::Format;

use super::lines::{LineReader, Refill};
use super::{Error, FetchLimits, Fetched};
use crate::record::Batch;

const NAME: &str = "standard input";

/// Bytes of a chunk: what a pipe holds on Linux.
const CHUNK: usize = 64 << 10;

/// Chunks read ahead of the worker.
const AHEAD: usize = 16;

/// Standard input whose lines are records.
///
/// Its thread ends with the input, or with the next chunk after this was dropped. A thread that waits for a terminal
/// cannot be woken, so nobody joins it; it holds nothing that has to be put in order.
pub struct StdinSource {
    chunks: Receiver<io::Result<Vec<u8>>>,
    reader: LineReader,
}

impl StdinSource {
    pub(super) fn open(format: &Format, split: u32, waker: Thread) -> Result<Self, Error> {
        // The bare descriptor, past the standard library's buffer: chunks are buffers already.
        let input = io::stdin().as_fd().try_clone_to_owned().map_err(|source| Error::Open { path: NAME.to_owned(), source })?;
        Self::spawn(File::from(input), format, split, waker)
    }

    /// Reads from any input.
    pub(super) fn spawn(input: impl Read + Send + 'static, format: &Format, split: u32, waker: Thread) -> Result<Self, Error> {
        let (sender, chunks) = bounded(AHEAD);
        thread::Builder::new()
            .name("weir-stdin".to_owned())
            .spawn(move || {
                pump(input, &sender, &waker);
                // In this order: who wakes up has to find the channel closed.
                drop(sender);
                waker.unpark();
            })
            .map_err(|source| Error::Thread { source })?;
        Ok(Self { chunks, reader: LineReader::new(0, format, split, None) })
    }

    pub(super) fn fetch(&mut self, limits: FetchLimits, into: &mut Batch) -> Result<Fetched, Error> {
        let chunks = &self.chunks;
        self.reader.fetch(NAME, limits, into, |lines| match chunks.try_recv() {
            Ok(Ok(chunk)) => {
                lines.feed(&chunk);
                Ok(Refill::Done)
            }
            Ok(Err(source)) => Err(Error::Read { path: NAME.to_owned(), source }),
            Err(TryRecvError::Empty) => Ok(Refill::NotYet),
            Err(TryRecvError::Disconnected) => {
                lines.finish();
                Ok(Refill::Done)
            }
        })
    }

    pub(super) fn position(&self) -> i64 {
        self.reader.position()
    }
}

/// Sends chunks until the input ends, fails, or nobody takes them any more.
fn pump(mut input: impl Read, chunks: &Sender<io::Result<Vec<u8>>>, waker: &Thread) {
    let mut buffer = vec![0; CHUNK];
    loop {
        let chunk = match input.read(&mut buffer) {
            Ok(0) => return,
            Ok(read) => Ok(buffer.get(..read).unwrap_or_default().to_vec()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
        let failed = chunk.is_err();
        if chunks.send(chunk).is_err() || failed {
            return;
        }
        waker.unpark();
    }
}
