//! The shuffle inside a process: one bounded channel per sender and receiver, for each keyed operator.
//!
//! Promises: a send never blocks (rule 22: what finds no room waits in its lane, and the worker stops feeding the
//! exchange until [`Outbox::push_out`] has emptied it); records of one key stay in order; a barrier stands behind all
//! that its sender sent before it, and nothing behind a barrier is handed out until every sender's has arrived.

use crate::record::{Batch, RowRef};
use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError, bounded};
use std::{collections::VecDeque, thread::Thread};

/// Messages that fit into one channel: enough to keep a receiver busy while its sender is scheduled out.
const LANE_MESSAGES: usize = 8;
/// Batches of one lane that hold records: in the channel, being filled, being read.
const LANE_BATCHES: usize = LANE_MESSAGES + 2;
/// A batch between workers is never limited to fewer bytes than this, however many lanes share the memory.
const LEAST_BYTES: usize = 4096;

/// The most bytes of a batch, at most `wanted`, so that the lanes of `exchanges` keyed operators between `workers` workers hold at
/// most `memory` bytes.
#[must_use]
pub fn batch_bytes(memory: usize, workers: usize, exchanges: usize, wanted: usize) -> usize {
    (memory / (workers * workers * exchanges * LANE_BATCHES).max(1)).max(LEAST_BYTES).min(wanted)
}

/// What travels between workers.
enum Message {
    Records { input: u32, batch: Batch },
    Barrier(u64),
}

/// The sending side of one worker for one keyed operator.
pub struct Outbox {
    lanes: Vec<Outlane>,
    max_records: usize,
    max_bytes: usize,
}

struct Outlane {
    sender: Sender<Message>,
    /// Emptied batches on their way back, so that buffers are used again.
    spent: Receiver<Batch>,
    /// Per input the batch being filled.
    filling: Vec<Batch>,
    waiting: VecDeque<Message>,
    receiver: Option<Thread>,
    sent: bool,
}

/// The receiving side of one worker for one keyed operator.
pub struct Inbox {
    lanes: Vec<Inlane>,
    next: usize,
    max_footprint: usize,
}

struct Inlane {
    receiver: Receiver<Message>,
    spent: Sender<Batch>,
    sender: Option<Thread>,
    barrier: Option<u64>,
}

/// What an inbox had.
pub enum Received {
    /// Records for one of the operator's inputs, from the given lane.
    Records {
        /// Number of the input.
        input: u32,
        /// The records; hand them back by [`Inbox::give_back`].
        batch: Batch,
        /// Lane to give the batch back to.
        lane: usize,
    },
    /// Nothing that may be handed out now.
    Nothing,
}

/// Channels of one keyed operator with `inputs` inputs between `workers` workers: an outbox and an inbox for each.
#[must_use]
pub fn connect(workers: usize, inputs: usize, max_records: usize, max_bytes: usize) -> Vec<(Outbox, Inbox)> {
    let mut outlanes: Vec<Vec<Outlane>> = (0..workers).map(|_| Vec::with_capacity(workers)).collect();
    let mut inlanes: Vec<Vec<Inlane>> = (0..workers).map(|_| Vec::with_capacity(workers)).collect();
    for out in &mut outlanes {
        for into in &mut inlanes {
            let (sender, receiver) = bounded(LANE_MESSAGES);
            let (give, spent) = bounded(LANE_MESSAGES * 2);
            let filling = (0..inputs.max(1)).map(|_| Batch::default()).collect();
            out.push(Outlane { sender, spent, filling, waiting: VecDeque::new(), receiver: None, sent: false });
            into.push(Inlane { receiver, spent: give, sender: None, barrier: None });
        }
    }
    // Offsets, times and origins come on top of the bytes of keys and values; buffers grow by doubling.
    let max_footprint = 2 * max_bytes + 64 * max_records;
    let outboxes = outlanes.into_iter().map(|lanes| Outbox { lanes, max_records, max_bytes });
    outboxes.zip(inlanes.into_iter().map(|lanes| Inbox { lanes, next: 0, max_footprint })).collect()
}

impl Outbox {
    /// Tells whom to wake when something was sent, by worker.
    pub fn set_receivers(&mut self, threads: &[Thread]) {
        for (lane, thread) in self.lanes.iter_mut().zip(threads) {
            lane.receiver = Some(thread.clone());
        }
    }

    /// Appends record `i` of `from` under `key` to what goes to worker `to`.
    pub fn push(&mut self, to: usize, input: u32, key: &[u8], from: &Batch, i: usize) {
        let (max_records, max_bytes) = (self.max_records, self.max_bytes);
        let Some(lane) = self.lanes.get_mut(to) else { return };
        let Some(batch) = lane.filling.get_mut(input as usize) else { return };
        let row = RowRef { key: Some(key), ..from.row(i) };
        if from.headers().is_some() {
            batch.push_with_headers(row, from.row_headers(i));
        } else {
            batch.push(row);
        }
        if batch.len() >= max_records || batch.data_len() >= max_bytes {
            lane.close(input as usize);
            lane.push_out();
        }
    }

    /// Sends what is being filled, full or not.
    pub fn flush(&mut self) {
        for lane in &mut self.lanes {
            (0..lane.filling.len()).for_each(|input| lane.close(input));
            lane.push_out();
        }
    }

    /// Sends a barrier behind everything sent so far.
    pub fn barrier(&mut self, epoch: u64) {
        self.flush();
        for lane in &mut self.lanes {
            lane.waiting.push_back(Message::Barrier(epoch));
            lane.push_out();
        }
    }

    /// Sends what waits, as far as there is room. True when nothing waits any more.
    pub fn push_out(&mut self) -> bool {
        let mut all = true;
        for lane in &mut self.lanes {
            lane.push_out();
            all &= lane.waiting.is_empty();
        }
        all
    }

    /// Wakes those to whom something was sent since the last call.
    pub fn wake(&mut self) {
        for lane in &mut self.lanes {
            if std::mem::take(&mut lane.sent)
                && let Some(thread) = &lane.receiver
            {
                thread.unpark();
            }
        }
    }
}

impl Outlane {
    fn close(&mut self, input: usize) {
        let Some(filling) = self.filling.get_mut(input) else { return };
        if !filling.is_empty() {
            let empty = self.spent.try_recv().unwrap_or_default();
            let batch = std::mem::replace(filling, empty);
            self.waiting.push_back(Message::Records { input: input as u32, batch });
        }
    }

    fn push_out(&mut self) {
        while let Some(message) = self.waiting.pop_front() {
            match self.sender.try_send(message) {
                Ok(()) => self.sent = true,
                Err(TrySendError::Full(message)) => {
                    self.waiting.push_front(message);
                    return;
                }
                // The receiver is gone only when the whole attempt is being torn down.
                Err(TrySendError::Disconnected(_)) => self.waiting.clear(),
            }
        }
    }
}

impl Inbox {
    /// Tells whom to wake when there is room again, by worker.
    pub fn set_senders(&mut self, threads: &[Thread]) {
        for (lane, thread) in self.lanes.iter_mut().zip(threads) {
            lane.sender = Some(thread.clone());
        }
    }

    /// The next records of any lane that has not passed its barrier; lanes take turns.
    pub fn receive(&mut self) -> Received {
        for _ in 0..self.lanes.len() {
            let at = self.next;
            self.next = (at + 1) % self.lanes.len();
            let Some(lane) = self.lanes.get_mut(at) else { continue };
            if lane.barrier.is_some() {
                continue;
            }
            let received = lane.receiver.try_recv();
            // On the way down, after taking: a sender that sleeps because the lane was full adds nothing, so the length
            // passes this point.
            if let (true, Some(sender)) = (received.is_ok() && lane.receiver.len() == LANE_MESSAGES / 2, &lane.sender) {
                sender.unpark();
            }
            match received {
                Ok(Message::Records { input, batch }) => return Received::Records { input, batch, lane: at },
                Ok(Message::Barrier(epoch)) => lane.barrier = Some(epoch),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => {}
            }
        }
        Received::Nothing
    }

    /// Gives an emptied batch back to its sender.
    pub fn give_back(&mut self, lane: usize, mut batch: Batch) {
        batch.clear();
        // A batch that one large record has blown up is not kept.
        if batch.footprint() > self.max_footprint {
            return;
        }
        if let Some(lane) = self.lanes.get(lane) {
            // A full way back means that the sender has buffers enough.
            let _ = lane.spent.try_send(batch);
        }
    }

    /// Whether every lane's barrier for `epoch` has arrived.
    #[must_use]
    pub fn aligned(&self, epoch: u64) -> bool {
        self.lanes.iter().all(|lane| lane.barrier == Some(epoch))
    }

    /// Opens the lanes again after a barrier.
    pub fn release(&mut self) {
        self.lanes.iter_mut().for_each(|lane| lane.barrier = None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Origin;

    fn batch(values: std::ops::Range<i64>) -> Batch {
        let mut batch = Batch::default();
        for i in values {
            batch.push(RowRef { key: None, value: Some(b"v"), timestamp: i, origin: Origin { split: 0, offset: i } });
        }
        batch
    }

    fn drain(inbox: &mut Inbox) -> Vec<i64> {
        let mut seen = vec![];
        while let Received::Records { batch, lane, .. } = inbox.receive() {
            seen.extend_from_slice(batch.timestamps());
            inbox.give_back(lane, batch);
        }
        seen
    }

    #[test]
    fn nothing_passes_a_barrier_until_every_sender_has_sent_its_own() {
        let mut ends = connect(2, 1, 4, 1 << 20);
        let (mut second_out, _) = ends.pop().unwrap();
        let (mut first_out, mut inbox) = ends.pop().unwrap();
        let records = batch(0..10);
        (0..3).for_each(|i| first_out.push(0, 0, b"k", &records, i));
        first_out.barrier(7);
        (3..5).for_each(|i| first_out.push(0, 0, b"k", &records, i));
        first_out.flush();
        assert_eq!(drain(&mut inbox), [0, 1, 2]);
        assert!(!inbox.aligned(7));
        second_out.push(0, 0, b"k", &records, 9);
        second_out.barrier(7);
        assert_eq!(drain(&mut inbox), [9]);
        assert!(inbox.aligned(7));
        inbox.release();
        assert_eq!(drain(&mut inbox), [3, 4]);
    }

    #[test]
    fn a_full_lane_holds_what_finds_no_room_and_keeps_its_order() {
        let (mut out, mut inbox) = connect(1, 1, 1, 1 << 20).pop().unwrap();
        let records = batch(0..100);
        (0..100).for_each(|i| out.push(0, 0, b"k", &records, i));
        assert!(!out.push_out());
        let mut seen = vec![];
        while seen.len() < 100 {
            seen.extend(drain(&mut inbox));
            out.push_out();
        }
        assert_eq!(seen, (0..100).collect::<Vec<_>>());
        assert!(out.push_out());
    }
}
