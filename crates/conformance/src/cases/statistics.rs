//! The monitoring queries and views of the source document.

use firefly_eventstore_core::SummaryQuery;
use firefly_eventstore_core::prelude::*;

use crate::environment::Environment;
use crate::support::*;

/// Two accounts with 3 and 1 events, an order with 2.
fn given_events(store: &Handle) -> (AggregateKey, AggregateKey, AggregateKey) {
    let (ada, bob, order) = (account(), account(), aggregate("Order"));
    let with = |event_type: &str, json: &str, second| {
        NewEvent::from_json(event_type, json)
            .unwrap()
            .created_at(at(second))
            .unwrap()
    };
    for (aggregate, event) in [
        (&ada, with("opened", "[1]", 10)),
        (&bob, with("opened", "[11]", 5)),
        (&order, with("placed", r#""é""#, 30)),
        (&ada, with("deposited", "[111]", 40)),
        (&order, with("opened", "[]", 20)),
        (&ada, with("deposited", "[1111]", 15)),
    ] {
        store.append(aggregate, ExpectedVersion::Any, &[event]).unwrap();
    }
    (ada, bob, order)
}

pub(crate) fn an_empty_store_has_nothing_and_then_something(env: &dyn Environment) {
    let store = env.store();
    let nothing = store.statistics(None).unwrap();
    assert_eq!(nothing, firefly_eventstore_core::Statistics::default());
    assert_eq!(store.aggregate_summaries(&SummaryQuery::new()).unwrap(), []);
    given(&*store, &account(), 2);
    assert_eq!(store.statistics(None).unwrap().total_events, 2);
}

pub(crate) fn totals(env: &dyn Environment) {
    let store = env.store();
    given_events(&store);
    let totals = store.statistics(None).unwrap();
    assert_eq!(totals.total_events, 6);
    assert_eq!(totals.total_aggregates, 3);
    assert_eq!(totals.current_global_sequence, store.high_water_mark().unwrap());
    assert_eq!(totals.unique_event_types, 3);
    assert_eq!(totals.unique_aggregate_types, 2);
}

pub(crate) fn the_distribution_of_event_types_with_percentages(env: &dyn Environment) {
    let store = env.store();
    given_events(&store);
    let shares = |store: &Handle| -> Vec<(String, u64, f64)> {
        let shares = store.statistics(None).unwrap().event_types;
        shares
            .into_iter()
            .map(|share| (share.event_type.to_string(), share.event_count, share.percentage))
            .collect()
    };
    assert_eq!(
        shares(&store),
        [
            ("opened".to_owned(), 3, 50.0),
            ("deposited".to_owned(), 2, 33.33),
            ("placed".to_owned(), 1, 16.67),
        ]
    );
    store
        .append(&account(), ExpectedVersion::Any, &[event("placed")])
        .unwrap();
    assert_eq!(
        shares(&store),
        [
            ("opened".to_owned(), 3, 42.86),
            ("deposited".to_owned(), 2, 28.57),
            ("placed".to_owned(), 2, 28.57),
        ],
        "ties by name"
    );
}

pub(crate) fn the_activity_per_aggregate_type(env: &dyn Environment) {
    let store = env.store();
    given_events(&store);
    let activity = store.statistics(None).unwrap().aggregate_types;
    let activity: Vec<_> = activity
        .iter()
        .map(|of| {
            (
                of.aggregate_type.as_str(),
                of.aggregate_count,
                of.average_version,
                of.max_version.get(),
            )
        })
        .collect();
    // Versions 1, 2, 3 and 1 of accounts; 1 and 2 of orders.
    assert_eq!(activity, [("Account", 2, 1.75, 3), ("Order", 1, 1.5, 2)]);
}

pub(crate) fn the_event_statistics_by_type(env: &dyn Environment) {
    let store = env.store();
    given_events(&store);
    let details = store.statistics(None).unwrap().details;
    let names: Vec<_> = details
        .iter()
        .map(|of| {
            (
                of.aggregate_type.as_str(),
                of.event_type.as_str(),
                of.event_count,
                of.unique_aggregates,
            )
        })
        .collect();
    assert_eq!(
        names,
        [
            ("Account", "deposited", 2, 1),
            ("Account", "opened", 2, 2),
            ("Order", "opened", 1, 1),
            ("Order", "placed", 1, 1),
        ]
    );
    let times: Vec<_> = details.iter().map(|of| (of.first_event_at, of.last_event_at)).collect();
    let expected = [(15, 40), (5, 10), (20, 20), (30, 30)].map(|(first, last)| (at(first), at(last)));
    assert_eq!(times, expected);
}

pub(crate) fn sizes_are_counted_in_bytes(env: &dyn Environment) {
    let store = env.store();
    let (ada, _, order) = given_events(&store);
    let sizes = |aggregate: &AggregateKey, event_type: &str| -> Vec<u64> {
        let query = EventQuery::new().aggregate_types([aggregate.aggregate_type()]).unwrap();
        let of_type = read(&*store, query)
            .into_iter()
            .filter(|event| event.event_type == event_type);
        of_type.map(|event| event.data.as_str().len() as u64).collect()
    };
    let details = store.statistics(None).unwrap().details;
    assert_eq!(details.len(), 4);
    for (detail, sizes) in details.iter().zip([
        sizes(&ada, "deposited"),
        sizes(&ada, "opened"),
        sizes(&order, "opened"),
        sizes(&order, "placed"),
    ]) {
        assert_eq!(Some(&detail.max_size_bytes), sizes.iter().max());
        let average = sizes.iter().sum::<u64>() as f64 / sizes.len() as f64;
        assert_eq!(detail.average_size_bytes, average);
    }
    assert_eq!(details[3].max_size_bytes, 4, "two quotes and two bytes");
}

pub(crate) fn the_summary_of_each_aggregate_by_id(env: &dyn Environment) {
    let store = env.store();
    let (ada, bob, order) = given_events(&store);
    let summaries = store.aggregate_summaries(&SummaryQuery::new()).unwrap();
    let mut expected = [ada.id(), bob.id(), order.id()];
    expected.sort_unstable();
    let found: Vec<_> = summaries.iter().map(|summary| summary.aggregate_id).collect();
    assert_eq!(found, expected);

    let of_ada = summaries
        .iter()
        .find(|summary| summary.aggregate_id == ada.id())
        .unwrap();
    assert_eq!(of_ada.aggregate_type, "Account");
    assert_eq!(of_ada.current_version, version(3));
    assert_eq!(of_ada.total_events, 3);
    assert_eq!((of_ada.created_at, of_ada.last_modified_at), (at(10), at(40)));
    let bytes: usize = store
        .load(&ada)
        .unwrap()
        .into_iter()
        .map(|event| event.data.as_str().len())
        .sum();
    assert_eq!(of_ada.total_size_bytes, bytes as u64);
    assert_eq!(of_ada.tenant, None);
}

pub(crate) fn summaries_by_type_and_page(env: &dyn Environment) {
    let store = env.store();
    let mut accounts: Vec<_> = (0..5)
        .map(|_| {
            given(&*store, &aggregate("Order"), 1);
            let account = account();
            given(&*store, &account, 1);
            account.id()
        })
        .collect();
    accounts.sort_unstable();
    store.refresh_aggregate_summaries().unwrap();
    let of_type = || SummaryQuery::new().aggregate_type("Account".try_into().unwrap());
    let found = |query: SummaryQuery| -> Vec<Uuid> {
        let summaries = store.aggregate_summaries(&query).unwrap();
        let kept = store.aggregate_summaries(&query.as_of_last_refresh()).unwrap();
        assert_eq!(kept, summaries);
        summaries.iter().map(|summary| summary.aggregate_id).collect()
    };
    assert_eq!(found(of_type()), accounts);
    assert_eq!(found(of_type().limit(2)), accounts[..2]);
    assert_eq!(found(of_type().limit(2).after(accounts[1])), accounts[2..4]);
    assert!(found(of_type().after(accounts[4])).is_empty());
    assert!(found(of_type().limit(0)).is_empty());
    assert_eq!(found(SummaryQuery::new()).len(), 10);
}

pub(crate) fn summaries_are_as_of_now_unless_the_last_refresh_is_asked_for(env: &dyn Environment) {
    let store = env.store();
    let acme = scoped(&store, "acme");
    let (old, new) = (account(), aggregate("Order"));
    given(&acme, &old, 2);
    assert_eq!(
        store.aggregate_summaries(&SummaryQuery::new()).unwrap().len(),
        1,
        "never refreshed"
    );
    store.refresh_aggregate_summaries().unwrap();
    let refreshed = store.aggregate_summaries(&SummaryQuery::new()).unwrap();

    given(&acme, &old, 1);
    given(&acme, &new, 4);
    let of_old = SummaryQuery::new().aggregate_type("Account".try_into().unwrap());
    let of_new = SummaryQuery::new().tenant(tenant("acme")).after(old.id());
    let found = |query: &SummaryQuery| -> Vec<_> {
        let summaries = store.aggregate_summaries(query).unwrap();
        summaries
            .iter()
            .map(|summary| {
                (
                    summary.aggregate_id,
                    summary.current_version.get(),
                    summary.total_events,
                )
            })
            .collect()
    };
    assert_eq!(found(&SummaryQuery::new()), [(old.id(), 3, 3), (new.id(), 4, 4)]);
    assert_eq!(found(&of_old), [(old.id(), 3, 3)]);
    assert_eq!(found(&of_new), [(new.id(), 4, 4)]);

    let kept = store
        .aggregate_summaries(&SummaryQuery::new().as_of_last_refresh())
        .unwrap();
    // A store that keeps no summaries computes them.
    let expected = match env.keeps_summaries() {
        true => refreshed,
        false => store.aggregate_summaries(&SummaryQuery::new()).unwrap(),
    };
    assert_eq!(kept, expected);
}

pub(crate) fn what_was_rolled_back_does_not_count(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    given(&*store, &account, 2);
    let rolled_back = store.in_transaction(|tx| -> Result<_, Error> {
        tx.append(&account, exact(2), &events(3))?;
        Err::<(), _>(Error::invalid("changed my mind"))
    });
    rolled_back.unwrap_err();
    store.append(&account, exact(1), &events(1)).unwrap_err();
    assert_eq!(store.statistics(None).unwrap().total_events, 2);
    let summaries = store.aggregate_summaries(&SummaryQuery::new()).unwrap();
    assert_eq!((summaries.len(), summaries[0].total_events), (1, 2));
}
