//! The archives that a database records.

use super::rows;
use super::sql::{Sql, SqlSession};
use crate::operate::Archive;
use crate::{GlobalSequence, Result};

/// The archives with events between two sequences, both included, in their order.
///
/// # Errors
///
/// Those of the backend.
pub fn archives_between(
    session: &mut impl SqlSession,
    first: GlobalSequence,
    last: GlobalSequence,
) -> Result<Vec<Archive>> {
    let values = [first.as_i64().into(), last.as_i64().into()];
    session.rows(Sql::Archives, &values, |row| rows::archive(row))
}
