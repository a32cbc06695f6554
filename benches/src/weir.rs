//! The `weir` binary, and what is known of a running child.

use crate::ffi::children_cpu;
use crate::job::Job;
use anyhow::{Context as _, Result, bail, ensure};
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A run that has not ended by then never will.
const DEADLINE: Duration = Duration::from_secs(900);
/// Between two looks at a child.
const LOOK: Duration = Duration::from_millis(2);
/// Of /proc's times; the same on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;
/// What opens the port that [`Run::metrics`] asks.
pub const WITH_METRICS: [&str; 2] = ["--metrics-port", "0"];

/// The built binary, and where it keeps compiled components.
pub struct Weir {
    binary: PathBuf,
    components: TempDir,
}

impl Weir {
    /// The binary beside this one.
    pub fn find() -> Result<Self> {
        let binary = std::env::current_exe()?.with_file_name("weir");
        ensure!(binary.is_file(), "there is no {}: make build", binary.display());
        Ok(Self { binary, components: tempfile::Builder::new().prefix("weir-bench-components-").tempdir()? })
    }

    /// Where compiled components are kept.
    pub fn components(&self) -> &Path {
        self.components.path()
    }

    /// Compiles a job's components, so that a run finds them compiled.
    pub fn warm(&self, job: &Job) -> Result<()> {
        let output = self.command("check", job).output()?;
        ensure!(output.status.success(), "weir check failed: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// Starts a job with one worker.
    pub fn start(&self, job: &Job, arguments: &[&str]) -> Result<Run> {
        let mut command = self.command("run", job);
        command.args(["--workers", "1"]).args(arguments);
        Run::start(&mut command, &job.stderr())
    }

    /// Runs a job with one worker to the end of its topics; its CPU seconds.
    pub fn run(&self, job: &Job) -> Result<f64> {
        self.start(job, &["--until-end"])?.wait()
    }

    fn command(&self, verb: &str, job: &Job) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg(verb).arg(job.path()).arg("--component-cache").arg(self.components()).current_dir(job.folder());
        command
    }
}

/// A running child. Killed when dropped.
pub struct Run {
    child: Child,
    stderr: PathBuf,
    cpu_before: f64,
    begun: Instant,
}

impl Run {
    /// Starts a command, with its stderr into a file. Its CPU time is right as long as no other child is waited for
    /// before it.
    pub fn start(command: &mut Command, stderr: &Path) -> Result<Self> {
        let (cpu_before, begun) = (children_cpu()?, Instant::now());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(stderr)?);
        let child = command.spawn().with_context(|| format!("{} does not start", command.get_program().display()))?;
        Ok(Self { child, stderr: stderr.to_owned(), cpu_before, begun })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its CPU seconds so far, user and system.
    pub fn cpu(&self) -> Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid()))?;
        // The second field, the name, may hold spaces; it ends with the last parenthesis. User and system time are the 14th and 15th.
        let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ').skip(11).take(2);
        Ok(fields.map(|field| field.parse::<f64>().unwrap_or(f64::NAN)).sum::<f64>() / TICKS_PER_SECOND)
    }

    /// What it has written to stderr.
    pub fn stderr(&self) -> String {
        fs::read(&self.stderr).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default()
    }

    /// What its monitoring port says; none before it is open. It was started [`WITH_METRICS`].
    pub fn metrics(&self) -> Option<Metrics> {
        let stderr = self.stderr();
        let address = stderr.split("http://").nth(1)?.split("/metrics").next()?;
        let mut stream = TcpStream::connect(address).ok()?;
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(Metrics(answer))
    }

    /// Fails when it has ended.
    pub fn assert_running(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("a child ended with {status} before its time:\n{}", self.stderr()),
        }
    }

    /// Kills it; returns when it is gone.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Waits until it has ended well; its CPU seconds, user and system, from start to end.
    pub fn wait(mut self) -> Result<f64> {
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            ensure!(self.begun.elapsed() < DEADLINE, "a child did not end within {DEADLINE:?}:\n{}", self.stderr());
            std::thread::park_timeout(LOOK);
        };
        ensure!(status.success(), "a child ended with {status}:\n{}", self.stderr());
        Ok(children_cpu()? - self.cpu_before)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // Fails only when it is gone already.
        let _ = self.kill();
    }
}

/// All metrics of a job, as text.
pub struct Metrics(String);

impl Metrics {
    /// The sum of a metric over its labels.
    pub fn sum(&self, name: &str) -> Option<f64> {
        let of_name = |line: &str| line.strip_prefix(name).filter(|rest| rest.starts_with(['{', ' ']))?.rsplit(' ').next()?.parse().ok();
        self.0.lines().filter_map(of_name).reduce(|sum: f64, value: f64| sum + value)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::Metrics;

    #[test]
    fn a_metric_is_summed_over_its_labels_and_not_with_those_that_begin_alike() {
        let metrics = Metrics("# TYPE a counter\na{b=\"c d\"} 1\na{b=\"e\"} 2.5\na_total 7\n".to_owned());
        assert!((metrics.sum("a").unwrap() - 3.5).abs() < f64::EPSILON);
        assert!((metrics.sum("a_total").unwrap() - 7.0).abs() < f64::EPSILON);
        assert!(metrics.sum("b").is_none());
    }
}
