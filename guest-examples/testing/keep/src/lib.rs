//! Keeps the last value of each key, so that state is as large as its input makes it, and how many came before it.
//!
//! The output is the count, eight little-endian bytes, and the value's first eight bytes, by which its record is known
//! again. A shorter value is rejected.

use weir_sdk::processor::{Context, Declare, Processor, Record};
use weir_sdk::{Error, Raw, Result, ValueState};

/// Bytes of a count, and of what the output repeats of a value.
const BYTES: usize = 8;

/// Keeps what came last.
pub struct Keep {
    /// The count, and the value.
    kept: ValueState<Vec<u8>, Raw>,
}

impl Processor for Keep {
    fn init(declare: &mut Declare, _config: &str) -> Result<Self> {
        Ok(Self { kept: declare.value_state("kept", 1) })
    }

    fn process(&mut self, record: Record<'_>, cx: &mut Context<'_>) -> Result {
        let value = record.value.unwrap_or_default();
        let begin: &[u8; BYTES] = value.first_chunk().ok_or_else(|| Error::reject("a value of less than eight bytes"))?;
        let mut kept = cx.get(self.kept)?.unwrap_or_default();
        let count = kept.first_chunk().map_or(0, |count| u64::from_le_bytes(*count)) + 1;
        kept.clear();
        kept.extend(count.to_le_bytes());
        kept.extend(value);
        cx.put(self.kept, &kept);
        cx.emit_with(|out| {
            out.extend(count.to_le_bytes());
            out.extend(begin);
        });
        Ok(())
    }
}

weir_sdk::processor!(Keep);

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::Keep;
    use weir_sdk::testing::{ProcessorTest, Row};

    #[test]
    fn the_last_value_stays_and_all_are_counted_but_those_that_are_too_short() {
        let mut test = ProcessorTest::<Keep>::new("{}").unwrap();
        let batch = test.batch(0, &["one-of-them", "short", "the-last"].map(|value| Row::keyed("a", value))).unwrap();
        assert_eq!(batch.texts(), ["\u{1}\0\0\0\0\0\0\0one-of-t", "\u{2}\0\0\0\0\0\0\0the-last"]);
        assert_eq!(batch.rejects, [(1, "a value of less than eight bytes".to_owned())]);
        let kept = test.value(test.function().kept, "a").unwrap().unwrap();
        assert_eq!(kept, b"\x02\0\0\0\0\0\0\0the-last");
    }
}
