//! What is measured, one module each. A measurement takes one value of each of its figures per round, and checks that
//! what came out is right: a wrong answer has no speed.

pub mod allocations;
mod bench;
mod boundary;
mod exactly_once;
mod idle;
mod keyed_average;
mod latency;
mod passthrough;
mod start;
mod word_count;

pub use bench::Bench;

use crate::figure::{self, Figure};
use anyhow::Result;
use keyed_average::KeyedAverage;
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
}

impl Measure {
    /// All, in the order of a round.
    pub const ALL: [Self; 14] = [
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
        Self::KeyedAverage20M,
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
            Self::LatencyExactlyOnce => &[figure::LATENCY_EXACTLY_ONCE_MIDDLE, figure::LATENCY_EXACTLY_ONCE],
            Self::Start => &[figure::START],
            Self::Idle => &[figure::IDLE],
            Self::Allocations => &[figure::ALLOCATIONS],
        }
    }

    /// Rounds in a run: more where they are uneven, one where it takes minutes.
    pub const fn rounds(self) -> usize {
        match self {
            Self::Passthrough | Self::Latency | Self::LatencyExactlyOnce | Self::Start => 5,
            Self::KeyedAverage20M => 1,
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
