//! Locks on the table of events. Other sessions queue behind them.

use std::time::Duration;

use firefly_eventstore_core::backend::Patience;
use firefly_eventstore_core::{Error, Result};
use postgres::error::SqlState;
use postgres::{Client, Transaction};

use crate::error::{classify, driver_error};

/// A transaction waits only this long for a lock, because others queue behind it.
pub(crate) const BRIEFLY: &str = "SET LOCAL lock_timeout = '50ms'";

/// How often a step is tried. Others go on during the pauses. Fifteen seconds in all.
const PATIENCE: Patience = Patience::new(100, Duration::from_millis(100));

/// Runs a step in a transaction. If the step does not get a lock in time, pauses so that others can go on, and tries again.
pub(crate) fn patiently<R>(client: &mut Client, mut step: impl FnMut(&mut Transaction<'_>) -> Result<R>) -> Result<R> {
    // Other retryable errors are returned: a step cannot be repeated on a lost connection.
    PATIENCE.repeat(is_locked, || {
        let mut transaction = client.transaction().map_err(classify)?;
        let done = step(&mut transaction)?;
        transaction.commit().map_err(classify)?;
        Ok(done)
    })
}

/// Whether another session held a lock, or the server resolved a deadlock.
pub(crate) fn is_locked(error: &Error) -> bool {
    let code = driver_error(error).and_then(postgres::Error::code);
    matches!(
        code,
        Some(&SqlState::LOCK_NOT_AVAILABLE | &SqlState::T_R_DEADLOCK_DETECTED)
    )
}
