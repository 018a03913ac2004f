//! Projections: the read model and the checkpoint change in one commit.
//!
//! The read models here are streams, which every store has: each applied event is appended to the mirror of its aggregate. So an event that
//! is applied twice, or left out, shows.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use firefly_eventstore_core::backend::ConsumerChange;
use firefly_eventstore_core::consumer::{
    BoxError, ConsumerError, ConsumerEvent, ConsumerState, ConsumerStore as _, Inline, OnFailure, Projection,
    Transactional, discard, pause, project, replay, reset, resume, wait_for,
};
use firefly_eventstore_core::operate::{Archiving, attach, retire};
use firefly_eventstore_core::prelude::*;
use serde_json::json;

use crate::ability::Ability;
use crate::environment::Environment;
use crate::quiet;
use crate::support::*;

const NAME: &str = "mirror.v1";
/// Longer than anything here waits, unless it is broken.
const LONG: Duration = Duration::from_secs(60);

/// What the projections of these cases do in addition: fail, or observe.
type Trap = Arc<dyn Fn(&EventEnvelope) -> Result<(), BoxError> + Send + Sync>;

/// Appends each event to the mirror of its aggregate.
#[derive(Clone)]
struct Mirror {
    name: String,
    batch: u32,
    on_failure: OnFailure,
    trap: Trap,
}

impl Mirror {
    fn new() -> Self {
        Self {
            name: NAME.to_owned(),
            batch: 100,
            on_failure: OnFailure::retry(3).pauses(Duration::from_millis(1), Duration::from_millis(5)),
            trap: Arc::new(|_| Ok(())),
        }
    }

    fn batch(mut self, batch: u32) -> Self {
        self.batch = batch;
        self
    }

    fn parking(mut self) -> Self {
        self.on_failure = self.on_failure.then_park();
        self
    }

    fn trap(mut self, trap: impl Fn(&EventEnvelope) -> Result<(), BoxError> + Send + Sync + 'static) -> Self {
        self.trap = Arc::new(trap);
        self
    }
}

fn mirror_of(aggregate: Uuid) -> AggregateKey {
    AggregateKey::new("Mirror", Uuid::from_u128(!aggregate.as_u128())).unwrap()
}

impl<S: Transactional> Projection<S> for Mirror {
    fn name(&self) -> &str {
        &self.name
    }

    fn query(&self) -> Result<EventQuery, Error> {
        EventQuery::new().event_types(["money.deposited"])
    }

    fn apply(&self, tx: &mut S::Transaction<'_>, event: &EventEnvelope) -> Result<(), BoxError> {
        let mirrored = NewEvent::new("mirrored", &json!({ "version": event.version.get() }))?;
        tx.append(&mirror_of(event.aggregate.id()), ExpectedVersion::Any, &[mirrored])?;
        (self.trap)(event)
    }

    fn batch(&self) -> NonZeroU32 {
        NonZeroU32::new(self.batch).unwrap()
    }

    fn on_failure(&self) -> OnFailure {
        self.on_failure
    }
}

/// The applied versions of each aggregate, in the order in which they were applied.
fn applied(store: &Handle) -> BTreeMap<Uuid, Vec<u64>> {
    let mut mirrors = BTreeMap::<Uuid, Vec<u64>>::new();
    for event in read(&**store, EventQuery::new().event_types(["mirrored"]).unwrap()) {
        let original = Uuid::from_u128(!event.aggregate.id().as_u128());
        let data: serde_json::Value = event.data.parse().unwrap();
        mirrors
            .entry(original)
            .or_default()
            .push(data["version"].as_u64().unwrap());
    }
    mirrors
}

/// Every event of the log is applied, once, in the order of its aggregate.
#[track_caller]
fn assert_all_applied(store: &Handle) {
    let mut appended = BTreeMap::<Uuid, Vec<u64>>::new();
    for event in read(&**store, EventQuery::new().event_types(["money.deposited"]).unwrap()) {
        appended
            .entry(event.aggregate.id())
            .or_default()
            .push(event.version.get());
    }
    assert_eq!(applied(store), appended);
}

fn given_some(store: &Handle, aggregates: usize, events: usize) -> Vec<AggregateKey> {
    let keys: Vec<_> = (0..aggregates).map(|_| account()).collect();
    for _ in 0..events {
        keys.iter().for_each(|key| drop(given(&**store, key, 1)));
    }
    keys
}

fn position(store: &Handle) -> GlobalSequence {
    store.consumers(Some(NAME)).unwrap()[0].position
}

fn state(store: &Handle) -> ConsumerState {
    store.consumers(Some(NAME)).unwrap()[0].state
}

pub(crate) fn everything_is_applied_once_in_order(env: &dyn Environment) {
    let store = env.store();
    given_some(&store, 3, 50);
    assert_eq!(project(&store, &Mirror::new().batch(7)).unwrap(), 150);
    assert_all_applied(&store);
    assert_eq!(project(&store, &Mirror::new()).unwrap(), 0);
    given_some(&store, 2, 3);
    assert_eq!(project(&env.reopen(), &Mirror::new()).unwrap(), 6);
    assert_all_applied(&store);
}

pub(crate) fn the_checkpoint_passes_what_was_not_asked_for(env: &dyn Environment) {
    let store = env.store();
    given(&*store, &account(), 1);
    store
        .append(&account(), ExpectedVersion::Any, &[event("other"), event("other")])
        .unwrap();
    assert_eq!(project(&store, &Mirror::new()).unwrap(), 1);
    assert!(position(&store) >= GlobalSequence::from(3), "{}", position(&store));
}

pub(crate) fn what_fails_leaves_neither_the_read_model_nor_the_checkpoint_changed(env: &dyn Environment) {
    let store = env.store();
    given_some(&store, 1, 10);
    let failing = Mirror::new().trap(|event| match event.version.get() {
        6 => Err("the sixth".into()),
        _ => Ok(()),
    });
    let error = project(&store, &failing).unwrap_err();
    let ConsumerError::Event {
        consumer,
        sequence,
        error,
    } = &error
    else {
        panic!("{error:?}");
    };
    assert_eq!((consumer.as_str(), error.to_string().as_str()), (NAME, "the sixth"));
    assert_eq!(
        applied(&store).into_values().next().unwrap(),
        [1, 2, 3, 4, 5],
        "what is before it is applied"
    );
    assert!(position(&store) < *sequence);
    assert_eq!(project(&store, &Mirror::new()).unwrap(), 5);
    assert_all_applied(&store);
}

pub(crate) fn a_panic_is_a_failure_of_its_event(env: &dyn Environment) {
    let store = env.store();
    given_some(&store, 1, 3);
    let panicking = Mirror::new().trap(|event| {
        assert!(event.version < Version::from(2), "cannot be");
        Ok(())
    });
    let error = quiet::unprinted(|| project(&store, &panicking).unwrap_err());
    assert!(matches!(error, ConsumerError::Event { .. }), "{error}");
    assert!(error.to_string().contains("cannot be"), "{error}");
    assert_eq!(project(&store, &Mirror::new()).unwrap(), 2);
    assert_all_applied(&store);
}

pub(crate) fn runners_of_the_same_projection_apply_each_event_once(env: &dyn Environment) {
    let store = env.store();
    let keys = given_some(&store, 4, 5);
    let stores: Vec<Handle> = (0..4).map(|_| env.reopen()).collect();
    in_parallel(4, |number| {
        let store = &stores[number];
        for round in 0..12 {
            if number == 3 {
                given(&**store, &keys[round % keys.len()], 1);
                continue;
            }
            loop {
                match project(store, &Mirror::new().batch(3)) {
                    Ok(_) => break,
                    // A server may choose one of them as the victim of a deadlock.
                    Err(ConsumerError::Store { error, .. }) if error.is_retryable() || error.is_conflict() => {}
                    Err(ConsumerError::Event { error, .. }) if store.is_transient(&*error) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
    });
    project(&store, &Mirror::new()).unwrap();
    assert_all_applied(&store);
}

/// A mirror that reports that it was emptied, because streams cannot be emptied.
struct Resettable(Mirror);

impl<S: Transactional> Projection<S> for Resettable {
    fn name(&self) -> &str {
        NAME
    }

    fn query(&self) -> Result<EventQuery, Error> {
        Projection::<S>::query(&self.0)
    }

    fn apply(&self, tx: &mut S::Transaction<'_>, event: &EventEnvelope) -> Result<(), BoxError> {
        Projection::<S>::apply(&self.0, tx, event)
    }

    fn reset(&self, tx: &mut S::Transaction<'_>) -> Result<(), BoxError> {
        let emptied = AggregateKey::new("Emptied", Uuid::now_v7())?;
        tx.append(&emptied, ExpectedVersion::NoStream, &[event("emptied")])?;
        Ok(())
    }

    fn batch(&self) -> NonZeroU32 {
        Projection::<S>::batch(&self.0)
    }
}

pub(crate) fn a_reset_while_it_runs_begins_anew(env: &dyn Environment) {
    let store = env.store();
    given_some(&store, 2, 20);
    let running = runner(&store)
        .observer(|_: &ConsumerEvent<'_>| {})
        .project(Resettable(Mirror::new().batch(1)))
        .start()
        .unwrap();
    until(|| applied(&store).values().map(Vec::len).sum::<usize>() >= 5);
    let token = store.consumers(Some(NAME)).unwrap()[0].token;
    let emptied = env.reopen();
    while let Err(error) = reset(&emptied, &Resettable(Mirror::new())) {
        assert!(store.is_transient(&*error), "{error}");
    }
    assert!(store.consumers(Some(NAME)).unwrap()[0].token > token);
    wait_for(&store, NAME, GlobalSequence::from(40), LONG).unwrap();
    assert!(running.stop().is_empty());
    assert_eq!(
        read(&*store, EventQuery::new().event_types(["emptied"]).unwrap()).len(),
        1
    );
    for (_, versions) in applied(&store) {
        let (before, anew) = versions.split_at(versions.len() - 20);
        assert!(anew.iter().copied().eq(1..=20), "{versions:?}");
        assert!(before.iter().copied().eq(1..=before.len() as u64), "{versions:?}");
    }
}

pub(crate) fn who_waits_after_a_reset_waits_until_all_is_applied_anew(env: &dyn Environment) {
    let store = env.store();
    given_some(&store, 2, 3);
    let last = GlobalSequence::from(6);
    let running = runner(&store).project(Resettable(Mirror::new())).start().unwrap();
    running.wait_for(NAME, last, LONG).unwrap();
    while let Err(error) = reset(&env.reopen(), &Resettable(Mirror::new())) {
        assert!(store.is_transient(&*error), "{error}");
    }
    running.wait_for(NAME, last, LONG).unwrap();
    assert!(running.stop().is_empty());
    for (aggregate, versions) in applied(&store) {
        assert_eq!(versions, [1, 2, 3, 1, 2, 3], "{aggregate}");
    }
}

pub(crate) fn a_projection_that_cannot_be_emptied_is_not_reset(env: &dyn Environment) {
    let store = env.store();
    given_some(&store, 1, 2);
    project(&store, &Mirror::new()).unwrap();
    let at = position(&store);
    assert!(reset(&store, &Mirror::new()).unwrap_err().to_string().contains(NAME));
    assert_eq!(position(&store), at);
}

pub(crate) fn the_same_name_with_another_query_is_refused(env: &dyn Environment) {
    struct Other;
    impl<S: Transactional> Projection<S> for Other {
        fn name(&self) -> &str {
            NAME
        }

        fn query(&self) -> Result<EventQuery, Error> {
            Ok(EventQuery::new())
        }

        fn apply(&self, _: &mut S::Transaction<'_>, _: &EventEnvelope) -> Result<(), BoxError> {
            Ok(())
        }
    }
    let store = env.store();
    project(&store, &Mirror::new()).unwrap();
    let error = project(&store, &Other).unwrap_err();
    assert!(error.to_string().contains("another query"), "{error}");
}

pub(crate) fn a_runner_follows_what_is_appended_and_tells_who_waits(env: &dyn Environment) {
    let store = env.store();
    let running = runner(&store).project(Mirror::new()).start().unwrap();
    let key = account();
    for _ in 0..20 {
        let appended = store.append(&key, ExpectedVersion::Any, &events(2)).unwrap();
        let last = appended.last_sequence().unwrap();
        running.wait_for(NAME, last, LONG).unwrap();
        assert_all_applied(&store);
        assert!(position(&store) >= last);
        wait_for(&env.reopen(), NAME, last, LONG).unwrap();
    }
    let beyond = running
        .wait_for(NAME, GlobalSequence::from(1_000_000), Duration::ZERO)
        .unwrap_err();
    assert!(matches!(beyond, ConsumerError::Behind { .. }), "{beyond}");
    assert!(running.wait_for("nobody", GlobalSequence::ZERO, LONG).is_err());
    assert!(running.stop().is_empty());
}

pub(crate) fn a_projection_that_stands_before_an_archive_is_told_and_goes_on_once_it_is_attached(
    env: &dyn Environment,
) {
    needs(env, Ability::Operations);
    needs(env, Ability::Archives);
    let store = env.store();
    given_some(&store, 2, 3);
    let stopping = Mirror::new().batch(1).trap(|event| match event.version.get() {
        2 => Err("the second".into()),
        _ => Ok(()),
    });
    project(&store, &stopping).unwrap_err();
    let mut file = Vec::new();
    let archiving = Archiving::until(4);
    let refused = archiving.json_lines(&*store, &mut file, |_| {}).unwrap_err();
    assert_invalid(&refused, NAME);
    file.clear();
    archiving
        .despite_consumers()
        .json_lines(&*store, &mut file, |_| {})
        .unwrap();
    retire(&*store, Cursor::new(&file), "elsewhere", |_| {}).unwrap();

    resume(&store, NAME).unwrap();
    let at = position(&store);
    match project(&store, &Mirror::new()).unwrap_err() {
        ConsumerError::Store { error, .. } => assert!(error.is_archived(), "{error:?}"),
        error => panic!("{error:?}"),
    }
    assert_eq!(position(&store), at);
    attach(&*store, Cursor::new(&file), |_| {}).unwrap();
    project(&store, &Mirror::new()).unwrap();
    assert_all_applied(&store);
}

pub(crate) fn a_poison_event_stops_its_projection_until_it_is_resumed(env: &dyn Environment) {
    let store = env.store();
    let keys = given_some(&store, 2, 3);
    let (poison, is_mended) = (keys[0].id(), Arc::new(AtomicU32::new(0)));
    let told = Arc::new(Mutex::new(Vec::new()));
    let mirror = Mirror::new().trap({
        let is_mended = Arc::clone(&is_mended);
        move |event| match event.aggregate.id() == poison && event.version == 2 && is_mended.load(Ordering::SeqCst) == 0
        {
            true => Err("poison".into()),
            false => Ok(()),
        }
    });
    let observer = {
        let told = Arc::clone(&told);
        move |event: &ConsumerEvent<'_>| match event {
            ConsumerEvent::Failing { attempts, .. } => told.lock().unwrap().push(format!("attempt {attempts}")),
            ConsumerEvent::Stopped { error: Some(error), .. } => told.lock().unwrap().push(error.to_string()),
            _ => {}
        }
    };
    let running = runner(&store).observer(observer).project(mirror).start().unwrap();
    until(|| state(&store) == ConsumerState::Failed);
    until(|| told.lock().unwrap().len() == 4);
    let told = told.lock().unwrap().clone();
    assert_eq!(told[..3], ["attempt 1", "attempt 2", "attempt 3"]);
    assert!(told[3].contains("poison"), "{told:?}");
    let slot = &store.consumers(Some(NAME)).unwrap()[0];
    let failing = slot.failing.as_ref().unwrap();
    assert_eq!((failing.attempts, failing.error.as_str()), (3, "poison"));
    assert_eq!(
        slot.position.get() + 1,
        failing.sequence.get(),
        "it stays before the event"
    );
    is_mended.store(1, Ordering::SeqCst);
    resume(&store, NAME).unwrap();
    running.wait_for(NAME, GlobalSequence::from(6), LONG).unwrap();
    assert_all_applied(&store);
    assert!(running.stop().is_empty(), "it goes on");
}

pub(crate) fn a_stopped_runner_tells_why_its_projections_had_stopped(env: &dyn Environment) {
    let store = env.store();
    given_some(&store, 1, 1);
    let running = runner(&store)
        .observer(|_: &ConsumerEvent<'_>| {})
        .project(Mirror::new().trap(|_| Err("poison".into())))
        .start()
        .unwrap();
    until(|| state(&store) == ConsumerState::Failed);
    let stopped = running.stop();
    assert_eq!(stopped.len(), 1);
    assert_eq!(stopped[0].consumer(), NAME);
}

pub(crate) fn a_poison_event_is_parked_with_all_later_ones_of_its_aggregate(env: &dyn Environment) {
    let store = env.store();
    let keys = given_some(&store, 2, 3);
    let poison = keys[0].id();
    let is_mended = Arc::new(AtomicU32::new(0));
    let mirror = Mirror::new().parking().trap({
        let is_mended = Arc::clone(&is_mended);
        move |event| match event.aggregate.id() == poison && event.version == 2 && is_mended.load(Ordering::SeqCst) == 0
        {
            true => Err("poison".into()),
            false => Ok(()),
        }
    });
    let running = runner(&store).project(mirror).start().unwrap();
    running.wait_for(NAME, GlobalSequence::from(6), LONG).unwrap();
    let late = store
        .append(&keys[0], exact(3), &events(1))
        .unwrap()
        .last_sequence()
        .unwrap();
    running.wait_for(NAME, late, LONG).unwrap();
    let found = applied(&store);
    assert_eq!(found[&keys[0].id()], [1]);
    assert_eq!(found[&keys[1].id()], [1, 2, 3]);
    let parked = parked_of(&store, NAME);
    assert_eq!(parked.len(), 3, "{parked:?}");
    assert_eq!((parked[0].attempts, parked[0].reason.as_str()), (3, "poison"));
    assert!(parked.iter().all(|event| event.aggregate_id == poison));
    assert!(parked[1..].iter().all(|event| event.attempts == 0), "{parked:?}");

    // The operator replays the event: the first attempt fails, the second succeeds, and the aggregate continues.
    let replay = || replay(&store, NAME, poison).unwrap();
    replay();
    until(|| parked_of(&store, NAME)[0].attempts == 4);
    assert_eq!(parked_of(&store, NAME).len(), 3);
    is_mended.store(1, Ordering::SeqCst);
    replay();
    until(|| parked_of(&store, NAME).is_empty());
    let next = store
        .append(&keys[0], exact(4), &events(1))
        .unwrap()
        .last_sequence()
        .unwrap();
    running.wait_for(NAME, next, LONG).unwrap();
    assert_all_applied(&store);
    running.stop();
}

pub(crate) fn an_aggregate_whose_parked_events_were_discarded_goes_on(env: &dyn Environment) {
    let store = env.store();
    let key = given_some(&store, 1, 1).remove(0);
    let mirror = Mirror::new().parking().trap(|event| match event.version == 1 {
        true => Err("poison".into()),
        false => Ok(()),
    });
    let running = runner(&store).project(mirror).start().unwrap();
    until(|| parked_of(&store, NAME).len() == 1);
    discard(&store, NAME, parked_of(&store, NAME)[0].global_sequence).unwrap();
    let next = store
        .append(&key, exact(1), &events(1))
        .unwrap()
        .last_sequence()
        .unwrap();
    running.wait_for(NAME, next, LONG).unwrap();
    assert_eq!(applied(&store)[&key.id()], [2]);
    running.stop();
}

pub(crate) fn an_outage_parks_nothing(env: &dyn Environment) {
    let store = env.store();
    given_some(&store, 1, 2);
    let down = Arc::new(AtomicU32::new(8));
    let mirror = Mirror::new().parking().trap({
        let down = Arc::clone(&down);
        move |_| match down.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)) {
            Ok(_) => Err(Box::new(Error::new(ErrorKind::PoolTimeout))),
            Err(_) => Ok(()),
        }
    });
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
        .project(mirror.clone())
        .start()
        .unwrap();
    // Far more outages than attempts.
    running.wait_for(NAME, GlobalSequence::from(2), LONG).unwrap();
    assert_eq!(down.load(Ordering::SeqCst), 0);
    let expected: Vec<_> = std::iter::repeat_n("waits", 8).chain(["goes on"]).collect();
    assert_eq!(*told.lock().unwrap(), expected);
    assert_all_applied(&store);
    assert!(parked_of(&store, NAME).is_empty());
    running.stop();
}

/// Twenty of the driver's errors about exceeded time limits: far more than attempts.
type TooLong = Arc<Mutex<Vec<BoxError>>>;

fn too_long(env: &dyn Environment) -> TooLong {
    Arc::new(Mutex::new((0..20).map(|_| env.out_of_time()).collect()))
}

pub(crate) fn an_event_whose_handling_takes_too_long_is_parked_at_last(env: &dyn Environment) {
    let errors = too_long(env);
    let mirror = Mirror::new().parking().trap({
        let errors = Arc::clone(&errors);
        move |event| match event.version == 2 {
            true => Err(errors.lock().unwrap().pop().expect("it is tried a few times")),
            false => Ok(()),
        }
    });
    let store = env.store();
    let key = given_some(&store, 1, 3).remove(0);
    let running = runner(&store).project(mirror).start().unwrap();
    running.wait_for(NAME, GlobalSequence::from(3), LONG).unwrap();
    let parked = parked_of(&store, NAME);
    assert_eq!(parked.iter().map(|event| event.attempts).collect::<Vec<_>>(), [3, 0]);
    // The replay exceeds the time limit, too.
    replay(&store, NAME, key.id()).unwrap();
    until(|| {
        let first = parked_of(&store, NAME).remove(0);
        first.attempts == 4 && first.reason == parked[0].reason
    });
    running.stop();
    // Once with other events, then four times alone.
    assert_eq!(errors.lock().unwrap().len(), 20 - 1 - 4);
}

pub(crate) fn events_that_take_too_long_together_are_applied_one_by_one(env: &dyn Environment) {
    struct Slow(TooLong);
    impl<S: Transactional> Projection<S> for Slow {
        fn name(&self) -> &str {
            NAME
        }

        fn query(&self) -> Result<EventQuery, Error> {
            Projection::<S>::query(&Mirror::new())
        }

        fn apply(&self, tx: &mut S::Transaction<'_>, event: &EventEnvelope) -> Result<(), BoxError> {
            Projection::<S>::apply(&Mirror::new(), tx, event)
        }

        fn apply_all(&self, tx: &mut S::Transaction<'_>, events: &[EventEnvelope]) -> Result<(), BoxError> {
            match events {
                [event] => Projection::<S>::apply(self, tx, event),
                _ => Err(self.0.lock().unwrap().pop().expect("it is tried a few times")),
            }
        }
    }
    let errors = too_long(env);
    let store = env.store();
    given_some(&store, 1, 4);
    let running = runner(&store).project(Slow(Arc::clone(&errors))).start().unwrap();
    running.wait_for(NAME, GlobalSequence::from(4), LONG).unwrap();
    assert!(running.stop().is_empty());
    assert_all_applied(&store);
    assert_eq!(errors.lock().unwrap().len(), 19);
}

/// The sequence and the number of attempts of the failing or current event, from the row.
fn failing(store: &Handle) -> Option<(u64, u32)> {
    let failing = store.consumers(Some(NAME)).unwrap().remove(0).failing;
    failing.map(|failing| (failing.sequence.get(), failing.attempts))
}

/// Writes the row of a process that ended over an event after this many attempts; 0 if the event was begun together with others.
fn ended_over(store: &Handle, sequence: u32, attempts: u32) {
    project(store, &Mirror::new().trap(|_| Err("not yet".into()))).ok();
    store
        .consume(&mut |tx| {
            let mut slot = tx.lock_slot(NAME, 0)?;
            tx.fail(&mut slot, GlobalSequence::from(sequence), "in hand")?;
            slot.failing.as_mut().unwrap().attempts = attempts;
            tx.change(ConsumerChange::Save(&slot))
        })
        .unwrap();
}

/// Records the row while each event is applied, as another process sees it.
fn noting(env: &dyn Environment, noted: &Noted) -> impl Fn(&EventEnvelope) -> Result<(), BoxError> + use<> {
    let (store, noted) = (env.reopen(), Arc::clone(noted));
    move |event| {
        let told = thread::scope(|scope| scope.spawn(|| failing(&store)).join().unwrap());
        noted.lock().unwrap().push((event.global_sequence.get(), told));
        Ok(())
    }
}

type Noted = Arc<Mutex<Vec<(u64, Option<(u64, u32)>)>>>;

pub(crate) fn the_first_events_after_a_start_are_written_down_before_they_are_applied(env: &dyn Environment) {
    let store = env.store();
    given_some(&store, 1, 5);
    let noted = Noted::default();
    let running = runner(&store)
        .project(Mirror::new().batch(2).trap(noting(env, &noted)))
        .start()
        .unwrap();
    running.wait_for(NAME, GlobalSequence::from(5), LONG).unwrap();
    running.stop();
    let first = Some((1, 0));
    assert_eq!(
        *noted.lock().unwrap(),
        [(1, first), (2, first), (3, None), (4, None), (5, None)]
    );
    assert_eq!(failing(&store), None);
    assert_all_applied(&store);
}

pub(crate) fn events_that_a_process_may_have_ended_over_are_counted_one_by_one(env: &dyn Environment) {
    let store = env.store();
    given_some(&store, 1, 6);
    ended_over(&store, 1, 0);
    let noted = Noted::default();
    let running = runner(&store)
        .project(Mirror::new().batch(3).trap(noting(env, &noted)))
        .start()
        .unwrap();
    running.wait_for(NAME, GlobalSequence::from(6), LONG).unwrap();
    running.stop();
    let told: Vec<_> = noted.lock().unwrap().iter().map(|(_, told)| *told).collect();
    let counted = |sequence| Some((sequence, 1));
    assert_eq!(told, [counted(1), counted(2), counted(3), None, None, None]);
    assert_all_applied(&store);
}

pub(crate) fn an_event_that_processes_ended_over_stops_its_projection(env: &dyn Environment) {
    let store = env.store();
    given_some(&store, 1, 4);
    ended_over(&store, 1, 3);
    let tried = Arc::new(AtomicU32::new(0));
    let mirror = Mirror::new().trap({
        let tried = Arc::clone(&tried);
        move |_| {
            tried.fetch_add(1, Ordering::SeqCst);
            Ok(())
        }
    });
    let running = runner(&store)
        .observer(|_: &ConsumerEvent<'_>| {})
        .project(mirror)
        .start()
        .unwrap();
    until(|| state(&store) == ConsumerState::Failed);
    assert_eq!(tried.load(Ordering::SeqCst), 0, "it would have ended this process, too");
    let told = store.consumers(Some(NAME)).unwrap().remove(0).failing.unwrap();
    assert_eq!(told.attempts, 3);
    assert!(
        told.error.contains("tried 3 times") && told.error.contains("process ended"),
        "{told:?}"
    );
    // The operator has fixed the cause.
    resume(&store, NAME).unwrap();
    running.wait_for(NAME, GlobalSequence::from(4), LONG).unwrap();
    assert!(running.stop().is_empty());
    assert_all_applied(&store);
}

pub(crate) fn an_event_that_processes_ended_over_is_parked_if_that_is_chosen(env: &dyn Environment) {
    let store = env.store();
    let keys = given_some(&store, 2, 2);
    ended_over(&store, 1, 3);
    let running = runner(&store).project(Mirror::new().parking()).start().unwrap();
    running.wait_for(NAME, GlobalSequence::from(4), LONG).unwrap();
    running.stop();
    let parked = parked_of(&store, NAME);
    assert_eq!(parked.iter().map(|event| event.attempts).collect::<Vec<_>>(), [3, 0]);
    assert!(parked.iter().all(|event| event.aggregate_id == keys[0].id()));
    assert_eq!(applied(&store)[&keys[1].id()], [1, 2]);
}

pub(crate) fn an_attempt_that_is_written_down_before_is_counted_once(env: &dyn Environment) {
    let store = env.store();
    given_some(&store, 1, 1);
    ended_over(&store, 1, 1);
    let tried = Arc::new(AtomicU32::new(0));
    let mirror = Mirror::new().trap({
        let tried = Arc::clone(&tried);
        move |_| match tried.fetch_add(1, Ordering::SeqCst) {
            0..8 => Err(Box::new(Error::new(ErrorKind::PoolTimeout))),
            _ => Err("poison".into()),
        }
    });
    let running = runner(&store)
        .observer(|_: &ConsumerEvent<'_>| {})
        .project(mirror)
        .start()
        .unwrap();
    until(|| state(&store) == ConsumerState::Failed);
    running.stop();
    // One of three attempts was that of a process that ended. The outage does not count.
    assert_eq!(tried.load(Ordering::SeqCst), 8 + 2);
    assert_eq!(failing(&store), Some((1, 3)));
}

pub(crate) fn who_stops_in_an_outage_leaves_no_attempt(env: &dyn Environment) {
    for before in [None, Some((1, 1)), Some((1, 2))] {
        let store = env.store();
        given_some(&store, 1, 1);
        project(&store, &Mirror::new().trap(|_| Err("not yet".into()))).unwrap_err();
        let sequence = log(&*store).last().unwrap().global_sequence;
        if let Some((_, attempts)) = before {
            ended_over(&store, u32::try_from(sequence.get()).unwrap(), attempts);
        }
        let is_down = Arc::new(AtomicU32::new(0));
        let mirror = Mirror::new().trap({
            let is_down = Arc::clone(&is_down);
            move |_| {
                is_down.store(1, Ordering::SeqCst);
                Err(Box::new(Error::new(ErrorKind::PoolTimeout)))
            }
        });
        let running = runner(&store)
            .observer(|_: &ConsumerEvent<'_>| {})
            .project(mirror)
            .start()
            .unwrap();
        until(|| is_down.load(Ordering::SeqCst) == 1);
        running.stop();
        let left = before.map(|(_, attempts)| (sequence.get(), attempts));
        assert_eq!(failing(&store), left);
        // For the next round.
        project(&store, &Mirror::new()).unwrap();
    }
}

pub(crate) fn a_parked_event_that_a_process_ends_over_stays_parked(env: &dyn Environment) {
    let store = env.store();
    let poison = given_some(&store, 1, 1).remove(0).id();
    let told = Arc::new(Mutex::new(Vec::new()));
    let mirror = Mirror::new().parking().trap({
        let (store, told) = (env.reopen(), Arc::clone(&told));
        move |_| {
            let parked = thread::scope(|scope| scope.spawn(|| parked_of(&store, NAME)).join().unwrap());
            let parked = parked.first().map(|event| (event.attempts, event.replay));
            told.lock().unwrap().push(parked);
            Err("poison".into())
        }
    });
    let running = runner(&store).project(mirror).start().unwrap();
    until(|| parked_of(&store, NAME).len() == 1);
    replay(&store, NAME, poison).unwrap();
    until(|| {
        parked_of(&store, NAME)
            .first()
            .is_some_and(|event| event.attempts == 4 && event.reason == "poison")
    });
    running.stop();
    // If the process had ended then, no process would have tried again.
    assert_eq!(told.lock().unwrap().last(), Some(&Some((4, false))));
}

pub(crate) fn a_paused_projection_waits_until_it_is_resumed(env: &dyn Environment) {
    let store = env.store();
    project(&store, &Mirror::new()).unwrap();
    pause(&store, NAME).unwrap();
    given_some(&store, 1, 3);
    let error = project(&store, &Mirror::new()).unwrap_err();
    assert!(
        matches!(
            error,
            ConsumerError::Halted {
                state: ConsumerState::Paused,
                ..
            }
        ),
        "{error}"
    );
    let running = runner(&store)
        .observer(|_: &ConsumerEvent<'_>| {})
        .project(Mirror::new())
        .start()
        .unwrap();
    assert!(
        running
            .wait_for(NAME, GlobalSequence::from(3), Duration::from_millis(50))
            .is_err()
    );
    assert!(applied(&store).is_empty());
    resume(&store, NAME).unwrap();
    running.wait_for(NAME, GlobalSequence::from(3), LONG).unwrap();
    assert_all_applied(&store);
}

pub(crate) fn a_read_model_within_appends_is_never_behind_nor_followed(env: &dyn Environment) {
    let store = env.store();
    let key = account();
    let inline = Inline::new(&store, Mirror::new()).unwrap();
    let append = |expected: u32, is_kept: bool| {
        store.commit_together(|tx| -> Result<(), BoxError> {
            tx.append(&key, exact(expected), &events(2))?;
            let appended = tx.load_range(&key, &StreamRange::all().from_version(version(expected + 1)))?;
            inline.apply(tx, appended.into_events())?;
            match is_kept {
                true => Ok(()),
                false => Err("changed my mind".into()),
            }
        })
    };
    append(0, true).unwrap();
    assert_all_applied(&store);
    append(2, false).unwrap_err();
    append(2, true).unwrap();
    assert_all_applied(&store);
    let error = project(&store, &Mirror::new()).unwrap_err();
    assert!(error.to_string().contains("twice"), "{error}");
    let mut followed = Mirror::new();
    followed.name = "followed.v1".to_owned();
    project(&store, &followed).unwrap();
    assert!(Inline::new(&store, followed).is_err_and(|error| error.to_string().contains("twice")));
}

pub(crate) fn a_tenants_projection_appends_for_its_tenant(env: &dyn Environment) {
    let store = env.store();
    let (acme, globex) = (scoped(&store, "acme"), scoped(&store, "globex"));
    let (ours, theirs) = (account(), account());
    given(&acme, &ours, 2);
    given(&globex, &theirs, 3);
    struct Scoped(Mirror);
    impl<S: Transactional> Projection<S> for Scoped {
        fn name(&self) -> &str {
            NAME
        }

        fn query(&self) -> Result<EventQuery, Error> {
            Projection::<S>::query(&self.0)?.tenant("acme")
        }

        fn apply(&self, tx: &mut S::Transaction<'_>, event: &EventEnvelope) -> Result<(), BoxError> {
            Projection::<S>::apply(&self.0, tx, event)
        }
    }
    assert_eq!(project(&acme, &Scoped(Mirror::new())).unwrap(), 2);
    let mirror = mirror_of(ours.id());
    assert_eq!(acme.load(&mirror).unwrap().version(), 2);
    assert!(!globex.load(&mirror).unwrap().exists());
    assert_eq!(
        read(&*store, EventQuery::new().event_types(["mirrored"]).unwrap()).len(),
        2
    );
}

pub(crate) fn a_projection_that_follows_while_others_append_misses_nothing(env: &dyn Environment) {
    let store = env.store();
    let keys: Vec<_> = (0..4).map(|_| account()).collect();
    let last = AtomicU64::new(0);
    let running = runner(&store).project(Mirror::new().batch(10)).start().unwrap();
    let stores: Vec<Handle> = (0..4).map(|_| env.reopen()).collect();
    in_parallel(4, |number| {
        let store = &stores[number];
        for _ in 0..25 {
            let appended = store.append(&keys[number], ExpectedVersion::Any, &events(2)).unwrap();
            last.fetch_max(appended.last_sequence().unwrap().get(), Ordering::SeqCst);
        }
    });
    let last = GlobalSequence::new(last.load(Ordering::SeqCst)).unwrap();
    running.wait_for(NAME, last, LONG).unwrap();
    assert!(running.stop().is_empty());
    assert_all_applied(&store);
}
