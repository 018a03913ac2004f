//! How a store is opened, and what may be chosen about its schema.

use std::time::Duration;

use firefly_eventstore_core::{Indexes, Limits};

/// How a store is opened: see [`MysqlBuilder`](crate::MysqlBuilder).
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) max_connections: u32,
    pub(crate) group: bool,
    pub(crate) pool_timeout: Duration,
    pub(crate) migrate_on_open: bool,
    pub(crate) choices: Choices,
    pub(crate) verify_on_read: bool,
    pub(crate) limits: Limits,
    pub(crate) read_replica: bool,
    pub(crate) only_writer: bool,
    pub(crate) publish_mark: Option<Duration>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_connections: 10,
            group: true,
            pool_timeout: Duration::from_secs(10),
            migrate_on_open: false,
            choices: Choices::default(),
            verify_on_read: false,
            limits: Limits::PORTABLE,
            read_replica: false,
            only_writer: false,
            publish_mark: None,
        }
    }
}

/// What may be chosen about a schema; what is not keeps what it has, and a new one has the defaults.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Choices {
    pub(crate) indexes: Option<Indexes>,
    pub(crate) cover_other_writers: Option<bool>,
}
