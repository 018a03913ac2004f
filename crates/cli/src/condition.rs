//! What is asked of the data of events: `--where`.

use std::str::FromStr;

use firefly_eventstore::{Error, EventData, EventEnvelope};
use serde_json::Value;

/// A place in the data of an event, as a JSON pointer, and the value that is to be there.
#[derive(Clone, Debug)]
pub(crate) struct Condition {
    pointer: String,
    /// As canonical JSON, in which equal numbers are spelt alike.
    value: String,
}

impl Condition {
    /// Whether an event meets it.
    pub(crate) fn holds(&self, event: &EventEnvelope) -> Result<bool, Error> {
        let data: Value = event.data()?;
        match data.pointer(&self.pointer) {
            Some(found) => Ok(canonical(found)? == self.value),
            None => Ok(false),
        }
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
        // What is no JSON is a string, so that nobody has to write quotes within quotes.
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

    #[test]
    fn a_value_is_found_by_its_place_and_by_what_it_means() {
        let store = MemoryEventStore::new();
        let order = AggregateKey::new("Order", Uuid::now_v7()).unwrap();
        let data = r#"{"amount":2.50,"paid":true,"customer":{"name":"Ada","a/b":null},"lines":[{"price":"7"}]}"#;
        let placed = NewEvent::from_json("order.placed", data).unwrap();
        store.append(&order, 0, &[placed]).unwrap();
        let event = store.load(&order).unwrap().into_events().remove(0);
        let holds = |condition: &str| condition.parse::<Condition>().unwrap().holds(&event).unwrap();
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
