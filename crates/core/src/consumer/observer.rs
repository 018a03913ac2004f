//! Telling what consumers do.

use std::error::Error as StdError;
use std::time::Duration;

use uuid::Uuid;

use super::failure::ConsumerError;
use crate::GlobalSequence;

/// Who is told what consumers do: for logs and for metrics. It is called on the consumers' threads, so it should be quick.
///
/// A function of a [`ConsumerEvent`] is one. The idea is diesel's `Instrumentation`: one trait with one enum, which may grow.
pub trait Observer: Send + Sync + 'static {
    /// Something happened.
    fn observe(&self, event: &ConsumerEvent<'_>);
}

impl<F: Fn(&ConsumerEvent<'_>) + Send + Sync + 'static> Observer for F {
    fn observe(&self, event: &ConsumerEvent<'_>) {
        self(event);
    }
}

/// What happened to a consumer.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum ConsumerEvent<'a> {
    /// It began to handle events after a position.
    Started {
        /// The consumer's name.
        consumer: &'a str,
        /// Its checkpoint.
        position: GlobalSequence,
    },
    /// It handled events, and its checkpoint moved.
    Handled {
        /// The consumer's name.
        consumer: &'a str,
        /// How many.
        events: usize,
        /// Its checkpoint now.
        position: GlobalSequence,
        /// How long it took, with the commit.
        elapsed: Duration,
    },
    /// Somebody else moved its checkpoint, so that what it was about to do was dropped.
    Overtaken {
        /// The consumer's name.
        consumer: &'a str,
        /// Its checkpoint now.
        position: GlobalSequence,
    },
    /// The store, or its server, cannot be reached. The consumer tries again after a pause.
    Outage {
        /// The consumer's name; none for the watcher of the high-water mark.
        consumer: Option<&'a str>,
        /// What was in the way.
        error: &'a (dyn StdError + 'static),
        /// How long it waits.
        pause: Duration,
    },
    /// An event could not be handled.
    Failing {
        /// The consumer's name.
        consumer: &'a str,
        /// Where the event is in the log.
        sequence: GlobalSequence,
        /// How often it was tried.
        attempts: u32,
        /// Why.
        error: &'a (dyn StdError + 'static),
    },
    /// An event was put aside.
    Parked {
        /// The consumer's name.
        consumer: &'a str,
        /// Where the event is in the log.
        sequence: GlobalSequence,
        /// Its aggregate.
        aggregate_id: Uuid,
        /// Why.
        reason: &'a str,
    },
    /// This process got a slot of a group.
    SlotTaken {
        /// The consumer's name.
        consumer: &'a str,
        /// The slot.
        slot: u16,
    },
    /// This process gave up a slot of a group, or lost it.
    SlotLost {
        /// The consumer's name.
        consumer: &'a str,
        /// The slot.
        slot: u16,
    },
    /// It handles no more events: it was told to stop, or there is an error.
    Stopped {
        /// The consumer's name.
        consumer: &'a str,
        /// Why, unless it was told to.
        error: Option<&'a ConsumerError>,
    },
}

/// The observer where the program has none: a consumer that stops by itself writes one line to [`log`].
#[derive(Debug)]
pub(crate) struct LogStops;

impl Observer for LogStops {
    fn observe(&self, event: &ConsumerEvent<'_>) {
        if let ConsumerEvent::Stopped { error: Some(error), .. } = event {
            log::error!("{error}");
        }
    }
}
