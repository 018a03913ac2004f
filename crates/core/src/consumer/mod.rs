//! Consumers: what follows the log, and keeps in the store how far it came.

mod control;
mod definition;
mod failure;
mod follower;
mod inline;
mod member;
mod memory;
mod observer;
mod parking;
mod progress;
mod projection;
mod runner;
mod signals;
mod slot;
mod store;
mod subscription;
mod tables;
mod transaction;
mod wait;
mod wake;

pub use control::{ConsumerStatus, discard, pause, replay, reposition, resume, status};
pub use failure::{BoxError, ConsumerError, OnFailure};
pub use inline::Inline;
pub use observer::{ConsumerEvent, Observer};
pub use projection::{DEFAULT_BATCH, Projection, project, reset};
pub use runner::{Runner, Running};
pub use slot::{ConsumerSlot, ConsumerState, Failing, ParkedEvent, slot_of};
pub use store::{ConsumerStore, DynTransaction, Transactional, any_transient};
pub use subscription::{Batch, Delivery, Failure, Publish, Start, Subscription};
pub use tables::{ConsumerChange, ConsumerTables, ParkedQuery, SlotsQuery, microseconds};
pub use transaction::{Claimed, ConsumerTransaction, Registration, StartAt};
pub use wait::wait_for;
pub use wake::{Listening, Wake};

pub(crate) use memory::MemoryConsumers;
