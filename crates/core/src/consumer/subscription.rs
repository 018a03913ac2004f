//! Subscriptions: handlers with effects outside of the database. Each event is handled at least once.

use std::fmt;
use std::num::NonZeroU16;
use std::time::Duration;

use uuid::Uuid;

use super::failure::{BoxError, OnFailure};
use super::stored::store::ConsumerStore;
use super::stored::transaction::{Registration, StartAt, check_lease};
use crate::domain::DomainEvent;
use crate::{Error, EventEnvelope, EventQuery, GlobalSequence, Result};

/// A handler that gets each event at least once, in the order of each aggregate, to send mail, call a service or publish.
///
/// The checkpoint moves after an event was handled. If a process dies between the two, the event is delivered again. **At least once**
/// means that an effect outside of the database can happen twice. Pass [`Delivery::key`] to the service that you call: it is the same at
/// each delivery, so the service can ignore a repetition.
///
/// Any number of processes may run the same subscription. [`group`](Self::group) divides the aggregates into slots. One process holds each
/// slot, by a lease that it renews. Without a group there is one slot, so one process works and the others stand by. A process loses its
/// slots if it is suspended, or cannot reach the database, for longer than the lease. After that it cannot move their checkpoints.
///
/// ```
/// use std::sync::mpsc;
/// use std::time::Duration;
/// use firefly_eventstore_core::consumer::{OnFailure, Runner, Subscription};
/// use firefly_eventstore_core::{DomainEvent, MemoryEventStore, prelude::*};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// enum AccountEvent {
///     #[serde(rename = "account.opened")]
///     Opened { mail: String },
/// }
///
/// impl DomainEvent for AccountEvent {}
///
/// let (sent, mails) = mpsc::channel();
/// let welcome = Subscription::to::<AccountEvent>("welcome-mail.v1", move |delivery| {
///     let AccountEvent::Opened { mail } = &delivery.event;
///     sent.send(mail.clone())?; // an error is tried again
///     Ok(())
/// })
/// .group(12)
/// .on_failure(OnFailure::retry(5).then_park());
///
/// let store = MemoryEventStore::new();
/// let running = Runner::new(store.clone()).subscribe(welcome).start()?;
/// let account = AggregateKey::new("Account", Uuid::now_v7())?;
/// let opened = NewEvent::of(&AccountEvent::Opened { mail: "ada@example.org".to_owned() })?;
/// store.append(&account, ExpectedVersion::NoStream, &[opened])?;
/// assert_eq!(mails.recv_timeout(Duration::from_secs(10))?, "ada@example.org");
/// running.stop();
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
pub struct Subscription {
    pub(crate) name: String,
    query: Result<EventQuery>,
    pub(crate) handler: Handler,
    slots: u16,
    pub(crate) lease: Duration,
    pub(crate) deadline: Duration,
    start: Start,
    pub(crate) on_failure: OnFailure,
    pub(crate) batch: u32,
}

/// Handles a batch of events. The number says how many attempts at the first event came before.
type Handler = Box<dyn Fn(&Batch<'_>, u32) -> Result<(), Failure> + Send + Sync>;

impl Subscription {
    /// A subscription to the events of an enum.
    ///
    /// A stored event of an old form may [become several](crate::Upcasts). The handler gets each of them; if one fails, all are repeated.
    #[must_use]
    pub fn to<E: DomainEvent>(
        name: impl Into<String>,
        handle: impl Fn(Delivery<'_, E>) -> Result<(), Failure> + Send + Sync + 'static,
    ) -> Self {
        Self::with(name.into(), EventQuery::of::<E>(), move |batch, attempts| {
            for envelope in batch.events {
                for (place, event) in (0_u32..).zip(envelope.decode::<E>()?) {
                    handle(Delivery {
                        event,
                        envelope,
                        place,
                        attempts,
                    })?;
                }
            }
            Ok(())
        })
    }

    /// A subscription to the events that a query asks for, as they are stored.
    #[must_use]
    pub fn of(
        name: impl Into<String>,
        query: EventQuery,
        handle: impl Fn(Delivery<'_, &EventEnvelope>) -> Result<(), Failure> + Send + Sync + 'static,
    ) -> Self {
        Self::with(name.into(), Ok(query), move |batch, attempts| {
            batch.events.iter().try_for_each(|envelope| {
                handle(Delivery {
                    event: envelope,
                    envelope,
                    place: 0,
                    attempts,
                })
            })
        })
    }

    /// A subscription that publishes events to a broker, several at a time. The log is the outbox: the checkpoint moves after the broker
    /// has confirmed them.
    #[must_use]
    pub fn publishing(name: impl Into<String>, query: EventQuery, publisher: impl Publish) -> Self {
        let mut subscription = Self::with(name.into(), Ok(query), move |batch, _| publisher.publish(batch));
        subscription.batch = 100;
        subscription
    }

    fn with(
        name: String,
        query: Result<EventQuery>,
        handle: impl Fn(&Batch<'_>, u32) -> Result<(), Failure> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name,
            query,
            handler: Box::new(handle),
            slots: 1,
            lease: Duration::from_secs(30),
            deadline: Duration::from_secs(300),
            start: Start::Beginning,
            on_failure: OnFailure::default(),
            batch: 1,
        }
    }

    /// Sets the number of slots, among which the aggregates are divided, and which the processes of this subscription share; 1 unless set. Choose more slots than
    /// there will ever be processes: the number cannot be changed later.
    #[must_use]
    pub fn group(mut self, slots: u16) -> Self {
        self.slots = slots.max(1);
        self
    }

    /// Sets how long a process keeps a slot without renewing its lease, by the database's clock: 100 milliseconds to a day, 30 seconds unless
    /// set. A process renews its leases after a third of that time. If a process dies, its events wait until its leases end.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Sets how long the handler may take for an event, 5 minutes unless set. If it takes longer, its process stops renewing the leases, and
    /// another process handles the event.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sets where the subscription starts when it is run for the first time; at the beginning unless set.
    #[must_use]
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// Sets what happens to an event that the handler cannot handle. Unless set, it is tried five times, then the slot stops.
    #[must_use]
    pub fn on_failure(mut self, on_failure: OnFailure) -> Self {
        self.on_failure = on_failure;
        self
    }

    /// Sets how many events are handled between two writes of the checkpoint; unless set, 1, or 100 for a [publisher](Self::publishing). If a
    /// process dies, at most this many events are handled again.
    #[must_use]
    pub fn checkpoint_every(mut self, events: NonZeroU16) -> Self {
        self.batch = u32::from(events.get());
        self
    }

    pub(crate) fn slots(&self) -> u16 {
        self.slots
    }

    pub(crate) fn query(&self) -> Result<EventQuery> {
        self.query.clone()
    }

    /// Registers the subscription: inserts its slots, unless they exist.
    pub(crate) fn register(&self, store: &(impl ConsumerStore + ?Sized)) -> Result<()> {
        check_lease(self.lease)?;
        if self.lease < SHORTEST_LEASE {
            return Err(Error::invalid(format!(
                "a lease of {:?} is too short to be renewed in time; take {SHORTEST_LEASE:?} at least",
                self.lease
            )));
        }
        let query = self.query()?;
        let start = match &self.start {
            Start::Beginning => StartAt::Position(GlobalSequence::ZERO),
            Start::At(sequence) => StartAt::Position(*sequence),
            Start::Now => StartAt::Position(store.high_water_mark()?),
            Start::After(other) => StartAt::After(other),
        };
        store.consume(&mut |transaction| {
            let registration = Registration::new(&self.name, &query).slots(self.slots).start(start);
            transaction.register(&registration).map(drop)
        })
    }
}

/// The shortest lease.
const SHORTEST_LEASE: Duration = Duration::from_millis(100);

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("name", &self.name)
            .field("query", &self.query)
            .field("slots", &self.slots)
            .field("lease", &self.lease)
            .field("on_failure", &self.on_failure)
            .finish_non_exhaustive()
    }
}

/// Where a subscription starts when it is run for the first time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Start {
    /// At the first event of the log.
    #[default]
    Beginning,
    /// At the first event that is appended after the start.
    Now,
    /// After this sequence.
    At(GlobalSequence),
    /// At the position of another consumer of this store: a new version of a subscription continues where the old one stopped, so that no
    /// mail is sent twice. Stop the old one first.
    After(String),
}

/// An event that is given to a handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delivery<'a, E> {
    /// The event.
    pub event: E,
    /// The event as it is stored, with its aggregate, its time and its context.
    pub envelope: &'a EventEnvelope,
    /// If the stored event became several, the index of this one, from 0.
    pub place: u32,
    /// The number of earlier attempts at the stored event, as far as it is known.
    pub attempts: u32,
}

impl<E> Delivery<'_, E> {
    /// Identifies the event: the same at every delivery, and different for every other event. It is the event's id. If the stored event
    /// became several, the second and later ones get a version 8 UUID made from the id and the place.
    #[must_use]
    pub fn key(&self) -> Uuid {
        match self.place {
            0 => self.envelope.event_id,
            place => {
                let mut bytes = *self.envelope.event_id.as_bytes();
                for (byte, place) in bytes[12..].iter_mut().zip(place.to_be_bytes()) {
                    *byte ^= place;
                }
                uuid::Builder::from_custom_bytes(bytes).into_uuid()
            }
        }
    }
}

/// Why a handler did not handle an event, and what to do next. The `?` operator turns any error into [`Retry`](Self::Retry).
#[derive(Debug)]
#[non_exhaustive]
pub enum Failure {
    /// Try again, as often as [`OnFailure`] says.
    Retry(BoxError),
    /// Try again later, for as long as it takes: a service that the handler needs cannot be reached. That is not the event's fault.
    Later(BoxError),
    /// Park the event at once.
    Park(BoxError),
    /// Stop before this event at once.
    Stop(BoxError),
}

impl Failure {
    pub(crate) fn into_error(self) -> BoxError {
        match self {
            Self::Retry(error) | Self::Later(error) | Self::Park(error) | Self::Stop(error) => error,
        }
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Retry(error.into())
    }
}

/// Publishes events to a broker.
///
/// ```
/// use std::sync::mpsc;
/// use firefly_eventstore_core::consumer::{Batch, Failure, Publish};
///
/// /// A broker that is in this process.
/// struct Channel(mpsc::Sender<(uuid::Uuid, String)>);
///
/// impl Publish for Channel {
///     fn publish(&self, batch: &Batch<'_>) -> Result<(), Failure> {
///         for event in batch.events {
///             let message = (event.event_id, event.data.as_str().to_owned());
///             self.0.send(message).map_err(|error| Failure::Later(error.into()))?;
///         }
///         Ok(())
///     }
/// }
/// ```
pub trait Publish: Send + Sync + 'static {
    /// Publishes events in their order, and returns when the broker has confirmed all of them.
    ///
    /// Use the event's id as the message's id, and the aggregate's id as its key: a batch that failed, or was not confirmed, is published
    /// again, perhaps in batches of another size.
    ///
    /// # Errors
    ///
    /// [`Failure::Later`] if the broker cannot be reached.
    fn publish(&self, batch: &Batch<'_>) -> Result<(), Failure>;
}

/// Events of one slot of a subscription, in the order of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Batch<'a> {
    /// The subscription's name.
    pub consumer: &'a str,
    /// The [slot](super::slot_of) that the events belong to, from 0.
    pub slot: u16,
    /// How many slots the subscription has.
    pub slots: u16,
    /// The events. The slot has no other events between them that the subscription asks for.
    pub events: &'a [EventEnvelope],
    /// Whether this event was parked before. Later events of its slot were published already.
    pub is_replay: bool,
}

impl<'a> Batch<'a> {
    /// For tests of a publisher: events of one slot out of `slots`.
    #[must_use]
    pub fn new(consumer: &'a str, slot: u16, slots: u16, events: &'a [EventEnvelope]) -> Self {
        Self {
            consumer,
            slot,
            slots,
            events,
            is_replay: false,
        }
    }

    /// For tests of a publisher: the same batch, as a replay of a parked event.
    #[must_use]
    pub fn replayed(self) -> Self {
        Self {
            is_replay: true,
            ..self
        }
    }
}
