//! Lengths of time, for people.

use time::Duration;

/// A length of time in its two largest units, such as `2days 3h`; one before now is none.
pub(crate) fn age_text(age: Duration) -> String {
    let seconds = u64::try_from(age.whole_seconds()).unwrap_or_default();
    let whole = humantime::format_duration(std::time::Duration::from_secs(seconds)).to_string();
    whole.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_has_two_units() {
        for (seconds, text) in [
            (-5, "0s"),
            (59, "59s"),
            (200, "3m 20s"),
            (2 * 86_400 + 3 * 3_600 + 5, "2days 3h"),
        ] {
            assert_eq!(age_text(Duration::seconds(seconds)), text);
        }
    }
}
