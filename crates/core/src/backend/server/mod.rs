//! Stores on servers: their options and connections, appends of several threads at once, and reads of the log.

#[cfg(feature = "pool")]
mod calls;
#[cfg(feature = "pool")]
mod connection;
mod line;
mod log;
mod options;
mod page;
mod publisher;
mod usual;

#[cfg(feature = "pool")]
pub use calls::{ServerCalls, ServerTransaction};
#[cfg(feature = "pool")]
pub use connection::{Connector, Generation, ServerConnection};
pub use line::{Group, Line};
pub use log::{ServerLog, WindowReading};
pub use options::ServerOptions;
pub use page::Found;
pub use publisher::{PublishedMark, Publisher, diagnose_published_mark, never_published};
pub use usual::UsualSize;
