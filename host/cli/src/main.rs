//! The `weir` command. Each command is a module; the environment is read here and nowhere else, but for the folder of temporary
//! files.

mod args;
mod check;
mod edge;
mod exit;
mod http;
mod inspect;
mod logging;
mod numbers;
mod otlp;
mod progress;
mod run;
mod savepoint;
mod state;
mod terminal;
mod topics;

use args::{Cli, Command};
use clap::{CommandFactory, Parser};
use exit::Failure;
use logging::Format;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use terminal::Terminal;
use weir_host::job::Settings;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help or a usage error, in clap's words. There is nobody left to tell that nobody reads it.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let terminal = Terminal::stderr(variable("TERM").as_deref());
    let (format, filter) = match &cli.command {
        Command::Run(run) => (run.log_format, run.log.clone()),
        _ => (Format::Text, None),
    };
    let filter = filter.or_else(|| variable("WEIR_LOG")).or_else(|| variable("RUST_LOG"));
    let colour = terminal.is_live() && variable("NO_COLOR").is_none();
    #[cfg(feature = "failpoints")]
    if let Some(Err(problem)) = variable("WEIR_FAILPOINT").map(|text| weir_host::failpoint::arm(&text)) {
        terminal.line(&problem);
        return ExitCode::from(weir_host::fault::Kind::BadJob.exit_code());
    }
    // Without a log there is no other place for its own failure than a plain line.
    let (format, result) = match logging::start(filter.as_deref(), format, colour, &terminal) {
        Ok(()) => (format, execute(&cli.command, &terminal)),
        Err(failure) => (Format::Text, Err(failure)),
    };
    result.unwrap_or_else(|failure| {
        match format {
            Format::Text => terminal.line(&format!("error: {}", failure.message)),
            Format::Json => tracing::error!(status = failure.kind.exit_code(), "{}", failure.message),
        }
        ExitCode::from(failure.kind.exit_code())
    })
}

fn execute(command: &Command, terminal: &Terminal) -> Result<ExitCode, Failure> {
    match command {
        Command::Run(args) => return run::run(args, surroundings(args.component_cache.as_deref())?, terminal),
        Command::Check(args) => check::run(args, surroundings(args.component_cache.as_deref())?)?,
        Command::Savepoint(args) => savepoint::take(args, terminal)?,
        Command::Stop(args) => savepoint::stop(args, terminal)?,
        Command::State(args) => state::run(args, environment())?,
        Command::Inspect(args) => inspect::run(args, surroundings(args.component_cache.as_deref())?)?,
        Command::Topics(args) => topics::run(args, terminal)?,
        Command::Completions { shell } => terminal::print(&completions(*shell)?)?,
        Command::Version => terminal::print(concat!("weir ", env!("CARGO_PKG_VERSION"), "\n"))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn completions(shell: clap_complete::Shell) -> Result<String, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "weir", &mut script);
    String::from_utf8(script).map_err(|error| Failure::new(weir_host::fault::Kind::Bug, error))
}

/// What a job takes from the environment.
fn surroundings(component_cache: Option<&Path>) -> Result<Settings, Failure> {
    Ok(Settings { component_cache: self::component_cache(component_cache)?, environment: environment(), ..Settings::default() })
}

/// Variables that are text.
fn environment() -> BTreeMap<String, String> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect()
}

/// The folder asked for, or one in the user's cache folder. Where that cannot be made, as in a container with a
/// read-only file system, components are compiled at each start.
fn component_cache(wanted: Option<&Path>) -> Result<Option<PathBuf>, Failure> {
    if let Some(folder) = wanted {
        return std::path::absolute(folder)
            .map(Some)
            .map_err(|e| Failure::usage(format_args!("component cache {}: {e}", folder.display())));
    }
    let user = variable("XDG_CACHE_HOME").map(PathBuf::from).filter(|folder| folder.is_absolute());
    let Some(user) = user.or_else(|| variable("HOME").map(|home| PathBuf::from(home).join(".cache"))) else { return Ok(None) };
    let folder = user.join("weir").join("components");
    match std::fs::create_dir_all(&folder) {
        Ok(()) => Ok(Some(folder)),
        Err(error) => {
            tracing::warn!(folder = %folder.display(), %error, "compiled components are not kept");
            Ok(None)
        }
    }
}

/// An environment variable that is set to something.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
