//! Prepared XA transactions. Their events are in the table and not committed yet, but their gates are free already.
//!
//! MariaDB releases the shared locks of a transaction when it is prepared, MySQL when the server is restarted after that. The rows stay. A
//! prepared transaction inserts no more rows. So once the gates were free, a read of uncommitted rows finds all of its events.

use firefly_eventstore_core::Result;
use mysql::Row;
use mysql::prelude::Queryable;

use crate::error::{classify, is_not_told};
use crate::row::text;
use crate::session::Session;
use crate::sql;

/// How many sequences a statement looks at, at each gap. If there are more, the server is first asked whether any transaction is prepared.
const SEQUENCES_AT_ONCE: i64 = 10_000;

/// The last committed event before the first prepared one, between the settled position and the noted one; the settled position if there is
/// none. Call it after the gates were free.
pub(crate) fn free_up_to<C: Queryable>(session: &mut Session<'_, C>, settled: i64, noted: i64) -> Result<i64> {
    let mut begin = settled;
    if noted - settled > SEQUENCES_AT_ONCE && is_none_told_of(session)? {
        // The server lists a transaction with a small delay. If it is being prepared now, its rows are among the last.
        begin = noted - SEQUENCES_AT_ONCE;
    }
    let mut free = settled;
    while begin < noted {
        let end = noted.min(begin + SEQUENCES_AT_ONCE);
        let [with_uncommitted, committed] = look(session, begin, end)?;
        if with_uncommitted != committed {
            return Ok(free);
        }
        free = free.max(committed.last);
        begin = end;
    }
    Ok(noted)
}

/// The events in a range: their number, the sum of their sequences, and the last one.
#[derive(PartialEq, Eq)]
struct Events {
    count: String,
    sum: String,
    last: i64,
}

/// The events in a range: first including uncommitted ones, then only committed ones. One round trip.
///
/// The order matters: an event that is committed in between is in both results. An event that is deleted in between is missing in the
/// second, and the next look decides.
fn look<C: Queryable>(session: &mut Session<'_, C>, after: i64, until: i64) -> Result<[Events; 2]> {
    let select = sql::PREPARED
        .replace("{after}", &after.to_string())
        .replace("{until}", &until.to_string());
    let both = format!("SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED; {select}; {select}");
    let mut answers = session.client.query_iter(both).map_err(classify)?;
    let mut found = Vec::new();
    while let Some(rows) = answers.iter() {
        for row in rows {
            found.push(events(&row.map_err(classify)?)?);
        }
    }
    let found: Result<[Events; 2], _> = found.try_into();
    Ok(found.unwrap_or_else(|_| panic!("each of the two queries returns one row")))
}

fn events(row: &Row) -> Result<Events> {
    Ok(Events {
        count: text(row, 0)?.to_owned(),
        sum: text(row, 1)?.to_owned(),
        last: text(row, 2)?.parse().expect("a sequence is a number"),
    })
}

/// Whether the server lists no prepared XA transaction, or does not let this user list them.
fn is_none_told_of<C: Queryable>(session: &mut Session<'_, C>) -> Result<bool> {
    Ok(told(session)?.is_none_or(|prepared| prepared == 0))
}

/// How many XA transactions are prepared on the server, in any database, or `None` if this user may not list them.
pub(crate) fn told<C: Queryable>(session: &mut Session<'_, C>) -> Result<Option<usize>> {
    match session.client.query::<Row, _>(sql::XA_RECOVER) {
        Ok(rows) => Ok(Some(rows.len())),
        Err(error) if is_not_told(&error) => Ok(None),
        Err(error) => Err(classify(error)),
    }
}
