//! The head of an aggregate: its type, tenant and version, and which appends are allowed on it.

use crate::{
    AggregateKey, AggregateType, Append, Error, ErrorKind, EventEnvelope, NewSnapshot, Result, TenantId, Version,
};

/// The type, the tenant and the version of an aggregate.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Head {
    /// The type its id belongs to.
    pub aggregate_type: AggregateType,
    /// The tenant it belongs to.
    pub tenant: Option<TenantId>,
    /// Its current version, at least 1.
    pub version: Version,
}

impl Head {
    /// For authors of backends: the newest row of an aggregate.
    #[must_use]
    pub fn new(aggregate_type: AggregateType, tenant: Option<TenantId>, version: Version) -> Self {
        Self {
            aggregate_type,
            tenant,
            version,
        }
    }

    /// The head of an aggregate with this last event.
    #[must_use]
    pub fn of(last: &EventEnvelope) -> Self {
        Self {
            aggregate_type: last.aggregate.aggregate_type().clone(),
            tenant: last.tenant.clone(),
            version: last.version,
        }
    }

    /// Checks `append` against the aggregate's head, and returns the version before its first event.
    ///
    /// # Errors
    ///
    /// [`TypeMismatch`](ErrorKind::TypeMismatch), [`TenantMismatch`](ErrorKind::TenantMismatch),
    /// [`Conflict`](ErrorKind::Conflict), or [`InvalidInput`](ErrorKind::InvalidInput) if the versions would go beyond
    /// `i64::MAX`.
    pub fn admit(head: Option<&Self>, append: &Append<'_>) -> Result<Version> {
        if let Some(head) = head {
            head.check_owner(append.aggregate, append.tenant)?;
        }
        let actual = head.map_or(Version::ZERO, |head| head.version);
        if !append.expected.admits(actual) {
            return Err(Error::new(ErrorKind::Conflict {
                aggregate: append.aggregate.clone(),
                expected: append.expected,
                actual,
            }));
        }
        if actual.checked_add(append.events.len() as u64).is_none() {
            return Err(Error::invalid("the aggregate's versions would go beyond i64::MAX"));
        }
        Ok(actual)
    }

    /// Refuses an aggregate id that belongs to another type or tenant.
    ///
    /// # Errors
    ///
    /// [`TypeMismatch`](ErrorKind::TypeMismatch) or [`TenantMismatch`](ErrorKind::TenantMismatch).
    pub fn check_owner(&self, aggregate: &AggregateKey, tenant: Option<&TenantId>) -> Result<()> {
        check_owner(aggregate, tenant, &self.aggregate_type, self.tenant.as_ref())
    }
}

pub(super) fn check_owner(
    aggregate: &AggregateKey,
    tenant: Option<&TenantId>,
    actual_type: &AggregateType,
    actual_tenant: Option<&TenantId>,
) -> Result<()> {
    // The tenant first: an error must reveal nothing of another tenant's aggregate, not even its type.
    if actual_tenant != tenant {
        return Err(Error::new(ErrorKind::TenantMismatch {
            aggregate: aggregate.clone(),
        }));
    }
    check_type(aggregate, actual_type)
}

/// Refuses an aggregate id that belongs to another type.
///
/// # Errors
///
/// [`TypeMismatch`](ErrorKind::TypeMismatch).
pub fn check_type(aggregate: &AggregateKey, actual: &AggregateType) -> Result<()> {
    if aggregate.aggregate_type() == actual {
        return Ok(());
    }
    Err(Error::new(ErrorKind::TypeMismatch {
        aggregate: aggregate.clone(),
        actual: actual.clone(),
    }))
}

/// Refuses a snapshot at a version that the aggregate does not have.
///
/// # Errors
///
/// [`TypeMismatch`](ErrorKind::TypeMismatch), [`TenantMismatch`](ErrorKind::TenantMismatch), or
/// [`InvalidInput`](ErrorKind::InvalidInput).
pub fn check_snapshot(head: Option<&Head>, tenant: Option<&TenantId>, snapshot: &NewSnapshot) -> Result<()> {
    if let Some(head) = head {
        head.check_owner(snapshot.aggregate(), tenant)?;
    }
    let actual = head.map_or(Version::ZERO, |head| head.version);
    if snapshot.version() > actual {
        return Err(Error::invalid(format!(
            "the aggregate is at version {actual} only; append the events first"
        )));
    }
    Ok(())
}
