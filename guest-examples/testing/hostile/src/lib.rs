//! Passes records on, until it meets the value `strike`: then it does what its configuration, `{"do": "…"}`, says.

#![expect(clippy::disallowed_methods, reason = "it traps and sleeps, as its configuration asks for")]

mod bindings {
    #![allow(unsafe_code, missing_docs, clippy::all, clippy::indexing_slicing)]
    wit_bindgen::generate!({ world: "processor", path: "../../../wit" });
    #[cfg(target_arch = "wasm32")]
    export!(Component with_types_in self);
    #[cfg(target_arch = "wasm32")]
    use super::Hostile as Component;
}

use bindings::exports::weir::operator::process_function::Guest;
use bindings::weir::operator::columns::{Column, Fault, Headers, KeyedBatch, Output, Processed, StateChange};
use bindings::weir::operator::{declare, log, map_state, metrics};
use std::cell::RefCell;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::hint::black_box;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

thread_local! {
    static TASK: RefCell<String> = const { RefCell::new(String::new()) };
}

/// The function.
pub struct Hostile;

impl Guest for Hostile {
    fn init(config: String) -> Result<(), String> {
        let task = config.split('"').nth(3).unwrap_or_default().to_owned();
        declare::value_state("seen", 1);
        declare::map_state("entries", 1);
        declare::counter("seen");
        declare::histogram("sizes", &[1.0, 10.0]);
        match task.as_str() {
            "fail-in-init" => return Err("told to fail".to_owned()),
            "trap-in-init" => std::process::abort(),
            "loop-in-init" => forever(),
            "many-series" => (0..1_000).for_each(|i| {
                declare::counter(&format!("series-{i}"));
            }),
            "same-series" => {
                declare::counter("a.b");
                declare::counter("a-b");
            }
            "by-chance" => {
                let chance = RandomState::new().build_hasher().finish();
                let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos());
                declare::counter(&format!("counter-{chance}-{time}"));
            }
            _ => {}
        }
        TASK.set(task);
        Ok(())
    }

    fn process(_input: u32, records: KeyedBatch) -> Result<Processed, Fault> {
        metrics::add(0, records.timestamps.len() as u64);
        let strikes = records.values.data.windows(6).any(|bytes| bytes == b"strike");
        let task = if strikes { TASK.with_borrow(String::clone) } else { String::new() };
        strike(&task);
        let mut answer = Processed { output: passed(&records), changes: Vec::new() };
        distort(&task, &mut answer, &records);
        Ok(answer)
    }
}

/// Turns of a call that is slow: a third of a second on a fast machine, one on another.
const SLOW: u64 = 2_000_000_000;

fn forever() -> ! {
    loop {
        black_box(());
    }
}

/// What is done before the answer.
fn strike(task: &str) {
    match task {
        "loop" => forever(),
        "slow" => (0..SLOW).for_each(|turn| {
            black_box(turn);
        }),
        "sleep" => loop {
            std::thread::sleep(Duration::from_secs(3600));
        },
        "memory" => {
            let mut all: Vec<Vec<u8>> = Vec::new();
            loop {
                all.push(black_box(vec![1; 1 << 20]));
            }
        }
        "stack" => {
            black_box(deeper(black_box(0)));
        }
        "trap" => std::process::abort(),
        "flood-log" => (0..100_000).for_each(|i| log::write(log::Level::Warn, &format!("flood {i}"))),
        "flood-histogram" => loop {
            metrics::observe(0, &[1.0; 4096]);
        },
        "flood-counter" => (0..1_000_000).for_each(|_| metrics::add(0, 1)),
        "unknown-counter" => metrics::add(9, 1),
        "flood-map" => (0..u64::MAX).for_each(|i| {
            let key = column(&[i.to_le_bytes().to_vec()]);
            map_state::put(0, &[0], &key, &column(&[vec![1; 1000]]));
        }),
        "large-read" => {
            let (key, value) = (column(&[b"k".to_vec()]), column(&[vec![1; 1 << 20]]));
            map_state::put(0, &[0], &key, &value);
            map_state::get(0, &[0; 1000], &column(&vec![b"k".to_vec(); 1000]));
        }
        "unknown-map" => {
            map_state::get(7, &[0], &column(&[b"k".to_vec()]));
        }
        "unknown-group" => {
            map_state::get(0, &[100_000], &column(&[b"k".to_vec()]));
        }
        "falling-map-keys" => {
            let keys = Column { offsets: vec![0, 5, 2], data: vec![0; 2], validity: vec![] };
            map_state::get(0, &[0, 0], &keys);
        }
        "declare-late" => {
            declare::port("late");
        }
        _ => {}
    }
}

#[expect(unconditional_recursion, reason = "the stack is to be used up")]
fn deeper(depth: u64) -> u64 {
    black_box([depth; 16]);
    deeper(depth + 1) + 1
}

/// The answer of a good function: each record as it came.
fn passed(records: &KeyedBatch) -> Output {
    Output {
        parents: (0..).take(records.timestamps.len()).collect(),
        ports: Vec::new(),
        keys: None,
        values: None,
        timestamps: None,
        headers: None,
        rejects: Vec::new(),
    }
}

fn column(entries: &[Vec<u8>]) -> Column {
    let mut column = Column { offsets: vec![0], data: Vec::new(), validity: Vec::new() };
    for entry in entries {
        column.data.extend_from_slice(entry);
        column.offsets.push(column.data.len() as u32);
    }
    column
}

/// A column of as many entries as there are output records.
fn values(answer: &Processed) -> Column {
    column(&vec![b"ab".to_vec(); answer.output.parents.len()])
}

/// What is wrong with the answer.
fn distort(task: &str, answer: &mut Processed, records: &KeyedBatch) {
    let groups = records.keys.offsets.len() as u32 - 1;
    let change = |state, groups: Vec<u32>| StateChange { state, values: column(&vec![b"v".to_vec(); groups.len()]), groups };
    let broken = |break_it: fn(&mut Column)| {
        let mut column = values(answer);
        break_it(&mut column);
        Some(column)
    };
    match task {
        "falling-offsets" => answer.output.values = broken(|column| column.offsets.insert(1, 9)),
        "offsets-fall" => {
            answer.output.values = broken(|column| {
                column.data.extend([0; 8]);
                if let Some(last) = column.offsets.last_mut() {
                    *last = 0;
                }
                if let Some(first) = column.offsets.first_mut() {
                    *first = 7;
                }
            });
        }
        "beyond-data" => answer.output.values = broken(|column| column.data.clear()),
        "short-validity" => answer.output.keys = broken(|column| column.validity = vec![0; 1000]),
        "positions" => answer.output.parents.iter_mut().for_each(|parent| *parent += 1_000_000),
        "ports" => answer.output.ports = vec![3; answer.output.parents.len()],
        "times" => answer.output.timestamps = Some(vec![]),
        "headers" => {
            let names = Column { offsets: vec![0, 1], data: vec![0xff], validity: vec![] };
            let mut offsets = vec![1; answer.output.parents.len() + 1];
            offsets.iter_mut().take(1).for_each(|first| *first = 0);
            answer.output.headers = Some(Headers { offsets, names, values: column(&[vec![]]) });
        }
        "groups" => answer.changes = vec![change(0, vec![groups])],
        "state-twice" => answer.changes = vec![change(0, vec![0]), change(0, vec![0])],
        "group-twice" => answer.changes = vec![change(0, vec![0, 0])],
        "unknown-state" => answer.changes = vec![change(5, vec![0])],
        "flood-records" => answer.output.parents = vec![0; 500_000],
        "flood-bytes" => answer.output.values = Some(column(&vec![vec![1; 8 << 20]; answer.output.parents.len()])),
        _ => {}
    }
}
