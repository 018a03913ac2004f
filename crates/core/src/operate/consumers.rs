//! Finds consumers that need their operator.

use std::time::Duration;

use time::OffsetDateTime;

use super::diagnosis::{Diagnosis, Severity};
use super::seal::log_ends_before;
use crate::consumer::{ConsumerSlot, ConsumerState, ConsumerStatus, ConsumerStore, Failing, Lease, status};
use crate::{GlobalSequence, Result};

/// The subject of the findings about consumers.
pub const CONSUMERS: &str = "consumers";

/// A consumer stands still if it leaves an event unhandled, and its checkpoint unwritten, for longer than this. A running consumer writes
/// its checkpoint after ten seconds at most, but a long batch may take longer.
const STANDS_STILL: Duration = Duration::from_secs(5 * 60);

/// How many characters of an error a finding shows.
const ERROR_CHARS: usize = 200;

/// The findings about all consumers; a single one if all work. `mark` is the high-water mark, if it is known here.
pub(super) fn diagnose_consumers(
    store: &(impl ConsumerStore + ?Sized),
    mark: Option<GlobalSequence>,
) -> Result<Vec<Diagnosis>> {
    let Some(mark) = mark else {
        return Ok(vec![Diagnosis::good(
            CONSUMERS,
            "how far behind they are is not known here",
        )]);
    };
    let consumers = status(store, None)?;
    let now = OffsetDateTime::now_utc();
    let mut diagnoses = Vec::new();
    for consumer in &consumers {
        diagnoses.extend(beyond_end(store, consumer, mark)?);
        diagnoses.extend(judge(consumer, now));
    }
    if diagnoses.is_empty() {
        let found = match consumers.len() {
            0 => "none has begun".to_owned(),
            1 => "1 has begun, and does not stand still".to_owned(),
            count => format!("{count} have begun, and none stands still"),
        };
        diagnoses.push(Diagnosis::good(CONSUMERS, found));
    }
    Ok(diagnoses)
}

/// A finding about a checkpoint beyond the end of the log: the last events were lost.
fn beyond_end(
    store: &(impl ConsumerStore + ?Sized),
    consumer: &ConsumerStatus,
    mark: GlobalSequence,
) -> Result<Option<Diagnosis>> {
    let furthest = consumer.slots.iter().map(|slot| slot.position).max();
    let Some(furthest) = furthest.filter(|position| *position > mark) else {
        return Ok(None);
    };
    // Other programs may append and handle events meanwhile, or this mark may be a published one.
    if !log_ends_before(store, furthest)? {
        return Ok(None);
    }
    let found = format!(
        "{} has handled the log up to {furthest}, and the log ends at {mark}: its last events are gone",
        consumer.name
    );
    Ok(Some(Diagnosis::bad(
        Severity::Danger,
        CONSUMERS,
        found,
        "find out who removed them, and restore a backup; else the consumer leaves out what is appended next: reposition it to the \
         end of the log",
    )))
}

/// The findings about a consumer.
fn judge(consumer: &ConsumerStatus, now: OffsetDateTime) -> Vec<Diagnosis> {
    let name = &consumer.name;
    let is_late = consumer.age.is_some_and(|age| age >= STANDS_STILL);
    let mut diagnoses = Vec::new();
    let mut bad = |severity, found, advice| diagnoses.push(Diagnosis::bad(severity, CONSUMERS, found, advice));
    let slots = |is_so: &dyn Fn(&ConsumerSlot) -> bool| -> Vec<&ConsumerSlot> {
        consumer.slots.iter().filter(|slot| is_so(slot)).collect()
    };
    let name_of = |found: &[&ConsumerSlot]| match (found, consumer.slots.len()) {
        (_, 1) => name.clone(),
        ([slot], _) => format!("slot {} of {name}", slot.slot),
        (found, all) if found.len() == all => name.clone(),
        (found, all) => format!("{} of the {all} slots of {name}", found.len()),
    };

    let failed = slots(&|slot| slot.state == ConsumerState::Failed);
    if !failed.is_empty() {
        let found = match first_failing(&failed) {
            Some(failing) => format!("{} failed {}", name_of(&failed), told(failing)),
            None => format!("{} failed", name_of(&failed)),
        };
        bad(
            Severity::Warning,
            found,
            "fix the cause of the error, then resume the consumer: it tries that event again",
        );
    }

    if consumer.state() == ConsumerState::Paused {
        bad(
            Severity::Notice,
            format!("{name} is paused, {} behind", sequences(consumer.behind)),
            "resume it when the reason for the pause is over",
        );
    }

    let trying = slots(&|slot| slot.state == ConsumerState::Running && slot.failing.is_some());
    if let Some(failing) = first_failing(&trying) {
        let severity = if is_late { Severity::Warning } else { Severity::Notice };
        bad(
            severity,
            format!("{} cannot go on {}", name_of(&trying), told(failing)),
            "fix the cause of the error; the consumer tries again by itself, as long as its retries last",
        );
    }

    let end = consumer.position.get() + consumer.behind;
    let is_behind = |slot: &ConsumerSlot| slot.state == ConsumerState::Running && slot.position.get() < end;
    let has_run_out = |slot: &ConsumerSlot| slot.holder.is_some() && !slot.lease.is_some_and(Lease::is_live);
    let run_out = slots(&has_run_out);
    if !run_out.is_empty() {
        let severity = match is_late && run_out.iter().any(|slot| is_behind(slot)) {
            true => Severity::Warning,
            false => Severity::Notice,
        };
        let since = run_out.iter().filter_map(|slot| match slot.lease? {
            Lease::Ended(since) => Some(since),
            Lease::Left(_) => None,
        });
        let since = since.max().unwrap_or_default();
        bad(
            severity,
            format!(
                "the lease of {} ran out {} ago, and no other process took over",
                name_of(&run_out),
                length(since)
            ),
            "check that a process that runs it lives and reaches the database: such a process takes the lease",
        );
    }

    let since_written = |slot: &&ConsumerSlot| Duration::try_from(now - slot.updated_at).unwrap_or_default();
    let still = slots(&|slot| {
        let is_unwritten = since_written(&slot) >= STANDS_STILL;
        is_late && is_unwritten && is_behind(slot) && slot.failing.is_none() && !has_run_out(slot)
    });
    if !still.is_empty() {
        let since = still.iter().map(since_written).min().unwrap_or_default();
        let is_held = still.iter().any(|slot| slot.holder.is_some());
        let (who, advice) = match is_held {
            true => (
                ", although a process holds it",
                "look what that process waits for: its handler may hang",
            ),
            false => (
                "",
                "start the program that runs it; if no program should run it any more, pause it",
            ),
        };
        bad(
            Severity::Warning,
            format!(
                "{} made no progress for {}, {} behind{who}",
                name_of(&still),
                length(since),
                sequences(consumer.behind)
            ),
            advice,
        );
    }

    if consumer.parked > 0 {
        let events = if consumer.parked == 1 { "event" } else { "events" };
        bad(
            Severity::Warning,
            format!("{name} has parked {} {events}", consumer.parked),
            "look at them and fix the cause, then replay them; discard only events that must never be handled. Later \
             events of their aggregates are parked behind them",
        );
    }
    diagnoses
}

/// The failure with the smallest sequence.
fn first_failing<'a>(slots: &[&'a ConsumerSlot]) -> Option<&'a Failing> {
    let failing = slots.iter().filter_map(|slot| slot.failing.as_ref());
    failing.min_by_key(|failing| failing.sequence)
}

fn told(failing: &Failing) -> String {
    let times = match failing.attempts {
        1 => "once".to_owned(),
        attempts => format!("{attempts} times"),
    };
    let error: String = failing.error.chars().take(ERROR_CHARS).collect();
    format!("at global sequence {}, tried {times}: {error}", failing.sequence)
}

fn sequences(count: u64) -> String {
    match count {
        1 => "1 sequence".to_owned(),
        _ => format!("{count} sequences"),
    }
}

/// A duration in its largest unit.
fn length(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use crate::consumer::{ConsumerTransaction, Registration, StartAt, pause, resume};
    use crate::prelude::*;
    use crate::{MemoryEventStore, operate};

    /// A store with this many old events.
    fn store_with(events: usize) -> MemoryEventStore {
        let store = MemoryEventStore::new();
        for _ in 0..events {
            let event = NewEvent::new("account.opened", &serde_json::json!({})).unwrap();
            let event = event.created_at(datetime!(2025-01-01 00:00 UTC)).unwrap();
            let account = AggregateKey::new("Account", Uuid::now_v7()).unwrap();
            store.append(&account, ExpectedVersion::NoStream, &[event]).unwrap();
        }
        store
    }

    fn begin(store: &MemoryEventStore, name: &str, slots: u16, position: u32, state: ConsumerState) {
        let query = EventQuery::new();
        let registration = Registration::new(name, &query)
            .slots(slots)
            .start(StartAt::Position(GlobalSequence::from(position)))
            .state(state);
        within(store, |tx| tx.register(&registration).map(drop));
    }

    fn within(store: &MemoryEventStore, mut work: impl FnMut(&mut dyn ConsumerTransaction) -> Result<()>) {
        store.consume(&mut |tx| work(tx)).unwrap();
    }

    fn fail(store: &MemoryEventStore, name: &str, slot: u16, sequence: u32, error: &str, state: ConsumerState) {
        within(store, |tx| {
            let mut slot = tx.lock_slot(name, slot)?;
            slot.state = state;
            tx.fail(&mut slot, GlobalSequence::from(sequence), error).map(drop)
        });
    }

    /// The findings about the consumers after this many minutes: severity and text.
    fn told(store: &MemoryEventStore, minutes: u64) -> Vec<(Severity, String)> {
        let now = OffsetDateTime::now_utc() + Duration::from_secs(60 * minutes);
        let consumers = status(store, None).unwrap();
        let judged = consumers.iter().flat_map(|consumer| judge(consumer, now));
        judged
            .map(|diagnosis| {
                assert_eq!(diagnosis.subject, CONSUMERS);
                assert!(diagnosis.advice.is_some());
                (diagnosis.severity, diagnosis.found)
            })
            .collect()
    }

    fn found(store: &MemoryEventStore) -> Vec<Diagnosis> {
        let mut diagnoses = operate::diagnose(store).unwrap();
        diagnoses.retain(|diagnosis| diagnosis.subject == CONSUMERS);
        diagnoses
    }

    #[test]
    fn consumers_that_go_on_are_good() {
        let store = store_with(3);
        let good = |found: &str| vec![Diagnosis::good(CONSUMERS, found)];
        assert_eq!(found(&store), good("none has begun"));
        begin(&store, "behind.v1", 1, 0, ConsumerState::Running);
        assert_eq!(found(&store), good("1 has begun, and does not stand still"));
        begin(&store, "at-the-end.v1", 1, 3, ConsumerState::Running);
        begin(&store, "inline.v1", 1, 0, ConsumerState::Inline);
        assert_eq!(found(&store), good("3 have begun, and none stands still"));
    }

    #[test]
    fn a_consumer_that_leaves_old_events_unhandled_stands_still_after_a_while() {
        let store = store_with(3);
        begin(&store, "behind.v1", 1, 1, ConsumerState::Running);
        begin(&store, "at-the-end.v1", 1, 3, ConsumerState::Running);
        begin(&store, "inline.v1", 1, 0, ConsumerState::Inline);
        assert_eq!(told(&store, 4), []);
        assert_eq!(
            told(&store, 7),
            [(
                Severity::Warning,
                "behind.v1 made no progress for 7 min, 2 sequences behind".to_owned()
            )]
        );
        within(&store, |tx| {
            tx.claim("behind.v1", Uuid::now_v7(), Duration::from_secs(60)).map(drop)
        });
        let [(_, held)] = &told(&store, 7)[..] else { panic!() };
        assert!(held.ends_with("behind, although a process holds it"), "{held}");
        pause(&store, "behind.v1").unwrap();
        assert_eq!(
            told(&store, 7),
            [(Severity::Notice, "behind.v1 is paused, 2 sequences behind".to_owned())]
        );
    }

    #[test]
    fn new_events_may_wait_for_a_while() {
        let store = MemoryEventStore::new();
        let account = AggregateKey::new("Account", Uuid::now_v7()).unwrap();
        let opened = NewEvent::new("account.opened", &serde_json::json!({})).unwrap();
        begin(&store, "idle.v1", 1, 0, ConsumerState::Running);
        store.append(&account, ExpectedVersion::NoStream, &[opened]).unwrap();
        // Its checkpoint was not written for long, because there was nothing to handle.
        assert_eq!(told(&store, 600), []);
    }

    #[test]
    fn failures_are_told_with_what_failed() {
        let store = store_with(3);
        begin(&store, "one.v1", 1, 1, ConsumerState::Running);
        begin(&store, "some.v1", 3, 1, ConsumerState::Running);
        begin(&store, "tries.v1", 1, 1, ConsumerState::Running);
        fail(&store, "one.v1", 0, 2, "no such account", ConsumerState::Failed);
        fail(&store, "some.v1", 1, 2, &"x".repeat(3_000), ConsumerState::Failed);
        fail(&store, "some.v1", 2, 3, "later", ConsumerState::Failed);
        fail(&store, "tries.v1", 0, 2, "no", ConsumerState::Running);
        fail(&store, "tries.v1", 0, 2, "still no", ConsumerState::Running);
        let cut = "x".repeat(ERROR_CHARS);
        assert_eq!(
            told(&store, 60),
            [
                (
                    Severity::Warning,
                    "one.v1 failed at global sequence 2, tried once: no such account".to_owned()
                ),
                (
                    Severity::Warning,
                    format!("2 of the 3 slots of some.v1 failed at global sequence 2, tried once: {cut}")
                ),
                (
                    Severity::Warning,
                    "slot 0 of some.v1 made no progress for 60 min, 2 sequences behind".to_owned()
                ),
                (
                    Severity::Warning,
                    "tries.v1 cannot go on at global sequence 2, tried 2 times: still no".to_owned()
                ),
            ]
        );
        resume(&store, "one.v1").unwrap();
        assert!(!told(&store, 0).iter().any(|(_, found)| found.contains("one.v1")));
    }

    #[test]
    fn leases_that_ran_out_and_parked_events_are_told() {
        let store = store_with(2);
        begin(&store, "idle.v1", 1, 2, ConsumerState::Running);
        begin(&store, "behind.v1", 2, 0, ConsumerState::Running);
        for name in ["idle.v1", "behind.v1"] {
            within(&store, |tx| tx.claim(name, Uuid::now_v7(), Duration::ZERO).map(drop));
        }
        assert_eq!(
            told(&store, 60),
            [
                (
                    Severity::Warning,
                    "the lease of behind.v1 ran out 0 s ago, and no other process took over".to_owned()
                ),
                (
                    Severity::Notice,
                    "the lease of idle.v1 ran out 0 s ago, and no other process took over".to_owned()
                ),
            ]
        );
        let store = store_with(2);
        begin(&store, "parks.v1", 1, 2, ConsumerState::Running);
        for (sequence, expected) in [(1, "1 event"), (2, "2 events")] {
            within(&store, |tx| {
                tx.park("parks.v1", GlobalSequence::from(sequence), Uuid::nil(), 5, "no")
            });
            assert_eq!(
                told(&store, 0),
                [(Severity::Warning, format!("parks.v1 has parked {expected}"))]
            );
        }
    }

    #[test]
    fn a_checkpoint_beyond_the_log_is_a_danger() {
        let store = store_with(3);
        begin(&store, "ahead.v1", 1, 3, ConsumerState::Running);
        let events: Vec<_> = store.read(EventQuery::new()).take(2).collect::<Result<_>>().unwrap();
        store.tamper_with_log(events);
        let diagnoses = found(&store);
        assert_eq!(diagnoses[0].severity, Severity::Danger);
        assert!(
            diagnoses[0].found.contains("up to 3, and the log ends at 2"),
            "{diagnoses:?}"
        );
    }

    #[test]
    fn lengths_of_time_are_in_their_largest_unit() {
        for (seconds, text) in [(119, "119 s"), (120, "2 min"), (7_200, "2 h"), (172_800, "2 days")] {
            assert_eq!(length(Duration::from_secs(seconds)), text);
        }
    }
}
