//! Which events: the options that `tail` and `export` share.

use std::ops::Bound;

use clap::Args;
use firefly_eventstore::{
    AggregateType, CausationId, CorrelationId, CreatedBy, EventQuery, EventType, GlobalSequence, Metadata, TenantId,
};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::exit::Result;
use crate::parse;

/// Only events that match every one of these.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Which events (each narrows the choice)")]
pub(crate) struct Filter {
    /// Only after this global sequence
    #[arg(long, value_name = "SEQUENCE", value_parser = parse::sequence)]
    pub(crate) after: Option<GlobalSequence>,

    /// Only of this event type; may be repeated
    #[arg(long, value_name = "TYPE")]
    event_type: Vec<EventType>,

    /// Only of aggregates of this type; may be repeated
    #[arg(long, value_name = "TYPE")]
    aggregate_type: Vec<AggregateType>,

    /// Only of this aggregate
    #[arg(long, value_name = "UUID")]
    aggregate_id: Option<Uuid>,

    /// Only the event with this id; may be repeated
    #[arg(long, value_name = "UUID")]
    event_id: Vec<Uuid>,

    /// Only of this tenant
    #[arg(long, value_name = "TENANT")]
    tenant: Option<TenantId>,

    /// Only with this correlation id
    #[arg(long, value_name = "ID")]
    correlation_id: Option<CorrelationId>,

    /// Only with this causation id
    #[arg(long, value_name = "ID")]
    causation_id: Option<CausationId>,

    /// Only created by this user or service
    #[arg(long, value_name = "NAME")]
    created_by: Option<CreatedBy>,

    /// Only created at this time or later: a time, a date or an age (2h)
    #[arg(long, value_name = "TIME", value_parser = parse::time)]
    since: Option<OffsetDateTime>,

    /// Only created before this time
    #[arg(long, value_name = "TIME", value_parser = parse::time)]
    until: Option<OffsetDateTime>,

    /// Only with metadata that contains this JSON object
    #[arg(long, value_name = "JSON", value_parser = parse::metadata)]
    metadata: Option<Metadata>,

    /// Only what is left in the log: archived events are skipped, instead of refused
    #[arg(long)]
    skip_archived: bool,
}

impl Filter {
    /// The query that finds them.
    pub(crate) fn query(&self) -> Result<EventQuery> {
        let mut query = EventQuery::new();
        if let Some(sequence) = self.after {
            query = query.after(sequence);
        }
        if !self.event_type.is_empty() {
            query = query.event_types(&self.event_type)?;
        }
        if !self.aggregate_type.is_empty() {
            query = query.aggregate_types(&self.aggregate_type)?;
        }
        if let Some(id) = self.aggregate_id {
            query = query.aggregate_id(id);
        }
        if !self.event_id.is_empty() {
            query = query.event_ids(self.event_id.iter().copied());
        }
        if let Some(tenant) = &self.tenant {
            query = query.tenant(tenant)?;
        }
        if let Some(id) = &self.correlation_id {
            query = query.correlation_id(id)?;
        }
        if let Some(id) = &self.causation_id {
            query = query.causation_id(id)?;
        }
        if let Some(name) = &self.created_by {
            query = query.created_by(name)?;
        }
        if self.since.is_some() || self.until.is_some() {
            let since = self.since.map_or(Bound::Unbounded, Bound::Included);
            let until = self.until.map_or(Bound::Unbounded, Bound::Excluded);
            query = query.created_at((since, until));
        }
        if let Some(metadata) = &self.metadata {
            query = query.metadata(metadata.clone());
        }
        if self.skip_archived {
            query = query.skip_archived();
        }
        Ok(query)
    }

    /// The options that make the same choice again, without the beginning.
    pub(crate) fn options(&self) -> Vec<String> {
        let mut options = Vec::new();
        let mut add = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                options.extend([format!("--{name}"), value]);
            }
        };
        for name in &self.event_type {
            add("event-type", Some(name.to_string()));
        }
        for name in &self.aggregate_type {
            add("aggregate-type", Some(name.to_string()));
        }
        add("aggregate-id", self.aggregate_id.map(|id| id.to_string()));
        for id in &self.event_id {
            add("event-id", Some(id.to_string()));
        }
        add("tenant", self.tenant.as_ref().map(ToString::to_string));
        add("correlation-id", self.correlation_id.as_ref().map(ToString::to_string));
        add("causation-id", self.causation_id.as_ref().map(ToString::to_string));
        add("created-by", self.created_by.as_ref().map(ToString::to_string));
        add("since", self.since.map(parse::time_text));
        add("until", self.until.map(parse::time_text));
        add("metadata", self.metadata.as_ref().map(ToString::to_string));
        if self.skip_archived {
            options.push("--skip-archived".to_owned());
        }
        options
    }
}
