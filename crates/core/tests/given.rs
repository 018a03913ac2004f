//! Tests of aggregates without a store, and the check of an enum: passing ones, and the messages of failing ones.

#![allow(clippy::unwrap_used, reason = "these are tests, although clippy sees only functions")]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use firefly_eventstore_core::Upcasts;
use firefly_eventstore_core::prelude::*;
use firefly_eventstore_core::testing::{Given, check_events};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[derive(Serialize, Deserialize)]
enum CartEvent {
    #[serde(rename = "item.added", alias = "added")]
    Added { sku: String, count: u32, price: Price },
    #[serde(rename = "cart.emptied")]
    Emptied,
    #[serde(rename = "odd")]
    Odd { ratio: f64 },
}

#[derive(Serialize, Deserialize)]
struct Price {
    cents: i64,
    #[serde(default)]
    discounts: Vec<i64>,
}

impl DomainEvent for CartEvent {
    fn upcasts() -> Upcasts {
        Upcasts::new().split("cart.swapped", ["cart.emptied", "item.added"], |sku: String| {
            [
                ("cart.emptied", json!({})),
                ("item.added", json!({ "sku": sku, "count": 1, "price": { "cents": 1 } })),
            ]
        })
    }
}

#[derive(Default)]
struct Cart {
    items: u32,
}

impl Aggregate for Cart {
    const TYPE: &'static str = "Cart";
    type Event = CartEvent;

    fn evolve(&mut self, event: CartEvent) {
        match event {
            CartEvent::Added { count, .. } => self.items += count,
            CartEvent::Emptied | CartEvent::Odd { .. } => self.items = 0,
        }
    }
}

impl Cart {
    fn empty(&self) -> Result<Vec<CartEvent>, &'static str> {
        match self.items {
            0 => Ok(vec![]),
            1_000.. => Err("too much"),
            _ => Ok(vec![CartEvent::Emptied]),
        }
    }
}

fn added(count: u32, discounts: Vec<i64>) -> CartEvent {
    CartEvent::Added {
        sku: "a-1".into(),
        count,
        price: Price { cents: 5, discounts },
    }
}

/// The message of a failing test.
#[track_caller]
fn says(test: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(test)).expect_err("the test passed");
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => (*panic.downcast::<&str>().unwrap()).to_owned(),
    }
}

#[test]
fn what_follows_is_compared_as_it_is_stored() {
    let cart = Given::events([added(2, vec![])])
        .when(|cart: &Cart| cart.empty())
        .then([CartEvent::Emptied]);
    assert_eq!(cart.items, 0);
    let cart = Given::<Cart>::nothing().when(Cart::empty).then_nothing();
    assert_eq!(cart.items, 0);
    Given::<Cart>::events([added(999, vec![])])
        .and([added(1, vec![])])
        .when(Cart::empty)
        .then_refused("too much");
    let refusal = Given::<Cart>::events([added(1_000, vec![])])
        .when(Cart::empty)
        .then_refused_as(|refusal| refusal.starts_with("too"));
    assert_eq!(refusal, "too much");
    let swapped = Given::<Cart>::events([added(7, vec![])]).and_stored("cart.swapped", "b-2");
    assert_eq!(
        swapped
            .when(|cart| Ok::<_, ()>(vec![added(cart.items, vec![])]))
            .then([added(1, vec![])])
            .items,
        2
    );
}

#[test]
fn a_difference_is_shown_event_by_event_and_member_by_member() {
    let decide = |_: &Cart| Ok::<_, ()>(vec![CartEvent::Emptied, added(3, vec![1, 2]), CartEvent::Emptied]);
    let text = says(|| {
        _ = Given::nothing()
            .when(decide)
            .then([CartEvent::Emptied, added(2, vec![1, 5, 6])]);
    });
    let expected = r#"other events were decided (+) than expected (-):
    cart.emptied {}
  - item.added {"count":2,"price":{"cents":5,"discounts":[1,5,6]},"sku":"a-1"}
  + item.added {"count":3,"price":{"cents":5,"discounts":[1,2]},"sku":"a-1"}
  + cart.emptied {}
  at item.added/count: 2 expected, 3 found
  at item.added/price/discounts/1: 5 expected, 2 found
  at item.added/price/discounts/2: 6 expected, nothing found
"#;
    assert_eq!(text, expected);
}

#[test]
fn whatever_else_followed_fails_the_test() {
    let emptied = || Given::<Cart>::events([added(1, vec![])]).when(Cart::empty);
    let refused = || Given::<Cart>::events([added(1_000, vec![])]).when(Cart::empty);
    assert!(says(|| _ = emptied().then_nothing()).contains("+ cart.emptied {}"));
    assert!(says(|| _ = emptied().then([])).contains("+ cart.emptied {}"));
    assert!(says(|| emptied().then_refused("too much")).contains("decided:\n  + cart.emptied {}"));
    assert!(says(|| _ = refused().then([CartEvent::Emptied])).contains("refused: \"too much\""));
    assert!(says(|| _ = refused().then_nothing()).contains("refused: \"too much\""));
    assert!(says(|| refused().then_refused("too little")).contains("too little"));
    assert!(says(|| _ = refused().then_refused_as(|_| false)).contains("refused for another reason: \"too much\""));
    let odd = |_: &Cart| Ok::<_, ()>(vec![CartEvent::Odd { ratio: f64::NAN }]);
    assert!(says(|| _ = Given::nothing().when(odd).then_nothing()).contains("NaN"));
    assert!(says(|| _ = Given::<Cart>::nothing().and_stored("item.lost", &json!({}))).contains("item.lost"));
    assert!(says(|| _ = Given::<Cart>::nothing().and_stored("added", &json!({}))).contains("missing field `sku`"));
}

fn samples() -> Vec<CartEvent> {
    vec![
        added(1, vec![]),
        added(2, vec![3]),
        CartEvent::Emptied,
        CartEvent::Odd { ratio: 0.1 },
    ]
}

#[test]
fn each_variant_needs_a_sample() {
    check_events(samples());
    let without = |lost: usize| {
        let mut samples = samples();
        samples.remove(lost);
        says(|| _ = check_events(samples))
    };
    assert!(without(2).contains("no sample is of the variant cart.emptied"));
    assert!(without(3).contains("no sample is of the variant odd"));
    let text = says(|| _ = check_events([CartEvent::Emptied, CartEvent::Odd { ratio: 0.1 }]));
    assert!(text.contains("no sample is of the variant added"), "{text}");
}

#[test]
fn a_sample_that_is_read_otherwise_fails_the_check() {
    #[derive(Serialize, Deserialize)]
    enum Lossy {
        A {
            #[serde(skip_deserializing)]
            kept: u8,
        },
    }
    impl DomainEvent for Lossy {}
    let text = says(|| _ = check_events([Lossy::A { kept: 1 }]));
    assert!(text.contains("at A/kept: 1 expected, 0 found"), "{text}");
    check_events([Lossy::A { kept: 0 }]);
}

#[test]
fn old_forms_are_checked() {
    check_events(samples())
        .reads(
            "added",
            &json!({ "sku": "a-1", "count": 1, "price": { "cents": 5 } }),
            [added(1, vec![])],
        )
        .reads(
            "cart.swapped",
            "b-2",
            [
                CartEvent::Emptied,
                CartEvent::Added {
                    sku: "b-2".into(),
                    count: 1,
                    price: Price {
                        cents: 1,
                        discounts: vec![],
                    },
                },
            ],
        );
    let text = says(|| _ = check_events(samples()).reads("cart.swapped", "b-2", [CartEvent::Emptied]));
    assert!(text.contains("cart.swapped") && text.contains("+ item.added"), "{text}");
    let text = says(|| _ = check_events(samples()).reads("added", &json!({ "sku": 5 }), []));
    assert!(text.contains("added") && text.contains("invalid type"), "{text}");
}

/// A folder. Dropping this removes it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("firefly-events-{}", Uuid::now_v7())))
    }

    fn change(&self, file: &str, change: impl FnOnce(&mut Value)) {
        let path = self.0.join(file);
        let mut form: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        change(&mut form);
        fs::write(path, form.to_string()).unwrap();
    }

    fn files(&self) -> Vec<String> {
        let files = fs::read_dir(&self.0)
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap());
        let mut files: Vec<_> = files.collect();
        files.sort();
        files
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn forms_are_frozen_in_files() {
    let folder = Folder::new();
    let check = || {
        check_events(samples()).reads(
            "cart.swapped",
            "b-2",
            [CartEvent::Emptied, {
                let price = Price {
                    cents: 1,
                    discounts: vec![],
                };
                CartEvent::Added {
                    sku: "b-2".into(),
                    count: 1,
                    price,
                }
            }],
        )
    };
    assert!(says(|| check().frozen(&folder.0)).contains("record the samples first"));
    check().record(&folder.0);
    let files = [
        "cart.emptied.1.json",
        "item.added.1.json",
        "item.added.2.json",
        "odd.1.json",
    ];
    assert_eq!(folder.files(), files);
    check().frozen(&folder.0);

    // An upcast without a recorded old event.
    let text = says(|| check_events(samples()).frozen(&folder.0));
    assert!(text.contains("cart.swapped"), "{text}");

    // An old form, for which the current enum uses a default.
    folder.change("item.added.1.json", |form| {
        form["event_type"] = json!("added");
        form["data"].as_object_mut().unwrap()["price"] = json!({ "cents": 7 });
    });
    let text = says(|| check().frozen(&folder.0));
    assert!(
        text.contains("item.added.1.json") && text.contains("at item.added/price/cents: 5 expected, 7 found"),
        "{text}"
    );

    // Recording again keeps the old form, and adds a file for the new sample.
    check().record(&folder.0);
    check().frozen(&folder.0);
    let old: Value = serde_json::from_str(&fs::read_to_string(folder.0.join("item.added.1.json")).unwrap()).unwrap();
    assert_eq!(old["event_type"], "added");
    assert_eq!(old["data"]["price"], json!({ "cents": 7 }));
    assert_eq!(
        old["reads_as"][0]["data"]["price"],
        json!({ "cents": 7, "discounts": [] })
    );
    assert_eq!(folder.files().len(), 5);

    // A form that cannot be read is never overwritten.
    folder.change("odd.1.json", |form| form["data"] = json!({ "ratio": "much" }));
    for test in [says(|| check().frozen(&folder.0)), says(|| check().record(&folder.0))] {
        assert!(test.contains("odd.1.json cannot be read any more"), "{test}");
    }

    // A sample that was never recorded.
    fs::remove_file(folder.0.join("odd.1.json")).unwrap();
    assert!(says(|| check().frozen(&folder.0)).contains("has the form odd"));
}
