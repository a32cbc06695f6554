//! A bound on log lines whose number records or guests decide.

use crate::clock;
use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::time::{Duration, Instant};

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

/// A line that says the same again is written so often.
const REPEAT: Duration = Duration::from_secs(10);
/// Different lines remembered.
const KEPT: usize = 256;

/// Leaves lines out that say the same again, whatever the numbers in them.
#[derive(Debug, Default)]
pub(crate) struct Repeats {
    lines: HashMap<String, (Instant, u64)>,
}

impl Repeats {
    /// Whether a line is to be written at this time; then how many like it were left out before it.
    pub fn admit(&mut self, line: &str, now: Instant) -> Option<u64> {
        let same: String = line.chars().filter(|c| !c.is_ascii_digit()).collect();
        if self.lines.len() >= KEPT {
            self.lines.retain(|_, (last, _)| now.duration_since(*last) < REPEAT);
        }
        if self.lines.len() >= KEPT {
            self.lines.clear();
        }
        match self.lines.get_mut(&same) {
            Some((last, left_out)) if now.duration_since(*last) < REPEAT => {
                *left_out += 1;
                None
            }
            Some((last, left_out)) => {
                *last = now;
                Some(std::mem::take(left_out))
            }
            None => {
                self.lines.insert(same, (now, 0));
                Some(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_the_same_again_is_left_out_for_a_while_and_counted() {
        let (mut repeats, start) = (Repeats::default(), clock::monotonic());
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(repeats.admit("1/1 brokers are down", start), Some(0));
        assert_eq!(repeats.admit("2/3 brokers are down", after(1)), None);
        assert_eq!(repeats.admit("something else", after(2)), Some(0));
        assert_eq!(repeats.admit("1/1 brokers are down", after(9)), None);
        assert_eq!(repeats.admit("1/1 brokers are down", after(10)), Some(2));
        assert_eq!(repeats.admit("1/1 brokers are down", after(20)), Some(0));
        let various = (0..10 * KEPT).filter(|n| repeats.admit(&"x".repeat(*n), start).is_some()).count();
        assert!(various == 10 * KEPT && repeats.lines.len() <= KEPT, "lines that differ are not held back, nor kept for ever");
    }

    #[test]
    fn a_flood_is_cut_to_a_hundred_lines_a_second() {
        let limit = LogLimit::default();
        let start = clock::monotonic();
        let allowed = (0..100_000).filter(|_| limit.allows()).count();
        let seconds = 2 + clock::since(start).as_secs() as usize;
        assert!((100..=100 * seconds).contains(&allowed), "{allowed}");
    }
}
