//! The layer that programs use: events as enums, aggregates, commands.

mod aggregate;
mod check;
mod codec;
mod context;
mod executed;
mod given;
mod repository;
mod shown;
mod snapshots;
mod upcast;
mod vocabulary;

pub use aggregate::{Aggregate, Root, Snapshotted};
pub use check::{EventCheck, check_events};
pub use context::Context;
pub use executed::{ExecuteError, Executed};
pub use given::{Decided, Given};
pub use repository::Repository;
pub use snapshots::SnapshotPolicy;
pub use upcast::Upcasts;
pub use vocabulary::DomainEvent;
