//! Given events, when a command runs, then events follow: tests of a command, on a real store in memory.

use std::fmt::Debug;

use serde_json::Value;
use uuid::Uuid;

use crate::{
    AggregateKey, AggregateType, Error, EventEnvelope, EventStoreExt, ExpectedVersion, MemoryEventStore, NewEvent,
    Version,
};

/// Given events, when a command runs, then events follow: a specification by example, on a real store in memory.
///
/// The command is the program's own code, with the store and the aggregate that it would have in production. To test
/// how it handles failures, first call [`fail_at`](MemoryEventStore::fail_at) on the [`store`](Self::store).
///
/// ```
/// use firefly_eventstore_core::{prelude::*, testing::Scenario};
/// use serde_json::{Value, json};
///
/// fn withdraw(store: &dyn EventStore, account: &AggregateKey, amount: i64) -> Result<(), String> {
///     let stream = store.load(account).map_err(|error| error.to_string())?;
///     let balance: i64 = stream.events().iter().map(|e| e.data::<Value>().unwrap()["amount"].as_i64().unwrap()).sum();
///     if balance < amount {
///         return Err("overdrawn".into());
///     }
///     let withdrawn = NewEvent::new("money.withdrawn", &json!({ "amount": -amount })).map_err(|e| e.to_string())?;
///     store.append(account, stream.version(), &[withdrawn]).map_err(|error| error.to_string())?;
///     Ok(())
/// }
///
/// let deposited = || NewEvent::new("money.deposited", &json!({ "amount": 100 }));
/// Scenario::of("Account")?
///     .given([deposited()?])?
///     .when(|store, account| withdraw(store, account, 70))
///     .then_events([("money.withdrawn", json!({ "amount": -70 }))]);
///
/// Scenario::of("Account")?
///     .given([deposited()?])?
///     .when(|store, account| withdraw(store, account, 170))
///     .then_fails(|error| error == "overdrawn");
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug)]
pub struct Scenario {
    store: MemoryEventStore,
    aggregate: AggregateKey,
}

impl Scenario {
    /// A scenario with an aggregate of a type, with a new id, in an empty store.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the type is not a valid name.
    pub fn of(aggregate_type: impl TryInto<AggregateType, Error: Into<Error>>) -> Result<Self, Error> {
        Ok(Self {
            store: MemoryEventStore::new(),
            aggregate: AggregateKey::new(aggregate_type, Uuid::now_v7())?,
        })
    }

    /// Appends the aggregate's earlier events.
    ///
    /// # Errors
    ///
    /// As [`EventStore::append_all`](crate::EventStore::append_all).
    pub fn given(self, events: impl IntoIterator<Item = NewEvent>) -> Result<Self, Error> {
        let events: Vec<_> = events.into_iter().collect();
        self.store.append(&self.aggregate, ExpectedVersion::Any, &events)?;
        Ok(self)
    }

    /// The aggregate of the scenario.
    #[must_use]
    pub fn aggregate(&self) -> &AggregateKey {
        &self.aggregate
    }

    /// The store of the scenario.
    #[must_use]
    pub fn store(&self) -> &MemoryEventStore {
        &self.store
    }

    /// Runs the command.
    ///
    /// # Panics
    ///
    /// Panics if [`FaultPoint::Read`](crate::FaultPoint::Read) is still unused after the command.
    pub fn when<T, E>(self, command: impl FnOnce(&MemoryEventStore, &AggregateKey) -> Result<T, E>) -> Outcome<T, E> {
        let before = self.store.version(&self.aggregate);
        let result = command(&self.store, &self.aggregate);
        // A fault for a read is meant for the command, not for this read of the stream before it.
        let before = before.expect("order a fault for reading within the command");
        let stream = self
            .store
            .load(&self.aggregate)
            .expect("the command used up the ordered fault");
        let events = stream.into_events().split_off(usize_of(before));
        Outcome { result, events }
    }
}

fn usize_of(version: Version) -> usize {
    usize::try_from(version.get()).expect("a stream in memory is shorter than the address space")
}

/// The result of a command: see [`Scenario::when`].
#[derive(Debug)]
#[must_use = "say what must follow"]
pub struct Outcome<T, E> {
    result: Result<T, E>,
    events: Vec<EventEnvelope>,
}

impl<T: Debug, E: Debug> Outcome<T, E> {
    /// Checks that the command succeeded and appended exactly these events to the aggregate, by type and data.
    ///
    /// Data is compared by its canonical form. Returns the result of the command.
    ///
    /// # Panics
    ///
    /// If anything else followed.
    #[track_caller]
    pub fn then_events<'a>(self, expected: impl IntoIterator<Item = (&'a str, Value)>) -> T {
        let result = match self.result {
            Ok(result) => result,
            Err(error) => panic!("the command failed: {error:?}"),
        };
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(event_type, data)| {
                let event = NewEvent::new(event_type, &data).expect("the expected event is a valid event");
                (
                    event_type.to_owned(),
                    event.data().canonical().expect("a new event has valid data"),
                )
            })
            .collect();
        let actual: Vec<_> = self
            .events
            .iter()
            .map(|event| {
                let data = event.data.canonical().expect("an appended event has valid data");
                (event.event_type.to_string(), data)
            })
            .collect();
        assert_eq!(
            actual, expected,
            "the command appended other events (left) than expected (right)"
        );
        result
    }

    /// Checks that the command succeeded and appended nothing. Returns its result.
    ///
    /// # Panics
    ///
    /// If anything else followed.
    #[track_caller]
    pub fn then_nothing(self) -> T {
        self.then_events([])
    }

    /// Checks that the command failed, that `expected` accepts the error, and that nothing was appended. Returns the
    /// error.
    ///
    /// # Panics
    ///
    /// If anything else followed.
    #[track_caller]
    pub fn then_fails(self, expected: impl FnOnce(&E) -> bool) -> E {
        let error = match self.result {
            Err(error) => error,
            Ok(result) => panic!("the command succeeded with {result:?}"),
        };
        assert!(expected(&error), "the command failed with another error: {error:?}");
        assert!(
            self.events.is_empty(),
            "the command failed but appended {:?}",
            self.events
        );
        error
    }
}
