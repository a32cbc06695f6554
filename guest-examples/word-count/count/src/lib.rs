//! Word count, second half: a running count per key.

use weir_sdk::processor::{Context, Declare, Processor, Record};
use weir_sdk::{Result, Text, ValueState};

/// Counts the records of each key.
pub struct Count {
    count: ValueState<u64>,
}

impl Processor for Count {
    fn init(declare: &mut Declare, _config: &str) -> Result<Self> {
        Ok(Self { count: declare.value_state("count", 1) })
    }

    fn process(&mut self, _record: Record<'_>, cx: &mut Context<'_>) -> Result {
        let count = cx.get(self.count)?.unwrap_or(0) + 1;
        cx.put(self.count, &count);
        cx.emit(Text(count)); // key, time and headers are the record's
        Ok(())
    }
}

weir_sdk::processor!(Count);

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::Count;
    use weir_sdk::testing::{ProcessorTest, Row};

    #[test]
    fn counts_go_on_within_a_batch_and_across_batches() {
        let mut test = ProcessorTest::<Count>::new("{}").unwrap();
        let rows = ["the", "cat", "the"].map(|word| Row::keyed(word, ""));
        assert_eq!(test.batch(0, &rows).unwrap().texts(), ["1", "1", "2"]);
        assert_eq!(test.batch(0, &rows).unwrap().texts(), ["3", "2", "4"]);
        let count = test.function().count;
        assert_eq!(test.value(count, "the").unwrap(), Some(4));
    }
}
