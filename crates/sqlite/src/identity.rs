//! The identity of a store's files: the store stays with the file that was opened, not with its path.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use firefly_eventstore_core::{Error, ErrorKind, Result};

/// The files of a store, as they were when it was opened: the database, and its write-ahead log with that log's index.
#[derive(Debug)]
pub(crate) struct Files {
    database: File,
    log: Vec<File>,
    /// The state of the file when it was opened, if SQLite was told that it does not change. Then SQLite does not check.
    unchanging: Option<State>,
}

#[derive(Debug)]
struct File {
    path: PathBuf,
    identity: Identity,
}

/// The device and the number of a file. No other file gets them while the file is open, removed or not.
#[cfg(unix)]
type Identity = (u64, u64);

/// When a file was made. Windows does not allow a file that SQLite has open to be moved or removed.
#[cfg(not(unix))]
type Identity = Option<SystemTime>;

impl Files {
    /// The files of a database that a connection has opened and read. By then SQLite has made the log, which exists as
    /// long as the connection.
    pub(crate) fn of(database: &Path, is_unchanging: bool) -> Result<Self> {
        let file = |path: PathBuf| {
            Some(File {
                identity: identity(&path).ok()?,
                path,
            })
        };
        let removed = || gone(database, "it was removed while it was opened; try again");
        let log = match is_unchanging {
            true => Vec::new(),
            false => LOG.iter().filter_map(|suffix| file(beside(database, suffix))).collect(),
        };
        Ok(Self {
            database: file(database.to_owned()).ok_or_else(removed)?,
            log,
            unchanging: match is_unchanging {
                true => Some(State::of(database).ok_or_else(removed)?),
                false => None,
            },
        })
    }

    /// Returns an error if a file was moved or replaced: later writes would go to a file that no program opens.
    pub(crate) fn check(&self) -> Result<()> {
        self.database.check(
            "the file of the open store was moved, replaced or removed; find out why, then open the store again",
        )?;
        if self
            .unchanging
            .is_some_and(|state| State::of(&self.database.path) != Some(state))
        {
            return Err(gone(
                &self.database.path,
                "somebody changed the file, or uses it, while it was open as one that nobody changes, because its directory may \
                 not be written; open the store again",
            ));
        }
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

/// The names of the files that SQLite keeps beside a database with a write-ahead log.
const LOG: [&str; 2] = ["-wal", "-shm"];

/// The file of a database with this suffix.
pub(crate) fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// Whether no program has the database open to write, and the file is complete without a log or a journal.
pub(crate) fn may_be_unchanging(database: &Path) -> bool {
    State::of(database).is_some()
}

/// The state of a closed database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    bytes: u64,
    modified: Option<SystemTime>,
}

impl State {
    /// `None` if the file does not exist or is open: a program that writes keeps a log or a journal beside the file.
    fn of(database: &Path) -> Option<Self> {
        let metadata = fs::metadata(database).ok()?;
        let is_closed = ["-wal", "-journal"]
            .iter()
            .all(|suffix| !beside(database, suffix).exists());
        is_closed.then_some(Self {
            bytes: metadata.len(),
            modified: metadata.modified().ok(),
        })
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

/// Asks for nothing but the number of the file. Since Linux 6.13, a file whose times somebody has asked for gets new ones with its next
/// write, and an `fsync` then writes these, too: appends take up to a quarter longer if each asks for the times of the write-ahead log.
#[cfg(target_os = "linux")]
fn identity(path: &Path) -> std::io::Result<Identity> {
    use rustix::fs::{AtFlags, CWD, StatxFlags, makedev, statx};
    let found = statx(CWD, path, AtFlags::empty(), StatxFlags::INO);
    let identity = found.map(|found| (makedev(found.stx_dev_major, found.stx_dev_minor), found.stx_ino));
    // Containers and kernels without this call refuse it.
    identity.or_else(|_| device_and_number(path))
}

#[cfg(all(unix, not(target_os = "linux")))]
fn identity(path: &Path) -> std::io::Result<Identity> {
    device_and_number(path)
}

#[cfg(unix)]
fn device_and_number(path: &Path) -> std::io::Result<Identity> {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn identity(path: &Path) -> std::io::Result<Identity> {
    Ok(fs::metadata(path)?.created().ok())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::{device_and_number, identity};

    #[test]
    fn a_file_is_the_same_however_it_is_asked_for() {
        let file = tempfile::NamedTempFile::new().expect("a file can be made");
        let other = tempfile::NamedTempFile::new().expect("a file can be made");
        let found = |path| identity(path).expect("the file is there");
        assert_eq!(
            found(file.path()),
            device_and_number(file.path()).expect("the file is there")
        );
        assert_ne!(found(file.path()), found(other.path()));
        assert!(identity(&file.path().join("nothing")).is_err());
    }
}
