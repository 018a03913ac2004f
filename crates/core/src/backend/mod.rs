//! For authors of backends: the decisions that must be the same on every backend.
//!
//! A backend appends in these steps: [`check`] the input; insert, guarded by its unique keys; if a key is violated, or the guard finds
//! another version, look up the ids and call [`resolve_repeated`]; if these events are new, look up the aggregate's [`Head`] and let
//! [`Head::admit`] return the error.
//!
//! Structs that a backend creates are `#[non_exhaustive]` and have a `new` or a `Default`; set the other fields afterwards. Enums that a
//! backend must handle completely, such as [`ConsumerChange`], are exhaustive on purpose: a backend that lacks a new variant does not
//! compile.
//!
//! The guide, an example, and the suite that tests a backend are in the crate
//! [`firefly-eventstore-conformance`](https://docs.rs/firefly-eventstore-conformance).
//!
//! | for | see |
//! |---|---|
//! | appending | [`check`], [`resolve_repeated`], [`Located`], [`Head`], [`describe`] |
//! | loading from a database | [`load`], [`StreamSource`], [`SqlStreams`], [`load_from_snapshot`], [`SnapshotSource`] |
//! | the log of a database | [`Window`], [`EventFilter`], [`PageEvents`], [`Position`], [`ProvedMark`], [`check_end`] |
//! | the rows of a database | [`rows`], [`damaged()`], [`verified`], [`time_text`], [`parse_time`] |
//! | events in memory | [`scan_stream`], [`scan_page`], [`scan_statistics`], [`scan_summaries`] |
//! | statements that are the same on every database | [`Sql`], [`SqlSession`], [`snapshots`], [`consumers`], [`tables`] |
//! | consumers | [`ConsumerTables`], [`ConsumerChange`], [`SlotsQuery`], [`any_transient`], [`any_cause`], [`microseconds`] |
//! | migrations, indexes, diagnoses | [`migration`], [`adoption`], [`indexes`], [`checks`] |
//! | transactions | [`Work`], [`DataRules`], [`WorkTransaction`], [`SqlTransaction`], [`Within`], [`Writer`] |
//! | errors by a database's codes | [`kinds`] |
//! | connections | [`Connections`]; `Pool` (with the feature `pool`) |
//! | stores on servers | [`ServerOptions`], [`ServerLog`], [`Publisher`]; `ServerCalls`, `ServerConnection`, `ServerTransaction` (with the feature `pool`) |
//! | threads that append at once | [`Line`], [`Group`], [`OwnedAppend`] |
//! | partitions | [`report_partitions`], [`refuse_hindrances`], [`interrupted_archiving`]; [`Patience`], for steps that wait for a lock |
//! | archives | [`admit_retirement`], [`admit_attachment`], [`check_archived`], [`archives_between`], [`ArchivedStream`], [`Fingerprint`] |
//! | importing | [`import_events`], [`import()`], [`ImportTarget`]; or [`check_import`], [`admit_import`], [`refuse_import`] |

pub mod adoption;
mod append;
mod archived;
mod archives;
pub mod checks;
pub mod consumers;
mod damaged;
mod driver;
mod head;
mod import;
pub mod indexes;
pub mod kinds;
mod load;
pub mod migration;
mod pace;
mod partitions;
mod patience;
#[cfg(feature = "pool")]
mod pool;
mod proved;
pub mod rows;
mod rules;
mod scan;
mod server;
pub mod snapshots;
mod sql;
pub mod tables;
mod url;
mod within;
mod work;
mod writer;

pub use crate::consumer::stored::store::{any_cause, any_transient};
pub use crate::consumer::stored::tables::{ConsumerChange, ConsumerTables, SlotsQuery, microseconds};
pub use crate::store::append::{Contents, LiveContents, Located};
pub use crate::store::query::{EventFilter, PageEvents, Position, Window, check_end};
pub use crate::store::snapshot::SnapshotDeletion;
pub use crate::store::tenant::Scope;
pub use crate::values::event::{EventDetails, to_utc};
pub use crate::values::fingerprint::Fingerprint;
pub use crate::values::timestamp::{TimeText, parse_time, time_text};
pub use append::{
    AppendSource, MOST_ATTEMPTS, OwnedAppend, check, describe, explain, outpaced, payload_bytes, resolve_repeated,
    with_versions,
};
pub use archived::{
    ArchivedStream, Attachment, EventKey, Retirement, StreamPart, admit_attachment, admit_retirement, aggregate_ids,
    begins_with_first, check_archived, may_pass_archive, may_pass_archived,
};
pub use archives::archives_between;
pub use damaged::{damaged, verified, verified_page, verified_snapshots, verified_with_snapshot};
pub use driver::{Driver, MetadataIndex, metadata_correlation};
pub use head::{Head, check_snapshot, check_type};
pub use import::{ImportTarget, admit_import, check_import, import, import_events, refuse_import};
pub use load::{SnapshotSource, SqlStreams, StreamSource, load, load_from_snapshot};
pub use pace::Pace;
pub use partitions::{interrupted_archiving, refuse_hindrances, report_partitions};
pub use patience::Patience;
#[cfg(feature = "pool")]
pub use pool::Pool;
pub use proved::ProvedMark;
pub use rows::{Columns, EventDecoder};
pub use rules::DataRules;
pub use scan::{scan_events, scan_page, scan_statistics, scan_stream, scan_summaries};
#[cfg(feature = "pool")]
pub use server::{Connector, Generation, ServerCalls, ServerConnection, ServerTransaction};
pub use server::{
    Found, Group, Line, PublishedMark, Publisher, ServerLog, ServerOptions, UsualSize, WindowReading,
    diagnose_published_mark, never_published,
};
pub use snapshots::{Connections, load_range};
pub use sql::{Sql, SqlSession, Value};
pub use url::refused_url;
pub use within::{Entered, Within};
pub use work::{SqlTransaction, Work, WorkTransaction};
pub use writer::{Writer, WriterGuard};

#[doc(inline)]
pub use crate::{migrations, server_options, snapshot_store, statements};
