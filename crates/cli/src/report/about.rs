//! What a report is about.

use firefly_eventstore::consumer::ConsumerStatus;
use firefly_eventstore::operate::{Audited, Diagnosis, Finding, IndexUsage};
use firefly_eventstore::{Health, Result, SnapshotStatistics, TenantId};
use time::OffsetDateTime;

/// What a report is about, and what is known of it already.
#[derive(Debug)]
pub(crate) struct About {
    /// The URL of the store, without a password.
    pub(crate) store: String,
    /// The tenant whose part of the store it is; the whole store if none.
    pub(crate) tenant: Option<TenantId>,
    /// What an audit said, if there was one.
    pub(crate) audited: Option<(Audited, Vec<Finding>)>,
    /// What it is called, if not as usual.
    pub(crate) title: Option<String>,
}

/// The state of the database when the report was made.
pub(super) struct Condition {
    pub(super) at: OffsetDateTime,
    pub(super) health: Health,
    pub(super) snapshots: SnapshotStatistics,
    pub(super) indexes: Result<Vec<IndexUsage>>,
    pub(super) diagnoses: Result<Vec<Diagnosis>>,
    /// Of the whole store; none in the report of a tenant.
    pub(super) consumers: Option<Result<Vec<ConsumerStatus>>>,
}
