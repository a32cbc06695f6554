//! Rows of a batch on their way to a producer, put in order of their partitions.

use crate::record::{Batch, partition_for};

/// Rows that wait to be accepted by a producer, those of one partition together and in the batch's order.
///
/// Runs of one partition cost a client half as much as partitions in turn (measured: 0.5–0.75 µs a record against
/// 1.05–1.4): each change of partition takes another lock and wakes the broker's thread. Buffers are kept between batches.
#[derive(Debug, Default)]
pub struct Outbox {
    rows: Vec<(i32, u32)>,
    next: usize,
    chosen: Vec<(i32, u32)>,
    starts: Vec<usize>,
}

impl Outbox {
    /// An empty outbox.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Rows not accepted yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len() - self.next
    }

    /// True when all rows have been accepted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The row that is to be accepted next, with its partition.
    pub(super) fn peek(&self) -> Option<(i32, usize)> {
        self.rows.get(self.next).map(|(partition, row)| (*partition, *row as usize))
    }

    /// Takes the next row out and returns it: it was accepted, or refused and goes elsewhere.
    pub fn take_next(&mut self) -> Option<usize> {
        let (_, row) = self.peek()?;
        self.next += 1;
        Some(row)
    }

    /// Replaces what is in the outbox by `rows` of `batch`: to `given`, or by key among `partitions`, or to `keyless`.
    pub(super) fn refill(&mut self, batch: &Batch, rows: impl Iterator<Item = usize>, given: Option<i32>, partitions: u32, keyless: u32) {
        self.next = 0;
        self.rows.clear();
        self.chosen.clear();
        match given {
            Some(partition) => self.rows.extend(rows.map(|i| (partition, i as u32))),
            None => {
                self.chosen.extend(rows.map(|i| (choose(batch.keys().get(i), partitions, keyless), i as u32)));
                self.sort(partitions.max(1) as usize);
            }
        }
    }

    /// A counting sort: stable, and linear in rows and partitions.
    #[expect(clippy::indexing_slicing, reason = "partitions chosen are below `partitions`, and the counts add up to the rows")]
    fn sort(&mut self, partitions: usize) {
        self.starts.clear();
        self.starts.resize(partitions + 1, 0);
        for (partition, _) in &self.chosen {
            self.starts[*partition as usize + 1] += 1;
        }
        for p in 0..partitions {
            self.starts[p + 1] += self.starts[p];
        }
        self.rows.resize(self.chosen.len(), (0, 0));
        for entry in &self.chosen {
            let at = &mut self.starts[entry.0 as usize];
            self.rows[*at] = *entry;
            *at += 1;
        }
    }
}

/// The partition of a record that names none.
#[inline]
pub(super) fn choose(key: Option<&[u8]>, partitions: u32, keyless: u32) -> i32 {
    key.map_or(keyless, |k| partition_for(k, partitions)).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Origin, RowRef};

    fn drained(outbox: &mut Outbox) -> Vec<(i32, usize)> {
        std::iter::from_fn(|| outbox.peek().inspect(|_| assert!(outbox.take_next().is_some()))).collect()
    }

    #[test]
    fn rows_come_partition_by_partition_in_their_order_and_each_once() {
        let mut batch = Batch::default();
        for i in 0..200u8 {
            let key = [i];
            batch.push(RowRef { key: (i % 7 != 0).then_some(&key[..]), value: None, timestamp: 0, origin: Origin { split: 0, offset: 0 } });
        }
        let mut outbox = Outbox::new();
        for partitions in [1, 3, 8, 300] {
            let keyless = partitions - 1;
            outbox.refill(&batch, (0..200).filter(|i| i % 2 == 0), None, partitions, keyless);
            assert_eq!(outbox.len(), 100);
            let got = drained(&mut outbox);
            assert!(outbox.is_empty());
            let mut expected: Vec<_> = (0..200).step_by(2).map(|i| (choose(batch.keys().get(i), partitions, keyless), i)).collect();
            expected.sort();
            assert_eq!(got, expected);
        }
        outbox.refill(&batch, 5..8, Some(2), 1, 0);
        assert_eq!(drained(&mut outbox), [(2, 5), (2, 6), (2, 7)]);
    }
}
