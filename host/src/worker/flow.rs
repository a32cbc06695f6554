//! A worker's copy of the dataflow: chained operators, keyed edges, sinks; and what happens to a record that fails.
//!
//! Records move by recursion from a source's batch down to the sinks; nothing is queued inside a worker. Each answered
//! call is passed on at once: abort is a restart from the last checkpoint, so nothing has to be taken back.

use super::{
    Error, Shared,
    key::{KeyBy, MAX_KEY},
    keyed::Keyed,
    output::Output,
    trace::Trace,
};
use crate::{
    clock,
    exchange::Outbox,
    operator::{self, CallError, Instance, Reject},
    plan::{FunctionKind, OnError, Target},
    record::{Batch, RowRef, json_field, shard_for},
    state,
};
use std::{ops::Range, sync::Arc, time::Duration};

/// First wait before a call that asked for a retry is repeated; it doubles up to [`RETRY_LAST`].
const RETRY_FIRST: Duration = Duration::from_millis(10);
/// Longest wait between two tries.
const RETRY_LAST: Duration = Duration::from_secs(1);
/// A call that asks for retries for longer than this ends the attempt.
const RETRY_FOR: Duration = Duration::from_secs(30);

/// An operator of one worker.
pub(super) struct Node {
    pub instance: Instance,
    /// How its input is keyed, and what it needs for keyed calls.
    pub keyed: Option<(KeyBy, Keyed)>,
    /// Where records for this operator go when there are several workers.
    pub outbox: Option<Outbox>,
    /// Answers of the last call, per port.
    ports: Vec<Batch>,
    /// Per port the Kafka sinks that read it.
    readers: Vec<operator::Readers>,
    /// Part of a batch that is too large for one call.
    piece: Batch,
    /// Records under a new key, on their way into this operator on the only worker.
    rekeyed: Batch,
}

impl Node {
    pub fn new(instance: Instance, keyed: Option<(KeyBy, Keyed)>, outbox: Option<Outbox>, readers: Vec<operator::Readers>) -> Self {
        let ports = vec![Batch::default(); instance.loaded().declared().ports.len() + 1];
        Self { instance, keyed, outbox, ports, readers, piece: Batch::default(), rekeyed: Batch::default() }
    }
}

/// The dataflow of one worker.
pub(super) struct Flow {
    pub shared: Arc<Shared>,
    pub nodes: Vec<Node>,
    pub output: Output,
    pub trace: Trace,
    /// The worker's state; it is away only while a call that uses map state runs.
    pub state: Option<Box<state::Store>>,
}

impl Flow {
    /// Sends a batch to everyone who reads it.
    pub fn route(&mut self, targets: &[Target], batch: &Batch) -> Result<(), Error> {
        for target in targets {
            match *target {
                Target::Sink(sink) => {
                    let entered = self.trace.sink(self.shared.plan.sinks.get(sink).map_or("", String::as_str), batch);
                    self.output.write(sink, batch)?;
                    self.trace.leave(entered);
                }
                Target::Operator { index, input } => self.enter(index, input, batch)?,
            }
        }
        Ok(())
    }

    fn enter(&mut self, index: usize, input: u32, batch: &Batch) -> Result<(), Error> {
        let Some(node) = self.nodes.get(index) else { return Ok(()) };
        let Some((key, _)) = &node.keyed else { return self.run(index, input, batch) };
        let as_they_come = matches!(key, KeyBy::Record) && !batch.keys().has_nulls() && keys_fit(batch);
        if node.outbox.is_none() && as_they_come {
            return self.run(index, input, batch);
        }
        self.shuffle(index, input, batch)
    }

    /// Gives each record its key and sends it to the worker that owns the key's shard.
    fn shuffle(&mut self, index: usize, input: u32, batch: &Batch) -> Result<(), Error> {
        let (shards, workers) = (self.shared.plan.shards, self.shared.workers);
        let mut bad: Vec<(usize, String)> = Vec::new();
        let mut field = Vec::new();
        let Some(node) = self.nodes.get_mut(index) else { return Ok(()) };
        let Node { keyed: Some((by, _)), outbox, rekeyed, .. } = node else { return Ok(()) };
        rekeyed.clear();
        for i in 0..batch.len() {
            let row = batch.row(i);
            let key = match by {
                KeyBy::Record => row.key.ok_or_else(|| "the record has a null key, and this operator is keyed by it".to_owned()),
                KeyBy::Json(path) => json_field(row.value, path, &mut field).map(|()| &field[..]),
            };
            match key {
                Err(reason) => bad.push((i, reason)),
                Ok(key) if key.len() > MAX_KEY => bad.push((i, format!("the key has {} bytes, {MAX_KEY} are allowed", key.len()))),
                Ok(key) => match outbox {
                    Some(outbox) => outbox.push(usize::from(shard_for(key, shards)) % workers, input, key, batch, i),
                    None if batch.headers().is_some() => rekeyed.push_with_headers(RowRef { key: Some(key), ..row }, batch.row_headers(i)),
                    None => rekeyed.push(RowRef { key: Some(key), ..row }),
                },
            }
        }
        let mut records = std::mem::take(rekeyed);
        for (i, reason) in bad {
            self.fault(index, batch, i, &reason)?;
        }
        if !records.is_empty() {
            self.run(index, input, &records)?;
        }
        records.clear();
        if let Some(node) = self.nodes.get_mut(index) {
            node.rekeyed = records;
        }
        Ok(())
    }

    /// Calls an operator with a batch of any size.
    pub fn run(&mut self, index: usize, input: u32, batch: &Batch) -> Result<(), Error> {
        let entered = self.trace.operator(self.shared.plan.operators.get(index).map_or("", |o| o.id.as_str()), batch);
        self.call_all(index, input, batch)?;
        self.trace.leave(entered);
        Ok(())
    }

    fn call_all(&mut self, index: usize, input: u32, batch: &Batch) -> Result<(), Error> {
        self.shared.metrics.operator(index).records_in(batch.len());
        let pieces = pieces(batch, self.shared.settings.batch_records, self.shared.settings.batch_bytes);
        if pieces.len() <= 1 {
            return self.attempt(index, input, batch);
        }
        pieces.into_iter().try_for_each(|rows| self.part(index, input, batch, rows))
    }

    /// Calls an operator with some rows of a batch.
    fn part(&mut self, index: usize, input: u32, batch: &Batch, rows: Range<usize>) -> Result<(), Error> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut piece = self.nodes.get_mut(index).map(|n| std::mem::take(&mut n.piece)).unwrap_or_default();
        piece.clear();
        piece.extend_range(batch, rows);
        let result = self.attempt(index, input, &piece);
        if let Some(node) = self.nodes.get_mut(index) {
            node.piece = piece;
        }
        result
    }

    /// One call, and what to do when it fails: a batch is cut in two until the poison record stands alone. Its fate is
    /// decided on a fresh instance, with the state that the records before it have left.
    fn attempt(&mut self, index: usize, input: u32, batch: &Batch) -> Result<(), Error> {
        let outcome = self.call(index, input, batch);
        self.settle(index, input, batch, outcome, false)
    }

    /// `fresh`: the call was one of a single record on an instance that no other record has touched.
    fn settle(
        &mut self,
        index: usize,
        input: u32,
        batch: &Batch,
        outcome: Result<Vec<Reject>, CallError>,
        fresh: bool,
    ) -> Result<(), Error> {
        if let Err(error @ CallError::Deadline(_)) = &outcome {
            // Said at once: so long a call may cost the transaction before its record is found.
            let (topic, partition, offset) = self.shared.origin(batch, 0);
            tracing::warn!(operator = self.id(index), records = batch.len(), topic, partition, offset, "a call {error}");
        }
        match outcome {
            Ok(rejects) => {
                self.pass_on(index)?;
                rejects.iter().try_for_each(|r| self.fault(index, batch, r.position as usize, &r.reason))
            }
            Err(CallError::Rejected(reject)) if (reject.position as usize) < batch.len() => self.without(index, input, batch, reject),
            Err(CallError::Fatal(reason)) => Err(Error::Guest { operator: self.id(index), reason }),
            Err(CallError::State(error)) => Err(error.into()),
            Err(CallError::Retry(reason)) => self.gave_up(index, batch, format!("asks for retries: {reason}")),
            Err(_) if batch.len() > 1 => {
                let half = batch.len() / 2;
                self.part(index, input, batch, 0..half)?;
                self.part(index, input, batch, half..batch.len())
            }
            Err(_) if !fresh => {
                if let Some(node) = self.nodes.get_mut(index) {
                    node.instance.discard();
                }
                let outcome = self.call(index, input, batch);
                self.settle(index, input, batch, outcome, true)
            }
            Err(error @ CallError::Deadline(_)) => self.gave_up(index, batch, error.to_string()),
            Err(error) => self.fault(index, batch, 0, &error.to_string()),
        }
    }

    /// Takes out what the guest rejects, one record after the other, and calls with the rest.
    fn without(&mut self, index: usize, input: u32, batch: &Batch, mut reject: Reject) -> Result<(), Error> {
        let mut from = 0;
        loop {
            let at = from + reject.position as usize;
            self.part(index, input, batch, from..at)?;
            self.fault(index, batch, at, &reject.reason)?;
            from = at + 1;
            if from >= batch.len() {
                return Ok(());
            }
            let mut rest = Batch::default();
            rest.extend_range(batch, from..batch.len());
            match self.call(index, input, &rest) {
                Err(CallError::Rejected(next)) if (next.position as usize) < rest.len() => reject = next,
                outcome => return self.settle(index, input, &rest, outcome, false),
            }
        }
    }

    /// Calls the guest, again and again while it asks for that, and leaves its answer in the node's ports.
    fn call(&mut self, index: usize, input: u32, batch: &Batch) -> Result<Vec<Reject>, CallError> {
        let (mut wait, start) = (RETRY_FIRST, clock::monotonic());
        loop {
            let outcome = self.call_once(index, input, batch);
            let fuel = self.nodes.get(index).map_or(0, |node| node.instance.fuel_used());
            self.shared.metrics.operator(index).call(fuel);
            self.output.time().beat();
            if let Err(error) = &outcome {
                self.shared.metrics.operator(index).call_failed(error.kind());
            }
            match outcome {
                Err(CallError::Retry(_)) if clock::since(start) < RETRY_FOR && !self.shared.is_ending() => {
                    self.output.time().beat();
                    clock::pause(wait);
                    wait = (wait * 2).min(RETRY_LAST);
                }
                outcome => return outcome,
            }
        }
    }

    fn call_once(&mut self, index: usize, input: u32, batch: &Batch) -> Result<Vec<Reject>, CallError> {
        let Some(node) = self.nodes.get_mut(index) else { return Ok(Vec::new()) };
        if self.shared.settings.fresh_instance_per_batch {
            node.instance.discard();
        }
        let raw = match (node.instance.loaded().kind(), &mut node.keyed) {
            (FunctionKind::Process, Some((_, keyed))) => {
                keyed.call(&mut node.instance, &mut self.state, &self.shared, input, batch, (&node.readers, &mut node.ports))?
            }
            _ => {
                let raw = node.instance.transform(batch, clock::now_ms())?;
                operator::assemble(raw, batch, node.instance.loaded().limits(), &node.readers, &mut node.ports)?
            }
        };
        node.instance.keep_metrics();
        Ok(raw)
    }

    /// Sends a node's answers on.
    fn pass_on(&mut self, index: usize) -> Result<(), Error> {
        let mut ports = self.nodes.get_mut(index).map(|n| std::mem::take(&mut n.ports)).unwrap_or_default();
        let shared = self.shared.clone();
        let Some(plan) = shared.plan.operators.get(index) else { return Ok(()) };
        for (batch, (_, targets)) in ports.iter_mut().zip(&plan.ports) {
            if !batch.is_empty() {
                shared.metrics.operator(index).records_out(batch.len());
                self.route(targets, batch)?;
            }
        }
        if let Some(node) = self.nodes.get_mut(index) {
            node.ports = ports;
        }
        Ok(())
    }

    /// A record that its operator does not take: where `onError` says.
    fn fault(&mut self, index: usize, batch: &Batch, row: usize, reason: &str) -> Result<(), Error> {
        self.shared.metrics.operator(index).fault();
        let operator = self.id(index);
        let (topic, partition, offset) = self.shared.origin(batch, row);
        match self.shared.plan.operators.get(index).map_or(OnError::Fail, |o| o.on_error) {
            OnError::Fail => Err(Error::Poison { operator, topic, partition, offset, reason: reason.into() }),
            OnError::Skip => {
                // The counter has them all.
                if self.shared.skip_log.allows() {
                    tracing::warn!(operator, topic, partition, offset, reason, "record skipped");
                }
                Ok(())
            }
            OnError::DeadLetter(sink) => {
                let (partition, offset) = (partition.to_string(), offset.to_string());
                let origin = [
                    ("weir-operator", operator.as_str()),
                    ("weir-reason", reason),
                    ("weir-source-topic", &topic),
                    ("weir-source-partition", &partition),
                    ("weir-source-offset", &offset),
                ];
                let added = origin.iter().map(|(name, value)| (name.as_bytes(), Some(value.as_bytes())));
                let mut letter = Batch::default();
                letter.push_with_headers(batch.row(row), batch.row_headers(row).chain(added));
                self.shared.metrics.operator(index).dead_letter();
                self.output.write(sink, &letter)
            }
        }
    }

    fn gave_up(&self, index: usize, batch: &Batch, reason: String) -> Result<(), Error> {
        let (topic, partition, offset) = self.shared.origin(batch, 0);
        Err(Error::GaveUp { operator: self.id(index), topic, partition, offset, reason })
    }

    fn id(&self, index: usize) -> String {
        self.shared.plan.operators.get(index).map(|o| o.id.clone()).unwrap_or_default()
    }
}

fn keys_fit(batch: &Batch) -> bool {
    batch.keys().data_len() <= MAX_KEY || (0..batch.len()).all(|i| batch.keys().bytes(i).len() <= MAX_KEY)
}

/// Cuts a batch into calls of at most `records` records, and of `bytes` bytes where more than one record is in them.
fn pieces(batch: &Batch, records: usize, bytes: usize) -> Vec<Range<usize>> {
    if batch.len() <= records && batch.data_len() <= bytes {
        return Vec::new();
    }
    let (mut pieces, mut start, mut size) = (Vec::new(), 0, 0);
    for i in 0..batch.len() {
        let row = batch.keys().bytes(i).len() + batch.values().bytes(i).len();
        if i > start && (i - start == records || size + row > bytes) {
            pieces.push(start..i);
            (start, size) = (i, 0);
        }
        size += row;
    }
    pieces.push(start..batch.len());
    pieces
}
