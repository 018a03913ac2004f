//! Statements that are the same on every database. Core passes their values and decodes their rows; a driver has their text.

use std::time::Duration;

use time::OffsetDateTime;
use uuid::Uuid;

use super::rows::Columns;
use crate::Result;

/// A statement that core runs. Its text is in the driver's file of this name, which says what it does: `FindSnapshots` is
/// `find_snapshots.sql`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is called as its file")]
pub enum Sql {
    AggregateActivity,
    AppliedMigrations,
    Archives,
    ConsumerCountParked,
    ConsumerForgetMember,
    ConsumerFreeSlots,
    ConsumerHand,
    ConsumerLockSlot,
    ConsumerMembers,
    ConsumerPark,
    ConsumerParked,
    ConsumerParkedOf,
    ConsumerParkedOfAggregate,
    ConsumerRegister,
    ConsumerRenew,
    ConsumerReplay,
    ConsumerSave,
    ConsumerSeeMember,
    ConsumerSlots,
    ConsumerSlotsOf,
    ConsumerUnpark,
    CountSnapshots,
    DeleteSnapshots,
    DeleteSnapshotsOlder,
    EventStatistics,
    EventTypeDistribution,
    FindSnapshots,
    ForgetArchive,
    InsertSeal,
    NewestSeals,
    RecordArchive,
    SaveSnapshot,
    SealsAfter,
    SnapshotStatistics,
    SnapshotsAfter,
    Totals,
    VersionAtSequence,
    VersionAtTime,
}

/// Writes the statements of a driver: a constant for each of its own, with the text of a file in `sql/queries`; `shared`, which has the
/// text of those that core runs; `ALL`, for a test that prepares each; and a test that every file is one of them. For authors of backends.
#[doc(hidden)]
#[macro_export]
macro_rules! statements {
    ($($NAME:ident = $file:literal;)*) => {
        $crate::statements! {
            { $($NAME = $file;)* }
            AggregateActivity = "aggregate_activity.sql";
            AppliedMigrations = "applied_migrations.sql";
            Archives = "archives.sql";
            ConsumerCountParked = "consumer_count_parked.sql";
            ConsumerForgetMember = "consumer_forget_member.sql";
            ConsumerFreeSlots = "consumer_free_slots.sql";
            ConsumerHand = "consumer_hand.sql";
            ConsumerLockSlot = "consumer_lock_slot.sql";
            ConsumerMembers = "consumer_members.sql";
            ConsumerPark = "consumer_park.sql";
            ConsumerParked = "consumer_parked.sql";
            ConsumerParkedOf = "consumer_parked_of.sql";
            ConsumerParkedOfAggregate = "consumer_parked_of_aggregate.sql";
            ConsumerRegister = "consumer_register.sql";
            ConsumerRenew = "consumer_renew.sql";
            ConsumerReplay = "consumer_replay.sql";
            ConsumerSave = "consumer_save.sql";
            ConsumerSeeMember = "consumer_see_member.sql";
            ConsumerSlots = "consumer_slots.sql";
            ConsumerSlotsOf = "consumer_slots_of.sql";
            ConsumerUnpark = "consumer_unpark.sql";
            CountSnapshots = "count_snapshots.sql";
            DeleteSnapshots = "delete_snapshots.sql";
            DeleteSnapshotsOlder = "delete_snapshots_older.sql";
            EventStatistics = "event_statistics.sql";
            EventTypeDistribution = "event_type_distribution.sql";
            FindSnapshots = "find_snapshots.sql";
            ForgetArchive = "forget_archive.sql";
            InsertSeal = "insert_seal.sql";
            NewestSeals = "newest_seals.sql";
            RecordArchive = "record_archive.sql";
            SaveSnapshot = "save_snapshot.sql";
            SealsAfter = "seals_after.sql";
            SnapshotStatistics = "snapshot_statistics.sql";
            SnapshotsAfter = "snapshots_after.sql";
            Totals = "totals.sql";
            VersionAtSequence = "version_at_sequence.sql";
            VersionAtTime = "version_at_time.sql";
        }
    };
    ({ $($NAME:ident = $file:literal;)* } $($Shared:ident = $shared:literal;)*) => {
        $(pub(crate) const $NAME: &str = include_str!(concat!("../sql/queries/", $file));)*

        /// The text of a statement that core runs.
        pub(crate) const fn shared(statement: $crate::backend::Sql) -> &'static str {
            match statement {
                $($crate::backend::Sql::$Shared => include_str!(concat!("../sql/queries/", $shared)),)*
            }
        }

        /// Every statement, so that a test can prepare each.
        #[cfg(test)]
        pub(crate) const ALL: &[(&str, &str)] = &[
            $(($file, $NAME),)*
            $(($shared, shared($crate::backend::Sql::$Shared)),)*
        ];

        #[cfg(test)]
        #[test]
        fn every_file_is_a_statement() {
            let folder = ::std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("sql/queries");
            for file in ::std::fs::read_dir(folder).expect("the folder is there") {
                let name = file.expect("the folder can be read").file_name();
                assert!(ALL.iter().any(|(file, _)| name == *file), "{name:?} is not listed");
            }
        }
    };
}

/// A value of a statement. The values are in the order of the parameters' numbers, `$1` or `?1`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(missing_docs, reason = "most are called as what they are")]
pub enum Value<'a> {
    Null,
    Boolean(bool),
    Integer(i64),
    Text(&'a str),
    Id(Uuid),
    Time(OffsetDateTime),
    /// How many rows at most; none for all.
    Most(Option<i64>),
    /// The current time plus a duration. Sent as [microseconds](super::microseconds), or as a time if the program's clock is used.
    In(Duration),
    /// The current time minus a duration, sent in the same way.
    Ago(Duration),
    /// The current time, after all other values. Left out if the database's clock is used.
    Now,
}

impl Value<'_> {
    /// So many rows at most.
    #[must_use]
    pub fn most(limit: u32) -> Self {
        Self::Most(Some(limit.into()))
    }
}

/// A connection, or a transaction on it, as core runs [statements](Sql) there.
pub trait SqlSession {
    /// A row that a statement returns.
    type Row<'r>: Columns;

    /// The rows of a statement, decoded. An error of `decode` is [`Integrity`](crate::ErrorKind::Integrity).
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn rows<T>(
        &mut self,
        statement: Sql,
        values: &[Value<'_>],
        decode: impl FnMut(&Self::Row<'_>) -> Result<T>,
    ) -> Result<Vec<T>>;

    /// Runs a statement that writes, and returns how many rows it changed.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn change(&mut self, statement: Sql, values: &[Value<'_>]) -> Result<u64>;

    /// Deletes the rows of the members of a group that were not seen for this duration.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn forget_members(&mut self, consumer: &str, unseen_for: Duration) -> Result<()>;

    /// The row of a statement that always returns one, decoded.
    ///
    /// # Errors
    ///
    /// As [`rows`](Self::rows).
    fn row<T>(
        &mut self,
        statement: Sql,
        values: &[Value<'_>],
        decode: impl FnMut(&Self::Row<'_>) -> Result<T>,
    ) -> Result<T> {
        let rows = self.rows(statement, values, decode)?;
        Ok(rows.into_iter().next().expect("the statement returns one row"))
    }
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}

impl From<i64> for Value<'_> {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<u16> for Value<'_> {
    fn from(value: u16) -> Self {
        Self::Integer(value.into())
    }
}

impl From<u32> for Value<'_> {
    fn from(value: u32) -> Self {
        Self::Integer(value.into())
    }
}

/// A count. No database counts further than `i64::MAX`.
impl From<u64> for Value<'_> {
    fn from(value: u64) -> Self {
        Self::Integer(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(value: &'a str) -> Self {
        Self::Text(value)
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(value: &'a String) -> Self {
        Self::Text(value)
    }
}

impl From<Uuid> for Value<'_> {
    fn from(value: Uuid) -> Self {
        Self::Id(value)
    }
}

impl From<OffsetDateTime> for Value<'_> {
    fn from(value: OffsetDateTime) -> Self {
        Self::Time(value)
    }
}

impl<'a, T: Into<Self>> From<Option<T>> for Value<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, T::into)
    }
}
