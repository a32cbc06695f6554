//! One number, divided: what each part of a process may take of `runtime.memory`.

/// Shares of the memory budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Budget {
    /// Keyed state in memory, of all workers.
    pub state: usize,
    /// RocksDB's block cache.
    pub disk_cache: usize,
    /// Records fetched ahead, of all queues, in KiB.
    pub fetch_kib: u32,
    /// Records produced and not yet acknowledged, of each producer, in KiB.
    pub produce_kib: u32,
    /// Outputs held back during a commit, of each worker.
    pub held: usize,
    /// Records between workers, of all lanes.
    pub exchange: usize,
}

impl Budget {
    /// Half for the hot state, which also pays for its copy in a frozen delta; an eighth each for RocksDB, fetching,
    /// producing, and what else lives (held outputs, records between workers, guests, code).
    pub fn of(memory: usize, workers: usize, kafka_sinks: usize) -> Self {
        let eighth = memory / 8;
        let kib = |bytes: usize| u32::try_from(bytes / 1024).unwrap_or(u32::MAX).clamp(1024, 1 << 20);
        Self {
            state: memory / 2,
            disk_cache: eighth,
            fetch_kib: kib(eighth),
            produce_kib: kib(eighth / kafka_sinks.max(1)),
            held: eighth / 4 / workers.max(1),
            exchange: eighth / 4,
        }
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
                let all = b.state + b.disk_cache + (b.fetch_kib as usize + b.produce_kib as usize) * 1024 + b.held * workers + b.exchange;
                assert!(all <= memory, "{memory} {workers}: {all}");
            }
        }
    }
}
