//! The interface of a store: its traits, their requests and results, and what is built on top of them.

pub(crate) mod append;
pub(crate) mod backoff;
pub(crate) mod events;
pub(crate) mod extensions;
pub(crate) mod follow;
pub(crate) mod indexes;
pub(crate) mod outcome;
pub(crate) mod partitions;
pub(crate) mod pipeline;
pub(crate) mod pointers;
pub(crate) mod query;
pub(crate) mod snapshot;
pub(crate) mod statistics;
pub(crate) mod stream;
pub(crate) mod tenant;
pub(crate) mod traits;
pub(crate) mod verify;
