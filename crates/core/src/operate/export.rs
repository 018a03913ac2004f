//! Export: writing the log into a file.

use std::fmt;
use std::io::Write;
use std::sync::Arc;

use super::LogDigest;
use super::digest::Rows;
use super::lines::{Footer, Header, LineWriter, event_line, not_written};
use super::progress::{Progress, Telling};
use crate::store::pipeline;
use crate::values::timestamp::time_text;
use crate::{EventEnvelope, EventFilter, EventQuery, EventStore, GlobalSequence, Result};

/// Writes the log, or a part of it, into a file: as JSON Lines, which lose nothing and can be [imported](super::Import), or as CSV for
/// other programs.
///
/// One thread reads, page by page, up to the high-water mark. As many threads as there are cores make the lines, and the calling thread
/// writes. About 16 MiB of events are in memory. Later events are in the next export, which continues [`after`](Self::after) the checkpoint
/// of this one. No event that was committed late is missed between the two.
#[derive(Clone, Debug, Default)]
pub struct Export {
    query: EventQuery,
    conditions: Vec<Condition>,
}

/// The caller's condition on each event that the query found.
#[derive(Clone)]
struct Condition(Arc<IsMeant>);

type IsMeant = dyn Fn(&EventEnvelope) -> Result<bool> + Send + Sync;

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Condition(..)")
    }
}

/// The result of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exported {
    /// How many events.
    pub events: u64,
    /// Where the next export continues: the smaller of the high-water mark and the query's `until`.
    pub checkpoint: GlobalSequence,
    /// The digest of the events.
    pub digest: LogDigest,
}

impl Export {
    /// An export of the whole log.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Exports the events that a query selects, in the order of the log. The query's own order and limit are ignored.
    ///
    /// A file that lacks events of an aggregate can be read by other programs, but not imported.
    #[must_use]
    pub fn of(query: EventQuery) -> Self {
        Self {
            query,
            ..Self::default()
        }
    }

    /// Leaves out the events for which `is_meant` returns false: a filter that a query cannot express, such as one on event data. After
    /// several such calls, an event must pass all of them.
    ///
    /// Every event that the query selects is read; `is_meant` is called in several threads. The header says that the file is filtered,
    /// as it does for a query with a filter, and the digest is that of the events in the file. An error of `is_meant` ends the export.
    ///
    /// ```
    /// use firefly_eventstore_core::operate::Export;
    /// use firefly_eventstore_core::prelude::*;
    ///
    /// let store = MemoryEventStore::new();
    /// let account = AggregateKey::new("Account", Uuid::now_v7())?;
    /// let deposited = |amount: u32| NewEvent::new("money.deposited", &serde_json::json!({ "amount": amount }));
    /// store.append(&account, ExpectedVersion::NoStream, &[deposited(10)?, deposited(250)?])?;
    ///
    /// let large = Export::new().matching(|event| {
    ///     let data: serde_json::Value = event.data()?;
    ///     Ok(data["amount"].as_u64() > Some(100))
    /// });
    /// assert_eq!(large.csv(&store, Vec::new(), |_| {})?.events, 1);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use]
    pub fn matching(mut self, is_meant: impl Fn(&EventEnvelope) -> Result<bool> + Send + Sync + 'static) -> Self {
        self.conditions.push(Condition(Arc::new(is_meant)));
        self
    }

    /// Exports only events after this sequence: the checkpoint of the previous export.
    #[must_use]
    pub fn after(mut self, sequence: impl Into<GlobalSequence>) -> Self {
        self.query = self.query.after(sequence);
        self
    }

    /// Writes JSON Lines: a header, a line per event with every column, and a closing line with count and digest.
    ///
    /// The names are those of the columns. NULL columns are left out. JSON that contains line breaks is written as a string, in
    /// `event_data_text` or `metadata_text`. Each line ends with its link of a chain of SHA-256, with which an import finds the first
    /// changed line. `out` is written page by page.
    ///
    /// # Errors
    ///
    /// [`Io`](crate::ErrorKind::Io) if `out` fails; [`Integrity`](crate::ErrorKind::Integrity) at an event whose data or metadata is no
    /// longer JSON: [`Audit`](super::Audit) finds all of them. Those of the store.
    pub fn json_lines(
        &self,
        store: &dyn EventStore,
        out: impl Write,
        progress: impl FnMut(Progress),
    ) -> Result<Exported> {
        let health = store.health()?;
        let query = self.query.clone().in_log_order();
        let (after, until) = query.bounds();
        let mark = health.high_water_mark;
        let mut lines = LineWriter::new(out);
        lines.header(&Header {
            filtered: *query.filter() != EventFilter::default()
                || query.skips_archived()
                || !self.conditions.is_empty(),
            ..Header::of(health, after, mark.min(until))
        })?;
        write_lines(store, query, mark, &mut lines, progress, self.choice())
    }

    /// Writes CSV (RFC 4180) with a header line and the columns of the table `events`. NULL is empty, and empty text is `""`, as in
    /// PostgreSQL's `COPY … WITH CSV`. Times are UTC. For other programs: it cannot be imported.
    ///
    /// # Errors
    ///
    /// As [`json_lines`](Self::json_lines).
    pub fn csv(&self, store: &dyn EventStore, mut out: impl Write, progress: impl FnMut(Progress)) -> Result<Exported> {
        out.write_all(CSV_HEADER.as_bytes()).map_err(not_written)?;
        let mark = store.high_water_mark()?;
        let query = self.query.clone().in_log_order();
        let exported = each(store, query, mark, progress, self.choice(), csv_line, |text, _, _| {
            out.write_all(&text).map_err(not_written)
        })?;
        out.flush().map_err(not_written)?;
        Ok(exported)
    }

    /// The condition on the events that the query selects; none if there is none.
    fn choice(&self) -> Option<impl Fn(&EventEnvelope) -> Result<bool> + Sync> {
        let is_meant = |event: &EventEnvelope| {
            for Condition(is_meant) in &self.conditions {
                if !is_meant(event)? {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        (!self.conditions.is_empty()).then_some(is_meant)
    }
}

/// Writes the lines of the events that a query selects, without those for which `is_meant` returns false, and the closing line.
pub(super) fn write_lines(
    store: &dyn EventStore,
    query: EventQuery,
    mark: GlobalSequence,
    lines: &mut LineWriter<impl Write>,
    progress: impl FnMut(Progress),
    is_meant: Option<impl Fn(&EventEnvelope) -> Result<bool> + Sync>,
) -> Result<Exported> {
    let (mut last_sequence, _) = query.bounds();
    let exported = each(
        store,
        query,
        mark,
        progress,
        is_meant,
        event_line,
        |text, ends, last| {
            last_sequence = last;
            lines.lines(text, ends)
        },
    )?;
    lines.footer(&Footer {
        events: exported.events,
        last_sequence,
        digest: exported.digest.to_string(),
    })?;
    Ok(exported)
}

/// Passes the lines of the events that a query selects to `write`, in their order: some lines, the end of each, and the sequence of the
/// last.
fn each(
    store: &dyn EventStore,
    query: EventQuery,
    mark: GlobalSequence,
    progress: impl FnMut(Progress),
    is_meant: Option<impl Fn(&EventEnvelope) -> Result<bool> + Sync>,
    line: impl Fn(&mut Vec<u8>, &EventEnvelope) + Sync,
    mut write: impl FnMut(Vec<u8>, &[usize], GlobalSequence) -> Result<()>,
) -> Result<Exported> {
    let mut telling = Telling::new(progress);
    let (after, until) = query.bounds();
    let end = mark.min(until);
    if *query.filter() == EventFilter::default() && is_meant.is_none() {
        telling.expect(Some(end.get().saturating_sub(after.get())));
    }
    let query = query.until(end);
    let mut digest = LogDigest::OF_NOTHING;
    let work = |mut events: Vec<EventEnvelope>| {
        if let Some(is_meant) = &is_meant {
            events = meant(events, is_meant)?;
        }
        Lines::of(&events, &line)
    };
    pipeline::read_in_order(store, query, work, |lines| {
        let Lines { rows, text, ends, last } = lines?;
        digest = digest.with_rows(&rows);
        if let Some(last) = last {
            write(text, &ends, last)?;
        }
        ends.iter().for_each(|_| telling.add(1));
        Ok(())
    })?;
    Ok(Exported {
        events: telling.finish(),
        checkpoint: end.max(after),
        digest,
    })
}

fn meant(events: Vec<EventEnvelope>, is_meant: impl Fn(&EventEnvelope) -> Result<bool>) -> Result<Vec<EventEnvelope>> {
    let judged = events.into_iter().map(|event| Ok((is_meant(&event)?, event)));
    let meant = judged.filter_map(|judged| judged.map(|(is_meant, event)| is_meant.then_some(event)).transpose());
    meant.collect()
}

/// The text and the hashes of a page of events.
struct Lines {
    rows: Rows,
    text: Vec<u8>,
    /// Where the line of each event ends.
    ends: Vec<usize>,
    /// The sequence of the last event.
    last: Option<GlobalSequence>,
}

impl Lines {
    fn of(events: &[EventEnvelope], line: impl Fn(&mut Vec<u8>, &EventEnvelope)) -> Result<Self> {
        let rows = Rows::of(events)?;
        let mut text = Vec::with_capacity(pipeline::bytes_of(events) as usize);
        let add = |event| {
            line(&mut text, event);
            text.len()
        };
        let ends = events.iter().map(add).collect();
        let last = events.last().map(|event| event.global_sequence);
        Ok(Self { rows, text, ends, last })
    }
}

const CSV_HEADER: &str = "event_id,aggregate_id,aggregate_type,aggregate_version,global_sequence,event_type,event_data,\
     metadata,created_at,updated_at,created_by,tenant_id,correlation_id,causation_id,event_size_bytes,checksum\r\n";

fn csv_line(line: &mut Vec<u8>, event: &EventEnvelope) {
    let columns = [
        Some(event.event_id.to_string()),
        Some(event.aggregate.id().to_string()),
        Some(quoted(event.aggregate.aggregate_type().as_str())),
        Some(event.version.to_string()),
        Some(event.global_sequence.to_string()),
        Some(quoted(event.event_type.as_str())),
        Some(quoted(event.data.as_str())),
        event.metadata.as_ref().map(|json| quoted(json.as_str())),
        Some(time_text(event.created_at).to_string()),
        event.updated_at.map(|time| time_text(time).to_string()),
        event.created_by.as_ref().map(|name| quoted(name.as_str())),
        event.tenant.as_ref().map(|name| quoted(name.as_str())),
        event.correlation_id.as_ref().map(|name| quoted(name.as_str())),
        event.causation_id.as_ref().map(|name| quoted(name.as_str())),
        event.size_bytes.map(|bytes| bytes.to_string()),
        event.checksum.map(|checksum| checksum.to_string()),
    ];
    for (place, column) in columns.into_iter().enumerate() {
        if place > 0 {
            line.push(b',');
        }
        line.extend(column.unwrap_or_default().bytes());
    }
    line.extend(b"\r\n");
}

/// Text, quoted if it could be read as NULL or as several columns.
fn quoted(text: &str) -> String {
    let is_plain = !text.is_empty() && !text.contains(['"', ',', '\n', '\r']) && text.trim() == text;
    match is_plain {
        true => text.to_owned(),
        false => format!("\"{}\"", text.replace('"', "\"\"")),
    }
}
