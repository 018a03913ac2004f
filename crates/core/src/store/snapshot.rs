//! Snapshots: an aggregate's state at a version, so that a load need not begin at the first event.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::values::canonical::Checksum;
use crate::values::data::Checked;
use crate::values::row::Row;
use crate::{AggregateKey, Error, ErrorKind, EventData, Limits, Result, SnapshotType, TenantId, Version};

/// A snapshot that is not stored yet. It is checked and its checksum computed when it is created.
///
/// ```
/// use firefly_eventstore_core::{AggregateKey, NewSnapshot, Version};
/// use uuid::Uuid;
///
/// let account = AggregateKey::new("Account", Uuid::now_v7())?;
/// let snapshot = NewSnapshot::new(&account, Version::from(40), "AccountState.v1", &serde_json::json!({ "balance": 750 }))?;
/// assert_eq!(snapshot.version(), 40);
/// # Ok::<(), firefly_eventstore_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSnapshot {
    snapshot_id: Uuid,
    aggregate: AggregateKey,
    version: Version,
    snapshot_type: SnapshotType,
    state: Checked<EventData>,
    created_at: Option<OffsetDateTime>,
}

impl NewSnapshot {
    /// Creates a snapshot from a value that can be written as JSON.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) if the version is 0, the type is not a valid name, or as
    /// [`EventData::new`].
    pub fn new(
        aggregate: &AggregateKey,
        version: impl Into<Version>,
        snapshot_type: impl TryInto<SnapshotType, Error: Into<Error>>,
        state: &(impl Serialize + ?Sized),
    ) -> Result<Self> {
        let state = Checked::<EventData>::new(state)?;
        Self::of(
            aggregate,
            version.into(),
            snapshot_type.try_into().map_err(Into::into)?,
            state,
        )
    }

    /// Creates a snapshot from JSON text, unchanged.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn from_json(
        aggregate: &AggregateKey,
        version: impl Into<Version>,
        snapshot_type: impl TryInto<SnapshotType, Error: Into<Error>>,
        state: impl Into<Arc<str>>,
    ) -> Result<Self> {
        let state = Checked::<EventData>::from_json(state)?;
        Self::of(
            aggregate,
            version.into(),
            snapshot_type.try_into().map_err(Into::into)?,
            state,
        )
    }

    fn of(
        aggregate: &AggregateKey,
        version: Version,
        snapshot_type: SnapshotType,
        state: Checked<EventData>,
    ) -> Result<Self> {
        if version == Version::ZERO {
            return Err(Error::invalid(format!(
                "a snapshot of {aggregate} at version 0 would hold nothing"
            )));
        }
        Ok(Self {
            snapshot_id: Uuid::now_v7(),
            aggregate: aggregate.clone(),
            version,
            snapshot_type,
            state,
            created_at: None,
        })
    }

    /// Sets the time of the snapshot, for a snapshot that is moved from another store. Unless set, the clock of the program that saves it sets
    /// the time.
    ///
    /// # Errors
    ///
    /// As [`NewEvent::created_at`](crate::NewEvent::created_at).
    pub fn created_at(mut self, created_at: OffsetDateTime) -> Result<Self> {
        self.created_at = Some(crate::values::event::check_time(created_at)?);
        Ok(self)
    }

    /// Sets the id of the snapshot, for a snapshot that is moved from another store.
    #[must_use]
    pub fn with_id(mut self, snapshot_id: Uuid) -> Self {
        self.snapshot_id = snapshot_id;
        self
    }

    /// The id of the snapshot.
    #[must_use]
    pub fn snapshot_id(&self) -> Uuid {
        self.snapshot_id
    }

    /// The aggregate of the snapshot.
    #[must_use]
    pub fn aggregate(&self) -> &AggregateKey {
        &self.aggregate
    }

    /// The version of the aggregate that the state belongs to.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// The form of the state.
    #[must_use]
    pub fn snapshot_type(&self) -> &SnapshotType {
        &self.snapshot_type
    }

    /// The state.
    #[must_use]
    pub fn state(&self) -> &EventData {
        &self.state.json
    }

    /// For authors of backends: the row of the snapshot for a tenant, with its checksum. Its time is this program's current time, unless
    /// the caller set one.
    #[must_use]
    pub fn stored(&self, tenant: Option<&TenantId>) -> Snapshot {
        let now = || OffsetDateTime::now_utc().truncate_to_microsecond();
        let mut snapshot = Snapshot::new(
            self.snapshot_id,
            self.aggregate.clone(),
            self.version,
            self.snapshot_type.clone(),
            self.state.json.clone(),
            self.created_at.unwrap_or_else(now),
        );
        snapshot.tenant = tenant.cloned();
        snapshot.checksum = Some(snapshot.row_checksum(&self.state.findings.checksum));
        snapshot
    }

    /// For authors of backends: refuses a snapshot that a store with these limits cannot keep exactly.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput).
    pub fn check(&self, limits: &Limits) -> Result<()> {
        self.state
            .admit("state", self.state.json.as_str().len(), limits.max_data_bytes, limits)
    }
}

/// A stored snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The id of the snapshot.
    pub snapshot_id: Uuid,
    /// The aggregate of the snapshot (columns `aggregate_id` and `aggregate_type`).
    pub aggregate: AggregateKey,
    /// The tenant that owns the aggregate (column `tenant_id`).
    pub tenant: Option<TenantId>,
    /// The version of the aggregate that the state belongs to.
    pub version: Version,
    /// The form of the state.
    pub snapshot_type: SnapshotType,
    /// The state, as JSON text that only [`state`](Self::state) parses (column `snapshot_data`).
    pub state: EventData,
    /// When it was stored, in UTC, to the microsecond.
    pub created_at: OffsetDateTime,
    /// SHA-256 of all columns of the row, with the state's canonical JSON. In rows that an earlier version of this library saved, or adopted from
    /// tables made by hand, SHA-256 of the state's canonical JSON alone. None only in rows that another program wrote.
    pub checksum: Option<Checksum>,
}

/// Which part of a snapshot its checksum covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SnapshotCover {
    /// The whole row. It was neither changed nor moved to another version, aggregate, type or tenant.
    Row,
    /// The state only, as in checksums of earlier versions.
    State,
}

/// The first bytes of what is hashed, so that the hash of a snapshot differs from all other hashes.
const ROW: &[u8] = b"firefly-eventstore snapshot\n";

impl Snapshot {
    /// For authors of backends: a snapshot with its mandatory fields. Set the tenant and the checksum afterwards.
    #[must_use]
    pub fn new(
        snapshot_id: Uuid,
        aggregate: AggregateKey,
        version: Version,
        snapshot_type: SnapshotType,
        state: EventData,
        created_at: OffsetDateTime,
    ) -> Self {
        Self {
            snapshot_id,
            aggregate,
            tenant: None,
            version,
            snapshot_type,
            state,
            created_at,
            checksum: None,
        }
    }

    /// Parses the state into a type of the caller.
    ///
    /// # Errors
    ///
    /// [`Decode`](ErrorKind::Decode) if the state does not fit the type.
    pub fn state<T: DeserializeOwned>(&self) -> Result<T> {
        self.state.parse().map_err(|error| error.during(self.name()))
    }

    /// Recomputes the checksum and compares it.
    ///
    /// A change is not detected if its author also computes the checksum. Only the events show what the state must be.
    ///
    /// # Errors
    ///
    /// [`Integrity`](ErrorKind::Integrity), with the name of the snapshot, if it was changed or damaged, or there is no checksum.
    pub fn verify(&self) -> Result<()> {
        match self.cover() {
            Some(_) => Ok(()),
            None => Err(Error::new(ErrorKind::Integrity {
                event_id: None,
                global_sequence: None,
                reason: "its checksum does not match; delete it, since the events have the state".into(),
            })
            .during(self.name())),
        }
    }

    /// Recomputes the checksum, and returns what it covers; none if it does not match, or is missing.
    ///
    /// ```
    /// use firefly_eventstore_core::{MemoryEventStore, SnapshotCover, prelude::*};
    ///
    /// let store = MemoryEventStore::new();
    /// let account = AggregateKey::new("Account", Uuid::now_v7())?;
    /// store.append(&account, ExpectedVersion::NoStream, &[NewEvent::new("account.opened", &serde_json::json!({}))?])?;
    /// store.save(&NewSnapshot::new(&account, Version::from(1), "AccountState.v1", &serde_json::json!({ "balance": 0 }))?)?;
    ///
    /// let mut snapshot = store.latest_snapshot(&account)?.expect("it was saved");
    /// assert_eq!(snapshot.cover(), Some(SnapshotCover::Row));
    /// snapshot.version = Version::from(2);
    /// assert_eq!(snapshot.cover(), None);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use]
    pub fn cover(&self) -> Option<SnapshotCover> {
        let stored = self.checksum?;
        let state = self.state.checksum().ok()?;
        if stored == self.row_checksum(&state) {
            return Some(SnapshotCover::Row);
        }
        (stored == state).then_some(SnapshotCover::State)
    }

    /// The checksum of the row. `state` is the checksum of its state.
    fn row_checksum(&self, state: &Checksum) -> Checksum {
        let mut row = Row::after(ROW);
        row.id(self.snapshot_id);
        row.id(self.aggregate.id());
        row.text(Some(self.aggregate.aggregate_type().as_str()));
        row.number(self.version.get());
        row.text(Some(self.snapshot_type.as_str()));
        row.hash(state);
        row.time(Some(self.created_at));
        row.text(self.tenant.as_ref().map(TenantId::as_str));
        row.digest()
    }

    pub(crate) fn name(&self) -> String {
        format!(
            "snapshot {} of {} at version {}",
            self.snapshot_id, self.aggregate, self.version
        )
    }
}

/// Which snapshot of an aggregate to find.
///
/// Two versions of a program with two forms of state each find their own: see [`LatestOf`](Self::LatestOf). If no form is given and the
/// version has several, the result is the last one by name, in byte order.
///
/// ```
/// use firefly_eventstore_core::{MemoryEventStore, SnapshotAt, SnapshotSelection, SnapshotType, prelude::*};
///
/// let store = MemoryEventStore::new();
/// let account = AggregateKey::new("Account", Uuid::now_v7())?;
/// let deposits = (0..9).map(|n| NewEvent::new("money.deposited", &n)).collect::<Result<Vec<_>, Error>>()?;
/// store.append(&account, ExpectedVersion::NoStream, &deposits)?;
/// for (version, form) in [(3, "AccountState.v1"), (6, "AccountState.v1"), (9, "AccountState.v2")] {
///     store.save(&NewSnapshot::new(&account, Version::from(version), form, &serde_json::json!({}))?)?;
/// }
///
/// let old = SnapshotType::new("AccountState.v1")?;
/// let found = store.find_snapshot(None, &account, SnapshotAt::LatestOf(&old))?;
/// assert_eq!(found.expect("two were saved").version, 6);
///
/// // One per form is kept.
/// store.delete_snapshots(None, SnapshotSelection::AllButLatestOf(&account, &old, 1))?;
/// let versions: Vec<_> = store.list_snapshots(None, &account)?.iter().map(|snapshot| snapshot.version.get()).collect();
/// assert_eq!(versions, [9, 6]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SnapshotAt<'a> {
    /// The one at the greatest version.
    Latest,
    /// The one at the greatest version up to this.
    LatestUpTo(Version),
    /// The one at this version.
    Exactly(Version),
    /// Of those of this form, the one at the greatest version.
    LatestOf(&'a SnapshotType),
    /// Of those of this form, the one at the greatest version up to this.
    LatestOfUpTo(&'a SnapshotType, Version),
}

impl<'a> SnapshotAt<'a> {
    /// For authors of backends: the range of versions in which to find the greatest one, and the form; any form if there is none.
    #[must_use]
    pub fn bounds(self) -> (Version, Version, Option<&'a SnapshotType>) {
        match self {
            Self::Latest => (Version::ZERO, Version::MAX, None),
            Self::LatestUpTo(version) => (Version::ZERO, version, None),
            Self::Exactly(version) => (version, version, None),
            Self::LatestOf(form) => (Version::ZERO, Version::MAX, Some(form)),
            Self::LatestOfUpTo(form, version) => (Version::ZERO, version, Some(form)),
        }
    }
}

/// Which snapshots to delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotSelection<'a> {
    /// Those of an aggregate at a version, of every form.
    Exactly(&'a AggregateKey, Version),
    /// All of an aggregate before a version.
    Before(&'a AggregateKey, Version),
    /// All of an aggregate except this many of the newest, of any form.
    AllButLatest(&'a AggregateKey, u64),
    /// All of an aggregate with this form, except this many of the newest; those of other forms stay.
    AllButLatestOf(&'a AggregateKey, &'a SnapshotType, u64),
    /// All of an aggregate.
    Aggregate(&'a AggregateKey),
    /// All of every aggregate that were created before a time.
    OlderThan(OffsetDateTime),
    /// All of every aggregate.
    All,
}

impl<'a> SnapshotSelection<'a> {
    /// For authors of backends: the same selection for one of two statements; none if nothing is selected.
    #[must_use]
    pub fn deletion(self) -> Option<SnapshotDeletion<'a>> {
        let of_all_versions = |aggregate, snapshot_type, keep| SnapshotDeletion::Versions {
            aggregate,
            from: Version::ZERO,
            to: Version::MAX,
            snapshot_type,
            keep: i64::try_from(keep).unwrap_or(i64::MAX),
        };
        Some(match self {
            Self::Exactly(aggregate, version) => SnapshotDeletion::Versions {
                aggregate,
                from: version,
                to: version,
                snapshot_type: None,
                keep: 0,
            },
            Self::Before(aggregate, version) => SnapshotDeletion::Versions {
                aggregate,
                from: Version::ZERO,
                to: Version::new(version.get().checked_sub(1)?).expect("a smaller version is a version"),
                snapshot_type: None,
                keep: 0,
            },
            Self::AllButLatest(aggregate, keep) => of_all_versions(aggregate, None, keep),
            Self::AllButLatestOf(aggregate, form, keep) => of_all_versions(aggregate, Some(form), keep),
            Self::Aggregate(aggregate) => of_all_versions(aggregate, None, 0),
            Self::OlderThan(time) => SnapshotDeletion::Older(Some(time)),
            Self::All => SnapshotDeletion::Older(None),
        })
    }
}

/// For authors of backends: which of the two statements that delete snapshots to run, and its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotDeletion<'a> {
    /// Those of an aggregate in a range of versions, inclusive, except the newest ones.
    Versions {
        /// The aggregate.
        aggregate: &'a AggregateKey,
        /// The first version.
        from: Version,
        /// The last version.
        to: Version,
        /// Only those of this form.
        snapshot_type: Option<&'a SnapshotType>,
        /// How many of the newest stay.
        keep: i64,
    },
    /// Those of every aggregate that were created before a time, or all.
    Older(Option<OffsetDateTime>),
}

/// The number, size and age of snapshots.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SnapshotStatistics {
    /// How many snapshots.
    pub snapshots: u64,
    /// Of how many aggregates.
    pub aggregates: u64,
    /// How many bytes of JSON text they hold.
    pub total_bytes: u64,
    /// When the oldest was created.
    pub oldest: Option<OffsetDateTime>,
    /// When the newest was created.
    pub newest: Option<OffsetDateTime>,
}

impl SnapshotStatistics {
    /// For authors of backends.
    #[must_use]
    pub fn new(
        snapshots: u64,
        aggregates: u64,
        total_bytes: u64,
        oldest: Option<OffsetDateTime>,
        newest: Option<OffsetDateTime>,
    ) -> Self {
        Self {
            snapshots,
            aggregates,
            total_bytes,
            oldest,
            newest,
        }
    }
}
