//! Snapshots: which is found, which is replaced, which is deleted.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use firefly_eventstore_core::prelude::*;
use firefly_eventstore_core::{EventData, SnapshotAt, SnapshotCover, SnapshotSelection, SnapshotType, time};
use time::Duration;

use crate::environment::{Damage, Environment};
use crate::support::*;

const NOTHING: [u64; 0] = [];

/// An aggregate with twenty events, and snapshots saved at these versions in this order.
fn given_snapshots(env: &dyn Environment, at: &[u32]) -> (Handle, AggregateKey) {
    let (store, account) = (env.store(), account());
    given(&*store, &account, 20);
    for &version in at {
        store.save(&snapshot(&account, version)).unwrap();
    }
    (store, account)
}

/// An aggregate with twenty events, and snapshots saved at these versions, of these forms, in this order.
fn given_forms(env: &dyn Environment, at: &[(u64, &str)]) -> (Handle, AggregateKey) {
    let (store, account) = (env.store(), account());
    given(&*store, &account, 20);
    for &(at, form) in at {
        let state = serde_json::json!({ "balance": at });
        store
            .save(&NewSnapshot::new(&account, Version::new(at).unwrap(), form, &state).unwrap())
            .unwrap();
    }
    (store, account)
}

fn listed(store: &Handle, aggregate: &AggregateKey) -> Vec<u64> {
    let snapshots = store.list_snapshots(None, aggregate).unwrap();
    snapshots.iter().map(|snapshot| snapshot.version.get()).collect()
}

fn version_of(found: Result<Option<Snapshot>, Error>) -> Option<u64> {
    found.unwrap().map(|snapshot| snapshot.version.get())
}

pub(crate) fn a_snapshot_keeps_every_field(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    given(&*store, &account, 3);
    let state = r#"{"balance":9007199254740993,"owner":"Zoë","rate":0.1}"#;
    let time = at(0) + Duration::microseconds(123_456);
    let new = NewSnapshot::from_json(&account, version(2), "AccountState.v1", state)
        .unwrap()
        .created_at(time)
        .unwrap();
    store.save(&new).unwrap();
    let found = store.snapshot_at(&account, version(2)).unwrap().unwrap();
    assert_eq!(found.snapshot_id, new.snapshot_id());
    assert_eq!(found.aggregate, account);
    assert_eq!(found.tenant, None);
    assert_eq!(found.version, version(2));
    assert_eq!(found.snapshot_type, "AccountState.v1");
    assert_same_json(&found.state, new.state());
    assert_eq!(found.created_at, time);
    assert_eq!(found.checksum, new.stored(None).checksum);
    assert_eq!(found.cover(), Some(SnapshotCover::Row));
    found.verify().unwrap();
    assert_eq!(store.list_snapshots(None, &account).unwrap(), [found]);
}

pub(crate) fn the_store_sets_the_time_of_a_snapshot(env: &dyn Environment) {
    let (store, account) = given_snapshots(env, &[1]);
    let time = store.latest_snapshot(&account).unwrap().unwrap().created_at;
    assert_eq!(time, time.truncate_to_microsecond());
    assert_eq!(time.offset(), time::UtcOffset::UTC);
    assert!(time > time::macros::datetime!(2025-01-01 0:00 UTC));
}

pub(crate) fn saving_at_the_same_version_replaces(env: &dyn Environment) {
    let (store, account) = given_snapshots(env, &[3, 5]);
    let other = NewSnapshot::from_json(&account, version(3), "AccountState.v1", r#"{"other":true}"#).unwrap();
    store.save(&other).unwrap();
    let found = store.snapshot_at(&account, version(3)).unwrap().unwrap();
    assert_eq!(found.snapshot_id, other.snapshot_id());
    assert_eq!(found.snapshot_type, "AccountState.v1");
    assert_same_json(&found.state, other.state());
    assert_eq!(found.cover(), Some(SnapshotCover::Row));
    assert_eq!(listed(&store, &account), [5, 3]);
}

pub(crate) fn saving_the_very_same_snapshot_again_is_harmless(env: &dyn Environment) {
    let (store, account) = given_snapshots(env, &[]);
    let one = snapshot(&account, 4);
    store.save(&one).unwrap();
    store.save(&one).unwrap();
    assert_eq!(listed(&store, &account), [4]);
}

pub(crate) fn two_snapshots_of_one_id_do_not_take_each_others_place(env: &dyn Environment) {
    let (store, account) = given_snapshots(env, &[3]);
    let first = store.latest_snapshot(&account).unwrap().unwrap();
    let second = snapshot(&account, 5).with_id(first.snapshot_id);
    // Whether the store accepts the second or refuses it, the first stays.
    let taken = store.save(&second).is_ok();
    assert_eq!(store.snapshot_at(&account, version(3)).unwrap(), Some(first));
    assert_eq!(listed(&store, &account).len(), 1 + usize::from(taken));
}

pub(crate) fn the_latest_is_that_of_the_greatest_version(env: &dyn Environment) {
    let (store, account) = given_snapshots(env, &[2, 10, 9]);
    assert_eq!(version_of(store.latest_snapshot(&account)), Some(10));
    assert_eq!(version_of(store.latest_snapshot(&aggregate("Account"))), None);
}

pub(crate) fn an_older_snapshot_never_hides_a_newer_one(env: &dyn Environment) {
    let (store, account) = given_snapshots(env, &[7]);
    let late = snapshot(&account, 3)
        .created_at(OffsetDateTime::now_utc().truncate_to_microsecond() + Duration::DAY)
        .unwrap();
    store.save(&late).unwrap();
    assert_eq!(version_of(store.latest_snapshot(&account)), Some(7));
    assert_eq!(version_of(store.latest_snapshot_up_to(&account, version(20))), Some(7));
    assert_eq!(listed(&store, &account), [7, 3]);
}

pub(crate) fn finds_the_latest_up_to_a_version_inclusive(env: &dyn Environment) {
    let (store, account) = given_snapshots(env, &[5, 9, 11]);
    let up_to = |at| version_of(store.latest_snapshot_up_to(&account, version(at)));
    assert_eq!(
        [4, 5, 8, 9, 10, 11, 20].map(up_to),
        [None, Some(5), Some(5), Some(9), Some(9), Some(11), Some(11)]
    );
}

pub(crate) fn finds_the_one_at_a_version(env: &dyn Environment) {
    let (store, account) = given_snapshots(env, &[5, 9]);
    let exactly = |at| version_of(store.snapshot_at(&account, version(at)));
    assert_eq!([4, 5, 6, 9, 10].map(exactly), [None, Some(5), None, Some(9), None]);
}

pub(crate) fn finds_the_latest_of_a_form(env: &dyn Environment) {
    let (store, account) = given_forms(
        env,
        &[(4, "State.v1"), (9, "State.v1"), (10, "State.v2"), (11, "State.v3")],
    );
    let latest = |form| version_of(store.latest_snapshot_of(&account, form));
    assert_eq!(
        ["State.v1", "State.v2", "State.v3"].map(latest),
        [Some(9), Some(10), Some(11)]
    );
    assert_eq!(["State", "state.v1", "State.v1 ", "State.v10"].map(latest), [None; 4]);
    assert_eq!(version_of(store.latest_snapshot(&account)), Some(11));
    let found = store.latest_snapshot_of(&account, "State.v1").unwrap().unwrap();
    assert_eq!(found.snapshot_type, "State.v1");
    assert_eq!(found.cover(), Some(SnapshotCover::Row));
    assert_eq!(
        version_of(store.latest_snapshot_of(&aggregate("Account"), "State.v1")),
        None
    );
    let order = AggregateKey::new("Order", account.id()).unwrap();
    assert_eq!(version_of(store.latest_snapshot_of(&order, "State.v1")), None);
    assert_invalid(&store.latest_snapshot_of(&account, "").unwrap_err(), "empty");
}

pub(crate) fn finds_the_latest_of_a_form_up_to_a_version_inclusive(env: &dyn Environment) {
    let (store, account) = given_forms(
        env,
        &[(3, "State.v1"), (5, "State.v2"), (8, "State.v1"), (10, "State.v2")],
    );
    let form = SnapshotType::new("State.v1").unwrap();
    let up_to = |at| version_of(store.find_snapshot(None, &account, SnapshotAt::LatestOfUpTo(&form, version(at))));
    assert_eq!(
        [2, 3, 7, 8, 10, 20].map(up_to),
        [None, Some(3), Some(3), Some(8), Some(8), Some(8)]
    );
}

/// The forms, and the balances, of the snapshots of an aggregate as they are listed.
fn listed_forms(store: &Handle, aggregate: &AggregateKey) -> Vec<(u64, String, u64)> {
    let snapshots = store.list_snapshots(None, aggregate).unwrap();
    let told = snapshots.iter().map(|snapshot| {
        let state: serde_json::Value = snapshot.state().unwrap();
        let form = snapshot.snapshot_type.to_string();
        (snapshot.version.get(), form, state["balance"].as_u64().unwrap())
    });
    told.collect()
}

pub(crate) fn another_form_at_the_same_version_stays_beside_it(env: &dyn Environment) {
    // Not in the order of the names; the names are ones that collations would order differently.
    let forms = [
        (9, "State.v2"),
        (5, "State.v1"),
        (9, "State.v1"),
        (9, "a"),
        (9, "state.v1"),
    ];
    let (store, account) = given_forms(env, &forms);
    let latest = |form| version_of(store.latest_snapshot_of(&account, form));
    assert_eq!(
        ["State.v1", "State.v2", "state.v1", "a", "A"].map(latest),
        [Some(9), Some(9), Some(9), Some(9), None]
    );
    let of_nine = |form: &str| (9, form.to_owned(), 9);
    let all = [
        of_nine("state.v1"),
        of_nine("a"),
        of_nine("State.v2"),
        of_nine("State.v1"),
        (5, "State.v1".to_owned(), 5),
    ];
    assert_eq!(listed_forms(&store, &account), all);
    assert_eq!(store.count_snapshots(None, &account).unwrap(), 5);
    for found in [
        store.latest_snapshot(&account),
        store.latest_snapshot_up_to(&account, version(12)),
        store.snapshot_at(&account, version(9)),
        store
            .load_from_snapshot(None, &account, SnapshotAt::Latest)
            .map(|(snapshot, _)| snapshot),
    ] {
        assert_eq!(found.unwrap().unwrap().snapshot_type, "state.v1");
    }

    // Each is replaced by its own form only.
    let again = NewSnapshot::new(&account, version(9), "State.v2", &serde_json::json!({ "balance": 90 })).unwrap();
    store.save(&again).unwrap();
    let mut replaced = all.clone();
    replaced[2].2 = 90;
    assert_eq!(listed_forms(&store, &account), replaced);
}

pub(crate) fn a_snapshot_takes_no_id_of_another_form(env: &dyn Environment) {
    let (store, account) = given_forms(env, &[(9, "State.v1")]);
    let first = store.latest_snapshot(&account).unwrap().unwrap();
    let second = NewSnapshot::new(&account, version(9), "State.v2", &0).unwrap();
    // Whether the store accepts the second or refuses it, the first stays.
    let taken = store.save(&second.with_id(first.snapshot_id)).is_ok();
    assert_eq!(store.latest_snapshot_of(&account, "State.v1").unwrap(), Some(first));
    assert_eq!(listed(&store, &account).len(), 1 + usize::from(taken));
}

pub(crate) fn deletes_every_form_of_a_version_and_keeps_the_last_of_those_of_the_newest(env: &dyn Environment) {
    let forms = [
        (5, "State.v1"),
        (5, "State.v2"),
        (9, "State.v2"),
        (9, "State.v1"),
        (9, "State.v3"),
    ];
    let (store, account) = given_forms(env, &forms);
    let five = SnapshotSelection::Exactly(&account, version(5));
    assert_eq!(store.delete_snapshots(None, five).unwrap(), 2);
    assert_eq!(listed(&store, &account), [9, 9, 9]);
    assert_eq!(store.keep_latest_snapshots_of(&account, "State.v2", 1).unwrap(), 0);
    assert_eq!(store.keep_latest_snapshots(&account, 2).unwrap(), 1);
    let left = listed_forms(&store, &account);
    let left: Vec<&str> = left.iter().map(|(_, form, _)| form.as_str()).collect();
    assert_eq!(left, ["State.v3", "State.v2"]);
    let before = SnapshotSelection::Before(&account, version(10));
    assert_eq!(store.delete_snapshots(None, before).unwrap(), 2);
}

pub(crate) fn lists_the_newest_version_first(env: &dyn Environment) {
    let (store, account) = given_snapshots(env, &[9, 1, 11, 2, 10]);
    assert_eq!(listed(&store, &account), [11, 10, 9, 2, 1]);
    assert_eq!(store.count_snapshots(None, &account).unwrap(), 5);
}

pub(crate) fn snapshots_of_aggregates_do_not_mix(env: &dyn Environment) {
    let (store, ada) = given_snapshots(env, &[1, 2]);
    let bob = aggregate("Account");
    given(&*store, &bob, 5);
    store.save(&snapshot(&bob, 5)).unwrap();
    assert_eq!(listed(&store, &ada), [2, 1]);
    assert_eq!(listed(&store, &bob), [5]);
    assert_eq!(
        store
            .delete_snapshots(None, SnapshotSelection::Aggregate(&ada))
            .unwrap(),
        2
    );
    assert_eq!(listed(&store, &bob), [5]);
}

pub(crate) fn another_type_finds_nothing(env: &dyn Environment) {
    let (store, account) = given_snapshots(env, &[1]);
    assert_eq!(listed(&store, &account), [1]);
    let order = AggregateKey::new("Order", account.id()).unwrap();
    assert_eq!(version_of(store.latest_snapshot(&order)), None);
    assert_eq!(store.count_snapshots(None, &order).unwrap(), 0);
    assert_eq!(
        store
            .delete_snapshots(None, SnapshotSelection::Aggregate(&order))
            .unwrap(),
        0
    );
    assert_eq!(listed(&store, &account), [1]);
}

pub(crate) fn a_version_that_the_aggregate_does_not_have_is_refused(env: &dyn Environment) {
    let (store, account) = given_snapshots(env, &[20]);
    assert_invalid(&store.save(&snapshot(&account, 21)).unwrap_err(), "version 20");
    let missing = aggregate("Account");
    assert_invalid(&store.save(&snapshot(&missing, 1)).unwrap_err(), "version 0");
    assert_eq!(listed(&store, &account), [20]);
    assert_eq!(listed(&store, &missing), NOTHING);
}

pub(crate) fn deletes_one(env: &dyn Environment) {
    let (store, account) = given_snapshots(env, &[1, 2, 3]);
    let delete = |at| {
        store
            .delete_snapshots(None, SnapshotSelection::Exactly(&account, version(at)))
            .unwrap()
    };
    assert_eq!([delete(2), delete(2), delete(9)], [1, 0, 0]);
    assert_eq!(listed(&store, &account), [3, 1]);
}

pub(crate) fn deletes_all_of_an_aggregate(env: &dyn Environment) {
    let (store, account) = given_snapshots(env, &[1, 2, 3]);
    assert_eq!(
        store
            .delete_snapshots(None, SnapshotSelection::Aggregate(&account))
            .unwrap(),
        3
    );
    assert_eq!(listed(&store, &account), NOTHING);
    assert_eq!(store.version(&account).unwrap(), 20);
}

pub(crate) fn deletes_those_before_a_version(env: &dyn Environment) {
    let (store, account) = given_snapshots(env, &[1, 2, 9, 10, 11]);
    let before = SnapshotSelection::Before(&account, version(10));
    assert_eq!(store.delete_snapshots(None, before).unwrap(), 3);
    assert_eq!(listed(&store, &account), [11, 10]);
}

pub(crate) fn keeps_the_latest_n(env: &dyn Environment) {
    let (store, account) = given_snapshots(env, &[9, 3, 10, 1, 11]);
    let other = aggregate("Account");
    given(&*store, &other, 1);
    store.save(&snapshot(&other, 1)).unwrap();
    assert_eq!(store.keep_latest_snapshots(&account, 9).unwrap(), 0);
    assert_eq!(store.keep_latest_snapshots(&account, 2).unwrap(), 3);
    assert_eq!(listed(&store, &account), [11, 10]);
    assert_eq!(store.keep_latest_snapshots(&account, 0).unwrap(), 2);
    assert_eq!(listed(&store, &account), NOTHING);
    assert_eq!(listed(&store, &other), [1]);
    assert_eq!(store.keep_latest_snapshots(&other, u64::MAX).unwrap(), 0);
}

pub(crate) fn keeps_the_latest_n_of_a_form(env: &dyn Environment) {
    let forms = [
        (1, "State.v1"),
        (3, "State.v2"),
        (9, "State.v1"),
        (10, "State.v2"),
        (11, "State.v1"),
    ];
    let (store, account) = given_forms(env, &forms);
    let keep = |form, count| store.keep_latest_snapshots_of(&account, form, count).unwrap();
    assert_eq!([keep("State.v1", 9), keep("State.v3", 0), keep("State.v1 ", 0)], [0; 3]);
    assert_eq!(keep("State.v1", 1), 2);
    assert_eq!(listed(&store, &account), [11, 10, 3]);
    assert_eq!(keep("State.v2", 1), 1);
    assert_eq!(listed(&store, &account), [11, 10]);
    assert_eq!(keep("State.v1", 0), 1);
    assert_eq!(listed(&store, &account), [10]);
    assert_eq!(keep("State.v2", u64::MAX), 0);
    assert_invalid(&store.keep_latest_snapshots_of(&account, "", 0).unwrap_err(), "empty");
}

pub(crate) fn deletes_those_older_than_a_time(env: &dyn Environment) {
    let (store, ada) = given_snapshots(env, &[]);
    let bob = aggregate("Account");
    given(&*store, &bob, 3);
    for (aggregate, number, second) in [(&ada, 1, 30), (&ada, 2, 10), (&bob, 1, 20), (&bob, 2, 29)] {
        store
            .save(&snapshot(aggregate, number).created_at(at(second)).unwrap())
            .unwrap();
    }
    assert_eq!(store.delete_snapshots_older_than(at(10)).unwrap(), 0);
    assert_eq!(store.delete_snapshots_older_than(at(29)).unwrap(), 2);
    assert_eq!(listed(&store, &ada), [1]);
    assert_eq!(listed(&store, &bob), [2]);
    assert_eq!(
        store
            .delete_snapshots_older_than(at(29) + Duration::NANOSECOND)
            .unwrap(),
        1
    );
    assert_eq!(listed(&store, &bob), NOTHING);
}

pub(crate) fn deletes_every_snapshot(env: &dyn Environment) {
    let (store, account) = given_snapshots(env, &[1, 2]);
    assert_eq!(store.delete_snapshots(None, SnapshotSelection::All).unwrap(), 2);
    assert_eq!(store.snapshot_statistics(None).unwrap().snapshots, 0);
    assert_eq!(listed(&store, &account), NOTHING);
    assert_eq!(store.load(&account).unwrap().len(), 20);
}

pub(crate) fn statistics_tell_what_there_is(env: &dyn Environment) {
    let (store, ada) = given_snapshots(env, &[]);
    let bob = aggregate("Account");
    given(&*store, &bob, 1);
    let nothing = store.snapshot_statistics(None).unwrap();
    assert_eq!((nothing.snapshots, nothing.oldest, nothing.newest), (0, None, None));
    for (aggregate, number, second) in [(&ada, 1, 30), (&ada, 2, 10), (&bob, 1, 20)] {
        let snapshot = NewSnapshot::from_json(aggregate, version(number), "State", r#""é""#).unwrap();
        store.save(&snapshot.created_at(at(second)).unwrap()).unwrap();
    }
    let statistics = store.snapshot_statistics(None).unwrap();
    assert_eq!((statistics.snapshots, statistics.aggregates), (3, 2));
    assert_eq!(statistics.total_bytes, 12);
    assert_eq!((statistics.oldest, statistics.newest), (Some(at(10)), Some(at(30))));
}

pub(crate) fn snapshots_are_there_after_reopening(env: &dyn Environment) {
    let (_, account) = given_snapshots(env, &[4, 8]);
    let reopened = env.reopen();
    assert_eq!(listed(&reopened, &account), [8, 4]);
    assert_eq!(
        reopened
            .latest_snapshot(&account)
            .unwrap()
            .unwrap()
            .state::<serde_json::Value>()
            .unwrap(),
        serde_json::json!({ "balance": 8 })
    );
}

pub(crate) fn an_aggregate_is_rebuilt_from_a_snapshot_and_the_events_after_it(env: &dyn Environment) {
    let (store, account) = given_snapshots(env, &[5, 15]);
    let latest = store.latest_snapshot(&account).unwrap().unwrap();
    let after = latest.version.checked_add(1).unwrap();
    let rest = store
        .load_range(&account, &StreamRange::all().from_version(after))
        .unwrap();
    assert_eq!(versions(&rest), [16, 17, 18, 19, 20]);
    assert_eq!(rest.version(), 20);
}

/// The version of the snapshot that was loaded, the versions of the events, and that of the aggregate.
fn loaded_from(
    store: &(impl SnapshotStore + ?Sized),
    aggregate: &AggregateKey,
    at: SnapshotAt<'_>,
) -> (Option<u64>, Vec<u64>, u64) {
    let (snapshot, stream) = store.load_from_snapshot(None, aggregate, at).unwrap();
    assert_eq!(stream.aggregate(), aggregate);
    let at = snapshot.map(|snapshot| snapshot.version.get());
    (at, versions(&stream), stream.version().get())
}

pub(crate) fn a_snapshot_comes_with_the_events_from_its_version_on(env: &dyn Environment) {
    let forms = [(4, "State.v1"), (9, "State.v1"), (10, "State.v2"), (20, "State.v3")];
    let (store, account) = given_forms(env, &forms);
    let [v1, v2, v3, v4] =
        ["State.v1", "State.v2", "State.v3", "State.v4"].map(|form| SnapshotType::new(form).unwrap());
    for (at, expected) in [
        (SnapshotAt::Latest, Some(20)),
        (SnapshotAt::LatestUpTo(version(19)), Some(10)),
        (SnapshotAt::LatestUpTo(version(3)), None),
        (SnapshotAt::Exactly(version(4)), Some(4)),
        (SnapshotAt::Exactly(version(5)), None),
        (SnapshotAt::LatestOf(&v1), Some(9)),
        (SnapshotAt::LatestOf(&v2), Some(10)),
        (SnapshotAt::LatestOf(&v3), Some(20)),
        (SnapshotAt::LatestOf(&v4), None),
        (SnapshotAt::LatestOfUpTo(&v1, version(8)), Some(4)),
        (SnapshotAt::LatestOfUpTo(&v2, version(9)), None),
    ] {
        let (snapshot, stream) = store.load_from_snapshot(None, &account, at).unwrap();
        assert_eq!(snapshot, store.find_snapshot(None, &account, at).unwrap(), "{at:?}");
        let found = snapshot.map(|snapshot| snapshot.version.get());
        assert_eq!(found, expected, "{at:?}");
        let from = Version::new(found.unwrap_or(1)).unwrap();
        let part = store
            .load_range(&account, &StreamRange::all().from_version(from))
            .unwrap();
        assert_eq!(versions(&stream), (from.get()..=20).collect::<Vec<_>>(), "{at:?}");
        assert_eq!(stream, part, "{at:?}");
    }
    let nobody = aggregate("Account");
    assert_eq!(loaded_from(&*store, &nobody, SnapshotAt::Latest), (None, Vec::new(), 0));
}

pub(crate) fn loading_another_type_is_refused_with_a_snapshot_too(env: &dyn Environment) {
    let (store, account) = given_snapshots(env, &[5]);
    let order = AggregateKey::new("Order", account.id()).unwrap();
    let refused = store.load_from_snapshot(None, &order, SnapshotAt::Latest).unwrap_err();
    assert_type_mismatch(&refused, &order, &account);
}

pub(crate) fn a_tenant_loads_from_its_own_snapshots(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let (acme, globex) = (scoped(&store, "acme"), scoped(&store, "globex"));
    given(&acme, &account, 5);
    acme.save(&snapshot(&account, 3)).unwrap();
    let latest = SnapshotAt::Latest;
    let from_its_own = (Some(3), vec![3, 4, 5], 5);
    assert_eq!(loaded_from(&acme, &account, latest), from_its_own);
    assert_eq!(loaded_from(&*store, &account, latest), from_its_own);
    assert_eq!(loaded_from(&globex, &account, latest), (None, Vec::new(), 0));
    let named = store.load_from_snapshot(Some(&tenant("globex")), &account, latest);
    let (snapshot, stream) = named.unwrap();
    assert_eq!((snapshot, stream.exists()), (None, false));
    let other = acme.load_from_snapshot(Some(&tenant("globex")), &account, latest);
    assert_invalid(&other.unwrap_err(), "acme");

    // A snapshot that was moved to another tenant gives that tenant no event.
    let mut moved = acme.latest_snapshot(&account).unwrap().unwrap();
    moved.tenant = Some(tenant("globex"));
    env.rewrite_snapshots(&[moved]);
    assert_eq!(loaded_from(&acme, &account, latest), (None, vec![1, 2, 3, 4, 5], 5));
    assert_eq!(loaded_from(&globex, &account, latest), (Some(3), Vec::new(), 0));
}

pub(crate) fn a_snapshot_whose_events_are_gone_comes_with_none(env: &dyn Environment) {
    let (store, account) = given_snapshots(env, &[4, 7]);
    let (kept, events) = (store.list_snapshots(None, &account).unwrap(), log(&*store));
    env.rewrite_snapshots(&[]);
    env.rewrite_log(&events[..5]);
    env.rewrite_snapshots(&kept);
    assert_eq!(
        loaded_from(&*store, &account, SnapshotAt::Latest),
        (Some(7), Vec::new(), 5)
    );
    let before = SnapshotAt::LatestUpTo(version(6));
    assert_eq!(loaded_from(&*store, &account, before), (Some(4), vec![4, 5], 5));
}

pub(crate) fn what_is_loaded_from_a_snapshot_is_verified_if_told_to(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let events = given(&*store, &account, 6);
    store.save(&snapshot(&account, 4)).unwrap();
    let load = |store: &Handle| store.load_from_snapshot(None, &account, SnapshotAt::Latest);
    env.damage(events[1].event_id(), &Damage::Data("[]"));
    assert_eq!(load(&env.verifying_store()).unwrap().1.len(), 3);
    env.damage(events[4].event_id(), &Damage::Data("[]"));
    assert_damaged(&load(&env.verifying_store()).unwrap_err(), events[4].event_id());
    assert_eq!(load(&store).unwrap().1.len(), 3);

    let intact = store.latest_snapshot(&account).unwrap().unwrap();
    let mut damaged = intact;
    damaged.state = EventData::from_stored(r#"{"balance":3}"#);
    env.rewrite_snapshots(&[damaged]);
    assert!(load(&env.verifying_store()).unwrap_err().is_integrity());
    assert!(load(&store).unwrap().0.unwrap().verify().is_err());
}

pub(crate) fn a_snapshot_and_its_events_are_of_one_state_beside_busy_writers(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    given(&*store, &account, 1);
    store.save(&snapshot(&account, 1)).unwrap();
    let finished = AtomicUsize::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut appends = 2..20_000;
            while let Some(at) = appends.next().filter(|_| finished.load(Ordering::SeqCst) == 0) {
                store.append(&account, ExpectedVersion::Any, &events(1)).unwrap();
                store.save(&snapshot(&account, at)).unwrap();
                store.keep_latest_snapshots(&account, 1).unwrap();
            }
        });
        let _done = Done(&finished);
        for _ in 0..300 {
            let (found, loaded, newest) = loaded_from(&*store, &account, SnapshotAt::Latest);
            let found = found.expect("the newest is never deleted");
            assert_eq!(loaded, (found..=newest).collect::<Vec<_>>());
            // In each state, the snapshot is that of the last event, or of the one before it.
            assert!(newest - found <= 1, "snapshot {found}, events up to {newest}");
        }
    });
}
