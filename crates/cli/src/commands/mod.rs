//! The commands, each in a module of its own.

pub(crate) mod aggregates;
pub(crate) mod append;
pub(crate) mod archive;
pub(crate) mod archives;
pub(crate) mod attach;
pub(crate) mod completions;
pub(crate) mod consumers;
pub(crate) mod diff;
pub(crate) mod doctor;
pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod maintain;
pub(crate) mod man;
pub(crate) mod metrics;
pub(crate) mod migrate;
pub(crate) mod parked;
pub(crate) mod publish_mark;
pub(crate) mod report;
pub(crate) mod restore;
pub(crate) mod seal;
pub(crate) mod show;
pub(crate) mod snapshots;
pub(crate) mod stats;
pub(crate) mod tail;
pub(crate) mod types;
pub(crate) mod verify;
