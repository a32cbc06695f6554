//! When a client that has lost all its brokers is told of its bootstrap servers again.
//!
//! librdkafka 2.10 and later drop every broker that an answer does not name, and an answer may name none: that of a broker
//! which its controller has fenced, as when its machine stood still. They begin to add the bootstrap servers again, but the
//! same answer counts as a success, which can call that off; noted as begun, it is never begun again, and nobody is asked
//! any more (confluentinc/librdkafka#5301): a producer's records wait for their deadline, and a consumer reads nothing for
//! ever. Mostly it works, and then adding them once more only disturbs. So they are added when, some time after the loss, no
//! broker is connected.

use std::time::{Duration, Instant};

/// librdkafka has found them again by then, if it does at all.
const WAIT: Duration = Duration::from_secs(2);
/// librdkafka keeps each list that it is told, and goes through all of them whenever it finds no broker. So each time takes
/// this much longer than the last: some 300 times in an outage of ten minutes, 4,200 in one of a day.
const LONGER: Duration = Duration::from_millis(10);

/// What is known of a client's brokers.
#[derive(Debug, Default)]
pub(super) struct Bootstrap {
    due: Option<Instant>,
    told: u32,
}

impl Bootstrap {
    /// All brokers are down or dropped.
    pub fn lost(&mut self, now: Instant) {
        self.due.get_or_insert(now + WAIT.max(LONGER * self.told));
    }

    /// Whether it is time to look whether the client has found a broker; then not again before they are lost again.
    pub fn take_due(&mut self, now: Instant) -> bool {
        self.due.take_if(|due| *due <= now).is_some()
    }

    /// It had found none and was told: to be looked at again.
    pub fn told(&mut self, now: Instant) {
        self.told = self.told.saturating_add(1);
        self.lost(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_looked_at_once_for_each_loss_and_told_more_seldom_in_a_long_outage() {
        let (mut bootstrap, mut now) = (Bootstrap::default(), Instant::now());
        assert!(!bootstrap.take_due(now));
        bootstrap.lost(now);
        bootstrap.lost(now + WAIT / 2);
        assert!(!bootstrap.take_due(now + WAIT / 2));
        assert!(bootstrap.take_due(now + WAIT));
        assert!(!bootstrap.take_due(now + WAIT * 2));
        let (begin, mut told) = (now, 0);
        bootstrap.lost(now);
        while now - begin < Duration::from_secs(24 * 60 * 60) {
            if bootstrap.take_due(now) {
                bootstrap.told(now);
                told += 1;
            }
            now += Duration::from_millis(100);
        }
        assert!((4000..4400).contains(&told), "{told} times in a day");
    }
}
