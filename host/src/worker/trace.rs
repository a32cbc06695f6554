//! What a worker traces of an epoch: the first batch of each source, and the first that each operator takes from its
//! exchange, down to the sinks.

use super::Shared;
use crate::{
    record::Batch,
    trace::{Parent, Place, Span, number, text},
};

/// Where a traced batch begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Begin {
    Source(usize),
    Exchange(usize),
}

/// A worker's part of the running epoch's trace.
#[derive(Default)]
pub(super) struct Trace {
    epoch: Parent,
    /// The trace of the epoch behind the barrier that is on its way.
    next: Option<Parent>,
    begun: Vec<Begin>,
    /// Where the batch under way hangs; none when it is not traced.
    current: Parent,
}

/// A span that was entered and what it hangs on; nothing when the batch is not traced.
#[must_use = "what is entered is left by leave()"]
#[derive(Default)]
pub(super) struct Entered(Option<(Span, Parent)>);

impl Trace {
    /// The trace of the next epoch: of the running one when no barrier is on its way.
    pub fn told(&mut self, epoch: Parent, barrier_on_its_way: bool) {
        if barrier_on_its_way {
            self.next = Some(epoch);
        } else {
            self.enter_epoch(epoch);
        }
    }

    /// The barrier has passed everything.
    pub fn barrier_passed(&mut self) {
        let next = self.next.take().unwrap_or_default();
        self.enter_epoch(next);
    }

    fn enter_epoch(&mut self, epoch: Parent) {
        self.epoch = epoch;
        self.begun.clear();
    }

    /// A batch was read.
    pub fn source(&mut self, node: usize, id: &str, batch: &Batch, worker: usize, shared: &Shared) -> Entered {
        if !self.begins(Begin::Source(node)) {
            return Entered::default();
        }
        let (topic, partition, offset) = shared.origin(batch, 0);
        let span = self.epoch.batch(Place::Source, id, batch, || {
            vec![
                number("weir.worker", worker as u64),
                text("messaging.destination.name", &topic),
                text("messaging.destination.partition.id", &partition.to_string()),
                number("messaging.kafka.offset", u64::try_from(offset).unwrap_or(0)),
            ]
        });
        self.enter(span)
    }

    /// A batch came from an exchange.
    pub fn exchange(&mut self, operator: usize) -> Entered {
        if !self.begins(Begin::Exchange(operator)) {
            return Entered::default();
        }
        let outer = std::mem::replace(&mut self.current, self.epoch.clone());
        Entered(Some((Span::default(), outer)))
    }

    /// A batch is given to an operator.
    pub fn operator(&mut self, id: &str, batch: &Batch) -> Entered {
        self.pass(Place::Operator, id, batch)
    }

    /// A batch is given to a sink.
    pub fn sink(&mut self, id: &str, batch: &Batch) -> Entered {
        self.pass(Place::Sink, id, batch)
    }

    /// It has gone all its way.
    pub fn leave(&mut self, entered: Entered) {
        if let Some((_, outer)) = entered.0 {
            self.current = outer;
        }
    }

    fn begins(&mut self, begin: Begin) -> bool {
        if self.epoch.is_none() || self.begun.contains(&begin) {
            return false;
        }
        self.begun.push(begin);
        true
    }

    fn pass(&mut self, place: Place, id: &str, batch: &Batch) -> Entered {
        if self.current.is_none() {
            return Entered::default();
        }
        let span = self.current.batch(place, id, batch, Vec::new);
        self.enter(span)
    }

    fn enter(&mut self, span: Span) -> Entered {
        let outer = std::mem::replace(&mut self.current, span.parent().clone());
        Entered(Some((span, outer)))
    }
}
