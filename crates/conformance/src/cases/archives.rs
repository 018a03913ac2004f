//! Archives: events leave the log, and the promises about them still hold.

use std::io::Cursor;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use firefly_eventstore_core::operate::{
    Archive, Archiving, Audit, Export, Finding, Import, Severity, attach, diagnose, restore, retire, seal,
};
use firefly_eventstore_core::prelude::*;
use firefly_eventstore_core::{AsOf, Backoff, Direction, MemoryEventStore, SnapshotAt};

use super::operate::audit;
use crate::ability::Ability;
use crate::environment::Environment;
use crate::support::*;

const PLACE: &str = "s3://archives/2024.jsonl";

/// The store, if it archives.
fn store_of(env: &dyn Environment) -> Handle {
    needs(env, Ability::Operations);
    needs(env, Ability::Archives);
    env.store()
}

/// Writes the file of an archive.
fn file_of(store: &Handle, archiving: &Archiving) -> Vec<u8> {
    let mut file = Vec::new();
    archiving.json_lines(&**store, &mut file, |_| {}).unwrap();
    file
}

/// Moves a part of the log into a file.
fn archive(store: &Handle, archiving: &Archiving) -> (Archive, Vec<u8>) {
    let file = file_of(store, archiving);
    let archive = retire(&**store, Cursor::new(&file), PLACE, |_| {}).unwrap();
    (archive, file)
}

fn bring_back(store: &Handle, file: &[u8]) -> Result<Archive> {
    attach(&**store, Cursor::new(file), |_| {})
}

#[track_caller]
fn assert_archived(error: &Error, first: GlobalSequence, last: GlobalSequence) {
    let expected = ErrorKind::Archived {
        first,
        last,
        location: PLACE.into(),
    };
    assert_eq!(*error.kind(), expected);
}

/// Three interleaved streams of four events each, and their keys. The third belongs to a tenant.
fn given_mixed(store: &Handle) -> [AggregateKey; 3] {
    let (ada, bob, owned) = (account(), account(), aggregate("Order"));
    for round in 0..4 {
        for account in [&ada, &bob] {
            given_at(&**store, account, round);
        }
        given_at(&scoped(store, "acme"), &owned, round);
    }
    [ada, bob, owned]
}

pub(crate) fn events_leave_the_log_and_come_back_as_they_were(env: &dyn Environment) {
    let store = store_of(env);
    given_mixed(&store);
    let before = log(&*store);
    let until = before[6].global_sequence;
    let (made, file) = archive(&store, &Archiving::until(until));
    assert_eq!(
        (made.first, made.last, made.events),
        (before[0].global_sequence, until, 7)
    );
    assert!(made.is_retired);
    assert_eq!(store.archives().unwrap(), std::slice::from_ref(&made));
    assert_eq!(read(&*store, EventQuery::new().skip_archived()), before[7..]);
    assert_eq!(read(&*store, EventQuery::new().after(until)), before[7..]);
    assert_eq!(store.high_water_mark().unwrap(), before[11].global_sequence);
    let through_another = env.reopen();
    assert_eq!(read(&*through_another, EventQuery::new().after(until)), before[7..]);

    bring_back(&store, &file).unwrap();
    assert_eq!(log(&*store), before);
    assert!(store.archives().unwrap().is_empty());
    assert_eq!(store.statistics(None).unwrap().archived_events, 0);
    for event in &before {
        assert_eq!(store.archived_stream(event.aggregate.id()).unwrap(), None);
    }
}

pub(crate) fn versions_go_on_after_what_is_archived(env: &dyn Environment) {
    let store = store_of(env);
    let [ada, bob, _] = given_mixed(&store);
    archive(&store, &Archiving::until(GlobalSequence::MAX));
    assert_eq!(store.version(&ada).unwrap(), 4);
    for expected in [ExpectedVersion::NoStream, exact(0), exact(1), exact(3), exact(5)] {
        let error = store.append(&ada, expected, &events(1)).unwrap_err();
        assert_conflict(&error, &ada, expected, 4);
    }
    assert_eq!(store.append(&ada, exact(4), &events(2)).unwrap().version(), 6);
    assert_eq!(
        store.append(&bob, ExpectedVersion::Any, &events(1)).unwrap().version(),
        5
    );
    assert_eq!(
        store
            .append(&bob, ExpectedVersion::Exists, &events(3))
            .unwrap()
            .version(),
        8
    );
    // A stream of which only the beginning is archived.
    let error = store.append(&ada, ExpectedVersion::NoStream, &events(1)).unwrap_err();
    assert_conflict(&error, &ada, ExpectedVersion::NoStream, 6);
    let (new, first, second) = (account(), events(2), events(2));
    let appended = store.append_all(&[
        Append::new(&new, ExpectedVersion::NoStream, &first),
        Append::new(&bob, exact(8), &second),
    ]);
    let versions: Vec<u64> = appended.unwrap().iter().map(|one| one.version().get()).collect();
    assert_eq!(versions, [2, 10]);
}

pub(crate) fn an_append_whose_events_are_archived_is_answered_as_ever(env: &dyn Environment) {
    let (store, account) = (store_of(env), account());
    let first = [
        event_with(r#"{"a":1}"#)
            .metadata_json(r#"{"branch":"Oslo"}"#)
            .and_then(|event| event.created_by("clerk"))
            .unwrap(),
        event_with("2"),
    ];
    let original = store.append(&account, ExpectedVersion::NoStream, &first).unwrap();
    given(&*store, &account, 1);
    archive(&store, &Archiving::until(original.global_sequences()[1]));

    for expected in [ExpectedVersion::NoStream, ExpectedVersion::Any, exact(3)] {
        let again = store.append(&account, expected, &first).unwrap();
        assert!(again.is_already_stored());
        assert_eq!(
            (again.version(), again.global_sequences()),
            (2.into(), original.global_sequences())
        );
    }
    assert_eq!(store.version(&account).unwrap(), 3);
}

pub(crate) fn an_id_that_is_archived_is_never_stored_again(env: &dyn Environment) {
    let (store, account, other) = (store_of(env), account(), account());
    let appended = given(&*store, &account, 3);
    archive(&store, &Archiving::until(store.high_water_mark().unwrap()));
    let known = ids(&appended[..1]);
    let refused = |aggregate: &AggregateKey, events: &[NewEvent]| {
        store.append(aggregate, ExpectedVersion::Any, events).unwrap_err()
    };
    assert_duplicate(&refused(&other, &appended[..1]), &other, &known);
    let another = NewEvent::from_json("money.deposited", r#"{"number":9}"#)
        .unwrap()
        .with_id(appended[0].event_id());
    assert_duplicate(&refused(&account, &[another]), &account, &known);
    let partly = [events(1).remove(0), appended[0].clone()];
    assert_duplicate(&refused(&account, &partly), &account, &known);
    let reversed = [appended[1].clone(), appended[0].clone()];
    assert_duplicate(&refused(&account, &reversed), &account, &ids(&reversed));

    // An import cannot do it either.
    let source = MemoryEventStore::new();
    source.append(&other, ExpectedVersion::Any, &appended[..1]).unwrap();
    let mut foreign = log(&source);
    foreign[0].global_sequence = GlobalSequence::from(1_000);
    let error = store.import_events(&foreign).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Contradiction { .. }), "{error:?}");
    assert_eq!(read(&*store, EventQuery::new().skip_archived()).len(), 1);
}

pub(crate) fn an_archived_event_with_an_unusual_id_hinders_no_other(env: &dyn Environment) {
    let (store, account) = (store_of(env), account());
    let unusual = [Uuid::nil(), Uuid::max()].map(|id| events(1).remove(0).with_id(id));
    store.append(&account, ExpectedVersion::NoStream, &unusual).unwrap();
    given(&*store, &account, 1);
    archive(&store, &Archiving::until(store.high_water_mark().unwrap()));
    let (new, newer) = (self::account(), self::account());
    for (aggregate, expected, count) in [
        (&account, ExpectedVersion::Any, 1),
        (&account, ExpectedVersion::Exists, 2),
        (&account, ExpectedVersion::Exact(version(6)), 1),
        (&new, ExpectedVersion::NoStream, 1),
        (&newer, ExpectedVersion::Any, 3),
    ] {
        store.append(aggregate, expected, &events(count)).unwrap();
    }
    let again = store.append(&new, ExpectedVersion::Any, &unusual).unwrap_err();
    assert_duplicate(&again, &new, &ids(&unusual));
}

pub(crate) fn an_aggregate_that_is_archived_keeps_its_owner(env: &dyn Environment) {
    let store = store_of(env);
    let [ada, _, owned] = given_mixed(&store);
    given(&*store, &account(), 1);
    archive(&store, &Archiving::until(GlobalSequence::MAX));
    let order = AggregateKey::new("Order", ada.id()).unwrap();
    assert_type_mismatch(
        &store.append(&order, ExpectedVersion::Any, &events(1)).unwrap_err(),
        &order,
        &ada,
    );
    assert_type_mismatch(&store.load(&order).unwrap_err(), &order, &ada);
    let error = store.append(&owned, ExpectedVersion::Any, &events(1)).unwrap_err();
    assert_tenant_mismatch(&error, &owned);
    let acme = scoped(&store, "acme");
    assert!(acme.load(&owned).unwrap_err().is_archived());
    assert_eq!(acme.append(&owned, exact(4), &events(1)).unwrap().version(), 5);
    // Another tenant does not see it.
    let other = scoped(&store, "other");
    assert!(!other.load(&owned).unwrap().exists());
    assert!(read(&other, EventQuery::new()).is_empty());
}

pub(crate) fn a_load_that_needs_archived_events_is_told_the_range_and_the_place(env: &dyn Environment) {
    let (store, account) = (store_of(env), account());
    given(&*store, &account, 6);
    let all = log(&*store);
    archive(&store, &Archiving::until(all[2].global_sequence));
    let (first, last) = (all[0].global_sequence, all[2].global_sequence);
    let error = store.load(&account).unwrap_err();
    assert_archived(&error, first, last);
    assert!(error.to_string().contains(&account.to_string()), "{error}");
    assert!(!error.is_retryable());
    let load = |range: StreamRange| store.load_range(&account, &range);
    for needs in [
        StreamRange::all().from_version(3),
        StreamRange::all().to_version(2),
        StreamRange::all().limit(1),
        StreamRange::all().last(4),
        StreamRange::all().backwards(),
        StreamRange::all().as_of(5),
        StreamRange::all().as_of(all[1].global_sequence),
        StreamRange::all().as_of(all[4].global_sequence),
        StreamRange::all().as_of(all[5].created_at),
    ] {
        assert_archived(&load(needs).unwrap_err(), first, last);
    }
    for (range, expected) in [
        (StreamRange::all().from_version(4), vec![4, 5, 6]),
        (StreamRange::all().from_version(5).limit(1), vec![5]),
        (StreamRange::all().last(3), vec![6, 5, 4]),
        (StreamRange::all().last(1), vec![6]),
        (StreamRange::all().from_version(4).as_of(5), vec![4, 5]),
        (StreamRange::all().last(2).as_of(all[4].global_sequence), vec![5, 4]),
        (StreamRange::all().limit(0), vec![]),
    ] {
        let stream = load(range).unwrap();
        assert_eq!(versions(&stream), expected);
        assert!(stream.version() >= 5, "{stream:?}");
    }
    assert_eq!(load(StreamRange::all().last(1)).unwrap().archived_version(), 3);
    // Before its first event, it had none.
    let other = AggregateKey::new("Account", Uuid::now_v7()).unwrap();
    assert!(!store.load(&other).unwrap().exists());
}

pub(crate) fn whatever_is_loaded_beside_an_archive_is_what_it_was_before(env: &dyn Environment) {
    let (store, account) = (store_of(env), account());
    for second in [10, 30, 20, 40, 50, 35] {
        given_at(&*store, &account, second);
        given_at(&*store, &self::account(), second);
    }
    let all = log(&*store);
    let own: Vec<_> = all.iter().filter(|event| event.aggregate == account).collect();
    let mut ranges = Vec::new();
    let points = [15, 25, 30, 45].map(|second| AsOf::Time(at(second))).into_iter();
    let points = points.chain(all.iter().map(|event| AsOf::Sequence(event.global_sequence)));
    let points: Vec<_> = points
        .chain([0, 1, 2, 3, 5, 9].map(|at| AsOf::Version(version(at))))
        .map(Some)
        .chain([None])
        .collect();
    let ends = [
        (None, Direction::Forwards),
        (None, Direction::Backwards),
        (Some(0), Direction::Forwards),
        (Some(1), Direction::Forwards),
        (Some(1), Direction::Backwards),
        (Some(4), Direction::Backwards),
    ];
    // Any three of the four choices come together in each way, which takes a sixth of all ranges.
    for (first, from) in [0, 1, 2, 3, 4, 6, 7].into_iter().enumerate() {
        for (second, to) in [None, Some(1), Some(2), Some(3), Some(5), Some(9)]
            .into_iter()
            .enumerate()
        {
            for (third, point) in points.iter().enumerate() {
                let (limit, direction) = ends[(first + second + third) % ends.len()];
                let mut range = StreamRange::all().from_version(version(from));
                (range.to, range.limit, range.direction, range.as_of) = (to.map(version), limit, direction, *point);
                ranges.push(range);
            }
        }
    }
    let before: Vec<_> = ranges
        .iter()
        .map(|range| store.load_range(&account, range).unwrap())
        .collect();
    // The first two events, and then all of them, are archived.
    for until in [own[1].global_sequence, own[5].global_sequence] {
        archive(&store, &Archiving::until(until));
        let archived = store.archived_stream(account.id()).unwrap().unwrap().version;
        for (range, before) in ranges.iter().zip(&before) {
            match store.load_range(&account, range) {
                Ok(stream) => {
                    assert_eq!(stream.events(), before.events(), "{range:?}");
                    assert_eq!(stream.version(), before.version(), "{range:?}");
                }
                Err(error) => {
                    assert!(error.is_archived(), "{range:?}: {error}");
                    let needs = before.events().iter().any(|event| event.version <= archived);
                    let is_of_time = matches!(range.as_of, Some(AsOf::Time(_) | AsOf::Sequence(_)));
                    assert!(
                        needs || is_of_time && before.version() <= archived,
                        "{range:?} needs no archived event: {error}"
                    );
                }
            }
        }
    }
}

pub(crate) fn a_read_of_the_log_is_never_short_in_silence(env: &dyn Environment) {
    let store = store_of(env);
    let [ada, bob, owned] = given_mixed(&store);
    let new = account();
    given_at(&*store, &new, 100);
    given_at(&*store, &ada, 101);
    let all = log(&*store);
    let until = all[11].global_sequence;
    let (made, _) = archive(&store, &Archiving::until(until));
    let query = EventQuery::new;
    let first = |query: EventQuery| store.read(query).next().unwrap();
    for needs in [
        query(),
        query().after(made.first),
        query().until(until),
        query().limit(1),
        query().backwards(),
        query().backwards().limit(3),
        query().aggregate_id(bob.id()),
        query().aggregate_id(ada.id()),
        query().aggregate_types(["Order"]).unwrap(),
        query().tenant("acme").unwrap(),
        query().event_ids([all[3].event_id]),
        query().event_types(["money.deposited"]).unwrap().limit(2),
        query().event_types(["nothing.of.the.kind"]).unwrap(),
        query().created_by("nobody").unwrap(),
        query().created_at(..at(50)),
        query().created_at(at(2)..at(200)),
    ] {
        let said = format!("{needs:?}");
        let error = store
            .read(needs.page_size(2.try_into().unwrap()))
            .find_map(Result::err)
            .unwrap_or_else(|| panic!("{said} was answered"));
        assert_archived(&error, made.first, made.last);
    }
    let rest = &all[12..];
    for (query, expected) in [
        (query().after(until), rest.to_vec()),
        (query().backwards().limit(2), vec![rest[1].clone(), rest[0].clone()]),
        (query().aggregate_id(new.id()), rest[..1].to_vec()),
        (query().event_ids([rest[1].event_id]), rest[1..].to_vec()),
        (query().created_at(at(50)..), rest.to_vec()),
        (query().tenant("other").unwrap(), Vec::new()),
        (query().aggregate_types(["Invoice"]).unwrap(), Vec::new()),
        (query().skip_archived(), rest.to_vec()),
        (query().aggregate_id(ada.id()).skip_archived(), rest[1..].to_vec()),
        (query().aggregate_id(owned.id()).skip_archived(), Vec::new()),
    ] {
        assert_eq!(read(&*store, query), expected);
    }
    // Copies of the log fail, too.
    assert!(first(query()).unwrap_err().is_archived());
    let target = MemoryEventStore::new();
    assert!(
        restore(&*store, &target, GlobalSequence::MAX, |_| {})
            .unwrap_err()
            .is_archived()
    );
    assert!(store.restore_table(GlobalSequence::MAX.into()).is_err());
    let exported = Export::new().json_lines(&*store, std::io::sink(), |_| {});
    assert!(exported.unwrap_err().is_archived());
}

pub(crate) fn a_read_goes_on_where_its_last_event_was_archived(env: &dyn Environment) {
    let (store, account) = (store_of(env), account());
    given(&*store, &account, 6);
    let all = log(&*store);
    for query in [
        EventQuery::new(),
        EventQuery::new().aggregate_id(account.id()),
        EventQuery::new().event_types(["money.deposited"]).unwrap(),
        EventQuery::new().created_at(..all[5].created_at + std::time::Duration::from_secs(1)),
    ] {
        let query = query.page_size(2.try_into().unwrap());
        let page = store.read_page(&query, None).unwrap();
        assert_eq!(page.events, all[..2]);
        let (_, file) = archive(&store, &Archiving::until(all[1].global_sequence));
        match store.read_page(&query, page.next.as_ref()) {
            Ok(page) => assert_eq!(page.events, all[2..4], "{query:?}"),
            // In the order of time, archived events may come later.
            Err(error) => assert!(
                error.is_archived() && format!("{query:?}").contains("created_until: Some"),
                "{error}"
            ),
        }
        bring_back(&store, &file).unwrap();
    }
}

pub(crate) fn a_snapshot_covers_the_beginning_that_is_archived(env: &dyn Environment) {
    let store = store_of(env);
    let [ada, ..] = given_mixed(&store);
    given(&*store, &ada, 2);
    let all = log(&*store);
    let own: Vec<_> = all.iter().filter(|event| event.aggregate == ada).collect();
    store.save(&snapshot(&ada, 2)).unwrap();
    archive(&store, &Archiving::until(own[2].global_sequence));
    let load = || store.load_from_snapshot(None, &ada, SnapshotAt::Latest);
    assert!(load().unwrap_err().is_archived());
    for at in [3, 4, 5, 6] {
        store.save(&snapshot(&ada, at)).unwrap();
        let (snapshot, stream) = load().unwrap();
        assert_eq!(snapshot.unwrap().version, u64::from(at));
        let expected: Vec<u64> = (u64::from(at.max(4))..=6).collect();
        assert_eq!((versions(&stream), stream.version()), (expected, version(6)));
    }
    given(&*store, &account(), 1);
    archive(&store, &Archiving::until(GlobalSequence::MAX));
    let (snapshot, stream) = load().unwrap();
    assert_eq!(snapshot.unwrap().version, 6);
    assert_eq!(
        (stream.len(), stream.version(), stream.archived_version()),
        (0, version(6), version(6))
    );
}

pub(crate) fn the_newest_event_is_never_archived(env: &dyn Environment) {
    let (store, account) = (store_of(env), account());
    let nothing = Archiving::until(GlobalSequence::MAX).json_lines(&*store, std::io::sink(), |_| {});
    assert_invalid(&nothing.unwrap_err(), "nothing to archive");
    given(&*store, &account, 1);
    let nothing = Archiving::until(GlobalSequence::MAX).json_lines(&*store, std::io::sink(), |_| {});
    assert_invalid(&nothing.unwrap_err(), "nothing to archive");
    given(&*store, &account, 2);
    let all = log(&*store);
    assert_invalid(&store.retire_events(&all).unwrap_err(), "newest");
    assert_eq!(log(&*store), all);
    let (made, _) = archive(&store, &Archiving::until(GlobalSequence::MAX));
    assert_eq!(made.last, all[1].global_sequence);
    assert_eq!(store.high_water_mark().unwrap(), all[2].global_sequence);
}

pub(crate) fn a_range_ends_where_its_time_does(env: &dyn Environment) {
    let (store, account) = (store_of(env), account());
    for second in [1, 2, 9, 3, 10] {
        given_at(&*store, &account, second);
    }
    let all = log(&*store);
    let (made, _) = archive(&store, &Archiving::until_time(at(5)));
    // The third was created later, so the range ends before it.
    assert_eq!(made.last, all[1].global_sequence);
    assert_eq!((made.created_from, made.created_until), (at(1), at(2)));
}

pub(crate) fn streams_that_ended_move_out_and_open_ones_stay(env: &dyn Environment) {
    let store = store_of(env);
    let (closed, reopened, open, young) = (account(), account(), account(), account());
    for account in [&closed, &reopened, &open, &young] {
        given_at(&*store, account, 1);
    }
    let close = |account: &AggregateKey, second| {
        let event = event("account.closed").created_at(at(second)).unwrap();
        store.append(account, ExpectedVersion::Any, &[event]).unwrap();
    };
    close(&closed, 2);
    close(&reopened, 3);
    given_at(&*store, &reopened, 4);
    close(&young, 90);
    given_at(&*store, &open, 91);
    let all = log(&*store);
    let (made, file) = archive(&store, &Archiving::ended(["account.closed"], at(50)));
    assert_eq!((made.events, made.log), (2, None));
    assert_eq!(store.version(&closed).unwrap(), 2);
    assert!(store.load(&closed).unwrap_err().is_archived());
    assert!(seal(&*store, |_| {}).unwrap_err().is_archived());
    for account in [&reopened, &open, &young] {
        assert!(!store.load(account).unwrap().is_empty());
    }
    assert!(store.read(EventQuery::new()).any(|event| event.is_err()));
    assert_eq!(read(&*store, EventQuery::new().aggregate_id(open.id())).len(), 2);
    // The archived aggregate gets another event. Afterwards a range of the log is archived, too.
    store.append(&closed, exact(2), &events(1)).unwrap();
    let nothing = Archiving::ended(["account.closed"], at(50)).json_lines(&*store, std::io::sink(), |_| {});
    assert_invalid(&nothing.unwrap_err(), "nothing to archive");
    let target = MemoryEventStore::new();
    Import::new().json_lines(&target, Cursor::new(&file), |_| {}).unwrap();
    assert_eq!(target.load(&closed).unwrap().len(), 2);
    bring_back(&store, &file).unwrap();
    assert_eq!(log(&*store)[..all.len()], all);
}

pub(crate) fn what_was_cut_off_goes_on_with_the_same_file(env: &dyn Environment) {
    let store = store_of(env);
    given_mixed(&store);
    let all = log(&*store);
    let file = file_of(&store, &Archiving::until(all[8].global_sequence));
    // As a process leaves it that ended after its first batch.
    store.retire_events(&all[..4]).unwrap();
    assert!(store.read(EventQuery::new().skip_archived()).next().unwrap().unwrap() == all[4]);
    let made = retire(&*store, Cursor::new(&file), PLACE, |_| {}).unwrap();
    assert!(made.is_retired);
    assert_eq!(read(&*store, EventQuery::new().after(made.last)), all[9..]);
    // Repeating it changes nothing.
    assert_eq!(retire(&*store, Cursor::new(&file), PLACE, |_| {}).unwrap(), made);

    let mut on_its_way = made;
    on_its_way.is_retired = false;
    store.record_archive(&on_its_way).unwrap();
    store.attach_events(&all[5..9]).unwrap();
    let found = diagnose(&*store).unwrap();
    assert!(
        found
            .iter()
            .any(|diagnosis| diagnosis.subject == "archives" && diagnosis.severity == Severity::Warning),
        "{found:?}"
    );
    assert!(store.read(EventQuery::new()).next().unwrap().unwrap_err().is_archived());
    assert_eq!(read(&*store, EventQuery::new().after(all[4].global_sequence)), all[5..]);
    // Nothing later leaves before that is over.
    let further = Archiving::until(all[10].global_sequence);
    assert_invalid(&further.json_lines(&*store, Vec::new(), |_| {}).unwrap_err(), PLACE);
    bring_back(&store, &file).unwrap();
    assert_eq!(log(&*store), all);
    assert_invalid(&bring_back(&store, &file).unwrap_err(), "this store has no archive");
}

pub(crate) fn a_file_that_is_no_archive_of_the_log_moves_nothing(env: &dyn Environment) {
    let store = store_of(env);
    given_mixed(&store);
    let all = log(&*store);
    let refused = |file: &[u8]| {
        let error = retire(&*store, Cursor::new(file), PLACE, |_| {}).unwrap_err();
        assert_eq!(log(&*store), all);
        assert!(error.to_string().contains(PLACE), "{error}");
        error
    };
    let mut export = Vec::new();
    let part = Export::of(EventQuery::new().until(all[5].global_sequence));
    part.json_lines(&*store, &mut export, |_| {}).unwrap();
    assert_invalid(&refused(&export), "not an archive");

    let mut file = file_of(&store, &Archiving::until(all[5].global_sequence));
    let middle = file.len() / 2;
    file[middle] ^= 1;
    assert!(matches!(refused(&file).kind(), ErrorKind::DamagedFile { .. }));
    assert!(store.archives().unwrap().is_empty());

    let other = MemoryEventStore::new();
    given(&other, &account(), 12);
    let mut foreign = Vec::new();
    Archiving::until(all[5].global_sequence)
        .json_lines(&other, &mut foreign, |_| {})
        .unwrap();
    assert!(matches!(refused(&foreign).kind(), ErrorKind::Contradiction { .. }));
}

pub(crate) fn ranges_follow_one_another_and_come_back_the_newest_first(env: &dyn Environment) {
    let store = store_of(env);
    let [ada, ..] = given_mixed(&store);
    let all = log(&*store);
    let (first, first_file) = archive(&store, &Archiving::until(all[3].global_sequence));
    let (second, second_file) = archive(&store, &Archiving::until(all[8].global_sequence));
    assert_eq!(second.first, all[4].global_sequence);
    assert_eq!(second.log.unwrap().events, 9);
    assert_eq!(store.archives().unwrap(), [first.clone(), second]);
    assert_eq!(store.archived_stream(ada.id()).unwrap().unwrap().version, 3);
    let ErrorKind::Archived {
        first: from,
        last,
        location,
    } = store.load(&ada).unwrap_err().kind().clone()
    else {
        panic!("it was loaded");
    };
    assert_eq!((from, last), (all[0].global_sequence, all[6].global_sequence));
    assert_eq!(&*location, format!("{PLACE}, {PLACE}"));

    let error = bring_back(&store, &first_file).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Contradiction { .. }), "{error:?}");
    bring_back(&store, &second_file).unwrap();
    assert_eq!(read(&*store, EventQuery::new().after(first.last)), all[4..]);
    assert_eq!(store.archived_stream(ada.id()).unwrap().unwrap().version, 2);
    bring_back(&store, &first_file).unwrap();
    assert_eq!(log(&*store), all);
}

pub(crate) fn a_stream_that_went_on_after_it_was_archived_is_archived_further(env: &dyn Environment) {
    let store = store_of(env);
    let [ada, bob, _] = given_mixed(&store);
    let other = account();
    let close = |account: &AggregateKey, second| {
        let event = event("account.closed").created_at(at(second)).unwrap();
        store.append(account, ExpectedVersion::Any, &[event]).unwrap();
        given_at(&*store, &other, second);
        let (_, file) = archive(&store, &Archiving::ended(["account.closed"], at(second)));
        file
    };
    // A whole stream that goes on afterwards, and then a range from the beginning of the log.
    let of_ada = close(&ada, 10);
    given_at(&*store, &ada, 11);
    given_at(&*store, &other, 12);
    let before = left(&store);
    let (_, of_range) = archive(&store, &Archiving::until(GlobalSequence::MAX));
    // A stream that ends after its beginning was archived in a range.
    let of_bob = close(&bob, 13);
    for (account, version) in [(&ada, 6), (&bob, 5)] {
        assert_eq!(store.version(account).unwrap(), version);
        assert!(store.load(account).unwrap_err().is_archived());
    }
    for file in [&of_bob, &of_range] {
        bring_back(&store, file).unwrap();
    }
    assert_eq!(left(&store)[..before.len()], before);
    bring_back(&store, &of_ada).unwrap();
    for (account, version) in [(&ada, 6), (&bob, 5)] {
        assert_eq!(store.load(account).unwrap().version(), version);
    }
}

/// The events that are in the log.
fn left(store: &Handle) -> Vec<EventEnvelope> {
    read(&**store, EventQuery::new().skip_archived())
}

pub(crate) fn an_archive_and_the_rest_make_the_whole_log_elsewhere(env: &dyn Environment) {
    let store = store_of(env);
    given_mixed(&store);
    let mut whole = Vec::new();
    Export::new().json_lines(&*store, &mut whole, |_| {}).unwrap();
    let (made, file) = archive(&store, &Archiving::until(log(&*store)[5].global_sequence));
    let mut rest = Vec::new();
    Export::new()
        .after(made.last)
        .json_lines(&*store, &mut rest, |_| {})
        .unwrap();
    let (one, other) = (MemoryEventStore::new(), MemoryEventStore::new());
    Import::new().json_lines(&one, Cursor::new(whole), |_| {}).unwrap();
    for file in [file, rest] {
        Import::new().json_lines(&other, Cursor::new(file), |_| {}).unwrap();
    }
    assert_eq!(log(&one), log(&other));
}

pub(crate) fn seals_and_audits_go_on_after_an_archive(env: &dyn Environment) {
    let store = store_of(env);
    let [ada, ..] = given_mixed(&store);
    let all = log(&*store);
    store.save(&snapshot(&ada, 2)).unwrap();
    let kept = seal(&*store, |_| {}).unwrap();
    given(&*store, &account(), 3);
    archive(&store, &Archiving::until(all[6].global_sequence));
    let (audited, findings) = audit(&store, Audit::new());
    assert_eq!(findings, Vec::<Finding>::new());
    assert_eq!((audited.events, audited.seals), (8, 1));
    let resealed = seal(&*store, |_| {}).unwrap();
    assert_eq!(resealed.events, 15);
    let (audited, findings) = audit(&store, Audit::new().against(kept));
    assert_eq!((audited.seals, findings), (2, Vec::new()));

    // Beyond the newest seal.
    given(&*store, &account(), 2);
    archive(&store, &Archiving::until(GlobalSequence::MAX));
    let error = Audit::new().against(kept).run(&*store, |_| {}, |_| {}).unwrap_err();
    assert_invalid(&error, "archived up to");
    let (audited, findings) = audit(&store, Audit::new());
    assert_eq!((audited.events, findings), (1, Vec::new()));
    assert_eq!(seal(&*store, |_| {}).unwrap().events, 17);
    // Whole streams would leave holes in the sealed log.
    let refused = Archiving::ended(["money.deposited"], OffsetDateTime::now_utc());
    given(&*store, &ada, 1);
    let refused = refused.json_lines(&*store, std::io::sink(), |_| {});
    assert_invalid(&refused.unwrap_err(), "sealed");
}

pub(crate) fn statistics_and_the_doctor_know_what_is_archived(env: &dyn Environment) {
    let store = store_of(env);
    given_mixed(&store);
    assert_eq!(store.statistics(None).unwrap().archived_events, 0);
    archive(&store, &Archiving::until(log(&*store)[8].global_sequence));
    let all = store.statistics(None).unwrap();
    assert_eq!((all.total_events, all.archived_events), (3, 9));
    assert_eq!(store.statistics(Some(&tenant("acme"))).unwrap().archived_events, 3);
    let found = diagnose(&*store).unwrap();
    let archives: Vec<_> = found.iter().filter(|found| found.subject == "archives").collect();
    assert_eq!(archives.len(), 1);
    assert_eq!(archives[0].severity, Severity::Good);
    assert!(store.check_storage().unwrap().is_empty());
}

pub(crate) fn many_batches_are_archived_and_come_back(env: &dyn Environment) {
    let store = store_of(env);
    let accounts: Vec<_> = (0..3).map(|_| account()).collect();
    for account in &accounts {
        given(&*store, account, 600);
    }
    let all = log(&*store);
    let (made, file) = archive(&store, &Archiving::until(all[1_300].global_sequence));
    assert_eq!(made.events, 1_301);
    assert_eq!(read(&*store, EventQuery::new().after(made.last)), all[1_301..]);
    assert_eq!(store.version(&accounts[2]).unwrap(), 600);
    bring_back(&store, &file).unwrap();
    assert_eq!(log(&*store), all);
}

pub(crate) fn nothing_is_appended_twice_beside_an_archiving(env: &dyn Environment) {
    const WRITERS: usize = 3;
    const ROUNDS: usize = 60;
    let store = store_of(env);
    given(&*store, &account(), 1);
    let (written, over) = (Mutex::new(Vec::new()), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(|| {
                let _over = Done(&over);
                for _ in 0..ROUNDS {
                    let (account, events) = (account(), events(2));
                    let append = |expected: ExpectedVersion, events: &[NewEvent]| {
                        Backoff::new().repeat(|| store.append(&account, expected, events))
                    };
                    let first = append(ExpectedVersion::NoStream, &events[..1]).unwrap();
                    // Wherever the event is now, it is found.
                    assert!(
                        append(ExpectedVersion::NoStream, &self::events(1))
                            .unwrap_err()
                            .is_conflict()
                    );
                    assert!(append(ExpectedVersion::Any, &events[..1]).unwrap().is_already_stored());
                    let second = append(exact(1), &events[1..]).unwrap();
                    assert_eq!((first.version(), second.version()), (version(1), version(2)));
                    written.lock().unwrap().push(account);
                }
            });
        }
        while over.load(Ordering::SeqCst) < WRITERS {
            let mut file = Vec::new();
            // There may be no new events yet.
            if Archiving::until(GlobalSequence::MAX)
                .json_lines(&*store, &mut file, |_| {})
                .is_ok()
            {
                retire(&*store, Cursor::new(&file), PLACE, |_| {}).unwrap();
                bring_back(&store, &file).unwrap();
                retire(&*store, Cursor::new(&file), PLACE, |_| {}).unwrap();
            }
        }
    });
    let archived: u64 = store.archives().unwrap().iter().map(|archive| archive.events).sum();
    let live = read(&*store, EventQuery::new().skip_archived());
    let written = written.into_inner().unwrap();
    assert_eq!(written.len(), WRITERS * ROUNDS);
    assert_eq!(archived + live.len() as u64, 1 + 2 * written.len() as u64);
    for account in &written {
        assert_eq!(store.version(account).unwrap(), 2);
    }
}

pub(crate) fn who_reads_beside_an_archiving_gets_all_or_is_told(env: &dyn Environment) {
    const READERS: usize = 2;
    const ROUNDS: usize = 60;
    let (store, account) = (store_of(env), account());
    given(&*store, &account, 40);
    given(&*store, &self::account(), 1);
    let all = log(&*store);
    let (over, told, whole) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..READERS {
            scope.spawn(|| {
                let _over = Done(&over);
                let see = |result: Result<bool>| match result {
                    Ok(is_whole) => {
                        assert!(is_whole, "something is missing, and nobody was told");
                        whole.fetch_add(1, Ordering::SeqCst);
                    }
                    Err(error) => {
                        assert!(error.is_archived(), "{error:?}");
                        told.fetch_add(1, Ordering::SeqCst);
                    }
                };
                for round in 0..ROUNDS {
                    let query = EventQuery::new().page_size(7.try_into().unwrap());
                    let query = match round % 2 {
                        0 => query,
                        _ => query.aggregate_id(account.id()),
                    };
                    let expected = if round % 2 == 0 { &all[..] } else { &all[..40] };
                    see(store
                        .read(query)
                        .collect::<Result<Vec<_>>>()
                        .map(|read| read == expected));
                    see(store.load(&account).map(|stream| stream.events() == &all[..40]));
                    let from = StreamRange::all().from_version(20);
                    see(store
                        .load_range(&account, &from)
                        .map(|stream| stream.events() == &all[19..40]));
                }
            });
        }
        while over.load(Ordering::SeqCst) < READERS {
            let (_, file) = archive(&store, &Archiving::until(all[29].global_sequence));
            bring_back(&store, &file).unwrap();
        }
    });
    let (told, whole) = (told.into_inner(), whole.into_inner());
    assert_eq!(told + whole, READERS * ROUNDS * 3);
    assert_eq!(log(&*store), all);
}

pub(crate) fn an_audit_beside_an_archiving_finds_nothing_or_is_told(env: &dyn Environment) {
    const ROUNDS: usize = 40;
    let store = store_of(env);
    // Streams that cross each other.
    let accounts: Vec<_> = (0..5).map(|_| account()).collect();
    for _ in 0..20 {
        for account in &accounts {
            given(&*store, account, 2);
        }
    }
    let all = log(&*store);
    let (before, _) = audit(&store, Audit::new());
    let over = AtomicUsize::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            let _over = Done(&over);
            for _ in 0..ROUNDS {
                let audited = Audit::new().run(&*store, |_| {}, |finding| panic!("{finding}"));
                match audited {
                    Ok(audited) => assert_eq!(audited.remembered, before.remembered),
                    Err(error) => assert!(error.is_retryable(), "{error:?}"),
                }
            }
        });
        while over.load(Ordering::SeqCst) < 1 {
            for until in [130, 150, 175] {
                let (_, file) = archive(&store, &Archiving::until(all[until].global_sequence));
                bring_back(&store, &file).unwrap();
            }
        }
    });
    assert_eq!(audit(&store, Audit::new()).0.remembered, before.remembered);
}
