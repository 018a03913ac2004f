//! Waiting until a consumer has handled what was appended.

use std::thread;
use std::time::{Duration, Instant};

use super::progress::time_left;
use crate::consumer::failure::ConsumerError;
use crate::consumer::stored::store::ConsumerStore;
use crate::{Error, GlobalSequence};

/// How often the stored checkpoints are looked at, at first and at last.
const LOOKS: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));

/// Waits until a consumer, wherever it runs, has stored that it handled the log up to a sequence, such as that of an append.
///
/// That is sound, because a checkpoint never passes the high-water mark: everything before it is handled too. Looks at the stored
/// checkpoints every 5 to 100 milliseconds, one round trip each. A consumer that has nothing to handle stores how far it looked every
/// 1,000 sequences or 10 seconds: wait for events that it asks for.
///
/// # Errors
///
/// [`ConsumerError::Behind`] if that is not so in time; [`ConsumerError::Store`], with
/// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the consumer has not begun, and with the store's own errors.
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
