//! The in-memory store: the reference for the behaviour of every store, and a store for tests.

mod consumers;
mod events;
mod log;
mod operate;
mod read;
mod snapshots;
mod store;
mod transaction;

pub use store::{FaultPoint, MemoryEventStore};
pub use transaction::MemoryTransaction;
