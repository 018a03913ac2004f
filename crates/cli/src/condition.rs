//! Conditions on the data of events: `--where` of `tail` and `export`.

use std::fmt;
use std::str::FromStr;

use clap::Args;
use firefly_eventstore::{Error, EventData, EventEnvelope};
use serde_json::Value;

/// A condition on the data of events.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Which events (each narrows the choice)")]
pub(crate) struct Conditions {
    /// Only with this value at this place of their data, which is looked for
    /// event by event: a JSON pointer and a value; may be repeated
    #[arg(long = "where", value_name = "POINTER=VALUE")]
    conditions: Vec<Condition>,
}

impl Conditions {
    /// Whether there is no condition, so that every event matches.
    pub(crate) fn is_empty(&self) -> bool {
        self.conditions.is_empty()
    }

    /// Whether an event meets every condition.
    pub(crate) fn hold(&self, event: &EventEnvelope) -> Result<bool, Error> {
        if self.is_empty() {
            return Ok(true);
        }
        let data: Value = event.data()?;
        for condition in &self.conditions {
            if !condition.holds(&data)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The options that set the same conditions again.
    pub(crate) fn options(&self) -> Vec<String> {
        let option = |condition: &Condition| ["--where".to_owned(), condition.to_string()];
        self.conditions.iter().flat_map(option).collect()
    }
}

/// A place in the data of an event, as a JSON pointer, and the value that must be there.
#[derive(Clone, Debug)]
struct Condition {
    pointer: String,
    /// As canonical JSON, in which equal numbers are spelt alike.
    value: String,
}

impl Condition {
    fn holds(&self, data: &Value) -> Result<bool, Error> {
        match data.pointer(&self.pointer) {
            Some(found) => Ok(canonical(found)? == self.value),
            None => Ok(false),
        }
    }
}

/// The form for the command line.
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.pointer, self.value)
    }
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = "write a JSON pointer and a value: /amount=250, /customer/name=Ada or /lines/0/price=2.5";
        let (pointer, value) = text.split_once('=').ok_or(form)?;
        if !pointer.is_empty() && !pointer.starts_with('/') {
            return Err(form.to_owned());
        }
        // Text that is not JSON is taken as a string, so no quotes are needed around it.
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
        Ok(Self {
            pointer: pointer.to_owned(),
            value: canonical(&value).map_err(|error| error.to_string())?,
        })
    }
}

fn canonical(value: &Value) -> Result<String, Error> {
    EventData::new(value)?.canonical()
}

#[cfg(test)]
mod tests {
    use firefly_eventstore::prelude::*;

    use super::*;

    fn conditions(condition: &str) -> Conditions {
        Conditions {
            conditions: vec![condition.parse().unwrap()],
        }
    }

    #[test]
    fn a_value_is_found_by_its_place_and_by_what_it_means() {
        let store = MemoryEventStore::new();
        let order = AggregateKey::new("Order", Uuid::now_v7()).unwrap();
        let data = r#"{"amount":2.50,"paid":true,"customer":{"name":"Ada","a/b":null},"lines":[{"price":"7"}]}"#;
        let placed = NewEvent::from_json("order.placed", data).unwrap();
        store.append(&order, 0, &[placed]).unwrap();
        let event = store.load(&order).unwrap().into_events().remove(0);
        let holds = |condition: &str| conditions(condition).hold(&event).unwrap();
        for condition in [
            "/amount=2.5",
            "/amount=25e-1",
            "/paid=true",
            "/customer/name=Ada",
            "/customer/name=\"Ada\"",
            "/customer/a~1b=null",
            "/lines/0/price=\"7\"",
            "/lines=[{\"price\": \"7\"}]",
        ] {
            assert!(holds(condition), "{condition}");
            let [_, again] = &conditions(condition).options()[..] else {
                panic!("{condition}: not one option");
            };
            assert!(holds(again), "{condition} was written again as {again}");
        }
        for condition in [
            "/amount=2",
            "/paid=false",
            "/customer/name=ada",
            "/lines/0/price=7",
            "/lines/1=null",
            "/none=null",
        ] {
            assert!(!holds(condition), "{condition}");
        }
        for text in ["amount=2", "/amount", ""] {
            assert!(text.parse::<Condition>().unwrap_err().contains("/amount=250"), "{text}");
        }
    }
}
