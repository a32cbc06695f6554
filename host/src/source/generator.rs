//! Made-up records: record `i` depends on the seed and on `i` alone, so a run resumes anywhere without looking back.
//!
//! Keys and values are frozen, as a checkpoint may be resumed by a later version; only the event time, which is when
//! the record was made, differs from run to run.

#![expect(clippy::indexing_slicing, reason = "a line's buffer has room for its most words, and a table's entries are word numbers")]

use std::time::{Duration, Instant};

use weir_spec::{GeneratorSource, Template};

use super::random::Random;
use super::words::{WORD_ROOM, Words};
use super::{FetchLimits, Fetched};
use crate::clock;
use crate::record::{Batch, Origin, RowRef};

/// Words of a line: at least, and how many numbers from there are as likely.
const FEWEST_WORDS: u64 = 4;
const WORD_COUNTS: u64 = 11;
const MOST_WORDS: usize = (FEWEST_WORDS + WORD_COUNTS) as usize - 1;

/// Records made up by the host.
pub struct Generator {
    content: Content,
    seed: u64,
    split: u32,
    next: u64,
    /// One past the last record.
    end: u64,
    pace: Option<Pace>,
}

impl Generator {
    pub(super) fn new(spec: &GeneratorSource, split: u32, start: u64) -> Self {
        Self {
            content: Content::new(&spec.template),
            seed: spec.seed,
            split,
            next: start,
            // Positions are signed, so an endless generator ends with them, after 292 years of a record a nanosecond.
            end: spec.count.unwrap_or(u64::MAX).min(i64::MAX as u64),
            pace: spec.rate.map(|rate| Pace { rate, since: clock::monotonic(), made: 0 }),
        }
    }

    pub(super) fn fetch(&mut self, limits: FetchLimits, into: &mut Batch) -> Fetched {
        if self.next >= self.end {
            return Fetched::End;
        }
        let due = self.pace.as_ref().map_or(u64::MAX, |pace| pace.due(clock::since(pace.since)));
        if due == 0 {
            return Fetched::Idle;
        }
        let last = self.next.saturating_add(due).min(self.end);
        let (bytes_before, now) = (into.data_len(), clock::now_ms());
        let mut made = 0;
        while self.next < last && !limits.reached(made, into.data_len() - bytes_before) {
            let (key, value) = self.content.make(self.seed, self.next);
            let origin = Origin { split: self.split, offset: self.next as i64 };
            into.push(RowRef { key, value: Some(value), timestamp: now, origin });
            self.next += 1;
            made += 1;
        }
        if let Some(pace) = &mut self.pace {
            pace.made += made as u64;
        }
        Fetched::Records(made)
    }

    pub(super) fn position(&self) -> i64 {
        self.next as i64
    }

    pub(super) fn next_wake(&self) -> Option<Duration> {
        let pace = self.pace.as_ref().filter(|_| self.next < self.end)?;
        Some(pace.wait(clock::since(pace.since)))
    }
}

/// How fast records are made: record `n` of this run is due `n / rate` seconds after its start. A generator that was
/// held up makes up for it, as the outside world would.
struct Pace {
    /// Records per second.
    rate: u64,
    since: Instant,
    /// Records made since then.
    made: u64,
}

const NANOS: u128 = 1_000_000_000;

impl Pace {
    /// How many records may be made now.
    fn due(&self, elapsed: Duration) -> u64 {
        let due = elapsed.as_nanos() * u128::from(self.rate) / NANOS + 1;
        u64::try_from(due).unwrap_or(u64::MAX).saturating_sub(self.made)
    }

    /// How long until one is due.
    fn wait(&self, elapsed: Duration) -> Duration {
        let at = (u128::from(self.made) * NANOS).div_ceil(u128::from(self.rate.max(1)));
        Duration::from_nanos(u64::try_from(at).unwrap_or(u64::MAX)).saturating_sub(elapsed)
    }
}

/// Makes keys and values in buffers that it keeps.
enum Content {
    Lines { words: Box<Words>, line: [u8; MOST_WORDS * WORD_ROOM] },
    Sequence { value: Vec<u8> },
    Keyed { keys: u64, key: Vec<u8>, value: Vec<u8> },
}

const KEY_PREFIX: &[u8] = b"key-";

impl Content {
    fn new(template: &Template) -> Self {
        match template {
            Template::Lines => Self::Lines { words: Box::new(Words::new()), line: [0; MOST_WORDS * WORD_ROOM] },
            Template::Sequence => Self::Sequence { value: Vec::new() },
            Template::Keyed(keyed) => {
                Self::Keyed { keys: keyed.keys, key: KEY_PREFIX.to_vec(), value: vec![0; keyed.value_bytes as usize] }
            }
        }
    }

    /// Key and value of record `number`.
    fn make(&mut self, seed: u64, number: u64) -> (Option<&[u8]>, &[u8]) {
        match self {
            Self::Lines { words, line } => (None, make_line(words, line, Random::new(seed, number))),
            Self::Sequence { value } => {
                value.clear();
                push_decimal(value, number);
                (None, value)
            }
            Self::Keyed { keys, key, value } => {
                let mut random = Random::new(seed, number);
                key.truncate(KEY_PREFIX.len());
                push_decimal(key, random.below(*keys));
                fill_printable(value, &mut random);
                (Some(key), value)
            }
        }
    }
}

/// Words with one space between them. Each word is copied with its padding, a length known to the compiler, and the
/// next one overwrites what is too much.
fn make_line<'a>(words: &Words, line: &'a mut [u8; MOST_WORDS * WORD_ROOM], mut random: Random) -> &'a [u8] {
    let count = FEWEST_WORDS + random.below(WORD_COUNTS);
    let (mut end, mut bits) = (0, 0);
    for n in 0..count {
        // Four words are drawn from each random number.
        bits = if n % 4 == 0 { random.bits() } else { bits >> 16 };
        let word = words.draw(bits as u16);
        line[end..end + WORD_ROOM].copy_from_slice(&word.padded);
        end += usize::from(word.len) + 1;
    }
    &line[..end - 1]
}

/// Letters from a to p: four bits of each random byte.
fn fill_printable(value: &mut [u8], random: &mut Random) {
    for part in value.chunks_mut(8) {
        let letters = (random.bits() & 0x0f0f_0f0f_0f0f_0f0f) + 0x6161_6161_6161_6161;
        part.copy_from_slice(&letters.to_le_bytes()[..part.len()]);
    }
}

fn push_decimal(into: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    into.extend_from_slice(&digits[first..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_spec::KeyedTemplate;

    fn generator(template: Template, seed: u64, count: Option<u64>, start: u64) -> Generator {
        Generator::new(&GeneratorSource { count, rate: None, seed, template }, 3, start)
    }

    fn fetch(generator: &mut Generator, records: usize, bytes: usize) -> (Fetched, Batch) {
        let mut batch = Batch::default();
        (generator.fetch(FetchLimits { records, bytes }, &mut batch), batch)
    }

    fn keyed(keys: u64, value_bytes: u32) -> Template {
        Template::Keyed(KeyedTemplate { keys, value_bytes })
    }

    fn contents(batch: &Batch) -> Vec<(i64, Option<&[u8]>, Option<&[u8]>)> {
        (0..batch.len()).map(|i| (batch.row(i).origin.offset, batch.row(i).key, batch.row(i).value)).collect()
    }

    #[test]
    fn a_generator_that_resumes_makes_the_records_that_it_would_have_made() {
        for template in [Template::Lines, Template::Sequence, keyed(50, 21)] {
            let (_, whole) = fetch(&mut generator(template.clone(), 7, Some(100), 0), 1000, usize::MAX);
            assert_eq!(whole.len(), 100);
            let mut first = generator(template.clone(), 7, Some(100), 0);
            assert_eq!(fetch(&mut first, 33, usize::MAX).0, Fetched::Records(33));
            let mut resumed = generator(template.clone(), 7, Some(100), first.position() as u64);
            let (fetched, rest) = fetch(&mut resumed, 1000, usize::MAX);
            assert_eq!(fetched, Fetched::Records(67));
            assert_eq!(contents(&rest), contents(&whole)[33..]);
            assert_eq!(rest.row(0).origin, Origin { split: 3, offset: 33 });
            assert_eq!(fetch(&mut resumed, 1, 1).0, Fetched::End);
            let (_, other) = fetch(&mut generator(template.clone(), 8, Some(100), 0), 1000, usize::MAX);
            assert_eq!(contents(&other) == contents(&whole), template == Template::Sequence, "the seed decides");
        }
    }

    /// Frozen: see the head of this file. Should this fail, old checkpoints would go on with other records.
    #[test]
    fn the_content_of_records_is_pinned() {
        let (_, lines) = fetch(&mut generator(Template::Lines, 0, None, 0), 2, usize::MAX);
        let (_, keyed) = fetch(&mut generator(keyed(1000, 10), 0, None, 0), 2, usize::MAX);
        let text = |value: Option<&[u8]>| String::from_utf8(value.unwrap().to_vec()).unwrap();
        assert_eq!(text(lines.row(0).value), "other animal such an on day by the did their am expected will");
        assert_eq!(text(lines.row(1).value), "his intends earth though yells watched give we the call ten");
        assert_eq!([keyed.row(0).key, keyed.row(0).value].map(text), ["key-883", "efjbkoiopf"]);
        assert_eq!([keyed.row(1).key, keyed.row(1).value].map(text), ["key-652", "opbefdcdhh"]);
        let (_, many) = fetch(&mut generator(Template::Lines, 42, None, 0), 20_000, usize::MAX);
        assert_eq!(crc32c::crc32c(many.values().parts().1), 1_056_102_633);
    }

    #[test]
    fn lines_are_skewed_like_text_and_use_a_large_vocabulary() {
        let (_, batch) = fetch(&mut generator(Template::Lines, 1, None, 0), 50_000, usize::MAX);
        let mut counts = std::collections::HashMap::new();
        for line in batch.values().iter() {
            let words: Vec<_> = std::str::from_utf8(line.unwrap()).unwrap().split(' ').collect();
            assert!((4..=14).contains(&words.len()) && words.iter().all(|word| !word.is_empty()), "{words:?}");
            words.into_iter().for_each(|word| *counts.entry(word.to_owned()).or_insert(0u32) += 1);
        }
        assert!(counts.len() >= 2000, "{} words", counts.len());
        let mut by_count: Vec<_> = counts.values().copied().collect();
        by_count.sort_unstable_by(|a, b| b.cmp(a));
        let total: u32 = by_count.iter().sum();
        assert_eq!(counts["the"], by_count[0]);
        assert!((3..12).contains(&(by_count[0] * 100 / total)), "the most frequent word has {} of {total}", by_count[0]);
        let top: u32 = by_count.iter().take(100).sum();
        assert!((40..65).contains(&(top * 100 / total)), "the first 100 words have {top} of {total}");
    }

    #[test]
    fn keys_come_from_a_set_of_the_given_size_and_values_have_the_given_length() {
        for length in [0, 1, 8, 100] {
            let (_, batch) = fetch(&mut generator(keyed(20, length), 1, None, 0), 2000, usize::MAX);
            let keys: std::collections::BTreeSet<_> = batch.keys().iter().map(|key| key.unwrap().to_vec()).collect();
            let all: std::collections::BTreeSet<_> = (0..20).map(|n| format!("key-{n}").into_bytes()).collect();
            assert_eq!(keys, all);
            assert!(
                batch
                    .values()
                    .iter()
                    .all(|value| value.is_some_and(|v| v.len() == length as usize && v.iter().all(u8::is_ascii_lowercase)))
            );
        }
    }

    #[test]
    fn a_sequence_counts_in_decimals() {
        let (_, batch) = fetch(&mut generator(Template::Sequence, 0, None, 9), 3, usize::MAX);
        assert_eq!(batch.values().iter().map(Option::unwrap).collect::<Vec<_>>(), [&b"9"[..], b"10", b"11"]);
        let mut largest = Vec::new();
        push_decimal(&mut largest, u64::MAX);
        assert_eq!(largest, u64::MAX.to_string().into_bytes());
    }

    #[test]
    fn a_fetch_ends_at_its_bytes_but_not_before_its_first_record() {
        let mut generator = generator(keyed(1, 100), 0, None, 0);
        assert_eq!(fetch(&mut generator, 1000, 250).0, Fetched::Records(3));
        assert_eq!(fetch(&mut generator, 1000, 1).0, Fetched::Records(1));
        assert_eq!(fetch(&mut generator, 0, 0).0, Fetched::Records(1));
    }

    #[test]
    fn a_pace_spreads_records_evenly_and_catches_up() {
        let pace = |made| Pace { rate: 3, since: clock::monotonic(), made };
        let ms = Duration::from_millis;
        assert_eq!((pace(0).due(ms(0)), pace(1).due(ms(0)), pace(1).due(ms(333))), (1, 0, 0));
        assert_eq!((pace(1).due(ms(334)), pace(1).due(ms(10_000))), (1, 30));
        assert_eq!(pace(1).wait(ms(0)), Duration::from_nanos(333_333_334));
        assert_eq!(pace(2).wait(ms(1000)), Duration::ZERO);
        for made in 1..100 {
            let wait = pace(made).wait(ms(0));
            assert_eq!(pace(made).due(wait), 1, "exactly when the wait says");
            assert_eq!(pace(made).due(wait - Duration::from_nanos(1)), 0, "and not before");
        }
    }

    #[test]
    fn a_paced_generator_is_idle_until_its_next_record_and_paces_anew_after_a_resume() {
        for start in [0, 5] {
            let spec = GeneratorSource { count: Some(7), rate: Some(1), seed: 0, template: Template::Sequence };
            let mut generator = Generator::new(&spec, 0, start);
            // An hour ahead, so that no second passes while the test runs.
            generator.pace = Some(Pace { rate: 1, since: clock::monotonic() + Duration::from_secs(3600), made: 0 });
            assert_eq!(fetch(&mut generator, 10, usize::MAX).0, Fetched::Records(1));
            assert_eq!(fetch(&mut generator, 10, usize::MAX).0, Fetched::Idle);
            assert_eq!(generator.next_wake(), Some(Duration::from_secs(1)));
            assert_eq!(generator.position(), start as i64 + 1);
        }
        let spec = GeneratorSource { count: Some(7), rate: Some(1), seed: 0, template: Template::Sequence };
        assert_eq!(Generator::new(&spec, 0, 7).next_wake(), None, "nothing is waited for at the end");
    }
}
