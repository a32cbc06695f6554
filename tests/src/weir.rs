//! Running the weir binary, and ending it in several ways.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::cgroup::Cgroup;
use crate::job::Job;
use crate::wait;

/// Exit codes of `weir run`.
pub mod code {
    /// All done and committed.
    pub const OK: i32 = 0;
    /// The job file or the command line is wrong.
    pub const BAD_JOB: i32 = 2;
    /// Something outside does not work: a broker, a topic, a disk.
    pub const WORLD: i32 = 3;
    /// The start was refused: where the job stood cannot be told for certain.
    pub const START_REFUSED: i32 = 4;
    /// Another process has taken the job over.
    pub const FENCED: i32 = 5;
    /// A guest stopped the job.
    pub const GUEST: i32 = 6;
}

/// The folder of a job: its file, its local input and output, its state. Deleted when dropped.
#[derive(Debug)]
pub struct Folder {
    folder: TempDir,
    runs: Cell<u32>,
    variables: Vec<(String, String)>,
}

impl Default for Folder {
    fn default() -> Self {
        Self::new()
    }
}

impl Folder {
    /// An empty folder.
    pub fn new() -> Self {
        Self {
            folder: tempfile::Builder::new().prefix("weir-test-").tempdir().expect("a temporary folder"),
            runs: Cell::new(0),
            variables: vec![],
        }
    }

    /// The same with an environment variable for all that is run in it.
    pub fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// A path in it.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Another folder for the same job over the same checkpoints, as two machines with a shared store would have.
    #[track_caller]
    pub fn twin(&self, job: &Job) -> Self {
        let twin = Self { variables: self.variables.clone(), ..Self::new() };
        let store = Path::new(&job.state_folder()).join("checkpoints");
        let (mine, its) = (self.path(&store), twin.path(&store));
        fs::create_dir_all(its.parent().expect("a folder in the job's")).expect("the folder of states");
        std::os::unix::fs::symlink(mine, its).expect("a link");
        twin
    }

    /// Removes what a job that does not run has left of RocksDB.
    #[track_caller]
    pub fn wipe_rocksdb(&self, job: &Job) {
        let left = self.path(job.state_folder()).join("rocksdb");
        if left.exists() {
            fs::remove_dir_all(left).expect("a folder of this test's");
        }
    }

    /// Starts `weir run` on the job with these further arguments.
    ///
    /// # Panics
    /// When the binary has not been built.
    #[track_caller]
    pub fn start(&self, job: &Job, arguments: &[&str]) -> Run {
        self.start_by(Command::new(binary()), job, arguments)
    }

    /// Starts `weir run` of the build with failpoints, one of which is armed: `POINT:HIT:MARKER`.
    ///
    /// # Panics
    /// When that build is not there.
    #[track_caller]
    pub fn start_armed(&self, job: &Job, failpoint: &str, arguments: &[&str]) -> Run {
        let mut weir = Command::new(armed_binary());
        weir.env("WEIR_FAILPOINT", failpoint);
        self.start_by(weir, job, arguments)
    }

    /// Starts `weir run` on the job with a pipe for stdout that nobody reads.
    #[track_caller]
    pub fn start_unread(&self, job: &Job, arguments: &[&str]) -> Run {
        let file = self.path("job.yaml");
        fs::write(&file, job.text()).expect("the job file");
        self.start_into(Some(Stdio::piped()), Command::new(binary()), &file, arguments)
    }

    /// Starts `weir run` inside a control group.
    #[track_caller]
    pub fn start_within(&self, group: &Cgroup, job: &Job, arguments: &[&str]) -> Run {
        let mut shell = Command::new("sh");
        shell.args(["-c", "weir=$1; while [ \"$2\" != - ]; do echo $$ > \"$2\"; shift; done; shift 2; exec \"$weir\" \"$@\"", "sh"]);
        shell.arg(binary()).args(group.joined_by()).arg("-");
        self.start_by(shell, job, arguments)
    }

    #[track_caller]
    fn start_by(&self, weir: Command, job: &Job, arguments: &[&str]) -> Run {
        let file = self.path("job.yaml");
        fs::write(&file, job.text()).expect("the job file");
        self.start_file(weir, &file, arguments)
    }

    #[track_caller]
    fn start_file(&self, weir: Command, file: &Path, arguments: &[&str]) -> Run {
        self.start_into(None, weir, file, arguments)
    }

    #[track_caller]
    fn start_into(&self, pipe: Option<Stdio>, mut weir: Command, file: &Path, arguments: &[&str]) -> Run {
        let run = self.runs.replace(self.runs.get() + 1);
        let (stdout, stderr) = (self.path(format!("stdout-{run}")), self.path(format!("stderr-{run}")));
        let child = weir
            .arg("run")
            .arg(file)
            .args(arguments)
            .envs(self.variables())
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(pipe.unwrap_or(Stdio::from(File::create(&stdout).expect("a file for stdout"))))
            .stderr(File::create(&stderr).expect("a file for stderr"))
            .spawn()
            .expect("weir starts");
        Run { child, stdout, stderr }
    }

    /// Runs another command of weir's to its end, in this folder.
    #[track_caller]
    pub fn command(&self, arguments: &[&str]) -> Outcome {
        let output =
            Command::new(binary()).args(arguments).envs(self.variables()).current_dir(self.folder.path()).stdin(Stdio::null()).output();
        let output = output.expect("weir starts");
        Outcome { status: output.status, stdout: output.stdout, stderr: String::from_utf8_lossy(&output.stderr).into_owned() }
    }

    /// Runs a job file to its end.
    #[track_caller]
    pub fn run_file(&self, file: &Path, arguments: &[&str], deadline: Duration) -> Outcome {
        self.start_file(Command::new(binary()), file, arguments).wait(deadline)
    }

    /// Runs the job to its end.
    #[track_caller]
    pub fn run(&self, job: &Job, arguments: &[&str], deadline: Duration) -> Outcome {
        self.start(job, arguments).wait(deadline)
    }
}

/// The binary that `cargo build --workspace` puts beside the folder of the test executables.
///
/// # Panics
/// When it has not been built.
#[track_caller]
pub fn binary() -> PathBuf {
    let path = profile_folder().join("weir");
    assert!(path.is_file(), "there is no weir binary at {}: build it with cargo build --workspace", path.display());
    path
}

/// The binary with failpoints.
#[track_caller]
fn armed_binary() -> PathBuf {
    let profile = profile_folder();
    let target = profile.parent().expect("target/debug");
    let path = target.join("failpoints").join(profile.file_name().expect("target/debug")).join("weir");
    assert!(path.is_file(), "there is no weir binary at {}: build it with scripts/build.sh --tests", path.display());
    path
}

/// `target/debug`: tests lie in its folder `deps`, other programs in itself.
fn profile_folder() -> PathBuf {
    let this = std::env::current_exe().expect("the path of this program");
    let folder = this.parent().expect("a program lies in a folder");
    if folder.ends_with("deps") { folder.parent().expect("target/debug/deps").to_owned() } else { folder.to_owned() }
}

/// Where scripts/env.sh keeps what is slow to make.
///
/// # Panics
/// Without a home folder.
pub fn cache() -> PathBuf {
    let of_user = || PathBuf::from(std::env::var("HOME").expect("a home folder")).join(".cache/weir");
    std::env::var("WEIR_CACHE").map_or_else(|_| of_user(), PathBuf::from)
}

/// A running weir. Killed when dropped, also by a test that panics.
#[derive(Debug)]
pub struct Run {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Run {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What its monitoring port answers: status and body. Waits until the port is open.
    #[track_caller]
    pub fn get(&self, path: &str) -> (u16, String) {
        let answer = wait::for_some(Duration::from_secs(60), || self.try_get(path));
        answer.unwrap_or_else(|| panic!("no answer from the monitoring port; stderr:\n{}", self.stderr()))
    }

    /// The same; `None` while nothing answers.
    pub fn try_get(&self, path: &str) -> Option<(u16, String)> {
        http_get(&self.metrics_address()?, path)
    }

    /// The samples of a scrape: name with labels, and value. Waits until the port is open; a job whose components are being
    /// loaded has no metrics yet.
    #[track_caller]
    pub fn samples(&self) -> BTreeMap<String, f64> {
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        self.get("/metrics").1.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect()
    }

    /// One of them; 0 where it has none of this name.
    #[track_caller]
    pub fn sample(&self, name: &str) -> f64 {
        self.samples().get(name).copied().unwrap_or_default()
    }

    /// How often the job has restarted inside the process.
    #[track_caller]
    pub fn restarts(&self) -> u64 {
        self.sample("weir_restarts_total") as u64
    }

    /// Host and port of the monitoring port, once it is open.
    pub fn metrics_address(&self) -> Option<String> {
        let stderr = self.stderr();
        let begin = stderr.find("http://")? + "http://".len();
        Some(stderr[begin..].split('/').next()?.to_owned())
    }

    /// The names of its threads.
    #[track_caller]
    pub fn threads(&self) -> Vec<String> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).expect("the threads of a child");
        // A thread may end between the two.
        tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok()).map(|name| name.trim().to_owned()).collect()
    }

    /// Its resident memory in bytes; 0 once it has ended.
    #[track_caller]
    pub fn memory(&self) -> u64 {
        self.status_bytes("VmRSS:").unwrap_or(0)
    }

    /// The most resident memory that it has used so far, in bytes; `None` once it has ended.
    #[track_caller]
    pub fn peak(&self) -> Option<u64> {
        self.status_bytes("VmHWM:")
    }

    fn status_bytes(&self, name: &str) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.trim_end_matches(" kB").trim().parse::<u64>().expect("a number of KiB") * 1024)
    }

    /// What it has written to stderr so far.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.stderr).expect("the file of stderr")).into_owned()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// After `deadline`, with what it wrote to stderr.
    #[track_caller]
    pub fn wait(mut self, deadline: Duration) -> Outcome {
        match self.ended_within(deadline) {
            Some(status) => self.outcome(status),
            None => panic!("weir did not end within {deadline:?}; its stderr:\n{}", self.stderr()),
        }
    }

    /// Whether it ends by itself within a time.
    pub fn ended_within(&mut self, time: Duration) -> Option<ExitStatus> {
        wait::for_some(time, || self.child.try_wait().expect("the state of a child"))
    }

    /// The epoch that it went on from, once it says so.
    pub fn resumed(&self) -> Option<u64> {
        let stderr = self.stderr();
        let number = stderr.lines().find(|line| line.contains("resuming"))?.split("epoch=").nth(1)?;
        number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    }

    /// Fails the test when it has ended by itself, with what it wrote to stderr.
    #[track_caller]
    pub fn assert_running(&mut self) {
        if let Some(status) = self.ended_within(Duration::ZERO) {
            panic!("weir ended by itself: {status}; its stderr:\n{}", self.stderr());
        }
    }

    /// Ends it with SIGKILL and waits until it is gone.
    ///
    /// # Panics
    /// When it had ended before.
    #[track_caller]
    pub fn kill_9(mut self) -> Outcome {
        self.assert_running();
        self.child.kill().expect("SIGKILL");
        let status = self.child.wait().expect("the end of a killed process");
        self.outcome(status)
    }

    /// Asks it to end, with SIGTERM.
    #[track_caller]
    pub fn terminate(&mut self) {
        self.signal("TERM");
    }

    /// Stops it without ending it, with SIGSTOP.
    #[track_caller]
    pub fn freeze(&mut self) {
        self.signal("STOP");
    }

    /// Lets it go on after [`freeze`](Self::freeze).
    #[track_caller]
    pub fn thaw(&mut self) {
        self.signal("CONT");
    }

    #[track_caller]
    fn signal(&mut self, signal: &str) {
        // It has not been waited for, so its pid cannot be another process's.
        self.assert_running();
        let status = Command::new("sh").args(["-c", "kill \"-$1\" \"$2\"", "sh", signal, &self.pid().to_string()]).status();
        assert!(status.expect("sh runs").success(), "SIG{signal} could not be sent");
    }

    fn outcome(&self, status: ExitStatus) -> Outcome {
        Outcome { status, stdout: fs::read(&self.stdout).expect("the file of stdout"), stderr: self.stderr() }
    }
}

impl Drop for Run {
    #[expect(clippy::print_stderr, reason = "the test's own output")]
    fn drop(&mut self) {
        // A test that fails of something else, a broker for one, tells what the job was at.
        if std::thread::panicking() && matches!(self.child.try_wait(), Ok(None)) {
            eprintln!("weir was still running; its stderr:\n{}", self.stderr());
        }
        // Both fail only when it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Status and body of what an address answers; `None` when nothing does. HTTP 1.0, so that the body comes in one piece.
pub fn http_get(address: &str, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: test\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// The exit status.
    pub status: ExitStatus,
    /// All it wrote to stdout.
    pub stdout: Vec<u8>,
    /// All it wrote to stderr.
    pub stderr: String,
}

impl Outcome {
    /// What it wrote to stdout.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Fails the test unless the exit code is `code`, with stderr.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.status.code(), Some(code), "weir ended with {}; its stderr:\n{}", self.status, self.stderr);
        self
    }

    /// Fails the test unless stderr holds each of `texts`.
    #[track_caller]
    pub fn expect_named(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.stderr.contains(text), "stderr does not name `{text}`:\n{}", self.stderr);
        }
        self
    }
}
