//! Work on a thread of its own, beside the commit.

use super::Error;
use crossbeam_channel::{Receiver, TryRecvError, bounded};
use std::thread::JoinHandle;

/// A background thread's work on its way.
pub(super) struct Task<T> {
    name: &'static str,
    result: Receiver<Result<T, Error>>,
    thread: Option<JoinHandle<()>>,
}

impl<T: Send + 'static> Task<T> {
    pub fn start(name: &'static str, work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<Self, Error> {
        let (sender, result) = bounded(1);
        let body = move || {
            // Whoever started it is gone only when the attempt is over; then the result does not matter.
            let _ = sender.send(work());
        };
        let thread = std::thread::Builder::new().name(name.into()).spawn(body);
        let thread = thread.map_err(|source| Error::Thread { name: name.into(), source })?;
        Ok(Self { name, result, thread: Some(thread) })
    }

    /// The result, waited for.
    pub fn wait(&self) -> Result<T, Error> {
        self.result.recv().unwrap_or(Err(Error::ThreadGone(self.name)))
    }

    /// The result, once it is there.
    pub fn poll(&self) -> Result<Option<T>, Error> {
        match self.result.try_recv() {
            Ok(result) => result.map(Some),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(Error::ThreadGone(self.name)),
        }
    }
}

/// Waited for, because the thread holds files and RocksDB's lock, which the next attempt needs.
impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("thread {} panicked", self.name);
        }
    }
}
