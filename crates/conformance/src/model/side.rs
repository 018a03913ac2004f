//! One of the two stores, with the state that is needed to ask both the same question and to compare the answers.

use std::num::NonZeroU32;

use firefly_eventstore_core::prelude::*;
use firefly_eventstore_core::{Order, SnapshotAt, SnapshotSelection, SnapshotType, SummaryQuery};

use super::operation::{AGGREGATES, Change, Ending, Event, Expected, Member, Operation, Point, Query, Target, Which};
use crate::support::{Handle, at, exact, read, version};

const KINDS: [&str; 4] = [
    "money.deposited",
    "money.withdrawn",
    "Money.Deposited",
    "never.happened",
];
const TYPES: [&str; 3] = ["Account", "Order", "account"];
const TENANTS: [&str; 3] = ["acme", "ACME", "nobody"];
const NAMES: [&str; 2] = ["x-1", "x_1"];
const DATA: [&str; 6] = [
    "{}",
    r#"{"n":9007199254740993}"#,
    r#"{"b":1.50,"a":"é"}"#,
    "[0.1,1e16,-0.0]",
    r#"{"s":"it's \"quoted\" \\ 😀"}"#,
    r#""\u0000""#,
];
const METADATA: [&str; 5] = [
    "{}",
    r#"{"user":"u-1","tags":["a","b"]}"#,
    r#"{"user":"u-1"}"#,
    r#"{"tags":["b"]}"#,
    r#"{"user":"U-1","shop":{"id":7.0}}"#,
];

/// An answer that can be compared: the result or the kind of error, without the parts that each store chooses itself.
pub(super) type Answer = Result<Vec<String>, String>;

/// An earlier append to one aggregate, for repeating it.
#[derive(Clone)]
struct Attempt {
    aggregate: AggregateKey,
    tenant: Option<TenantId>,
    expected: ExpectedVersion,
    events: Vec<NewEvent>,
}

impl Attempt {
    fn append(&self) -> Append<'_> {
        let mut append = Append::new(&self.aggregate, self.expected, &self.events);
        append.tenant = self.tenant.as_ref();
        append
    }
}

pub(super) struct Side {
    store: Handle,
    /// The sequences of the log, in order. Stores may leave different holes, so events are compared by their rank.
    ranks: Vec<GlobalSequence>,
    attempts: Vec<Vec<Attempt>>,
    events: u128,
}

impl Side {
    pub(super) fn new(store: Handle) -> Self {
        Self {
            store,
            ranks: Vec::new(),
            attempts: Vec::new(),
            events: 0,
        }
    }

    pub(super) fn reopen(&mut self, store: Handle) {
        self.store = store;
    }

    pub(super) fn run(&mut self, operation: &Operation) -> Answer {
        match operation {
            Operation::Append(members) => {
                let attempt = members.iter().map(|member| self.attempt(member)).collect();
                self.append(attempt)
            }
            Operation::Repeat {
                attempt,
                change,
                expected,
            } => {
                if self.attempts.is_empty() {
                    return Ok(Vec::new());
                }
                let mut attempt = attempt.get(&self.attempts).clone();
                for one in &mut attempt {
                    self.change(one, *change);
                    one.expected = self.expectation(&one.aggregate, *expected);
                }
                self.append(attempt)
            }
            Operation::Transaction { steps, ending } => self.transaction(steps, *ending),
            Operation::Load { target, .. } => {
                let (aggregate, _) = names(target);
                let stream = self.store.load_range(&aggregate, &self.range(operation));
                stream.map(|stream| self.stream(&stream)).map_err(kind)
            }
            Operation::Read(query) => self.read(query),
            Operation::FindEvent(number) => {
                let found = self.store.find_event(event_id(u128::from(*number))).map_err(kind)?;
                Ok(found.iter().map(|event| self.event(event)).collect())
            }
            Operation::SaveSnapshot {
                target,
                form,
                behind,
                seconds,
            } => {
                let (aggregate, tenant) = names(target);
                let actual = self.store.version(&aggregate).unwrap_or_default().get();
                let version = Version::new(actual.saturating_add_signed(-behind).max(1)).unwrap();
                let data = DATA[usize::try_from(*seconds).expect("not negative")];
                let snapshot = NewSnapshot::from_json(&aggregate, version, snapshot_form(*form), data).unwrap();
                let snapshot = snapshot.created_at(at(*seconds)).unwrap();
                let saved = self.store.save_snapshot(tenant.as_ref(), &snapshot);
                saved.map(|()| Vec::new()).map_err(kind)
            }
            Operation::FindSnapshot { target, form, at } => {
                let (aggregate, tenant) = names(target);
                let form = form.map(snapshot_form);
                let at = match (*at, &form) {
                    (None, None) => SnapshotAt::Latest,
                    (None, Some(form)) => SnapshotAt::LatestOf(form),
                    (Some((number, true)), _) => SnapshotAt::Exactly(version(number)),
                    (Some((number, false)), None) => SnapshotAt::LatestUpTo(version(number)),
                    (Some((number, false)), Some(form)) => SnapshotAt::LatestOfUpTo(form, version(number)),
                };
                let found = self.store.find_snapshot(tenant.as_ref(), &aggregate, at);
                found.map(|found| found.iter().map(snapshot).collect()).map_err(kind)
            }
            Operation::ListSnapshots(target) => {
                let (aggregate, tenant) = names(target);
                let count = self.store.count_snapshots(tenant.as_ref(), &aggregate).map_err(kind)?;
                let list = self.store.list_snapshots(tenant.as_ref(), &aggregate).map_err(kind)?;
                Ok(list.iter().map(snapshot).chain([count.to_string()]).collect())
            }
            Operation::DeleteSnapshots { target, which } => {
                let (aggregate, tenant) = names(target);
                let forms = [0, 1].map(snapshot_form);
                let deleted = self
                    .store
                    .delete_snapshots(tenant.as_ref(), selection(&aggregate, &forms, *which));
                let statistics = self.store.snapshot_statistics(None).map_err(kind)?;
                let left = (
                    statistics.snapshots,
                    statistics.aggregates,
                    statistics.oldest,
                    statistics.newest,
                );
                deleted
                    .map(|deleted| vec![format!("{deleted}, left {left:?}")])
                    .map_err(kind)
            }
            Operation::Statistics(tenant) => self.statistics(tenant.map(tenant_id).as_ref()),
            Operation::Summaries {
                tenant,
                kind,
                after,
                limit,
            } => {
                let mut query = SummaryQuery::new();
                query.tenant = tenant.map(tenant_id);
                query.aggregate_type = kind.map(|kind| TYPES[usize::from(kind)].try_into().unwrap());
                query.after = after.map(aggregate_id);
                query.limit = *limit;
                self.summaries(&query)
            }
            Operation::Reopen => unreachable!("reopening is not a question"),
        }
    }

    fn append(&mut self, attempt: Vec<Attempt>) -> Answer {
        let appends: Vec<_> = attempt.iter().map(Attempt::append).collect();
        let result = self.store.append_all(&appends);
        self.follow();
        let answer = result.map_err(kind).map(|appended| {
            let with_ranks = |one: &Appended| format!("{} {:?}", outcome(one), self.ranks_of(one.global_sequences()));
            appended.iter().map(with_ranks).collect()
        });
        self.attempts.push(attempt);
        answer
    }

    fn transaction(&mut self, steps: &[Member], ending: Ending) -> Answer {
        let mut answers = Vec::new();
        let steps: Vec<_> = steps.iter().map(|step| self.attempt(step)).collect();
        let result = self.store.transact(&mut |tx| {
            for step in &steps {
                let appended = tx.append_all(&[step.append()]);
                answers.push(format!(
                    "{:?}",
                    appended.as_ref().map(|one| outcome(&one[0])).map_err(name)
                ));
                if matches!(ending, Ending::Propagate) {
                    appended?;
                }
                let stream = tx.load_range(&step.aggregate, &StreamRange::all());
                let seen = stream.map(|stream| (stream.version(), stream.len()));
                answers.push(format!("{:?}", seen.as_ref().map_err(name)));
            }
            match ending {
                Ending::RollBack => Err(Error::invalid("changed my mind")),
                Ending::Commit | Ending::Propagate => Ok(()),
            }
        });
        self.follow();
        self.attempts.extend(steps.into_iter().map(|step| vec![step]));
        answers.push(format!("{:?}", result.as_ref().map_err(name)));
        Ok(answers)
    }

    /// Learns the sequences of the appended events, as a consumer of the log does.
    fn follow(&mut self) {
        let checkpoint = self.ranks.last().copied().unwrap_or_default();
        let new = read(&*self.store, EventQuery::new().after(checkpoint));
        self.ranks.extend(new.iter().map(|event| event.global_sequence));
    }

    fn attempt(&mut self, member: &Member) -> Attempt {
        let (aggregate, tenant) = names(&member.target);
        let expected = self.expectation(&aggregate, member.expected);
        let events = member.events.iter().map(|event| self.new_event(event)).collect();
        Attempt {
            aggregate,
            tenant,
            expected,
            events,
        }
    }

    fn expectation(&self, aggregate: &AggregateKey, expected: Expected) -> ExpectedVersion {
        match expected {
            Expected::Any => ExpectedVersion::Any,
            Expected::NoStream => ExpectedVersion::NoStream,
            Expected::Exists => ExpectedVersion::Exists,
            Expected::Current(more) => {
                let actual = self.store.version(aggregate).unwrap_or_default().get();
                exact(u32::try_from(actual.saturating_add_signed(more)).expect("a short stream"))
            }
        }
    }

    fn new_event(&mut self, event: &Event) -> NewEvent {
        let mut new = NewEvent::from_json(KINDS[usize::from(event.kind)], DATA[usize::from(event.data)])
            .unwrap()
            .with_id(event_id(self.events))
            .created_at(at(event.seconds))
            .unwrap();
        self.events += 1;
        if let Some(metadata) = event.metadata {
            new = new.metadata_json(METADATA[usize::from(metadata)]).unwrap();
        }
        if let Some(id) = event.correlation {
            new = new.correlation_id(NAMES[usize::from(id)]).unwrap();
        }
        if let Some(id) = event.causation {
            new = new.causation_id(NAMES[usize::from(id)]).unwrap();
        }
        match event.creator {
            Some(name) => new.created_by(NAMES[usize::from(name)]).unwrap(),
            None => new,
        }
    }

    fn change(&mut self, attempt: &mut Attempt, change: Change) {
        let events = &mut attempt.events;
        match change {
            Change::Nothing => (),
            Change::Reverse => events.reverse(),
            Change::DropFirst => {
                events.splice(..events.len().min(1), []);
            }
            Change::DropLast => {
                events.pop();
            }
            Change::AddOne => {
                let new = NewEvent::from_json(KINDS[0], "{}")
                    .unwrap()
                    .with_id(event_id(self.events));
                events.push(new.created_at(at(3)).unwrap());
                self.events += 1;
            }
            Change::OtherAggregate => {
                let number = (attempt.aggregate.id().as_u128() as u8 + 1) % AGGREGATES;
                (attempt.aggregate, attempt.tenant) = names(&Target {
                    aggregate: number,
                    wrong_type: false,
                    wrong_tenant: false,
                });
            }
            Change::OtherData => {
                if let Some(first) = events.first_mut() {
                    let other = NewEvent::from_json(first.event_type(), r#"{"other":true}"#).unwrap();
                    *first = other.with_id(first.event_id()).created_at(at(0)).unwrap();
                }
            }
        }
    }

    fn range(&self, operation: &Operation) -> StreamRange {
        let Operation::Load {
            target,
            from,
            to,
            backwards,
            limit,
            as_of,
        } = operation
        else {
            unreachable!("only loading has a range");
        };
        let mut range = StreamRange::all().from_version(version(*from));
        range.to = to.map(version);
        range.limit = *limit;
        if *backwards {
            range = range.backwards();
        }
        // The store, limited to the owner or not.
        if let (_, Some(tenant)) = names(target) {
            range = range.tenant(tenant);
        }
        match *as_of {
            None => range,
            Some(Point::Version(number)) => range.as_of(version(number)),
            Some(Point::Time(seconds)) => range.as_of(at(seconds)),
            Some(Point::Rank(rank)) => range.as_of(self.sequence(rank)),
        }
    }

    fn read(&self, query: &Query) -> Answer {
        let names = |numbers: &[u8], names: &[&'static str]| -> Vec<&'static str> {
            numbers.iter().map(|number| names[usize::from(*number)]).collect()
        };
        let mut read = EventQuery::new().page_size(NonZeroU32::new(query.page).expect("from 1"));
        if let Some(kinds) = &query.kinds {
            read = read.event_types(names(kinds, &KINDS)).unwrap();
        }
        if let Some(types) = &query.aggregate_types {
            read = read.aggregate_types(names(types, &TYPES)).unwrap();
        }
        if let Some(aggregate) = query.aggregate {
            read = read.aggregate_id(aggregate_id(aggregate));
        }
        if let Some(events) = &query.events {
            read = read.event_ids(events.iter().map(|number| event_id(u128::from(*number))));
        }
        if let Some(tenant) = query.tenant {
            read = read.tenant(tenant_id(tenant)).unwrap();
        }
        if let Some(id) = query.correlation {
            read = read.correlation_id(NAMES[usize::from(id)]).unwrap();
        }
        if let Some(id) = query.causation {
            read = read.causation_id(NAMES[usize::from(id)]).unwrap();
        }
        if let Some(name) = query.creator {
            read = read.created_by(NAMES[usize::from(name)]).unwrap();
        }
        if let Some((from, until)) = query.times {
            read = read.created_at(at(from)..=at(until));
        }
        if let Some(metadata) = query.metadata {
            read = read.metadata(Metadata::from_json(METADATA[usize::from(metadata)]).unwrap());
        }
        if let Some(rank) = query.after {
            read = read.after(self.sequence(rank));
        }
        if let Some(rank) = query.until {
            read = read.until(self.sequence(rank));
        }
        if query.backwards {
            read = read.backwards();
        }
        if let Some(by_time) = query.by_time {
            read = read.ordered_by(if by_time { Order::Time } else { Order::Sequence });
        }
        if let Some(limit) = query.limit {
            read = read.limit(limit);
        }
        let mut events = self.store.read(read);
        let found: Result<Vec<_>, _> = events.by_ref().take(2 * self.ranks.len() + 1).collect();
        let mut answer: Vec<_> = found.map_err(kind)?.iter().map(|event| self.event(event)).collect();
        answer.push(format!(
            "mark {:?}",
            events.high_water_mark().map(|mark| self.rank(mark))
        ));
        Ok(answer)
    }

    fn statistics(&self, tenant: Option<&TenantId>) -> Answer {
        let statistics = self.store.statistics(tenant).map_err(kind)?;
        let mut answer = vec![format!(
            "{} events, {} aggregates, {} types, {} aggregate types, up to {}",
            statistics.total_events,
            statistics.total_aggregates,
            statistics.unique_event_types,
            statistics.unique_aggregate_types,
            self.rank(statistics.current_global_sequence),
        )];
        answer.extend(statistics.event_types.iter().map(|share| format!("{share:?}")));
        answer.extend(
            statistics
                .aggregate_types
                .iter()
                .map(|activity| format!("{activity:?}")),
        );
        answer.extend(statistics.details.iter().map(|detail| {
            let times = (detail.first_event_at, detail.last_event_at);
            let counts = (detail.event_count, detail.unique_aggregates);
            format!("{} {} {counts:?} {times:?}", detail.aggregate_type, detail.event_type)
        }));
        Ok(answer)
    }

    fn summaries(&self, query: &SummaryQuery) -> Answer {
        let summaries = self.store.aggregate_summaries(query).map_err(kind)?;
        let summary = |mut summary: firefly_eventstore_core::AggregateSummary| {
            // Each database spells JSON differently.
            summary.total_size_bytes = 0;
            format!("{summary:?}")
        };
        Ok(summaries.into_iter().map(summary).collect())
    }

    /// The sequence of the event with this rank; 0 before the first, and beyond the last one a greater number.
    fn sequence(&self, rank: usize) -> GlobalSequence {
        let beyond = || {
            self.ranks
                .last()
                .copied()
                .unwrap_or_default()
                .checked_add(1_000)
                .unwrap()
        };
        match rank.checked_sub(1) {
            None => GlobalSequence::ZERO,
            Some(index) => self.ranks.get(index).copied().unwrap_or_else(beyond),
        }
    }

    fn rank(&self, sequence: GlobalSequence) -> usize {
        match self.ranks.binary_search(&sequence) {
            Ok(index) => index + 1,
            Err(0) if sequence == GlobalSequence::ZERO => 0,
            Err(_) => panic!("{sequence} is not in the log: {:?}", self.ranks),
        }
    }

    fn ranks_of(&self, sequences: &[GlobalSequence]) -> Vec<usize> {
        sequences.iter().map(|sequence| self.rank(*sequence)).collect()
    }

    fn stream(&self, stream: &EventStream) -> Vec<String> {
        let head = format!("{} at {}", stream.aggregate(), stream.version());
        let events = stream.into_iter().map(|event| self.event(event));
        [head].into_iter().chain(events).collect()
    }

    fn event(&self, event: &EventEnvelope) -> String {
        event.verify().unwrap();
        let place = (event.version.get(), self.rank(event.global_sequence));
        let data = event.data.canonical().unwrap();
        let metadata = event.metadata.as_ref().map(|metadata| metadata.canonical().unwrap());
        let context = (
            &event.created_by,
            &event.tenant,
            &event.correlation_id,
            &event.causation_id,
        );
        let times = (event.created_at, event.updated_at);
        format!(
            "{} of {} {place:?} {} {data} {metadata:?} {context:?} {times:?} {:?}",
            event.event_id, event.aggregate, event.event_type, event.checksum
        )
    }
}

fn outcome(appended: &Appended) -> String {
    let (aggregate, version) = (appended.aggregate(), appended.version());
    let first = appended.first_version();
    format!(
        "{aggregate} at {version}, from {first:?}, already: {}",
        appended.is_already_stored()
    )
}

fn snapshot(snapshot: &Snapshot) -> String {
    snapshot.verify().unwrap();
    let data = snapshot.state.canonical().unwrap();
    let owner = (&snapshot.aggregate, &snapshot.tenant);
    format!(
        "{owner:?} at {} {} {data} {}",
        snapshot.version, snapshot.snapshot_type, snapshot.created_at
    )
}

fn selection<'a>(aggregate: &'a AggregateKey, forms: &'a [SnapshotType], which: Which) -> SnapshotSelection<'a> {
    match which {
        Which::Exactly(number) => SnapshotSelection::Exactly(aggregate, version(number)),
        Which::Before(number) => SnapshotSelection::Before(aggregate, version(number)),
        Which::AllButLatest(count) => SnapshotSelection::AllButLatest(aggregate, count),
        Which::AllButLatestOf(form, count) => {
            SnapshotSelection::AllButLatestOf(aggregate, &forms[usize::from(form)], count)
        }
        Which::Aggregate => SnapshotSelection::Aggregate(aggregate),
        Which::OlderThan(seconds) => SnapshotSelection::OlderThan(at(seconds)),
        Which::All => SnapshotSelection::All,
    }
}

fn snapshot_form(number: u8) -> SnapshotType {
    SnapshotType::new(format!("State.v{number}")).unwrap()
}

fn aggregate_id(number: u8) -> Uuid {
    Uuid::from_u128(u128::from(number))
}

fn event_id(number: u128) -> Uuid {
    Uuid::from_u128(number + 1_000)
}

fn tenant_id(number: u8) -> TenantId {
    TenantId::new(TENANTS[usize::from(number)]).unwrap()
}

/// The name and the owner of the aggregate with this number, or wrong ones.
fn names(target: &Target) -> (AggregateKey, Option<TenantId>) {
    let number = target.aggregate;
    let kind = (usize::from(number) + usize::from(target.wrong_type)) % 2;
    let key = AggregateKey::new(TYPES[kind], aggregate_id(number)).unwrap();
    let owner = (number + u8::from(target.wrong_tenant)) % 3;
    (key, owner.checked_sub(1).map(tenant_id))
}

/// The kind of an error with its details, without the text for people.
fn name(error: &Error) -> String {
    match error.kind() {
        ErrorKind::Duplicate {
            aggregate, event_ids, ..
        } => format!("duplicate of {aggregate}: {event_ids:?}"),
        ErrorKind::InvalidInput { .. } => "invalid input".to_owned(),
        ErrorKind::BeyondEnd { .. } => "beyond the end".to_owned(),
        kind => format!("{kind:?}"),
    }
}

fn kind(error: Error) -> String {
    name(&error)
}
