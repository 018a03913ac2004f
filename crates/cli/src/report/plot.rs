//! Bars along an axis, as SVG: once for a wide page and once for a phone, since text in a scaled drawing would be unreadable.

use maud::{Markup, Render, html};

use super::html::{Text, number};

/// A drawing of counts along an axis.
#[derive(Debug)]
pub(super) struct Plot {
    /// The prefix of the ids of its parts within the page.
    pub(super) id: &'static str,
    pub(super) title: String,
    /// The content of the plot, in words.
    pub(super) description: String,
    /// The name of the counted things, above the vertical axis.
    pub(super) counted: &'static str,
    /// The name of the horizontal axis.
    pub(super) along: String,
    pub(super) bars: Vec<Bar>,
    /// From the greatest to the least.
    pub(super) marks: Vec<Mark>,
    /// Alternative labels under the axis. The first that fit are used.
    pub(super) ticks: Vec<Vec<Tick>>,
    /// The labels under the axis if none of those fit: as many of these as there is room for, from the first.
    pub(super) ends: Vec<Tick>,
}

/// A bar; the axis goes from 0 to 1.
#[derive(Debug)]
pub(super) struct Bar {
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) count: u64,
    pub(super) name: String,
}

/// A line across, with a label.
#[derive(Debug)]
pub(super) struct Mark {
    pub(super) at: f64,
    pub(super) label: String,
}

/// A label under the axis, in one line or two.
#[derive(Clone, Debug)]
pub(super) struct Tick {
    pub(super) at: f64,
    pub(super) anchor: Anchor,
    pub(super) label: String,
    pub(super) below: Option<String>,
}

/// Which part of a text is at its position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// A size of the drawing. The style sheet shows the one that fits the page.
struct Frame {
    class: &'static str,
    width: f64,
    /// The height of the bars' area.
    height: f64,
    font: f64,
}

const FRAMES: [Frame; 2] = [
    Frame {
        class: "wide",
        width: 800.0,
        height: 200.0,
        font: 14.0,
    },
    Frame {
        class: "narrow",
        width: 328.0,
        height: 150.0,
        font: 12.0,
    },
];

/// How wide a character is at most on average, in font sizes: in DejaVu Sans, the widest of the usual fonts.
const CHARACTER: f64 = 0.66;
/// The distance of lines of text, in font sizes.
const LINE: f64 = 1.45;
/// The least distance of labels, in font sizes.
const GAP: f64 = 1.0;
/// The distance of a mark's label from its line, in font sizes.
const LABEL_GAP: f64 = 0.4;
/// How much of the axis a bar takes at most.
const WIDEST: f64 = 0.2;

impl Render for Plot {
    fn render(&self) -> Markup {
        html! {
            @for frame in &FRAMES { (self.draw(frame)) }
        }
    }
}

/// The positions in a drawing.
struct Area<'a> {
    frame: &'a Frame,
    left: f64,
    right: f64,
    bottom: f64,
    /// The count at the top.
    most: u64,
}

impl Plot {
    fn draw(&self, frame: &Frame) -> Markup {
        let line = LINE * frame.font;
        let counts = levels(self.bars.iter().map(|bar| bar.count).max().unwrap_or_default());
        let most = counts.last().copied().unwrap_or(1);
        let top = line * (1.0 + self.marks.len() as f64) + 0.5 * line;
        let area = Area {
            frame,
            left: frame.text_width(&number(most)) + 0.6 * frame.font,
            right: frame.width - 0.5 * frame.font,
            bottom: top + frame.height,
            most,
        };
        let ticks = self.fitting(&area);
        let rows = match ticks.iter().any(|tick| tick.below.is_some()) {
            true => 3.0,
            false => 2.0,
        };
        let height = area.bottom + rows * line + 0.7 * frame.font;

        let (class, width, font) = (frame.class, frame.width, frame.font);
        let (title, description) = (
            format!("{}-{class}-title", self.id),
            format!("{}-{class}-desc", self.id),
        );
        html! {
            svg class={ "plot " (class) } viewBox=(format!("0 0 {width} {height:.0}")) font-size=(font) role="img"
                aria-labelledby={ (title) " " (description) } {
                title id=(title) { (Text(&self.title)) }
                desc id=(description) { (Text(&self.description)) }
                (area.text(Anchor::Start, 0.0, font, self.counted))
                @for count in counts { (area.level(count)) }
                @for bar in &self.bars { (area.bar(bar)) }
                @for tick in &ticks { (area.tick(tick)) }
                (area.text(Anchor::Middle, width / 2.0, height - 0.4 * font, &self.along))
                @for (row, (mark, side)) in self.sides(&area).into_iter().enumerate() {
                    (area.mark(mark, side, line * (row as f64 + 1.0) + font))
                }
            }
        }
    }

    /// The marks from the top down, each with the side of its line that its label is at: where no line of a mark above crosses it.
    fn sides(&self, area: &Area<'_>) -> Vec<(&Mark, Anchor)> {
        let count = self.marks.len();
        let mut orders = (0..2 * count).map(|first| {
            let order = (first..first + count).map(move |index| index % count);
            match first < count {
                true => order.collect::<Vec<_>>(),
                false => order.rev().collect(),
            }
        });
        let placed = orders.find_map(|order| {
            let mut placed: Vec<(&Mark, Anchor)> = Vec::new();
            for mark in order.into_iter().map(|index| &self.marks[index]) {
                let is_free = |side: &Anchor| {
                    let (left, right) = area.label(mark, *side);
                    let crosses = |(above, _): &(&Mark, Anchor)| (left..=right).contains(&area.x(above.at));
                    left >= 0.0 && right <= area.frame.width && !placed.iter().any(crosses)
                };
                placed.push((mark, [Anchor::End, Anchor::Start].into_iter().find(is_free)?));
            }
            Some(placed)
        });
        let as_they_are = || self.marks.iter().map(|mark| (mark, Anchor::End)).collect();
        placed.unwrap_or_else(as_they_are)
    }

    /// The labels for which there is room.
    fn fitting(&self, area: &Area<'_>) -> Vec<Tick> {
        let inside = |tick: &&Tick| {
            let (left, right) = area.extent(tick);
            left >= 0.0 && right <= area.frame.width
        };
        let apart = |pair: &[Tick]| area.extent(&pair[0]).1 + GAP * area.frame.font <= area.extent(&pair[1]).0;
        let mut candidates = self
            .ticks
            .iter()
            .map(|ticks| ticks.iter().filter(inside).cloned().collect());
        if let Some(ticks) = candidates.find(|ticks: &Vec<Tick>| ticks.len() >= 2 && ticks.windows(2).all(apart)) {
            return once_below(ticks);
        }
        let mut ends = self.ends.clone();
        while !ends.windows(2).all(apart) {
            ends.pop();
        }
        once_below(ends)
    }
}

/// Keeps the second line, such as the day, only where it differs from the one before.
fn once_below(mut ticks: Vec<Tick>) -> Vec<Tick> {
    let mut last = None;
    for tick in &mut ticks {
        if tick.below == last {
            tick.below = None;
        } else {
            last.clone_from(&tick.below);
        }
    }
    ticks
}

impl Area<'_> {
    fn x(&self, at: f64) -> f64 {
        self.left + at * (self.right - self.left)
    }

    fn y(&self, count: u64) -> f64 {
        self.bottom - count as f64 / self.most as f64 * self.frame.height
    }

    /// Where a label begins and ends.
    fn extent(&self, tick: &Tick) -> (f64, f64) {
        let width = self.frame.text_width(&tick.label);
        let width = width.max(tick.below.as_deref().map_or(0.0, |below| self.frame.text_width(below)));
        let left = match tick.anchor {
            Anchor::Start => self.x(tick.at),
            Anchor::Middle => self.x(tick.at) - width / 2.0,
            Anchor::End => self.x(tick.at) - width,
        };
        (left, left + width)
    }

    fn level(&self, count: u64) -> Markup {
        let (y, font) = (self.y(count), self.frame.font);
        html! {
            path class="grid" d=(format!("M{:.1} {y:.1}H{:.1}", self.left, self.right)) {}
            (self.text(Anchor::End, self.left - 0.6 * font, y + 0.35 * font, &number(count)))
        }
    }

    fn bar(&self, bar: &Bar) -> Markup {
        if bar.count == 0 {
            return Markup::default();
        }
        let (left, right) = (self.x(bar.from), self.x(bar.to));
        let (middle, width) = ((left + right) / 2.0, right - left);
        // Thin bars have no gaps, because they would flicker. A single bar must not look like an area.
        let width = match width {
            ..4.0 => width,
            _ => (width * 0.9).max(width - 2.0).min((self.right - self.left) * WIDEST),
        };
        // One event beside a million must be visible.
        let height = (self.bottom - self.y(bar.count)).max(1.5);
        let (x, y) = (middle - width / 2.0, self.bottom - height);
        html! {
            rect class="bar" x=(tenths(x)) y=(tenths(y)) width=(tenths(width.max(0.5))) height=(tenths(height)) {
                title { (Text(&bar.name)) ": " (number(bar.count)) }
            }
        }
    }

    fn tick(&self, tick: &Tick) -> Markup {
        let (x, font) = (self.x(tick.at), self.frame.font);
        let first = self.bottom + 1.45 * font;
        html! {
            path class="axis" d=(format!("M{x:.1} {:.1}v{:.1}", self.bottom, 0.35 * font)) {}
            (self.text(tick.anchor, x, first, &tick.label))
            @if let Some(below) = &tick.below {
                (self.text(tick.anchor, x, first + 1.25 * font, below))
            }
        }
    }

    /// Where the label of a mark begins and ends, at a side of its line.
    fn label(&self, mark: &Mark, side: Anchor) -> (f64, f64) {
        let (x, gap) = (self.x(mark.at), LABEL_GAP * self.frame.font);
        let width = self.frame.text_width(&mark.label);
        match side {
            Anchor::End => (x - gap - width, x - gap),
            Anchor::Start | Anchor::Middle => (x + gap, x + gap + width),
        }
    }

    fn mark(&self, mark: &Mark, side: Anchor, y: f64) -> Markup {
        let (x, font) = (self.x(mark.at), self.frame.font);
        let line = format!("M{x:.1} {:.1}V{:.1}", y - 0.8 * font, self.bottom);
        let (left, right) = self.label(mark, side);
        let end = if side == Anchor::End { right } else { left };
        html! {
            path class="halo" d=(line) {}
            path class="mark" d=(line) {}
            (self.text(side, end, y, &mark.label))
        }
    }

    fn text(&self, anchor: Anchor, x: f64, y: f64, text: &str) -> Markup {
        let anchor = match anchor {
            Anchor::Start => None,
            Anchor::Middle => Some("middle"),
            Anchor::End => Some("end"),
        };
        html! {
            text x=(tenths(x)) y=(tenths(y)) text-anchor=[anchor] { (Text(text)) }
        }
    }
}

impl Frame {
    fn text_width(&self, text: &str) -> f64 {
        text.chars().count() as f64 * CHARACTER * self.font
    }
}

/// A length in a drawing; finer than a tenth cannot be seen.
fn tenths(length: f64) -> String {
    format!("{length:.1}")
}

/// The counts to draw lines at: from 0 to at least `most`, a round number apart, some three to six.
fn levels(most: u64) -> Vec<u64> {
    let mut power: u64 = 1;
    let step = loop {
        let steps = [1, 2, 5].map(|digit| power.saturating_mul(digit));
        if let Some(step) = steps.into_iter().find(|step| most.div_ceil(*step) <= 5) {
            break step;
        }
        power = power.saturating_mul(10);
    };
    (0..=most.max(1).div_ceil(step))
        .map(|level| level.saturating_mul(step))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_crosses_the_label_of_another_mark() {
        for places in [
            [1.0, 0.1, 0.06],
            [0.95, 0.9, 0.02],
            [0.5, 0.5, 0.5],
            [0.04, 0.03, 0.0],
            [1.0, 1.0, 0.97],
        ] {
            let labels = ["max 4.01 kB", "95 % ≤ 15 B", "median 12 B"];
            let marks = places.into_iter().zip(labels).map(|(at, label)| Mark {
                at,
                label: label.to_owned(),
            });
            let plot = Plot {
                id: "sizes",
                title: String::new(),
                description: String::new(),
                counted: "Events",
                along: String::new(),
                bars: Vec::new(),
                marks: marks.collect(),
                ticks: Vec::new(),
                ends: Vec::new(),
            };
            for frame in &FRAMES {
                let area = Area {
                    frame,
                    left: 20.0,
                    right: frame.width - 6.0,
                    bottom: 200.0,
                    most: 1,
                };
                let sides = plot.sides(&area);
                assert_eq!(sides.len(), 3);
                for (row, (mark, side)) in sides.iter().enumerate() {
                    let (left, right) = area.label(mark, *side);
                    assert!(left >= 0.0 && right <= frame.width, "{places:?}: {}", mark.label);
                    for (above, _) in &sides[..row] {
                        let x = area.x(above.at);
                        assert!(x < left || x > right, "{places:?}: {} in {}", above.label, mark.label);
                    }
                }
            }
        }
    }

    #[test]
    fn the_lines_are_a_round_number_apart_and_reach_the_most() {
        assert_eq!(levels(0), [0, 1]);
        assert_eq!(levels(1), [0, 1]);
        assert_eq!(levels(5), [0, 1, 2, 3, 4, 5]);
        assert_eq!(levels(6), [0, 2, 4, 6]);
        assert_eq!(levels(4_321), [0, 1_000, 2_000, 3_000, 4_000, 5_000]);
        assert!(levels(u64::MAX).last() >= Some(&(u64::MAX / 10 * 10)));
    }
}
