//! Made-up input, the same for the same seed.

use serde_json::json;

use super::{Header, Record};

/// The largest value that fits, with key and headers, into a topic with Kafka's default limit of 1 MiB.
const LARGEST_VALUE: usize = 900_000;
/// The longest key that an operator with `key: record` takes.
const LONGEST_KEY: usize = 1024;

/// Numbers that look random: splitmix64.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.draw() % bound
    }

    /// A number below `bound`; small ones come up far more often.
    pub fn skewed(&mut self, bound: u64) -> u64 {
        let limit = self.below(bound) + 1;
        let limit = self.below(limit) + 1;
        self.below(limit)
    }

    /// One of several.
    pub fn pick<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        choices[self.below(choices.len() as u64) as usize]
    }
}

/// Lines to count words in: words glued by all sorts of characters, empty lines, lines that are no UTF-8, tombstones,
/// and one line of the largest size that is almost all blanks. Keys are of all kinds, and say nothing of the words.
pub fn lines(seed: u64, count: usize) -> Vec<Record> {
    const WORDS: [&str; 12] = ["the", "The", "CAT", "dog", "to_be", "2b", "naïve", "Straße", "x", "weir", "日本", "a1"];
    const GLUE: [&str; 7] = [" ", ", ", ".", "\t", "--", "…", "'"];
    let mut random = Random::new(seed);
    let mut records = records(&mut random, count, |random| match random.below(40) {
        0 => None,
        1 => Some(vec![]),
        2 => Some(b"cat\xff\xfedog\xc3(".to_vec()),
        3 => Some(b" ,.- ".to_vec()),
        _ => {
            let words = 1 + random.below(9);
            let line: String =
                (0..words).map(|_| WORDS[random.skewed(WORDS.len() as u64) as usize].to_owned() + random.pick(&GLUE)).collect();
            Some(line.into_bytes())
        }
    });
    records[count / 3].value = Some(largest(b' ', b"one Large line", b"ends here"));
    records
}

/// Records of every kind: values that are text, binary, empty, null or of the largest size; every third text has a cat.
pub fn mixed(seed: u64, count: usize) -> Vec<Record> {
    let mut random = Random::new(seed);
    let mut records = records(&mut random, count, |random| match random.below(20) {
        0 => None,
        1 => Some(vec![]),
        2 => Some((0..random.below(300)).map(|_| random.draw() as u8).collect()),
        3..=8 => Some(format!("a cat at {} — später\n\"{}\"\\", random.below(1000), random.below(10)).into_bytes()),
        _ => Some(format!("value {}", random.draw()).into_bytes()),
    });
    records[count / 2].value = Some(largest(b'c', b"one cat", b"the end"));
    records
}

/// Numbers by key, among them what is no number, numbers between blanks, one within a value of the largest size, a key
/// of the longest size that an operator takes, and one beyond it.
pub fn numbers(seed: u64, count: usize) -> Vec<Record> {
    let mut random = Random::new(seed);
    let mut records = records(&mut random, count, |random| match random.below(25) {
        0 => None,
        1 => Some(random.pick(&["", "x", "1,5", "inf", "NaN", "1 2", "٣"]).into()),
        2 => Some(b"12\xff".to_vec()),
        3 => Some(format!(" {} ", random.below(100)).into_bytes()),
        _ => Some(format!("{}.{}", random.below(2000) as i64 - 1000, random.below(100)).into_bytes()),
    });
    records[count / 4].value = Some(largest(b' ', b"", b"7"));
    records[count / 2].key = Some(vec![b'k'; LONGEST_KEY]);
    records[count / 2 + 1].key = Some(vec![b'k'; LONGEST_KEY]);
    records[count / 2 + 2].key = Some(vec![b'k'; LONGEST_KEY + 1]);
    records
}

/// Values to count by key, and commands of the guest `map-counts`: list all, forget one, forget all.
pub fn commands(seed: u64, count: usize) -> Vec<Record> {
    const VALUES: [&str; 9] = ["a", "ab", "abc", "b", "", "ü", "z", "zz", "long-long-long-value"];
    let mut random = Random::new(seed);
    records(&mut random, count, |random| match random.below(30) {
        0 => None,
        1 => Some(b"\xff".to_vec()),
        2 => Some(b"!".to_vec()),
        3..=5 => Some(b"?".to_vec()),
        6..=8 => Some(format!("-{}", random.pick(&VALUES)).into_bytes()),
        _ => Some(random.pick(&VALUES).into()),
    })
}

/// Orders of a shop, as the guest `enrich-and-branch` takes them, and much that is none.
pub fn orders(seed: u64, count: usize) -> Vec<Record> {
    const COUNTRIES: [&str; 7] = ["DE", "FR", "US", "CA", "NZ", "Côte d'Ivoire", ""];
    let mut random = Random::new(seed);
    records(&mut random, count, |random| match random.below(20) {
        0 => None,
        1 => Some(random.pick(&["", "{}", "[]", "null", "{\"id\":\"x\"}", "{\"id\":1,\"country\":\"DE\",\"items\":[]}"]).into()),
        2 => Some(b"{\"id\":\"\xff\"}".to_vec()),
        _ => {
            let item = |random: &mut Random| {
                let cents = if random.below(50) == 0 { u64::MAX } else { random.below(9000) };
                let (sku, quantity) = (random.pick(&["lamp", "Stuhl \"rot\"", "机"]), random.skewed(6));
                json!({ "sku": sku, "quantity": quantity, "cents": cents, "note": "more than asked for" })
            };
            let items: Vec<_> = (0..random.below(4)).map(|_| item(random)).collect();
            let id = if random.below(30) == 0 { String::new() } else { format!("o-\"{}", random.below(1_000_000_000)) };
            Some(json!({ "id": id, "country": random.pick(&COUNTRIES), "items": items }).to_string().into_bytes())
        }
    })
}

/// Payments by card, as the guest `fraud-velocity` takes them: most seconds apart, some out of order.
pub fn payments(seed: u64, count: usize) -> Vec<Record> {
    let mut random = Random::new(seed);
    let mut records = records(&mut random, count, |random| match random.below(30) {
        0 => None,
        1 => Some(random.pick(&["", "{}", "{\"merchant\":\"m\",\"cents\":-1}", "{\"cents\":5}"]).into()),
        _ => {
            let cents = if random.below(12) == 0 { random.below(1_000_000) } else { 100 + random.below(3000) };
            Some(json!({ "merchant": format!("shop {}", random.skewed(9)), "cents": cents }).to_string().into_bytes())
        }
    });
    for (position, record) in (0..).zip(&mut records) {
        record.timestamp = 1_700_000_000_000 + 400 * position - random.skewed(60_000) as i64;
    }
    records
}

/// Lines of a log, as the guest `log-parse` takes them, and lines that are none.
pub fn log_lines(seed: u64, count: usize) -> Vec<Record> {
    let mut random = Random::new(seed);
    let mut records = records(&mut random, count, |random| match random.below(12) {
        0 => None,
        1 => {
            Some(random.pick(&["", " ", "a b c", "t INFO [] m", "t info [c] m", "t INFO [c]m", "t  INFO [c] m", "t INFO [c] a\nb"]).into())
        }
        2 => Some(b"t INFO [c] \xff".to_vec()),
        _ => {
            let level = random.pick(&["DEBUG", "INFO", "WARN", "ERROR", "FATAL"]);
            let message = random.pick(&["", "it \"works\"", "größer als [zuvor] ", "\ttab"]);
            Some(format!("12:{:02} {level} [part-{}] {message}", random.below(60), random.below(5)).into_bytes())
        }
    });
    records[count / 2].value = Some(largest(b'x', b"12:00 WARN [large] ", b"!"));
    records
}

/// Records with keys, times and headers of all kinds, and values of one kind.
fn records(random: &mut Random, count: usize, mut value: impl FnMut(&mut Random) -> Option<Vec<u8>>) -> Vec<Record> {
    (0..count as i64)
        .map(|position| Record {
            key: key(random),
            value: value(random),
            timestamp: 1_700_000_000_000 + 7 * position - random.below(1000) as i64,
            headers: headers(random),
        })
        .collect()
}

fn key(random: &mut Random) -> Option<Vec<u8>> {
    match random.below(20) {
        0 => None,
        1 => Some(vec![]),
        2 => Some(vec![0xff, 0xfe, random.below(4) as u8]),
        3 => Some(format!("schlüssel-{}", random.below(4)).into_bytes()),
        _ => Some(format!("key-{}", random.skewed(200)).into_bytes()),
    }
}

/// None mostly. Names are in alphabetical order, in which a JSON object gives them back.
fn headers(random: &mut Random) -> Vec<Header> {
    if random.below(4) != 0 {
        return vec![];
    }
    let mut headers = vec![("origin".to_owned(), Some(format!("host-{}", random.below(9)).into_bytes()))];
    if random.below(2) == 0 {
        headers
            .push(("trace".to_owned(), random.pick(&[None, Some("ürsprung"), Some("")].each_ref()).map(|text| text.as_bytes().to_vec())));
    }
    headers
}

/// A value of the largest size: both texts with filling between.
fn largest(fill: u8, first: &[u8], last: &[u8]) -> Vec<u8> {
    let mut value = first.to_vec();
    value.resize(LARGEST_VALUE - last.len(), fill);
    value.extend(last);
    value
}
