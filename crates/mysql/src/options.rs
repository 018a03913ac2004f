//! Options for opening a store, and choices about its schema.

use firefly_eventstore_core::backend::ServerOptions;
use firefly_eventstore_core::{Indexes, Partitions};

/// Options for opening a store: see [`MysqlBuilder`](crate::MysqlBuilder).
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub(crate) server: ServerOptions,
    pub(crate) choices: Choices,
    /// Whether this is the only node of its cluster that programs write to.
    pub(crate) only_writer: bool,
}

/// Choices about a schema. Without a choice, an existing schema does not change, and a new one gets the default.
#[derive(Clone, Debug, Default)]
pub(crate) struct Choices {
    pub(crate) indexes: Option<Indexes>,
    pub(crate) cover_other_writers: Option<bool>,
    pub(crate) partitions: Option<Partitions>,
}
