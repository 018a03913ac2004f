//! The subject of a report.

use firefly_eventstore::consumer::ConsumerStatus;
use firefly_eventstore::operate::{Audited, Diagnosis, Finding, IndexUsage};
use firefly_eventstore::{Health, Result, SnapshotStatistics, TenantId};
use time::OffsetDateTime;

/// The subject of a report, and what is known before the log is read.
#[derive(Debug)]
pub(crate) struct About {
    /// The URL of the store, without a password.
    pub(crate) store: String,
    /// The tenant whose data the report shows; none for the whole store.
    pub(crate) tenant: Option<TenantId>,
    /// The result of an audit, if there was one.
    pub(crate) audited: Option<(Audited, Vec<Finding>)>,
    /// Its title, if it is not the usual one.
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
