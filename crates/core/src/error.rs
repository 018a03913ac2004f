//! The error type of every store.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use uuid::Uuid;

use crate::{AggregateKey, AggregateType, ExpectedVersion, GlobalSequence, Version};

/// The result of a store's operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation failed: what happened, to which aggregate, and by its [`kind`](Self::kind) what to do.
///
/// The driver's own error, if there was one, is the [`source`](StdError::source); the message does not repeat its text. Cheap to clone,
/// because callers that share a commit share its failure.
///
/// ```
/// use firefly_eventstore_core::{prelude::*, MemoryEventStore};
///
/// let store = MemoryEventStore::new();
/// let account = AggregateKey::new("Account", Uuid::now_v7())?;
/// let opened = NewEvent::new("account.opened", &serde_json::json!({ "owner": "Ada" }))?;
///
/// let error = store.append(&account, ExpectedVersion::Exact(4.into()), &[opened]).unwrap_err();
/// assert!(error.is_conflict());
/// assert_eq!(
///     error.to_string(),
///     format!("append to {account}: expected version 4, is 0; load the aggregate and decide again")
/// );
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    operation: Option<Box<str>>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// The kind of a failure, which tells the caller what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The aggregate is not at the expected version: another append came first. Nothing was stored. Load the aggregate and decide again;
    /// that makes new events.
    Conflict {
        /// The aggregate.
        aggregate: AggregateKey,
        /// What the caller expected.
        expected: ExpectedVersion,
        /// The actual version.
        actual: Version,
    },
    /// The aggregate's id belongs to another aggregate type. Correct the key; repeating the call cannot help.
    TypeMismatch {
        /// The aggregate as the caller named it.
        aggregate: AggregateKey,
        /// The type its id belongs to.
        actual: AggregateType,
    },
    /// The aggregate belongs to another tenant, or to no tenant, or to a tenant although none was given. Correct the tenant.
    ///
    /// The other tenant is not named, so that one tenant learns nothing about another.
    TenantMismatch {
        /// The aggregate as the caller named it.
        aggregate: AggregateKey,
    },
    /// Event ids of the append are already stored, but with other events. Nothing was written. Give new events new ids.
    ///
    /// If all events of an append are already stored unchanged, that is not an error: see
    /// [`Appended::is_already_stored`](crate::Appended::is_already_stored).
    Duplicate {
        /// The aggregate whose append was refused.
        aggregate: AggregateKey,
        /// The ids that are stored already.
        event_ids: Vec<Uuid>,
        /// Why this is not a repeat of the earlier append.
        reason: Box<str>,
    },
    /// The input cannot be stored exactly, or contradicts itself. Nothing was stored. Correct it.
    InvalidInput {
        /// What is wrong, and what to do instead.
        reason: Box<str>,
    },
    /// The stored JSON does not fit the Rust type that the caller requested. Choose another type, or upcast.
    Decode {
        /// Which event or snapshot, and what did not fit.
        reason: Box<str>,
    },
    /// The database cannot answer now: it is locked, down, or out of connections. Nothing is lost. Repeat the same call later,
    /// an append with the same events: see [`Error::is_retryable`].
    Unavailable {
        /// Why it cannot answer.
        reason: Box<str>,
    },
    /// No pooled connection became free in time. Repeat the same call later, or give the pool more connections.
    PoolTimeout,
    /// The store, its file or its server accepts no writes. Nothing was written.
    ReadOnly,
    /// The database denies the right to do this. Nothing was written.
    PermissionDenied,
    /// The disk is full, or a quota or page limit is reached. Nothing was written. Free some space, then repeat.
    StorageFull,
    /// This library cannot work with the database's schema.
    Schema(SchemaProblem),
    /// A read begins beyond the end of the log, or the log ends before a mark that this store proved: events were lost.
    ///
    /// Causes are a crash of a server that does not flush each commit, a restore of a backup, a failover, a `TRUNCATE` or a purge by hand.
    /// Rebuild the read models that contain the lost events. Then begin at a checkpoint that the log still has. Repeating the read does not
    /// help.
    BeyondEnd {
        /// The beginning of the read, or the mark that was proved.
        position: GlobalSequence,
        /// The greatest sequence that the log has; 0 if it has none.
        end: GlobalSequence,
    },
    /// The read or load needs events that were [archived](crate::operate::Archiving). Nothing was returned, because it would be incomplete.
    /// Attach the archive, here or in another store. Or read only the events in the log: begin [after](crate::EventQuery::after) the
    /// archived ones, [skip](crate::EventQuery::skip_archived) them, or load from a snapshot.
    Archived {
        /// The sequence of the first archived event that may be needed.
        first: GlobalSequence,
        /// The sequence of the last.
        last: GlobalSequence,
        /// The locations of the archives, as their operator named them.
        location: Box<str>,
    },
    /// This server cannot prove the high-water mark: it is a replica, in recovery, or one node of a cluster beside others.
    /// Other events may still be committed before those that it shows. Read from the server that writes.
    Unprovable {
        /// What the server is, and what to do.
        reason: Box<str>,
    },
    /// The file or the schema of the open store was moved, renamed, replaced or removed. Nothing was written. Open the store again.
    Moved {
        /// What was found instead, and what to do.
        reason: Box<str>,
    },
    /// Stored data was changed or damaged: a checksum does not match, or a row or the file cannot be read.
    Integrity {
        /// The damaged event, if it is one event, and its id can be read.
        event_id: Option<Uuid>,
        /// Its position in the log, if it is one event.
        global_sequence: Option<GlobalSequence>,
        /// What is damaged and how.
        reason: Box<str>,
    },
    /// An imported event contradicts a stored one. Nothing was imported.
    Contradiction {
        /// The imported event.
        event_id: Uuid,
        /// Its place in the log.
        global_sequence: GlobalSequence,
        /// How it contradicts the store.
        reason: Box<str>,
    },
    /// The file is not an export, or was changed. Fetch it again, or export again.
    DamagedFile {
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        reason: Box<str>,
    },
    /// A file or stream cannot be read or written; see the source.
    Io {
        /// What was read or written.
        reason: Box<str>,
    },
    /// Anything else that the database reported; see the source.
    Backend {
        /// What the driver was asked to do when it failed, or what it answered.
        reason: Box<str>,
    },
}

/// Why the library cannot work with a schema.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SchemaProblem {
    /// Migrations are missing: call `migrate()`.
    NotMigrated {
        /// The version found, if any.
        found: Option<Box<str>>,
        /// The version this library works with.
        required: Box<str>,
    },
    /// The schema was made by a newer library: update this program.
    TooNew {
        /// The version found.
        found: Box<str>,
        /// The version this library works with.
        required: Box<str>,
    },
    /// The history of migrations, or a table, was changed.
    Altered {
        /// What differs.
        reason: Box<str>,
    },
}

impl Error {
    /// Creates an error of a kind, for authors of backends.
    #[must_use]
    pub fn new(kind: ErrorKind) -> Self {
        Self(Box::new(Inner {
            kind,
            operation: None,
            source: None,
        }))
    }

    /// The error of refused input.
    #[must_use]
    pub fn invalid(reason: impl Into<Box<str>>) -> Self {
        Self::new(ErrorKind::InvalidInput { reason: reason.into() })
    }

    /// The error of a file or stream that cannot be read or written.
    #[must_use]
    pub fn io(what: impl Into<Box<str>>, error: std::io::Error) -> Self {
        Self::new(ErrorKind::Io { reason: what.into() }).with_source(error)
    }

    /// Adds the name of the operation, such as `append to Account 0192…`. An existing name is kept.
    #[must_use]
    pub fn during(mut self, operation: impl fmt::Display) -> Self {
        if self.0.operation.is_none() {
            self.0.operation = Some(operation.to_string().into());
        }
        self
    }

    /// Sets the driver's error as the source.
    #[must_use]
    pub fn with_source(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.0.source = Some(Arc::new(source));
        self
    }

    /// The kind of the failure, with its details.
    #[must_use]
    pub fn kind(&self) -> &ErrorKind {
        &self.0.kind
    }

    /// Whether the aggregate was not at the expected version. Nothing was stored: load the aggregate and decide again.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Conflict { .. })
    }

    /// Whether the same call may succeed if it is repeated later. [`Backoff::repeat`](crate::Backoff::repeat) does that.
    ///
    /// To repeat an append, pass the same [`NewEvent`](crate::NewEvent)s. The failed append may have been stored and only its answer lost.
    /// The store recognises stored events by their ids, so repeating is safe.
    ///
    /// **Do not decide again** after this error: new events have new ids, and would be stored in addition. Decide again after
    /// [conflicts](Self::is_conflict), where nothing was stored. In the same way, repeat a transaction only with the same events, and skip
    /// its other writes if [`is_already_stored`](crate::Appended::is_already_stored) returns true.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Unavailable { .. } | ErrorKind::PoolTimeout)
    }

    /// Whether event ids of the append are already stored with other events.
    #[must_use]
    pub fn is_duplicate(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Duplicate { .. })
    }

    /// Whether the input was refused. Nothing was stored.
    #[must_use]
    pub fn is_invalid_input(&self) -> bool {
        matches!(self.0.kind, ErrorKind::InvalidInput { .. })
    }

    /// Whether a read begins beyond the end of the log, or the log ends before a proved mark.
    #[must_use]
    pub fn is_beyond_end(&self) -> bool {
        matches!(self.0.kind, ErrorKind::BeyondEnd { .. })
    }

    /// Whether archived events are needed.
    #[must_use]
    pub fn is_archived(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Archived { .. })
    }

    /// Whether this server cannot prove the high-water mark.
    #[must_use]
    pub fn is_unprovable(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Unprovable { .. })
    }

    /// Whether the file or the schema of the open store was moved, replaced or removed.
    #[must_use]
    pub fn is_moved(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Moved { .. })
    }

    /// Whether stored data is damaged.
    #[must_use]
    pub fn is_integrity(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Integrity { .. })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(operation) = &self.0.operation {
            write!(f, "{operation}: ")?;
        }
        self.0.kind.fmt(f)
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conflict { expected, actual, .. } => write!(
                f,
                "expected {expected}, is {actual}; load the aggregate and decide again"
            ),
            Self::TypeMismatch { aggregate, actual } => write!(
                f,
                "the id {} belongs to an aggregate of type {actual}, not {}",
                aggregate.id(),
                aggregate.aggregate_type()
            ),
            Self::TenantMismatch { aggregate } => {
                write!(f, "the id {} does not belong to this tenant", aggregate.id())
            }
            Self::Duplicate { event_ids, reason, .. } => {
                write!(f, "{reason}; already stored:")?;
                event_ids.iter().try_for_each(|id| write!(f, " {id}"))
            }
            Self::Unavailable { reason } => write!(f, "{reason}; nothing is lost, repeat the same call later"),
            Self::PoolTimeout => {
                f.write_str("no pooled connection became free in time; repeat the same call later, or enlarge the pool")
            }
            Self::ReadOnly => f.write_str("the store is read-only; nothing was written"),
            Self::PermissionDenied => f.write_str("the database denies permission for this; nothing was written"),
            Self::StorageFull => f.write_str("the storage is full; nothing was written, make room and repeat"),
            Self::Schema(problem) => problem.fmt(f),
            Self::BeyondEnd { position, end } => write!(
                f,
                "the log ends at global sequence {end}, before {position}: events were lost in a crash, a restore, a failover or a purge; \
                 rebuild the read models that were made of them, and begin at a checkpoint that the log still has"
            ),
            Self::Archived { first, last, location } => write!(
                f,
                "the events with global sequences {first} to {last} are needed, and were archived to {location}; attach the archive, or read \
                 only later events"
            ),
            Self::Contradiction {
                event_id,
                global_sequence,
                reason,
            } => write!(
                f,
                "the event {event_id} with global sequence {global_sequence}: {reason}"
            ),
            Self::DamagedFile { line, reason } => write!(f, "line {line} of the file: {reason}"),
            Self::InvalidInput { reason }
            | Self::Io { reason }
            | Self::Decode { reason }
            | Self::Integrity { reason, .. }
            | Self::Unprovable { reason }
            | Self::Moved { reason }
            | Self::Backend { reason } => f.write_str(reason),
        }
    }
}

impl fmt::Display for SchemaProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotMigrated {
                found: Some(found),
                required,
            } => write!(
                f,
                "the schema is at version {found}, this library needs {required}; call migrate()"
            ),
            Self::NotMigrated { found: None, required } => {
                write!(
                    f,
                    "there is no event store schema yet, this library needs {required}; call migrate()"
                )
            }
            Self::TooNew { found, required } => write!(
                f,
                "the schema is at version {found}, this library knows only {required}; update this program"
            ),
            Self::Altered { reason } => write!(f, "the schema was changed after its migrations: {reason}"),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("operation", &self.0.operation)
            .field("source", &self.0.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0
            .source
            .as_deref()
            .map(|source| source as &(dyn StdError + 'static))
    }
}

impl From<Infallible> for Error {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}
