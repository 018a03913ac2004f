//! Real threads: who wins, who loses, and what readers see meanwhile.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use firefly_eventstore_core::prelude::*;

use crate::environment::Environment;
use crate::support::*;

const THREADS: usize = 8;

pub(crate) fn threads_with_the_same_expected_version_elect_one_winner(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    for round in 0..6 {
        let results = in_parallel(THREADS, |_| store.append(&account, exact(round), &events(1)));
        let winners = results.iter().flatten().count();
        assert_eq!(winners, 1);
        for error in results.iter().filter_map(|result| result.as_ref().err()) {
            assert_conflict(error, &account, exact(round), round + 1);
        }
    }
    assert_eq!(versions(&store.load(&account).unwrap()), [1, 2, 3, 4, 5, 6]);
}

pub(crate) fn threads_that_expect_no_stream_elect_one_winner(env: &dyn Environment) {
    let store = env.store();
    for _ in 0..4 {
        let account = account();
        let results = in_parallel(THREADS, |_| {
            store.append(&account, ExpectedVersion::NoStream, &events(2))
        });
        assert_eq!(results.iter().flatten().count(), 1);
        for error in results.iter().filter_map(|result| result.as_ref().err()) {
            assert_conflict(error, &account, ExpectedVersion::NoStream, 2);
        }
        assert_eq!(versions(&store.load(&account).unwrap()), [1, 2]);
    }
}

pub(crate) fn threads_with_any_all_succeed(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let appended = in_parallel(THREADS, |thread| {
        let batches = (0..6).map(|_| {
            store
                .append(&account, ExpectedVersion::Any, &events(1 + thread % 3))
                .unwrap()
        });
        batches.collect::<Vec<_>>()
    });
    let batches = appended.into_iter().flatten();
    let mut stored: Vec<_> = batches.flat_map(|batch| batch.global_sequences().to_vec()).collect();
    stored.sort_unstable();
    let stream = store.load(&account).unwrap();
    assert_eq!(sequences(&stream), stored);
    assert_eq!(versions(&stream), (1..=stored.len() as u64).collect::<Vec<_>>());
    assert_eq!(
        stored.len(),
        6 * (0..THREADS).map(|thread| 1 + thread % 3).sum::<usize>()
    );
}

pub(crate) fn threads_on_aggregates_of_their_own_do_not_conflict(env: &dyn Environment) {
    let store = env.store();
    let accounts: Vec<_> = (0..THREADS).map(|_| account()).collect();
    in_parallel(THREADS, |thread| {
        for expected in 0..10 {
            store.append(&accounts[thread], exact(expected), &events(1)).unwrap();
        }
    });
    for account in &accounts {
        assert_eq!(versions(&store.load(account).unwrap()), (1..=10).collect::<Vec<_>>());
    }
    assert_eq!(log(&*store).len(), THREADS * 10);
}

pub(crate) fn losers_that_reload_and_retry_all_get_through(env: &dyn Environment) {
    const EACH: usize = 5;
    let (store, account) = (env.store(), account());
    let conflicts: usize = in_parallel(4, |_| {
        let mut conflicts = 0;
        for _ in 0..EACH {
            // Each conflict means that another thread succeeded, and the number of successes is limited.
            while let Err(error) = store.append(&account, store.version(&account).unwrap(), &events(1)) {
                assert!(error.is_conflict(), "{error:?}");
                conflicts += 1;
                assert!(conflicts <= 3 * EACH, "a conflict that nobody caused");
            }
        }
        conflicts
    })
    .into_iter()
    .sum();
    let stream = store.load(&account).unwrap();
    assert_eq!(
        versions(&stream),
        (1..=4 * EACH as u64).collect::<Vec<_>>(),
        "after {conflicts} conflicts"
    );
}

/// Threads that append at once may share a statement. The error of one thread must not reach another.
pub(crate) fn each_of_many_threads_gets_its_own_answer(env: &dyn Environment) {
    let (store, ada) = (env.store(), account());
    let stored = events(2);
    let first = store.append(&ada, ExpectedVersion::NoStream, &stored).unwrap();
    let accounts: Vec<_> = (0..18).map(|_| account()).collect();
    in_parallel(accounts.len(), |thread| {
        let bob = &accounts[thread];
        for version in 0..10 {
            match thread {
                0 => {
                    let error = store.append(&ada, exact(1), &events(1)).unwrap_err();
                    assert_conflict(&error, &ada, exact(1), 2);
                }
                1 => {
                    let again = store.append(&ada, ExpectedVersion::NoStream, &stored).unwrap();
                    assert!(again.is_already_stored());
                    assert_eq!(again.global_sequences(), first.global_sequences());
                }
                2 => {
                    let error = store.append(bob, ExpectedVersion::Any, &stored[..1]).unwrap_err();
                    assert!(matches!(error.kind(), ErrorKind::Duplicate { .. }), "{error:?}");
                }
                3 => {
                    let order = AggregateKey::new("Order", ada.id()).unwrap();
                    let error = store.append(&order, ExpectedVersion::Any, &events(1)).unwrap_err();
                    assert!(matches!(error.kind(), ErrorKind::TypeMismatch { .. }), "{error:?}");
                }
                4 => {
                    let error = store.append(bob, ExpectedVersion::Exists, &events(1)).unwrap_err();
                    assert_conflict(&error, bob, ExpectedVersion::Exists, 0);
                }
                _ => {
                    let appended = store.append(bob, exact(3 * version), &events(3)).unwrap();
                    assert_eq!(
                        (appended.aggregate(), appended.version().get()),
                        (bob, u64::from(3 * version + 3))
                    );
                    assert!(!appended.is_already_stored());
                    let stream = store.load(bob).unwrap();
                    assert_eq!(sequences(&stream)[3 * version as usize..], *appended.global_sequences());
                }
            }
        }
    });
    assert_eq!(versions(&store.load(&ada).unwrap()), [1, 2]);
    assert_eq!(log(&*store).len(), 2 + 13 * 30);
}

/// A statement that several threads share may check all their versions at once.
pub(crate) fn each_of_many_threads_that_expect_a_version_gets_its_own_answer(env: &dyn Environment) {
    let (store, ada) = (env.store(), account());
    let tenant = TenantId::new("acme").unwrap();
    store.append(&ada, ExpectedVersion::NoStream, &events(2)).unwrap();
    let accounts: Vec<_> = (0..18).map(|_| account()).collect();
    in_parallel(accounts.len(), |thread| {
        for version in 0..10 {
            match thread {
                0 | 1 => {
                    let expected = [exact(1), exact(3)][thread];
                    let error = store.append(&ada, expected, &events(1)).unwrap_err();
                    assert_conflict(&error, &ada, expected, 2);
                }
                2 => {
                    let error = store.append(&ada, ExpectedVersion::NoStream, &events(1)).unwrap_err();
                    assert_conflict(&error, &ada, ExpectedVersion::NoStream, 2);
                }
                3 => {
                    let order = AggregateKey::new("Order", ada.id()).unwrap();
                    let error = store.append(&order, exact(2), &events(1)).unwrap_err();
                    assert!(matches!(error.kind(), ErrorKind::TypeMismatch { .. }), "{error:?}");
                }
                4 => {
                    let events = events(1);
                    let append = Append::new(&ada, exact(2), &events).tenant(&tenant);
                    let error = store.append_all(&[append]).unwrap_err();
                    assert!(matches!(error.kind(), ErrorKind::TenantMismatch { .. }), "{error:?}");
                }
                _ => {
                    let bob = &accounts[thread];
                    let appended = store.append(bob, exact(version), &events(1)).unwrap();
                    assert_eq!(appended.version().get(), u64::from(version) + 1);
                }
            }
        }
    });
    assert_eq!(versions(&store.load(&ada).unwrap()), [1, 2]);
    assert_eq!(log(&*store).len(), 2 + 13 * 10);
}

pub(crate) fn appends_to_the_same_aggregates_in_another_order_do_not_deadlock(env: &dyn Environment) {
    let store = env.store();
    let (ada, bob) = (account(), account());
    in_parallel(THREADS, |thread| {
        let (from, to) = if thread % 2 == 0 { (&ada, &bob) } else { (&bob, &ada) };
        for _ in 0..5 {
            let (withdrawn, deposited) = (events(1), events(1));
            let transfer = [
                Append::new(from, ExpectedVersion::Any, &withdrawn),
                Append::new(to, ExpectedVersion::Any, &deposited),
            ];
            store.append_all(&transfer).unwrap();
        }
    });
    let expected: Vec<_> = (1..=5 * THREADS as u64).collect();
    assert_eq!(versions(&store.load(&ada).unwrap()), expected);
    assert_eq!(versions(&store.load(&bob).unwrap()), expected);
}

pub(crate) fn readers_never_see_a_part_of_an_append(env: &dyn Environment) {
    let store = env.store();
    let (ada, bob) = (account(), account());
    let finished = AtomicUsize::new(0);
    in_parallel(4, |thread| {
        if thread == 0 {
            let _done = Done(&finished);
            for _ in 0..20 {
                let (first, second) = (events(3), events(2));
                let both = [
                    Append::new(&ada, ExpectedVersion::Any, &first),
                    Append::new(&bob, ExpectedVersion::Any, &second),
                ];
                store.append_all(&both).unwrap();
            }
            return;
        }
        loop {
            let last_look = finished.load(Ordering::SeqCst) == 1;
            assert_eq!(store.load(&ada).unwrap().len() % 3, 0);
            let all = log(&*store);
            assert_eq!(all.len() % 5, 0, "the log shows a part of an append");
            if last_look {
                assert_eq!(all.len(), 100);
                return;
            }
        }
    });
}

pub(crate) fn a_consumer_that_polls_misses_nothing_and_repeats_nothing(env: &dyn Environment) {
    const WRITERS: usize = 4;
    let store = env.store();
    let finished = AtomicUsize::new(0);
    let seen = in_parallel(WRITERS + 1, |thread| {
        if thread < WRITERS {
            let _done = Done(&finished);
            let own = account();
            for _ in 0..15 {
                given(&*store, &own, 1);
                let aborted = store.in_transaction(|tx| -> Result<_, Error> {
                    tx.append(&own, ExpectedVersion::Any, &events(2))?;
                    Err::<(), _>(Error::invalid("changed my mind"))
                });
                aborted.unwrap_err();
            }
            return Vec::new();
        }
        let mut seen = Vec::new();
        let mut checkpoint = GlobalSequence::ZERO;
        loop {
            let last_look = finished.load(Ordering::SeqCst) == WRITERS;
            let mut events = store.read(EventQuery::new().after(checkpoint));
            seen.extend(events.by_ref().map(|event| event.unwrap().global_sequence));
            let mark = events.high_water_mark().unwrap();
            assert!(mark >= checkpoint, "the mark went back from {checkpoint} to {mark}");
            checkpoint = mark;
            if last_look {
                return seen;
            }
        }
    })
    .pop()
    .unwrap();
    assert_ascending(&seen);
    assert_eq!(seen, sequences(&log(&*store)));
    assert_eq!(seen.len(), WRITERS * 15);
}

/// A few events at a time are often found without a new mark.
pub(crate) fn consumers_that_read_a_few_events_at_a_time_miss_nothing(env: &dyn Environment) {
    const WRITERS: usize = 4;
    const CONSUMERS: usize = 3;
    let store = env.store();
    let finished = AtomicUsize::new(0);
    let seen = in_parallel(WRITERS + CONSUMERS, |thread| {
        if thread < WRITERS {
            let _done = Done(&finished);
            let own = account();
            for _ in 0..15 {
                given(&*store, &own, 2);
                let aborted = store.in_transaction(|tx| {
                    tx.append(&own, ExpectedVersion::Any, &events(1))?;
                    Err::<(), _>(Error::invalid("changed my mind"))
                });
                aborted.unwrap_err();
            }
            return Vec::new();
        }
        let limit = (thread - WRITERS) as u64 + 1;
        let mut seen = Vec::new();
        let mut checkpoint = GlobalSequence::ZERO;
        loop {
            let last_look = finished.load(Ordering::SeqCst) == WRITERS;
            let page = store.read_page(&EventQuery::new().after(checkpoint).limit(limit), None);
            let page = page.unwrap();
            let goes_on = match page.events.is_empty() {
                true => page.checkpoint >= checkpoint,
                false => page.checkpoint > checkpoint,
            };
            assert!(goes_on, "from {checkpoint} to {}", page.checkpoint);
            checkpoint = page.checkpoint;
            if last_look && page.events.is_empty() {
                return seen;
            }
            seen.extend(sequences(&page.events));
        }
    });
    let all = sequences(&log(&*store));
    assert_eq!(all.len(), WRITERS * 30);
    for seen in &seen[WRITERS..] {
        assert_eq!(*seen, all);
    }
}

pub(crate) fn the_mark_never_goes_back_while_others_write(env: &dyn Environment) {
    let store = env.store();
    let finished = AtomicUsize::new(0);
    let marks = in_parallel(4, |thread| {
        if thread > 0 {
            let _done = Done(&finished);
            let own = account();
            for _ in 0..20 {
                given(&*store, &own, 2);
            }
            return Vec::new();
        }
        let mut marks = Vec::new();
        loop {
            let last_look = finished.load(Ordering::SeqCst) == 3;
            marks.push(store.high_water_mark().unwrap());
            if last_look {
                return marks;
            }
        }
    })
    .remove(0);
    assert!(marks.is_sorted(), "{marks:?}");
    assert_eq!(marks.last(), sequences(&log(&*store)).last());
}

pub(crate) fn an_open_transaction_is_invisible_to_other_threads(env: &dyn Environment) {
    let store = env.store();
    let (ada, bob) = (account(), account());
    given(&*store, &ada, 1);
    let mark = store.high_water_mark().unwrap();
    store
        .in_transaction(|tx| -> Result<_, Error> {
            tx.append(&ada, exact(1), &events(2))?;
            tx.append(&bob, ExpectedVersion::NoStream, &events(1))?;
            if env.reads_beside_a_transaction() {
                in_another_thread(|| {
                    assert_eq!(store.load(&ada).unwrap().version(), 1);
                    assert!(!store.load(&bob).unwrap().exists());
                    assert_eq!(log(&*store).len(), 1);
                    assert_eq!(store.high_water_mark().unwrap(), mark);
                });
            }
            Ok(())
        })
        .unwrap();
    assert_eq!(store.load(&ada).unwrap().version(), 3);
    assert_eq!(read(&*store, EventQuery::new().after(mark)).len(), 3);
}

pub(crate) fn the_first_event_of_a_fresh_database_is_not_skipped(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let mut checkpoint = GlobalSequence::ZERO;
    store
        .in_transaction(|tx| -> Result<_, Error> {
            tx.append(&account, ExpectedVersion::NoStream, &events(1))?;
            if env.reads_beside_a_transaction() {
                checkpoint = in_another_thread(|| {
                    let mut events = store.read(EventQuery::new());
                    assert!(events.next().is_none());
                    events.high_water_mark().unwrap()
                });
                assert_eq!(checkpoint, GlobalSequence::ZERO);
            }
            Ok(())
        })
        .unwrap();
    assert_eq!(read(&*store, EventQuery::new().after(checkpoint)).len(), 1);
}

/// A starts first, B allocates the next sequence, A then allocates one more and commits, the reader reads, B commits.
pub(crate) fn a_late_commit_with_an_earlier_sequence_is_not_skipped(env: &dyn Environment) {
    let store = env.store();
    let (ada, bob) = (account(), account());
    let (a_appended, a_has_appended) = mpsc::channel();
    let (b_appended, b_has_appended) = mpsc::channel();
    let (reader_read, reader_has_read) = mpsc::channel();
    let mut seen = Vec::new();
    if env.writes_beside_a_transaction() {
        std::thread::scope(|scope| {
            // Dropped by a panic too, so that B never waits in vain.
            let reader_read = reader_read;
            let (store, ada, bob) = (&store, &ada, &bob);
            let a = scope.spawn(move || {
                store.in_transaction(|tx| -> Result<_, Error> {
                    tx.append(ada, ExpectedVersion::NoStream, &events(1))?;
                    a_appended.send(()).unwrap();
                    b_has_appended.recv().unwrap();
                    tx.append(ada, exact(1), &events(1))
                })
            });
            let b = scope.spawn(move || {
                a_has_appended.recv().unwrap();
                store.in_transaction(|tx| -> Result<_, Error> {
                    tx.append(bob, ExpectedVersion::NoStream, &events(1))?;
                    b_appended.send(()).unwrap();
                    reader_has_read.recv().unwrap();
                    Ok(())
                })
            });
            a.join().unwrap().unwrap();
            let mut first_look = store.read(EventQuery::new());
            seen.extend(first_look.by_ref().map(Result::unwrap));
            reader_read.send(()).unwrap();
            b.join().unwrap().unwrap();
            seen.extend(read(
                &**store,
                EventQuery::new().after(first_look.high_water_mark().unwrap()),
            ));
        });
    } else {
        given(&*store, &ada, 2);
        given(&*store, &bob, 1);
        seen = log(&*store);
    }
    assert_ascending(&sequences(&seen));
    let seen: HashSet<_> = stored_ids(&seen).into_iter().collect();
    let stored = [store.load(&ada).unwrap(), store.load(&bob).unwrap()];
    assert_eq!(stored.iter().map(EventStream::len).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(seen, stored_ids(stored.iter().flatten()).into_iter().collect());
}

pub(crate) fn snapshots_of_many_threads_are_all_kept(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    given(&*store, &account, THREADS);
    in_parallel(THREADS, |thread| {
        let at = u32::try_from(thread).unwrap() + 1;
        store.save(&snapshot(&account, at)).unwrap();
        store.save(&snapshot(&account, 1)).unwrap();
    });
    assert_eq!(store.count_snapshots(None, &account).unwrap(), THREADS as u64);
    assert_eq!(
        store.latest_snapshot(&account).unwrap().unwrap().version,
        THREADS as u64
    );
}
