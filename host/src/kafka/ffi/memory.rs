//! What becomes of the memory that librdkafka frees: it takes its own from the C library, not from Rust's allocator.

/// Makes glibc's malloc keep freed memory, of RocksDB too: as much as it comes to by itself once large blocks were freed.
///
/// When an epoch is flushed, everything produced is acknowledged and freed. By default that goes back to the system, and its
/// pages are cleared and faulted in again in the next epoch.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(in super::super) fn keep_freed_memory() {
    use std::sync::Once;

    /// Bytes of freed memory at the end of an arena.
    const KEPT: libc::c_int = 64 << 20;
    /// A block of so many bytes is mapped by itself, and unmapped when it is freed. Set too, because malloc adjusts neither
    /// number any more once one of them is set, and its first is 128 KiB, less than an answer to a fetch.
    const MAPPED_BY_ITSELF: libc::c_int = 32 << 20;
    static SET: Once = Once::new();

    SET.call_once(|| {
        // SAFETY: it sets two numbers, which other threads may read meanwhile, and refuses what it does not take.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_BY_ITSELF);
            libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT);
        }
    });
}

/// Another C library goes by its own defaults.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(in super::super) fn keep_freed_memory() {}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    use super::*;

    /// As many bytes as a message of librdkafka with a value of 100.
    const BLOCK: usize = 300;
    const BLOCKS: usize = 50_000;
    const PAGE: usize = 4096;

    /// Takes blocks of memory, writes to them and frees them. How many pages this thread faulted in for that.
    fn faults_of_an_epoch() -> i64 {
        let before = faults();
        // SAFETY: each block is written to within its size and freed once.
        unsafe {
            let blocks: Vec<_> = (0..BLOCKS).map(|_| libc::malloc(BLOCK)).collect();
            for block in blocks {
                assert!(!block.is_null());
                libc::memset(block, 1, BLOCK);
                libc::free(block);
            }
        }
        faults() - before
    }

    fn faults() -> i64 {
        // SAFETY: all zeros are a value of the struct, which the call fills.
        unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            assert_eq!(libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage), 0);
            usage.ru_minflt
        }
    }

    #[test]
    fn what_was_freed_is_taken_again_without_faulting_its_pages_in() {
        keep_freed_memory();
        faults_of_an_epoch();
        let again = faults_of_an_epoch();
        assert!(again < (BLOCKS * BLOCK / PAGE / 10) as i64, "{again} pages faulted in again");
    }
}
