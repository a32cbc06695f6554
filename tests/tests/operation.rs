//! What an operator sees of a running job: probes, metrics, logs, and Prometheus over them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use weir_tests::broker::broker;
use weir_tests::counting::Counting;
use weir_tests::job::{Job, operator};
use weir_tests::port;
use weir_tests::records::{self, Record};
use weir_tests::wait;
use weir_tests::weir::{Folder, Run, cache, code};

const DEADLINE: Duration = Duration::from_secs(60);

/// Names of metrics, as their families are declared.
fn families(run: &Run) -> BTreeSet<String> {
    run.get("/metrics").1.lines().filter_map(|line| Some(line.strip_prefix("# TYPE ")?.split(' ').next()?.to_owned())).collect()
}

/// A job whose only worker is in a call for this long, once it has met its second record.
fn in_a_long_call(folder: &Folder, deadline: &str) -> Job {
    let records: Vec<Record> = ["fine", "strike", "fine"].map(|value| Record::keyed("k", value)).into();
    records::write(&folder.path("in.ndjson"), &records);
    // Endless for the deadline's time; there is fuel for more.
    let limits = json!({ "fuel": 1_000_000_000_000_u64, "deadline": deadline });
    let loops = json!({ "key": "record", "config": { "do": "loop" }, "limits": limits });
    Job::new("long-call")
        .source("in", json!({ "file": { "path": "in.ndjson", "format": "ndjson" } }))
        .operator(operator("hostile", "hostile", "in", loops))
        .sink("out", &["hostile"], json!({ "blackhole": {} }))
        .runtime(json!({ "metricsPort": 0, "workers": 1, "giveUpAfter": "1s" }))
}

fn await_still(run: &Run) -> String {
    let answer = wait::for_some(DEADLINE, || Some(run.try_get("/healthz")?).filter(|(status, _)| *status == 503));
    answer.expect("health fails").1
}

#[test]
fn a_job_is_ready_while_it_runs_and_not_while_it_drains() {
    let folder = Folder::new();
    let mut run = folder.start(&in_a_long_call(&folder, "5s"), &["--still-after", "1"]);
    wait::until("ready", DEADLINE, || run.get("/readyz").0 == 200);
    await_still(&run);
    run.terminate();
    wait::until("draining", DEADLINE, || run.get("/readyz") == (503, r#"{"reason":"draining","status":"not ready"}"#.to_owned()));
}

#[test]
fn health_is_good_until_a_worker_stands_still_which_it_names() {
    let folder = Folder::new();
    let run = folder.start(&in_a_long_call(&folder, "6s"), &["--still-after", "2"]);
    assert_eq!(run.get("/healthz").0, 200);
    let text = await_still(&run);
    assert!(text.contains("worker 0 has stood still for"), "{text}");
    // The clock decides no record's fate: the job restarts, and gives up by name.
    run.wait(DEADLINE).expect(code::WORLD).expect_named(&["operator hostile", "longer than its deadline"]);
}

#[test]
fn the_first_failure_is_followed_by_another_try_however_long_after_the_start_it_comes() {
    let folder = Folder::new();
    let given_up = folder.run(&in_a_long_call(&folder, "3s"), &[], DEADLINE).expect(code::WORLD);
    given_up.expect_named(&["nothing could be committed for 1s", "restarting from the last checkpoint"]);
}

#[test]
fn health_is_good_again_when_the_deadline_has_ended_the_call_and_the_restart_is_counted() {
    let folder = Folder::new();
    let job = in_a_long_call(&folder, "3s").runtime(json!({ "metricsPort": 0, "workers": 1, "giveUpAfter": "60s" }));
    let run = folder.start(&job, &["--still-after", "1"]);
    await_still(&run);
    wait::until("health is good again", DEADLINE, || run.get("/healthz").0 == 200);
    wait::until("the restart is counted", DEADLINE, || {
        let seen = run.samples();
        let at_least_one = |name: &str| seen.get(name).is_some_and(|value| *value >= 1.0);
        [
            r#"weir_errors_total{kind="retry"}"#,
            "weir_restarts_total",
            r#"weir_operator_call_failures_total{operator="hostile",kind="deadline"}"#,
        ]
        .iter()
        .all(|name| at_least_one(name))
    });
}

#[test]
fn a_sink_that_takes_nothing_is_no_standing_still() {
    let job = Job::new("unread")
        .source("in", json!({ "generator": { "template": "lines" } }))
        .sink("out", &["in"], json!({ "stdout": {} }))
        .runtime(json!({ "metricsPort": 0, "workers": 1 }));
    let folder = Folder::new();
    let run = folder.start_unread(&job, &["--still-after", "1"]);
    let written = || run.samples().get(r#"weir_sink_bytes_total{sink="out"}"#).copied();
    let (mut last, mut looks) = (None, 0);
    wait::until("the pipe is full", DEADLINE, || {
        let now = written();
        looks = if now == last && now > Some(65_536.0) { looks + 1 } else { 0 };
        last = now;
        looks > 20
    });
    let failed = wait::for_some(Duration::from_secs(4), || Some(run.get("/healthz")).filter(|(status, _)| *status != 200));
    assert_eq!(failed, None);
    assert_eq!(written(), last, "the sink took more, so this test shows nothing");
}

#[test]
fn a_job_that_waits_for_its_broker_is_healthy_and_not_ready() {
    // Nobody listens there.
    let job = Job::new("waits")
        .source("in", json!({ "kafka": { "brokers": "127.0.0.1:1", "topics": ["nothing"] } }))
        .sink("out", &["in"], json!({ "blackhole": {} }))
        .runtime(json!({ "metricsPort": 0 }));
    let folder = Folder::new();
    let run = folder.start(&job, &["--still-after", "1"]);
    wait::until("the start waits", DEADLINE, || run.get("/readyz") == (503, r#"{"reason":"restoring","status":"not ready"}"#.to_owned()));
    let otherwise = wait::for_some(Duration::from_secs(3), || (run.get("/readyz").0 == 200 || run.get("/healthz").0 != 200).then_some(()));
    assert_eq!(otherwise, None);
}

#[test]
fn rule_14_epochs_that_change_nothing_end_without_a_commit() {
    let counting = Counting::new("idle-epochs", broker());
    let job = counting.job.clone().runtime(json!({ "metricsPort": 0 }));
    broker().produce(counting.input(), &[Record::keyed("key", "")]);
    let folder = Folder::new();
    let mut run = folder.start(&job, &[]);
    counting.await_end(&mut run, DEADLINE);
    let committed = || broker().epoch(&job.group(), counting.input());
    let (commits, seconds) = ("weir_checkpoints_total", "weir_last_commit_timestamp_seconds");
    let mut before = run.samples();
    wait::until("the job has done what is due after a start", DEADLINE, || {
        let now = run.samples();
        let is_quiet = now[commits] == before[commits] && now["weir_epoch"] >= before["weir_epoch"] + 10.0;
        if now[commits] != before[commits] {
            before = now;
        }
        is_quiet
    });
    assert!(before[commits] <= 3.0, "{} commits of one record", before[commits]);
    let epoch = committed();
    wait::until("twenty epochs more end", DEADLINE, || {
        let now = run.samples();
        now["weir_epoch"] >= before["weir_epoch"] + 20.0 && now[seconds] > before[seconds]
    });
    assert_eq!(run.samples()[commits], before[commits]);
    assert_eq!(committed(), epoch);
    broker().produce(counting.input(), &[Record::keyed("key", "")]);
    wait::until("a record is committed", DEADLINE, || committed() > epoch);
}

#[test]
fn rule_10_an_epoch_ends_when_so_many_bytes_of_state_have_changed_or_outputs_been_written_however_long_it_may_last() {
    const KEYS: u64 = 20_000;
    let of_each_key: Vec<Record> = (0..KEYS).map(|key| Record::keyed(format!("key-{key}"), "")).collect();
    for (name, limit) in [("dirty-bytes", "dirtyBytes"), ("output-bytes", "outputBytes")] {
        let counting = Counting::new(name, broker());
        let job = counting.job.clone().checkpoint(json!({ "interval": "7m", "transactionTimeout": "15m", limit: "64KiB" }));
        let folder = Folder::new();
        let mut run = folder.start(&job, &[]);
        for _ in 0..3 {
            let before = counting.epoch();
            broker().produce(counting.input(), &of_each_key);
            wait::until("an epoch that has ended early", DEADLINE, || {
                run.assert_running();
                counting.epoch() > before
            });
        }
        run.terminate();
        run.wait(DEADLINE).expect(code::OK);
        folder.run(&job, &["--until-end"], DEADLINE).expect(code::OK);
        counting.assert_exact(3 * KEYS, KEYS);
    }
}

#[test]
fn every_metric_is_read_here_moves_as_it_should_and_is_documented() {
    let counting = Counting::new("metrics", broker());
    let mut job = counting.job.clone();
    job = job.operator(operator("poison", "poison", "in", json!({ "key": "record", "onError": { "deadLetter": "letters" } })));
    job = job.operator(operator("parse", "log-parse", "in", json!({})));
    job = job.sink("letters", &[], json!({ "file": { "path": "letters.ndjson", "format": "ndjson" } }));
    job = job
        .sink("nowhere", &["poison", "parse", "parse.unparsed"], json!({ "blackhole": {} }))
        .runtime(json!({ "metricsPort": 0, "workers": 2 }));
    let mut records: Vec<Record> = (0..999).map(|i| Record::keyed(format!("key-{}", i % 10), "12:00 WARN [x] y")).collect();
    records.push(Record::keyed("key", "poison"));
    broker().produce(counting.input(), &records);
    let folder = Folder::new();
    let mut run = folder.start(&job, &[]);
    counting.await_end(&mut run, DEADLINE);
    wait::until("the lag is measured", DEADLINE, || run.samples().get("weir_source_lag_records") == Some(&0.0));
    let seen = run.samples();
    let read = RefCell::new(BTreeSet::new());
    let value = |name: &str| {
        let family = name.split('{').next().unwrap();
        read.borrow_mut().insert(["_total", "_count"].iter().find_map(|end| family.strip_suffix(end)).unwrap_or(family).to_owned());
        *seen.get(name).unwrap_or_else(|| panic!("no metric {name} in {seen:#?}"))
    };
    for (name, expected) in [
        (r#"weir_source_records_total{source="in"}"#, 1000.0),
        (r#"weir_operator_records_in_total{operator="count"}"#, 1000.0),
        (r#"weir_operator_records_out_total{operator="count"}"#, 1000.0),
        (r#"weir_operator_faults_total{operator="poison"}"#, 1.0),
        (r#"weir_operator_dead_letters_total{operator="poison"}"#, 1.0),
        (r#"weir_operator_dead_letters_total{operator="count"}"#, 0.0),
        (r#"weir_sink_records_total{sink="letters"}"#, 1.0),
        (r#"weir_sink_records_total{sink="out"}"#, 1000.0),
        (r#"weir_guest_parse_lines_warn_total"#, 999.0),
        ("weir_source_lag_records", 0.0),
        ("weir_ready", 1.0),
        ("weir_restarts_total", 0.0),
        (r#"weir_errors_total{kind="retry"}"#, 0.0),
        (r#"weir_errors_total{kind="bug"}"#, 0.0),
    ] {
        assert_eq!(value(name), expected, "{name}");
    }
    for name in [
        r#"weir_source_bytes_total{source="in"}"#,
        r#"weir_sink_bytes_total{sink="out"}"#,
        r#"weir_operator_calls_total{operator="count"}"#,
        r#"weir_operator_fuel_total{operator="count"}"#,
        r#"weir_worker_time_seconds_total{worker="0",state="idle"}"#,
        r#"weir_worker_time_seconds_total{worker="1",state="busy"}"#,
        r#"weir_operator_call_failures_total{operator="poison",kind="trap"}"#,
        "weir_checkpoint_last_bytes",
        "weir_epoch",
        "weir_checkpoints_total",
        "weir_checkpoint_written_bytes_total",
        "weir_checkpoint_duration_seconds_count",
        "weir_state_memory_bytes",
    ] {
        assert!(value(name) > 0.0, "{name} is {}", value(name));
    }
    let lag = format!(r#"weir_source_partition_lag_records{{topic="{}",partition="0"}}"#, counting.input());
    assert_eq!(value(&lag), 0.0);
    assert_eq!(value("weir_state_disk_bytes"), 0.0);
    assert_eq!(value(r#"weir_guest_parse_log_lines_dropped_total"#), 0.0);

    let committed = value("weir_last_commit_timestamp_seconds");
    wait::until("the next epoch", DEADLINE, || run.samples()["weir_last_commit_timestamp_seconds"] > committed);

    let documented: BTreeSet<String> = {
        let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md")).unwrap();
        page.split('`')
            .filter(|word| word.starts_with("weir_"))
            .map(|word| word.split('{').next().unwrap().trim_end_matches("_total").to_owned())
            .collect()
    };
    let of_host: BTreeSet<String> = families(&run).into_iter().filter(|name| !name.starts_with("weir_guest_")).collect();
    let documented_of_host: BTreeSet<String> = documented.into_iter().filter(|name| !name.starts_with("weir_guest_")).collect();
    let read_of_host: BTreeSet<String> = read.take().into_iter().filter(|name| !name.starts_with("weir_guest_")).collect();
    assert_eq!(of_host, read_of_host, "metrics of the host, and those read above");
    assert_eq!(of_host, documented_of_host, "metrics of the host, and those of docs/operations.md");
    run.terminate();
    run.wait(DEADLINE).expect(code::OK);
}

#[test]
fn log_lines_of_a_guest_name_job_operator_and_partition() {
    let folder = Folder::new();
    records::write(&folder.path("in.ndjson"), &[Record::keyed("k", "strike")]);
    let job = Job::new("logging")
        .source("in", json!({ "file": { "path": "in.ndjson", "format": "ndjson" } }))
        .operator(operator("loud", "hostile", "in", json!({ "key": "record", "config": { "do": "flood-log" } })))
        .sink("out", &["loud"], json!({ "blackhole": {} }));
    let outcome = folder.run(&job, &["--log-format", "json"], DEADLINE).expect(code::OK);
    let lines: Vec<Value> = outcome.stderr.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let line = lines.iter().find(|line| line["target"] == "guest").unwrap_or_else(|| panic!("no line of the guest in {}", outcome.stderr));
    let field = |name: &str| line[name].clone();
    assert_eq!((field("job"), field("operator"), field("topic")), (json!("logging"), json!("loud"), json!("in.ndjson")));
    assert_eq!((field("partition"), field("message"), line["level"].clone()), (json!(0), json!("flood 0"), json!("WARN")));
}

/// A running Prometheus; ends when dropped.
struct Prometheus {
    child: std::process::Child,
    address: String,
}

impl Prometheus {
    /// With the shipped configuration, whose target is replaced.
    fn start(folder: &Folder, target: &str) -> Self {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations");
        let config = fs::read_to_string(shipped.join("prometheus.yml")).unwrap();
        assert!(config.contains("localhost:9464"));
        let config = config.replace("localhost:9464", target).replace("15s", "1s");
        fs::write(folder.path("prometheus.yml"), config).unwrap();
        fs::copy(shipped.join("alerts.yml"), folder.path("alerts.yml")).unwrap();
        let checked =
            std::process::Command::new(tool("promtool")).args(["check", "config"]).arg(folder.path("prometheus.yml")).output().unwrap();
        assert!(checked.status.success(), "{}{}", String::from_utf8_lossy(&checked.stdout), String::from_utf8_lossy(&checked.stderr));
        let address = format!("127.0.0.1:{}", port::free());
        let child = std::process::Command::new(tool("prometheus"))
            .arg(format!("--config.file={}", folder.path("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.path("tsdb").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdout(fs::File::create(folder.path("prometheus.out")).unwrap())
            .stderr(fs::File::create(folder.path("prometheus.err")).unwrap())
            .spawn()
            .unwrap();
        Self { child, address }
    }

    fn query(&self, expression: &str) -> Option<Vec<Value>> {
        let encoded: String = expression.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let (status, body) = weir_tests::weir::http_get(&self.address, &format!("/api/v1/query?query={encoded}"))?;
        let answer: Value = serde_json::from_str(&body).ok()?;
        assert_eq!(status, 200, "{expression}: {answer}");
        Some(answer["data"]["result"].as_array().unwrap().clone())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program that scripts/setup.sh has put into the cache.
fn tool(name: &str) -> std::path::PathBuf {
    let path = cache().join("prometheus").join(name);
    assert!(path.is_file(), "there is no {}: scripts/setup.sh --tests puts it there", path.display());
    path
}

/// The expressions of the shipped dashboard with their panels.
fn dashboard() -> Vec<(String, String)> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations/dashboard.json");
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let of_panel = |panel: &Value| {
        let title = panel["title"].as_str().unwrap().to_owned();
        let targets = panel["targets"].as_array().unwrap().clone();
        targets.into_iter().map(move |target| (title.clone(), target["expr"].as_str().unwrap().replace("$__rate_interval", "10s")))
    };
    dashboard["panels"].as_array().unwrap().iter().flat_map(of_panel).collect()
}

#[test]
fn each_shipped_alert_goes_off_in_a_case_of_its_own() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations");
    let tested =
        std::process::Command::new(tool("promtool")).args(["test", "rules", "alerts_test.yml"]).current_dir(&shipped).output().unwrap();
    assert!(tested.status.success(), "{}{}", String::from_utf8_lossy(&tested.stdout), String::from_utf8_lossy(&tested.stderr));
    let (alerts, cases) = ["alerts.yml", "alerts_test.yml"].map(|name| fs::read_to_string(shipped.join(name)).unwrap()).into();
    let names: Vec<_> = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(!names.is_empty());
    for name in names {
        assert!(cases.contains(&format!("alertname: {name}\n        exp_alerts:")), "no case lets {name} go off");
    }
}

#[test]
fn prometheus_scrapes_a_job_with_the_shipped_files_and_every_panel_of_the_dashboard_shows_something() {
    let counting = Counting::new("dashboard", broker());
    let job = counting.job.clone().runtime(json!({ "metricsPort": 0, "workers": 1 }));
    let load = broker().load(counting.input(), 10, 500);
    let folder = Folder::new();
    let mut run = folder.start(&job, &[]);
    run.get("/metrics");
    let prometheus = Prometheus::start(&folder, &run.metrics_address().unwrap());
    let expressions = dashboard();
    assert!(expressions.len() >= 10, "{expressions:?}");
    for (panel, expression) in expressions {
        wait::until(&format!("panel {panel}: {expression}"), DEADLINE, || {
            run.assert_running();
            prometheus.query(&expression).is_some_and(|found| !found.is_empty())
        });
    }
    let alerting = prometheus.query("ALERTS{alertstate=\"firing\"}").unwrap();
    assert_eq!(alerting, Vec::<Value>::new(), "alerts of a job that is well");
    load.stop();
    run.terminate();
    run.wait(DEADLINE).expect(code::OK);
}
