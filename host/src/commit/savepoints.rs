//! Savepoints of a running job: asked for by a request, taken of the next commit, written beside the workers.

use super::{Error, requests::Requests, task::Task};
use crate::checkpoint::{self, Access, FileRef, Location, SavepointDocument, SavepointSource, Store};
use crate::clock;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// Savepoints that were asked for, and who asked.
pub(crate) struct Savepoints {
    requests: Requests,
    job: String,
    access: Access,
    /// The job's state folder.
    dir: PathBuf,
    asked: Option<Asked>,
    writing: Option<(String, Task<Written>)>,
    /// Requests that are answered when the job has ended in order.
    ends: Vec<String>,
}

struct Asked {
    request: String,
    into: Location,
    stop: bool,
}

/// What came of a savepoint; a failure is its asker's and not the job's.
type Written = Result<SavepointDocument, checkpoint::Error>;

impl Savepoints {
    /// Of the job whose state folder this is.
    ///
    /// # Errors
    /// [`checkpoint::Error::Io`].
    pub fn open(dir: &Path, job: &str, access: Access) -> Result<Self, checkpoint::Error> {
        Ok(Self {
            requests: Requests::open(dir)?,
            job: job.to_owned(),
            access,
            dir: dir.to_owned(),
            asked: None,
            writing: None,
            ends: Vec::new(),
        })
    }

    /// Answers what is finished and takes up what is asked; `stop` is set where that is. Whether the sources are to be drained
    /// first.
    pub fn poll(&mut self, stop: &AtomicBool) -> Result<bool, Error> {
        if let Some((request, task)) = &self.writing {
            let Some(written) = task.poll()? else { return Ok(false) };
            answer(&self.requests, request, written)?;
            self.writing = None;
        }
        if let Some(asked) = &self.asked {
            if !self.requests.is_withdrawn(&asked.request)? {
                return Ok(false);
            }
            // A later end is not to be taken for the one that was asked for, and the run to be closed by it.
            tracing::warn!("who asked for a savepoint waits no more; none is taken");
            self.asked = None;
        }
        let Some((id, request)) = self.requests.poll()? else { return Ok(false) };
        match request.savepoint {
            Some(into) => self.asked = Some(Asked { request: id, into: Location::parse(&into), stop: request.stop }),
            None if request.stop => self.ends.push(id),
            None => self.requests.answer(&id, Err("the request asks for nothing".to_owned()))?,
        }
        if request.stop && !request.drain {
            stop.store(true, Ordering::Relaxed);
        }
        Ok(request.stop && request.drain)
    }

    /// Whether the commit of an epoch is to be one that a savepoint is taken of, even if nothing has changed.
    pub fn is_wanted(&self, last: bool) -> bool {
        self.asked.as_ref().is_some_and(|asked| last || !asked.stop)
    }

    /// Begins the savepoint that is wanted, of the checkpoint that was just committed: `own` and the files before it.
    pub fn committed(&mut self, store: &Store, own: &FileRef, files: &[FileRef], run: &str) -> Result<(), Error> {
        let Some(Asked { request, into, .. }) = self.asked.take_if(|asked| !asked.stop) else { return Ok(()) };
        let source = self.source(store, own, files, run);
        let (access, dir) = (self.access.clone(), self.dir.clone());
        let task = Task::start("weir-savepoint", move || Ok(source.and_then(|source| source.write(&into, &access, &dir))))?;
        self.writing = Some((request, task));
        Ok(())
    }

    /// The same after the last commit. Waits until all savepoints are written, and tells whether the run is to be closed:
    /// who asked for the end will start from the savepoint. [`Savepoints::closed`] answers then.
    pub fn last_committed(&mut self, store: &Store, own: &FileRef, files: &[FileRef], run: &str) -> Result<Option<Closing>, Error> {
        if let Some((request, task)) = self.writing.take() {
            answer(&self.requests, &request, task.wait()?)?;
        }
        let Some(Asked { request, into, stop }) = self.asked.take() else { return Ok(None) };
        match self.source(store, own, files, run).and_then(|source| source.write(&into, &self.access, &self.dir)) {
            Ok(document) if stop => Ok(Some(Closing { request, document })),
            written => answer(&self.requests, &request, written).map(|()| None),
        }
    }

    /// The run is closed: whoever asked for it may start from the savepoint.
    pub fn closed(&self, closing: Closing) -> Result<(), Error> {
        answer(&self.requests, &closing.request, Ok(closing.document))
    }

    /// The job has ended in order.
    pub fn ended(&mut self) -> Result<(), Error> {
        self.ends.drain(..).try_for_each(|request| Ok(self.requests.answer(&request, Ok(None))?))
    }

    fn source(&self, store: &Store, own: &FileRef, files: &[FileRef], run: &str) -> Result<SavepointSource, checkpoint::Error> {
        SavepointSource::open(store, own, files, (&clock::unique_id(), &self.job, run), clock::now_ms())
    }
}

/// An attempt that failed answers for what it had taken up.
impl Drop for Savepoints {
    fn drop(&mut self) {
        let asked = self.asked.take().map(|asked| asked.request);
        let writing = self.writing.take().map(|(request, _)| request);
        for request in asked.into_iter().chain(writing).chain(self.ends.drain(..)) {
            let reason = "the job failed before it was done; its log says why. Ask again once it commits".to_owned();
            if let Err(error) = self.requests.answer(&request, Err(reason)) {
                tracing::warn!(%error, "a request stays without an answer");
            }
        }
    }
}

/// A savepoint whose run is about to be closed.
pub(crate) struct Closing {
    request: String,
    document: SavepointDocument,
}

fn answer(requests: &Requests, request: &str, written: Written) -> Result<(), Error> {
    match &written {
        Ok(document) => tracing::info!(savepoint = document.id, epoch = document.epoch, "savepoint taken"),
        Err(error) => tracing::warn!(%error, "savepoint not taken"),
    }
    Ok(requests.answer(request, written.map(Some).map_err(|error| error.to_string()))?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_savepoint_whose_asker_gives_up_is_forgotten_and_the_next_request_is_heard() {
        let folder = tempfile::tempdir().unwrap();
        let mut savepoints = Savepoints::open(folder.path(), "job", Access::new(BTreeMap::new())).unwrap();
        let requests = Store::open_folder(&folder.path().join("requests")).unwrap();
        let stop = AtomicBool::new(false);
        requests.put_if_absent("a.json", br#"{"savepoint": "/to", "stop": true, "drain": true}"#).unwrap();
        while !savepoints.poll(&stop).unwrap() {
            std::thread::yield_now();
        }
        assert!(savepoints.is_wanted(true), "of the last epoch");
        requests.delete("a.json").unwrap();
        requests.put_if_absent("b.json", br#"{"stop": true}"#).unwrap();
        while !stop.load(Ordering::Relaxed) {
            assert!(!savepoints.poll(&stop).unwrap(), "nothing is drained");
        }
        assert!(!savepoints.is_wanted(true), "the end that comes takes no savepoint, and so closes nothing");
        savepoints.ended().unwrap();
        let left: Vec<_> = requests.list().unwrap().into_iter().map(|listed| listed.name).collect();
        assert_eq!(left, ["b.answer.json"]);
    }
}
