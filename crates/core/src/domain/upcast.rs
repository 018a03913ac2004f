//! Upcasts: turn stored events of old forms into events of the forms that a program knows.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, ErrorKind, EventType, Result};

/// How stored events of old types are read as current events: see [`DomainEvent::upcasts`](crate::DomainEvent::upcasts).
///
/// Stored events never change. An upcast gets the data of a stored event of one type, before it is read into the enum, and returns the data
/// of events of other types: one, several or none. These may be upcast again. The type alone says which form an event has. So a new form
/// that `#[serde(default)]` and `#[serde(alias)]` cannot read needs a new type, such as `money.moved.v2`.
///
/// ```
/// use firefly_eventstore_core::{DomainEvent, MemoryEventStore, Upcasts, prelude::*};
/// use serde::{Deserialize, Serialize};
/// use serde_json::{Value, json};
///
/// #[derive(Serialize, Deserialize, Debug, PartialEq)]
/// enum AccountEvent {
///     #[serde(rename = "money.deposited.v2")]
///     Deposited { cents: i64 },
///     #[serde(rename = "money.withdrawn.v2")]
///     Withdrawn { cents: i64 },
/// }
///
/// #[derive(Deserialize)]
/// struct Moved { from: Option<String>, to: Option<String>, amount: f64 }
///
/// impl DomainEvent for AccountEvent {
///     fn upcasts() -> Upcasts {
///         Upcasts::new()
///             // One event, of another form.
///             .rewrite("money.deposited", "money.deposited.v2", |old: Value| json!({ "cents": old["amount"].as_i64() }))
///             // One event, or two.
///             .split("money.moved", ["money.withdrawn.v2", "money.deposited.v2"], |old: Moved| {
///                 let cents = json!({ "cents": (old.amount * 100.0).round() as i64 });
///                 let withdrawn = old.from.map(|_| ("money.withdrawn.v2", cents.clone()));
///                 let deposited = old.to.map(|_| ("money.deposited.v2", cents));
///                 withdrawn.into_iter().chain(deposited)
///             })
///             // None.
///             .leave_out("account.viewed")
///     }
/// }
///
/// let store = MemoryEventStore::new();
/// let account = AggregateKey::new("Account", Uuid::now_v7())?;
/// let old = [
///     NewEvent::new("money.moved", &json!({ "from": "savings", "to": "household", "amount": 2.5 }))?,
///     NewEvent::new("account.viewed", &json!({}))?,
/// ];
/// store.append(&account, ExpectedVersion::NoStream, &old)?;
///
/// let stream = store.load(&account)?;
/// let moved: Vec<AccountEvent> = stream.events()[0].decode()?;
/// assert_eq!(moved, [AccountEvent::Withdrawn { cents: 250 }, AccountEvent::Deposited { cents: 250 }]);
/// assert_eq!(stream.events()[1].decode::<AccountEvent>()?, []);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Upcasts {
    all: Vec<Upcast>,
}

/// What one type of stored events becomes.
#[derive(Clone)]
struct Upcast {
    from: String,
    to: Vec<String>,
    apply: Arc<Apply>,
}

type Apply = dyn Fn(&str) -> Result<Vec<(String, String)>, serde_json::Error> + Send + Sync;

impl Upcasts {
    /// No upcasts: every stored event is read unchanged.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Turns each event of the type `from` into one of the type `to`.
    ///
    /// `upcast` takes the stored data as any type that serde reads from it: a struct as it was then, or a [`serde_json::Value`]. If the
    /// type does not fit, or refuses the data itself (`#[serde(try_from = …)]`), the event cannot be read, and the error says so.
    #[must_use]
    pub fn rewrite<Old: DeserializeOwned, New: Serialize>(
        self,
        from: impl Into<String>,
        to: impl Into<String>,
        upcast: impl Fn(Old) -> New + Send + Sync + 'static,
    ) -> Self {
        let to = to.into();
        let becomes = to.clone();
        self.with(from.into(), vec![to], move |json| {
            let new = serde_json::to_string(&upcast(serde_json::from_str(json)?))?;
            Ok(vec![(becomes.clone(), new)])
        })
    }

    /// Turns each event of the type `from` into any number of events, each with its type, in this order.
    ///
    /// `to` names all types that may occur, so that a chain of upcasts is checked before anything is read.
    #[must_use]
    pub fn split<Old: DeserializeOwned, New: Serialize, Events: IntoIterator<Item = (&'static str, New)>>(
        self,
        from: impl Into<String>,
        to: impl IntoIterator<Item = impl Into<String>>,
        upcast: impl Fn(Old) -> Events + Send + Sync + 'static,
    ) -> Self {
        let to = to.into_iter().map(Into::into).collect();
        self.with(from.into(), to, move |json| {
            let new = upcast(serde_json::from_str(json)?).into_iter();
            new.map(|(event_type, new)| Ok((event_type.to_owned(), serde_json::to_string(&new)?)))
                .collect()
        })
    }

    /// Ignores the events of a type.
    ///
    /// `#[serde(other)]` ignores every type that an enum does not know. This ignores one type, and other unknown types are still errors.
    #[must_use]
    pub fn leave_out(self, from: impl Into<String>) -> Self {
        self.with(from.into(), Vec::new(), |_| Ok(Vec::new()))
    }

    fn with(
        mut self,
        from: String,
        to: Vec<String>,
        apply: impl Fn(&str) -> Result<Vec<(String, String)>, serde_json::Error> + Send + Sync + 'static,
    ) -> Self {
        self.all.push(Upcast {
            from,
            to,
            apply: Arc::new(apply),
        });
        self
    }

    /// The types of stored events that have an upcast.
    pub(super) fn sources(&self) -> impl Iterator<Item = &str> {
        self.all.iter().map(|upcast| upcast.from.as_str())
    }

    /// Refuses two upcasts of one type, an upcast of a type that the enum itself reads, an upcast to a type that neither the enum nor an
    /// upcast reads, and upcasts in a cycle.
    pub(super) fn check(&self, is_read: impl Fn(&str) -> bool) -> Result<()> {
        let mut by_source = BTreeMap::new();
        for upcast in &self.all {
            let from = &upcast.from;
            EventType::new(from.as_str())?;
            if is_read(from) {
                return Err(Error::invalid(format!(
                    "the event type {from} has a variant of its own, and an upcast; give the variant a name of its own, such as {from}.v2"
                )));
            }
            if by_source.insert(from.as_str(), upcast).is_some() {
                return Err(Error::invalid(format!("the event type {from} has two upcasts")));
            }
        }
        for upcast in &self.all {
            for to in &upcast.to {
                if !is_read(to) && !by_source.contains_key(to.as_str()) {
                    return Err(Error::invalid(format!(
                        "the upcast of {} makes events of the type {to}, which has neither a variant nor an upcast",
                        upcast.from
                    )));
                }
            }
        }
        let mut path = Vec::new();
        self.sources().try_for_each(|from| ends(from, &by_source, &mut path))
    }

    /// The events that result from an event of a type; none if the type has no upcast.
    pub(super) fn apply(&self, event_type: &str, json: &str) -> Option<Result<Vec<(String, String)>>> {
        let upcast = self.all.iter().find(|upcast| upcast.from == event_type)?;
        let decode = |reason: String| Error::new(ErrorKind::Decode { reason: reason.into() });
        Some(match (upcast.apply)(json) {
            Err(error) => Err(decode(format!("the upcast of {event_type} failed")).with_source(error)),
            Ok(events) => match events.iter().find(|(to, _)| !upcast.to.contains(to)) {
                // Only chains of the named types were checked to end.
                Some((to, _)) => Err(decode(format!(
                    "the upcast of {event_type} made an event of the type {to}, which is not in its list of types"
                ))),
                None => Ok(events),
            },
        })
    }
}

/// Follows the upcasts of a type to their ends.
fn ends<'a>(from: &'a str, all: &BTreeMap<&'a str, &'a Upcast>, path: &mut Vec<&'a str>) -> Result<()> {
    let Some(upcast) = all.get(from) else { return Ok(()) };
    if let Some(start) = path.iter().position(|visited| *visited == from) {
        return Err(Error::invalid(format!(
            "upcasts form a cycle: {} -> {from}; give each form a type of its own, or use #[serde(default)] for one that only got \
             more fields",
            path[start..].join(" -> ")
        )));
    }
    path.push(from);
    upcast.to.iter().try_for_each(|to| ends(to, all, path))?;
    path.pop();
    Ok(())
}

impl fmt::Debug for Upcasts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each = self.all.iter().map(|upcast| (&upcast.from, &upcast.to));
        f.debug_map().entries(each).finish()
    }
}
