//! Connections to a server: what a pool needs of them, and which of them are lost.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use r2d2::ManageConnection;

use crate::backend::kinds::unavailable;
use crate::{Error, Result};

/// A connection to a server.
pub trait ServerConnection: Sized + Send + 'static {
    /// Where it leads.
    type Location: Clone + Send + Sync + 'static;

    /// How often work is repeated on the same connection after an error that is harmless.
    const MOST_REPETITIONS: usize;

    /// Whether work that failed with this error may be repeated on the same connection: nothing of it was done.
    fn is_harmless(error: &Error) -> bool;

    /// Makes a connection.
    ///
    /// # Errors
    ///
    /// Those of the server.
    fn connect(location: &Self::Location) -> Result<Self>;

    /// Its age.
    fn generation(&mut self) -> &mut Generation;

    /// Whether it was lost, as far as that is known without asking the server.
    fn is_lost(&mut self) -> bool {
        self.generation().is_over()
    }

    /// Whether it is not to be used again.
    fn is_spoiled(&mut self) -> bool {
        self.is_lost()
    }

    /// Refuses a connection that does not lead to the store.
    ///
    /// # Errors
    ///
    /// [`Moved`](crate::ErrorKind::Moved), and those of the server.
    fn check(&mut self) -> Result<()> {
        Ok(())
    }
}

/// The generation of a connection. If one connection is lost, all of its generation count as lost.
#[derive(Clone, Debug, Default)]
pub struct Generation {
    own: u64,
    oldest: Arc<AtomicU64>,
}

impl Generation {
    /// From now on, this connection and all of its generation count as lost.
    pub fn retire(&self) {
        self.oldest.fetch_max(self.own + 1, Ordering::AcqRel);
    }

    /// Whether this connection was given up.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.own < self.oldest.load(Ordering::Acquire)
    }
}

/// Makes the connections of a pool. It asks no server whether one still works: a lost connection is found out by use.
pub struct Connector<C: ServerConnection> {
    location: C::Location,
    /// The oldest generation that is not lost.
    oldest: Arc<AtomicU64>,
}

impl<C: ServerConnection> Connector<C> {
    /// Makes connections to a server.
    #[must_use]
    pub fn new(location: C::Location) -> Self {
        Self {
            location,
            oldest: Arc::default(),
        }
    }
}

impl<C: ServerConnection> Clone for Connector<C> {
    fn clone(&self) -> Self {
        Self {
            location: self.location.clone(),
            oldest: Arc::clone(&self.oldest),
        }
    }
}

impl<C: ServerConnection> fmt::Debug for Connector<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

impl<C: ServerConnection> ManageConnection for Connector<C> {
    type Connection = C;
    type Error = Error;

    fn connect(&self) -> Result<C> {
        // Before: a connection that is made while others are given up is given up, too.
        let own = self.oldest.load(Ordering::Acquire);
        let mut connection = C::connect(&self.location)?;
        *connection.generation() = Generation {
            own,
            oldest: Arc::clone(&self.oldest),
        };
        Ok(connection)
    }

    fn is_valid(&self, connection: &mut C) -> Result<()> {
        match connection.is_lost() {
            true => Err(Error::new(unavailable("the connection was lost"))),
            false => Ok(()),
        }
    }

    fn has_broken(&self, connection: &mut C) -> bool {
        connection.is_spoiled()
    }
}
