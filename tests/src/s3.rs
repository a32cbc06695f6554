//! A real S3 server: versitygw over a folder of its own.

use std::cell::RefCell;
use std::fs::{self, File};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http_proxy::HttpProxy;
use crate::port;
use crate::wait;
use crate::weir::{Folder, cache};

/// The one bucket.
const BUCKET: &str = "weir-test";
const KEY: &str = "weir-test-key";
const SECRET: &str = "weir-test-secret";
const DEADLINE: Duration = Duration::from_secs(20);

/// A running server; ends when dropped, and its folder with it.
#[derive(Debug)]
pub struct S3 {
    folder: TempDir,
    port: u16,
    server: RefCell<Option<Child>>,
}

impl S3 {
    /// A server with an empty bucket.
    ///
    /// # Panics
    /// When it does not start: `scripts/setup.sh --tests` installs it.
    #[track_caller]
    pub fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("weir-s3-").tempdir().expect("a temporary folder");
        fs::create_dir_all(folder.path().join("buckets").join(BUCKET)).expect("the bucket's folder");
        let s3 = Self { folder, port: port::free(), server: RefCell::new(None) };
        s3.resume();
        s3
    }

    /// Ends the server; connections to it are refused then.
    pub fn stop(&self) {
        if let Some(mut server) = self.server.borrow_mut().take() {
            server.kill().expect("the server can be killed");
            server.wait().expect("the server's end");
        }
    }

    /// Starts the server again, with what it held.
    #[track_caller]
    pub fn resume(&self) {
        let binary = cache().join("tools/bin/versitygw");
        assert!(binary.is_file(), "there is no {}: run scripts/setup.sh --tests", binary.display());
        let log = || File::create(self.folder.path().join("log")).expect("a log file");
        let server = Command::new(binary)
            .args(["--port", &format!("127.0.0.1:{}", self.port), "posix"])
            .arg(self.folder.path().join("buckets"))
            .envs([("ROOT_ACCESS_KEY", KEY), ("ROOT_SECRET_KEY", SECRET)])
            .stdout(log())
            .stderr(log())
            .spawn()
            .expect("versitygw starts");
        *self.server.borrow_mut() = Some(server);
        wait::until("the S3 server answers", DEADLINE, || TcpStream::connect(("127.0.0.1", self.port)).is_ok());
    }

    /// The field `store` of a job file's `checkpoint`.
    pub fn store(&self) -> Value {
        store_at(self.port)
    }

    /// The same for a job that reaches the server through a proxy of its own. Commands reach it directly.
    pub fn store_behind_proxy(&self) -> (Value, HttpProxy) {
        let proxy = HttpProxy::start(self.port);
        (store_at(proxy.port()), proxy)
    }

    /// A place in the bucket, as the command line names it.
    pub fn place(&self, prefix: &str) -> String {
        format!("s3://{BUCKET}/{prefix}")
    }

    /// A folder whose jobs have the server's credentials.
    pub fn folder(&self) -> Folder {
        Folder::new()
            .with_variable("AWS_ACCESS_KEY_ID", KEY)
            .with_variable("AWS_SECRET_ACCESS_KEY", SECRET)
            .with_variable("AWS_ENDPOINT_URL", &format!("http://127.0.0.1:{}", self.port))
    }

    /// The secret half of the credentials.
    pub fn secret(&self) -> &str {
        SECRET
    }

    /// Paths of the objects below a prefix, in the server's folder, by name.
    pub fn objects(&self, prefix: &str) -> Vec<PathBuf> {
        let folder = self.folder.path().join("buckets").join(BUCKET).join(prefix);
        let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut objects: Vec<_> = entries.filter(|path| path.is_file()).collect();
        objects.sort();
        objects
    }
}

fn store_at(port: u16) -> Value {
    json!({ "store": { "s3": { "bucket": BUCKET, "endpoint": format!("http://127.0.0.1:{port}") } } })
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.stop();
    }
}
