//! A series of kills of one job under load, and the verdict at its end.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use super::oracle::Findings;
use super::workload::{KEYS, Workload, inputs};
use crate::broker::Broker;
use crate::job::Job;
use crate::records::Random;
use crate::wait;
use crate::weir::{Folder, Outcome, Run, code};

/// The points at which a build with failpoints can end itself, as `weir_host::failpoint` names them.
pub const POINTS: [&str; 15] = [
    "restore",
    "begin",
    "produce",
    "delta-put",
    "manifest-put",
    "offsets-sent",
    "commit-sent",
    "committed",
    "garbage",
    "merge",
    "adopt",
    "base",
    "base-adopt",
    "spill",
    "ingest",
];
/// A point is passed by this hit at the latest.
const HITS: u64 = 50;
/// The same of what is seldom: a base that is taken up, and what RocksDB catches up with, twice each time.
const SELDOM: [(&str, u64); 2] = [("base-adopt", 4), ("ingest", 10)];
/// Epochs between two restores that are cut off.
const EPOCHS_BETWEEN: u64 = 5;
/// Objects that a life finds and that nothing names.
const ORPHANS: u64 = 100;
/// Until a failpoint is hit, or all input is committed.
const DEADLINE: Duration = Duration::from_secs(180);
const PER_SECOND: u64 = 10_000;
const SIGABRT: i32 = 6;

/// How a life of the job ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kill {
    /// By SIGKILL, at some moment.
    Random,
    /// By SIGKILL, when its memory has long been full, and entries went to RocksDB and came back.
    Late,
    /// By itself, at some hit of a failpoint.
    At(&'static str),
    /// Fenced by another process that takes the job over while it runs, and is then killed at some moment.
    TakeOver,
    /// Refused, because a bit of a checkpoint is flipped, which is flipped back then. Should the job begin with it, it is
    /// killed at some moment.
    Flip,
}

impl Kill {
    /// The kill of a name: `random`, `late`, `take-over`, `flip`, or that of a failpoint.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "random" => Some(Self::Random),
            "late" => Some(Self::Late),
            "take-over" => Some(Self::TakeOver),
            "flip" => Some(Self::Flip),
            _ => POINTS.into_iter().find(|point| *point == name).map(Self::At),
        }
    }
}

/// What a series has done and found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// How many random kills hit each phase, as what was left behind tells.
    pub phases: BTreeMap<&'static str, u64>,
    /// How many times the job has ended at each failpoint.
    pub points: BTreeMap<&'static str, u64>,
    /// How many commits that were sent and not answered were carried out, as the next start tells, and how many were not.
    pub unanswered: BTreeMap<&'static str, u64>,
    /// How many times another process has taken the job over.
    pub take_overs: u64,
    /// How many starts with a flipped bit were refused.
    pub refused: u64,
    /// Records of the input.
    pub records: u64,
    /// What the oracle says.
    pub findings: Findings,
}

/// Runs the workload of a seed, ends it in each of these ways in turn, lets it come to its end, and judges.
///
/// # Panics
/// When the job ends otherwise, or does not come to its end.
#[track_caller]
pub fn run(name: &str, broker: &Broker, seed: u64, kills: &[Kill]) -> Report {
    let workload = Workload::new(name, broker);
    let mut folder = Folder::new();
    let load = broker.load_of(&workload.input, inputs(seed).map(|input| (input.key(), input.value())), KEYS, PER_SECOND);
    let mut random = Random::new(!seed);
    let (mut report, mut unsure, mut earlier) = (Report::default(), None, vec![]);
    if matches!(kills.first(), Some(Kill::At(_))) || kills.contains(&Kill::Flip) || seed % 2 == 1 {
        // There has to be something to restore, to merge, to spill. The other series begin with nothing.
        wait::until("a record of each key in the input", DEADLINE, || load.delivered() >= KEYS);
        folder.run(&workload.job, &["--until-end"], DEADLINE).expect(code::OK);
    }
    for kill in kills {
        let before = objects(&folder, &workload);
        let ended = match kill {
            Kill::Random => {
                let within = match random.below(8) {
                    // Before the job has started to read, mostly.
                    0 | 1 => 800,
                    // When its memory has been full, and entries were given back for RocksDB to hold.
                    2 => 15_000,
                    _ => 2_500,
                };
                kill_within(folder.start(&workload.job, &[]), random.below(within))
            }
            Kill::Late => kill_within(folder.start(&workload.job, &[]), 25_000 + random.below(5_000)),
            Kill::TakeOver => {
                let mut old = folder.start(&workload.job, &[]);
                wait::until("a job that runs", DEADLINE, || {
                    old.assert_running();
                    has_started(&old.stderr())
                });
                old.ended_within(Duration::from_millis(random.below(500)));
                let twin = folder.twin(&workload.job);
                let new = twin.start(&workload.job, &[]);
                let fenced = old.wait(DEADLINE).expect(code::FENCED).expect_named(&["fenced"]);
                report.resolve(&mut unsure, &fenced.stderr);
                // What runs in the older one's folder is over; the store in it is in use.
                report.take_overs += 1;
                let ended = kill_within(new, random.below(2_500));
                earlier.push(std::mem::replace(&mut folder, twin));
                ended
            }
            Kill::Flip => match with_flipped_bit(&folder, &workload, &mut random) {
                Ok(refused) => {
                    report.refused += 1;
                    refused
                }
                Err(begun) => kill_within(begun, random.below(2_500)),
            },
            Kill::At(point) => {
                if *point == "restore" {
                    if report.points.contains_key(point) {
                        // It finds what a restore that was cut off has left, and leaves something new to restore.
                        let ended = commit_some(&folder, &workload);
                        report.resolve(&mut unsure, &ended.stderr);
                    }
                    // Else RocksDB is only brought up, which passes the point too seldom.
                    folder.wipe_rocksdb(&workload.job);
                }
                if *point == "garbage" {
                    leave_orphans(&folder, &workload, report.points.get(point).copied().unwrap_or(0));
                }
                let hits = SELDOM.into_iter().find(|(seldom, _)| seldom == point).map_or(HITS, |(_, hits)| hits);
                let ended = end_at(&folder, &workload.job, point, 1 + random.below(hits));
                *report.points.entry(point).or_default() += 1;
                ended
            }
        };
        report.resolve(&mut unsure, &ended.stderr);
        let left = objects(&folder, &workload);
        let own: Vec<&String> = left.difference(&before).collect();
        let newest = own.iter().filter_map(|name| epoch(name)).max();
        match kill {
            Kill::Random => match phase(&folder, &workload, &ended.stderr, &own) {
                Some(phase) => *report.phases.entry(phase).or_default() += 1,
                None => unsure = Some((*kill, newest.unwrap_or(0))),
            },
            Kill::At("commit-sent") => unsure = Some((*kill, newest.expect("the epoch that was sent"))),
            _ => {}
        }
    }
    report.records = load.stop();
    let last = folder.run(&workload.job, &["--until-end"], DEADLINE).expect(code::OK);
    report.resolve(&mut unsure, &last.stderr);
    report.findings = workload.judge(&folder, seed, report.records);
    report
}

/// Leaves objects in the store that nothing names, as crashes do: the next life looks for them.
fn leave_orphans(folder: &Folder, workload: &Workload<'_>, life: u64) {
    let store = folder.path(workload.job.state_folder()).join("checkpoints");
    for number in 0..ORPHANS {
        File::create(store.join(format!("merge-1-2-orphan{life}-{number}.ckpt"))).expect("a store that can be written");
    }
}

/// Whether a life has found out where it goes on.
fn has_started(stderr: &str) -> bool {
    stderr.contains("resuming") || stderr.contains("a new run begins")
}

/// A life that commits some epochs before it is killed.
#[track_caller]
fn commit_some(folder: &Folder, workload: &Workload<'_>) -> Outcome {
    let newest = || objects(folder, workload).iter().filter_map(|name| epoch(name)).max().unwrap_or(0);
    let begun = newest();
    let mut run = folder.start(&workload.job, &[]);
    wait::until("some epochs", DEADLINE, || {
        run.assert_running();
        newest() > begun + EPOCHS_BETWEEN
    });
    run.kill_9()
}

#[track_caller]
fn kill_within(mut run: Run, millis: u64) -> Outcome {
    run.ended_within(Duration::from_millis(millis));
    run.kill_9()
}

/// Starts the job with a flipped bit in the largest object of its store, and without RocksDB, which would spare it the
/// object. Either it is refused by the object's name, and the object is whole again, or it has begun.
#[track_caller]
fn with_flipped_bit(folder: &Folder, workload: &Workload<'_>, random: &mut Random) -> Result<Outcome, Run> {
    folder.wipe_rocksdb(&workload.job);
    let store = folder.path(workload.job.state_folder()).join("checkpoints");
    let bytes = |name: &String| fs::metadata(store.join(name)).map_or(0, |about| about.len());
    let largest = objects(folder, workload).into_iter().filter(|name| name.ends_with(".ckpt")).max_by_key(bytes);
    let name = largest.expect("a checkpoint");
    let whole = fs::read(store.join(&name)).expect("an object of the store");
    let mut flipped = whole.clone();
    // Of its data, which comes first.
    flipped[random.below(whole.len() as u64 / 2) as usize] ^= 1 << random.below(8);
    fs::write(store.join(&name), flipped).expect("an object that can be written");
    let mut run = folder.start(&workload.job, &[]);
    let mut ended = false;
    wait::until("a start or a refusal", DEADLINE, || {
        ended = run.ended_within(Duration::ZERO).is_some();
        ended || run.stderr().contains("state restored")
    });
    if !ended {
        return Err(run);
    }
    let refused = run.wait(DEADLINE).expect(code::START_REFUSED).expect_named(&[&name]);
    fs::write(store.join(&name), whole).expect("an object that can be written");
    Ok(refused)
}

/// Starts a job in the build with failpoints and waits until it has ended itself at that hit of the point.
///
/// # Panics
/// When it ends otherwise.
#[track_caller]
pub fn end_at(folder: &Folder, job: &Job, point: &str, hit: u64) -> Outcome {
    let marker = folder.path("marker");
    let mut armed = folder.start_armed(job, &format!("{point}:{hit}:{}", marker.display()), &[]);
    assert!(armed.ended_within(DEADLINE).is_some(), "hit {hit} of {point} within {DEADLINE:?}; stderr:\n{}", armed.stderr());
    let ended = armed.wait(DEADLINE);
    let reached = fs::read_to_string(&marker).unwrap_or_default();
    let as_asked = ended.status.signal() == Some(SIGABRT) && reached == point;
    assert!(as_asked, "hit {hit} of {point}: the marker says `{reached}`, {}; stderr:\n{}", ended.status, ended.stderr);
    fs::remove_file(&marker).expect("the marker is this test's");
    ended
}

impl Report {
    /// Whether an epoch that a kill left behind is committed is seen by the next start.
    fn resolve(&mut self, unsure: &mut Option<(Kill, u64)>, stderr: &str) {
        let resumed = stderr.lines().find(|line| line.contains("resuming")).and_then(|line| {
            let number = line.split("epoch=").nth(1)?;
            number.split(|c: char| !c.is_ascii_digit()).next()?.parse::<u64>().ok()
        });
        if let (Some((kill, put)), Some(resumed)) = (*unsure, resumed) {
            let is_committed = put <= resumed;
            let count = match kill {
                Kill::Random => self.phases.entry(if is_committed { "in an epoch" } else { "put, not committed" }),
                _ => self.unanswered.entry(if is_committed { "carried out" } else { "not carried out" }),
            };
            *count.or_default() += 1;
            *unsure = None;
        }
    }
}

/// Names in the checkpoint store.
fn objects(folder: &Folder, workload: &Workload<'_>) -> BTreeSet<String> {
    let store = folder.path(workload.job.state_folder()).join("checkpoints");
    let Ok(entries) = fs::read_dir(store) else { return BTreeSet::new() };
    entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// The epoch whose object this is.
fn epoch(name: &str) -> Option<u64> {
    name.strip_suffix(".ckpt")?.split('-').next()?.parse().ok()
}

/// What the job was at, as what it has left tells; none where only its successor can tell.
fn phase(folder: &Folder, workload: &Workload<'_>, stderr: &str, left: &[&String]) -> Option<&'static str> {
    if !has_started(stderr) {
        return Some("starting");
    }
    if stderr.contains("resuming") && !stderr.contains("state restored") {
        return Some("restoring");
    }
    if folder.path(workload.job.state_folder()).join("rocksdb/ingest").exists() {
        return Some("spilling");
    }
    let unfinished = |prefix: &str| left.iter().any(|name| name.starts_with(prefix) && name.ends_with(".tmp"));
    match () {
        () if unfinished(".0") => Some("putting"),
        () if unfinished(".merge") => Some("merging"),
        () => None,
    }
}
