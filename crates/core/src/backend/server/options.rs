//! The options of a store on a server.

use std::sync::Arc;
use std::time::Duration;

use super::publisher::Publisher;
use crate::backend::rules::DataRules;
use crate::{Error, ErrorKind, GlobalSequence, Limits, Result};

/// The options that stores on all servers have. [`server_options!`](crate::server_options) writes the methods of the builder.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerOptions {
    /// The largest number of connections, at least 1.
    pub max_connections: u32,
    /// Whether threads that append at once share a statement and a commit.
    pub group: bool,
    /// How long to wait for a connection.
    pub pool_timeout: Duration,
    /// Whether a missing or an older schema is migrated.
    pub migrate_on_open: bool,
    /// Whether the checksums of events and snapshots are verified when they are read.
    pub verify_on_read: bool,
    /// The limits of events and snapshots.
    pub limits: Limits,
    /// Whether the store reads from a replica.
    pub read_replica: bool,
    /// The interval at which the high-water mark is published; none if it is not published.
    pub publish_mark: Option<Duration>,
}

impl ServerOptions {
    /// The rules for events and snapshots.
    #[must_use]
    pub fn data_rules(&self) -> DataRules {
        DataRules::new(self.limits, self.verify_on_read)
    }

    /// Refuses to write in a store that reads from a replica, before anything is sent.
    ///
    /// # Errors
    ///
    /// [`ReadOnly`](ErrorKind::ReadOnly).
    pub fn require_writable(&self) -> Result<()> {
        match self.read_replica {
            true => Err(Error::new(ErrorKind::ReadOnly)),
            false => Ok(()),
        }
    }

    /// Starts the thread that publishes the mark, if the store is to publish it. See [`Publisher::start`].
    ///
    /// # Errors
    ///
    /// Those of [`Publisher::start`].
    pub fn publisher(
        &self,
        publish: impl FnMut() -> Result<GlobalSequence> + Send + 'static,
    ) -> Result<Option<Arc<Publisher>>> {
        let start = |interval| Publisher::start(interval, publish).map(Arc::new);
        self.publish_mark.map(start).transpose()
    }

    /// Refuses options that exclude each other.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput).
    pub fn check(&self) -> Result<()> {
        if self.read_replica && (self.migrate_on_open || self.publish_mark.is_some()) {
            return Err(Error::invalid(
                "a store for reading from a replica neither migrates nor publishes a mark: do both on the primary",
            ));
        }
        Ok(())
    }
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            max_connections: 10,
            group: true,
            pool_timeout: Duration::from_secs(10),
            migrate_on_open: false,
            verify_on_read: false,
            limits: Limits::PORTABLE,
            read_replica: false,
            publish_mark: None,
        }
    }
}

/// Writes the builder methods that are the same for every server. The builder needs the fields `options.server`, which are
/// [`ServerOptions`](crate::backend::ServerOptions), and `options.choices.indexes`. For authors of backends.
#[doc(hidden)]
#[macro_export]
macro_rules! server_options {
    ($Builder:ident) => {
        impl $Builder {
            /// Sets the largest number of connections, at least 1; 10 unless set. Each is opened when it is first needed.
            pub fn max_connections(mut self, connections: u32) -> Self {
                self.options.server.max_connections = connections.max(1);
                self
            }

            /// Sets whether threads that append at once share a statement and a commit (group commit); on unless set.
            ///
            /// Up to four threads, on MySQL up to two, append at once, each on a connection of its own. If there are more, one thread
            /// appends for all waiting ones, up to 256 events and 1 MiB in one statement. On MySQL, two such threads take turns if there
            /// are three or four. Before a thread appends for others, it waits for as many appends as there were recently, but only for a
            /// quarter of the time that a group takes, and at most for 1 ms. The other threads hold no connection while they wait.
            ///
            /// Each append gets the answer that it would get alone. If one append of the group is refused, or the connection is lost, the
            /// appends without an answer are repeated, each alone, which takes one more round trip. No append waits for a group longer than
            /// 50 ms.
            ///
            /// Only a call with one aggregate, and within these limits, joins a group. `transaction` and `append_within` never do.
            pub fn group(mut self, group: bool) -> Self {
                self.options.server.group = group;
                self
            }

            /// Sets how long a call waits for a connection; 10 seconds unless set.
            pub fn pool_timeout(mut self, timeout: ::std::time::Duration) -> Self {
                self.options.server.pool_timeout = timeout;
                self
            }

            /// Sets the interval at which the store publishes the high-water mark, for stores that [read from replicas](Self::read_replica); off unless set.
            ///
            /// A thread of the store publishes, whether there are readers or not. It ends when the last clone of the store is dropped; the
            /// drop waits for a running publication. A failed publication is tried again after the interval. One publishing store is
            /// enough; several do no harm. Each publication uses a connection of the pool and writes one row.
            pub fn publish_mark(mut self, interval: ::std::time::Duration) -> Self {
                self.options.server.publish_mark = Some(interval);
                self
            }

            /// Sets whether [`open`](Self::open) migrates a missing or an older schema; off unless set: then opening fails.
            pub fn migrate_on_open(mut self, migrate: bool) -> Self {
                self.options.server.migrate_on_open = migrate;
                self
            }

            /// Sets the indexes that [`migrate`](Self::migrate) creates and keeps, and also [`open`](Self::open) with
            /// [`migrate_on_open`](Self::migrate_on_open). Unless set, a new store gets
            /// [`Indexes::Standard`](firefly_eventstore_core::Indexes::Standard), and an existing one keeps its indexes.
            pub fn indexes(mut self, indexes: $crate::Indexes) -> Self {
                self.options.choices.indexes = Some(indexes);
                self
            }

            /// Sets whether the checksum of every event and snapshot is verified when it is read; off unless set.
            ///
            /// This costs a SHA-256 of the canonical JSON of each. Data that does not match its checksum is an
            /// [`Integrity`](firefly_eventstore_core::ErrorKind::Integrity) error, and so is data without one, which another program wrote.
            pub fn verify_on_read(mut self, verify: bool) -> Self {
                self.options.server.verify_on_read = verify;
                self
            }
        }
    };
}
