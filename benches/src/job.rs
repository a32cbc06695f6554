//! Job files, and the `weir` binary that runs them.

use crate::ffi::children_cpu;
use crate::kafka::Kafka;
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A run that has not ended by then never will.
const DEADLINE: Duration = Duration::from_secs(900);
/// Between two looks at a child.
const LOOK: Duration = Duration::from_millis(2);

/// The folder of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The path of an example guest.
pub fn guest(name: &str) -> Result<PathBuf> {
    let path = root().join("guest-examples/bin").join(name).with_extension("wasm");
    path.canonicalize().with_context(|| format!("{} is not there: make guests", path.display()))
}

/// An operator that runs an example guest; a keyed one is keyed by the record's key.
pub fn operator(guest_name: &str, input: &str, keyed: bool) -> Result<Value> {
    let mut operator = json!({ "id": guest_name, "component": guest(guest_name)?, "inputs": [input] });
    if keyed && let Some(fields) = operator.as_object_mut() {
        fields.insert("key".into(), "record".into());
    }
    Ok(operator)
}

/// How a job delivers its output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// As the yardstick does.
    AtLeastOnce,
    /// In transactions of an epoch each.
    ExactlyOnce,
}

impl Delivery {
    const fn as_str(self) -> &'static str {
        match self {
            Self::AtLeastOnce => "at-least-once",
            Self::ExactlyOnce => "exactly-once",
        }
    }
}

/// A job file in a folder of its own, with the job's state; deleted with this value.
pub struct Job {
    folder: TempDir,
    path: PathBuf,
}

impl Job {
    /// A job from topic to topic through a chain of operators, the first of which reads `in`. All is as by default, but
    /// that its output is not compressed: neither is the yardstick's.
    pub fn new(name: &str, kafka: &Kafka, from: &str, to: &str, operators: Vec<Value>, delivery: Delivery) -> Result<Self> {
        let last = operators.last().and_then(|o| o.get("id")).cloned().unwrap_or_else(|| "in".into());
        let document = json!({
            "apiVersion": "weir.dev/v1alpha1",
            "kind": "StreamJob",
            "metadata": { "name": name },
            "spec": {
                "sources": [{ "id": "in", "kafka": { "brokers": kafka.bootstrap(), "topics": [from] } }],
                "operators": operators,
                "sinks": [{
                    "id": "out",
                    "inputs": [last],
                    "kafka": { "brokers": kafka.bootstrap(), "topic": to, "compression": "none", "delivery": delivery.as_str() },
                }],
            },
        });
        let folder = tempfile::Builder::new().prefix("weir-bench-job-").tempdir()?;
        let path = folder.path().join("job.yaml");
        fs::write(&path, serde_json::to_vec_pretty(&document)?)?;
        Ok(Self { folder, path })
    }

    /// The job file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn stderr(&self) -> PathBuf {
        self.folder.path().join("stderr")
    }
}

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
        command.arg(verb).arg(job.path()).arg("--component-cache").arg(self.components()).current_dir(job.folder.path());
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

    /// What it has written to stderr.
    pub fn stderr(&self) -> String {
        fs::read(&self.stderr).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default()
    }

    /// Fails when it has ended.
    pub fn assert_running(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("a child ended with {status} before its time:\n{}", self.stderr()),
        }
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
        // Both fail only when it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
