//! Text that was damaged by hand is reported as damage by every call that reads it.

use firefly_eventstore_core::prelude::*;
use firefly_eventstore_core::{Metadata, SummaryQuery};
use firefly_eventstore_test_servers::{Flavour, MysqlServer};

use crate::support::{account, client, deposited, fresh, on_both, run};

on_both!(damaged_text_is_told_wherever_it_is_found);

fn damaged_text_is_told_wherever_it_is_found(server: &MysqlServer) {
    let (database, store) = fresh(server);
    let account = account();
    let event = [deposited(1).metadata_json(r#"{"a":1}"#).unwrap()];
    store.append(&account, ExpectedVersion::NoStream, &event).unwrap();
    let checksum = event[0].checksum();

    let read = || store.read(EventQuery::new()).collect::<Result<Vec<_>, _>>().map(drop);
    let load = || store.load(&account).map(drop);
    let append = || store.append(&account, ExpectedVersion::Any, &[deposited(2)]).map(drop);
    let repeat = || store.append(&account, ExpectedVersion::NoStream, &event).map(drop);
    let summaries = || store.aggregate_summaries(&SummaryQuery::new()).map(drop);
    let statistics = || store.statistics(None).map(drop);
    let containing = || {
        let query = EventQuery::new().metadata(Metadata::from_json("{}").unwrap());
        store.read(query).collect::<Result<Vec<_>, _>>().map(drop)
    };
    let mut other = client(&database);
    run(
        &mut other,
        match server.flavour() {
            Flavour::Mariadb => "SET check_constraint_checks = 0",
            Flavour::Mysql => {
                "ALTER TABLE events ALTER CHECK events_aggregate_type_check NOT ENFORCED, \
                 ALTER CHECK events_event_type_check NOT ENFORCED"
            }
        },
    );
    type Call<'a> = (&'static str, &'a dyn Fn() -> Result<(), Error>);
    let mut damages: Vec<(&str, String, String, Vec<Call<'_>>)> = vec![
        (
            "event_type",
            "''".to_owned(),
            "'money.deposited'".to_owned(),
            vec![
                ("read", &read),
                ("load", &load),
                ("repeat", &repeat),
                ("statistics", &statistics),
            ],
        ),
        (
            "aggregate_type",
            "''".to_owned(),
            "'Account'".to_owned(),
            vec![
                ("read", &read),
                ("load", &load),
                ("append", &append),
                ("summaries", &summaries),
            ],
        ),
        (
            "checksum",
            "'none'".to_owned(),
            format!("'{checksum}'"),
            vec![("read", &read), ("load", &load), ("repeat", &repeat)],
        ),
    ];
    if server.flavour() == Flavour::Mariadb {
        let whole = "'{\"a\":1}'".to_owned();
        damages.push(("metadata", "'{'".to_owned(), whole, vec![("containing", &containing)]));
    }
    for (column, damage, whole, calls) in damages {
        run(&mut other, &format!("UPDATE events SET {column} = {damage}"));
        for (name, call) in calls {
            let error = call().expect_err(name);
            assert!(error.is_integrity(), "{name} with {column} {damage}: {error:?}");
        }
        run(&mut other, &format!("UPDATE events SET {column} = {whole}"));
        read().unwrap();
    }
}
