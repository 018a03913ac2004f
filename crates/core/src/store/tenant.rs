//! A view of a store for one tenant.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::time::Duration;

use uuid::Uuid;

use crate::consumer::{
    Appends, ConsumerSlot, ConsumerStore, ConsumerTransaction, ParkedEvent, ParkedQuery, Transactional, Wake,
};
use crate::{
    AggregateKey, AggregateSummary, Append, Appended, Cursor, Error, EventQuery, EventStore, EventStream,
    EventTransaction, GlobalSequence, Health, NewSnapshot, Page, Result, Snapshot, SnapshotAt, SnapshotSelection,
    SnapshotStatistics, SnapshotStore, Statistics, StreamRange, SummaryQuery, TenantId,
};

/// A view of a store that contains only one tenant's aggregates.
///
/// Appends are for the tenant, and an aggregate id of any other owner is refused. Reads, snapshots and statistics see only the tenant's
/// own. Only the high-water mark is that of the whole log, so that a tenant's consumer can advance past events of other tenants.
///
/// ```
/// use firefly_eventstore_core::{prelude::*, MemoryEventStore};
///
/// let store = MemoryEventStore::new();
/// let (acme, globex) = (store.for_tenant(TenantId::new("acme")?), store.for_tenant(TenantId::new("globex")?));
/// let account = AggregateKey::new("Account", Uuid::now_v7())?;
/// acme.append(&account, ExpectedVersion::NoStream, &[NewEvent::new("account.opened", &serde_json::json!({}))?])?;
///
/// assert_eq!(acme.load(&account)?.version(), 1);
/// assert!(!globex.load(&account)?.exists());
/// assert_eq!(globex.read(EventQuery::new()).count(), 0);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct TenantStore<S: ?Sized> {
    tenant: TenantId,
    store: S,
}

impl<S> TenantStore<S> {
    /// A view of `store` for `tenant`.
    #[must_use]
    pub fn new(store: S, tenant: TenantId) -> Self {
        Self { tenant, store }
    }

    /// The tenant.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }
}

/// Refuses a call that names another tenant.
fn own(tenant: &TenantId, named: Option<&TenantId>) -> Result<()> {
    match named {
        Some(named) if named != tenant => Err(Error::invalid(format!(
            "this store is limited to the tenant {tenant}, and another one was requested"
        ))),
        _ => Ok(()),
    }
}

fn scope_appends<'a>(tenant: &'a TenantId, appends: &[Append<'a>]) -> Result<Vec<Append<'a>>> {
    appends
        .iter()
        .map(|append| {
            own(tenant, append.tenant)?;
            Ok(append.tenant(tenant))
        })
        .collect()
}

fn scope_range(tenant: &TenantId, range: &StreamRange) -> Result<StreamRange> {
    own(tenant, range.tenant.as_ref())?;
    Ok(range.clone().tenant(tenant.clone()))
}

/// The tenant that a transaction is limited to, if any: see [`ConsumerTransaction::scope`]. For authors of backends.
#[derive(Clone, Debug, Default)]
pub struct Scope(Option<TenantId>);

impl Scope {
    /// Limits the transaction to a tenant.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if it is already limited to another one.
    pub fn narrow(&mut self, tenant: &TenantId) -> Result<()> {
        if let Some(own_tenant) = &self.0 {
            own(own_tenant, Some(tenant))?;
        }
        self.0 = Some(tenant.clone());
        Ok(())
    }

    /// The appends with the scope's tenant.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if one is for another tenant.
    pub fn appends<'a>(&'a self, appends: &'a [Append<'a>]) -> Result<Cow<'a, [Append<'a>]>> {
        match &self.0 {
            Some(tenant) => Ok(Cow::Owned(scope_appends(tenant, appends)?)),
            None => Ok(Cow::Borrowed(appends)),
        }
    }

    /// The range with the scope's tenant.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if it is for another tenant.
    pub fn range<'a>(&self, range: &'a StreamRange) -> Result<Cow<'a, StreamRange>> {
        match &self.0 {
            Some(tenant) => Ok(Cow::Owned(scope_range(tenant, range)?)),
            None => Ok(Cow::Borrowed(range)),
        }
    }
}

struct TenantTransaction<'a> {
    tenant: &'a TenantId,
    transaction: &'a mut dyn EventTransaction,
    doom: Option<Error>,
}

impl EventTransaction for TenantTransaction<'_> {
    fn append_all(&mut self, appends: &[Append<'_>]) -> Result<Vec<Appended>> {
        if let Some(doom) = &self.doom {
            return Err(doom.clone());
        }
        let scoped = scope_appends(self.tenant, appends).inspect_err(|error| self.doom = Some(error.clone()))?;
        self.transaction.append_all(&scoped)
    }

    fn load_range(&mut self, aggregate: &AggregateKey, range: &StreamRange) -> Result<EventStream> {
        self.transaction
            .load_range(aggregate, &scope_range(self.tenant, range)?)
    }
}

impl<S: EventStore> EventStore for TenantStore<S> {
    fn append_all(&self, appends: &[Append<'_>]) -> Result<Vec<Appended>> {
        self.store.append_all(&scope_appends(&self.tenant, appends)?)
    }

    fn transact(&self, work: &mut dyn FnMut(&mut dyn EventTransaction) -> Result<()>) -> Result<()> {
        self.store.transact(&mut |transaction| {
            let mut scoped = TenantTransaction {
                tenant: &self.tenant,
                transaction,
                doom: None,
            };
            work(&mut scoped)?;
            scoped.doom.map_or(Ok(()), Err)
        })
    }

    fn load_range(&self, aggregate: &AggregateKey, range: &StreamRange) -> Result<EventStream> {
        self.store.load_range(aggregate, &scope_range(&self.tenant, range)?)
    }

    fn read_page(&self, query: &EventQuery, cursor: Option<&Cursor>) -> Result<Page> {
        own(&self.tenant, query.filter().tenant.as_ref())?;
        self.store.read_page(&query.clone().tenant(&self.tenant)?, cursor)
    }

    fn high_water_mark(&self) -> Result<GlobalSequence> {
        self.store.high_water_mark()
    }

    fn statistics(&self, tenant: Option<&TenantId>) -> Result<Statistics> {
        own(&self.tenant, tenant)?;
        self.store.statistics(Some(&self.tenant))
    }

    fn aggregate_summaries(&self, query: &SummaryQuery) -> Result<Vec<AggregateSummary>> {
        own(&self.tenant, query.tenant.as_ref())?;
        self.store
            .aggregate_summaries(&query.clone().tenant(self.tenant.clone()))
    }

    fn refresh_aggregate_summaries(&self) -> Result<()> {
        self.store.refresh_aggregate_summaries()
    }

    fn health(&self) -> Result<Health> {
        self.store.health()
    }
}

impl<S: SnapshotStore> SnapshotStore for TenantStore<S> {
    fn save_snapshot(&self, tenant: Option<&TenantId>, snapshot: &NewSnapshot) -> Result<()> {
        own(&self.tenant, tenant)?;
        self.store.save_snapshot(Some(&self.tenant), snapshot)
    }

    fn find_snapshot(
        &self,
        tenant: Option<&TenantId>,
        aggregate: &AggregateKey,
        at: SnapshotAt<'_>,
    ) -> Result<Option<Snapshot>> {
        own(&self.tenant, tenant)?;
        self.store.find_snapshot(Some(&self.tenant), aggregate, at)
    }

    fn load_from_snapshot(
        &self,
        tenant: Option<&TenantId>,
        aggregate: &AggregateKey,
        at: SnapshotAt<'_>,
    ) -> Result<(Option<Snapshot>, EventStream)> {
        own(&self.tenant, tenant)?;
        self.store.load_from_snapshot(Some(&self.tenant), aggregate, at)
    }

    fn list_snapshots(&self, tenant: Option<&TenantId>, aggregate: &AggregateKey) -> Result<Vec<Snapshot>> {
        own(&self.tenant, tenant)?;
        self.store.list_snapshots(Some(&self.tenant), aggregate)
    }

    fn count_snapshots(&self, tenant: Option<&TenantId>, aggregate: &AggregateKey) -> Result<u64> {
        own(&self.tenant, tenant)?;
        self.store.count_snapshots(Some(&self.tenant), aggregate)
    }

    fn delete_snapshots(&self, tenant: Option<&TenantId>, selection: SnapshotSelection<'_>) -> Result<u64> {
        own(&self.tenant, tenant)?;
        self.store.delete_snapshots(Some(&self.tenant), selection)
    }

    fn snapshot_statistics(&self, tenant: Option<&TenantId>) -> Result<SnapshotStatistics> {
        own(&self.tenant, tenant)?;
        self.store.snapshot_statistics(Some(&self.tenant))
    }
}

/// Consumers belong to the whole store: a program that runs one for a tenant must put the tenant into its name.
impl<S: ConsumerStore> ConsumerStore for TenantStore<S> {
    fn consume(&self, work: &mut dyn FnMut(&mut dyn ConsumerTransaction) -> Result<()>) -> Result<()> {
        self.store.consume(&mut |transaction| {
            transaction.scope(&self.tenant)?;
            work(transaction)
        })
    }

    fn consumers(&self, name: Option<&str>) -> Result<Vec<ConsumerSlot>> {
        self.store.consumers(name)
    }

    fn parked_events(&self, which: ParkedQuery<'_>) -> Result<Vec<ParkedEvent>> {
        self.store.parked_events(which)
    }

    fn count_parked(&self, consumer: &str, aggregate_id: Option<Uuid>) -> Result<u64> {
        self.store.count_parked(consumer, aggregate_id)
    }

    fn appends(&self) -> Result<Option<Box<dyn Appends>>> {
        self.store.appends()
    }

    fn wake(&self) -> &Wake {
        self.store.wake()
    }

    fn is_transient(&self, error: &(dyn StdError + 'static)) -> bool {
        self.store.is_transient(error)
    }

    fn took_too_long(&self, error: &(dyn StdError + 'static)) -> bool {
        self.store.took_too_long(error)
    }

    fn longest_transaction(&self) -> Option<Duration> {
        self.store.longest_transaction()
    }

    fn max_connections(&self) -> Option<u32> {
        self.store.max_connections()
    }
}

impl<S: Transactional> TenantStore<S> {
    /// Runs `work` in a transaction of the driver. It appends and loads for the tenant, and has a `connection()` for the caller's own
    /// tables. As the `transaction` method of each driver's store, whose documentation states the costs and the rules for `work`.
    ///
    /// ```
    /// use firefly_eventstore_core::prelude::*;
    ///
    /// let store = MemoryEventStore::new();
    /// let acme = store.for_tenant(TenantId::new("acme")?);
    /// let account = AggregateKey::new("Account", Uuid::now_v7())?;
    /// acme.transaction(|tx| -> Result<_> {
    ///     tx.append(&account, 0, &[NewEvent::new("account.opened", &serde_json::json!({}))?])
    /// })?;
    /// assert_eq!(acme.version(&account)?, 1);
    /// assert_eq!(store.for_tenant(TenantId::new("globex")?).version(&account)?, 0);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// That of `work`, that of an append that failed, or one of the backend's.
    pub fn transaction<R, E: From<Error>>(
        &self,
        work: impl FnOnce(&mut S::Transaction<'_>) -> Result<R, E>,
    ) -> Result<R, E> {
        self.commit_together(work)
    }
}

impl<S: Transactional> Transactional for TenantStore<S> {
    type Transaction<'t> = S::Transaction<'t>;

    fn commit_together<R, E: From<Error>>(
        &self,
        work: impl FnOnce(&mut Self::Transaction<'_>) -> Result<R, E>,
    ) -> Result<R, E> {
        self.store.commit_together(|transaction| {
            transaction.scope(&self.tenant)?;
            work(transaction)
        })
    }
}
