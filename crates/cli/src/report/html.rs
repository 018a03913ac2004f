//! Text, numbers, times and sizes in HTML.

use std::char::REPLACEMENT_CHARACTER;

use indicatif::HumanCount;
use maud::{Markup, Render, html};
use time::OffsetDateTime;
use time::macros::format_description;

/// Text from outside. Control characters, which HTML must not have, are shown by the pictures that Unicode has of them.
pub(super) struct Text<'a>(pub(super) &'a str);

impl Render for Text<'_> {
    fn render_to(&self, html: &mut String) {
        let shown = |c| match c {
            '\0'..='\x1f' => char::from_u32(0x2400 + u32::from(c)).unwrap_or(REPLACEMENT_CHARACTER),
            '\x7f' => '\u{2421}',
            '\u{80}'..='\u{9f}' => REPLACEMENT_CHARACTER,
            _ => c,
        };
        self.0.chars().map(shown).collect::<String>().render_to(html);
    }
}

/// A name from outside, whose direction of writing does not change that of the text around it. May be broken where its parts meet, as
/// in `money.deposited`, `idx_events` or `MoneyDeposited`.
pub(super) fn name(name: &str) -> Markup {
    let mut parts = Vec::new();
    let mut begin = 0;
    for ((place, c), (_, next)) in name.char_indices().zip(name.char_indices().skip(1)) {
        let end = place + c.len_utf8();
        if matches!(c, '.' | '_' | '-' | ':' | '/') && next.is_alphanumeric() || c.is_lowercase() && next.is_uppercase()
        {
            parts.push(&name[begin..end]);
            begin = end;
        }
    }
    html! {
        bdi {
            @for part in parts { (Text(part)) wbr; }
            (Text(&name[begin..]))
        }
    }
}

/// The first characters of a text.
pub(super) fn cut(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A whole number, such as `1,234,567`.
pub(super) fn number(number: u64) -> String {
    HumanCount(number).to_string()
}

/// A number of things, such as `1 event`, `2 events`.
pub(super) fn count(count: u64, one: &str, more: &str) -> String {
    format!("{} {}", number(count), if count == 1 { one } else { more })
}

/// A part of a whole, such as `33.33 %`, rounded as the store's statistics are.
pub(super) fn share(part: u64, total: u64) -> String {
    let hundredths = (u128::from(part) * 20_000 + u128::from(total)) / (2 * u128::from(total.max(1)));
    format!("{}.{:02}\u{a0}%", hundredths / 100, hundredths % 100)
}

/// Bytes to three digits, such as `1.23 kB`.
pub(super) fn bytes(bytes: u64) -> String {
    if bytes < 1_000 {
        return format!("{bytes}\u{a0}B");
    }
    let mut amount = bytes as f64;
    let mut unit = 0;
    // From here on, rounding to three digits would give four.
    while amount >= 999.5 && unit < UNITS.len() - 1 {
        amount /= 1_000.0;
        unit += 1;
    }
    format!("{}\u{a0}{}", digits(amount), UNITS[unit])
}

const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];

/// A number per day, such as `0.25`.
pub(super) fn rate(rate: f64) -> String {
    match rate {
        0.0 => "0".to_owned(),
        ..0.01 => "<\u{a0}0.01".to_owned(),
        ..999.5 => digits(rate),
        _ => number(rate.round() as u64),
    }
}

/// To three digits, at most two of them after the point.
fn digits(number: f64) -> String {
    let decimals = match number {
        ..9.995 => 2,
        ..99.95 => 1,
        _ => 0,
    };
    format!("{number:.decimals$}")
}

/// A time in UTC, to the second.
pub(super) fn time(time: OffsetDateTime) -> Markup {
    html! { time datetime=(rfc3339(time, 'T')) { (rfc3339(time, ' ')) } }
}

fn rfc3339(time: OffsetDateTime, between: char) -> String {
    let date = time
        .format(format_description!("[year]-[month]-[day]"))
        .expect("a time has a date");
    let clock = time
        .format(format_description!("[hour]:[minute]:[second]"))
        .expect("a time has hours");
    format!("{date}{between}{clock}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn nothing_from_outside_is_markup() {
        let escaped = name("<script>alert(\"1\")&'\u{1}\n\u{7f}\u{85}</script>");
        assert_eq!(
            escaped.into_string(),
            "<bdi>&lt;script&gt;alert(&quot;1&quot;)&amp;'␁␊␡\u{fffd}&lt;/<wbr>script&gt;</bdi>"
        );
        assert_eq!(
            name("a.bC_d..é").into_string(),
            "<bdi>a.<wbr>b<wbr>C_<wbr>d..<wbr>é</bdi>"
        );
        assert_eq!(cut("żółw😀x", 5), "żółw😀…");
        assert_eq!(cut("żółw😀", 5), "żółw😀");
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(
            [0, 999, 1_000, 12_345, 123_456, 1_234_567].map(number),
            ["0", "999", "1,000", "12,345", "123,456", "1,234,567"]
        );
        assert_eq!(count(1, "event", "events"), "1 event");
        assert_eq!(count(1_000, "event", "events"), "1,000 events");
    }

    #[test]
    fn amounts_have_three_digits() {
        let sizes = [
            0,
            999,
            1_000,
            1_234,
            12_345,
            123_456,
            999_499,
            999_500,
            1_000_000,
            u64::MAX,
        ];
        assert_eq!(
            sizes.map(|size| bytes(size).replace('\u{a0}', " ")),
            [
                "0 B", "999 B", "1.00 kB", "1.23 kB", "12.3 kB", "123 kB", "999 kB", "1.00 MB", "1.00 MB", "18.4 EB"
            ]
        );
        assert_eq!(
            [0.0, 0.001, 0.25, 9.999, 99.96, 1_234.5].map(rate),
            ["0", "<\u{a0}0.01", "0.25", "10.0", "100", "1,235"]
        );
    }

    #[test]
    fn shares_are_rounded_as_statistics_are() {
        assert_eq!(share(1, 3), "33.33\u{a0}%");
        assert_eq!(share(1, 800), "0.13\u{a0}%");
        assert_eq!(share(0, 0), "0.00\u{a0}%");
    }

    #[test]
    fn a_time_is_told_to_the_second() {
        assert_eq!(
            time(datetime!(2024-02-09 01:02:03.456 UTC)).into_string(),
            "<time datetime=\"2024-02-09T01:02:03Z\">2024-02-09 01:02:03Z</time>"
        );
    }
}
