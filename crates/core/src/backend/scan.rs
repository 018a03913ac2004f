//! Reads by iterating over all events, for stores without a database: in memory, or in files.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};

use time::OffsetDateTime;
use uuid::Uuid;

use super::head::check_type;
use crate::store::query::PageEvents;
use crate::{
    AggregateActivity, AggregateKey, AggregateSummary, AsOf, Cursor, Direction, EventEnvelope, EventQuery,
    EventStatistics, EventStream, EventTypeShare, GlobalSequence, Order, Page, Position, Result, Statistics,
    StreamRange, SummaryQuery, TenantId, Version, Window,
};

/// The part of a stream that a range selects. `stream` has all events with the aggregate's id, oldest first.
///
/// # Errors
///
/// [`TypeMismatch`](crate::ErrorKind::TypeMismatch) if the id belongs to another type.
pub fn scan_stream(aggregate: &AggregateKey, range: &StreamRange, stream: &[&EventEnvelope]) -> Result<EventStream> {
    let mut stream = stream;
    if let Some(first) = stream.first() {
        if range.tenant.is_some() && range.tenant != first.tenant {
            stream = &[];
        } else {
            check_type(aggregate, first.aggregate.aggregate_type())?;
        }
    }
    let past = match range.as_of {
        None => stream.len(),
        Some(AsOf::Version(version)) => stream.partition_point(|event| event.version <= version),
        Some(AsOf::Sequence(sequence)) => stream.partition_point(|event| event.global_sequence <= sequence),
        Some(AsOf::Time(time)) => stream.iter().take_while(|event| event.created_at <= time).count(),
    };
    let stream = &stream[..past];
    let version = stream.last().map_or(Version::ZERO, |event| event.version);

    let wanted = stream
        .iter()
        .filter(|event| event.version >= range.from && range.to.is_none_or(|to| event.version <= to));
    let limit = usize::try_from(range.limit.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
    let events = match range.direction {
        Direction::Forwards => wanted.take(limit).copied().cloned().collect(),
        Direction::Backwards => wanted.rev().take(limit).copied().cloned().collect(),
    };
    Ok(EventStream::new(aggregate.clone(), version, events))
}

/// The page of a log for a query and its cursor. `log` is in the order of the sequences.
///
/// `mark` is the high-water mark: that of the cursor, if there is one.
///
/// # Errors
///
/// [`InvalidInput`](crate::ErrorKind::InvalidInput) if a filter reads damaged metadata.
pub fn scan_page(
    log: &[EventEnvelope],
    query: &EventQuery,
    cursor: Option<&Cursor>,
    mark: GlobalSequence,
) -> Result<Page> {
    let events = scan_events(log, query, &query.window(cursor, mark))?;
    Ok(events.into_page(query, cursor, mark))
}

/// The events of a log for a page with this window. `log` is in the order of the sequences.
///
/// # Errors
///
/// [`InvalidInput`](crate::ErrorKind::InvalidInput) if a filter reads damaged metadata.
pub fn scan_events(log: &[EventEnvelope], query: &EventQuery, window: &Window) -> Result<PageEvents> {
    let first = log.partition_point(|event| event.global_sequence <= window.after);
    let end = log.partition_point(|event| event.global_sequence <= window.until);
    let log = log.get(first..end).unwrap_or_default();

    let mut page = PageEvents::new(window);
    match (query.order(), query.direction()) {
        (Order::Sequence, Direction::Forwards) => collect(log.iter(), query, &mut page)?,
        (Order::Sequence, Direction::Backwards) => collect(log.iter().rev(), query, &mut page)?,
        (Order::Time, direction) => {
            let is_beyond = |event: &&EventEnvelope| match (window.beyond, direction) {
                (None, _) => true,
                (Some(at), Direction::Forwards) => Position::of(event) > at,
                (Some(at), Direction::Backwards) => Position::of(event) < at,
            };
            let mut events: Vec<_> = log.iter().filter(is_beyond).collect();
            events.sort_by_key(|event| Position::of(event));
            if direction == Direction::Backwards {
                events.reverse();
            }
            collect(events.into_iter(), query, &mut page)?;
        }
    }
    Ok(page)
}

fn collect<'a>(
    events: impl Iterator<Item = &'a EventEnvelope>,
    query: &EventQuery,
    page: &mut PageEvents,
) -> Result<()> {
    for event in events {
        if page.is_full() {
            break;
        }
        if query.filter().matches(event)? {
            page.push(event.clone());
        }
    }
    Ok(())
}

/// The statistics of a log, or of one tenant.
#[must_use]
pub fn scan_statistics(log: &[EventEnvelope], tenant: Option<&TenantId>) -> Statistics {
    let mut total = Tally::default();
    let mut by_event_type = BTreeMap::<_, Tally>::new();
    let mut by_aggregate_type = BTreeMap::<_, Tally>::new();
    let mut by_both = BTreeMap::<_, Tally>::new();
    for event in log
        .iter()
        .filter(|event| tenant.is_none() || event.tenant.as_ref() == tenant)
    {
        let aggregate_type = event.aggregate.aggregate_type();
        total.count(event);
        by_event_type.entry(&event.event_type).or_default().count(event);
        by_aggregate_type.entry(aggregate_type).or_default().count(event);
        by_both
            .entry((aggregate_type, &event.event_type))
            .or_default()
            .count(event);
    }

    let share =
        |(name, tally): (&&crate::EventType, &Tally)| EventTypeShare::new((*name).clone(), tally.events, total.events);
    let mut event_types: Vec<_> = by_event_type.iter().map(share).collect();
    event_types.sort_by_key(|share| Reverse(share.event_count));
    let activity = |(name, tally): (&&crate::AggregateType, &Tally)| AggregateActivity {
        aggregate_type: (*name).clone(),
        aggregate_count: tally.aggregates.len() as u64,
        average_version: tally.versions as f64 / tally.events as f64,
        max_version: tally.max_version,
    };
    let detail = |((aggregate_type, event_type), tally): ((&crate::AggregateType, &crate::EventType), Tally)| {
        let (first_event_at, last_event_at) = tally.times.expect("a group has an event");
        EventStatistics {
            aggregate_type: aggregate_type.clone(),
            event_type: event_type.clone(),
            event_count: tally.events,
            average_size_bytes: tally.bytes as f64 / tally.events as f64,
            max_size_bytes: tally.max_bytes,
            first_event_at,
            last_event_at,
            unique_aggregates: tally.aggregates.len() as u64,
        }
    };
    Statistics {
        total_events: total.events,
        archived_events: 0,
        total_aggregates: total.aggregates.len() as u64,
        current_global_sequence: total.sequence,
        unique_event_types: by_event_type.len() as u64,
        unique_aggregate_types: by_aggregate_type.len() as u64,
        event_types,
        aggregate_types: by_aggregate_type.iter().map(activity).collect(),
        details: by_both.into_iter().map(detail).collect(),
    }
}

/// The summaries of the aggregates in a log for a query.
#[must_use]
pub fn scan_summaries(log: &[EventEnvelope], query: &SummaryQuery) -> Vec<AggregateSummary> {
    let mut streams = BTreeMap::<Uuid, (&EventEnvelope, Tally)>::new();
    let is_wanted = |event: &&EventEnvelope| {
        let aggregate = &event.aggregate;
        let of_type = |wanted| aggregate.aggregate_type() == wanted;
        query.after.is_none_or(|after| aggregate.id() > after)
            && query.aggregate_type.as_ref().is_none_or(of_type)
            && (query.tenant.is_none() || query.tenant == event.tenant)
    };
    for event in log.iter().filter(is_wanted) {
        let (_, tally) = streams
            .entry(event.aggregate.id())
            .or_insert_with(|| (event, Tally::default()));
        tally.count(event);
    }
    let summary = |(aggregate_id, (first, tally)): (Uuid, (&EventEnvelope, Tally))| {
        let (created_at, last_modified_at) = tally.times.expect("an aggregate has an event");
        AggregateSummary {
            aggregate_id,
            aggregate_type: first.aggregate.aggregate_type().clone(),
            current_version: tally.max_version,
            total_events: tally.events,
            created_at,
            last_modified_at,
            total_size_bytes: tally.bytes,
            tenant: first.tenant.clone(),
        }
    };
    let limit = query.limit.map_or(usize::MAX, |limit| limit as usize);
    streams.into_iter().take(limit).map(summary).collect()
}

#[derive(Default)]
struct Tally {
    events: u64,
    aggregates: HashSet<Uuid>,
    versions: u128,
    max_version: Version,
    bytes: u64,
    max_bytes: u64,
    sequence: GlobalSequence,
    times: Option<(OffsetDateTime, OffsetDateTime)>,
}

impl Tally {
    fn count(&mut self, event: &EventEnvelope) {
        let bytes = event.size_bytes.map_or(0, u64::from);
        let (first, last) = self.times.unwrap_or((event.created_at, event.created_at));
        self.events += 1;
        self.aggregates.insert(event.aggregate.id());
        self.versions += u128::from(event.version.get());
        self.max_version = self.max_version.max(event.version);
        self.bytes += bytes;
        self.max_bytes = self.max_bytes.max(bytes);
        self.sequence = self.sequence.max(event.global_sequence);
        self.times = Some((first.min(event.created_at), last.max(event.created_at)));
    }
}
