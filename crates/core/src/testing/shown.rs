//! How tests show events.

use std::fmt::Write as _;

use serde_json::Value;

use crate::{EventData, EventType, NewEvent};

/// The type of an event, and its data in the form in which it is compared and shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) event_type: EventType,
    /// Canonical, so that the order of keys and the spelling of numbers make no difference.
    pub(super) data: String,
}

impl Shown {
    pub(super) fn new(event_type: &EventType, data: &EventData) -> Self {
        Self {
            event_type: event_type.clone(),
            data: data.canonical().expect("the data of an event is JSON"),
        }
    }

    pub(super) fn of(event: &NewEvent) -> Self {
        Self::new(event.event_type(), event.data())
    }

    fn value(&self) -> Value {
        serde_json::from_str(&self.data).expect("canonical JSON is JSON")
    }
}

/// The difference, line by line: missing events with a minus, additional ones with a plus, and where data differs.
pub(super) fn difference(expected: &[Shown], actual: &[Shown]) -> String {
    let mut text = String::new();
    let mut line = |sign: char, event: &Shown| {
        writeln!(text, "  {sign} {} {}", event.event_type, event.data).expect("a string can be written to");
    };
    for place in 0..expected.len().max(actual.len()) {
        match (expected.get(place), actual.get(place)) {
            (Some(expected), Some(actual)) if expected == actual => line(' ', expected),
            (expected, actual) => {
                expected.into_iter().for_each(|event| line('-', event));
                actual.into_iter().for_each(|event| line('+', event));
            }
        }
    }
    for (expected, actual) in expected.iter().zip(actual) {
        if expected.event_type == actual.event_type && expected.data != actual.data {
            let mut path = expected.event_type.to_string();
            compare(&mut path, Some(&expected.value()), Some(&actual.value()), &mut text);
        }
    }
    text
}

/// Names the members in which two values differ.
fn compare(path: &mut String, expected: Option<&Value>, actual: Option<&Value>, text: &mut String) {
    let mut member = |name: &str, expected: Option<&Value>, actual: Option<&Value>| {
        let length = path.len();
        path.push('/');
        path.push_str(name);
        compare(path, expected, actual, text);
        path.truncate(length);
    };
    match (expected, actual) {
        (Some(expected), Some(actual)) if expected == actual => {}
        (Some(Value::Object(expected)), Some(Value::Object(actual))) => {
            expected
                .iter()
                .for_each(|(name, value)| member(name, Some(value), actual.get(name)));
            let others = actual.iter().filter(|(name, _)| !expected.contains_key(*name));
            others.for_each(|(name, value)| member(name, None, Some(value)));
        }
        (Some(Value::Array(expected)), Some(Value::Array(actual))) => {
            for place in 0..expected.len().max(actual.len()) {
                member(&place.to_string(), expected.get(place), actual.get(place));
            }
        }
        _ => {
            let show = |value: Option<&Value>| value.map_or_else(|| "nothing".to_owned(), Value::to_string);
            writeln!(text, "  at {path}: {} expected, {} found", show(expected), show(actual))
                .expect("a string can be written to");
        }
    }
}
