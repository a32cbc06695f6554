//! Waiting for a condition, with a deadline that fails the test.

use std::thread;
use std::time::{Duration, Instant};

/// Between two looks at a condition.
const STEP: Duration = Duration::from_millis(10);

/// Waits until `condition` holds. `what` says for what, in the words of the failure.
///
/// # Panics
/// After `deadline`.
#[track_caller]
pub fn until(what: &str, deadline: Duration, mut condition: impl FnMut() -> bool) {
    if for_some(deadline, || condition().then_some(())).is_none() {
        panic!("not seen within {deadline:?}: {what}");
    }
}

/// Waits until `look` finds something; `None` after `deadline`.
pub fn for_some<T>(deadline: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let begin = Instant::now();
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if begin.elapsed() >= deadline {
            return None;
        }
        thread::park_timeout(STEP);
    }
}
