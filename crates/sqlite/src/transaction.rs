//! Transactions of the writing connection.

use firefly_eventstore_core::backend::kinds;
use firefly_eventstore_core::{Error, Result};
use rusqlite::Connection;

use crate::error::classify;
use crate::pool::Database;
use crate::session::prepared;

/// Runs `work` in a transaction, on a connection that no other thread uses. Commits if `work` succeeds and the store's file was not moved.
/// (While a schema is made, there is no store to check.)
pub(crate) fn in_transaction<R, E: From<Error>>(
    connection: &Connection,
    database: Option<&Database>,
    work: impl FnOnce(&Connection) -> Result<R, E>,
) -> Result<R, E> {
    begin(connection)?;
    let _rollback = RollbackOnDrop(connection);
    let result = work(connection)?;
    if connection.is_autocommit() {
        return Err(ended().into());
    }
    commit(connection, database)?;
    Ok(result)
}

/// Runs several reading statements in one state of the database.
pub(crate) fn in_one_state<R>(connection: &Connection, read: impl FnOnce(&Connection) -> Result<R>) -> Result<R> {
    if !connection.is_autocommit() {
        // An open transaction sees one state already.
        return read(connection);
    }
    run(connection, "BEGIN")?;
    let _end = RollbackOnDrop(connection);
    read(connection)
}

/// The error when a transaction has ended too early.
pub(crate) fn ended() -> Error {
    Error::new(kinds::backend(
        "the transaction ended before its work did; nothing is known to be stored",
    ))
}

/// Begins a transaction that writes, with the lock, so that it never loses against another writer half-way.
pub(crate) fn begin(connection: &Connection) -> Result<()> {
    run(connection, "BEGIN IMMEDIATE")
}

/// Commits, unless the store's file was moved. The check is the last step before the commit. A move after the check is the same as a move
/// after the commit.
pub(crate) fn commit(connection: &Connection, database: Option<&Database>) -> Result<()> {
    database.map_or(Ok(()), Database::check)?;
    run(connection, "COMMIT")
}

/// Runs a statement that begins, marks or ends a transaction.
pub(crate) fn run(connection: &Connection, sql: &str) -> Result<()> {
    prepared(connection, sql)?.execute([]).map_err(classify)?;
    Ok(())
}

/// Rolls back a transaction that was not committed, also after a panic of the work.
pub(crate) struct RollbackOnDrop<'a>(pub(crate) &'a Connection);

impl Drop for RollbackOnDrop<'_> {
    fn drop(&mut self) {
        if !self.0.is_autocommit() {
            // If the rollback fails, the connection is broken, and the next BEGIN reports it.
            drop(run(self.0, "ROLLBACK"));
        }
    }
}
