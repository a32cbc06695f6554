//! What a job deletes of a checkpoint store once it has begun (rule 21): objects of earlier attempts that the manifest of its
//! commit does not name, and nothing else.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use weir_tests::broker::broker;
use weir_tests::counting::Counting;
use weir_tests::records::Record;
use weir_tests::s3::S3;
use weir_tests::wait;
use weir_tests::weir::{Folder, code};

const DEADLINE: Duration = Duration::from_secs(60);
const KEYS: u64 = 1_000;
const ROUNDS: u64 = 3;
const EPOCH: Duration = Duration::from_secs(3);
const TWO_HOURS: Duration = Duration::from_secs(120 * 60);

/// A job that has ended, and its store.
struct Ended {
    counting: Counting<'static>,
    folder: Folder,
    /// Where the store's objects are files.
    store: PathBuf,
}

impl Ended {
    /// After several runs, each with a count of every key, so that several files hold the state.
    fn new(counting: Counting<'static>, folder: Folder, store: PathBuf) -> Self {
        let ended = Self { counting, folder, store };
        (0..ROUNDS).for_each(|_| ended.round());
        ended
    }

    fn round(&self) {
        let records: Vec<_> = (0..KEYS).map(|i| Record::keyed(format!("key-{i}"), "")).collect();
        broker().produce(self.counting.input(), &records);
        // In one epoch: of more files than the rounds leave then, some would be merged.
        self.folder.run(&self.counting.job.clone().interval(EPOCH), &["--until-end"], DEADLINE).expect(code::OK);
    }

    fn names(&self) -> BTreeSet<String> {
        names(&self.store)
    }

    fn named(&self) -> BTreeSet<String> {
        self.counting.named(&self.store)
    }

    /// Copies an object of the store to this name.
    fn leave(&self, from: &str, name: &str) -> String {
        // With what a server keeps beside the bytes.
        let copied = std::process::Command::new("cp").arg("-a").arg(self.store.join(from)).arg(self.store.join(name)).status();
        assert!(copied.expect("cp runs").success(), "{from} could not be copied");
        self.put_back(name, Duration::ZERO);
        name.to_owned()
    }

    /// Makes an object this old by the clock of the store's file system.
    fn put_back(&self, name: &str, age: Duration) {
        let now = tempfile::NamedTempFile::new_in(self.store.parent().unwrap()).unwrap().as_file().metadata().unwrap().modified().unwrap();
        File::options().write(true).open(self.store.join(name)).unwrap().set_modified(now - age).unwrap();
    }

    /// Leaves orphans beside what is committed, starts the job, and lets it go on from what is left. `kinds` are further
    /// orphans that such a store can have.
    fn a_commit_deletes_what_others_left_and_it_does_not_name(&self, kinds: &[&str], not_objects: &[&str]) {
        let named = self.named();
        assert!(named.len() > 1, "{named:?}");
        let from = named.first().unwrap();
        let orphans = |of: &str| {
            let kinds = ["000000000002-{}-7.ckpt", "000000000999-{}-7.ckpt", "merge-1-2-{}-8.ckpt", "probe-{}-9.ckpt"].iter().chain(kinds);
            kinds.map(|kind| self.leave(from, &kind.replace("{}", of))).collect::<BTreeSet<_>>()
        };
        // Age tells nothing.
        let (old, young) = (orphans("old"), orphans("young"));
        let others: BTreeSet<_> = not_objects.iter().map(|name| self.leave(from, name)).chain(["run.json".to_owned()]).collect();
        named.iter().chain(&old).chain(&others).for_each(|name| self.put_back(name, TWO_HOURS));
        let orphans: BTreeSet<_> = old.union(&young).cloned().collect();
        let before = self.names();

        // In epochs so long that there are few by the time when all is looked at.
        let last = self.counting.own();
        let patient = self.counting.job.clone().interval(EPOCH);
        let mut run = self.folder.start(&patient, &[]);
        wait::until("the orphans are gone", DEADLINE, || {
            run.assert_running();
            self.names().is_disjoint(&orphans)
        });
        let mut gone: BTreeSet<_> = before.difference(&self.names()).cloned().collect();
        // Which the commit before needed, and this one does not if nothing but the manifest is in it.
        gone.remove(&last);
        assert_eq!(gone, orphans, "{}", run.stderr());
        // In order: copies of what is gone from a remote store go behind it.
        run.terminate();
        run.wait(DEADLINE).expect(code::OK);

        self.round();
        self.counting.assert_exact((ROUNDS + 1) * KEYS, KEYS);
    }
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries.filter(|entry| entry.file_type().unwrap().is_file()).map(|entry| entry.file_name().into_string().unwrap()).collect()
}

#[test]
fn rule_21_objects_of_other_attempts_that_no_manifest_names_are_deleted_from_a_folder_and_nothing_else() {
    let (counting, folder) = (Counting::new("garbage", broker()), Folder::new());
    let store = folder.path(counting.job.state_folder()).join("checkpoints");
    let ended = Ended::new(counting, folder, store);
    // What a put leaves that a crash cuts off; and what is none of the store's names.
    ended.a_commit_deletes_what_others_left_and_it_does_not_name(
        &[".000000000003-{}-7.ckpt.77-0.tmp"],
        &["notes.txt", "notes.ckpt", ".notes.tmp"],
    );
}

#[test]
fn rule_21_objects_of_other_attempts_that_no_manifest_names_are_deleted_from_s3_and_so_are_their_copies_here() {
    let s3 = S3::start();
    let mut counting = Counting::new("s3-garbage", broker());
    counting.job = counting.job.checkpoint(s3.store());
    let (folder, job) = (s3.folder(), counting.job.clone());
    folder.run(&job, &["--until-end"], DEADLINE).expect(code::OK);
    let store = s3.objects("s3-garbage")[0].parent().unwrap().to_owned();
    let copies = folder.path(job.state_folder()).join("copies");
    let ended = Ended::new(counting, folder, store);
    // Of an orphan, and of what is not in the store any more.
    for name in ["000000000002-old-7.ckpt", "000000000002-gone-7.ckpt"] {
        fs::copy(copies.join(ended.named().first().unwrap()), copies.join(name)).unwrap();
    }
    ended.a_commit_deletes_what_others_left_and_it_does_not_name(&[], &["notes.txt", "notes.ckpt"]);
    assert!(names(&copies).is_subset(&ended.names()), "{:?} of {:?}", names(&copies), ended.names());
    assert!(ended.named().is_subset(&names(&copies)), "{:?} of {:?}", ended.named(), names(&copies));
}
