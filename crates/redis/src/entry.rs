//! An event as an entry of a stream.

use std::borrow::Cow;

use firefly_eventstore_core::EventEnvelope;
use time::format_description::StaticFormatDescription;
use time::macros::format_description;

/// A field of an entry and its value.
pub(crate) type Field<'a> = (&'static str, Cow<'a, str>);

const TIME: StaticFormatDescription =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");

/// The fields of an event's entry: the columns of the table `events`, without those that are empty.
pub(crate) fn fields(event: &EventEnvelope) -> Vec<Field<'_>> {
    let created_at = event.created_at.format(&TIME);
    let fields = [
        ("event_id", Some(event.event_id.to_string().into())),
        ("aggregate_id", Some(event.aggregate.id().to_string().into())),
        ("aggregate_type", Some(event.aggregate.aggregate_type().as_str().into())),
        ("aggregate_version", Some(event.version.to_string().into())),
        ("global_sequence", Some(event.global_sequence.to_string().into())),
        ("event_type", Some(event.event_type.as_str().into())),
        ("event_data", Some(event.data.as_str().into())),
        (
            "metadata",
            event.metadata.as_ref().map(|metadata| metadata.as_str().into()),
        ),
        (
            "created_at",
            Some(created_at.expect("the format has only what every time has").into()),
        ),
        ("created_by", event.created_by.as_ref().map(|name| name.as_str().into())),
        ("tenant_id", event.tenant.as_ref().map(|name| name.as_str().into())),
        (
            "correlation_id",
            event.correlation_id.as_ref().map(|name| name.as_str().into()),
        ),
        (
            "causation_id",
            event.causation_id.as_ref().map(|name| name.as_str().into()),
        ),
        ("checksum", event.checksum.map(|checksum| checksum.to_string().into())),
    ];
    fields
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
}
