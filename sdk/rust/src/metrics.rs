//! The function's own metrics: gathered during a call, handed over at its end.

use crate::host::Host;

/// A counter that the function declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter(pub(crate) u32);

/// A gauge that the function declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gauge(pub(crate) u32);

/// A histogram that the function declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Histogram(pub(crate) u32);

#[derive(Debug, Default)]
pub(crate) struct Metrics {
    counters: Vec<u64>,
    gauges: Vec<Option<f64>>,
    histograms: Vec<Vec<f64>>,
}

impl Metrics {
    #[inline]
    pub(crate) fn add(&mut self, counter: Counter, delta: u64) {
        let sum = entry(&mut self.counters, counter.0);
        *sum = sum.saturating_add(delta);
    }

    pub(crate) fn set(&mut self, gauge: Gauge, value: f64) {
        *entry(&mut self.gauges, gauge.0) = Some(value);
    }

    pub(crate) fn observe(&mut self, histogram: Histogram, value: f64) {
        entry(&mut self.histograms, histogram.0).push(value);
    }

    pub(crate) fn clear(&mut self) {
        self.counters.fill(0);
        self.gauges.fill(None);
        self.histograms.iter_mut().for_each(Vec::clear);
    }

    pub(crate) fn flush(&mut self, host: &dyn Host) {
        for (counter, sum) in (0..).zip(&self.counters) {
            if *sum != 0 {
                host.add(counter, *sum);
            }
        }
        for (gauge, value) in (0..).zip(&self.gauges) {
            if let Some(value) = value {
                host.set(gauge, *value);
            }
        }
        for (histogram, values) in (0..).zip(&self.histograms) {
            if !values.is_empty() {
                host.observe(histogram, values);
            }
        }
        self.clear();
    }
}

/// Ids are small and dense: they count from 0 in order of declaration.
#[allow(clippy::indexing_slicing, reason = "the line before makes room")]
fn entry<T: Default>(entries: &mut Vec<T>, id: u32) -> &mut T {
    let id = id as usize;
    if id >= entries.len() {
        entries.resize_with(id + 1, T::default);
    }
    &mut entries[id]
}
