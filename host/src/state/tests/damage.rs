//! Bits flipped and bytes cut off in a database that an earlier process has left, part by part of its files.

use super::*;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

const FLIPS: u64 = 1_000;
const CUTS: u64 = 100;
const EPOCHS: u64 = 3;
/// For one database. There are damages that RocksDB alone reads for ever.
const PATIENCE: Duration = Duration::from_secs(60);
const TABLE_FOOTER: usize = 53;
/// Kind and checksum behind each block of a table.
const BLOCK_END: usize = 5;
/// Checksum, length and kind before each record of the manifest.
const RECORD_HEAD: usize = 7;

type Whole = BTreeMap<Bytes, Bytes>;

/// A database that has caught up three times.
struct Left {
    folder: tempfile::TempDir,
    /// What it held after each epoch; before the first one, nothing.
    models: Vec<Whole>,
    keys: Arc<Vec<Bytes>>,
    /// The files that the state is read from.
    files: Vec<(String, Bytes)>,
}

/// What became of damage.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Outcome {
    /// The state at the mark is there.
    Right,
    /// The database is empty.
    Wiped,
    /// Reading is refused, with the folder's name.
    Named,
}

impl Left {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let sound = folder.path().join("sound");
        let disk = Disk::open(&sound, CACHE, RUN, |_| false).unwrap();
        let key = |i: u64| [&Prefix::new(VALUE, 0).bytes()[..], &i.to_be_bytes()].concat();
        let (mut random, mut whole) = (Random(3), Whole::new());
        let mut models = vec![whole.clone()];
        for epoch in 1..=EPOCHS {
            let mut changes: BTreeMap<Bytes, Option<Bytes>> = BTreeMap::new();
            for _ in 0..400 {
                changes.insert(key(random.below(600)), random.value().map(|value| [vec![1], value].concat()));
            }
            for (key, value) in &changes {
                match value {
                    Some(value) => whole.insert(key.clone(), value.clone()),
                    None => whole.remove(key),
                };
            }
            catch_up(&disk, epoch, &changes.into_iter().collect());
            models.push(whole.clone());
        }
        drop(disk);
        let names = std::fs::read_dir(&sound).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let names = names.filter(|name| name.ends_with(".sst") || name.starts_with("MANIFEST") || name == "CURRENT");
        let mut files: Vec<_> = names.map(|name| (name.clone(), std::fs::read(sound.join(name)).unwrap())).collect();
        files.sort();
        Self { folder, models, keys: Arc::new((0..600).map(key).collect()), files }
    }

    /// What becomes of the database if one of its files has these bytes instead. Never another state than that at its mark.
    fn with(&self, name: &str, bytes: &[u8], what: &str) -> Outcome {
        let damaged = self.folder.path().join("damaged");
        copy(&self.folder.path().join("sound"), &damaged);
        std::fs::write(damaged.join(name), bytes).unwrap();
        let (sender, receiver) = crossbeam_channel::bounded(1);
        let (folder, keys) = (damaged.clone(), self.keys.clone());
        let look = move || {
            let disk = Disk::open(&folder, CACHE, RUN, |_| true).unwrap();
            sender.send((disk.mark(), read(&disk, &keys))).unwrap();
        };
        let thread = std::thread::Builder::new().spawn(look).unwrap();
        let (mark, found) = receiver.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("{what}: {error}"));
        thread.join().unwrap();
        std::fs::remove_dir_all(&damaged).unwrap();
        match found {
            Ok(found) => {
                assert_eq!(found, self.models[mark as usize], "{what}: mark {mark}");
                if mark > 0 { Outcome::Right } else { Outcome::Wiped }
            }
            Err(error) => {
                assert!(error.is_damaged_disk(), "{what}: {error}");
                assert!(error.to_string().contains(&*damaged.to_string_lossy()), "{what}: {error}");
                Outcome::Named
            }
        }
    }

    /// The parts of the files by what they are: each stretch with the number of its file.
    fn parts(&self) -> BTreeMap<&'static str, Vec<(usize, Range<usize>)>> {
        let mut parts: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (number, (name, bytes)) in self.files.iter().enumerate() {
            let of_file = match name.as_str() {
                "CURRENT" => vec![("CURRENT", 0..bytes.len())],
                name if name.starts_with("MANIFEST") => parts_of_manifest(bytes),
                _ => parts_of_table(bytes),
            };
            // A record of the manifest may be empty.
            let of_file = of_file.into_iter().filter(|(_, at)| !at.is_empty());
            of_file.for_each(|(part, at)| parts.entry(part).or_default().push((number, at)));
        }
        parts
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// All that is read, key by key; the first error of RocksDB.
fn read(disk: &Disk, keys: &[Bytes]) -> Result<Whole> {
    let (mut found, sought) = (Whole::new(), keys.iter().map(Vec::as_slice).collect::<Vec<_>>());
    disk.multi_get(&sought, |at, value| {
        value.map(|value| found.insert(keys[at].clone(), value.to_vec()));
        Ok(())
    })?;
    let (mut range, mut scanned) = (disk.iter_range(&[], None), Whole::new());
    while let Some((key, value)) = range.item()? {
        scanned.insert(key.to_vec(), value.to_vec());
        range.next();
    }
    assert_eq!(scanned, found, "a scan and single keys");
    Ok(found)
}

/// Data blocks; then filter, index and properties; then the footer, which says where the index is. The checksums are those
/// of the last block of data and of index, of the index of the index, and of the list before the footer.
fn parts_of_table(table: &[u8]) -> Vec<(&'static str, Range<usize>)> {
    let footer = table.len() - TABLE_FOOTER;
    let (list, rest) = handle(&table[footer + 1..]);
    let (index, _) = handle(rest);
    let last_of_index = last_handle(&table[index.clone()]);
    let last_of_data = last_handle(&table[last_of_index.clone()]);
    let data = last_of_data.end + BLOCK_END;
    assert!(data < last_of_index.start && list.end + BLOCK_END == footer, "data to {data}, index from {last_of_index:?}, list {list:?}");
    let mut parts = vec![
        ("table: first bytes", 0..16),
        ("table: data", 0..data),
        ("table: filter, index, properties", data..footer),
        ("table: footer", footer..table.len()),
    ];
    let blocks = [last_of_data, last_of_index, index, list];
    parts.extend(blocks.map(|block| ("table: checksums", block.end..block.end + BLOCK_END)));
    parts
}

/// Where a block is, and what follows the two numbers that say so.
fn handle(bytes: &[u8]) -> (Range<usize>, &[u8]) {
    let (start, rest) = varint(bytes);
    let (length, rest) = varint(rest);
    (start..start + length, rest)
}

/// The last block that a block of an index points to. Its entry begins where the last but one number at the end says: with
/// the lengths of what the key shares with the one before and of its own bytes, and these.
fn last_handle(block: &[u8]) -> Range<usize> {
    let number = block.len() - 8;
    let entry = u32::from_le_bytes(block[number..number + 4].try_into().unwrap()) as usize;
    let (shared, rest) = varint(&block[entry..]);
    let (own, rest) = varint(rest);
    assert_eq!(shared, 0);
    handle(&rest[own..]).0
}

fn varint(bytes: &[u8]) -> (usize, &[u8]) {
    let length = 1 + bytes.iter().position(|byte| byte & 0x80 == 0).unwrap();
    let number = bytes[..length].iter().rev().fold(0, |number, byte| number << 7 | usize::from(byte & 0x7f));
    (number, &bytes[length..])
}

fn parts_of_manifest(log: &[u8]) -> Vec<(&'static str, Range<usize>)> {
    let (mut parts, mut at) = (Vec::new(), 0);
    while at < log.len() {
        let payload = at + RECORD_HEAD;
        let end = payload + usize::from(u16::from_le_bytes([log[at + 4], log[at + 5]]));
        parts.extend([
            ("manifest: checksum", at..at + 4),
            ("manifest: length", at + 4..at + 6),
            ("manifest: kind", at + 6..payload),
            ("manifest: payload", payload..end),
        ]);
        at = end;
    }
    assert_eq!(at, log.len(), "records that cross no block");
    parts
}

/// How often each part met with each outcome.
type Seen = BTreeMap<&'static str, BTreeMap<Outcome, u64>>;

fn times(seen: &Seen, outcome: Outcome) -> u64 {
    seen.values().filter_map(|of_part| of_part.get(&outcome)).sum()
}

fn assert_each_often(seen: &Seen, parts: usize, all: u64) {
    println!("{seen:#?}");
    assert_eq!(seen.len(), parts, "{seen:?}");
    assert!(seen.values().all(|of_part| of_part.values().sum::<u64>() > all / parts as u64 / 2), "{seen:?}");
}

#[test]
fn rule_20_a_flipped_bit_in_any_part_of_the_local_database_gives_the_right_state_or_damage_that_is_named() {
    let left = Left::new();
    let parts: Vec<_> = left.parts().into_iter().collect();
    let (mut random, mut seen) = (Random(11), Seen::new());
    for flip in 0..FLIPS {
        let (part, stretches) = &parts[random.below(parts.len() as u64) as usize];
        let (file, stretch) = &stretches[random.below(stretches.len() as u64) as usize];
        let (name, mut bytes) = left.files[*file].clone();
        let at = stretch.start + random.below(stretch.len() as u64) as usize;
        bytes[at] ^= 1 << random.below(8);
        let outcome = left.with(&name, &bytes, &format!("flip {flip} of {name} at byte {at}, {part}"));
        *seen.entry(part).or_default().entry(outcome).or_default() += 1;
    }
    assert_each_often(&seen, 10, FLIPS);
    assert!([Outcome::Right, Outcome::Wiped, Outcome::Named].iter().all(|outcome| times(&seen, *outcome) > 0), "{seen:?}");
    // Only where there are bytes that nobody reads.
    let unnoticed = seen.iter().filter(|(_, of_part)| of_part.contains_key(&Outcome::Right)).map(|(part, _)| *part);
    assert!(unnoticed.into_iter().all(|part| ["table: filter, index, properties", "table: footer"].contains(&part)), "{seen:?}");
}

#[test]
fn rule_20_a_file_of_the_local_database_that_is_cut_off_gives_the_right_state_or_damage_that_is_named() {
    let left = Left::new();
    let of = |kind| left.files.iter().filter(|(name, _)| name.contains(kind)).collect::<Vec<_>>();
    let kinds = [".sst", "MANIFEST", "CURRENT"].map(|kind| (kind, of(kind)));
    // With whole records at its end, a manifest tells of the database at an earlier mark.
    let records: Vec<usize> = left.parts()["manifest: payload"].iter().map(|(_, payload)| payload.end).collect();
    let (mut random, mut seen) = (Random(12), Seen::new());
    for cut in 0..CUTS {
        let (kind, files) = &kinds[random.below(kinds.len() as u64) as usize];
        let (name, bytes) = files[random.below(files.len() as u64) as usize];
        let length = match random.below(10) {
            0 => 0,
            1..=5 if *kind == "MANIFEST" => records[random.below(records.len() as u64) as usize],
            _ => random.below(bytes.len() as u64) as usize,
        };
        let outcome = left.with(name, &bytes[..length], &format!("cut {cut} of {name} at byte {length}"));
        *seen.entry(kind).or_default().entry(outcome).or_default() += 1;
    }
    assert_each_often(&seen, kinds.len(), CUTS);
    assert!(times(&seen, Outcome::Right) > 0 && times(&seen, Outcome::Wiped) > 0, "{seen:?}");
}
