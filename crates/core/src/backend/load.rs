//! Loads a part of an aggregate's stream that is consistent with one state of the database, with as few statements as possible.

use time::OffsetDateTime;

use super::archived::{ArchivedStream, StreamPart};
use super::archives::archives_between;
use super::head::{Head, check_type};
use super::rows::Columns as _;
use super::sql::{Sql, SqlSession};
use crate::operate::{Archive, needed};
use crate::{
    AggregateKey, AsOf, Direction, EventStream, GlobalSequence, Result, Snapshot, SnapshotAt, StreamRange, TenantId,
    Version,
};

/// Where [`load`] reads an aggregate's stream: a connection or a transaction. Each method is one statement, which sees one state of the
/// database. A later statement may see a later state.
pub trait StreamSource {
    /// The version of the aggregate at a time. That is the version before the first event that was created later. Without such an event, it
    /// is the newest version; without any event, 0.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn version_at_time(&mut self, aggregate: &AggregateKey, time: OffsetDateTime) -> Result<Version>;

    /// The version of the aggregate at a global sequence; 0 if it had no event.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn version_at_sequence(&mut self, aggregate: &AggregateKey, sequence: GlobalSequence) -> Result<Version>;

    /// The events of a part of the stream that are in the log, and the archived part of the stream. Reads up to the version `to`, which
    /// already takes the end and the past point of `range` into account.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn events_up_to(
        &mut self,
        aggregate: &AggregateKey,
        range: &StreamRange,
        to: Option<Version>,
    ) -> Result<StreamPart>;

    /// The owner of the aggregate, and its current version, archived or not; none if it has no event.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn head(&mut self, aggregate: &AggregateKey) -> Result<Option<Head>>;

    /// The archives with events between these sequences, both included, in their order. Called only if a load needs archived events, so
    /// never for a backend that archives nothing.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn archives(&mut self, first: GlobalSequence, last: GlobalSequence) -> Result<Vec<Archive>> {
        let _ = (first, last);
        Ok(Vec::new())
    }
}

/// A connection to an SQL database, by which it is a [`StreamSource`].
pub trait SqlStreams: SqlSession {
    /// As [`StreamSource::events_up_to`].
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn events_up_to(
        &mut self,
        aggregate: &AggregateKey,
        range: &StreamRange,
        to: Option<Version>,
    ) -> Result<StreamPart>;

    /// As [`StreamSource::head`].
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn head(&mut self, aggregate: &AggregateKey) -> Result<Option<Head>>;
}

impl<S: SqlStreams> StreamSource for S {
    fn version_at_time(&mut self, aggregate: &AggregateKey, time: OffsetDateTime) -> Result<Version> {
        // What is stored has microseconds: what is later than the time is later than its microsecond.
        self.row(Sql::VersionAtTime, &[aggregate.id().into(), time.into()], |row| {
            row.version(0)
        })
    }

    fn version_at_sequence(&mut self, aggregate: &AggregateKey, sequence: GlobalSequence) -> Result<Version> {
        let values = [aggregate.id().into(), sequence.as_i64().into()];
        self.row(Sql::VersionAtSequence, &values, |row| row.version(0))
    }

    fn events_up_to(
        &mut self,
        aggregate: &AggregateKey,
        range: &StreamRange,
        to: Option<Version>,
    ) -> Result<StreamPart> {
        SqlStreams::events_up_to(self, aggregate, range, to)
    }

    fn head(&mut self, aggregate: &AggregateKey) -> Result<Option<Head>> {
        SqlStreams::head(self, aggregate)
    }

    fn archives(&mut self, first: GlobalSequence, last: GlobalSequence) -> Result<Vec<Archive>> {
        archives_between(self, first, last)
    }
}

/// Where [`load_from_snapshot`] reads an aggregate's snapshot and its stream: for backends that store snapshots.
pub trait SnapshotSource: StreamSource {
    /// A snapshot of an aggregate; the events in the log from its version on, or all events if there is no such snapshot, in any order; and
    /// the archived part of the stream. A given tenant restricts the snapshot, not the events.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn snapshot_and_events(
        &mut self,
        tenant: Option<&TenantId>,
        aggregate: &AggregateKey,
        at: SnapshotAt<'_>,
    ) -> Result<(Option<Snapshot>, StreamPart)>;
}

/// Loads a part of an aggregate's stream, and its version. Both belong to one state of the database, without a transaction.
///
/// One statement is enough if the events show the version because the newest is among them. Otherwise a second statement looks up the
/// version. Another append may be committed between the two. A stream only grows at its end, so the events that were found are still right.
/// If none were found, a third statement reads again, up to that version. A range that ends at a time or a global sequence first takes one
/// statement more.
///
/// # Errors
///
/// [`TypeMismatch`](crate::ErrorKind::TypeMismatch) if the id belongs to another type, [`Archived`](crate::ErrorKind::Archived) if events
/// of the part are archived, and those of the source.
pub fn load(source: &mut impl StreamSource, aggregate: &AggregateKey, range: &StreamRange) -> Result<EventStream> {
    let mut past = match range.as_of {
        None => None,
        Some(AsOf::Version(version)) => Some(Past::Named(version)),
        Some(AsOf::Time(time)) => Some(Past::Reached(source.version_at_time(aggregate, time)?)),
        Some(AsOf::Sequence(sequence)) => Some(Past::Reached(source.version_at_sequence(aggregate, sequence)?)),
    };
    let until = |past: Option<Past>| [past.map(Past::version), range.to].into_iter().flatten().min();
    let mut to = until(past);
    let tenant = range.tenant.as_ref();
    let mut part = match is_empty(range, to) && !matches!(past, Some(Past::Reached(_))) {
        true => StreamPart::default(),
        false => source.events_up_to(aggregate, range, to)?,
    };
    if let (Some(archived), Some(Past::Reached(found))) = (&part.archived, past) {
        match reached(range, archived, found) {
            Some(version) => past = Some(Past::Reached(version)),
            None => check_needed(source, tenant, aggregate, archived)?,
        }
        to = until(past);
    }
    check_part(source, aggregate, range, to, &part)?;
    let version = match told_version(range, past, to, &part) {
        Some(version) => version,
        None => match source.head(aggregate)? {
            None => Version::ZERO,
            Some(head) if is_other(tenant, head.tenant.as_ref()) => Version::ZERO,
            Some(head) => {
                check_type(aggregate, &head.aggregate_type)?;
                let by_now = to.map_or(head.version, |to| to.min(head.version));
                if part.events.is_empty() && !is_empty(range, Some(by_now)) {
                    part = source.events_up_to(aggregate, range, Some(by_now))?;
                    check_part(source, aggregate, range, Some(by_now), &part)?;
                }
                past.map_or(head.version, |past| past.version().min(head.version))
            }
        },
    };
    stream_of(aggregate, tenant, version, part)
}

/// Loads a snapshot of an aggregate, the events from its version on, and the aggregate's version: see
/// [`SnapshotStore::load_from_snapshot`](crate::SnapshotStore::load_from_snapshot).
///
/// One statement, which sees one state of the database. If it finds a snapshot but no event, the events before the snapshot's version were
/// removed. Then further statements look up the version of the stream.
///
/// # Errors
///
/// [`TypeMismatch`](crate::ErrorKind::TypeMismatch) if the id belongs to another type, [`Archived`](crate::ErrorKind::Archived) if events
/// after the snapshot are archived, and those of the source.
pub fn load_from_snapshot(
    source: &mut impl SnapshotSource,
    tenant: Option<&TenantId>,
    aggregate: &AggregateKey,
    at: SnapshotAt<'_>,
) -> Result<(Option<Snapshot>, EventStream)> {
    let (snapshot, mut part) = source.snapshot_and_events(tenant, aggregate, at)?;
    // Databases return the rows of a union in order, but SQL does not promise it. Sorting rows that are already sorted costs almost
    // nothing.
    part.events.sort_by_key(|event| event.version);
    let taken_in = snapshot.as_ref().map_or(Version::ZERO, |snapshot| snapshot.version);
    if let Some(archived) = part.archived.as_ref().filter(|archived| archived.version > taken_in) {
        check_needed(source, tenant, aggregate, archived)?;
    }
    let archived = part.archived.as_ref().map(|archived| archived.version);
    let stream = match part.events.last().map(|event| event.version).or(archived) {
        None if snapshot.is_some() => load(
            source,
            aggregate,
            &StreamRange::with_snapshot(tenant, snapshot.as_ref()),
        )?,
        newest => stream_of(aggregate, tenant, newest.unwrap_or(Version::ZERO), part)?,
    };
    Ok((snapshot, stream))
}

/// The version at a time or a global sequence. `found` was looked up in the log, which lacks the archived events. None if the version lies
/// among the archived events.
fn reached(range: &StreamRange, archived: &ArchivedStream, found: Version) -> Option<Version> {
    let is_after = match range.as_of {
        Some(AsOf::Time(time)) => time >= archived.created_until,
        Some(AsOf::Sequence(sequence)) if sequence < archived.first_sequence => return Some(Version::ZERO),
        Some(AsOf::Sequence(sequence)) => sequence >= archived.last_sequence,
        Some(AsOf::Version(_)) | None => true,
    };
    is_after.then(|| found.max(archived.version))
}

/// Refuses a part of a stream, up to the version `to`, if some of its events are archived.
fn check_part(
    source: &mut impl StreamSource,
    aggregate: &AggregateKey,
    range: &StreamRange,
    to: Option<Version>,
    part: &StreamPart,
) -> Result<()> {
    let Some(archived) = &part.archived else { return Ok(()) };
    let first = range.from.max(Version::from(1));
    let found = part.events.len() as u64;
    let is_filled = range.direction == Direction::Backwards && range.limit.is_some_and(|limit| found >= limit);
    match first <= archived.version && !is_empty(range, to) && !is_filled {
        true => check_needed(source, range.tenant.as_ref(), aggregate, archived),
        false => Ok(()),
    }
}

/// Returns the error of a load that needs archived events, unless they belong to another tenant.
fn check_needed(
    source: &mut impl StreamSource,
    tenant: Option<&TenantId>,
    aggregate: &AggregateKey,
    archived: &ArchivedStream,
) -> Result<()> {
    if is_other(tenant, archived.tenant.as_ref()) {
        return Ok(());
    }
    check_type(aggregate, archived.aggregate.aggregate_type())?;
    let (first, last) = (archived.first_sequence, archived.last_sequence);
    Err(needed(first, last, &source.archives(first, last)?))
}

/// The stream of these events, or an empty one if they belong to another tenant.
fn stream_of(
    aggregate: &AggregateKey,
    tenant: Option<&TenantId>,
    version: Version,
    part: StreamPart,
) -> Result<EventStream> {
    let StreamPart { events, archived } = part;
    let owner = events.first().map(|event| (&event.aggregate, &event.tenant));
    let owner = owner.or(archived
        .as_ref()
        .map(|archived| (&archived.aggregate, &archived.tenant)));
    if let Some((found, owner)) = owner {
        if is_other(tenant, owner.as_ref()) {
            return Ok(EventStream::new(aggregate.clone(), Version::ZERO, Vec::new()));
        }
        check_type(aggregate, found.aggregate_type())?;
    }
    let archived = archived.map(|archived| (archived.version, archived.last_event_id));
    Ok(EventStream::new(aggregate.clone(), version, events).with_archived(archived))
}

/// Whether the aggregate belongs to another tenant than the requested one. No if no tenant is requested.
fn is_other(tenant: Option<&TenantId>, owner: Option<&TenantId>) -> bool {
    tenant.is_some() && owner != tenant
}

/// The version at a point in the past.
#[derive(Clone, Copy, Debug)]
enum Past {
    /// The caller named the version. The aggregate may not have reached it yet.
    Named(Version),
    /// The version was looked up. The aggregate has reached it.
    Reached(Version),
}

impl Past {
    fn version(self) -> Version {
        match self {
            Self::Named(version) | Self::Reached(version) => version,
        }
    }
}

/// Whether the range is empty, whatever events the aggregate has, up to the version `to`.
fn is_empty(range: &StreamRange, to: Option<Version>) -> bool {
    range.limit == Some(0) || to.is_some_and(|to| to < range.from.max(Version::from(1)))
}

/// The version of the stream, if the events that were found, up to `to`, show it.
fn told_version(range: &StreamRange, past: Option<Past>, to: Option<Version>, part: &StreamPart) -> Option<Version> {
    let events = &part.events;
    let newest = match range.direction {
        Direction::Forwards => events.last(),
        Direction::Backwards => events.first(),
    };
    match (newest.map(|event| event.version), past) {
        // If the statement would have found any event, the stream has none.
        (None, _) => {
            let is_any = range.from <= Version::from(1) && to.is_none() && range.limit != Some(0);
            (is_any && part.archived.is_none()).then_some(Version::ZERO)
        }
        (Some(_), Some(Past::Reached(version))) => Some(version),
        (Some(newest), Some(Past::Named(version))) if newest == version => Some(version),
        // If the statement would have found a later event, the newest event found is the last one.
        (Some(newest), _) => {
            let is_cut =
                range.direction == Direction::Forwards && range.limit.is_some_and(|limit| events.len() as u64 >= limit);
            let is_last = to.is_some_and(|to| newest >= to);
            (!is_cut && !is_last).then_some(newest)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Error, ErrorKind, EventEnvelope, EventStoreExt, ExpectedVersion, MemoryEventStore, NewEvent, NewSnapshot,
    };
    use time::Duration;
    use uuid::Uuid;

    /// How many events a test's stream has at most.
    const MOST: usize = 6;

    /// A stream that grows: before each statement, others append this many events.
    struct Growing<'a> {
        all: &'a [EventEnvelope],
        there: usize,
        growth: [usize; 4],
        statements: usize,
    }

    impl Growing<'_> {
        fn look(&mut self) -> &[EventEnvelope] {
            self.there = (self.there + self.growth[self.statements]).min(self.all.len());
            self.statements += 1;
            &self.all[..self.there]
        }
    }

    impl StreamSource for Growing<'_> {
        fn version_at_time(&mut self, _: &AggregateKey, time: OffsetDateTime) -> Result<Version> {
            let events = self.look();
            let before = events.iter().take_while(|event| event.created_at <= time).count();
            Version::new(before as u64)
        }

        fn version_at_sequence(&mut self, _: &AggregateKey, sequence: GlobalSequence) -> Result<Version> {
            let events = self.look();
            let last = events.iter().rfind(|event| event.global_sequence <= sequence);
            Ok(last.map_or(Version::ZERO, |event| event.version))
        }

        fn events_up_to(&mut self, _: &AggregateKey, range: &StreamRange, to: Option<Version>) -> Result<StreamPart> {
            let most = range.limit.unwrap_or(u64::MAX) as usize;
            let events = self.look().iter();
            let events = events.filter(|event| event.version >= range.from && to.is_none_or(|to| event.version <= to));
            Ok(StreamPart {
                events: match range.direction {
                    Direction::Forwards => events.take(most).cloned().collect(),
                    Direction::Backwards => events.rev().take(most).cloned().collect(),
                },
                archived: None,
            })
        }

        fn head(&mut self, _: &AggregateKey) -> Result<Option<Head>> {
            Ok(self.look().last().map(Head::of))
        }
    }

    impl SnapshotSource for Growing<'_> {
        /// If a version is named, there is a snapshot of it.
        fn snapshot_and_events(
            &mut self,
            _: Option<&TenantId>,
            aggregate: &AggregateKey,
            at: SnapshotAt<'_>,
        ) -> Result<(Option<Snapshot>, StreamPart)> {
            let (from, ..) = at.bounds();
            let snapshot = match at {
                SnapshotAt::Exactly(at) => Some(NewSnapshot::new(aggregate, at, "State", &0)?.stored(None)),
                _ => None,
            };
            let events = self.look().iter().rev().filter(|event| event.version >= from);
            let events = events.cloned().collect();
            Ok((snapshot, StreamPart { events, archived: None }))
        }
    }

    /// A stream whose events have times in another order than their versions.
    fn stream() -> (AggregateKey, Vec<EventEnvelope>) {
        let (store, account) = (
            MemoryEventStore::new(),
            AggregateKey::new("Account", Uuid::now_v7()).unwrap(),
        );
        for second in [10, 30, 20, 40, 50, 35] {
            let event = NewEvent::new("money.deposited", &second)
                .unwrap()
                .created_at(at(second))
                .unwrap();
            store.append(&account, ExpectedVersion::Any, &[event]).unwrap();
        }
        let events = store.load(&account).unwrap().into_events();
        assert_eq!(events.len(), MOST);
        (account, events)
    }

    fn at(second: i64) -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH + Duration::seconds(second)
    }

    fn ranges() -> Vec<StreamRange> {
        let bounds = || std::iter::once(None).chain((0..=MOST as u64 + 1).map(Some));
        let points = [15, 30, 45].map(|second| AsOf::Time(at(second))).into_iter();
        let points = points.chain([0, 2, 5, 9].map(|sequence| AsOf::Sequence(GlobalSequence::new(sequence).unwrap())));
        let points = points.chain([0, 1, 3, 9].map(|version| AsOf::Version(Version::new(version).unwrap())));
        let points: Vec<_> = points.map(Some).chain([None]).collect();
        let mut ranges = Vec::new();
        for from in [0, 1, 2, 4, 6, 7] {
            for to in bounds() {
                for limit in [None, Some(0), Some(1), Some(3), Some(9)] {
                    for direction in [Direction::Forwards, Direction::Backwards] {
                        for &as_of in &points {
                            ranges.push(StreamRange {
                                from: Version::new(from).unwrap(),
                                to: to.map(|to| Version::new(to).unwrap()),
                                direction,
                                limit,
                                as_of,
                                tenant: None,
                            });
                        }
                    }
                }
            }
        }
        ranges
    }

    /// Every combination of how many events are appended before each statement: none, one, or all that are left.
    fn growths() -> impl Iterator<Item = [usize; 4]> {
        (0..81).map(|number: usize| [1, 3, 9, 27].map(|place| [0, 1, MOST][number / place % 3]))
    }

    #[test]
    fn what_is_loaded_is_of_one_state_whoever_appends_between_its_statements() {
        let (aggregate, all) = stream();
        for range in ranges() {
            // The right answer in each state of the stream.
            let states: Vec<_> = (0..=MOST)
                .map(|there| {
                    let mut still = Growing {
                        all: &all[..there],
                        there,
                        growth: [0; 4],
                        statements: 0,
                    };
                    let point = match range.as_of {
                        Some(AsOf::Time(time)) => still.version_at_time(&aggregate, time).unwrap(),
                        Some(AsOf::Sequence(sequence)) => still.version_at_sequence(&aggregate, sequence).unwrap(),
                        Some(AsOf::Version(version)) => version.min(Version::new(there as u64).unwrap()),
                        None => Version::new(there as u64).unwrap(),
                    };
                    let to = range.to.map_or(point, |to| to.min(point));
                    let events = still.events_up_to(&aggregate, &range, Some(to)).unwrap().events;
                    EventStream::new(aggregate.clone(), point, events)
                })
                .collect();
            for growth in growths() {
                for first in 0..=MOST {
                    let mut source = Growing {
                        all: &all,
                        there: first,
                        growth,
                        statements: 0,
                    };
                    let loaded = load(&mut source, &aggregate, &range).unwrap();
                    assert!(
                        states[first..=source.there].contains(&loaded),
                        "{range:?}, {first} events and then {growth:?}: {:?} of {}",
                        loaded.events().iter().map(|event| event.version).collect::<Vec<_>>(),
                        loaded.version(),
                    );
                }
            }
        }
    }

    #[test]
    fn one_statement_is_enough_where_the_newest_event_is_found() {
        let (aggregate, all) = stream();
        let statements = |there, range: &StreamRange| {
            let mut source = Growing {
                all: &all[..there],
                there,
                growth: [0; 4],
                statements: 0,
            };
            load(&mut source, &aggregate, range).unwrap();
            source.statements
        };
        let version = |number| Version::new(number).unwrap();
        let all = StreamRange::all;
        for (range, expected) in [
            (all(), 1),
            (all().last(1), 1),
            (all().from_version(version(5)), 1),
            (all().from_version(version(7)), 2),
            (all().from_version(version(2)).limit(9), 1),
            (all().from_version(version(2)).limit(2), 2),
            (all().to_version(version(9)), 1),
            (all().to_version(version(4)), 2),
            (all().limit(0), 1),
            (all().as_of(version(3)), 1),
            (all().as_of(version(9)), 1),
            (all().as_of(at(15)), 2),
            (all().as_of(at(15)).last(1), 2),
            (all().as_of(at(45)).limit(1), 2),
            // One more statement looks up whether it had no event then, or archived ones.
            (all().as_of(at(5)), 3),
            (all().as_of(GlobalSequence::new(4).unwrap()), 2),
        ] {
            assert_eq!(statements(MOST, &range), expected, "{range:?}");
        }
        for range in [all(), all().last(1), all().backwards(), all().limit(3)] {
            assert_eq!(statements(0, &range), 1, "{range:?}");
        }
    }

    #[test]
    fn a_snapshot_and_its_events_take_one_statement_unless_they_are_gone() {
        let (aggregate, all) = stream();
        let version = |number| Version::new(number).unwrap();
        for (at, there, growth, expected, statements) in [
            (SnapshotAt::Latest, MOST, [0; 4], &[1, 2, 3, 4, 5, 6][..], 1),
            (SnapshotAt::Latest, 0, [0; 4], &[], 1),
            (SnapshotAt::Exactly(version(4)), MOST, [0; 4], &[4, 5, 6], 1),
            (SnapshotAt::Exactly(version(6)), MOST, [0; 4], &[6], 1),
            (SnapshotAt::Exactly(version(6)), 3, [0; 4], &[], 3),
            // Others append after the first statement.
            (SnapshotAt::Exactly(version(5)), 3, [0, 2, 0, 0], &[5], 2),
            (SnapshotAt::Exactly(version(5)), 3, [0, 0, 2, 0], &[5], 4),
        ] {
            let mut source = Growing {
                all: &all,
                there,
                growth,
                statements: 0,
            };
            let (snapshot, stream) = load_from_snapshot(&mut source, None, &aggregate, at).unwrap();
            assert_eq!(snapshot.is_some(), at != SnapshotAt::Latest, "{at:?}");
            let versions: Vec<u64> = stream.events().iter().map(|event| event.version.get()).collect();
            assert_eq!(versions, expected, "{at:?}");
            assert_eq!(stream.version().get(), source.there as u64, "{at:?}");
            assert_eq!(source.statements, statements, "{at:?}");
        }
    }

    #[test]
    fn another_type_is_refused_whether_an_event_is_found_or_not() {
        let (aggregate, all) = stream();
        let order = AggregateKey::new("Order", aggregate.id()).unwrap();
        for range in [
            StreamRange::all(),
            StreamRange::all().from_version(Version::from(9)),
            StreamRange::all().limit(0),
            StreamRange::all().as_of(at(5)),
        ] {
            let mut source = Growing {
                all: &all,
                there: MOST,
                growth: [0; 4],
                statements: 0,
            };
            let refused: Error = load(&mut source, &order, &range).unwrap_err();
            assert!(
                matches!(refused.kind(), ErrorKind::TypeMismatch { .. }),
                "{range:?}: {refused}"
            );
        }
    }
}
