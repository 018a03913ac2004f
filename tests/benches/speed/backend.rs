//! What a case needs of a database: our schema or a lean one, the raw driver on it, and the store.

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
    /// As it is called in a case's name.
    fn name(&self) -> &'static str;

    /// A new database.
    fn database(&self, schema: Schema) -> Box<dyn Database>;

    /// What the store is to reach of the raw driver's appends of one event, by so many threads.
    fn append_target(&self, _threads: usize) -> f64 {
        0.9
    }

    /// The same beside the raw driver on the unique keys alone, if there is such a target.
    fn lean_target(&self, _threads: usize) -> Option<f64> {
        None
    }

    /// Whether several transactions may be open at once that have appended.
    fn has_many_writers(&self) -> bool {
        true
    }

    /// The database's own way to write the events of a database into a file, and to bring them from there into one without any; and
    /// to check what it has of them.
    fn own_dump(&self, database: &str, file: &Path);
    fn own_restore(&self, file: &Path, database: &str);
    fn own_check(&self, database: &str);

    /// How many events are appended in one commit.
    fn batches(&self) -> &'static [usize] {
        &[100]
    }
}

/// Which tables a database has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Schema {
    /// Our columns without what our schema adds to them: the three unique keys are what no event store can do without.
    Lean,
    /// The store's own, with the indexes that a new store has.
    Ours,
    /// The store's own, with every index of the source document.
    OursWithAllIndexes,
    /// The store's own, with none but the unique keys.
    OursWithoutIndexes,
    /// No tables: whoever is to use it makes its own.
    Empty,
}

/// A database, which is gone when this is dropped.
pub(crate) trait Database {
    /// A connection of the raw driver's.
    fn raw(&self) -> Box<dyn Raw>;

    /// One that appends by what the database has for bulk, if it has that.
    fn bulk(&self) -> Option<Box<dyn Raw>> {
        None
    }

    /// The store.
    fn store(&self) -> Arc<dyn Operations>;

    /// A store each of whose appends is a statement of its own, where that can be chosen.
    fn ungrouped_store(&self) -> Option<Arc<dyn Operations>> {
        None
    }

    /// What the database's own tools call it.
    fn name(&self) -> String;

    /// Makes the table of a read model, and the one that keeps how far somebody who follows by hand has come.
    fn make_read_model(&self);

    /// What builds the read model by a projection of a name, from the start of the log, and returns how many events that were.
    fn projector(&self) -> Projector;

    /// How many statements the server was asked by now; none where it does not count.
    fn statements(&self) -> Option<u64> {
        None
    }
}

/// How the events of a commit get into a read model, which counts those of each aggregate.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Applied {
    OneByOne,
    Together,
}

/// See [`Database::projector`].
pub(crate) type Projector = Box<dyn Fn(&str, Applied) -> u64>;

/// How many events a projection applies in a commit.
pub(crate) const PROJECTED: i64 = 500;

/// How many there are of each aggregate.
pub(crate) fn counted(aggregates: impl Iterator<Item = Uuid>) -> Vec<(Uuid, i64)> {
    let mut counts = BTreeMap::new();
    for aggregate in aggregates {
        *counts.entry(aggregate).or_default() += 1;
    }
    counts.into_iter().collect()
}

/// The raw driver, doing what the store does.
pub(crate) trait Raw: Send {
    /// A prepared insert of everything that the store writes, in one commit, after the version the aggregate is at.
    fn append(&mut self, common: &Common<'_>, events: &[&Sample]);

    /// The stream of an aggregate, every column decoded, and how many events it has.
    fn load(&mut self, aggregate_id: Uuid) -> usize;

    /// A page of the events of one type, and how many they are.
    fn page_of_type(&mut self, event_type: &str, after: i64, rows: i64) -> usize;

    /// Reads the first events of the log in one statement, one after the other, and returns how many there were.
    fn scan(&mut self, events: i64) -> usize;

    /// A page of the log: the sequences of its events, which are decoded whole, and whose they are.
    fn page(&mut self, after: i64, until: i64, rows: i64) -> Vec<(i64, Uuid)>;

    /// The greatest sequence that can be seen.
    fn last_sequence(&mut self) -> i64;

    /// Says under this name that nothing is in the read model.
    fn begin_read_model(&mut self, name: &str);

    /// What a projection's commit does: locks the checkpoint, brings events into the read model, and moves the checkpoint.
    fn apply(&mut self, name: &str, aggregates: &[Uuid], how: Applied, to: i64);
}

/// What the events of one append have in common; text is ready where a driver wants text.
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

/// A time, and how a column of text has it.
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

/// As [`Raw::scan`], but in pages, between which the connection is free for others.
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
