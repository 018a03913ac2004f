//! TLS by the options of a URL, which are those of PostgreSQL's own programs.

#[cfg(feature = "rustls")]
mod encrypted;

use std::path::PathBuf;
use std::sync::Arc;

use firefly_eventstore_core::{Error, Result};
use percent_encoding::percent_decode_str;
use postgres::config::SslMode;
use postgres::{Config, NoTls};

use crate::pool::Connect;

/// The TLS options of a URL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tls {
    /// `None` if the URL has no option for TLS.
    mode: Option<Mode>,
    /// The file with the trusted authorities, or `None` for those that browsers trust.
    authorities: Option<PathBuf>,
    /// The files with the client's certificate and its key.
    identity: Option<(PathBuf, PathBuf)>,
}

/// The values of `sslmode`. `allow` is left out: it encrypts only if the server insists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Disable,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

impl Tls {
    /// Splits the TLS options off a URL. Returns them and the rest. A `key=value` string is not changed.
    pub(crate) fn of(url: &str) -> Result<(Self, String)> {
        let is_url = url.starts_with("postgres://") || url.starts_with("postgresql://");
        let Some((address, options)) = url.split_once('?').filter(|_| is_url) else {
            return Ok((Self::default(), url.to_owned()));
        };
        let (mut mode, mut authorities, mut certificate, mut key) = (None, None, None, None);
        let mut others = Vec::new();
        for option in options.split('&') {
            match option.split_once('=') {
                Some(("sslmode", value)) => mode = Some(Mode::of(value)?),
                Some((name @ "sslrootcert", value)) => authorities = Some(path(name, value)?),
                Some((name @ "sslcert", value)) => certificate = Some(path(name, value)?),
                Some((name @ "sslkey", value)) => key = Some(path(name, value)?),
                _ => others.push(option),
            }
        }
        let identity = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => {
                return Err(Error::invalid(
                    "the options sslcert and sslkey of the URL must be used together",
                ));
            }
        };
        // Certificates without a mode mean `verify-full`.
        let is_named = authorities.is_some() || identity.is_some();
        let mode = match mode {
            None if is_named => Some(Mode::VerifyFull),
            Some(Mode::Require) if authorities.is_some() => Some(Mode::VerifyCa),
            mode => mode,
        };
        let tls = Self {
            mode,
            authorities: authorities.filter(|file| file.as_os_str() != "system"),
            identity,
        };
        let mark = if others.is_empty() { "" } else { "?" };
        Ok((tls, format!("{address}{mark}{}", others.join("&"))))
    }

    /// Returns the function that connects as the URL asks, and sets the mode in the configuration.
    pub(crate) fn connect(&self, config: &mut Config) -> Result<Arc<Connect>> {
        let Some(mode) = self.mode else {
            return Ok(plain());
        };
        config.ssl_mode(match mode {
            Mode::Disable => SslMode::Disable,
            Mode::Prefer => SslMode::Prefer,
            Mode::Require | Mode::VerifyCa | Mode::VerifyFull => SslMode::Require,
        });
        match mode {
            Mode::Disable => Ok(plain()),
            mode => self.encrypted(mode),
        }
    }

    /// Fails if the options need this crate's own TLS. For other options, the builder may get a connector later. Without one, the driver
    /// refuses a mode that requires encryption.
    #[cfg(not(feature = "rustls"))]
    fn encrypted(&self, mode: Mode) -> Result<Arc<Connect>> {
        let is_the_drivers = matches!(mode, Mode::Prefer | Mode::Require) && self.identity.is_none();
        match is_the_drivers {
            true => Ok(plain()),
            false => Err(Error::invalid(
                "the URL asks for TLS, which this program was built without: turn on the feature rustls of firefly-eventstore-postgres",
            )),
        }
    }
}

impl Mode {
    fn of(value: &str) -> Result<Self> {
        match value {
            "disable" => Ok(Self::Disable),
            "prefer" => Ok(Self::Prefer),
            "require" => Ok(Self::Require),
            "verify-ca" => Ok(Self::VerifyCa),
            "verify-full" => Ok(Self::VerifyFull),
            // The "option" may be a part of a password that contains a question mark.
            _ => Err(Error::invalid(
                "the option sslmode of the URL has an unknown value; there are: disable, prefer, require, verify-ca, verify-full",
            )),
        }
    }
}

/// Connects without encryption.
pub(crate) fn plain() -> Arc<Connect> {
    Arc::new(|config| config.connect(NoTls))
}

fn path(option: &str, value: &str) -> Result<PathBuf> {
    let path = percent_decode_str(value).decode_utf8().ok();
    match path.filter(|path| !path.is_empty()) {
        Some(path) => Ok(PathBuf::from(path.into_owned())),
        None => Err(Error::invalid(format!("the option {option} of the URL names no file"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_that_are_named_are_used() {
        for (options, mode) in [
            ("", None),
            ("connect_timeout=2", None),
            ("sslmode=disable", Some(Mode::Disable)),
            ("sslmode=prefer", Some(Mode::Prefer)),
            ("sslmode=require", Some(Mode::Require)),
            ("sslmode=require&sslrootcert=ca.pem", Some(Mode::VerifyCa)),
            ("sslmode=disable&sslrootcert=ca.pem", Some(Mode::Disable)),
            ("sslmode=verify-ca", Some(Mode::VerifyCa)),
            ("sslrootcert=ca.pem", Some(Mode::VerifyFull)),
            ("sslrootcert=system", Some(Mode::VerifyFull)),
            ("sslcert=clerk.pem&sslkey=clerk.key", Some(Mode::VerifyFull)),
        ] {
            let (tls, _) = Tls::of(&format!("postgres://db/ledger?{options}")).unwrap();
            assert_eq!(tls.mode, mode, "{options}");
        }
    }

    #[test]
    fn the_other_options_are_left_to_the_driver() {
        let url = "postgres://db/ledger?connect_timeout=2&sslrootcert=%2Fetc%2Four%20ca.pem&application_name=a";
        let (tls, url) = Tls::of(url).unwrap();
        assert_eq!(url, "postgres://db/ledger?connect_timeout=2&application_name=a");
        assert_eq!(tls.authorities, Some(PathBuf::from("/etc/our ca.pem")));
        assert_eq!(
            Tls::of("postgres://db/ledger?sslmode=require").unwrap().1,
            "postgres://db/ledger"
        );
        let keys = "host=db sslmode=require";
        assert_eq!(Tls::of(keys).unwrap(), (Tls::default(), keys.to_owned()));
    }

    #[test]
    fn what_is_no_option_is_refused_without_repeating_it() {
        for options in ["sslmode=tiger", "sslmode=allow", "sslrootcert=", "sslcert=tiger.pem"] {
            let error = Tls::of(&format!("postgres://clerk:tiger@db/ledger?{options}")).unwrap_err();
            assert!(error.is_invalid_input(), "{error:?}");
            assert!(!format!("{error:?} {error}").contains("tiger"), "{error:?}");
        }
    }
}
