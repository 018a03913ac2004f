//! Export, import, restore and audit, where no database is needed.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::io::Cursor;

use firefly_eventstore_core::operate::{
    Audit, Audited, Export, Exported, Finding, FindingKind, Import, LogDigest, Operations as _, Progress, RestorePoint,
    prune_snapshots, restore, retire, seal,
};
use firefly_eventstore_core::prelude::*;
use firefly_eventstore_core::{EventData, Limits, MemoryEventStore, verify};
use serde_json::json;
use time::macros::datetime;

fn account() -> AggregateKey {
    AggregateKey::new("Account", Uuid::now_v7()).unwrap()
}

fn event(number: u64) -> NewEvent {
    NewEvent::new("money.deposited", &json!({ "number": number })).unwrap()
}

/// Events with all optional fields, and with none.
fn given() -> (MemoryEventStore, AggregateKey) {
    let store = MemoryEventStore::new();
    let account = account();
    let full = NewEvent::from_json(
        "money.deposited",
        "{\n  \"amount\": 1.50,\r\n  \"note\": \"a\\nb \u{1f600}\"\n}",
    )
    .unwrap()
    .metadata_json("{ \"b\": [1, 2],\n \"a\": null }")
    .unwrap()
    .created_at(datetime!(2025-01-15 10:30:00.000_001 UTC))
    .unwrap()
    .created_by("clerk, \"7\"")
    .unwrap()
    .correlation_id("corr\n1")
    .unwrap()
    .causation_id("cause")
    .unwrap();
    let tenant = TenantId::new("acme").unwrap();
    let owned = AggregateKey::new("Order", Uuid::now_v7()).unwrap();
    store
        .append(&account, ExpectedVersion::NoStream, &[event(1), full])
        .unwrap();
    store
        .for_tenant(tenant)
        .append(&owned, ExpectedVersion::NoStream, &[event(2)])
        .unwrap();
    store.append(&account, ExpectedVersion::Any, &[event(3)]).unwrap();
    (store, account)
}

fn exported(store: &MemoryEventStore, export: &Export) -> (String, Exported) {
    let mut file = Vec::new();
    let exported = export.json_lines(store, &mut file, |_| {}).unwrap();
    (String::from_utf8(file).unwrap(), exported)
}

fn import(store: &MemoryEventStore, file: &str) -> Result<firefly_eventstore_core::operate::Imported, Error> {
    Import::new().batch_size(2).json_lines(store, Cursor::new(file), |_| {})
}

fn log(store: &MemoryEventStore) -> Vec<EventEnvelope> {
    store.read(EventQuery::new()).collect::<Result<_, _>>().unwrap()
}

fn audit(store: &MemoryEventStore, audit: Audit) -> (Audited, Vec<Finding>) {
    let mut findings = Vec::new();
    let audited = audit.run(store, |_| {}, |finding| findings.push(finding)).unwrap();
    assert_eq!(audited.findings, findings.len() as u64);
    (audited, findings)
}

#[test]
fn an_imported_log_is_the_exported_one() {
    let (store, _) = given();
    let (file, exported_) = exported(&store, &Export::new());
    assert_eq!(file.lines().count(), 6);
    let target = MemoryEventStore::new();
    let imported = import(&target, &file).unwrap();
    assert_eq!((imported.events, imported.already_stored), (4, 0));
    assert_eq!(imported.digest, exported_.digest);
    assert_eq!(log(&target), log(&store));
}

#[test]
fn every_flipped_bit_in_a_file_is_found_at_its_line() {
    let (store, _) = given();
    let (file, _) = exported(&store, &Export::new());
    let mut line = 1;
    for place in 0..file.len() {
        for bit in [1, 32] {
            let mut flipped = file.clone().into_bytes();
            flipped[place] ^= bit;
            let error = Import::check(&flipped[..]).unwrap_err();
            let ErrorKind::DamagedFile { line: named, .. } = error.kind() else {
                panic!("{error:?}");
            };
            assert_eq!(*named, line, "byte {place}: {error}");
        }
        line += u64::from(file.as_bytes()[place] == b'\n');
    }
}

#[test]
fn a_file_that_is_cut_anywhere_is_refused_and_nothing_is_stored() {
    let (store, _) = given();
    let (file, _) = exported(&store, &Export::new());
    let file = file.as_bytes();
    let target = MemoryEventStore::new();
    for end in 0..file.len() {
        let error = Import::new()
            .json_lines(&target, Cursor::new(&file[..end]), |_| {})
            .unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::DamagedFile { .. }), "{error:?}");
    }
    assert!(log(&target).is_empty());
}

#[test]
fn a_line_that_is_missing_repeated_or_moved_is_found() {
    let (store, _) = given();
    let (file, _) = exported(&store, &Export::new());
    let lines: Vec<&str> = file.split_inclusive('\n').collect();
    let mut changed = vec![lines.clone(), lines.clone(), lines.clone(), lines.clone()];
    changed[0].remove(2);
    changed[1].insert(2, lines[2]);
    changed[2].swap(2, 3);
    changed[3].push(lines[5]);
    for lines in changed {
        let error = Import::check(lines.concat().as_bytes()).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::DamagedFile { .. }), "{error:?}");
    }
}

#[test]
fn a_file_of_something_else_is_refused() {
    for text in ["", "\n", "{}\n", "event_id,aggregate_id\n", "\u{0}\u{1}"] {
        let error = Import::check(text.as_bytes()).unwrap_err();
        assert!(error.to_string().starts_with("line 1 of the file: "), "{error}");
    }
}

#[test]
fn a_repeated_import_stores_nothing_twice() {
    let (store, account) = given();
    let (file, _) = exported(&store, &Export::new());
    let target = MemoryEventStore::new();
    import(&target, &file).unwrap();
    let again = import(&target, &file).unwrap();
    assert_eq!((again.events, again.already_stored), (0, 4));
    assert_eq!(log(&target), log(&store));
    let next = target
        .append(&account, ExpectedVersion::Exact(3.into()), &[event(9)])
        .unwrap();
    assert_eq!(next.global_sequences()[0], 5);
}

#[test]
fn an_incremental_export_goes_on_after_the_one_before() {
    let (store, account) = given();
    let (first, exported_) = exported(&store, &Export::new());
    store.append(&account, ExpectedVersion::Any, &[event(4)]).unwrap();
    let (second, _) = exported(&store, &Export::new().after(exported_.checkpoint));
    let target = MemoryEventStore::new();
    let refused = import(&target, &second).unwrap_err();
    assert!(refused.is_invalid_input(), "{refused}");
    import(&target, &first).unwrap();
    let imported = import(&target, &second).unwrap();
    assert_eq!((imported.events, imported.already_stored), (1, 0));
    assert_eq!(log(&target), log(&store));
}

#[test]
fn an_incremental_export_that_begins_after_a_hole_is_imported() {
    let (source, _) = given();
    let (file, _) = exported(&source, &Export::new());
    let holed = MemoryEventStore::new();
    import(&holed, &file).unwrap();
    let mut after_a_hole = log(&source).remove(0);
    after_a_hole.event_id = Uuid::now_v7();
    after_a_hole.aggregate = account();
    after_a_hole.global_sequence = 9.into();
    holed.import_events(&[after_a_hole]).unwrap();
    let target = MemoryEventStore::new();
    import(&target, &file).unwrap();
    let (later, _) = exported(&holed, &Export::new().after(4));
    assert_eq!(import(&target, &later).unwrap().events, 1);
    assert_eq!(log(&target), log(&holed));
    assert_eq!(import(&target, &later).unwrap().already_stored, 1);
}

#[test]
fn what_contradicts_the_store_is_refused_and_named() {
    let (store, account) = given();
    let (file, _) = exported(&store, &Export::new());
    let events = log(&store);

    // Another event at the position of the first.
    let target = MemoryEventStore::new();
    target.append(&account, ExpectedVersion::NoStream, &[event(7)]).unwrap();
    let error = import(&target, &file).unwrap_err();
    let ErrorKind::Contradiction {
        event_id,
        global_sequence,
        ..
    } = error.kind()
    else {
        panic!("{error:?}");
    };
    assert_eq!((*event_id, *global_sequence), (events[0].event_id, 1.into()));
    assert_eq!(log(&target).len(), 1);

    // The same event, changed.
    let target = MemoryEventStore::new();
    import(&target, &file).unwrap();
    target.tamper(events[2].event_id, |event| {
        event.causation_id = Some("other".try_into().unwrap());
    });
    let error = import(&target, &file).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Contradiction { event_id, .. } if *event_id == events[2].event_id));

    // The two logs differ after this point.
    let target = MemoryEventStore::new();
    restore(&store, &target, GlobalSequence::from(2), |_| {}).unwrap();
    target.append(&account, ExpectedVersion::Any, &[event(8)]).unwrap();
    let error = import(&target, &file).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Contradiction { event_id, .. } if *event_id == events[2].event_id));
    assert_eq!(log(&target).len(), 3);
}

#[test]
fn a_file_that_lacks_events_of_an_aggregate_cannot_be_imported() {
    let (store, account) = given();
    let query = EventQuery::new().created_by("clerk, \"7\"").unwrap();
    let (file, _) = exported(&store, &Export::of(query));
    let error = Import::check(file.as_bytes()).unwrap_err();
    assert!(error.to_string().contains("its first events are missing"), "{error}");

    let query = EventQuery::new().aggregate_id(account.id());
    let (file, _) = exported(&store, &Export::of(query));
    let target = MemoryEventStore::new();
    assert_eq!(import(&target, &file).unwrap().events, 3);
    assert_eq!(target.load(&account).unwrap(), store.load(&account).unwrap());
}

#[test]
fn an_export_with_a_condition_is_not_taken_for_a_whole_one() {
    let (store, account) = (MemoryEventStore::new(), account());
    let other = AggregateKey::new("Account", Uuid::now_v7()).unwrap();
    store.append(&account, 0, &[event(1), event(2), event(3)]).unwrap();
    store.append(&other, 0, &[event(1)]).unwrap();
    let only = |numbers: &'static [u64]| {
        Export::new().matching(|event| {
            let data: serde_json::Value = event.data()?;
            Ok(numbers.iter().any(|number| data["number"] == *number))
        })
    };
    let whole = exported(&store, &Export::new()).1;

    // All events match the condition now; later ones may not.
    let (file, all) = exported(&store, &only(&[1, 2, 3]));
    assert_eq!((all.events, all.digest), (4, whole.digest));
    assert!(Import::check(file.as_bytes()).unwrap().filtered);
    let error = retire(&store, Cursor::new(&file), "file", |_| {}).unwrap_err();
    assert!(error.is_invalid_input(), "{error}");

    // The beginnings of streams can be imported. The file and the result say that the file is incomplete.
    let (file, some) = exported(&store, &only(&[1]));
    assert_eq!((some.events, some.checkpoint), (2, 4.into()));
    assert_ne!(some.digest, whole.digest);
    let target = MemoryEventStore::new();
    let imported = import(&target, &file).unwrap();
    assert_eq!((imported.events, imported.filtered), (2, true));
    assert_eq!(imported.digest, some.digest);
    let (whole_file, _) = exported(&store, &Export::new());
    assert!(!import(&MemoryEventStore::new(), &whole_file).unwrap().filtered);
    let error = import(&target, &whole_file).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Contradiction { .. }), "{error}");

    // A file that lacks an earlier event of a stream is refused, even if it continues the store's log.
    let (file, _) = exported(&store, &only(&[1, 3]));
    let error = import(&MemoryEventStore::new(), &file).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::DamagedFile { .. }), "{error}");
    let (file, _) = exported(&store, &only(&[3]).after(1));
    let target = MemoryEventStore::new();
    import(&target, &file).unwrap_err();
    assert!(log(&target).is_empty());

    // Both conditions apply, and an error ends the export.
    let (_, both) = exported(&store, &only(&[1, 2]).matching(|event| Ok(event.version == 2)));
    assert_eq!(both.events, 1);
    let failing = Export::new().matching(|_| Err(Error::invalid("no answer")));
    assert!(
        failing
            .json_lines(&store, Vec::new(), |_| {})
            .unwrap_err()
            .is_invalid_input()
    );
    assert!(failing.csv(&store, Vec::new(), |_| {}).unwrap_err().is_invalid_input());
}

#[test]
fn what_the_store_does_not_take_is_not_imported() {
    let store = MemoryEventStore::new().with_limits(Limits::TEXT);
    let odd = NewEvent::from_json("money.deposited", r#"{"note":"\u0000"}"#).unwrap();
    store.append(&account(), ExpectedVersion::NoStream, &[odd]).unwrap();
    let (file, _) = exported(&store, &Export::new());
    let target = MemoryEventStore::new();
    let error = import(&target, &file).unwrap_err();
    assert!(error.is_invalid_input(), "{error}");
    assert!(error.to_string().contains("U+0000"), "{error}");
    assert!(log(&target).is_empty());
}

#[test]
fn damaged_data_is_not_exported() {
    let (store, _) = given();
    let damaged = log(&store)[1].event_id;
    store.tamper(damaged, |event| event.data = EventData::from_stored("{"));
    let error = Export::new().json_lines(&store, Vec::new(), |_| {}).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Integrity { event_id: Some(id), .. } if *id == damaged));
}

#[test]
fn csv_has_the_columns_of_the_table() {
    let (store, _) = given();
    let mut file = Vec::new();
    let exported = Export::new().csv(&store, &mut file, |_| {}).unwrap();
    assert_eq!(exported.events, 4);
    let text = String::from_utf8(file).unwrap();
    let header = text.lines().next().unwrap();
    assert!(header.starts_with("event_id,aggregate_id,aggregate_type,aggregate_version,global_sequence,event_type,"));
    let full = &log(&store)[1];
    let line = format!(
        "{},{},Account,2,2,money.deposited,\"{}\",\"{}\",2025-01-15T10:30:00.000001Z,,\"clerk, \"\"7\"\"\",,\"corr\n1\",cause,{},{}\r\n",
        full.event_id,
        full.aggregate.id(),
        full.data.as_str().replace('"', "\"\""),
        full.metadata.as_ref().unwrap().as_str().replace('"', "\"\""),
        full.data.as_str().len(),
        full.checksum.unwrap(),
    );
    assert!(text.contains(&line), "{text}\n{line}");
}

#[test]
fn progress_ends_with_everything_done() {
    let (store, _) = given();
    let mut last: Option<Progress> = None;
    let (file, _) = exported(&store, &Export::new());
    let target = MemoryEventStore::new();
    Import::new()
        .json_lines(&target, Cursor::new(&file), |progress| last = Some(progress))
        .unwrap();
    let last = last.unwrap();
    assert_eq!((last.done, last.total), (8, Some(8)));
    assert!(last.rate() > 0.0);
}

#[test]
fn a_restore_at_a_time_keeps_no_gap_in_an_aggregate() {
    let store = MemoryEventStore::new();
    let (one, other) = (account(), account());
    let at = |seconds| datetime!(2025-01-15 10:30 UTC) + time::Duration::seconds(seconds);
    for (account, seconds) in [(&one, 0), (&one, 10), (&other, 5), (&one, 3), (&other, 6)] {
        let event = event(0).created_at(at(seconds)).unwrap();
        store.append(account, ExpectedVersion::Any, &[event]).unwrap();
    }
    let target = MemoryEventStore::new();
    restore(&store, &target, RestorePoint::Time(at(5)), |_| {}).unwrap();
    assert_eq!(target.version(&one).unwrap(), 1);
    assert_eq!(target.version(&other).unwrap(), 1);
    // A restore to a later point can continue only if the earlier restore left out nothing.
    assert!(restore(&store, &target, RestorePoint::Time(at(60)), |_| {}).is_err());
}

#[test]
fn an_audit_and_a_verification_see_every_event_of_pages_that_end_by_their_bytes() {
    let (store, account) = (MemoryEventStore::new(), account());
    let large = format!("\"{}\"", "x".repeat(6_000_000));
    let events: Vec<_> = (0..4)
        .map(|_| NewEvent::from_json("file.added", large.as_str()).unwrap())
        .collect();
    store.append(&account, ExpectedVersion::NoStream, &events).unwrap();
    store.tamper(events[3].event_id(), |stored| stored.data = EventData::from_stored("1"));
    let (audited, findings) = audit(&store, Audit::new());
    assert_eq!(audited.events, 4);
    assert_eq!(findings[0].event_id, Some(events[3].event_id()));
    assert_eq!(verify(&store, EventQuery::new(), |_| {}).unwrap().checked, 4);
}

#[test]
fn a_verification_goes_on_where_it_ended() {
    let (store, account) = (MemoryEventStore::new(), account());
    let events: Vec<_> = (0..25).map(event).collect();
    store.append(&account, ExpectedVersion::NoStream, &events).unwrap();
    let checkpoint = |query: EventQuery| verify(&store, query, |_| {}).unwrap().checkpoint.get();
    let no_type = EventQuery::new().event_types(["none"]).unwrap();
    assert_eq!(checkpoint(EventQuery::new().limit(10)), 10);
    assert_eq!(checkpoint(EventQuery::new().after(10).until(20)), 20);
    assert_eq!(checkpoint(no_type), 25);
    assert_eq!(checkpoint(EventQuery::new().after(20)), 25);
}

#[test]
fn an_export_goes_on_where_it_ended() {
    let (store, account) = (MemoryEventStore::new(), account());
    let events: Vec<_> = (0..25).map(event).collect();
    store.append(&account, ExpectedVersion::NoStream, &events).unwrap();
    for query in [EventQuery::new(), EventQuery::new().limit(3)] {
        let mut checkpoint = GlobalSequence::ZERO;
        let mut seen = 0;
        for until in [10, 20, 30] {
            let part = Export::of(query.clone().after(checkpoint).until(until));
            let (file, exported) = exported(&store, &part);
            let in_csv = part.csv(&store, &mut Vec::new(), |_| {}).unwrap();
            assert_eq!(
                (in_csv.events, in_csv.checkpoint),
                (exported.events, exported.checkpoint)
            );
            assert!(file.contains(&format!("\"until\":{}", exported.checkpoint)), "{file}");
            checkpoint = exported.checkpoint;
            seen += exported.events;
        }
        assert_eq!((seen, checkpoint.get()), (25, 25));
    }
}

#[test]
fn an_intact_store_has_no_findings_and_is_remembered() {
    let (store, account) = given();
    let (audited, findings) = audit(&store, Audit::new());
    assert_eq!(findings, []);
    let remembered = audited.remembered.unwrap();
    assert_eq!((remembered.events, remembered.global_sequence), (4, 4.into()));
    assert_ne!(remembered.digest, LogDigest::OF_NOTHING);

    store.append(&account, ExpectedVersion::Any, &[event(4)]).unwrap();
    let (audited, findings) = audit(&store, Audit::new().only_after(remembered));
    assert_eq!((audited.events, findings), (1, vec![]));
    let (whole, _) = audit(&store, Audit::new().against(remembered));
    assert_eq!(whole.remembered, audited.remembered);
}

#[test]
fn each_kind_of_damage_is_found_and_named() {
    type Damage = fn(&mut EventEnvelope);
    let damages: [(FindingKind, Damage); 7] = [
        (FindingKind::Checksum, |event| {
            event.data = EventData::from_stored(r#"{"number":8}"#);
        }),
        (FindingKind::Checksum, |event| event.checksum = None),
        (FindingKind::Unreadable, |event| {
            event.data = EventData::from_stored("{");
        }),
        (FindingKind::Size, |event| event.size_bytes = Some(7)),
        (FindingKind::Versions, |event| event.version = 7.into()),
        (FindingKind::Owner, |event| {
            event.tenant = Some(TenantId::new("globex").unwrap());
        }),
        (FindingKind::Owner, |event| {
            event.aggregate = AggregateKey::new("Order", event.aggregate.id()).unwrap();
        }),
    ];
    for (kind, damage) in damages {
        let store = MemoryEventStore::new();
        let account = account();
        store
            .append(&account, ExpectedVersion::NoStream, &[event(1), event(2), event(3)])
            .unwrap();
        let (audited, _) = audit(&store, Audit::new());
        let damaged = log(&store)[1].event_id;
        store.tamper(damaged, damage);
        let (found, findings) = audit(&store, Audit::new());
        assert!(!found.is_intact() && found.remembered.is_none());
        let named = findings.iter().find(|finding| finding.kind == kind);
        let named = named.unwrap_or_else(|| panic!("{kind:?} in {findings:?}"));
        assert_eq!(named.event_id, Some(damaged), "{named}");
        assert!(named.to_string().contains(&damaged.to_string()));
        // The log differs from the remembered one, unless only the size of the text differs, which depends on the database.
        let (_, findings) = audit(&store, Audit::new().against(audited.remembered.unwrap()));
        let differs = findings.iter().any(|finding| finding.kind == FindingKind::History);
        assert_eq!(differs, kind != FindingKind::Size, "{findings:?}");
    }
}

#[test]
fn snapshots_are_pruned_by_number_and_age() {
    let store = MemoryEventStore::new();
    let accounts = [account(), account()];
    let now = datetime!(2025-01-15 10:30 UTC);
    for account in &accounts {
        let events: Vec<NewEvent> = (1..=5).map(event).collect();
        store.append(account, ExpectedVersion::NoStream, &events).unwrap();
        for version in 1..=5_u32 {
            let snapshot = NewSnapshot::new(account, version, "State.v1", &json!({}))
                .unwrap()
                .created_at(now + time::Duration::days(version.into()))
                .unwrap();
            store.save(&snapshot).unwrap();
        }
    }
    let older_than = Some(now + time::Duration::days(2));
    assert_eq!(prune_snapshots(&store, None, older_than, |_| {}).unwrap(), 2);
    assert_eq!(prune_snapshots(&store, Some(3), None, |_| {}).unwrap(), 2);
    for account in &accounts {
        let left: Vec<u64> = store
            .list_snapshots(None, account)
            .unwrap()
            .iter()
            .map(|snapshot| snapshot.version.get())
            .collect();
        assert_eq!(left, [5, 4, 3]);
    }
    assert_eq!(prune_snapshots(&store, Some(0), None, |_| {}).unwrap(), 6);
}

/// A log of many pages, whose file has many chunks; and its events.
fn given_long() -> (MemoryEventStore, Vec<EventEnvelope>) {
    let store = MemoryEventStore::new();
    let accounts: Vec<AggregateKey> = (0..50).map(|_| account()).collect();
    for number in 0..240 {
        for account in &accounts {
            store.append(account, ExpectedVersion::Any, &[event(number)]).unwrap();
        }
    }
    let events = log(&store);
    (store, events)
}

fn digest(events: &[EventEnvelope]) -> LogDigest {
    let link = |digest: LogDigest, event| digest.with(event).unwrap().0;
    events.iter().fold(LogDigest::OF_NOTHING, link)
}

#[test]
fn work_in_many_threads_has_the_digest_of_one_event_after_the_other() {
    let (store, events) = given_long();
    let digest = digest(&events);
    let (file, exported) = exported(&store, &Export::new());
    assert_eq!((exported.events, exported.digest), (12_000, digest));
    let csv = Export::new().csv(&store, Vec::new(), |_| {}).unwrap();
    assert_eq!(csv, exported);

    let checked = Import::check(file.as_bytes()).unwrap();
    assert_eq!((checked.events, checked.digest), (12_000, digest));
    let [imported, restored] = [MemoryEventStore::new(), MemoryEventStore::new()];
    let import = Import::new().json_lines(&imported, Cursor::new(&file), |_| {});
    assert_eq!(import.unwrap().digest, digest);
    assert_eq!(log(&imported), events);
    let end = GlobalSequence::from(12_000);
    assert_eq!(restore(&store, &restored, end, |_| {}).unwrap().digest, digest);
    assert_eq!(log(&restored), events);

    assert_eq!(seal(&store, |_| {}).unwrap().digest, digest);
    let (audited, findings) = audit(&store, Audit::new());
    assert_eq!(findings, []);
    assert_eq!(audited.remembered.unwrap().digest, digest);
}

#[test]
fn what_is_damaged_in_a_long_log_is_found_in_its_order() {
    let (store, events) = given_long();
    let damaged = [1, 1_999, 2_000, 2_001, 7_777, 11_999];
    for place in damaged {
        let damage = |event: &mut EventEnvelope| event.data = EventData::from_stored("[1, 2");
        assert!(store.tamper(events[place].event_id, damage));
    }
    let ids: Vec<Uuid> = damaged.map(|place| events[place].event_id).into();

    let (audited, findings) = audit(&store, Audit::new());
    assert_eq!(audited.events, 12_000);
    let found = findings.iter().filter(|finding| finding.kind == FindingKind::Checksum);
    assert!(found.map(|finding| finding.event_id.unwrap()).eq(ids.iter().copied()));

    let found = verify(&store, EventQuery::new(), |_| {}).unwrap();
    assert_eq!(
        (found.checked, found.checkpoint),
        (12_000, GlobalSequence::from(12_000))
    );
    let named = found.damaged.iter().map(|error| match error.kind() {
        ErrorKind::Integrity { event_id, .. } => event_id.unwrap(),
        kind => panic!("{kind:?}"),
    });
    assert!(named.eq(ids.iter().copied()));

    let refused = [
        Export::new().json_lines(&store, Vec::new(), |_| {}).unwrap_err(),
        seal(&store, |_| {}).unwrap_err(),
    ];
    for error in refused {
        let ErrorKind::Integrity { event_id, .. } = error.kind() else {
            panic!("{error:?}");
        };
        assert_eq!(*event_id, Some(ids[0]), "the first of them is named");
    }
}

#[test]
fn of_damaged_lines_in_a_long_file_the_first_is_named() {
    let (store, _) = given_long();
    let (file, _) = exported(&store, &Export::new());
    let mut changed: Vec<String> = file.split_inclusive('\n').map(ToOwned::to_owned).collect();
    for line in [11_000, 5_003, 5_002] {
        changed[line - 1] = changed[line - 1].replace("deposited", "withdrawn");
        let error = Import::check(changed.concat().as_bytes()).unwrap_err();
        let ErrorKind::DamagedFile { line: named, .. } = error.kind() else {
            panic!("{error:?}");
        };
        assert_eq!(*named, line as u64, "{error}");
    }
}

#[test]
fn callbacks_and_files_stay_with_the_calling_thread() {
    let (store, _) = given_long();
    let caller = std::thread::current().id();
    let mut told = 0;
    let mut progress = |_: Progress| {
        assert_eq!(std::thread::current().id(), caller);
        told += 1;
    };
    let mut file = Vec::new();
    Export::new().json_lines(&store, &mut file, &mut progress).unwrap();
    let target = MemoryEventStore::new();
    Import::new()
        .json_lines(&target, Cursor::new(file), &mut progress)
        .unwrap();
    Audit::new()
        .run(&store, &mut progress, |finding| panic!("{finding}"))
        .unwrap();
    assert!(told > 50, "progress is told often: {told}");
}

#[test]
fn an_export_into_a_full_disk_ends_with_its_error() {
    struct Full(usize);

    impl std::io::Write for Full {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(std::io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    let (store, _) = given_long();
    let error = Export::new().json_lines(&store, Full(3 << 20), |_| {}).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Io { .. }), "{error:?}");
}

#[test]
fn an_import_of_large_events_is_stored_in_small_transactions() {
    let source = MemoryEventStore::new().with_limits(Limits::TEXT);
    let account = account();
    // PostgreSQL, MySQL and MariaDB would refuse the last one.
    for mebibytes in [5, 5, 5, 5, 5, 5, 9] {
        let large = json!({ "text": "x".repeat(mebibytes << 20) });
        let large = NewEvent::new("document.stored", &large).unwrap();
        source.append(&account, ExpectedVersion::Any, &[large]).unwrap();
    }
    let (file, _) = exported(&source, &Export::new());
    let target = MemoryEventStore::new();
    let error = Import::new()
        .json_lines(&target, Cursor::new(file), |_| {})
        .unwrap_err();
    assert!(error.is_invalid_input(), "{error}");
    assert_eq!(log(&target).len(), 4, "16 MiB of events are a transaction");
}
