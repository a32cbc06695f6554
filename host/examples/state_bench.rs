//! What the hot layer costs: nanoseconds per key to load and apply 1,024 keys of 16 bytes, and to freeze,
//! sort them. `state_bench [value bytes]`; medians over batches, since the machine may be busy.

#![allow(clippy::print_stdout, clippy::expect_used, reason = "a measurement on a terminal")]

use std::time::{Duration, Instant};
use weir_host::record::Column;
use weir_host::state::{Kind, Slots, StateId, Store};

const ID: StateId = StateId { operator: 1, state: 0 };
const BATCH: u64 = 1024;

fn mix(i: u64) -> u64 {
    let x = i.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Batch `n`: all keys once in turn, then keys at random.
fn batch(n: u64, keys: u64) -> (Column, Vec<u16>) {
    let mut column = Column::with_capacity(BATCH as usize, 16 * BATCH as usize);
    let mut shards = Vec::with_capacity(BATCH as usize);
    for i in n * BATCH..(n + 1) * BATCH {
        let key = if i < keys { i } else { mix(i) % keys };
        column.push_bytes(&[mix(key).to_be_bytes(), key.to_be_bytes()].concat());
        shards.push((mix(key) % 32) as u16);
    }
    (column, shards)
}

fn main() {
    let value = vec![b'v'; std::env::args().nth(1).and_then(|a| a.parse().ok()).unwrap_or(8)];
    for keys in [10_000u64, 100_000, 1_000_000] {
        let mut store = Store::new(None);
        store.register(ID, Kind::Value, 1).expect("a new store");
        let groups: Vec<u32> = (0..BATCH as u32).collect();
        let values: Column = groups.iter().map(|_| Some(&value[..])).collect();
        let (mut out, mut slots) = (Column::new(), Slots::default());
        let (mut load, mut apply) = (Vec::new(), Vec::new());
        for n in 0..keys / BATCH + 2_000 {
            let (columns, shards) = batch(n, keys);
            out.clear();
            let started = Instant::now();
            store.load_values(ID, &columns, &shards, &mut out, &mut slots).expect("load");
            let loaded = started.elapsed();
            store.apply_values(ID, &columns, &shards, &slots, &groups, &values).expect("apply");
            load.push(loaded);
            apply.push(started.elapsed() - loaded);
        }
        let hot = (keys / BATCH + 1) as usize;
        let started = Instant::now();
        let delta = store.freeze(1).expect("freeze");
        let (frozen, rows) = (started.elapsed(), delta.len() as u128);
        let started = Instant::now();
        let sorted = delta.into_sorted();
        let of = |all: &mut [Duration]| {
            all.sort_unstable();
            all.get(all.len() / 2).map_or(0, Duration::as_nanos) / u128::from(BATCH)
        };
        println!(
            "{keys} keys: hot load {} + apply {} ns a key (median), first load {} + insert {}; freeze {} and sort {} ns an entry; {} bytes an entry",
            of(load.get_mut(hot..).unwrap_or_default()),
            of(apply.get_mut(hot..).unwrap_or_default()),
            of(load.get_mut(..hot).unwrap_or_default()),
            of(apply.get_mut(..hot).unwrap_or_default()),
            frozen.as_nanos() / rows,
            started.elapsed().as_nanos() / rows,
            store.bytes() / sorted.len(),
        );
    }
}
