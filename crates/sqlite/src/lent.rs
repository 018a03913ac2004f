//! The writing connection. A caller's work may use it, but leaves nothing on it that affects another call.

use std::cell::Cell;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use firefly_eventstore_core::Result;
use firefly_eventstore_core::backend::Columns as _;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::{CachedStatement, Connection, StatementStatus};

use crate::error::classify;
use crate::pool::Database;
use crate::session::{collect, prepared};
use crate::{schema, sql};

/// The writing connection. If a caller's work has changed it, a new connection replaces it.
///
/// A new connection for each transaction would cost more than the transaction itself. So the connection is watched instead. An authorizer
/// sees which changes a statement makes when the statement is prepared. Every other change makes SQLite prepare its statements again; one
/// statement, the canary, detects that.
#[derive(Debug)]
pub(crate) struct WritingConnection {
    connection: Connection,
    /// Whether a statement was prepared that changes the connection.
    changed: Arc<AtomicBool>,
    is_spoiled: bool,
    database: Arc<Database>,
}

impl WritingConnection {
    /// A connection that is set up for writing.
    pub(crate) fn new(mut connection: Connection, database: Arc<Database>) -> Result<Self> {
        Ok(Self {
            changed: watch(&mut connection)?,
            connection,
            is_spoiled: false,
            database,
        })
    }

    /// The connection, in the state in which the store made it.
    pub(crate) fn get(&mut self) -> Result<&mut Connection> {
        if self.is_spoiled {
            self.renew()?;
        }
        Ok(&mut self.connection)
    }

    /// Lends the connection to `work`, which sets the flag if the caller's code used it.
    pub(crate) fn lend<R>(&mut self, work: impl FnOnce(&Connection, &Cell<bool>) -> R) -> Result<R> {
        self.get()?;
        let mut canary = prepared(&self.connection, sql::CANARY)?;
        sing(&mut canary)?;
        let prepared_again = canary.get_status(StatementStatus::RePrepare);
        let had_it = Cell::new(false);
        self.changed.store(false, Ordering::Relaxed);
        self.is_spoiled = true; // until the work comes to its end without a panic, and has left nothing
        let result = work(&self.connection, &had_it);
        let as_it_was = !had_it.get()
            || sing(&mut canary).is_ok()
                && canary.get_status(StatementStatus::RePrepare) == prepared_again
                && !self.changed.load(Ordering::Relaxed)
                && !self.has_open_statement()
                && self.connection.busy_timeout(self.database.options.busy_timeout).is_ok();
        drop(canary);
        self.is_spoiled = !as_it_was;
        // Replaced at once, because the old one may hold a lock or keep a statement open. If that fails, the next call tries again and
        // returns the error.
        drop(self.get());
        Ok(result)
    }

    /// Whether a statement was leaked, which keeps the log from being emptied. (It also keeps the connection from being closed, and a
    /// database in memory stays locked; this cannot be helped.)
    fn has_open_statement(&self) -> bool {
        !self.database.location.is_memory() && self.connection.is_busy()
    }

    fn renew(&mut self) -> Result<()> {
        // The next read releases an exclusive lock that was left. Otherwise the new connection would wait for it in vain.
        drop(self.connection.execute_batch("PRAGMA locking_mode = NORMAL"));
        drop(schema::is_empty(&self.connection));
        // The new connection is opened before the old one is closed: a database in memory disappears with its last connection.
        let mut connection = self.database.open_writer()?;
        self.changed = watch(&mut connection)?;
        self.connection = connection;
        self.is_spoiled = false;
        Ok(())
    }
}

/// Runs the canary, a statement that reads nothing. SQLite prepares it again after every change that could affect statements: pragmas,
/// functions and collations, temporary objects, attached databases, configuration.
fn sing(canary: &mut CachedStatement<'_>) -> Result<()> {
    canary.query_row([], |_| Ok(())).map_err(classify)
}

/// Sets an authorizer that notes when a statement is prepared that changes the connection.
fn watch(connection: &mut Connection) -> Result<Arc<AtomicBool>> {
    static FUNCTIONS: OnceLock<HashSet<String>> = OnceLock::new();
    let functions = match FUNCTIONS.get() {
        Some(functions) => functions,
        None => {
            let names = collect(connection, sql::FUNCTIONS, [], |row| Ok(row.text(0)?.to_owned()))?;
            FUNCTIONS.get_or_init(|| names.into_iter().collect())
        }
    };
    let changed = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&changed);
    let look = move |context: AuthContext<'_>| {
        if changes(context.action, functions) {
            flag.store(true, Ordering::Relaxed);
        }
        Authorization::Allow
    };
    connection.authorizer(Some(look)).map_err(classify)?;
    Ok(changed)
}

fn changes(action: AuthAction<'_>, functions: &HashSet<String>) -> bool {
    match action {
        AuthAction::Pragma {
            pragma_name,
            pragma_value,
        } => {
            let only_tells = ["_info", "_xinfo", "_list", "_check"]
                .iter()
                .any(|end| pragma_name.ends_with(end));
            pragma_value.is_some() && !only_tells
        }
        // A function that neither SQLite nor this crate has made. So the caller made it.
        AuthAction::Function { function_name } => !functions.contains(function_name),
        AuthAction::Attach { .. }
        | AuthAction::Detach { .. }
        | AuthAction::CreateTempIndex { .. }
        | AuthAction::CreateTempTable { .. }
        | AuthAction::CreateTempTrigger { .. }
        | AuthAction::CreateTempView { .. } => true,
        _ => false,
    }
}
