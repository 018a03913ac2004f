//! Which archive a page of the log needs.

use firefly_eventstore_core::backend::kinds::altered;
use firefly_eventstore_core::backend::rows;
use firefly_eventstore_core::backend::{EventFilter, Window};
use firefly_eventstore_core::operate::Archive;
use firefly_eventstore_core::{AggregateType, Result, TenantId};
use mysql::Value;
use mysql::prelude::Queryable;
use time::OffsetDateTime;

use crate::error::classify;
use crate::row::{Cells, decode, integer, optional, text, time_value};
use crate::session::Session;
use crate::sql::{self, Layout};

/// The first archive that may have an event in a window that passes the filters, and how often events were attached so far.
pub(super) fn archive_with<C: Queryable>(
    session: &mut Session<'_, C>,
    filter: &EventFilter,
    window: &Window,
) -> Result<(Option<Archive>, i64)> {
    let time = |time: Option<OffsetDateTime>| time.map_or(Value::NULL, time_value);
    let (from, until) = (time(filter.created_from), time(filter.created_until));
    let bounds = [window.after.as_i64(), window.until.as_i64()].map(Value::from);
    let (events, values) = events(filter, &bounds, session.server.layout);
    let statement = sql::ARCHIVED_IN.replace("{events}", &events);
    let values = [&bounds[..], &[from.clone(), from, until.clone(), until], &values].concat();
    let rows = session.query(&statement, values).map_err(classify)?;
    let found = decode(&rows, |row| {
        let archive = optional(row, 0, text)?
            .map(|_| rows::archive(&Cells(row)))
            .transpose()?;
        Ok((archive, integer(row, 11)?))
    })?;
    let found = found.into_iter().next();
    found.ok_or_else(|| altered("the row of firefly_moves is missing"))
}

/// A condition that finds events of the archive `archives` in a window that may pass the filters, by the index that finds the fewest.
fn events(filter: &EventFilter, bounds: &[Value; 2], layout: Layout) -> (String, Vec<Value>) {
    let mut conditions = vec![
        "event.global_sequence > ?".to_owned(),
        "event.global_sequence <= ?".to_owned(),
        "event.global_sequence BETWEEN archives.first_sequence AND archives.last_sequence".to_owned(),
    ];
    if layout == Layout::Partitioned {
        conditions.push(sql::has_left().to_owned());
    }
    let mut values = bounds.to_vec();
    let mut add = |condition: String, bound: Vec<Value>| {
        conditions.push(condition);
        values.extend(bound);
    };
    let event = |index: &str| format!("firefly_archived_events AS event FORCE INDEX ({index})");
    let (by_id, by_version) = ("idx_archived_events_event_id", "idx_archived_events_version");
    let stream = "firefly_archived_streams AS stream";
    let is_of_stream = "stream.aggregate_id = event.aggregate_id";
    let asks_for_streams = filter.tenant.is_some() || filter.aggregate_types.is_some();
    let tables = match (&filter.event_ids, filter.aggregate_id, asks_for_streams) {
        (Some(_), _, false) => event(by_id),
        (Some(_), _, true) => format!("{} STRAIGHT_JOIN {stream} ON {is_of_stream}", event(by_id)),
        (None, Some(_), false) => event(by_version),
        (None, _, true) => {
            let [after, until] = bounds;
            add("stream.last_sequence > ?".to_owned(), vec![after.clone()]);
            add("stream.first_sequence <= ?".to_owned(), vec![until.clone()]);
            format!("{stream} STRAIGHT_JOIN {} ON {is_of_stream}", event(by_version))
        }
        (None, None, false) => event("PRIMARY"),
    };
    if let Some(ids) = &filter.event_ids {
        let list = sql::list(ids.len());
        let ids = ids.iter().map(|id| Value::from(*id)).collect();
        add(format!("event.event_id IN {list}"), sql::padded(ids, Value::NULL));
    }
    if let Some(id) = filter.aggregate_id {
        add("event.aggregate_id = ?".to_owned(), vec![id.into()]);
    }
    if let Some(tenant) = &filter.tenant {
        add("stream.tenant_id = ?".to_owned(), vec![TenantId::as_str(tenant).into()]);
    }
    if let Some(types) = &filter.aggregate_types {
        let list = sql::list(types.len());
        let types = types.iter().map(|one| AggregateType::as_str(one).into()).collect();
        add(
            format!("stream.aggregate_type IN {list}"),
            sql::padded(types, Value::NULL),
        );
    }
    let events = format!("SELECT 1 FROM {tables} WHERE {}", conditions.join(" AND "));
    (events, values)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "these are tests")]

    use firefly_eventstore_core::prelude::*;
    use firefly_eventstore_test_servers::{MysqlServer, mariadb_unless_missing, mysql_unless_missing};
    use mysql::prelude::Queryable;
    use mysql::{Conn, Row, Value};

    use super::events;
    use crate::sql::{self, Layout};
    use crate::{MysqlEventStore, Partitions};

    #[test]
    fn mysql_finds_archived_events_by_the_index_that_finds_the_fewest() {
        if let Some(server) = mysql_unless_missing() {
            finds_archived_events_by_the_index_that_finds_the_fewest(server);
        }
    }

    #[test]
    fn mariadb_finds_archived_events_by_the_index_that_finds_the_fewest() {
        if let Some(server) = mariadb_unless_missing() {
            finds_archived_events_by_the_index_that_finds_the_fewest(server);
        }
    }

    fn finds_archived_events_by_the_index_that_finds_the_fewest(server: &MysqlServer) {
        for layout in [Layout::Whole, Layout::Partitioned] {
            finds_archived_events_in(server, layout);
        }
    }

    fn finds_archived_events_in(server: &MysqlServer, layout: Layout) {
        let database = server.new_database();
        let builder = MysqlEventStore::builder(database.url());
        match layout {
            Layout::Whole => builder.migrate().unwrap(),
            Layout::Partitioned => builder.partitions(Partitions::by_events(100)).migrate().unwrap(),
        };
        let mut client = Conn::new(database.url()).unwrap();
        for statement in [
            "SET @@cte_max_recursion_depth = 10000",
            "SET @@max_recursive_iterations = 10000",
        ] {
            // Each server has only one of these settings.
            let _ = client.query_drop(statement);
        }
        for statement in [
            "INSERT INTO firefly_archived_events
             WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 5000)
             SELECT n, UNHEX(LPAD(HEX(n), 32, '0')), UNHEX(LPAD(HEX(n DIV 10), 32, '0')), n MOD 10 + 1, UNHEX(SHA2(n, 256)) FROM n",
            "INSERT INTO firefly_archived_streams (aggregate_id, aggregate_type, tenant_id, version, last_event_id, first_sequence,
                 last_sequence, created_until)
             SELECT aggregate_id, 'Account', IF(MIN(global_sequence) < 100, 'acme', NULL), MAX(aggregate_version), MAX(event_id),
                    MIN(global_sequence), MAX(global_sequence), UTC_TIMESTAMP(6) FROM firefly_archived_events GROUP BY aggregate_id",
            "INSERT INTO firefly_archives
             VALUES (REPEAT('0', 64), 1, 5000, 5000, UTC_TIMESTAMP(6), UTC_TIMESTAMP(6), '', UTC_TIMESTAMP(6), NULL, NULL, TRUE)",
        ] {
            client.query_drop(statement).unwrap();
        }
        let everything = EventQuery::new;
        let id = Uuid::from_u128(5);
        let acme = || TenantId::new("acme").unwrap();
        for (query, index) in [
            (everything(), "PRIMARY"),
            (everything().aggregate_id(id), "idx_archived_events_version"),
            (everything().event_ids([id]), "idx_archived_events_event_id"),
            (everything().tenant(acme()).unwrap(), "idx_archived_events_version"),
            (
                everything().aggregate_types(["Account"]).unwrap(),
                "idx_archived_events_version",
            ),
            (
                everything().event_ids([id]).tenant(acme()).unwrap(),
                "idx_archived_events_event_id",
            ),
        ] {
            let bounds = [0, 5000].map(Value::from);
            let (events, values) = events(query.filter(), &bounds, layout);
            let statement = format!(
                "EXPLAIN FORMAT = TRADITIONAL {}",
                sql::ARCHIVED_IN.replace("{events}", &events)
            );
            let nothing = [const { Value::NULL }; 4];
            let rows: Vec<Row> = client
                .exec(statement, [&bounds[..], &nothing, &values].concat())
                .unwrap();
            let keys: Vec<(String, Option<String>)> = rows
                .iter()
                .map(|row| {
                    let table: Option<String> = row.get("table").unwrap();
                    (table.unwrap_or_default(), row.get("key").unwrap())
                })
                .collect();
            let by = keys.iter().find(|(table, _)| table == "event");
            assert_eq!(by.unwrap().1.as_deref(), Some(index), "{query:?}: {keys:?}");
        }
    }
}
