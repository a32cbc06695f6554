//! Input that is the same in every run: what comes out can be computed apart from it.

/// A sequence of numbers that look random (`SplitMix64`).
#[derive(Clone, Copy)]
pub struct Random(u64);

impl Random {
    /// The sequence of a seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The next number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The product's upper half: even enough, and without a division.
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}

/// Draws of `distinct` things: each once in order, so that all of them occur, and then each as likely as any other.
#[derive(Clone, Copy)]
pub struct Draws {
    distinct: u64,
    drawn: u64,
    random: Random,
}

impl Draws {
    /// The draws of so many things.
    pub const fn new(distinct: u64) -> Self {
        Self { distinct, drawn: 0, random: Random::new(distinct) }
    }

    /// The next thing drawn.
    pub fn next(&mut self) -> u64 {
        self.drawn += 1;
        if self.drawn <= self.distinct { self.drawn - 1 } else { self.random.below(self.distinct) }
    }
}

/// Letters of a word.
const LETTERS: u32 = 5;

/// Writes the word of a number below 26^5.
pub fn word(number: u64, into: &mut Vec<u8>) {
    let digits = (0..LETTERS).map(|place| number / 26_u64.pow(place) % 26);
    into.extend(digits.map(|digit| b'a' + digit as u8));
}

/// The number of a word that [`word`] has written.
pub fn word_number(word: &[u8]) -> Option<u64> {
    let fits = word.len() == LETTERS as usize && word.iter().all(u8::is_ascii_lowercase);
    fits.then(|| word.iter().rev().fold(0, |number, letter| number * 26 + u64::from(letter - b'a')))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_word_tells_its_number() {
        for number in [0, 1, 25, 26, 999_999, 26_u64.pow(5) - 1] {
            let mut text = Vec::new();
            word(number, &mut text);
            assert_eq!(word_number(&text).unwrap(), number);
        }
        assert_eq!(word_number(b"abc"), None);
        assert_eq!(word_number(b"abcd1"), None);
    }

    #[test]
    fn every_thing_is_drawn() {
        let mut draws = Draws::new(100);
        let mut seen = [0; 100];
        (0..1000).for_each(|_| seen[draws.next() as usize] += 1);
        assert!(seen.iter().all(|n| *n >= 1));
        assert!(seen.iter().any(|n| *n > 10));
    }
}
