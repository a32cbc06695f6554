//! Counters, gauges and histograms that guests declare, and the limit on what they log.

use super::declared::Declarations;
use crate::log_limit::LogLimit;
use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use std::sync::atomic::AtomicU64;

/// The host's own metric of an operator, among those that the guest declares.
const DROPPED_LINES: &str = "log_lines_dropped";

/// Metrics of one operator, shared by its instances.
pub struct GuestMetrics {
    counters: Vec<Counter>,
    gauges: Vec<Gauge<f64, AtomicU64>>,
    histograms: Vec<Histogram>,
    log: LogLimit,
    dropped_lines: Counter,
}

impl GuestMetrics {
    /// Registers what the component declared under `weir_guest_<operator>_<name>`.
    #[must_use]
    pub fn register(declared: &Declarations, operator: &str, registry: &mut Registry) -> Self {
        let metric_name = |name: &str| format!("guest_{}_{}", clean(operator), clean(name));
        let dropped_lines = Counter::default();
        registry.register(metric_name(DROPPED_LINES), "Log lines beyond the limit per second", dropped_lines.clone());
        let counters = declared.counters.iter().map(|name| {
            let metric = Counter::default();
            registry.register(metric_name(name), "Counter of the user function", metric.clone());
            metric
        });
        let counters = counters.collect();
        let gauges = declared.gauges.iter().map(|name| {
            let metric = Gauge::default();
            registry.register(metric_name(name), "Gauge of the user function", metric.clone());
            metric
        });
        let gauges = gauges.collect();
        let histograms = declared.histograms.iter().map(|(name, bounds)| {
            let metric = Histogram::new(bounds.iter().copied());
            registry.register(metric_name(name), "Histogram of the user function", metric.clone());
            metric
        });
        let histograms = histograms.collect();
        Self { counters, gauges, histograms, log: LogLimit::default(), dropped_lines }
    }

    pub(super) fn add(&self, id: u32, delta: u64) {
        if let Some(counter) = self.counters.get(id as usize) {
            counter.inc_by(delta);
        }
    }

    pub(super) fn set(&self, id: u32, value: f64) {
        if let Some(gauge) = self.gauges.get(id as usize) {
            gauge.set(value);
        }
    }

    pub(super) fn observe(&self, id: u32, values: &[f64]) {
        if let Some(histogram) = self.histograms.get(id as usize) {
            values.iter().for_each(|v| histogram.observe(*v));
        }
    }

    pub(super) fn may_log(&self) -> bool {
        let allowed = self.log.allows();
        if !allowed {
            self.dropped_lines.inc();
        }
        allowed
    }
}

/// Whether a guest's metric would stand under the name of the host's own.
pub(super) fn is_taken(name: &str) -> bool {
    clean(name) == DROPPED_LINES
}

/// A part of a name that Prometheus accepts: other characters become `_`.
pub(super) fn clean(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}
