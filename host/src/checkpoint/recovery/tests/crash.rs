//! One row for each point at which a process can end: what it leaves behind, and how its successor goes on.

use super::*;
use crate::failpoint::POINTS;
use std::collections::BTreeSet;

/// The epoch after that of [`checkpoint`], of which the process ended.
const NEXT: u64 = 8;

/// The object that an epoch puts.
fn put(epoch: u64) -> Checkpoint {
    let mut put = checkpoint();
    let name = NAME.replace('7', &epoch.to_string());
    (put.own.name, put.own.checksum, put.own.first_epoch, put.own.last_epoch) = (name, epoch as u32, epoch, epoch);
    put.manifest.epoch = epoch;
    put.manifest.splits.iter_mut().for_each(|split| split.next += 10 * (epoch as i64 - 7));
    put
}

/// What a process leaves that ended.
struct Left {
    /// The epoch that the broker holds as committed, once the takeover has ended what was open.
    committed: u64,
    /// Epochs whose objects are in the store.
    objects: &'static [u64],
    /// Epochs until which deletions may be missing in the committed manifest.
    forgotten_until: u64,
    /// The epoch whose state RocksDB holds; 0 if it holds none, or a part that it has no mark for.
    mark: u64,
}

/// The epoch that the successor goes on from, and whether RocksDB is brought up to it; otherwise it is loaded anew.
type GoesOn = (u64, bool);

fn goes_on(left: &Left) -> GoesOn {
    let mut facts = running();
    let of_epoch = |epoch| {
        let mut object = put(epoch);
        object.manifest.forgotten_until = left.forgotten_until;
        (object.own.name.clone(), ManifestFact::Found(Box::new(object)))
    };
    facts.manifests = left.objects.iter().copied().map(of_epoch).collect();
    let committed = put(left.committed);
    let manifest = Some(ManifestRef { name: committed.own.name, checksum: committed.own.checksum });
    let metadata = CommitMetadata { epoch: left.committed, manifest, ..commit() };
    let splits = committed.manifest.splits.iter();
    facts.splits = splits.map(|split| kafka(split.partition, split.next, metadata.clone())).collect();
    let Decision::Resume(resume) = decide(&facts) else { unreachable!("{:?}", decide(&facts)) };
    let positions: Vec<i64> = resume.positions.iter().map(|(_, next)| *next).collect();
    assert_eq!(positions, committed.manifest.splits.iter().map(|split| split.next).collect::<Vec<_>>());
    let from = resume.checkpoint.unwrap();
    assert_eq!((from.manifest.epoch, from.own.checksum), (resume.epoch, committed.own.checksum));
    (resume.epoch, from.brings_up(left.mark))
}

#[test]
fn after_a_crash_at_any_point_the_job_goes_on_from_its_last_commit() {
    let left = |committed, objects, mark| Left { committed, objects, forgotten_until: 5, mark };
    let rows: [(&str, &str, Left, GoesOn); 22] = [
        ("restore", "rule 20: a part of RocksDB without a mark", left(7, &[7], 0), (7, false)),
        ("restore", "rule 20: RocksDB is only being brought up, and has its older mark", left(7, &[7], 6), (7, true)),
        ("begin", "rule 7: an empty transaction", left(7, &[7], 7), (7, true)),
        ("produce", "rule 7: a transaction with outputs", left(7, &[7], 6), (7, true)),
        ("delta-put", "rule 7: a transaction with all outputs", left(7, &[7], 6), (7, true)),
        ("manifest-put", "rule 18: an object that no commit names", left(7, &[7, NEXT], 6), (7, true)),
        ("offsets-sent", "rule 7: offsets in a transaction, aborted with it", left(7, &[7, NEXT], 6), (7, true)),
        ("commit-sent", "rule 9: the request did not arrive", left(7, &[7, NEXT], 6), (7, true)),
        ("commit-sent", "rule 9: the request arrived", left(NEXT, &[7, NEXT], 6), (NEXT, true)),
        ("committed", "rule 7: a commit after which nothing was done", left(NEXT, &[7, NEXT], 6), (NEXT, true)),
        ("committed", "the same without RocksDB", left(NEXT, &[7, NEXT], 0), (NEXT, false)),
        ("garbage", "rule 21: a part of what the manifest before needed", left(NEXT, &[NEXT], 6), (NEXT, true)),
        ("merge", "rule 19: a merged file that no manifest names", left(NEXT, &[NEXT], 7), (NEXT, true)),
        ("adopt", "rule 19: the same, taken up in memory", left(NEXT, &[NEXT], 7), (NEXT, true)),
        ("base", "rule 19: a part of a base that no manifest names", left(NEXT, &[NEXT], 7), (NEXT, true)),
        ("base-adopt", "rule 19: a base, taken up in memory", left(NEXT, &[NEXT], 7), (NEXT, true)),
        (
            "base-adopt",
            "rule 20: a manifest names it, and deletions that RocksDB lacks are forgotten",
            Left { forgotten_until: 7, ..left(NEXT, &[NEXT], 6) },
            (NEXT, false),
        ),
        (
            "base-adopt",
            "rule 20: a manifest names it, and RocksDB has what is forgotten",
            Left { forgotten_until: 7, ..left(NEXT, &[NEXT], 7) },
            (NEXT, true),
        ),
        ("spill", "rule 20: entries on their way into RocksDB, under its older mark", left(NEXT, &[NEXT], 6), (NEXT, true)),
        ("ingest", "rule 20: whole files that RocksDB has not taken", left(NEXT, &[NEXT], 6), (NEXT, true)),
        ("ingest", "rule 20: RocksDB has caught up", left(NEXT, &[NEXT], NEXT), (NEXT, true)),
        ("ingest", "rule 20: RocksDB is ahead of what is committed, which cannot be", left(7, &[7, NEXT], NEXT), (7, false)),
    ];
    for (point, what, left, expected) in &rows {
        assert_eq!(goes_on(left), *expected, "{point}: {what}");
    }
    let covered: BTreeSet<&str> = rows.iter().map(|(point, ..)| *point).collect();
    assert_eq!(covered, POINTS.into_iter().collect(), "a row for each failpoint");
}
