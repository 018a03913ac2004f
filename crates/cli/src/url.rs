//! The URL of a store, and which parts of it are never shown.
//!
//! It is not parsed by a library. The password of a mistyped URL must stay hidden, too, but a parser refuses such a URL, or takes a part
//! of the password for the host. SQLite's path and our own options are read as `connect` reads them.

use std::borrow::Cow;
use std::convert::Infallible;
use std::env;
use std::ffi::OsString;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use percent_encoding::percent_decode_str;

/// The environment variable that may name the store.
pub(crate) const STORE_VARIABLE: &str = "FIREFLY_EVENTSTORE_URL";

/// What is shown instead of a secret.
const HIDDEN: &str = "***";

/// A store's URL. It may have a password, which is never shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct StoreUrl(String);

impl StoreUrl {
    /// The URL with its password, to connect.
    pub(crate) fn secret(&self) -> &str {
        &self.0
    }

    /// The command of this tool that does this with the same store, for a shell.
    pub(crate) fn command(&self, words: &[impl AsRef<str>]) -> String {
        let shown = self.to_string();
        let mut command = vec!["firefly-eventstore"];
        // If a password is hidden, and the environment has the URL, the command works without it.
        let is_in_environment = env::var_os(STORE_VARIABLE).is_some_and(|url| url == *self.0);
        if shown == self.0 || !is_in_environment {
            command.extend(["--store", &shown]);
        }
        command.extend(words.iter().map(AsRef::as_ref));
        shell_words::join(command)
    }

    /// Whether its options open the store for reading only.
    pub(crate) fn is_for_reading(&self) -> bool {
        let options = self.0.split_once('?').map_or("", |(_, options)| options);
        let set = options.rsplit('&').find_map(|option| match option {
            "read_only=true" | "read_replica=true" => Some(true),
            "read_only=false" | "read_replica=false" => Some(false),
            _ => None,
        });
        set.unwrap_or_default()
    }

    /// Whether it names an SQLite file that does not exist. The driver would create it.
    pub(crate) fn is_missing_file(&self) -> bool {
        self.file().is_some_and(|path| !path.exists())
    }

    /// The SQLite file.
    pub(crate) fn file(&self) -> Option<&Path> {
        let rest = self.0.strip_prefix("sqlite:")?;
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        let path = rest.split_once('?').map_or(rest, |(path, _)| path);
        (!matches!(path, "" | ":memory:")).then_some(Path::new(path))
    }
}

impl FromStr for StoreUrl {
    type Err = Infallible;

    fn from_str(url: &str) -> Result<Self, Infallible> {
        Ok(Self(url.to_owned()))
    }
}

/// Without the password.
impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_secrets(&self.0))
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The parts of a URL that are secret, as they stand in it: from the first colon of what is before the last `@` to that `@`,
/// which is more than the password if the URL is not well-formed, and the values of parameters that name one.
fn secret_parts(url: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let Some((_, rest)) = url.split_once("://") else {
        return parts;
    };
    if let Some((user_info, _)) = rest.rsplit_once('@')
        && let Some((_, password)) = user_info.split_once(':')
    {
        parts.push(password);
    }
    if let Some((_, parameters)) = rest.split_once('?') {
        let parameters = parameters
            .split(['&', ';'])
            .filter_map(|parameter| parameter.split_once('='));
        parts.extend(parameters.filter(|(name, _)| is_secret(name)).map(|(_, value)| value));
    }
    parts.retain(|part| !part.is_empty());
    parts
}

fn is_secret(parameter: &str) -> bool {
    let name = decoded(parameter).to_lowercase();
    ["pass", "pwd", "secret", "token", "key"]
        .iter()
        .any(|word| name.contains(word))
}

fn without_secrets(url: &str) -> String {
    let mut shown = String::with_capacity(url.len());
    let mut done = 0;
    // In the order in which they stand; they may overlap.
    for part in secret_parts(url) {
        let start = part.as_ptr() as usize - url.as_ptr() as usize;
        if let Some(before) = url.get(done..start) {
            shown.push_str(before);
            shown.push_str(HIDDEN);
        }
        done = done.max(start + part.len());
    }
    shown + &url[done..]
}

/// With `%2F` and the like resolved, as the drivers do it.
fn decoded(text: &str) -> Cow<'_, str> {
    percent_decode_str(text).decode_utf8_lossy()
}

/// The passwords of the command line and the environment, as they were written and percent-decoded.
#[derive(Debug, Default)]
pub(crate) struct Secrets {
    /// URLs, and how they are shown.
    urls: Vec<(String, String)>,
    passwords: Vec<String>,
}

impl Secrets {
    /// Those of the URLs among these arguments, wherever they stand: they may stand where they do not belong.
    pub(crate) fn of(arguments: impl IntoIterator<Item = OsString>, variable: Option<OsString>) -> Self {
        let mut secrets = Self::default();
        for argument in arguments.into_iter().chain(variable) {
            let argument = argument.to_string_lossy();
            for part in secret_parts(&argument) {
                secrets.passwords.push(part.to_owned());
                secrets.passwords.push(decoded(part).into_owned());
                // The part may be longer than the password, which then ends at the first `@`.
                if let Some((password, _)) = part.split_once('@') {
                    secrets.passwords.push(password.to_owned());
                    secrets.passwords.push(decoded(password).into_owned());
                }
            }
            let shown = without_secrets(&argument);
            if shown != *argument {
                secrets.urls.push((argument.into_owned(), shown));
            }
        }
        secrets.passwords.retain(|password| !password.is_empty());
        // The longest first: one may be a part of another.
        secrets
            .passwords
            .sort_by_key(|password| std::cmp::Reverse(password.len()));
        secrets.passwords.dedup();
        secrets
    }

    /// The text without these passwords.
    pub(crate) fn hidden_in(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (url, shown) in &self.urls {
            text = text.replace(url, shown);
        }
        for password in &self.passwords {
            text = without(&text, password);
        }
        text
    }
}

/// The text without a password. A password of up to three characters is hidden only where it stands alone. Otherwise every message would
/// be unreadable, and reveal the password.
fn without(text: &str, password: &str) -> String {
    if password.chars().count() > 3 {
        return text.replace(password, HIDDEN);
    }
    let is_word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(password) {
        let (before, from) = rest.split_at(at);
        let after = &from[password.len()..];
        let stands_alone =
            !is_word(before.chars().next_back().or(shown.chars().next_back())) && !is_word(after.chars().next());
        shown.push_str(before);
        shown.push_str(if stands_alone { HIDDEN } else { password });
        rest = after;
    }
    shown + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(url: &str) -> String {
        url.parse::<StoreUrl>().unwrap().to_string()
    }

    #[test]
    fn a_url_is_shown_without_its_password() {
        for (url, expected) in [
            ("sqlite:ledger.db", "sqlite:ledger.db"),
            ("postgres://clerk@host/db", "postgres://clerk@host/db"),
            (
                "postgres://clerk:tiger@host:5432/db",
                "postgres://clerk:***@host:5432/db",
            ),
            ("mysql://clerk:t%40g%3Aer@host/db", "mysql://clerk:***@host/db"),
            ("mysql://clerk:ti@g/e:r@host/db", "mysql://clerk:***@host/db"),
            (
                "postgres://host/db?user=clerk&password=tiger&sslmode=require",
                "postgres://host/db?user=clerk&password=***&sslmode=require",
            ),
            (
                "postgres://clerk:a@host/db?PASSWORD=tiger",
                "postgres://clerk:***@host/db?PASSWORD=***",
            ),
            ("postgres://clerk:ti?password=x@host/db", "postgres://clerk:***"),
            (
                "postgres://host/db?p%61ssword=tiger",
                "postgres://host/db?p%61ssword=***",
            ),
        ] {
            assert_eq!(shown(url), expected);
        }
    }

    #[test]
    fn the_last_option_says_whether_a_store_is_for_reading() {
        for (url, is_for_reading) in [
            ("sqlite:ledger.db", false),
            ("sqlite:ledger.db?read_only=true", true),
            ("mysql://host/db?read_replica=true&compress=true", true),
            ("postgres://host/db?read_replica=true&read_replica=false", false),
        ] {
            assert_eq!(
                url.parse::<StoreUrl>().unwrap().is_for_reading(),
                is_for_reading,
                "{url}"
            );
        }
    }

    #[test]
    fn a_password_is_found_in_any_message() {
        let secrets = Secrets::of(
            [
                "--store=postgres://clerk:t%69ger@host/db".into(),
                "mysql://clerk:x@host/db?sslpassword=lion".into(),
            ],
            None,
        );
        for message in [
            "'postgres://clerk:t%69ger@host/db' is no command",
            "tiger was refused, t%69ger too",
            "the lion: x",
            "'mysql://clerk:x@host/db?sslpassword=lion'",
        ] {
            let hidden = secrets.hidden_in(message);
            for password in ["tiger", "t%69ger", "lion", ":x", " x"] {
                assert!(!hidden.contains(password), "{hidden}");
            }
        }
        assert_eq!(secrets.hidden_in("the next exit"), "the next exit");
    }
}
