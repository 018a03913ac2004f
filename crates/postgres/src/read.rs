//! Reading: one aggregate's stream, the log, statistics.

use firefly_eventstore_core::{
    AggregateActivity, AggregateKey, AggregateSummary, AggregateType, AsOf, Cursor, Direction, EventEnvelope,
    EventFilter, EventQuery, EventStatistics, EventStream, EventType, EventTypeShare, GlobalSequence, Order, Page,
    Result, Statistics, StreamRange, SummaryQuery, TenantId, Version, Window, backend,
};
use postgres::types::ToSql;
use postgres::{GenericClient, Row};

use crate::append::head;
use crate::error::classify;
use crate::pool::Session;
use crate::row::{self, Decoder, decode, get};
use crate::sql;

/// A part of an aggregate's stream. Where several statements are needed, they must see one state: [`backend::needs_one_state`].
pub(crate) fn load<C: GenericClient>(
    session: &mut Session<'_, C>,
    aggregate: &AggregateKey,
    range: &StreamRange,
) -> Result<EventStream> {
    let past = version_as_of(session, aggregate, range.as_of)?;
    let to = match (past, range.to) {
        (Some(past), Some(to)) => Some(past.min(to)),
        (past, to) => past.or(to),
    };
    let events = load_events(session, aggregate, range, to)?;
    backend::to_stream(aggregate, range, past, to, events, || head(session, aggregate.id()))
}

/// The last version at a point in the past; none if the aggregate is still at it.
fn version_as_of<C: GenericClient>(
    session: &mut Session<'_, C>,
    aggregate: &AggregateKey,
    as_of: Option<AsOf>,
) -> Result<Option<Version>> {
    let id = aggregate.id();
    let rows = match as_of {
        Some(AsOf::Version(version)) => return Ok(Some(version)),
        // What is stored has microseconds: what is later than the time is later than its microsecond.
        Some(AsOf::Time(time)) => session.query(sql::VERSION_AT_TIME, &[&id, &row::floor(time)]),
        Some(AsOf::Sequence(sequence)) => session.query(sql::VERSION_AT_SEQUENCE, &[&id, &sequence.as_i64()]),
        _ => return Ok(None),
    }
    .map_err(classify)?;
    let versions = decode(&rows, |row| {
        get::<Option<i64>>(row, 0)?.map(Version::try_from).transpose()
    })?;
    Ok(versions.into_iter().next().flatten())
}

fn load_events<C: GenericClient>(
    session: &mut Session<'_, C>,
    aggregate: &AggregateKey,
    range: &StreamRange,
    to: Option<Version>,
) -> Result<Vec<EventEnvelope>> {
    let statement = match range.direction {
        Direction::Forwards => sql::LOAD,
        Direction::Backwards => sql::LOAD_BACKWARDS,
    };
    let limit = range.limit.map(|limit| i64::try_from(limit).unwrap_or(i64::MAX));
    let to = to.unwrap_or(Version::MAX).as_i64();
    let rows = session.query(statement, &[&aggregate.id(), &range.from.as_i64(), &to, &limit]);
    events(&rows.map_err(classify)?)
}

fn events(rows: &[Row]) -> Result<Vec<EventEnvelope>> {
    let mut decoder = Decoder::default();
    rows.iter().map(|row| decoder.event(row)).collect()
}

/// The greatest committed sequence at or below which nothing can appear any more, as this moment proves it.
pub(crate) fn mark<C: GenericClient>(session: &mut Session<'_, C>) -> Result<GlobalSequence> {
    let rows = session.query(sql::MARK, &[]).map_err(classify)?;
    let marks = decode(&rows, |row| GlobalSequence::try_from(get::<i64>(row, 0)?))?;
    Ok(marks.into_iter().next().expect("a function returns one row"))
}

/// A page of the log up to a mark, which was taken before.
pub(crate) fn page<C: GenericClient>(
    session: &mut Session<'_, C>,
    query: &EventQuery,
    cursor: Option<&Cursor>,
    mark: GlobalSequence,
) -> Result<Page> {
    let window = query.window(cursor, mark);
    let events = if window.rows == 0 || window.after >= window.until {
        Vec::new()
    } else {
        let statement = LogStatement::new(query, &window);
        events(&statement.query(session, "").map_err(classify)?)?
    };
    Ok(Page::new(query, cursor, mark, events))
}

/// How PostgreSQL would find that page.
pub(crate) fn explain<C: GenericClient>(
    session: &mut Session<'_, C>,
    query: &EventQuery,
    cursor: Option<&Cursor>,
) -> Result<Vec<String>> {
    let mark = cursor.map_or(GlobalSequence::MAX, Cursor::high_water_mark);
    let statement = LogStatement::new(query, &query.window(cursor, mark));
    let rows = statement.query(session, "EXPLAIN ").map_err(classify)?;
    decode(&rows, |row| get(row, 0))
}

/// `log.sql` with the filters of a query. Every value is a bound parameter.
struct LogStatement {
    sql: String,
    parameters: Vec<Box<dyn ToSql + Sync>>,
}

/// With more types than this, walking the log costs less than merging their indexes.
const MOST_MERGED_TYPES: usize = 16;

impl LogStatement {
    fn new(query: &EventQuery, window: &Window) -> Self {
        let filter = query.filter();
        let by_time = query.order() == Order::Time;
        let mut statement = Self {
            sql: String::new(),
            parameters: vec![Box::new(window.after.as_i64()), Box::new(window.until.as_i64())],
        };

        let mut arm = sql::LOG.trim_end().to_owned();
        let merged = Merged::of(filter);
        statement.add_filters(&mut arm, filter, merged);
        let direction = match query.direction() {
            Direction::Forwards => "ASC",
            Direction::Backwards => "DESC",
        };
        if let Some(at) = window.beyond {
            let comparison = match query.direction() {
                Direction::Forwards => ">",
                Direction::Backwards => "<",
            };
            let time = statement.bind(at.created_at);
            let sequence = statement.bind(at.global_sequence.as_i64());
            arm += &format!("\n  AND (created_at, global_sequence) {comparison} ({time}, {sequence})");
        }
        let limit = statement.bind(i64::from(window.rows));
        let order = match by_time {
            true => format!("\nORDER BY created_at {direction}, global_sequence {direction}\nLIMIT {limit}"),
            false => format!("\nORDER BY global_sequence {direction}\nLIMIT {limit}"),
        };
        statement.sql = match merged {
            Merged::Nothing => format!("{arm}{order}"),
            Merged::EventTypes => statement.merge(&arm, &order, "event_type", filter.event_types.as_deref()),
            Merged::AggregateTypes => {
                statement.merge(&arm, &order, "aggregate_type", filter.aggregate_types.as_deref())
            }
        };
        statement
    }

    fn query<C: GenericClient>(&self, session: &mut Session<'_, C>, before: &str) -> Result<Vec<Row>, postgres::Error> {
        let parameters: Vec<&(dyn ToSql + Sync)> = self.parameters.iter().map(|value| &**value).collect();
        session.query(&format!("{before}{}", self.sql), &parameters)
    }

    fn add_filters(&mut self, sql: &mut String, filter: &EventFilter, merged: Merged) {
        if let Some(ids) = &filter.event_ids {
            let ids = self.bind(ids.clone());
            *sql += &format!("\n  AND event_id = ANY({ids})");
        }
        if let Some(types) = filter.event_types.as_ref().filter(|_| merged != Merged::EventTypes) {
            let types = self.bind(types.iter().map(EventType::to_string).collect::<Vec<_>>());
            *sql += &format!("\n  AND event_type = ANY({types})");
        }
        if let Some(types) = filter
            .aggregate_types
            .as_ref()
            .filter(|_| merged != Merged::AggregateTypes)
        {
            let types = self.bind(types.iter().map(AggregateType::to_string).collect::<Vec<_>>());
            *sql += &format!("\n  AND aggregate_type = ANY({types})");
        }
        if let Some(id) = filter.aggregate_id {
            let id = self.bind(id);
            *sql += &format!("\n  AND aggregate_id = {id}");
        }
        let equalities = [
            ("tenant_id", filter.tenant.as_ref().map(ToString::to_string)),
            (
                "correlation_id",
                filter.correlation_id.as_ref().map(ToString::to_string),
            ),
            ("causation_id", filter.causation_id.as_ref().map(ToString::to_string)),
            ("created_by", filter.created_by.as_ref().map(ToString::to_string)),
        ];
        for (column, value) in equalities {
            let Some(value) = value else { continue };
            let parameter = self.bind(value);
            *sql += &format!("\n  AND {column} = {parameter}");
        }
        let bounds = [(">=", filter.created_from), ("<=", filter.created_until)];
        for (comparison, time) in bounds {
            let Some(time) = time else { continue };
            let parameter = self.bind(row::floor(time));
            *sql += &format!("\n  AND created_at {comparison} {parameter}");
        }
        if let Some(metadata) = &filter.metadata {
            let parameter = self.bind(metadata.as_str().to_owned());
            *sql += &format!("\n  AND metadata @> {parameter}::text::jsonb");
        }
    }

    /// An arm for each type, each read in order from the index on it, and merged: several types are read like one.
    fn merge<T: ToString>(&mut self, arm: &str, order: &str, column: &str, types: Option<&[T]>) -> String {
        let mut arms: Vec<String> = Vec::new();
        for one in types.unwrap_or_default() {
            let parameter = self.bind(one.to_string());
            arms.push(format!("{arm}\n  AND {column} = {parameter}{order}"));
        }
        match &arms[..] {
            [one] => one.clone(),
            _ => format!("({}){order}", arms.join(")\nUNION ALL\n(")),
        }
    }

    fn bind(&mut self, value: impl ToSql + Sync + 'static) -> String {
        self.parameters.push(Box::new(value));
        format!("${}", self.parameters.len())
    }
}

/// Which types a page is merged from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Merged {
    Nothing,
    EventTypes,
    AggregateTypes,
}

impl Merged {
    fn of(filter: &EventFilter) -> Self {
        fn mergeable<T>(types: Option<&Vec<T>>) -> bool {
            types.is_some_and(|types| (1..=MOST_MERGED_TYPES).contains(&types.len()))
        }

        // Whatever is more selective than a type finds the rows by itself.
        let selective = filter.event_ids.is_some()
            || filter.aggregate_id.is_some()
            || filter.correlation_id.is_some()
            || filter.causation_id.is_some();
        if selective {
            Self::Nothing
        } else if mergeable(filter.event_types.as_ref()) {
            Self::EventTypes
        } else if mergeable(filter.aggregate_types.as_ref()) {
            Self::AggregateTypes
        } else {
            Self::Nothing
        }
    }
}

/// What there is in the log, or of one tenant.
pub(crate) fn statistics<C: GenericClient>(
    session: &mut Session<'_, C>,
    tenant: Option<&TenantId>,
) -> Result<Statistics> {
    let tenant: &[&(dyn ToSql + Sync)] = &[&tenant.map(TenantId::as_str)];
    let totals = session.query(sql::TOTALS, tenant).map_err(classify)?;
    let totals = decode(&totals, |row| {
        Ok(Statistics {
            total_events: row::count(row, 0)?,
            total_aggregates: row::count(row, 1)?,
            current_global_sequence: GlobalSequence::try_from(get::<i64>(row, 2)?)?,
            unique_event_types: row::count(row, 3)?,
            unique_aggregate_types: row::count(row, 4)?,
            ..Statistics::default()
        })
    })?;
    let totals = totals.into_iter().next().expect("an aggregate query returns one row");
    let total = totals.total_events;
    let types = session.query(sql::EVENT_TYPE_DISTRIBUTION, tenant).map_err(classify)?;
    let activity = session.query(sql::AGGREGATE_ACTIVITY, tenant).map_err(classify)?;
    let details = session.query(sql::EVENT_STATISTICS, tenant).map_err(classify)?;
    Ok(Statistics {
        event_types: decode(&types, |row| {
            Ok(EventTypeShare::new(
                get::<&str>(row, 0)?.try_into()?,
                row::count(row, 1)?,
                total,
            ))
        })?,
        aggregate_types: decode(&activity, |row| {
            Ok(AggregateActivity {
                aggregate_type: get::<&str>(row, 0)?.try_into()?,
                aggregate_count: row::count(row, 1)?,
                average_version: get(row, 2)?,
                max_version: Version::try_from(get::<i64>(row, 3)?)?,
            })
        })?,
        details: decode(&details, |row| {
            Ok(EventStatistics {
                aggregate_type: get::<&str>(row, 0)?.try_into()?,
                event_type: get::<&str>(row, 1)?.try_into()?,
                event_count: row::count(row, 2)?,
                average_size_bytes: get(row, 3)?,
                max_size_bytes: row::count(row, 4)?,
                first_event_at: get(row, 5)?,
                last_event_at: get(row, 6)?,
                unique_aggregates: row::count(row, 7)?,
            })
        })?,
        ..totals
    })
}

/// The summaries of aggregates.
pub(crate) fn summaries<C: GenericClient>(
    session: &mut Session<'_, C>,
    query: &SummaryQuery,
) -> Result<Vec<AggregateSummary>> {
    let rows = session.query(
        sql::AGGREGATE_SUMMARIES,
        &[
            &query.after,
            &query.aggregate_type.as_ref().map(AggregateType::as_str),
            &query.tenant.as_ref().map(TenantId::as_str),
            &query.limit.map(i64::from),
        ],
    );
    decode(&rows.map_err(classify)?, |row| {
        Ok(AggregateSummary {
            aggregate_id: get(row, 0)?,
            aggregate_type: get::<&str>(row, 1)?.try_into()?,
            current_version: Version::try_from(get::<i64>(row, 2)?)?,
            total_events: row::count(row, 3)?,
            created_at: get(row, 4)?,
            last_modified_at: get(row, 5)?,
            total_size_bytes: row::count(row, 6)?,
            tenant: row::name(row, 7)?,
        })
    })
}
