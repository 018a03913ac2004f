//! What an operator does: export, import, restore, audit, maintenance.

use std::io::Cursor;

use firefly_eventstore_core::operate::{
    Audit, Audited, Export, Finding, FindingKind, Import, Imported, LogDigest, Severity, prune_snapshots, restore,
};
use firefly_eventstore_core::prelude::*;
use firefly_eventstore_core::{EventData, Limits, MemoryEventStore};

use crate::environment::{Damage, Environment};
use crate::support::{Handle, account, at, event, event_with, given, log, snapshot, tenant};

/// A log with every kind of event, of interleaved aggregates. Two of them belong to a tenant.
fn source() -> MemoryEventStore {
    let source = MemoryEventStore::new();
    let acme = source.for_tenant(tenant("acme"));
    let accounts = [account(), account(), account(), account()];
    for round in 0..10 {
        for (place, account) in accounts.iter().enumerate() {
            let full = event_with(r#"{"b":[1,2.5,"é😀"],"a":18446744073709551615}"#)
                .metadata_json(r#"{"correlationId":"c-1","n":null}"#)
                .unwrap()
                .created_at(at(round - 5))
                .unwrap()
                .created_by("clerk")
                .unwrap()
                .correlation_id("corr")
                .unwrap()
                .causation_id("cause")
                .unwrap();
            let events = [event("money.deposited"), full];
            match place < 2 {
                true => acme.append(account, ExpectedVersion::Any, &events).unwrap(),
                false => source.append(account, ExpectedVersion::Any, &events).unwrap(),
            };
        }
    }
    source
}

pub(super) fn export(store: &dyn EventStore) -> (Vec<u8>, LogDigest) {
    let mut file = Vec::new();
    let exported = Export::new().json_lines(store, &mut file, |_| {}).unwrap();
    (file, exported.digest)
}

fn import(store: &Handle, file: &[u8]) -> Result<Imported, Error> {
    Import::new()
        .batch_size(17)
        .json_lines(&**store, Cursor::new(file), |_| {})
}

/// The log, without what a database may change in the text of JSON.
fn comparable(store: &(impl EventStore + ?Sized)) -> Vec<EventEnvelope> {
    let mut events = log(store);
    for event in &mut events {
        event.verify().unwrap();
        event.data = EventData::from_stored(event.data.canonical().unwrap());
        event.size_bytes = None;
        let metadata = event.metadata.take().map(|metadata| metadata.canonical().unwrap());
        event.metadata = metadata.map(Metadata::from_stored);
    }
    events
}

pub(super) fn audit(store: &Handle, audit: Audit) -> (Audited, Vec<Finding>) {
    let mut findings = Vec::new();
    let audited = audit.run(&**store, |_| {}, |finding| findings.push(finding)).unwrap();
    assert_eq!(audited.findings, findings.len() as u64);
    (audited, findings)
}

/// The event that a refused import names.
fn refused(result: Result<(), Error>) -> Uuid {
    let error = result.unwrap_err();
    match error.kind() {
        ErrorKind::Contradiction { event_id, .. } => *event_id,
        _ => panic!("{error:?}"),
    }
}

pub(crate) fn imports_a_log_as_it_is(environment: &dyn Environment) {
    let (source, store) = (source(), environment.store());
    let (file, digest) = export(&source);
    let imported = import(&store, &file).unwrap();
    assert_eq!((imported.events, imported.already_stored), (80, 0));
    assert_eq!(imported.digest, digest);
    assert_eq!(comparable(&store), comparable(&source));
    assert_eq!(
        export(&environment.reopen()).1,
        digest,
        "another store exports the same log"
    );
}

pub(crate) fn repeating_an_import_stores_nothing_twice(environment: &dyn Environment) {
    let (source, store) = (source(), environment.store());
    let (file, _) = export(&source);
    import(&store, &file).unwrap();
    let again = import(&store, &file).unwrap();
    assert_eq!((again.events, again.already_stored), (0, 80));
    assert_eq!(comparable(&store), comparable(&source));
}

pub(crate) fn an_import_goes_on_where_another_was_cut_off(environment: &dyn Environment) {
    let (source, store) = (source(), environment.store());
    store.import_events(&log(&source)[..23]).unwrap();
    let imported = import(&store, &export(&source).0).unwrap();
    assert_eq!((imported.events, imported.already_stored), (57, 23));
    assert_eq!(comparable(&store), comparable(&source));
}

pub(crate) fn holes_in_a_log_are_imported_as_holes(environment: &dyn Environment) {
    let (source, store) = (source(), environment.store());
    let mut events = log(&source);
    for event in &mut events {
        event.global_sequence = GlobalSequence::new(event.global_sequence.get() * 3 + 100).unwrap();
    }
    for batch in events.chunks(7) {
        store.import_events(batch).unwrap();
    }
    let sequences = |events: &[EventEnvelope]| events.iter().map(|event| event.global_sequence).collect::<Vec<_>>();
    assert_eq!(sequences(&log(&store)), sequences(&events));
    assert_eq!(store.high_water_mark().unwrap(), 340);
}

pub(crate) fn what_is_appended_after_an_import_comes_after_it(environment: &dyn Environment) {
    let (source, store) = (source(), environment.store());
    let events = log(&source);
    store.import_events(&events).unwrap();
    let last = &events[events.len() - 1];
    let appended = store
        .append(
            &last.aggregate,
            ExpectedVersion::Exact(last.version),
            &[event("money.deposited")],
        )
        .unwrap();
    assert!(appended.global_sequences()[0] > last.global_sequence);
    assert_eq!(log(&store).len(), 81);
}

pub(crate) fn a_consumer_sees_each_imported_event_once(environment: &dyn Environment) {
    let (source, store) = (source(), environment.store());
    let reader = environment.reopen();
    let mut checkpoint = GlobalSequence::ZERO;
    let mut seen = Vec::new();
    for batch in log(&source).chunks(9) {
        store.import_events(batch).unwrap();
        let mut events = reader.read(EventQuery::new().after(checkpoint));
        seen.extend(events.by_ref().map(|event| event.unwrap().event_id));
        checkpoint = events.high_water_mark().unwrap();
    }
    let stored: Vec<Uuid> = log(&source).iter().map(|event| event.event_id).collect();
    assert_eq!(seen, stored);
}

pub(crate) fn an_import_before_the_end_of_the_log_is_refused(environment: &dyn Environment) {
    let (source, store) = (source(), environment.store());
    given(&store, &account(), 3);
    let events = log(&source);
    assert_eq!(refused(store.import_events(&events)), events[0].event_id);
    assert_eq!(refused(store.import_events(&events[2..3])), events[2].event_id);
    assert_eq!(log(&store).len(), 3);
}

pub(crate) fn an_import_of_another_version_is_refused(environment: &dyn Environment) {
    let (source, store) = (source(), environment.store());
    let events = log(&source);
    store.import_events(&events[..8]).unwrap();
    // One aggregate continues correctly; another lacks two events.
    let rest = [&events[8..9], &events[20..21], &events[26..27]].concat();
    assert_eq!(refused(store.import_events(&rest)), events[20].event_id);
    assert_eq!(log(&store).len(), 8, "nothing of it is stored");
}

pub(crate) fn an_import_into_anothers_aggregate_is_refused(environment: &dyn Environment) {
    let (source, store) = (source(), environment.store());
    let events = log(&source);
    store.import_events(&events[..8]).unwrap();
    let mut of_another_tenant = events[8].clone();
    of_another_tenant.tenant = Some(tenant("globex"));
    assert_eq!(refused(store.import_events(&[of_another_tenant])), events[8].event_id);
    let mut of_another_type = events[8].clone();
    of_another_type.aggregate = AggregateKey::new("Order", events[8].aggregate.id()).unwrap();
    assert_eq!(refused(store.import_events(&[of_another_type])), events[8].event_id);
    assert_eq!(log(&store).len(), 8);
}

pub(crate) fn an_import_of_ids_that_are_stored_is_refused(environment: &dyn Environment) {
    let (source, store) = (source(), environment.store());
    let mut events = log(&source);
    store.import_events(&events[..8]).unwrap();
    events[9].event_id = events[3].event_id;
    assert_eq!(refused(store.import_events(&events[8..12])), events[3].event_id);
    assert_eq!(log(&store).len(), 8, "nothing of it is stored");
}

pub(crate) fn an_import_of_damaged_data_is_refused(environment: &dyn Environment) {
    let (source, store) = (source(), environment.store());
    let mut events = log(&source);
    events[5].data = EventData::from_stored(r#"{"a":1}"#);
    let error = store.import_events(&events).unwrap_err();
    let ErrorKind::Integrity { event_id, .. } = error.kind() else {
        panic!("{error:?}");
    };
    assert_eq!(*event_id, Some(events[5].event_id));
    assert!(log(&store).is_empty());
}

pub(crate) fn an_import_beyond_the_limits_is_refused(environment: &dyn Environment) {
    let source = MemoryEventStore::new().with_limits(Limits::TEXT);
    let odd = event_with(r#"{"note":"a\u0000b"}"#);
    source
        .append(&account(), ExpectedVersion::NoStream, &[event("money.deposited"), odd])
        .unwrap();
    let store = environment.store();
    let error = store.import_events(&log(&source)).unwrap_err();
    assert!(error.is_invalid_input(), "{error}");
    assert!(log(&store).is_empty());
}

pub(crate) fn an_import_in_another_order_is_refused(environment: &dyn Environment) {
    let (source, store) = (source(), environment.store());
    let mut events = log(&source);
    events.swap(30, 31);
    assert!(store.import_events(&events).unwrap_err().is_invalid_input());
    assert!(log(&store).is_empty());
}

pub(crate) fn a_restored_log_is_the_log_at_that_point(environment: &dyn Environment) {
    let (source, store) = (source(), environment.store());
    let restored = restore(&source, &*store, GlobalSequence::from(37), |_| {}).unwrap();
    assert_eq!(restored.events, 37);
    assert_eq!(comparable(&store), comparable(&source)[..37]);
    let went_on = restore(&source, &*store, GlobalSequence::from(80), |_| {}).unwrap();
    assert_eq!((went_on.events, went_on.already_stored), (43, 37));
    // Also from this store.
    let target = MemoryEventStore::new();
    restore(&store, &target, GlobalSequence::from(50), |_| {}).unwrap();
    assert_eq!(comparable(&target), comparable(&source)[..50]);
}

pub(crate) fn lists_all_snapshots_page_by_page(environment: &dyn Environment) {
    let store = environment.store();
    let mut saved = Vec::new();
    for _ in 0..5 {
        let account = account();
        given(&store, &account, 3);
        for (version, form) in [(1, "a"), (2, "b"), (2, "B"), (2, "a"), (3, "a")] {
            let new = NewSnapshot::new(&account, Version::from(version), form, &0).unwrap();
            store.save(&new).unwrap();
            saved.push((account.id(), Version::from(version), form.to_owned()));
        }
    }
    saved.sort();
    for limit in [1, 4, 100] {
        let (mut listed, mut last) = (Vec::new(), None);
        loop {
            let page = store.snapshots_after(last.as_ref(), limit).unwrap();
            assert!(page.len() <= limit as usize);
            listed.extend(page.iter().map(|snapshot| {
                let form = snapshot.snapshot_type.to_string();
                (snapshot.aggregate.id(), snapshot.version, form)
            }));
            let Some(snapshot) = page.into_iter().next_back() else {
                break;
            };
            last = Some(snapshot);
        }
        assert_eq!(listed, saved, "{limit} at a time");
    }
}

pub(crate) fn prunes_snapshots_of_every_aggregate(environment: &dyn Environment) {
    let store = environment.store();
    let accounts = [account(), account()];
    for account in &accounts {
        given(&store, account, 3);
        for version in 1..=3 {
            store.save(&snapshot(account, version)).unwrap();
        }
    }
    assert_eq!(prune_snapshots(&*store, Some(1), None, |_| {}).unwrap(), 4);
    for account in &accounts {
        assert_eq!(store.latest_snapshot(account).unwrap().unwrap().version, 3);
        assert_eq!(store.count_snapshots(None, account).unwrap(), 1);
    }
}

pub(crate) fn an_audit_finds_nothing_wrong_with_an_intact_store(environment: &dyn Environment) {
    let (source, store) = (source(), environment.store());
    import(&store, &export(&source).0).unwrap();
    let owned = &log(&source)[79];
    store.save(&snapshot(&owned.aggregate, 20)).unwrap();
    let (audited, findings) = audit(&store, Audit::new());
    assert_eq!(findings, []);
    assert_eq!((audited.events, audited.snapshots), (80, 1));
    assert_eq!(audited.remembered.unwrap().digest, export(&source).1);
}

/// Five events of one aggregate, and their ids.
fn five(store: &Handle) -> Vec<Uuid> {
    let account = account();
    let events = given(store, &account, 5);
    events.iter().map(NewEvent::event_id).collect()
}

pub(crate) fn an_audit_names_every_damaged_event(environment: &dyn Environment) {
    let store = environment.store();
    let ids = five(&store);
    environment.damage(ids[0], &Damage::Data(r#"{"number": 99}"#));
    environment.damage(ids[2], &Damage::Checksum(&"ab".repeat(32)));
    environment.damage(ids[4], &Damage::NoChecksum);
    let (audited, findings) = audit(&environment.reopen(), Audit::new());
    let named: Vec<_> = findings
        .iter()
        .filter(|finding| finding.kind == FindingKind::Checksum)
        .map(|finding| finding.event_id)
        .collect();
    assert_eq!(named, [Some(ids[0]), Some(ids[2]), Some(ids[4])], "{findings:?}");
    assert_eq!((audited.events, audited.remembered), (5, None));
    // Even if the store itself refuses to read them.
    let (_, findings) = audit(&environment.verifying_store(), Audit::new());
    let named: Vec<_> = findings.iter().filter_map(|finding| finding.event_id).collect();
    for damaged in [ids[0], ids[2], ids[4]] {
        assert!(named.contains(&damaged), "{findings:?}");
    }
}

pub(crate) fn an_audit_finds_versions_that_are_not_contiguous(environment: &dyn Environment) {
    let store = environment.store();
    let ids = five(&store);
    environment.damage(ids[4], &Damage::Version(9));
    let (_, findings) = audit(&environment.reopen(), Audit::new());
    let found: Vec<_> = findings
        .iter()
        .map(|finding| (finding.kind, finding.event_id))
        .collect();
    assert_eq!(found, [(FindingKind::Versions, Some(ids[4]))], "{findings:?}");
}

pub(crate) fn an_audit_finds_a_missing_event(environment: &dyn Environment) {
    let store = environment.store();
    let (one, other) = (account(), account());
    for account in [&one, &other, &one] {
        given(&store, account, 1);
    }
    let (audited, _) = audit(&store, Audit::new());
    // Deletes the last event but one, so that the other aggregate has no event left: only a remembered digest of the
    // log can show this.
    environment.make_hole();
    let reopened = environment.reopen();
    let (_, findings) = audit(&reopened, Audit::new().against(audited.remembered.unwrap()));
    assert!(
        findings.iter().any(|finding| finding.kind == FindingKind::History),
        "{findings:?}"
    );
}

pub(crate) fn an_audit_finds_a_damaged_snapshot(environment: &dyn Environment) {
    let store = environment.store();
    let account = account();
    given(&store, &account, 2);
    store.save(&snapshot(&account, 2)).unwrap();
    let (audited, findings) = audit(&store, Audit::new());
    assert_eq!((audited.snapshots, findings.len()), (1, 0));
    let mut damaged = store.latest_snapshot(&account).unwrap().unwrap();
    damaged.state = EventData::from_stored(r#"{"balance": 3}"#);
    environment.rewrite_snapshots(&[damaged]);
    let (_, findings) = audit(&environment.reopen(), Audit::new());
    let found: Vec<_> = findings.iter().map(|finding| (finding.kind, finding.version)).collect();
    assert_eq!(found, [(FindingKind::Snapshot, Some(2.into()))], "{findings:?}");
}

pub(crate) fn an_audit_of_what_is_new_finds_what_is_new(environment: &dyn Environment) {
    let store = environment.store();
    let account = account();
    let old = given(&store, &account, 3);
    let (audited, _) = audit(&store, Audit::new());
    let new = given(&store, &account, 3);
    environment.damage(old[0].event_id(), &Damage::NoChecksum);
    environment.damage(new[1].event_id(), &Damage::NoChecksum);
    let (audited, findings) = audit(
        &environment.reopen(),
        Audit::new().only_after(audited.remembered.unwrap()),
    );
    let found: Vec<_> = findings.iter().map(|finding| finding.event_id).collect();
    assert_eq!((audited.events, found), (3, vec![Some(new[1].event_id())]));
}

pub(crate) fn an_audit_finds_a_log_that_is_not_the_remembered_one(environment: &dyn Environment) {
    let store = environment.store();
    five(&store);
    let remembered = audit(&store, Audit::new()).0.remembered.unwrap();
    five(&store);
    let (_, findings) = audit(&store, Audit::new().against(remembered));
    assert_eq!(findings, [], "a log that went on is the same log");
    let mut another = remembered;
    another.digest = LogDigest::OF_NOTHING;
    let (_, findings) = audit(&store, Audit::new().against(another));
    let kinds: Vec<_> = findings.iter().map(|finding| finding.kind).collect();
    assert_eq!(kinds, [FindingKind::History]);
    let mut longer = remembered;
    longer.global_sequence = GlobalSequence::from(1_000);
    let (_, findings) = audit(&store, Audit::new().only_after(longer));
    let kinds: Vec<_> = findings.iter().map(|finding| finding.kind).collect();
    assert_eq!(kinds, [FindingKind::History]);
}

pub(crate) fn maintenance_says_what_it_did_and_changes_nothing(environment: &dyn Environment) {
    let (source, store) = (source(), environment.store());
    import(&store, &export(&source).0).unwrap();
    for did in [store.update_statistics().unwrap(), store.vacuum().unwrap()] {
        assert!(!did.is_empty());
    }
    store.index_usage().unwrap();
    assert_eq!(store.check_storage().unwrap(), []);
    let diagnoses = store.diagnose().unwrap();
    assert!(!diagnoses.is_empty());
    for diagnosis in diagnoses {
        let has_advice = diagnosis.advice.is_some_and(|advice| !advice.is_empty());
        assert_eq!(
            has_advice,
            diagnosis.severity != Severity::Good,
            "{}",
            diagnosis.subject
        );
    }
    assert_eq!(comparable(&store), comparable(&source));
    assert_eq!(export(&store).1, export(&source).1);
}
