//! Locks on the table of events that others wait behind.

use std::thread;
use std::time::Duration;

use firefly_eventstore_core::{Error, Result};
use postgres::error::SqlState;
use postgres::{Client, Transaction};

use crate::error::{classify, driver_error};

/// How long a lock is waited for that others wait behind, for a transaction.
pub(crate) const BRIEFLY: &str = "SET LOCAL lock_timeout = '50ms'";

/// How often a step is tried, and the pauses in which others go on: fifteen seconds in all.
const MOST_ATTEMPTS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(100);

/// Does a step in a transaction. If it does not get a lock in time, others go on first, and it is tried again.
pub(crate) fn patiently<R>(client: &mut Client, mut step: impl FnMut(&mut Transaction<'_>) -> Result<R>) -> Result<R> {
    let mut attempt = || {
        let mut transaction = client.transaction().map_err(classify)?;
        let done = step(&mut transaction)?;
        transaction.commit().map_err(classify)?;
        Ok(done)
    };
    for _ in 1..MOST_ATTEMPTS {
        match attempt() {
            // Nothing else that is retryable: repeating it on a connection that was lost is in vain.
            Err(error) if is_locked(&error) => thread::sleep(PAUSE),
            done => return done,
        }
    }
    attempt()
}

/// Whether others held a lock, or waited for one that this transaction held.
fn is_locked(error: &Error) -> bool {
    let code = driver_error(error).and_then(postgres::Error::code);
    matches!(
        code,
        Some(&SqlState::LOCK_NOT_AVAILABLE | &SqlState::T_R_DEADLOCK_DETECTED)
    )
}
