//! Operating a store: export, import, restore, audit, maintenance.
//!
//! Programs need [`EventStore`](crate::EventStore) and [`EventStoreExt`](crate::EventStoreExt); this module is for their operators. A backend
//! implements [`Operations`]; the rest works over any store:
//!
//! | to | use |
//! |---|---|
//! | write the log into a file, all of it or only new events | [`Export`] |
//! | read such a file into a store, on any database | [`Import`] |
//! | copy a store's past into another store | [`restore`] |
//! | find out whether stored data was changed or damaged | [`Audit`] |
//! | make later changes of the past detectable | [`seal`](seal()) |
//! | move a part of the log into a file, and back | [`Archiving`], [`retire`], [`attach`] |
//! | delete old snapshots | [`prune_snapshots`] |
//!
//! ```
//! use std::io::Cursor;
//!
//! use firefly_eventstore_core::operate::{Export, Import};
//! use firefly_eventstore_core::{prelude::*, MemoryEventStore};
//!
//! let (here, there) = (MemoryEventStore::new(), MemoryEventStore::new());
//! let account = AggregateKey::new("Account", Uuid::now_v7())?;
//! here.append(&account, ExpectedVersion::NoStream, &[NewEvent::new("account.opened", &serde_json::json!({}))?])?;
//!
//! let mut file = Vec::new();
//! let exported = Export::new().json_lines(&here, &mut file, |_| {})?;
//! let imported = Import::new().json_lines(&there, Cursor::new(file), |_| {})?;
//! assert_eq!(imported.digest, exported.digest);
//! assert_eq!(there.load(&account)?, here.load(&account)?);
//! # Ok::<(), Error>(())
//! ```

mod archive;
mod archiving;
mod audit;
mod consumers;
mod diagnose;
mod diagnosis;
mod digest;
mod export;
mod finding;
mod import;
mod index;
mod lines;
mod operations;
mod progress;
mod restore;
mod seal;
mod sealing;
mod snapshots;
mod streams;

pub use archive::Archive;
pub use archiving::{Archiving, attach, retire};
pub use audit::{Audit, Audited};
pub use consumers::CONSUMERS;
pub use diagnose::diagnose;
pub use diagnosis::{Diagnosis, Severity};
pub use digest::LogDigest;
pub use export::{Export, Exported};
pub use finding::{Finding, FindingKind};
pub use import::{CheckedExport, Import, Imported};
pub use index::{IndexState, IndexUsage};
pub use operations::{Detachment, Operations, RestorePoint};
pub use progress::Progress;
pub use restore::restore;
pub use seal::{Remembered, Seal};
pub use sealing::seal;
pub use snapshots::prune_snapshots;

pub(crate) use archive::needed;
pub(crate) use streams::Streams;
