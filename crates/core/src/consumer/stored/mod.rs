//! What is stored of consumers: their slots and parked events, and the transactions that change them.

mod definition;
pub(crate) mod parking;
pub(crate) mod slot;
pub(crate) mod store;
pub(crate) mod tables;
pub(crate) mod transaction;
pub(crate) mod wake;
