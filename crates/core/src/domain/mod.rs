//! The layer that programs use: events as enums, aggregates, commands.

mod aggregate;
mod codec;
mod context;
mod executed;
mod repository;
mod snapshots;
mod upcast;
mod vocabulary;

pub use aggregate::{Aggregate, Root, Snapshotted};
pub use context::Context;
pub use executed::{ExecuteError, Executed};
pub use repository::Repository;
pub use snapshots::SnapshotPolicy;
pub use upcast::Upcasts;
pub use vocabulary::DomainEvent;

pub(crate) use vocabulary::Vocabulary;
