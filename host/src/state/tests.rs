//! Each promise on its own; the store against a naive model is in `model`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::expect_used, clippy::panic)]

mod damage;
mod model;

use super::layout::Prefix;
use super::*;
use crate::record::Column;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const VALUE: StateId = StateId { operator: 1, state: 0 };
const MAP: StateId = StateId { operator: 1, state: 1 };
const CACHE: usize = 8 << 20;
const RUN: &str = "r";

type Bytes = Vec<u8>;
type Changes = Vec<(Bytes, Option<Bytes>)>;

fn column<T: AsRef<[u8]>>(entries: impl IntoIterator<Item = T>) -> Column {
    let mut column = Column::new();
    entries.into_iter().for_each(|e| column.push_bytes(e.as_ref()));
    column
}

fn rows(column: &Column) -> Vec<Option<Bytes>> {
    column.iter().map(|e| e.map(<[u8]>::to_vec)).collect()
}

fn new_store(disk: Option<Arc<Disk>>) -> Store {
    let mut store = Store::new(disk);
    store.register(VALUE, Kind::Value, 1).unwrap();
    store.register(MAP, Kind::Map, 300).unwrap();
    store
}

fn set(store: &mut Store, entries: &[(&[u8], Option<&[u8]>)]) {
    let (keys, shards) = (column(entries.iter().map(|e| e.0)), vec![0; entries.len()]);
    let (mut out, mut slots) = (Column::new(), Slots::default());
    store.load_values(VALUE, &keys, &shards, &mut out, &mut slots).unwrap();
    let groups: Vec<u32> = (0..entries.len() as u32).collect();
    store.apply_values(VALUE, &keys, &shards, &slots, &groups, &entries.iter().map(|e| e.1).collect()).unwrap();
}

fn get(store: &mut Store, keys: &[&[u8]]) -> Vec<Option<Bytes>> {
    let mut out = Column::new();
    store.load_values(VALUE, &column(keys), &vec![0; keys.len()], &mut out, &mut Slots::default()).unwrap();
    rows(&out)
}

fn put_map(store: &mut Store, key: &[u8], entries: &[(&[u8], Option<&[u8]>)]) {
    let n = entries.len();
    let (keys, map_keys) = (column(vec![key; n]), column(entries.iter().map(|e| e.0)));
    store.map_put(MAP, &keys, &vec![0; n], &map_keys, &entries.iter().map(|e| e.1).collect()).unwrap();
}

fn get_map(store: &mut Store, key: &[u8], map_keys: &[&[u8]]) -> Vec<Option<Bytes>> {
    let mut out = Column::new();
    store.map_get(MAP, &column(vec![key; map_keys.len()]), &vec![0; map_keys.len()], &column(map_keys), usize::MAX, &mut out).unwrap();
    rows(&out)
}

fn scan(store: &mut Store, key: &[u8], shard: u16, after: Option<&[u8]>, limit: usize) -> Vec<(Bytes, Bytes)> {
    let (mut keys, mut values) = (Column::new(), Column::new());
    store.map_scan(MAP, key, shard, after, Most { entries: limit, bytes: usize::MAX }, &mut keys, &mut values).unwrap();
    (0..keys.len()).map(|i| (keys.bytes(i).to_vec(), values.bytes(i).to_vec())).collect()
}

fn commit(store: &mut Store, epoch: u64) -> Changes {
    let changes = owned(store.freeze(epoch).unwrap());
    store.committed(epoch).unwrap();
    changes
}

fn owned(delta: FrozenDelta) -> Changes {
    delta.into_sorted().iter().map(|(k, v)| (k.to_vec(), v.map(<[u8]>::to_vec))).collect()
}

fn catch_up(disk: &Disk, epoch: u64, changes: &Changes) {
    let mut writer = disk.catch_up(epoch).unwrap();
    changes.iter().for_each(|(key, value)| writer.put(key, value.as_deref()).unwrap());
    writer.finish().unwrap();
}

fn some(bytes: &[u8]) -> Option<Bytes> {
    Some(bytes.to_vec())
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % n
    }

    /// Keys of 1 to 60 bytes, so that some are inline and some on the heap; few enough to meet again.
    fn key(&mut self) -> (Bytes, u16) {
        let n = self.below(120);
        let mut key = n.to_string().into_bytes();
        key.resize(key.len() + (n % 3) as usize * 20, b'k');
        (key, (n % 3) as u16)
    }

    fn value(&mut self) -> Option<Bytes> {
        (self.below(4) > 0).then(|| vec![self.below(256) as u8; self.below(70) as usize])
    }
}

#[test]
fn a_delta_holds_whole_keys_and_stored_values_in_key_order() {
    let mut store = new_store(None);
    set(&mut store, &[(b"b", Some(b"2")), (b"a", Some(b"1")), (b"gone", None), (b"same-head-z", Some(b"z")), (b"same-head-a", Some(b"a"))]);
    put_map(&mut store, b"k", &[(b"m", Some(b"v"))]);
    store.commit_call().unwrap();
    let expected: [(&[u8], Option<&[u8]>); 5] = [
        (b"\0\x01\0\0\0\0a", Some(b"\x011")),
        (b"\0\x01\0\0\0\0b", Some(b"\x012")),
        (b"\0\x01\0\0\0\0same-head-a", Some(b"\x01a")),
        (b"\0\x01\0\0\0\0same-head-z", Some(b"\x01z")),
        (b"\0\x01\0\0\0\x01\0\x01km", Some(b"\xac\x02v")),
    ];
    assert_eq!(commit(&mut store, 7), expected.map(|(k, v)| (k.to_vec(), v.map(<[u8]>::to_vec))));
    set(&mut store, &[(b"a", None)]);
    assert_eq!(commit(&mut store, 8), [(b"\0\x01\0\0\0\0a".to_vec(), None)]);
    assert_eq!(commit(&mut store, 9), []);
}

#[test]
fn keys_that_begin_alike_come_in_order_too() {
    let keys: [&[u8]; 7] = [
        b"customer-",
        b"customer-\0",
        b"customer-000000010",
        b"customer-000000011",
        b"customer-1",
        b"customer-1\0",
        b"customer-12345678-b",
    ];
    for shift in 0..keys.len() {
        let mut store = new_store(None);
        let mut shuffled = keys;
        shuffled.rotate_left(shift);
        shuffled.swap(0, 3);
        set(&mut store, &shuffled.map(|key| (key, Some(&b"v"[..]))));
        put_map(&mut store, b"other", &[(b"m", Some(b"v"))]);
        store.commit_call().unwrap();
        let found: Vec<Bytes> = commit(&mut store, 1).into_iter().map(|(key, _)| key).collect();
        let whole = |key: &[u8]| [&b"\0\x01\0\0\0\0"[..], key].concat();
        let expected: Vec<Bytes> = keys.into_iter().map(whole).chain([b"\0\x01\0\0\0\x01\0\x05otherm".to_vec()]).collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn the_deltas_of_several_workers_merge_into_one_order() {
    let parts = (0..3).map(|worker| {
        let mut store = new_store(None);
        let keys: Vec<Bytes> = (0..50u32).filter(|i| i % 3 == worker).map(|i| format!("{i:03}").into_bytes()).collect();
        set(&mut store, &keys.iter().map(|k| (&k[..], Some(&b"v"[..]))).collect::<Vec<_>>());
        store.freeze(1).unwrap().into_sorted()
    });
    let merged = merge_sorted(parts.collect());
    let keys: Vec<Bytes> = merged.iter().map(|(key, _)| key[6..].to_vec()).collect();
    assert_eq!(keys, (0..50u32).map(|i| format!("{i:03}").into_bytes()).collect::<Vec<_>>());
    assert_eq!((merged.len(), merged.bytes()), (50, 50 * (6 + 3 + 2)));
}

#[test]
fn rule_8_one_frozen_epoch_at_most_and_only_that_one_is_committed() {
    let mut store = new_store(None);
    assert!(matches!(store.committed(1), Err(Error::Frozen { epoch: 1, frozen: None })));
    let _ = store.freeze(1).unwrap();
    assert!(matches!(store.freeze(2), Err(Error::Frozen { epoch: 2, frozen: Some(1) })));
    assert!(matches!(store.committed(2), Err(Error::Frozen { epoch: 2, frozen: Some(1) })));
    store.committed(1).unwrap();
    assert!(matches!(store.freeze(1), Err(Error::EpochOrder { epoch: 1, last: 1 })));
}

#[test]
fn a_change_on_top_of_a_frozen_epoch_belongs_to_the_next_delta() {
    let mut store = new_store(None);
    set(&mut store, &[(b"k", Some(b"1"))]);
    let first = store.freeze(1).unwrap();
    set(&mut store, &[(b"k", Some(b"2"))]);
    assert_eq!(get(&mut store, &[b"k"]), [some(b"2")]);
    store.committed(1).unwrap();
    assert_eq!(owned(first)[0].1, some(b"\x011"));
    assert_eq!(commit(&mut store, 2)[0].1, some(b"\x012"));
}

#[test]
fn rule_20_only_what_the_disk_holds_is_evicted() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(Disk::open(folder.path(), CACHE, RUN, |_| false).unwrap());
    let mut store = new_store(Some(disk.clone()));
    set(&mut store, &[(b"first", Some(b"1"))]);
    let first = commit(&mut store, 1);
    set(&mut store, &[(b"second", Some(b"2"))]);
    let second = store.freeze(2).unwrap();
    set(&mut store, &[(b"dirty", Some(b"3"))]);
    assert_eq!(store.evict(0), Evicted { freed: 0, behind: true });
    catch_up(&disk, 1, &first);
    assert!(store.evict(0).behind);
    assert_eq!(store.entries(), 2);
    store.committed(2).unwrap();
    catch_up(&disk, 2, &owned(second));
    assert!(store.evict(0).behind);
    assert_eq!(store.entries(), 1);
    assert_eq!(get(&mut store, &[b"second", b"none", b"first", b"dirty"]), [some(b"2"), None, some(b"1"), some(b"3")]);
}

#[test]
fn the_clock_spares_what_was_used_since_its_last_round() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(Disk::open(folder.path(), CACHE, RUN, |_| false).unwrap());
    let mut store = new_store(Some(disk.clone()));
    let keys: Vec<Bytes> = (0..100u32).map(|i| i.to_be_bytes().to_vec()).collect();
    set(&mut store, &keys.iter().map(|k| (&k[..], Some(&b"v"[..]))).collect::<Vec<_>>());
    catch_up(&disk, 1, &commit(&mut store, 1));
    get(&mut store, &[&keys[3], &keys[50]]);
    let per_entry = store.bytes() / 100;
    store.evict(per_entry * 2);
    assert_eq!(store.entries(), 2);
    get(&mut store, &[&keys[3], &keys[50]]);
    assert_eq!(store.entries(), 2, "a used key was read from the disk again");
}

#[test]
fn memory_is_counted_to_zero_when_everything_is_evicted() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(Disk::open(folder.path(), CACHE, RUN, |_| false).unwrap());
    let mut store = new_store(Some(disk.clone()));
    set(&mut store, &[(&[7; 100], Some(&[1; 5000])), (b"k", Some(b"v"))]);
    assert!(store.bytes() > 5100);
    put_map(&mut store, b"k", &[(&[8; 300], Some(&[2; 400]))]);
    store.commit_call().unwrap();
    set(&mut store, &[(&[7; 100], Some(&[1; 3]))]);
    assert!(store.bytes() < 2500);
    catch_up(&disk, 1, &commit(&mut store, 1));
    assert!(!store.evict(0).behind);
    assert_eq!((store.bytes(), store.entries()), (0, 0));
    assert_eq!(scan(&mut store, b"k", 0, None, 10), [(vec![8; 300], vec![2; 400])]);
}

#[test]
fn a_deletion_hides_the_disk_until_the_disk_has_it_too() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(Disk::open(folder.path(), CACHE, RUN, |_| false).unwrap());
    let mut store = new_store(Some(disk.clone()));
    set(&mut store, &[(b"k", Some(b"1"))]);
    let first = commit(&mut store, 1);
    set(&mut store, &[(b"k", None)]);
    let second = commit(&mut store, 2);
    assert_eq!(store.entries(), 0, "a deletion is forgotten while nothing is on the disk");
    // A first catch-up that stops at the older epoch must not bring the key back.
    catch_up(&disk, 1, &first);
    assert_eq!(get(&mut store, &[b"k"]), [None]);
    set(&mut store, &[(b"other", Some(b"1"))]);
    let third = commit(&mut store, 3);
    assert_eq!(get(&mut store, &[b"k"]), [None]);
    catch_up(&disk, 3, &[second, third].concat());
    store.evict(0);
    assert_eq!(get(&mut store, &[b"k", b"other"]), [None, some(b"1")]);
}

#[test]
fn changes_of_a_call_are_seen_by_it_and_vanish_when_it_fails() {
    let mut store = new_store(None);
    put_map(&mut store, b"k", &[(b"a", Some(b"1")), (b"b", Some(b"2"))]);
    store.commit_call().unwrap();
    put_map(&mut store, b"k", &[(b"a", None), (b"c", Some(b"3"))]);
    assert_eq!(get_map(&mut store, b"k", &[b"a", b"b", b"c"]), [None, some(b"2"), some(b"3")]);
    assert_eq!(scan(&mut store, b"k", 0, None, 9), [(b"b".to_vec(), b"2".to_vec()), (b"c".to_vec(), b"3".to_vec())]);
    store.map_clear(MAP, b"k", 0).unwrap();
    put_map(&mut store, b"k", &[(b"d", Some(b"4"))]);
    assert_eq!(scan(&mut store, b"k", 0, None, 9), [(b"d".to_vec(), b"4".to_vec())]);
    assert_eq!(get_map(&mut store, b"k", &[b"b", b"d"]), [None, some(b"4")]);
    store.drop_call();
    assert_eq!(scan(&mut store, b"k", 0, None, 9), [(b"a".to_vec(), b"1".to_vec()), (b"b".to_vec(), b"2".to_vec())]);
}

#[test]
fn maps_of_keys_that_begin_alike_stay_apart() {
    let mut store = new_store(None);
    put_map(&mut store, b"a", &[(b"bc", Some(b"1"))]);
    put_map(&mut store, b"ab", &[(b"c", Some(b"2"))]);
    put_map(&mut store, b"", &[(b"abc", Some(b"3")), (b"", Some(b"4"))]);
    store.commit_call().unwrap();
    assert_eq!(scan(&mut store, b"a", 0, None, 9), [(b"bc".to_vec(), b"1".to_vec())]);
    assert_eq!(scan(&mut store, b"ab", 0, None, 9), [(b"c".to_vec(), b"2".to_vec())]);
    assert_eq!(scan(&mut store, b"", 0, None, 1), [(vec![], b"4".to_vec())]);
    assert_eq!(scan(&mut store, b"", 0, Some(b""), 9), [(b"abc".to_vec(), b"3".to_vec())]);
}

#[test]
fn wrong_use_is_refused_by_name() {
    let mut store = new_store(None);
    let (keys, mut out, mut slots) = (column([b"k"]), Column::new(), Slots::default());
    let map_as_value = store.load_values(MAP, &keys, &[0], &mut out, &mut slots);
    assert!(matches!(map_as_value, Err(Error::Unregistered { id: MAP, kind: Kind::Value })));
    assert!(matches!(store.load_values(VALUE, &keys, &[], &mut out, &mut slots), Err(Error::Shape { .. })));
    store.load_values(VALUE, &keys, &[0], &mut out, &mut slots).unwrap();
    let beyond = store.apply_values(VALUE, &keys, &[0], &slots, &[1], &column([b"v"]));
    assert!(matches!(beyond, Err(Error::Shape { .. })));
    assert!(matches!(store.register(VALUE, Kind::Value, 2), Err(Error::Registration { .. })));
    let late = StateId { operator: 9, state: 0 };
    store.insert_restored(1, &Prefix::new(late, 0).bytes(), Some(b"\x01")).unwrap();
    assert!(matches!(store.register(late, Kind::Map, 1), Err(Error::Registration { .. })));
    assert!(matches!(store.insert_restored(1, b"short", Some(b"\x01")), Err(Error::Corrupt { .. })));
    assert!(matches!(store.insert_restored(1, &Prefix::new(VALUE, 0).bytes(), Some(b"\x80")), Err(Error::Corrupt { .. })));
}

#[test]
fn a_value_of_another_version_is_reported_with_both() {
    let mut store = new_store(None);
    store.insert_restored(1, &[&Prefix::new(VALUE, 0).bytes()[..], b"k"].concat(), Some(b"\x00old")).unwrap();
    let read = store.load_values(VALUE, &column([b"k"]), &[0], &mut Column::new(), &mut Slots::default());
    assert!(matches!(read, Err(Error::VersionMismatch { operator: 1, state: 0, stored: 0, current: 1 })));
}

#[test]
fn slots_from_before_an_eviction_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(Disk::open(folder.path(), CACHE, RUN, |_| false).unwrap());
    let mut store = new_store(Some(disk.clone()));
    set(&mut store, &[(b"k", Some(b"1"))]);
    catch_up(&disk, 1, &commit(&mut store, 1));
    let (keys, mut slots) = (column([b"k"]), Slots::default());
    store.load_values(VALUE, &keys, &[0], &mut Column::new(), &mut slots).unwrap();
    assert!(store.evict(0).freed > 0);
    assert!(matches!(store.apply_values(VALUE, &keys, &[0], &slots, &[0], &column([b"2"])), Err(Error::Shape { .. })));
}

#[test]
fn rule_20_a_disk_is_used_again_by_its_run_from_a_mark_that_will_do() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("notes.txt"), "mine").unwrap();
    let key = [&Prefix::new(VALUE, 0).bytes()[..], b"k"].concat();
    let disk = Disk::open(folder.path(), CACHE, RUN, |_| false).unwrap();
    catch_up(&disk, 5, &vec![(key.clone(), some(b"\x01v"))]);
    assert!(matches!(disk.catch_up(5).err(), Some(Error::EpochOrder { epoch: 5, last: 5 })));
    assert!(matches!(disk.load(6).err(), Some(Error::NotEmpty { epoch: 6, mark: 5, .. })));
    drop(disk);

    let disk = Arc::new(Disk::open(folder.path(), CACHE, RUN, |mark| mark == 5).unwrap());
    assert_eq!(disk.mark(), 5);
    assert_eq!(get(&mut new_store(Some(disk.clone())), &[b"k"]), [some(b"v")]);
    // What is deleted from now on may not be forgotten: the disk still has the key.
    let mut store = new_store(Some(disk.clone()));
    set(&mut store, &[(b"k", None)]);
    commit(&mut store, 6);
    assert_eq!(get(&mut store, &[b"k"]), [None]);
    drop((store, disk));

    for (run, reusable) in [("another", true), (RUN, false)] {
        let disk = Arc::new(Disk::open(folder.path(), CACHE, run, |_| reusable).unwrap());
        assert_eq!((disk.mark(), get(&mut new_store(Some(disk.clone())), &[b"k"])), (0, vec![None]));
        catch_up(&disk, 5, &vec![(key.clone(), some(b"\x01v"))]);
    }
    assert_eq!(std::fs::read(folder.path().join("notes.txt")).unwrap(), b"mine");
}

#[test]
fn a_catch_up_that_is_given_up_leaves_the_mark_and_may_be_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(Disk::open(folder.path(), CACHE, RUN, |_| false).unwrap());
    let mut store = new_store(Some(disk.clone()));
    let long = vec![3; 700_000];
    set(&mut store, &[(b"a", Some(&long)), (b"b", Some(&long)), (b"c", Some(b"c"))]);
    let changes = commit(&mut store, 1);
    let mut given_up = disk.catch_up(1).unwrap();
    changes.iter().take(2).for_each(|(k, v)| given_up.put(k, v.as_deref()).unwrap());
    drop(given_up);
    assert_eq!(disk.mark(), 0);
    assert_eq!(store.evict(0), Evicted { freed: 0, behind: true });
    catch_up(&disk, 1, &changes);
    store.evict(0);
    assert_eq!(get(&mut store, &[b"a", b"b", b"c"]), [Some(long.clone()), Some(long), some(b"c")]);
}

/// The invariant of the module's page: a reader is right at every moment of a catch-up.
#[test]
fn rule_20_reads_are_right_while_a_catch_up_runs() {
    const KEYS: u64 = 6_000;
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(Disk::open(folder.path(), CACHE, RUN, |_| false).unwrap());
    let mut store = new_store(Some(disk.clone()));
    let mut random = Random(11);
    let mut model: Vec<Option<Bytes>> = vec![None; KEYS as usize];
    let mut ran_beside = 0;
    for epoch in 1..=12 {
        for _ in 0..3_000 {
            let (i, value) = (random.below(KEYS), random.value().map(|v| [v, vec![0; 400]].concat()));
            let key = i.to_be_bytes();
            set(&mut store, &[(&key, value.as_deref())]);
            put_map(&mut store, b"map", &[(&key, value.as_deref())]);
            store.commit_call().unwrap();
            model[i as usize] = value;
        }
        let changes = commit(&mut store, epoch);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                catch_up(&disk, epoch, &changes);
                done.store(true, Ordering::Release);
            });
            let mut last = false;
            while !last {
                last = done.load(Ordering::Acquire);
                ran_beside += u64::from(!last);
                store.evict(store.bytes() / 2);
                let wanted: Vec<u64> = (0..64).map(|_| random.below(KEYS)).collect();
                let keys: Vec<[u8; 8]> = wanted.iter().map(|i| i.to_be_bytes()).collect();
                let keys: Vec<&[u8]> = keys.iter().map(|k| &k[..]).collect();
                let expected: Vec<_> = wanted.iter().map(|i| model[*i as usize].clone()).collect();
                assert_eq!(get(&mut store, &keys), expected);
                assert_eq!(get_map(&mut store, b"map", &keys), expected);
                let found = scan(&mut store, b"map", 0, Some(keys[0]), 20);
                let behind = (wanted[0] + 1..KEYS).filter_map(|i| Some((i.to_be_bytes().to_vec(), model[i as usize].clone()?)));
                assert_eq!(found, behind.take(20).collect::<Vec<_>>());
            }
        });
        assert_eq!(disk.mark(), epoch);
    }
    assert!(ran_beside > 0, "no read ran beside a catch-up");
}

/// Best of many rounds, so that a busy machine does not decide.
fn best_of(rounds: usize, mut work: impl FnMut()) -> Duration {
    (0..rounds)
        .map(|_| {
            let started = Instant::now();
            work();
            started.elapsed()
        })
        .min()
        .unwrap()
}

#[test]
fn access_to_a_map_costs_the_same_at_ten_and_at_a_hundred_thousand_entries() {
    let time = |entries: u32| {
        let mut store = new_store(None);
        let keys: Vec<Bytes> = (0..entries).map(|i| (i * 7).to_be_bytes().to_vec()).collect();
        for part in keys.chunks(1000) {
            put_map(&mut store, b"k", &part.iter().map(|k| (&k[..], Some(&b"value"[..]))).collect::<Vec<_>>());
            store.commit_call().unwrap();
        }
        let few: Vec<&[u8]> = (0..10).map(|i| &keys[i * keys.len() / 10][..]).collect();
        best_of(300, || {
            get_map(&mut store, b"k", &few);
            put_map(&mut store, b"k", &few.iter().map(|k| (*k, Some(&b"other"[..]))).collect::<Vec<_>>());
            store.commit_call().unwrap();
            scan(&mut store, b"k", 0, Some(few[4]), 3);
        })
    };
    let (small, large) = (time(10), time(100_000));
    assert!(large < small * 3, "10 entries: {small:?}, 100,000 entries: {large:?}");
}
