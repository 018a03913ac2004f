//! Reading: streams, the log, statistics.

use std::ops::ControlFlow;

use firefly_eventstore_core::backend::Columns as _;
use firefly_eventstore_core::backend::{
    self, Driver, EventDecoder, EventFilter, Head, MetadataIndex, PageEvents, SnapshotSource, SqlStreams, StreamPart,
    Window, metadata_correlation, rows, snapshots,
};
use firefly_eventstore_core::operate::Archive;
use firefly_eventstore_core::{
    AggregateKey, AggregateSummary, AggregateType, Cursor, Direction, EventEnvelope, EventQuery, EventType,
    GlobalSequence, Order, Page, Result, Snapshot, SnapshotAt, StreamRange, SummaryQuery, TenantId, Version,
};
use rusqlite::types::ToSqlOutput;
use rusqlite::{Connection, params, params_from_iter};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::append::{archived_stream, head};
use crate::error::classify;
use crate::row::time_text;
use crate::session::{Session, collect, parameter, parameters, prepared, walk};
use crate::sql;
use crate::transaction::in_one_state;

/// Events that were read, and the archived beginning of their stream. Read both in one state of the database: an archive may be attached at
/// any time.
fn with_archived(connection: &Connection, aggregate: &AggregateKey, events: Vec<EventEnvelope>) -> Result<StreamPart> {
    StreamPart::with_first(events).or_else(|events| {
        let archived = archived_stream(connection, aggregate.id())?;
        Ok(StreamPart::new(events, archived))
    })
}

impl SqlStreams for Session<'_> {
    fn events_up_to(
        &mut self,
        aggregate: &AggregateKey,
        range: &StreamRange,
        to: Option<Version>,
    ) -> Result<StreamPart> {
        let statement = match range.direction {
            Direction::Forwards => sql::LOAD,
            Direction::Backwards => sql::LOAD_BACKWARDS,
        };
        let mut buffer = Uuid::encode_buffer();
        let limit = range.limit.map_or(-1, |limit| i64::try_from(limit).unwrap_or(i64::MAX));
        let parameters = params![
            &*aggregate.id().hyphenated().encode_lower(&mut buffer),
            range.from.as_i64(),
            to.unwrap_or(Version::MAX).as_i64(),
            limit,
        ];
        let read = |connection: &Connection| {
            let mut decoder = EventDecoder::default();
            collect(connection, statement, parameters, |row| decoder.event(row))
        };
        // A transaction costs as much as some events. If the first event is probably in the log, the read is tried without one.
        if backend::begins_with_first(range, to)
            && let Ok(part) = StreamPart::with_first(read(self.0)?)
        {
            return Ok(part);
        }
        in_one_state(self.0, |connection| {
            with_archived(connection, aggregate, read(connection)?)
        })
    }

    fn head(&mut self, aggregate: &AggregateKey) -> Result<Option<Head>> {
        head(self.0, aggregate.id())
    }
}

impl SnapshotSource for Session<'_> {
    fn snapshot_and_events(
        &mut self,
        tenant: Option<&TenantId>,
        aggregate: &AggregateKey,
        at: SnapshotAt<'_>,
    ) -> Result<(Option<Snapshot>, StreamPart)> {
        let chosen = snapshots::chosen(tenant, aggregate, at.bounds());
        in_one_state(self.0, |connection| {
            let (mut snapshot, mut events, mut decoder) = (None, Vec::new(), EventDecoder::default());
            walk(connection, sql::LOAD_FROM_SNAPSHOT, parameters(&chosen), |row| {
                match rows::snapshot_among_events(row)? {
                    Some(found) => snapshot = Some(found),
                    None => events.push(decoder.event(row)?),
                }
                Ok(ControlFlow::Continue(()))
            })?;
            Ok((snapshot, with_archived(connection, aggregate, events)?))
        })
    }
}

/// The last final position: no event can still be committed at or before it.
pub(crate) fn mark(connection: &Connection) -> Result<GlobalSequence> {
    let mark: i64 = prepared(connection, sql::MARK)?
        .query_row([], |row| row.get(0))
        .map_err(classify)?;
    GlobalSequence::try_from(mark)
}

/// A page of the log, up to this mark. The mark is read before the rows: the next read returns events that are committed in between.
pub(crate) fn page(
    connection: &Connection,
    query: &EventQuery,
    cursor: Option<&Cursor>,
    mark: GlobalSequence,
    indexes: &[String],
) -> Result<Page> {
    let window = query.window(cursor, mark);
    let events = in_one_state(connection, |connection| {
        let mut events = PageEvents::new(&window);
        if window.rows > 0 && window.after < window.until {
            let LogStatement { sql, parameters } = LogStatement::new(query, &window, cursor.is_some(), indexes);
            let mut decoder = EventDecoder::default();
            walk(connection, &sql, params_from_iter(parameters), |row| {
                events.push(decoder.event(row)?);
                Ok(match events.is_full() {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                })
            })?;
        }
        // Without archives, this only reads an empty table.
        backend::check_archived(query, &window, &events, Some(GlobalSequence::MAX), |covered| {
            archive_with(connection, query.filter(), covered)
        })?;
        Ok(events)
    })?;
    Ok(events.into_page(query, cursor, mark))
}

/// The first archive that may have an event in a window that passes the filters.
fn archive_with(connection: &Connection, filter: &EventFilter, window: &Window) -> Result<Option<Archive>> {
    let time = |time: Option<OffsetDateTime>| time.map(|time| time_text(time).as_str().to_owned());
    let types = filter.aggregate_types.as_ref();
    let types = types.map(|types| json_array(types.iter().map(AggregateType::to_string)));
    let ids = filter.event_ids.as_ref();
    let ids = ids.map(|ids| json_array(ids.iter().map(|id| id.hyphenated().to_string())));
    let parameters = params![
        window.after.as_i64(),
        window.until.as_i64(),
        time(filter.created_from),
        time(filter.created_until),
        filter.aggregate_id.map(|id| id.hyphenated().to_string()),
        filter.tenant.as_ref().map(TenantId::as_str),
        types,
        ids,
    ];
    let found = collect(connection, sql::ARCHIVED_IN, parameters, |row| rows::archive(row))?;
    Ok(found.into_iter().next())
}

/// Strings as a JSON array, which statements use as a list.
fn json_array(values: impl Iterator<Item = String>) -> String {
    serde_json::to_string(&values.collect::<Vec<_>>()).expect("strings are written as JSON")
}

/// How SQLite finds the page.
pub(crate) fn explain(
    connection: &Connection,
    query: &EventQuery,
    cursor: Option<&Cursor>,
    indexes: &[String],
) -> Result<Vec<String>> {
    let mark = cursor.map_or(GlobalSequence::MAX, Cursor::high_water_mark);
    let statement = LogStatement::new(query, &query.window(cursor, mark), cursor.is_some(), indexes);
    let explain = format!("EXPLAIN QUERY PLAN {}", statement.sql);
    collect(connection, &explain, params_from_iter(statement.parameters), |row| {
        Ok(row.text(3)?.to_owned())
    })
}

/// `log.sql` with the filters of a query. Every value is a bound parameter.
///
/// One filter *drives*: its index is walked in the requested order, and the other filters are checked on its rows. SQLite would choose by
/// statistics that it may not have, so the driver chooses.
pub(crate) struct LogStatement<'q> {
    pub(crate) sql: String,
    pub(crate) parameters: Vec<ToSqlOutput<'q>>,
}

impl<'q> LogStatement<'q> {
    pub(crate) fn new(query: &'q EventQuery, window: &Window, resumed: bool, indexes: &[String]) -> Self {
        let filter = query.filter();
        let by_time = query.order() == Order::Time;
        let driver = Driver::of(filter, by_time, metadata_index(filter), |index| {
            indexes.iter().any(|name| name == index)
        });
        let mut statement = Self {
            sql: String::new(),
            parameters: vec![window.after.as_i64().into(), window.until.as_i64().into()],
        };

        let index = match driver.index(by_time) {
            Some(index) => format!("FROM events INDEXED BY {index}"),
            None => "FROM events NOT INDEXED".to_owned(),
        };
        let mut arm = sql::LOG.trim_end().replacen("FROM events", &index, 1);
        statement.add_filters(&mut arm, filter, driver);
        statement.add_position(&mut arm, query, window, resumed, driver);
        // SQLite merges the arms of a compound if each is in order. So several types are read like one.
        let arms = match driver {
            Driver::EventTypes => statement.arms(&arm, "event_type", filter.event_types.as_deref()),
            Driver::AggregateTypes => statement.arms(&arm, "aggregate_type", filter.aggregate_types.as_deref()),
            _ => vec![arm],
        };
        statement.sql = arms.join("\nUNION ALL\n");

        let direction = match query.direction() {
            Direction::Forwards => "ASC",
            Direction::Backwards => "DESC",
        };
        let order = match (by_time, driver) {
            (true, _) => format!("\nORDER BY created_at {direction}, global_sequence {direction}"),
            // Within an aggregate, versions ascend with sequences, and versions have an index.
            (false, Driver::Aggregate) => format!("\nORDER BY aggregate_version {direction}"),
            (false, _) => format!("\nORDER BY global_sequence {direction}"),
        };
        let limit = statement.bind(i64::from(window.rows));
        statement.sql += &format!("{order}\nLIMIT {limit}");
        statement
    }

    fn add_filters(&mut self, sql: &mut String, filter: &'q EventFilter, driver: Driver) {
        if let Some(ids) = &filter.event_ids {
            self.among(sql, "event_id", ids.iter().map(|id| id.hyphenated().to_string()));
        }
        if let Some(types) = filter.event_types.as_ref().filter(|_| driver != Driver::EventTypes) {
            self.among(sql, "event_type", types.iter().map(EventType::to_string));
        }
        if let Some(types) = filter
            .aggregate_types
            .as_ref()
            .filter(|_| driver != Driver::AggregateTypes)
        {
            self.among(sql, "aggregate_type", types.iter().map(AggregateType::to_string));
        }
        for (_, column, value) in Driver::equalities(filter) {
            let parameter = self.bind(parameter(value, OffsetDateTime::UNIX_EPOCH));
            *sql += &format!("\n  AND {column} = {parameter}");
        }
        let bounds = [(">=", filter.created_from), ("<=", filter.created_until)];
        for (comparison, time) in bounds {
            let Some(time) = time else { continue };
            let parameter = self.bind(time_text(time).as_str().to_owned());
            *sql += &format!("\n  AND created_at {comparison} {parameter}");
        }
        if let Some(metadata) = &filter.metadata {
            let parameter = self.bind(metadata.as_str());
            *sql += &format!("\n  AND metadata IS NOT NULL AND metadata_contains(metadata, {parameter})");
            if matches!(driver, Driver::Metadata(_)) {
                let parameter = self.bind(metadata_correlation(filter).unwrap_or_default());
                *sql += &format!("\n  AND metadata ->> '$.correlationId' = {parameter}");
            }
        }
    }

    fn add_position(&mut self, sql: &mut String, query: &EventQuery, window: &Window, resumed: bool, driver: Driver) {
        let comparison = match query.direction() {
            Direction::Forwards => ">",
            Direction::Backwards => "<",
        };
        if let Some(at) = window.beyond {
            let time = self.bind(time_text(at.created_at).as_str().to_owned());
            let sequence = self.bind(at.global_sequence.as_i64());
            *sql += &format!("\n  AND (created_at, global_sequence) {comparison} ({time}, {sequence})");
        } else if driver == Driver::Aggregate && resumed {
            // The previous page ended with an event of this aggregate, just outside the window.
            let last = match query.direction() {
                Direction::Forwards => "?1",
                Direction::Backwards => "?2 + 1",
            };
            *sql += &format!(
                "\n  AND aggregate_version {comparison} COALESCE(\
                 (SELECT aggregate_version FROM events WHERE global_sequence = {last}), \
                 (SELECT aggregate_version FROM firefly_archived_events WHERE global_sequence = {last}))"
            );
        }
    }

    fn arms<T: ToString>(&mut self, arm: &str, column: &str, types: Option<&[T]>) -> Vec<String> {
        let arm_of = |one: &T| {
            let parameter = self.bind(one.to_string());
            format!("{arm}\n  AND {column} = {parameter}")
        };
        types.unwrap_or_default().iter().map(arm_of).collect()
    }

    fn among(&mut self, sql: &mut String, column: &str, values: impl Iterator<Item = String>) {
        let parameter = self.bind(json_array(values));
        *sql += &format!("\n  AND {column} IN (SELECT value FROM json_each({parameter}))");
    }

    fn bind(&mut self, value: impl Into<ToSqlOutput<'q>>) -> String {
        self.parameters.push(value.into());
        format!("?{}", self.parameters.len())
    }
}

/// The index on an id in the metadata, if the filter is by one.
fn metadata_index(filter: &EventFilter) -> Option<MetadataIndex> {
    let index = MetadataIndex::Selective("idx_events_metadata_correlation");
    metadata_correlation(filter).map(|_| index)
}

/// The summaries of aggregates.
pub(crate) fn summaries(connection: &Connection, query: &SummaryQuery) -> Result<Vec<AggregateSummary>> {
    let after = query.after.map_or_else(String::new, |id| id.hyphenated().to_string());
    let parameters = params![
        after,
        query.aggregate_type.as_ref().map(AggregateType::as_str),
        query.tenant.as_ref().map(TenantId::as_str),
        query.limit.map_or(-1, i64::from),
    ];
    collect(connection, sql::AGGREGATE_SUMMARIES, parameters, |row| {
        rows::summary(row)
    })
}
