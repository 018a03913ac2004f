//! Given events, when a command is decided, then events follow: tests of an aggregate, without a store.

use std::fmt::Debug;

use serde::Serialize;

use super::shown::{Shown, difference};
use crate::domain::Vocabulary;
use crate::{Aggregate, NewEvent};

/// Given events of an aggregate, when a command is decided, then events follow, or a refusal.
///
/// It needs no store, no thread and no clock, so thousands of these tests run in a second. Events are serialized and read again, as a store
/// does.
///
/// ```
/// use firefly_eventstore_core::testing::Given;
/// # use firefly_eventstore_core::{Aggregate, DomainEvent};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Serialize, Deserialize)]
/// # enum AccountEvent {
/// #     #[serde(rename = "money.deposited", alias = "deposit")]
/// #     Deposited { cents: i64 },
/// #     #[serde(rename = "money.withdrawn")]
/// #     Withdrawn { cents: i64 },
/// # }
/// # impl DomainEvent for AccountEvent {}
/// # #[derive(Default)]
/// # struct Account { cents: i64 }
/// # impl Aggregate for Account {
/// #     const TYPE: &'static str = "Account";
/// #     type Event = AccountEvent;
/// #     fn evolve(&mut self, event: AccountEvent) {
/// #         match event {
/// #             AccountEvent::Deposited { cents } => self.cents += cents,
/// #             AccountEvent::Withdrawn { cents } => self.cents -= cents,
/// #         }
/// #     }
/// # }
/// # #[derive(Debug, PartialEq)]
/// # struct Overdrawn { by: i64 }
/// # impl Account {
/// #     fn withdraw(&self, cents: i64) -> Result<Vec<AccountEvent>, Overdrawn> {
/// #         match cents {
/// #             0 => Ok(vec![]),
/// #             _ if cents > self.cents => Err(Overdrawn { by: cents - self.cents }),
/// #             _ => Ok(vec![AccountEvent::Withdrawn { cents }]),
/// #         }
/// #     }
/// # }
///
/// let deposited = || Given::<Account>::events([AccountEvent::Deposited { cents: 100 }]);
///
/// let account = deposited()
///     .when(|account| account.withdraw(70))
///     .then([AccountEvent::Withdrawn { cents: 70 }]);
/// assert_eq!(account.cents, 30);
///
/// deposited().when(|account| account.withdraw(170)).then_refused(Overdrawn { by: 70 });
/// deposited().when(|account| account.withdraw(0)).then_nothing();
///
/// // An event as an older program stored it.
/// Given::<Account>::nothing()
///     .and_stored("deposit", &serde_json::json!({ "cents": 5 }))
///     .when(|account| account.withdraw(5))
///     .then([AccountEvent::Withdrawn { cents: 5 }]);
/// ```
#[derive(Debug)]
#[must_use = "say what is done"]
pub struct Given<A> {
    state: A,
}

impl<A: Aggregate> Given<A> {
    /// No earlier events.
    pub fn nothing() -> Self {
        Self { state: A::default() }
    }

    /// These earlier events.
    ///
    /// # Panics
    ///
    /// If one of them could not be stored and read again.
    #[track_caller]
    pub fn events(events: impl IntoIterator<Item = A::Event>) -> Self {
        Self::nothing().and(events)
    }

    /// Adds more earlier events.
    ///
    /// # Panics
    ///
    /// As [`events`](Self::events).
    #[track_caller]
    pub fn and(mut self, events: impl IntoIterator<Item = A::Event>) -> Self {
        for event in events {
            let new = write::<A>(&event);
            self.read(new.event_type().as_str(), new.data().as_str());
        }
        self
    }

    /// Adds an event that was stored with this type and data: one of an old form.
    ///
    /// # Panics
    ///
    /// If the enum cannot read it.
    #[track_caller]
    pub fn and_stored(mut self, event_type: &str, data: &(impl Serialize + ?Sized)) -> Self {
        let new = match NewEvent::new(event_type, data) {
            Ok(new) => new,
            Err(error) => panic!("the given event could not be stored: {error}"),
        };
        self.read(event_type, new.data().as_str());
        self
    }

    #[track_caller]
    fn read(&mut self, event_type: &str, json: &str) {
        let read = vocabulary::<A>().read(event_type, json, &mut |event| self.state.evolve(event));
        if let Err(error) = read {
            panic!(
                "the given event {event_type} {json} cannot be read: {}",
                with_source(&error)
            );
        }
    }

    /// Runs the decision.
    pub fn when<E>(self, decide: impl FnOnce(&A) -> Result<Vec<A::Event>, E>) -> Decided<A, E> {
        let result = decide(&self.state);
        Decided {
            state: self.state,
            result,
        }
    }
}

/// The result of the decision: see [`Given::when`].
#[must_use = "say what must follow"]
pub struct Decided<A: Aggregate, E> {
    state: A,
    result: Result<Vec<A::Event>, E>,
}

impl<A: Aggregate, E: Debug> Decided<A, E> {
    /// Checks that exactly these events follow. Returns the aggregate after them.
    ///
    /// The stored forms are compared, so the enum needs neither `Debug` nor `PartialEq`.
    ///
    /// # Panics
    ///
    /// If anything else followed, with the difference; or if an event could not be stored and read again.
    #[track_caller]
    pub fn then(mut self, expected: impl IntoIterator<Item = A::Event>) -> A {
        let decided = match self.result {
            Ok(decided) => decided,
            Err(refusal) => panic!("the command was refused: {refusal:?}"),
        };
        let decided: Vec<_> = decided.iter().map(write::<A>).collect();
        let expected: Vec<_> = expected
            .into_iter()
            .map(|event| Shown::of(&write::<A>(&event)))
            .collect();
        let shown: Vec<_> = decided.iter().map(Shown::of).collect();
        assert!(
            shown == expected,
            "other events were decided (+) than expected (-):\n{}",
            difference(&expected, &shown)
        );
        let mut after = Given { state: self.state };
        for event in &decided {
            after.read(event.event_type().as_str(), event.data().as_str());
        }
        self.state = after.state;
        self.state
    }

    /// Checks that the command succeeds without events. Returns the aggregate.
    ///
    /// # Panics
    ///
    /// If anything else followed.
    #[track_caller]
    pub fn then_nothing(self) -> A {
        self.then([])
    }

    /// Checks that the command is refused with this refusal.
    ///
    /// # Panics
    ///
    /// If anything else followed.
    #[track_caller]
    pub fn then_refused(self, expected: E)
    where
        E: PartialEq,
    {
        let refusal = self.then_refused_as(|_| true);
        assert!(
            refusal == expected,
            "the command was refused with {refusal:?}, expected was {expected:?}"
        );
    }

    /// Checks that the command is refused, and that `expected` accepts the refusal. Returns the refusal.
    ///
    /// # Panics
    ///
    /// If anything else followed.
    #[track_caller]
    pub fn then_refused_as(self, expected: impl FnOnce(&E) -> bool) -> E {
        match self.result {
            Err(refusal) => {
                assert!(
                    expected(&refusal),
                    "the command was refused for another reason: {refusal:?}"
                );
                refusal
            }
            Ok(decided) => {
                let decided: Vec<_> = decided.iter().map(|event| Shown::of(&write::<A>(event))).collect();
                panic!(
                    "the command was not refused, but decided:\n{}",
                    difference(&[], &decided)
                );
            }
        }
    }
}

impl<A: Aggregate + Debug, E: Debug> Debug for Decided<A, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let result = self
            .result
            .as_ref()
            .map(|decided| decided.iter().map(write::<A>).collect::<Vec<_>>());
        f.debug_struct("Decided")
            .field("state", &self.state)
            .field("result", &result)
            .finish()
    }
}

#[track_caller]
fn vocabulary<A: Aggregate>() -> &'static Vocabulary {
    match Vocabulary::of::<A::Event>() {
        Ok(vocabulary) => vocabulary,
        Err(error) => panic!("{}", with_source(&error)),
    }
}

#[track_caller]
fn write<A: Aggregate>(event: &A::Event) -> NewEvent {
    match vocabulary::<A>().encode(event) {
        Ok(new) => new,
        Err(error) => panic!("{}", with_source(&error)),
    }
}

/// An error's text with its cause, which the text itself does not repeat.
pub(super) fn with_source(error: &crate::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
