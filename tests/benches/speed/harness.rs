//! Rounds, ratios, and how they are printed.

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Which cases to run, and for how long.
pub(crate) struct Bench {
    filter: Option<String>,
    pub(crate) quick: bool,
    /// Whether logs grow to ten million events, which takes minutes and some ten gigabytes.
    pub(crate) large: bool,
    pub(crate) directory: Option<PathBuf>,
}

impl Bench {
    /// None if this is not run by `cargo bench`.
    pub(crate) fn from_args(args: impl Iterator<Item = String>) -> Option<Self> {
        let mut bench = Self {
            filter: None,
            quick: false,
            large: false,
            directory: None,
        };
        let mut asked_for = false;
        let mut args = args;
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--bench" => asked_for = true,
                "--quick" => bench.quick = true,
                "--large" => bench.large = true,
                "--dir" => bench.directory = args.next().map(PathBuf::from),
                _ => bench.filter = Some(arg),
            }
        }
        asked_for.then_some(bench)
    }

    /// Whether the filter selects a case.
    pub(crate) fn wants(&self, case: &str) -> bool {
        self.filter.as_deref().is_none_or(|filter| case.contains(filter))
    }

    /// Whether a case is selected by name.
    pub(crate) fn asks_for(&self, case: &str) -> bool {
        self.filter.is_some() && self.wants(case)
    }

    /// `full`, or `quick` for a quick run.
    pub(crate) fn scaled(&self, full: usize, quick: usize) -> usize {
        if self.quick { quick } else { full }
    }

    /// The number of rounds: a multiple of the number of contenders, so that each begins equally often, and odd.
    pub(crate) fn rounds(&self) -> usize {
        self.scaled(9, 3)
    }
}

/// One of several contenders that do the same work. Each call takes one sample and returns the number of operations per second.
pub(crate) struct Contender<'a> {
    sample: Box<dyn FnMut() -> f64 + 'a>,
    rates: Vec<f64>,
}

impl<'a> Contender<'a> {
    pub(crate) fn new(sample: impl FnMut() -> f64 + 'a) -> Self {
        Self {
            sample: Box::new(sample),
            rates: Vec::new(),
        }
    }

    /// The median of its rates.
    pub(crate) fn rate(&self) -> f64 {
        middle(&self.rates)
    }

    /// The ratio of its rates to another's in the same rounds.
    pub(crate) fn ratio_to(&self, other: &Self) -> Ratio {
        let ratios: Vec<f64> = self
            .rates
            .iter()
            .zip(&other.rates)
            .map(|(own, its)| own / its)
            .collect();
        Ratio {
            median: middle(&ratios),
            least: ratios.iter().copied().fold(f64::INFINITY, f64::min),
            most: ratios.iter().copied().fold(0.0, f64::max),
        }
    }
}

/// Lets every contender warm up, then takes one sample of each in every round. Each round begins with another contender.
pub(crate) fn compete(rounds: usize, contenders: &mut [Contender<'_>]) {
    for contender in &mut *contenders {
        (contender.sample)();
    }
    let count = contenders.len();
    for round in 0..rounds {
        for turn in 0..count {
            let contender = &mut contenders[(round + turn) % count];
            let rate = (contender.sample)();
            contender.rates.push(rate);
        }
    }
}

/// The number of operations per second if `operation` is done `times` times.
pub(crate) fn rate(times: usize, mut operation: impl FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..times {
        operation();
    }
    per_second(times, start.elapsed())
}

pub(crate) fn per_second(times: usize, elapsed: Duration) -> f64 {
    times as f64 / elapsed.as_secs_f64()
}

/// The ratio of two rates over all rounds.
#[derive(Clone, Copy)]
pub(crate) struct Ratio {
    median: f64,
    least: f64,
    most: f64,
}

/// A comparison of two contenders, for printing.
pub(crate) struct Comparison {
    pub(crate) name: &'static str,
    pub(crate) ratio: Ratio,
    pub(crate) target: Option<f64>,
}

/// Prints a case: the rate of the raw driver, and ratios.
pub(crate) fn report(case: &str, raw_rate: f64, comparisons: &[Comparison]) {
    print!("{case:52} raw {raw_rate:>9.0}/s");
    for Comparison { name, ratio, target } in comparisons {
        let Ratio { median, least, most } = ratio;
        let target = target.map_or_else(String::new, |target| format!(" target {target:.1}"));
        print!("  {name} {median:.2} ({least:.2}–{most:.2}){target}");
    }
    println!();
}

fn middle(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
