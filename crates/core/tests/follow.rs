//! Following a log that cannot be read for a while, and the calls that a follower makes.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::error::Error as StdError;
use std::sync::Mutex;
use std::time::Duration;

use firefly_eventstore_core::consumer::{
    ConsumerSlot, ConsumerStore, ConsumerTransaction, ParkedEvent, ParkedQuery, Wake,
};
use firefly_eventstore_core::prelude::*;
use firefly_eventstore_core::{
    AggregateSummary, Cursor, EventTransaction, FaultPoint, Health, Page, Statistics, SummaryQuery,
};

fn with_two_events() -> MemoryEventStore {
    let store = MemoryEventStore::new();
    let account = AggregateKey::new("Account", Uuid::now_v7()).unwrap();
    let deposited = [1, 2].map(|amount| NewEvent::new("money.deposited", &amount).unwrap());
    store.append(&account, 0, &deposited).unwrap();
    store
}

#[test]
fn a_read_that_fails_is_repeated() {
    let store = with_two_events();
    let mut events = store.follow(EventQuery::new());
    store.fail_at(FaultPoint::Read);
    assert_eq!(events.next().unwrap().unwrap().global_sequence, 1);
    assert_eq!(events.next().unwrap().unwrap().global_sequence, 2);
}

#[test]
fn an_outage_beyond_the_timeout_is_told_and_the_next_call_goes_on() {
    let store = with_two_events();
    let mut events = store.follow(EventQuery::new()).timeout(Duration::ZERO);
    store.fail_at(FaultPoint::Read);
    assert!(events.next().unwrap().unwrap_err().is_retryable());
    assert_eq!(events.checkpoint(), 0);
    assert_eq!(
        events
            .by_ref()
            .map(|event| event.unwrap().global_sequence.get())
            .sum::<u64>(),
        3
    );
    store.fail_at(FaultPoint::Read);
    assert!(events.next().unwrap().unwrap_err().is_retryable());
    assert!(events.next().is_none());
    assert_eq!(events.checkpoint(), 2);
}

#[test]
fn what_comes_while_it_waits_is_read_up_to_the_mark_that_was_seen() {
    let store = Watched {
        store: with_two_events(),
        wake: Wake::default(),
        asked: Mutex::default(),
    };
    let query = EventQuery::new().after(2).limit(2);
    let events: Vec<_> = store.follow(query).map(|event| event.unwrap().version.get()).collect();
    assert_eq!(events, [1, 1]);
    let (looks, reads): (Vec<_>, Vec<_>) = store
        .asked
        .into_inner()
        .unwrap()
        .into_iter()
        .partition(|asked| *asked == Asked::Mark);
    assert_eq!(looks.len(), 2);
    let end = GlobalSequence::MAX.get();
    let pages = [(2, end), (2, 3), (3, end), (3, 4)];
    assert_eq!(reads, pages.map(|(after, until)| Asked::Page(after, until)));
}

#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Mark,
    /// The events after the first sequence, up to the second.
    Page(u64, u64),
}

/// A store to which another program appends just before each read of the mark.
#[derive(Debug)]
struct Watched {
    store: MemoryEventStore,
    wake: Wake,
    asked: Mutex<Vec<Asked>>,
}

impl EventStore for Watched {
    fn append_all(&self, _: &[Append<'_>]) -> Result<Vec<Appended>> {
        unreachable!("a follower only reads")
    }

    fn transact(&self, _: &mut dyn FnMut(&mut dyn EventTransaction) -> Result<()>) -> Result<()> {
        unreachable!("a follower only reads")
    }

    fn load_range(&self, _: &AggregateKey, _: &StreamRange) -> Result<EventStream> {
        unreachable!("a follower reads the log")
    }

    fn read_page(&self, query: &EventQuery, cursor: Option<&Cursor>) -> Result<Page> {
        let window = query.window(cursor, GlobalSequence::MAX);
        let asked = Asked::Page(window.after.get(), window.until.get());
        self.asked.lock().unwrap().push(asked);
        self.store.read_page(query, cursor)
    }

    fn high_water_mark(&self) -> Result<GlobalSequence> {
        self.asked.lock().unwrap().push(Asked::Mark);
        let account = AggregateKey::new("Account", Uuid::now_v7())?;
        self.store
            .append(&account, 0, &[NewEvent::new("money.deposited", &3)?])?;
        self.store.high_water_mark()
    }

    fn statistics(&self, _: Option<&TenantId>) -> Result<Statistics> {
        unreachable!("a follower reads the log")
    }

    fn aggregate_summaries(&self, _: &SummaryQuery) -> Result<Vec<AggregateSummary>> {
        unreachable!("a follower reads the log")
    }

    fn refresh_aggregate_summaries(&self) -> Result<()> {
        unreachable!("a follower only reads")
    }

    fn health(&self) -> Result<Health> {
        unreachable!("a follower reads the log")
    }
}

impl ConsumerStore for Watched {
    fn consume(&self, _: &mut dyn FnMut(&mut dyn ConsumerTransaction) -> Result<()>) -> Result<()> {
        unreachable!("a follower keeps no checkpoint")
    }

    fn consumers(&self, _: Option<&str>) -> Result<Vec<ConsumerSlot>> {
        unreachable!("a follower keeps no checkpoint")
    }

    fn parked_events(&self, _: ParkedQuery<'_>) -> Result<Vec<ParkedEvent>> {
        unreachable!("a follower parks nothing")
    }

    fn count_parked(&self, _: &str, _: Option<Uuid>) -> Result<u64> {
        unreachable!("a follower parks nothing")
    }

    fn wake(&self) -> &Wake {
        &self.wake
    }

    fn is_transient(&self, _: &(dyn StdError + 'static)) -> bool {
        unreachable!("a follower handles no failure")
    }

    fn took_too_long(&self, _: &(dyn StdError + 'static)) -> bool {
        unreachable!("a follower handles no failure")
    }
}
