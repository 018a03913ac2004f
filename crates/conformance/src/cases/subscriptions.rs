//! Subscriptions: every event at least once, in the order of its aggregate, by members that share slots.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use firefly_eventstore_core::backend::ConsumerChange;
use firefly_eventstore_core::consumer::{
    Batch, ConsumerEvent, ConsumerState, ConsumerStore as _, Failure, OnFailure, Publish, Running, Start, Subscription,
    pause, replay, reposition, resume, slot_of,
};
use firefly_eventstore_core::prelude::*;

use crate::environment::Environment;
use crate::support::*;

const NAME: &str = "mails.v1";
/// Longer than anything here waits, unless it is broken.
const LONG: Duration = Duration::from_secs(60);
/// Short, so that the slots of a dead member are soon free.
const LEASE: Duration = Duration::from_millis(600);

/// The handled events: the process, the aggregate and the version.
type Handled = Arc<Mutex<Vec<(usize, Uuid, u64)>>>;

fn deposits() -> EventQuery {
    EventQuery::new().event_types(["money.deposited"]).unwrap()
}

/// Records the handled events.
fn noting(member: usize, handled: &Handled) -> Subscription {
    let handled = Arc::clone(handled);
    Subscription::of(NAME, deposits(), move |delivery| {
        let event = delivery.event;
        handled
            .lock()
            .unwrap()
            .push((member, event.aggregate.id(), event.version.get()));
        Ok(())
    })
    .lease(LEASE)
    .on_failure(OnFailure::retry(3).pauses(Duration::from_millis(1), Duration::from_millis(5)))
}

fn run(store: &Handle, subscription: Subscription) -> Running {
    runner(store)
        .observer(|_: &ConsumerEvent<'_>| {})
        .subscribe(subscription)
        .start()
        .unwrap()
}

/// The versions that were handled of each aggregate, in their order.
fn versions_of(handled: &Handled) -> BTreeMap<Uuid, Vec<u64>> {
    let mut versions = BTreeMap::<Uuid, Vec<u64>>::new();
    for (_, aggregate, version) in &*handled.lock().unwrap() {
        versions.entry(*aggregate).or_default().push(*version);
    }
    versions
}

fn appended(store: &Handle) -> BTreeMap<Uuid, Vec<u64>> {
    let mut versions = BTreeMap::<Uuid, Vec<u64>>::new();
    for event in read(&**store, deposits()) {
        versions
            .entry(event.aggregate.id())
            .or_default()
            .push(event.version.get());
    }
    versions
}

/// Checks that everything was handled in order: without repetitions, the versions of each aggregate ascend. Returns the
/// number of repetitions.
#[track_caller]
fn assert_all_handled(store: &Handle, handled: &Handled) -> usize {
    let mut repeated = 0;
    let handled = versions_of(handled);
    let appended = appended(store);
    assert_eq!(handled.keys().collect::<Vec<_>>(), appended.keys().collect::<Vec<_>>());
    for (aggregate, versions) in handled {
        let mut next = 1;
        for version in &versions {
            assert!(*version <= next, "{aggregate}: {version} before {next} of {versions:?}");
            match *version == next {
                true => next += 1,
                false => repeated += 1,
            }
        }
        assert_eq!(next - 1, *appended[&aggregate].last().unwrap(), "{versions:?}");
    }
    repeated
}

fn given_some(store: &Handle, aggregates: usize, events: usize) -> Vec<AggregateKey> {
    let keys: Vec<_> = (0..aggregates).map(|_| account()).collect();
    for _ in 0..events {
        keys.iter().for_each(|key| drop(given(&**store, key, 1)));
    }
    keys
}

pub(crate) fn every_event_is_handled_in_order(env: &dyn Environment) {
    let store = env.store();
    let keys = given_some(&store, 3, 4);
    let handled = Handled::default();
    let running = run(&store, noting(0, &handled).group(4));
    until(|| handled.lock().unwrap().len() == 12);
    let last = store
        .append(&keys[0], exact(4), &events(3))
        .unwrap()
        .last_sequence()
        .unwrap();
    running.wait_for(NAME, last, LONG).unwrap();
    assert_eq!(assert_all_handled(&store, &handled), 0);
    assert!(running.stop().is_empty());
    let slots = store.consumers(Some(NAME)).unwrap();
    assert_eq!(slots.len(), 4);
    assert!(
        slots.iter().all(|slot| slot.holder.is_none()),
        "who stops gives up its slots"
    );
}

pub(crate) fn who_stops_goes_on_where_it_was(env: &dyn Environment) {
    let store = env.store();
    let keys = given_some(&store, 2, 3);
    let handled = Handled::default();
    for round in 0..4 {
        let running = run(&env.reopen(), noting(round, &handled).group(3));
        let last = store
            .append(&keys[0], ExpectedVersion::Any, &events(1))
            .unwrap()
            .last_sequence()
            .unwrap();
        running.wait_for(NAME, last, LONG).unwrap();
        running.stop();
    }
    assert_eq!(assert_all_handled(&store, &handled), 0);
}

pub(crate) fn members_share_the_slots_and_a_new_one_gets_its_share(env: &dyn Environment) {
    let store = env.store();
    let handled = Handled::default();
    let keys = given_some(&store, 16, 1);
    let first = run(&store, noting(1, &handled).group(8));
    until(|| handled.lock().unwrap().len() == 16);
    let other = env.reopen();
    let second = run(&other, noting(2, &handled).group(8));
    let holders = || {
        let mut holders = BTreeMap::<Uuid, usize>::new();
        for slot in store.consumers(Some(NAME)).unwrap() {
            *holders.entry(slot.holder.unwrap_or_default()).or_default() += 1;
        }
        holders.into_values().collect::<Vec<_>>()
    };
    until(|| holders() == [4, 4]);
    for key in &keys {
        store.append(key, exact(1), &events(1)).unwrap();
    }
    until(|| handled.lock().unwrap().len() >= 32);
    let members: BTreeSet<usize> = handled
        .lock()
        .unwrap()
        .iter()
        .skip(16)
        .map(|(member, _, _)| *member)
        .collect();
    assert_eq!(members, BTreeSet::from([1, 2]));
    drop(first);
    until(|| holders() == [8]);
    drop(second);
    assert_all_handled(&store, &handled);
}

pub(crate) fn the_slots_of_a_member_that_is_gone_are_taken_over(env: &dyn Environment) {
    let store = env.store();
    let keys = given_some(&store, 4, 2);
    let handled = Handled::default();
    // A member that took all slots and was never seen again.
    run(&store, noting(0, &handled).group(4)).stop();
    let gone = Uuid::now_v7();
    let mut claimed = 0;
    store
        .consume(&mut |tx| {
            claimed = tx.claim(NAME, gone, LEASE)?.slots.len();
            Ok(())
        })
        .unwrap();
    assert_eq!(claimed, 4);
    let tokens: Vec<i64> = store
        .consumers(Some(NAME))
        .unwrap()
        .iter()
        .map(|slot| slot.token)
        .collect();
    let last = store
        .append(&keys[0], exact(2), &events(1))
        .unwrap()
        .last_sequence()
        .unwrap();
    let running = run(&env.reopen(), noting(1, &handled).group(4));
    running.wait_for(NAME, last, LONG).unwrap();
    assert_all_handled(&store, &handled);
    let later: Vec<i64> = store
        .consumers(Some(NAME))
        .unwrap()
        .iter()
        .map(|slot| slot.token)
        .collect();
    assert!(
        tokens.iter().zip(&later).all(|(before, after)| after > before),
        "{tokens:?} {later:?}"
    );
    running.stop();
}

pub(crate) fn who_lost_a_slot_cannot_move_its_checkpoint(env: &dyn Environment) {
    let store = env.store();
    let key = given_some(&store, 1, 3).remove(0);
    let handled = Handled::default();
    let (is_in_hand, may_go_on) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let hanging = {
        let (handled, is_in_hand, may_go_on) = (Arc::clone(&handled), Arc::clone(&is_in_hand), Arc::clone(&may_go_on));
        Subscription::of(NAME, deposits(), move |delivery| {
            is_in_hand.store(true, Ordering::SeqCst);
            while !may_go_on.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(5));
            }
            handled
                .lock()
                .unwrap()
                .push((0, key.id(), delivery.event.version.get()));
            Ok(())
        })
        .lease(LEASE)
        .deadline(Duration::from_millis(50))
    };
    let hung = run(&store, hanging);
    until(|| is_in_hand.load(Ordering::SeqCst));
    // A member that hangs does not renew its lease. Another one takes over and handles everything.
    let other = env.reopen();
    let second = run(&other, noting(1, &handled));
    second.wait_for(NAME, GlobalSequence::from(3), LONG).unwrap();
    let slot = store.consumers(Some(NAME)).unwrap().remove(0);
    may_go_on.store(true, Ordering::SeqCst);
    until(|| handled.lock().unwrap().iter().any(|(member, _, _)| *member == 0));
    hung.stop();
    let after = store.consumers(Some(NAME)).unwrap().remove(0);
    assert_eq!((after.position, after.token), (slot.position, slot.token));
    assert_eq!(
        assert_all_handled(&store, &handled),
        1,
        "the event in hand, and no other"
    );
    second.stop();
}

pub(crate) fn a_failing_event_holds_up_its_own_slot_alone(env: &dyn Environment) {
    let store = env.store();
    let keys: Vec<AggregateKey> = loop {
        let keys = given_some(&store, 2, 2);
        if slot_of(keys[0].id(), 8) != slot_of(keys[1].id(), 8) {
            break keys;
        }
    };
    let poison = keys[0].id();
    let (handled, is_mended) = (Handled::default(), Arc::new(AtomicBool::new(false)));
    let subscription = {
        let (handled, is_mended) = (Arc::clone(&handled), Arc::clone(&is_mended));
        Subscription::of(NAME, deposits(), move |delivery| {
            let (id, version) = (delivery.event.aggregate.id(), delivery.event.version.get());
            if id == poison && version == 1 && !is_mended.load(Ordering::SeqCst) {
                return Err(Failure::Later("the mail server is down".into()));
            }
            handled.lock().unwrap().push((0, id, version));
            Ok(())
        })
        .on_failure(
            OnFailure::retry(1)
                .then_park()
                .pauses(Duration::from_millis(1), Duration::from_millis(20)),
        )
        .lease(LEASE)
        .group(8)
    };
    let told = Arc::new(Mutex::new(Vec::new()));
    let observer = {
        let told = Arc::clone(&told);
        move |event: &ConsumerEvent<'_>| match event {
            ConsumerEvent::Outage { consumer: Some(_), .. } => told.lock().unwrap().push("waits"),
            ConsumerEvent::Recovered { consumer: Some(_) } => told.lock().unwrap().push("goes on"),
            _ => {}
        }
    };
    let running = runner(&store)
        .observer(observer)
        .subscribe(subscription)
        .start()
        .unwrap();
    let other = keys[1].id();
    until(|| {
        versions_of(&handled)
            .get(&other)
            .is_some_and(|versions| versions.len() == 2)
    });
    assert!(!versions_of(&handled).contains_key(&poison));
    is_mended.store(true, Ordering::SeqCst);
    until(|| {
        versions_of(&handled)
            .get(&poison)
            .is_some_and(|versions| versions.len() == 2)
    });
    assert!(parked_of(&store, NAME).is_empty(), "an outage parks nothing");
    until(|| told.lock().unwrap().last() == Some(&"goes on"));
    running.stop();
    let told = told.lock().unwrap();
    assert!(told[..told.len() - 1].iter().all(|told| *told == "waits"), "{told:?}");
    assert_eq!(assert_all_handled(&store, &handled), 0);
}

pub(crate) fn a_poison_event_stops_its_slot_until_it_is_resumed(env: &dyn Environment) {
    let store = env.store();
    given_some(&store, 1, 2);
    let (handled, tried, is_mended) = (
        Handled::default(),
        Arc::new(Mutex::new(Vec::new())),
        Arc::new(AtomicBool::new(false)),
    );
    let subscription = {
        let (handled, tried, is_mended) = (Arc::clone(&handled), Arc::clone(&tried), Arc::clone(&is_mended));
        Subscription::of(NAME, deposits(), move |delivery| {
            if !is_mended.load(Ordering::SeqCst) {
                tried.lock().unwrap().push(delivery.attempts);
                return Err("poison".parse::<u32>().unwrap_err().into());
            }
            let event = delivery.event;
            handled
                .lock()
                .unwrap()
                .push((0, event.aggregate.id(), event.version.get()));
            Ok(())
        })
        .on_failure(OnFailure::retry(3).pauses(Duration::from_millis(1), Duration::from_millis(1)))
        .lease(LEASE)
    };
    let running = run(&store, subscription);
    let slot = || store.consumers(Some(NAME)).unwrap().remove(0);
    until(|| slot().state == ConsumerState::Failed);
    assert_eq!(*tried.lock().unwrap(), [0, 1, 2]);
    assert_eq!(slot().failing.unwrap().attempts, 3);
    is_mended.store(true, Ordering::SeqCst);
    resume(&store, NAME).unwrap();
    running.wait_for(NAME, GlobalSequence::from(2), LONG).unwrap();
    assert_all_handled(&store, &handled);
    running.stop();
}

pub(crate) fn parked_events_are_handled_again_in_order(env: &dyn Environment) {
    let store = env.store();
    let key = given_some(&store, 1, 3).remove(0);
    let (handled, is_mended) = (Handled::default(), Arc::new(AtomicBool::new(false)));
    let subscription = {
        let (handled, is_mended) = (Arc::clone(&handled), Arc::clone(&is_mended));
        Subscription::of(NAME, deposits(), move |delivery| {
            if !is_mended.load(Ordering::SeqCst) {
                return Err(Failure::Park("poison".into()));
            }
            let event = delivery.event;
            handled
                .lock()
                .unwrap()
                .push((0, event.aggregate.id(), event.version.get()));
            Ok(())
        })
        .lease(LEASE)
    };
    let running = run(&store, subscription);
    running.wait_for(NAME, GlobalSequence::from(3), LONG).unwrap();
    assert_eq!(parked_of(&store, NAME).len(), 3);
    let replay = || replay(&store, NAME, key.id()).unwrap();
    replay();
    until(|| parked_of(&store, NAME)[0].attempts == 2);
    is_mended.store(true, Ordering::SeqCst);
    replay();
    until(|| parked_of(&store, NAME).is_empty());
    let last = store
        .append(&key, exact(3), &events(1))
        .unwrap()
        .last_sequence()
        .unwrap();
    running.wait_for(NAME, last, LONG).unwrap();
    assert_eq!(assert_all_handled(&store, &handled), 0);
    running.stop();
}

pub(crate) fn an_event_whose_handler_dies_with_its_process_is_parked_at_last(env: &dyn Environment) {
    let store = env.store();
    let key = given_some(&store, 1, 1).remove(0);
    let subscription = |handled: &Handled| noting(9, handled).on_failure(OnFailure::retry(2).then_park());
    let handled = Handled::default();
    // Processes that take the slot, begin the event, and die. The next process finds their traces.
    run(
        &store,
        Subscription::of(NAME, deposits(), |_| Err(Failure::Later("not yet".into()))).lease(LEASE),
    )
    .stop();
    for _ in 0..2 {
        until(|| {
            let mut taken = Vec::new();
            let claim = store.consume(&mut |tx| {
                taken = tx.claim(NAME, Uuid::now_v7(), Duration::from_millis(100))?.slots;
                Ok(())
            });
            claim.is_ok() && !taken.is_empty()
        });
        store
            .consume(&mut |tx| {
                let mut slot = tx.lock_slot(NAME, 0)?;
                tx.fail(&mut slot, GlobalSequence::from(1), "in hand").map(drop)
            })
            .unwrap();
    }
    let running = run(&env.reopen(), subscription(&handled));
    until(|| parked_of(&store, NAME).len() == 1);
    assert!(handled.lock().unwrap().is_empty(), "it would have died, too");
    assert_eq!(parked_of(&store, NAME)[0].aggregate_id, key.id());
    running.stop();
}

pub(crate) fn an_event_whose_handler_takes_too_long_is_parked_at_last(env: &dyn Environment) {
    let errors: Vec<_> = (0..20).map(|_| env.out_of_time()).collect();
    let store = env.store();
    given_some(&store, 1, 1);
    let errors = Arc::new(Mutex::new(errors));
    let subscription = {
        let errors = Arc::clone(&errors);
        Subscription::of(NAME, deposits(), move |_| {
            let error = errors.lock().unwrap().pop();
            Err(Failure::Retry(error.unwrap_or_else(|| "it was tried too often".into())))
        })
    }
    .lease(LEASE)
    .on_failure(
        OnFailure::retry(3)
            .then_park()
            .pauses(Duration::from_millis(1), Duration::from_millis(1)),
    );
    let running = run(&store, subscription);
    until(|| parked_of(&store, NAME).len() == 1);
    running.stop();
    assert_eq!(parked_of(&store, NAME)[0].attempts, 3);
    assert_eq!(errors.lock().unwrap().len(), 20 - 3);
}

/// A handler that blocks at the first event until it is released, and records each later one.
#[derive(Clone, Default)]
struct Held {
    handled: Handled,
    is_in_hand: Arc<AtomicBool>,
    may_go_on: Arc<AtomicBool>,
}

impl Held {
    fn subscription(&self) -> Subscription {
        let held = self.clone();
        Subscription::of(NAME, deposits(), move |delivery| {
            held.is_in_hand.store(true, Ordering::SeqCst);
            while !held.may_go_on.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(5));
            }
            let event = delivery.event;
            let noted = (0, event.aggregate.id(), event.version.get());
            held.handled.lock().unwrap().push(noted);
            Ok(())
        })
        .lease(LEASE)
    }

    fn wait_until_in_hand(&self) {
        until(|| self.is_in_hand.load(Ordering::SeqCst));
    }

    fn go_on(&self) {
        self.may_go_on.store(true, Ordering::SeqCst);
    }

    fn versions(&self) -> Vec<u64> {
        let handled = self.handled.lock().unwrap();
        handled.iter().map(|(_, _, version)| *version).collect()
    }
}

pub(crate) fn what_is_in_hand_when_a_subscription_is_moved_does_not_move_it(env: &dyn Environment) {
    let store = env.store();
    given_some(&store, 1, 3);
    run(&store, noting(0, &Handled::default()))
        .wait_for(NAME, GlobalSequence::from(3), LONG)
        .unwrap();
    reposition(&store, NAME, GlobalSequence::from(1)).unwrap();
    let held = Held::default();
    let running = run(&store, held.subscription());
    held.wait_until_in_hand();
    reposition(&env.reopen(), NAME, GlobalSequence::ZERO).unwrap();
    held.go_on();
    running.wait_for(NAME, GlobalSequence::from(3), LONG).unwrap();
    running.stop();
    assert_eq!(held.versions(), [2, 1, 2, 3]);
}

pub(crate) fn what_is_in_hand_when_a_subscription_is_paused_is_handled_again(env: &dyn Environment) {
    let store = env.store();
    given_some(&store, 1, 2);
    let held = Held::default();
    let running = run(&store, held.subscription());
    held.wait_until_in_hand();
    pause(&env.reopen(), NAME).unwrap();
    held.go_on();
    until(|| held.versions() == [1]);
    // By itself, the member would notice only after this time that it runs again.
    thread::sleep(LEASE);
    let slot = store.consumers(Some(NAME)).unwrap().remove(0);
    assert_eq!(
        (slot.position, slot.state),
        (GlobalSequence::ZERO, ConsumerState::Paused)
    );
    assert_eq!(held.versions(), [1]);
    resume(&store, NAME).unwrap();
    running.wait_for(NAME, GlobalSequence::from(2), LONG).unwrap();
    running.stop();
    assert_eq!(held.versions(), [1, 1, 2]);
}

pub(crate) fn what_others_are_to_handle_again_holds_nobody_up(env: &dyn Environment) {
    let store = env.store();
    run(&store, noting(0, &Handled::default()).group(2)).stop();
    let [theirs, ours] = [0, 1].map(|slot| {
        let mut keys = std::iter::repeat_with(account);
        keys.find(|key| slot_of(key.id(), 2) == slot).unwrap()
    });
    let parked = store.append(&theirs, ExpectedVersion::NoStream, &events(1)).unwrap();
    let parked = parked.last_sequence().unwrap();
    store
        .consume(&mut |tx| {
            let other = Uuid::now_v7();
            tx.claim(NAME, other, LONG)?;
            tx.release(NAME, 1, other)?;
            tx.park(NAME, parked, theirs.id(), 1, "poison")?;
            tx.change(ConsumerChange::Replay {
                consumer: NAME,
                aggregate_id: theirs.id(),
            })
        })
        .unwrap();
    let handled = Handled::default();
    let running = run(&store, noting(1, &handled).group(2));
    store.append(&ours, ExpectedVersion::NoStream, &events(1)).unwrap();
    until(|| !handled.lock().unwrap().is_empty());
    running.stop();
    assert_eq!(*handled.lock().unwrap(), [(1, ours.id(), 1)]);
    assert!(parked_of(&store, NAME)[0].replay, "it is for the other one");
}

pub(crate) fn who_stops_leaves_a_subscription_where_it_was_moved(env: &dyn Environment) {
    let store = env.store();
    given_some(&store, 1, 3);
    // With this lease, it does not soon check whether it was moved.
    let running = run(&store, noting(0, &Handled::default()).lease(LONG));
    running.wait_for(NAME, GlobalSequence::from(3), LONG).unwrap();
    reposition(&store, NAME, GlobalSequence::from(1)).unwrap();
    running.stop();
    assert_eq!(
        store.consumers(Some(NAME)).unwrap()[0].position,
        GlobalSequence::from(1)
    );
}

pub(crate) fn a_slot_whose_event_is_in_hand_is_not_given_up(env: &dyn Environment) {
    let store = env.store();
    let key = std::iter::repeat_with(account)
        .find(|key| slot_of(key.id(), 2) == 1)
        .unwrap();
    given(&*store, &key, 1);
    let held = Held::default();
    let first = run(&store, held.subscription().group(2));
    held.wait_until_in_hand();
    let handled = Handled::default();
    let second = run(&env.reopen(), noting(1, &handled).group(2));
    let holders = || {
        let slots = store.consumers(Some(NAME)).unwrap();
        [slots[0].holder, slots[1].holder]
    };
    until(|| matches!(holders(), [Some(one), Some(other)] if one != other));
    held.go_on();
    until(|| store.consumers(Some(NAME)).unwrap()[1].position == 1);
    first.stop();
    second.stop();
    assert_eq!(held.versions(), [1]);
    assert!(handled.lock().unwrap().is_empty(), "it was in other hands");
}

pub(crate) fn an_event_that_fails_is_tried_again_after_a_pause(env: &dyn Environment) {
    let store = env.store();
    given_some(&store, 1, 1);
    let tried = Arc::new(Mutex::new(Vec::new()));
    let subscription = {
        let tried = Arc::clone(&tried);
        Subscription::of(NAME, deposits(), move |_| {
            tried.lock().unwrap().push(Instant::now());
            Err(Failure::Retry("poison".into()))
        })
    };
    let (first, longest) = (Duration::from_millis(100), Duration::from_millis(150));
    let running = run(
        &store,
        subscription
            .lease(LEASE)
            .on_failure(OnFailure::retry(3).pauses(first, longest)),
    );
    until(|| store.consumers(Some(NAME)).unwrap()[0].state == ConsumerState::Failed);
    running.stop();
    let tried = tried.lock().unwrap();
    assert_eq!(tried.len(), 3);
    assert!(
        tried[1] - tried[0] >= first && tried[2] - tried[1] >= longest,
        "{tried:?}"
    );
}

pub(crate) fn no_event_is_begun_after_the_lease_ran_out(env: &dyn Environment) {
    let store = env.store();
    given_some(&store, 1, 2);
    let left = Arc::new(Mutex::new(Vec::new()));
    let subscription = {
        let (other, left) = (env.reopen(), Arc::clone(&left));
        Subscription::of(NAME, deposits(), move |delivery| {
            let is_live = || other.consumers(Some(NAME)).unwrap()[0].lease.unwrap().is_live();
            left.lock().unwrap().push(is_live());
            if delivery.event.version == 1 {
                // Its own process considers it hung, and lets the lease end.
                until(|| !is_live());
            }
            Ok(())
        })
    };
    let running = run(&store, subscription.lease(LEASE).deadline(Duration::from_millis(10)));
    running.wait_for(NAME, GlobalSequence::from(2), LONG).unwrap();
    running.stop();
    assert_eq!(*left.lock().unwrap(), [true, true]);
}

/// A member that takes the slots of a group and never returns, after this many attempts at an event.
fn a_member_ends(store: &Handle, subscription: Subscription, attempts: u32) {
    run(store, subscription).stop();
    store
        .consume(&mut |tx| {
            let claimed = tx.claim(NAME, Uuid::now_v7(), Duration::from_millis(100))?;
            assert_eq!(claimed.slots.len(), 1);
            let mut slot = tx.lock_slot(NAME, 0)?;
            for _ in 0..attempts {
                tx.fail(&mut slot, GlobalSequence::from(1), "in hand")?;
            }
            Ok(())
        })
        .unwrap();
}

fn later() -> Subscription {
    Subscription::of(NAME, deposits(), |_| Err(Failure::Later("not yet".into()))).lease(LEASE)
}

fn failing(store: &Handle) -> Option<(u64, u32)> {
    let failing = store.consumers(Some(NAME)).unwrap().remove(0).failing;
    failing.map(|failing| (failing.sequence.get(), failing.attempts))
}

pub(crate) fn an_attempt_of_a_member_that_is_written_down_before_is_counted_once(env: &dyn Environment) {
    let store = env.store();
    given_some(&store, 1, 1);
    a_member_ends(&store, later(), 1);
    let tried = Arc::new(AtomicU32::new(0));
    let subscription = {
        let tried = Arc::clone(&tried);
        Subscription::of(NAME, deposits(), move |_| match tried.fetch_add(1, Ordering::SeqCst) {
            1..4 => Err(Failure::Later("not yet".into())),
            _ => Err(Failure::Retry("poison".into())),
        })
        .lease(LEASE)
        .on_failure(OnFailure::retry(3).pauses(Duration::from_millis(1), Duration::from_millis(1)))
    };
    let running = run(&store, subscription);
    until(|| store.consumers(Some(NAME)).unwrap()[0].state == ConsumerState::Failed);
    running.stop();
    // One of three attempts was that of a process that ended. The outage does not count.
    assert_eq!(tried.load(Ordering::SeqCst), 3 + 2);
    assert_eq!(failing(&store), Some((1, 3)));
}

pub(crate) fn events_of_a_batch_that_a_member_ended_over_are_counted_one_by_one(env: &dyn Environment) {
    let store = env.store();
    given_some(&store, 1, 5);
    let batch = NonZeroU16::new(3).unwrap();
    a_member_ends(&store, later().checkpoint_every(batch), 0);
    struct Broker {
        other: Handle,
        told: Told,
    }
    impl Publish for Broker {
        fn publish(&self, batch: &Batch<'_>) -> Result<(), Failure> {
            self.told
                .lock()
                .unwrap()
                .push((batch.events.len(), failing(&self.other)));
            Ok(())
        }
    }
    type Told = Arc<Mutex<Vec<(usize, Option<(u64, u32)>)>>>;
    let told = Told::default();
    let broker = Broker {
        other: env.reopen(),
        told: Arc::clone(&told),
    };
    let publishing = Subscription::publishing(NAME, deposits(), broker)
        .checkpoint_every(batch)
        .lease(LEASE);
    let running = run(&store, publishing);
    running.wait_for(NAME, GlobalSequence::from(5), LONG).unwrap();
    running.stop();
    let told = told.lock().unwrap();
    assert_eq!(told[..3], [(1, Some((1, 1))), (1, Some((2, 1))), (1, Some((3, 1)))]);
    assert!(told[3..].iter().all(|(_, failing)| failing.is_none()), "{told:?}");
}

/// The row of a parked event while it is handled again.
type Parked = Arc<Mutex<Vec<(u32, bool)>>>;

/// Parks every event, and handles its replay as `again` says.
fn parking(
    env: &dyn Environment,
    told: &Parked,
    again: impl Fn() -> Result<(), Failure> + Send + Sync + 'static,
) -> Subscription {
    let (store, told) = (env.reopen(), Arc::clone(told));
    Subscription::of(NAME, deposits(), move |_| {
        let Some(parked) = parked_of(&store, NAME).pop() else {
            return Err(Failure::Park("poison".into()));
        };
        told.lock().unwrap().push((parked.attempts, parked.replay));
        again()
    })
    .lease(LEASE)
    .on_failure(OnFailure::retry(3).pauses(Duration::from_millis(1), Duration::from_millis(1)))
}

pub(crate) fn a_parked_event_that_a_member_ends_over_stays_parked(env: &dyn Environment) {
    let store = env.store();
    let key = given_some(&store, 1, 1).remove(0);
    let told = Parked::default();
    let running = run(
        &store,
        parking(env, &told, || Err(Failure::Retry("poison again".into()))),
    );
    until(|| parked_of(&store, NAME).len() == 1);
    replay(&store, NAME, key.id()).unwrap();
    until(|| parked_of(&store, NAME)[0].reason == "poison again");
    running.stop();
    // If the process had ended meanwhile, no process would have tried again.
    assert_eq!(*told.lock().unwrap(), [(2, false)]);
    assert_eq!(parked_of(&store, NAME)[0].attempts, 2);
}

pub(crate) fn an_outage_while_a_parked_event_is_handled_again_counts_nothing(env: &dyn Environment) {
    let store = env.store();
    let key = given_some(&store, 1, 1).remove(0);
    let (told, tried) = (Parked::default(), AtomicU32::new(0));
    let again = move || match tried.fetch_add(1, Ordering::SeqCst) {
        0 => Err(Failure::Later("the mail server is down".into())),
        1 => Err(Error::new(ErrorKind::PoolTimeout).into()),
        _ => Ok(()),
    };
    let running = run(&store, parking(env, &told, again));
    until(|| parked_of(&store, NAME).len() == 1);
    replay(&store, NAME, key.id()).unwrap();
    until(|| parked_of(&store, NAME).is_empty());
    running.stop();
    assert_eq!(*told.lock().unwrap(), [(2, false); 3]);
}

pub(crate) fn a_new_subscription_starts_where_it_is_told(env: &dyn Environment) {
    let store = env.store();
    let keys = given_some(&store, 1, 3);
    let handled = Handled::default();
    run(&store, noting(0, &handled))
        .wait_for(NAME, GlobalSequence::from(3), LONG)
        .unwrap();
    let starts = [
        (Start::Beginning, 4),
        (Start::At(GlobalSequence::from(2)), 2),
        (Start::Now, 1),
        (Start::After(NAME.to_owned()), 1),
    ];
    let seen: Vec<_> = starts.iter().map(|_| Arc::new(AtomicU32::new(0))).collect();
    let mut running = Vec::new();
    for (number, (start, _)) in starts.iter().enumerate() {
        let seen = Arc::clone(&seen[number]);
        let count = move |_: firefly_eventstore_core::consumer::Delivery<'_, &EventEnvelope>| {
            seen.fetch_add(1, Ordering::SeqCst);
            Ok(())
        };
        running.push(run(
            &store,
            Subscription::of(format!("started.{number}"), deposits(), count).start(start.clone()),
        ));
    }
    let last = store
        .append(&keys[0], exact(3), &events(1))
        .unwrap()
        .last_sequence()
        .unwrap();
    for (number, running) in running.iter().enumerate() {
        running.wait_for(&format!("started.{number}"), last, LONG).unwrap();
    }
    for (seen, (start, expected)) in seen.iter().zip(&starts) {
        assert_eq!(seen.load(Ordering::SeqCst), *expected, "{start:?}");
    }
    let never_begun = Subscription::of("nobody.after", deposits(), |_| Ok(())).start(Start::After("nobody".to_owned()));
    let error = runner(&store).subscribe(never_begun).start().unwrap_err();
    assert!(error.to_string().contains("has not begun"), "{error}");
}

pub(crate) fn a_lease_that_cannot_be_kept_is_refused(env: &dyn Environment) {
    let store = env.store();
    for (lease, says) in [
        (Duration::from_millis(99), "too short"),
        (Duration::from_secs(86_401), "too long"),
        (Duration::MAX, "too long"),
    ] {
        let error = runner(&store)
            .subscribe(noting(0, &Handled::default()).lease(lease))
            .start()
            .unwrap_err();
        assert_invalid(&error, says);
    }
    assert!(store.consumers(Some(NAME)).unwrap().is_empty());
}

pub(crate) fn a_publisher_gets_batches_of_each_slot_in_order_until_they_are_confirmed(env: &dyn Environment) {
    struct Broker {
        handled: Handled,
        outages: AtomicU32,
        largest: Arc<AtomicU32>,
    }
    impl Publish for Broker {
        fn publish(&self, batch: &Batch<'_>) -> Result<(), Failure> {
            let events = batch.events;
            let down = self
                .outages
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
            if down.is_ok() {
                return Err(Failure::Later("the broker is down".into()));
            }
            self.largest.fetch_max(events.len() as u32, Ordering::SeqCst);
            let slots: BTreeSet<u16> = events.iter().map(|event| slot_of(event.aggregate.id(), 3)).collect();
            assert_eq!(slots.len(), 1, "a batch is of one slot");
            let mut handled = self.handled.lock().unwrap();
            handled.extend(
                events
                    .iter()
                    .map(|event| (0, event.aggregate.id(), event.version.get())),
            );
            Ok(())
        }
    }
    let store = env.store();
    given_some(&store, 4, 20);
    let (handled, largest) = (Handled::default(), Arc::new(AtomicU32::new(0)));
    let broker = Broker {
        handled: Arc::clone(&handled),
        outages: AtomicU32::new(5),
        largest: Arc::clone(&largest),
    };
    let publishing = Subscription::publishing(NAME, deposits(), broker)
        .group(3)
        .lease(LEASE)
        .checkpoint_every(NonZeroU16::new(10).unwrap())
        .on_failure(
            OnFailure::retry(1)
                .then_park()
                .pauses(Duration::from_millis(1), Duration::from_millis(5)),
        );
    let running = run(&store, publishing);
    running.wait_for(NAME, GlobalSequence::from(80), LONG).unwrap();
    assert_eq!(assert_all_handled(&store, &handled), 0);
    assert!((2..=10).contains(&largest.load(Ordering::SeqCst)));
    assert!(parked_of(&store, NAME).is_empty());
    running.stop();
}

pub(crate) fn members_that_come_and_go_while_others_append_leave_nothing_out(env: &dyn Environment) {
    let store = env.store();
    let handled = Handled::default();
    let keys: Vec<_> = (0..12).map(|_| account()).collect();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let appending = scope.spawn(|| {
            for round in 0..20 {
                for key in &keys {
                    store.append(key, exact(round), &events(1)).unwrap();
                }
            }
        });
        for member in 0..2_usize {
            let (handled, is_over, store) = (&handled, &is_over, &store);
            scope.spawn(move || {
                let mut round = member;
                while !is_over.load(Ordering::SeqCst) {
                    let running = run(store, noting(round, handled).group(6));
                    thread::sleep(Duration::from_millis(150 + 50 * member as u64));
                    running.stop();
                    round += 2;
                }
            });
        }
        appending.join().unwrap();
        let last = log(&*store).last().unwrap().global_sequence;
        let running = run(&store, noting(99, &handled).group(6));
        running.wait_for(NAME, last, LONG).unwrap();
        is_over.store(true, Ordering::SeqCst);
        running.stop();
    });
    assert_eq!(
        assert_all_handled(&store, &handled),
        0,
        "who stops in order repeats nothing"
    );
}
