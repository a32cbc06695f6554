//! Allocations on the record's way: a passthrough job under load in a process of this program, whose allocator counts.
//! What librdkafka allocates in C is not counted.

use super::{Bench, passthrough};
use crate::ffi::Counting;
use crate::job::{Delivery, Source, operator};
use anyhow::{Context as _, Result, ensure};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use weir_host::job::{self, Control, Prepared, Settings};

/// Between two looks at the job's metrics.
const LOOK: Duration = Duration::from_millis(1);

/// Allocations per record.
pub fn measure(bench: &Bench) -> Result<f64> {
    passthrough::input(bench)?;
    let to = bench.topic("out")?;
    let operators = vec![operator("passthrough", "in", false)?];
    let job = bench.job(Source::Topic(passthrough::TOPIC), &to, operators, Delivery::AT_LEAST_ONCE)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("role-allocations").arg(job.path()).arg(bench.weir.components()).arg(passthrough::RECORDS.to_string());
    let output = command.output()?;
    ensure!(output.status.success(), "counting failed: {}", String::from_utf8_lossy(&output.stderr));
    bench.kafka()?.delete(&to)?;
    Ok(std::str::from_utf8(&output.stdout)?.trim().parse()?)
}

/// Runs the job in this process and prints the allocations per record between a quarter and nine tenths of `records`.
pub fn count(allocator: &Counting, job: &Path, components: &Path, records: u64) -> Result<()> {
    let settings = Settings {
        base_dir: job.parent().context("a job file has a folder")?.to_owned(),
        workers: Some(1),
        until_end: true,
        component_cache: Some(components.to_owned()),
        ..Settings::default()
    };
    let prepared = Prepared::new(weir_spec::read(job)?, settings)?;
    let metrics = prepared.metrics();
    let control = Control::new();
    let per_record = std::thread::scope(|scope| {
        let run = || job::run(&prepared, &control);
        let job = std::thread::Builder::new().name("weir-job".into()).spawn_scoped(scope, run)?;
        let at = |wanted: u64| loop {
            let read = metrics.snapshot().records_in;
            if read >= wanted || job.is_finished() {
                break (read, allocator.allocations());
            }
            std::thread::park_timeout(LOOK);
        };
        let (begin, end) = (at(records / 4), at(records / 10 * 9));
        job.join().map_err(|_| anyhow::anyhow!("the job panicked"))??;
        ensure!(end.0 > begin.0, "the job ended too soon");
        Ok((end.1 - begin.1) as f64 / (end.0 - begin.0) as f64)
    })?;
    writeln!(std::io::stdout(), "{per_record}")?;
    Ok(())
}
