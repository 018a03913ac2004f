//! Any combination of filters; the limit counts after them.

use std::num::NonZeroU32;

use firefly_eventstore_core::prelude::*;

use crate::environment::Environment;
use crate::support::*;

const NOTHING: [usize; 0] = [];

/// The positions in `all` of what a query finds.
fn found(store: &Handle, all: &[NewEvent], query: EventQuery) -> Vec<usize> {
    let position = |event: &EventEnvelope| {
        all.iter()
            .position(|appended| appended.event_id() == event.event_id)
            .expect("only these were appended")
    };
    read(&**store, query).iter().map(position).collect()
}

/// Appends each event to an aggregate of its own, and returns them.
fn given_each(store: &Handle, events: impl IntoIterator<Item = NewEvent>) -> Vec<NewEvent> {
    let events: Vec<_> = events.into_iter().collect();
    for event in &events {
        store
            .append(&account(), ExpectedVersion::NoStream, std::slice::from_ref(event))
            .unwrap();
    }
    events
}

pub(crate) fn by_event_types(env: &dyn Environment) {
    let store = env.store();
    let all = given_each(&store, ["a.a", "a.b", "a.c", "a.b", "a.a"].map(event));
    let query = |types: &[&'static str]| EventQuery::new().event_types(types.iter().copied()).unwrap();
    assert_eq!(found(&store, &all, query(&["a.b"])), [1, 3]);
    assert_eq!(found(&store, &all, query(&["a.c", "a.a"])), [0, 2, 4]);
    assert_eq!(found(&store, &all, query(&["a"])), NOTHING);
    assert_eq!(found(&store, &all, query(&["a.a", "a.d"]).backwards()), [4, 0]);
}

pub(crate) fn by_aggregate_types(env: &dyn Environment) {
    let store = env.store();
    let all = events(6);
    for (index, name) in ["Account", "Order", "Cart", "Order", "Account", "Order"]
        .into_iter()
        .enumerate()
    {
        store
            .append(&aggregate(name), ExpectedVersion::NoStream, &all[index..=index])
            .unwrap();
    }
    let query = |types: &[&'static str]| EventQuery::new().aggregate_types(types.iter().copied()).unwrap();
    assert_eq!(found(&store, &all, query(&["Order"])), [1, 3, 5]);
    assert_eq!(found(&store, &all, query(&["Cart", "Account"])), [0, 2, 4]);
    assert_eq!(found(&store, &all, query(&["Invoice"])), NOTHING);
}

pub(crate) fn by_aggregate_id(env: &dyn Environment) {
    let store = env.store();
    let (ada, bob) = (account(), account());
    given(&*store, &ada, 2);
    given(&*store, &bob, 3);
    given(&*store, &ada, 2);
    let query = |aggregate: &AggregateKey| EventQuery::new().aggregate_id(aggregate.id());
    assert_eq!(versions(&read(&*store, query(&ada))), [1, 2, 3, 4]);
    assert_eq!(versions(&read(&*store, query(&bob).backwards())), [3, 2, 1]);
    assert_eq!(read(&*store, query(&account())), []);
}

pub(crate) fn by_event_ids(env: &dyn Environment) {
    let store = env.store();
    let all = given_each(&store, events(5));
    let ids = [3, 0, 3].map(|index: usize| all[index].event_id());
    assert_eq!(found(&store, &all, EventQuery::new().event_ids(ids)), [0, 3]);
    assert_eq!(found(&store, &all, EventQuery::new().event_ids([])), NOTHING);
    assert_eq!(found(&store, &all, EventQuery::new().event_ids([Uuid::nil()])), NOTHING);
}

pub(crate) fn by_thousands_of_event_ids(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let all = given(&*store, &account, 1_500);
    let every_other = all.iter().step_by(2).map(NewEvent::event_id);
    let strangers = (0..1_000).map(|_| Uuid::now_v7());
    let found = read(&*store, EventQuery::new().event_ids(every_other.chain(strangers)));
    assert_eq!(versions(&found), (1..=1_500).step_by(2).collect::<Vec<_>>());
}

pub(crate) fn by_tenant(env: &dyn Environment) {
    let store = env.store();
    given(&*store, &account(), 1);
    given(&scoped(&store, "acme"), &account(), 2);
    given(&scoped(&store, "globex"), &account(), 3);
    let query = |name: &'static str| EventQuery::new().tenant(name).unwrap();
    assert_eq!(read(&*store, query("acme")).len(), 2);
    assert_eq!(read(&*store, query("globex")).len(), 3);
    assert_eq!(read(&*store, query("ACME")), []);
    assert_eq!(log(&*store).len(), 6);
}

pub(crate) fn by_correlation_id(env: &dyn Environment) {
    let store = env.store();
    let with = |id: &'static str| event("a.b").correlation_id(id).unwrap();
    let all = given_each(
        &store,
        [with("c-1"), event("a.b"), with("c-2"), with("c-1"), with("C-1")],
    );
    let query = |id: &'static str| EventQuery::new().correlation_id(id).unwrap();
    assert_eq!(found(&store, &all, query("c-1")), [0, 3]);
    assert_eq!(found(&store, &all, query("C-1")), [4]);
    assert_eq!(found(&store, &all, query("c-")), NOTHING);
}

pub(crate) fn by_causation_id(env: &dyn Environment) {
    let store = env.store();
    let with = |id: &'static str| event("a.b").causation_id(id).unwrap();
    let decoy = event("a.b").correlation_id("c-1").unwrap();
    let all = given_each(&store, [with("c-1"), decoy, with("c-2"), with("c-1")]);
    let query = |id: &'static str| EventQuery::new().causation_id(id).unwrap();
    assert_eq!(found(&store, &all, query("c-1")), [0, 3]);
    assert_eq!(found(&store, &all, query("c-2")), [2]);
    assert_eq!(found(&store, &all, query("c-1 ")), NOTHING);
}

pub(crate) fn by_creator(env: &dyn Environment) {
    let store = env.store();
    let with = |name: &'static str| event("a.b").created_by(name).unwrap();
    let all = given_each(&store, [with("ada"), with("bob"), event("a.b"), with("ada")]);
    let query = |name: &'static str| EventQuery::new().created_by(name).unwrap();
    assert_eq!(found(&store, &all, query("ada")), [0, 3]);
    assert_eq!(found(&store, &all, query("bob")), [1]);
    assert_eq!(found(&store, &all, query("Ada")), NOTHING);
}

pub(crate) fn every_filter_that_is_set_must_match(env: &dyn Environment) {
    let store = env.store();
    let acme = scoped(&store, "acme");
    let account = account();
    let event = event("money.deposited")
        .metadata_json(r#"{"branch":"Oslo"}"#)
        .unwrap()
        .created_by("clerk-7")
        .unwrap()
        .correlation_id("c-1")
        .unwrap()
        .causation_id("d-1")
        .unwrap()
        .created_at(at(0))
        .unwrap();
    acme.append(&account, ExpectedVersion::Any, std::slice::from_ref(&event))
        .unwrap();

    let base = || {
        EventQuery::new()
            .event_types(["money.deposited", "money.withdrawn"])
            .unwrap()
            .aggregate_types(["Account", "Order"])
            .unwrap()
            .event_ids([event.event_id()])
            .aggregate_id(account.id())
            .tenant("acme")
            .unwrap()
            .correlation_id("c-1")
            .unwrap()
            .causation_id("d-1")
            .unwrap()
            .created_by("clerk-7")
            .unwrap()
            .created_at(at(0)..=at(0))
            .metadata(Metadata::from_json(r#"{"branch":"Oslo"}"#).unwrap())
    };
    assert_eq!(stored_ids(&read(&*store, base())), [event.event_id()]);
    for wrong in [
        base().event_types(["money.withdrawn"]).unwrap(),
        base().aggregate_types(["Order"]).unwrap(),
        base().event_ids([Uuid::nil()]),
        base().aggregate_id(Uuid::nil()),
        base().tenant("globex").unwrap(),
        base().correlation_id("d-1").unwrap(),
        base().causation_id("c-1").unwrap(),
        base().created_by("clerk-8").unwrap(),
        base().created_at(at(1)..),
        base().created_at(..at(0)),
        base().metadata(Metadata::from_json(r#"{"branch":"Rome"}"#).unwrap()),
        base().limit(0),
        base().after(store.high_water_mark().unwrap()),
    ] {
        assert_eq!(read(&*store, wrong.clone()), [], "{:?}", wrong.filter());
    }
}

pub(crate) fn an_event_that_matches_twice_is_returned_once(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let both = event("a.b").correlation_id("x").unwrap().causation_id("x").unwrap();
    let tagged = event("a.c").metadata_json(r#"{"tags":["x","x","y"]}"#).unwrap();
    store.append(&account, ExpectedVersion::Any, &[both, tagged]).unwrap();
    for query in [
        EventQuery::new().event_types(["a.b", "a.b"]).unwrap(),
        EventQuery::new()
            .event_types(["a.b"])
            .unwrap()
            .aggregate_types(["Account", "Account"])
            .unwrap(),
        EventQuery::new()
            .correlation_id("x")
            .unwrap()
            .causation_id("x")
            .unwrap(),
        EventQuery::new()
            .aggregate_id(account.id())
            .event_types(["a.b"])
            .unwrap(),
        EventQuery::new().metadata(Metadata::from_json(r#"{"tags":["x","y"]}"#).unwrap()),
    ] {
        assert_eq!(read(&*store, query.clone()).len(), 1, "{:?}", query.filter());
    }
}

pub(crate) fn the_limit_counts_after_the_filters(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    for _ in 0..4 {
        given(&*store, &account, 9);
        store
            .append(&account, ExpectedVersion::Any, &[event("account.audited")])
            .unwrap();
    }
    let audits = EventQuery::new().event_types(["account.audited"]).unwrap();
    for page in [1, 2, 3, 7, 500] {
        let audits = || audits.clone().page_size(NonZeroU32::new(page).unwrap());
        assert_eq!(versions(&read(&*store, audits().limit(3))), [10, 20, 30]);
        assert_eq!(versions(&read(&*store, audits().limit(3).backwards())), [40, 30, 20]);
        assert_eq!(versions(&read(&*store, audits())), [10, 20, 30, 40]);
        let after = log(&*store)[10].global_sequence;
        assert_eq!(versions(&read(&*store, audits().after(after).limit(2))), [20, 30]);
    }
}

pub(crate) fn an_empty_list_of_types_matches_nothing(env: &dyn Environment) {
    let store = env.store();
    given(&*store, &account(), 2);
    let nothing: [&str; 0] = [];
    for query in [
        EventQuery::new().event_types(nothing).unwrap(),
        EventQuery::new().aggregate_types(nothing).unwrap(),
    ] {
        let page = store.read_page(&query, None).unwrap();
        assert_eq!(page.events, []);
        assert_eq!(page.high_water_mark, store.high_water_mark().unwrap());
        assert!(page.high_water_mark > GlobalSequence::ZERO);
    }
}

pub(crate) fn event_types_that_look_alike_stay_distinct(env: &dyn Environment) {
    let store = env.store();
    let all = given_each(&store, LOOK_ALIKES.map(event));
    for (index, name) in LOOK_ALIKES.into_iter().enumerate() {
        let query = EventQuery::new().event_types([name]).unwrap();
        assert_eq!(found(&store, &all, query), [index], "{name:?}");
    }
    let stored: Vec<_> = log(&*store).iter().map(|event| event.event_type.to_string()).collect();
    assert_eq!(stored, LOOK_ALIKES);
}

pub(crate) fn aggregate_types_that_look_alike_stay_distinct(env: &dyn Environment) {
    let store = env.store();
    for name in LOOK_ALIKES {
        given(&*store, &aggregate(name), 1);
    }
    for name in LOOK_ALIKES {
        let found = read(&*store, EventQuery::new().aggregate_types([name]).unwrap());
        assert_eq!(found.len(), 1, "{name:?}");
        assert_eq!(found[0].aggregate.aggregate_type(), &name);
    }
}

pub(crate) fn context_ids_that_look_alike_stay_distinct(env: &dyn Environment) {
    let store = env.store();
    let with = |name: &'static str| {
        let event = event("a.b").correlation_id(name).unwrap();
        event.causation_id(name).unwrap().created_by(name).unwrap()
    };
    let all = given_each(&store, LOOK_ALIKES.map(with));
    for (index, name) in LOOK_ALIKES.into_iter().enumerate() {
        for query in [
            EventQuery::new().correlation_id(name).unwrap(),
            EventQuery::new().causation_id(name).unwrap(),
            EventQuery::new().created_by(name).unwrap(),
        ] {
            assert_eq!(found(&store, &all, query), [index], "{name:?}");
        }
    }
}

fn with_metadata(json: &str) -> NewEvent {
    event("a.b").metadata_json(json).unwrap()
}

fn containing(json: &str) -> EventQuery {
    EventQuery::new().metadata(Metadata::from_json(json).unwrap())
}

pub(crate) fn by_metadata_containment(env: &dyn Environment) {
    let store = env.store();
    let all = given_each(
        &store,
        [
            with_metadata(r#"{"user":"u-1","shop":{"id":7,"city":"Oslo"},"tags":["a","b"]}"#),
            with_metadata(r#"{"user":"u-2","shop":{"id":7.0,"city":"Rome"},"tags":["b",{"c":1}]}"#),
            with_metadata("{}"),
            event("a.b"),
            with_metadata(r#"{"user":null,"shop":[],"tags":"a"}"#),
        ],
    );
    for (part, expected) in [
        (r#"{"user":"u-1"}"#, &[0][..]),
        (r#"{"shop":{"id":7}}"#, &[0, 1]),
        (r#"{"shop":{"id":7.0,"city":"Rome"}}"#, &[1]),
        (r#"{"shop":{}}"#, &[0, 1]),
        (r#"{"tags":["b"]}"#, &[0, 1]),
        (r#"{"tags":["b","a"]}"#, &[0]),
        (r#"{"tags":[{"c":1}]}"#, &[1]),
        (r#"{"tags":[{"c":2}]}"#, &[]),
        (r#"{"tags":[]}"#, &[0, 1]),
        (r#"{"user":null}"#, &[4]),
        (r#"{"user":"U-1"}"#, &[]),
        (r#"{"user":"u-1","tags":["c"]}"#, &[]),
        (r#"{"id":7}"#, &[]),
        ("{}", &[0, 1, 2, 4]),
    ] {
        assert_eq!(found(&store, &all, containing(part)), expected, "{part}");
    }
}

pub(crate) fn metadata_that_looks_alike_stays_distinct(env: &dyn Environment) {
    let store = env.store();
    let json = |name: &str| serde_json::json!({ "name": name, name: 1 }).to_string();
    let all = given_each(&store, LOOK_ALIKES.map(|name| with_metadata(&json(name))));
    for (index, name) in LOOK_ALIKES.into_iter().enumerate() {
        assert_eq!(found(&store, &all, containing(&json(name))), [index], "{name:?}");
        let by_value = serde_json::json!({ "name": name }).to_string();
        assert_eq!(found(&store, &all, containing(&by_value)), [index], "{name:?}");
        let by_key = serde_json::json!({ name: 1.0 }).to_string();
        assert_eq!(found(&store, &all, containing(&by_key)), [index], "{name:?}");
    }
}

pub(crate) fn metadata_keys_are_names_not_paths(env: &dyn Environment) {
    let store = env.store();
    let keys = ["a.b", "a", "$", "$.a", "a[0]", "", "\"", "a'b", "*", "%"];
    let json = |key: &str| serde_json::json!({ key: { "b": [true] } }).to_string();
    let all = given_each(&store, keys.map(|key| with_metadata(&json(key))));
    for (index, key) in keys.into_iter().enumerate() {
        assert_eq!(found(&store, &all, containing(&json(key))), [index], "{key:?}");
    }
}

pub(crate) fn metadata_numbers_are_equal_by_value(env: &dyn Environment) {
    let store = env.store();
    let numbers = [
        "1",
        "10",
        "0.1",
        "9007199254740993",
        "9007199254740992",
        "18446744073709551615",
        "-1",
    ];
    let json = |number: &str| format!(r#"{{"n":{number}}}"#);
    let all = given_each(&store, numbers.map(|number| with_metadata(&json(number))));
    for (index, number) in numbers.into_iter().enumerate() {
        assert_eq!(found(&store, &all, containing(&json(number))), [index], "{number}");
    }
    assert_eq!(found(&store, &all, containing(r#"{"n":1e1}"#)), [1]);
    assert_eq!(found(&store, &all, containing(r#"{"n":1.0}"#)), [0]);
    assert_eq!(found(&store, &all, containing(r#"{"n":"1"}"#)), NOTHING);
}

pub(crate) fn filters_combine_with_pages_and_time_order(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    for seconds in [5, 1, 4, 1, 3, 2] {
        given_at(&*store, &account, seconds);
        given(&*store, &account, 1);
    }
    for page in [1, 2, 500] {
        let query = EventQuery::new()
            .aggregate_id(account.id())
            .event_types(["money.deposited"])
            .unwrap()
            .created_at(at(1)..=at(4))
            .page_size(NonZeroU32::new(page).unwrap());
        assert_eq!(versions(&read(&*store, query.clone())), [3, 7, 11, 9, 5]);
        assert_eq!(versions(&read(&*store, query.backwards().limit(4))), [5, 9, 11, 7]);
    }
}
