//! Pools of connections, which are made when they are first needed, and kept.

use std::fmt;
use std::time::Duration;

use r2d2::{ManageConnection, NopErrorHandler, PooledConnection};

use crate::{Error, ErrorKind, Result};

/// A pool of connections.
pub struct Pool<M: ManageConnection<Error = Error>> {
    pool: r2d2::Pool<M>,
    manager: M,
}

impl<M: ManageConnection<Error = Error> + Clone> Pool<M> {
    /// A pool of at most `most` connections. A call waits for one until `timeout`.
    #[must_use]
    pub fn new(manager: M, most: u32, timeout: Duration) -> Self {
        let pool = r2d2::Pool::builder()
            .max_size(most)
            .min_idle(Some(0))
            .test_on_check_out(true)
            .idle_timeout(None)
            .max_lifetime(None)
            .connection_timeout(timeout.max(Duration::from_millis(1)))
            .error_handler(Box::new(NopErrorHandler))
            .build_unchecked(manager.clone());
        Self { pool, manager }
    }

    /// A connection.
    ///
    /// # Errors
    ///
    /// [`PoolTimeout`](ErrorKind::PoolTimeout) if all are in use for too long; why none can be made.
    pub fn get(&self) -> Result<PooledConnection<M>> {
        self.pool.get().map_err(|error| {
            let made = match self.pool.state().connections {
                0 => self.manager.connect().err(),
                _ => None,
            };
            made.unwrap_or_else(|| Error::new(ErrorKind::PoolTimeout).with_source(error))
        })
    }

    /// How many connections there may be.
    #[must_use]
    pub fn max_size(&self) -> u32 {
        self.pool.max_size()
    }
}

impl<M: ManageConnection<Error = Error>> fmt::Debug for Pool<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("connections", &self.pool.state().connections)
            .finish_non_exhaustive()
    }
}
