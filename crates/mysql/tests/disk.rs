//! Servers without a binary log show commits before they are on the disk. A reader must not get an event that a power cut could remove.

use std::time::Duration;

use firefly_eventstore_core::prelude::*;
use firefly_eventstore_mysql::MysqlEventStore;
use firefly_eventstore_test_servers::{Database, Disk, Flavour, MysqlServer, Power};

use crate::support::{all_events, append_one, builder, client, fresh, mark, on_both, run};

on_both!(
    what_is_told_survives_a_power_cut,
    a_log_that_was_cut_off_is_told_and_what_was_proved_of_it_is_dropped,
);

fn what_is_told_survives_a_power_cut(server: &MysqlServer) {
    let disk = Disk::new();
    // Whoever saves statistics holds up all who open a table, until that is on the disk.
    let size = match server.flavour() {
        Flavour::Mysql => &[("innodb_redo_log_capacity", "64M"), ("performance_schema", "OFF")][..],
        Flavour::Mariadb => &[("innodb_log_file_size", "64M")],
    };
    let options = [
        &[
            ("skip_log_bin", ""),
            ("innodb_stats_auto_recalc", "0"),
            ("innodb_buffer_pool_size", "64M"),
        ],
        size,
    ]
    .concat();
    let server = MysqlServer::start_on(&disk, server.flavour(), &options).unwrap();
    let (database, _) = fresh(&server);
    let [writer, follower] = [(); 2].map(|()| open(&database));
    let power = Power {
        disk: &disk,
        cut: &|| server.cut_power(&disk),
        restart: &|| server.restart(),
        // MariaDB says how far its log is flushed, so the mark need not wait for a flush.
        marks_at_once: server.flavour() == Flavour::Mariadb,
    };
    power.takes_nothing_back(&writer, &follower);
}

/// A store with a short timeout for a server that is gone.
fn open(database: &Database) -> MysqlEventStore {
    builder(database).pool_timeout(Duration::from_secs(1)).open().unwrap()
}

fn a_log_that_was_cut_off_is_told_and_what_was_proved_of_it_is_dropped(server: &MysqlServer) {
    for cut in ["DELETE FROM events WHERE global_sequence > 1", "TRUNCATE TABLE events"] {
        let (database, store) = fresh(server);
        let follower = builder(&database).open().unwrap();
        let last = (0..3).map(|_| append_one(&store)).max().unwrap();
        let checkpoint = GlobalSequence::try_from(mark(&store)).unwrap();
        assert_eq!(checkpoint.as_i64(), last);
        run(&mut client(&database), cut);
        let left = all_events(&follower).len() as u64;
        let is_told = |error: &Error| match error.kind() {
            ErrorKind::BeyondEnd { position, end } => (position.get(), end.get()) == (3, left),
            _ => false,
        };
        // Once: then this store knows no more than any other.
        let error = store.high_water_mark().unwrap_err();
        assert!(is_told(&error), "{error:?}");
        assert_eq!(store.high_water_mark().unwrap().get(), left);
        // Every store keeps a checkpoint that is beyond the end.
        for store in [&store, &follower] {
            let error = store
                .read(EventQuery::new().after(checkpoint))
                .next()
                .unwrap()
                .unwrap_err();
            assert!(is_told(&error), "{error:?}");
            assert!(!error.is_retryable());
        }
        assert_eq!(all_events(&store).len() as u64, left);
        let next = append_one(&store);
        assert_eq!(mark(&store), next);
    }
}
