//! Time, randomness and ids: the only place that asks the machine for the time of day and for randomness. Who waits for a
//! library or a broker looks at a monotonic clock of its own.

#![expect(clippy::disallowed_methods, reason = "this module is where wall clock and randomness come from")]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch.
#[must_use]
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}

/// A monotonic instant.
#[must_use]
pub fn monotonic() -> Instant {
    Instant::now()
}

/// Time since `start`.
#[must_use]
pub fn since(start: Instant) -> Duration {
    start.elapsed()
}

/// A moment, from which time goes on while the machine is suspended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    monotonic: Instant,
    wall: SystemTime,
}

impl Moment {
    pub fn now() -> Self {
        Self { monotonic: Instant::now(), wall: SystemTime::now() }
    }

    /// Time since then: that of the clock which has seen more of it.
    pub fn elapsed(self) -> Duration {
        self.monotonic.elapsed().max(self.wall.elapsed().unwrap_or_default())
    }
}

/// Waits. For what cannot be told to stop and nobody can wake; whatever can be, waits on its channel.
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// A new id, unique among all processes: 16 hexadecimal digits of randomness.
#[must_use]
pub fn unique_id() -> String {
    use std::hash::{BuildHasher, Hasher};
    // RandomState is seeded by the operating system; the pid and the time guard against a forked copy of it.
    let mut hasher = std::hash::RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    hasher.write_u128(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos()));
    format!("{:016x}", hasher.finish())
}
