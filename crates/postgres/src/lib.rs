#![doc = include_str!("../README.md")]

mod append;
mod consumer;
mod error;
mod listen;
mod migrate;
mod operate;
mod pool;
mod read;
mod row;
mod snapshot;
mod sql;
mod store;

pub use listen::Listener;
pub use postgres;
pub use store::{Indexes, PostgresBuilder, PostgresEventStore, PostgresTransaction};
