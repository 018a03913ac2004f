//! Stores on servers: their options and connections, appends of several threads at once, and reads of the log.

#[cfg(feature = "pool")]
pub(super) mod calls;
pub(super) mod line;
mod log;
pub(super) mod options;
pub(super) mod page;
#[cfg(feature = "pool")]
pub(super) mod pool;
pub(super) mod publisher;
pub(super) mod usual;

pub use log::{ServerLog, WindowReading, mark, read_page};
