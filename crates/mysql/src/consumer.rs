//! Statements on the tables of consumers after the caller's work has used the connection.

use firefly_eventstore_core::backend::{Value, consumers};
use firefly_eventstore_core::consumer::ConsumerSlot;
use mysql::prelude::Queryable;

use crate::session::{Place, Session, placed};
use crate::sql;

/// Saves a locked slot and returns whether it was saved. Since the caller's work has used the connection, the statement also checks that it
/// still leads to the store and is not in autocommit. One round trip.
pub(crate) fn save_after_work<C: Queryable>(
    session: &mut Session<'_, C>,
    slot: &ConsumerSlot,
    place: &Place,
) -> Result<bool, mysql::Error> {
    let place = [Value::from(&place.server), place.database.as_deref().into()];
    let values = [&consumers::saved(slot)[..8], &place].concat();
    let values = placed(&values, &[2, 3, 4, 5, 6, 7, 0, 1, 8, 9]);
    let rows = session.execute(sql::CONSUMER_SAVE_AFTER_WORK, values)?;
    Ok(rows == 1)
}
