//! The oracle: works out from the seed what has to be there after so many records, apart from the host and the guests,
//! and names what is not.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rdkafka::message::Message;
use serde_json::Value;

use super::workload::{BUCKETS, PARTS, What, Workload, inputs};
use crate::wait;
use crate::weir::{Folder, code};

/// Longest time from a commit's answer until the broker is done with it.
const OVER: Duration = Duration::from_secs(5);
/// Names of findings that a report shows.
const SHOWN: usize = 20;

/// Of each key its records in order: the number of the record that it comes of, and what it says.
pub type Sequences = HashMap<String, Vec<(u64, String)>>;
/// Operator, state, key and the key in the map, if it is one.
type StateKey = (String, String, String, Option<String>);

/// What has to be there.
#[derive(Clone, Debug, Default)]
pub struct Model {
    entries: Sequences,
    moves: Sequences,
    letters: Sequences,
    state: BTreeMap<StateKey, String>,
}

#[derive(Default)]
struct Ledger {
    booked: u64,
    sum: u64,
    last: u64,
    parts: [u64; PARTS as usize],
}

impl Model {
    /// Of the first `sent` records of a seed.
    pub fn of(seed: u64, sent: u64) -> Self {
        let mut model = Self::default();
        let mut ledgers: HashMap<u64, Ledger> = HashMap::new();
        let mut buckets = vec![0u64; BUCKETS as usize];
        for input in inputs(seed).take(sent as usize) {
            let (number, key) = (input.number, input.key());
            match input.what {
                What::Close => {
                    ledgers.remove(&input.key);
                    model.entries.entry(key).or_default().push((number, "closed".into()));
                }
                What::Reject => model.letters.entry(key).or_default().push((number, "reject".into())),
                What::Book(amount) => {
                    let ledger = ledgers.entry(input.key).or_default();
                    (ledger.booked, ledger.sum, ledger.last) = (ledger.booked + 1, ledger.sum + amount, number);
                    let part = &mut ledger.parts[(amount % PARTS) as usize];
                    *part += 1;
                    let said = format!("{} {} {part}", ledger.booked, ledger.sum);
                    model.entries.entry(key).or_default().push((number, said));
                    let bucket = amount % BUCKETS;
                    buckets[bucket as usize] += 1;
                    // Which worker is first is chance, so a bucket's count says nothing of its record.
                    model.moves.entry(format!("b{bucket}")).or_default().push((buckets[bucket as usize], String::new()));
                }
            }
        }
        for (key, ledger) in ledgers {
            let key = format!("k{key}");
            let account = format!("{} {} {}", ledger.booked, ledger.sum, ledger.last);
            model.state.insert(("ledger".into(), "account".into(), key.clone(), None), account);
            for (part, count) in ledger.parts.iter().enumerate().filter(|(_, count)| **count > 0) {
                model.state.insert(("ledger".into(), "parts".into(), key.clone(), Some(format!("p{part}"))), count.to_string());
            }
        }
        for (bucket, count) in buckets.iter().enumerate().filter(|(_, count)| **count > 0) {
            model.state.insert(("tally".into(), "count".into(), format!("b{bucket}"), None), count.to_string());
        }
        model
    }
}

/// What is not as it has to be, each by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Records of which nothing came out.
    pub lost: Vec<String>,
    /// Outputs that came again, or that nothing asked for.
    pub duplicated: Vec<String>,
    /// Outputs that came after a later one of their key.
    pub reordered: Vec<String>,
    /// State, and outputs computed from state, that is not the model's.
    pub state_mismatch: Vec<String>,
    /// Input that is not committed, and transactions left open.
    pub unfinished: Vec<String>,
}

impl Findings {
    /// Whether all is as it has to be.
    pub fn is_empty(&self) -> bool {
        self.all().iter().all(|(_, names)| names.is_empty())
    }

    fn all(&self) -> [(&'static str, &Vec<String>); 5] {
        [
            ("lost", &self.lost),
            ("duplicated", &self.duplicated),
            ("reordered", &self.reordered),
            ("state mismatch", &self.state_mismatch),
            ("unfinished", &self.unfinished),
        ]
    }

    /// Compares what came out on one topic.
    pub fn compare(&mut self, topic: &str, expected: &Sequences, mut found: Sequences) {
        for (key, expected) in expected {
            let found = found.remove(key).unwrap_or_default();
            if found == *expected {
                continue;
            }
            let (wanted, mut seen): (HashMap<_, _>, HashSet<u64>) = (expected.iter().cloned().collect(), HashSet::new());
            let mut highest = None;
            for (number, said) in found {
                let name = format!("{topic} {key} record {number}");
                match wanted.get(&number) {
                    None => self.duplicated.push(format!("{name}: never asked for")),
                    Some(_) if !seen.insert(number) => self.duplicated.push(name),
                    Some(_) if highest > Some(number) => self.reordered.push(format!("{name} after {}", highest.unwrap_or_default())),
                    Some(wanted) if *wanted != said => self.state_mismatch.push(format!("{name}: `{said}` and not `{wanted}`")),
                    Some(_) => {}
                }
                highest = highest.max(Some(number));
            }
            let lost = expected.iter().filter(|(number, _)| !seen.contains(number));
            self.lost.extend(lost.map(|(number, _)| format!("{topic} {key} record {number}")));
        }
        for (key, found) in found {
            self.duplicated.extend(found.iter().map(|(number, _)| format!("{topic} {key} record {number}: never asked for")));
        }
    }

    fn compare_state(&mut self, expected: &BTreeMap<StateKey, String>, mut found: BTreeMap<StateKey, String>) {
        for (key, wanted) in expected {
            match found.remove(key) {
                Some(value) if value == *wanted => {}
                Some(value) => self.state_mismatch.push(format!("{key:?}: `{value}` and not `{wanted}`")),
                None => self.state_mismatch.push(format!("{key:?}: absent, and not `{wanted}`")),
            }
        }
        self.state_mismatch.extend(found.into_iter().map(|(key, value)| format!("{key:?}: `{value}`, and not absent")));
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, names) in self.all() {
            writeln!(f, "{what}: {}", names.len())?;
            names.iter().take(SHOWN).try_for_each(|name| writeln!(f, "  {name}"))?;
        }
        Ok(())
    }
}

impl Workload<'_> {
    /// Compares outputs and state with the model of `sent` records of the seed. The job has ended.
    #[track_caller]
    pub fn judge(&self, folder: &Folder, seed: u64, sent: u64) -> Findings {
        let (model, mut findings) = (Model::of(seed, sent), Findings::default());
        let words = |text: &str| text.split_once(' ').map(|(number, said)| (number.parse().unwrap_or(u64::MAX), said.to_owned()));
        let split = |text: &str| words(text).unwrap_or((u64::MAX, text.to_owned()));
        findings.compare("entries", &model.entries, self.sequences(&self.entries, split));
        findings.compare("letters", &model.letters, self.sequences(&self.letters, split));
        let count = |text: &str| (text.parse().unwrap_or(u64::MAX), String::new());
        findings.compare("moves", &model.moves, self.sequences(&self.moves, count));
        findings.compare_state(&model.state, dumped(folder));
        if !self.broker.is_at_end(&self.job.group(), &self.input) {
            findings.unfinished.push("the committed offsets are not the ends of the input".into());
        }
        // The job has ended, and the broker may just be telling the partitions.
        let over = || self.broker.is_transaction_over(&self.job.group()).then_some(());
        if wait::for_some(OVER, over).is_none() {
            findings.unfinished.push("a transaction of the job is open".into());
        }
        findings
    }

    fn sequences(&self, topic: &str, split: impl Fn(&str) -> (u64, String)) -> Sequences {
        let mut sequences = Sequences::new();
        self.broker.consume_each(topic, |message| {
            let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
            sequences.entry(text(message.key())).or_default().push(split(&text(message.payload())));
        });
        sequences
    }
}

/// The state in the folder's newest checkpoint.
#[track_caller]
fn dumped(folder: &Folder) -> BTreeMap<StateKey, String> {
    let dump = folder.command(&["state", "dump", "job.yaml"]).expect(code::OK).text();
    dump.lines().map(entry).collect()
}

#[track_caller]
fn entry(line: &str) -> (StateKey, String) {
    let entry: Value = serde_json::from_str(line).expect("a line of JSON");
    let text = |field: &str| entry[field].as_str().map(str::to_owned);
    let encoded = |field: &str| STANDARD.decode(text(&format!("{field}Base64"))?).ok();
    let bytes = |field: &str| text(field).map(String::into_bytes).or_else(|| encoded(field)).unwrap_or_default();
    let operator = text("operator").expect("an operator");
    // The guest `count` stores a number as the SDK does, in groups of seven bits; the ledger stores text.
    let value = match operator.as_str() {
        "tally" => bytes("value").iter().rev().fold(0u64, |number, byte| number << 7 | u64::from(byte & 0x7f)).to_string(),
        _ => String::from_utf8_lossy(&bytes("value")).into_owned(),
    };
    let key = String::from_utf8_lossy(&bytes("key")).into_owned();
    ((operator, text("state").expect("a state"), key, text("mapKey")), value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: u64 = 3;
    const SENT: u64 = 130_000;

    fn spoilt(model: &Model, spoil: impl FnOnce(&mut Vec<(u64, String)>)) -> Findings {
        let mut found = model.entries.clone();
        spoil(found.values_mut().find(|found| found.len() > 3).unwrap());
        let mut findings = Findings::default();
        findings.compare("entries", &model.entries, found);
        findings
    }

    fn numbers(findings: &Findings) -> [usize; 5] {
        findings.all().map(|(_, names)| names.len())
    }

    #[test]
    fn each_spoilt_output_is_named_as_what_it_is() {
        let model = Model::of(SEED, SENT);
        let spoilt = |spoil: fn(&mut Vec<(u64, String)>)| spoilt(&model, spoil);
        assert!(spoilt(|_| {}).is_empty());
        let lost = spoilt(|found| drop(found.remove(1)));
        assert_eq!(numbers(&lost), [1, 0, 0, 0, 0], "{lost}");
        assert_eq!(numbers(&spoilt(|found| found.push(found[1].clone()))), [0, 1, 0, 0, 0]);
        assert_eq!(numbers(&spoilt(|found| found.push((u64::MAX, String::new())))), [0, 1, 0, 0, 0]);
        assert_eq!(numbers(&spoilt(|found| found.swap(1, 2))), [0, 0, 1, 0, 0]);
        assert_eq!(numbers(&spoilt(|found| found[1].1 = "0 0 0".into())), [0, 0, 0, 1, 0]);
    }

    #[test]
    fn state_that_differs_is_missing_or_is_too_much_is_named() {
        let model = Model::of(SEED, SENT).state;
        for spoil in [|value: &mut String| value.push('0'), |value: &mut String| value.clear()] {
            let (mut found, mut findings) = (model.clone(), Findings::default());
            spoil(found.values_mut().next().unwrap());
            findings.compare_state(&model, found);
            assert_eq!(numbers(&findings), [0, 0, 0, 1, 0]);
        }
        let (mut less, mut findings) = (model.clone(), Findings::default());
        less.pop_first();
        findings.compare_state(&model, less.clone());
        findings.compare_state(&less, model);
        assert_eq!(numbers(&findings), [0, 0, 0, 2, 0]);
    }

    #[test]
    fn a_dumped_entry_is_read_whether_it_is_text_or_not() {
        let line = r#"{"operator":"tally","state":"count","shard":1,"key":"b1","version":1,"valueBase64":"rAI="}"#;
        assert_eq!(entry(line), (("tally".into(), "count".into(), "b1".into(), None), "300".into()));
        let line = r#"{"operator":"ledger","state":"parts","shard":1,"key":"k1","mapKey":"p1","version":1,"value":"7"}"#;
        assert_eq!(entry(line), (("ledger".into(), "parts".into(), "k1".into(), Some("p1".into())), "7".into()));
    }
}
