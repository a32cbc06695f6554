//! A ledger per key, whose outputs say of which record they are, so that what is lost, repeated or reordered has a name.
//!
//! Values are two words: a number that the output repeats, and what to do. A decimal number is booked, `close` forgets all
//! of the key, `reject` rejects the record after it has been booked.

use weir_sdk::processor::{Context, Declare, Processor, Record};
use weir_sdk::{Error, MapState, Port, Raw, Result, Text, ValueState};

/// Parts of a ledger: a record is booked in the one of its amount.
const PARTS: u64 = 3;
/// Keys of the port `moved`.
const BUCKETS: u64 = 97;

/// Books amounts by key.
pub struct Ledger {
    /// `BOOKED SUM NUMBER`: how many records, their sum, the last one's number.
    account: ValueState<String, Raw>,
    /// How many records in each part.
    parts: MapState<String, String, Raw>,
    /// The amount, by the key of its bucket.
    moved: Port,
}

impl Processor for Ledger {
    fn init(declare: &mut Declare, _config: &str) -> Result<Self> {
        Ok(Self { account: declare.value_state("account", 1), parts: declare.map_state("parts", 1), moved: declare.port("moved") })
    }

    fn process(&mut self, record: Record<'_>, cx: &mut Context<'_>) -> Result {
        let text = record.text()?;
        let (number, what) = text.split_once(' ').ok_or_else(|| Error::reject("not two words"))?;
        if what == "close" {
            cx.delete(self.account);
            cx.map(self.parts).clear();
            cx.emit(Text(format_args!("{number} closed")));
            return Ok(());
        }
        let amount: u64 = if what == "reject" { 1 } else { what.parse()? };
        let before = cx.get(self.account)?.unwrap_or_default();
        let mut words = before.split(' ').map(|word| word.parse().unwrap_or(0));
        let (booked, sum): (u64, u64) = (words.next().unwrap_or(0) + 1, words.next().unwrap_or(0) + amount);
        cx.put(self.account, &format!("{booked} {sum} {number}"));
        let part = format!("p{}", amount % PARTS);
        let mut parts = cx.map(self.parts);
        let in_part = parts.get(&part)?.and_then(|count| count.parse().ok()).unwrap_or(0u64) + 1;
        parts.put(&part, &in_part.to_string());
        cx.emit(Text(format_args!("{number} {booked} {sum} {in_part}")));
        cx.output().port(self.moved).key(Text(format_args!("b{}", amount % BUCKETS))).value(Text(amount)).send();
        if what == "reject" { Err(Error::reject("told to reject")) } else { Ok(()) }
    }
}

weir_sdk::processor!(Ledger);

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::Ledger;
    use weir_sdk::testing::{ProcessorTest, Row};

    #[test]
    fn amounts_are_booked_and_a_reject_or_a_close_leaves_nothing() {
        let mut test = ProcessorTest::<Ledger>::new("{}").unwrap();
        let rows = ["0 5", "1 8", "2 reject", "3 6", "4 close", "5 7"].map(|value| Row::keyed("a", value));
        let batch = test.batch(0, &rows).unwrap();
        let moved = ["5", "8", "6", "7"];
        let (booked, amounts): (Vec<_>, Vec<_>) = batch.texts().into_iter().partition(|text| text.contains(' '));
        assert_eq!(booked, ["0 1 5 1", "1 2 13 2", "3 3 19 1", "4 closed", "5 1 7 1"]);
        assert_eq!(amounts, moved);
        assert_eq!(batch.rejects, [(2, "told to reject".to_owned())]);
    }
}
