//! Reading: streams, the log, statistics.

use std::sync::Arc;

use firefly_eventstore_core::backend::kinds::unavailable;
use firefly_eventstore_core::backend::{
    ArchivedStream, Columns as _, Driver, EventDecoder, EventFilter, Found, Head, MetadataIndex, PageEvents, Position,
    PublishedMark, SnapshotSource, SqlStreams, StreamPart, UsualSize, Window, rows, snapshots,
};
use firefly_eventstore_core::operate::Archive;
use firefly_eventstore_core::{
    AggregateKey, AggregateSummary, AggregateType, Cursor, Direction, Error, EventEnvelope, EventQuery, EventType,
    GlobalSequence, Order, Result, Snapshot, SnapshotAt, StreamRange, SummaryQuery, TenantId, Version, backend,
};
use postgres::types::ToSql;
use postgres::{Client, GenericClient, Row};
use uuid::Uuid;

use crate::append::head;
use crate::error::{classify, classify_mark};
use crate::partitions::Starts;
use crate::row::{self, Cells, decode, get};
use crate::session::{Parameter, Session, parameters, references};
use crate::sql::{self, Layout};

impl<C: GenericClient> SqlStreams for Session<'_, C> {
    fn events_up_to(
        &mut self,
        aggregate: &AggregateKey,
        range: &StreamRange,
        to: Option<Version>,
    ) -> Result<StreamPart> {
        let (by_versions, in_partitions) = match range.direction {
            Direction::Forwards => (sql::LOAD, sql::LOAD_IN_PARTITIONS),
            Direction::Backwards => (sql::LOAD_BACKWARDS, sql::LOAD_BACKWARDS_IN_PARTITIONS),
        };
        let limit = range.limit.map(|limit| i64::try_from(limit).unwrap_or(i64::MAX));
        let to = to.unwrap_or(Version::MAX).as_i64();
        let values: [&(dyn ToSql + Sync); 4] = [&aggregate.id(), &range.from.as_i64(), &to, &limit];
        if self.layout == Layout::Partitioned {
            let part = stream_part(&self.query(in_partitions, &values).map_err(classify)?)?;
            if are_contiguous(&part.events, range.direction) {
                return Ok(part);
            }
        }
        stream_part(&self.query(by_versions, &values).map_err(classify)?)
    }

    fn head(&mut self, aggregate: &AggregateKey) -> Result<Option<Head>> {
        head(self, aggregate.id())
    }
}

impl<C: GenericClient> SnapshotSource for Session<'_, C> {
    fn snapshot_and_events(
        &mut self,
        tenant: Option<&TenantId>,
        aggregate: &AggregateKey,
        at: SnapshotAt<'_>,
    ) -> Result<(Option<Snapshot>, StreamPart)> {
        let chosen = parameters(&snapshots::chosen(tenant, aggregate, at.bounds()));
        let values = references(&chosen);
        if self.layout == Layout::Partitioned {
            let rows = self.query(sql::LOAD_FROM_SNAPSHOT_IN_PARTITIONS, &values);
            let (snapshot, part) = snapshot_and_part(&rows.map_err(classify)?)?;
            if are_contiguous(&part.events, Direction::Forwards) {
                return Ok((snapshot, part));
            }
        }
        snapshot_and_part(&self.query(sql::LOAD_FROM_SNAPSHOT, &values).map_err(classify)?)
    }
}

/// The archived parts of these aggregates' streams.
pub(crate) fn archived_streams<C: GenericClient>(
    session: &mut Session<'_, C>,
    ids: &[Uuid],
) -> Result<Vec<ArchivedStream>> {
    session.select(sql::ARCHIVED_STREAMS, &[&ids], |row| rows::archived_stream(&Cells(row)))
}

/// The first archive that may have an event in this window of the log that passes the filters.
pub(crate) fn archive_in<C: GenericClient>(
    session: &mut Session<'_, C>,
    filter: &EventFilter,
    window: &Window,
) -> Result<Option<Archive>> {
    let types = filter.aggregate_types.as_ref();
    let types = types.map(|types| types.iter().map(AggregateType::as_str).collect::<Vec<_>>());
    Ok(session
        .select(
            sql::ARCHIVED_IN,
            &[
                &window.after.as_i64().saturating_add(1),
                &window.until.as_i64(),
                &filter.created_from.map(row::floor),
                &filter.created_until.map(row::floor),
                &filter.aggregate_id,
                &filter.event_ids,
                &filter.tenant.as_ref().map(TenantId::as_str),
                &types,
            ],
            |row| rows::archive(&Cells(row)),
        )?
        .pop())
}

/// Whether the versions have no gap and no disorder. In partitions, events are found between the sequences of the first and the last
/// version. Versions ascend with the sequence, unless another program stored them otherwise: then events are missing there, or in disorder.
fn are_contiguous(events: &[EventEnvelope], direction: Direction) -> bool {
    let step = match direction {
        Direction::Forwards => 1,
        Direction::Backwards => -1,
    };
    let versions = |pair: &[EventEnvelope]| (pair[0].version.as_i64(), pair[1].version.as_i64());
    events.windows(2).map(versions).all(|(one, next)| one + step == next)
}

/// A snapshot, and the events of its stream, from the rows of `load_from_snapshot.sql`.
fn snapshot_and_part(rows: &[Row]) -> Result<(Option<Snapshot>, StreamPart)> {
    let (mut snapshot, mut part) = (None, PartDecoder::with_capacity(rows.len()));
    for row in rows {
        match rows::snapshot_among_events(&Cells(row))? {
            Some(found) => snapshot = Some(found),
            None => part.add(row)?,
        }
    }
    Ok((snapshot, part.part))
}

/// The events of a stream, and its archived part, from the rows of `load.sql`.
fn stream_part(rows: &[Row]) -> Result<StreamPart> {
    let mut part = PartDecoder::with_capacity(rows.len());
    rows.iter().try_for_each(|row| part.add(row))?;
    Ok(part.part)
}

/// Decodes the rows of a part of a stream.
struct PartDecoder {
    part: StreamPart,
    decoder: EventDecoder,
}

impl PartDecoder {
    fn with_capacity(events: usize) -> Self {
        Self {
            part: StreamPart::new(Vec::with_capacity(events), None),
            decoder: EventDecoder::default(),
        }
    }

    fn add(&mut self, row: &Row) -> Result<()> {
        match row::archived_among_events(&Cells(row))? {
            Some(archived) => self.part.archived = Some(archived),
            None => self.part.events.push(self.decoder.event(&Cells(row))?),
        }
        Ok(())
    }
}

/// Proves the current mark.
pub(crate) fn mark<C: GenericClient>(session: &mut Session<'_, C>) -> Result<GlobalSequence> {
    let rows = session.query(sql::MARK, &[]).map_err(classify_mark)?;
    let marks = decode(&rows, |row| GlobalSequence::try_from(get::<i64>(row, 0)?))?;
    Ok(marks.into_iter().next().expect("a function returns one row"))
}

/// Proves the mark and publishes it in one statement. Two statements might reach two servers, of which one is a promoted standby with fewer
/// events.
pub(crate) fn publish_mark<C: GenericClient>(session: &mut Session<'_, C>) -> Result<GlobalSequence> {
    let rows = session.query(sql::PUBLISH_MARK, &[]).map_err(classify_mark)?;
    let published = decode(&rows, |row| {
        let published = GlobalSequence::try_from(get::<i64>(row, 0)?)?;
        let end = GlobalSequence::try_from(get::<i64>(row, 1)?)?;
        Ok((published, end))
    })?;
    let (published, end) = published
        .into_iter()
        .next()
        .expect("a row that is inserted or updated is returned");
    // Another session may have published a mark that this statement does not see.
    backend::check_end(published, end, || end_of_log(session))?;
    Ok(published)
}

/// The greatest committed sequence; 0 if there is no event.
pub(crate) fn end_of_log<C: GenericClient>(session: &mut Session<'_, C>) -> Result<GlobalSequence> {
    let ends = session.query(sql::END_OF_LOG, &[]).map_err(classify)?;
    let ends = decode(&ends, |row| GlobalSequence::try_from(get::<i64>(row, 0)?))?;
    Ok(ends.into_iter().next().expect("an aggregate query returns one row"))
}

/// The published mark, as this server shows it.
pub(crate) fn published_mark<C: GenericClient>(session: &mut Session<'_, C>) -> Result<PublishedMark> {
    let shown = session.select(sql::PUBLISHED_MARK, &[], |row| {
        let mut shown = PublishedMark::new(Cells(row).sequence(0)?, Cells(row).sequence(1)?);
        shown.may_be_behind = get(row, 2)?;
        shown.age = get(row, 3)?;
        Ok(shown)
    })?;
    PublishedMark::checked(shown.into_iter().next())
}

/// The events in a window of the log, and the end of the log. Fails if archived events are needed.
///
/// In a partitioned log, the first statement looks only into the partition that probably fills the page, because each one that it might look
/// into takes time. If the page is not full then, another statement looks into the rest of the window. Where partitions begin may have
/// changed since the store looked. That makes no difference to the page: it is always read up to its end, or that of the window.
///
/// If a part of the window may be archived, the window is read again in one transaction whose statements see one state. In one state, each
/// event is either in the log or archived. Otherwise an event that is attached meanwhile could be found in neither place.
pub(crate) fn find(
    session: &mut Session<'_, Client>,
    query: &EventQuery,
    window: &Window,
    indexes: &[String],
    starts: &Starts,
    usual: &UsualSize,
) -> Result<Found> {
    let driver = driver(query, indexes);
    let starts = starts_for(session, driver, query, starts)?;
    let (found, archived_until) = look(session, query, window, driver, &starts, usual)?;
    if query.skips_archived() || archived_until.is_none_or(|until| until <= window.after) {
        return Ok(found);
    }
    session.in_one_state(|session| {
        let (found, archived_until) = look(session, query, window, driver, &starts, usual)?;
        backend::check_archived(query, window, &found.events, archived_until, |covered| {
            archive_in(session, query.filter(), covered)
        })?;
        Ok(found)
    })
}

/// Returns the window's events that are in the log, the end of the log, and the last archived sequence, if any.
///
/// A statement limits the number and the size of the rows, which together fill a page and a quarter. Larger rows are fetched one by one.
/// This is rare, because each statement learns the usual size from earlier ones.
fn look<C: GenericClient>(
    session: &mut Session<'_, C>,
    query: &EventQuery,
    window: &Window,
    driver: Driver,
    mut starts: &[GlobalSequence],
    usual: &UsualSize,
) -> Result<(Found, Option<GlobalSequence>)> {
    let mut window = *window;
    let most = window.rows;
    let mut events = PageEvents::new(&window);
    let (mut end, mut archived_until) = (None, None);
    let mut decoder = EventDecoder::default();
    while !events.is_full() && window.after < window.until {
        let left = most.saturating_sub(u32::try_from(events.len()).unwrap_or(most));
        let (asked, largest) = share(usual, left, window.bytes);
        window.rows = asked;
        let part = first_part(query, &window, starts);
        let statement = LogStatement::new(session.layout, driver, query, &part, largest);
        let rows = statement.query(session).map_err(classify)?;
        // One of the rows is not an event.
        let is_last = rows.len() <= asked as usize;
        let mut seen = Seen::default();
        events.reserve(rows.len());
        for row in rows {
            if row::is_null(&row, 0)? {
                let sequence = |index| {
                    get::<Option<i64>>(&row, index)?
                        .map(GlobalSequence::try_from)
                        .transpose()
                };
                end = sequence(3)?;
                archived_until = archived_until.max(sequence(4)?);
                continue;
            }
            if events.is_full() {
                continue;
            }
            let before = events.bytes();
            let is_withheld = row::is_null(&row, 6)?;
            events.push(match is_withheld {
                false => decoder.event(&Cells(&row))?,
                true => large_event(session, &row)?,
            });
            seen.add(events.bytes() - before, is_withheld);
        }
        learn(usual, &seen);
        match events.last().filter(|_| !is_last) {
            Some(last) => window.go_on_beyond(query, Position::of(last)),
            None => {
                match query.direction() {
                    Direction::Forwards => window.after = part.until,
                    Direction::Backwards => window.until = part.after,
                }
                starts = &[];
            }
        }
    }
    Ok((Found::new(events, end), archived_until))
}

/// The filter, or the order, whose index finds the events.
fn driver(query: &EventQuery, indexes: &[String]) -> Driver {
    let filter = query.filter();
    let metadata = MetadataIndex::Broad("idx_events_metadata_gin");
    let metadata = filter.metadata.as_ref().map(|_| metadata);
    // The unique indexes on ids and streams always exist, by the names that the layout has.
    let is_key = |index: &str| matches!(index, "idx_events_event_id" | "idx_events_aggregate_version");
    let is_there = |index: &str| is_key(index) || indexes.iter().any(|name| name == index);
    Driver::of(filter, query.order() == Order::Time, metadata, is_there)
}

/// The first sequences of the partitions, if it is worth while to read a part of the window first.
fn starts_for(
    session: &mut Session<'_, Client>,
    driver: Driver,
    query: &EventQuery,
    starts: &Starts,
) -> Result<Arc<[GlobalSequence]>> {
    match session.layout == Layout::Partitioned && fills_along_the_log(driver, query) {
        true => starts.known(session),
        false => Ok(Arc::default()),
    }
}

/// Whether the page is read in the order of the log, and its filter usually finds so many events that they fill the page within one
/// partition.
fn fills_along_the_log(driver: Driver, query: &EventQuery) -> bool {
    let are_many = matches!(
        driver,
        Driver::EventTypes | Driver::Creator | Driver::Tenant | Driver::AggregateTypes | Driver::Sequence
    );
    are_many && query.order() == Order::Sequence
}

/// The part of a window that is read first: up to the end of the partition in which a page without gaps would end.
fn first_part(query: &EventQuery, window: &Window, starts: &[GlobalSequence]) -> Window {
    let rows = u64::from(window.rows);
    let mut part = *window;
    match query.direction() {
        Direction::Forwards => {
            let filled = window.after.get().saturating_add(rows);
            if let Some(next) = starts.iter().find(|start| start.get() > filled) {
                part.until = window.until.min(before(*next));
            }
        }
        Direction::Backwards => {
            let filled = window.until.get().saturating_sub(rows);
            if let Some(own) = starts.iter().rfind(|start| start.get() <= filled) {
                part.after = window.after.max(before(*own));
            }
        }
    }
    part
}

fn before(start: GlobalSequence) -> GlobalSequence {
    GlobalSequence::new(start.get().saturating_sub(1)).expect("a smaller sequence is a sequence")
}

/// Fetches an event that is too large to be sent among others.
fn large_event<C: GenericClient>(session: &mut Session<'_, C>, found: &Row) -> Result<EventEnvelope> {
    let (aggregate, version): (Uuid, i64) = (get(found, 1)?, get(found, 3)?);
    let rows = session.query(sql::LOAD, &[&aggregate, &version, &version, &Some(1_i64)]);
    stream_part(&rows.map_err(classify)?)?
        .events
        .pop()
        .ok_or_else(|| Error::new(unavailable("an event was deleted while it was read")))
}

/// Sizes of the events that a statement returned.
#[derive(Default)]
struct Seen {
    events: u64,
    /// The largest event that was sent at once, and the largest of all.
    largest_sent: u64,
    largest: u64,
    withheld: u64,
}

impl Seen {
    fn add(&mut self, bytes: u64, is_withheld: bool) {
        self.events += 1;
        self.largest = self.largest.max(bytes);
        if is_withheld {
            self.withheld += 1;
        } else {
            self.largest_sent = self.largest_sent.max(bytes);
        }
    }
}

/// How many more rows to ask for, and how many bytes a row may have.
fn share(usual: &UsualSize, left: u32, page_bytes: u64) -> (u32, i32) {
    let bytes = page_bytes.saturating_add(page_bytes / 4);
    let rows = usual.events(left, bytes);
    // A single row is sent whatever its size, so that a page has at least one.
    let largest = if rows == 1 { u64::MAX } else { bytes / u64::from(rows) };
    (rows, i32::try_from(largest).unwrap_or(i32::MAX))
}

/// Learns the size that nearly all events keep to, from a statement that sent no row beyond its limit.
fn learn(usual: &UsualSize, seen: &Seen) {
    if seen.events == 0 {
        return;
    }
    let are_many = seen.withheld * 16 > seen.events;
    usual.learn(if are_many {
        seen.largest
    } else {
        seen.largest_sent.max(usual.bytes() / 2)
    });
}

/// How PostgreSQL finds the page, or its first part: the plan with these values, and the plan without values, unless the driver never uses
/// that.
pub(crate) fn explain(
    session: &mut Session<'_, Client>,
    query: &EventQuery,
    cursor: Option<&Cursor>,
    indexes: &[String],
    starts: &Starts,
) -> Result<Vec<Vec<String>>> {
    let mark = cursor.map_or(GlobalSequence::MAX, Cursor::high_water_mark);
    let driver = driver(query, indexes);
    let starts = starts_for(session, driver, query, starts)?;
    let part = first_part(query, &query.window(cursor, mark), &starts);
    let statement = LogStatement::new(session.layout, driver, query, &part, i32::MAX);
    let mut plans = vec![statement.custom_plan(session).map_err(classify)?];
    if !statement.is_planned_anew() {
        plans.push(statement.generic_plan(session).map_err(classify)?);
    }
    plans.iter().map(|lines| decode(lines, |line| get(line, 0))).collect()
}

/// `log.sql` with the filters of a query. Every value is a bound parameter.
///
/// One filter *drives*: its index is walked in the requested order, and the other filters are checked on its rows. PostgreSQL's own choice
/// depends on statistics that it may not have. After some executions, it does not even depend on the values: PostgreSQL then assumes that a
/// range of sequences has one row in 200, reads the whole range for each page, and sorts it. So the driver chooses, and writes the
/// statement so that no other index fits:
///
/// - `column = ANY(ARRAY[$5])` is not known to be a single value. So the order is that of the column and the sequence together, which only
///   the index on both has.
/// - `(global_sequence, 0) <= ($3, 0)` ends the walk as `global_sequence <= $3` would. But PostgreSQL does not see a range, and expects
///   more rows than a page takes.
/// - A checked condition is compared as a number. No index fits that, and PostgreSQL expects it to be true.
/// - The rows of a filter that finds few are sorted by an expression.
/// - Along the log, a known limit, such as `LIMIT 128`, stands within `LIMIT $4`. Without values, PostgreSQL takes `LIMIT $4` for a tenth of
///   the log, and so plans the statement anew at each execution, which takes longer than to read the page. In the order of time, it would
///   rather sort so few rows than walk the index.
struct LogStatement<'q> {
    driver: Driver,
    /// The window of sequences as the driving condition.
    along_the_log: String,
    sql: String,
    parameters: Vec<Box<dyn ToSql + Sync + 'q>>,
}

/// The rows that a driving filter finds, or some of them: an arm of a union.
struct Arm {
    condition: String,
    order: String,
    /// The column that has the same value in the whole arm, and that value.
    of: Option<(&'static str, String)>,
}

impl<'q> LogStatement<'q> {
    fn new(layout: Layout, driver: Driver, query: &'q EventQuery, window: &Window, largest: i32) -> Self {
        let filter = query.filter();
        let mut statement = Self {
            driver,
            along_the_log: match layout {
                Layout::Whole => ALONG_THE_LOG.to_owned(),
                Layout::Partitioned => format!("{ALONG_THE_LOG}\n  AND {IN_PARTITIONS}"),
            },
            sql: String::new(),
            parameters: vec![
                Box::new(largest),
                Box::new(window.after.as_i64().saturating_add(1)),
                Box::new(window.until.as_i64()),
                Box::new(i64::from(window.rows)),
            ],
        };
        let mut checks = statement.checks(filter);
        let arms = statement.arms(query, window, &mut checks);
        let checked = match checks.is_empty() {
            true => String::new(),
            false => format!("\n  AND ({})::integer <> 0", checks.join("\n  AND ")),
        };
        let log = match statement.driver {
            Driver::EventIds | Driver::Aggregate => {
                sql::LOG.replace("FROM events\n", "FROM events /* by their keys */ AS events\n")
            }
            _ => sql::LOG.to_owned(),
        };
        let log = log.trim_end();
        let most = match query.order() {
            Order::Time => "$4".to_owned(),
            _ => known_limit(window.rows).to_string(),
        };
        let one = |arm: &Arm| {
            format!(
                "{log}\nWHERE firefly_here()\n  AND {}{checked}\nORDER BY {}\nLIMIT {most}",
                arm.condition, arm.order
            )
        };
        let order = in_order(query, order_of(query));
        // An arm has a single type. So PostgreSQL knows that the arm is in the order of the whole, and merges instead of sorting.
        let merged = |arm: &Arm| {
            let (column, value) = arm.of.as_ref().expect("several arms are several types");
            format!(
                "(SELECT * FROM (\n{}\n) AS arm WHERE {column} = {value} ORDER BY {order})",
                one(arm)
            )
        };
        let events = match &arms[..] {
            [arm] => format!("SELECT * FROM (\n{}\n) AS arm", one(arm)),
            arms => {
                let arms: Vec<String> = arms.iter().map(merged).collect();
                format!("{}\nORDER BY {order}", arms.join("\nUNION ALL\n"))
            }
        };
        statement.sql = format!("({events}\nLIMIT $4)\nUNION ALL\n{}", sql::LOG_END);
        statement
    }

    fn query<C: GenericClient>(&self, session: &mut Session<'_, C>) -> Result<Vec<Row>, postgres::Error> {
        if self.is_planned_anew() {
            session.client.query(&*session.layout.of(&self.sql), &self.values())
        } else {
            session.query(&self.sql, &self.values())
        }
    }

    /// Whether the statement is planned at each execution, which costs a round trip. A kept plan may be from a time with few rows, and for
    /// any values: with these driving filters, it may walk the whole log for ever.
    fn is_planned_anew(&self) -> bool {
        matches!(self.driver, Driver::Metadata(_) | Driver::EventIds | Driver::Time)
    }

    fn custom_plan<C: GenericClient>(&self, session: &mut Session<'_, C>) -> Result<Vec<Row>, postgres::Error> {
        session.client.query(
            &format!("EXPLAIN (COSTS OFF) {}", session.layout.of(&self.sql)),
            &self.values(),
        )
    }

    /// No value can be bound to an `EXPLAIN EXECUTE`. The generic plan does not depend on the values, but those of the window exclude
    /// partitions when it starts.
    fn generic_plan<C: GenericClient>(&self, session: &mut Session<'_, C>) -> Result<Vec<Row>, postgres::Error> {
        let mut values = vec!["NULL".to_owned(); self.parameters.len()];
        for (value, parameter) in values.iter_mut().zip(&self.parameters[..4]) {
            *value = format!("{parameter:?}");
        }
        let values = values.join(", ");
        let mut transaction = session.client.transaction()?;
        transaction.batch_execute(&format!(
            "SET LOCAL plan_cache_mode = force_generic_plan; PREPARE explained AS {}",
            session.layout.of(&self.sql)
        ))?;
        let plan = transaction.query(&format!("EXPLAIN (COSTS OFF) EXECUTE explained ({values})"), &[])?;
        transaction.batch_execute("DEALLOCATE explained")?;
        transaction.rollback()?;
        Ok(plan)
    }

    fn values(&self) -> Vec<&(dyn ToSql + Sync)> {
        self.parameters.iter().map(|value| &**value).collect()
    }

    /// The conditions of the filters that do not drive.
    fn checks(&mut self, filter: &'q EventFilter) -> Vec<String> {
        let mut checks = Vec::new();
        let driver = self.driver;
        if let Some(ids) = filter.event_ids.as_ref().filter(|_| driver != Driver::EventIds) {
            let ids = self.bind(ids.clone());
            checks.push(format!("event_id = ANY({ids})"));
        }
        if let Some(types) = filter.event_types.as_ref().filter(|_| driver != Driver::EventTypes) {
            let types = self.bind(types.iter().map(EventType::to_string).collect::<Vec<_>>());
            checks.push(format!("event_type = ANY({types})"));
        }
        let types = filter.aggregate_types.as_ref();
        if let Some(types) = types.filter(|_| driver != Driver::AggregateTypes) {
            let types = self.bind(types.iter().map(AggregateType::to_string).collect::<Vec<_>>());
            checks.push(format!("aggregate_type = ANY({types})"));
        }
        let equalities = Driver::equalities(filter).into_iter();
        for (_, column, value) in equalities.filter(|(drives, ..)| *drives != driver) {
            let value = self.bind(Parameter(value));
            checks.push(format!("{column} = {value}"));
        }
        if let Some(metadata) = filter
            .metadata
            .as_ref()
            .filter(|_| !matches!(driver, Driver::Metadata(_)))
        {
            let metadata = self.bind(metadata.as_str().to_owned());
            checks.push(format!("metadata @> {metadata}::text::jsonb"));
        }
        checks
    }

    /// The rows that the driving filter finds, and their order. Conditions that its index does not cover are added to the checks.
    fn arms(&mut self, query: &'q EventQuery, window: &Window, checks: &mut Vec<String>) -> Vec<Arm> {
        let filter = query.filter();
        let by_time = query.order() == Order::Time;
        let arm = |condition, order: &[&str]| Arm {
            condition,
            order: in_order(query, order),
            of: None,
        };
        // Filters that find few rows: these are sorted.
        let little: &[&str] = match by_time {
            true => &["created_at AT TIME ZONE 'UTC'", "global_sequence"],
            false => &["global_sequence + 0"],
        };
        let time = self.time(query, window);
        let condition = match self.driver {
            Driver::EventIds => {
                let ids = self.bind(filter.event_ids.clone());
                format!("event_id = ANY({ids})")
            }
            Driver::Aggregate => {
                let id = self.bind(filter.aggregate_id);
                format!("aggregate_id = {id}")
            }
            Driver::Metadata(_) => {
                let metadata = self.bind(filter.metadata.as_ref().map(|part| part.as_str().to_owned()));
                // From here on, PostgreSQL chooses between the log and the index on metadata, by its statistics of the values.
                let (from_here, until_there) = match query.direction() {
                    Direction::Forwards => ("global_sequence >= $2", "global_sequence <= $3"),
                    Direction::Backwards => ("global_sequence <= $3", "global_sequence >= $2"),
                };
                checks.push(until_there.to_owned());
                checks.extend(time);
                let condition = format!("{from_here}\n  AND metadata @> {metadata}::text::jsonb");
                return vec![arm(condition, order_of(query))];
            }
            Driver::EventTypes => {
                let types = filter.event_types.iter().flatten().map(EventType::to_string).collect();
                return self.types(query, "event_type", types, time, checks);
            }
            Driver::AggregateTypes => {
                let types = filter
                    .aggregate_types
                    .iter()
                    .flatten()
                    .map(AggregateType::to_string)
                    .collect();
                return self.types(query, "aggregate_type", types, time, checks);
            }
            Driver::Time => {
                checks.push(WITHIN.to_owned());
                let time = time.unwrap_or_else(|| "created_at IS NOT NULL".to_owned());
                return vec![arm(time, &["created_at", "global_sequence"])];
            }
            Driver::Sequence => {
                checks.extend(time);
                return vec![arm(self.along_the_log.clone(), order_of(query))];
            }
            Driver::Correlation | Driver::Causation | Driver::Creator | Driver::Tenant => {
                let mut equalities = Driver::equalities(filter).into_iter();
                let drives = equalities.find(|(drives, ..)| *drives == self.driver);
                let (_, column, value) = drives.expect("a filter drives that there is");
                let value = self.bind(Parameter(value));
                if by_time {
                    format!("{column} = {value}")
                } else {
                    checks.extend(time);
                    return vec![arm(self.along(column, &value), &[column, "global_sequence"])];
                }
            }
        };
        checks.push(WITHIN.to_owned());
        checks.extend(time);
        vec![arm(condition, little)]
    }

    /// One arm for each type. Each is read in order from the index on types, and the arms are merged.
    fn types(
        &mut self,
        query: &EventQuery,
        column: &'static str,
        types: Vec<String>,
        time: Option<String>,
        checks: &mut Vec<String>,
    ) -> Vec<Arm> {
        let by_time = query.order() == Order::Time;
        if by_time {
            checks.push(WITHIN.to_owned());
        } else {
            checks.extend(time.clone());
        }
        let mut arms = Vec::new();
        for one in types {
            let value = self.bind(one);
            let (condition, order) = if by_time {
                let time = time.as_ref().map(|time| format!("\n  AND {time}")).unwrap_or_default();
                // In this index, times descend within a type.
                let opposite = if query.direction() == Direction::Forwards {
                    "DESC"
                } else {
                    "ASC"
                };
                let order = in_order(query, &["created_at", "global_sequence"]);
                let one_type = format!("{column} = ANY(ARRAY[{value}])");
                (format!("{one_type}{time}"), format!("{column} {opposite}, {order}"))
            } else {
                (
                    self.along(column, &value),
                    in_order(query, &[column, "global_sequence"]),
                )
            };
            arms.push(Arm {
                condition,
                order,
                of: Some((column, value)),
            });
        }
        arms
    }

    /// The bounds of the time: those of the query, and the end of the previous page.
    fn time(&mut self, query: &EventQuery, window: &Window) -> Option<String> {
        let filter = query.filter();
        let (mut from, mut until) = (filter.created_from, filter.created_until);
        let mut bounds = Vec::new();
        if let Some(at) = window.beyond {
            // A single bound on this side. PostgreSQL would estimate two bounds as two independent filters.
            let comparison = match query.direction() {
                Direction::Forwards => {
                    from = None;
                    ">"
                }
                Direction::Backwards => {
                    until = None;
                    "<"
                }
            };
            let (time, sequence) = (self.bind(at.created_at), self.bind(at.global_sequence.as_i64()));
            bounds.push(format!(
                "(created_at, global_sequence) {comparison} ({time}, {sequence})"
            ));
        }
        for (comparison, time) in [(">=", from), ("<=", until)] {
            let Some(time) = time else { continue };
            let time = self.bind(row::floor(time));
            bounds.push(format!("(created_at, 0) {comparison} ({time}, 0)"));
        }
        (!bounds.is_empty()).then(|| bounds.join("\n  AND "))
    }

    /// The window of sequences for one value of a column, as an index on both has it.
    fn along(&self, column: &str, value: &str) -> String {
        format!("{column} = ANY(ARRAY[{value}])\n  AND {}", self.along_the_log)
    }

    fn bind(&mut self, value: impl ToSql + Sync + 'q) -> String {
        self.parameters.push(Box::new(value));
        format!("${}", self.parameters.len())
    }
}

/// A limit that is not far above the wanted one, and is written into the statement. There are few of them, so there are few statements.
fn known_limit(wanted: u32) -> u64 {
    u64::from(wanted).next_power_of_two().max(16)
}

/// The window of sequences as a checked condition.
const WITHIN: &str = "global_sequence BETWEEN $2 AND $3";

/// The window of sequences as the driving condition.
const ALONG_THE_LOG: &str = "global_sequence >= $2\n  AND (global_sequence, 0) <= ($3, 0)";

/// The end of the window again, in a form that excludes the partitions after it when the statement starts. PostgreSQL does not see a range in
/// this form, either.
const IN_PARTITIONS: &str = "(global_sequence < $3 OR global_sequence = $3)";

/// The columns of the requested order.
fn order_of(query: &EventQuery) -> &'static [&'static str] {
    match query.order() {
        Order::Time => &["created_at", "global_sequence"],
        _ => &["global_sequence"],
    }
}

fn in_order(query: &EventQuery, keys: &[&str]) -> String {
    let direction = match query.direction() {
        Direction::Forwards => "ASC",
        Direction::Backwards => "DESC",
    };
    let keys: Vec<String> = keys.iter().map(|key| format!("{key} {direction}")).collect();
    keys.join(", ")
}

/// The summaries of aggregates: the current ones, or those of the last refresh.
pub(crate) fn summaries<C: GenericClient>(
    session: &mut Session<'_, C>,
    query: &SummaryQuery,
) -> Result<Vec<AggregateSummary>> {
    let aggregate_type = query.aggregate_type.as_ref().map(AggregateType::as_str);
    let tenant = query.tenant.as_ref().map(TenantId::as_str);
    let limit = query.limit.map(i64::from);
    let rows = if query.as_of_last_refresh {
        session.query(
            sql::REFRESHED_SUMMARIES,
            &[&query.after, &aggregate_type, &tenant, &limit],
        )
    } else {
        // Only the given filters, so that a generic plan uses their indexes, too.
        let mut condition = "WHERE firefly_here()".to_owned();
        let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&limit];
        let filters: [(&str, bool, &(dyn ToSql + Sync)); 3] = [
            ("aggregate_id >", query.after.is_some(), &query.after),
            ("aggregate_type =", aggregate_type.is_some(), &aggregate_type),
            ("tenant_id =", tenant.is_some(), &tenant),
        ];
        for (filter, _, value) in filters.into_iter().filter(|(_, is_set, _)| *is_set) {
            parameters.push(value);
            condition += &format!("\n  AND {filter} ${}", parameters.len());
        }
        let statement = sql::AGGREGATE_SUMMARIES.replacen("WHERE firefly_here()", &condition, 1);
        session.query(&statement, &parameters)
    };
    decode(&rows.map_err(classify)?, |row| rows::summary(&Cells(row)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "these are tests")]

    use std::num::NonZeroU32;

    use firefly_eventstore_core::operate::Operations as _;
    use firefly_eventstore_core::prelude::*;
    use firefly_eventstore_test_servers::postgres_unless_missing;

    use super::*;
    use crate::{Partitions, PostgresEventStore};

    #[test]
    fn a_page_is_the_same_wherever_a_store_believes_that_partitions_begin() {
        let Some(server) = postgres_unless_missing() else {
            return;
        };
        let database = server.new_database();
        let builder = PostgresEventStore::builder(database.url()).partitions(Partitions::by_events(10));
        let store = builder.migrate_on_open(true).open().unwrap();
        for round in 0..30 {
            let aggregate = AggregateKey::new("Account", Uuid::now_v7()).unwrap();
            let events = [["a", "b"], ["b", "c"]][round % 2].map(|of_type| NewEvent::from_json(of_type, "{}").unwrap());
            store.append(&aggregate, ExpectedVersion::NoStream, &events).unwrap();
            store.add_partitions().unwrap();
        }

        let mut random = fastrand::Rng::with_seed(1);
        let mut believed = vec![vec![], vec![1], vec![31], vec![GlobalSequence::MAX.get()]];
        believed.push((1..6).map(|start| start * 10 + 1).collect());
        believed.push((1..70).collect());
        for _ in 0..10 {
            let mut starts: Vec<u64> = (0..random.usize(1..8)).map(|_| random.u64(0..80)).collect();
            starts.sort_unstable();
            believed.push(starts);
        }
        let all = EventQuery::new;
        let queries = [
            all(),
            all().event_types(["a"]).unwrap(),
            all().event_types(["a", "c"]).unwrap(),
            all().event_types(["d"]).unwrap(),
            all().aggregate_types(["Account"]).unwrap().event_types(["b"]).unwrap(),
            all().after(GlobalSequence::from(13)).until(GlobalSequence::from(47)),
        ];
        for query in queries.into_iter().flat_map(|query| [query.clone(), query.backwards()]) {
            for size in [2, 7, 100] {
                let query = query.clone().page_size(NonZeroU32::new(size).unwrap());
                let expected = pages(&store, &query, &[]);
                assert!(expected.windows(2).all(|pages| pages[0].len() == size as usize));
                for starts in &believed {
                    let starts: Vec<_> = starts
                        .iter()
                        .map(|start| GlobalSequence::new(*start).unwrap())
                        .collect();
                    assert_eq!(pages(&store, &query, &starts), expected, "{query:?}: {starts:?}");
                }
            }
        }
    }

    /// The sequences in the pages of a query, as a store reads them that believes that partitions begin there.
    fn pages(store: &PostgresEventStore, query: &EventQuery, starts: &[GlobalSequence]) -> Vec<Vec<u64>> {
        let mark = store.high_water_mark().unwrap();
        let indexes = ["idx_events_type", "idx_events_aggregate_type"].map(str::to_owned);
        let (mut pages, mut cursor) = (Vec::new(), None);
        loop {
            let window = query.window(cursor.as_ref(), mark);
            let found = store.with(|session| {
                let usual = UsualSize::guessed(1);
                look(session, query, &window, driver(query, &indexes), starts, &usual)
            });
            let page = found.unwrap().0.events.into_page(query, cursor.as_ref(), mark);
            pages.push(page.events.iter().map(|event| event.global_sequence.get()).collect());
            cursor = page.next;
            if cursor.is_none() {
                return pages;
            }
        }
    }
}
