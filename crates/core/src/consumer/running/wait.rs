//! Waiting until a consumer has handled what was appended.

use std::thread;
use std::time::{Duration, Instant};

use super::progress::time_left;
use crate::consumer::failure::ConsumerError;
use crate::consumer::stored::store::ConsumerStore;
use crate::{Error, GlobalSequence};

/// The first and the longest pause between two looks at the stored checkpoints.
const LOOKS: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));

/// Waits until a consumer, in whatever process it runs, has stored that it handled the log up to a sequence, such as that of an append.
///
/// A checkpoint never passes the high-water mark, so everything before it is handled too. The call reads the stored checkpoints every 5 to
/// 100 milliseconds, with one round trip each time. A consumer without events to handle stores its position only every 1,000 sequences or
/// 10 seconds. So wait for events that the consumer asks for.
///
/// # Errors
///
/// [`ConsumerError::Behind`] if the consumer does not get there in time; [`ConsumerError::Store`] with
/// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the consumer was never started, or with the store's own errors.
pub fn wait_for(
    store: &(impl ConsumerStore + ?Sized),
    consumer: &str,
    sequence: GlobalSequence,
    timeout: Duration,
) -> Result<(), ConsumerError> {
    let failed = |error| ConsumerError::Store {
        consumer: consumer.to_owned(),
        error,
    };
    let deadline = Instant::now().checked_add(timeout);
    let (mut pause, longest) = LOOKS;
    loop {
        let slots = store.consumers(Some(consumer)).map_err(failed)?;
        let Some(position) = slots.iter().map(|slot| slot.position).min() else {
            return Err(failed(Error::invalid("it has not begun: no program has run it yet")));
        };
        if position >= sequence {
            return Ok(());
        }
        let left = time_left(deadline);
        if left.is_zero() {
            return Err(ConsumerError::Behind {
                consumer: consumer.to_owned(),
                position,
                wanted: sequence,
            });
        }
        thread::sleep(pause.min(left));
        pause = (pause * 2).min(longest);
    }
}
