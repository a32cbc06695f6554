//! Lines of a log: takes their parts out by a regular expression, and emits them as JSON.
//!
//! Configuration, all of it with a default: `pattern`, whose named groups become the fields, and `levels`, the values of the
//! group `level` that are counted, each in a metric of its own. A line that does not match, and what is no text, leaves on
//! the port `unparsed` as it came.

use regex_lite::Regex;
use serde::Deserialize;
use std::collections::BTreeMap;
use weir_sdk::transform::{Context, Declare, Record, Transform};
use weir_sdk::{Counter, Error, Json, Port, Result, config};

const LEVEL: &str = "level";

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    pattern: String,
    levels: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            pattern: r"^(?<time>\S+) (?<level>[A-Z]+) \[(?<component>[^\]]+)\] (?<message>.*)$".to_owned(),
            levels: ["DEBUG", "INFO", "WARN", "ERROR"].map(str::to_owned).into(),
        }
    }
}

/// The function.
pub struct LogParse {
    pattern: Regex,
    levels: Vec<(String, Counter)>,
    others: Counter,
    unparsed: Port,
}

impl Transform for LogParse {
    fn init(declare: &mut Declare, json: &str) -> Result<Self> {
        let Config { pattern, levels } = config(json)?;
        let pattern = Regex::new(&pattern).map_err(|error| Error::fatal(format!("config: pattern: {error}")))?;
        if pattern.capture_names().flatten().next().is_none() {
            return Err(Error::fatal("config: pattern: it has no named group, such as (?<level>[A-Z]+)"));
        }
        let counter = |level: String| {
            let counter = declare.counter(&format!("lines_{}", level.to_lowercase()));
            (level, counter)
        };
        let levels = levels.into_iter().map(counter).collect();
        Ok(Self { pattern, levels, others: declare.counter("lines_of_other_levels"), unparsed: declare.port("unparsed") })
    }

    fn process(&mut self, record: Record<'_>, cx: &mut Context<'_>) -> Result {
        let Some(parts) = record.text().ok().and_then(|line| self.pattern.captures(line)) else {
            cx.forward_to(self.unparsed);
            return Ok(());
        };
        let level = parts.name(LEVEL).map(|level| level.as_str());
        let counter = self.levels.iter().find(|(name, _)| Some(name.as_str()) == level).map_or(self.others, |(_, counter)| *counter);
        cx.add(counter, 1);
        let names = self.pattern.capture_names().flatten();
        let fields: BTreeMap<&str, Option<&str>> = names.map(|name| (name, parts.name(name).map(|part| part.as_str()))).collect();
        cx.emit(Json(fields));
        Ok(())
    }
}

weir_sdk::transform!(LogParse);

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::LogParse;
    use weir_sdk::testing::{Row, TransformTest};

    #[test]
    fn a_line_becomes_its_fields_and_is_counted_by_level() {
        let mut test = TransformTest::<LogParse>::new("{}").unwrap();
        let lines = ["12:00 WARN [cart] 17 \"gone\"", "12:01 WARN [cart] ok", "12:02 FATAL [db] down"];
        let batch = test.batch(&lines.map(Row::value)).unwrap();
        assert_eq!(batch.texts()[0], r#"{"component":"cart","level":"WARN","message":"17 \"gone\"","time":"12:00"}"#);
        assert_eq!((test.counter("lines_warn"), test.counter("lines_error"), test.counter("lines_of_other_levels")), (2, 0, 1));
    }

    #[test]
    fn what_does_not_match_leaves_as_it_came() {
        let mut test = TransformTest::<LogParse>::new("{}").unwrap();
        let batch = test.batch(&[Row::value("no log line"), Row::value(b"\xff"), Row::tombstone("k")]).unwrap();
        assert_eq!(batch.outputs.iter().map(|output| output.port.as_str()).collect::<Vec<_>>(), ["unparsed"; 3]);
    }

    #[test]
    fn a_pattern_of_the_jobs_own_names_the_fields() {
        let mut test = TransformTest::<LogParse>::new(r#"{"pattern": "^(?<a>x+)(?<b>y+)?$"}"#).unwrap();
        assert_eq!(test.batch(&[Row::value("xx")]).unwrap().texts(), [r#"{"a":"xx","b":null}"#]);
        assert!(TransformTest::<LogParse>::new(r#"{"pattern": "("}"#).is_err());
        assert!(TransformTest::<LogParse>::new(r#"{"pattern": "no groups"}"#).is_err());
    }
}
