//! `show`: one aggregate.

use clap::Args;
use firefly_eventstore::{
    AggregateKey, AggregateType, AsOf, EventStore as _, EventStream, GlobalSequence, Snapshot, SnapshotAt,
    SnapshotStore as _, StreamRange, TenantId, Version,
};
use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use super::Chosen;
use super::tail::event_line;
use crate::console::{Console, HEADING};
use crate::exit::{Exit, Result};
use crate::json::{EventRow, SnapshotRow};
use crate::parse::{self, time_text};

/// Show an aggregate's events, or its state as of a point
///
/// What the state means is known to the program that wrote it. So --state shows what it is made from: the newest snapshot up to
/// the point, and the events after it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  firefly-eventstore show Account 0197c6b1-7e55-7c0e-9d6c-0d7c1f1a2b3c
  firefly-eventstore show Account 0197c6b1-... --last 5
  firefly-eventstore show Account 0197c6b1-... --state --as-of-time 2025-01-31")]
pub(crate) struct Show {
    /// The type of the aggregate
    #[arg(value_name = "TYPE")]
    aggregate_type: AggregateType,

    /// The id of the aggregate
    #[arg(value_name = "ID")]
    aggregate_id: Uuid,

    /// As it was at this version
    #[arg(long, value_name = "VERSION", value_parser = parse::version, group = "point")]
    as_of_version: Option<Version>,

    /// As it was at this time: a time, a date or an age (2h)
    #[arg(long, value_name = "TIME", value_parser = parse::time, group = "point")]
    as_of_time: Option<OffsetDateTime>,

    /// As it was when the log was at this global sequence
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

    /// Only the newest so many events
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
    events: Vec<EventRow<'a>>,
}

impl Show {
    pub(crate) fn run(self, store: &Chosen, console: &mut Console) -> Result<Exit> {
        let store = store.open()?;
        let aggregate = AggregateKey::new(&self.aggregate_type, self.aggregate_id)?;
        let mut range = self.range();
        let mut snapshot = None;
        if self.state {
            // The version at the point, which the newest event tells.
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
        match console.is_json() {
            true => console.json(&Answer {
                aggregate_type: self.aggregate_type.as_str(),
                aggregate_id: self.aggregate_id,
                aggregate_version: version,
                snapshot: snapshot.as_ref().map(SnapshotRow::from),
                events: stream.events().iter().map(EventRow::from).collect(),
            })?,
            false => self.tell(&stream, snapshot.as_ref(), console)?,
        }
        Ok(Exit::Fine)
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
