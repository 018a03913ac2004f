#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod adopt;
mod append;
mod archive;
mod consumer;
mod conversion;
mod convert;
mod detach;
mod error;
mod flush;
mod import;
mod insert;
mod mark;
mod migrate;
mod migrations;
mod operate;
mod options;
mod partitions;
mod pool;
mod prepared;
mod read;
mod row;
mod schema;
mod session;
mod sql;
mod standing;
mod store;
mod topology;

pub use error::classify;
#[doc(inline)]
pub use firefly_eventstore_core::{Indexes, Partitions};
/// The driver, whose types this crate takes and returns. A new major version of it is a breaking change of this crate.
pub use mysql as driver;
pub use store::{MysqlBuilder, MysqlEventStore, MysqlTransaction};
