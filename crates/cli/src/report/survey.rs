//! One pass over the log, and the statistics from it.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::hash::Hash;

use firefly_eventstore::operate::Operations;
use firefly_eventstore::{
    AggregateType, EventEnvelope, EventQuery, EventStoreExt, EventType, GlobalSequence, Order, Result, TenantId,
};
use time::{Duration, OffsetDateTime, UtcOffset};
use uuid::Uuid;

use super::calendar::Step;
use super::distribution::Distribution;

/// The most bars over time.
const BARS: i64 = 100;
/// How many aggregates are the fastest, and how many the slowest.
const RANKED: usize = 10;
/// How many events are read between two calls of a progress callback.
const STRIDE: u64 = 500;

/// The contents of a log, up to its high-water mark.
#[derive(Debug)]
pub(super) struct Survey {
    pub(super) high_water_mark: GlobalSequence,
    pub(super) total: Tally,
    pub(super) timeline: Option<Timeline>,
    pub(super) event_types: Groups<EventType>,
    pub(super) aggregate_types: Groups<AggregateType>,
    pub(super) tenants: Groups<Option<TenantId>>,
    /// Of the numbers of events per aggregate.
    pub(super) lengths: Distribution,
    /// Of the bytes of data per event.
    pub(super) sizes: Distribution,
    pub(super) growth: Growth,
}

/// The number and size of something.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) events: u64,
    /// How many aggregates; not counted per event type.
    pub(super) aggregates: u64,
    pub(super) bytes: u64,
}

/// The events over time.
#[derive(Debug)]
pub(super) struct Timeline {
    pub(super) first: OffsetDateTime,
    pub(super) last: OffsetDateTime,
    pub(super) step: Step,
    /// The number of the step that the first event is in.
    pub(super) begin: i64,
    /// How many events each step has, from there.
    pub(super) counts: Vec<u64>,
}

/// The number and size for each name.
#[derive(Debug)]
pub(super) struct Groups<N> {
    places: HashMap<N, usize>,
    tallies: Vec<(N, Tally)>,
}

/// How fast aggregates grow.
#[derive(Debug, Default)]
pub(super) struct Growth {
    /// When the last tenth of the log's time begins.
    pub(super) lately: Option<OffsetDateTime>,
    pub(super) fastest: Vec<Grown>,
    /// The slowest first; none of the fastest is among them.
    pub(super) slowest: Vec<Grown>,
}

/// How fast an aggregate grows.
#[derive(Debug)]
pub(super) struct Grown {
    pub(super) aggregate_type: AggregateType,
    pub(super) id: Uuid,
    pub(super) events: u64,
    pub(super) first: OffsetDateTime,
    /// Events per day, from its first event to the last one of the log, but over at least a tenth of the log's time.
    pub(super) over_its_life: f64,
    /// Events per day, in the last tenth of the log's time.
    pub(super) lately: f64,
}

/// The statistics of an aggregate.
struct Life {
    aggregate_type: usize,
    events: u64,
    recent: u64,
    first: OffsetDateTime,
}

impl Survey {
    /// Reads the log, or a tenant's part of it, without the archived events. Reports its progress: the current sequence and the last one.
    pub(super) fn of(
        store: &dyn Operations,
        tenant: Option<&TenantId>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self> {
        let mut query = EventQuery::new().skip_archived();
        if let Some(tenant) = tenant {
            query = query.tenant(tenant)?;
        }
        let by_time = |query: &EventQuery| query.clone().ordered_by(Order::Time).limit(1);
        let first = store.read_page(&by_time(&query), None)?;
        let mark = first.high_water_mark;
        let query = query.until(mark);
        let last = store.read_page(&by_time(&query).backwards(), None)?;
        let timeline = match (first.events.first(), last.events.first()) {
            (Some(first), Some(last)) => Some(Timeline::new(utc(first.created_at), utc(last.created_at))),
            _ => None,
        };

        let mut survey = Self {
            high_water_mark: mark,
            total: Tally::default(),
            growth: Growth {
                lately: timeline.as_ref().map(Timeline::last_tenth),
                ..Growth::default()
            },
            timeline,
            event_types: Groups::default(),
            aggregate_types: Groups::default(),
            tenants: Groups::default(),
            lengths: Distribution::default(),
            sizes: Distribution::default(),
        };
        let mut lives = HashMap::new();
        for event in store.read(query) {
            let event = event?;
            survey.add(&event, &mut lives);
            if survey.total.events.is_multiple_of(STRIDE) {
                progress(event.global_sequence.get(), mark.get());
            }
        }
        progress(mark.get(), mark.get());

        survey.event_types.sort();
        survey.rank(lives);
        survey.aggregate_types.sort();
        survey.tenants.sort();
        Ok(survey)
    }

    fn add(&mut self, event: &EventEnvelope, lives: &mut HashMap<Uuid, Life>) {
        let created_at = utc(event.created_at);
        // The size as it was stored, as the store's statistics have it.
        let bytes = event.size_bytes.map_or(event.data.as_str().len() as u64, u64::from);
        let aggregate_type = self.aggregate_types.place(event.aggregate.aggregate_type());
        let tenant = self.tenants.place(&event.tenant);
        let event_type = self.event_types.place(&event.event_type);
        let tallies = [
            &mut self.total,
            &mut self.event_types.tallies[event_type].1,
            &mut self.aggregate_types.tallies[aggregate_type].1,
            &mut self.tenants.tallies[tenant].1,
        ];
        let mut is_new = false;
        let life = lives.entry(event.aggregate.id()).or_insert_with(|| {
            is_new = true;
            Life {
                aggregate_type,
                events: 0,
                recent: 0,
                first: created_at,
            }
        });
        life.events += 1;
        life.first = life.first.min(created_at);
        life.recent += u64::from(self.growth.lately.is_some_and(|lately| created_at >= lately));
        for tally in tallies {
            tally.events += 1;
            tally.bytes += bytes;
            tally.aggregates += u64::from(is_new);
        }
        self.sizes.add(bytes);
        if let Some(timeline) = &mut self.timeline {
            timeline.add(created_at);
        }
    }

    fn rank(&mut self, lives: HashMap<Uuid, Life>) {
        let Some(timeline) = &self.timeline else { return };
        let days = |from: OffsetDateTime| (timeline.last - from) / Duration::DAY;
        // Otherwise an aggregate that has just begun would be the fastest.
        let tenth = days(timeline.last_tenth()).max(1.0);
        let mut grown: Vec<_> = lives
            .into_iter()
            .map(|(id, life)| {
                self.lengths.add(life.events);
                let over_its_life = life.events as f64 / days(life.first).max(tenth);
                (over_its_life, life.recent as f64 / tenth, id, life)
            })
            .collect();
        // The id makes the order the same each time.
        grown.sort_unstable_by(|one, other| {
            let by_growth = other.0.total_cmp(&one.0).then(other.1.total_cmp(&one.1));
            by_growth.then(one.2.cmp(&other.2))
        });
        let aggregate_types = &self.aggregate_types;
        let named = |(over_its_life, lately, id, life): (f64, f64, Uuid, Life)| Grown {
            aggregate_type: aggregate_types.tallies[life.aggregate_type].0.clone(),
            id,
            events: life.events,
            first: life.first,
            over_its_life,
            lately,
        };
        let mut grown = grown.into_iter();
        self.growth.fastest = grown.by_ref().take(RANKED).map(named).collect();
        self.growth.slowest = grown.rev().take(RANKED).map(named).collect();
    }
}

impl Timeline {
    fn new(first: OffsetDateTime, last: OffsetDateTime) -> Self {
        let step = Step::for_span(first, last, BARS);
        let begin = step.index(first);
        let steps = step.index(last).abs_diff(begin) + 1;
        Self {
            first,
            last,
            step,
            begin,
            counts: (0..steps).map(|_| 0).collect(),
        }
    }

    fn add(&mut self, time: OffsetDateTime) {
        let place = usize::try_from(self.step.index(time) - self.begin);
        if let Some(count) = place.ok().and_then(|place| self.counts.get_mut(place)) {
            *count += 1;
        }
    }

    fn last_tenth(&self) -> OffsetDateTime {
        self.last - (self.last - self.first) / 10
    }
}

impl<N> Default for Groups<N> {
    fn default() -> Self {
        Self {
            places: HashMap::new(),
            tallies: Vec::new(),
        }
    }
}

impl<N: Clone + Eq + Hash + Ord> Groups<N> {
    fn place(&mut self, name: &N) -> usize {
        if let Some(place) = self.places.get(name) {
            return *place;
        }
        self.tallies.push((name.clone(), Tally::default()));
        self.places.insert(name.clone(), self.tallies.len() - 1);
        self.tallies.len() - 1
    }

    /// Puts those with the most events first, ties by name.
    fn sort(&mut self) {
        self.places.clear();
        self.tallies
            .sort_by(|(one, some), (other, others)| (Reverse(some.events), one).cmp(&(Reverse(others.events), other)));
    }
}

impl<N> Groups<N> {
    pub(super) fn len(&self) -> usize {
        self.tallies.len()
    }

    pub(super) fn iter(&self) -> std::slice::Iter<'_, (N, Tally)> {
        self.tallies.iter()
    }
}

fn utc(time: OffsetDateTime) -> OffsetDateTime {
    time.to_offset(UtcOffset::UTC)
}
