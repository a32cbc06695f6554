//! Which files to merge, how a merged one is taken up, and what is garbage: pure functions over lists.

use std::collections::BTreeSet;
use std::ops::Range;

use super::{FileRef, Listed, is_of_another};

/// Most files in a manifest (rule 19). A job whose merges lag so far behind must wait for them.
pub const MAX_FILES: usize = 64;

/// A merge of alike files takes at least this many, so that bytes are rewritten about log₄(state / delta) times.
const WIDTH: usize = 4;
/// Beyond this many files, a merge is to shorten the list first and to be cheap second.
const LONG: usize = 16;
/// Beyond this many, it need not be of alike files.
const MANY: usize = 32;
const WIDTH_IF_MANY: usize = 8;
/// Files below this size are alike: opening them costs more than their bytes.
const SMALL_BYTES: u64 = 16 * 1024;
/// Below this much beside the base, space is not worth a merge, and below this much in all no catch-up of RocksDB.
const SPACE_FLOOR_BYTES: u64 = 1 << 20;

/// The stretch of the list (oldest first) that is to be merged next, if any. Tombstones may go if it begins at 0.
///
/// Size-tiered over adjacent files, after RocksDB's universal compaction:
/// 1. all, once what follows the base has half of its bytes, or hides half its entries: so the store has at most
///    about three times the bytes of the live state (above a floor of 1 MiB), also while the next base is being written.
///    Not of a full list, which keeps the next epoch waiting: that takes the quickest merge first;
/// 2. else the cheapest stretch of at least four files none of which outweighs the others together: so a rewritten byte
///    lands in a file at least twice the size, which makes rewriting logarithmic. With more than 16 files the longest such
///    stretch, or young files, always cheaper, would keep older ones from ever being merged when merges are slow;
/// 3. else, with more than 32 files, the cheapest stretch of eight, so that the list never reaches [`MAX_FILES`].
#[must_use]
pub(super) fn plan_merge(files: &[FileRef]) -> Option<Range<usize>> {
    let (base, rest) = files.split_first()?;
    let rest_bytes: u64 = rest.iter().map(|file| file.bytes).sum();
    let hidden: u64 = rest.iter().map(|file| file.tombstones).sum();
    if files.len() < MAX_FILES && rest_bytes > SPACE_FLOOR_BYTES && (rest_bytes > base.bytes / 2 || hidden > base.entries / 2) {
        return Some(0..files.len());
    }
    plan_stretch(files)
}

/// The same beside a merge of the oldest files that is still under way, which for a large state may take many epochs: a
/// stretch of what follows those that it replaces.
#[must_use]
pub fn plan_merge_beside(files: &[FileRef], replaced: &[FileRef]) -> Option<Range<usize>> {
    let (first, last) = (replaced.first()?, replaced.last()?);
    files.first().filter(|file| *file == first)?;
    let behind = files.iter().position(|file| file == last)? + 1;
    let stretch = plan_stretch(files.get(behind..)?)?;
    Some(behind + stretch.start..behind + stretch.end)
}

/// What is to be done about a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// The stretch to merge.
    pub merge: Option<Range<usize>>,
    /// RocksDB is to catch up, so that more can be merged.
    pub catch_up: bool,
}

/// `plan_merge` over RocksDB with its state at epoch `mark`, 0 if it holds none. A base is made of what RocksDB has: beyond
/// that it would have to keep its tombstones, for good if RocksDB never catches up by itself, and RocksDB could only take over
/// all of it, which would be the whole state for the sake of a few deltas.
#[must_use]
pub fn plan_merge_over(files: &[FileRef], mark: u64) -> Due {
    let due = plan_merge(files);
    let had = files.partition_point(|file| file.last_epoch <= mark);
    let bytes: u64 = files.iter().map(|file| file.bytes).sum();
    // A full list keeps the next epoch waiting.
    let is_base = due == Some(0..files.len()) && files.len() < MAX_FILES && bytes > SPACE_FLOOR_BYTES;
    let Some((old, _)) = files.split_at_checked(had).filter(|(_, news)| is_base && mark > 0 && !news.is_empty()) else {
        return Due { merge: due, catch_up: false };
    };
    match plan_merge(old).filter(|range| range.start == 0) {
        None => Due { merge: plan_stretch(files).filter(|range| range.start > 0), catch_up: true },
        older => Due { merge: older, catch_up: false },
    }
}

fn plan_stretch(files: &[FileRef]) -> Option<Range<usize>> {
    let many = || (files.len() > MANY).then(|| cheapest_stretch(files, WIDTH_IF_MANY, false)).flatten();
    cheapest_stretch(files, WIDTH, true).or_else(many)
}

/// The stretch that costs the fewest bytes per file it takes off the list, or of alike ones in a long list the one that
/// takes off the most; of equal ones the oldest.
fn cheapest_stretch(files: &[FileRef], width: usize, alike: bool) -> Option<Range<usize>> {
    let long = alike && (LONG + 1..MAX_FILES).contains(&files.len());
    let mut best: Option<((u64, u64), Range<usize>)> = None;
    for start in 0..files.len() {
        let (mut sum, mut largest) = (0u64, 0u64);
        for (end, file) in (1..).zip(files).skip(start) {
            let bytes = file.bytes.max(SMALL_BYTES);
            sum = sum.saturating_add(bytes);
            largest = largest.max(bytes);
            let length = end - start;
            if length < width || (alike && largest > sum - largest) {
                continue;
            }
            let removed = length as u64 - 1;
            let (cost, left) = (sum / removed, files.len() as u64 - removed);
            let rank = if long { (left, cost) } else { (cost, left) };
            if best.as_ref().is_none_or(|(least, _)| rank < *least) {
                best = Some((rank, start..end));
            }
        }
    }
    best.map(|(_, range)| range)
}

/// The list with a merged file in place of those it was made of; `None` if that stretch is not there any more, and the
/// merged file is garbage. A merged file without entries is left out.
#[must_use]
pub fn adopt(files: &[FileRef], replaced: &[FileRef], merged: FileRef) -> Option<Vec<FileRef>> {
    if replaced.is_empty() {
        return None;
    }
    let at = files.windows(replaced.len()).position(|stretch| stretch == replaced)?;
    let (before, rest) = files.split_at_checked(at)?;
    let after = rest.get(replaced.len()..)?;
    let merged = (merged.entries > 0).then_some(merged);
    Some(before.iter().cloned().chain(merged).chain(after.iter().cloned()).collect())
}

/// Names to delete: objects and leftovers of other incarnations that nothing refers to.
///
/// The caller, `incarnation`, lists *first* and commits *then* (rule 21), and `referenced` is what that commit names. Whoever
/// put something before the list has lost the job to the caller by the commit, so nothing of it will be referred to any more.
/// Files that are not the store's own are never named.
#[must_use]
pub fn garbage(listed: &[Listed], referenced: &BTreeSet<String>, incarnation: &str) -> Vec<String> {
    let names = listed.iter().map(|listed| &listed.name);
    names.filter(|name| is_of_another(name, incarnation) && !referenced.contains(*name)).cloned().collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::time::SystemTime;

    const KIB: u64 = 1024;
    const MIB: u64 = 1024 * KIB;

    fn file(name: &str, bytes: u64) -> FileRef {
        FileRef { name: name.into(), bytes, checksum: 0, first_epoch: 1, last_epoch: 1, entries: bytes / 100, tombstones: 0 }
    }

    fn files(sizes: &[u64]) -> Vec<FileRef> {
        sizes.iter().enumerate().map(|(i, bytes)| file(&i.to_string(), *bytes)).collect()
    }

    #[test]
    fn what_is_merged_next() {
        let mut hiding = files(&[100 * MIB, 2 * MIB]);
        hiding[1].tombstones = hiding[0].entries / 2 + 1;
        // Each half of the one before, and the base four times its successor: nothing is alike, and the base outweighs the rest.
        let steep: Vec<u64> = (0..33).map(|i| (100 * KIB) << (33 - i + u64::from(i == 0))).collect();
        let full: Vec<u64> = std::iter::once(10 * MIB).chain(vec![MIB; MAX_FILES - 1]).collect();
        let rows: [(&str, Vec<FileRef>, Option<Range<usize>>); 10] = [
            ("nothing", files(&[]), None),
            ("a base alone", files(&[MIB]), None),
            ("three deltas wait for a fourth", files(&[100 * MIB, MIB, MIB, MIB]), None),
            ("four alike deltas", files(&[100 * MIB, MIB, MIB, MIB, MIB]), Some(1..5)),
            ("the cheaper tier first", files(&[900 * MIB, 9 * MIB, 9 * MIB, 9 * MIB, 9 * MIB, MIB, MIB, MIB, MIB]), Some(5..9)),
            ("small files whatever their size", files(&[100 * MIB, 100, 9000, 3, 700]), Some(1..5)),
            ("all, once they outweigh the base", files(&[10 * MIB, 8 * MIB, 3 * MIB]), Some(0..3)),
            ("all, once they hide half of the base", hiding, Some(0..2)),
            ("the cheapest eight of too many", files(&steep), Some(25..33)),
            ("not all of a full list", files(&full), Some(1..MAX_FILES)),
        ];
        for (name, files, expected) in rows {
            assert_eq!(plan_merge(&files), expected, "{name}");
        }
        let alike = files(&[100 * MIB, MIB, MIB, MIB, MIB, MIB, MIB, MIB]);
        assert_eq!(plan_merge_beside(&alike, &alike[..3]), Some(3..8), "behind what is being merged");
        assert_eq!(plan_merge_beside(&alike, &alike[..5]), None, "too few behind it");
        assert_eq!(plan_merge_beside(&alike, &alike[1..3]), None, "not beside one of younger files, which is soon done");
    }

    #[test]
    fn a_base_is_merged_of_what_rocksdb_has() {
        let numbered = |sizes: &[u64]| {
            let mut list = files(sizes);
            list.iter_mut().zip(1..).for_each(|(file, epoch)| (file.first_epoch, file.last_epoch) = (epoch, epoch));
            list
        };
        let plans = |list: &[FileRef]| (0..=list.len() as u64).map(|mark| plan_merge_over(list, mark)).collect::<Vec<_>>();
        let merge = |merge| Due { merge: Some(merge), catch_up: false };
        let meanwhile = Due { merge: Some(1..5), catch_up: true };
        // What follows the base outweighs half of it.
        let list = numbered(&[20 * MIB, 6 * MIB, 4 * MIB, MIB, MIB]);
        assert_eq!(plans(&list), [merge(0..5), meanwhile.clone(), meanwhile.clone(), meanwhile, merge(0..4), merge(0..5)]);
        let buried = FileRef { first_epoch: 1, last_epoch: 5, ..file("merged", 30 * MIB) };
        let over = [buried, FileRef { first_epoch: 6, last_epoch: 6, ..file("delta", 16 * MIB) }];
        assert_eq!(plan_merge_over(&over, 3), Due { merge: None, catch_up: true }, "else its tombstones are kept for good");
        let little = numbered(&[100 * KIB; 5]);
        assert_eq!(plans(&little), vec![merge(0..5); 6], "there is little to be saved");
        let full = numbered(&[vec![MIB; MAX_FILES - 1], vec![KIB]].concat());
        let quickest = Due { merge: plan_merge(&full), catch_up: false };
        assert_eq!(plan_merge_over(&full, MAX_FILES as u64 - 1), quickest, "there is no time");
    }

    #[test]
    fn rule_19_a_merged_file_is_adopted_only_into_an_unchanged_list() {
        let list = files(&[9, 8, 7, 6]);
        let merged = file("m", 500);
        let names = |list: Option<Vec<FileRef>>| list.map(|list| list.iter().map(|file| file.name.clone()).collect::<Vec<_>>().join(","));
        assert_eq!(names(adopt(&list, &list[1..3], merged.clone())).as_deref(), Some("0,m,3"));
        assert_eq!(names(adopt(&list, &list[..], merged.clone())).as_deref(), Some("m"));
        assert_eq!(names(adopt(&list, &list[..2], file("empty", 0))).as_deref(), Some("2,3"));
        assert_eq!(adopt(&list, &[], merged.clone()), None);
        assert_eq!(adopt(&list, &[list[0].clone(), list[2].clone()], merged.clone()), None, "not adjacent");
        assert_eq!(adopt(&list[2..], &list[1..3], merged.clone()), None, "gone");
        let other = FileRef { checksum: 1, ..list[1].clone() };
        assert_eq!(adopt(&list, &[other], merged), None, "another file of that name");
    }

    #[test]
    fn rule_21_garbage_is_the_stores_another_incarnations_and_unreferenced() {
        let listed = |name: &str| Listed { name: name.into(), bytes: 1, modified: SystemTime::UNIX_EPOCH };
        let all = [
            "000000000001-a-1.ckpt",
            "000000000002-a-2.ckpt",
            "000000000003-b-1.ckpt",
            ".000000000004-b-2.ckpt.9-1.tmp",
            ".merge-1-2-a-4.ckpt.9-0.tmp",
            "run.json",
            "committed",
        ];
        let referenced = BTreeSet::from(["000000000002-a-2.ckpt".to_owned()]);
        let garbage = |of: &str| garbage(&all.map(listed), &referenced, of);
        assert_eq!(garbage("b"), [all[0], all[4]]);
        assert_eq!(garbage("a"), [all[2], all[3]]);
    }

    /// A file of the simulation: which keys it holds, and whether live.
    type Keys = BTreeMap<u32, bool>;

    const LIVE_BYTES: u64 = 400;
    const TOMBSTONE_BYTES: u64 = 20;
    /// Epochs after which RocksDB catches up by itself: never.
    const ONLY_IF_TOLD: u64 = u64::MAX;

    fn describe(name: u64, keys: &Keys) -> FileRef {
        let live = keys.values().filter(|live| **live).count() as u64;
        let tombstones = keys.len() as u64 - live;
        let bytes = 72 + live * LIVE_BYTES + tombstones * TOMBSTONE_BYTES;
        FileRef { name: name.to_string(), bytes, checksum: 0, first_epoch: 0, last_epoch: 0, entries: keys.len() as u64, tombstones }
    }

    struct Outcome {
        most_files: usize,
        /// Bytes listed over live bytes, at worst, once the live state has passed 4 MiB.
        space: f64,
        /// Tombstones listed over live keys, likewise.
        tombstones: f64,
        /// Bytes written over bytes of deltas.
        amplification: f64,
    }

    /// 5,000 epochs; each merge takes `delay` epochs, or `delay_of_all` if it is of the whole list, and is adopted then.
    /// RocksDB, if it is used, holds the first epoch, catches up every so many epochs and when it is to; that takes `delay`
    /// epochs, too.
    fn simulate((delay, delay_of_all): (u64, u64), catches_up: Option<u64>, mut epoch_keys: impl FnMut(u64) -> Keys) -> Outcome {
        let mut list: Vec<FileRef> = Vec::new();
        let mut contents: BTreeMap<String, Keys> = BTreeMap::new();
        let mut live = Keys::new();
        let mut running: Vec<(u64, Vec<FileRef>, FileRef)> = Vec::new();
        let (mut most_files, mut space, mut tombstones, mut deltas, mut written, mut number) = (0, 0f64, 0f64, 0u64, 0u64, 0u64);
        let (mut mark, mut spilling) = (u64::from(catches_up.is_some()), None);
        for epoch in 1..=5000 {
            if let Some((_, to)) = spilling.take_if(|(done, _)| *done <= epoch) {
                mark = to;
            }
            if catches_up.is_some_and(|every| epoch % every == 0) {
                spilling.get_or_insert((epoch + delay, epoch - 1));
            }
            let keys = epoch_keys(epoch);
            for (key, alive) in &keys {
                if *alive {
                    live.insert(*key, true)
                } else {
                    live.remove(key)
                };
            }
            number += 1;
            let delta = FileRef { first_epoch: epoch, last_epoch: epoch, ..describe(number, &keys) };
            deltas += delta.bytes;
            written += delta.bytes;
            contents.insert(delta.name.clone(), keys);
            list.push(delta);
            for (_, replaced, merged) in running.extract_if(.., |(done, ..)| *done <= epoch) {
                list = adopt(&list, &replaced, merged).unwrap();
            }
            let due = match running.as_slice() {
                [] => plan_merge_over(&list, mark),
                [(_, replaced, _)] => Due { merge: plan_merge_beside(&list, replaced), catch_up: false },
                _ => Due::default(),
            };
            if due.catch_up && spilling.is_none() {
                spilling = Some((epoch + delay, epoch));
            }
            if let Some(range) = due.merge {
                let delay = if range == (0..list.len()) { delay_of_all } else { delay };
                let replaced = list[range.clone()].to_vec();
                let mut keys = Keys::new();
                replaced.iter().for_each(|file| keys.extend(contents.remove(&file.name).unwrap()));
                let last_epoch = replaced[replaced.len() - 1].last_epoch;
                if range.start == 0 && (mark >= last_epoch || mark == 0 && spilling.is_none()) {
                    keys.retain(|_, live| *live);
                }
                number += 1;
                let merged = FileRef { first_epoch: replaced[0].first_epoch, last_epoch, ..describe(number, &keys) };
                written += merged.bytes;
                contents.insert(merged.name.clone(), keys);
                running.push((epoch + delay, replaced, merged));
            }
            most_files = most_files.max(list.len());
            let live_bytes = live.len() as u64 * LIVE_BYTES;
            if live_bytes > 4 * MIB {
                space = space.max(list.iter().map(|file| file.bytes).sum::<u64>() as f64 / live_bytes as f64);
                tombstones = tombstones.max(list.iter().map(|file| file.tombstones).sum::<u64>() as f64 / live.len() as f64);
            }
        }
        Outcome { most_files, space, tombstones, amplification: written as f64 / deltas as f64 }
    }

    fn random() -> impl FnMut(u32) -> u32 {
        let mut seed = 11u64;
        move |below| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            ((seed >> 33) % u64::from(below)) as u32
        }
    }

    #[test]
    fn over_5000_epochs_the_list_stays_short_the_store_small_and_the_writes_few() {
        type Load = Box<dyn FnMut(u64) -> Keys>;
        let loads: [(&str, fn() -> Load); 6] = [
            ("updates all over a fixed key space", || {
                let mut random = random();
                Box::new(move |_| (0..100).map(|_| (random(20_000), true)).collect())
            }),
            ("only new keys", || Box::new(|epoch| (0..20).map(|i| (epoch as u32 * 20 + i, true)).collect())),
            ("a few hot keys on a large rest", || {
                let mut random = random();
                Box::new(move |epoch| match epoch {
                    1 => (0..20_000).map(|key| (key, true)).collect(),
                    _ => (0..60).map(|_| (random(200), true)).collect(),
                })
            }),
            ("keys that live for 500 epochs", || {
                let born = |epoch: u32, live: bool| (0..40).map(move |i| (epoch * 40 + i, live));
                Box::new(move |epoch| {
                    let dead = (epoch as u32).checked_sub(500).into_iter().flat_map(|epoch| born(epoch, false));
                    born(epoch as u32, true).chain(dead).collect()
                })
            }),
            ("bursts", || {
                let mut random = random();
                Box::new(move |epoch| {
                    let size = if epoch % 97 == 0 { 4_000 } else { 1 + random(60) };
                    (0..size).map(|_| (random(30_000), random(50) > 0)).collect()
                })
            }),
            ("everything, every epoch", || Box::new(|_| (0..150).map(|key| (key, true)).collect())),
        ];
        for (name, load) in loads {
            for (delay, catches_up) in
                [(0, None), (5, None), (0, Some(20)), (5, Some(20)), (5, Some(1)), (0, Some(ONLY_IF_TOLD)), (5, Some(ONLY_IF_TOLD))]
            {
                let Outcome { most_files, space, tombstones, amplification } = simulate((delay, delay), catches_up, load());
                let case = format!("{name}, delay {delay}, RocksDB {catches_up:?}");
                println!("{case}: {most_files} files, {space:.2} x live, {tombstones:.2} x keys, {amplification:.2} x deltas");
                assert!(most_files <= 24, "{case}: {most_files} files");
                assert!(space <= 3.0, "{case}: {space} times the live state");
                assert!(tombstones <= 2.0, "{case}: {tombstones} times the live keys");
                assert!(amplification <= 9.0, "{case}: {amplification} times the deltas");
            }
            // A base that takes long keeps no epoch waiting.
            let Outcome { most_files, .. } = simulate((5, 600), None, load());
            println!("{name}, a slow base: {most_files} files");
            assert!(most_files < MAX_FILES, "{name}, a slow base: {most_files} files");
        }
    }

    #[test]
    fn a_list_that_is_never_alike_stays_below_the_limit() {
        let mut list = Vec::new();
        for epoch in 0..200u32 {
            list.push(file(&epoch.to_string(), (1 << 60) >> (epoch % 45)));
            if let Some(range) = plan_merge(&list) {
                let replaced = list[range].to_vec();
                let bytes = replaced.iter().map(|file| file.bytes).max().unwrap();
                list = adopt(&list, &replaced, file(&format!("m{epoch}"), bytes)).unwrap();
            }
            assert!(list.len() < MAX_FILES, "{} files", list.len());
        }
    }
}
