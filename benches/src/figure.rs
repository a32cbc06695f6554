//! The figures: what is promised, and how a measured value stands to it.

/// What a figure has to keep.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
    /// Says whether the machine was fit to measure anything: with less than this the whole run is void.
    MachineAtLeast(f64),
    /// Nothing: it has an aim only, or says what the machine itself takes, to set another figure against.
    Nothing,
}

impl Bound {
    /// The number; none where there is nothing to keep.
    pub const fn value(self) -> Option<f64> {
        match self {
            Self::AtMost(bound) | Self::AtLeast(bound) | Self::MachineAtLeast(bound) => Some(bound),
            Self::Nothing => None,
        }
    }

    /// Whether a value keeps it.
    pub fn holds(self, value: f64) -> bool {
        match self {
            Self::AtMost(bound) => value <= bound,
            Self::AtLeast(bound) | Self::MachineAtLeast(bound) => value >= bound,
            Self::Nothing => true,
        }
    }
}

/// A promise.
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    /// Its name, with the unit.
    pub name: &'static str,
    /// What must hold.
    pub bound: Bound,
    /// What it should become; none where the bound is all that is wanted.
    pub aim: Option<f64>,
}

/// CPU time of a call through the component boundary, per record.
pub const BOUNDARY: Figure = figure("boundary_ns", Bound::AtMost(100.0), Some(50.0));
/// The SDK's cost as a multiple of raw columns'.
pub const SDK: Figure = figure("sdk_over_columns", Bound::AtMost(1.5), None);
/// Records that the bare librdkafka loop copies per CPU-second.
pub const COPY_LOOP: Figure = figure("copy_loop_per_cpu_s", Bound::MachineAtLeast(500_000.0), None);
/// Records per CPU-second of a passthrough job as a share of the copy loop's.
pub const PASSTHROUGH: Figure = figure("passthrough_over_copy_loop", Bound::AtLeast(0.6), Some(0.85));
/// Words counted per CPU-second, of 10,000 distinct ones.
pub const WORD_COUNT: Figure = figure("wordcount_words_per_cpu_s", Bound::AtLeast(400_000.0), Some(800_000.0));
/// The same of 1,000,000 distinct ones.
pub const WORD_COUNT_1M: Figure = figure("wordcount_1m_words_per_cpu_s", Bound::AtLeast(400_000.0), Some(800_000.0));
/// Records averaged by key per CPU-second, with 1,000,000 keys.
pub const AVERAGE: Figure = figure("keyed_average_per_cpu_s", Bound::AtLeast(250_000.0), Some(465_000.0));
/// The same with 20,000,000 keys, whose state does not fit the memory budget.
pub const AVERAGE_20M: Figure = figure("keyed_average_20m_per_cpu_s", Bound::AtLeast(40_000.0), Some(80_000.0));
/// Records per CPU-second with exactly-once output, as a share of those with at-least-once output: a passthrough job.
pub const EXACTLY_ONCE_PASSTHROUGH: Figure = figure("eos_over_alo_passthrough", Bound::AtLeast(0.95), None);
/// The same of a word count.
pub const EXACTLY_ONCE_WORDS: Figure = figure("eos_over_alo_wordcount", Bound::AtLeast(0.95), None);
/// Records that the bare librdkafka loop copies per CPU-second in transactions of 100 ms.
pub const COPY_TX_LOOP: Figure = figure("copy_tx_loop_per_cpu_s", Bound::Nothing, None);
/// The same as a share of those that it copies without transactions.
pub const COPY_TX: Figure = figure("copy_tx_over_copy", Bound::Nothing, None);
/// Records per CPU-second of an exactly-once passthrough job with epochs of 100 ms as a share of that loop's.
pub const EXACTLY_ONCE_COPY_TX: Figure = figure("eos_over_copy_tx", Bound::AtLeast(0.65), Some(0.85));
/// The same as a share of those with at-least-once output.
pub const EXACTLY_ONCE_SHORT: Figure = figure("eos_over_alo_passthrough_100ms", Bound::Nothing, None);
/// That share as a multiple of the two loops': no more than 5 % beside what transactions cost by themselves.
pub const EXACTLY_ONCE_SHORT_LOOPS: Figure = figure("eos_over_alo_100ms_over_loops", Bound::AtLeast(0.95), None);
/// From the time a record was due to be produced until a consumer of the output has it, for 99 of 100.
pub const LATENCY: Figure = figure("latency_p99_ms", Bound::AtMost(25.0), Some(10.0));
/// The same for every second one.
pub const LATENCY_MIDDLE: Figure = figure("latency_p50_ms", Bound::Nothing, None);
/// For 99 of 100 from the producer straight to a consumer: the broker's, the clients' and the machine's part of it.
pub const LATENCY_WITHOUT: Figure = figure("latency_without_weir_p99_ms", Bound::Nothing, None);
/// The same for every second one.
pub const LATENCY_WITHOUT_MIDDLE: Figure = figure("latency_without_weir_p50_ms", Bound::Nothing, None);
/// For 99 of 100 with exactly-once output in epochs of 50 ms, which a record waits for and 20 ms more.
pub const LATENCY_EXACTLY_ONCE: Figure = figure("latency_eos_50ms_p99_ms", Bound::Nothing, Some(70.0));
/// The same for every second one.
pub const LATENCY_EXACTLY_ONCE_MIDDLE: Figure = figure("latency_eos_50ms_p50_ms", Bound::Nothing, None);
/// For 99 of 100 with exactly-once output in epochs of 1 s, the default.
pub const LATENCY_EXACTLY_ONCE_1S: Figure = figure("latency_eos_1s_p99_ms", Bound::Nothing, Some(1020.0));
/// The same for every second one.
pub const LATENCY_EXACTLY_ONCE_1S_MIDDLE: Figure = figure("latency_eos_1s_p50_ms", Bound::Nothing, None);
/// From a kill under 50,000 records a second until the output lacks less than an epoch's worth: with almost no state.
pub const RECOVERY: Figure = figure("recovery_0_s", Bound::Nothing, Some(3.0));
/// The same with 100 MB of state, and RocksDB's files still there.
pub const RECOVERY_100MB_KEPT: Figure = figure("recovery_100mb_kept_s", Bound::Nothing, Some(3.0));
/// The same without them.
pub const RECOVERY_100MB_WIPED: Figure = figure("recovery_100mb_wiped_s", Bound::Nothing, Some(15.0));
/// With 1 GB of state, and RocksDB's files still there.
pub const RECOVERY_1GB_KEPT: Figure = figure("recovery_1gb_kept_s", Bound::Nothing, Some(5.0));
/// The same without them.
pub const RECOVERY_1GB_WIPED: Figure = figure("recovery_1gb_wiped_s", Bound::Nothing, Some(15.0));
/// From the barrier to the commit of an epoch that changed 1 % of 1,000,000 keys.
pub const CHECKPOINT_1M: Figure = figure("checkpoint_1m_ms", Bound::Nothing, None);
/// Bytes of its checkpoint.
pub const CHECKPOINT_1M_BYTES: Figure = figure("checkpoint_1m_bytes", Bound::Nothing, None);
/// From the barrier to the commit of an epoch that changed 1 % of 10,000,000 keys.
pub const CHECKPOINT_10M: Figure = figure("checkpoint_10m_ms", Bound::Nothing, None);
/// Bytes of its checkpoint.
pub const CHECKPOINT_10M_BYTES: Figure = figure("checkpoint_10m_bytes", Bound::Nothing, None);
/// Throughput of the worst of nine minutes as a share of the best one's.
pub const FLAT: Figure = figure("throughput_flat", Bound::AtLeast(0.9), None);
/// The same by the job's CPU time, which neighbours that take the processor leave alone, but not those that take caches.
pub const FLAT_CPU: Figure = figure("throughput_flat_per_cpu", Bound::Nothing, None);
/// The same of a fixed piece of work that the bench does in the same minutes: how flat the machine itself was.
pub const FLAT_MACHINE: Figure = figure("throughput_flat_machine", Bound::MachineAtLeast(0.9), None);
/// The same of throughput by CPU time over the speed of that work: what is left when the machine's changes are taken out.
pub const FLAT_OVER_MACHINE: Figure = figure("throughput_flat_over_machine", Bound::Nothing, None);
/// From the start of the process until a consumer has the first output record.
pub const START: Figure = figure("start_to_first_output_ms", Bound::AtMost(600.0), Some(300.0));
/// Resident memory of a job that has nothing to do.
pub const IDLE: Figure = figure("idle_rss_mb", Bound::AtMost(80.0), Some(40.0));
/// Allocations by Rust code per record of a passthrough job under load.
pub const ALLOCATIONS: Figure = figure("allocations_per_record", Bound::AtMost(0.01), None);

const fn figure(name: &'static str, bound: Bound, aim: Option<f64>) -> Figure {
    Figure { name, bound, aim }
}

/// The middle of some values, or the mean of the two in the middle; NaN of none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |i: usize| sorted.get(i).copied().unwrap_or(f64::NAN);
    let half = sorted.len() / 2;
    if sorted.len() % 2 == 1 { at(half) } else { f64::midpoint(at(half.wrapping_sub(1)), at(half)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_on_the_bound_keeps_it() {
        assert!(Bound::AtMost(2.0).holds(2.0) && !Bound::AtMost(2.0).holds(2.1));
        assert!(Bound::AtLeast(2.0).holds(2.0) && !Bound::AtLeast(2.0).holds(1.9));
        assert!(!Bound::AtLeast(2.0).holds(f64::NAN) && !Bound::AtMost(2.0).holds(f64::NAN));
    }

    #[test]
    fn the_median_is_the_middle_whatever_the_order() {
        assert!((median(&[9.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(&[4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < f64::EPSILON);
        assert!(median(&[]).is_nan());
    }
}
