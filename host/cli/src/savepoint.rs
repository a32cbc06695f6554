//! `weir savepoint` and `weir stop`: what is asked of a running job.

use crate::args::{Savepoint, Stop};
use crate::exit::Failure;
use crate::state::state_folder;
use crate::terminal::Terminal;
use std::path::Path;
use std::time::Duration;
use weir_host::checkpoint::{Location, SavepointDocument};
use weir_host::commit::requests::{AskError, Request, ask};
use weir_host::fault::Kind;

/// Takes a savepoint.
pub fn take(args: &Savepoint, terminal: &Terminal) -> Result<(), Failure> {
    let to = whole(&args.to)?;
    let request = Request { savepoint: Some(to.to_string()), ..Request::default() };
    if let Some(document) = asked(&args.place, &request, args.timeout)? {
        terminal.line(&taken(&document, &to));
    }
    Ok(())
}

/// Stops a job.
pub fn stop(args: &Stop, terminal: &Terminal) -> Result<(), Failure> {
    let savepoint = args.savepoint.as_deref().map(whole).transpose()?;
    let request = Request { savepoint: savepoint.as_ref().map(Location::to_string), stop: true, drain: args.drain };
    match (asked(&args.place, &request, args.timeout)?, savepoint) {
        (Some(document), Some(to)) => terminal.line(&format!("stopped; {}", taken(&document, &to))),
        _ => terminal.line("stopped"),
    }
    Ok(())
}

fn asked(place: &Path, request: &Request, timeout: u64) -> Result<Option<SavepointDocument>, Failure> {
    ask(&state_folder(place)?, request, Duration::from_secs(timeout)).map_err(|error| {
        let kind = if matches!(error, AskError::NotRunning { .. }) { Kind::BadJob } else { Kind::World };
        Failure::new(kind, error)
    })
}

fn taken(document: &SavepointDocument, to: &Location) -> String {
    format!("savepoint of epoch {} of run {} in {to}", document.epoch, document.run)
}

/// The job has a working folder of its own.
fn whole(place: &str) -> Result<Location, Failure> {
    Location::parse(place).absolute().map_err(|e| Failure::usage(format_args!("{place}: {e}")))
}
