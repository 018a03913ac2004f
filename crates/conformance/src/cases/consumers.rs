//! The stored state of consumers: checkpoints that move in the commit of the work, leases, parked events.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use firefly_eventstore_core::TenantStore;
use firefly_eventstore_core::backend::{ConsumerChange, SlotsQuery};
use firefly_eventstore_core::consumer::{
    ConsumerSlot, ConsumerState, ConsumerTransaction, Failing, Lease, ParkedEvent, ParkedQuery, Registration, StartAt,
};
use firefly_eventstore_core::prelude::*;

use crate::environment::Environment;
use crate::support::*;

const NAME: &str = "balances.v1";

/// Longer than any case takes.
const LONG: Duration = Duration::from_secs(3_600);

/// The result of `work` in a transaction.
fn consume<R>(
    store: &(impl ConsumerStore + ?Sized),
    mut work: impl FnMut(&mut dyn ConsumerTransaction) -> Result<R, Error>,
) -> Result<R, Error> {
    let mut result = None;
    store.consume(&mut |tx| {
        result = Some(work(tx)?);
        Ok(())
    })?;
    Ok(result.expect("a transaction that succeeds did its work"))
}

fn try_register(store: &Handle, name: &str, slots: u16, query: &EventQuery) -> Result<Vec<ConsumerSlot>, Error> {
    let registration = Registration::new(name, query).slots(slots);
    consume(&**store, |tx| tx.register(&registration))
}

fn register(store: &Handle, slots: u16) -> Vec<ConsumerSlot> {
    try_register(store, NAME, slots, &EventQuery::new()).unwrap()
}

fn of_type(name: &str) -> EventQuery {
    EventQuery::new().event_types([name]).unwrap()
}

fn sequence(number: u32) -> GlobalSequence {
    GlobalSequence::from(number)
}

fn move_to(tx: &mut dyn ConsumerTransaction, name: &str, slot: u16, to: GlobalSequence) -> Result<(), Error> {
    let mut slot = tx.lock_slot(name, slot)?;
    tx.advance(&mut slot, to)
}

fn positions(store: &Handle, name: &str) -> Vec<GlobalSequence> {
    let slots = store.consumers(Some(name)).unwrap();
    slots.iter().map(|slot| slot.position).collect()
}

/// Gives a slot to a process, as if it had claimed it, for a time.
fn hand(tx: &mut dyn ConsumerTransaction, slot: u16, holder: Uuid, lease: Duration) -> Result<(), Error> {
    let token = tx.lock_slot(NAME, slot)?.token + 1;
    tx.change(ConsumerChange::Hand {
        consumer: NAME,
        slot,
        token,
        holder: Some((holder, lease)),
    })
}

/// The slots that a process holds after a claim.
fn claim(store: &Handle, holder: Uuid) -> Vec<ConsumerSlot> {
    consume(&**store, |tx| tx.claim(NAME, holder, LONG)).unwrap().slots
}

fn numbers(slots: &[ConsumerSlot]) -> Vec<u16> {
    slots.iter().map(|slot| slot.slot).collect()
}

/// Waits until the clock of any database has passed a microsecond.
fn let_time_pass() {
    let began = Instant::now();
    while began.elapsed() < Duration::from_micros(20) {
        std::hint::spin_loop();
    }
}

pub(crate) fn a_consumer_begins_once_and_goes_on_where_it_is(env: &dyn Environment) {
    let store = env.store();
    assert!(store.consumers(None).unwrap().is_empty());
    let begun = register(&store, 3);
    assert_eq!(numbers(&begun), [0, 1, 2]);
    for slot in &begun {
        assert_eq!(slot.consumer, NAME);
        assert_eq!(
            (slot.position, slot.token, slot.state),
            (sequence(0), 0, ConsumerState::Running)
        );
        assert_eq!((slot.holder, slot.lease, &slot.failing), (None, None, &None));
        assert_eq!(slot.definition.as_ref().map(String::len), Some(64));
    }
    consume(&*store, |tx| move_to(tx, NAME, 1, sequence(7))).unwrap();
    let again = register(&env.reopen(), 3);
    assert_eq!(
        again.iter().map(|slot| slot.position).collect::<Vec<_>>(),
        [0, 7, 0].map(sequence)
    );
    assert_eq!(store.consumers(Some(NAME)).unwrap(), again);
    assert!(store.consumers(Some("balances")).unwrap().is_empty());
}

pub(crate) fn a_consumer_with_another_definition_is_refused(env: &dyn Environment) {
    let store = env.store();
    let deposits = of_type("money.deposited");
    try_register(&store, NAME, 2, &deposits).unwrap();
    let before = store.consumers(None).unwrap();
    assert_invalid(&try_register(&store, NAME, 3, &deposits).unwrap_err(), "2 slots, not 3");
    let everything = try_register(&store, NAME, 2, &EventQuery::new());
    assert_invalid(&everything.unwrap_err(), "another query");
    let bounded = deposits.clone().after(sequence(1));
    assert_invalid(&try_register(&store, "other", 1, &bounded).unwrap_err(), "bounds");
    assert_invalid(&try_register(&store, "", 1, &deposits).unwrap_err(), "empty");
    assert_eq!(store.consumers(None).unwrap(), before);
}

pub(crate) fn a_consumer_may_start_where_another_is(env: &dyn Environment) {
    let store = env.store();
    register(&store, 2);
    consume(&*store, |tx| {
        move_to(tx, NAME, 0, sequence(5))?;
        move_to(tx, NAME, 1, sequence(3))
    })
    .unwrap();
    let query = EventQuery::new();
    let after = |name, other| Registration::new(name, &query).start(StartAt::After(other));
    let begun = consume(&*store, |tx| tx.register(&after("balances.v2", NAME))).unwrap();
    assert_eq!(begun[0].position, 3, "what all slots of the other have handled");
    let error = consume(&*store, |tx| tx.register(&after("balances.v3", "nobody"))).unwrap_err();
    assert_invalid(&error, "has not begun");
}

pub(crate) fn threads_that_begin_a_consumer_at_once_begin_the_same(env: &dyn Environment) {
    let store = env.store();
    let begun = in_parallel(8, |_| register(&store, 5));
    for slots in &begun {
        assert_eq!(numbers(slots), [0, 1, 2, 3, 4]);
        assert!(slots.iter().all(|slot| slot.token == 0));
    }
    // Of two definitions, the first wins.
    let queries = ["money.deposited", "money.withdrawn"].map(of_type);
    let begun = in_parallel(8, |number| try_register(&store, "two", 3, &queries[number % 2]));
    let succeeded: Vec<usize> = (0..8).filter(|number| begun[*number].is_ok()).collect();
    assert_eq!(succeeded.len(), 4, "{begun:?}");
    assert!(
        succeeded.iter().all(|number| number % 2 == succeeded[0] % 2),
        "{begun:?}"
    );
    for error in begun.iter().filter_map(|result| result.as_ref().err()) {
        assert_invalid(error, "another query");
    }
}

pub(crate) fn a_checkpoint_and_an_append_are_committed_together(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    register(&store, 1);
    let handle = |tx: &mut dyn ConsumerTransaction, to: u32, event: NewEvent| {
        tx.append(&account, ExpectedVersion::Any, &[event])?;
        move_to(tx, NAME, 0, sequence(to))?;
        tx.park(NAME, sequence(to), account.id(), 1, "refused")
    };
    let parked = || store.parked_events(parked_of(NAME)).unwrap().len();
    consume(&*store, |tx| handle(tx, 3, event("money.deposited"))).unwrap();
    assert_eq!(
        (
            store.version(&account).unwrap().get(),
            positions(&store, NAME),
            parked()
        ),
        (1, vec![sequence(3)], 1)
    );
    let error = consume(&*store, |tx| {
        handle(tx, 5, event("money.deposited"))?;
        assert_eq!(tx.handled(NAME)?, Some(sequence(5)), "it sees what it has done");
        Err::<(), _>(Error::invalid("changed my mind"))
    });
    assert_invalid(&error.unwrap_err(), "changed my mind");
    assert_eq!(
        (
            store.version(&account).unwrap().get(),
            positions(&store, NAME),
            parked()
        ),
        (1, vec![sequence(3)], 1)
    );
    // A failed append rolls the checkpoint back, even if the work ignores the error.
    let doomed = consume(&*store, |tx| {
        move_to(tx, NAME, 0, sequence(5))?;
        let _ = tx.append(&account, ExpectedVersion::NoStream, &[event("money.deposited")]);
        Ok(())
    });
    assert_conflict(&doomed.unwrap_err(), &account, ExpectedVersion::NoStream, 1);
    assert_eq!(positions(&env.reopen(), NAME), [sequence(3)]);
}

pub(crate) fn a_slot_that_is_locked_is_moved_by_one_at_a_time(env: &dyn Environment) {
    const THREADS: usize = 8;
    const ROUNDS: usize = 10;
    let store = env.store();
    register(&store, 2);
    in_parallel(THREADS, |_| {
        for _ in 0..ROUNDS {
            consume(&*store, |tx| {
                let mut slot = tx.lock_slot(NAME, 1)?;
                let next = slot.position.checked_add(1).unwrap();
                tx.advance(&mut slot, next)
            })
            .unwrap();
        }
    });
    let moved = (THREADS * ROUNDS) as u32;
    assert_eq!(positions(&store, NAME), [0, moved].map(sequence));
    let error = consume(&*store, |tx| tx.lock_slot(NAME, 2)).unwrap_err();
    assert_invalid(&error, "no slot 2");
}

pub(crate) fn attempts_are_counted_until_the_checkpoint_moves(env: &dyn Environment) {
    let store = env.store();
    register(&store, 1);
    let fail = |sequence: GlobalSequence, error: &str| {
        consume(&*store, |tx| {
            let mut slot = tx.lock_slot(NAME, 0)?;
            tx.fail(&mut slot, sequence, error)
        })
        .unwrap()
    };
    let failing = || env.reopen().consumers(Some(NAME)).unwrap().remove(0).failing;
    assert_eq!([fail(sequence(4), "first"), fail(sequence(4), "second")], [1, 2]);
    let expected = Failing::new(sequence(4), 2, "second".to_owned());
    assert_eq!(failing(), Some(expected));
    assert_eq!(fail(sequence(5), "another"), 1);
    assert_eq!(positions(&store, NAME), [sequence(0)]);
    consume(&*store, |tx| move_to(tx, NAME, 0, sequence(5))).unwrap();
    assert_eq!(failing(), None);
    for state in [
        ConsumerState::Paused,
        ConsumerState::Failed,
        ConsumerState::Inline,
        ConsumerState::Running,
    ] {
        consume(&*store, |tx| {
            let mut slot = tx.lock_slot(NAME, 0)?;
            slot.state = state;
            slot.failing = Some(Failing::new(GlobalSequence::MAX, u32::MAX, String::new()));
            slot.token = i64::MAX;
            tx.change(ConsumerChange::Save(&slot))
        })
        .unwrap();
        let saved = store.consumers(Some(NAME)).unwrap().remove(0);
        assert_eq!((saved.state, saved.token), (state, i64::MAX));
        assert_eq!(saved.failing.map(|failing| failing.attempts), Some(u32::MAX));
    }
}

pub(crate) fn members_of_a_group_share_its_slots(env: &dyn Environment) {
    let store = env.store();
    register(&store, 7);
    let members = [Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7()];
    let alone = consume(&*store, |tx| tx.claim(NAME, members[0], LONG)).unwrap();
    assert_eq!((numbers(&alone.slots), alone.share), (vec![0, 1, 2, 3, 4, 5, 6], 7));
    assert!(
        alone
            .slots
            .iter()
            .all(|slot| slot.token == 1 && slot.holder == Some(members[0]))
    );
    // A lease that has not ended is not taken.
    for (number, share) in [(1, 4), (2, 3)] {
        let claimed = consume(&*store, |tx| tx.claim(NAME, members[number], LONG)).unwrap();
        assert_eq!((claimed.slots, claimed.share), (Vec::new(), share));
    }
    // A process with more slots than its share gives the rest up.
    for slot in 3..7 {
        consume(&*store, |tx| tx.release(NAME, slot, members[0])).unwrap();
        // A process gives up only its own slots.
        consume(&*store, |tx| tx.release(NAME, 0, members[1])).unwrap();
    }
    let shares = members.map(|member| claim(&store, member));
    assert_eq!(shares.each_ref().map(Vec::len), [3, 3, 1]);
    let held = store.consumers(Some(NAME)).unwrap();
    assert!(held.iter().all(|slot| slot.holder.is_some()));
    let tokens: Vec<i64> = held.iter().map(|slot| slot.token).collect();
    assert_eq!(tokens, [1, 1, 1, 3, 3, 3, 3], "given, given up, and given again");
    // Claiming again changes nothing but the time.
    assert_eq!(numbers(&claim(&store, members[1])), numbers(&shares[1]));
}

pub(crate) fn a_lease_that_ran_out_is_taken_over_with_a_higher_token(env: &dyn Environment) {
    let store = env.store();
    register(&store, 3);
    let [gone, live, me] = [Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7()];
    consume(&*store, |tx| {
        hand(tx, 0, gone, Duration::ZERO)?;
        hand(tx, 1, live, LONG)
    })
    .unwrap();
    let_time_pass();
    let left: Vec<_> = store.consumers(Some(NAME)).unwrap();
    let left: Vec<_> = left.iter().map(|slot| slot.lease).collect();
    assert!(matches!(left[0], Some(Lease::Ended(_))), "{left:?}");
    assert!(matches!(left[1], Some(Lease::Left(left)) if left <= LONG), "{left:?}");
    assert_eq!(left[2], None);

    let claimed = consume(&*store, |tx| tx.claim(NAME, me, LONG)).unwrap();
    assert_eq!(numbers(&claimed.slots), [0, 2]);
    assert_eq!(claimed.taken_over, [0]);
    let tokens: Vec<i64> = claimed.slots.iter().map(|slot| slot.token).collect();
    assert_eq!(tokens, [2, 1]);
    // The old holder holds nothing, and renews nothing.
    consume(&*store, |tx| {
        tx.change(ConsumerChange::Renew {
            consumer: NAME,
            holder: gone,
            lease: Duration::ZERO,
        })
    })
    .unwrap();
    let slots = store.consumers(Some(NAME)).unwrap();
    assert_eq!(
        slots.iter().map(|slot| slot.holder).collect::<Vec<_>>(),
        [Some(me), Some(live), Some(me)]
    );
    assert!(slots.iter().all(|slot| slot.lease.unwrap().is_live()));
    // A process that renews in time keeps its slots.
    consume(&*store, |tx| {
        tx.change(ConsumerChange::Renew {
            consumer: NAME,
            holder: me,
            lease: Duration::ZERO,
        })?;
        tx.change(ConsumerChange::Renew {
            consumer: NAME,
            holder: me,
            lease: LONG,
        })
    })
    .unwrap();
    assert_eq!(claim(&store, gone), []);
}

pub(crate) fn members_that_are_gone_are_forgotten(env: &dyn Environment) {
    let store = env.store();
    let [one, other] = [Uuid::now_v7(), Uuid::now_v7()];
    let change = |change: ConsumerChange<'_>| consume(&*store, |tx| tx.change(change)).unwrap();
    let members = |name: &str| consume(&*store, |tx| tx.members(name, LONG)).unwrap();
    for holder in [one, other, one] {
        change(ConsumerChange::SeeMember { consumer: NAME, holder });
    }
    change(ConsumerChange::SeeMember {
        consumer: "other",
        holder: one,
    });
    assert_eq!((members(NAME), members("other"), members("nobody")), (2, 1, 0));
    change(ConsumerChange::ForgetMember {
        consumer: NAME,
        holder: one,
    });
    assert_eq!((members(NAME), members("other")), (1, 1));
    change(ConsumerChange::ForgetMembers {
        consumer: NAME,
        unseen_for: LONG,
    });
    assert_eq!(members(NAME), 1);
    let_time_pass();
    change(ConsumerChange::ForgetMembers {
        consumer: NAME,
        unseen_for: Duration::ZERO,
    });
    assert_eq!((members(NAME), members("other")), (0, 1));
    let seen_now = consume(&*store, |tx| tx.members("other", Duration::ZERO)).unwrap();
    assert_eq!(seen_now, 0, "it was seen before now");
}

pub(crate) fn threads_that_claim_at_once_get_no_slot_twice(env: &dyn Environment) {
    const THREADS: usize = 6;
    const SLOTS: u16 = 12;
    let store = env.store();
    register(&store, SLOTS);
    let members: Vec<Uuid> = (0..THREADS).map(|_| Uuid::now_v7()).collect();
    for _round in 0..3 {
        let held = in_parallel(THREADS, |number| {
            let claimed = consume(&*store, |tx| tx.claim(NAME, members[number], LONG)).unwrap();
            for slot in claimed.slots.iter().skip(claimed.share) {
                consume(&*store, |tx| tx.release(NAME, slot.slot, members[number])).unwrap();
            }
            claimed.slots
        });
        let mut given = HashMap::new();
        for slot in held.iter().flatten() {
            let before = given.insert((slot.slot, slot.token), slot.holder);
            assert!(
                before.is_none_or(|holder| holder == slot.holder),
                "slot {} was given twice",
                slot.slot
            );
        }
    }
    // In the end, each process has its share.
    for _round in 0..2 {
        for member in &members {
            let claimed = consume(&*store, |tx| tx.claim(NAME, *member, LONG)).unwrap();
            assert_eq!(claimed.share, 2);
            for slot in claimed.slots.iter().skip(claimed.share) {
                consume(&*store, |tx| tx.release(NAME, slot.slot, *member)).unwrap();
            }
        }
    }
    for member in &members {
        assert_eq!(claim(&store, *member).len(), 2);
    }
}

fn parked_of(consumer: &str) -> ParkedQuery<'_> {
    ParkedQuery::Of {
        consumer,
        after: GlobalSequence::ZERO,
        limit: 100,
    }
}

fn parked_sequences(events: &[ParkedEvent]) -> Vec<u64> {
    events.iter().map(|event| event.global_sequence.get()).collect()
}

pub(crate) fn parked_events_are_listed_in_their_order(env: &dyn Environment) {
    let store = env.store();
    let [ada, bob] = [Uuid::now_v7(), Uuid::now_v7()];
    let park = |consumer: &str, number: u32, aggregate: Uuid, attempts: u32, reason: &str| {
        consume(&*store, |tx| {
            tx.park(consumer, sequence(number), aggregate, attempts, reason)
        })
        .unwrap();
    };
    let is_parked = |consumer: &str, aggregate: Uuid| {
        consume(&*store, |tx| {
            Ok((tx.has_parked(consumer)?, tx.is_parked(consumer, aggregate)?))
        })
        .unwrap()
    };
    assert_eq!(is_parked(NAME, ada), (false, false));
    park(NAME, 10, ada, 5, "refused");
    park(NAME, 9, bob, u32::MAX, "refused too");
    park(NAME, 11, ada, 0, "an earlier one is parked");
    park("b", 1, ada, 1, "");
    assert_eq!(
        (is_parked(NAME, ada), is_parked("b", bob)),
        ((true, true), (true, false))
    );
    let parked = store.parked_events(parked_of(NAME)).unwrap();
    assert_eq!(parked_sequences(&parked), [9, 10, 11]);
    let first = &parked[0];
    assert_eq!(
        (&*first.consumer, first.aggregate_id, first.attempts),
        (NAME, bob, u32::MAX)
    );
    assert_eq!((&*first.reason, first.replay), ("refused too", false));

    let count = |name: &str, aggregate| store.count_parked(name, aggregate).unwrap();
    assert_eq!((count(NAME, None), count("b", None), count("nobody", None)), (3, 1, 0));
    assert_eq!((count(NAME, Some(ada)), count(NAME, Some(bob))), (2, 1));
    assert_eq!((count("b", Some(ada)), count("b", Some(bob))), (1, 0));

    let list = |which| parked_sequences(&env.reopen().parked_events(which).unwrap());
    let of_ada = |after: u32, limit| ParkedQuery::OfAggregate {
        consumer: NAME,
        aggregate_id: ada,
        after: sequence(after),
        limit,
    };
    assert_eq!(list(of_ada(0, 100)), [10, 11]);
    assert_eq!(list(of_ada(0, 1)), [10]);
    assert_eq!(list(of_ada(10, 100)), [11]);
    let of = |after: u32, limit| ParkedQuery::Of {
        consumer: NAME,
        after: sequence(after),
        limit,
    };
    assert_eq!((list(of(9, 1)), list(of(11, 100))), (vec![10], vec![]));
    let all = |name: &'static str, after: u32, limit| ParkedQuery::All {
        after: (name, sequence(after)),
        limit,
    };
    assert_eq!(list(all("", 0, 100)), [1, 9, 10, 11], "b comes before balances");
    assert_eq!(list(all("b", 1, 100)), [9, 10, 11]);
    assert_eq!(list(all("b", 1, 1)), [9]);
    assert_eq!(list(all(NAME, 10, 100)), [11]);

    // Parked again, asked for again, and done with.
    consume(&*store, |tx| {
        tx.change(ConsumerChange::Replay {
            consumer: NAME,
            aggregate_id: ada,
        })
    })
    .unwrap();
    let replay = |store: &Handle| {
        let parked = store.parked_events(parked_of(NAME)).unwrap();
        parked.iter().map(|event| event.replay).collect::<Vec<_>>()
    };
    assert_eq!(replay(&store), [false, true, true]);
    park(NAME, 10, ada, 6, "refused again");
    assert_eq!(replay(&store), [false, false, true]);
    // The event was asked for again during the attempt: the end of the attempt keeps the request.
    consume(&*store, |tx| {
        tx.change(ConsumerChange::Replay {
            consumer: NAME,
            aggregate_id: ada,
        })
    })
    .unwrap();
    park(NAME, 10, ada, 6, "refused again");
    assert_eq!(replay(&store), [false, true, true]);
    let again = &store.parked_events(parked_of(NAME)).unwrap()[1];
    assert_eq!((again.attempts, &*again.reason), (6, "refused again"));
    assert_eq!(again.parked_at, parked[1].parked_at, "when it was parked first");
    for number in [10, 10, 12] {
        consume(&*store, |tx| {
            tx.change(ConsumerChange::Unpark {
                consumer: NAME,
                global_sequence: sequence(number),
            })
        })
        .unwrap();
    }
    assert_eq!(
        parked_sequences(&store.parked_events(parked_of(NAME)).unwrap()),
        [9, 11]
    );
}

pub(crate) fn reasons_of_every_kind_are_kept_as_far_as_they_go(env: &dyn Environment) {
    let store = env.store();
    register(&store, 1);
    let long = "😀é".repeat(64 * 1024 / 6);
    let kept_of_long: String = long.chars().take(4_000).collect();
    for (reason, kept) in [
        ("", ""),
        ("it's \"refused\"\\\n\t%_", "it's \"refused\"\\\n\t%_"),
        ("before\0after", "before\u{fffd}after"),
        ("\u{1}\u{7f}\u{feff}\u{10ffff}", "\u{1}\u{7f}\u{feff}\u{10ffff}"),
        (" trailing  ", " trailing  "),
        (&long, &kept_of_long),
    ] {
        consume(&*store, |tx| {
            let mut slot = tx.lock_slot(NAME, 0)?;
            tx.fail(&mut slot, sequence(1), reason)?;
            tx.park(NAME, sequence(1), Uuid::nil(), 1, reason)
        })
        .unwrap();
        let failing = store.consumers(Some(NAME)).unwrap().remove(0).failing.unwrap();
        assert_eq!(failing.error, kept);
        assert_eq!(store.parked_events(parked_of(NAME)).unwrap()[0].reason, kept);
    }
}

pub(crate) fn consumers_whose_names_look_alike_are_different(env: &dyn Environment) {
    let store = env.store();
    let longest = "😀".repeat(255);
    let names: Vec<&str> = LOOK_ALIKES.into_iter().chain([longest.as_str()]).collect();
    let holder = Uuid::now_v7();
    for (number, name) in names.iter().enumerate() {
        try_register(&store, name, 1, &EventQuery::new()).unwrap();
        let at = sequence(number as u32 + 1);
        consume(&*store, |tx| {
            move_to(tx, name, 0, at)?;
            tx.change(ConsumerChange::SeeMember { consumer: name, holder })?;
            tx.park(name, at, holder, 1, "refused")
        })
        .unwrap();
    }
    for (number, name) in names.iter().enumerate() {
        let at = sequence(number as u32 + 1);
        let slots = store.consumers(Some(name)).unwrap();
        assert_eq!((slots.len(), &*slots[0].consumer, slots[0].position), (1, *name, at));
        let parked = store.parked_events(parked_of(name)).unwrap();
        assert_eq!(
            (parked.len(), &*parked[0].consumer, parked[0].global_sequence),
            (1, *name, at)
        );
        assert_eq!(consume(&*store, |tx| tx.members(name, LONG)).unwrap(), 1, "{name:?}");
    }
    let mut sorted: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    sorted.sort_unstable();
    let listed = store.consumers(None).unwrap();
    assert_eq!(
        listed.iter().map(|slot| slot.consumer.clone()).collect::<Vec<_>>(),
        sorted
    );
    let too_long = "é".repeat(256);
    assert_invalid(
        &try_register(&store, &too_long, 1, &EventQuery::new()).unwrap_err(),
        "255",
    );
}

pub(crate) fn a_consumer_of_a_tenant_stays_within_it(env: &dyn Environment) {
    let store = env.store();
    let acme: TenantStore<Handle> = scoped(&store, "acme");
    let [own, others, new] = [account(), account(), account()];
    given(&acme, &own, 1);
    given(&store, &others, 1);
    register(&store, 1);
    let appended = consume(&acme, |tx| {
        tx.append(&own, exact(1), &[event("money.deposited")])?;
        tx.append(&new, ExpectedVersion::NoStream, &[event("account.opened")])?;
        move_to(tx, NAME, 0, sequence(3))?;
        assert!(!tx.load(&others)?.exists());
        Ok((tx.load(&own)?.version(), tx.load(&new)?.version()))
    });
    assert_eq!(appended.unwrap(), (version(2), version(1)));
    assert_eq!(acme.version(&new).unwrap(), 1);
    assert_eq!(
        positions(&store, NAME),
        [sequence(3)],
        "consumers are those of the whole store"
    );

    let elsewhere = tenant("other");
    let events = [event("money.deposited")];
    type Attempt<'a> = &'a dyn Fn(&mut dyn ConsumerTransaction) -> Result<(), Error>;
    let attempts: [(Attempt<'_>, bool); 4] = [
        (&|tx| tx.append(&others, exact(1), &events).map(drop), false),
        (
            &|tx| {
                let range = StreamRange::all().tenant(elsewhere.clone());
                tx.load_range(&own, &range).map(drop)
            },
            true,
        ),
        (
            &|tx| {
                let append = Append::new(&new, ExpectedVersion::Any, &events).tenant(&elsewhere);
                tx.append_all(&[append]).map(drop)
            },
            true,
        ),
        (&|tx| tx.scope(&elsewhere), true),
    ];
    for (attempt, is_invalid) in attempts {
        let error = refused(&*store, || {
            consume(&acme, |tx| {
                move_to(tx, NAME, 0, sequence(9))?;
                attempt(tx)
            })
        });
        match is_invalid {
            true => assert!(error.is_invalid_input(), "{error:?}"),
            false => assert_tenant_mismatch(&error, &others),
        }
        assert_eq!(positions(&store, NAME), [sequence(3)]);
    }
}

pub(crate) fn appends_wake_those_that_wait_for_events(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    register(&store, 1);
    let mut listening = store.wake().listen();
    let mut is_told = |call: &dyn Fn()| {
        call();
        listening.wait(Duration::ZERO)
    };
    assert!(is_told(&|| drop(given(&*store, &account, 1))));
    let append = |tx: &mut dyn ConsumerTransaction| {
        tx.append(&account, ExpectedVersion::Any, &[event("money.deposited")])
            .map(drop)
    };
    assert!(is_told(&|| consume(&*store, append).unwrap()));
    assert!(!is_told(
        &|| consume(&*store, |tx| move_to(tx, NAME, 0, sequence(1))).unwrap()
    ));
    assert!(!is_told(&|| assert!(
        consume(&*store, |tx| {
            append(tx)?;
            Err::<(), _>(Error::invalid("changed my mind"))
        })
        .is_err()
    )));
    let mut imported = log(&*store).pop().unwrap();
    imported.event_id = Uuid::now_v7();
    imported.global_sequence = imported.global_sequence.checked_add(100).unwrap();
    imported.version = imported.version.checked_add(1).unwrap();
    assert!(is_told(&|| store
        .import_events(std::slice::from_ref(&imported))
        .unwrap()));
}

pub(crate) fn slots_that_are_held_are_not_free(env: &dyn Environment) {
    let store = env.store();
    register(&store, 4);
    consume(&*store, |tx| {
        hand(tx, 0, Uuid::now_v7(), LONG)?;
        hand(tx, 2, Uuid::now_v7(), Duration::ZERO)
    })
    .unwrap();
    let_time_pass();
    let free = consume(&*store, |tx| tx.slots(SlotsQuery::LockFree(NAME))).unwrap();
    assert_eq!(numbers(&free), [1, 2, 3]);
    assert_eq!(
        numbers(&consume(&*store, |tx| tx.slots(SlotsQuery::All)).unwrap()),
        [0, 1, 2, 3]
    );
    // A process that is given up gives its token up, too.
    consume(&*store, |tx| {
        let token = tx.lock_slot(NAME, 0)?.token + 1;
        tx.change(ConsumerChange::Hand {
            consumer: NAME,
            slot: 0,
            token,
            holder: None,
        })
    })
    .unwrap();
    let slot = store.consumers(Some(NAME)).unwrap().remove(0);
    assert_eq!((slot.token, slot.holder, slot.lease), (2, None, None));
}
