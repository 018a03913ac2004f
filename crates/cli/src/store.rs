//! The store that a command is about, and opening it.

use std::sync::Arc;

use firefly_eventstore::operate::Operations;

use crate::exit::{Exit, Failure, Result};
use crate::url::{STORE_VARIABLE, StoreUrl};

/// The chosen store, if any: not every command needs one.
#[derive(Debug)]
pub(crate) struct Chosen(pub(crate) Option<StoreUrl>);

impl Chosen {
    pub(crate) fn url(&self) -> Result<&StoreUrl> {
        let missing = || {
            Failure::usage(format!(
                "which store? write --store URL before or after the command, or set {STORE_VARIABLE}"
            ))
        };
        self.0.as_ref().ok_or_else(missing)
    }

    pub(crate) fn open(&self) -> Result<Arc<dyn Operations>> {
        self.url()?.open()
    }
}

impl StoreUrl {
    /// The store, which must exist: only `migrate` creates one.
    pub(crate) fn open(&self) -> Result<Arc<dyn Operations>> {
        self.check_scheme()?;
        self.find_file()?;
        let opened = firefly_eventstore::connect_operator(self.secret()).map_err(|error| match error.is_integrity() {
            // What cannot be opened cannot be verified.
            true => Failure::from(error).advise("restore it from a backup"),
            false => error.into(),
        });
        opened.map_err(|failure| failure.on(self))
    }

    /// Refuses an SQLite file that does not exist, because the driver would create it.
    fn find_file(&self) -> Result<()> {
        let Some(path) = self.file().filter(|path| !path.exists()) else {
            return Ok(());
        };
        // `migrate` would refuse it.
        firefly_eventstore::check_url(self.secret())?;
        let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
        if let Some(directory) = directory.filter(|directory| !directory.exists()) {
            let missing = format!("there is no directory {} for the store {self}", directory.display());
            return Err(Failure::new(Exit::Files, missing).advise("make it, or correct the path"));
        }
        let missing = Failure::new(Exit::Schema, format!("there is no file yet for the store {self}"));
        Err(missing.advise_command(["migrate"]).on(self))
    }

    /// Refuses a text that is no URL, without repeating it.
    pub(crate) fn check_scheme(&self) -> Result<()> {
        let is_scheme =
            |scheme: &str| !scheme.is_empty() && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
        match self.secret().split_once(':') {
            Some((scheme, _)) if is_scheme(scheme) => Ok(()),
            _ => Err(Failure::usage(
                "the store is not a URL; write sqlite:ledger.db, postgres://user@host/database or mysql://user@host/database",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_url_is_not_repeated() {
        for text in ["", "ledger.db", "host=localhost password=a:b"] {
            let failure = text.parse::<StoreUrl>().unwrap().check_scheme().unwrap_err();
            assert!(!failure.to_string().contains("host="), "{failure}");
        }
    }
}
