//! Enums of events: how they are written and read, and which are refused.

#![allow(clippy::unwrap_used, reason = "these are tests, although clippy sees only functions")]

use std::collections::BTreeMap;

use firefly_eventstore_core::prelude::*;
use firefly_eventstore_core::{DomainEvent, EventData, Limits, MemoryEventStore, Upcasts};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ShopEvent {
    OrderPlaced {
        id: Uuid,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
        lines: Vec<Line>,
        rates: BTreeMap<String, f64>,
        biggest: u64,
        smallest: i64,
    },
    #[serde(rename = "order.paid", alias = "PaymentReceived", alias = "paid")]
    Paid(Payment),
    Shipped,
    #[serde(rename_all = "camelCase")]
    Relabelled {
        old_label: String,
        #[serde(rename = "to")]
        new_label: String,
    },
    Noted {
        text: String,
        #[serde(flatten)]
        rest: BTreeMap<String, Value>,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Line {
    sku: String,
    price: f32,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Kind {
    Plain,
    Wrapped(u8),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Payment {
    cents: i64,
}

impl DomainEvent for ShopEvent {}

fn placed() -> ShopEvent {
    ShopEvent::OrderPlaced {
        id: Uuid::now_v7(),
        note: None,
        lines: vec![
            Line {
                sku: "\"a\"\n漢😀".to_owned(),
                price: 0.5,
                kind: Kind::Plain,
            },
            Line {
                sku: String::new(),
                price: 1048576.0,
                kind: Kind::Wrapped(7),
            },
        ],
        rates: BTreeMap::from([("EUR".to_owned(), 0.1 + 0.2), ("".to_owned(), 5e-324)]),
        biggest: u64::MAX,
        smallest: i64::MIN,
    }
}

/// A stored event with this type and data.
fn stored(event_type: &str, json: &str) -> EventEnvelope {
    let store = MemoryEventStore::new().with_limits(Limits::TEXT);
    let key = AggregateKey::new("Shop", Uuid::now_v7()).unwrap();
    let event = NewEvent::from_json(event_type, json).unwrap();
    store.append(&key, ExpectedVersion::NoStream, &[event]).unwrap();
    store.load(&key).unwrap().into_events().remove(0)
}

fn reads<E: DomainEvent>(event_type: &str, json: &str) -> Vec<E> {
    stored(event_type, json).decode().unwrap()
}

#[track_caller]
fn unread<E: DomainEvent + std::fmt::Debug>(event_type: &str, json: &str) -> String {
    let envelope = stored(event_type, json);
    let error = envelope.decode::<E>().unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Decode { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(&envelope.event_id.to_string()), "{text}");
    text
}

#[test]
fn a_variant_is_a_type_and_its_fields_are_the_data() {
    let events = [
        (placed(), "order-placed"),
        (ShopEvent::Paid(Payment { cents: -1 }), "order.paid"),
        (ShopEvent::Shipped, "shipped"),
        (
            ShopEvent::Relabelled {
                old_label: "a".into(),
                new_label: "b".into(),
            },
            "relabelled",
        ),
        (
            ShopEvent::Noted {
                text: "x".into(),
                rest: BTreeMap::from([("y".to_owned(), json!([1, null]))]),
            },
            "noted",
        ),
    ];
    for (event, name) in events {
        let new = NewEvent::of(&event).unwrap();
        assert_eq!(*new.event_type(), name);
        let tagged: Value = serde_json::to_value(&event).unwrap();
        let content = tagged.get(name).cloned().unwrap_or_else(|| json!({}));
        assert_eq!(serde_json::from_str::<Value>(new.data().as_str()).unwrap(), content);
        assert_eq!(reads::<ShopEvent>(name, new.data().as_str()), [event]);
    }
}

#[test]
fn the_data_is_the_very_text_that_a_struct_has() {
    #[derive(Serialize, Deserialize)]
    struct Fields {
        ratio: f64,
        big: u64,
        text: Option<String>,
    }
    #[derive(Serialize, Deserialize)]
    enum Measured {
        Taken { ratio: f64, big: u64, text: Option<String> },
        Held(Fields),
    }
    impl DomainEvent for Measured {}
    let fields = |ratio, big| Fields { ratio, big, text: None };
    for (ratio, big) in [(0.1, 1), (1e300, u64::MAX), (-0.0, 0), (100.0, 9_007_199_254_740_993)] {
        let of_struct = NewEvent::new("Taken", &fields(ratio, big)).unwrap();
        let taken = Measured::Taken { ratio, big, text: None };
        assert_eq!(NewEvent::of(&taken).unwrap().data(), of_struct.data());
        let held = Measured::Held(fields(ratio, big));
        assert_eq!(NewEvent::of(&held).unwrap().data(), of_struct.data());
    }
}

#[test]
fn older_names_and_forms_are_read() {
    let paid = [ShopEvent::Paid(Payment { cents: 5 })];
    for name in ["order.paid", "PaymentReceived", "paid"] {
        assert_eq!(reads::<ShopEvent>(name, r#"{"cents":5,"unknown":[{}]}"#), paid);
    }
    for of_nothing in ["{}", r#" { "carrier" : {"a":[1,2]} } "#, "null"] {
        assert_eq!(reads::<ShopEvent>("shipped", of_nothing), [ShopEvent::Shipped]);
    }
}

#[test]
fn a_variant_without_fields_can_get_some() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Later {
        #[serde(rename = "shipped")]
        Shipped {
            #[serde(default)]
            carrier: String,
        },
    }
    impl DomainEvent for Later {}
    let before = NewEvent::of(&ShopEvent::Shipped).unwrap();
    assert_eq!(before.data().as_str(), "{}");
    let shipped = |carrier: &str| {
        [Later::Shipped {
            carrier: carrier.into(),
        }]
    };
    assert_eq!(reads::<Later>("shipped", before.data().as_str()), shipped(""));
    let after = NewEvent::of(&shipped("post")[0]).unwrap();
    assert_eq!(
        reads::<ShopEvent>("shipped", after.data().as_str()),
        [ShopEvent::Shipped]
    );
}

#[test]
fn an_unknown_type_is_an_error_that_names_it_and_the_enum() {
    let error = unread::<ShopEvent>("order.lost", "{}");
    assert!(error.contains("order.lost") && error.contains("ShopEvent"), "{error}");
    for data in ["[]", "5", r#""x""#] {
        let error = unread::<ShopEvent>("shipped", data);
        assert!(error.contains("does not fit the variant shipped"), "{error}");
    }
    let error = unread::<ShopEvent>("order.paid", r#"{"cents":"five"}"#);
    assert!(error.contains("does not fit the variant order.paid"), "{error}");
}

#[test]
fn data_that_was_damaged_is_an_error() {
    let mut envelope = stored("shipped", "{}");
    for damaged in ["", "{", "{} {}", "{}x", "nul"] {
        envelope.data = EventData::from_stored(damaged);
        assert!(envelope.decode::<ShopEvent>().is_err(), "{damaged}");
    }
}

#[test]
fn other_takes_whatever_is_unknown_and_is_never_written() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Some {
        #[serde(rename = "order.paid")]
        Paid {
            cents: i64,
        },
        Shipped,
        #[serde(other)]
        Whatever,
    }
    impl DomainEvent for Some {}
    assert_eq!(reads::<Some>("order.paid", r#"{"cents":1}"#), [Some::Paid { cents: 1 }]);
    for data in ["{}", "null", r#"[1,{"a":2}]"#, r#""text""#, "1e5"] {
        assert_eq!(reads::<Some>("order.lost", data), [Some::Whatever]);
    }
    assert!(unread::<Some>("Shipped", "[]").contains("Shipped"));
    let error = NewEvent::of(&Some::Whatever).unwrap_err();
    assert!(
        error.is_invalid_input() && error.to_string().contains("Whatever stands for types"),
        "{error}"
    );
    let query = EventQuery::of::<Some>().unwrap();
    let types = query.filter().event_types.clone().unwrap();
    assert_eq!(
        types,
        [
            EventType::new("Shipped").unwrap(),
            EventType::new("order.paid").unwrap()
        ]
    );
}

#[test]
fn a_query_asks_for_older_names_too() {
    let types = EventQuery::of::<ShopEvent>()
        .unwrap()
        .filter()
        .event_types
        .clone()
        .unwrap();
    let types: Vec<_> = types.iter().map(EventType::as_str).collect();
    let names = [
        "PaymentReceived",
        "noted",
        "order-placed",
        "order.paid",
        "paid",
        "relabelled",
        "shipped",
    ];
    assert_eq!(types, names);
}

/// Declares an enum, or another type, and returns why it is refused for events.
macro_rules! refused {
    ($Name:ident, $($declaration:tt)*) => {{
        #[derive(Debug, Serialize, Deserialize)]
        $($declaration)*
        impl DomainEvent for $Name {}
        let error = EventQuery::of::<$Name>().unwrap_err();
        assert!(error.is_invalid_input(), "{error:?}");
        assert!(error.to_string().contains(stringify!($Name)), "{error}");
        assert_eq!(stored("x", "{}").decode::<$Name>().unwrap_err().kind(), error.kind());
        error.to_string()
    }};
}

#[test]
fn what_cannot_be_a_vocabulary_is_refused_with_the_reason() {
    let tags = [
        refused!(
            Plain,
            struct Plain {
                a: u8,
            }
        ),
        refused!(Wrapper, struct Wrapper(ShopEvent);),
        refused!(
            Inner,
            #[serde(tag = "type")]
            enum Inner {
                A { a: u8 },
            }
        ),
        refused!(
            Beside,
            #[serde(tag = "type", content = "data")]
            enum Beside {
                A { a: u8 },
            }
        ),
        refused!(
            Untagged,
            #[serde(untagged)]
            enum Untagged {
                A { a: u8 },
            }
        ),
    ];
    for error in tags {
        assert!(error.contains("tags with their names"), "{error}");
    }
    let error = refused!(
        Tuple,
        enum Tuple {
            Good { a: u8 },
            Moved(u8, u8),
        }
    );
    assert!(error.contains("Moved") && error.contains("no names"), "{error}");
    let error = refused!(
        Empty,
        enum Empty {
            #[serde(rename = "")]
            A,
        }
    );
    assert!(error.contains("is empty"), "{error}");
    let error = refused!(
        Nul,
        enum Nul {
            A,
            #[serde(alias = "a\0b")]
            B,
        }
    );
    assert!(error.contains("U+0000"), "{error}");
    #[allow(unreachable_patterns, reason = "which is what is refused")]
    let error = refused!(
        Twice,
        enum Twice {
            #[serde(rename = "a")]
            A,
            #[serde(rename = "b", alias = "a")]
            B,
        }
    );
    assert!(error.contains("two variants are called a"), "{error}");
}

#[test]
fn what_would_not_be_read_again_is_not_written() {
    #[derive(Debug, Serialize, Deserialize)]
    enum Odd {
        One(u8),
        Maybe(Option<Payment>),
        Float {
            ratio: f64,
        },
        Keys(BTreeMap<String, u8>),
        #[serde(rename(serialize = "written", deserialize = "read"))]
        Renamed,
    }
    impl DomainEvent for Odd {}
    let refused = |event: Odd, says: &str| {
        let error = NewEvent::of(&event).unwrap_err();
        assert!(error.is_invalid_input(), "{error:?}");
        assert!(
            error.to_string().contains(says) && error.to_string().contains("Odd"),
            "{error}"
        );
    };
    refused(Odd::One(1), "not written as a JSON object");
    refused(Odd::Maybe(None), "not written as a JSON object");
    refused(Odd::Float { ratio: f64::NAN }, "NaN");
    refused(Odd::Renamed, "written");
    NewEvent::of(&Odd::Maybe(Some(Payment { cents: 1 }))).unwrap();
    NewEvent::of(&Odd::Keys(BTreeMap::from([("a".to_owned(), 1)]))).unwrap();
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Money {
    #[serde(rename = "out.v3")]
    Out { cents: Box<RawValue2>, by: String },
    #[serde(rename = "in.v3")]
    In { cents: Box<RawValue2> },
}

/// A `RawValue` that can be compared.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
struct RawValue2(Box<RawValue>);

impl PartialEq for RawValue2 {
    fn eq(&self, other: &Self) -> bool {
        self.0.get() == other.0.get()
    }
}

fn raw(text: &str) -> Box<RawValue2> {
    Box::new(RawValue2(RawValue::from_string(text.to_owned()).unwrap()))
}

#[derive(Deserialize)]
#[serde(try_from = "Value")]
struct Positive(i64);

impl TryFrom<Value> for Positive {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        let amount = value["amount"].as_i64().filter(|amount| *amount > 0);
        amount.map(Self).ok_or_else(|| "the amount is not positive".to_owned())
    }
}

impl DomainEvent for Money {
    fn upcasts() -> Upcasts {
        Upcasts::new()
            .split("moved", ["out.v1", "in.v2", "in.v3"], |old: Value| {
                let twice = old["twice"] == json!(true);
                let to = if twice { vec!["in.v2", "in.v3"] } else { vec!["in.v2"] };
                let new = json!({ "amount": old["amount"], "cents": 7 });
                [("out.v1", new.clone())]
                    .into_iter()
                    .chain(to.into_iter().map(move |to| (to, new.clone())))
            })
            .rewrite("out.v1", "out.v2", |Positive(amount)| json!({ "cents": amount * 100 }))
            .rewrite("out.v2", "out.v3", |mut old: Value| {
                old["by"] = json!("somebody");
                old
            })
            .rewrite("in.v2", "in.v3", |old: BTreeMap<String, Box<RawValue>>| {
                json_of(&old["amount"])
            })
            .leave_out("looked")
            .split("undeclared", ["in.v3"], |_: Value| [("out.v3", json!({}))])
    }
}

#[derive(Serialize)]
struct Cents {
    cents: Box<RawValue>,
}

fn json_of(cents: &RawValue) -> Cents {
    Cents {
        cents: cents.to_owned(),
    }
}

#[test]
fn upcasts_make_one_event_into_any_number() {
    let out = |cents| Money::Out {
        cents: raw(cents),
        by: "somebody".into(),
    };
    let into = |cents| Money::In { cents: raw(cents) };
    assert_eq!(reads::<Money>("moved", r#"{"amount":5}"#), [out("500"), into("5")]);
    assert_eq!(
        reads::<Money>("moved", r#"{"amount":5,"twice":true}"#),
        [out("500"), into("5"), into("7")]
    );
    assert_eq!(reads::<Money>("out.v2", r#"{"cents":5}"#), [out("5")]);
    assert_eq!(reads::<Money>("in.v3", r#"{"cents":5}"#), [into("5")]);
    assert_eq!(reads::<Money>("looked", "[[]]"), []);
}

#[test]
fn upcasts_can_keep_the_text_of_numbers() {
    // A serde_json::Value would hold the nearest double instead.
    let exact = "0.1000000000000000055";
    assert_eq!(
        reads::<Money>("in.v2", &format!(r#"{{"amount":{exact}}}"#)),
        [Money::In { cents: raw(exact) }]
    );
}

#[test]
fn an_upcast_that_fails_is_an_error_that_names_it() {
    assert!(unread::<Money>("out.v1", r#"{"amount":-5}"#).contains("the upcast of out.v1 failed"));
    assert!(unread::<Money>("moved", r#"{"amount":-5}"#).contains("the upcast of out.v1 failed"));
    assert!(unread::<Money>("undeclared", "{}").contains("out.v3"));
    assert!(unread::<Money>("out.v4", "{}").contains("out.v4"));
}

#[test]
fn a_query_asks_for_what_there_are_upcasts_for() {
    let types = EventQuery::of::<Money>().unwrap().filter().event_types.clone().unwrap();
    let types: Vec<_> = types.iter().map(EventType::as_str).collect();
    assert_eq!(
        types,
        [
            "in.v2",
            "in.v3",
            "looked",
            "moved",
            "out.v1",
            "out.v2",
            "out.v3",
            "undeclared"
        ]
    );
}

/// Declares an enum with a variant `a`, and returns why its upcasts are refused.
macro_rules! refused_upcasts {
    ($upcasts:expr) => {{
        #[derive(Debug, Serialize, Deserialize)]
        enum Upcast {
            #[serde(alias = "b")]
            a {},
        }
        impl DomainEvent for Upcast {
            fn upcasts() -> Upcasts {
                $upcasts
            }
        }
        let error = NewEvent::of(&Upcast::a {}).unwrap_err();
        assert!(
            error.is_invalid_input() && error.to_string().contains("Upcast"),
            "{error}"
        );
        error.to_string()
    }};
}

#[test]
#[allow(non_camel_case_types, reason = "the names of events")]
fn upcasts_that_could_not_work_are_refused_before_anything_is_read() {
    let error = refused_upcasts!(Upcasts::new().leave_out("x").leave_out("x"));
    assert!(error.contains("x has two upcasts"), "{error}");
    let error = refused_upcasts!(Upcasts::new().leave_out("b"));
    assert!(error.contains("b has a variant of its own"), "{error}");
    let error = refused_upcasts!(Upcasts::new().rewrite("x", "c", |old: Value| old));
    assert!(error.contains("the type c"), "{error}");
    let error = refused_upcasts!(Upcasts::new().rewrite("x", "x", |old: Value| old));
    assert!(error.contains("x -> x"), "{error}");
    let error = refused_upcasts!({
        let same = |old: Value| old;
        Upcasts::new()
            .rewrite("x", "y", same)
            .rewrite("y", "z", same)
            .split("z", ["a", "y"], |_: Value| [("a", 1)])
    });
    assert!(error.contains("y -> z -> y"), "{error}");
    let error = refused_upcasts!(Upcasts::new().leave_out(""));
    assert!(error.contains("is empty"), "{error}");

    // Two paths to one type are not a cycle.
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Twice {
        a {},
    }
    impl DomainEvent for Twice {
        fn upcasts() -> Upcasts {
            Upcasts::new()
                .split("x", ["y", "z"], |_: Value| [("y", json!({})), ("z", json!({}))])
                .rewrite("y", "w", |old: Value| old)
                .rewrite("z", "w", |old: Value| old)
                .rewrite("w", "a", |old: Value| old)
        }
    }
    assert_eq!(reads::<Twice>("x", "{}"), [Twice::a {}, Twice::a {}]);
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(sku: String, price: f32, rate: f64, biggest: u64, smallest: i64, note: Option<String>) {
        prop_assume!(price.is_finite() && rate.is_finite());
        let event = ShopEvent::OrderPlaced {
            id: Uuid::nil(),
            note,
            lines: vec![Line { sku: sku.clone(), price, kind: Kind::Plain }],
            rates: BTreeMap::from([(sku, rate)]),
            biggest,
            smallest,
        };
        let new = NewEvent::of(&event).unwrap();
        let mut envelope = stored("order-placed", "{}");
        envelope.data = new.data().clone();
        prop_assert_eq!(envelope.decode::<ShopEvent>().unwrap(), [event]);
    }
}
