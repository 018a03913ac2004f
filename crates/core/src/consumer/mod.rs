//! Consumers: what follows the log, and keeps in the store how far it came.

mod definition;
mod memory;
mod slot;
mod store;
mod tables;
mod transaction;
mod wake;

pub use slot::{ConsumerSlot, ConsumerState, Failing, ParkedEvent, slot_of};
pub use store::{ConsumerStore, Transactional, any_transient};
pub use tables::{ConsumerChange, ConsumerTables, ParkedQuery, SlotsQuery};
pub use transaction::{Claimed, ConsumerTransaction, Registration, StartAt};
pub use wake::{Listening, Wake};

pub(crate) use memory::MemoryConsumers;
