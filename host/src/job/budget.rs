//! One number, divided: what each part of a process may take of `runtime.memory`.

/// Shares of the memory budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Budget {
    /// Keyed state in memory, of all workers.
    pub state: usize,
    /// RocksDB's block cache.
    pub disk_cache: usize,
    /// Records fetched ahead, of all queues.
    pub fetch: usize,
    /// Values produced and not yet acknowledged, of each producer, in KiB.
    pub produce_kib: u32,
    /// Records produced and not yet acknowledged, of each producer.
    pub produce_records: u32,
    /// Outputs held back during a commit, of each worker.
    pub held: usize,
    /// Records between workers, of all lanes.
    pub exchange: usize,
}

/// What librdkafka keeps beside the value of each record on its way, in bytes.
const RECORD_OVERHEAD: usize = 200;

impl Budget {
    /// Half for the hot state, which also pays for its copy in a frozen delta; an eighth each for RocksDB, fetching,
    /// producing, and what else lives (held outputs, records between workers, guests, code). Of what is produced, half for
    /// the values and half for what librdkafka keeps beside them, which for short values is more.
    pub fn of(memory: usize, workers: usize, producers: usize) -> Self {
        let eighth = memory / 8;
        let half_of_producer = eighth / producers.max(1) / 2;
        let kib = |bytes: usize| u32::try_from(bytes / 1024).unwrap_or(u32::MAX).clamp(1024, 1 << 20);
        Self {
            state: memory / 2,
            disk_cache: eighth,
            fetch: eighth,
            produce_kib: kib(half_of_producer),
            produce_records: u32::try_from(half_of_producer / RECORD_OVERHEAD).unwrap_or(u32::MAX).clamp(1000, 1_000_000),
            held: eighth / 4 / workers.max(1),
            exchange: eighth / 4,
        }
    }

    /// Room for values in a producer into topics that take records of so many bytes, in KiB: one that the queue could
    /// never take would be waited for without end.
    pub fn produce_kib_for(&self, record_bytes: usize) -> u32 {
        self.produce_kib.max(u32::try_from(record_bytes.div_ceil(1024)).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_stay_within_the_budget() {
        for memory in [64 << 20, 512 << 20, 8usize << 30] {
            for workers in [1, 4, 16] {
                let b = Budget::of(memory, workers, 1);
                let produced = b.produce_kib as usize * 1024 + b.produce_records as usize * RECORD_OVERHEAD;
                let all = b.state + b.disk_cache + b.fetch + produced + b.held * workers + b.exchange;
                assert!(all <= memory, "{memory} {workers}: {all}");
            }
        }
    }

    #[test]
    fn a_producer_has_room_for_the_largest_record_that_its_topics_take() {
        let budget = Budget::of(64 << 20, 1, 1);
        assert_eq!(budget.produce_kib_for(1_000_000), 4096);
        assert_eq!(budget.produce_kib_for((20 << 20) + 1), 20 * 1024 + 1);
    }
}
