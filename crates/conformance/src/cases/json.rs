//! Data and metadata have the same meaning and the same checksum when they are read back.

use firefly_eventstore_core::Checksum;
use firefly_eventstore_core::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::environment::Environment;
use crate::support::*;

/// Appends each document as the data of an event, and asserts that it is read back.
fn survive<'a>(env: &dyn Environment, documents: impl IntoIterator<Item = &'a str>) {
    let (store, account) = (env.store(), account());
    let events: Vec<_> = documents.into_iter().map(event_with).collect();
    store.append(&account, ExpectedVersion::NoStream, &events).unwrap();
    let stream = store.load(&account).unwrap();
    assert_stream(&stream, &events);
    for stored in &stream {
        stored.verify().unwrap();
    }
}

pub(crate) fn numbers_survive_with_their_checksum(env: &dyn Environment) {
    survive(
        env,
        [
            r#"{"n":0.1}"#,
            r#"{"n":1e16}"#,
            r#"{"n":1000.00}"#,
            r#"{"n":-0.0}"#,
            r#"{"n":0}"#,
            r#"{"n":9007199254740993}"#,
            r#"{"n":18446744073709551615}"#,
            r#"{"n":9223372036854775807}"#,
            r#"{"n":-9223372036854775808}"#,
            r#"{"n":1e-7}"#,
            r#"{"n":1.7976931348623157e308}"#,
            r#"{"n":5e-324}"#,
            r#"{"n":0.30000000000000004}"#,
            r#"{"n":123456789.125}"#,
            "[1,1.0,10e-1,100]",
        ],
    );
}

pub(crate) fn numbers_read_back_are_the_very_numbers(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let data = r#"{"n":[9007199254740993,18446744073709551615,-9223372036854775808,0.1,1e16,1000.00]}"#;
    store
        .append(&account, ExpectedVersion::Any, &[event_with(data)])
        .unwrap();
    let stored = store.load(&account).unwrap().into_events().remove(0);
    let value: serde_json::Value = stored.data().unwrap();
    assert_eq!(value["n"][0].as_u64(), Some(9_007_199_254_740_993));
    assert_eq!(value["n"][1].as_u64(), Some(u64::MAX));
    assert_eq!(value["n"][2].as_i64(), Some(i64::MIN));
    assert_eq!(value["n"][3].as_f64(), Some(0.1));
    assert_eq!(value["n"][4].as_f64(), Some(1e16));
    assert_eq!(value["n"][5].as_f64(), Some(1000.0));
}

pub(crate) fn strings_survive(env: &dyn Environment) {
    survive(
        env,
        [
            r#"{"s":"quotes \" ' ` and \\ and \/"}"#,
            r#"{"s":"\b\f\n\r\t\u0001\u001f\u007f"}"#,
            r#"{"s":"😀 \ud83d\ude00 é e\u0301 ﬁ ß İ ı"}"#,
            r#"{"s":"\u2028\u2029\ufeff\ufffd\uffff"}"#,
            r#"{"s":"%s $1 ? :a @b ; -- /* */ \\0"}"#,
            r#"{"s":" trailing spaces  "}"#,
            r#"{"s":""}"#,
            r#"{"":{"":""}}"#,
            r#"{"é":1,"e\u0301":2,"E":3,"e":4," e":5}"#,
        ],
    );
}

pub(crate) fn any_json_value_can_be_data(env: &dyn Environment) {
    survive(
        env,
        [
            "null",
            "true",
            "0",
            r#""text""#,
            "[]",
            "{}",
            "[null,[],{}]",
            r#"{"a":null}"#,
        ],
    );
}

pub(crate) fn spelling_and_order_of_keys_do_not_matter_to_the_checksum(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let spellings = [
        r#"{"amount":250,"currency":"EUR","at":{"a":1,"b":2}}"#,
        r#" { "currency" : "\u0045UR", "at": {"b":2.0,"a":1e0}, "amount": 250.00 } "#,
    ];
    store
        .append(&account, ExpectedVersion::Any, &spellings.map(event_with))
        .unwrap();
    let stream = store.load(&account).unwrap();
    let [first, second] = stream.events() else {
        panic!("{stream:?}");
    };
    assert!(first.checksum.is_some());
    assert_eq!(first.checksum, second.checksum);
    assert_eq!(first.data.canonical().unwrap(), second.data.canonical().unwrap());
}

pub(crate) fn the_checksum_is_sha_256_of_the_canonical_json(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    store
        .append(
            &account,
            ExpectedVersion::Any,
            &[event_with(" { } "), event_with(r#"{"b":2,"a":1.0}"#)],
        )
        .unwrap();
    let stream = store.load(&account).unwrap();
    let checksums: Vec<_> = stream
        .into_iter()
        .map(|event| event.checksum.as_ref().map(Checksum::to_string).unwrap_or_default())
        .collect();
    assert_eq!(
        checksums,
        [
            "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
            "43258cff783fe7036d8a43033f830adfc60ec037382473548ac742b888292777",
        ]
    );
}

pub(crate) fn absent_metadata_is_not_empty_metadata(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let empty = event("a.b").metadata_json("{}").unwrap();
    store
        .append(&account, ExpectedVersion::Any, &[event("a.b"), empty, event("a.b")])
        .unwrap();
    let stream = store.load(&account).unwrap();
    let metadata: Vec<_> = stream
        .into_iter()
        .map(|event| event.metadata.map(|metadata| metadata.canonical().unwrap()))
        .collect();
    assert_eq!(metadata, [None, Some("{}".to_owned()), None]);
}

pub(crate) fn metadata_survives(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let documents = [
        r#"{"correlationId":"corr-001","userId":"user-123"}"#,
        r#"{"n":[9007199254740993,0.1,1e16,18446744073709551615]}"#,
        r#"{"":"", "e\u0301":"é", "nested":{"a":[{"b":null}]}}"#,
    ];
    let events: Vec<_> = documents
        .iter()
        .map(|json| event("a.b").metadata_json(*json).unwrap())
        .collect();
    store.append(&account, ExpectedVersion::Any, &events).unwrap();
    let stream = store.load(&account).unwrap();
    assert_eq!(stream.len(), events.len());
    for (stored, appended) in stream.events().iter().zip(&events) {
        let (stored, appended) = (stored.metadata.as_ref().unwrap(), appended.details().metadata.unwrap());
        assert_eq!(stored.canonical().unwrap(), appended.canonical().unwrap());
    }
}

pub(crate) fn the_size_is_in_bytes_not_characters(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    store
        .append(&account, ExpectedVersion::Any, &[event_with(r#"{"s":"漢字😀é"}"#)])
        .unwrap();
    let stored = store.load(&account).unwrap().into_events().remove(0);
    let text = stored.data.as_str();
    assert!(text.len() > text.chars().count());
    assert_eq!(stored.size_bytes.map(|bytes| bytes as usize), Some(text.len()));
}

pub(crate) fn a_megabyte_of_data_survives(env: &dyn Environment) {
    let text = format!(r#"{{"s":"{}"}}"#, "é漢😀x".repeat(100_000));
    survive(env, [text.as_str()]);
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Deposited {
    amount: u64,
    note: Option<String>,
}

pub(crate) fn typed_data_is_read_back_as_the_type(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let deposited = Deposited {
        amount: u64::MAX,
        note: Some("für Zoë".into()),
    };
    let event = NewEvent::new("money.deposited", &deposited).unwrap();
    let event = event.metadata(&json!({ "branch": "Oslo" })).unwrap();
    store.append(&account, ExpectedVersion::Any, &[event]).unwrap();
    let stored = store.load(&account).unwrap().into_events().remove(0);
    assert_eq!(stored.data::<Deposited>().unwrap(), deposited);
    assert_eq!(
        stored.metadata.unwrap().parse::<serde_json::Value>().unwrap(),
        json!({ "branch": "Oslo" })
    );
}

pub(crate) fn data_of_another_type_is_a_decode_error_that_names_the_event(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    given(&*store, &account, 1);
    let stored = store.load(&account).unwrap().into_events().remove(0);
    let error = stored.data::<Deposited>().unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Decode { .. }), "{error:?}");
    assert!(error.to_string().contains(&stored.event_id.to_string()), "{error}");
}
