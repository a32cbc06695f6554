//! `weir savepoint` and `weir stop`: what is asked of a running job.

use crate::args::{Savepoint, Stop};
use crate::exit::Failure;
use crate::state::state_folder;
use crate::terminal::Terminal;
use std::path::{Path, PathBuf};
use std::time::Duration;
use weir_host::checkpoint::SavepointDocument;
use weir_host::commit::requests::{AskError, Request, ask};
use weir_host::fault::Kind;

/// Takes a savepoint.
pub fn take(args: &Savepoint, terminal: &Terminal) -> Result<(), Failure> {
    let to = whole(&args.to)?;
    let request = Request { savepoint: Some(to.clone()), stop: false };
    if let Some(document) = asked(&args.place, &request, args.timeout)? {
        terminal.line(&taken(&document, &to));
    }
    Ok(())
}

/// Stops a job.
pub fn stop(args: &Stop, terminal: &Terminal) -> Result<(), Failure> {
    let savepoint = args.savepoint.as_deref().map(whole).transpose()?;
    let request = Request { savepoint: savepoint.clone(), stop: true };
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

fn taken(document: &SavepointDocument, to: &Path) -> String {
    format!("savepoint of epoch {} of run {} in {}", document.epoch, document.run, to.display())
}

/// The job has a working folder of its own.
fn whole(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|e| Failure::usage(format_args!("{}: {e}", path.display())))
}
