//! Reading: streams, the log, statistics.

mod archived;
mod containment;

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicI64, Ordering};

use firefly_eventstore_core::backend::{
    Columns, Driver, EventDecoder, EventFilter, Found, Head, MetadataIndex, PageEvents, Position, PublishedMark,
    SnapshotSource, SqlStreams, StreamPart, UsualSize, Window, WindowReading, rows, snapshots,
};
use firefly_eventstore_core::{
    AggregateKey, AggregateSummary, AggregateType, Cursor, DEFAULT_PAGE_BYTES, Direction, Error, ErrorKind,
    EventEnvelope, EventQuery, EventType, GlobalSequence, Order, Result, Snapshot, SnapshotAt, StreamRange,
    SummaryQuery, TenantId, Version, backend,
};
use mysql::prelude::Queryable;
use mysql::{Row, Value};

use crate::append::head;
use crate::error::classify;
use crate::row::{Cells, decode, integer, time_value};
use crate::session::{Flavour, Session, placed, value_of};
use crate::sql;
use archived::archive_with;
use containment::Condition;

impl<C: Queryable> SqlStreams for Session<'_, C> {
    fn events_up_to(
        &mut self,
        aggregate: &AggregateKey,
        range: &StreamRange,
        to: Option<Version>,
    ) -> Result<StreamPart> {
        let mut values = vec![
            aggregate.id().into(),
            range.from.as_i64().into(),
            to.unwrap_or(Version::MAX).as_i64().into(),
            range
                .limit
                .map_or(i64::MAX, |limit| i64::try_from(limit).unwrap_or(i64::MAX))
                .into(),
        ];
        if backend::begins_with_first(range, to) {
            let (mut events, mut decoder) = (Vec::new(), EventDecoder::default());
            let (statement, values) = match (to, range.limit) {
                (None, None) => (sql::LOAD_WHOLE, vec![aggregate.id().into()]),
                _ => (sql::LOAD_BEGINNING, values.clone()),
            };
            walk(self, statement, values, |row| {
                events.push(decoder.event(&Cells(row))?);
                Ok(ControlFlow::Continue(()))
            })?;
            if let Ok(part) = StreamPart::with_first(events) {
                return Ok(part);
            }
        }
        let statement = match range.direction {
            Direction::Forwards => sql::LOAD,
            Direction::Backwards => sql::LOAD_BACKWARDS,
        };
        values.push(aggregate.id().into());
        let (mut part, mut decoder) = (StreamPart::default(), EventDecoder::default());
        walk(self, statement, values, |row| {
            match rows::archived_among_events(&Cells(row))? {
                Some(archived) => part.archived = Some(archived),
                None => part.events.push(decoder.event(&Cells(row))?),
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(part)
    }

    fn head(&mut self, aggregate: &AggregateKey) -> Result<Option<Head>> {
        head(self, aggregate.id())
    }
}

impl<C: Queryable> SnapshotSource for Session<'_, C> {
    fn snapshot_and_events(
        &mut self,
        tenant: Option<&TenantId>,
        aggregate: &AggregateKey,
        at: SnapshotAt<'_>,
    ) -> Result<(Option<Snapshot>, StreamPart)> {
        let chosen = snapshots::chosen(tenant, aggregate, at.bounds());
        let values = placed(&chosen, &[0, 1, 2, 2, 3, 4, 5, 5, 0].repeat(2));
        let (mut snapshot, mut part, mut decoder) = (None, StreamPart::default(), EventDecoder::default());
        walk(self, sql::LOAD_FROM_SNAPSHOT, values, |row| {
            if let Some(archived) = rows::archived_among_events(&Cells(row))? {
                part.archived = Some(archived);
            } else if let Some(found) = rows::snapshot_among_events(&Cells(row))? {
                snapshot = Some(found);
            } else {
                part.events.push(decoder.event(&Cells(row))?);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok((snapshot, part))
    }
}

/// Passes each row of a statement to `visit`, until it stops or a row is damaged.
fn walk<C: Queryable>(
    session: &mut Session<'_, C>,
    sql: &str,
    values: Vec<Value>,
    mut visit: impl FnMut(&Row) -> Result<ControlFlow<()>>,
) -> Result<()> {
    let mut failed = None;
    let each = |row: Row| match visit(&row) {
        Ok(flow) => flow,
        Err(error) => {
            failed = Some(error);
            ControlFlow::Break(())
        }
    };
    session.query_until(sql, values, each).map_err(classify)?;
    failed.map_or(Ok(()), Err)
}

/// What a store has learned about its log from reads.
#[derive(Debug)]
pub(crate) struct Known {
    usual_size: UsualSize,
    /// How often events were attached.
    attached: AtomicI64,
}

impl Known {
    pub(crate) fn nothing() -> Self {
        Self {
            usual_size: UsualSize::guessed(FIRST_GUESS),
            attached: AtomicI64::new(0),
        }
    }
}

/// The assumed size of an event before a statement has shown it: 128 events fill a page.
const FIRST_GUESS: u64 = DEFAULT_PAGE_BYTES.get() / 128;

/// How a window of the log is read.
pub(crate) struct Reading<'a> {
    query: &'a EventQuery,
    indexes: &'a [String],
    /// Whether the event before the window matches the query.
    resumed: bool,
    /// Whether each event comes with the end of the log.
    asks_end: bool,
}

impl<'a> Reading<'a> {
    pub(crate) fn new(query: &'a EventQuery, indexes: &'a [String], reading: WindowReading) -> Self {
        Self {
            query,
            indexes,
            resumed: reading.is_resumed,
            asks_end: reading.with_end,
        }
    }

    /// The events in a window of the log, none of which is archived. Usually this takes one statement. It takes more if the events are
    /// smaller than usual, or if the server sends events whose metadata does not match, since the library decides what metadata contains.
    /// It takes one more if nothing is found, or if events after the beginning of the window are archived.
    pub(crate) fn find<C: Queryable>(
        &mut self,
        session: &mut Session<'_, C>,
        window: &Window,
        known: &Known,
    ) -> Result<Found> {
        let mut attached = known.attached.load(Ordering::Acquire);
        for _ in 0..MOST_READINGS {
            let resumed = self.resumed;
            let (found, archived_until) = self.find_live(session, window, &known.usual_size)?;
            let mut attached_by_now = attached;
            let filter = self.query.filter();
            backend::check_archived(self.query, window, &found.events, archived_until, |covered| {
                let archive;
                (archive, attached_by_now) = archive_with(session, filter, covered)?;
                Ok(archive)
            })?;
            if attached_by_now == attached {
                return Ok(found);
            }
            // Events may have been attached between the read of the log and the read of the archives.
            attached = attached_by_now;
            known.attached.store(attached, Ordering::Release);
            self.resumed = resumed;
        }
        Err(Error::new(ErrorKind::Unavailable {
            reason: "an archive is being attached".into(),
        }))
    }

    /// The window's events that are in the log, and the last sequence that may be archived.
    fn find_live<C: Queryable>(
        &mut self,
        session: &mut Session<'_, C>,
        window: &Window,
        usual: &UsualSize,
    ) -> Result<(Found, Option<GlobalSequence>)> {
        let mut window = *window;
        let mut archived_until = None;
        let mut events = PageEvents::new(&window);
        let mut end = None;
        let (wanted, room) = (window.rows, window.bytes);
        let part = self.query.filter().metadata.as_ref();
        while wanted > 0 && window.after < window.until {
            let missing = match part {
                None => wanted - u32::try_from(events.len()).unwrap_or(wanted),
                Some(_) => wanted,
            };
            window.rows = usual.events(missing, room.saturating_sub(events.bytes()));
            let sent = self.read(session, &window, |event| {
                let matches = match (part, &event.metadata) {
                    (None, _) => true,
                    (Some(part), Some(metadata)) => metadata
                        .contains(part)
                        .map_err(|error| backend::damaged(&error, Some(event.global_sequence)))?,
                    (Some(_), None) => false,
                };
                if matches {
                    events.push(event);
                }
                Ok(events.is_full())
            })?;
            // A statement without rows shows nothing.
            archived_until = archived_until.max(match sent.rows {
                0 => Some(GlobalSequence::MAX),
                _ => sent.archived_until,
            });
            if sent.rows > 0 {
                usual.learn(sent.bytes / u64::from(sent.rows));
                end = sent.log_end;
            }
            let Some(last) = sent.last.filter(|_| sent.rows == window.rows && !events.is_full()) else {
                break;
            };
            window.go_on_beyond(self.query, last);
            self.resumed = true;
        }
        Ok((Found::new(events, end), archived_until))
    }

    /// Passes the events in the window to `take` until it has enough.
    fn read<C: Queryable>(
        &self,
        session: &mut Session<'_, C>,
        window: &Window,
        mut take: impl FnMut(EventEnvelope) -> Result<bool>,
    ) -> Result<Sent> {
        let statement = LogStatement::new(self, window, session.server.flavour);
        let (mut decoder, mut sent) = (EventDecoder::default(), Sent::default());
        walk(session, &statement.sql, statement.values, |row| {
            let event = decoder.event(&Cells(row))?;
            sent.rows += 1;
            sent.bytes +=
                event.data.as_str().len() as u64 + event.metadata.as_ref().map_or(0, |part| part.as_str().len() as u64);
            sent.last = Some(Position::of(&event));
            let until = Cells(row).optional_integer(ARCHIVED_UNTIL)?;
            sent.archived_until = until.map(GlobalSequence::try_from).transpose()?;
            if self.asks_end {
                sent.log_end = Some(GlobalSequence::try_from(integer(row, LOG_END)?)?);
            }
            Ok(match take(event)? {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            })
        })?;
        Ok(sent)
    }
}

/// The rows of a statement that were taken.
#[derive(Default)]
struct Sent {
    rows: u32,
    bytes: u64,
    last: Option<Position>,
    archived_until: Option<GlobalSequence>,
    log_end: Option<GlobalSequence>,
}

/// The columns with the last archived sequence and, if it was asked for, the end of the log.
const ARCHIVED_UNTIL: usize = 16;
const LOG_END: usize = 17;

/// How often a window is read again because events were attached meanwhile.
const MOST_READINGS: usize = 100;

/// How the server finds the page: the index that it uses for each table, and what else it does.
pub(crate) fn explain<C: Queryable>(
    session: &mut Session<'_, C>,
    query: &EventQuery,
    cursor: Option<&Cursor>,
    indexes: &[String],
) -> Result<Vec<String>> {
    let mark = cursor.map_or(GlobalSequence::MAX, Cursor::high_water_mark);
    let reading = Reading {
        query,
        indexes,
        resumed: cursor.is_some(),
        asks_end: false,
    };
    let statement = LogStatement::new(&reading, &query.window(cursor, mark), session.server.flavour);
    let explain = format!("EXPLAIN FORMAT = TRADITIONAL {}", statement.sql);
    let rows = session.query(&explain, statement.values).map_err(classify)?;
    let line = |row: &Row| {
        let of = |name: &str| row.get_opt::<Option<String>, _>(name).and_then(Result::ok).flatten();
        let [table, access, key, extra] = ["table", "type", "key", "Extra"].map(|name| of(name).unwrap_or_default());
        format!("{table}: {access} {key}: {extra}")
    };
    Ok(rows.iter().map(line).collect())
}

/// `log.sql` with the filters of a query. Every value is a bound parameter.
///
/// One filter *drives*: its index is walked in the requested order, and the other filters are checked on its rows. The server would choose
/// by statistics that it may not have. So the driver chooses, and names the index.
struct LogStatement {
    sql: String,
    values: Vec<Value>,
    /// The conditions of the metadata filter.
    containment: Vec<Condition>,
}

impl LogStatement {
    fn new(reading: &Reading<'_>, window: &Window, flavour: Flavour) -> Self {
        let Reading { query, indexes, .. } = reading;
        let metadata = query.filter().metadata.as_ref();
        let is_there = |index: &str| indexes.iter().any(|name| name == index);
        let driver = Driver::of(
            query.filter(),
            query.order() == Order::Time,
            metadata_index(query.filter()),
            is_there,
        );
        let mut statement = Self {
            sql: String::new(),
            values: Vec::new(),
            containment: metadata.map_or_else(Vec::new, |part| containment::conditions(part, flavour)),
        };
        let arms = arms_of(driver, query.filter());
        statement.sql = match &arms[..] {
            [] => statement.arm(sql::LOG, reading, window, driver, None),
            [arm] => statement.arm(sql::LOG, reading, window, driver, Some(arm)),
            arms => statement.merged(reading, window, driver, arms),
        };
        if reading.asks_end {
            // These are looked up once, not for each row.
            let columns = "AS archived_until,\n    (SELECT MAX(log.global_sequence) FROM events /* or their keys */ AS log) AS log_end\n";
            statement.sql = statement.sql.replacen("AS archived_until\n", columns, 1);
        }
        statement
    }

    /// The rows of several arms, each read in order from its index. The first positions of all arms are found before any row is read.
    fn merged(&mut self, reading: &Reading<'_>, window: &Window, driver: Driver, arms: &[Equality]) -> String {
        let query = reading.query;
        let arms: Vec<String> = arms
            .iter()
            .map(|arm| {
                let arm = self.arm(sql::LOG_POSITIONS, reading, window, driver, Some(arm));
                format!("({arm})")
            })
            .collect();
        let positions = format!(
            "SELECT place\nFROM (\n{}\n) AS arms\nORDER BY {}\nLIMIT {}",
            arms.join("\nUNION ALL\n"),
            in_order(query, ["moment", "place"]),
            self.bind(i64::from(window.rows)),
        );
        let log = sql::LOG.trim_end().replacen(
            "FROM events",
            &format!(
                "FROM (\n{positions}\n) AS page\nSTRAIGHT_JOIN events FORCE INDEX (PRIMARY) ON events.global_sequence = page.place"
            ),
            1,
        );
        format!("{log}\nORDER BY {}", in_order(query, ["created_at", "global_sequence"]))
    }

    /// The rows that the driving filter finds, or those with one of its values. The values are bound in the order of the text.
    fn arm(
        &mut self,
        select: &str,
        reading: &Reading<'_>,
        window: &Window,
        driver: Driver,
        arm: Option<&Equality>,
    ) -> String {
        let query = reading.query;
        let by_time = query.order() == Order::Time;
        let index = driver.index(by_time).unwrap_or("PRIMARY");
        let table = match driver {
            Driver::EventIds | Driver::Aggregate => "events /* by their keys */",
            _ => "events",
        };
        let from = format!("FROM {table} FORCE INDEX ({index})");
        let mut sql = select.trim_end().replacen("FROM events", &from, 1);
        let after = self.bind(window.after.as_i64());
        let until = self.bind(window.until.as_i64());
        sql += &format!("\nWHERE global_sequence > {after}\n  AND global_sequence <= {until}");
        if let Some((column, value)) = arm {
            let value = self.bind(value.clone());
            sql += &format!("\n  AND {column} = {value}");
        }
        self.add_filters(&mut sql, query.filter(), driver);
        self.add_position(&mut sql, reading, window, driver);
        // Within an aggregate, versions ascend with sequences, and versions have an index.
        let order = match (by_time, driver) {
            (false, Driver::Aggregate) => in_order(query, ["created_at", "aggregate_version"]),
            _ => in_order(query, ["created_at", "global_sequence"]),
        };
        let rows = self.bind(i64::from(window.rows));
        sql += &format!("\nORDER BY {order}\nLIMIT {rows}");
        sql
    }

    fn add_filters(&mut self, sql: &mut String, filter: &EventFilter, driver: Driver) {
        if let Some(ids) = &filter.event_ids {
            self.among(sql, "event_id", ids.iter().map(|id| Value::from(*id)));
        }
        if let Some(types) = filter.event_types.as_ref().filter(|_| driver != Driver::EventTypes) {
            self.among(sql, "event_type", types.iter().map(|one| one.as_str().into()));
        }
        let types = filter.aggregate_types.as_ref();
        if let Some(types) = types.filter(|_| driver != Driver::AggregateTypes) {
            self.among(sql, "aggregate_type", types.iter().map(|one| one.as_str().into()));
        }
        let correlation = metadata_correlation(filter).filter(|_| matches!(driver, Driver::Metadata(_)));
        let equalities = Driver::equalities(filter).into_iter();
        let equalities = equalities.map(|(_, column, value)| (column, value_of(value)));
        let correlation = correlation.map(|id| ("metadata_correlation", Value::from(id)));
        for (column, value) in equalities.chain(correlation) {
            let value = self.bind(value);
            *sql += &format!("\n  AND {column} = {value}");
        }
        if filter.metadata.is_some() {
            *sql += "\n  AND metadata IS NOT NULL";
        }
        for condition in &self.containment {
            *sql += &format!("\n  AND {}", condition.sql);
            self.values.extend(condition.values.iter().cloned());
        }
    }

    /// The bounds of the time, and the end of the previous page.
    fn add_position(&mut self, sql: &mut String, reading: &Reading<'_>, window: &Window, driver: Driver) {
        let query = reading.query;
        let filter = query.filter();
        let (mut from, mut until) = (filter.created_from, filter.created_until);
        let comparison = match query.direction() {
            Direction::Forwards => ">",
            Direction::Backwards => "<",
        };
        if let Some(at) = window.beyond {
            match query.direction() {
                Direction::Forwards => from = Some(at.created_at),
                Direction::Backwards => until = Some(at.created_at),
            }
            let time = self.bind(time_value(at.created_at));
            let sequence = self.bind(at.global_sequence.as_i64());
            *sql += &format!("\n  AND (created_at {comparison} {time} OR global_sequence {comparison} {sequence})");
        } else if driver == Driver::Aggregate && reading.resumed {
            // The previous page ended with an event of this aggregate, just outside the window.
            let last = match query.direction() {
                Direction::Forwards => window.after.as_i64(),
                Direction::Backwards => window.until.as_i64().saturating_add(1),
            };
            let [live, archived] = [self.bind(last), self.bind(last)];
            *sql += &format!(
                "\n  AND aggregate_version {comparison} COALESCE(\
                 (SELECT last.aggregate_version FROM events /* or their keys */ AS last WHERE last.global_sequence = {live}), \
                 (SELECT last.aggregate_version FROM firefly_archived_events AS last WHERE last.global_sequence = {archived}))"
            );
        }
        for (comparison, time) in [(">=", from), ("<=", until)] {
            let Some(time) = time else { continue };
            let time = self.bind(time_value(time));
            *sql += &format!("\n  AND created_at {comparison} {time}");
        }
    }

    fn among(&mut self, sql: &mut String, column: &str, values: impl Iterator<Item = Value>) {
        let values: Vec<Value> = values.collect();
        *sql += &format!("\n  AND {column} IN {}", sql::list(values.len()));
        self.values.extend(sql::padded(values, Value::NULL));
    }

    fn bind(&mut self, value: impl Into<Value>) -> &'static str {
        self.values.push(value.into());
        "?"
    }
}

/// A column and its value.
type Equality = (&'static str, Value);

/// The order by these columns, the first of which is the time, in the order and direction of a query.
fn in_order(query: &EventQuery, [time, sequence]: [&str; 2]) -> String {
    let direction = match query.direction() {
        Direction::Forwards => "ASC",
        Direction::Backwards => "DESC",
    };
    match query.order() {
        Order::Time => format!("{time} {direction}, {sequence} {direction}"),
        Order::Sequence => format!("{sequence} {direction}"),
    }
}

/// The values for each of which the driving filter has an arm. So several types are read like one.
fn arms_of(driver: Driver, filter: &EventFilter) -> Vec<Equality> {
    match driver {
        Driver::EventTypes => {
            let types = filter.event_types.iter().flatten();
            types
                .map(|one: &EventType| ("event_type", one.as_str().into()))
                .collect()
        }
        Driver::AggregateTypes => {
            let types = filter.aggregate_types.iter().flatten();
            types
                .map(|one: &AggregateType| ("aggregate_type", one.as_str().into()))
                .collect()
        }
        _ => Vec::new(),
    }
}

/// How many characters of a correlation id the index on metadata has.
const INDEXED_CHARACTERS: usize = 255;

/// The index on an id in the metadata, if the filter is by one.
fn metadata_index(filter: &EventFilter) -> Option<MetadataIndex> {
    let index = MetadataIndex::Selective("idx_events_metadata_correlation");
    metadata_correlation(filter).map(|_| index)
}

/// The correlation id of the metadata filter, if the index on it has all of it.
fn metadata_correlation(filter: &EventFilter) -> Option<String> {
    backend::metadata_correlation(filter).filter(|id| id.chars().count() <= INDEXED_CHARACTERS)
}

/// The greatest committed sequence.
pub(crate) fn end<C: Queryable>(session: &mut Session<'_, C>) -> Result<GlobalSequence> {
    let rows = session.query(sql::GREATEST, Vec::new()).map_err(classify)?;
    let greatest = decode(&rows, |row| GlobalSequence::try_from(integer(row, 0)?))?;
    Ok(greatest.into_iter().next().expect("an aggregate query returns one row"))
}

/// The published mark, as this server shows it.
pub(crate) fn published_mark<C: Queryable>(session: &mut Session<'_, C>) -> Result<PublishedMark> {
    session.server.standing.require_order()?;
    let may_be_behind = session.server.standing.may_be_behind();
    let rows = session.query(sql::PUBLISHED_MARK, Vec::new()).map_err(classify)?;
    let shown = decode(&rows, |row| {
        let mut shown = PublishedMark::new(Cells(row).sequence(0)?, Cells(row).sequence(1)?);
        shown.may_be_behind = may_be_behind;
        shown.age = integer(row, 2)?;
        Ok(shown)
    })?;
    PublishedMark::checked(shown.into_iter().next())
}

/// Publishes a proved mark, and returns the published one. Two round trips.
pub(crate) fn publish_mark<C: Queryable>(session: &mut Session<'_, C>, mark: GlobalSequence) -> Result<GlobalSequence> {
    session
        .execute(sql::PUBLISH_MARK, vec![mark.as_i64().into()])
        .map_err(classify)?;
    Ok(published_mark(session)?.mark)
}

/// The summaries of aggregates: the current ones, or those of the last refresh.
pub(crate) fn summaries<C: Queryable>(
    session: &mut Session<'_, C>,
    query: &SummaryQuery,
) -> Result<Vec<AggregateSummary>> {
    let filters = [
        ("aggregate_id > ?", Value::from(query.after)),
        (
            "aggregate_type = ?",
            Value::from(query.aggregate_type.as_ref().map(AggregateType::as_str)),
        ),
        (
            "tenant_id = ?",
            Value::from(query.tenant.as_ref().map(TenantId::as_str)),
        ),
    ];
    let limit = Value::from(query.limit.map_or(i64::MAX, i64::from));
    let rows = if query.as_of_last_refresh {
        let mut values: Vec<Value> = filters
            .into_iter()
            .flat_map(|(_, value)| [value.clone(), value])
            .collect();
        values.push(limit);
        session.query(sql::REFRESHED_SUMMARIES, values)
    } else {
        // Only the given filters, so that their indexes are used.
        let mut condition = "WHERE TRUE".to_owned();
        let mut values = Vec::new();
        for (filter, value) in filters.into_iter().filter(|(_, value)| *value != Value::NULL) {
            condition += "\n  AND ";
            condition += filter;
            values.push(value);
        }
        values.push(limit);
        session.query(&sql::AGGREGATE_SUMMARIES.replacen("WHERE TRUE", &condition, 1), values)
    };
    decode(&rows.map_err(classify)?, |row| rows::summary(&Cells(row)))
}

/// Updates the summaries, and removes those of aggregates that no longer exist.
pub(crate) fn refresh_summaries<C: Queryable>(session: &mut Session<'_, C>) -> Result<()> {
    for statement in [sql::REFRESH_SUMMARIES, sql::FORGET_SUMMARIES] {
        session.execute(statement, Vec::new()).map_err(classify)?;
    }
    Ok(())
}
