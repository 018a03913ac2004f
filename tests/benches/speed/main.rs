//! The store and the raw driver side by side: `cargo bench -p firefly-eventstore-tests --bench speed [-- FILTER --quick --large]`.
//!
//! The fastest possible store is the raw driver doing the same work, so the first printed figure is the ratio of the two. Rates depend on
//! the machine and the moment. A ratio is taken within a round, in which all contenders have the same conditions, and another contender
//! begins in each round. Nothing is asserted.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on has nothing else to do")]

mod append;
mod backend;
mod commands;
mod events;
mod follow;
mod growth;
mod harness;
mod machine;
mod mysql;
mod open;
mod operate;
mod partitions;
mod peers;
mod postgres;
mod prepare;
mod read;
mod retire;
mod sqlite;

use std::path::PathBuf;
use std::time::Duration;

use firefly_eventstore_sqlite::Synchronous;
use firefly_eventstore_test_servers::{Disk, Flavour};

use backend::Backend;
use harness::Bench;
use mysql::Mysql;
use postgres::Postgres;
use sqlite::Sqlite;

/// A real disk: the system's temporary directory is often in memory, where an `fsync` costs nothing.
const SCRATCH: &str = env!("CARGO_TARGET_TMPDIR");

fn main() {
    // If this is not run by `cargo bench`, as with `cargo test --all-targets`, there is nothing to do.
    let Some(bench) = Bench::from_args(std::env::args().skip(1)) else {
        println!("run it with: cargo bench -p firefly-eventstore-tests --bench speed [-- FILTER --quick --large]");
        return;
    };
    let scratch = bench.directory.clone().unwrap_or_else(|| PathBuf::from(SCRATCH));
    std::fs::create_dir_all(&scratch).unwrap();
    let scratch = tempfile::tempdir_in(scratch).unwrap();
    machine::describe(scratch.path());

    let sqlite = |synchronous| Sqlite {
        synchronous,
        scratch: scratch.path().to_owned(),
    };
    run(&bench, &sqlite(Synchronous::Full));
    // Reading is the same with both.
    append::run(&bench, &sqlite(Synchronous::Normal));
    prepare::run(&bench, scratch.path());
    open::run(&bench, scratch.path());
    retire::sqlite(&bench, scratch.path());
    if let Some(postgres) = Postgres::start() {
        run(&bench, &postgres);
        postgres.costs(&bench);
        postgres.partitions(&bench);
        retire::postgres(&bench);
    }
    for flavour in [Flavour::Mariadb, Flavour::Mysql] {
        if let Some(mysql) = Mysql::start(flavour) {
            run(&bench, &mysql);
            mysql.ids(&bench);
            mysql.lookups(&bench);
            mysql.partitions(&bench);
            retire::mysql(&bench, flavour);
        }
    }
    on_slow_disk(&bench);
    peers::run(&bench, scratch.path());
}

/// Each flush takes two milliseconds longer.
fn on_slow_disk(bench: &Bench) {
    let slow = || {
        let disk = Disk::new();
        disk.slow(Duration::from_millis(2));
        disk
    };
    if append::wants_slow_disk(bench, Postgres::ON_SLOW_DISK) {
        let disk = slow();
        if let Some(postgres) = Postgres::start_on(&disk) {
            append::run_on_slow_disk(bench, &postgres);
        }
    }
    for flavour in [Flavour::Mariadb, Flavour::Mysql] {
        if append::wants_slow_disk(bench, Mysql::on_slow_disk(flavour)) {
            let disk = slow();
            if let Some(mysql) = Mysql::start_on(&disk, flavour) {
                append::run_on_slow_disk(bench, &mysql);
            }
        }
    }
}

fn run(bench: &Bench, backend: &dyn Backend) {
    append::run(bench, backend);
    read::run(bench, backend);
    follow::run(bench, backend);
    commands::run(bench, backend);
    operate::run(bench, backend);
    growth::run(bench, backend);
}
