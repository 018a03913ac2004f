//! Conditions by which the server filters rows early, for a filter on metadata.
//!
//! [`Metadata::contains`] decides, on the rows that the server sends, because the servers have other rules. The condition here is true for
//! every matching row, and false for most others.

use firefly_eventstore_core::Metadata;
use mysql::Value;
use serde_json::Value as Json;

use crate::session::Flavour;

/// A part of a `WHERE` clause, and the values of its parameters.
pub(super) struct Condition {
    pub(super) sql: &'static str,
    pub(super) values: Vec<Value>,
}

/// MySQL's containment includes the library's, and is wider: an array also contains what one of its elements contains.
const CONTAINS: &str = "JSON_CONTAINS(metadata, CAST(? AS JSON))";

// MariaDB's containment is narrower. So each scalar of the filter is compared with the value at its path. JSON_EXTRACT would not find keys
// that are written with escapes.
const TEXT: &str = "JSON_VALUE(metadata, ?) = ?";
const NUMBER: &str = "JSON_VALUE(metadata, ?) BETWEEN ? AND ?";
const TRUE: &str = "JSON_VALUE(metadata, ?) IN ('1', 'true')";
const FALSE: &str = "JSON_VALUE(metadata, ?) IN ('0', 'false')";
const NULL: &str = "JSON_EXISTS(metadata, ?) AND COALESCE(JSON_VALUE(metadata, ?), 'null') = 'null'";
/// A value without a path, such as an element of an array, is searched in the text. It is there literally unless the text has escapes.
const SOMEWHERE: &str = "(INSTR(metadata, ?) > 0 OR INSTR(metadata, ?) > 0)";
const EXISTS: &str = "JSON_EXISTS(metadata, ?)";

/// The conditions, the most selective first. A fixed order keeps the number of different statements small.
const BY_SELECTIVITY: [&str; 7] = [TEXT, NUMBER, SOMEWHERE, NULL, TRUE, FALSE, EXISTS];

/// For each condition, the server reads the metadata of each row. A few conditions leave few rows.
const MOST_CONDITIONS: usize = 6;

/// MySQL accepts keys up to 65,535 bytes. A filter of this length has no longer one.
const LONGEST: usize = 32_768;

/// Both servers accept documents and paths with deeper nesting.
const DEEPEST: usize = 30;

/// Conditions that are true for every row whose metadata contains `part`. There are none for a filter that the server may refuse.
pub(super) fn conditions(part: &Metadata, flavour: Flavour) -> Vec<Condition> {
    // Canonical text has numbers as the server must read them: 9007199254740993.0 must not become a double.
    let Ok(text) = part.canonical() else {
        return Vec::new();
    };
    let Ok(json) = serde_json::from_str::<Json>(&text) else {
        return Vec::new();
    };
    if text.len() > LONGEST || depth(&json) > DEEPEST || text == "{}" {
        return Vec::new();
    }
    match flavour {
        Flavour::Mysql => vec![Condition {
            sql: CONTAINS,
            values: vec![text.into()],
        }],
        Flavour::Mariadb => {
            let mut conditions = Vec::new();
            at_path("$", &json, &mut conditions);
            let rank = |condition: &Condition| BY_SELECTIVITY.iter().position(|sql| *sql == condition.sql);
            conditions.sort_by_key(rank);
            conditions.truncate(MOST_CONDITIONS);
            conditions
        }
    }
}

fn depth(json: &Json) -> usize {
    let deepest = match json {
        Json::Object(members) => members.values().map(depth).max(),
        Json::Array(elements) => elements.iter().map(depth).max(),
        _ => return 0,
    };
    1 + deepest.unwrap_or(0)
}

/// Conditions that are true if the value at this path contains `json`.
fn at_path(path: &str, json: &Json, conditions: &mut Vec<Condition>) {
    let mut add = |sql, values: Vec<Value>| {
        let values = [vec![path.into()], values].concat();
        conditions.push(Condition { sql, values });
    };
    match json {
        Json::Object(members) if !members.is_empty() => {
            for (key, value) in members {
                if is_plain(key) {
                    at_path(&format!("{path}.\"{key}\""), value, conditions);
                } else {
                    somewhere(value, conditions);
                }
            }
        }
        Json::Array(_) | Json::Object(_) => {
            add(EXISTS, Vec::new());
            somewhere(json, conditions);
        }
        Json::String(text) => add(TEXT, vec![text.as_str().into()]),
        Json::Number(number) => match number.as_f64().filter(|number| number.is_finite()) {
            Some(number) => {
                let (least, most) = around(number);
                add(NUMBER, vec![least.into(), most.into()]);
            }
            None => add(EXISTS, Vec::new()),
        },
        Json::Bool(true) => add(TRUE, Vec::new()),
        Json::Bool(false) => add(FALSE, Vec::new()),
        Json::Null => add(NULL, vec![path.into()]),
    }
}

/// Whether a key can be used in a path without quotes. MariaDB does not find keys that begin with a minus.
fn is_plain(key: &str) -> bool {
    !key.starts_with('-')
        && !key.contains(|character: char| character.is_control() || matches!(character, '"' | '\\' | '*'))
}

/// Bounds around a number that cover the server's rounding.
fn around(number: f64) -> (f64, f64) {
    let margin = number.abs() * 1e-14 + f64::MIN_POSITIVE;
    ((number - margin).max(f64::MIN), (number + margin).min(f64::MAX))
}

/// Conditions that are true if any part of the metadata contains `json`.
fn somewhere(json: &Json, conditions: &mut Vec<Condition>) {
    match json {
        Json::Object(members) => members.values().for_each(|value| somewhere(value, conditions)),
        Json::Array(elements) => elements.iter().for_each(|value| somewhere(value, conditions)),
        Json::String(text) => conditions.push(Condition {
            sql: SOMEWHERE,
            values: vec![format!("\"{text}\"").into(), "\\".into()],
        }),
        Json::Number(_) | Json::Bool(_) | Json::Null => {}
    }
}
