//! The decoder of what guests answer, against a million broken answers: what it accepts is what a naive decoder reads row
//! by row, and what it refuses it names by column and place.

use super::super::wit::{RawColumn, StateChange};
use super::*;
use crate::record::{Origin, RowRef};
use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, TestRunner},
};
use std::{cell::Cell, time::Duration};

const CASES: u32 = 1_000_000;
/// Most records of an input and of an output.
const ROWS: usize = 5;
/// Ports, the main one included.
const PORTS: usize = 3;
/// Keys of a batch, and declared states.
const KEYS: usize = 4;
const STATES: usize = 2;

type Bytes = Option<Vec<u8>>;

/// A record as the naive decoder reads it.
#[derive(Debug, PartialEq)]
struct Row {
    key: Bytes,
    value: Bytes,
    timestamp: i64,
    origin: Origin,
    headers: Vec<(Vec<u8>, Bytes)>,
}

/// One thing that goes wrong. Numbers are taken modulo what there is, or as they are.
#[derive(Clone, Debug)]
enum Mutation {
    /// A number of one of the lists of numbers becomes another.
    Number { list: u8, at: u8, to: u32 },
    /// A list loses its last entry, or gets one more.
    Length { list: u8, longer: bool },
    /// A bit of a bitmap or of data changes.
    Bit { buffer: u8, at: u8 },
    /// A buffer loses its last byte, or gets one more.
    Bytes { buffer: u8, longer: bool },
    /// A reject is added.
    Reject(u32),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let near = prop_oneof![0..8u32, any::<u32>()];
    prop_oneof![
        (0..8u8, any::<u8>(), near.clone()).prop_map(|(list, at, to)| Mutation::Number { list, at, to }),
        (0..8u8, any::<bool>()).prop_map(|(list, longer)| Mutation::Length { list, longer }),
        (0..8u8, any::<u8>()).prop_map(|(buffer, at)| Mutation::Bit { buffer, at }),
        (0..8u8, any::<bool>()).prop_map(|(buffer, longer)| Mutation::Bytes { buffer, longer }),
        near.prop_map(Mutation::Reject),
    ]
}

fn bytes() -> impl Strategy<Value = Bytes> {
    proptest::option::of(vec(b'a'..b'e', 0..3))
}

fn column_of(rows: &[Bytes]) -> RawColumn {
    let mut column = RawColumn { offsets: vec![0], data: vec![], validity: vec![] };
    if rows.iter().any(Option::is_none) {
        column.validity = vec![0; rows.len().div_ceil(8)];
        rows.iter().enumerate().filter(|(_, row)| row.is_some()).for_each(|(i, _)| column.validity[i / 8] |= 1 << (i % 8));
    }
    for row in rows {
        column.data.extend(row.iter().flatten());
        column.offsets.push(column.data.len() as u32);
    }
    column
}

fn headers_of(rows: &[Vec<(Vec<u8>, Bytes)>]) -> RawHeaders {
    let mut offsets = vec![0];
    offsets.extend(rows.iter().scan(0, |end, row| {
        *end += row.len() as u32;
        Some(*end)
    }));
    let (names, values): (Vec<_>, Vec<_>) = rows.iter().flatten().cloned().map(|(name, value)| (Some(name), value)).unzip();
    RawHeaders { offsets, names: column_of(&names), values: column_of(&values) }
}

fn input() -> impl Strategy<Value = Batch> {
    vec((bytes(), bytes(), any::<bool>()), 1..=ROWS).prop_map(|rows| {
        let mut batch = Batch::default();
        for (i, (key, value, header)) in rows.iter().enumerate() {
            let origin = Origin { split: 1, offset: i as i64 };
            let row = RowRef { key: key.as_deref(), value: value.as_deref(), timestamp: 100 + i as i64, origin };
            batch.push_with_headers(row, header.then_some((&b"h"[..], Some(&b"v"[..]))).into_iter());
        }
        batch
    })
}

/// A valid answer to a batch of so many records.
fn answer(records: usize) -> impl Strategy<Value = RawOutput> {
    let headers = vec((vec(b'a'..b'e', 0..3), bytes()), 0..3);
    let row = (0..records as u32, 0..PORTS as u8, bytes(), bytes(), any::<i64>(), headers);
    (vec(row, 0..=ROWS), any::<[bool; 5]>(), proptest::option::of(0..records as u32)).prop_map(|(rows, given, reject)| RawOutput {
        parents: rows.iter().map(|row| row.0).collect(),
        ports: if given[0] { rows.iter().map(|row| row.1).collect() } else { vec![] },
        keys: given[1].then(|| column_of(&rows.iter().map(|row| row.2.clone()).collect::<Vec<_>>())),
        values: given[2].then(|| column_of(&rows.iter().map(|row| row.3.clone()).collect::<Vec<_>>())),
        timestamps: given[3].then(|| rows.iter().map(|row| row.4).collect()),
        headers: given[4].then(|| headers_of(&rows.iter().map(|row| row.5.clone()).collect::<Vec<_>>())),
        rejects: reject.map(|position| Reject { position, reason: "no".into() }).into_iter().collect(),
    })
}

/// The lists of numbers of an answer that a mutation can hit.
fn lists(raw: &mut RawOutput) -> Vec<&mut Vec<u32>> {
    let columns = raw.keys.iter_mut().chain(&mut raw.values).map(|column| &mut column.offsets);
    let headers = raw.headers.iter_mut().flat_map(|h| [&mut h.offsets, &mut h.names.offsets, &mut h.values.offsets]);
    std::iter::once(&mut raw.parents).chain(columns).chain(headers).collect()
}

fn buffers(raw: &mut RawOutput) -> Vec<&mut Vec<u8>> {
    let headers = raw.headers.iter_mut().flat_map(|h| [&mut h.names, &mut h.values]);
    let columns = raw.keys.iter_mut().chain(&mut raw.values).chain(headers);
    std::iter::once(&mut raw.ports).chain(columns.flat_map(|column| [&mut column.data, &mut column.validity])).collect()
}

fn nth<T>(mut all: Vec<&mut T>, n: u8) -> &mut T {
    let at = usize::from(n) % all.len();
    all.swap_remove(at)
}

fn resize<T: Clone>(list: &mut Vec<T>, longer: bool, new: T) {
    if longer { list.push(new) } else { drop(list.pop()) }
}

fn mutate(raw: &mut RawOutput, mutation: &Mutation) {
    match *mutation {
        Mutation::Number { list, at, to } => {
            let list = nth(lists(raw), list);
            let at = usize::from(at) % list.len().max(1);
            list.iter_mut().skip(at).take(1).for_each(|number| *number = to);
        }
        Mutation::Length { list, longer } => match &mut raw.timestamps {
            Some(timestamps) if list == 0 => resize(timestamps, longer, 0),
            _ => {
                let list = nth(lists(raw), list);
                let last = list.last().copied().unwrap_or(0);
                resize(list, longer, last);
            }
        },
        Mutation::Bit { buffer, at } => {
            let buffer = nth(buffers(raw), buffer);
            let byte = usize::from(at) / 8 % buffer.len().max(1);
            buffer.iter_mut().skip(byte).take(1).for_each(|byte| *byte ^= 1 << (at % 8));
        }
        Mutation::Bytes { buffer, longer } => resize(nth(buffers(raw), buffer), longer, 0),
        Mutation::Reject(position) => raw.rejects.push(Reject { position, reason: String::new() }),
    }
}

/// Entry `i` of a column of `rows` entries, by the interface's text; `None` if the column breaks it.
fn entries(column: &RawColumn, rows: usize) -> Option<Vec<Bytes>> {
    let RawColumn { offsets, data, validity } = column;
    let whole = offsets.len() == rows + 1 && offsets[0] == 0 && offsets[rows] as usize == data.len();
    if !whole || !(validity.is_empty() || validity.len() == rows.div_ceil(8)) {
        return None;
    }
    let entry = |i: usize| {
        let bytes = data.get(offsets[i] as usize..offsets[i + 1] as usize)?;
        let present = validity.is_empty() || validity[i / 8] & (1 << (i % 8)) != 0;
        (present || bytes.is_empty()).then(|| present.then(|| bytes.to_vec()))
    };
    (0..rows).map(entry).collect()
}

fn headers_by_row(raw: &RawHeaders, rows: usize) -> Option<Vec<Vec<(Vec<u8>, Bytes)>>> {
    if raw.offsets.len() != rows + 1 || raw.offsets[0] != 0 {
        return None;
    }
    let count = raw.offsets[rows] as usize;
    if raw.names.offsets.len() != count + 1 {
        return None;
    }
    let (names, values) = (entries(&raw.names, count)?, entries(&raw.values, count)?);
    let all: Option<Vec<_>> = names.into_iter().zip(values).map(|(name, value)| Some((name?, value))).collect();
    let all = all.filter(|all| all.iter().all(|(name, _)| String::from_utf8(name.clone()).is_ok()))?;
    (0..rows).map(|i| Some(all.get(raw.offsets[i] as usize..raw.offsets[i + 1] as usize)?.to_vec())).collect()
}

/// What an answer says, port by port; `None` if it breaks the interface.
fn naive(raw: &RawOutput, input: &Batch) -> Option<Vec<Vec<Row>>> {
    let rows = raw.parents.len();
    let keys = raw.keys.as_ref().map(|c| entries(c, rows).ok_or(())).transpose().ok()?;
    let values = raw.values.as_ref().map(|c| entries(c, rows).ok_or(())).transpose().ok()?;
    let headers = raw.headers.as_ref().map(|h| headers_by_row(h, rows).ok_or(())).transpose().ok()?;
    let fits = (raw.ports.is_empty() || raw.ports.len() == rows) && raw.timestamps.as_ref().is_none_or(|t| t.len() == rows);
    let mut rejected: Vec<u32> = raw.rejects.iter().map(|reject| reject.position).collect();
    rejected.sort_unstable();
    let once = rejected.windows(2).all(|pair| pair[0] != pair[1]) && rejected.iter().all(|p| (*p as usize) < input.len());
    if !fits || !once || rows > limits().output_records {
        return None;
    }
    let mut ports: Vec<Vec<Row>> = (0..PORTS).map(|_| vec![]).collect();
    for (i, parent) in raw.parents.iter().map(|parent| *parent as usize).enumerate() {
        if parent >= input.len() {
            return None;
        }
        let of_input = read(input, parent);
        let row = Row {
            key: keys.as_ref().map_or(of_input.key, |keys| keys[i].clone()),
            value: values.as_ref().map_or(of_input.value, |values| values[i].clone()),
            timestamp: raw.timestamps.as_ref().map_or(of_input.timestamp, |timestamps| timestamps[i]),
            origin: of_input.origin,
            headers: headers.as_ref().map_or(of_input.headers, |headers| headers[i].clone()),
        };
        ports.get_mut(usize::from(raw.ports.get(i).copied().unwrap_or(0)))?.push(row);
    }
    Some(ports)
}

fn read(batch: &Batch, i: usize) -> Row {
    let row = batch.row(i);
    let headers = batch.row_headers(i).map(|(name, value)| (name.to_vec(), value.map(<[u8]>::to_vec))).collect();
    Row { key: row.key.map(<[u8]>::to_vec), value: row.value.map(<[u8]>::to_vec), timestamp: row.timestamp, origin: row.origin, headers }
}

fn limits() -> Limits {
    Limits { memory: 1 << 20, fuel: 1, deadline: Duration::from_secs(1), output_bytes: 1 << 20, output_records: ROWS }
}

/// A refusal names a column, or what there is too much of, and a place or number in it.
fn assert_names_its_reason(error: &CallError, names: &[&str]) {
    let text = error.to_string();
    let reason = text.strip_prefix("returned malformed output: ").expect("a malformed answer");
    assert!(names.iter().any(|name| reason.contains(name)) && reason.bytes().any(|b| b.is_ascii_digit()), "{text}");
}

/// Runs a million cases and sees to it that the mutations neither break nor spare nearly all of them.
fn run<S: Strategy>(strategy: &S, accepts: impl Fn(S::Value) -> bool) {
    let mut runner = TestRunner::new(Config { cases: CASES, failure_persistence: None, ..Config::default() });
    let accepted = Cell::new(0u32);
    runner
        .run(strategy, |case| {
            accepted.set(accepted.get() + u32::from(accepts(case)));
            Ok(())
        })
        .unwrap();
    let share = f64::from(accepted.get()) / f64::from(CASES);
    assert!((0.05..0.95).contains(&share), "{share} of the cases were accepted");
}

#[test]
fn an_accepted_answer_is_what_a_naive_decoder_reads_and_a_refused_one_is_named_by_column_and_place() {
    const COLUMNS: [&str; 8] = ["parents", "ports", "keys", "values", "timestamps", "headers", "rejects", "output records"];
    let cases = input().prop_flat_map(|input| {
        let answer = answer(input.len());
        (Just(input), answer, vec(mutation(), 1..4))
    });
    run(&cases, |(input, mut raw, mutations)| {
        mutations.iter().for_each(|mutation| mutate(&mut raw, mutation));
        let mut ports = vec![Batch::default(); PORTS];
        match (assemble(raw.clone(), &input, &limits(), &[], &mut ports), naive(&raw, &input)) {
            (Ok(rejects), Some(expected)) => {
                let rows: Vec<Vec<Row>> = ports.iter().map(|batch| (0..batch.len()).map(|i| read(batch, i)).collect()).collect();
                assert_eq!(rows, expected);
                assert_eq!(rejects.len(), raw.rejects.len());
                true
            }
            (Err(error), None) => {
                assert_names_its_reason(&error, &COLUMNS);
                false
            }
            (got, expected) => panic!("{raw:?} of {} records: {got:?}, naively {expected:?}", input.len()),
        }
    });
}

#[test]
fn accepted_changes_of_state_are_what_a_naive_decoder_reads_and_refused_ones_are_named_by_state_and_place() {
    let groups = vec(0..KEYS as u32 + 1, 0..=KEYS);
    let shape = (0..STATES as u32 + 1, groups, vec(bytes(), KEYS), 0..6u8, any::<u8>());
    let seen = Cell::new(Vec::new());
    run(&shape, |(state, groups, values, broken, at)| {
        let mut change = StateChange { state, values: column_of(&values[..groups.len()]), groups };
        match broken {
            0 => resize(&mut change.values.offsets, at % 2 == 0, 0),
            1 => resize(&mut change.values.data, at % 2 == 0, 0),
            2 => resize(&mut change.values.validity, at % 2 == 0, 0),
            3 => change.values.validity.iter_mut().for_each(|byte| *byte ^= at),
            _ => {}
        }
        let mut once = change.groups.clone();
        once.sort_unstable();
        once.dedup();
        let valid = (state as usize) < STATES && once.len() == change.groups.len() && once.iter().all(|group| (*group as usize) < KEYS);
        let expected = entries(&change.values, change.groups.len()).filter(|_| valid);
        let mut marks = seen.take();
        let got = check_change(change.clone(), STATES, KEYS, &mut marks);
        seen.set(marks);
        match (got, expected) {
            (Ok((number, groups, values)), Some(expected)) => {
                assert_eq!((number, &groups), (state as usize, &change.groups));
                let read: Vec<Bytes> = (0..groups.len()).map(|i| values.get(i).map(<[u8]>::to_vec)).collect();
                assert_eq!(read, expected);
                true
            }
            (Err(error), None) => {
                assert_names_its_reason(&error, &["state"]);
                false
            }
            (got, expected) => panic!("{change:?}: {got:?}, naively {expected:?}"),
        }
    });
}
