//! Observing what consumers do.

use std::collections::BTreeSet;
use std::error::Error as StdError;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use uuid::Uuid;

use super::failure::ConsumerError;
use super::stored::store::causes;
use crate::GlobalSequence;

/// Is called for each thing that a consumer does, for logs and metrics. The consumers' threads make the calls, so an observer should be
/// quick.
///
/// Every function that takes a [`ConsumerEvent`] is an observer, as in diesel's `Instrumentation`. So is a pair or a `Vec` of observers: it
/// calls each of them in order.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use firefly_eventstore_core::MemoryEventStore;
/// use firefly_eventstore_core::consumer::{ConsumerEvent, Runner};
///
/// let handled = Arc::new(AtomicU64::new(0));
/// let count = {
///     let handled = Arc::clone(&handled);
///     move |event: &ConsumerEvent<'_>| {
///         if let ConsumerEvent::Handled { events, .. } = event {
///             handled.fetch_add(*events as u64, Ordering::Relaxed);
///         }
///     }
/// };
/// let print = |event: &ConsumerEvent<'_>| println!("{event:?}");
/// let running = Runner::new(MemoryEventStore::new()).observer((count, print)).start()?;
/// # running.stop();
/// # assert_eq!(handled.load(Ordering::Relaxed), 0);
/// # Ok::<(), firefly_eventstore_core::Error>(())
/// ```
pub trait Observer: Send + Sync + 'static {
    /// Called when something happened.
    fn observe(&self, event: &ConsumerEvent<'_>);
}

impl<F: Fn(&ConsumerEvent<'_>) + Send + Sync + 'static> Observer for F {
    fn observe(&self, event: &ConsumerEvent<'_>) {
        self(event);
    }
}

impl<A: Observer, B: Observer> Observer for (A, B) {
    fn observe(&self, event: &ConsumerEvent<'_>) {
        self.0.observe(event);
        self.1.observe(event);
    }
}

impl<O: Observer> Observer for Vec<O> {
    fn observe(&self, event: &ConsumerEvent<'_>) {
        for observer in self {
            observer.observe(event);
        }
    }
}

impl<O: Observer + ?Sized> Observer for Arc<O> {
    fn observe(&self, event: &ConsumerEvent<'_>) {
        (**self).observe(event);
    }
}

/// What happened to a consumer.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum ConsumerEvent<'a> {
    /// The consumer began to handle events after a position.
    Started {
        /// The consumer's name.
        consumer: &'a str,
        /// Its checkpoint.
        position: GlobalSequence,
    },
    /// The consumer handled events, and its checkpoint moved.
    Handled {
        /// The consumer's name.
        consumer: &'a str,
        /// How many.
        events: usize,
        /// Its checkpoint now.
        position: GlobalSequence,
        /// How long it took, including the commit.
        elapsed: Duration,
    },
    /// The consumer has handled or skipped everything up to a new position; for a group, in all slots that this process holds.
    Progress {
        /// The consumer's name.
        consumer: &'a str,
        /// The new position.
        position: GlobalSequence,
    },
    /// The high-water mark grew. All consumers of the runner share it.
    Grown {
        /// The high-water mark.
        mark: GlobalSequence,
    },
    /// Another process moved the consumer's checkpoint. The consumer dropped the events that it had read.
    Overtaken {
        /// The consumer's name.
        consumer: &'a str,
        /// Its checkpoint now.
        position: GlobalSequence,
    },
    /// The store or its server cannot be reached. The consumer tries again after a pause.
    Outage {
        /// The consumer's name; none if the watcher of the high-water mark waits.
        consumer: Option<&'a str>,
        /// The last error.
        error: &'a (dyn StdError + 'static),
        /// How long it waits.
        pause: Duration,
    },
    /// The consumer continues, after one outage or several in a row.
    Recovered {
        /// The consumer's name; none if the watcher of the high-water mark waited.
        consumer: Option<&'a str>,
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
    /// An event was parked.
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
    /// The consumer handles no more events: it was told to stop, or an error stopped it.
    Stopped {
        /// The consumer's name.
        consumer: &'a str,
        /// The error; none if the consumer was told to stop.
        error: Option<&'a ConsumerError>,
    },
}

/// The observer of a program that sets none. It writes a line to [`log`] when a consumer stops because of an error, when an outage begins,
/// and when the consumer continues after the outage.
#[derive(Debug, Default)]
pub(crate) struct LogObserver {
    /// The consumers, or the watcher, that wait for the end of an outage.
    waiting: Mutex<BTreeSet<Option<String>>>,
}

impl Observer for LogObserver {
    fn observe(&self, event: &ConsumerEvent<'_>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        match *event {
            ConsumerEvent::Stopped { consumer, error } => {
                waiting.remove(&Some(consumer.to_owned()));
                if let Some(error) = error {
                    log::error!("{error}");
                }
            }
            ConsumerEvent::Outage { consumer, error, .. } if waiting.insert(consumer.map(str::to_owned)) => {
                log::warn!("{} waits, and tries again: {}", who(consumer), with_causes(error));
            }
            ConsumerEvent::Recovered { consumer } if waiting.remove(&consumer.map(str::to_owned)) => {
                log::warn!("{} goes on", who(consumer));
            }
            _ => {}
        }
    }
}

fn who(consumer: Option<&str>) -> String {
    consumer.map_or_else(|| WATCHER.to_owned(), |consumer| format!("consumer {consumer}"))
}

/// What the watcher of the high-water mark is called.
pub(super) const WATCHER: &str = "the watcher of the log";

/// An error with its causes.
pub(crate) fn with_causes(error: &(dyn StdError + 'static)) -> String {
    let causes: Vec<String> = causes(error).map(ToString::to_string).collect();
    causes.join(": ")
}
