//! The plots of the page: events over time, and histograms.

use super::calendar::Step;
use super::distribution::{Bin, Distribution};
use super::html::{count, number};
use super::plot::{Anchor, Bar, Mark, Plot, Tick};
use super::survey::Timeline;

/// The most labels under an axis.
const LABELS: usize = 40;

/// The events over time.
pub(super) fn timeline(line: &Timeline, events: u64) -> Plot {
    let step = line.step;
    let end = line.begin + line.counts.len() as i64;
    let (from, to) = (step.start(line.begin), step.start(end));
    let at = |time| (time - from) / (to - from);
    let bars = (line.begin..).zip(&line.counts).map(|(index, count)| Bar {
        from: at(step.start(index)),
        to: at(step.start(index + 1)),
        count: *count,
        name: step.name_of(index),
    });
    let labels = |labels: Step| {
        let indexes = labels.index(from)..=labels.index(to);
        let ticks = indexes
            .take(LABELS + 1)
            .map(|index| tick(labels, index, at(labels.start(index)), Anchor::Middle));
        let ticks: Vec<_> = ticks.filter(|tick| (0.0..1.0).contains(&tick.at)).collect();
        (ticks.len() < LABELS).then_some(ticks)
    };
    let ends = match line.counts.len() {
        1 => vec![tick(step, line.begin, 0.5, Anchor::Middle)],
        _ => vec![
            tick(step, line.begin, 0.0, Anchor::Start),
            tick(step, end - 1, 1.0, Anchor::End),
        ],
    };
    let busiest = (line.begin..end).zip(&line.counts).max_by_key(|(_, count)| **count);
    let (busiest, most) = busiest.expect("a timeline has a step");
    Plot {
        id: "time",
        title: format!("Events per {}", step.name),
        description: format!(
            "{}; the most, {}, in {}.",
            count(events, "event", "events"),
            number(*most),
            step.name_of(busiest)
        ),
        counted: "Events",
        along: format!("Time (UTC), a bar per {}", step.name),
        bars: bars.collect(),
        marks: Vec::new(),
        ticks: step.and_coarser().filter_map(labels).collect(),
        ends,
    }
}

fn tick(step: Step, index: i64, at: f64, anchor: Anchor) -> Tick {
    let (label, below) = step.label_of(index);
    Tick {
        at,
        anchor,
        label,
        below,
    }
}

/// A histogram on a logarithmic axis.
pub(super) struct Histogram {
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    pub(super) counted: &'static str,
    pub(super) along: &'static str,
    /// The name of the counted things: of one, and of several.
    pub(super) things: (&'static str, &'static str),
    /// How a number is written.
    pub(super) amount: fn(u64) -> String,
}

impl Histogram {
    pub(super) fn plot(&self, numbers: &Distribution, bins: &[Bin]) -> Plot {
        let low = bins.first().map_or(1, |bin| bin.low) as f64;
        let end = bins.last().map_or(2, |bin| bin.end) as f64;
        let at = |number: u64| (number.max(1) as f64 / low).ln() / (end / low).ln();
        let statistics = [
            ("max", numbers.max),
            ("95\u{a0}% ≤", numbers.percentile(95)),
            ("median", numbers.percentile(50)),
        ];
        let said = statistics.map(|(name, value)| format!("{name} {}", (self.amount)(value)));
        let tick = |number: u64, anchor| Tick {
            at: at(number),
            anchor,
            label: (self.amount)(number),
            below: None,
        };
        let ticks = |digits: &'static [u64]| {
            let powers = (0..20).map(|power| 10_u64.saturating_pow(power));
            let all = powers.flat_map(|power| digits.iter().map(move |digit| power.saturating_mul(*digit)));
            let inside = all.filter(|number| (low..end).contains(&(*number as f64)));
            inside.map(|number| tick(number, Anchor::Middle)).collect::<Vec<_>>()
        };
        let every_second = |ticks: Vec<Tick>| ticks.into_iter().step_by(2).collect();
        Plot {
            id: self.id,
            title: self.title.to_owned(),
            description: format!(
                "{}; {}.",
                count(numbers.count, self.things.0, self.things.1),
                said.join(", ")
            ),
            counted: self.counted,
            along: self.along.to_owned(),
            bars: bins.iter().map(|bin| self.bar(bin, at)).collect(),
            marks: statistics
                .iter()
                .zip(said.clone())
                .map(|((_, value), label)| Mark { at: at(*value), label })
                .collect(),
            ticks: vec![
                ticks(&[1, 2, 3, 4, 5, 6, 8]),
                ticks(&[1, 2, 5]),
                ticks(&[1]),
                every_second(ticks(&[1])),
            ],
            ends: vec![
                tick(low as u64, Anchor::Start),
                Tick {
                    at: 1.0,
                    ..tick(end as u64 - 1, Anchor::End)
                },
            ],
        }
    }

    fn bar(&self, bin: &Bin, at: impl Fn(u64) -> f64) -> Bar {
        Bar {
            from: at(bin.low),
            to: at(bin.end),
            count: bin.count,
            name: self.name_of(bin),
        }
    }

    pub(super) fn name_of(&self, bin: &Bin) -> String {
        match bin.end - bin.low {
            1 => (self.amount)(bin.low),
            _ => format!("{} – {}", (self.amount)(bin.low), (self.amount)(bin.end - 1)),
        }
    }
}
