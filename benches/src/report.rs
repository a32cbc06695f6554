//! What was measured: on the terminal, and in bench-results.json.

use crate::figure::{Bound, Figure, median};
use crate::job::root;
use anyhow::{Context as _, Result, ensure};
use serde_json::{Map, Value, json};
use std::fs;
use std::io::Write;
use std::process::Command;

/// The file, at the repository's root.
const FILE: &str = "bench-results.json";

/// A figure with a value per round.
pub struct Measured {
    pub figure: Figure,
    pub rounds: Vec<f64>,
}

impl Measured {
    fn value(&self) -> f64 {
        median(&self.rounds)
    }

    /// Whether the value keeps its bound.
    pub fn holds(&self) -> bool {
        self.figure.bound.holds(self.value())
    }

    /// Whether it says that the machine was not fit to measure anything.
    pub fn voids(&self) -> bool {
        matches!(self.figure.bound, Bound::MachineAtLeast(_)) && !self.holds()
    }
}

/// Prints each figure beside its bound.
pub fn print(measured: &[Measured], mut to: impl Write) -> Result<()> {
    writeln!(to, "{:<30} {:>12}    {:>12} {:>12}   rounds", "figure", "value", "bound", "aim")?;
    for one in measured {
        let Figure { name, bound, aim } = one.figure;
        let relation = match bound {
            Bound::AtMost(_) => "<=",
            Bound::AtLeast(_) | Bound::MachineAtLeast(_) => ">=",
            Bound::Nothing => "  ",
        };
        let verdict = match (one.holds(), one.voids()) {
            (true, _) => "",
            (false, true) => "  VOID",
            (false, false) => "  MISSED",
        };
        let rounds: Vec<_> = one.rounds.iter().map(|v| short(*v)).collect();
        let (value, bound, aim) = (short(one.value()), optional(bound.value()), optional(aim));
        writeln!(to, "{name:<30} {value:>12} {relation} {bound:>12} {aim:>12}   {}{verdict}", rounds.join(" "))?;
    }
    Ok(())
}

fn optional(value: Option<f64>) -> String {
    value.map(short).unwrap_or_default()
}

/// Four significant digits, and thousands in whole numbers.
fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 1000.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 0.1 || v == 0.0 => format!("{value:.3}"),
        _ => format!("{value:.5}"),
    }
}

/// Of what commit a clean tree is; an error names what is changed. The results of an earlier run do not count.
pub fn clean_commit() -> Result<String> {
    let status = git(&["status", "--porcelain", "--", ".", &format!(":!{FILE}")])?;
    ensure!(status.is_empty(), "the tree is not clean, so there is no commit that the figures would be of:\n{status}");
    git(&["rev-parse", "HEAD"])
}

/// Writes the results of a commit.
pub fn write(measured: &[Measured], commit: &str, load_before: &str) -> Result<()> {
    let figure = |one: &Measured| {
        let value = json!({ "value": one.value(), "bound": one.figure.bound.value(), "rounds": one.rounds });
        (one.figure.name.to_owned(), value)
    };
    let document = json!({
        "commit": commit,
        "date": command("date", &["-u", "+%Y-%m-%dT%H:%M:%SZ"])?,
        "machine": machine()?,
        "load": format!("{load_before} before, {} after", load()?),
        "figures": Value::Object(measured.iter().map(figure).collect::<Map<_, _>>()),
    });
    let path = root().join(FILE);
    fs::write(&path, serde_json::to_string_pretty(&document)? + "\n").with_context(|| format!("cannot write {}", path.display()))
}

/// Load averages of the last 1, 5 and 15 minutes.
pub fn load() -> Result<String> {
    Ok(fs::read_to_string("/proc/loadavg")?.split(' ').take(3).collect::<Vec<_>>().join(" "))
}

fn machine() -> Result<String> {
    let cpus = fs::read_to_string("/proc/cpuinfo")?;
    let models: Vec<_> = cpus.lines().filter(|line| line.starts_with("model name")).filter_map(|line| line.split(": ").nth(1)).collect();
    let memory = fs::read_to_string("/proc/meminfo")?;
    let kib: u64 = memory.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(0);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let model = models.first().copied().unwrap_or("unknown CPU");
    Ok(format!("{} x {model}, {} GiB, Linux {}", models.len(), kib >> 20, kernel.trim()))
}

fn git(arguments: &[&str]) -> Result<String> {
    command("git", arguments)
}

fn command(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).current_dir(root()).output().with_context(|| format!("{program} does not run"))?;
    ensure!(output.status.success(), "{program} failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}
