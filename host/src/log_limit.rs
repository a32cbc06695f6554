//! A bound on log lines whose number records or guests decide.

use crate::clock;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

/// Lines allowed in a second.
const LINES_PER_SECOND: u32 = 100;

/// Allows 100 lines a second. Threads share it; at the turn of a second a few lines more may pass.
#[derive(Debug, Default)]
pub(crate) struct LogLimit {
    second: AtomicI64,
    lines: AtomicU32,
}

impl LogLimit {
    /// Whether one more line may be written now.
    pub fn allows(&self) -> bool {
        let second = clock::now_ms() / 1000;
        if self.second.swap(second, Ordering::Relaxed) != second {
            self.lines.store(0, Ordering::Relaxed);
        }
        self.lines.fetch_add(1, Ordering::Relaxed) < LINES_PER_SECOND
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_to_a_hundred_lines_a_second() {
        let limit = LogLimit::default();
        let start = clock::monotonic();
        let allowed = (0..100_000).filter(|_| limit.allows()).count();
        let seconds = 2 + clock::since(start).as_secs() as usize;
        assert!((100..=100 * seconds).contains(&allowed), "{allowed}");
    }
}
