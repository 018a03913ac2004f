//! Connections: how they are opened, and the pool of those that read.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use firefly_eventstore_core::{Error, ErrorKind, Metadata, Result};
use rusqlite::config::DbConfig;
use rusqlite::functions::FunctionFlags;
use rusqlite::{Connection, OpenFlags};
use uuid::Uuid;

use crate::error::classify;
use crate::store::{JournalMode, Options, Synchronous};

/// Where a database is.
#[derive(Clone, Debug)]
pub(crate) enum Location {
    /// In a file.
    File(PathBuf),
    /// In memory, under a name that only one store knows.
    Memory(String),
}

impl Location {
    /// A database in memory that no other store shares.
    pub(crate) fn memory() -> Self {
        Self::Memory(format!("file:/firefly-{}?vfs=memdb", Uuid::now_v7()))
    }

    /// Whether it is in memory.
    pub(crate) fn is_memory(&self) -> bool {
        matches!(self, Self::Memory(_))
    }
}

/// How many prepared statements a connection keeps: all of this crate's, and room for combinations of filters.
const CACHED_STATEMENTS: usize = 64;

/// Opens a connection that may write, and makes the file if it is missing, unless the store is read-only.
pub(crate) fn open(location: &Location, options: &Options) -> Result<Connection> {
    let flags = match options.read_only {
        true => OpenFlags::SQLITE_OPEN_READ_ONLY,
        false => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
    };
    open_with(location, options, flags)
}

fn open_with(location: &Location, options: &Options, flags: OpenFlags) -> Result<Connection> {
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = match location {
        Location::File(path) => {
            refuse_directory(path)?;
            Connection::open_with_flags(path, flags)
        }
        Location::Memory(name) => Connection::open_with_flags(name, flags | OpenFlags::SQLITE_OPEN_URI),
    }
    .map_err(classify)?;
    set_up(&connection, options)?;
    Ok(connection)
}

fn refuse_directory(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Err(Error::invalid("it is a directory; name a file in it"));
    }
    Ok(())
}

fn set_up(connection: &Connection, options: &Options) -> Result<()> {
    connection.busy_timeout(options.busy_timeout).map_err(classify)?;
    connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
    connection
        // A plan never depends on the bound values; otherwise SQLite prepares a statement again when it sees them.
        .set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)
        .and_then(|_| connection.pragma_update(None, "foreign_keys", true))
        .and_then(|()| {
            connection.create_scalar_function(
                "metadata_contains",
                2,
                FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_DIRECTONLY,
                |context| {
                    let whole = Metadata::from_stored(context.get::<Arc<str>>(0)?);
                    let part = Metadata::from_stored(context.get::<Arc<str>>(1)?);
                    whole
                        .contains(&part)
                        .map_err(|error| rusqlite::Error::UserFunctionError(Box::new(error)))
                },
            )
        })
        .map_err(classify)
}

/// Sets what a writing connection needs besides, once the schema is known to be right.
pub(crate) fn set_up_writer(connection: &Connection, location: &Location, options: &Options) -> Result<()> {
    // Within a savepoint, SQLite writes the old content of each page it changes to a temporary file unless told otherwise.
    // The pages that appends change, the right ends of the indexes, stay in a cache of 16 MB, and a checkpoint comes after
    // 4,000 pages (16 MB) in the write-ahead log: a page that changes often is then copied into the file less often.
    for (pragma, value) in [
        ("temp_store", 2),
        ("cache_size", -16_000),
        ("wal_autocheckpoint", 4_000),
    ] {
        set(connection, pragma, value)?;
    }
    if location.is_memory() {
        return Ok(());
    }
    set_journal_mode(connection, options)?;
    let synchronous = match options.synchronous {
        Synchronous::Full => "FULL",
        Synchronous::Normal => "NORMAL",
    };
    connection
        .pragma_update(None, "synchronous", synchronous)
        .map_err(classify)
}

fn set(connection: &Connection, pragma: &str, value: i64) -> Result<()> {
    // Some pragmas answer with the new value, some do not.
    connection
        .execute_batch(&format!("PRAGMA {pragma} = {value}"))
        .map_err(classify)
}

fn set_journal_mode(connection: &Connection, options: &Options) -> Result<()> {
    let wanted = match options.journal_mode {
        JournalMode::Wal => "wal",
        JournalMode::Delete => "delete",
        JournalMode::Truncate => "truncate",
    };
    let mode: String = connection
        .pragma_query_value(None, "journal_mode", |row| row.get(0))
        .map_err(classify)?;
    if mode == wanted {
        return Ok(());
    }
    // Changing to WAL needs the file alone, and SQLite does not wait for that by the busy timeout.
    let until = std::time::Instant::now() + options.busy_timeout;
    loop {
        let changed = connection.pragma_update_and_check(None, "journal_mode", wanted, |row| row.get::<_, String>(0));
        match changed.map_err(classify) {
            Ok(mode) if mode == wanted => return Ok(()),
            Ok(mode) => {
                return Err(Error::new(ErrorKind::Backend {
                    reason: format!("the journal mode stays {mode}, it cannot be {wanted} here").into(),
                }));
            }
            Err(error) if error.is_retryable() && std::time::Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => return Err(error),
        }
    }
}

/// Opens a connection that only reads.
pub(crate) fn open_reader(location: &Location, options: &Options) -> Result<Connection> {
    // Even to read, a connection must be able to write to the index of a write-ahead log.
    let flags = match options.read_only {
        true => OpenFlags::SQLITE_OPEN_READ_ONLY,
        false => OpenFlags::SQLITE_OPEN_READ_WRITE,
    };
    let connection = open_with(location, options, flags)?;
    // Belt and braces: whatever a reader is asked to do, it changes nothing.
    connection.pragma_update(None, "query_only", true).map_err(classify)?;
    Ok(connection)
}

/// Opens the connections that read.
#[derive(Debug)]
pub(crate) struct Readers {
    location: Location,
    options: Options,
}

impl r2d2::ManageConnection for Readers {
    type Connection = Connection;
    type Error = Error;

    fn connect(&self) -> Result<Connection> {
        open_reader(&self.location, &self.options)
    }

    fn is_valid(&self, connection: &mut Connection) -> Result<()> {
        connection.execute_batch("").map_err(classify)
    }

    fn has_broken(&self, connection: &mut Connection) -> bool {
        // A read that was left in the middle would hold back checkpoints for ever.
        !connection.is_autocommit()
    }
}

/// The pool of reading connections; they are opened when they are first needed.
pub(crate) fn readers(location: Location, options: Options) -> r2d2::Pool<Readers> {
    r2d2::Pool::builder()
        .max_size(options.readers)
        .min_idle(Some(0))
        .test_on_check_out(false)
        .idle_timeout(None)
        .max_lifetime(None)
        .connection_timeout(options.busy_timeout.max(Duration::from_millis(1)))
        .error_handler(Box::new(r2d2::NopErrorHandler))
        .build_unchecked(Readers { location, options })
}
