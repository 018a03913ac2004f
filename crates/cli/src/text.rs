//! Text from a store, made harmless for a terminal.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The text with control characters escaped: a terminal would execute them instead of showing them. Characters that change the direction of writing or
/// end a line are escaped too: anybody may have written what is stored.
pub(crate) fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(is_obeyed) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            c if is_obeyed(c) => write!(escaped, "\\u{{{:x}}}", u32::from(c)).expect("a string takes everything"),
            c => escaped.push(c),
        }
    }
    Cow::Owned(escaped)
}

/// JSON on one line, with the same characters escaped as JSON has it. Outside of strings these can only be line breaks and tabs, and a
/// space means the same.
pub(crate) fn escaped_json(json: &str) -> Cow<'_, str> {
    if !json.contains(is_obeyed) {
        return Cow::Borrowed(json);
    }
    let mut escaped = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        match c {
            '\n' | '\r' | '\t' => escaped.push(' '),
            c if is_obeyed(c) => write!(escaped, "\\u{:04x}", u32::from(c)).expect("a string takes everything"),
            c => escaped.push(c),
        }
    }
    Cow::Owned(escaped)
}

fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// `1 event`, `2 events`.
pub(crate) fn counted(count: u64, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}

/// The first characters of a text, and dots if it has more.
pub(crate) fn cut(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_for_a_terminal_to_obey() {
        assert_eq!(escaped("plain \u{e9} \u{6f22}"), "plain \u{e9} \u{6f22}");
        assert_eq!(
            escaped("a\x1b[31mb\u{9b}2J\u{7f}\n\u{202e}c"),
            r"a\u{1b}[31mb\u{9b}2J\u{7f}\n\u{202e}c"
        );
    }

    #[test]
    fn escaped_json_means_the_same() {
        let json = "{\"a\":\t\"x\u{9b}\u{7f}\u{202e}\",\r\n\"b\":1}";
        let escaped = escaped_json(json);
        assert_eq!(escaped, r#"{"a": "x\u009b\u007f\u202e",  "b":1}"#);
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(read(&escaped), read(json));
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(
            (cut("漢字", 1), cut("漢字", 2)),
            ("漢...".to_owned(), "漢字".to_owned())
        );
    }
}
