//! What can go wrong in a consumer, and what it does then.

use std::error::Error as StdError;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::stored::store::ConsumerStore;
use crate::{Error, GlobalSequence};

/// Any error of the caller's own code.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// Why a consumer stopped.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConsumerError {
    /// The store cannot be used: its schema is missing, its log was truncated, or its file was moved.
    Store {
        /// The consumer's name.
        consumer: String,
        /// The store's error.
        error: Error,
    },
    /// An event failed at its last attempt.
    Event {
        /// The consumer's name.
        consumer: String,
        /// Where the event is in the log.
        sequence: GlobalSequence,
        /// The last error.
        error: BoxError,
    },
    /// The operator paused the consumer, or it failed earlier: see [`ConsumerState`](super::ConsumerState).
    Halted {
        /// The consumer's name.
        consumer: String,
        /// Its state.
        state: super::ConsumerState,
    },
    /// The consumer did not reach the awaited position in time.
    Behind {
        /// The consumer's name.
        consumer: String,
        /// The position that it has reached.
        position: GlobalSequence,
        /// The awaited position.
        wanted: GlobalSequence,
    },
}

impl ConsumerError {
    /// The consumer's name.
    #[must_use]
    pub fn consumer(&self) -> &str {
        match self {
            Self::Store { consumer, .. }
            | Self::Event { consumer, .. }
            | Self::Halted { consumer, .. }
            | Self::Behind { consumer, .. } => consumer,
        }
    }
}

impl fmt::Display for ConsumerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store { consumer, error } => write!(f, "consumer {consumer}: {error}"),
            Self::Event {
                consumer,
                sequence,
                error,
            } => write!(
                f,
                "consumer {consumer} cannot handle the event with global sequence {sequence}: {error}; it stays before this event: \
                 fix the cause and resume it"
            ),
            Self::Halted { consumer, state } => {
                write!(
                    f,
                    "consumer {consumer} is {state} and handles nothing until it is resumed"
                )
            }
            Self::Behind {
                consumer,
                position,
                wanted,
            } => write!(
                f,
                "consumer {consumer} has handled the log up to {position}, not yet up to {wanted}; wait again, or read what is there"
            ),
        }
    }
}

impl StdError for ConsumerError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Store { error, .. } => error.source(),
            Self::Event { error, .. } => Some(&**error),
            Self::Halted { .. } | Self::Behind { .. } => None,
        }
    }
}

/// What a consumer does with an event that it cannot handle. It first tries the event several times. Then it either stops before the event,
/// or parks the event with all later events of its aggregate.
///
/// An outage is not a failure of an event: while the store or its server cannot be reached, no attempt is counted and nothing is parked. A
/// statement that [took too long](super::ConsumerStore::took_too_long) counts as a failure if the server answers right after it.
///
/// ```
/// use firefly_eventstore_core::consumer::OnFailure;
///
/// let on_failure = OnFailure::retry(5).then_park();
/// assert_eq!(on_failure, OnFailure::retry(5).then_park());
/// assert_ne!(on_failure, OnFailure::default()); // retry(5).then_stop()
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnFailure {
    attempts: u32,
    parks: bool,
    first_pause: Duration,
    longest_pause: Duration,
}

impl OnFailure {
    /// Tries an event this many times, at least once. The first pause is 100 milliseconds. Each later pause is twice as long as the one
    /// before, up to 10 seconds.
    #[must_use]
    pub fn retry(attempts: u32) -> Self {
        Self {
            attempts: attempts.max(1),
            parks: false,
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(10),
        }
    }

    /// After the last attempt the consumer stops. Its checkpoint stays before the event, and its state is
    /// [`Failed`](super::ConsumerState::Failed).
    #[must_use]
    pub fn then_stop(mut self) -> Self {
        self.parks = false;
        self
    }

    /// After the last attempt the event is parked, with all later events of its aggregate. The consumer continues with other aggregates.
    #[must_use]
    pub fn then_park(mut self) -> Self {
        self.parks = true;
        self
    }

    /// Sets the pause after the first attempt, and the longest pause.
    #[must_use]
    pub fn pauses(mut self, first: Duration, longest: Duration) -> Self {
        self.first_pause = first;
        self.longest_pause = longest;
        self
    }

    pub(crate) fn after(&self, attempts: u32) -> Next {
        match (attempts < self.attempts, self.parks) {
            (true, _) => Next::Retry(self.pause(attempts)),
            (false, true) => Next::Park,
            (false, false) => Next::Stop,
        }
    }

    pub(crate) fn pause(&self, attempts: u32) -> Duration {
        let doubled = 2_u32.saturating_pow(attempts.saturating_sub(1));
        self.first_pause.saturating_mul(doubled).min(self.longest_pause)
    }
}

impl Default for OnFailure {
    /// Five attempts, then the consumer stops.
    fn default() -> Self {
        Self::retry(5)
    }
}

/// What follows a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Retry(Duration),
    Park,
    Stop,
}

/// What is stored about an event before it is handled. If the process ends during the attempt, this note stays.
pub(crate) const IN_HAND: &str = "a process began to handle it, and has not finished";

/// The error of an event during which processes ended, after this many attempts.
pub(crate) fn ended(attempts: u32) -> BoxError {
    let times = match attempts {
        1 => "once".to_owned(),
        attempts => format!("{attempts} times"),
    };
    format!("it was tried {times}, and the process ended while it handled this event").into()
}

/// Whether an error that the handling of an event returned is not the fault of the event.
pub(crate) fn is_outage(store: &(impl ConsumerStore + ?Sized), error: &(dyn StdError + 'static)) -> bool {
    store.is_transient(error) && !store.took_too_long(error)
}

/// Runs the caller's code. Turns a panic into an error.
pub(crate) fn unless_panicked<R>(work: impl FnOnce() -> R) -> Result<R, BoxError> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| {
        let text = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        format!("it panicked: {}", text.unwrap_or("without a message")).into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_tries_so_often_and_waits_ever_longer() {
        let on_failure = OnFailure::retry(3).pauses(Duration::from_secs(1), Duration::from_secs(3));
        assert_eq!(on_failure.after(1), Next::Retry(Duration::from_secs(1)));
        assert_eq!(on_failure.after(2), Next::Retry(Duration::from_secs(2)));
        assert_eq!(on_failure.after(3), Next::Stop);
        assert_eq!(on_failure.then_park().after(3), Next::Park);
        assert_eq!(on_failure.pause(40), Duration::from_secs(3));
    }
}
