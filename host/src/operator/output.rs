//! A guest's answer: checked once, then trusted; and turned into batches, one per port.

#![expect(clippy::indexing_slicing, reason = "every position is checked against the input before it is used")]

use super::{
    component::Limits,
    fault::CallError,
    wit::{RawHeaders, RawOutput, Reject},
};
use crate::{
    record::{Batch, Column, Headers, LayoutError},
    sink::Topics,
};
use std::sync::Arc;

/// The Kafka sinks that read a port.
pub type Readers = Vec<Arc<Topics>>;

fn malformed(text: String) -> CallError {
    CallError::Malformed(text)
}

fn column(name: &str, result: Result<Column, LayoutError>) -> Result<Column, CallError> {
    result.map_err(|e| malformed(format!("{name}: {e}")))
}

/// Checks `raw` against its input and writes its records into `ports` (index = port, cleared first), in the order given.
/// Hands back the rejects.
///
/// `readers` are those of each port; ports without an entry take all.
///
/// # Errors
/// [`CallError::Malformed`] naming the column and the index that break a rule; [`CallError::Rejected`] for the input of an
/// output that its port's readers do not take.
pub fn assemble(
    raw: RawOutput,
    input: &Batch,
    limits: &Limits,
    readers: &[Readers],
    ports: &mut [Batch],
) -> Result<Vec<Reject>, CallError> {
    let rows = raw.parents.len();
    check(&raw, input, limits, ports.len())?;
    let keys = raw.keys.map(|c| column("keys", c.check(rows))).transpose()?;
    let values = raw.values.map(|c| column("values", c.check(rows))).transpose()?;
    let headers = raw.headers.map(|h| checked_headers(h, rows)).transpose()?;

    let mut all = match ports.first_mut() {
        Some(main) => std::mem::take(main),
        None => Batch::default(),
    };
    all.clear();
    let parents = &raw.parents;
    let identity = rows == input.len() && parents.iter().enumerate().all(|(i, p)| i == *p as usize);
    match keys {
        Some(keys) => all.keys = keys,
        None if identity => all.keys.extend_range(&input.keys, 0..rows),
        None => all.keys.gather(&input.keys, parents),
    }
    match values {
        Some(values) => all.values = values,
        None if identity => all.values.extend_range(&input.values, 0..rows),
        None => all.values.gather(&input.values, parents),
    }
    match raw.timestamps {
        Some(timestamps) => all.timestamps = timestamps,
        None if identity => all.timestamps.extend_from_slice(&input.timestamps),
        None => all.timestamps.extend(parents.iter().map(|p| input.timestamps[*p as usize])),
    }
    all.headers = headers.or_else(|| {
        input.headers.as_ref().map(|from| {
            let mut gathered = Headers::default();
            gathered.gather(Some(from), parents.iter().map(|p| *p as usize));
            gathered
        })
    });
    all.gather_origins(input, parents);
    fits(&all, parents, &raw.ports, readers)?;
    distribute(all, &raw.ports, ports);
    Ok(raw.rejects)
}

fn check(raw: &RawOutput, input: &Batch, limits: &Limits, ports: usize) -> Result<(), CallError> {
    let rows = raw.parents.len();
    if rows > limits.output_records {
        return Err(malformed(format!("{rows} output records for one call; the limit is {}", limits.output_records)));
    }
    let inside = |p: u32| (p as usize) < input.len();
    if !raw.parents.iter().fold(true, |ok, p| ok & inside(*p)) {
        let index = raw.parents.iter().position(|p| !inside(*p)).unwrap_or(0);
        return Err(malformed(format!("parents[{index}] is {}, the batch has {} records", raw.parents[index], input.len())));
    }
    if !raw.ports.is_empty() {
        if raw.ports.len() != rows {
            return Err(malformed(format!("ports has {} entries for {rows} output records", raw.ports.len())));
        }
        if let Some(index) = raw.ports.iter().position(|p| usize::from(*p) >= ports) {
            return Err(malformed(format!("ports[{index}] is {}, but {} ports are declared", raw.ports[index], ports.saturating_sub(1))));
        }
    }
    if let Some(timestamps) = &raw.timestamps
        && timestamps.len() != rows
    {
        return Err(malformed(format!("timestamps has {} entries for {rows} output records", timestamps.len())));
    }
    let mut rejected = std::collections::HashSet::with_capacity(raw.rejects.len());
    for (index, Reject { position, .. }) in raw.rejects.iter().enumerate() {
        if !inside(*position) {
            return Err(malformed(format!("rejects[{index}] names position {position}, the batch has {} records", input.len())));
        }
        if !rejected.insert(*position) {
            return Err(malformed(format!("rejects[{index}] names position {position} again")));
        }
    }
    Ok(())
}

/// Whether what reads its port takes each output. One that it does not take is its input's fault, so all of that is undone.
fn fits(all: &Batch, parents: &[u32], ports: &[u8], readers: &[Readers]) -> Result<(), CallError> {
    // Every record is smaller than all of them together.
    let total = all.data_len() + all.headers.as_ref().map_or(0, Headers::data_len);
    if readers.iter().flatten().all(|topics| !topics.are_chosen() && total <= topics.least_bytes()) {
        return Ok(());
    }
    let mut scratch = Vec::new();
    for (i, parent) in parents.iter().enumerate() {
        let headers: usize = all.row_headers(i).map(|(name, value)| name.len() + value.map_or(0, <[u8]>::len)).sum();
        let bytes = all.keys.bytes(i).len() + all.values.bytes(i).len() + headers;
        for topics in readers.get(usize::from(ports.get(i).copied().unwrap_or(0))).into_iter().flatten() {
            let taken = topics.check(all, i, bytes, &mut scratch);
            taken.map_err(|reason| CallError::Rejected(Reject { position: *parent, reason }))?;
        }
    }
    Ok(())
}

fn checked_headers(raw: RawHeaders, rows: usize) -> Result<Headers, CallError> {
    if raw.offsets.len() != rows + 1 {
        return Err(malformed(format!("headers.offsets has {} entries, {} are needed", raw.offsets.len(), rows + 1)));
    }
    let entries = raw.offsets.last().map_or(0, |l| *l as usize);
    let names = column("headers.names", raw.names.check(entries))?;
    let values = column("headers.values", raw.values.check(entries))?;
    Headers::from_parts(raw.offsets, names, values).map_err(|e| malformed(format!("headers: {e}")))
}

fn distribute(all: Batch, ports: &[u8], into: &mut [Batch]) {
    let side = into.len() > 1 && ports.iter().any(|p| *p != 0);
    if let Some((main, sides)) = into.split_first_mut() {
        sides.iter_mut().for_each(Batch::clear);
        if !side {
            *main = all;
            return;
        }
        main.clear();
    }
    for (i, port) in ports.iter().enumerate() {
        into[usize::from(*port)].push_from(&all, i);
    }
}

/// Checks the groups and the layout of one state's changes.
///
/// # Errors
/// [`CallError::Malformed`] naming the state and the index that break a rule.
pub fn check_change(
    change: super::wit::StateChange,
    states: usize,
    keys: usize,
    seen: &mut Vec<bool>,
) -> Result<(usize, Vec<u32>, Column), CallError> {
    let state = change.state as usize;
    if state >= states {
        return Err(malformed(format!("changes: state {state} was not declared ({states} value states are)")));
    }
    let values = column(&format!("changes of state {state}"), change.values.check(change.groups.len()))?;
    seen.clear();
    seen.resize(keys, false);
    for (index, group) in change.groups.iter().enumerate() {
        match seen.get_mut(*group as usize) {
            None => return Err(malformed(format!("changes of state {state}: groups[{index}] is {group}, the batch has {keys} keys"))),
            Some(true) => return Err(malformed(format!("changes of state {state}: group {group} is changed twice"))),
            Some(mark) => *mark = true,
        }
    }
    Ok((state, change.groups, values))
}

#[cfg(test)]
#[path = "output_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "output_mutations.rs"]
mod mutations;
