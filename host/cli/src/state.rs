//! `weir state`: a look into checkpoints, without the job.

use crate::args::{State, StateCommand, WhichState};
use crate::exit::Failure;
use crate::run::{base_dir, read};
use crate::terminal::written;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use weir_host::checkpoint::{Access, Checkpoint, Entry, Error, Location, Manifest, View};
use weir_host::fault::Kind;
use weir_host::job;

/// A running job may take a checkpoint's files away between the look at its list and the look at them.
const TRIES: usize = 5;

/// Runs the command; remote stores are reached as `environment` says.
pub fn run(args: &State, environment: BTreeMap<String, String>) -> Result<(), Failure> {
    match &args.command {
        StateCommand::List { place } => crate::terminal::print(&list(&open(place, environment)?)?),
        StateCommand::Dump { which } => print_entries(which, environment, |_| true),
        StateCommand::Get { which, key, map_key } => print_entries(which, environment, |entry| {
            entry.key == key.as_bytes() && map_key.as_ref().is_none_or(|k| entry.map_key == Some(k.as_bytes()))
        }),
    }
}

/// The state folder of a job file, or the folder itself.
pub fn state_folder(place: &Path) -> Result<PathBuf, Failure> {
    Ok(if place.is_file() { base_dir(place).join(read(place)?.checkpoint_path()) } else { place.to_owned() })
}

/// The checkpoints of a job file, of a state folder, or in a store.
fn open(place: &str, environment: BTreeMap<String, String>) -> Result<View, Failure> {
    let location = Location::parse(place);
    let Some(path) = location.folder() else {
        return View::open(&location, &Access::new(environment)).map_err(failure);
    };
    if !path.exists() {
        return Err(Failure::usage(format_args!("there is no job file or folder at {place}")));
    }
    if path.is_file() {
        let job = read(path)?;
        let location = job::store_location(&job, &base_dir(path).join(job.checkpoint_path()));
        if location.folder().is_some_and(|folder| !folder.is_dir()) {
            return Err(no_checkpoint(&location.to_string()));
        }
        return View::open(&location, &job::store_access(&job, environment)).map_err(failure);
    }
    let inner = path.join(job::CHECKPOINTS);
    let folder = if inner.is_dir() { inner } else { path.to_owned() };
    View::open(&Location::Folder(folder), &Access::new(environment)).map_err(failure)
}

fn failure(error: Error) -> Failure {
    let kind = match error {
        Error::NewerFormat { .. } | Error::Corrupt { .. } | Error::Absent { .. } => Kind::Refused,
        _ => Kind::World,
    };
    Failure::new(kind, error)
}

fn list(view: &View) -> Result<String, Failure> {
    let checkpoints = view.checkpoints().map_err(failure)?;
    let Some(newest) = checkpoints.first() else {
        return Err(no_checkpoint(&view.place()));
    };
    let mut text = String::new();
    for checkpoint in &checkpoints {
        let (manifest, files) = (&checkpoint.manifest, checkpoint.files());
        let (bytes, entries): (u64, u64) = files.iter().fold((0, 0), |(bytes, entries), f| (bytes + f.bytes, entries + f.entries));
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "epoch {} of run {}: {} files, {bytes} bytes, {entries} entries with older ones  {}",
            manifest.epoch,
            manifest.run,
            files.len(),
            checkpoint.own.name
        );
    }
    describe(&newest.manifest, &mut text);
    Ok(text)
}

fn describe(manifest: &Manifest, text: &mut String) {
    let _ = writeln!(text, "\nthe newest, with {} shards:", manifest.shards);
    for operator in &manifest.operators {
        let key = operator.key.as_deref().unwrap_or("?");
        let states: Vec<_> = operator.states.iter().map(|s| format!("{} ({}, version {})", s.name, s.kind.as_str(), s.version)).collect();
        let _ = writeln!(text, "  operator {} keyed by {key}: {}", operator.id, states.join(", "));
    }
    for split in &manifest.splits {
        let _ = writeln!(text, "  source {} {}[{}] goes on at {}", split.source, split.topic, split.partition, split.next);
    }
    for sink in &manifest.sinks {
        let _ = writeln!(text, "  sink {} has {} bytes", sink.sink, sink.bytes);
    }
}

/// What ends a print: the store, or whoever reads it.
enum Stop {
    Store(Error),
    Out(io::Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

fn print_entries(which: &WhichState, environment: BTreeMap<String, String>, wanted: impl Fn(&Entry<'_>) -> bool) -> Result<(), Failure> {
    let view = open(&which.place, environment)?;
    let is = |name: &Option<String>, found: &str| name.as_ref().is_none_or(|name| name == found);
    let mut out = BufWriter::new(io::stdout().lock());
    for attempt in 1.. {
        let checkpoint = checkpoint(&view, which)?;
        known(which, &checkpoint.manifest)?;
        let printed = view.entries(&checkpoint, |entry| {
            if is(&which.operator, entry.operator) && is(&which.state, entry.state) && wanted(&entry) {
                serde_json::to_writer(&mut out, &to_json(&entry)).map_err(|e| Stop::Out(e.into()))?;
                out.write_all(b"\n").map_err(Stop::Out)?;
            }
            Ok(())
        });
        return match printed {
            Ok(_) => written(out.flush()),
            Err(Stop::Out(error)) => written(Err(error)),
            Err(Stop::Store(Error::Absent { .. })) if attempt < TRIES => continue,
            Err(Stop::Store(error)) => Err(failure(error)),
        };
    }
    Ok(())
}

fn checkpoint(view: &View, which: &WhichState) -> Result<Checkpoint, Failure> {
    let all = view.checkpoints().map_err(failure)?;
    let there: Vec<_> = all.iter().map(|checkpoint| checkpoint.manifest.epoch.to_string()).collect();
    let found = all.into_iter().find(|checkpoint| which.epoch.is_none_or(|epoch| checkpoint.manifest.epoch == epoch));
    found.ok_or_else(|| match which.epoch {
        Some(epoch) => Failure::usage(format_args!("there is no checkpoint of epoch {epoch}; there are {}", there.join(", "))),
        None => no_checkpoint(&view.place()),
    })
}

fn no_checkpoint(place: &str) -> Failure {
    Failure::world(format_args!("there is no checkpoint in {place}: the job has not committed any state yet"))
}

/// Refuses names that the checkpoint does not have: no entries would look like an empty state.
fn known(which: &WhichState, manifest: &Manifest) -> Result<(), Failure> {
    let operators = || manifest.operators.iter().filter(|o| which.operator.as_ref().is_none_or(|id| *id == o.id));
    if let (Some(id), None) = (&which.operator, operators().next()) {
        let ids: Vec<_> = manifest.operators.iter().map(|o| o.id.as_str()).collect();
        return Err(Failure::usage(format_args!("no operator {id} has state; these have: {}", ids.join(", "))));
    }
    let states: Vec<_> = operators().flat_map(|o| &o.states).map(|s| s.name.as_str()).collect();
    match &which.state {
        Some(name) if !states.contains(&name.as_str()) => {
            Err(Failure::usage(format_args!("there is no state {name}; there are: {}", states.join(", "))))
        }
        _ => Ok(()),
    }
}

fn to_json(entry: &Entry<'_>) -> Value {
    let mut line = Map::new();
    line.insert("operator".into(), json!(entry.operator));
    line.insert("state".into(), json!(entry.state));
    line.insert("shard".into(), json!(entry.shard));
    put(&mut line, "key", entry.key);
    if let Some(map_key) = entry.map_key {
        put(&mut line, "mapKey", map_key);
    }
    line.insert("version".into(), json!(entry.version));
    put(&mut line, "value", entry.value);
    Value::Object(line)
}

/// As NDJSON sources and sinks have it: text, or base64 under another name.
fn put(line: &mut Map<String, Value>, field: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => line.insert(field.into(), json!(text)),
        Err(_) => line.insert(format!("{field}Base64"), json!(STANDARD.encode(bytes))),
    };
}
