//! A database of a test's own.

use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use ::postgres::{Client, NoTls};

/// A database that is dropped with this, whoever is still connected to it.
#[derive(Debug)]
pub struct Database {
    name: String,
    url: String,
    maintenance: String,
}

impl Database {
    /// Creates a database on the server; `url` is that of one of its databases.
    pub(crate) fn new(url: impl Fn(&str) -> String) -> Self {
        let name = unique("firefly");
        let database = Self {
            url: url(&name),
            maintenance: url("postgres"),
            name,
        };
        // Of template0, so that neither what others put into template1 nor who is connected to it matters.
        database
            .maintain(&format!(
                "CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'",
                database.name
            ))
            .unwrap_or_else(|error| panic!("no database can be created: {error:?}"));
        database
    }

    /// How to connect to it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn maintain(&self, statement: &str) -> Result<(), ::postgres::Error> {
        Client::connect(&self.maintenance, NoTls)?.batch_execute(statement)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // The server may be gone, and then so is the database.
        let _ = self.maintain(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
    }
}

/// A name that no other test uses, of this process or of another on the same server.
fn unique(prefix: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{prefix}_{}_{:x}_{next}", process::id(), now.as_micros())
}
