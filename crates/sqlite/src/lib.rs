#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod append;
mod consumer;
mod error;
mod identity;
mod lent;
mod migrate;
mod operate;
mod pool;
mod read;
mod row;
mod snapshot;
mod sql;
mod store;
mod writer;

pub use error::classify;
/// The driver, whose types this crate takes and returns. A new major version of it is a breaking change of this crate.
pub use rusqlite as driver;
pub use store::{Indexes, JournalMode, SqliteBuilder, SqliteEventStore, SqliteTransaction, Synchronous};
