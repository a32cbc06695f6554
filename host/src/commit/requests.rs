//! What a user asks of a running job, through files in its state folder: whoever may write there may ask.
//!
//! A request is `requests/ID.json`, put in one step; its answer is `requests/ID.answer.json`. The request lies there until it
//! is answered: who gives up takes it back. One that no job answers means nothing to the next one: a job clears the folder
//! when it starts, and answers what is left when it ends.

use crate::checkpoint::{Error, FolderLock, SavepointDocument, Store};
use crate::clock;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The folder in the state folder.
const FOLDER: &str = "requests";
const REQUEST: &str = ".json";
const ANSWER: &str = ".answer.json";
/// How often the folder is looked into.
const LOOK: Duration = Duration::from_millis(100);
/// How often one that waits for an answer looks whether the job is still there.
const ALIVE: Duration = Duration::from_secs(1);

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Request {
    /// Take a savepoint into this place: a folder, or `s3://bucket/prefix`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub savepoint: Option<String>,
    /// Process and commit what was read, and end; after a savepoint the run is closed.
    #[serde(default)]
    pub stop: bool,
    /// With `stop`: read what the sources hold now first.
    #[serde(default)]
    pub drain: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
enum Answer {
    Done { savepoint: Option<SavepointDocument> },
    Failed { reason: String },
}

/// Why nothing came of a request.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody would answer.
    #[error("no job is running on {}: start it with `weir run`, then ask again", dir.display())]
    NotRunning {
        /// The state folder.
        dir: PathBuf,
    },
    /// The job could not do it.
    #[error("{0}")]
    Failed(String),
    /// The job ended without an answer.
    #[error("the job ended before it answered")]
    Ended,
    /// No answer came in time.
    #[error(
        "no answer within {0:?}. The request is withdrawn, but what the job has begun for it may still come to its end. \
         A job that can commit nothing takes no savepoint: look at its log"
    )]
    TimedOut(Duration),
    /// The folder.
    #[error(transparent)]
    Folder(#[from] Error),
}

/// The job's side.
pub(crate) struct Requests {
    store: Store,
    looked: Instant,
    /// Requests that were taken up and may still lie there.
    taken: Vec<String>,
}

impl Requests {
    /// The requests to the job whose state folder this is.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(dir: &Path) -> Result<Self, Error> {
        Ok(Self { store: Store::open_folder(&dir.join(FOLDER))?, looked: clock::monotonic(), taken: Vec::new() })
    }

    /// Forgets what an earlier job was asked.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn clear(&self) -> Result<(), Error> {
        self.store.list()?.iter().try_for_each(|listed| self.store.delete(&listed.name))
    }

    /// The next request, if there is one; it looks a few times a second. One that cannot be read is answered here.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn poll(&mut self) -> Result<Option<(String, Request)>, Error> {
        if clock::since(self.looked) < LOOK {
            return Ok(None);
        }
        self.looked = clock::monotonic();
        let open = self.open_ids()?;
        self.taken.retain(|taken| open.contains(taken));
        for id in open {
            if self.taken.contains(&id) {
                continue;
            }
            let Some(text) = self.read(&id)? else { continue };
            match serde_json::from_slice(&text) {
                Ok(request) => {
                    self.taken.push(id.clone());
                    return Ok(Some((id, request)));
                }
                Err(error) => self.answer(&id, Err(format!("the request cannot be read: {error}")))?,
            }
        }
        Ok(None)
    }

    /// Whether nobody waits for the answer to a request any more.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn is_withdrawn(&self, id: &str) -> Result<bool, Error> {
        Ok(self.read(id)?.is_none())
    }

    /// The text of a request, unless it was withdrawn.
    fn read(&self, id: &str) -> Result<Option<Vec<u8>>, Error> {
        match self.store.read(&format!("{id}{REQUEST}")) {
            Ok(text) => Ok(Some(text)),
            Err(Error::Absent { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Tells whoever asked what came of it.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn answer(&self, id: &str, outcome: Result<Option<SavepointDocument>, String>) -> Result<(), Error> {
        let answer = match outcome {
            Ok(savepoint) => Answer::Done { savepoint },
            Err(reason) => Answer::Failed { reason },
        };
        let text = serde_json::to_vec(&answer).map_err(|source| Error::Encode { what: "answer", source })?;
        self.store.delete(&format!("{id}{REQUEST}"))?;
        self.store.replace(&format!("{id}{ANSWER}"), &text)
    }

    /// Answers what nobody has taken up, because the job ends.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn refuse_all(&self) -> Result<(), Error> {
        self.open_ids()?.iter().try_for_each(|id| self.answer(id, Err(AskError::Ended.to_string())))
    }

    fn open_ids(&self) -> Result<Vec<String>, Error> {
        let names = self.store.list()?.into_iter().map(|listed| listed.name).filter(|name| !name.starts_with('.'));
        let id = |name: String| name.strip_suffix(REQUEST).filter(|id| !id.contains('.')).map(str::to_owned);
        let mut ids: Vec<_> = names.filter_map(id).collect();
        ids.sort();
        Ok(ids)
    }
}

/// Asks the job that runs on a state folder, and waits for its answer.
///
/// # Errors
/// Why nothing came of it.
pub fn ask(dir: &Path, request: &Request, patience: Duration) -> Result<Option<SavepointDocument>, AskError> {
    let running = || match FolderLock::acquire(dir) {
        Err(Error::Locked { .. }) => Ok(true),
        Ok(_) => Ok(false),
        Err(error) => Err(error),
    };
    if !dir.is_dir() || !running()? {
        return Err(AskError::NotRunning { dir: dir.to_owned() });
    }
    let store = Store::open_folder(&dir.join(FOLDER))?;
    let id = clock::unique_id();
    let (name, answer) = (format!("{id}{REQUEST}"), format!("{id}{ANSWER}"));
    store.put_if_absent(&name, &serde_json::to_vec(request).map_err(|source| Error::Encode { what: "request", source })?)?;
    let (begun, mut looked) = (clock::monotonic(), clock::monotonic());
    loop {
        let alive = clock::since(looked) < ALIVE || running()?;
        match store.read(&answer) {
            Ok(text) => {
                store.delete(&answer)?;
                return match serde_json::from_slice(&text) {
                    Ok(Answer::Done { savepoint }) => Ok(savepoint),
                    Ok(Answer::Failed { reason }) => Err(AskError::Failed(reason)),
                    Err(error) => Err(AskError::Failed(format!("its answer cannot be read: {error}"))),
                };
            }
            Err(Error::Absent { .. }) if !alive => {
                store.delete(&name)?;
                return Err(AskError::Ended);
            }
            Err(Error::Absent { .. }) if clock::since(begun) > patience => {
                store.delete(&name)?;
                return Err(AskError::TimedOut(patience));
            }
            Err(Error::Absent { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        if clock::since(looked) >= ALIVE {
            looked = clock::monotonic();
        }
        clock::pause(LOOK / 2);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn stop() -> Request {
        Request { savepoint: Some("/to".into()), stop: true, drain: false }
    }

    /// What the next request is, as a running job would find it.
    fn next(requests: &mut Requests) -> (String, Request) {
        loop {
            if let Some(request) = requests.poll().unwrap() {
                return request;
            }
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_running_job_takes_a_request_once_and_answers_it() {
        let folder = tempfile::tempdir().unwrap();
        let _lock = FolderLock::acquire(folder.path()).unwrap();
        let mut requests = Requests::open(folder.path()).unwrap();
        std::thread::scope(|scope| {
            let asked = scope.spawn(|| ask(folder.path(), &stop(), LONG));
            let (id, request) = next(&mut requests);
            assert_eq!(request, stop());
            requests.answer(&id, Err("no room".into())).unwrap();
            assert_eq!(asked.join().unwrap().unwrap_err().to_string(), "no room");
        });
        assert_eq!(requests.store.list().unwrap(), []);
    }

    #[test]
    fn what_cannot_be_read_is_answered_and_the_next_request_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let mut requests = Requests::open(folder.path()).unwrap();
        requests.store.put_if_absent("a.json", b"{\"stop\": 7}").unwrap();
        requests.store.put_if_absent("b.json", b"{\"stop\": true}").unwrap();
        assert_eq!(next(&mut requests), ("b".to_owned(), Request { stop: true, ..Request::default() }));
        let answer = String::from_utf8(requests.store.read("a.answer.json").unwrap()).unwrap();
        assert!(answer.contains("cannot be read"), "{answer}");
        requests.store.put_if_absent("c.json", b"{}").unwrap();
        requests.refuse_all().unwrap();
        assert!(requests.store.read("c.answer.json").is_ok());
        requests.clear().unwrap();
        assert_eq!(requests.store.list().unwrap(), []);
    }

    #[test]
    fn a_request_that_is_withdrawn_just_before_it_is_read_is_none_and_one_that_was_taken_up_is_known_as_withdrawn() {
        let folder = tempfile::tempdir().unwrap();
        let mut requests = Requests::open(folder.path()).unwrap();
        assert_eq!(requests.read("withdrawn").unwrap(), None);
        requests.store.put_if_absent("a.json", b"{\"stop\": true}").unwrap();
        assert_eq!(next(&mut requests).0, "a");
        assert!(!requests.is_withdrawn("a").unwrap());
        requests.store.delete("a.json").unwrap();
        assert!(requests.is_withdrawn("a").unwrap());
        requests.store.put_if_absent("b.json", b"{\"stop\": true}").unwrap();
        assert_eq!(next(&mut requests).0, "b");
        assert_eq!(requests.taken, ["b"]);
    }

    #[test]
    fn nobody_is_asked_where_no_job_runs_and_one_that_dies_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(ask(folder.path(), &stop(), LONG), Err(AskError::NotRunning { .. })));
        let lock = FolderLock::acquire(folder.path()).unwrap();
        let mut requests = Requests::open(folder.path()).unwrap();
        std::thread::scope(|scope| {
            let asked = scope.spawn(|| ask(folder.path(), &stop(), LONG));
            next(&mut requests);
            drop(lock);
            assert!(matches!(asked.join().unwrap(), Err(AskError::Ended)));
        });
        let _lock = FolderLock::acquire(folder.path()).unwrap();
        requests.clear().unwrap();
        assert!(matches!(ask(folder.path(), &stop(), Duration::ZERO), Err(AskError::TimedOut(_))));
        assert_eq!(requests.store.list().unwrap(), [], "what nobody waits for is not left to be done");
    }
}
