//! Random numbers that depend on a seed and a record's number alone.

/// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014), started anew for each record.
///
/// The numbers are frozen: a generator that resumes under a later version has to go on with the same records.
pub(crate) struct Random(u64);

impl Random {
    /// The numbers of record `number` under `seed`.
    pub(crate) fn new(seed: u64, number: u64) -> Self {
        Self(mix(seed).wrapping_add(mix(number.wrapping_mul(GOLDEN))))
    }

    /// The next 64 random bits.
    #[inline]
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// A number in `0..bound`; 0 when `bound` is 0. Its bias is below `bound` / 2⁶⁴.
    #[inline]
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(bound)) >> 64) as u64
    }
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

#[inline]
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_below_a_bound_reach_all_of_its_range() {
        let mut seen = [0u32; 7];
        for number in 0..7000 {
            seen[Random::new(1, number).below(7) as usize] += 1;
        }
        assert!(seen.iter().all(|count| (800..1200).contains(count)), "{seen:?}");
        assert_eq!(Random::new(1, 1).below(0), 0);
    }
}
