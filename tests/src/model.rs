//! What the example guests should make of records: naive, one record at a time, and apart from their code.

use std::collections::{BTreeMap, HashMap};

use crate::records::Record;

/// The longest key that an operator with `key: record` takes, in bytes.
const LONGEST_KEY: usize = 1024;

/// Every record as it is.
pub fn copy(records: &[Record]) -> Vec<Record> {
    records.to_vec()
}

/// The guest `passthrough`: bit 5 of every byte of the value flipped.
pub fn passthrough(records: &[Record]) -> Vec<Record> {
    let mut output = records.to_vec();
    for value in output.iter_mut().filter_map(|record| record.value.as_mut()) {
        for byte in value {
            *byte = if *byte & 32 == 0 { *byte + 32 } else { *byte - 32 };
        }
    }
    output
}

/// The guest `filter-map`: values that contain a text, their ASCII letters in upper case.
pub fn filter_map(records: &[Record], contains: &str) -> Vec<Record> {
    let mut output = vec![];
    for record in records {
        let Some(value) = &record.value else { continue };
        if (0..value.len()).any(|start| value[start..].starts_with(contains.as_bytes())) {
            output.push(Record { value: Some(value.to_ascii_uppercase()), ..record.clone() });
        }
    }
    output
}

/// The words of a line as Java's `\W+` splits it, in lower case: runs of ASCII letters, digits and `_`.
pub fn words(line: &[u8]) -> Vec<String> {
    let mut words = vec![];
    let mut word = String::new();
    for byte in line.iter().chain(b" ") {
        match char::from(*byte) {
            character @ ('a'..='z' | 'A'..='Z' | '0'..='9' | '_') => word.push(character.to_ascii_lowercase()),
            _ if word.is_empty() => {}
            _ => words.push(std::mem::take(&mut word)),
        }
    }
    words
}

/// The guests `split` and `count`: the running count of each word, keyed by the word. Time and headers are left out.
pub fn word_count(records: &[Record]) -> Vec<Record> {
    let mut counts: HashMap<String, u64> = HashMap::new();
    let mut output = vec![];
    for word in records.iter().filter_map(|record| record.value.as_deref()).flat_map(words) {
        let count = counts.entry(word.clone()).or_default();
        *count += 1;
        output.push(Record::keyed(word, count.to_string()));
    }
    output
}

/// The guest `count`: the running count of each key.
pub fn count(records: &[Record]) -> Vec<Record> {
    let mut counts: HashMap<Vec<u8>, u64> = HashMap::new();
    keyed(records, |key, _| {
        let count = counts.entry(key.to_vec()).or_default();
        *count += 1;
        vec![count.to_string()]
    })
}

/// The guest `keyed-average`: the running average of the finite numbers of each key; anything else is rejected.
pub fn keyed_average(records: &[Record]) -> Vec<Record> {
    let mut numbers: HashMap<Vec<u8>, Vec<f64>> = HashMap::new();
    keyed(records, |key, value| {
        let text = value.and_then(|value| std::str::from_utf8(value).ok());
        let Some(number) = text.and_then(|text| text.trim().parse::<f64>().ok()).filter(|number| number.is_finite()) else { return vec![] };
        let numbers = numbers.entry(key.to_vec()).or_default();
        numbers.push(number);
        // From the left, as a running sum adds up: floating point addition is not associative.
        let sum = numbers.iter().fold(0.0, |sum, number| sum + number);
        vec![(sum / numbers.len() as f64).to_string()]
    })
}

/// The guest `map-counts`: counts each value by key; `?` lists, `!` forgets all, `-value` forgets one.
pub fn map_counts(records: &[Record]) -> Vec<Record> {
    let mut counts: BTreeMap<(Vec<u8>, String), u64> = BTreeMap::new();
    keyed(records, |key, value| {
        let Some(text) = value.and_then(|value| std::str::from_utf8(value).ok()) else { return vec![] };
        let of_key = |(owner, _): &(Vec<u8>, String)| owner == key;
        match (text, text.strip_prefix('-')) {
            ("?", _) => counts.iter().filter(|(place, _)| of_key(place)).map(|((_, value), count)| format!("{value}={count}")).collect(),
            ("!", _) => {
                counts.retain(|place, _| !of_key(place));
                vec![]
            }
            (_, Some(value)) => {
                counts.remove(&(key.to_vec(), value.to_owned()));
                vec![]
            }
            (value, None) => {
                let count = counts.entry((key.to_vec(), value.to_owned())).or_default();
                *count += 1;
                vec![count.to_string()]
            }
        }
    })
}

/// The outputs of a keyed function, each with key, time and headers of its input. Records that no keyed operator takes,
/// for they have no key or too long a one, are left out.
fn keyed(records: &[Record], mut function: impl FnMut(&[u8], Option<&[u8]>) -> Vec<String>) -> Vec<Record> {
    let mut output = vec![];
    for record in records {
        let Some(key) = record.key.as_deref().filter(|key| key.len() <= LONGEST_KEY) else { continue };
        for value in function(key, record.value.as_deref()) {
            output.push(Record { value: Some(value.into_bytes()), ..record.clone() });
        }
    }
    output
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(output: &[Record]) -> Vec<String> {
        output.iter().map(Record::text).collect()
    }

    fn keyed_by_k(values: &[&str]) -> Vec<Record> {
        values.iter().map(|value| Record::keyed("k", *value)).collect()
    }

    #[test]
    fn words_are_what_java_calls_words() {
        assert_eq!(words(" To be, or NOT to_be: 2b?naïve".as_bytes()), ["to", "be", "or", "not", "to_be", "2b", "na", "ve"]);
    }

    #[test]
    fn what_is_no_number_does_not_count() {
        assert_eq!(texts(&keyed_average(&keyed_by_k(&["1", "x", "inf", " 2 "]))), ["1", "1.5"]);
    }

    #[test]
    fn commands_list_and_forget() {
        assert_eq!(
            texts(&map_counts(&keyed_by_k(&["b", "a", "b", "?", "-a", "?", "!", "?", "b"]))),
            ["1", "1", "2", "a=1", "b=2", "b=2", "1"]
        );
    }

    #[test]
    fn passthrough_twice_is_the_input() {
        let records = [Record::keyed("k", (0..=255).collect::<Vec<u8>>())];
        assert_ne!(passthrough(&records), records);
        assert_eq!(passthrough(&passthrough(&records)), records);
    }
}
