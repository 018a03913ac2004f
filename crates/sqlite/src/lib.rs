#![doc = include_str!("../README.md")]

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

pub use rusqlite;
pub use store::{Indexes, JournalMode, SqliteBuilder, SqliteEventStore, SqliteTransaction, Synchronous};
