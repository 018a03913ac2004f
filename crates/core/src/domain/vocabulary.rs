//! The enum whose variants are the events of an aggregate.

use std::any::{TypeId, type_name};
use std::collections::{BTreeSet, HashMap};
use std::sync::{OnceLock, PoisonError, RwLock};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::codec::{self, Shape};
use super::upcast::Upcasts;
use crate::values::finite;
use crate::{Error, ErrorKind, EventEnvelope, EventQuery, EventType, NewEvent, Result};

/// An enum whose variants are the events that a program appends and reads.
///
/// Derive serde's `Serialize` and `Deserialize`. A variant's serde name is the event type, and its fields are the data. No other macro is
/// needed. Name each variant by serde, so that you can rename it in Rust and still read the log.
///
/// | to | write |
/// |---|---|
/// | name an event | `#[serde(rename = "money.deposited")]` |
/// | read an older name too | `#[serde(alias = "MoneyDeposited")]` |
/// | add a field | `#[serde(default)]`, or an `Option` |
/// | read an old form that does not fit the enum | an [upcast](Self::upcasts) |
/// | ignore events of all other types | a last variant without fields, with `#[serde(other)]` |
///
/// Without the last, an event of an unknown type is an error.
///
/// Variants have named fields, or none, or hold one struct. A variant without fields is written as `{}`, so that fields can be added.
/// These are refused, with the reason: variants whose fields have no names, structs, and enums with `#[serde(tag)]` or `#[serde(untagged)]`.
///
/// ```
/// use firefly_eventstore_core::{DomainEvent, MemoryEventStore, prelude::*};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize, Debug, PartialEq)]
/// enum AccountEvent {
///     #[serde(rename = "account.opened")]
///     Opened { owner: String },
///     #[serde(rename = "money.deposited", alias = "deposit")]
///     Deposited { cents: i64, #[serde(default)] note: Option<String> },
///     #[serde(rename = "account.closed")]
///     Closed,
/// }
///
/// impl DomainEvent for AccountEvent {}
///
/// let opened = NewEvent::of(&AccountEvent::Opened { owner: "Ada".into() })?;
/// assert_eq!(opened.event_type(), "account.opened");
/// assert_eq!(opened.data().as_str(), r#"{"owner":"Ada"}"#);
///
/// let store = MemoryEventStore::new();
/// let account = AggregateKey::new("Account", Uuid::now_v7())?;
/// let of_old = NewEvent::new("deposit", &serde_json::json!({ "cents": 500 }))?;
/// store.append(&account, ExpectedVersion::NoStream, &[opened, of_old])?;
///
/// // Older names are part of the query.
/// for event in store.read(EventQuery::of::<AccountEvent>()?.after(1)) {
///     let deposited: Vec<AccountEvent> = event?.decode()?;
///     assert_eq!(deposited, [AccountEvent::Deposited { cents: 500, note: None }]);
/// }
/// # Ok::<(), Error>(())
/// ```
pub trait DomainEvent: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// How stored events are read if their types no longer have a variant. None by default.
    ///
    /// Called when the enum is first used. The result is kept until the process ends.
    fn upcasts() -> Upcasts {
        Upcasts::new()
    }
}

impl NewEvent {
    /// An event of an enum: the variant's name is its type, the variant's fields are its data.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) if the enum [cannot be used for events](DomainEvent), if the variant is written under a
    /// name that the enum does not read, and as [`NewEvent::new`].
    pub fn of<E: DomainEvent>(event: &E) -> Result<Self> {
        Vocabulary::of::<E>()?.encode(event)
    }
}

impl EventEnvelope {
    /// Reads the event as an event of an enum: one, unless [upcasts](DomainEvent::upcasts) turn it into none or several.
    ///
    /// # Errors
    ///
    /// - [`Decode`](ErrorKind::Decode), with the event and the enum, if the enum does not know the type, or the data does not fit;
    /// - [`InvalidInput`](ErrorKind::InvalidInput) if the enum [cannot be used for events](DomainEvent).
    pub fn decode<E: DomainEvent>(&self) -> Result<Vec<E>> {
        let mut events = Vec::with_capacity(1);
        Vocabulary::of::<E>()?.decode(self, |event| events.push(event))?;
        Ok(events)
    }
}

impl EventQuery {
    /// Events of the types that an enum reads: the names of its variants, their aliases, and the types that it has
    /// [upcasts](DomainEvent::upcasts) for.
    ///
    /// Types that only `#[serde(other)]` accepts are not included.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) if the enum [cannot be used for events](DomainEvent).
    pub fn of<E: DomainEvent>() -> Result<Self> {
        Self::new().event_types(Vocabulary::of::<E>()?.event_types())
    }
}

/// The properties of an enum of events, determined once.
#[derive(Debug)]
pub(crate) struct Vocabulary {
    /// The name of the enum in errors.
    name: &'static str,
    /// The names that it reads, including aliases.
    variants: Vec<EventType>,
    /// The name of the variant for unknown types.
    other: Option<&'static str>,
    upcasts: Upcasts,
    event_types: Vec<EventType>,
}

impl Vocabulary {
    /// The vocabulary of an enum. It is determined and checked when it is first needed.
    pub(crate) fn of<E: DomainEvent>() -> Result<&'static Self> {
        // A generic function cannot have a static for each type, so there is one for all. It has one entry for each enum of the program,
        // and is never freed.
        static KNOWN: OnceLock<RwLock<HashMap<TypeId, &'static Vocabulary>>> = OnceLock::new();
        let known = KNOWN.get_or_init(RwLock::default);
        let id = TypeId::of::<E>();
        if let Some(found) = known.read().unwrap_or_else(PoisonError::into_inner).get(&id) {
            return Ok(found);
        }
        let made =
            Self::find_out::<E>().map_err(|error| error.during(format_args!("use {} as events", type_name::<E>())))?;
        let mut known = known.write().unwrap_or_else(PoisonError::into_inner);
        Ok(known.entry(id).or_insert_with(|| Box::leak(Box::new(made))))
    }

    fn find_out<E: DomainEvent>() -> Result<Self> {
        // No event has this type, so only #[serde(other)] accepts it.
        const UNKNOWN: &str = "\0";
        let unknown = codec::probe::<E>(UNKNOWN);
        let names = unknown.names.ok_or_else(|| Error::invalid(codec::NOT_AN_ENUM))?;
        let other = match unknown.shape {
            None => None,
            Some(_) => codec::join::<E>(UNKNOWN, "null")
                .and_then(|event| codec::take_apart(&event))
                .map(|(name, _)| Some(name))
                .map_err(|error| Error::invalid("its #[serde(other)] cannot be read").with_source(error))?,
        };
        let mut variants = BTreeSet::new();
        for &name in names.iter().filter(|&&name| Some(name) != other) {
            if codec::probe::<E>(name).shape == Some(Shape::Unnamed) {
                return Err(Error::invalid(format!("the variant {name}: {}", codec::UNNAMED)));
            }
            if !variants.insert(EventType::new(name)?) {
                return Err(Error::invalid(format!("two variants are called {name}")));
            }
        }
        let upcasts = E::upcasts();
        upcasts.check(|name| variants.iter().any(|variant| variant == name))?;
        let sources = upcasts.sources().map(EventType::new);
        let event_types = variants.iter().cloned().map(Ok).chain(sources).collect::<Result<_>>()?;
        Ok(Self {
            name: type_name::<E>(),
            variants: variants.into_iter().collect(),
            other,
            upcasts,
            event_types,
        })
    }

    /// The types of events that it reads.
    pub(crate) fn event_types(&self) -> &[EventType] {
        &self.event_types
    }

    /// The names of its variants, including aliases.
    pub(crate) fn variants(&self) -> &[EventType] {
        &self.variants
    }

    /// Whether stored events of a type have an upcast.
    pub(crate) fn has_upcast(&self, event_type: &EventType) -> bool {
        self.upcasts.sources().any(|source| source == event_type.as_str())
    }

    pub(crate) fn encode<E: DomainEvent>(&self, event: &E) -> Result<NewEvent> {
        let refused = |reason: String| Error::invalid(format!("an event of {} cannot be written: {reason}", self.name));
        // serde_json writes NaN and infinities as null, which would change the data silently.
        finite::check(event).map_err(|error| refused(error.to_string()))?;
        let (name, json) = codec::take_apart(event).map_err(|error| refused(error.to_string()))?;
        if Some(name) == self.other {
            return Err(refused(format!(
                "the variant {name} stands for types that it does not know"
            )));
        }
        let Some(event_type) = self.variants.iter().find(|variant| **variant == name) else {
            return Err(refused(format!(
                "the variant {name} is read under another name only; rename it for both, and read the old name by an alias"
            )));
        };
        NewEvent::from_json(event_type, json)
    }

    /// Passes the events that a stored one is read as to `each`.
    pub(crate) fn decode<E: DomainEvent>(&self, event: &EventEnvelope, mut each: impl FnMut(E)) -> Result<()> {
        self.read(event.event_type.as_str(), event.data.as_str(), &mut each)
            .map_err(|error| error.during(event.name()))
    }

    /// The same for a type and data, stored or not.
    pub(crate) fn read<E: DomainEvent>(&self, event_type: &str, json: &str, each: &mut impl FnMut(E)) -> Result<()> {
        if let Some(upcast) = self.upcasts.apply(event_type, json) {
            // This ends, because upcasts in a cycle were refused.
            return upcast?
                .iter()
                .try_for_each(|(event_type, json)| self.read(event_type, json, each));
        }
        each(codec::join(event_type, json).map_err(|error| self.unread(event_type, error))?);
        Ok(())
    }

    fn unread(&self, event_type: &str, error: serde_json::Error) -> Error {
        let name = self.name;
        let is_known = self.other.is_some() || self.variants.iter().any(|variant| variant == event_type);
        let decode = |reason: String| Error::new(ErrorKind::Decode { reason: reason.into() });
        match is_known {
            true => decode(format!(
                "the stored JSON does not fit the variant {event_type} of {name}; give new fields a default, or add an upcast"
            ))
            .with_source(error),
            false => decode(format!(
                "{name} has no event type {event_type}; add a variant, an alias, an upcast, or #[serde(other)]"
            )),
        }
    }
}
