//! What is measured, one module each. A measurement takes one value of each of its figures per round, and checks that
//! what came out is right: a wrong answer has no speed.

pub mod allocations;
mod bench;
mod boundary;
mod checkpoint;
mod exactly_once;
mod flat;
mod idle;
mod kept;
mod keyed_average;
mod latency;
mod machine;
mod passthrough;
mod recovery;
mod start;
mod word_count;

pub use bench::Bench;

use crate::figure::{self, Figure};
use anyhow::Result;
use checkpoint::Checkpoint;
use keyed_average::KeyedAverage;
use recovery::Recovery;
use word_count::WordCount;

/// A measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    Boundary,
    Passthrough,
    WordCount,
    WordCount1M,
    KeyedAverage,
    KeyedAverage20M,
    ExactlyOncePassthrough,
    ExactlyOnceWords,
    ExactlyOnceShort,
    Latency,
    LatencyExactlyOnce,
    Start,
    Idle,
    Allocations,
    Recovery,
    Recovery100Mb,
    Recovery1Gb,
    Checkpoint1M,
    Checkpoint10M,
    Flat,
}

impl Measure {
    /// All, in the order of a round: first what can find the machine unfit by one round.
    pub const ALL: [Self; 20] = [
        Self::Flat,
        Self::Boundary,
        Self::Passthrough,
        Self::WordCount,
        Self::WordCount1M,
        Self::KeyedAverage,
        Self::ExactlyOncePassthrough,
        Self::ExactlyOnceWords,
        Self::ExactlyOnceShort,
        Self::Latency,
        Self::LatencyExactlyOnce,
        Self::Start,
        Self::Idle,
        Self::Allocations,
        Self::Recovery,
        Self::Recovery100Mb,
        Self::Checkpoint1M,
        Self::KeyedAverage20M,
        Self::Recovery1Gb,
        Self::Checkpoint10M,
    ];

    /// Its figures.
    pub const fn figures(self) -> &'static [Figure] {
        match self {
            Self::Boundary => &[figure::BOUNDARY, figure::SDK],
            Self::Passthrough => &[figure::COPY_LOOP, figure::PASSTHROUGH],
            Self::WordCount => &[figure::WORD_COUNT],
            Self::WordCount1M => &[figure::WORD_COUNT_1M],
            Self::KeyedAverage => &[figure::AVERAGE],
            Self::KeyedAverage20M => &[figure::AVERAGE_20M],
            Self::ExactlyOncePassthrough => &[figure::EXACTLY_ONCE_PASSTHROUGH],
            Self::ExactlyOnceWords => &[figure::EXACTLY_ONCE_WORDS],
            Self::ExactlyOnceShort => &[
                figure::COPY_TX_LOOP,
                figure::COPY_TX,
                figure::EXACTLY_ONCE_COPY_TX,
                figure::EXACTLY_ONCE_SHORT,
                figure::EXACTLY_ONCE_SHORT_LOOPS,
            ],
            Self::Latency => &[figure::LATENCY_WITHOUT_MIDDLE, figure::LATENCY_WITHOUT, figure::LATENCY_MIDDLE, figure::LATENCY],
            Self::LatencyExactlyOnce => &[
                figure::LATENCY_EXACTLY_ONCE_MIDDLE,
                figure::LATENCY_EXACTLY_ONCE,
                figure::LATENCY_EXACTLY_ONCE_1S_MIDDLE,
                figure::LATENCY_EXACTLY_ONCE_1S,
            ],
            Self::Start => &[figure::START],
            Self::Idle => &[figure::IDLE],
            Self::Allocations => &[figure::ALLOCATIONS],
            Self::Recovery => &[figure::RECOVERY],
            Self::Recovery100Mb => &[figure::RECOVERY_100MB_KEPT, figure::RECOVERY_100MB_WIPED],
            Self::Recovery1Gb => &[figure::RECOVERY_1GB_KEPT, figure::RECOVERY_1GB_WIPED],
            Self::Checkpoint1M => &[figure::CHECKPOINT_1M, figure::CHECKPOINT_1M_BYTES],
            Self::Checkpoint10M => &[figure::CHECKPOINT_10M, figure::CHECKPOINT_10M_BYTES],
            Self::Flat => &[figure::FLAT, figure::FLAT_CPU, figure::FLAT_MACHINE, figure::FLAT_OVER_MACHINE],
        }
    }

    /// Rounds in a run, which takes 50 to 86 minutes: more where they are uneven, fewer where one takes minutes.
    pub const fn rounds(self) -> usize {
        match self {
            Self::Passthrough | Self::ExactlyOncePassthrough | Self::ExactlyOnceWords | Self::Latency | Self::Start => 5,
            Self::ExactlyOnceShort => 2,
            Self::KeyedAverage20M | Self::Flat => 1,
            Self::Recovery | Self::Recovery100Mb | Self::Recovery1Gb | Self::Checkpoint1M | Self::Checkpoint10M => 1,
            _ => 3,
        }
    }

    /// Takes one value of each figure, in their order.
    pub fn take(self, bench: &Bench) -> Result<Vec<f64>> {
        match self {
            Self::Boundary => boundary::measure(bench),
            Self::Passthrough => passthrough::measure(bench),
            Self::WordCount => one(WordCount { distinct: 10_000 }.measure(bench)),
            Self::WordCount1M => one(WordCount { distinct: 1_000_000 }.measure(bench)),
            Self::KeyedAverage => one(KeyedAverage::ONE_MILLION.measure(bench)),
            Self::KeyedAverage20M => one(KeyedAverage::TWENTY_MILLION.measure(bench)),
            Self::ExactlyOncePassthrough => one(exactly_once::passthrough(bench)),
            Self::ExactlyOnceWords => one(exactly_once::word_count(bench)),
            Self::ExactlyOnceShort => exactly_once::short(bench),
            Self::Latency => latency::measure(bench),
            Self::LatencyExactlyOnce => latency::exactly_once(bench),
            Self::Start => one(start::measure(bench)),
            Self::Idle => one(idle::measure(bench)),
            Self::Allocations => one(allocations::measure(bench)),
            Self::Recovery => one(Recovery::NONE.kept(bench)),
            Self::Recovery100Mb => Recovery::HUNDRED_MB.kept_and_wiped(bench),
            Self::Recovery1Gb => Recovery::ONE_GB.kept_and_wiped(bench),
            Self::Checkpoint1M => Checkpoint { keys: 1_000_000 }.measure(bench),
            Self::Checkpoint10M => Checkpoint { keys: 10_000_000 }.measure(bench),
            Self::Flat => flat::measure(bench),
        }
    }
}

fn one(value: Result<f64>) -> Result<Vec<f64>> {
    value.map(|value| vec![value])
}

#[cfg(test)]
mod tests {
    use super::Measure;
    use std::collections::BTreeSet;

    #[test]
    fn every_figure_has_a_name_of_its_own() {
        let names: Vec<_> = Measure::ALL.into_iter().flat_map(|measure| measure.figures().iter().map(|figure| figure.name)).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    }
}
