//! Payloads written and read with serde: they come back unchanged, or are refused.

use firefly_eventstore_core::{EventData, Metadata, NewEvent};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Reading {
    double: f64,
    single: f32,
    signed: i64,
    unsigned: u64,
    text: String,
    list: Vec<Option<bool>>,
}

proptest! {
    // Without `float_roundtrip`, serde_json reads some doubles as a neighbouring one.
    #[test]
    fn typed_values_come_back_bit_for_bit(
        double in proptest::num::f64::NORMAL | proptest::num::f64::SUBNORMAL | proptest::num::f64::ZERO,
        single in proptest::num::f32::NORMAL | proptest::num::f32::SUBNORMAL | proptest::num::f32::ZERO,
        signed: i64,
        unsigned: u64,
        text in "\\PC*",
        list: Vec<Option<bool>>,
    ) {
        let reading = Reading { double, single, signed, unsigned, text, list };
        let data = EventData::new(&reading).unwrap();
        let back: Reading = data.parse().unwrap();
        prop_assert_eq!(back.double.to_bits(), double.to_bits());
        prop_assert_eq!(back.single.to_bits(), single.to_bits());
        prop_assert_eq!(&back, &reading);
        let from_canonical: Reading = EventData::from_json(data.canonical().unwrap()).unwrap().parse().unwrap();
        prop_assert_eq!(&from_canonical, &reading);
    }
}

#[test]
fn refuses_floats_that_json_has_no_number_for() {
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let error = NewEvent::new("reading.taken", &[1.0, bad]).unwrap_err();
        assert!(error.is_invalid_input());
        assert!(error.to_string().contains("JSON has no number"), "{error}");
    }
}

#[test]
fn metadata_is_an_object_and_nothing_else() {
    assert!(Metadata::from_json("{}").is_ok());
    for text in ["null", "[]", "1", "\"text\"", "true"] {
        let error = Metadata::from_json(text).unwrap_err();
        assert!(error.to_string().contains("not a JSON object"), "{text}: {error}");
    }
}

#[test]
fn containment_is_that_of_jsonb() {
    // Each row was checked on PostgreSQL: SELECT a::jsonb @> b::jsonb.
    for (whole, part, contained) in [
        (r#"{"a":1,"b":2}"#, r#"{"a":1}"#, true),
        (r#"{"a":1}"#, r#"{"a":1,"b":2}"#, false),
        (r#"{"a":1}"#, "{}", true),
        (r#"{"a":{"b":{"c":1}}}"#, r#"{"a":{"b":{}}}"#, true),
        (r#"{"a":{"b":1}}"#, r#"{"b":1}"#, false),
        (r#"{"a":[1,2,3]}"#, r#"{"a":[3,1]}"#, true),
        (r#"{"a":[1,2]}"#, r#"{"a":[1,1,1]}"#, true),
        (r#"{"a":[1,2]}"#, r#"{"a":1}"#, false),
        (r#"{"a":[[1,2],[3]]}"#, r#"{"a":[[2]]}"#, true),
        (r#"{"a":[{"b":1,"c":2}]}"#, r#"{"a":[{"b":1}]}"#, true),
        (r#"{"a":1}"#, r#"{"a":1.0}"#, true),
        (r#"{"a":"1"}"#, r#"{"a":1}"#, false),
        (r#"{"a":null}"#, r#"{"a":null}"#, true),
        (r#"{"a":null}"#, r#"{"b":null}"#, false),
        (r#"{"a":9007199254740993}"#, r#"{"a":9007199254740992}"#, false),
        (r#"{"a":"\u00e9"}"#, r#"{"a":"e\u0301"}"#, false),
    ] {
        let holds = Metadata::from_json(whole)
            .unwrap()
            .contains(&Metadata::from_json(part).unwrap())
            .unwrap();
        assert_eq!(holds, contained, "{whole} @> {part}");
    }
}
