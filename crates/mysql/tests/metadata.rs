//! Containment in metadata: the server sends all rows that match, and few others.

use std::num::NonZeroU32;
use std::sync::OnceLock;

use fastrand::Rng;
use firefly_eventstore_core::prelude::*;
use firefly_eventstore_core::{Limits, Metadata, Order};
use firefly_eventstore_mysql::MysqlEventStore;
use firefly_eventstore_mysql::driver::prelude::Queryable;
use firefly_eventstore_test_servers::{Database, MysqlServer};
use serde_json::{Map, Number, Value as Json, json};

use crate::support::{account, builder, on_both};

on_both!(
    finds_what_contains_the_filter_and_nothing_else,
    pages_are_full_although_rows_are_dropped,
    few_rows_are_sent_where_few_match,
    an_integer_that_no_double_has_is_found_however_it_is_spelled,
    a_filter_that_the_server_would_refuse_finds_nothing,
);

const DOCUMENTS: usize = 3_000;
const PATTERNS: usize = 120;

/// Random metadata and filters, and which documents each filter matches. The expectation follows the documentation,
/// without a server.
struct Cases {
    documents: Vec<Option<String>>,
    patterns: Vec<(Metadata, Vec<usize>)>,
}

fn cases() -> &'static Cases {
    static CASES: OnceLock<Cases> = OnceLock::new();
    CASES.get_or_init(|| {
        let mut random = Random(Rng::with_seed(20_250_101));
        let parsed: Vec<Json> = (0..DOCUMENTS).map(|_| random.object(4)).collect();
        let mut documents: Vec<Option<String>> = parsed.iter().map(|json| Some(random.spelled(json))).collect();
        documents.extend([None, Some("{}".to_owned())]);
        let stored: Vec<Option<Metadata>> = documents
            .iter()
            .map(|text| text.as_ref().map(|text| canonical(&metadata(text))))
            .collect();
        let patterns = (0..PATTERNS).map(|_| {
            let pattern = random.pattern(&parsed);
            let pattern = metadata(&random.spelled(&pattern));
            let known = canonical(&pattern);
            let contains = |index: &usize| {
                let stored = stored[*index].as_ref();
                stored.is_some_and(|stored| stored.contains(&known).unwrap())
            };
            (pattern, (0..stored.len()).filter(contains).collect())
        });
        let patterns = patterns.collect();
        Cases { documents, patterns }
    })
}

fn metadata(text: &str) -> Metadata {
    Metadata::from_json(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// The same metadata in canonical form, which is faster to compare.
fn canonical(metadata: &Metadata) -> Metadata {
    Metadata::from_stored(metadata.canonical().unwrap())
}

/// A store with these documents, whose reads all use one connection.
fn store_with(server: &MysqlServer, documents: &[Option<String>]) -> (Database, MysqlEventStore) {
    let database = server.new_database();
    let mut limits = Limits::PORTABLE;
    limits.allow_nul = true;
    let store = builder(&database)
        .max_connections(1)
        .limits(limits)
        .migrate_on_open(true)
        .open()
        .unwrap();
    let account = account();
    for part in documents.chunks(500) {
        let event = |text: &Option<String>| {
            let event = NewEvent::from_json("note.taken", "{}").unwrap();
            match text {
                Some(text) => event.metadata_json(text.as_str()).unwrap(),
                None => event,
            }
        };
        let events: Vec<NewEvent> = part.iter().map(event).collect();
        store.append(&account, ExpectedVersion::Any, &events).unwrap();
    }
    (database, store)
}

fn finds_what_contains_the_filter_and_nothing_else(server: &MysqlServer) {
    let Cases { documents, patterns } = cases();
    let (_database, store) = store_with(server, documents);
    let all = crate::support::all_events(&store);
    assert_eq!(all.len(), documents.len());
    let index_of = |event: EventEnvelope| usize::try_from(event.version.get()).unwrap() - 1;
    let (mut selective, mut frequent) = (0, 0);
    for (number, (pattern, expected)) in patterns.iter().enumerate() {
        let size = if expected.len() < 100 { 7 } else { 400 };
        let mut query = query(pattern).page_size(NonZeroU32::new(size).unwrap());
        if number % 3 == 1 {
            query = query.backwards();
        }
        if number % 5 == 1 {
            query = query.ordered_by(Order::Time);
        }
        let found: Result<Vec<usize>, Error> = store.read(query).map(|event| event.map(index_of)).collect();
        let mut found = found.unwrap();
        if number % 3 == 1 {
            found.reverse();
        }
        assert_eq!(found, *expected, "{pattern}");
        selective += usize::from((1..10).contains(&expected.len()));
        frequent += usize::from(expected.len() > 100);
    }
    assert!(selective > PATTERNS / 4 && frequent > 10, "{selective} {frequent}");
}

fn query(pattern: &Metadata) -> EventQuery {
    EventQuery::new().metadata(pattern.clone())
}

/// Pairs that at least one server sends although they do not match.
const LOOKS_LIKE: [(&str, &str); 2] = [
    (r#"{"tags":[1]}"#, r#"{"tags":[2]}"#), // MariaDB is not asked for numbers in arrays
    (r#"{"tag":1}"#, r#"{"tag":[1]}"#),     // MySQL takes that for contained
];

fn pages_are_full_although_rows_are_dropped(server: &MysqlServer) {
    for (pattern, other) in LOOKS_LIKE {
        // Documents with odd numbers match, except the last ones.
        let documents = (0..500).map(|number| {
            Some(if number % 2 == 1 && number < 450 {
                pattern
            } else {
                other
            })
        });
        let documents: Vec<Option<String>> = documents.map(|text| text.map(str::to_owned)).collect();
        let (_database, store) = store_with(server, &documents);
        let pattern = metadata(pattern);
        for query in [
            query(&pattern),
            query(&pattern).backwards(),
            query(&pattern).ordered_by(Order::Time),
            query(&pattern).ordered_by(Order::Time).backwards(),
            query(&pattern).limit(100),
        ] {
            let query = query.page_size(NonZeroU32::new(20).unwrap());
            let mut sizes = Vec::new();
            let mut cursor = None;
            loop {
                let page = store.read_page(&query, cursor.as_ref()).unwrap();
                sizes.push(page.events.len());
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
            }
            sizes.retain(|size| *size > 0);
            let limited = sizes.iter().sum::<usize>() == 100;
            assert_eq!(
                sizes,
                if limited {
                    vec![20; 5]
                } else {
                    [vec![20; 11], vec![5]].concat()
                }
            );
        }
    }
}

fn few_rows_are_sent_where_few_match(server: &MysqlServer) {
    let padding = "x".repeat(1_000);
    let documents = (0..2_000).map(|number: u64| {
        json!({
            "order": { "id": 7_000_000_000_000_000_000_u64 + number * 1_000_000, "price": 0.5 + number as f64 },
            "user": format!("user-{number}"),
            "rare": number % 1_000 == 7,
            "none": if number % 1_000 == 7 { Json::Null } else { 1.into() },
            "tags": ["all", format!("tag-{number}"), { "kind": format!("kind-{number}") }],
            (if number % 1_000 == 7 { "flag" } else { "no flag" }): {},
            "note": padding,
        })
    });
    let documents: Vec<Option<String>> = documents.map(|json| Some(json.to_string())).collect();
    let (_database, store) = store_with(server, &documents);
    store.read_page(&EventQuery::new().limit(1), None).unwrap(); // proves the mark
    let everything = bytes_sent(&store, || assert_eq!(store.read(EventQuery::new()).count(), 2_000));
    assert!(everything > 2_000_000, "{everything}");
    for (pattern, count) in [
        (json!({ "user": "user-7" }), 1),
        (json!({ "order": { "id": 7_000_000_000_007_000_000_u64 } }), 1),
        (json!({ "order": { "price": 7.5 } }), 1),
        (json!({ "rare": true }), 2),
        (json!({ "none": null }), 2),
        (json!({ "tags": ["tag-7"] }), 1),
        (json!({ "tags": [{ "kind": "kind-7" }] }), 1),
        (json!({ "flag": {} }), 2),
        (json!({ "user": "user-7", "rare": false }), 0),
        (json!({ "user": "nobody" }), 0),
    ] {
        let query = query(&metadata(&pattern.to_string()));
        let sent = bytes_sent(&store, || {
            assert_eq!(store.read(query.clone()).count(), count, "{pattern}");
        });
        assert!(sent < 20_000, "{pattern}: {sent} bytes were sent");
    }
}

/// How many bytes the server sends on the store's connection during the work.
fn bytes_sent(store: &MysqlEventStore, work: impl FnOnce()) -> u64 {
    let sent = || -> u64 {
        let of_session = |transaction: &mut firefly_eventstore_mysql::MysqlTransaction<'_>| {
            let row: Option<(String, u64)> = transaction
                .connection()
                .query_first("SHOW SESSION STATUS LIKE 'Bytes_sent'")
                .unwrap();
            Ok::<_, Error>(row.unwrap().1)
        };
        store.transaction(of_session).unwrap()
    };
    let before = sent();
    work();
    sent() - before
}

fn an_integer_that_no_double_has_is_found_however_it_is_spelled(server: &MysqlServer) {
    let documents = [r#"{"a":9007199254740992}"#, r#"{"a":9007199254740993}"#].map(|text| Some(text.to_owned()));
    let (_database, store) = store_with(server, &documents);
    for spelled in ["9007199254740993", "9007199254740993.0", "9.007199254740993e15"] {
        let pattern = metadata(&format!(r#"{{"a":{spelled}}}"#));
        let found: Result<Vec<EventEnvelope>, Error> = store.read(query(&pattern)).collect();
        let found: Vec<Version> = found.unwrap().iter().map(|event| event.version).collect();
        assert_eq!(found, [Version::from(2)], "{spelled}");
    }
}

fn a_filter_that_the_server_would_refuse_finds_nothing(server: &MysqlServer) {
    let documents = [r#"{"a":1}"#, "{}"].map(|text| Some(text.to_owned()));
    let (_database, store) = store_with(server, &documents);
    let nested = |levels: usize| format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
    let many: Map<String, Json> = (0..5_000)
        .map(|number| (format!("key-{number}"), number.into()))
        .collect();
    for pattern in [
        nested(30),
        nested(31),
        nested(120),
        Json::from(many).to_string(),
        json!({ "k".repeat(70_000): 1 }).to_string(),
        json!({ "a": "v".repeat(1_000_000) }).to_string(),
        r#"{"a":[1e308,-1e308,18446744073709551616]}"#.to_owned(),
        r#"{"a":1.7976931348623157e308}"#.to_owned(),
        r#"{"a":"'; DROP TABLE events; --"}"#.to_owned(),
    ] {
        assert_eq!(store.read(query(&metadata(&pattern))).count(), 0);
    }
    assert_eq!(store.read(query(&metadata(r#"{"a":1}"#))).count(), 1);
}

/// Generates JSON, some of it unusual.
struct Random(Rng);

const KEYS: [&str; 27] = [
    "a",
    "b",
    "A",
    "correlationId",
    "",
    " ",
    "a.b",
    "a b",
    "$",
    "$.a",
    "*",
    "**",
    "a[0]",
    "[*]",
    "0",
    "last",
    "é",
    "e\u{301}",
    "😀",
    "ключ",
    "\"",
    "\\",
    "a\n\u{1}",
    "'?%_",
    "-",
    "-1",
    "--a",
];

const TEXTS: [&str; 24] = [
    "",
    "a",
    "A",
    "a ",
    " a",
    "b",
    "1",
    "1.0",
    "true",
    "null",
    "é",
    "e\u{301}",
    "E\u{301}",
    "😀",
    "😁",
    "\"",
    "\\",
    "\\u0061",
    "a\"b",
    "a/b\t\n",
    "\u{0}",
    "a\u{0}b\u{7f}",
    "%_'?*$",
    "[\"a\"]",
];

const INTEGERS: [i64; 12] = [
    0,
    1,
    -1,
    2,
    10,
    100,
    9_007_199_254_740_992,
    9_007_199_254_740_993,
    9_007_199_254_740_994,
    1_234_567_890_123_456_800,
    i64::MIN,
    i64::MAX,
];

const DOUBLES: [f64; 16] = [
    0.0,
    -0.0,
    1.0,
    1.5,
    0.1,
    0.30000000000000004,
    100.25,
    9_007_199_254_740_992.0,
    1_234_567_890_123_456_800.0,
    1e19,
    18_446_744_073_709_552_000.0,
    1e21,
    1e22,
    1e300,
    -1e-300,
    5e-324,
];

impl Random {
    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.0.usize(..choices.len())]
    }

    fn object(&mut self, depth: usize) -> Json {
        let members = (0..self.0.usize(..6)).map(|_| (self.one_of(&KEYS).to_owned(), self.value(depth - 1)));
        Json::Object(members.collect())
    }

    fn value(&mut self, depth: usize) -> Json {
        match self.0.usize(..if depth == 0 { 12 } else { 17 }) {
            0 => Json::Null,
            1 => self.0.bool().into(),
            2..=5 => self.one_of(&TEXTS).into(),
            6 => "x".repeat(self.0.usize(..3_000)).into(),
            7 | 8 => self.one_of(&INTEGERS).into(),
            9 => self.one_of(&[1, u64::MAX, u64::MAX - 1]).into(),
            10 => self.one_of(&DOUBLES).into(),
            11 => self.number(),
            12..=14 => self.object(depth),
            _ => (0..self.0.usize(..5)).map(|_| self.value(depth - 1)).collect(),
        }
    }

    fn number(&mut self) -> Json {
        match self.0.usize(..3) {
            0 => self.0.u64(..).into(),
            1 => (self.0.f64() * 1e6).into(),
            _ => Number::from_f64(f64::from_bits(self.0.u64(..))).map_or(Json::Null, Json::Number),
        }
    }

    /// A filter. Most are parts of a stored document.
    fn pattern(&mut self, stored: &[Json]) -> Json {
        if self.0.usize(..6) == 0 {
            return self.object(3);
        }
        let document = self.0.choice(stored).unwrap();
        let part = self.part_of(document);
        match self.0.usize(..4) {
            0 => self.changed(part, 2),
            _ => part,
        }
    }

    fn part_of(&mut self, json: &Json) -> Json {
        match json {
            Json::Object(members) => {
                let mut part = Map::new();
                for (key, value) in members {
                    if self.0.usize(..5) > 1 {
                        part.insert(key.clone(), self.part_of(value));
                    }
                }
                part.into()
            }
            Json::Array(elements) => {
                let mut part: Vec<Json> = elements.iter().map(|element| self.part_of(element)).collect();
                self.0.shuffle(&mut part);
                part.truncate(self.0.usize(..=part.len()));
                if let Some(first) = part.first().cloned().filter(|_| self.0.bool()) {
                    part.push(first);
                }
                part.into()
            }
            scalar => scalar.clone(),
        }
    }

    /// Changes the JSON in a random place.
    fn changed(&mut self, json: Json, depth: usize) -> Json {
        match json {
            Json::Object(members) if !members.is_empty() => {
                let at = self.0.usize(..members.len());
                let change = |(index, (key, value))| match index == at {
                    true => (key, self.changed(value, depth)),
                    false => (key, value),
                };
                Json::Object(members.into_iter().enumerate().map(change).collect())
            }
            Json::Object(_) => self.object(depth),
            Json::Array(elements) if self.0.bool() => {
                elements.into_iter().map(|element| self.changed(element, 1)).collect()
            }
            _ => self.value(depth),
        }
    }

    /// JSON text in one of the possible spellings.
    fn spelled(&mut self, json: &Json) -> String {
        let space = self.one_of(&["", "", " ", "\n\t"]);
        match json {
            Json::Object(members) => {
                let mut members: Vec<String> = members
                    .iter()
                    .map(|(key, value)| format!("{}{space}:{space}{}", self.spelled_text(key), self.spelled(value)))
                    .collect();
                self.0.shuffle(&mut members);
                format!("{{{space}{}{space}}}", members.join(&format!("{space},")))
            }
            Json::Array(elements) => {
                let elements: Vec<String> = elements.iter().map(|element| self.spelled(element)).collect();
                format!("[{}{space}]", elements.join(","))
            }
            Json::String(text) => self.spelled_text(text),
            Json::Number(number) => self.spelled_number(number),
            Json::Null | Json::Bool(_) => json.to_string(),
        }
    }

    fn spelled_number(&mut self, number: &Number) -> String {
        let exact = |number: &f64| number.abs() <= 9_007_199_254_740_992.0;
        match (number.as_f64().filter(exact), self.0.usize(..4)) {
            (Some(double), 0) => format!("{double:e}"),
            (Some(double), 1) if double.fract() == 0.0 => format!("{double:.1}"),
            (Some(double), 2) if double.fract() == 0.0 && double != 0.0 => format!("{double:.0}0e-1"),
            _ => number.to_string(),
        }
    }

    fn spelled_text(&mut self, text: &str) -> String {
        let often = self.one_of(&[0, 0, 0, 2, 10]);
        let mut spelled = String::from("\"");
        for character in text.chars() {
            if self.0.usize(..10) < often {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    spelled += &format!("\\u{unit:04x}");
                }
            } else if character == '/' && often > 0 {
                spelled += "\\/";
            } else {
                let escaped = Json::from(character.to_string()).to_string();
                spelled += &escaped[1..escaped.len() - 1];
            }
        }
        spelled + "\""
    }
}
