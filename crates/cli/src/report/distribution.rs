//! How numbers are distributed, in little memory.

use std::collections::BTreeMap;

/// Counts of numbers. Numbers below [`EXACT`] are counted exactly, greater ones rounded to as many significant bits. So memory is bounded,
/// and the few digits that are shown are right.
#[derive(Debug, Default)]
pub(super) struct Distribution {
    counts: BTreeMap<u64, u64>,
    pub(super) count: u64,
    pub(super) max: u64,
}

const EXACT: u64 = 1 << 12;
/// The fewest bars of a histogram.
const FEWEST: u32 = 8;

/// A bar of a histogram: the numbers from `low`, and below `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bin {
    pub(super) low: u64,
    pub(super) end: u64,
    pub(super) count: u64,
}

impl Distribution {
    pub(super) fn add(&mut self, number: u64) {
        *self.counts.entry(rounded(number)).or_default() += 1;
        self.count += 1;
        self.max = self.max.max(number);
    }

    /// The percentile: the smallest number that at least this percentage of the numbers does not exceed; 0 if there are none.
    pub(super) fn percentile(&self, percent: u64) -> u64 {
        let wanted = (u128::from(self.count) * u128::from(percent)).div_ceil(100);
        let mut seen = 0;
        for (number, count) in &self.counts {
            seen += u128::from(*count);
            if seen >= wanted {
                return *number;
            }
        }
        0
    }

    /// A histogram whose bars are equally wide on a logarithmic axis: one, two or four bars for each doubling, as many as the range of the
    /// numbers allows. Empty if there are no numbers.
    pub(super) fn histogram(&self) -> Vec<Bin> {
        let (Some((&low, _)), Some((&high, _))) = (self.counts.first_key_value(), self.counts.last_key_value()) else {
            return Vec::new();
        };
        let (low, high) = (low.max(1), high.max(1));
        let per_octave = match (low, high.ilog2() - low.ilog2()) {
            (16.., ..8) => 4,
            (4.., ..16) => 2,
            _ => 1,
        };
        let (mut first, mut last) = (place(low, per_octave), place(high, per_octave));
        // One or two bars need some room around them.
        last = last.max(first + FEWEST - 1);
        if last > place(high, per_octave) + 3 && first > 2 * per_octave + 3 {
            (first, last) = (first - 3, last - 3);
        }
        let mut counts = self.counts.iter().peekable();
        let bin = |index| {
            let (low, end) = (edge(index, per_octave), edge(index + 1, per_octave));
            let mut count = 0;
            while let Some((_, more)) = counts.next_if(|(number, _)| **number < end) {
                count += more;
            }
            Bin { low, end, count }
        };
        (first..=last).map(bin).collect()
    }
}

fn rounded(number: u64) -> u64 {
    let shift = (number / EXACT).checked_ilog2().map_or(0, |bits| bits + 1);
    number >> shift << shift
}

/// The bar that a number belongs to.
fn place(number: u64, per_octave: u32) -> u32 {
    let octave = number.ilog2() * per_octave;
    let within = (octave..octave + per_octave)
        .rev()
        .find(|index| edge(*index, per_octave) <= number);
    within.unwrap_or(octave)
}

/// Two to the power of `index / per_octave`, the next whole number.
fn edge(index: u32, per_octave: u32) -> u64 {
    match index % per_octave {
        0 => 1_u64.checked_shl(index / per_octave).unwrap_or(u64::MAX),
        _ => (f64::from(index) / f64::from(per_octave)).exp2().ceil() as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(numbers: impl IntoIterator<Item = u64>) -> Distribution {
        let mut distribution = Distribution::default();
        numbers.into_iter().for_each(|number| distribution.add(number));
        distribution
    }

    #[test]
    fn a_percentile_is_one_of_the_numbers() {
        let distribution = of((1..=100).rev());
        assert_eq!(
            [50, 95, 100].map(|percent| distribution.percentile(percent)),
            [50, 95, 100]
        );
        assert_eq!([1, 50, 95].map(|percent| of([7]).percentile(percent)), [7, 7, 7]);
        assert_eq!(of([1, 2, 1_000]).percentile(50), 2);
        assert_eq!(of([]).percentile(50), 0);
    }

    #[test]
    fn numbers_are_exact_to_twelve_bits_and_few() {
        let distribution = of((0..1 << 23).step_by(7));
        assert!(distribution.counts.len() < 40_000, "{}", distribution.counts.len());
        assert_eq!(distribution.max, (1 << 23) - 4);
        for number in [1, 4_095, 4_096, 4_097, 1 << 20, (1 << 23) - 1, u64::MAX] {
            let lost = number - rounded(number);
            assert!(lost <= number / 2_048, "{number}");
            assert!(number >= EXACT || lost == 0, "{number}");
        }
    }

    #[test]
    fn a_histogram_counts_every_number_in_the_bar_it_belongs_to() {
        let cases: [&[u64]; 8] = [
            &[0],
            &[1],
            &[7],
            &[100],
            &[1, 1, 2, 3, 4, 1_000_000],
            &[5, 900],
            &[16, 17, 18, 4_000],
            &[1 << 40],
        ];
        for numbers in cases {
            let bins = of(numbers.iter().copied()).histogram();
            assert!((8..=64).contains(&bins.len()), "{numbers:?}: {bins:?}");
            assert!(bins.iter().all(|bin| bin.low < bin.end), "{numbers:?}: {bins:?}");
            assert!(
                bins.windows(2).all(|pair| pair[0].end == pair[1].low),
                "{numbers:?}: {bins:?}"
            );
            for bin in &bins {
                let belongs = |number: &&u64| (bin.low..bin.end).contains(&(**number).max(1));
                assert_eq!(
                    numbers.iter().filter(belongs).count() as u64,
                    bin.count,
                    "{numbers:?}: {bin:?}"
                );
            }
            assert_eq!(bins.iter().map(|bin| bin.count).sum::<u64>(), numbers.len() as u64);
        }
        assert!(of([]).histogram().is_empty());
    }
}
