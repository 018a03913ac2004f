//! The database that a store has opened, and its connections: how they are opened, and the pool of reading ones.

use std::fmt::{self, Write as _};
use std::io;
use std::path::{self, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use firefly_eventstore_core::backend::kinds;
use firefly_eventstore_core::{Error, ErrorKind, Metadata, Result};
use rusqlite::config::DbConfig;
use rusqlite::functions::FunctionFlags;
use rusqlite::{Connection, OpenFlags};
use uuid::Uuid;

use crate::error::{classify, is_about_files};
use crate::identity::{self, Files, beside};
use crate::options::{JournalMode, Options, Synchronous};
use crate::{schema, sql};

/// The place of a database.
#[derive(Clone, Debug)]
pub(crate) enum Location {
    /// In a file.
    File(PathBuf),
    /// In memory, under a name that only this store knows.
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

    /// The same place, independent of the working directory.
    pub(crate) fn absolute(&self) -> Result<Self> {
        let Self::File(path) = self else {
            return Ok(self.clone());
        };
        // For SQLite, such a name does not mean a file. A file with this name can be opened as ./NAME.
        let name = path.to_string_lossy();
        if name.is_empty() || name == ":memory:" || name.starts_with("file:") {
            return Err(Error::invalid(
                "it names no file; give the path of one, or use SqliteEventStore::in_memory",
            ));
        }
        let absolute =
            path::absolute(path).map_err(|error| Error::io("the working directory cannot be found", error))?;
        Ok(Self::File(absolute))
    }

    /// The same place, without links in its path. SQLite follows links, too, and keeps the log beside the file itself.
    fn without_links(self) -> Self {
        match self {
            // On Windows, the canonical path has another form.
            Self::File(path) if cfg!(unix) => Self::File(path.canonicalize().unwrap_or(path)),
            other => other,
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Memory(_) => f.write_str("a database in memory"),
        }
    }
}

/// The database that a store has opened. Every connection leads to this one, or opening it fails.
#[derive(Debug)]
pub(crate) struct Database {
    pub(crate) location: Location,
    pub(crate) options: Options,
    /// `None` for a database in memory.
    files: Option<Files>,
}

impl Database {
    /// The database of a connection, after a first read.
    pub(crate) fn of(connection: &Connection, location: Location, options: Options) -> Result<Self> {
        // After a change of the journal mode, the first read makes or removes the log.
        schema::is_empty(connection)?;
        let location = location.without_links();
        let files = match &location {
            Location::File(path) => Some(Files::of(path, options.immutable)?),
            Location::Memory(_) => None,
        };
        Ok(Self {
            location,
            options,
            files,
        })
    }

    /// Returns an error if the file was moved or replaced.
    pub(crate) fn check(&self) -> Result<()> {
        self.files.as_ref().map_or(Ok(()), Files::check)
    }

    /// Fails if a connection that the caller opened leads to another database.
    pub(crate) fn check_same(&self, connection: &Connection) -> Result<()> {
        self.check()?;
        let is_same = match (&self.location, &self.files) {
            (Location::Memory(name), _) => {
                let theirs = connection.query_row(sql::OWN_DATABASE, [], |row| row.get::<_, Option<String>>(0));
                theirs.is_ok_and(|theirs| theirs.as_deref() == Some(name))
            }
            (Location::File(_), files) => {
                let at = connection.path().map(Path::new);
                at.zip(files.as_ref()).is_some_and(|(path, files)| files.is_at(path))
            }
        };
        if !is_same {
            return Err(Error::invalid(format!(
                "the connection is to another database; use one whose main database is that of the store, {}",
                self.location
            )));
        }
        Ok(())
    }

    /// Opens another writing connection.
    pub(crate) fn open_writer(&self) -> Result<Connection> {
        let connection = self.open_another()?;
        set_up_writer(&connection, &self.location, &self.options)?;
        Ok(connection)
    }

    /// Opens another reading connection.
    pub(crate) fn open_reader(&self) -> Result<Connection> {
        let connection = self.open_another()?;
        // An additional protection: no statement can write on a reading connection.
        connection.pragma_update(None, "query_only", true).map_err(classify)?;
        Ok(connection)
    }

    /// Opens another connection to the same database. Unless the store is read-only, it may write: even a reader writes to the index of a
    /// write-ahead log.
    pub(crate) fn open_another(&self) -> Result<Connection> {
        self.check()?;
        let flags = match self.options.read_only {
            true => OpenFlags::SQLITE_OPEN_READ_ONLY,
            false => OpenFlags::SQLITE_OPEN_READ_WRITE,
        };
        let connection = open_with(&self.location, &self.options, flags).map_err(|error| match &self.location {
            Location::File(path) => why_not_opened(path, error),
            Location::Memory(_) => error,
        })?;
        // If another file is at the path by now, it is not used.
        self.check()?;
        Ok(connection)
    }
}

/// How many prepared statements a connection keeps: all of this crate's, and some for combinations of filters.
const CACHED_STATEMENTS: usize = 64;

/// Opens the first connection, which may write. Creates a missing file, unless the store is read-only.
///
/// In a directory without the right to write, SQLite cannot make the index of a write-ahead log. So the file is opened as one that does not
/// change; it must not have a log then. The options record this, and [`Files`] checks that the file does not change.
pub(crate) fn open(location: &Location, options: &mut Options) -> Result<Connection> {
    let flags = match options.read_only {
        true => OpenFlags::SQLITE_OPEN_READ_ONLY,
        false => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
    };
    let open = |options: &Options| {
        let connection = open_with(location, options, flags)?;
        schema::is_empty(&connection)?;
        Ok(connection)
    };
    let error = match open(options) {
        Err(error) if is_about_files(&error) => error,
        result => return result,
    };
    let Location::File(path) = location else {
        return Err(error);
    };
    if options.read_only && identity::may_be_unchanging(path) {
        options.immutable = true;
        return open(options).map_err(|error| why_not_opened(path, error));
    }
    Err(why_not_opened(path, error))
}

/// Explains why a path could not be opened; SQLite only says that it could not.
fn why_not_opened(path: &Path, error: Error) -> Error {
    if !matches!(error.kind(), ErrorKind::Io { .. }) {
        return error;
    }
    let directory = path.parent().unwrap_or(path);
    let reason = match (path.metadata(), directory.metadata(), directory.read_dir()) {
        (_, Err(found), _) if found.kind() == io::ErrorKind::NotFound => {
            format!("the directory {} does not exist; make it first", directory.display())
        }
        (_, Ok(found), _) if !found.is_dir() => {
            format!("{} is not a directory; name a file in one", directory.display())
        }
        (Err(found), ..) if found.kind() == io::ErrorKind::NotFound => format!(
            "there is no file {}, and none is made: the store is opened for reading, or the program has no right to write in the \
             directory; correct the path, or give it the right",
            path.display()
        ),
        (_, _, Err(found)) if found.kind() != io::ErrorKind::PermissionDenied => {
            return Error::new(kinds::unavailable(
                "the operating system lets the program open no more files",
            ))
            .with_source(found);
        }
        (Ok(_), ..) if beside(path, "-wal").exists() => format!(
            "{} has a write-ahead log that cannot be read where it is; copy both to a directory that the program may write, and \
             open the copy",
            path.display()
        ),
        _ => format!(
            "the program has no right to {}; give it the right to read and write the file and its directory, or to read both and \
             open the store with read_only",
            path.display()
        ),
    };
    let source = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<rusqlite::Error>());
    let named = Error::new(ErrorKind::Io { reason: reason.into() });
    match source {
        Some(rusqlite::Error::SqliteFailure(failure, text)) => {
            named.with_source(rusqlite::Error::SqliteFailure(*failure, text.clone()))
        }
        _ => named,
    }
}

fn open_with(location: &Location, options: &Options, flags: OpenFlags) -> Result<Connection> {
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = match location {
        Location::File(path) => {
            refuse_directory(path)?;
            match options.immutable {
                true => Connection::open_with_flags(uri(path) + "?immutable=1", flags | OpenFlags::SQLITE_OPEN_URI),
                false => Connection::open_with_flags(path, flags),
            }
        }
        Location::Memory(name) => Connection::open_with_flags(name, flags | OpenFlags::SQLITE_OPEN_URI),
    }
    .map_err(classify)?;
    set_up(&connection, location, options)?;
    Ok(connection)
}

/// The path as a URI, which can have parameters.
fn uri(path: &Path) -> String {
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'/' | b'-' | b'_' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => uri.push(char::from(*byte)),
            other => write!(uri, "%{other:02X}").expect("writing to a string does not fail"),
        }
    }
    uri
}

fn refuse_directory(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Err(Error::invalid("it is a directory; name a file in it"));
    }
    Ok(())
}

fn set_up(connection: &Connection, location: &Location, options: &Options) -> Result<()> {
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
                OWN_FUNCTION | FunctionFlags::SQLITE_DETERMINISTIC,
                |context| {
                    let whole = Metadata::from_stored(context.get::<Arc<str>>(0)?);
                    let part = Metadata::from_stored(context.get::<Arc<str>>(1)?);
                    whole
                        .contains(&part)
                        .map_err(|error| rusqlite::Error::UserFunctionError(Box::new(error)))
                },
            )
        })
        .and_then(|()| {
            let name = match location {
                Location::File(_) => None, // it is known by its path
                Location::Memory(name) => Some(name.clone()),
            };
            connection.create_scalar_function("firefly_database", 0, OWN_FUNCTION, move |_| Ok(name.clone()))
        })
        .map_err(classify)
}

const OWN_FUNCTION: FunctionFlags = FunctionFlags::SQLITE_UTF8.union(FunctionFlags::SQLITE_DIRECTONLY);

/// Applies the other settings of a writing connection, once the schema was checked.
pub(crate) fn set_up_writer(connection: &Connection, location: &Location, options: &Options) -> Result<()> {
    // By default, SQLite copies the old content of each page that a savepoint changes to a temporary file; these copies stay in memory
    // instead. The pages that appends change, at the right ends of the indexes, stay in a cache of 16 MB. A checkpoint comes after 4,000
    // pages (16 MB) of the write-ahead log, so that a page that changes often is copied into the file less often.
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
    let synchronous = match (options.synchronous, options.journal_mode) {
        // If the removal of a journal is not synced, the journal may exist again after a power failure, and undo the commit.
        (Synchronous::Full, JournalMode::Delete) => "EXTRA",
        (Synchronous::Full, _) => "FULL",
        (Synchronous::Normal, _) => "NORMAL",
    };
    connection
        .pragma_update(None, "synchronous", synchronous)
        .map_err(classify)
}

fn set(connection: &Connection, pragma: &str, value: i64) -> Result<()> {
    // Some pragmas return the new value, others return nothing.
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
    // The change to WAL needs exclusive access to the file. The busy timeout does not apply to that.
    let until = std::time::Instant::now() + options.busy_timeout;
    loop {
        let changed = connection.pragma_update_and_check(None, "journal_mode", wanted, |row| row.get::<_, String>(0));
        match changed.map_err(classify) {
            Ok(mode) if mode == wanted => return Ok(()),
            Ok(mode) => {
                return Err(Error::new(kinds::backend(format!(
                    "the journal mode stays {mode}, it cannot be {wanted} here"
                ))));
            }
            Err(error) if error.is_retryable() && std::time::Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => return Err(error),
        }
    }
}

/// Opens reading connections.
#[derive(Clone, Debug)]
pub(crate) struct Readers(pub(crate) Arc<Database>);

impl r2d2::ManageConnection for Readers {
    type Connection = Connection;
    type Error = Error;

    fn connect(&self) -> Result<Connection> {
        self.0.open_reader()
    }

    fn is_valid(&self, _: &mut Connection) -> Result<()> {
        Ok(())
    }

    fn has_broken(&self, connection: &mut Connection) -> bool {
        // A read that is not finished would prevent checkpoints of the log.
        !connection.is_autocommit()
    }
}
