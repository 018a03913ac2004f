//! The in-memory store: the reference for the behaviour of every store, and a store for tests.

mod consumers;
mod store;

pub use store::{FaultPoint, MemoryEventStore, MemoryTransaction};
