//! The in-memory store: the reference for how every store behaves, and what a test harness uses.

mod consumers;
mod store;

pub use store::{FaultPoint, MemoryEventStore, MemoryTransaction};
