//! A stored event is read unchanged, or the read fails with an error that names it.

use firefly_eventstore_core::prelude::*;
use firefly_eventstore_core::{EventData, verify};

use crate::ability::Ability;
use crate::environment::{Damage, Environment};
use crate::support::*;

const WRONG_CHECKSUM: &str = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

pub(crate) fn verifies_an_intact_log_with_progress(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    given(&*store, &account, 7);
    let mut progress = Vec::new();
    let found = verify(&*store, EventQuery::new(), |at| progress.push((at.checked, at.damaged))).unwrap();
    assert!(found.is_intact());
    assert_eq!(found.checked, 7);
    assert_eq!(found.checkpoint, store.high_water_mark().unwrap());
    assert_eq!(progress, (1..=7).map(|checked| (checked, 0)).collect::<Vec<_>>());
}

pub(crate) fn verification_names_every_damaged_event_and_goes_on(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let events = given(&*store, &account, 6);
    env.damage(events[1].event_id(), &Damage::Data(r#"{"number":3}"#));
    env.damage(events[3].event_id(), &Damage::Checksum(WRONG_CHECKSUM));
    env.damage(events[4].event_id(), &Damage::NoChecksum);
    let found = verify(&*store, EventQuery::new(), |_| ()).unwrap();
    assert_eq!(found.checked, 6);
    assert_eq!(found.damaged.len(), 3);
    for (error, index) in found.damaged.iter().zip([1, 3, 4]) {
        assert_damaged(error, events[index].event_id());
    }
}

pub(crate) fn verifies_a_part_of_the_log(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let events = given(&*store, &account, 6);
    env.damage(events[1].event_id(), &Damage::Data("{}"));
    let sequences = sequences(&log(&*store));
    let part = EventQuery::new().after(sequences[1]).until(sequences[4]);
    let found = verify(&*store, part, |_| ()).unwrap();
    assert!(found.is_intact());
    assert_eq!(found.checked, 3);
    let part = EventQuery::new().until(sequences[1]);
    assert_eq!(verify(&*store, part, |_| ()).unwrap().damaged.len(), 1);
}

pub(crate) fn data_that_is_no_json_any_more_is_damage(env: &dyn Environment) {
    needs(env, Ability::JsonAsText);
    let (store, account) = (env.store(), account());
    let events = given(&*store, &account, 2);
    env.damage(events[0].event_id(), &Damage::Data(r#"{"number":"#));
    let found = verify(&*store, EventQuery::new(), |_| ()).unwrap();
    assert_eq!(found.damaged.len(), 1);
    assert_damaged(&found.damaged[0], events[0].event_id());
}

pub(crate) fn respelled_data_is_not_damage(env: &dyn Environment) {
    let store = env.store();
    let event = event_with(r#"{"amount":1000,"owner":"Zoë"}"#);
    store
        .append(&account(), ExpectedVersion::Any, std::slice::from_ref(&event))
        .unwrap();
    env.damage(
        event.event_id(),
        &Damage::Data(r#"{ "owner": "Zo\u00eb", "amount": 1e3 }"#),
    );
    let found = verify(&*store, EventQuery::new(), |_| ()).unwrap();
    assert_eq!((found.checked, found.is_intact()), (1, true));
    assert_eq!(log(&*env.verifying_store()).len(), 1);
}

pub(crate) fn every_read_verifies_if_told_to(env: &dyn Environment) {
    let store = env.store();
    let (ada, bob) = (account(), account());
    let events = given(&*store, &ada, 3);
    given(&*store, &bob, 2);
    env.damage(events[2].event_id(), &Damage::Data("[]"));

    let verifying = env.verifying_store();
    assert_damaged(&verifying.load(&ada).unwrap_err(), events[2].event_id());
    let last = verifying.load_range(&ada, &StreamRange::all().last(1));
    assert_damaged(&last.unwrap_err(), events[2].event_id());
    let page = verifying.read_page(&EventQuery::new(), None);
    assert_damaged(&page.unwrap_err(), events[2].event_id());
    let found = verifying.find_event(events[2].event_id());
    assert_damaged(&found.unwrap_err(), events[2].event_id());
    assert_eq!(verifying.load(&bob).unwrap().len(), 2);
    let intact = StreamRange::all().to_version(version(2));
    assert_eq!(verifying.load_range(&ada, &intact).unwrap().len(), 2);
}

pub(crate) fn a_read_within_a_transaction_verifies_if_told_to(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let events = given(&*store, &account, 2);
    env.damage(events[0].event_id(), &Damage::Data("[]"));
    let read = |store: &Handle| store.in_transaction(|tx| tx.load(&account));
    assert_damaged(&read(&env.verifying_store()).unwrap_err(), events[0].event_id());
    assert_eq!(read(&store).unwrap().len(), 2);
}

pub(crate) fn no_read_verifies_unless_told_to(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let events = given(&*store, &account, 2);
    env.damage(events[0].event_id(), &Damage::Data("[1]"));
    let stream = store.load(&account).unwrap();
    assert_eq!(stream.len(), 2);
    assert_eq!(stream.events()[0].data.as_str(), "[1]");
    assert_damaged(&stream.events()[0].verify().unwrap_err(), events[0].event_id());
    stream.events()[1].verify().unwrap();
}

pub(crate) fn an_iterator_ends_after_the_damaged_page(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let events = given(&*store, &account, 3);
    env.damage(events[1].event_id(), &Damage::NoChecksum);
    let verifying = env.verifying_store();
    let mut found = verifying.read(EventQuery::new().page_size(std::num::NonZeroU32::MIN));
    assert_eq!(found.next().unwrap().unwrap().event_id, events[0].event_id());
    assert_damaged(&found.next().unwrap().unwrap_err(), events[1].event_id());
    assert!(found.next().is_none());
}

pub(crate) fn a_damaged_snapshot_is_found_out(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    given(&*store, &account, 2);
    store.save(&snapshot(&account, 2)).unwrap();
    let intact = store.latest_snapshot(&account).unwrap().unwrap();
    intact.verify().unwrap();
    let found = env.verifying_store().latest_snapshot(&account).unwrap();
    assert_eq!(found.as_ref(), Some(&intact));
    let mut damaged = intact;
    damaged.state = EventData::from_stored(r#"{"balance":3}"#);
    env.rewrite_snapshots(&[damaged]);
    let verifying = env.verifying_store();
    let damaged = store.latest_snapshot(&account).unwrap().unwrap();
    assert!(damaged.verify().unwrap_err().is_integrity());
    assert!(verifying.latest_snapshot(&account).unwrap_err().is_integrity());
    assert!(verifying.list_snapshots(None, &account).unwrap_err().is_integrity());
}
