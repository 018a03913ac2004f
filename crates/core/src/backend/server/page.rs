//! The first page of a read of the log, with as few round trips as possible.

use crate::store::query::PageEvents;
use crate::{EventQuery, GlobalSequence, Page, Result, Window};

/// The events that a backend found in a window of the log.
#[derive(Debug)]
#[non_exhaustive]
pub struct Found {
    /// The events, in the order of the query.
    pub events: PageEvents,
    /// The end of the log that the statement saw which found the last event: the greatest committed sequence. None if there is no event, or
    /// if the statement did not query it.
    pub end: Option<GlobalSequence>,
}

impl Found {
    /// For authors of backends: the events and the end of the log that one statement saw.
    #[must_use]
    pub fn new(events: PageEvents, end: Option<GlobalSequence>) -> Self {
        Self { events, end }
    }
}

/// How a first page is read, if the high-water mark takes a round trip: see [`first_page`].
pub(super) trait FirstPage {
    /// The events in a window up to an earlier proved mark, and the end of the log, in one statement, because events may have been lost
    /// since then. None if it is not certain that this server shows all events up to that mark; then nothing is read.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn find(&mut self, window: &Window) -> Result<Option<Found>>;

    /// Proves the mark, and [checks](EventQuery::check_end) that the query does not begin beyond the end.
    ///
    /// # Errors
    ///
    /// Those of the backend, and of the check.
    fn prove(&mut self) -> Result<GlobalSequence>;

    /// The events in a window up to the mark that was just proved.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn read(&mut self, window: &Window) -> Result<PageEvents>;
}

/// Reads the first page of the log.
///
/// All positions up to an earlier `proved` mark are final. So if the events up to it fill the page, the page needs no mark of its own: with
/// a newer mark it would have the same events. This is tried if it is likely to succeed: if the query ends at or before that mark; or if it
/// goes forwards, its limit is one page, and it selects events by type, tenant or creator, or has no filter. Otherwise, or if the page is
/// not full, the mark is proved and the rest of the page is read.
///
/// # Errors
///
/// Those of the backend.
pub(super) fn first_page(backend: &mut impl FirstPage, query: &EventQuery, proved: GlobalSequence) -> Result<Page> {
    let found = match query.settled_window(proved) {
        Some(window) => backend.find(&window)?,
        None => None,
    };
    let Some(Found { mut events, end }) = found else {
        let mark = backend.prove()?;
        let events = backend.read(&query.window(None, mark))?;
        return Ok(events.into_page(query, None, mark));
    };
    let (_, until) = query.bounds();
    // A page that reached its size in bytes is followed by others, up to the mark of its read.
    let is_whole = until <= proved || query.is_reached_by(events.len());
    if is_whole && end.is_some_and(|end| proved <= end) {
        return Ok(events.into_page(query, None, proved));
    }
    let mark = backend.prove()?;
    let mut rest = query.window(None, mark);
    if mark < proved || end.is_some_and(|end| end < proved) {
        // The log was truncated, and another thread has returned the error.
        events = PageEvents::new(&rest);
    } else {
        rest.after = rest.after.max(proved);
    }
    if !events.is_full() && rest.after < rest.until {
        rest.rows -= u32::try_from(events.len()).unwrap_or(rest.rows);
        rest.bytes -= events.bytes();
        events.add(backend.read(&rest)?);
    }
    Ok(events.into_page(query, None, mark))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use uuid::Uuid;

    use super::*;
    use crate::{AggregateKey, Direction, EventEnvelope, EventStoreExt, ExpectedVersion, MemoryEventStore, NewEvent};

    /// A log with another end at each read, which records the calls.
    struct Log<'a> {
        query: &'a EventQuery,
        events: &'a [EventEnvelope],
        ends: &'a [u64],
        shows_all: bool,
        asked: Vec<String>,
    }

    impl Log<'_> {
        fn end(&mut self) -> GlobalSequence {
            let [end, later @ ..] = self.ends else {
                panic!("it is looked at too often: {:?}", self.asked);
            };
            self.ends = later;
            GlobalSequence::new(*end).unwrap()
        }

        fn find_up_to(&self, end: GlobalSequence, window: &Window) -> PageEvents {
            let until = window.until.min(end);
            let matches = |event: &&EventEnvelope| {
                event.global_sequence > window.after
                    && event.global_sequence <= until
                    && self.query.filter().matches(event).unwrap()
            };
            let mut matching: Vec<_> = self.events.iter().filter(matches).cloned().collect();
            if self.query.direction() == Direction::Backwards {
                matching.reverse();
            }
            let mut found = PageEvents::new(window);
            for event in matching {
                if found.is_full() {
                    break;
                }
                found.push(event);
            }
            found
        }
    }

    impl FirstPage for Log<'_> {
        fn find(&mut self, window: &Window) -> Result<Option<Found>> {
            if !self.shows_all {
                return Ok(None);
            }
            self.asked.push(format!("{}..{} and end", window.after, window.until));
            let end = self.end();
            let events = self.find_up_to(end, window);
            let end = (!events.is_empty()).then_some(end);
            Ok(Some(Found { events, end }))
        }

        fn prove(&mut self) -> Result<GlobalSequence> {
            self.asked.push("mark".to_owned());
            Ok(self.end())
        }

        fn read(&mut self, window: &Window) -> Result<PageEvents> {
            self.asked.push(format!("{}..{}", window.after, window.until));
            let end = self.end();
            Ok(self.find_up_to(end, window))
        }
    }

    /// Ten events, of which the fourth and the eighth are rare.
    fn ten() -> Vec<EventEnvelope> {
        let store = MemoryEventStore::new();
        let account = AggregateKey::new("Account", Uuid::now_v7()).unwrap();
        let events: Vec<_> = (1..=10)
            .map(|number| {
                let event_type = if number % 4 == 0 {
                    "account.closed"
                } else {
                    "money.deposited"
                };
                NewEvent::new(event_type, &number).unwrap()
            })
            .collect();
        store.append(&account, ExpectedVersion::NoStream, &events).unwrap();
        store.load(&account).unwrap().into_events()
    }

    /// A query, the end of the log at each read, the calls, the found events, and the checkpoint. The earlier mark is 8.
    type Case = (EventQuery, &'static [u64], &'static [&'static str], &'static [u64], u64);

    #[test]
    fn a_page_that_an_earlier_mark_fills_takes_one_look() {
        let events = ten();
        let all = EventQuery::new;
        let rare = || all().event_types(["account.closed"]).unwrap();
        let none = || all().event_types(["account.opened"]).unwrap();
        let after = |sequence: u32| all().after(GlobalSequence::from(sequence));
        let until = |query: EventQuery, sequence: u32| query.until(GlobalSequence::from(sequence));
        let one_byte = NonZeroU64::MIN;
        let cases: [Case; 16] = [
            (all().limit(5), &[10], &["0..8 and end"], &[1, 2, 3, 4, 5], 5),
            (after(2).limit(3), &[10], &["2..8 and end"], &[3, 4, 5], 5),
            (rare().limit(2), &[10], &["0..8 and end"], &[4, 8], 8),
            (
                rare().limit(3),
                &[10; 3],
                &["0..8 and end", "mark", "8..10"],
                &[4, 8],
                10,
            ),
            (rare().limit(3), &[8; 2], &["0..8 and end", "mark"], &[4, 8], 8),
            (none().limit(3), &[10; 3], &["0..8 and end", "mark", "8..10"], &[], 10),
            (
                all().limit(5).page_bytes(one_byte),
                &[10; 2],
                &["0..8 and end", "mark"],
                &[1],
                1,
            ),
            (until(all(), 6), &[10], &["0..6 and end"], &[1, 2, 3, 4, 5, 6], 6),
            (until(all(), 3).backwards(), &[10], &["0..3 and end"], &[3, 2, 1], 3),
            (until(none(), 6), &[10; 2], &["0..6 and end", "mark"], &[], 6),
            // If it is unlikely to succeed, it is not tried.
            (after(7).limit(2), &[10; 2], &["mark", "7..10"], &[8, 9], 9),
            (after(8).limit(1), &[10; 2], &["mark", "8..10"], &[9], 9),
            (
                all().limit(5).aggregate_id(events[0].aggregate.id()),
                &[10; 2],
                &["mark", "0..10"],
                &[1, 2, 3, 4, 5],
                5,
            ),
            (all().limit(2).backwards(), &[10; 2], &["mark", "0..10"], &[10, 9], 0),
            // The log was truncated meanwhile, and another read has returned the error.
            (
                all().limit(5),
                &[7, 9, 9],
                &["0..8 and end", "mark", "0..9"],
                &[1, 2, 3, 4, 5],
                5,
            ),
            (rare().limit(3), &[10, 7, 7], &["0..8 and end", "mark", "0..7"], &[4], 7),
        ];
        for (query, ends, asked, sequences, checkpoint) in cases {
            let mut log = Log {
                query: &query,
                events: &events,
                ends,
                shows_all: true,
                asked: Vec::new(),
            };
            let page = first_page(&mut log, &query, GlobalSequence::from(8)).unwrap();
            assert_eq!(log.asked, asked, "{query:?}");
            let found: Vec<_> = page.events.iter().map(|event| event.global_sequence.get()).collect();
            assert_eq!(
                (&found[..], page.checkpoint.get()),
                (sequences, checkpoint),
                "{query:?}"
            );
        }
    }

    #[test]
    fn a_server_that_may_not_show_all_is_asked_for_a_mark_first() {
        let (events, query) = (ten(), EventQuery::new().limit(5));
        let mut log = Log {
            query: &query,
            events: &events,
            ends: &[10; 2],
            shows_all: false,
            asked: Vec::new(),
        };
        let page = first_page(&mut log, &query, GlobalSequence::from(8)).unwrap();
        assert_eq!(log.asked, ["mark", "0..10"]);
        assert_eq!((page.events.len(), page.high_water_mark.get()), (5, 10));
    }
}
