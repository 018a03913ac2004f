//! Tenant isolation, in every read and append of a tenant-scoped store.

use firefly_eventstore_core::prelude::*;
use firefly_eventstore_core::{SnapshotAt, SnapshotSelection, SummaryQuery};

use crate::environment::Environment;
use crate::support::*;

pub(crate) fn appends_are_for_the_tenant(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let acme = scoped(&store, "acme");
    let events = given(&acme, &account, 2);
    let stream = acme.load(&account).unwrap();
    assert_stream(&stream, &events);
    for event in log(&*store) {
        assert_eq!(event.tenant, Some(tenant("acme")));
    }
    assert_eq!(log(&*store).len(), 2);
}

pub(crate) fn anothers_aggregate_is_empty_at_version_0(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let globex = scoped(&store, "globex");
    given_at(&scoped(&store, "acme"), &account, 0);
    assert_eq!(scoped(&store, "acme").version(&account).unwrap(), 1);
    let stream = globex.load(&account).unwrap();
    assert!(stream.is_empty());
    assert_eq!(stream.version(), 0);
    assert_eq!(globex.version(&account).unwrap(), 0);
    assert!(!globex.load_as_of(&account, version(1)).unwrap().exists());
    assert!(!globex.load_as_of(&account, at(9)).unwrap().exists());
    assert!(!globex.load_as_of(&account, GlobalSequence::MAX).unwrap().exists());
}

pub(crate) fn an_aggregate_of_no_tenant_is_empty_to_every_tenant(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    given(&*store, &account, 2);
    let acme = scoped(&store, "acme");
    assert_eq!(acme.load(&account).unwrap().version(), 0);
    assert_eq!(log(&acme), []);
    assert_eq!(store.version(&account).unwrap(), 2);
}

pub(crate) fn the_log_shows_only_the_tenants_own_events(env: &dyn Environment) {
    let store = env.store();
    let (acme, globex) = (scoped(&store, "acme"), scoped(&store, "globex"));
    let shared = || event("a.b").correlation_id("c-1").unwrap().created_at(at(0)).unwrap();
    for _ in 0..3 {
        acme.append(&account(), ExpectedVersion::Any, &[shared()]).unwrap();
        globex.append(&account(), ExpectedVersion::Any, &[shared()]).unwrap();
        store.append(&account(), ExpectedVersion::Any, &[shared()]).unwrap();
    }
    for query in [
        EventQuery::new(),
        EventQuery::new().event_types(["a.b"]).unwrap(),
        EventQuery::new().aggregate_types(["Account"]).unwrap(),
        EventQuery::new().correlation_id("c-1").unwrap(),
        EventQuery::new().created_at(at(0)..=at(0)),
        EventQuery::new().tenant("acme").unwrap(),
        EventQuery::new().event_ids(stored_ids(&log(&*store))),
        EventQuery::new().backwards(),
    ] {
        let found = read(&acme, query);
        assert_eq!(found.len(), 3);
        assert!(found.iter().all(|event| event.tenant == Some(tenant("acme"))));
    }
    assert_eq!(log(&*store).len(), 9);
}

pub(crate) fn anothers_event_is_not_found_by_its_id(env: &dyn Environment) {
    let store = env.store();
    let (acme, globex) = (scoped(&store, "acme"), scoped(&store, "globex"));
    let event = given(&acme, &account(), 1).remove(0);
    assert!(acme.find_event(event.event_id()).unwrap().is_some());
    assert_eq!(globex.find_event(event.event_id()).unwrap(), None);
}

pub(crate) fn anothers_event_id_is_refused(env: &dyn Environment) {
    let store = env.store();
    let (acme, globex) = (scoped(&store, "acme"), scoped(&store, "globex"));
    let events = given(&acme, &account(), 2);
    let account = account();
    let error = refused(&*store, || globex.append(&account, ExpectedVersion::Any, &events));
    assert_duplicate(&error, &account, &ids(&events));
}

pub(crate) fn the_mark_is_that_of_the_whole_log(env: &dyn Environment) {
    let store = env.store();
    let (acme, globex) = (scoped(&store, "acme"), scoped(&store, "globex"));
    given(&acme, &account(), 2);
    given(&globex, &account(), 3);
    let mark = store.high_water_mark().unwrap();
    assert_eq!(Some(mark), sequences(&log(&*store)).last().copied());
    assert_eq!(acme.high_water_mark().unwrap(), mark);
    let mut events = acme.read(EventQuery::new());
    assert_eq!(events.by_ref().count(), 2);
    assert_eq!(events.high_water_mark(), Some(mark));
}

pub(crate) fn repeating_an_append_of_the_tenant_is_recognised(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let acme = scoped(&store, "acme");
    let events = given(&acme, &account, 2);
    let repeated = acme.append(&account, ExpectedVersion::NoStream, &events).unwrap();
    assert!(repeated.is_already_stored());
    assert_eq!(repeated.version(), 2);
}

pub(crate) fn naming_another_tenant_is_refused(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let (acme, globex) = (scoped(&store, "acme"), tenant("globex"));
    let new = events(1);
    given(&scoped(&store, "globex"), &account, 1);
    let append = Append::new(&account, ExpectedVersion::Any, &new).tenant(&globex);
    assert_invalid(&acme.append_all(&[append]).unwrap_err(), "another");
    let range = StreamRange::all().tenant(globex.clone());
    assert_invalid(&acme.load_range(&account, &range).unwrap_err(), "another");
    let query = EventQuery::new().tenant(&globex).unwrap();
    assert_invalid(&acme.read_page(&query, None).unwrap_err(), "another");
    assert_invalid(&acme.statistics(Some(&globex)).unwrap_err(), "another");
    let summaries = SummaryQuery::new().tenant(globex.clone());
    assert_invalid(&acme.aggregate_summaries(&summaries).unwrap_err(), "another");
    let found = acme.find_snapshot(Some(&globex), &account, SnapshotAt::Latest);
    assert_invalid(&found.unwrap_err(), "another");
    assert_eq!(log(&*store).len(), 1);
}

pub(crate) fn tenants_that_look_alike_stay_distinct(env: &dyn Environment) {
    let store = env.store();
    let accounts = LOOK_ALIKES.map(|name| {
        let account = account();
        given(&scoped(&store, name), &account, 1);
        account
    });
    for (name, own) in LOOK_ALIKES.into_iter().zip(&accounts) {
        let scoped = scoped(&store, name);
        let found = log(&scoped);
        assert_eq!(found.len(), 1, "{name:?}");
        assert_eq!(found[0].tenant.as_ref().unwrap(), &name);
        assert_eq!(found[0].aggregate, *own);
        assert_eq!(scoped.statistics(None).unwrap().total_events, 1);
        let visible = accounts.iter().filter(|account| scoped.load(account).unwrap().exists());
        assert_eq!(visible.collect::<Vec<_>>(), [own], "{name:?}");
        let strangers = accounts.iter().filter(|account| *account != own);
        for stranger in strangers {
            let error = scoped.append(stranger, exact(1), &events(1)).unwrap_err();
            assert_tenant_mismatch(&error, stranger);
        }
    }
}

pub(crate) fn transactions_are_for_the_tenant(env: &dyn Environment) {
    let store = env.store();
    let (acme, globex) = (scoped(&store, "acme"), scoped(&store, "globex"));
    let (ada, bob) = (account(), account());
    given(&globex, &bob, 2);
    acme.in_transaction(|tx| -> Result<_, Error> {
        tx.append(&ada, ExpectedVersion::NoStream, &events(2))?;
        assert_eq!(tx.load(&ada)?.version(), 2);
        assert!(!tx.load(&bob)?.exists());
        Ok(())
    })
    .unwrap();
    assert_eq!(acme.version(&ada).unwrap(), 2);
    assert!(!globex.load(&ada).unwrap().exists());
    let error = refused(&*store, || {
        acme.in_transaction(|tx| tx.append(&bob, ExpectedVersion::Any, &events(1)))
    });
    assert_tenant_mismatch(&error, &bob);
}

pub(crate) fn naming_another_tenant_dooms_the_transaction(env: &dyn Environment) {
    let store = env.store();
    let (acme, globex) = (scoped(&store, "acme"), tenant("globex"));
    let (ada, bob, new) = (account(), account(), events(1));
    given(&acme, &ada, 1);
    let error = refused(&*store, || {
        acme.in_transaction(|tx| -> Result<_, Error> {
            tx.append(&ada, ExpectedVersion::Any, &events(1))?;
            let stranger = Append::new(&bob, ExpectedVersion::Any, &new).tenant(&globex);
            assert_invalid(&tx.append_all(&[stranger]).unwrap_err(), "another");
            Ok(())
        })
    });
    assert_invalid(&error, "another");
    assert_eq!(acme.version(&ada).unwrap(), 1);
}

pub(crate) fn statistics_count_only_the_tenants_own(env: &dyn Environment) {
    let store = env.store();
    let (acme, globex) = (scoped(&store, "acme"), scoped(&store, "globex"));
    given(&acme, &account(), 2);
    given(&globex, &aggregate("Order"), 3);
    given(&*store, &aggregate("Cart"), 4);
    let own = acme.statistics(None).unwrap();
    assert_eq!((own.total_events, own.total_aggregates), (2, 1));
    assert_eq!(own.current_global_sequence, log(&acme)[1].global_sequence);
    assert_eq!(own.event_types[0].event_count, 2);
    assert_eq!(own.aggregate_types.len(), 1);
    assert_eq!(own.aggregate_types[0].aggregate_type, "Account");
    assert_eq!(own.details.len(), 1);
    assert_eq!(store.statistics(Some(&tenant("globex"))).unwrap().total_events, 3);
    assert_eq!(store.statistics(None).unwrap().total_events, 9);
    assert_eq!(store.statistics(Some(&tenant("nobody"))).unwrap().total_events, 0);
}

pub(crate) fn summaries_show_only_the_tenants_own(env: &dyn Environment) {
    let store = env.store();
    let acme = scoped(&store, "acme");
    let account = account();
    given(&acme, &account, 2);
    given(&scoped(&store, "globex"), &aggregate("Account"), 3);
    given(&*store, &aggregate("Account"), 4);
    let own = acme.aggregate_summaries(&SummaryQuery::new()).unwrap();
    assert_eq!(own.len(), 1);
    assert_eq!(own[0].aggregate_id, account.id());
    assert_eq!(own[0].tenant, Some(tenant("acme")));
    assert_eq!(store.aggregate_summaries(&SummaryQuery::new()).unwrap().len(), 3);
}

pub(crate) fn snapshots_belong_to_the_tenant(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let (acme, globex) = (scoped(&store, "acme"), scoped(&store, "globex"));
    given(&acme, &account, 3);
    for at in 1..=3 {
        acme.save(&snapshot(&account, at)).unwrap();
    }
    let own = acme.latest_snapshot(&account).unwrap().unwrap();
    assert_eq!(own.tenant, Some(tenant("acme")));
    assert_eq!(own.version, version(3));
    assert_eq!(acme.list_snapshots(None, &account).unwrap().len(), 3);
    assert_eq!(acme.snapshot_statistics(None).unwrap().snapshots, 3);

    assert_eq!(globex.latest_snapshot(&account).unwrap(), None);
    let form = &own.snapshot_type;
    let of_form = |store: &dyn SnapshotStore| store.find_snapshot(None, &account, SnapshotAt::LatestOf(form)).unwrap();
    assert_eq!((of_form(&globex), of_form(&acme)), (None, Some(own.clone())));
    assert_eq!(globex.snapshot_at(&account, version(2)).unwrap(), None);
    assert_eq!(globex.list_snapshots(None, &account).unwrap(), []);
    assert_eq!(globex.count_snapshots(None, &account).unwrap(), 0);
    assert_eq!(globex.snapshot_statistics(None).unwrap().snapshots, 0);
}

pub(crate) fn deleting_snapshots_spares_those_of_others(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let (acme, globex) = (scoped(&store, "acme"), scoped(&store, "globex"));
    given(&acme, &account, 2);
    acme.save(&snapshot(&account, 1)).unwrap();
    acme.save(&snapshot(&account, 2)).unwrap();
    let form = snapshot(&account, 2).snapshot_type().clone();
    for selection in [
        SnapshotSelection::All,
        SnapshotSelection::Aggregate(&account),
        SnapshotSelection::AllButLatest(&account, 0),
        SnapshotSelection::AllButLatestOf(&account, &form, 0),
        SnapshotSelection::Before(&account, Version::MAX),
        SnapshotSelection::Exactly(&account, version(1)),
        SnapshotSelection::OlderThan(OffsetDateTime::now_utc() + firefly_eventstore_core::time::Duration::DAY),
    ] {
        assert_eq!(globex.delete_snapshots(None, selection).unwrap(), 0, "{selection:?}");
    }
    assert_eq!(acme.count_snapshots(None, &account).unwrap(), 2);
    assert_eq!(acme.delete_snapshots(None, SnapshotSelection::All).unwrap(), 2);
}
