//! Counters, gauges and histograms that guests declare, and the limit on what they log.

use super::{declared::Declarations, fault::LoadError};
use crate::log_limit::LogLimit;
use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use std::{collections::HashMap, sync::atomic::AtomicU64};

/// The host's own metric of an operator, among those that the guest declares.
const DROPPED_LINES: &str = "log_lines_dropped";

/// What the samples of a kind of metric have behind its name.
const COUNTER: &[&str] = &["_total"];
const GAUGE: &[&str] = &[""];
const HISTOGRAM: &[&str] = &["_bucket", "_count", "_sum"];

/// Metrics of one operator, shared by its instances.
pub struct GuestMetrics {
    counters: Vec<Counter>,
    gauges: Vec<Gauge<f64, AtomicU64>>,
    histograms: Vec<Histogram>,
    log: LogLimit,
    dropped_lines: Counter,
}

impl GuestMetrics {
    /// Registers what the component declared under `weir_guest_<operator>_<name>`. `taken` holds the names of the job's
    /// samples so far and whose they are: with one name twice, Prometheus takes none of a scrape.
    ///
    /// # Errors
    /// A name is taken.
    pub fn register(
        declared: &Declarations,
        operator: &str,
        registry: &mut Registry,
        taken: &mut HashMap<String, String>,
    ) -> Result<Self, LoadError> {
        let mut claim = |name: &str, suffixes: &[&str]| {
            let family = format!("guest_{}_{}", clean(operator), clean(name));
            for suffix in suffixes {
                let exported = format!("weir_{family}{suffix}");
                if let Some(other) = taken.insert(exported.clone(), operator.to_owned()) {
                    return Err(LoadError::MetricTwice { operator: operator.into(), metric: name.into(), other, exported });
                }
            }
            Ok(family)
        };
        let dropped_lines = Counter::default();
        registry.register(claim(DROPPED_LINES, COUNTER)?, "Log lines beyond the limit per second", dropped_lines.clone());
        let mut counters = Vec::with_capacity(declared.counters.len());
        for name in &declared.counters {
            let metric = Counter::default();
            registry.register(claim(name, COUNTER)?, "Counter of the user function", metric.clone());
            counters.push(metric);
        }
        let mut gauges = Vec::with_capacity(declared.gauges.len());
        for name in &declared.gauges {
            let metric = Gauge::default();
            registry.register(claim(name, GAUGE)?, "Gauge of the user function", metric.clone());
            gauges.push(metric);
        }
        let mut histograms = Vec::with_capacity(declared.histograms.len());
        for (name, bounds) in &declared.histograms {
            let metric = Histogram::new(bounds.iter().copied());
            registry.register(claim(name, HISTOGRAM)?, "Histogram of the user function", metric.clone());
            histograms.push(metric);
        }
        Ok(Self { counters, gauges, histograms, log: LogLimit::default(), dropped_lines })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(counters: &[&str], gauges: &[&str], histograms: &[&str]) -> Declarations {
        let mut declared = Declarations::default();
        for name in counters {
            declared.counter((*name).to_owned()).unwrap();
        }
        for name in gauges {
            declared.gauge((*name).to_owned()).unwrap();
        }
        for name in histograms {
            declared.histogram((*name).to_owned(), vec![1.0]).unwrap();
        }
        declared
    }

    fn register(operators: &[(&str, Declarations)]) -> Result<(), LoadError> {
        let (mut registry, mut taken) = (Registry::default(), HashMap::new());
        operators.iter().try_for_each(|(id, declared)| GuestMetrics::register(declared, id, &mut registry, &mut taken).map(drop))
    }

    #[test]
    fn names_that_prometheus_could_not_tell_apart_are_refused_with_both_operators() {
        let error = register(&[("a", declared(&["b_c"], &[], &[])), ("a-b", declared(&["c"], &[], &[]))]).unwrap_err();
        let text = error.to_string();
        assert!(["operator a-b", "`c`", "operator a ", "weir_guest_a_b_c_total"].iter().all(|part| text.contains(part)), "{text}");
        assert!(register(&[("a", declared(&["n"], &["n_total"], &[]))]).is_err(), "a counter and a gauge");
        assert!(register(&[("a", declared(&[], &["n_sum"], &["n"]))]).is_err(), "a histogram and a gauge");
    }

    #[test]
    fn operators_may_give_their_metrics_the_same_names() {
        let metrics = || declared(&["seen"], &["last"], &["length"]);
        register(&[("a", metrics()), ("b", metrics())]).unwrap();
    }
}
