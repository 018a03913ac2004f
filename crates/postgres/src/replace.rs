//! Partitions that another table replaces: what detaching and joining share. Converting waits for older snapshots, too.

use std::thread;
use std::time::{Duration, Instant};

use firefly_eventstore_core::backend::kinds;
use firefly_eventstore_core::{Error, Result};
use postgres::{Client, Transaction};

use crate::error::classify;
use crate::lock::{self, BRIEFLY, is_locked};
use crate::pool::{Connection, Location};
use crate::row::{decode, get};
use crate::session::run;
use crate::sql;

/// The scripts of the steps.
const FREEZE: &str = include_str!("../sql/partitions/freeze_partitions.sql");
const RELEASE: &str = include_str!("../sql/partitions/release_partitions.sql");
const REPLACE: &str = include_str!("../sql/partitions/replace_partitions.sql");

/// How long to wait for older snapshots. Those that last longer, such as a dump's, may last for hours.
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// The pause between two looks whether older snapshots are gone.
const PAUSE: Duration = Duration::from_millis(100);

/// Adjacent partitions: those that end after the first of these sequences, and not after the second one.
#[derive(Clone, Copy)]
pub(crate) struct Adjacent {
    pub(crate) from: i64,
    pub(crate) until: i64,
}

impl Adjacent {
    /// Refuses changes of their events from now on.
    pub(crate) fn freeze(self, client: &mut Client) -> Result<()> {
        lock::patiently(client, |transaction| {
            run(transaction, BRIEFLY)?;
            run(transaction, &self.fill(FREEZE))
        })
    }

    /// Allows changes of their events again.
    pub(crate) fn release(self, transaction: &mut Transaction<'_>) -> Result<()> {
        run(transaction, &self.fill(RELEASE))
    }

    /// Puts another table in their place, and records that with the statement `note`, in the same transaction. Returns false if transactions
    /// of others prevent it for too long.
    pub(crate) fn replace(self, client: &mut Client, table: &str, note: &str) -> Result<bool> {
        let replace = self.fill(REPLACE).replace("$3", table);
        let replaced = lock::patiently(client, |transaction| {
            run(transaction, &replace)?;
            run(transaction, note)
        });
        match replaced {
            Err(error) if is_locked(&error) => Ok(false),
            replaced => replaced.map(|()| true),
        }
    }

    /// A script for these partitions.
    fn fill(self, script: &str) -> String {
        script
            .replace("$1", &self.from.to_string())
            .replace("$2", &self.until.to_string())
    }
}

/// A connection with the lock against others that change partitions; `None` if another process has it.
pub(crate) fn try_locked(location: &Location) -> Result<Option<Connection>> {
    let mut connection = location.open()?;
    connection.check_place()?;
    // A statement about many events may take longer than the server allows for the statements of programs.
    run(&mut connection.client, "SET statement_timeout = 0")?;
    let is_locked = try_lock(&mut connection)?;
    Ok(is_locked.then_some(connection))
}

/// Takes the lock against others that change partitions. Returns false if another process has it.
pub(crate) fn try_lock(connection: &mut Connection) -> Result<bool> {
    let locked = connection
        .session()
        .select(sql::LOCK_CONVERSION, &[], |row| get::<bool>(row, 0))?;
    Ok(locked == [true])
}

/// As [`try_locked`], but fails if another process has the lock.
pub(crate) fn locked(location: &Location) -> Result<Connection> {
    try_locked(location)?.ok_or_else(|| {
        Error::new(kinds::unavailable(
            "another process archives, joins partitions or converts the log: let it finish",
        ))
    })
}

/// Waits until no transaction uses a snapshot that was taken before this call. Returns false if that takes too long.
pub(crate) fn wait_for_snapshots(client: &mut Client) -> Result<bool> {
    run(client, "INSERT INTO firefly_horizon (id) VALUES (1)")?;
    run(client, "DELETE FROM firefly_horizon")?;
    let waiting = Instant::now();
    loop {
        run(client, "VACUUM (TRUNCATE true) firefly_horizon")?;
        let size = client.query("SELECT pg_relation_size('firefly_horizon')", &[]);
        if decode(&size.map_err(classify)?, |row| get::<i64>(row, 0))? == [0] {
            return Ok(true);
        }
        if waiting.elapsed() > LONGEST_WAIT {
            return Ok(false);
        }
        thread::sleep(PAUSE);
    }
}

/// Drops the tables that were partitions.
pub(crate) fn drop_left(connection: &mut Connection) -> Result<()> {
    let tables = connection
        .session()
        .select(sql::LEFT_TABLES, &[], |row| get::<String>(row, 0))?;
    for table in tables {
        lock::patiently(&mut connection.client, |transaction| {
            run(transaction, BRIEFLY)?;
            run(transaction, &format!("DROP TABLE {table}"))
        })?;
    }
    Ok(())
}
