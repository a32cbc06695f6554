//! CPU time, which other processes on the same cores disturb less than wall time.

use anyhow::{Result, ensure};
use std::mem::MaybeUninit;

/// CPU seconds, user and system, of all children waited for so far and of theirs.
///
/// # Errors
/// When the kernel does not say.
pub fn children_cpu() -> Result<f64> {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is to a whole rusage, of which zeros are a valid value, so that reading it is sound even when
    // the call fails.
    let (code, usage) = unsafe { (libc::getrusage(libc::RUSAGE_CHILDREN, usage.as_mut_ptr()), usage.assume_init()) };
    ensure!(code == 0, "getrusage failed");
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    Ok(seconds(usage.ru_utime) + seconds(usage.ru_stime))
}

/// CPU seconds of the calling thread.
///
/// # Errors
/// When the kernel does not say.
pub fn thread_cpu() -> Result<f64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a whole timespec.
    let code = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    ensure!(code == 0, "clock_gettime failed");
    Ok(time.tv_sec as f64 + time.tv_nsec as f64 / 1e9)
}
