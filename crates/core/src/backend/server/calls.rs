//! A store on a server: the parts of its calls that are the same on every server.

use r2d2::PooledConnection;

use super::connection::{Connector, ServerConnection};
use super::line::{Group, Line};
use super::options::ServerOptions;
use crate::backend::append::{check, describe};
use crate::backend::pool::Pool;
use crate::backend::within::Within;
use crate::backend::work::WorkTransaction;
use crate::consumer::Wake;
use crate::{Append, Appended, Error, Result};

/// The state of a store on a server that its threads share.
#[derive(Debug)]
pub struct ServerCalls<C: ServerConnection> {
    /// How the store was opened.
    pub options: ServerOptions,
    /// Records which threads are within its transactions.
    pub within: Within,
    /// Wakes threads that wait for events.
    pub wake: Wake,
    line: Line,
    connections: Pool<Connector<C>>,
}

impl<C: ServerConnection> ServerCalls<C> {
    /// A store at a location, whose threads that append at once wait in this line.
    #[must_use]
    pub fn new(location: C::Location, options: ServerOptions, line: Line) -> Self {
        Self {
            connections: Pool::new(Connector::new(location), options.max_connections, options.pool_timeout),
            options,
            within: Within::new(),
            wake: Wake::default(),
            line,
        }
    }

    /// A connection that leads to the store.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) within a transaction of the store; those of [`Pool::get`] and of
    /// [`ServerConnection::check`].
    pub fn connection(&self) -> Result<PooledConnection<Connector<C>>> {
        self.within.check_outside()?;
        let mut connection = self.connections.get()?;
        connection.check()?;
        Ok(connection)
    }

    /// Runs `work`, whose statements may be repeated: again after an error that [is harmless](ServerConnection::is_harmless), and on a new
    /// connection if one was lost. `is_lost` says whether it is after an error, and then gives it up. There is a third connection only if the
    /// second one's error is not retryable: the log was converted, or another server has become the primary, while the first one was lost.
    ///
    /// # Errors
    ///
    /// Those of `work` and of [`connection`](Self::connection).
    pub fn with<R>(
        &self,
        is_lost: impl Fn(&mut C, &Error) -> bool,
        mut work: impl FnMut(&mut C) -> Result<R>,
    ) -> Result<R> {
        let mut renewed = 0;
        loop {
            let mut connection = self.connection()?;
            let mut result = work(&mut connection);
            for _ in 0..C::MOST_REPETITIONS {
                if !result.as_ref().is_err_and(C::is_harmless) {
                    break;
                }
                result = work(&mut connection);
            }
            let is_over = |error: &Error| renewed == 2 || (renewed == 1 && error.is_retryable());
            match &result {
                Err(error) if is_lost(&mut connection, error) && !is_over(error) => renewed += 1,
                _ => return result,
            }
        }
    }

    /// [`EventStore::append_all`](crate::EventStore::append_all). `alone` appends this call's events, and `lead` those of a group, as for
    /// [`Line::append_all`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn append_all(
        &self,
        appends: &[Append<'_>],
        alone: impl FnOnce() -> Result<Vec<Appended>>,
        lead: impl FnOnce(&mut Group<'_>) -> Result<Vec<Option<Appended>>>,
    ) -> Result<Vec<Appended>> {
        let named = |error: Error| error.during(describe(appends));
        self.options.require_writable().map_err(named)?;
        check(appends, &self.options.limits)?;
        // A member of a group has no connection of its own, that could refuse this.
        self.within.check_outside().map_err(named)?;
        let results = match self.options.group {
            true => self.line.append_all(appends, alone, lead),
            false => alone(),
        };
        let results = results.map_err(named)?;
        self.wake.tell();
        Ok(results)
    }

    /// Runs the caller's work in a transaction that has begun. Commits if the work and every append in it succeeded, and then wakes the
    /// threads that wait for events. Rolls back otherwise.
    ///
    /// # Errors
    ///
    /// As [`Work::outcome`](crate::backend::Work::outcome), and those of the commit.
    pub fn run<T: ServerTransaction, R, E: From<Error>>(
        &self,
        mut transaction: T,
        work: impl FnOnce(&mut T) -> Result<R, E>,
    ) -> Result<R, E> {
        let result = match transaction.run_work(&self.within, work) {
            Ok(result) => result,
            Err(error) => {
                transaction.roll_back();
                return Err(error);
            }
        };
        let has_appended = transaction.work().has_appended();
        transaction.commit().map_err(|error| error.during("commit"))?;
        if has_appended {
            self.wake.tell();
        }
        Ok(result)
    }
}

/// A transaction of a store on a server: how it ends.
pub trait ServerTransaction: WorkTransaction {
    /// Commits. Fails if the transaction has ended before.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn commit(self) -> Result<()>;

    /// Rolls back. If that fails, the connection must not be used again: the server then rolls back by itself.
    fn roll_back(self);
}
