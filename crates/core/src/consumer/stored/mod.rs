//! The stored state of consumers, their slots and parked events, and the transactions that change it.

mod definition;
pub(crate) mod parking;
pub(crate) mod slot;
pub(crate) mod store;
pub(crate) mod tables;
pub(crate) mod transaction;
pub(crate) mod wake;
