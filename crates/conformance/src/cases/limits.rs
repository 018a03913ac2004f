//! Data that cannot be stored exactly is refused before anything is sent, with the reason.

use firefly_eventstore_core::prelude::*;
use firefly_eventstore_core::{Limits, canonical};

use crate::environment::Environment;
use crate::support::*;

fn nested(depth: usize) -> String {
    format!("{}{}", "[".repeat(depth), "]".repeat(depth))
}

/// The store refuses this JSON with a message. A store with lifted limits keeps it, if the database can.
#[track_caller]
fn refused_unless_lifted(env: &dyn Environment, json: &str, says: &str, is_kept: impl Fn(&Limits) -> bool) {
    let (store, account) = (env.store(), account());
    let event = event_with(json);
    let error = refused(&*store, || {
        store.append(&account, ExpectedVersion::Any, std::slice::from_ref(&event))
    });
    assert_invalid(&error, says);
    assert_invalid(&error, &event.event_id().to_string());

    let limits = env.widest_limits();
    if !is_kept(&limits) {
        return;
    }
    let lifted = env.store_with(limits);
    lifted
        .append(&account, ExpectedVersion::Any, std::slice::from_ref(&event))
        .unwrap();
    assert_stream(&lifted.load(&account).unwrap(), &[event]);
}

pub(crate) fn a_nul_character_is_refused_unless_lifted(env: &dyn Environment) {
    refused_unless_lifted(env, r#"{"s":"a\u0000b"}"#, "U+0000", |limits| limits.allow_nul);
    refused_unless_lifted(env, r#"{"a\u0000":1}"#, "U+0000", |limits| limits.allow_nul);
}

pub(crate) fn an_inexact_number_is_refused_unless_lifted(env: &dyn Environment) {
    for number in [
        "0.1000000000000000055",
        "18446744073709551616",
        "-9223372036854775809",
        "3.141592653589793238462643383279",
        "9007199254740993.0",
    ] {
        refused_unless_lifted(env, &format!(r#"{{"n":{number}}}"#), number, |limits| {
            limits.allow_inexact_numbers
        });
    }
}

pub(crate) fn nesting_beyond_31_is_refused_unless_lifted(env: &dyn Environment) {
    for depth in [32, canonical::MAX_DEPTH] {
        refused_unless_lifted(env, &nested(depth), &format!("{depth} levels"), |limits| {
            limits.max_depth >= depth
        });
    }
}

pub(crate) fn nesting_of_31_is_kept(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let deep = event_with(&nested(31));
    let metadata = format!(r#"{{"a":{}}}"#, nested(30));
    let deep = deep.metadata_json(metadata.as_str()).unwrap();
    store
        .append(&account, ExpectedVersion::Any, std::slice::from_ref(&deep))
        .unwrap();
    let stream = store.load(&account).unwrap();
    assert_stream(&stream, &[deep]);
    assert_eq!(
        stream.events()[0].metadata.as_ref().unwrap().canonical().unwrap(),
        metadata
    );
}

pub(crate) fn a_key_beyond_65535_bytes_is_refused_unless_lifted(env: &dyn Environment) {
    for key in ["k".repeat(65_536), "漢".repeat(21_846)] {
        for json in [format!(r#"{{"{key}":1}}"#), format!(r#"[{{"a":[{{"{key}":null}}]}}]"#)] {
            refused_unless_lifted(env, &json, &format!("a key of {} bytes", key.len()), |limits| {
                limits.max_key_bytes >= key.len()
            });
        }
    }
}

pub(crate) fn a_key_of_65535_bytes_is_kept(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    // The second is longer than the limit as it is spelled.
    for key in ["k".repeat(65_535), r"\u0061".repeat(65_535), "漢".repeat(21_845)] {
        let json = format!(r#"{{"a":{{"{key}":1}}}}"#);
        let event = event_with(&json).metadata_json(json.as_str()).unwrap();
        let appended = store
            .append(&account, ExpectedVersion::Any, std::slice::from_ref(&event))
            .unwrap();
        let stored = store.load_range(&account, &StreamRange::all().last(1)).unwrap();
        let stored = &stored.events()[0];
        assert_same_json(&stored.data, event.data());
        let metadata = event.details().metadata.unwrap();
        assert_eq!(
            stored.metadata.as_ref().unwrap().canonical().unwrap(),
            metadata.canonical().unwrap()
        );
        let matching = EventQuery::new().metadata(metadata.clone());
        assert_eq!(stored_ids(&read(&*store, matching)), [event.event_id()]);

        let snapshot = NewSnapshot::from_json(&account, appended.version(), "State", json.as_str()).unwrap();
        store.save(&snapshot).unwrap();
        let state = store.latest_snapshot(&account).unwrap().unwrap().state;
        assert_same_json(&state, snapshot.state());
    }
}

pub(crate) fn data_beyond_the_size_limit_is_refused(env: &dyn Environment) {
    let (store, account) = (env.store_with(small_limits()), account());
    let of_bytes = |bytes: usize| event_with(&format!(r#"{{"s":"{}"}}"#, "x".repeat(bytes - 8)));
    let error = refused(&*store, || {
        store.append(&account, ExpectedVersion::Any, &[of_bytes(101)])
    });
    assert_invalid(&error, "101 bytes");
    // Forty characters, but more than a hundred bytes.
    let wide = event_with(&format!(r#"{{"s":"{}"}}"#, "漢".repeat(32)));
    let error = refused(&*store, || store.append(&account, ExpectedVersion::Any, &[wide]));
    assert_invalid(&error, "104 bytes");
    store.append(&account, ExpectedVersion::Any, &[of_bytes(100)]).unwrap();
    assert_eq!(store.version(&account).unwrap(), 1);
}

pub(crate) fn metadata_beyond_its_limits_is_refused(env: &dyn Environment) {
    let (store, account) = (env.store_with(small_limits()), account());
    for (json, says) in [
        (format!(r#"{{"s":"{}"}}"#, "x".repeat(43)), "metadata has 51 bytes"),
        (r#"{"s":"\u0000"}"#.to_owned(), "metadata has a string with U+0000"),
        (r#"{"n":1e400}"#.to_owned(), "1e400"),
    ] {
        let event = event("a.b").metadata_json(json).unwrap();
        let error = refused(&*store, || store.append(&account, ExpectedVersion::Any, &[event]));
        assert_invalid(&error, says);
    }
    let store = env.store();
    for (json, says) in [
        (format!(r#"{{"a":{}}}"#, nested(31)), "32 levels"),
        (
            format!(r#"{{"a":{{"{}":1}}}}"#, "k".repeat(65_536)),
            "metadata has a key of 65536 bytes",
        ),
    ] {
        let event = event("a.b").metadata_json(json).unwrap();
        let error = refused(&*store, || store.append(&account, ExpectedVersion::Any, &[event]));
        assert_invalid(&error, says);
    }
}

pub(crate) fn one_refused_event_refuses_the_whole_append(env: &dyn Environment) {
    let store = env.store();
    let (ada, bob) = (account(), account());
    let (good, mut bad) = (events(2), events(3));
    bad[1] = event_with(r#"{"s":"\u0000"}"#);
    let error = refused(&*store, || {
        store.append_all(&[
            Append::new(&ada, ExpectedVersion::Any, &good),
            Append::new(&bob, ExpectedVersion::Any, &bad),
        ])
    });
    assert_invalid(&error, &bad[1].event_id().to_string());
    assert_invalid(&error, "event 2");
}

pub(crate) fn a_snapshot_beyond_the_limits_is_refused(env: &dyn Environment) {
    let (store, account) = (env.store_with(small_limits()), account());
    given(&*store, &account, 1);
    for (json, says) in [
        (format!(r#""{}""#, "x".repeat(99)), "101 bytes"),
        (r#""\u0000""#.to_owned(), "U+0000"),
        ("0.1000000000000000055".to_owned(), "0.1000000000000000055"),
        (nested(32), "32 levels"),
        (format!(r#"{{"{}":1}}"#, "k".repeat(31)), "a key of 31 bytes"),
    ] {
        let snapshot = NewSnapshot::from_json(&account, version(1), "State", json).unwrap();
        assert_invalid(&store.save(&snapshot).unwrap_err(), says);
    }
    assert_eq!(store.latest_snapshot(&account).unwrap(), None);
}

pub(crate) fn names_of_255_characters_are_kept_whole(env: &dyn Environment) {
    let store = env.store();
    for character in ["a", "é", "漢", "😀"] {
        // Two that differ in the last character only.
        let names = ["x", "y"].map(|last| format!("{}{last}", character.repeat(254)));
        for name in &names {
            let account = aggregate(name);
            let scoped = scoped(&store, name);
            let event = event(name)
                .created_by(name.as_str())
                .unwrap()
                .correlation_id(name.as_str())
                .unwrap()
                .causation_id(name.as_str())
                .unwrap();
            scoped.append(&account, ExpectedVersion::Any, &[event]).unwrap();
            let snapshot = NewSnapshot::from_json(&account, version(1), name.as_str(), "1").unwrap();
            scoped.save(&snapshot).unwrap();

            let stored = scoped.load(&account).unwrap().into_events().remove(0);
            assert_eq!(stored.event_type, name.as_str());
            assert_eq!(stored.aggregate, account);
            assert_eq!(stored.tenant.unwrap(), name.as_str());
            assert_eq!(stored.created_by.unwrap(), name.as_str());
            assert_eq!(stored.correlation_id.unwrap(), name.as_str());
            assert_eq!(stored.causation_id.unwrap(), name.as_str());
            let snapshot = scoped.latest_snapshot(&account).unwrap().unwrap();
            assert_eq!(snapshot.snapshot_type, name.as_str());
        }
        for name in &names {
            assert_eq!(log(&scoped(&store, name)).len(), 1);
            let query = EventQuery::new().event_types([name.as_str()]).unwrap();
            assert_eq!(read(&*store, query).len(), 1);
        }
    }
}

pub(crate) fn a_refused_append_dooms_its_transaction(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let error = refused(&*store, || {
        store.in_transaction(|tx| -> Result<_, Error> {
            tx.append(&account, ExpectedVersion::Any, &events(1))?;
            tx.append(&account, ExpectedVersion::Any, &[event_with(r#""\u0000""#)])
                .unwrap_err();
            Ok(())
        })
    });
    assert_invalid(&error, "U+0000");
}
