//! What every store must do, one file per topic.

pub(crate) mod aggregates;
pub(crate) mod append;
pub(crate) mod as_of;
pub(crate) mod checkpoint;
pub(crate) mod concurrency;
pub(crate) mod consumers;
pub(crate) mod errors;
pub(crate) mod filters;
pub(crate) mod health;
pub(crate) mod idempotency;
pub(crate) mod integrity;
pub(crate) mod json;
pub(crate) mod limits;
pub(crate) mod log;
pub(crate) mod mark;
pub(crate) mod operate;
pub(crate) mod ownership;
pub(crate) mod schema;
pub(crate) mod seals;
pub(crate) mod snapshots;
pub(crate) mod statistics;
pub(crate) mod stream;
pub(crate) mod tenants;
pub(crate) mod time;
pub(crate) mod transactions;
