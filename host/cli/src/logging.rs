//! The log: `tracing` events on stderr, as text or as one JSON object a line.

use crate::exit::Failure;
use crate::terminal::Terminal;
use tracing_subscriber::EnvFilter;
use weir_host::fault::Kind;

/// Weir's own progress and what guests say; of libraries only what is wrong.
const DEFAULT_FILTER: &str = "warn,weir=info,weir_host=info,guest=info";

/// How log events are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// One line for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Sends the process's events to `terminal`; `filter` is a level or a list of `target=level`.
pub fn start(filter: Option<&str>, format: Format, colour: bool, terminal: &Terminal) -> Result<(), Failure> {
    let filter = parse(filter)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(terminal.clone()).with_ansi(colour);
    match format {
        Format::Text => builder.try_init(),
        Format::Json => builder.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init(),
    }
    .map_err(|e| Failure::new(Kind::Bug, e))
}

fn parse(filter: Option<&str>) -> Result<EnvFilter, Failure> {
    let text = filter.filter(|f| !f.trim().is_empty()).unwrap_or(DEFAULT_FILTER);
    let refused = |e| Failure::usage(format_args!("log filter `{text}`: {e}; give a level such as `debug`, or `weir_host=debug,info`"));
    EnvFilter::builder().parse(text).map_err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_and_a_list_of_targets_are_filters_and_nonsense_is_a_usage_error() {
        assert_eq!(parse(Some("debug")).unwrap().to_string(), "debug");
        assert_eq!(parse(Some("")).unwrap().to_string(), parse(None).unwrap().to_string());
        assert!(parse(Some("weir_host=trace,warn")).is_ok());
        let failure = parse(Some("weir=loud")).unwrap_err();
        assert_eq!(failure.kind, Kind::BadJob);
        assert!(failure.message.contains("weir=loud"), "{}", failure.message);
    }
}
