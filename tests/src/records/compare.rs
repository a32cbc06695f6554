//! Comparing output with what is expected of it.

use std::collections::BTreeMap;

use super::{Record, shown};

type Sequences<'a> = BTreeMap<Option<&'a [u8]>, Vec<&'a Record>>;

/// Fails the test unless both hold the same records as multisets, and the records of each key in the same order.
/// Records without a key have no order. `what` names the run.
#[track_caller]
pub fn assert_equal_by_key(what: &str, actual: &[Record], expected: &[Record]) {
    let totals = format!("{} records of {}", actual.len(), expected.len());
    let (actual, expected) = (sequences(actual), sequences(expected));
    for (key, wanted) in &expected {
        let found = actual.get(key).map_or(&[][..], Vec::as_slice);
        if found != wanted {
            let position = found.iter().zip(wanted).take_while(|(one, other)| one == other).count();
            panic!(
                "{what} ({totals}): key {} has {} records and not {}; the first that differs is number {position}: {:?} and not {:?}",
                shown(*key),
                found.len(),
                wanted.len(),
                found.get(position),
                wanted.get(position)
            );
        }
    }
    if let Some((key, found)) = actual.iter().find(|(key, _)| !expected.contains_key(*key)) {
        panic!("{what}: key {} was not expected, and has {} records, the first is {:?}", shown(*key), found.len(), found[0]);
    }
}

fn sequences(records: &[Record]) -> Sequences<'_> {
    let mut sequences = Sequences::new();
    for record in records {
        sequences.entry(record.key.as_deref()).or_default().push(record);
    }
    if let Some(unordered) = sequences.get_mut(&None) {
        unordered.sort();
    }
    sequences
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(rows: &[(&str, &str)]) -> Vec<Record> {
        rows.iter().map(|(key, value)| Record::keyed(*key, *value)).collect()
    }

    #[test]
    fn keys_may_interleave_in_any_way() {
        assert_equal_by_key("", &records(&[("a", "1"), ("b", "1"), ("a", "2")]), &records(&[("b", "1"), ("a", "1"), ("a", "2")]));
    }

    #[test]
    #[should_panic(expected = "key \"a\" has 2 records and not 2; the first that differs is number 0")]
    fn the_order_of_a_key_counts() {
        assert_equal_by_key("", &records(&[("a", "2"), ("a", "1")]), &records(&[("a", "1"), ("a", "2")]));
    }

    #[test]
    #[should_panic(expected = "key \"a\" has 2 records and not 1")]
    fn a_duplicate_counts() {
        assert_equal_by_key("", &records(&[("a", "1"), ("a", "1")]), &records(&[("a", "1")]));
    }

    #[test]
    #[should_panic(expected = "key \"b\" was not expected")]
    fn a_key_too_many_counts() {
        assert_equal_by_key("", &records(&[("a", "1"), ("b", "1")]), &records(&[("a", "1")]));
    }
}
