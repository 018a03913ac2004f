//! Statistics of a store: the monitoring queries and views of the schema of the Firefly Event Sourcing Library.

use std::time::Duration;

use time::OffsetDateTime;
use uuid::Uuid;

use crate::{AggregateType, EventType, GlobalSequence, TenantId, Version};

/// Statistics of a store: its totals, and those of each type.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Statistics {
    /// How many events, without archived ones.
    pub total_events: u64,
    /// How many events were [archived](crate::operate::Archiving).
    pub archived_events: u64,
    /// Of how many aggregates.
    pub total_aggregates: u64,
    /// The global sequence of the last event; 0 if there is none.
    pub current_global_sequence: GlobalSequence,
    /// How many types of events.
    pub unique_event_types: u64,
    /// How many types of aggregates.
    pub unique_aggregate_types: u64,
    /// The distribution of event types, the most frequent first, ties by name.
    pub event_types: Vec<EventTypeShare>,
    /// The activity per aggregate type, by name.
    pub aggregate_types: Vec<AggregateActivity>,
    /// The view `v_event_statistics`, by aggregate type and event type.
    pub details: Vec<EventStatistics>,
}

/// How frequent an event type is.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct EventTypeShare {
    /// The type.
    pub event_type: EventType,
    /// How many events have it.
    pub event_count: u64,
    /// Its share of all events in percent, rounded to two decimals.
    pub percentage: f64,
}

impl EventTypeShare {
    /// The share of `event_count` in `total` events.
    #[must_use]
    pub fn new(event_type: EventType, event_count: u64, total: u64) -> Self {
        // Halves are rounded away from zero in whole numbers, as the databases' decimal ROUND does.
        let hundredths = (u128::from(event_count) * 20_000 + u128::from(total)) / (2 * u128::from(total.max(1)));
        Self {
            event_type,
            event_count,
            percentage: hundredths as f64 / 100.0,
        }
    }
}

/// The activity of the aggregates of a type.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct AggregateActivity {
    /// The type.
    pub aggregate_type: AggregateType,
    /// How many aggregates have it.
    pub aggregate_count: u64,
    /// The average of the versions of all their events, as the schema of the Firefly Event Sourcing Library defines it.
    pub average_version: f64,
    /// The greatest version of any.
    pub max_version: Version,
}

impl AggregateActivity {
    /// For authors of backends: a row of `aggregate_activity.sql`.
    #[must_use]
    pub fn new(
        aggregate_type: AggregateType,
        aggregate_count: u64,
        average_version: f64,
        max_version: Version,
    ) -> Self {
        Self {
            aggregate_type,
            aggregate_count,
            average_version,
            max_version,
        }
    }
}

/// A row of the view `v_event_statistics`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct EventStatistics {
    /// The type of aggregate.
    pub aggregate_type: AggregateType,
    /// The type of event.
    pub event_type: EventType,
    /// How many events.
    pub event_count: u64,
    /// The average size of their data, in bytes (column `avg_size_bytes`).
    pub average_size_bytes: f64,
    /// The greatest size of their data, in bytes.
    pub max_size_bytes: u64,
    /// When the first was created.
    pub first_event_at: OffsetDateTime,
    /// When the last was created.
    pub last_event_at: OffsetDateTime,
    /// Of how many aggregates.
    pub unique_aggregates: u64,
}

impl EventStatistics {
    /// For authors of backends: a row of `v_event_statistics`.
    #[must_use]
    #[expect(clippy::too_many_arguments, reason = "a row has so many columns")]
    pub fn new(
        aggregate_type: AggregateType,
        event_type: EventType,
        event_count: u64,
        average_size_bytes: f64,
        max_size_bytes: u64,
        first_event_at: OffsetDateTime,
        last_event_at: OffsetDateTime,
        unique_aggregates: u64,
    ) -> Self {
        Self {
            aggregate_type,
            event_type,
            event_count,
            average_size_bytes,
            max_size_bytes,
            first_event_at,
            last_event_at,
            unique_aggregates,
        }
    }
}

/// A row of `mv_aggregate_summary`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AggregateSummary {
    /// The id of the aggregate.
    pub aggregate_id: Uuid,
    /// Its type.
    pub aggregate_type: AggregateType,
    /// Its current version.
    pub current_version: Version,
    /// How many events it has.
    pub total_events: u64,
    /// When its first event was created.
    pub created_at: OffsetDateTime,
    /// When its last event was created.
    pub last_modified_at: OffsetDateTime,
    /// The size of all its data, in bytes.
    pub total_size_bytes: u64,
    /// The tenant that owns it (column `tenant_id`).
    pub tenant: Option<TenantId>,
}

impl AggregateSummary {
    /// For authors of backends: a row of `mv_aggregate_summary`.
    #[must_use]
    #[expect(clippy::too_many_arguments, reason = "a row has so many columns")]
    pub fn new(
        aggregate_id: Uuid,
        aggregate_type: AggregateType,
        current_version: Version,
        total_events: u64,
        created_at: OffsetDateTime,
        last_modified_at: OffsetDateTime,
        total_size_bytes: u64,
        tenant: Option<TenantId>,
    ) -> Self {
        Self {
            aggregate_id,
            aggregate_type,
            current_version,
            total_events,
            created_at,
            last_modified_at,
            total_size_bytes,
            tenant,
        }
    }
}

/// Selects aggregate summaries, ordered by the aggregate's id.
///
/// They are computed from the current log, unless [`as_of_last_refresh`](Self::as_of_last_refresh) is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SummaryQuery {
    /// Only aggregates with a greater id: the last id of the previous page.
    pub after: Option<Uuid>,
    /// Only aggregates of this type.
    pub aggregate_type: Option<AggregateType>,
    /// Only aggregates of this tenant.
    pub tenant: Option<TenantId>,
    /// The largest number of summaries.
    pub limit: Option<u32>,
    /// Whether to read the summaries that the database keeps.
    pub as_of_last_refresh: bool,
}

impl SummaryQuery {
    /// Every aggregate.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Only aggregates with a greater id than this.
    #[must_use]
    pub fn after(mut self, aggregate_id: Uuid) -> Self {
        self.after = Some(aggregate_id);
        self
    }

    /// Only aggregates of this type.
    #[must_use]
    pub fn aggregate_type(mut self, aggregate_type: AggregateType) -> Self {
        self.aggregate_type = Some(aggregate_type);
        self
    }

    /// Only aggregates of this tenant.
    #[must_use]
    pub fn tenant(mut self, tenant: TenantId) -> Self {
        self.tenant = Some(tenant);
        self
    }

    /// At most this many.
    #[must_use]
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Reads the summaries that the database keeps, as of the last
    /// [`refresh_aggregate_summaries`](crate::EventStore::refresh_aggregate_summaries): none before the first refresh.
    ///
    /// Faster for a large log. SQLite and the in-memory store keep no summaries, and compute them.
    #[must_use]
    pub fn as_of_last_refresh(mut self) -> Self {
        self.as_of_last_refresh = true;
        self
    }
}

/// The state of a working store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// The kind of database: `memory`, `sqlite`, `postgres`, `mysql` or `mariadb`.
    pub backend: &'static str,
    /// The database's own version.
    pub server_version: String,
    /// The version of the schema; none where there is no schema.
    pub schema_version: Option<String>,
    /// Whether the store accepts appends.
    pub writable: bool,
    /// The high-water mark.
    pub high_water_mark: GlobalSequence,
    /// How long a round trip to the database took, including reading the mark.
    pub latency: Duration,
}

impl Health {
    /// For authors of backends.
    #[must_use]
    pub fn new(
        backend: &'static str,
        server_version: String,
        schema_version: Option<String>,
        writable: bool,
        high_water_mark: GlobalSequence,
        latency: Duration,
    ) -> Self {
        Self {
            backend,
            server_version,
            schema_version,
            writable,
            high_water_mark,
            latency,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_rounded_to_two_decimals() {
        let share = |count, total| {
            EventTypeShare::new(EventType::new("a.b").unwrap(), count, total)
                .percentage
                .to_string()
        };
        assert_eq!(share(1, 3), "33.33");
        assert_eq!(share(2, 3), "66.67");
        assert_eq!(share(1, 800), "0.13");
        assert_eq!(share(7, 7), "100");
    }
}
