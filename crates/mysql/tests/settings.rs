//! Servers with unusual settings, on which everything must work.

use firefly_eventstore_core::operate::{IndexState, Operations, RestorePoint, Severity};
use firefly_eventstore_core::prelude::*;
use firefly_eventstore_core::{Order, SummaryQuery};
use firefly_eventstore_mysql::Indexes;
use firefly_eventstore_mysql::driver::TxOpts;
use firefly_eventstore_test_servers::{Flavour, MysqlServer};

use crate::support::{account, all_events, builder, client, deposited, on_both, run};

on_both!(a_server_of_unusual_settings_does_everything);

fn a_server_of_unusual_settings_does_everything(server: &MysqlServer) {
    let (own, recursion) = match server.flavour() {
        Flavour::Mysql => (("sql_require_primary_key", "ON"), "cte_max_recursion_depth"),
        Flavour::Mariadb => (("sql_mode", "ORACLE"), "max_recursive_iterations"),
    };
    let common = [
        ("max_join_size", "1"),
        ("innodb_default_row_format", "redundant"),
        ("innodb_strict_mode", "ON"),
        ("group_concat_max_len", "4"),
        ("tmp_table_size", "1024"),
        (recursion, "1"),
    ];
    let options: Vec<_> = common.into_iter().chain([own]).collect();
    let server = MysqlServer::start(server.flavour(), &options).unwrap();
    for format in ["redundant", "compact"] {
        let database = server.new_database();
        let mut admin = client(&database);
        run(&mut admin, &format!("SET GLOBAL innodb_default_row_format = {format}"));
        let builder = || builder(&database).indexes(Indexes::Full).cover_other_writers(true);
        let store = builder().migrate_on_open(true).open().unwrap();
        assert_eq!(builder().pending().unwrap(), []);

        let (one, other) = (account(), account());
        let long = "x".repeat(255);
        let event = |number| {
            let event = NewEvent::from_json(long.as_str(), format!(r#"{{"number":{number}}}"#)).unwrap();
            let event = event.created_by(long.as_str()).unwrap();
            event
                .metadata(&serde_json::json!({ "correlationId": long, "a": [1] }))
                .unwrap()
        };
        let events: Vec<NewEvent> = (0..20).map(event).collect();
        store.append(&one, ExpectedVersion::NoStream, &events).unwrap();
        store.append(&other, ExpectedVersion::Any, &[deposited(1)]).unwrap();
        store
            .transaction(|tx| tx.append(&other, ExpectedVersion::Exact(1.into()), &[deposited(2)]))
            .unwrap();
        let third = [deposited(3)];
        let within = [Append::new(&other, ExpectedVersion::Exists, &third)];
        run(&mut admin, "SET sql_mode = 'STRICT_ALL_TABLES', sql_big_selects = 1");
        let mut transaction = admin.start_transaction(TxOpts::default()).unwrap();
        store.append_within(&mut transaction, &within).unwrap();
        transaction.commit().unwrap();

        let all = all_events(&store);
        assert_eq!(all.len(), 23);
        let read = |query: EventQuery| store.read(query).map(Result::unwrap).count();
        assert_eq!(
            read(
                EventQuery::new()
                    .event_types([long.as_str(), "money.deposited"])
                    .unwrap()
            ),
            23
        );
        assert_eq!(
            read(
                EventQuery::new()
                    .created_by(long.as_str())
                    .unwrap()
                    .ordered_by(Order::Time)
            ),
            20
        );
        assert_eq!(
            read(EventQuery::new().metadata(Metadata::from_json(r#"{"a":[1]}"#).unwrap())),
            20
        );
        assert_eq!(store.load(&one).unwrap().events().len(), 20);
        assert_eq!(store.statistics(None).unwrap().total_events, 23);
        store.refresh_aggregate_summaries().unwrap();
        assert_eq!(store.aggregate_summaries(&SummaryQuery::new()).unwrap().len(), 2);
        let snapshot = NewSnapshot::new(&one, Version::from(20), "state", &1).unwrap();
        store.save_snapshot(None, &snapshot).unwrap();

        assert!(store.check_storage().unwrap().is_empty());
        store.update_statistics().unwrap();
        store.vacuum().unwrap();
        let usage = store.index_usage().unwrap();
        assert!(
            usage.iter().all(|index| index.state == IndexState::Present),
            "{usage:?}"
        );
        let bad = store.diagnose().unwrap();
        let bad: Vec<_> = bad.iter().filter(|found| found.severity == Severity::Danger).collect();
        assert!(bad.is_empty(), "{bad:?}");
        assert_eq!(store.restore_table(RestorePoint::Sequence(10.into())).unwrap(), 10);
        assert_eq!(builder().migrate().unwrap(), []);
    }
}
