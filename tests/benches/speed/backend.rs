//! What a case needs from a database: our schema or a lean one, the raw driver on it, and the store.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use firefly_eventstore_core::AggregateKey;
use firefly_eventstore_core::operate::Operations;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::events::Sample;

/// A kind of database, with its settings.
pub(crate) trait Backend {
    /// Its name in the names of cases.
    fn name(&self) -> &'static str;

    /// A new database.
    fn database(&self, schema: Schema) -> Box<dyn Database>;

    /// The store's target for appends of one event by this many threads, as a ratio to the raw driver.
    fn append_target(&self, _threads: usize) -> f64 {
        0.9
    }

    /// The same target, against the raw driver with only the unique keys; none if there is no such target.
    fn lean_target(&self, _threads: usize) -> Option<f64> {
        None
    }

    /// Whether several transactions that have appended may be open at once.
    fn has_many_writers(&self) -> bool {
        true
    }

    /// Writes the events of a database into a file with the database's own tool, reads them from there into an empty database, and checks
    /// the database with its own tool.
    fn own_dump(&self, database: &str, file: &Path);
    fn own_restore(&self, file: &Path, database: &str);
    fn own_check(&self, database: &str);

    /// How many events are appended in one commit.
    fn batches(&self) -> &'static [usize] {
        &[100]
    }
}

/// The tables of a database.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Schema {
    /// Our columns without the additions of our schema. The three unique keys stay, because no event store can do without them.
    Lean,
    /// The store's own, with the indexes that a new store has.
    Ours,
    /// The store's own, with every index of the source document.
    OursWithAllIndexes,
    /// The store's own, with none but the unique keys.
    OursWithoutIndexes,
    /// No tables: the peer creates its own.
    Empty,
}

/// A database. Dropping this removes it.
pub(crate) trait Database {
    /// A connection of the raw driver's.
    fn raw(&self) -> Box<dyn Raw>;

    /// A connection that appends with the database's bulk protocol, if there is one.
    fn bulk(&self) -> Option<Box<dyn Raw>> {
        None
    }

    /// The store.
    fn store(&self) -> Arc<dyn Operations>;

    /// A store that uses one statement for each append, if that can be chosen.
    fn ungrouped_store(&self) -> Option<Arc<dyn Operations>> {
        None
    }

    /// Its name for the database's own tools.
    fn name(&self) -> String;

    /// Creates the table of a read model, and the table for the position of the projection by hand.
    fn make_read_model(&self);

    /// A function that builds the read model with a projection of a given name, from the start of the log, and returns the number of
    /// events.
    fn projector(&self) -> Projector;

    /// How many statements the server has executed; none if it does not count them.
    fn statements(&self) -> Option<u64> {
        None
    }
}

/// How the events of a commit change a read model, which counts the events of each aggregate.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Applied {
    OneByOne,
    Together,
}

/// See [`Database::projector`].
pub(crate) type Projector = Box<dyn Fn(&str, Applied) -> u64>;

/// How many events a projection applies in a commit.
pub(crate) const PROJECTED: i64 = 500;

/// The number of events of each aggregate.
pub(crate) fn counted(aggregates: impl Iterator<Item = Uuid>) -> Vec<(Uuid, i64)> {
    let mut counts = BTreeMap::new();
    for aggregate in aggregates {
        *counts.entry(aggregate).or_default() += 1;
    }
    counts.into_iter().collect()
}

/// The raw driver, doing what the store does.
pub(crate) trait Raw: Send {
    /// Inserts events after the aggregate's current version with a prepared statement, in one commit, with every column that the store
    /// writes.
    fn append(&mut self, common: &Common<'_>, events: &[&Sample]);

    /// Loads the stream of an aggregate, decodes every column, and returns the number of events.
    fn load(&mut self, aggregate_id: Uuid) -> usize;

    /// Reads a page of the events of one type, and returns their number.
    fn page_of_type(&mut self, event_type: &str, after: i64, rows: i64) -> usize;

    /// Reads the first events of the log in one statement, row by row, and returns their number.
    fn scan(&mut self, events: i64) -> usize;

    /// Reads a page of the log, decodes its events completely, and returns their sequences and aggregates.
    fn page(&mut self, after: i64, until: i64, rows: i64) -> Vec<(i64, Uuid)>;

    /// The greatest visible sequence.
    fn last_sequence(&mut self) -> i64;

    /// Records under this name that the read model is empty.
    fn begin_read_model(&mut self, name: &str);

    /// Does the same as a projection's commit: locks the checkpoint, applies events to the read model, and moves the checkpoint.
    fn apply(&mut self, name: &str, aggregates: &[Uuid], how: Applied, to: i64);
}

/// The common values of one append's events. Text is prepared for drivers that need text.
pub(crate) struct Common<'a> {
    pub(crate) aggregate: &'a Aggregate,
    pub(crate) correlation_id: &'a str,
    pub(crate) now: &'a Now,
}

/// An aggregate that is appended to.
pub(crate) struct Aggregate {
    pub(crate) key: AggregateKey,
    pub(crate) id_text: String,
    pub(crate) version: i64,
}

impl Aggregate {
    pub(crate) fn new(key: AggregateKey) -> Self {
        Self {
            id_text: key.id().to_string(),
            key,
            version: 0,
        }
    }
}

/// A time, and its text for a text column.
pub(crate) struct Now {
    pub(crate) time: OffsetDateTime,
    pub(crate) text: String,
}

impl Now {
    pub(crate) fn new() -> Self {
        let format =
            time::macros::format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");
        let time = OffsetDateTime::now_utc();
        let text = time.format(format).unwrap();
        Self { time, text }
    }
}

/// As [`Raw::scan`], but in pages. Between them, others could use the connection.
pub(crate) fn scan_in_pages(raw: &mut dyn Raw, events: i64, rows: i64) -> usize {
    let mut after = 0;
    let mut count = 0;
    while after < events {
        let page = raw.page(after, events, rows);
        after = page.last().map_or(events, |(sequence, _)| *sequence);
        count += page.len();
    }
    count
}
