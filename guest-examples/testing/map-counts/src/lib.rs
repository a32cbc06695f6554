//! Counts each value per key in a map state, and emits the count.
//!
//! Commands instead of a value: `?` emits all counts as `value=count` in order of the values, `!` forgets them all,
//! `-value` forgets one. With `"prefetch": true` in the configuration, a batch reads its counts in one call.

use serde::Deserialize;
use weir_sdk::processor::{Context, Declare, Prefetch, Processor, Record};
use weir_sdk::{MapState, Result, Text, config};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    prefetch: bool,
    /// Entries per scan.
    page: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { prefetch: false, page: 100 }
    }
}

/// Counts the values of each key.
pub struct MapCounts {
    config: Config,
    counts: MapState<String, u64>,
}

impl Processor for MapCounts {
    fn init(declare: &mut Declare, json: &str) -> Result<Self> {
        Ok(Self { config: config(json)?, counts: declare.map_state("counts", 1) })
    }

    fn process(&mut self, record: Record<'_>, cx: &mut Context<'_>) -> Result {
        match record.text()? {
            "?" => self.emit_all(cx)?,
            "!" => cx.map(self.counts).clear(),
            value => match value.strip_prefix('-') {
                Some(value) => cx.map(self.counts).remove(value),
                None => {
                    let mut counts = cx.map(self.counts);
                    let count = counts.get(value)?.unwrap_or(0) + 1;
                    counts.put(value, &count);
                    cx.emit(Text(count));
                }
            },
        }
        Ok(())
    }

    fn prefetch(&self, record: &Record<'_>, wanted: &mut Prefetch<'_>) {
        if let (true, Ok(value)) = (self.config.prefetch, record.text()) {
            wanted.map(self.counts, value);
        }
    }
}

impl MapCounts {
    fn emit_all(&self, cx: &mut Context<'_>) -> Result {
        let mut last: Option<String> = None;
        loop {
            let page = cx.map(self.counts).scan(last.as_ref(), self.config.page)?;
            let Some((value, _)) = page.last() else { return Ok(()) };
            last = Some(value.clone());
            for (value, count) in page {
                cx.emit(Text(format_args!("{value}={count}")));
            }
        }
    }
}

weir_sdk::processor!(MapCounts);

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::MapCounts;
    use weir_sdk::testing::{ProcessorTest, Row};

    const COMMANDS: [[&str; 8]; 3] =
        [["b", "a", "b", "d", "c", "?", "-c", "?"], ["?", "a", "-b", "c", "?", "a", "e", "?"], ["f", "!", "?", "a", "b", "?", "a", "?"]];

    fn run(config: &str) -> Vec<Vec<String>> {
        let mut test = ProcessorTest::<MapCounts>::new(config).unwrap();
        COMMANDS.iter().map(|batch| test.batch(0, &batch.map(|value| Row::keyed("k", value))).unwrap().texts()).collect()
    }

    #[test]
    fn scans_see_stored_entries_and_those_of_the_running_batch() {
        let outputs = run("{}");
        assert_eq!(outputs[0], ["1", "1", "2", "1", "1", "a=1", "b=2", "c=1", "d=1", "a=1", "b=2", "d=1"]);
        assert_eq!(outputs[1][..4], ["a=1", "b=2", "d=1", "2"]);
        assert_eq!(outputs[1][4..], ["1", "a=2", "c=1", "d=1", "3", "1", "a=3", "c=1", "d=1", "e=1"]);
        assert_eq!(outputs[2], ["1", "1", "1", "a=1", "b=1", "2", "a=2", "b=1"]);
    }

    #[test]
    fn neither_prefetching_nor_small_pages_change_what_comes_out() {
        let outputs = run("{}");
        for config in [r#"{"prefetch": true}"#, r#"{"page": 1}"#, r#"{"prefetch": true, "page": 2}"#] {
            assert_eq!(run(config), outputs, "{config}");
        }
    }
}
