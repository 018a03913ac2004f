//! The in-memory store.

use std::sync::Arc;

use firefly_eventstore_conformance::MemoryEnvironment;

use super::Fresh;

/// The in-memory store.
pub(crate) fn memory() -> Fresh {
    Some(Box::new(MemoryEnvironment::new(|memory| Arc::new(memory))))
}
