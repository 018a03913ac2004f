//! The canonical form against the vectors of RFC 8785 and against a second, slower implementation.

#![allow(clippy::unwrap_used)] // Helpers outside of #[test] functions unwrap, too.

use std::collections::BTreeMap;

use firefly_eventstore_core::canonical::{Checksum, JsonError, MAX_DEPTH, MAX_DIGITS, canonicalize, checksum, examine};
use proptest::prelude::*;
use serde_json::Value;

fn canonical(json: &str) -> String {
    canonicalize(json).unwrap_or_else(|refused| panic!("{json}: {refused}"))
}

fn is_portable(json: &str) -> bool {
    examine(json).unwrap().inexact_number.is_none()
}

mod rfc_8785 {
    use super::*;

    #[test]
    fn appendix_b_numbers() {
        for (bits, expected) in [
            (0x0000000000000000, "0"),
            (0x8000000000000000, "0"),
            (0x0000000000000001, "5e-324"),
            (0x8000000000000001, "-5e-324"),
            (0x7fefffffffffffff, "1.7976931348623157e+308"),
            (0xffefffffffffffff, "-1.7976931348623157e+308"),
            (0x4340000000000000, "9007199254740992"),
            (0xc340000000000000, "-9007199254740992"),
            (0x4430000000000000, "295147905179352830000"),
            (0x44b52d02c7e14af5, "9.999999999999997e+22"),
            (0x44b52d02c7e14af6, "1e+23"),
            (0x44b52d02c7e14af7, "1.0000000000000001e+23"),
            (0x444b1ae4d6e2ef4e, "999999999999999700000"),
            (0x444b1ae4d6e2ef4f, "999999999999999900000"),
            (0x444b1ae4d6e2ef50, "1e+21"),
            (0x3eb0c6f7a0b5ed8c, "9.999999999999997e-7"),
            (0x3eb0c6f7a0b5ed8d, "0.000001"),
            (0x41b3de4355555553, "333333333.3333332"),
            (0x41b3de4355555554, "333333333.33333325"),
            (0x41b3de4355555555, "333333333.3333333"),
            (0x41b3de4355555556, "333333333.3333334"),
            (0x41b3de4355555557, "333333333.33333343"),
            (0xbecbf647612f3696, "-0.0000033333333333333333"),
            (0x43143ff3c1cb0959, "1424953923781206.2"),
        ] {
            let spelling = serde_json::to_string(&f64::from_bits(bits)).unwrap();
            for json in [spelling.as_str(), expected] {
                assert_eq!(canonical(json), expected, "{bits:x} as {json}");
                assert!(is_portable(json), "{bits:x} as {json}");
            }
        }
    }

    #[test]
    fn values() {
        // The RFC rounds the first number to 333333333.3333333.
        assert_eq!(
            canonical(
                r#"{
                  "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
                  "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
                  "literals": [null, true, false]
                }"#
            ),
            concat!(
                r#"{"literals":[null,true,false],"#,
                r#""numbers":[333333333.33333329,1e+30,4.5,0.002,1e-27],"#,
                r#""string":"€$\u000f\nA'B\"\\\\\"/"}"#
            )
        );
    }

    #[test]
    fn property_sorting() {
        assert_eq!(
            canonical(
                r#"{
                  "\u20ac": "Euro Sign",
                  "\r": "Carriage Return",
                  "\ufb33": "Hebrew Letter Dalet With Dagesh",
                  "1": "One",
                  "\ud83d\ude00": "Emoji: Grinning Face",
                  "\u0080": "Control",
                  "\u00f6": "Latin Small Letter O With Diaeresis"
                }"#
            ),
            concat!(
                r#"{"\r":"Carriage Return","1":"One",""#,
                "\u{80}",
                r#"":"Control","ö":"Latin Small Letter O With Diaeresis","€":"Euro Sign","#,
                r#""😀":"Emoji: Grinning Face",""#,
                "\u{fb33}",
                r#"":"Hebrew Letter Dalet With Dagesh"}"#
            )
        );
    }

    #[test]
    fn weird() {
        assert_eq!(
            canonical(
                r#"{
                  "\u20ac": "Euro Sign",
                  "\r": "Carriage Return",
                  "\u000a": "Newline",
                  "1": "One",
                  "\u0080": "Control\u007f",
                  "\ud83d\ude02": "Smiley",
                  "\u00f6": "Latin Small Letter O With Diaeresis",
                  "\ufb33": "Hebrew Letter Dalet With Dagesh",
                  "</script>": "Browser Challenge"
                }"#
            ),
            concat!(
                r#"{"\n":"Newline","\r":"Carriage Return","1":"One","#,
                r#""</script>":"Browser Challenge",""#,
                "\u{80}\":\"Control\u{7f}",
                r#"","ö":"Latin Small Letter O With Diaeresis","€":"Euro Sign","😂":"Smiley",""#,
                "\u{fb33}",
                r#"":"Hebrew Letter Dalet With Dagesh"}"#
            )
        );
    }

    #[test]
    fn unicode_is_not_normalized() {
        assert_eq!(
            canonical(r#"{ "Unnormalized Unicode": "A\u030a" }"#),
            "{\"Unnormalized Unicode\":\"A\u{30a}\"}"
        );
    }

    #[test]
    fn structures() {
        assert_eq!(
            canonical(
                r#"{
                  "1": {"f": {"f":  "hi","F":  5} ,"\n":  56.0},
                  "10": { },
                  "":  "empty",
                  "a": { },
                  "111": [ {"e":  "yes","E":  "no" } ],
                  "A": { }
                }"#
            ),
            concat!(
                r#"{"":"empty","1":{"\n":56,"f":{"F":5,"f":"hi"}},"10":{},"#,
                r#""111":[{"E":"no","e":"yes"}],"A":{},"a":{}}"#
            )
        );
    }

    #[test]
    fn french() {
        assert_eq!(
            canonical(
                r#"{
                  "peach": "This sorting order",
                  "péché": "is wrong according to French",
                  "pêche": "but canonicalization MUST",
                  "sin":   "ignore locale"
                }"#
            ),
            concat!(
                r#"{"peach":"This sorting order","péché":"is wrong according to French","#,
                r#""pêche":"but canonicalization MUST","sin":"ignore locale"}"#
            )
        );
    }

    #[test]
    fn arrays() {
        assert_eq!(
            canonical("[\n  56,\n  {\n    \"d\": true,\n    \"10\": null,\n    \"1\": [ ]\n  }\n]\n"),
            r#"[56,{"1":[],"10":null,"d":true}]"#
        );
    }
}

mod numbers {
    use super::*;

    #[test]
    fn have_one_spelling() {
        for (json, expected) in [
            ("1000.00", "1000"),
            ("10e-1", "1"),
            ("1e16", "10000000000000000"),
            ("-0", "0"),
            ("-0.0", "0"),
            ("0e999999999999999999999", "0"),
            ("-0.000E-999999999999999999999", "0"),
            ("0.1", "0.1"),
            ("-12.50", "-12.5"),
            ("1E21", "1e+21"),
            ("100000000000000000000", "100000000000000000000"),
            ("1000000000000000000000", "1e+21"),
            ("0.000001", "0.000001"),
            ("0.0000001", "1e-7"),
            ("0.00000012", "1.2e-7"),
            ("-0.0000001", "-1e-7"),
            ("123456789012345e-20", "0.00000123456789012345"),
            ("1e+0000000000000000000000000002", "100"),
            ("1e308", "1e+308"),
            ("5e-324", "5e-324"),
            ("2.2250738585072014e-308", "2.2250738585072014e-308"),
        ] {
            assert_eq!(canonical(json), expected, "{json}");
            assert!(is_portable(json), "{json}");
        }
    }

    #[test]
    fn that_are_not_doubles_keep_their_digits() {
        for (json, expected) in [
            ("1152921504606846976", "1152921504606846976"),
            ("9007199254740993", "9007199254740993"),
            ("9007199254740993.0", "9007199254740993"),
            ("9.007199254740993e15", "9007199254740993"),
            ("18446744073709551615", "18446744073709551615"),
            ("-9223372036854775808", "-9223372036854775808"),
            ("295147905179352825856", "295147905179352825856"),
            ("0.1000000000000000055", "0.1000000000000000055"),
            ("1.00000000000000000010E-3", "0.0010000000000000000001"),
            ("1.00000000000000000012e19", "10000000000000000001.2"),
            ("4e-324", &format!("0.{}4", "0".repeat(323))),
            ("-1e400", &format!("-1{}", "0".repeat(400))),
            ("1e-400", &format!("0.{}1", "0".repeat(399))),
            (
                "1.7976931348623159e308",
                &format!("17976931348623159{}", "0".repeat(292)),
            ),
        ] {
            assert_eq!(canonical(json), expected, "{json}");
            assert_eq!(canonical(expected), expected, "{json}");
        }
    }

    #[test]
    fn are_portable_as_64_bit_integers_or_doubles() {
        for json in [
            "9007199254740993",
            "18446744073709551615",
            "-9223372036854775808",
            "2.9514790517935283e20",
            "295147905179352830000",
            "5e-324",
            "9007199254740992.0",
        ] {
            assert!(is_portable(json), "{json}");
        }
        for json in [
            "9007199254740993.0",
            "9.007199254740993e15",
            "18446744073709551617",
            "-9223372036854775809",
            "295147905179352825856",
            "333333333.33333329",
            "0.1000000000000000055",
            "1e400",
            "4e-324",
        ] {
            let inexact = examine(&format!("[1, {json}, 1e401]")).unwrap().inexact_number;
            assert_eq!(inexact.as_deref(), Some(json));
        }
    }

    #[test]
    fn halfway_between_two_spellings_end_evenly() {
        // The doubles are 1424953923781206.25 and 1717287882116894.25.
        for (even, odd) in [
            ("1424953923781206.2", "1424953923781206.3"),
            ("1717287882116894.2", "1717287882116894.3"),
        ] {
            assert_eq!(even.parse::<f64>(), odd.parse::<f64>());
            assert!(is_portable(even), "{even}");
            assert!(!is_portable(odd), "{odd}");
        }
        // Here the standard library's choice is the even one.
        assert!(is_portable("1424953923781206.8") && !is_portable("1424953923781206.7"));
    }

    #[test]
    fn may_have_a_thousand_digits_written_out() {
        assert_eq!(MAX_DIGITS, 1_000);
        for json in [
            format!("1{}", "0".repeat(999)),
            "1e999".into(),
            "1e-999".into(),
            "12e-999".into(),
            format!("1.{}e998", "1".repeat(999)),
            format!("0.{}", "1".repeat(999)),
            format!("1.{}", "0".repeat(5_000)),
            format!("0.{}1e5001", "0".repeat(5_000)),
            format!("1{}e-100000", "0".repeat(100_000)),
            format!("0.{}1e100001", "0".repeat(100_000)),
        ] {
            let digits = canonical(&json).bytes().filter(u8::is_ascii_digit).count();
            assert!(digits <= MAX_DIGITS, "{json}");
        }
        for json in [
            "1e1000",
            "1e-1000",
            "1e-2000",
            "1e999999999999999",
            "-1e-999999999999999999999999",
            "1e9223372036854775807",
            "1e-9223372036854775808",
            &format!("1.{}e999", "1".repeat(1_000)),
            &format!("0.{}", "1".repeat(1_000)),
        ] {
            let refused = canonicalize(&format!("[{json}]"));
            assert_eq!(refused, Err(JsonError::NumberTooLong { offset: 1 }), "{json}");
        }
    }

    proptest! {
        #[test]
        fn integers_of_64_bits_are_canonical(signed: i64, unsigned: u64) {
            for json in [signed.to_string(), unsigned.to_string()] {
                prop_assert_eq!(canonical(&json), json.as_str());
                prop_assert!(is_portable(&json));
            }
        }

        #[test]
        fn doubles_are_written_as_ecmascript_does(double in any_double()) {
            assert_is_written_as_ecmascript_does(double)?;
        }

        #[test]
        fn doubles_halfway_between_two_spellings_are_written_as_ecmascript_does(
            // m / 2^j, where m has about as many bits as make two spellings of one length equally near.
            (m, j) in (2..24_i32, 0..4).prop_flat_map(|(j, more): (i32, i32)| {
                let bits = (56 - j * 7 / 3 + more).clamp(1, 53);
                (1_u64 << (bits - 1)..1 << bits, Just(j))
            })
        ) {
            assert_is_written_as_ecmascript_does((m | 1) as f64 / 2_f64.powi(j))?;
        }
    }

    fn assert_is_written_as_ecmascript_does(double: f64) -> Result<(), TestCaseError> {
        let spelling = serde_json::to_string(&double).unwrap();
        let number = Number::read(&spelling);
        let form = canonical(&spelling);
        prop_assert_eq!(&form, &number.ecmascript());
        prop_assert_eq!(form.parse::<f64>().unwrap(), double);
        prop_assert!(is_portable(&spelling), "{}", spelling);
        let scientific = format!("{double:e}");
        prop_assert_eq!(number.digits.len(), Number::read(&scientific).digits.len());
        Ok(())
    }
}

mod refuses {
    use super::*;

    #[test]
    fn what_is_not_json() {
        for (json, offset, expected) in [
            ("", 0, "a value"),
            (" ", 1, "a value"),
            ("\u{feff}1", 0, "a value"),
            ("\u{a0}1", 0, "a value"),
            ("\u{c}1", 0, "a value"),
            ("1 2", 2, "the end of the text"),
            ("{}}", 2, "the end of the text"),
            ("1\0", 1, "the end of the text"),
            ("[1,]", 3, "a value"),
            ("[1 2]", 3, "',' or ']'"),
            ("[1", 2, "',' or ']'"),
            ("[", 1, "a value"),
            ("[}", 1, "a value"),
            ("{1:2}", 1, "a key in double quotes"),
            ("{'a':1}", 1, "a key in double quotes"),
            ("{\"a\":1,}", 7, "a key in double quotes"),
            ("{\"a\" 1}", 5, "':' after the key"),
            ("{\"a\":}", 5, "a value"),
            ("{\"a\":1", 6, "',' or '}'"),
            ("{\"a\":1]", 6, "',' or '}'"),
            ("truth", 3, "true"),
            ("nul", 3, "null"),
            ("False", 0, "a value"),
            ("NaN", 0, "a value"),
            ("+1", 0, "a value"),
            (".5", 0, "a value"),
            ("-", 1, "a digit"),
            ("-.5", 1, "a digit"),
            ("01", 1, "no digit after a leading zero"),
            ("-00", 2, "no digit after a leading zero"),
            ("1.", 2, "a digit after the point"),
            ("1.e5", 2, "a digit after the point"),
            ("1e", 2, "a digit in the exponent"),
            ("1e+", 3, "a digit in the exponent"),
            ("1e-+1", 3, "a digit in the exponent"),
            ("0x10", 1, "the end of the text"),
            ("\"a", 2, "the '\"' that ends the string"),
            ("\"a\\", 3, "one of \" \\ / b f n r t u after a backslash"),
            ("\"\\x41\"", 2, "one of \" \\ / b f n r t u after a backslash"),
            ("\"\\u00g0\"", 5, "four hexadecimal digits after \\u"),
            ("\"\\u+123\"", 3, "four hexadecimal digits after \\u"),
            ("\"\\u12", 5, "four hexadecimal digits after \\u"),
            ("\"\\ud83d\\u00", 11, "four hexadecimal digits after \\u"),
            (
                "\"a\nb\"",
                2,
                "an escape such as \\n or \\u0001 instead of a control character",
            ),
            (
                "\"\u{1f}\"",
                1,
                "an escape such as \\n or \\u0001 instead of a control character",
            ),
            (
                "\"\u{1f}2345678\"",
                1,
                "an escape such as \\n or \\u0001 instead of a control character",
            ),
            (
                "\"12345678\0\"",
                9,
                "an escape such as \\n or \\u0001 instead of a control character",
            ),
        ] {
            assert_eq!(
                canonicalize(json),
                Err(JsonError::Syntax { offset, expected }),
                "{json:?}"
            );
            assert!(serde_json::from_str::<Value>(json).is_err(), "{json:?}");
        }
        let refused = canonicalize("[1,]").unwrap_err();
        assert_eq!(refused.to_string(), "not JSON: expected a value at byte 3");
    }

    #[test]
    fn duplicate_keys() {
        for (json, key, offset) in [
            (r#"{"a":1,"a":1}"#, "a", 7),
            (r#"{"a":1,"b":1,"a":2}"#, "a", 13),
            (r#"{"b":1,"a":1,"b":2}"#, "b", 13),
            (r#"{"a":1,"\u0061":2}"#, "a", 7),
            (r#"{"😀":1,"\uD83D\uDE00":2}"#, "😀", 10),
            (r#"{"\n":1,"\u000A":2}"#, "\n", 8),
            (r#"[{"x":{"a":1,"":2,"a":3}}]"#, "a", 18),
        ] {
            let refused = Err(JsonError::DuplicateKey {
                key: key.into(),
                offset,
            });
            assert_eq!(canonicalize(json), refused, "{json}");
        }
        // However many keys there are to sort.
        let descending: Vec<_> = (0..50).rev().map(|key| format!("\"{key:02}\":0")).collect();
        let descending = descending.join(",");
        for key in 0..50 {
            let refused = canonicalize(&format!("{{{descending},\"{key:02}\":0}}"));
            let key = format!("{key:02}").into();
            assert_eq!(
                refused,
                Err(JsonError::DuplicateKey {
                    key,
                    offset: descending.len() + 2
                })
            );
        }
        // These are different objects and different keys.
        canonical(r#"{"a":{"a":1},"A":[{"a":1},{"a":1}],"a ":1}"#);
    }

    #[test]
    fn lone_surrogates() {
        for (json, offset) in [
            (r#""\ud83d""#, 1),
            (r#""\udE00""#, 1),
            (r#""ab\ude00\ud83d""#, 3),
            (r#""\ud83dxude00""#, 1),
            (r#""\ud83d\ud83d\ude00""#, 1),
            (r#""\ud83d\n""#, 1),
            (r#""\ude00\ude00""#, 1),
            (r#"{"\udbff\ue000":1}"#, 2),
        ] {
            assert_eq!(canonicalize(json), Err(JsonError::LoneSurrogate { offset }), "{json}");
            assert!(serde_json::from_str::<Value>(json).is_err(), "{json}");
        }
        assert_eq!(
            canonical(r#""\uD83D\uDE00\ud800\udc00\udbff\udfff""#),
            "\"😀\u{10000}\u{10ffff}\""
        );
    }

    #[test]
    fn deeper_nesting_than_serde_json_reads() {
        for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[{\"b\":0,\"a\":", "}]")] {
            let levels = open.matches(['[', '{']).count();
            let nested = |depth: usize| {
                let (opens, closes) = (open.repeat(depth / levels), close.repeat(depth / levels));
                let (more, less) = if depth.is_multiple_of(levels) {
                    ("", "")
                } else {
                    ("[", "]")
                };
                format!("{more}{opens}1{closes}{less}")
            };
            let deepest = nested(MAX_DEPTH);
            assert_eq!(examine(&deepest).unwrap().depth, MAX_DEPTH);
            assert!(serde_json::from_str::<Value>(&deepest).is_ok());

            let refused = canonicalize(&nested(MAX_DEPTH + 1)).unwrap_err();
            assert!(matches!(refused, JsonError::TooDeep { .. }), "{refused}");
            assert!(serde_json::from_str::<Value>(&nested(MAX_DEPTH + 1)).is_err());
        }
        let endless = "[".repeat(1_000_000);
        assert_eq!(canonicalize(&endless), Err(JsonError::TooDeep { offset: MAX_DEPTH }));
        // Siblings are not nested.
        canonical(&format!("[{}1]", "[],{},".repeat(1_000)));
    }
}

mod findings {
    use super::*;

    #[test]
    fn depth_counts_arrays_and_objects() {
        for (json, depth) in [
            ("1", 0),
            ("\"[[\"", 0),
            ("[]", 1),
            ("{}", 1),
            ("[[],[{}],1]", 3),
            ("[[[]],[]]", 3),
            (r#"{"a":[1],"b":2}"#, 2),
        ] {
            assert_eq!(examine(json).unwrap().depth, depth, "{json}");
        }
    }

    #[test]
    fn nul_is_found_in_strings_and_keys() {
        for json in [r#""\u0000""#, r#"{"a":[{"\u0000":1}]}"#, r#"["a\n\u0000b"]"#] {
            assert!(examine(json).unwrap().has_nul, "{json}");
        }
        for json in [r#""\\u0000""#, r#""\u0001""#, "0", "null"] {
            assert!(!examine(json).unwrap().has_nul, "{json}");
        }
    }

    #[test]
    fn objects_are_told_apart() {
        assert!(examine(" {} ").unwrap().is_object);
        for json in ["[{}]", "\"{}\"", "null"] {
            assert!(!examine(json).unwrap().is_object, "{json}");
        }
    }
}

mod checksums {
    use super::*;

    #[test]
    fn have_one_spelling() {
        let sum = checksum("null").unwrap();
        assert_eq!(
            sum.to_string(),
            "74234e98afe7498fb5daf1f36ac2d78acc339464f950703b8c019892f982b90b"
        );
        assert_eq!(format!("{sum:?}"), format!("Checksum({sum})"));
        assert_eq!(sum.to_string().parse(), Ok(sum));
        let text = sum.to_string();
        for wrong in [
            "",
            &text[1..],
            &format!("{text}0"),
            &text.to_uppercase(),
            &format!(" {}", &text[1..]),
            &format!("g{}", &text[1..]),
            &format!("{}é", &text[2..]),
        ] {
            assert!(wrong.parse::<Checksum>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn survive_their_spelling(bytes: [u8; 32]) {
            let sum = Checksum::from_bytes(bytes);
            prop_assert_eq!(sum.to_string().parse::<Checksum>().unwrap(), sum);
            prop_assert_eq!(sum.as_bytes(), &bytes);
        }
    }
}

mod documents {
    use super::*;

    proptest! {
        #[test]
        fn have_one_canonical_form_however_they_are_spelled(
            document in any_document(),
            mut style in any_style(),
        ) {
            let json = document.spelled(&mut style);
            let form = canonical(&json);
            prop_assert_eq!(&form, &document.canonical(), "from {}", json);
            prop_assert_eq!(canonical(&form), form.as_str());

            let findings = examine(&json).unwrap();
            prop_assert_eq!(findings.checksum, checksum(&form).unwrap());
            prop_assert_eq!(findings.checksum, checksum(&json).unwrap());
            prop_assert_eq!(findings.depth, document.depth());
            prop_assert_eq!(findings.has_nul, document.has_nul());
            prop_assert_eq!(findings.is_object, matches!(document, Document::Object(_)));
        }

        #[test]
        fn change_their_checksum_with_any_key_or_value(
            document in any_document(),
            mut choices in any_style(),
        ) {
            let mut changed = document.clone();
            changed.change(&mut choices);
            prop_assume!(changed != document);
            prop_assert_ne!(checksum(&changed.canonical()), checksum(&document.canonical()));
        }

        #[test]
        fn keep_their_canonical_form_through_serde_json(
            // serde_json reads other numbers as the nearest double.
            document in any_document().prop_filter("a number that a double does not carry", |document| {
                examine(&document.canonical()).unwrap().inexact_number.is_none()
            }),
            mut style in any_style(),
        ) {
            let form = canonical(&document.spelled(&mut style));
            let value: Value = serde_json::from_str(&form).unwrap();
            prop_assert_eq!(canonical(&value.to_string()), form.as_str());
            prop_assert_eq!(canonical(&format!("{value:#}")), form.as_str());
            prop_assert_eq!(&serde_json::from_str::<Value>(&canonical(&value.to_string())).unwrap(), &value);
        }

        #[test]
        fn are_what_serde_json_accepts(json in any_damaged_document()) {
            let parsed = serde_json::from_str::<Value>(&json);
            match examine(&json) {
                // serde_json refuses a number beyond the greatest double.
                Ok(found) => prop_assert!(parsed.is_ok() || found.inexact_number.is_some(), "{:?} accepted", json),
                Err(
                    JsonError::DuplicateKey { .. }
                    | JsonError::TooDeep { .. }
                    | JsonError::NumberTooLong { .. },
                ) => {}
                Err(refused) => {
                    prop_assert!(parsed.is_err(), "{:?} refused: {}", json, refused);
                    prop_assert!(refused.offset() <= json.len());
                }
            }
        }

        #[test]
        fn are_refused_with_a_duplicate_key(
            members in prop::collection::btree_map(any_text(), any_document(), 1..40),
            mut style in any_style(),
        ) {
            let mut members: Vec<_> = members.into_iter().collect();
            let twice = members[style.below(members.len())].clone();
            let key = twice.0.clone();
            members.push(twice);
            style.shuffle(&mut members);
            let json = spelled_object(members.iter().map(|(key, value)| (key, value)), &mut style);
            match canonicalize(&json) {
                Err(JsonError::DuplicateKey { key: found, .. }) => prop_assert_eq!(&*found, key.as_str()),
                other => prop_assert!(false, "{:?} from {}", other, json),
            }
        }

        #[test]
        fn never_panic(text: String, garbage in "[\\[\\]{}:,\"\\\\0-9.eE+\\-tfnu a]{0,40}") {
            for json in [text, garbage] {
                let accepted = canonicalize(&json).is_ok();
                prop_assert_eq!(examine(&json).is_ok(), accepted);
                prop_assert_eq!(checksum(&json).is_ok(), accepted);
            }
        }
    }
}

/// A JSON document independent of its spelling. Equal documents must have equal canonical forms, and different ones
/// different forms.
#[derive(Debug, Clone, PartialEq)]
enum Document {
    Literal(&'static str),
    Number(Number),
    Text(String),
    Array(Vec<Self>),
    Object(BTreeMap<String, Self>),
}

impl Document {
    /// The canonical form, written directly from the definition.
    fn canonical(&self) -> String {
        match self {
            Self::Literal(word) => (*word).into(),
            Self::Number(number) => number.canonical(),
            Self::Text(text) => canonical_text(text),
            Self::Array(elements) => {
                let elements: Vec<_> = elements.iter().map(Self::canonical).collect();
                format!("[{}]", elements.join(","))
            }
            Self::Object(members) => {
                let mut members: Vec<_> = members.iter().collect();
                members.sort_by_key(|(key, _)| key.encode_utf16().collect::<Vec<_>>());
                let members: Vec<_> = members
                    .into_iter()
                    .map(|(key, value)| canonical_text(key) + ":" + &value.canonical())
                    .collect();
                format!("{{{}}}", members.join(","))
            }
        }
    }

    fn spelled(&self, style: &mut Style) -> String {
        let json = match self {
            Self::Literal(word) => (*word).into(),
            Self::Number(number) => number.spelled(style),
            Self::Text(text) => spelled_text(text, style),
            Self::Array(elements) => {
                let elements: Vec<_> = elements.iter().map(|element| element.spelled(style)).collect();
                format!("[{}{}]", style.whitespace(), elements.join(","))
            }
            Self::Object(members) => {
                let mut members: Vec<_> = members.iter().collect();
                style.shuffle(&mut members);
                spelled_object(members, style)
            }
        };
        format!("{}{json}{}", style.whitespace(), style.whitespace())
    }

    fn depth(&self) -> usize {
        match self {
            Self::Array(elements) => 1 + elements.iter().map(Self::depth).max().unwrap_or(0),
            Self::Object(members) => 1 + members.values().map(Self::depth).max().unwrap_or(0),
            _ => 0,
        }
    }

    fn has_nul(&self) -> bool {
        match self {
            Self::Literal(_) | Self::Number(_) => false,
            Self::Text(text) => text.contains('\0'),
            Self::Array(elements) => elements.iter().any(Self::has_nul),
            Self::Object(members) => members.iter().any(|(key, value)| key.contains('\0') || value.has_nul()),
        }
    }

    /// Usually changes one thing somewhere.
    fn change(&mut self, choices: &mut Style) {
        match self {
            Self::Literal(word) => *word = ["null", "true", "false"][choices.below(3)],
            Self::Number(number) => number.change(choices),
            Self::Text(text) => change_text(text, choices),
            Self::Array(elements) if elements.is_empty() => *self = Self::Object(BTreeMap::new()),
            Self::Array(elements) => {
                let index = choices.below(elements.len());
                match choices.below(6) {
                    0 => drop(elements.remove(index)),
                    1 => elements.insert(index, Self::Literal("null")),
                    2 => elements.swap(index, 0),
                    _ => elements[index].change(choices),
                }
            }
            Self::Object(members) if members.is_empty() => *self = Self::Text(String::new()),
            Self::Object(members) => {
                let key = members.keys().nth(choices.below(members.len())).unwrap().clone();
                match choices.below(4) {
                    0 => drop(members.remove(&key)),
                    1 => {
                        let value = members.remove(&key).unwrap();
                        let mut key = key;
                        change_text(&mut key, choices);
                        members.insert(key, value);
                    }
                    _ => members.get_mut(&key).unwrap().change(choices),
                }
            }
        }
    }
}

fn spelled_object<'a>(members: impl IntoIterator<Item = (&'a String, &'a Document)>, style: &mut Style) -> String {
    let members: Vec<_> = members
        .into_iter()
        .map(|(key, value)| {
            let key = spelled_text(key, style);
            let (before, after) = (style.whitespace(), style.whitespace());
            format!("{before}{key}{after}:{}", value.spelled(style))
        })
        .collect();
    format!("{{{}{}}}", style.whitespace(), members.join(","))
}

fn canonical_text(text: &str) -> String {
    let mut json = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\u{8}' => json.push_str("\\b"),
            '\t' => json.push_str("\\t"),
            '\n' => json.push_str("\\n"),
            '\u{c}' => json.push_str("\\f"),
            '\r' => json.push_str("\\r"),
            '\0'..' ' => json.push_str(&format!("\\u{:04x}", u32::from(character))),
            _ => json.push(character),
        }
    }
    json + "\""
}

fn spelled_text(text: &str, style: &mut Style) -> String {
    let mut json = String::from("\"");
    for character in text.chars() {
        let short = ["\"\"", "\\\\", "//", "\u{8}b", "\u{c}f", "\nn", "\rr", "\tt"];
        let short = short.iter().find(|pair| pair.starts_with(character));
        match (style.below(4), short) {
            (0, _) => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    json += &match style.below(2) {
                        0 => format!("\\u{unit:04x}"),
                        _ => format!("\\u{unit:04X}"),
                    };
                }
            }
            (1, Some(pair)) => {
                json.push('\\');
                json.push_str(&pair[1..]);
            }
            _ => {
                let quoted = canonical_text(character.encode_utf8(&mut [0; 4]));
                json.push_str(&quoted[1..quoted.len() - 1]);
            }
        }
    }
    json + "\""
}

fn change_text(text: &mut String, choices: &mut Style) {
    let characters: Vec<_> = text.chars().collect();
    let index = choices.below(characters.len() + 1);
    let other = ['\0', 'a', '\\', '\u{e000}', '😀'][choices.below(5)];
    let rest = characters.iter().skip(index + choices.below(2));
    *text = characters[..index]
        .iter()
        .copied()
        .chain([other])
        .chain(rest.copied())
        .collect();
}

/// A decimal number: `digits` × 10^`exponent`, without leading or trailing zeros; zero has no digits.
#[derive(Debug, Clone, PartialEq)]
struct Number {
    negative: bool,
    digits: String,
    exponent: i64,
}

impl Number {
    fn new(negative: bool, digits: &str, exponent: i64) -> Self {
        let digits = digits.trim_start_matches('0');
        let significant = digits.trim_end_matches('0');
        if significant.is_empty() {
            return Self {
                negative: false,
                digits: String::new(),
                exponent: 0,
            };
        }
        let zeros = (digits.len() - significant.len()) as i64;
        Self {
            negative,
            digits: significant.into(),
            exponent: exponent + zeros,
        }
    }

    fn read(spelling: &str) -> Self {
        let (mantissa, exponent) = spelling.split_once('e').unwrap_or((spelling, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let exponent = exponent.parse::<i64>().unwrap() - fraction.len() as i64;
        let negative = whole.starts_with('-');
        Self::new(
            negative,
            &format!("{}{fraction}", whole.trim_start_matches('-')),
            exponent,
        )
    }

    fn canonical(&self) -> String {
        let double: f64 = format!("{}{}e{}", self.sign(), self.zero_or_digits(), self.exponent)
            .parse()
            .unwrap();
        if double.is_finite() && Self::read(&serde_json::to_string(&double).unwrap()) == *self {
            self.ecmascript()
        } else {
            self.plain()
        }
    }

    /// `Number::toString` of ECMAScript (6.1.6.1.20) for numbers that need no rounding.
    fn ecmascript(&self) -> String {
        let k = self.digits.len() as i64;
        let n = k + self.exponent;
        if k == 0 || -6 < n && n <= 21 {
            return self.plain();
        }
        let mut mantissa = self.digits.clone();
        if k > 1 {
            mantissa.insert(1, '.');
        }
        let sign = if n > 0 { "+" } else { "-" };
        format!("{}{mantissa}e{sign}{}", self.sign(), (n - 1).abs())
    }

    fn plain(&self) -> String {
        let mut digits = self.zero_or_digits().to_owned();
        if self.exponent >= 0 {
            return format!("{}{digits}{}", self.sign(), "0".repeat(self.exponent as usize));
        }
        let fraction = -self.exponent as usize;
        digits.insert_str(0, &"0".repeat((fraction + 1).saturating_sub(digits.len())));
        digits.insert(digits.len() - fraction, '.');
        format!("{}{digits}", self.sign())
    }

    fn spelled(&self, style: &mut Style) -> String {
        let mut digits = self.zero_or_digits().to_owned();
        let zeros = style.below(4);
        digits.push_str(&"0".repeat(zeros));
        let exponent = self.exponent - zeros as i64;
        let minus = if self.digits.is_empty() {
            ["", "-"][style.below(2)]
        } else {
            self.sign()
        };
        if style.below(2) == 0 && exponent.abs() < 30 {
            let unsigned = Self {
                negative: false,
                digits,
                exponent,
            };
            return minus.to_owned() + &unsigned.plain();
        }
        let point = style.below(digits.len() + 1);
        let exponent = exponent + (digits.len() - point) as i64;
        let (whole, fraction) = digits.split_at(point);
        let whole = if self.digits.is_empty() || whole.is_empty() {
            "0"
        } else {
            whole
        };
        let dot = if fraction.is_empty() { "" } else { "." };
        let e = ["e", "E"][style.below(2)];
        let sign = if exponent < 0 { "-" } else { ["", "+"][style.below(2)] };
        let padding = "0".repeat(style.below(3));
        format!("{minus}{whole}{dot}{fraction}{e}{sign}{padding}{}", exponent.abs())
    }

    fn change(&mut self, choices: &mut Style) {
        let mut digits = self.zero_or_digits().to_owned();
        match choices.below(4) {
            0 => digits.push('1'),
            1 => digits.insert(0, '1'),
            2 => self.exponent += 1,
            _ => self.negative = !self.negative,
        }
        *self = Self::new(self.negative, &digits, self.exponent);
    }

    fn sign(&self) -> &'static str {
        if self.negative { "-" } else { "" }
    }

    fn zero_or_digits(&self) -> &str {
        if self.digits.is_empty() { "0" } else { &self.digits }
    }
}

/// Choices of spelling, drawn in turn.
#[derive(Debug, Clone)]
struct Style {
    choices: Vec<u8>,
    next: usize,
}

impl Style {
    fn below(&mut self, limit: usize) -> usize {
        self.next = (self.next + 1) % self.choices.len();
        usize::from(self.choices[self.next]) % limit
    }

    fn whitespace(&mut self) -> &'static str {
        ["", "", "", " ", "\n", "\t", "\r\n  "][self.below(7)]
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for index in 1..items.len() {
            items.swap(index, self.below(index + 1));
        }
    }
}

fn any_style() -> impl Strategy<Value = Style> {
    prop_oneof![
        // All first choices: the text is close to canonical.
        Just(vec![0]),
        prop::collection::vec(any::<u8>(), 1..100),
    ]
    .prop_map(|choices| Style { choices, next: 0 })
}

fn any_document() -> impl Strategy<Value = Document> {
    let leaf = prop_oneof![
        prop::sample::select(&["null", "true", "false"][..]).prop_map(Document::Literal),
        any_number().prop_map(Document::Number),
        any_text().prop_map(Document::Text),
    ];
    leaf.prop_recursive(4, 30, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Document::Array),
            prop::collection::btree_map(any_text(), inner, 0..12).prop_map(Document::Object),
        ]
    })
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-c]{0,3}",
        "[a-z\"\\\\/ ]{0,20}",
        // Around the places where the orders of UTF-8 and UTF-16 differ.
        "[a\u{7f}\u{80}\u{d7ff}\u{e000}\u{efff}\u{f000}\u{ffff}\u{10000}\u{10ffff}]{0,3}",
        "[\u{0}-\u{20}é€😀]{0,10}",
        any::<String>(),
    ]
}

fn any_number() -> impl Strategy<Value = Number> {
    prop_oneof![
        (-1000..1000_i64).prop_map(|integer| Number::read(&integer.to_string())),
        any::<i64>().prop_map(|integer| Number::read(&integer.to_string())),
        any::<u64>().prop_map(|integer| Number::read(&integer.to_string())),
        any_double().prop_map(|double| Number::read(&serde_json::to_string(&double).unwrap())),
        (any::<bool>(), "[0-9]{1,25}", -30..30_i64)
            .prop_map(|(negative, digits, exponent)| Number::new(negative, &digits, exponent)),
        (any::<bool>(), "[0-9]{14,18}", -345..310_i64)
            .prop_map(|(negative, digits, exponent)| Number::new(negative, &digits, exponent)),
    ]
}

fn any_double() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<u64>()
            .prop_map(f64::from_bits)
            .prop_filter("JSON has no such number", |double| double.is_finite()),
        (any::<i32>(), 0..9).prop_map(|(integer, places)| f64::from(integer) / 10_f64.powi(places)),
        any::<u64>().prop_map(|integer| integer as f64),
    ]
}

/// A document with a few pieces of syntax inserted, removed or replaced, so that about half of them are still JSON.
fn any_damaged_document() -> impl Strategy<Value = String> {
    let pieces = vec![
        "{", "}", "[", "]", ",", ":", "\"", "\"a\"", "\"a\":1", "0", "1", "-", ".", "e", "E+", "true", "null", "\\",
        "\\u", "\\ud83d", "\\ude00", "\\u0000", "\\/", " ", "\n", "\u{c}", "\u{a0}", "\u{feff}", "\0", "é", "", "",
    ];
    let damage = (
        any::<prop::sample::Index>(),
        0..3_usize,
        prop::sample::select(pieces.clone()),
    );
    let damaged = (any_document(), any_style(), prop::collection::vec(damage, 0..3)).prop_map(
        |(document, mut style, damages)| {
            let mut json: Vec<char> = document.spelled(&mut style).chars().collect();
            for (at, removed, piece) in damages {
                let start = at.index(json.len() + 1);
                let end = json.len().min(start + removed);
                json.splice(start..end, piece.chars());
            }
            json.into_iter().collect()
        },
    );
    let assembled = prop::collection::vec(prop::sample::select(pieces), 0..10);
    prop_oneof![damaged, assembled.prop_map(|pieces| pieces.concat())]
}
