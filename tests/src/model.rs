//! What the example guests should make of records: naive, one record at a time, and apart from their code.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};

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

/// The guest `enrich-and-branch`: per port its records. `regions` are pairs of a country and a region. Of what is invalid,
/// the reason in the header is left out.
pub fn enrich_and_branch(records: &[Record], regions: &[(&str, &str)], large_from: u64) -> BTreeMap<String, Vec<Record>> {
    let mut ports: BTreeMap<String, Vec<Record>> = BTreeMap::new();
    for record in records {
        let order = record.value.as_deref().and_then(|value| serde_json::from_slice::<Value>(value).ok());
        let (port, output) = match order.as_ref().and_then(|order| enriched(order, regions, large_from)) {
            Some((region, id, value)) => {
                let output = Record { key: Some(id.into_bytes()), value: Some(value.into_bytes()), ..record.clone() };
                (region.unwrap_or_default(), output)
            }
            None => ("invalid".to_owned(), Record { headers: vec![], ..record.clone() }),
        };
        ports.entry(port).or_default().push(output);
    }
    ports
}

fn enriched(order: &Value, regions: &[(&str, &str)], large_from: u64) -> Option<(Option<String>, String, String)> {
    let (id, country) = (order["id"].as_str()?, order["country"].as_str()?);
    let (mut pieces, mut total) = (0u64, 0u128);
    for item in order["items"].as_array()? {
        let (quantity, cents) = (item["quantity"].as_u64()?, item["cents"].as_u64()?);
        item["sku"].as_str()?;
        if quantity == 0 || quantity > u64::from(u32::MAX) {
            return None;
        }
        pieces += quantity;
        total += u128::from(quantity) * u128::from(cents);
    }
    if id.is_empty() || pieces == 0 || total > u128::from(u64::MAX) {
        return None;
    }
    let region = regions.iter().find(|(of, _)| *of == country).map(|(_, region)| (*region).to_owned());
    let class = if total >= u128::from(large_from) { "large" } else { "small" };
    let value = format!(
        r#"{{"id":{},"country":{},"region":{},"items":{pieces},"cents":{total},"class":"{class}"}}"#,
        json!(id),
        json!(country),
        json!(region)
    );
    Some((region, id.to_owned(), value))
}

/// The guest `fraud-velocity`: alerts on more than `payments` within `within_ms`, and on amounts over `jump` times the
/// average.
pub fn fraud_velocity(records: &[Record], payments: usize, within_ms: i64, jump: u128) -> Vec<Record> {
    // Per card its payments so far: time, merchant, cents.
    let mut history: HashMap<Vec<u8>, Vec<(i64, String, u128)>> = HashMap::new();
    let mut output = vec![];
    for record in records {
        let Some(card) = record.key.as_deref().filter(|key| key.len() <= LONGEST_KEY) else { continue };
        let payment = record.value.as_deref().and_then(|value| serde_json::from_slice::<Value>(value).ok());
        let parts = payment.as_ref().and_then(|payment| Some((payment["merchant"].as_str()?, payment["cents"].as_u64()?)));
        let Some((merchant, cents)) = parts else { continue };
        let earlier = history.entry(card.to_vec()).or_default();
        let before = earlier.iter().filter(|(_, at, _)| at == merchant).count();
        let spent: u128 = earlier.iter().map(|(_, _, cents)| cents).sum();
        let too_much = earlier.len() >= 3 && u128::from(cents) * earlier.len() as u128 > spent * jump;
        earlier.push((record.timestamp, merchant.to_owned(), u128::from(cents)));
        let newest = earlier.iter().map(|(time, ..)| *time).max().expect("the payment itself");
        let times = || earlier.iter().map(|(time, ..)| *time);
        // Any stretch of the configured length that begins with a payment and holds this one.
        let too_many = record.timestamp > newest - within_ms
            && times().any(|first| {
                let inside = |time: &i64| (first..first + within_ms).contains(time);
                inside(&record.timestamp) && times().filter(inside).count() > payments
            });
        for (broken, rule) in [(too_many, "velocity"), (too_much, "jump")] {
            if broken {
                let alert = format!(r#"{{"rule":"{rule}","merchant":{},"cents":{cents},"before":{before}}}"#, json!(merchant));
                output.push(Record { value: Some(alert.into_bytes()), ..record.clone() });
            }
        }
    }
    output
}

/// The guest `log-parse` with its own pattern: what is parsed, and what is not.
pub fn log_parse(records: &[Record]) -> (Vec<Record>, Vec<Record>) {
    let (mut parsed, mut unparsed) = (vec![], vec![]);
    for record in records {
        let text = record.value.as_deref().and_then(|value| std::str::from_utf8(value).ok());
        match text.and_then(log_line) {
            Some(json) => parsed.push(Record { value: Some(json.into_bytes()), ..record.clone() }),
            None => unparsed.push(record.clone()),
        }
    }
    (parsed, unparsed)
}

fn log_line(line: &str) -> Option<String> {
    let (time, rest) = line.split_once(' ')?;
    let (level, rest) = rest.split_once(' ')?;
    let (component, message) = rest.strip_prefix('[')?.split_once("] ")?;
    let is_level = !level.is_empty() && level.bytes().all(|byte| byte.is_ascii_uppercase());
    let fits = !time.is_empty() && !time.contains(char::is_whitespace) && is_level && !component.is_empty();
    (fits && !component.contains(']') && !message.contains('\n')).then(|| {
        format!(r#"{{"component":{},"level":{},"message":{},"time":{}}}"#, json!(component), json!(level), json!(message), json!(time))
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
