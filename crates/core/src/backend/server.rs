//! A store on a server: the parts of its calls that are the same on every server.

use super::append::{check, describe};
use super::line::{Group, Line};
use super::options::ServerOptions;
use super::within::Within;
use crate::consumer::Wake;
use crate::{Append, Appended, Error, ErrorKind, Result};

/// The state of a store on a server that its threads share.
pub trait ServerStore {
    /// How the store was opened.
    fn options(&self) -> &ServerOptions;

    /// Records which threads are within its transactions.
    fn within(&self) -> &Within;

    /// The queue of threads that append at the same time.
    fn line(&self) -> &Line;

    /// Wakes threads that wait for events.
    fn wake(&self) -> &Wake;

    /// Refuses writes in a store that reads from a replica, before anything is sent.
    ///
    /// # Errors
    ///
    /// [`ReadOnly`](ErrorKind::ReadOnly).
    fn require_writable(&self) -> Result<()> {
        match self.options().read_replica {
            true => Err(Error::new(ErrorKind::ReadOnly)),
            false => Ok(()),
        }
    }

    /// [`EventStore::append_all`](crate::EventStore::append_all). `alone` appends this call's events, and `lead` those of a group, as for
    /// [`Line::append_all`].
    ///
    /// # Errors
    ///
    /// As there.
    fn append_all(
        &self,
        appends: &[Append<'_>],
        alone: impl FnOnce() -> Result<Vec<Appended>>,
        lead: impl FnOnce(&mut Group<'_>) -> Result<Vec<Option<Appended>>>,
    ) -> Result<Vec<Appended>> {
        let named = |error: Error| error.during(describe(appends));
        self.require_writable().map_err(named)?;
        check(appends, &self.options().limits)?;
        // A member of a group has no connection of its own that could refuse this.
        self.within().check_outside().map_err(named)?;
        let results = match self.options().group {
            true => self.line().append_all(appends, alone, lead),
            false => alone(),
        };
        let results = results.map_err(named)?;
        self.wake().tell();
        Ok(results)
    }
}
