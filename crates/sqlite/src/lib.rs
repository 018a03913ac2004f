#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod append;
mod archive;
mod error;
mod identity;
mod lent;
mod migrate;
mod operate;
mod options;
mod pool;
mod read;
mod row;
mod schema;
mod session;
mod sql;
mod store;
mod transaction;
mod writer;

pub use error::classify;
#[doc(inline)]
pub use firefly_eventstore_core::Indexes;
pub use options::{JournalMode, Synchronous};
/// The driver, whose types this crate takes and returns. A new major version of it is a breaking change of this crate.
pub use rusqlite as driver;
pub use store::{SqliteBuilder, SqliteEventStore, SqliteTransaction};
