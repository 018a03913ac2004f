//! The rules of a store for events and snapshots.

use crate::Limits;

/// The rules of a store for events and snapshots: what it accepts, and whether it verifies what it reads.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct DataRules {
    /// The limits of events and snapshots.
    pub limits: Limits,
    /// Whether events and snapshots that are read are compared with their checksums.
    pub verify_on_read: bool,
}

impl DataRules {
    /// For authors of backends: these rules.
    #[must_use]
    pub fn new(limits: Limits, verify_on_read: bool) -> Self {
        Self { limits, verify_on_read }
    }
}
