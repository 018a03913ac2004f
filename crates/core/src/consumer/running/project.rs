//! Running a projection in the calling thread, and resetting it.

use super::follower::{Follower, Step, Trouble};
use crate::GlobalSequence;
use crate::consumer::failure::{BoxError, ConsumerError};
use crate::consumer::projection::{Projection, registration};
use crate::consumer::stored::parking::{of, unpark_all};
use crate::consumer::stored::slot::ConsumerState;
use crate::consumer::stored::store::Transactional;
use crate::consumer::stored::transaction::ConsumerTransaction as _;

/// Applies all events up to the high-water mark, in the calling thread, and returns their number.
///
/// For tests, and for programs without a [`Runner`](crate::consumer::Runner). If the projection was never started, it starts at the
/// beginning of the log. Several processes may run the same projection at once: each event is applied once.
///
/// # Errors
///
/// [`ConsumerError::Event`] for the first event that cannot be applied: everything before it is applied, and nothing is stored about it.
/// [`ConsumerError::Store`] for errors of the store; after one that [is retryable](crate::Error::is_retryable), call again.
/// [`ConsumerError::Halted`] if the projection is paused or failed.
pub fn project<S: Transactional, P: Projection<S> + ?Sized>(store: &S, projection: &P) -> Result<u64, ConsumerError> {
    let named = |error| ConsumerError::Store {
        consumer: projection.name().to_owned(),
        error,
    };
    let mut follower = Follower::begin_without_notes(store, projection).map_err(named)?;
    let mark = store.high_water_mark().map_err(named)?;
    let mut applied = 0;
    while follower.handled() < mark {
        match follower.step(None) {
            Ok(Step::Handled { events, .. }) => applied += events as u64,
            Ok(Step::Idle) => {}
            Err(Trouble::Overtaken(slot)) => follower.go_on_at(&slot).map_err(named)?,
            Err(trouble) => follower.bear(trouble)?,
        }
    }
    follower.keep_position().map_err(named)?;
    Ok(applied)
}

/// Empties a read model and moves its projection to the start of the log, in one transaction. Processes that run the projection drop what
/// they were about to commit, and start again too. Parked events are forgotten.
///
/// While the projection catches up, the read model is incomplete. To avoid that, give the new version another name and other tables, run
/// both, and switch to the new one when it has handled the log up to the high-water mark.
///
/// # Errors
///
/// Those of [`Projection::reset`] and of the store.
pub fn reset<S: Transactional, P: Projection<S> + ?Sized>(store: &S, projection: &P) -> Result<(), BoxError> {
    let name = projection.name();
    let query = projection.query()?;
    store.commit_together(|tx| {
        tx.register(&registration(name, &query, ConsumerState::Running))?;
        let mut slot = tx.lock_slot(name, 0)?;
        projection.reset(tx)?;
        slot.token += 1;
        slot.state = ConsumerState::Running;
        tx.advance(&mut slot, GlobalSequence::ZERO)?;
        unpark_all(tx, of(name))?;
        Ok(())
    })
}
