//! The tests of this driver, in one program, so that they share servers. What measures the memory of its process is a program of its own.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod archives;
mod consumers;
mod conversions;
mod detaching;
mod disk;
mod faults;
mod group;
mod identity;
mod joining;
mod listen;
mod maintenance;
mod migrations;
mod operate;
mod order;
mod pages;
mod partitions;
mod partitions_by_type;
mod plans;
mod reference;
mod refusals;
mod replicas;
mod round_trips;
mod support;
mod tls;

#[test]
fn every_file_of_tests_is_run() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests");
    firefly_eventstore_test_servers::assert_has_modules(include_str!("main.rs"), folder, &["main", "memory"]);
}
