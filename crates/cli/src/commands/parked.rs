//! `parked`: events that a consumer could not handle, and put aside.

use clap::builder::RangedU64ValueParser;
use clap::{ArgGroup, Args, Subcommand};
use firefly_eventstore::consumer::{self, ParkedEvent, ParkedQuery};
use firefly_eventstore::operate::Operations;
use firefly_eventstore::{EventEnvelope, EventQuery, GlobalSequence};
use serde::Serialize;
use uuid::Uuid;

use super::consumers::find;
use super::tail::event_line;
use crate::console::{Console, HEADING};
use crate::exit::{Exit, Failure, Result};
use crate::json::ParkedRow;
use crate::parse::{self, short_time, time_text};
use crate::store::Chosen;
use crate::table::Table;
use crate::text::{counted, cut};

/// How many characters of a reason a table shows.
const REASON_CHARS: usize = 60;
/// How many rows one query reads.
const PAGE: u32 = 500;

/// List the parked events of consumers; replay or discard them
///
/// A consumer that cannot handle an event may park it, with every later event of its aggregate, and continue with other aggregates.
#[derive(Debug, Args)]
#[command(
    disable_help_subcommand = true,
    after_help = "\
Examples:
  firefly-eventstore parked
  firefly-eventstore parked list welcome-mail.v1
  firefly-eventstore parked show welcome-mail.v1 1200
  firefly-eventstore parked replay welcome-mail.v1 --all"
)]
pub(crate) struct Parked {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    List(List),
    Show(Show),
    Replay(Replay),
    Discard(Discard),
}

/// List the parked events of one consumer, or of all
///
/// Events without attempts wait behind an earlier event of their aggregate. Events to be replayed are handled again as soon as their
/// consumer runs.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  firefly-eventstore parked list
  firefly-eventstore parked list welcome-mail.v1 --limit 1000
  firefly-eventstore parked list --json | jq -r .reason | sort | uniq -c")]
struct List {
    /// Only events of this consumer
    name: Option<String>,

    /// Show at most this many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = RangedU64ValueParser::<u32>::new().range(1..))]
    limit: u32,
}

/// Show one parked event, with the full reason
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  firefly-eventstore parked show welcome-mail.v1 1200")]
struct Show {
    /// The name of the consumer
    name: String,

    /// The global sequence of the event
    #[arg(value_name = "SEQUENCE", value_parser = parse::sequence)]
    sequence: GlobalSequence,
}

/// Have parked events handled again, in their order
///
/// The process that runs the consumer handles them, now or later. An event that fails again stays parked, with all events behind it.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("which").required(true),
    override_usage = "firefly-eventstore parked replay [OPTIONS] <NAME> <AGGREGATE|--all>",
    after_help = "\
Examples:
  firefly-eventstore parked replay welcome-mail.v1 0197c6b1-7e55-7c0e-9d6c-0d7c1f1a2b3c
  firefly-eventstore parked replay welcome-mail.v1 --all"
)]
struct Replay {
    /// The name of the consumer
    name: String,

    /// All parked events of the aggregate with this id
    #[arg(value_name = "AGGREGATE", group = "which")]
    aggregate: Option<Uuid>,

    /// All parked events of the consumer
    #[arg(long, group = "which")]
    all: bool,
}

/// Discard a parked event, or those of an aggregate: they are never handled
///
/// The events stay in the log. Once no event of an aggregate is parked, its later events are handled as usual.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("which").required(true),
    override_usage = "firefly-eventstore parked discard [OPTIONS] \\\n           \
                      <NAME> <SEQUENCE|--aggregate <UUID>>",
    after_help = "\
Examples:
  firefly-eventstore parked discard welcome-mail.v1 1200 --yes
  firefly-eventstore parked discard welcome-mail.v1 --aggregate 0197c6b1-... --yes"
)]
struct Discard {
    /// The name of the consumer
    name: String,

    /// The event with this global sequence
    #[arg(value_name = "SEQUENCE", value_parser = parse::sequence, group = "which")]
    sequence: Option<GlobalSequence>,

    /// All parked events of the aggregate with this id
    #[arg(long, value_name = "UUID", group = "which")]
    aggregate: Option<Uuid>,

    /// Do it; without this, the command only says what would happen
    #[arg(long)]
    yes: bool,
}

#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    parked: ParkedRow<'a>,
    event: Option<&'a EventEnvelope>,
}

#[derive(Serialize)]
struct Replayed<'a> {
    name: &'a str,
    replayed: u64,
}

#[derive(Serialize)]
struct Discarded<'a> {
    name: &'a str,
    discarded: u64,
}

impl Parked {
    pub(crate) fn run(self, store: &Chosen, console: &mut Console) -> Result<Exit> {
        let store = store.open()?;
        let store = &*store;
        match self.action {
            None => List { name: None, limit: 100 }.run(store, console)?,
            Some(Action::List(list)) => list.run(store, console)?,
            Some(Action::Show(show)) => show.run(store, console)?,
            Some(Action::Replay(replay)) => replay.run(store, console)?,
            Some(Action::Discard(discard)) => discard.run(store, console)?,
        }
        Ok(Exit::Fine)
    }
}

impl List {
    fn run(self, store: &dyn Operations, console: &mut Console) -> Result<()> {
        if let Some(name) = &self.name {
            find(store, name)?;
        }
        let mut table = Table::new([
            "consumer",
            "sequence>",
            "aggregate!",
            "attempts>",
            "parked",
            "replay",
            "reason",
        ]);
        let mut show = |event: &ParkedEvent, console: &mut Console| -> Result<()> {
            if console.is_json() {
                return console.json(&ParkedRow::from(event));
            }
            table.row([
                event.consumer.clone(),
                event.global_sequence.to_string(),
                event.aggregate_id.to_string(),
                event.attempts.to_string(),
                short_time(event.parked_at),
                if event.replay { "asked" } else { "" }.to_owned(),
                cut(&event.reason, REASON_CHARS),
            ]);
            Ok(())
        };
        let is_more = self.each(store, |event| show(event, console))?;
        if !console.is_json() {
            console.table(table)?;
        }
        if is_more {
            console.flush()?;
            console.remark(format_args!("there are more than {}: --limit N", self.limit));
        }
        Ok(())
    }

    /// Shows parked events up to the limit, page by page. Returns whether there are more.
    fn each(&self, store: &dyn Operations, mut show: impl FnMut(&ParkedEvent) -> Result<()>) -> Result<bool> {
        let mut left = self.limit;
        let mut place = (String::new(), GlobalSequence::ZERO);
        loop {
            let page = store.parked_events(match &self.name {
                Some(name) => ParkedQuery::Of {
                    consumer: name,
                    after: place.1,
                    limit: PAGE,
                },
                None => ParkedQuery::All {
                    after: (&place.0, place.1),
                    limit: PAGE,
                },
            })?;
            let Some(last) = page.last() else {
                return Ok(false);
            };
            place = (last.consumer.clone(), last.global_sequence);
            for event in &page {
                if left == 0 {
                    return Ok(true);
                }
                left -= 1;
                show(event)?;
            }
        }
    }
}

impl Show {
    fn run(self, store: &dyn Operations, console: &mut Console) -> Result<()> {
        let parked = find_parked(store, &self.name, self.sequence)?;
        let event = event_at(store, self.sequence)?;
        if console.is_json() {
            return console.json(&Shown {
                parked: ParkedRow::from(&parked),
                event: event.as_ref(),
            });
        }
        console.marked_line(
            HEADING,
            &parked.consumer,
            format_args!(
                " parked this event of aggregate {} on {}, {}{}",
                parked.aggregate_id,
                time_text(parked.parked_at),
                match parked.attempts {
                    0 => "without an attempt".to_owned(),
                    attempts => format!("after {}", counted(attempts.into(), "attempt")),
                },
                if parked.replay { "; it is to be replayed" } else { "" }
            ),
        )?;
        console.line(format_args!("reason: {}", parked.reason))?;
        match event {
            Some(event) => event_line(&event, true, console),
            None => console.line(format_args!("the event is not in the log any more")),
        }
    }
}

impl Replay {
    fn run(self, store: &dyn Operations, console: &mut Console) -> Result<()> {
        let name = &self.name;
        find(store, name)?;
        let replayed = match self.aggregate {
            Some(aggregate) => consumer::replay(store, name, aggregate)?,
            None => consumer::replay_all(store, name)?,
        };
        match console.is_json() {
            true => console.json(&Replayed { name, replayed }),
            false if replayed == 0 => console.line(format_args!("{name} has parked nothing")),
            false => console.line(format_args!(
                "asked {name} to handle {} again, which it does as soon as it runs",
                counted(replayed, "parked event")
            )),
        }
    }
}

impl Discard {
    fn run(self, store: &dyn Operations, console: &mut Console) -> Result<()> {
        let name = &self.name;
        if let Some(sequence) = self.sequence {
            find_parked(store, name, sequence)?;
        } else {
            find(store, name)?;
        }
        if !self.yes {
            let what = match (self.sequence, self.aggregate) {
                (Some(sequence), _) => format!("the event with global sequence {sequence}"),
                (None, aggregate) => format!("the parked events of aggregate {}", aggregate.unwrap_or_default()),
            };
            let lost = format!("the consumer {name} would never handle {what}");
            return Err(Failure::usage(lost).advise("write --yes to do it"));
        }
        let discarded = match (self.sequence, self.aggregate) {
            (Some(sequence), _) => {
                consumer::discard(store, name, sequence)?;
                1
            }
            (None, aggregate) => consumer::discard_aggregate(store, name, aggregate.unwrap_or_default())?,
        };
        match console.is_json() {
            true => console.json(&Discarded { name, discarded }),
            false => console.line(format_args!("discarded {}", counted(discarded, "parked event"))),
        }
    }
}

fn find_parked(store: &dyn Operations, name: &str, sequence: GlobalSequence) -> Result<ParkedEvent> {
    if let Some(parked) = consumer::find_parked(store, name, sequence)? {
        return Ok(parked);
    }
    find(store, name)?;
    let missing = format!("the consumer {name} has not parked the event with global sequence {sequence}");
    Err(Failure::usage(missing).advise_command(["parked"]))
}

/// The event itself; none if it is archived, or another program deleted it.
fn event_at(store: &dyn Operations, sequence: GlobalSequence) -> Result<Option<EventEnvelope>> {
    let before = GlobalSequence::new(sequence.get().saturating_sub(1))?;
    match store.read_page(&EventQuery::new().after(before).until(sequence), None) {
        Err(error) if error.is_beyond_end() || error.is_archived() => Ok(None),
        page => Ok(page?.events.into_iter().next()),
    }
}
