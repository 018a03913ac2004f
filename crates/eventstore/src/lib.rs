#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod connect;
#[doc = include_str!("../guide/design.md")]
pub mod design {}
#[cfg(feature = "sqlite")]
pub mod guide;

#[cfg(any(feature = "mysql", feature = "postgres"))]
pub use connect::convert;
pub use connect::{check_url, connect, connect_operator, migrate, pending};
pub use firefly_eventstore_core::*;

#[cfg(feature = "mysql")]
pub use firefly_eventstore_mysql as mysql;
#[cfg(feature = "postgres")]
pub use firefly_eventstore_postgres as postgres;
#[cfg(feature = "sqlite")]
pub use firefly_eventstore_sqlite as sqlite;

/// The names that most programs need: `use firefly_eventstore::prelude::*`.
pub mod prelude {
    pub use firefly_eventstore_core::prelude::*;

    #[cfg(feature = "mysql")]
    pub use firefly_eventstore_mysql::MysqlEventStore;
    #[cfg(feature = "postgres")]
    pub use firefly_eventstore_postgres::PostgresEventStore;
    #[cfg(feature = "sqlite")]
    pub use firefly_eventstore_sqlite::SqliteEventStore;

    pub use crate::connect;
}

/// The README of the repository. Its programs are compiled as tests.
#[cfg(doctest)]
#[cfg(feature = "sqlite")]
#[doc = include_str!("../../../README.md")]
mod readme {}
