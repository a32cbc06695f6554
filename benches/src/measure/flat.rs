//! Whether throughput stays what it is: a keyed job under full load for ten minutes, while its checkpoints are merged,
//! its topic grows and its memory ages. The host makes up the records, so nothing but the job holds it up.

use super::Bench;
use super::kept::{self, Counts};
use super::machine::Machine;
use crate::job::Source;
use anyhow::{Result, ensure};
use serde_json::json;
use std::io::{Write as _, stderr};
use std::time::{Duration, Instant};

/// Distinct keys. All have come long before anything is measured.
const KEYS: u64 = 1_000_000;
/// Bytes of a value.
const BYTES: u64 = 16;
const EPOCH: Duration = Duration::from_secs(1);
/// Throughput is that of a window; the first is not measured, in which the state grows.
const WINDOW: Duration = Duration::from_secs(60);
/// With the first, ten minutes.
const WINDOWS: usize = 10;
/// Longest time without output.
const PATIENCE: Duration = Duration::from_secs(60);

/// Throughput of the worst window as a share of the best one's: by the clock, by the job's CPU time, that of a fixed piece
/// of work beside it, and the second over the third.
pub fn measure(bench: &Bench) -> Result<Vec<f64>> {
    let (kafka, to) = (bench.kafka()?, bench.topic("out")?);
    let made_up = json!({ "template": { "keyed": { "keys": KEYS, "valueBytes": BYTES } } });
    let job = kept::job(bench, Source::Generator(made_up), &to, EPOCH)?;
    let mut run = bench.weir.start(&job, &[])?;
    let mut counts = Counts::new(kafka, &to, KEYS)?;
    let mut machine = Machine::new();
    let (mut by_clock, mut by_cpu, mut by_machine) = (vec![], vec![], vec![]);
    let mut last = Instant::now();
    for window in 0..WINDOWS {
        let (begun, cpu, seen) = (Instant::now(), run.cpu()?, counts.seen());
        while begun.elapsed() < WINDOW {
            machine.work_if_due()?;
            if counts.next()?.is_some() {
                last = Instant::now();
            }
            ensure!(last.elapsed() < PATIENCE, "nothing came for {PATIENCE:?}:\n{}", run.stderr());
        }
        run.assert_running()?;
        let records = (counts.seen() - seen) as f64;
        let (clock, cpu) = (records / begun.elapsed().as_secs_f64(), records / (run.cpu()? - cpu));
        let speed = machine.since_last();
        writeln!(
            stderr(),
            "minute {}: {clock:.0} records/s, {cpu:.0} per CPU-second; machine: {:.1} million updates per CPU-second",
            window + 1,
            speed / 1e6
        )?;
        if window > 0 {
            by_clock.push(clock);
            by_cpu.push(cpu);
            by_machine.push(speed);
        }
    }
    drop(run);
    kafka.delete(&to)?;
    let over_machine: Vec<_> = by_cpu.iter().zip(&by_machine).map(|(cpu, machine)| cpu / machine).collect();
    Ok([by_clock, by_cpu, by_machine, over_machine].iter().map(|values| worst_over_best(values)).collect())
}

fn worst_over_best(values: &[f64]) -> f64 {
    let worst = values.iter().copied().fold(f64::INFINITY, f64::min);
    worst / values.iter().copied().fold(0.0, f64::max)
}
