//! A database for one test.

use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use ::mysql::prelude::Queryable;
use ::postgres::{Client, NoTls};

/// A database. Dropping this drops it, even if clients are still connected.
#[derive(Debug)]
pub struct Database {
    name: String,
    url: String,
    maintenance: Maintenance,
}

/// The URL of another database, for creating and dropping this one.
#[derive(Debug)]
enum Maintenance {
    Postgres(String),
    Mysql(String),
}

impl Database {
    /// Creates a database on a PostgreSQL server. `url` returns the URL of one of the server's databases.
    pub(crate) fn postgres(url: impl Fn(&str) -> String) -> Self {
        Self::new(&url, Maintenance::Postgres(url("postgres")))
    }

    /// Creates a database on a MySQL or MariaDB server. `url` returns the URL of one of the server's databases.
    pub(crate) fn mysql(url: impl Fn(&str) -> String) -> Self {
        Self::new(&url, Maintenance::Mysql(url("mysql")))
    }

    fn new(url: impl Fn(&str) -> String, maintenance: Maintenance) -> Self {
        let name = unique("firefly");
        maintenance
            .create(&name)
            .unwrap_or_else(|error| panic!("no database can be created: {error}"));
        Self {
            url: url(&name),
            maintenance,
            name,
        }
    }

    /// The URL of the database.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // If the server is gone, so is the database.
        let _ = self.maintenance.drop(&self.name);
    }
}

impl Maintenance {
    fn create(&self, name: &str) -> Result<(), String> {
        match self {
            // A copy of template0, because template1 may have other objects and other connections.
            Self::Postgres(url) => postgres(
                url,
                &format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'"),
            )
            .map_err(|error| format!("{error:?}")),
            // With the server's default character set, which is latin1 on some: a schema must ask for what it needs.
            Self::Mysql(url) => ::mysql::Conn::new(url.as_str())
                .and_then(|mut server| server.query_drop(format!("CREATE DATABASE {name}")))
                .map_err(|error| error.to_string()),
        }
    }

    fn drop(&self, name: &str) -> Result<(), String> {
        match self {
            Self::Postgres(url) => postgres(url, &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
                .map_err(|error| format!("{error:?}")),
            Self::Mysql(url) => drop_mysql(url, name).map_err(|error| error.to_string()),
        }
    }
}

fn postgres(url: &str, statement: &str) -> Result<(), ::postgres::Error> {
    Client::connect(url, NoTls)?.batch_execute(statement)
}

/// Drops a database even if open transactions hold its tables: first ends their connections.
fn drop_mysql(url: &str, name: &str) -> Result<(), ::mysql::Error> {
    const TRIES: usize = 10; // a pool may connect anew in between

    let mut server = ::mysql::Conn::new(url)?;
    server.query_drop("SET SESSION lock_wait_timeout = 1")?;
    let mut dropped = Ok(());
    for _ in 0..TRIES {
        for mut row in server.query::<::mysql::Row, _>("SHOW PROCESSLIST")? {
            let database: Option<String> = row.take("db").unwrap_or_default();
            // While MariaDB reads the triggers of a table for somebody, it tells the table's database instead of theirs.
            let is_idle = row.take::<String, _>("Command").as_deref() == Some("Sleep");
            if is_idle
                && database.as_deref() == Some(name)
                && let Some(id) = row.take::<u64, _>("Id")
            {
                let _ = server.query_drop(format!("KILL {id}")); // it may have ended by itself
            }
        }
        dropped = server.query_drop(format!("DROP DATABASE IF EXISTS {name}"));
        if dropped.is_ok() {
            break;
        }
    }
    dropped
}

/// A name that no other test uses, in this process or another one on the same server.
fn unique(prefix: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{prefix}_{}_{:x}_{next}", process::id(), now.as_micros())
}

/// The URL with another database. A URL parser would refuse PostgreSQL's URLs with several hosts.
pub(crate) fn with_database(url: &str, database: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return format!("{url} dbname={database}"); // PostgreSQL's other form, in which the last one counts
    };
    let (address, parameters) = match rest.split_once('?') {
        Some((address, parameters)) => (address, format!("?{parameters}")),
        None => (rest, String::new()),
    };
    let server = address.split_once('/').map_or(address, |(server, _)| server);
    format!("{scheme}://{server}/{database}{parameters}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_can_be_that_of_another_database() {
        for (url, other) in [
            (
                "postgresql://me:secret@host:5433/db?sslmode=disable",
                "postgresql://me:secret@host:5433/new?sslmode=disable",
            ),
            ("postgres://host", "postgres://host/new"),
            ("postgres://host?user=me", "postgres://host/new?user=me"),
            (
                "mysql://me@localhost/db?socket=%2Ftmp%2Fsocket",
                "mysql://me@localhost/new?socket=%2Ftmp%2Fsocket",
            ),
            ("host=/tmp user=me dbname=db", "host=/tmp user=me dbname=db dbname=new"),
        ] {
            assert_eq!(with_database(url, "new"), other);
        }
    }
}
