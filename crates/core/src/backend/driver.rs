//! Which index finds the events of a query.

use super::sql::Value;
use crate::{CausationId, CorrelationId, CreatedBy, EventFilter, TenantId};

/// The filter, or the order, whose index finds the events of a query; the most selective first. The other filters are checked on the events
/// that it finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "each is called as the filter, or the order, whose index it walks"
)]
pub enum Driver {
    EventIds,
    Aggregate,
    Correlation,
    Causation,
    /// The index with this name, on metadata.
    Metadata(&'static str),
    EventTypes,
    Creator,
    Tenant,
    AggregateTypes,
    Time,
    /// The log itself, in its order.
    Sequence,
}

/// How selective an index on metadata is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetadataIndex {
    /// It finds few events, by an id in the metadata.
    Selective(&'static str),
    /// It finds the events whose metadata contains something. These may be many, so every other index is preferred.
    Broad(&'static str),
}

/// The correlation id that the metadata must have, if the filter asks for one. Most databases have an index on it.
#[must_use]
pub fn metadata_correlation(filter: &EventFilter) -> Option<String> {
    let metadata: serde_json::Value = filter.metadata.as_ref()?.parse().ok()?;
    Some(metadata.get("correlationId")?.as_str()?.to_owned())
}

/// With more types than this, scanning the log costs less than merging their indexes.
const MOST_MERGED_TYPES: usize = 16;

impl Driver {
    /// The first driver that the filters and the order allow and whose index exists. `metadata` is the index on metadata that suits this
    /// query, if there is one.
    pub fn of(
        filter: &EventFilter,
        by_time: bool,
        metadata: Option<MetadataIndex>,
        is_there: impl Fn(&str) -> bool,
    ) -> Self {
        fn mergeable<T>(types: Option<&Vec<T>>) -> bool {
            types.is_some_and(|types| (1..=MOST_MERGED_TYPES).contains(&types.len()))
        }

        let (selective, broad) = match metadata {
            Some(MetadataIndex::Selective(name)) => (Some(name), None),
            Some(MetadataIndex::Broad(name)) => (None, Some(name)),
            None => (None, None),
        };
        let candidates = [
            filter.event_ids.is_some().then_some(Self::EventIds),
            filter.aggregate_id.is_some().then_some(Self::Aggregate),
            filter.correlation_id.is_some().then_some(Self::Correlation),
            filter.causation_id.is_some().then_some(Self::Causation),
            selective.map(Self::Metadata),
            mergeable(filter.event_types.as_ref()).then_some(Self::EventTypes),
            // In the order of time, the events of a creator or a tenant would have to be sorted for each page.
            (filter.created_by.is_some() && !by_time).then_some(Self::Creator),
            (filter.tenant.is_some() && !by_time).then_some(Self::Tenant),
            mergeable(filter.aggregate_types.as_ref()).then_some(Self::AggregateTypes),
            by_time.then_some(Self::Time),
            broad.map(Self::Metadata),
        ];
        let usable = |driver: &Self| driver.index(by_time).is_none_or(&is_there);
        candidates.into_iter().flatten().find(usable).unwrap_or(Self::Sequence)
    }

    /// The filters by a column that has one value: the driver of each, the column, and the value.
    #[must_use]
    pub fn equalities(filter: &EventFilter) -> Vec<(Self, &'static str, Value<'_>)> {
        let equalities = [
            (Self::Aggregate, "aggregate_id", filter.aggregate_id.map(Value::Id)),
            (
                Self::Tenant,
                "tenant_id",
                filter.tenant.as_ref().map(|name| TenantId::as_str(name).into()),
            ),
            (
                Self::Correlation,
                "correlation_id",
                filter
                    .correlation_id
                    .as_ref()
                    .map(|name| CorrelationId::as_str(name).into()),
            ),
            (
                Self::Causation,
                "causation_id",
                filter
                    .causation_id
                    .as_ref()
                    .map(|name| CausationId::as_str(name).into()),
            ),
            (
                Self::Creator,
                "created_by",
                filter.created_by.as_ref().map(|name| CreatedBy::as_str(name).into()),
            ),
        ];
        let set = |(driver, column, value): (Self, _, Option<_>)| Some((driver, column, value?));
        equalities.into_iter().filter_map(set).collect()
    }

    /// The name of its index; none for the log itself.
    #[must_use]
    pub fn index(self, by_time: bool) -> Option<&'static str> {
        Some(match self {
            Self::EventIds => "idx_events_event_id",
            Self::Aggregate => "idx_events_aggregate_version",
            Self::Correlation => "idx_events_correlation_id",
            Self::Causation => "idx_events_causation_id",
            Self::Metadata(name) => name,
            Self::Creator => "idx_events_created_by",
            Self::EventTypes if by_time => "idx_events_type_created",
            Self::EventTypes => "idx_events_type",
            Self::Tenant => "idx_events_tenant_id",
            Self::AggregateTypes if by_time => "idx_events_aggregate_type_created",
            Self::AggregateTypes => "idx_events_aggregate_type",
            Self::Time => "idx_events_created_at",
            Self::Sequence => return None,
        })
    }
}
