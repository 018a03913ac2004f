//! `show`: one aggregate.

use std::fmt::Display;

use clap::Args;
use firefly_eventstore::operate::Operations;
use firefly_eventstore::{
    AggregateKey, AggregateType, AsOf, EventEnvelope, EventQuery, EventStore as _, EventStoreExt as _, EventStream,
    GlobalSequence, Snapshot, SnapshotAt, SnapshotStore as _, StreamRange, TenantId, Version,
};
use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use super::tail::event_line;
use crate::console::{Console, HEADING};
use crate::exit::{Exit, Failure, Result};
use crate::json::SnapshotRow;
use crate::parse::{self, time_text};
use crate::store::Chosen;

/// Show an aggregate's events, now or as of a past point
///
/// Only the program that wrote the state knows its meaning. So --state shows what the state is made from: the newest snapshot up to the
/// point, and the events after it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  firefly-eventstore show 0197c6b1-7e55-7c0e-9d6c-0d7c1f1a2b3c
  firefly-eventstore show Account 0197c6b1-7e55-7c0e-9d6c-0d7c1f1a2b3c
  firefly-eventstore show Account 0197c6b1-... --last 5
  firefly-eventstore show Account 0197c6b1-... --state --as-of-time 2025-01-31")]
pub(crate) struct Show {
    /// The aggregate: its type and its id, or the id alone
    #[arg(value_names = ["TYPE", "ID"], num_args = 1..=2, required = true)]
    aggregate: Vec<String>,

    /// As of this version
    #[arg(long, value_name = "VERSION", value_parser = parse::version, group = "point")]
    as_of_version: Option<Version>,

    /// As of this time: a time, a date or an age (2h)
    #[arg(long, value_name = "TIME", value_parser = parse::time, group = "point")]
    as_of_time: Option<OffsetDateTime>,

    /// As of this global sequence of the log
    #[arg(long, value_name = "SEQUENCE", value_parser = parse::sequence, group = "point")]
    as_of_sequence: Option<GlobalSequence>,

    /// The newest snapshot up to the point, and only the events after it
    #[arg(long, conflicts_with_all = ["from", "last"])]
    state: bool,

    /// Only events from this version
    #[arg(long, value_name = "VERSION", value_parser = parse::version)]
    from: Option<Version>,

    /// Only events up to this version
    #[arg(long, value_name = "VERSION", value_parser = parse::version)]
    to: Option<Version>,

    /// Only the newest events, this many
    #[arg(long, value_name = "N")]
    last: Option<u64>,

    /// Only if it belongs to this tenant
    #[arg(long)]
    tenant: Option<TenantId>,
}

#[derive(Serialize)]
struct Answer<'a> {
    aggregate_type: &'a str,
    aggregate_id: Uuid,
    aggregate_version: Version,
    snapshot: Option<SnapshotRow<'a>>,
    events: &'a [EventEnvelope],
}

impl Show {
    pub(crate) fn run(self, store: &Chosen, console: &mut Console) -> Result<Exit> {
        let store = store.open()?;
        let aggregate = self.aggregate(&*store)?;
        let mut range = self.range();
        let mut snapshot = None;
        if self.state {
            // The version at the point: that of the newest event.
            let newest = store.load_range(&aggregate, &range.clone().last(1))?;
            let version = self.to.map_or(newest.version(), |to| to.min(newest.version()));
            snapshot = store.find_snapshot(self.tenant.as_ref(), &aggregate, SnapshotAt::LatestUpTo(version))?;
            if let Some(next) = snapshot.as_ref().and_then(|snapshot| snapshot.version.checked_add(1)) {
                range = range.from_version(next);
            }
        }
        if let Some(count) = self.last {
            range = range.last(count);
        }
        let stream = store.load_range(&aggregate, &range)?;
        let version = stream.version();
        let mut events = stream.into_events();
        if self.last.is_some() {
            events.reverse();
        }
        let stream = EventStream::new(aggregate, version, events);
        if !stream.exists() && !self.exists(&*store, stream.aggregate())? {
            return Err(unknown(format_args!("{} has no events", stream.aggregate())));
        }
        match console.is_json() {
            true => console.json(&Answer {
                aggregate_type: stream.aggregate().aggregate_type().as_str(),
                aggregate_id: stream.aggregate().id(),
                aggregate_version: version,
                snapshot: snapshot.as_ref().map(SnapshotRow::from),
                events: stream.events(),
            })?,
            false => self.tell(&stream, snapshot.as_ref(), console)?,
        }
        Ok(Exit::Fine)
    }

    /// The requested aggregate. If only the id is given, its first event gives the type.
    fn aggregate(&self, store: &dyn Operations) -> Result<AggregateKey> {
        let (aggregate_type, id) = match self.aggregate.as_slice() {
            [aggregate_type, id] => (Some(AggregateType::new(aggregate_type.as_str())?), id),
            [id] => (None, id),
            _ => unreachable!("one or two are taken"),
        };
        let id = Uuid::parse_str(id).map_err(|error| {
            Failure::usage(format!("{id:?} is not an aggregate id: {error}"))
                .advise("write a UUID, after the type or alone")
        })?;
        if let Some(aggregate_type) = aggregate_type {
            return Ok(AggregateKey::new(&aggregate_type, id)?);
        }
        let mut query = EventQuery::new().aggregate_id(id).limit(1);
        if let Some(tenant) = &self.tenant {
            query = query.tenant(tenant)?;
        }
        match store.read(query).next() {
            Some(event) => Ok(event?.aggregate),
            None => Err(unknown(format_args!("no aggregate with the id {id} has events"))),
        }
    }

    /// Whether the aggregate has any event, even if only after the requested point.
    fn exists(&self, store: &dyn Operations, aggregate: &AggregateKey) -> Result<bool> {
        let mut newest = StreamRange::all().last(1);
        newest.tenant = self.tenant.clone();
        Ok(store.load_range(aggregate, &newest)?.exists())
    }

    fn range(&self) -> StreamRange {
        let mut range = StreamRange::all();
        range.as_of = (self.as_of_version.map(AsOf::Version))
            .or(self.as_of_time.map(AsOf::Time))
            .or(self.as_of_sequence.map(AsOf::Sequence));
        range.from = self.from.unwrap_or_default();
        range.to = self.to;
        range.tenant = self.tenant.clone();
        range
    }

    fn tell(&self, stream: &EventStream, snapshot: Option<&Snapshot>, console: &mut Console) -> Result<()> {
        if !stream.exists() {
            return console.line(format_args!("{} has no events", stream.aggregate()));
        }
        console.marked_line(
            HEADING,
            &stream.aggregate().to_string(),
            format_args!(", version {}", stream.version()),
        )?;
        match snapshot {
            Some(snapshot) => console.line(format_args!(
                "snapshot at version {}, {}, {}: {}",
                snapshot.version,
                snapshot.snapshot_type,
                time_text(snapshot.created_at),
                snapshot.state
            ))?,
            None if self.state => console.line("no snapshot up to there")?,
            None => {}
        }
        for event in stream.events() {
            event_line(event, false, console)?;
        }
        Ok(())
    }
}

/// The requested aggregate or snapshot does not exist.
fn unknown(what: impl Display) -> Failure {
    Failure::new(Exit::Conflict, what.to_string()).advise_command(["aggregates"])
}
