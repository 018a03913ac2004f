//! Conditions by which a server sorts out rows early, for a filter on what the metadata contains.
//!
//! [`Metadata::contains`] decides, on the rows that are sent: the servers have different rules for it. The condition here is true for every
//! row that matches, and false for most of the others.

use firefly_eventstore_core::Metadata;
use mysql::Value;
use serde_json::Value as Json;

use crate::session::Flavour;

/// A part of a `WHERE` clause, and the values of its parameters.
pub(super) struct Condition {
    pub(super) sql: &'static str,
    pub(super) values: Vec<Value>,
}

/// MySQL's containment is as wide as ours, or wider: an array contains, besides, what one of its elements does.
const CONTAINS: &str = "JSON_CONTAINS(metadata, CAST(? AS JSON))";

// MariaDB's is not: there, each scalar of the filter is compared with what is at its path. Not by JSON_EXTRACT, which does not
// find keys that are spelled with escapes.
const TEXT: &str = "JSON_VALUE(metadata, ?) = ?";
const NUMBER: &str = "JSON_VALUE(metadata, ?) BETWEEN ? AND ?";
const TRUE: &str = "JSON_VALUE(metadata, ?) IN ('1', 'true')";
const FALSE: &str = "JSON_VALUE(metadata, ?) IN ('0', 'false')";
const NULL: &str = "JSON_EXISTS(metadata, ?) AND COALESCE(JSON_VALUE(metadata, ?), 'null') = 'null'";
/// What has no path, such as an element of an array, is somewhere in the text as it is, unless the text has escapes.
const SOMEWHERE: &str = "(INSTR(metadata, ?) > 0 OR INSTR(metadata, ?) > 0)";
const EXISTS: &str = "JSON_EXISTS(metadata, ?)";

/// The conditions, the first being the most selective: the order is such that there are few different statements to prepare.
const BY_SELECTIVITY: [&str; 7] = [TEXT, NUMBER, SOMEWHERE, NULL, TRUE, FALSE, EXISTS];

/// Each condition costs the server a look at the metadata of each row; a few of them leave few rows.
const MOST_CONDITIONS: usize = 6;

/// MySQL takes keys up to 65,535 bytes, so a filter of this length has none that it refuses.
const LONGEST: usize = 32_768;

/// Each server takes documents and paths that nest deeper.
const DEEPEST: usize = 30;

/// What is true of every row whose metadata contains `part`. None for a filter that the server may refuse.
pub(super) fn conditions(part: &Metadata, flavour: Flavour) -> Vec<Condition> {
    // Canonical text spells a number as the server has to understand it: 9007199254740993.0 is not to become a double.
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

/// What is true where `json` is contained in what is at this path.
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

/// Whether a path names a key as it is. MariaDB finds none that begins with a minus.
fn is_plain(key: &str) -> bool {
    !key.starts_with('-')
        && !key.contains(|character: char| character.is_control() || matches!(character, '"' | '\\' | '*'))
}

/// Less and more than a number, by more than the server may round it.
fn around(number: f64) -> (f64, f64) {
    let margin = number.abs() * 1e-14 + f64::MIN_POSITIVE;
    ((number - margin).max(f64::MIN), (number + margin).min(f64::MAX))
}

/// What is true where `json` is contained in some part of the metadata.
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
