//! How a store is opened, and what may be chosen about its schema.

use firefly_eventstore_core::backend::ServerOptions;
use firefly_eventstore_core::{Indexes, Partitions};

/// How a store is opened: see [`PostgresBuilder`](crate::PostgresBuilder).
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub(crate) server: ServerOptions,
    pub(crate) choices: Choices,
}

/// What may be chosen about a schema. Without a choice, an existing schema stays as it is, and a new one gets the defaults.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Choices {
    pub(crate) indexes: Option<Indexes>,
    pub(crate) notify: Option<bool>,
    pub(crate) partitions: Option<Partitions>,
}
