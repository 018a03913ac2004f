//! URLs that a driver refuses.

use crate::Error;

/// The error of a URL that a driver refuses. If an option is the reason, the error names it: `takes` returns whether the driver accepts an
/// option, such as `compress=yes`. The error repeats nothing else of the URL: it may contain a password.
///
/// ```
/// use firefly_eventstore_core::backend::refused_url;
///
/// let takes = |option: &str| option.starts_with("compress=");
/// let form = "mysql://user:password@host:port/database";
/// let error = refused_url("mysql://clerk:tiger@db/ledger?compress=true&speed=full", form, takes);
/// assert_eq!(error.to_string(), "the option speed of the URL, or its value, is unknown");
/// let error = refused_url("mysql:/clerk:tiger@db", form, takes);
/// assert_eq!(error.to_string(), "the URL cannot be understood; write mysql://user:password@host:port/database");
/// ```
#[must_use]
pub fn refused_url(url: &str, form: &str, takes: impl Fn(&str) -> bool) -> Error {
    let options = url.split_once('?').map_or("", |(_, options)| options);
    let refused = options.split('&').find(|option| !option.is_empty() && !takes(option));
    let name = refused.map(|option| option.split('=').next().unwrap_or(option));
    let is_name = |name: &&str| {
        name.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
    };
    // Before an `@` it may be a part of a password that has a question mark.
    match name.filter(is_name).filter(|_| !options.contains('@')) {
        Some(name) => Error::invalid(format!("the option {name} of the URL, or its value, is unknown")),
        None => Error::invalid(format!("the URL cannot be understood; write {form}")),
    }
}
