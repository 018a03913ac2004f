//! Statements on the tables of consumers after the caller's work has used the connection.

use firefly_eventstore_core::backend::{Value, consumers};
use firefly_eventstore_core::consumer::ConsumerSlot;
use postgres::GenericClient;

use crate::pool::Place;
use crate::session::{Session, parameters, references};
use crate::sql;

/// Saves a locked slot and returns whether it was saved. Since the caller's work has used the connection, the statement also checks that it
/// still leads to the store. One round trip.
pub(crate) fn save_after_work<C: GenericClient>(
    session: &mut Session<'_, C>,
    slot: &ConsumerSlot,
    place: &Place,
) -> Result<bool, postgres::Error> {
    let schema = Value::Integer(place.schema().into());
    let values = [&consumers::saved(slot)[..], &[schema]].concat();
    let rows = session.execute(sql::CONSUMER_SAVE_AFTER_WORK, &references(&parameters(&values)))?;
    Ok(rows == 1)
}
