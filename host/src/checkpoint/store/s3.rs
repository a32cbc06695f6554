//! A store in S3. Every object passes through a file of this machine: what is put is kept as a copy, and what is read is
//! fetched whole, by ranges side by side, and checked to its last byte. So a merge and a restart read what is here, and
//! what was opened stays readable when the object is deleted.

mod answer;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::File;
use std::future::Future;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use answer::{is_transient, said, status};
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::Path as Key;
use object_store::{
    BackoffConfig, ClientOptions, GetOptions, GetRange, MultipartUpload, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload,
    RetryConfig, UpdateVersion,
};
use tokio::runtime::Runtime;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::folder::{self, Folder};
use super::{Listed, Location, crypto::OpenSsl, names};
use crate::checkpoint::delta::Input;
use crate::checkpoint::{Error, Object};

/// Bytes of a part of what is fetched or put.
const PART_BYTES: u64 = 4 << 20;
/// Parts on their way at once.
const PARTS: usize = 8;
/// S3 takes at most 10,000 parts of at least 5 MiB, and the last one.
const UPLOAD_PART_BYTES: u64 = 8 << 20;
const MOST_UPLOAD_PARTS: u64 = 10_000;
const UPLOAD_PARTS: usize = 4;
/// Questions about objects on their way at once.
const HEADS: usize = 16;
/// Pause before a put is tried again; it doubles up to [`PAUSE_LAST`].
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_LAST: Duration = Duration::from_secs(2);
/// A new connection takes at most this.
const CONNECT: Duration = Duration::from_secs(5);

/// How a remote store is reached.
#[derive(Clone)]
pub struct Access {
    /// Environment variables, of which those that begin with `AWS_` are read: credentials, region, endpoint.
    pub environment: BTreeMap<String, String>,
    /// URL of the server, before what the environment says.
    pub endpoint: Option<String>,
    /// Region, before what the environment says.
    pub region: Option<String>,
    /// How long a question may stay without an answer, repetitions included.
    pub deadline: Duration,
}

impl Access {
    /// As the environment says, with a minute for each question.
    #[must_use]
    pub fn new(environment: BTreeMap<String, String>) -> Self {
        Self { environment, endpoint: None, region: None, deadline: Duration::from_secs(60) }
    }
}

/// Where copies of remote objects are.
#[derive(Clone, Debug)]
pub enum Copies {
    /// In a folder of their own, for as long as the objects are in the store; also for later processes.
    Kept(PathBuf),
    /// In files without a name in this folder, for as long as they are open.
    Unnamed(PathBuf),
}

#[derive(Debug)]
pub(super) struct S3 {
    runtime: Runtime,
    client: AmazonS3,
    prefix: Key,
    place: String,
    deadline: Duration,
    /// Where uploads are written, and copies kept.
    folder: Folder,
    scratch: Option<PathBuf>,
    /// Names of copies that were written or checked by this process.
    sound: Mutex<HashSet<String>>,
}

impl S3 {
    pub fn at(bucket: &str, prefix: &str, location: &Location, access: &Access, copies: Copies) -> Result<Self, Error> {
        let place = location.to_string();
        let refused =
            |reason: String| Error::Remote { action: "open", object: String::new(), store: place.clone(), transient: false, reason };
        let mut builder = AmazonS3Builder::new().with_bucket_name(bucket);
        let mut endpoint = access.endpoint.clone();
        for (name, value) in access.environment.iter().filter(|(name, _)| name.starts_with("AWS_")) {
            if let Ok(key) = AmazonS3ConfigKey::from_str(&name.to_ascii_lowercase()) {
                if matches!(key, AmazonS3ConfigKey::Endpoint) {
                    endpoint.get_or_insert(value.clone());
                } else if !matches!(key, AmazonS3ConfigKey::Bucket) {
                    builder = builder.with_config(key, value);
                }
            }
        }
        if let Some(region) = &access.region {
            builder = builder.with_region(region);
        }
        let is_plain = endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://"));
        if let Some(endpoint) = endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        let options =
            ClientOptions::new().with_allow_http(is_plain).with_timeout(access.deadline).with_connect_timeout(CONNECT.min(access.deadline));
        let backoff = BackoffConfig { init_backoff: PAUSE_FIRST, max_backoff: PAUSE_LAST, base: 2.0 };
        let retry = RetryConfig { backoff, max_retries: usize::MAX, retry_timeout: access.deadline };
        let builder = builder.with_client_options(options).with_retry(retry).with_crypto_provider(Arc::new(OpenSsl));
        let client = builder.build().map_err(|e| refused(e.to_string()))?;
        let prefix = Key::parse(prefix).map_err(|e| refused(e.to_string()))?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("weir-s3").enable_all().build();
        let runtime = runtime.map_err(|e| refused(format!("cannot start a thread: {e}")))?;
        let (folder, scratch) = match copies {
            Copies::Kept(dir) => (Folder::open(&dir)?, None),
            Copies::Unnamed(dir) => (Folder::open(&dir)?, Some(dir)),
        };
        Ok(Self { runtime, client, prefix, place, deadline: access.deadline, folder, scratch, sound: Mutex::default() })
    }

    pub fn place(&self) -> &str {
        &self.place
    }

    pub fn put_if_absent(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        self.put(name, bytes)?;
        if self.scratch.is_none() {
            let mut copy = self.folder.upload(name)?;
            io::Write::write_all(&mut copy, bytes).map_err(|e| Error::io("write", copy.unfinished(), e))?;
            self.keep(name, copy)?;
        }
        Ok(())
    }

    pub fn upload(&self, name: &str) -> Result<folder::Upload, Error> {
        self.folder.upload(name)
    }

    /// Puts what was written, and keeps it as a copy.
    pub fn publish(&self, upload: folder::Upload) -> Result<(), Error> {
        let name = upload.name().to_owned();
        let length = upload.file().metadata().map_err(|e| Error::io("read", upload.unfinished(), e))?.len();
        let read = |at: u64, length: u64| read_part(upload.file(), upload.unfinished(), at, length);
        if length <= UPLOAD_PART_BYTES {
            self.put(&name, &read(0, length)?)?;
        } else {
            self.put_parts(&name, length, read)?;
        }
        if self.scratch.is_none() { self.keep(&name, upload) } else { Ok(()) }
    }

    fn keep(&self, name: &str, copy: folder::Upload) -> Result<(), Error> {
        copy.keep()?;
        self.sound().insert(name.to_owned());
        Ok(())
    }

    /// Puts an object where there is none, again and again until the deadline. One that is there with the same bytes was
    /// put by a try whose answer was lost.
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let key = self.key(name)?;
        let payload = PutPayload::from(bytes.to_vec());
        let put = async {
            let until = Instant::now() + self.deadline;
            let mut pause = PAUSE_FIRST;
            loop {
                let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
                let failed = match timeout_at(until, self.client.put_opts(&key, payload.clone(), options)).await {
                    Ok(Ok(_)) => return Ok(()),
                    Ok(Err(object_store::Error::NotFound { .. })) => return Err(self.no_bucket("put", name)),
                    Ok(Err(object_store::Error::AlreadyExists { .. })) => {
                        match timeout_at(until, async { self.client.get(&key).await?.bytes().await }).await {
                            Ok(Ok(found)) if found == bytes => return Ok(()),
                            Ok(Ok(_)) => return Err(Error::Exists { object: name.to_owned(), store: self.place.clone() }),
                            // The other try is still under way.
                            Ok(Err(error)) => error,
                            Err(_) => return Err(self.late("put", name)),
                        }
                    }
                    Ok(Err(error)) => error,
                    Err(_) => return Err(self.late("put", name)),
                };
                if !is_transient(&failed) || Instant::now() + pause > until {
                    return Err(self.failed("put", name, failed));
                }
                sleep(pause).await;
                pause = (pause * 2).min(PAUSE_LAST);
            }
        };
        self.runtime.block_on(put)
    }

    /// Puts a large object by parts. Its name is unique, so nothing is there.
    fn put_parts(&self, name: &str, length: u64, read: impl Fn(u64, u64) -> Result<Vec<u8>, Error>) -> Result<(), Error> {
        let key = self.key(name)?;
        let part = UPLOAD_PART_BYTES.max(length.div_ceil(MOST_UPLOAD_PARTS));
        let put = async {
            let mut upload = self.client.put_multipart(&key).await.map_err(|e| self.failed("put", name, e))?;
            let parts = async {
                let mut under_way = stream::FuturesUnordered::new();
                let mut at = 0;
                while at < length {
                    if under_way.len() == UPLOAD_PARTS {
                        under_way.try_next().await.map_err(|e| self.failed("put", name, e))?;
                    }
                    under_way.push(upload.put_part(read(at, part.min(length - at))?.into()));
                    at += part;
                }
                under_way.try_collect::<Vec<()>>().await.map_err(|e| self.failed("put", name, e))
            };
            let put = match parts.await {
                Ok(_) => upload.complete().await.map_err(|e| self.failed("put", name, e)),
                Err(error) => Err(error),
            };
            let Err(error) = put else { return Ok(()) };
            // The answer to the last question may have been lost; the parts are checked by the server.
            if self.client.head(&key).await.is_ok_and(|about| about.size == length) {
                return Ok(());
            }
            // What cannot be aborted now is for the bucket's own rules.
            let _ = upload.abort().await;
            Err(error)
        };
        self.runtime.block_on(put)
    }

    /// Puts a document in place of the one that is there now, and of no other: one that was given up and arrives after this
    /// one is refused by the server then.
    pub fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        use object_store::Error as E;
        let key = self.key(name)?;
        let put = async {
            let mode = match self.client.head(&key).await {
                Ok(about) => PutMode::Update(UpdateVersion { e_tag: about.e_tag, version: about.version }),
                Err(E::NotFound { .. }) => PutMode::Create,
                Err(error) => return Err(error),
            };
            let options = PutOptions { mode, ..PutOptions::default() };
            match self.client.put_opts(&key, PutPayload::from(bytes.to_vec()), options).await {
                Err(error @ (E::Precondition { .. } | E::AlreadyExists { .. })) => {
                    // By a try whose answer was lost, or by another put in between.
                    let found = self.client.get(&key).await?.bytes().await?;
                    if found == bytes { Ok(()) } else { Err(error) }
                }
                put => put.map(drop),
            }
        };
        match self.ask("put", name, put) {
            Err(Error::Absent { .. }) => Err(self.no_bucket("put", name)),
            put => put,
        }
    }

    /// The first bytes of an object, `most` at most.
    pub fn read(&self, name: &str, most: u64) -> Result<Vec<u8>, Error> {
        let key = self.key(name)?;
        let options = GetOptions { range: Some(GetRange::Bounded(0..most)), ..GetOptions::default() };
        let read = async { self.client.get_opts(&key, options).await?.bytes().await };
        self.ask("read", name, read).map(|bytes| bytes.to_vec())
    }

    pub fn list(&self) -> Result<Vec<Listed>, Error> {
        let list = async { self.client.list_with_delimiter(Some(&self.prefix)).await };
        let found = match self.ask("list", "objects", list) {
            Err(Error::Absent { .. }) => return Err(self.no_bucket("list", "objects")),
            found => found?,
        };
        let listed = |about: object_store::ObjectMeta| {
            let name = about.location.filename()?.to_owned();
            Some(Listed { name, bytes: about.size, modified: about.last_modified.into() })
        };
        Ok(found.objects.into_iter().filter_map(listed).collect())
    }

    pub fn delete(&self, names: &[&str]) -> Result<(), Error> {
        let keys = names.iter().map(|name| self.key(name)).collect::<Result<Vec<_>, _>>()?;
        let gone = stream::iter(keys.into_iter().map(Ok)).boxed();
        let delete = async { self.client.delete_stream(gone).try_collect::<Vec<_>>().await.map(drop) };
        match self.ask("delete", names.first().unwrap_or(&""), delete) {
            Ok(()) | Err(Error::Absent { .. }) => {}
            Err(error) => return Err(error),
        }
        names.iter().try_for_each(|name| self.forget(name))
    }

    fn forget(&self, name: &str) -> Result<(), Error> {
        self.sound().remove(name);
        self.folder.delete(name)
    }

    /// Deletes copies of what is neither `listed` nor `named`. No upload may be under way.
    pub fn tidy(&self, listed: &[Listed], named: &BTreeSet<String>) -> Result<(), Error> {
        if self.scratch.is_some() {
            return Ok(());
        }
        let there: HashSet<_> = listed.iter().map(|listed| listed.name.as_str()).collect();
        let copies = self.folder.list()?;
        let is_gone = |copy: &&Listed| !there.contains(copy.name.as_str()) && !named.contains(&copy.name);
        copies.iter().filter(is_gone).try_for_each(|copy| self.forget(&copy.name))
    }

    /// Opens objects, given by name and, where it is known, length, from copies that are sound or else from the store.
    pub fn fetch(&self, wanted: &[(&str, Option<u64>)]) -> Result<Vec<(File, PathBuf)>, Error> {
        let mut opened = Vec::with_capacity(wanted.len());
        for (name, _) in wanted {
            names::check(name)?;
            opened.push(self.sound().contains(*name).then(|| self.folder.open_file(name)).transpose()?);
        }
        let missing: Vec<_> = wanted.iter().zip(&opened).filter(|(_, copy)| copy.is_none()).map(|(wanted, _)| *wanted).collect();
        if !missing.is_empty() {
            let mut fetched = self.fetch_missing(&missing)?.into_iter();
            opened.iter_mut().filter(|copy| copy.is_none()).for_each(|copy| *copy = fetched.next());
        }
        Ok(opened.into_iter().flatten().collect())
    }

    fn fetch_missing(&self, missing: &[(&str, Option<u64>)]) -> Result<Vec<(File, PathBuf)>, Error> {
        let keys = missing.iter().map(|(name, _)| self.key(name)).collect::<Result<Vec<_>, _>>()?;
        let heads = stream::iter(keys.iter().zip(missing)).map(|(key, (name, expected))| async move {
            let about = self.client.head(key).await.map_err(|e| self.failed("look at", name, e))?;
            match expected {
                Some(expected) if *expected != about.size => {
                    let what = format!("the manifest names {expected} bytes, found {}", about.size);
                    Err(Error::corrupt(name, what, about.size.min(*expected)))
                }
                _ => Ok(about.size),
            }
        });
        let sizes: Vec<u64> = self.runtime.block_on(heads.buffered(HEADS).try_collect())?;

        let mut targets = Vec::with_capacity(missing.len());
        for ((name, _), size) in missing.iter().zip(&sizes) {
            targets.push(match self.kept(name, *size)? {
                Some(copy) => Target::Copy(copy),
                None => self.target(name)?,
            });
        }
        let mut parts = Vec::new();
        for ((target, size), (key, (name, _))) in targets.iter().zip(&sizes).zip(keys.iter().zip(missing)) {
            let Some(file) = target.unfinished() else { continue };
            let starts = (0..*size).step_by(PART_BYTES as usize);
            parts.extend(starts.map(|at| (file, at..(at + PART_BYTES).min(*size), key, *name)));
        }
        let gets = stream::iter(parts).map(|(file, range, key, name)| async move {
            let bytes = self.client.get_range(key, range.clone()).await.map_err(|e| self.failed("read", name, e))?;
            Ok((file, range.start, bytes))
        });
        let write = |(file, at, bytes): (&File, u64, bytes::Bytes)| {
            std::future::ready(file.write_all_at(&bytes, at).map_err(|e| Error::io("write a copy in", &self.place, e)))
        };
        self.runtime.block_on(gets.buffer_unordered(PARTS).try_for_each(write))?;
        targets.into_iter().zip(missing).map(|(target, (name, _))| self.finish(target, name)).collect()
    }

    /// A copy that an earlier process has left, if it is whole.
    fn kept(&self, name: &str, size: u64) -> Result<Option<(File, PathBuf)>, Error> {
        if self.scratch.is_some() {
            return Ok(None);
        }
        let (file, path) = match self.folder.open_file(name) {
            Err(Error::Absent { .. }) => return Ok(None),
            opened => opened?,
        };
        let is_whole = file.metadata().is_ok_and(|about| about.len() == size) && verify(name, &file, &path).is_ok();
        if !is_whole {
            return Ok(None);
        }
        self.sound().insert(name.to_owned());
        Ok(Some((file, path)))
    }

    fn target(&self, name: &str) -> Result<Target, Error> {
        let Some(scratch) = &self.scratch else { return Ok(Target::Keep(self.folder.upload(name)?)) };
        let file = tempfile::tempfile_in(scratch).map_err(|e| Error::io("create a file in", scratch, e))?;
        Ok(Target::Unnamed(file, scratch.clone()))
    }

    /// Trusts what was fetched once every byte is checked.
    fn finish(&self, target: Target, name: &str) -> Result<(File, PathBuf), Error> {
        match target {
            Target::Copy(copy) => Ok(copy),
            Target::Unnamed(file, folder) => {
                verify(name, &file, &folder)?;
                Ok((file, folder))
            }
            Target::Keep(upload) => {
                verify(name, upload.file(), upload.unfinished())?;
                self.keep(name, upload)?;
                self.folder.open_file(name)
            }
        }
    }

    fn ask<T>(&self, action: &'static str, name: &str, question: impl Future<Output = object_store::Result<T>>) -> Result<T, Error> {
        match self.runtime.block_on(async { timeout(self.deadline, question).await }) {
            Ok(answer) => answer.map_err(|e| self.failed(action, name, e)),
            Err(_) => Err(self.late(action, name)),
        }
    }

    fn key(&self, name: &str) -> Result<Key, Error> {
        names::check(name)?;
        Ok(self.prefix.clone().join(name))
    }

    fn sound(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.sound.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, action: &'static str, name: &str, error: object_store::Error) -> Error {
        let text = error.to_string();
        if matches!(error, object_store::Error::NotFound { .. }) || status(&text) == Some(404) {
            return Error::Absent { object: name.to_owned(), store: self.place.clone() };
        }
        self.remote(action, name, is_transient(&error), said(&text).unwrap_or(text))
    }

    fn late(&self, action: &'static str, name: &str) -> Error {
        self.remote(action, name, true, format!("no answer within {:?}", self.deadline))
    }

    fn no_bucket(&self, action: &'static str, name: &str) -> Error {
        self.remote(action, name, false, "there is no such bucket".to_owned())
    }

    fn remote(&self, action: &'static str, name: &str, transient: bool, reason: String) -> Error {
        Error::Remote { action, object: name.to_owned(), store: self.place.clone(), transient, reason }
    }
}

/// Where an object that was not open yet comes from.
enum Target {
    Copy((File, PathBuf)),
    Keep(folder::Upload),
    Unnamed(File, PathBuf),
}

impl Target {
    fn unfinished(&self) -> Option<&File> {
        match self {
            Self::Copy(_) => None,
            Self::Keep(upload) => Some(upload.file()),
            Self::Unnamed(file, _) => Some(file),
        }
    }
}

fn verify(name: &str, file: &File, path: &Path) -> Result<(), Error> {
    let file = file.try_clone().map_err(|e| Error::io("open", path, e))?;
    Object::open(name, Input::File { file, path: path.to_owned() })?.verify()
}

fn read_part(file: &File, path: &Path, at: u64, length: u64) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, at).map_err(|e| Error::io("read", path, e))?;
    Ok(bytes)
}
