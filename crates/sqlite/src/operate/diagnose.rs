//! Checks the database, its schema and its settings, and advises what to do.

use std::fs;
use std::path::Path;

use firefly_eventstore_core::backend::checks;
use firefly_eventstore_core::backend::indexes::{OPTIONAL, diagnose};
use firefly_eventstore_core::operate::{Diagnosis, Severity};
use firefly_eventstore_core::{Error, Result};
use rusqlite::Connection;

use super::usage::{indexes, pragma};
use crate::error::classify;
use crate::pool::{Database, Location};
use crate::{SqliteEventStore, migrate};

/// SQLite empties the write-ahead log at 16 MB. If the log is larger than this, an open transaction prevents that.
const LARGE_LOG: u64 = 64 << 20;

impl SqliteEventStore {
    pub(super) fn examine(&self) -> Result<Vec<Diagnosis>> {
        let mut found = vec![sqlite()];
        if let Location::File(path) = &self.database().location {
            let file = file(path, self.database());
            let is_there = file.severity == Severity::Good;
            found.push(file);
            if !is_there {
                return Ok(found);
            }
        }
        let look = |connection: &Connection| {
            let settings = Settings::of(connection)?;
            let indexes = indexes(connection, self.options().indexes)?;
            Ok((settings, schema(connection)?, indexes))
        };
        // Settings belong to a connection. Those of the writing connection matter.
        let (settings, schema, indexes) = match self.options().read_only {
            true => self.read(|connection| look(connection))?,
            false => self.alone(look)?,
        };
        match &self.database().location {
            Location::Memory(_) => found.push(Diagnosis::bad(
                Severity::Notice,
                "durability",
                "everything is in memory",
                "use a file for what must outlive the process",
            )),
            Location::File(path) => {
                found.push(self.writable(&settings));
                found.push(settings.journal_mode());
                found.extend(write_ahead_log(path));
                if !self.options().read_only {
                    found.push(settings.synchronous());
                }
                found.push(settings.busy_timeout());
            }
        }
        found.push(schema);
        found.extend(diagnose(&indexes, OPTIONAL, false));
        found.push(checks::limits(&self.options().limits));
        Ok(found)
    }

    fn writable(&self, settings: &Settings) -> Diagnosis {
        let subject = "writing";
        match (self.options().read_only, settings.read_only) {
            (true, _) => Diagnosis::bad(
                Severity::Notice,
                subject,
                "the store was opened for reading only",
                "to append, open it without read_only",
            ),
            (false, true) => Diagnosis::bad(
                Severity::Danger,
                subject,
                "the file may not be written: nothing can be stored",
                "give the program the right to write the file and its directory, then open the store again",
            ),
            (false, false) => Diagnosis::good(subject, "allowed"),
        }
    }
}

fn schema(connection: &Connection) -> Result<Diagnosis> {
    let version = migrate::version(connection)?;
    checks::schema(migrate::require_current(connection), version.as_deref())
}

/// The settings of a connection. Every connection gets the store's settings. If work leaves others on it, the connection is replaced.
struct Settings {
    read_only: bool,
    journal_mode: String,
    synchronous: i64,
    busy_timeout: i64,
}

impl Settings {
    fn of(connection: &Connection) -> Result<Self> {
        Ok(Self {
            read_only: connection.is_readonly("main").map_err(classify)?,
            journal_mode: pragma(connection, "journal_mode")?,
            synchronous: pragma(connection, "synchronous")?,
            busy_timeout: pragma(connection, "busy_timeout")?,
        })
    }

    fn journal_mode(&self) -> Diagnosis {
        let (subject, found) = ("journal_mode", self.journal_mode.as_str());
        match found {
            "wal" => Diagnosis::good(subject, found),
            _ => Diagnosis::bad(
                Severity::Notice,
                subject,
                format!("{found}: readers and the writer wait for one another"),
                "use JournalMode::Wal, unless the file is where a write-ahead log cannot be, such as a network drive",
            ),
        }
    }

    fn synchronous(&self) -> Diagnosis {
        let subject = "synchronous";
        match self.synchronous {
            1 => Diagnosis::bad(
                Severity::Notice,
                subject,
                "NORMAL: a power failure may undo the last commits",
                "open the store with Synchronous::Full if acknowledged events must survive it",
            ),
            2 => Diagnosis::good(subject, "FULL"),
            _ => Diagnosis::good(subject, "EXTRA"),
        }
    }

    fn busy_timeout(&self) -> Diagnosis {
        let subject = "busy_timeout";
        match self.busy_timeout {
            0 => Diagnosis::bad(
                Severity::Notice,
                subject,
                "0 ms: a call fails at once if another process has locked the file",
                "give the builder a busy_timeout, such as 5 seconds, unless no other process uses the file",
            ),
            milliseconds => Diagnosis::good(subject, format!("{milliseconds} ms")),
        }
    }
}

fn sqlite() -> Diagnosis {
    let origin = match cfg!(feature = "bundled") {
        true => "compiled into the program",
        false => "the system's library",
    };
    Diagnosis::good("sqlite", format!("{}, {origin}", rusqlite::version()))
}

fn file(path: &Path, database: &Database) -> Diagnosis {
    let subject = "file";
    let bytes = database.check().and_then(|()| {
        let metadata = fs::metadata(path);
        metadata.map_err(|error| Error::io(format!("{} cannot be looked at", path.display()), error))
    });
    match bytes {
        Ok(metadata) => Diagnosis::good(subject, format!("{}, {} bytes", path.display(), metadata.len())),
        Err(error) => Diagnosis::bad(
            Severity::Danger,
            subject,
            error.to_string(),
            "stop the program, and find out who moved, replaced, removed or locked the file, or its write-ahead log",
        ),
    }
}

/// None if there is none.
fn write_ahead_log(path: &Path) -> Option<Diagnosis> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let bytes = fs::metadata(log).ok()?.len();
    let subject = "write-ahead log";
    Some(match bytes > LARGE_LOG {
        true => Diagnosis::bad(
            Severity::Notice,
            subject,
            format!("{bytes} bytes: a transaction wrote that much, or a long read keeps it from being emptied"),
            "end reads that take long, then run vacuum, which empties it",
        ),
        false => Diagnosis::good(subject, format!("{bytes} bytes")),
    })
}
