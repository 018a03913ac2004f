#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod append;
mod archive;
mod consumer;
mod conversion;
mod convert;
mod detach;
mod error;
mod import;
mod join;
mod listen;
mod lock;
mod migrate;
mod operate;
mod options;
mod partitions;
mod pool;
mod read;
mod replace;
mod row;
mod session;
mod sql;
mod store;
mod tls;

pub use error::classify;
#[doc(inline)]
pub use firefly_eventstore_core::{Indexes, Partitions};
pub use listen::Listener;
/// The driver, whose types this crate takes and returns. A new major version of it is a breaking change of this crate.
pub use postgres as driver;
pub use store::{PostgresBuilder, PostgresEventStore, PostgresTransaction};
