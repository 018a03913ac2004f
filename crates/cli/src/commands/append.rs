//! `append`: appends events from a script.

use std::io::{self, IsTerminal as _, Read as _};

use clap::Args;
use firefly_eventstore::{
    AggregateKey, AggregateType, Append as AppendTo, Appended, Error, EventStore as _, ExpectedVersion, GlobalSequence,
    NewEvent, TenantId, Version,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use crate::console::Console;
use crate::exit::{Exit, Failure, Result};
use crate::parse;
use crate::store::Chosen;

/// Append events from JSON on the standard input, all or none
///
/// One JSON object per event, or an array of them, with event_type and data; optional are event_id, metadata, created_at, created_by,
/// correlation_id and causation_id. If you give the event ids, repeating is safe: stored events are not stored again, and the answer is the
/// first one.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  echo '{\"event_type\":\"account.opened\",\"data\":{\"owner\":\"Ada\"}}' |
    firefly-eventstore append --type Account --id $(uuidgen) --expected no-stream
  firefly-eventstore append --type Account --id $ID --expected 4 < events.jsonl")]
pub(crate) struct Append {
    /// The type of the aggregate
    #[arg(long = "type", value_name = "TYPE")]
    aggregate_type: AggregateType,

    /// The id of the aggregate
    #[arg(long, value_name = "UUID")]
    id: Uuid,

    /// The version that the aggregate must have: any, no-stream, exists, or a number
    #[arg(long, value_name = "VERSION", default_value = "any", value_parser = parse::expected)]
    expected: ExpectedVersion,

    /// The tenant that owns the aggregate
    #[arg(long)]
    tenant: Option<TenantId>,
}

/// An event on the standard input.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Given<'a> {
    event_type: String,
    #[serde(borrow, alias = "event_data")]
    data: &'a RawValue,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
    event_id: Option<Uuid>,
    created_at: Option<String>,
    created_by: Option<String>,
    correlation_id: Option<String>,
    causation_id: Option<String>,
}

#[derive(Serialize)]
struct Answer<'a> {
    aggregate_type: &'a str,
    aggregate_id: Uuid,
    aggregate_version: Version,
    already_stored: bool,
    events: Vec<Place>,
}

#[derive(Serialize)]
struct Place {
    event_id: Uuid,
    aggregate_version: u64,
    global_sequence: GlobalSequence,
}

impl Append {
    pub(crate) fn run(self, store: &Chosen, console: &mut Console) -> Result<Exit> {
        let store = store.open()?;
        if io::stdin().is_terminal() {
            console.remark("reading events from the standard input, one JSON object each; Ctrl-D ends it");
        }
        let mut input = String::new();
        io::stdin()
            .read_to_string(&mut input)
            .map_err(|error| Failure::io("the standard input cannot be read", &error))?;
        let events = parse_events(&input)?;
        let aggregate = AggregateKey::new(&self.aggregate_type, self.id)?;
        let mut append = AppendTo::new(&aggregate, self.expected, &events);
        append.tenant = self.tenant.as_ref();
        let appended = store.append_all(&[append])?.pop().expect("an append has a result");
        answer(&events, &appended, console)?;
        Ok(Exit::Fine)
    }
}

fn parse_events(input: &str) -> Result<Vec<NewEvent>> {
    let wrong = |error: serde_json::Error| {
        Failure::usage(format!("the standard input is not what is expected: {error}"))
            .advise("write one JSON object per event, with event_type and data")
    };
    let given: Vec<Given<'_>> = match input.trim_start().starts_with('[') {
        true => serde_json::from_str(input).map_err(wrong)?,
        false => {
            let objects = serde_json::Deserializer::from_str(input).into_iter();
            objects.collect::<Result<_, _>>().map_err(wrong)?
        }
    };
    let numbered = given.into_iter().zip(1..);
    numbered
        .map(|(given, number)| to_event(given).map_err(|error| Failure::usage(format!("event {number}: {error}"))))
        .collect()
}

fn to_event(given: Given<'_>) -> Result<NewEvent, Error> {
    let mut event = NewEvent::from_json(given.event_type, given.data.get())?;
    if let Some(metadata) = given.metadata {
        event = event.metadata_json(metadata.get())?;
    }
    if let Some(id) = given.event_id {
        event = event.with_id(id);
    }
    if let Some(text) = given.created_at {
        let time = OffsetDateTime::parse(&text, &Rfc3339);
        let time =
            time.map_err(|_| Error::invalid(format!("created_at {text:?} is not a time; write 2025-01-31T12:00:00Z")))?;
        event = event.created_at(time)?;
    }
    if let Some(name) = given.created_by {
        event = event.created_by(name)?;
    }
    if let Some(id) = given.correlation_id {
        event = event.correlation_id(id)?;
    }
    if let Some(id) = given.causation_id {
        event = event.causation_id(id)?;
    }
    Ok(event)
}

fn answer(events: &[NewEvent], appended: &Appended, console: &mut Console) -> Result<()> {
    let first = appended.first_version().unwrap_or(appended.version()).get();
    if console.is_json() {
        let places = events.iter().zip(appended.global_sequences()).zip(first..);
        return console.json(&Answer {
            aggregate_type: appended.aggregate().aggregate_type().as_str(),
            aggregate_id: appended.aggregate().id(),
            aggregate_version: appended.version(),
            already_stored: appended.is_already_stored(),
            events: places
                .map(|((event, sequence), version)| Place {
                    event_id: event.event_id(),
                    aggregate_version: version,
                    global_sequence: *sequence,
                })
                .collect(),
        });
    }
    let (aggregate, version) = (appended.aggregate(), appended.version());
    let done = if appended.is_already_stored() {
        "already stored"
    } else {
        "appended"
    };
    match (events.len(), appended.last_sequence()) {
        (0, _) | (_, None) => console.line(format_args!("no event was given; {aggregate} is at version {version}")),
        (1, Some(sequence)) => console.line(format_args!(
            "{done}: 1 event of {aggregate}, version {version}, global sequence {sequence}"
        )),
        (count, Some(last)) => console.line(format_args!(
            "{done}: {count} events of {aggregate}, versions {first} to {version}, global sequences {} to {last}",
            appended.global_sequences()[0]
        )),
    }
}
