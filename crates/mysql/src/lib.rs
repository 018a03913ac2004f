#![doc = include_str!("../README.md")]

mod adopt;
mod append;
mod consumer;
mod error;
mod flush;
mod mark;
mod migrate;
mod operate;
mod pool;
mod prepared;
mod read;
mod row;
mod snapshot;
mod sql;
mod store;
mod topology;

pub use mysql;
pub use store::{Indexes, MysqlBuilder, MysqlEventStore, MysqlTransaction};
