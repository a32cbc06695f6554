//! Named points at which a test ends this process, as abruptly as kill -9 does, the n-th time that one is reached.
//! Without the feature `failpoints` nothing of them is compiled.

/// Ends the process if this is the point and the hit that a test asked for. `when` counts only some passes, `every` only
/// each so-many-th of those; `last` is done just before the end.
macro_rules! failpoint {
    ($point:literal) => {
        failpoint!($point, when true, last {})
    };
    ($point:literal, when $condition:expr) => {
        failpoint!($point, when $condition, last {})
    };
    ($point:literal, every $passes:literal, when $condition:expr) => {
        #[cfg(feature = "failpoints")]
        {
            static PASSES: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
            let is_counted = || PASSES.fetch_add(1, std::sync::atomic::Ordering::Relaxed).is_multiple_of($passes);
            failpoint!($point, when $condition && is_counted(), last {});
        }
    };
    ($point:literal, last $last:expr) => {
        failpoint!($point, when true, last $last)
    };
    ($point:literal, when $condition:expr, last $last:expr) => {
        #[cfg(feature = "failpoints")]
        if $condition && $crate::failpoint::is_last($point) {
            _ = $last;
            $crate::failpoint::end($point);
        }
    };
}

#[cfg(feature = "failpoints")]
pub use armed::{arm, end, is_last, some_millis};

/// All points, in the order in which a run gets to them.
#[cfg(any(test, feature = "failpoints"))]
pub const POINTS: [&str; 15] = [
    "restore",
    "begin",
    "produce",
    "delta-put",
    "manifest-put",
    "offsets-sent",
    "commit-sent",
    "committed",
    "garbage",
    "merge",
    "adopt",
    "base",
    "base-adopt",
    "spill",
    "ingest",
];

#[cfg(feature = "failpoints")]
mod armed {
    use super::POINTS;
    use std::path::PathBuf;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static ARMED: OnceLock<Armed> = OnceLock::new();

    struct Armed {
        point: &'static str,
        hit: u64,
        left: AtomicU64,
        marker: PathBuf,
    }

    /// Arms one point of this process: `POINT:HIT:MARKER`, the file that is written when the process ends there.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn arm(text: &str) -> Result<(), String> {
        let mut parts = text.splitn(3, ':');
        let (Some(name), Some(hit), Some(marker)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(format!("failpoint `{text}` is not POINT:HIT:MARKER"));
        };
        let point = POINTS.into_iter().find(|point| *point == name);
        let point = point.ok_or_else(|| format!("there is no failpoint `{name}`; there are {}", POINTS.join(", ")))?;
        let hit = hit.parse().map_err(|e| format!("failpoint `{text}`: hit `{hit}`: {e}"))?;
        let armed = Armed { point, hit, left: AtomicU64::new(hit), marker: marker.into() };
        ARMED.set(armed).map_err(|_| "a failpoint is armed already".to_owned())
    }

    /// Counts a hit of a point; whether it is the one at which the process ends.
    pub fn is_last(point: &str) -> bool {
        ARMED.get().is_some_and(|armed| armed.point == point && armed.left.fetch_sub(1, Ordering::Relaxed) == 1)
    }

    /// From 0 to 15 ms, by the hit that was asked for: long enough for some requests to be answered.
    pub fn some_millis() -> i32 {
        ARMED.get().and_then(|armed| i32::try_from(armed.hit % 16).ok()).unwrap_or(0)
    }

    /// Leaves the marker, which names the point, and ends the process.
    #[expect(clippy::disallowed_methods, reason = "no destructor may run: that is what is tested")]
    pub fn end(point: &str) -> ! {
        if let Some(armed) = ARMED.get() {
            // Without a marker the test fails, which is what it should do then.
            let _ = std::fs::write(&armed.marker, point);
        }
        std::process::abort()
    }
}
