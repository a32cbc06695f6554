//! Kill runs with an oracle: `make test-faults`. Many kills of one job make a case; what a case of a whole run has found is
//! kept, so that a run that was interrupted goes on where it was.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a kill run fails by panicking")]
#![allow(clippy::print_stdout, reason = "what it is for")]

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use serde_json::{Value, json};
use weir_tests::broker::Broker;
use weir_tests::faults::series::{self, Kill, POINTS};

/// Random kills of one case.
const CASE: u32 = 25;
/// Of so many commits that are sent and not answered at least a third is carried out.
const ENOUGH: u32 = 10;
/// What a case counts, beside its kills.
const FINDINGS: [&str; 5] = ["lost", "duplicated", "reordered", "state_mismatch", "unfinished"];

/// Kill a job at random moments and at failpoints, and let an oracle say what it cost.
#[derive(Parser)]
struct Cli {
    /// Makes input and moments; the same seed repeats a run
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Kills at random moments
    #[arg(long, default_value_t = 200)]
    random: u32,
    /// Kills at each failpoint
    #[arg(long, default_value_t = 20)]
    each: u32,
    /// Only this case, by its number, even if it is done already
    #[arg(long)]
    case: Option<u64>,
    /// One case of just these kills, run each time: `random`, `late`, `take-over`, `flip`, names of failpoints
    kills: Vec<String>,
    /// Where finished cases are kept; those found there are not run again
    #[arg(long)]
    kept: PathBuf,
    /// Write results of all cases to this file
    #[arg(long, requires_all = ["commit", "date"])]
    write: Option<PathBuf>,
    /// The commit that the results are of
    #[arg(long)]
    commit: Option<String>,
    /// The day of the results
    #[arg(long)]
    date: Option<String>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    fs::create_dir_all(&cli.kept).expect("the folder of cases");
    let cases = cases(&cli);
    let chosen = cases.iter().enumerate().filter(|(number, _)| cli.case.is_none_or(|case| case == *number as u64));
    let mut done: Vec<Value> = vec![];
    for (number, kills) in chosen {
        let kept = kept_as(&cli, number, kills).map(|name| cli.kept.join(name));
        let before = kept.as_ref().filter(|_| cli.case.is_none()).and_then(|kept| fs::read(kept).ok());
        let result = before.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_else(|| {
            let result = run(&cli, number as u64, kills);
            if let Some(kept) = kept {
                fs::write(kept, result.to_string()).expect("the file of a case");
            }
            result
        });
        println!("case {number} of {}: {result}", cases.len());
        done.push(result);
    }
    let totals = totals(&done);
    println!("{totals:#}");
    if let (Some(file), Some(commit), Some(date)) = (&cli.write, &cli.commit, &cli.date) {
        let mut results = totals.clone();
        (results["seed"], results["commit"], results["date"]) = (json!(cli.seed), json!(commit), json!(date));
        fs::write(file, format!("{results:#}\n")).expect("the file of results");
    }
    let sound = FINDINGS.iter().all(|what| totals[what] == 0);
    let whole = !cli.kills.is_empty() || cli.case.is_some() || is_whole(&cli, &totals);
    if sound && whole { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Whether each kill that was asked for is among the results.
fn is_whole(cli: &Cli, totals: &Value) -> bool {
    let each = |point: &str| cli.each == 0 || totals["failpoints"][point] == cli.each;
    let missing: Vec<&str> = POINTS.into_iter().filter(|point| !each(point)).collect();
    let random = totals["random_kills"] == cli.random;
    if !random || !missing.is_empty() {
        println!("not all kills are among the results: random ones {random}, missing at {missing:?}");
    }
    // At the point `commit-sent` the request is given to librdkafka; that it leaves the process is only seen at the broker.
    let carried_out = totals["unanswered_commits"]["carried out"].as_u64().unwrap_or(0);
    let left = cli.each < ENOUGH || 3 * carried_out >= u64::from(cli.each);
    if !left {
        println!("too few commits that were sent and not answered were carried out: {}", totals["unanswered_commits"]);
    }
    random && missing.is_empty() && left
}

/// Random kills in portions, then a case for each failpoint.
fn cases(cli: &Cli) -> Vec<Vec<Kill>> {
    if !cli.kills.is_empty() {
        let named = |name: &String| Kill::named(name).unwrap_or_else(|| panic!("there is no kill {name}"));
        return vec![cli.kills.iter().map(named).collect()];
    }
    let portions = (0..cli.random).step_by(CASE as usize).map(|from| vec![Kill::Random; CASE.min(cli.random - from) as usize]);
    let points = POINTS.into_iter().filter(|_| cli.each > 0).map(|point| vec![Kill::At(point); cli.each as usize]);
    portions.chain(points).collect()
}

/// The file of a case, in which everything stands that makes it another one; none if its kills were named one by one.
fn kept_as(cli: &Cli, number: usize, kills: &[Kill]) -> Option<String> {
    let of = match kills.first()? {
        Kill::At(point) => point,
        _ => "random",
    };
    cli.kills.is_empty().then(|| format!("case-{number}-seed-{}-{of}-{}.json", cli.seed, kills.len()))
}

fn run(cli: &Cli, number: u64, kills: &[Kill]) -> Value {
    let broker = Broker::start();
    let report = series::run(&format!("faults-{number}"), &broker, cli.seed * 1_000 + number, kills);
    if !report.findings.is_empty() {
        println!("case {number}, seed {}:\n{}", cli.seed, report.findings);
    }
    let (phases, points, found) = (&report.phases, &report.points, &report.findings);
    json!({
        "random_kills": phases.values().sum::<u64>(), "phases": phases, "failpoint_kills": points.values().sum::<u64>(),
        "failpoints": points, "unanswered_commits": report.unanswered, "take_overs": report.take_overs, "refused": report.refused,
        "records": report.records, "lost": found.lost.len(), "duplicated": found.duplicated.len(),
        "reordered": found.reordered.len(), "state_mismatch": found.state_mismatch.len(), "unfinished": found.unfinished.len(),
    })
}

/// The sums of all cases, field by field.
fn totals(cases: &[Value]) -> Value {
    let mut totals = json!({});
    for case in cases {
        add(&mut totals, case);
    }
    totals
}

fn add(totals: &mut Value, case: &Value) {
    for (field, value) in case.as_object().expect("an object") {
        match value.as_u64() {
            Some(number) => totals[field] = json!(totals[field].as_u64().unwrap_or(0) + number),
            None => {
                let mut inner = if totals[field].is_null() { json!({}) } else { totals[field].take() };
                add(&mut inner, value);
                totals[field] = inner;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(arguments: &[&str]) -> Vec<Option<String>> {
        let cli = Cli::parse_from([&["weir-faults", "--kept", "."], arguments].concat());
        cases(&cli).iter().enumerate().map(|(number, kills)| kept_as(&cli, number, kills)).collect()
    }

    #[test]
    fn cases_are_kept_apart_by_number_seed_and_kills_and_named_ones_not_at_all() {
        let runs: [&[&str]; 4] = [&[], &["--seed", "2"], &["--random", "20"], &["--random", "0"]];
        let names: Vec<_> = runs.iter().flat_map(|run| kept(&[run, &["--each", "20"][..]].concat())).map(Option::unwrap).collect();
        let all = names.iter().collect::<std::collections::BTreeSet<_>>().len();
        assert_eq!(all, names.len(), "{names:?}");
        assert_eq!(kept(&["random", "merge", "take-over"]), [None]);
    }
}
