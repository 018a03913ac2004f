//! The hash of what a consumer asks for. A consumer that asks for something else has another hash.

use crate::values::row::Row;
use crate::{Direction, Error, EventQuery, GlobalSequence, Order, Result};

/// The prefix of the hashed text. It keeps the hash apart from hashes of anything else.
const DEFINITION: &[u8] = b"firefly-eventstore consumer\n";

/// The SHA-256, in hexadecimal digits, of a consumer's query and its number of slots.
///
/// # Errors
///
/// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the query has more than filters: a consumer reads the whole log
/// in its order.
pub(crate) fn definition(query: &EventQuery, slots: u16) -> Result<String> {
    let (after, until) = query.bounds();
    let is_whole = after == GlobalSequence::ZERO && until == GlobalSequence::MAX && !query.is_limited();
    if !is_whole || query.order() != Order::Sequence || query.direction() != Direction::Forwards {
        return Err(Error::invalid(
            "a consumer follows the log in its order, from its checkpoint on: its query has filters, but no limit, no bounds of \
             sequences, and no other order; one with a range of time is to be ordered by sequence",
        ));
    }
    let filter = query.filter();
    let mut row = Row::after(DEFINITION);
    let mut list = |name: &str, values: Option<Vec<&str>>| {
        let Some(values) = values else { return };
        row.text(Some(name));
        row.number(values.len() as u64);
        values.into_iter().for_each(|value| row.text(Some(value)));
    };
    let ids: Option<Vec<String>> = filter
        .event_ids
        .as_ref()
        .map(|ids| ids.iter().map(ToString::to_string).collect());
    let aggregate_id = filter.aggregate_id.map(|id| id.to_string());
    let times = [filter.created_from, filter.created_until]
        .map(|time| time.map(|time| time.unix_timestamp_nanos().to_string()));
    list(
        "event_ids",
        ids.as_ref().map(|ids| ids.iter().map(String::as_str).collect()),
    );
    list(
        "event_types",
        filter
            .event_types
            .as_ref()
            .map(|types| types.iter().map(|name| name.as_str()).collect()),
    );
    list(
        "aggregate_types",
        filter
            .aggregate_types
            .as_ref()
            .map(|types| types.iter().map(|name| name.as_str()).collect()),
    );
    list("aggregate_id", aggregate_id.as_deref().map(|id| vec![id]));
    list("tenant", filter.tenant.as_ref().map(|name| vec![name.as_str()]));
    list(
        "correlation_id",
        filter.correlation_id.as_ref().map(|name| vec![name.as_str()]),
    );
    list(
        "causation_id",
        filter.causation_id.as_ref().map(|name| vec![name.as_str()]),
    );
    list("created_by", filter.created_by.as_ref().map(|name| vec![name.as_str()]));
    list("created_from", times[0].as_deref().map(|time| vec![time]));
    list("created_until", times[1].as_deref().map(|time| vec![time]));
    list("metadata", filter.metadata.as_ref().map(|part| vec![part.as_str()]));
    row.number(u64::from(slots));
    Ok(row.digest().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(query: EventQuery) -> String {
        definition(&query, 1).unwrap()
    }

    #[test]
    fn a_definition_never_changes_and_tells_queries_apart() {
        let deposits = || EventQuery::new().event_types(["money.deposited"]).unwrap();
        assert_eq!(
            of(deposits()),
            "4b9233314e449c1968066b67f997162687f4537775118113c410f8629a00cf0c"
        );
        assert_eq!(of(deposits()), of(deposits().page_size(std::num::NonZeroU32::MIN)));
        let others = [
            EventQuery::new(),
            EventQuery::new().event_types(["money.withdrawn"]).unwrap(),
            EventQuery::new().aggregate_types(["money.deposited"]).unwrap(),
            deposits().tenant("acme").unwrap(),
        ];
        for other in others {
            assert_ne!(of(deposits()), of(other));
        }
        assert_ne!(of(deposits()), definition(&deposits(), 2).unwrap());
    }

    #[test]
    fn what_is_no_filter_of_the_log_in_its_order_is_refused() {
        let times = EventQuery::new().created_at(time::OffsetDateTime::UNIX_EPOCH..);
        let refused = [
            EventQuery::new().limit(5),
            EventQuery::new().after(GlobalSequence::from(5)),
            EventQuery::new().until(GlobalSequence::from(5)),
            EventQuery::new().backwards(),
            times.clone(),
        ];
        for query in refused {
            assert!(definition(&query, 1).unwrap_err().is_invalid_input(), "{query:?}");
        }
        assert!(definition(&times.ordered_by(Order::Sequence), 1).is_ok());
    }
}
