//! Calls of a process function: records grouped by key, with the state of each key as columns.

use super::Shared;
use crate::{
    clock,
    operator::{self, CallError, Grouped, Instance, Processed, Reject},
    record::{Batch, Column, shard_for},
    state,
};
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

/// Per state changed its id, the groups and their new values; and the rejects.
type Checked = (Vec<(usize, Vec<u32>, Column)>, Vec<Reject>);

/// What keyed calls of one operator on one worker use again and again.
pub(super) struct Keyed {
    hasher: RandomState,
    table: HashTable<u32>,
    grouped: Grouped,
    /// Per value state: its values for the keys of the batch, and where the state keeps them.
    values: Vec<Column>,
    slots: Vec<state::Slots>,
    seen: Vec<bool>,
}

impl Keyed {
    pub fn new(value_states: usize) -> Self {
        Self {
            hasher: RandomState::default(),
            table: HashTable::new(),
            grouped: Grouped::default(),
            values: vec![Column::new(); value_states],
            slots: (0..value_states).map(|_| state::Slots::default()).collect(),
            seen: Vec::new(),
        }
    }

    /// One call. Nothing has changed after an error; after success the state holds what the guest put and `ports` what
    /// it emitted.
    pub fn call(
        &mut self,
        instance: &mut Instance,
        state: &mut Option<Box<state::Store>>,
        shared: &Shared,
        input: u32,
        batch: &Batch,
        (readers, ports): (&[operator::Readers], &mut [Batch]),
    ) -> Result<Vec<Reject>, CallError> {
        self.group(batch, shared.plan.shards);
        self.load(instance, state, shared, batch.len())?;
        let answer = instance.process(input, batch, &self.grouped, &self.values, state, clock::now_ms())?;
        let checked = self.check(answer, instance, batch, readers, ports);
        let Some(store) = state else { return Err(CallError::Fatal("the worker's state is missing".into())) };
        let (changes, rejects) = checked.inspect_err(|_| store.drop_call())?;
        store.commit_call()?;
        for (state_id, groups, values) in changes {
            if let Some(slots) = self.slots.get(state_id) {
                let id = instance.numbers().of(position_of(instance, state_id));
                store.apply_values(id, &self.grouped.keys, &self.grouped.shards, slots, &groups, &values)?;
            }
        }
        Ok(rejects)
    }

    /// Checks the whole answer before any of it is kept.
    fn check(
        &mut self,
        answer: Processed,
        instance: &Instance,
        batch: &Batch,
        readers: &[operator::Readers],
        ports: &mut [Batch],
    ) -> Result<Checked, CallError> {
        let mut changes: Vec<(usize, Vec<u32>, Column)> = Vec::with_capacity(answer.changes.len());
        for change in answer.changes {
            let change = operator::check_change(change, self.values.len(), self.grouped.keys.len(), &mut self.seen)?;
            if changes.iter().any(|(state, ..)| *state == change.0) {
                return Err(CallError::Malformed(format!("changes: state {} stands there twice", change.0)));
            }
            changes.push(change);
        }
        let rejects = operator::assemble(answer.output, batch, instance.loaded().limits(), readers, ports)?;
        Ok((changes, rejects))
    }

    /// Numbers the distinct keys by first appearance.
    fn group(&mut self, batch: &Batch, shards: u16) {
        let Grouped { groups, keys, shards: of_keys } = &mut self.grouped;
        groups.clear();
        keys.clear();
        of_keys.clear();
        self.table.clear();
        for i in 0..batch.len() {
            let key = batch.keys().bytes(i);
            let hash = self.hasher.hash_one(key);
            let found = self.table.find(hash, |g| keys.bytes(*g as usize) == key).copied();
            let group = found.unwrap_or_else(|| {
                let group = keys.len() as u32;
                keys.push_bytes(key);
                of_keys.push(shard_for(key, shards));
                self.table.insert_unique(hash, group, |g| self.hasher.hash_one(keys.bytes(*g as usize)));
                group
            });
            groups.push(group);
        }
    }

    /// Looks up the value states of every distinct key, before the call.
    fn load(
        &mut self,
        instance: &Instance,
        state: &mut Option<Box<state::Store>>,
        shared: &Shared,
        records: usize,
    ) -> Result<(), CallError> {
        let Some(store) = state else { return Err(CallError::Fatal("the worker's state is missing".into())) };
        let mut bytes = 0;
        let declared = instance.loaded().declared().value_states();
        for ((position, _), (values, slots)) in declared.zip(self.values.iter_mut().zip(&mut self.slots)) {
            values.clear();
            store.load_values(instance.numbers().of(position), &self.grouped.keys, &self.grouped.shards, values, slots)?;
            bytes += values.data_len();
        }
        if bytes > shared.settings.state_batch_bytes && records > 1 {
            return Err(CallError::TooMuchState(bytes));
        }
        Ok(())
    }
}

/// Where the value state with the given id stands among all declared states.
fn position_of(instance: &Instance, value_state: usize) -> usize {
    instance.loaded().declared().value_states().nth(value_state).map_or(usize::MAX, |(position, _)| position)
}
