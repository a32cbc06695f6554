//! The imports, in memory.

use super::row::Row;
use crate::bindings::{Column, Headers};
use crate::column::{ColumnBuilder, position};
use crate::host::{Entries, Host, Level, MapHost, Origins};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Bound;

/// (state, the record's key, the map's key) to the value.
type Maps = BTreeMap<(u32, Vec<u8>, Vec<u8>), Vec<u8>>;

#[derive(Default)]
pub(super) struct Memory {
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    inputs: u32,
    ports: Vec<String>,
    value_states: u32,
    map_states: u32,
    counters: Vec<(String, u64)>,
    gauges: Vec<(String, Option<f64>)>,
    histograms: Vec<(String, Vec<f64>)>,
    log: Vec<(Level, String)>,
    watermark: Option<i64>,
    processing_time: i64,
    rows: Vec<Row>,
    keys: Vec<Vec<u8>>,
    /// What the running call sees.
    maps: Maps,
    /// As of the last call that went well.
    committed: Maps,
}

impl Memory {
    pub(super) fn begin(&self, rows: &[Row], keys: Vec<Vec<u8>>) {
        let mut state = self.state.borrow_mut();
        state.rows = rows.to_vec();
        state.keys = keys;
        state.maps = state.committed.clone();
    }

    pub(super) fn commit(&self) {
        let mut state = self.state.borrow_mut();
        state.committed = state.maps.clone();
    }

    pub(super) fn set_watermark(&self, watermark: i64) {
        self.state.borrow_mut().watermark = Some(watermark);
    }

    pub(super) fn set_processing_time(&self, milliseconds: i64) {
        self.state.borrow_mut().processing_time = milliseconds;
    }

    pub(super) fn ports(&self) -> Vec<String> {
        self.state.borrow().ports.clone()
    }

    pub(super) fn value_states(&self) -> usize {
        self.state.borrow().value_states as usize
    }

    pub(super) fn counter(&self, name: &str) -> u64 {
        find(&self.state.borrow().counters, name).unwrap_or_default()
    }

    pub(super) fn gauge(&self, name: &str) -> Option<f64> {
        find(&self.state.borrow().gauges, name).flatten()
    }

    pub(super) fn histogram(&self, name: &str) -> Vec<f64> {
        find(&self.state.borrow().histograms, name).unwrap_or_default()
    }

    pub(super) fn log_lines(&self) -> Vec<(Level, String)> {
        self.state.borrow().log.clone()
    }

    pub(super) fn map(&self, id: u32, key: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let state = self.state.borrow();
        let entries = state.committed.iter().filter(|((state, owner, _), _)| *state == id && owner == key);
        entries.map(|((_, _, key), value)| (key.clone(), value.clone())).collect()
    }
}

fn find<T: Clone>(metrics: &[(String, T)], name: &str) -> Option<T> {
    metrics.iter().find(|(metric, _)| metric == name).map(|(_, value)| value.clone())
}

/// Adds a metric and returns its number.
fn declare<T: Default>(metrics: &mut Vec<(String, T)>, name: &str) -> u32 {
    metrics.push((name.to_owned(), T::default()));
    position(metrics.len() - 1)
}

/// Returns the next number.
fn count(counter: &mut u32) -> u32 {
    *counter += 1;
    *counter - 1
}

impl Host for Memory {
    fn declare_input(&self, _name: &str) -> u32 {
        count(&mut self.state.borrow_mut().inputs)
    }

    fn declare_port(&self, name: &str) -> u8 {
        let ports = &mut self.state.borrow_mut().ports;
        ports.push(name.to_owned());
        u8::try_from(ports.len()).unwrap_or(u8::MAX)
    }

    fn declare_value_state(&self, _name: &str, _version: u32) -> u32 {
        count(&mut self.state.borrow_mut().value_states)
    }

    fn declare_map_state(&self, _name: &str, _version: u32) -> u32 {
        count(&mut self.state.borrow_mut().map_states)
    }

    fn declare_counter(&self, name: &str) -> u32 {
        declare(&mut self.state.borrow_mut().counters, name)
    }

    fn declare_gauge(&self, name: &str) -> u32 {
        declare(&mut self.state.borrow_mut().gauges, name)
    }

    fn declare_histogram(&self, name: &str, _bounds: &[f64]) -> u32 {
        declare(&mut self.state.borrow_mut().histograms, name)
    }

    fn watermark(&self) -> i64 {
        self.state.borrow().watermark.unwrap_or(i64::MIN)
    }

    fn processing_time(&self) -> i64 {
        self.state.borrow().processing_time
    }

    fn seed(&self) -> u64 {
        0
    }

    fn read_headers(&self) -> Option<Headers> {
        let state = self.state.borrow();
        if state.rows.iter().all(|row| row.headers.is_empty()) {
            return None;
        }
        let mut offsets = vec![0];
        let (mut names, mut values) = (ColumnBuilder::default(), ColumnBuilder::default());
        for row in &state.rows {
            for (name, value) in &row.headers {
                names.push(Some(name.as_bytes()));
                values.push(value.as_deref());
            }
            offsets.push(position(names.len()));
        }
        Some(Headers { offsets, names: names.finish(), values: values.finish() })
    }

    fn read_origins(&self) -> Origins {
        let rows = self.state.borrow().rows.len();
        Origins { names: vec!["test".to_owned()], topics: vec![0; rows], partitions: vec![0; rows], offsets: (0..).take(rows).collect() }
    }

    fn add(&self, counter: u32, delta: u64) {
        if let Some((_, sum)) = self.state.borrow_mut().counters.get_mut(counter as usize) {
            *sum += delta;
        }
    }

    fn set(&self, gauge: u32, value: f64) {
        if let Some((_, last)) = self.state.borrow_mut().gauges.get_mut(gauge as usize) {
            *last = Some(value);
        }
    }

    fn observe(&self, histogram: u32, values: &[f64]) {
        if let Some((_, all)) = self.state.borrow_mut().histograms.get_mut(histogram as usize) {
            all.extend_from_slice(values);
        }
    }

    fn log(&self, level: Level, message: &str) {
        self.state.borrow_mut().log.push((level, message.to_owned()));
    }
}

impl State {
    fn key(&self, group: u32) -> Vec<u8> {
        self.keys.get(group as usize).cloned().unwrap_or_default()
    }
}

impl MapHost for Memory {
    fn get(&self, id: u32, groups: &[u32], keys: &Column) -> Column {
        let state = self.state.borrow();
        let entries = groups.iter().zip(keys);
        let address = |group: &u32, key: Option<&[u8]>| (id, state.key(*group), key.unwrap_or_default().to_vec());
        entries.map(|(group, key)| state.maps.get(&address(group, key)).map(Vec::as_slice)).collect()
    }

    fn put(&self, id: u32, groups: &[u32], keys: &Column, values: &Column) {
        let mut state = self.state.borrow_mut();
        for ((group, key), value) in groups.iter().zip(keys).zip(values) {
            let address = (id, state.key(*group), key.unwrap_or_default().to_vec());
            match value {
                Some(value) => state.maps.insert(address, value.to_vec()),
                None => state.maps.remove(&address),
            };
        }
    }

    fn scan(&self, id: u32, groups: &[u32], after: &Column, limit: u32) -> Entries {
        let state = self.state.borrow();
        let mut offsets = vec![0];
        let (mut keys, mut values) = (ColumnBuilder::default(), ColumnBuilder::default());
        for (group, after) in groups.iter().zip(after) {
            let owner = state.key(*group);
            let start = match after {
                Some(after) => Bound::Excluded((id, owner.clone(), after.to_vec())),
                None => Bound::Included((id, owner.clone(), Vec::new())),
            };
            let behind = state.maps.range((start, Bound::Unbounded));
            let of_group = behind.take_while(|((state, key, _), _)| *state == id && *key == owner);
            for ((_, _, key), value) in of_group.take(limit as usize) {
                keys.push(Some(key));
                values.push(Some(value));
            }
            offsets.push(position(keys.len()));
        }
        Entries { offsets, keys: keys.finish(), values: values.finish() }
    }

    fn clear(&self, id: u32, groups: &[u32]) {
        let mut state = self.state.borrow_mut();
        for group in groups {
            let owner = state.key(*group);
            state.maps.retain(|(state, key, _), _| *state != id || *key != owner);
        }
    }
}
