//! Pauses between attempts.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::thread;
use std::time::Duration;

use crate::Result;

/// The pauses between the attempts of a call that fails for a while. Unless set, there are ten attempts with nine pauses, which take about
/// three seconds.
///
/// The first pause is at most 10 ms. Each later one is at most twice as long as the one before, up to 1 s. The length is random, between
/// half of that and all of it, so that threads that failed together do not try again together.
///
/// After two kinds of errors, try again, but in different ways:
///
/// - After an error that [is retryable](crate::Error::is_retryable), **repeat the same call**: [`repeat`](Self::repeat). For an append,
///   that means the same events. The store recognises stored events by their ids.
/// - After a [conflict](crate::Error::is_conflict), **decide again**, on the current state. This makes new events.
///
/// ```
/// use std::thread;
/// use firefly_eventstore_core::{Backoff, FaultPoint, MemoryEventStore, prelude::*};
///
/// fn handle(
///     store: &impl EventStore,
///     account: &AggregateKey,
///     decide: impl Fn(&EventStream) -> Result<Vec<NewEvent>, Error>,
/// ) -> Result<Appended, Error> {
///     let mut pauses = Backoff::new();
///     loop {
///         let stream = Backoff::new().repeat(|| store.load(account))?;
///         let events = decide(&stream)?;
///         match Backoff::new().repeat(|| store.append(account, stream.version(), &events)) {
///             Err(error) if error.is_conflict() => thread::sleep(pauses.next().ok_or(error)?),
///             done => return done,
///         }
///     }
/// }
///
/// let store = MemoryEventStore::new();
/// let account = AggregateKey::new("Account", Uuid::now_v7())?;
/// store.fail_at(FaultPoint::AfterCommit); // the answer to the first attempt is lost
///
/// let appended = handle(&store, &account, |stream| {
///     let number = stream.version().get() + 1;
///     Ok(vec![NewEvent::new("money.deposited", &serde_json::json!({ "number": number }))?])
/// })?;
/// assert!(appended.is_already_stored());
/// assert_eq!(store.load(&account)?.len(), 1, "a loop that decides again would have stored two");
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Backoff {
    pauses_left: u32,
    longest: Duration,
}

const FIRST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(1);

impl Backoff {
    /// The pauses between ten attempts.
    #[must_use]
    pub fn new() -> Self {
        Self::attempts(10)
    }

    /// The pauses between this many attempts.
    #[must_use]
    pub fn attempts(attempts: u32) -> Self {
        Self {
            pauses_left: attempts.saturating_sub(1),
            longest: FIRST,
        }
    }

    /// Makes a call, and repeats it after each pause while its error is [retryable](crate::Error::is_retryable).
    ///
    /// The call must be the same each time, so make the events before, outside of `call`. The thread sleeps in the pauses.
    ///
    /// # Errors
    ///
    /// That of the last attempt. If it is retryable, an append may be stored or not: keep the events, and repeat the same append later.
    pub fn repeat<T>(mut self, mut call: impl FnMut() -> Result<T>) -> Result<T> {
        loop {
            match call() {
                Err(error) if error.is_retryable() => thread::sleep(self.next().ok_or(error)?),
                done => return done,
            }
        }
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new()
    }
}

impl Iterator for Backoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.pauses_left = self.pauses_left.checked_sub(1)?;
        let half = self.longest / 2;
        self.longest = (2 * self.longest).min(LONGEST);
        // The random seed of the standard library's hash tables is random enough.
        let random = RandomState::new().hash_one(()) as u32;
        Some(half + half.mul_f64(f64::from(random) / f64::from(u32::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Error, ErrorKind};

    fn unavailable() -> Error {
        Error::new(ErrorKind::PoolTimeout)
    }

    #[test]
    fn pauses_grow_to_a_second_and_end() {
        let most = [10, 20, 40, 80, 160, 320, 640, 1_000, 1_000, 1_000].map(Duration::from_millis);
        let pauses: Vec<_> = Backoff::attempts(11).collect();
        assert_eq!(pauses.len(), most.len());
        for (pause, most) in pauses.into_iter().zip(most) {
            assert!(pause >= most / 2 && pause <= most, "{pause:?} of {most:?}");
        }
        assert_eq!(Backoff::attempts(0).next(), None);
    }

    #[test]
    fn pauses_differ() {
        let first = || Backoff::new().next();
        assert!((0..20).any(|_| first() != first()));
    }

    #[test]
    fn repeats_what_is_retryable_and_nothing_else() {
        let repeated = |error: &dyn Fn(u32) -> Option<Error>| {
            let mut attempts = 0;
            let result = Backoff::attempts(3).repeat(|| {
                attempts += 1;
                error(attempts).map_or(Ok(attempts), Err)
            });
            (attempts, result.map_err(|error| error.kind().clone()))
        };
        assert_eq!(repeated(&|_| None), (1, Ok(1)));
        assert_eq!(repeated(&|attempt| (attempt == 1).then(unavailable)), (2, Ok(2)));
        assert_eq!(repeated(&|_| Some(unavailable())), (3, Err(ErrorKind::PoolTimeout)));
        let invalid = Error::invalid("no");
        assert_eq!(repeated(&|_| Some(invalid.clone())), (1, Err(invalid.kind().clone())));
    }
}
