//! Reading streams and pages of the log, and finding their archived parts.

use super::log::Log;
use super::store::{MemoryEventStore, lock};
use crate::backend::{self, ArchivedStream, EventFilter, EventKey, Fingerprint, Window};
use crate::operate::{Archive, needed};
use crate::{
    AggregateKey, AsOf, Cursor, Direction, Error, EventEnvelope, EventQuery, EventStream, GlobalSequence, Page, Result,
    StreamRange, Version,
};

impl MemoryEventStore {
    /// The part of a stream that a range asks for. `events` are the events of the stream in the log, oldest first.
    pub(super) fn select(
        &self,
        aggregate: &AggregateKey,
        range: &StreamRange,
        stream: &[&EventEnvelope],
        archived: Option<&ArchivedStream>,
    ) -> Result<EventStream> {
        let Some(archived) = archived else {
            return backend::scan_stream(aggregate, range, stream);
        };
        if range.tenant.is_some() && range.tenant != archived.tenant {
            return Ok(EventStream::new(aggregate.clone(), Version::ZERO, Vec::new()));
        }
        backend::check_type(aggregate, archived.aggregate.aggregate_type())?;
        let live = backend::scan_stream(aggregate, range, stream)?;
        let mut version = live.version().max(archived.version);
        match range.as_of {
            Some(AsOf::Version(at)) => version = version.min(at),
            Some(AsOf::Sequence(at)) if at < archived.first_sequence => version = Version::ZERO,
            Some(AsOf::Sequence(at)) if at < archived.last_sequence => return Err(self.needed(archived)),
            Some(AsOf::Time(at)) if at < archived.created_until => return Err(self.needed(archived)),
            Some(AsOf::Sequence(_) | AsOf::Time(_)) | None => {}
        }

        let to = range.to.map_or(version, |to| to.min(version));
        let limit = range.limit.unwrap_or(u64::MAX);
        let first = range.from.max(Version::from(1));
        let is_filled = match range.direction {
            Direction::Forwards => limit == 0,
            Direction::Backwards => live.len() as u64 >= limit,
        };
        if first <= to.min(archived.version) && !is_filled {
            return Err(self.needed(archived));
        }
        let archived = (archived.version, archived.last_event_id);
        Ok(EventStream::new(aggregate.clone(), version, live.into_events()).with_archived(Some(archived)))
    }

    /// The error of a load that needs archived events of a stream.
    fn needed(&self, stream: &ArchivedStream) -> Error {
        let (first, last) = (stream.first_sequence, stream.last_sequence);
        let archives = lock(&self.shared.archives);
        let holding: Vec<_> = archives
            .iter()
            .filter(|archive| archive.first <= last && archive.last >= first)
            .cloned()
            .collect();
        needed(first, last, &holding)
    }

    pub(super) fn page(&self, log: &Log, query: &EventQuery, cursor: Option<&Cursor>) -> Result<Page> {
        let mark = match cursor {
            Some(cursor) => cursor.high_water_mark(),
            None => {
                let mark = log.mark();
                query.check_end(mark, || Ok(mark))?;
                mark
            }
        };
        let window = query.window(cursor, mark);
        let found = backend::scan_events(&log.events, query, &window)?;
        let archived_until = log.archived.keys().next_back().copied();
        backend::check_archived(query, &window, &found, archived_until, |covered| {
            Ok(self.archive_with(log, query.filter(), covered))
        })?;
        Ok(found.into_page(query, cursor, mark))
    }

    /// The first archive with an event in a window that may match the filters.
    fn archive_with(&self, log: &Log, filter: &EventFilter, window: &Window) -> Option<Archive> {
        let may_pass = |(_, (key, _)): &(&GlobalSequence, &(EventKey, Fingerprint))| {
            let stream = &log.archived_streams[&key.aggregate_id];
            backend::may_pass_archived(filter, key.event_id, stream)
        };
        let archives = lock(&self.shared.archives);
        let mut archives = archives
            .iter()
            .filter(|archive| backend::may_pass_archive(filter, archive));
        archives
            .find(|archive| {
                let first = archive.first.max(window.after.checked_add(1).unwrap_or(window.after));
                let last = archive.last.min(window.until);
                first <= last && log.archived.range(first..=last).any(|entry| may_pass(&entry))
            })
            .cloned()
    }
}
