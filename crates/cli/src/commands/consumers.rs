//! `consumers`: the status of projections and subscriptions, and what an operator does with them.

use clap::{ArgGroup, Args, Subcommand};
use firefly_eventstore::GlobalSequence;
use firefly_eventstore::consumer::{self, ConsumerSlot, ConsumerStatus, Failing, Lease};
use firefly_eventstore::operate::Operations;

use crate::age::age_text;
use crate::console::{Console, DANGER, HEADING};
use crate::exit::{Exit, Failure, Result};
use crate::json::ConsumerRow;
use crate::parse::{self, short_time};
use crate::store::Chosen;
use crate::table::Table;
use crate::text::{counted, cut};

/// How many characters of an error a table shows.
const ERROR_CHARS: usize = 60;

/// List projections and subscriptions; pause, resume or move them
///
/// Each consumer has a name, and a position up to which it has handled the log. A consumer that no program has ever run is not in the list.
#[derive(Debug, Args)]
#[command(
    disable_help_subcommand = true,
    after_help = "\
Examples:
  firefly-eventstore consumers
  firefly-eventstore consumers show welcome-mail.v1
  firefly-eventstore consumers --json | jq 'select(.behind > 1000).name'
  firefly-eventstore consumers pause welcome-mail.v1"
)]
pub(crate) struct Consumers {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    List(List),
    Show(Show),
    Pause(Pause),
    Resume(Resume),
    Reposition(Reposition),
    Reset(Reset),
}

/// List all consumers, as `consumers` without a command does
///
/// "behind" is the number of sequences between the position and the end of the log; "age", how long ago the oldest unhandled event was
/// created; "held by", how many processes now hold leases of its slots. Projections need no lease.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  firefly-eventstore consumers list
  firefly-eventstore consumers list --json | jq .behind_seconds")]
struct List {}

/// Show one consumer in full, with each of its slots
///
/// For each slot: its position and token, the process that holds it and for how long, and the failing event with its error.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  firefly-eventstore consumers show welcome-mail.v1")]
struct Show {
    /// The name of the consumer
    name: String,
}

/// Pause a consumer: it handles nothing until it is resumed
///
/// In every process that runs it. It keeps its position.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  firefly-eventstore consumers pause welcome-mail.v1")]
struct Pause {
    /// The name of the consumer
    name: String,
}

/// Resume a consumer that was paused, or has failed
///
/// The event that failed is tried again.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  firefly-eventstore consumers resume welcome-mail.v1")]
struct Resume {
    /// The name of the consumer
    name: String,
}

/// Move a consumer to another position in the log
///
/// Moving forwards skips events; moving backwards handles events again. Then a subscription repeats its effects, and a projection applies
/// events a second time to its read model. Parked events stay parked.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("place").required(true),
    override_usage = "firefly-eventstore consumers reposition [OPTIONS] \\\n           \
                      <NAME> <--to <SEQUENCE>|--to-end>",
    after_help = "\
Examples:
  firefly-eventstore consumers reposition welcome-mail.v1 --to 1200 --yes
  firefly-eventstore consumers reposition welcome-mail.v1 --to-end --yes"
)]
struct Reposition {
    /// The name of the consumer
    name: String,

    /// The new position: the next event is the first one after this global sequence
    #[arg(long, value_name = "SEQUENCE", value_parser = parse::sequence, group = "place")]
    to: Option<GlobalSequence>,

    /// To the end of the log: only later events are handled
    #[arg(long, group = "place")]
    to_end: bool,

    /// Do it; without this, the command only says what would happen
    #[arg(long)]
    yes: bool,
}

/// Move a subscription to the start: it handles the whole log again
///
/// A subscription repeats all of its effects. Do not use this for projections: the tool cannot empty a read model, so each event would be
/// applied a second time. For a projection, use `consumer::reset` of the library, in a program that has the projection: it empties the read
/// model in the same transaction. Parked events stay parked.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  firefly-eventstore consumers reset welcome-mail.v1 --yes")]
struct Reset {
    /// The name of the consumer
    name: String,

    /// Do it; without this, the command only says what would happen
    #[arg(long)]
    yes: bool,
}

impl Consumers {
    pub(crate) fn run(self, store: &Chosen, console: &mut Console) -> Result<Exit> {
        let store = store.open()?;
        let store = &*store;
        match self.action.unwrap_or(Action::List(List {})) {
            Action::List(List {}) => list(store, console)?,
            Action::Show(Show { name }) => show(&find(store, &name)?, console)?,
            Action::Pause(Pause { name }) => {
                find(store, &name)?;
                consumer::pause(store, &name)?;
                done(store, &name, "paused", console)?;
            }
            Action::Resume(Resume { name }) => {
                find(store, &name)?;
                consumer::resume(store, &name)?;
                done(store, &name, "resumed", console)?;
            }
            Action::Reposition(Reposition { name, to, yes, .. }) => {
                let to = match to {
                    Some(to) => to,
                    None => store.high_water_mark()?,
                };
                reposition(store, &name, to, yes, console)?;
            }
            Action::Reset(Reset { name, yes }) => reposition(store, &name, GlobalSequence::ZERO, yes, console)?,
        }
        Ok(Exit::Fine)
    }
}

/// The status of a consumer, which must have been run before: the position of any other is unknown.
pub(super) fn find(store: &dyn Operations, name: &str) -> Result<ConsumerStatus> {
    let found = consumer::status(store, Some(name))?.pop();
    found.ok_or_else(|| {
        let missing = format!("the consumer {name} has not begun: no program has run it on this store");
        Failure::usage(missing).advise_command(["consumers"])
    })
}

fn list(store: &dyn Operations, console: &mut Console) -> Result<()> {
    let consumers = consumer::status(store, None)?;
    if console.is_json() {
        return consumers
            .iter()
            .try_for_each(|consumer| console.json(&ConsumerRow::from(consumer)));
    }
    let mut table = Table::new([
        "consumer",
        "state",
        "slots>",
        "held by>",
        "position>",
        "behind>",
        "age>",
        "parked>",
        "last error",
    ]);
    for consumer in &consumers {
        table.row([
            consumer.name.clone(),
            consumer.state().to_string(),
            consumer.slots.len().to_string(),
            consumer.holders().len().to_string(),
            consumer.position.to_string(),
            consumer.behind.to_string(),
            consumer.age.map(age_text).unwrap_or_default(),
            consumer.parked.to_string(),
            consumer
                .failing()
                .map(|failing| cut(&failing.error, ERROR_CHARS))
                .unwrap_or_default(),
        ]);
    }
    console.table(table)
}

fn show(consumer: &ConsumerStatus, console: &mut Console) -> Result<()> {
    if console.is_json() {
        return console.json(&ConsumerRow::from(consumer));
    }
    let age = match consumer.age {
        Some(age) => format!(", the oldest event not handled was created {} ago", age_text(age)),
        None => String::new(),
    };
    console.marked_line(
        HEADING,
        &consumer.name,
        format_args!(
            ": {}, position {}, {} behind{age}, {} parked",
            consumer.state(),
            consumer.position,
            consumer.behind,
            consumer.parked
        ),
    )?;
    let mut table = Table::new([
        "slot>",
        "state",
        "position>",
        "token>",
        "holder!",
        "lease left>",
        "failing>",
        "attempts>",
        "updated",
    ]);
    for slot in &consumer.slots {
        let failing = |tell: fn(&Failing) -> String| slot.failing.as_ref().map(tell).unwrap_or_default();
        table.row([
            slot.slot.to_string(),
            slot.state.to_string(),
            slot.position.to_string(),
            slot.token.to_string(),
            slot.holder.map(|holder| holder.to_string()).unwrap_or_default(),
            slot.holder.and(slot.lease).map(lease_text).unwrap_or_default(),
            failing(|failing| failing.sequence.to_string()),
            failing(|failing| failing.attempts.to_string()),
            short_time(slot.updated_at),
        ]);
    }
    console.table(table)?;
    consumer.slots.iter().try_for_each(|slot| tell_error(slot, console))
}

fn lease_text(lease: Lease) -> String {
    match lease {
        Lease::Left(left) => age_text(left),
        _ => "ran out".to_owned(),
    }
}

/// The full error of a slot.
fn tell_error(slot: &ConsumerSlot, console: &mut Console) -> Result<()> {
    let Some(failing) = &slot.failing else { return Ok(()) };
    let mark = format!("slot {}, global sequence {}", slot.slot, failing.sequence);
    console.marked_line(DANGER, &mark, format_args!(": {}", failing.error))
}

fn reposition(
    store: &dyn Operations,
    name: &str,
    to: GlobalSequence,
    is_sure: bool,
    console: &mut Console,
) -> Result<()> {
    let consumer = find(store, name)?;
    if !is_sure {
        return Err(unsure(&consumer, to));
    }
    consumer::reposition(store, name, to)?;
    done(store, name, "moved", console)
}

/// What would happen.
fn unsure(consumer: &ConsumerStatus, to: GlobalSequence) -> Failure {
    let positions = || consumer.slots.iter().map(|slot| slot.position);
    let mut effects = Vec::new();
    if let Some(last) = positions().max().filter(|position| *position > to) {
        effects.push(format!(
            "handle the log after global sequence {to} up to {last} again: a subscription repeats its effects, and a projection applies \
             events a second time to a read model that the tool cannot empty (the library's consumer::reset does)"
        ));
    }
    if let Some(first) = positions().min().filter(|position| *position < to) {
        effects.push(format!(
            "skip the events after global sequence {first} up to {to} that it has not handled"
        ));
    }
    if effects.is_empty() {
        effects.push(format!(
            "stay at global sequence {to}, and handle its current events again"
        ));
    }
    Failure::usage(format!(
        "the consumer {} would {}",
        consumer.name,
        effects.join("; it would ")
    ))
    .advise("write --yes to do it")
}

/// Reports what was done, and the state of the consumer after it.
fn done(store: &dyn Operations, name: &str, did: &str, console: &mut Console) -> Result<()> {
    let consumer = find(store, name)?;
    if console.is_json() {
        return console.json(&ConsumerRow::from(&consumer));
    }
    console.line(format_args!(
        "{did} {name}, with {}, at global sequence {}; it is {}",
        counted(consumer.slots.len() as u64, "slot"),
        consumer.position,
        consumer.state()
    ))
}
