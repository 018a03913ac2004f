//! `tail`: the end of the log, and new events.

use std::fmt::{Display, Write as _};
use std::time::Duration;

use clap::Args;
use firefly_eventstore::operate::Operations;
use firefly_eventstore::{EventEnvelope, EventQuery, EventStoreExt as _, GlobalSequence, Order};

use crate::condition::Conditions;
use crate::console::{Console, HEADING};
use crate::exit::{Exit, Failure, Result};
use crate::filter::Filter;
use crate::parse::{self, time_text};
use crate::signal::{Stop, is_output_closed};
use crate::store::Chosen;

/// Show the newest events, and follow the log
///
/// Oldest first. --follow continues up to the high-water mark, so it skips no event that was committed late, and shows none twice. It waits
/// for a database that restarts, and ends at Ctrl-C.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  firefly-eventstore tail
  firefly-eventstore tail -n 0 --follow --aggregate-type Account
  firefly-eventstore tail --since 24h -n 1000 --json | jq .event_data
  firefly-eventstore tail --after 1200 --metadata '{\"branch\":\"Oslo\"}'
  firefly-eventstore tail --event-type money.deposited --where /amount=250")]
pub(crate) struct Tail {
    /// How many of the last events; 10, or with --after all
    #[arg(short = 'n', long, value_name = "N")]
    lines: Option<u64>,

    /// Continue with new events, until Ctrl-C
    #[arg(short, long)]
    follow: bool,

    /// How often --follow reads the log
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = parse::duration)]
    interval: Duration,

    #[command(flatten)]
    filter: Filter,

    #[command(flatten)]
    conditions: Conditions,
}

/// How many events are shown by default.
const LINES: u64 = 10;

impl Tail {
    pub(crate) fn run(self, store: &Chosen, console: &mut Console) -> Result<Exit> {
        let store = store.open()?;
        let mut reading = Reading {
            store: &*store,
            query: self.filter.query()?.ordered_by(Order::Sequence),
            conditions: self.conditions,
            shown: self.filter.after.unwrap_or_default(),
            stop: self.follow.then(Stop::listen).transpose()?,
            is_nothing_shown: true,
            console,
        };
        match (self.lines, self.filter.after) {
            (None, Some(_)) => reading.show_new()?,
            (lines, _) => reading.show_last(lines.unwrap_or(LINES))?,
        }
        if reading.is_nothing_shown && self.lines != Some(0) && !reading.console.is_json() {
            reading.console.remark("no event was found so far");
        }
        reading.follow(self.interval)?;
        Ok(Exit::Fine)
    }
}

struct Reading<'a> {
    store: &'a dyn Operations,
    query: EventQuery,
    conditions: Conditions,
    /// The checkpoint: everything up to here was read.
    shown: GlobalSequence,
    stop: Option<Stop>,
    is_nothing_shown: bool,
    console: &'a mut Console,
}

impl Reading<'_> {
    /// Shows the last events that match. Earlier ones are not read.
    fn show_last(&mut self, lines: u64) -> Result<()> {
        let query = self.query.clone().backwards();
        let mut events = self.store.read(match self.conditions.is_empty() {
            true => query.limit(lines),
            // The database cannot filter by this.
            false => query,
        });
        let mut last = Vec::new();
        while (last.len() as u64) < lines
            && let Some(event) = events.next().transpose()?
        {
            if self.conditions.hold(&event)? {
                last.push(event);
            }
        }
        let mark = match events.high_water_mark() {
            Some(mark) => mark,
            None => self.store.high_water_mark()?,
        };
        for event in last.iter().rev() {
            self.show(event)?;
        }
        self.shown = self.shown.max(mark);
        self.console.flush()
    }

    /// Shows the new events.
    fn show_new(&mut self) -> Result<()> {
        let store = self.store;
        let mut events = store.read(self.query.clone().after(self.shown));
        while let Some(event) = events.next() {
            let event = event?;
            if self.conditions.hold(&event)? {
                self.show(&event)?;
            }
            self.shown = events.checkpoint();
            if self.is_stopped() {
                return self.console.flush();
            }
        }
        self.shown = events.checkpoint();
        self.console.flush()
    }

    fn show(&mut self, event: &EventEnvelope) -> Result<()> {
        self.is_nothing_shown = false;
        match self.console.is_json() {
            true => self.console.json(event),
            false => event_line(event, true, self.console),
        }
    }

    fn follow(&mut self, interval: Duration) -> Result<()> {
        let mut is_lost = false;
        loop {
            match &self.stop {
                None => return Ok(()),
                Some(stop) => stop.wait(interval),
            }
            if self.is_stopped() || is_output_closed() {
                return Ok(());
            }
            match self.look() {
                Ok(()) => is_lost = false,
                Err(failure) if failure.exit() == Exit::Unavailable => {
                    if !is_lost {
                        let failure = self.console.hidden(&failure.to_string());
                        self.console
                            .remark(format_args!("trying again until it succeeds: {failure}"));
                    }
                    is_lost = true;
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    fn look(&mut self) -> Result<(), Failure> {
        match self.store.high_water_mark()? == self.shown {
            true => Ok(()),
            // Also if the mark is before it: the read then reports that events were lost.
            false => self.show_new(),
        }
    }

    fn is_stopped(&self) -> bool {
        self.stop.as_ref().is_some_and(Stop::is_asked)
    }
}

/// Writes an event on a line.
pub(super) fn event_line(event: &EventEnvelope, with_aggregate: bool, console: &mut Console) -> Result<()> {
    let text = event_text(event, with_aggregate);
    console.marked_line(HEADING, &event.global_sequence.to_string(), text)
}

/// The rest of an event's line, after its sequence: what happened, and its context if it has one.
pub(super) fn event_text(event: &EventEnvelope, with_aggregate: bool) -> String {
    let mut line = format!(" {} ", time_text(event.created_at));
    let mut add = |part: &dyn Display| write!(line, "{part} ").expect("a string takes everything");
    if with_aggregate {
        add(&event.aggregate);
    }
    add(&event.version);
    add(&event.event_type);
    add(&event.data);
    for (name, value) in [
        ("created_by", event.created_by.as_ref().map(|name| name.as_str())),
        ("tenant_id", event.tenant.as_ref().map(|name| name.as_str())),
        (
            "correlation_id",
            event.correlation_id.as_ref().map(|name| name.as_str()),
        ),
        ("causation_id", event.causation_id.as_ref().map(|name| name.as_str())),
        ("metadata", event.metadata.as_ref().map(|metadata| metadata.as_str())),
    ] {
        if let Some(value) = value {
            add(&format_args!("{name}={value}"));
        }
    }
    line.trim_end().to_owned()
}
