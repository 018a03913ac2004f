//! Lengths of time, for people.

use std::time::Duration;

/// A length of time in its two largest units, such as `2days 3h`.
pub(crate) fn age_text(age: Duration) -> String {
    let whole = humantime::format_duration(Duration::from_secs(age.as_secs())).to_string();
    whole.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_has_two_units() {
        for (seconds, text) in [(59, "59s"), (200, "3m 20s"), (2 * 86_400 + 3 * 3_600 + 5, "2days 3h")] {
            assert_eq!(age_text(Duration::from_secs(seconds)), text);
        }
    }
}
