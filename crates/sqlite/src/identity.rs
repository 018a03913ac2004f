//! Which file a store is: the one that was opened, by its identity, not whatever is at its path later.

use std::fs;
use std::path::{Path, PathBuf};

use firefly_eventstore_core::{Error, ErrorKind, Result};

/// The files of a store, as they were when it was opened: the database, and its write-ahead log with that log's index.
#[derive(Debug)]
pub(crate) struct Files {
    database: File,
    log: Vec<File>,
}

#[derive(Debug)]
struct File {
    path: PathBuf,
    identity: Identity,
}

/// The device and the number of a file. No other file gets them while the file is open, removed or not.
#[cfg(unix)]
type Identity = (u64, u64);

/// When a file was made. Windows lets nobody move or remove a file that SQLite has open.
#[cfg(not(unix))]
type Identity = Option<std::time::SystemTime>;

impl Files {
    /// Those of a database that a connection has open and has read: SQLite makes the log by then, and keeps it as long.
    pub(crate) fn of(database: &Path) -> Result<Self> {
        let beside = |suffix: &str| {
            let mut path = database.as_os_str().to_owned();
            path.push(suffix);
            PathBuf::from(path)
        };
        let file = |path: PathBuf| {
            Some(File {
                identity: identity(&path).ok()?,
                path,
            })
        };
        Ok(Self {
            database: file(database.to_owned()).ok_or_else(|| gone(database, "it was removed while it was opened"))?,
            log: ["-wal", "-shm"]
                .into_iter()
                .filter_map(|suffix| file(beside(suffix)))
                .collect(),
        })
    }

    /// Refuses to go on with files that are not at their paths any more. What is written would be found by nobody.
    pub(crate) fn check(&self) -> Result<()> {
        self.database.check(
            "the file that was opened is no longer there, it was moved, replaced or removed; find out what became of it, \
             then open the store again",
        )?;
        self.log.iter().try_for_each(|file| {
            file.check(
                "this part of the write-ahead log was moved, replaced or removed while the store has it open; end all \
                 programs that use the store, so that SQLite writes what the log has into the database, then open it again",
            )
        })
    }

    /// Whether the database is the file at this path.
    pub(crate) fn is_at(&self, path: &Path) -> bool {
        identity(path).is_ok_and(|identity| identity == self.database.identity)
    }
}

impl File {
    fn check(&self, what_to_do: &str) -> Result<()> {
        match identity(&self.path) {
            Ok(identity) if identity == self.identity => Ok(()),
            Ok(_) => Err(gone(&self.path, what_to_do)),
            Err(error) => Err(gone(&self.path, what_to_do).with_source(error)),
        }
    }
}

fn gone(path: &Path, why: &str) -> Error {
    Error::new(ErrorKind::Moved {
        reason: format!("{}: {why}", path.display()).into(),
    })
}

#[cfg(unix)]
fn identity(path: &Path) -> std::io::Result<Identity> {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn identity(path: &Path) -> std::io::Result<Identity> {
    Ok(fs::metadata(path)?.created().ok())
}
