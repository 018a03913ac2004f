//! Options for opening a store, and choices about its schema.

use firefly_eventstore_core::backend::ServerOptions;
use firefly_eventstore_core::{Indexes, Partitions};

/// Options for opening a store: see [`PostgresBuilder`](crate::PostgresBuilder).
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub(crate) server: ServerOptions,
    pub(crate) choices: Choices,
}

/// Choices about a schema. Without a choice, an existing schema does not change, and a new one gets the default.
#[derive(Clone, Debug, Default)]
pub(crate) struct Choices {
    pub(crate) indexes: Option<Indexes>,
    pub(crate) notify: Option<bool>,
    pub(crate) partitions: Option<Partitions>,
}
