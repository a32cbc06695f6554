//! Counts per key, and misbehaves on command, each time after it has changed its state: the value `poison` traps,
//! `loop` never returns, `reject` rejects the record, `fail` fails the call.

use std::hint::black_box;
use weir_sdk::processor::{Context, Declare, Processor, Record};
use weir_sdk::{Error, Result, Text, ValueState};

/// Counts, and misbehaves on command.
pub struct Poison {
    count: ValueState<u64>,
}

impl Processor for Poison {
    fn init(declare: &mut Declare, _config: &str) -> Result<Self> {
        Ok(Self { count: declare.value_state("count", 1) })
    }

    #[expect(clippy::disallowed_methods, reason = "the trap is what the job asked for")]
    fn process(&mut self, record: Record<'_>, cx: &mut Context<'_>) -> Result {
        let count = cx.get(self.count)?.unwrap_or(0) + 1;
        cx.put(self.count, &count);
        cx.emit(Text(count));
        match record.value {
            Some(b"poison") => std::process::abort(),
            Some(b"loop") => loop {
                black_box(());
            },
            Some(b"reject") => Err(Error::reject("told to reject")),
            Some(b"fail") => Err(Error::failed("told to fail")),
            _ => Ok(()),
        }
    }
}

weir_sdk::processor!(Poison);

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::Poison;
    use weir_sdk::bindings::Fault;
    use weir_sdk::testing::{ProcessorTest, Row};

    #[test]
    fn a_reject_undoes_the_count_of_its_record_only() {
        let mut test = ProcessorTest::<Poison>::new("{}").unwrap();
        let batch = test.batch(0, &["", "reject", ""].map(|value| Row::keyed("a", value))).unwrap();
        assert_eq!(batch.texts(), ["1", "2"]);
        assert_eq!(batch.rejects, [(1, "told to reject".to_owned())]);
    }

    #[test]
    fn a_failed_call_changes_nothing() {
        let mut test = ProcessorTest::<Poison>::new("{}").unwrap();
        let fault = test.batch(0, &["", "fail"].map(|value| Row::keyed("a", value)));
        assert_eq!(fault, Err(Fault::Failed("told to fail".to_owned())));
        assert_eq!(test.batch(0, &[Row::keyed("a", "")]).unwrap().texts(), ["1"]);
    }
}
