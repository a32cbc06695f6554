//! Measures what Weir promises: `make bench`.
//!
//! [`figure`] is the list of promises. [`measure`] takes them, each with a check that the output is right: over a real
//! Kafka ([`kafka`]) with the built binary ([`weir`]), one worker, uncompressed output, and default settings else
//! ([`job`]), on made-up input ([`data`]), which is all there before or comes at a steady pace ([`load`]). Rounds are
//! interleaved, so that what disturbs the machine for a while disturbs all figures alike; a figure is the median of its
//! rounds. CPU seconds, where they are the unit, are those of the client's process from its start to its end, and the
//! yardstick for them is the bare librdkafka loop in [`ffi`].
//! [`report`] prints and writes.

mod data;
mod ffi;
mod figure;
mod job;
mod kafka;
mod load;
mod measure;
mod report;
mod weir;

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand};
use measure::{Bench, Measure};
use report::Measured;
use std::io::{Write as _, stderr, stdout};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: ffi::Counting = ffi::Counting::new();

/// Exit status when a figure missed its bound.
const MISSED: u8 = 1;
/// Exit status when nothing could be measured, or nothing be written.
const FAILED: u8 = 2;
/// Exit status when the machine was not fit to measure.
const VOID: u8 = 3;

const AFTER: &str = "\
Exit status:
  0  every figure keeps its bound
  1  a figure missed its bound
  2  something could not be measured, or the results not be written
  3  void: the machine is too slow, too busy or too uneven, as programs without Weir show";

/// Measure what Weir promises, each figure beside its bound.
///
/// Writes bench-results.json at the repository's root, from a clean tree and with no arguments only.
#[derive(Parser)]
#[command(after_help = AFTER, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    role: Option<Role>,
    /// Measure only figures with one of these texts in their names; writes nothing
    filters: Vec<String>,
    /// Write nothing
    #[arg(long)]
    dry_run: bool,
    /// So many rounds of everything; writes nothing
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    rounds: Option<u16>,
}

/// What this program does as its own child.
#[derive(Subcommand)]
enum Role {
    /// Copy a topic, with an epoch in transactions
    #[command(hide = true)]
    RoleCopy { bootstrap: String, from: String, to: String, partitions: i32, epoch_ms: Option<u64> },
    /// Run a job and print its allocations per record
    #[command(hide = true)]
    RoleAllocations { job: PathBuf, components: PathBuf, records: u64 },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match &cli.role {
        Some(Role::RoleCopy { bootstrap, from, to, partitions, epoch_ms }) => {
            ffi::copy(bootstrap, from, to, *partitions, epoch_ms.map(Duration::from_millis)).map(|_| ExitCode::SUCCESS)
        }
        Some(Role::RoleAllocations { job, components, records }) => {
            measure::allocations::count(&ALLOCATOR, job, components, *records).map(|()| ExitCode::SUCCESS)
        }
        None => bench(&cli),
    };
    result.unwrap_or_else(|error| {
        // There is no other place for it.
        let _ = writeln!(stderr(), "error: {error:#}");
        ExitCode::from(FAILED)
    })
}

fn bench(cli: &Cli) -> Result<ExitCode> {
    let default = cli.filters.is_empty() && cli.rounds.is_none();
    // Asked for before anything is measured: the answer is no reason to wait for all of it.
    let commit = if default && !cli.dry_run { Some(report::clean_commit()?) } else { None };
    let load = report::load()?;
    let measured = measure_all(cli)?;
    report::print(&measured, stdout())?;
    if measured.iter().any(Measured::voids) {
        writeln!(stderr(), "void: the machine is not fit to measure; nothing is written")?;
        return Ok(ExitCode::from(VOID));
    }
    if let Some(commit) = commit {
        ensure!(report::clean_commit()? == commit, "another commit was checked out while measuring");
        report::write(&measured, &commit, &load)?;
    }
    Ok(if measured.iter().all(Measured::holds) { ExitCode::SUCCESS } else { ExitCode::from(MISSED) })
}

/// Takes all values, round by round; ends early where they are void.
fn measure_all(cli: &Cli) -> Result<Vec<Measured>> {
    let wanted = |name: &str| cli.filters.is_empty() || cli.filters.iter().any(|filter| name.contains(filter.as_str()));
    let measures: Vec<_> = Measure::ALL.into_iter().filter(|m| m.figures().iter().any(|f| wanted(f.name))).collect();
    ensure!(!measures.is_empty(), "no figure has one of these texts in its name: {}", cli.filters.join(", "));
    let rounds = |measure: Measure| cli.rounds.map_or(measure.rounds(), usize::from);
    let most = measures.iter().map(|m| rounds(*m)).max().unwrap_or(0);
    let mut measured: Vec<Vec<Measured>> =
        measures.iter().map(|m| m.figures().iter().map(|f| Measured { figure: *f, rounds: vec![] }).collect()).collect();
    let bench = Bench::new()?;
    'rounds: for round in 0..most {
        for (measure, figures) in measures.iter().zip(&mut measured).filter(|(measure, _)| round < rounds(**measure)) {
            for (figure, value) in figures.iter_mut().zip(measure.take(&bench)?) {
                writeln!(stderr(), "round {}: {} {value:.4}", round + 1, figure.figure.name)?;
                figure.rounds.push(value);
            }
            if round + 1 == rounds(*measure) && figures.iter().any(Measured::voids) {
                break 'rounds;
            }
        }
    }
    Ok(measured.into_iter().flatten().filter(|one| !one.rounds.is_empty()).collect())
}
