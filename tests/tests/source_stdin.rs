//! Standard input: a job that begins again inside its process reads on from what is committed, and an epoch keeps so much of
//! it in memory and no more.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs::{self, File};
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use weir_tests::broker::Broker;
use weir_tests::job::Job;
use weir_tests::proxy::{Api, Effect, Way};
use weir_tests::wait;
use weir_tests::weir::{Folder, binary};

const DEADLINE: Duration = Duration::from_secs(60);

/// A running weir whose standard input is a pipe. Killed when dropped.
struct Piped<'a> {
    child: Child,
    folder: &'a Folder,
}

impl<'a> Piped<'a> {
    fn start(folder: &'a Folder, name: &str, sink: Value, checkpoint: Value) -> Self {
        let input = json!({ "stdin": { "format": "lines" } });
        let job = Job::new(name).source("in", input).sink("out", &["in"], sink).checkpoint(checkpoint);
        fs::write(folder.path("job.yaml"), job.text()).unwrap();
        let child = Command::new(binary())
            .args(["run", "job.yaml"])
            .current_dir(folder.path("."))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(File::create(folder.path("stderr")).unwrap())
            .spawn();
        Self { child: child.unwrap(), folder }
    }

    fn stderr(&self) -> String {
        fs::read_to_string(self.folder.path("stderr")).unwrap()
    }

    fn feed(&mut self, bytes: &[u8]) {
        self.child.stdin.as_mut().unwrap().write_all(bytes).unwrap();
    }

    /// Waits until it has failed and begun again so many times.
    fn await_restarts(&mut self, restarts: usize) {
        let restarted = wait::for_some(DEADLINE, || {
            let running = self.child.try_wait().unwrap().is_none();
            (!running || self.stderr().matches("attempt failed; restarting").count() >= restarts).then_some(running)
        });
        assert_eq!(restarted, Some(true), "{restarts} restarts were not seen; stderr:\n{}", self.stderr());
    }

    /// Ends its input and waits until it has ended.
    fn end(mut self) {
        drop(self.child.stdin.take());
        let ended = wait::for_some(DEADLINE, || self.child.try_wait().unwrap());
        assert!(ended.is_some_and(|status| status.success()), "{ended:?}; stderr:\n{}", self.stderr());
    }
}

impl Drop for Piped<'_> {
    fn drop(&mut self) {
        // Both fail only when it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("line {n} {}", "x".repeat(n % 50))).collect()
}

#[test]
fn rule_12_a_restart_inside_the_process_loses_repeats_and_cuts_no_line_of_standard_input() {
    const LOST: [Way; 4] = [Way::Request, Way::Answer, Way::Request, Way::Answer];
    let (broker, proxy) = Broker::proxied();
    let (folder, output) = (Folder::new(), broker.topic("piped", 1));
    let mut weir = Piped::start(&folder, "piped", broker.sink(&output), json!({ "transactionTimeout": "2s" }));
    let lines = lines(9_000);
    let text = lines.join("\n").into_bytes();
    // Pieces end within lines.
    let mut pieces = text.chunks(text.len().div_ceil(2 * LOST.len() + 1));
    weir.feed(pieces.next().unwrap());
    wait::until("the first lines", DEADLINE, || broker.records(&output).len() > 500);
    for (round, way) in (1..).zip(LOST) {
        proxy.harm(Api::Commit, way, Effect::Drop, 1);
        weir.feed(pieces.next().unwrap());
        wait::until("a commit that is lost", DEADLINE, || proxy.hits() > 0);
        // Of the epoch after it, which fails with it.
        weir.feed(pieces.next().unwrap());
        weir.await_restarts(round);
        proxy.heal();
    }
    assert_eq!(pieces.next(), None);
    weir.end();
    let records: Vec<_> = broker.records(&output).iter().map(weir_tests::records::Record::text).collect();
    assert!(
        records == lines,
        "{} records of {} lines; the first that differs: {:?}",
        records.len(),
        lines.len(),
        differs(&records, &lines)
    );
}

#[test]
fn rule_10_an_epoch_ends_when_it_keeps_so_much_of_standard_input_however_long_it_may_last() {
    let folder = Folder::new();
    let sink = json!({ "file": { "path": "out", "format": "lines" } });
    let mut weir = Piped::start(&folder, "kept", sink, json!({ "interval": "1h", "dirtyBytes": "64KiB" }));
    let lines = lines(100_000);
    weir.feed(lines.join("\n").as_bytes());
    weir.end();
    let written: Vec<_> = fs::read_to_string(folder.path("out")).unwrap().lines().map(str::to_owned).collect();
    assert!(written == lines, "{} lines of {}; the first that differs: {:?}", written.len(), lines.len(), differs(&written, &lines));
}

fn differs<'a>(found: &'a [String], expected: &'a [String]) -> Option<(&'a String, &'a String)> {
    found.iter().zip(expected).find(|(found, expected)| found != expected)
}
