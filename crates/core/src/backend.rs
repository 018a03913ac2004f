//! For those who write a backend: the decisions that must be the same on every one.
//!
//! A backend's append is: [`check`] the input; insert, guarded by its unique keys; when a key is violated, or the guard
//! finds the aggregate elsewhere, look up the ids and ask [`resolve_repeated`]; if these events are new, look up the
//! aggregate's [`Head`] and let [`Head::admit`] say what is wrong.

mod append;
mod damaged;
mod head;
mod import;
mod line;
mod load;
mod options;
mod page;
pub mod rows;
pub mod snapshots;
mod url;
mod usual;

pub use crate::event::{EventDetails, to_utc};
pub use crate::publisher::{Publisher, diagnose_published_mark, never_published};
pub use crate::query::{PageEvents, check_end};
pub use crate::tenant::Scope;
pub use crate::timestamp::{TimeText, parse_time, time_text};
pub use crate::within::{Entered, Within};
pub use crate::writer::{Writer, WriterGuard};
pub use append::{check, describe, payload_bytes, resolve_repeated};
pub use damaged::{damaged, verified, verified_snapshots, verified_with_snapshot};
pub use head::{Head, check_snapshot, check_type};
pub use import::{admit_import, check_import, refuse_import};
pub use line::{Group, Line, OwnedAppend};
pub(crate) use load::from_snapshot;
pub use load::{StreamSource, load, load_from_snapshot};
pub use options::ServerOptions;
pub use page::{FirstPage, Found, first_page};
pub use rows::{Columns, EventDecoder};
pub use snapshots::{Connections, SnapshotTable, load_range};
pub use url::refused_url;
pub use usual::UsualSize;
