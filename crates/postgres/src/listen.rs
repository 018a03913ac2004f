//! Waiting for appends: PostgreSQL's notifications.

use std::fmt;
use std::time::Duration;

use firefly_eventstore_core::consumer::Appends;
use firefly_eventstore_core::{Error, Result};
use postgres::fallible_iterator::FallibleIterator;

use crate::error::classify;
use crate::pool::{Connection, Location, quoted};
use crate::row::get;
use crate::sql;

/// Wakes a follower of the log after an append: see [`PostgresEventStore::listen`](crate::PostgresEventStore::listen).
pub struct Listener {
    location: Location,
    connection: Option<Connection>,
}

impl Listener {
    pub(crate) fn new(location: Location) -> Result<Self> {
        let connection = Some(listening(&location)?);
        Ok(Self { location, connection })
    }

    /// Waits for an append since the last call, or since the listener was made, but not longer than `timeout`. Returns whether to read the
    /// log.
    ///
    /// No round trip. A lost connection is replaced. Notifications may have been missed then, so the call returns true.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](firefly_eventstore_core::ErrorKind::Unavailable) if the connection is lost and a new one cannot be made. Call again
    /// later.
    pub fn wait(&mut self, timeout: Duration) -> Result<bool> {
        let Some(connection) = &mut self.connection else {
            self.connection = Some(listening(&self.location)?);
            return Ok(true);
        };
        let mut notifications = connection.client.notifications();
        let waited = notifications.timeout_iter(timeout).next();
        // One read of the log covers all notifications so far.
        let rest = notifications.iter().count();
        drop(notifications);
        let lost = waited.is_err() || rest.is_err() || connection.client.is_closed();
        if lost {
            self.connection = None;
            return self.wait(timeout);
        }
        Ok(waited.is_ok_and(|notification| notification.is_some()))
    }
}

impl Appends for Listener {
    fn wait(&mut self, longest: Duration) -> Result<bool> {
        Self::wait(self, longest)
    }
}

fn listening(location: &Location) -> Result<Connection> {
    let mut connection = location.open()?;
    connection.check_place()?;
    let channels: Vec<String> = connection.session().select(sql::CHANNEL, &[], |row| get(row, 0))?;
    let Some(channel) = channels.first() else {
        return Err(Error::invalid(
            "appends do not notify; turn it on with PostgresBuilder::notify(true) and migrate()",
        ));
    };
    let listen = format!("LISTEN {}", quoted(channel));
    connection.client.batch_execute(&listen).map_err(classify)?;
    Ok(connection)
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("location", &self.location)
            .finish_non_exhaustive()
    }
}
