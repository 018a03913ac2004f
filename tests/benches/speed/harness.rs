//! Rounds, ratios, and how they are printed.

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What to run, and how long.
pub(crate) struct Bench {
    filter: Option<String>,
    pub(crate) quick: bool,
    /// Whether logs are to grow to ten million events, which takes minutes and some ten gigabytes.
    pub(crate) large: bool,
    pub(crate) directory: Option<PathBuf>,
}

impl Bench {
    /// None unless `cargo bench` runs this.
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

    /// Whether a case is asked for.
    pub(crate) fn wants(&self, case: &str) -> bool {
        self.filter.as_deref().is_none_or(|filter| case.contains(filter))
    }

    /// Whether a case is asked for by name.
    pub(crate) fn asks_for(&self, case: &str) -> bool {
        self.filter.is_some() && self.wants(case)
    }

    /// `full`, or less of it for a quick look.
    pub(crate) fn scaled(&self, full: usize, quick: usize) -> usize {
        if self.quick { quick } else { full }
    }

    /// How many rounds there are: a multiple of the contenders' number, so that each begins as often as the others, and odd.
    pub(crate) fn rounds(&self) -> usize {
        self.scaled(9, 3)
    }
}

/// One of those that do the same work. Each call does one sample of it and returns how many operations it did a second.
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

    /// The middle of its rates.
    pub(crate) fn rate(&self) -> f64 {
        middle(&self.rates)
    }

    /// How its rate compares to another's of the same round.
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

/// Lets everybody warm up, then sample once a round, each round beginning with another one.
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

/// How many times a second `operation` happens if it is done `times` times.
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

/// What is printed of two contenders.
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
