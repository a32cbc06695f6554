//! What a running job shows of itself: a line that is redrawn, a log event now and then, a summary at the end.

use crate::numbers::{bytes, clock, grouped, short};
use std::collections::VecDeque;
use std::fmt::Write;
use std::time::Duration;
use weir_host::metrics::Snapshot;

/// Rates are means over this time: steady enough to read, quick enough to show a stall.
const WINDOW: Duration = Duration::from_secs(2);
/// Longer job names are cut in the live line.
const NAME: usize = 24;

/// Records per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// Read by the sources.
    pub records_in: f64,
    /// Handed to the sinks.
    pub records_out: f64,
}

/// Turns counters into rates.
#[derive(Default)]
pub struct Meter {
    samples: VecDeque<(Duration, u64, u64)>,
}

impl Meter {
    /// Rates over the last [`WINDOW`], given the counters at `time` since the start; times only rise.
    pub fn observe(&mut self, time: Duration, snapshot: &Snapshot) -> Rates {
        self.samples.push_back((time, snapshot.records_in, snapshot.records_out));
        while self.samples.get(1).is_some_and(|(second, ..)| time.saturating_sub(*second) >= WINDOW) {
            self.samples.pop_front();
        }
        let Some((first, first_in, first_out)) = self.samples.front() else { return Rates::default() };
        rates(time.saturating_sub(*first), snapshot.records_in.saturating_sub(*first_in), snapshot.records_out.saturating_sub(*first_out))
    }
}

fn rates(time: Duration, records_in: u64, records_out: u64) -> Rates {
    let seconds = time.as_secs_f64();
    if seconds == 0.0 {
        return Rates::default();
    }
    Rates { records_in: records_in as f64 / seconds, records_out: records_out as f64 / seconds }
}

/// The line that is redrawn while the job runs; `None` = its components are still being loaded.
pub fn live_line(job: &str, time: Duration, snapshot: Option<&Snapshot>, rates: Rates) -> String {
    let mut line: String = job.chars().take(NAME).collect();
    let Some(snapshot) = snapshot else { return line + "  loading components" };
    if !snapshot.ready {
        line += "  restoring";
    }
    append(&mut line, format_args!("  in {}/s", short(rates.records_in)));
    append(&mut line, format_args!("  out {}/s", short(rates.records_out)));
    if let Some(lag) = snapshot.lag {
        append(&mut line, format_args!("  lag {}", short(lag.max(0) as f64)));
    }
    if snapshot.state_bytes > 0 {
        append(&mut line, format_args!("  state {}", bytes(snapshot.state_bytes)));
    }
    append(&mut line, format_args!("  epoch {}  errors {}  {}", grouped(snapshot.epoch), grouped(snapshot.faults), clock(time)));
    line
}

/// The same as a log event, for whoever collects logs.
pub fn log_event(message: &str, snapshot: &Snapshot, rates: Rates) {
    tracing::info!(
        records_in = snapshot.records_in,
        records_out = snapshot.records_out,
        in_per_second = rates.records_in.round(),
        out_per_second = rates.records_out.round(),
        lag = snapshot.lag,
        epoch = snapshot.epoch,
        errors = snapshot.faults,
        state_bytes = snapshot.state_bytes,
        ready = snapshot.ready,
        "{message}"
    );
}

/// Rates over a whole run.
pub fn mean(time: Duration, snapshot: &Snapshot) -> Rates {
    rates(time, snapshot.records_in, snapshot.records_out)
}

/// One line on a whole run.
pub fn summary(job: &str, time: Duration, snapshot: &Snapshot) -> String {
    let mean = mean(time, snapshot);
    let errors = if snapshot.faults == 1 { "error" } else { "errors" };
    format!(
        "{job}: {} records in, {} out in {} ({}/s in), epoch {}, {} {errors}",
        grouped(snapshot.records_in),
        grouped(snapshot.records_out),
        if time < Duration::from_secs(60) { format!("{:.1} s", time.as_secs_f64()) } else { clock(time) },
        short(mean.records_in),
        grouped(snapshot.epoch),
        grouped(snapshot.faults),
    )
}

/// What to say when a job that goes on where it was has found its sources at their end: it looks like a failure.
pub fn nothing_new(snapshot: &Snapshot) -> Option<&'static str> {
    let went_on = snapshot.epoch > 1;
    (went_on && snapshot.records_in == 0).then_some("nothing new since the last run; --fresh processes everything again")
}

fn append(line: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = line.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(records_in: u64, records_out: u64) -> Snapshot {
        Snapshot { records_in, records_out, ready: true, ..Snapshot::default() }
    }

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn rates_are_means_over_the_window_and_forget_what_is_older() {
        let mut meter = Meter::default();
        assert_eq!(meter.observe(millis(0), &snapshot(0, 0)), Rates::default());
        assert_eq!(meter.observe(millis(500), &snapshot(1000, 100)), Rates { records_in: 2000.0, records_out: 200.0 });
        for quarter in 3..=10 {
            meter.observe(millis(quarter * 250), &snapshot(1000, 100));
        }
        assert_eq!(meter.observe(millis(2750), &snapshot(1000, 100)), Rates::default());
    }

    #[test]
    fn counters_that_fall_when_the_job_restarts_give_no_rate() {
        let mut meter = Meter::default();
        meter.observe(millis(0), &snapshot(1000, 1000));
        assert_eq!(meter.observe(millis(250), &snapshot(10, 10)), Rates::default());
    }

    #[test]
    fn the_live_line_shows_lag_and_state_only_when_they_are_known() {
        let rates = Rates { records_in: 123_456.0, records_out: 980.0 };
        let plain = snapshot(5, 4);
        assert_eq!(
            live_line("word-count", millis(65_000), Some(&plain), rates),
            "word-count  in 123 k/s  out 980/s  epoch 0  errors 0  1:05"
        );
        let full = Snapshot { lag: Some(12_345), state_bytes: 3 << 20, epoch: 1042, faults: 2, ..plain };
        assert_eq!(
            live_line("word-count", millis(65_000), Some(&full), rates),
            "word-count  in 123 k/s  out 980/s  lag 12.3 k  state 3.00 MiB  epoch 1,042  errors 2  1:05"
        );
    }

    #[test]
    fn the_live_line_says_what_a_job_that_does_not_run_yet_is_doing() {
        assert_eq!(live_line("j", millis(0), None, Rates::default()), "j  loading components");
        let restoring = Snapshot { ready: false, ..snapshot(0, 0) };
        assert_eq!(live_line("j", millis(0), Some(&restoring), Rates::default()), "j  restoring  in 0/s  out 0/s  epoch 0  errors 0  0:00");
    }

    #[test]
    fn a_run_that_found_nothing_new_says_so_and_a_first_one_does_not() {
        let end = |records_in, epoch| Snapshot { epoch, ..snapshot(records_in, 0) };
        assert!(nothing_new(&end(0, 2)).unwrap().contains("--fresh"));
        assert_eq!(nothing_new(&end(1, 2)), None);
        assert_eq!(nothing_new(&end(0, 1)), None);
    }

    #[test]
    fn the_summary_counts_the_whole_run() {
        let end = Snapshot { epoch: 14, faults: 1, ..snapshot(1_000_000, 950_000) };
        assert_eq!(summary("j", millis(12_500), &end), "j: 1,000,000 records in, 950,000 out in 12.5 s (80.0 k/s in), epoch 14, 1 error");
        assert_eq!(summary("j", millis(61_000), &snapshot(61, 0)), "j: 61 records in, 0 out in 1:01 (1/s in), epoch 0, 0 errors");
    }
}
