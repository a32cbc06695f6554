//! The running average of the numbers of a key. Values are decimal text; what is no finite number is rejected.

use serde::{Deserialize, Serialize};
use weir_sdk::processor::{Context, Declare, Processor, Record};
use weir_sdk::{Error, Result, Text, ValueState};

#[derive(Default, Serialize, Deserialize)]
struct Numbers {
    sum: f64,
    count: u64,
}

/// Averages the numbers of each key.
pub struct Average {
    numbers: ValueState<Numbers>,
}

impl Processor for Average {
    fn init(declare: &mut Declare, _config: &str) -> Result<Self> {
        Ok(Self { numbers: declare.value_state("numbers", 1) })
    }

    fn process(&mut self, record: Record<'_>, cx: &mut Context<'_>) -> Result {
        let number: f64 = record.text()?.trim().parse()?;
        if !number.is_finite() {
            return Err(Error::reject("not a finite number"));
        }
        let mut numbers = cx.get(self.numbers)?.unwrap_or_default();
        numbers.sum += number;
        numbers.count += 1;
        cx.put(self.numbers, &numbers);
        cx.emit(Text(numbers.sum / numbers.count as f64));
        Ok(())
    }
}

weir_sdk::processor!(Average);

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::Average;
    use weir_sdk::testing::{ProcessorTest, Row};

    #[test]
    fn what_is_no_number_is_rejected_and_does_not_count() {
        let mut test = ProcessorTest::<Average>::new("{}").unwrap();
        let batch = test.batch(0, &["1", "x", "2"].map(|number| Row::keyed("a", number))).unwrap();
        assert_eq!(batch.texts(), ["1", "1.5"]);
        assert_eq!(batch.rejects, [(1, "invalid float literal".to_owned())]);
    }
}
