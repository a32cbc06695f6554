//! Bits flipped in a database that an earlier process has left.

use super::*;
use std::collections::BTreeMap;
use std::path::Path;

const FLIPS: u64 = 1_000;
const EPOCHS: u64 = 3;

type Whole = BTreeMap<Bytes, Bytes>;

/// A database that has caught up three times, and what it held after each; the first model is empty.
fn left(folder: &Path) -> Vec<Whole> {
    let disk = Disk::open(folder, CACHE, RUN, |_| false).unwrap();
    let (mut random, mut whole) = (Random(3), Whole::new());
    let mut models = vec![whole.clone()];
    for epoch in 1..=EPOCHS {
        let mut changes: BTreeMap<Bytes, Option<Bytes>> = BTreeMap::new();
        for _ in 0..400 {
            let key = [&Prefix::new(VALUE, 0).bytes()[..], &random.below(600).to_be_bytes()].concat();
            changes.insert(key, random.value().map(|value| [vec![1], value].concat()));
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
    models
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

#[test]
fn rule_20_a_flipped_bit_in_the_local_database_gives_the_right_state_or_damage_that_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let sound = folder.path().join("sound");
    let models = left(&sound);
    let keys: Vec<Bytes> = (0..600u64).map(|i| [&Prefix::new(VALUE, 0).bytes()[..], &i.to_be_bytes()].concat()).collect();
    let mut files: Vec<_> = std::fs::read_dir(&sound).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    files.retain(|name| name.ends_with(".sst") || name.starts_with("MANIFEST") || name == "CURRENT");
    files.sort();
    let mut random = Random(11);
    let (mut right, mut wiped, mut named) = (0, 0, 0);
    for flip in 0..FLIPS {
        let damaged = folder.path().join("damaged");
        copy(&sound, &damaged);
        let name = &files[random.below(files.len() as u64) as usize];
        let mut bytes = std::fs::read(damaged.join(name)).unwrap();
        // Every fourth in the last bytes: the footer of a table, the newest record of the manifest.
        let length = bytes.len() as u64;
        let at = if flip % 4 == 0 { length - 1 - random.below(length.min(64)) } else { random.below(length) };
        bytes[at as usize] ^= 1 << random.below(8);
        std::fs::write(damaged.join(name), bytes).unwrap();
        let disk = Disk::open(&damaged, CACHE, RUN, |_| true).unwrap();
        match read(&disk, &keys) {
            Ok(found) => {
                assert_eq!(found, models[disk.mark() as usize], "flip {flip} of {name} at byte {at}: mark {}", disk.mark());
                *(if disk.mark() > 0 { &mut right } else { &mut wiped }) += 1;
            }
            Err(error) => {
                assert!(error.is_damaged_disk(), "flip {flip} of {name} at byte {at}: {error}");
                assert!(error.to_string().contains(&*damaged.to_string_lossy()), "{error}");
                named += 1;
            }
        }
        drop(disk);
        std::fs::remove_dir_all(&damaged).unwrap();
    }
    assert!(right > 0 && wiped > 0 && named > 0, "right {right}, wiped {wiped}, named {named}");
}
