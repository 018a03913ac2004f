//! PostgreSQL shows a commit only after it is on the disk: a power cut cannot take back anything that was returned.

use std::time::Duration;

use firefly_eventstore_postgres::PostgresEventStore;
use firefly_eventstore_test_servers::{Disk, PostgresServer, Power, postgres_unless_missing};

#[test]
fn what_is_told_survives_a_power_cut() {
    if postgres_unless_missing().is_none() {
        return;
    }
    let disk = Disk::new();
    let server = PostgresServer::start_on(&disk, &[("fsync", "on")]).unwrap();
    let database = server.new_database();
    let open = || PostgresEventStore::builder(database.url()).pool_timeout(Duration::from_secs(1));
    open().migrate().unwrap();
    let [writer, follower] = [(); 2].map(|()| open().open().unwrap());
    let power = Power {
        disk: &disk,
        cut: &|| server.cut_power(&disk),
        restart: &|| server.restart(),
        marks_at_once: true,
    };
    power.takes_nothing_back(&writer, &follower);
}
