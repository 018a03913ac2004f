//! Appending inside the caller's own transaction.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use firefly_eventstore_core::prelude::*;
use firefly_eventstore_core::{Direction, SummaryQuery};
use time::OffsetDateTime;

use crate::environment::{Environment, FAULTY};
use crate::quiet;
use crate::support::*;

fn changed_my_mind<T>() -> Result<T, Error> {
    Err(Error::invalid("changed my mind"))
}

pub(crate) fn commits_everything_together(env: &dyn Environment) {
    let store = env.store();
    let (ada, bob) = (account(), account());
    let new = [events(2), events(1), events(3)];
    let versions = store
        .in_transaction(|tx| -> Result<_, Error> {
            let first = tx.append(&ada, ExpectedVersion::NoStream, &new[0])?;
            let second = tx.append(&bob, ExpectedVersion::NoStream, &new[1])?;
            let third = tx.append(&ada, first.version(), &new[2])?;
            Ok([first.version(), second.version(), third.version()])
        })
        .unwrap();
    assert_eq!(versions.map(Version::get), [2, 1, 5]);
    assert_stream(&store.load(&ada).unwrap(), &[&new[0][..], &new[2]].concat());
    assert_stream(&store.load(&bob).unwrap(), &new[1]);
    assert_eq!(stored_ids(&log(&*store)), ids(&new.concat()));
}

pub(crate) fn an_error_rolls_everything_back(env: &dyn Environment) {
    let store = env.store();
    let (ada, bob) = (account(), account());
    given(&*store, &ada, 1);
    let error = refused(&*store, || {
        store.in_transaction(|tx| -> Result<_, Error> {
            tx.append(&ada, exact(1), &events(2))?;
            tx.append(&bob, ExpectedVersion::NoStream, &events(1))?;
            changed_my_mind::<()>()
        })
    });
    assert_invalid(&error, "changed my mind");
    assert_eq!(store.version(&ada).unwrap(), 1);
    assert_eq!(store.append(&ada, exact(1), &events(1)).unwrap().version(), 2);
}

pub(crate) fn reads_its_own_appends(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let before = given(&*store, &account, 2);
    let new = events(2);
    store
        .in_transaction(|tx| -> Result<_, Error> {
            assert_stream(&tx.load(&account)?, &before);
            tx.append(&account, exact(2), &new)?;
            assert_stream(&tx.load(&account)?, &[&before[..], &new].concat());
            let last = tx.load_range(&account, &StreamRange::all().last(1))?;
            assert_eq!(versions(&last), [4]);
            let past = tx.load_range(&account, &StreamRange::all().as_of(version(3)))?;
            assert_eq!(past.version(), 3);
            Ok(())
        })
        .unwrap();
    assert_eq!(store.version(&account).unwrap(), 4);
}

pub(crate) fn expects_versions_that_it_appended_itself(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let error = refused(&*store, || {
        store.in_transaction(|tx| -> Result<_, Error> {
            tx.append(&account, ExpectedVersion::NoStream, &events(2))?;
            tx.append(&account, ExpectedVersion::NoStream, &events(1))
        })
    });
    assert_conflict(&error, &account, ExpectedVersion::NoStream, 2);
}

pub(crate) fn a_failed_append_dooms_it(env: &dyn Environment) {
    let store = env.store();
    let (ada, bob) = (account(), account());
    given(&*store, &bob, 3);
    let error = refused(&*store, || {
        store.in_transaction(|tx| -> Result<_, Error> {
            tx.append(&ada, ExpectedVersion::NoStream, &events(1))?;
            let error = tx.append(&bob, exact(2), &events(1)).unwrap_err();
            assert_conflict(&error, &bob, exact(2), 3);
            Ok("all is well")
        })
    });
    assert_conflict(&error, &bob, exact(2), 3);
    assert!(!store.load(&ada).unwrap().exists());
}

pub(crate) fn a_doomed_transaction_takes_no_more_appends(env: &dyn Environment) {
    let store = env.store();
    let (ada, bob) = (account(), account());
    given(&*store, &bob, 3);
    let error = refused(&*store, || {
        store.in_transaction(|tx| -> Result<_, Error> {
            tx.append(&bob, exact(2), &events(1)).unwrap_err();
            let later = tx.append(&ada, ExpectedVersion::Any, &events(1)).unwrap_err();
            assert_conflict(&later, &bob, exact(2), 3);
            Ok(())
        })
    });
    assert_conflict(&error, &bob, exact(2), 3);
}

pub(crate) fn a_fault_of_the_database_dooms_it(env: &dyn Environment) {
    let store = env.store();
    let (ada, bob) = (account(), account());
    let faulty = [event("money.deposited"), event(FAULTY)];
    env.break_at(2);
    let error = refused(&*store, || {
        store.in_transaction(|tx| -> Result<_, Error> {
            tx.append(&ada, ExpectedVersion::Any, &events(1))?;
            // A store that writes only at the commit fails then.
            tx.append(&bob, ExpectedVersion::Any, &faulty).ok();
            Ok(())
        })
    });
    assert!(!error.is_conflict() && !error.is_invalid_input(), "{error:?}");
    env.repair();
    assert_eq!(
        store
            .append(&bob, ExpectedVersion::NoStream, &faulty)
            .unwrap()
            .version(),
        2
    );
}

pub(crate) fn the_callers_error_is_returned_even_if_an_append_failed(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let error = refused(&*store, || {
        store.in_transaction(|tx| -> Result<_, Error> {
            tx.append(&account, exact(7), &events(1)).unwrap_err();
            changed_my_mind::<()>()
        })
    });
    assert_invalid(&error, "changed my mind");
}

/// Errors of the program: its own refusals, and those of the store.
#[derive(Debug, PartialEq)]
enum Refusal {
    Overdrawn,
    Store(ErrorKind),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Store(error.kind().clone())
    }
}

pub(crate) fn a_refusal_of_the_callers_own_type_rolls_everything_back(env: &dyn Environment) {
    let (store, ada, bob) = (env.store(), account(), account());
    let acme = scoped(&store, "acme");
    given(&*store, &ada, 1);
    given(&acme, &bob, 1);
    let before = log(&*store);

    let refused = store.in_transaction(|tx| {
        tx.append(&ada, 1, &events(2))?;
        Err::<(), _>(Refusal::Overdrawn)
    });
    assert_eq!(refused, Err(Refusal::Overdrawn));
    let refused = acme.transaction(|tx| {
        tx.append(&bob, 1, &events(2))?;
        Err::<(), _>(Refusal::Overdrawn)
    });
    assert_eq!(refused, Err(Refusal::Overdrawn));
    let conflict = store.in_transaction(|tx| -> Result<(), Refusal> {
        tx.append(&ada, 7, &events(1))?;
        Ok(())
    });
    assert!(matches!(conflict, Err(Refusal::Store(ErrorKind::Conflict { .. }))));
    assert_eq!(log(&*store), before);

    let version = acme.transaction(|tx| -> Result<_, Refusal> { Ok(tx.append(&bob, 1, &events(2))?.version()) });
    assert_eq!(version, Ok(Version::from(3)));
    assert_eq!(acme.version(&bob).unwrap(), 3);
    assert_eq!(scoped(&store, "globex").version(&bob).unwrap(), 0);
}

pub(crate) fn runs_its_work_once(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let mut runs = 0;
    store
        .transact(&mut |tx| {
            runs += 1;
            tx.append(&account, ExpectedVersion::Any, &events(1))?;
            Ok(())
        })
        .unwrap();
    assert_eq!(runs, 1);
    store
        .transact(&mut |tx| {
            runs += 1;
            tx.append(&account, exact(9), &events(1))?;
            Ok(())
        })
        .unwrap_err();
    assert_eq!(runs, 2);
    assert_eq!(store.version(&account).unwrap(), 1);
}

pub(crate) fn a_panic_rolls_it_back_and_leaves_the_store_usable(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    given(&*store, &account, 1);
    let before = log(&*store);
    let panicked = quiet::panics(|| {
        let work = |tx: &mut dyn EventTransaction| -> Result<(), Error> {
            tx.append(&account, exact(1), &events(2))?;
            panic!("in the middle of it");
        };
        store.in_transaction(work).unwrap();
    });
    assert!(panicked);
    assert_eq!(log(&*store), before);
    assert_eq!(store.append(&account, exact(1), &events(1)).unwrap().version(), 2);
    in_another_thread(|| store.append(&account, exact(2), &events(1)).unwrap());
    assert_eq!(store.version(&account).unwrap(), 3);
}

pub(crate) fn recognises_an_append_that_was_stored_before(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let stored = given(&*store, &account, 2);
    store
        .in_transaction(|tx| -> Result<_, Error> {
            let repeated = tx.append(&account, ExpectedVersion::NoStream, &stored)?;
            assert!(repeated.is_already_stored());
            assert_eq!(repeated.version(), 2);
            tx.append(&account, exact(2), &events(1))
        })
        .unwrap();
    assert_eq!(store.version(&account).unwrap(), 3);
}

pub(crate) fn recognises_an_append_of_its_own(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let new = events(2);
    store
        .in_transaction(|tx| -> Result<_, Error> {
            let first = tx.append(&account, ExpectedVersion::NoStream, &new)?;
            let again = tx.append(&account, ExpectedVersion::NoStream, &new)?;
            assert_eq!(again, first.already_stored());
            Ok(())
        })
        .unwrap();
    assert_stream(&store.load(&account).unwrap(), &new);
}

pub(crate) fn a_repeated_transaction_stores_nothing_twice(env: &dyn Environment) {
    let store = env.store();
    let (ada, bob) = (account(), account());
    let (first, second) = (events(1), events(2));
    let transfer = || {
        store.in_transaction(|tx| -> Result<_, Error> {
            let withdrawn = tx.append(&ada, ExpectedVersion::NoStream, &first)?;
            let deposited = tx.append(&bob, ExpectedVersion::NoStream, &second)?;
            Ok([withdrawn.is_already_stored(), deposited.is_already_stored()])
        })
    };
    assert_eq!(transfer().unwrap(), [false, false]);
    assert_eq!(transfer().unwrap(), [true, true]);
    assert_eq!(log(&*store).len(), 3);
}

pub(crate) fn ids_that_were_rolled_back_can_be_appended(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let new = events(2);
    let rolled_back = store.in_transaction(|tx| -> Result<_, Error> {
        tx.append(&account, ExpectedVersion::NoStream, &new)?;
        changed_my_mind::<()>()
    });
    rolled_back.unwrap_err();
    let appended = store.append(&account, ExpectedVersion::NoStream, &new).unwrap();
    assert!(!appended.is_already_stored());
    assert_stream(&store.load(&account).unwrap(), &new);
}

pub(crate) fn appends_to_several_aggregates_at_once(env: &dyn Environment) {
    let store = env.store();
    let (ada, bob) = (account(), account());
    let (first, second) = (events(1), events(2));
    store
        .in_transaction(|tx| -> Result<_, Error> {
            let appended = tx.append_all(&[
                Append::new(&ada, ExpectedVersion::NoStream, &first),
                Append::new(&bob, ExpectedVersion::NoStream, &second),
            ])?;
            assert_eq!(appended.len(), 2);
            Ok(())
        })
        .unwrap();
    assert_eq!(stored_ids(&log(&*store)), ids(&[first, second].concat()));
}

pub(crate) fn holds_many_appends(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    store
        .in_transaction(|tx| -> Result<_, Error> {
            for expected in 0..300 {
                tx.append(&account, exact(expected), &events(1))?;
            }
            Ok(())
        })
        .unwrap();
    assert_eq!(versions(&store.load(&account).unwrap()), (1..=300).collect::<Vec<_>>());
}

pub(crate) fn refuses_the_store_itself_to_its_own_thread(env: &dyn Environment) {
    let (store, clone, ada, bob) = (env.store(), env.store(), account(), account());
    given(&*store, &ada, 1);
    let (stored, snapshot) = (log(&*store), snapshot(&ada, 1));
    let refused = |what: &str, result: Result<(), Error>| {
        let error = result.expect_err(what);
        assert_invalid(&error, "within a transaction of this store; use the transaction");
    };
    store
        .in_transaction(|tx| -> Result<_, Error> {
            tx.append(&ada, exact(1), &events(1))?;
            for store in [&store, &clone] {
                refused(
                    "the same aggregate",
                    store.append(&ada, ExpectedVersion::Any, &events(1)).map(drop),
                );
                refused(
                    "another aggregate",
                    store.append(&bob, ExpectedVersion::Any, &events(1)).map(drop),
                );
                refused("a transaction", store.in_transaction(|_| Ok(())));
                refused("a stream", store.load(&ada).map(drop));
                refused(
                    "a part of a stream",
                    store.load_range(&ada, &StreamRange::all().last(1)).map(drop),
                );
                refused("the log", store.read_page(&EventQuery::new(), None).map(drop));
                refused("the mark", store.high_water_mark().map(drop));
                refused("statistics", store.statistics(None).map(drop));
                refused("summaries", store.aggregate_summaries(&SummaryQuery::new()).map(drop));
                refused("the health", store.health().map(drop));
                refused("an import", store.import_events(&stored));
                refused("a snapshot to save", store.save_snapshot(None, &snapshot));
                refused("a snapshot to find", store.latest_snapshot(&ada).map(drop));
            }
            tx.append(&ada, exact(2), &events(1))?;
            Ok(())
        })
        .unwrap();
    assert_eq!(store.version(&ada).unwrap(), 3);
    in_another_thread(|| store.append(&bob, ExpectedVersion::NoStream, &events(1)).unwrap());
    store.in_transaction(|_| changed_my_mind::<()>()).unwrap_err();
    assert_eq!(store.append(&ada, exact(3), &events(1)).unwrap().version(), 4);
}

pub(crate) fn transactions_of_threads_do_not_mix(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let results = in_parallel(6, |thread| {
        store.in_transaction(|tx| -> Result<_, Error> {
            for _ in 0..4 {
                tx.append(&account, ExpectedVersion::Any, &events(1))?;
            }
            if thread % 2 == 0 { Ok(()) } else { changed_my_mind() }
        })
    });
    assert_eq!(results.iter().flatten().count(), 3);
    assert_eq!(versions(&store.load(&account).unwrap()), (1..=12).collect::<Vec<_>>());
}

pub(crate) fn each_load_is_of_one_state_beside_busy_writers(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    given(&*store, &account, 1);
    let finished = AtomicUsize::new(0);
    let look = |load: &mut dyn FnMut(StreamRange) -> Result<EventStream, Error>| {
        let mut load = |range: StreamRange| {
            let stream = load(range.clone())?;
            assert_of_one_state(&range, &stream);
            Ok::<_, Error>(stream)
        };
        let now = OffsetDateTime::now_utc();
        let past = load(StreamRange::all().as_of(now))?;
        assert!(past.events().iter().all(|event| event.created_at <= now));
        let last = load(StreamRange::all().last(1))?.version();
        // At first no event may follow, and then one does.
        for ahead in 1..4 {
            let from = last.checked_add(ahead).unwrap();
            load(StreamRange::all().from_version(from))?;
            load(StreamRange::all().from_version(from).backwards().limit(2))?;
            load(StreamRange::all().from_version(from).to_version(from))?;
            load(StreamRange::all().from_version(from).as_of(from))?;
        }
        load(StreamRange::all().limit(10_000))?;
        load(StreamRange::all().limit(2))?;
        load(StreamRange::all().to_version(last))?;
        Ok::<_, Error>(())
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut appends = 0..5_000;
            while appends.next().is_some() && finished.load(Ordering::SeqCst) == 0 {
                store.append(&account, ExpectedVersion::Any, &events(1)).unwrap();
            }
        });
        let _done = Done(&finished);
        for _ in 0..50 {
            look(&mut |range| store.load_range(&account, &range)).unwrap();
        }
        let looked = store.in_transaction(|tx| -> Result<_, Error> {
            for _ in 0..50 {
                look(&mut |range| tx.load_range(&account, &range))?;
            }
            Ok(())
        });
        looked.unwrap();
    });
    assert!(store.load(&account).unwrap().exists());
}

/// Checks that the events are those that the range has in a stream of this version.
fn assert_of_one_state(range: &StreamRange, stream: &EventStream) {
    let to = range.to.unwrap_or(Version::MAX).min(stream.version()).get();
    let most = usize::try_from(range.limit.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
    let expected = range.from.get().max(1)..=to;
    let expected: Vec<u64> = match range.direction {
        Direction::Forwards => expected.take(most).collect(),
        Direction::Backwards => expected.rev().take(most).collect(),
    };
    assert_eq!(versions(stream), expected, "{range:?} at version {}", stream.version());
}
