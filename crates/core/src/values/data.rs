//! JSON payloads: checked once when they are created, kept as text, parsed on request only.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::canonical::{self, Checksum, Findings};
use super::finite;
use crate::{Error, Limits, Result};

/// An event's data, or a snapshot's state: one JSON value, kept as text.
///
/// The text is parsed only by [`parse`](Self::parse). Cheap to clone. Two values are equal if their texts are equal; compare their
/// [`checksum`](Self::checksum)s to find out whether they are the same JSON.
///
/// ```
/// use firefly_eventstore_core::EventData;
///
/// let data = EventData::from_json(r#"{"amount": 250.00, "currency": "EUR"}"#)?;
/// assert_eq!(data.canonical()?, r#"{"amount":250,"currency":"EUR"}"#);
/// assert_eq!(data.checksum()?, EventData::from_json(r#"{"currency":"EUR","amount":2.5e2}"#)?.checksum()?);
/// # Ok::<(), firefly_eventstore_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct EventData(Arc<str>);

/// Information about an event besides its data: a JSON object, kept as text.
///
/// Absent metadata and an empty object are different, and the store keeps them apart.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Metadata(Arc<str>);

/// A payload that passed the checks, with what they found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Checked<T> {
    pub(crate) json: T,
    pub(crate) findings: Findings,
}

impl EventData {
    /// Writes a value as JSON.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the value cannot be written as JSON, contains a float that
    /// JSON has no number for (NaN, infinities), or two equal keys.
    pub fn new(value: &(impl Serialize + ?Sized)) -> Result<Self> {
        Self::from_json(to_json("data", value)?)
    }

    /// Takes a JSON text unchanged.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if it is not JSON, repeats a key, has a lone surrogate or nests
    /// too deeply.
    pub fn from_json(text: impl Into<Arc<str>>) -> Result<Self> {
        Ok(Checked::<Self>::from_json(text)?.json)
    }
}

impl Metadata {
    /// Writes a value as JSON. It has to become an object: a struct or a map.
    ///
    /// # Errors
    ///
    /// As [`EventData::new`], and if it is not an object.
    pub fn new(value: &(impl Serialize + ?Sized)) -> Result<Self> {
        Self::from_json(to_json("metadata", value)?)
    }

    /// Takes the text of a JSON object unchanged.
    ///
    /// # Errors
    ///
    /// As [`EventData::from_json`], and if it is not an object.
    pub fn from_json(text: impl Into<Arc<str>>) -> Result<Self> {
        Ok(Checked::<Self>::from_json(text)?.json)
    }

    /// Whether this contains `part`, by the rules of PostgreSQL's `jsonb @>`, on every backend.
    ///
    /// Every key of `part` must exist here, with a value that contains the value in `part`. For an array in `part`, each element must be
    /// contained in an element of the array here. Scalars must be equal; numbers are compared by value (`1.0` = `1`).
    ///
    /// ```
    /// use firefly_eventstore_core::Metadata;
    ///
    /// let stored = Metadata::from_json(r#"{"userId":"u-1","tags":["a","b"],"shop":{"id":7,"city":"Oslo"}}"#)?;
    /// assert!(stored.contains(&Metadata::from_json(r#"{"tags":["b"],"shop":{"id":7.0}}"#)?)?);
    /// assert!(!stored.contains(&Metadata::from_json(r#"{"userId":"U-1"}"#)?)?);
    /// # Ok::<(), firefly_eventstore_core::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`canonical`](Self::canonical).
    pub fn contains(&self, part: &Self) -> Result<bool> {
        // Canonical text spells equal numbers alike, so comparing the values compares their meaning.
        let whole: Value = parse(&self.canonical()?)?;
        let part: Value = parse(&part.canonical()?)?;
        Ok(contains(&whole, &part))
    }
}

fn contains(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => part
            .iter()
            .all(|(key, value)| whole.get(key).is_some_and(|found| contains(found, value))),
        (Value::Array(whole), Value::Array(part)) => part
            .iter()
            .all(|value| whole.iter().any(|found| contains(found, value))),
        _ => whole == part,
    }
}

impl Checked<EventData> {
    pub(crate) fn new(value: &(impl Serialize + ?Sized)) -> Result<Self> {
        Self::from_json(to_json("data", value)?)
    }

    pub(crate) fn from_json(text: impl Into<Arc<str>>) -> Result<Self> {
        Self::of("data", text.into(), EventData)
    }
}

impl Checked<Metadata> {
    pub(crate) fn from_json(text: impl Into<Arc<str>>) -> Result<Self> {
        let checked = Self::of("metadata", text.into(), Metadata)?;
        if !checked.findings.is_object {
            return Err(Error::invalid("metadata is not a JSON object"));
        }
        Ok(checked)
    }
}

impl<T> Checked<T> {
    fn of(what: &str, text: Arc<str>, wrap: impl FnOnce(Arc<str>) -> T) -> Result<Self> {
        let findings = canonical::examine(&text).map_err(|error| refused(what, error))?;
        Ok(Self {
            json: wrap(text),
            findings,
        })
    }

    /// Refuses a payload that a store with these limits cannot keep exactly.
    pub(crate) fn admit(&self, what: &str, bytes: usize, max_bytes: usize, limits: &Limits) -> Result<()> {
        let found = &self.findings;
        if bytes > max_bytes {
            return Err(Error::invalid(format!(
                "{what} has {bytes} bytes of JSON, this store takes at most {max_bytes}"
            )));
        }
        if found.depth > limits.max_depth {
            return Err(Error::invalid(format!(
                "{what} nests {} levels deep, this store takes at most {}",
                found.depth, limits.max_depth
            )));
        }
        if found.longest_key > limits.max_key_bytes {
            return Err(Error::invalid(format!(
                "{what} has a key of {} bytes, this store takes at most {}",
                found.longest_key, limits.max_key_bytes
            )));
        }
        if found.has_nul && !limits.allow_nul {
            return Err(Error::invalid(format!(
                "{what} has a string with U+0000, which PostgreSQL cannot store; encode it, for example as base64"
            )));
        }
        if let Some(number) = &found.inexact_number
            && !limits.allow_inexact_numbers
        {
            return Err(Error::invalid(format!(
                "{what} has the number {number}, which is neither a 64-bit integer nor a decimal that a double carries \
                 exactly; write it as a string"
            )));
        }
        Ok(())
    }
}

fn to_json(what: &str, value: &(impl Serialize + ?Sized)) -> Result<String> {
    // serde_json writes NaN and infinities as null, which would change the data silently.
    finite::check(value).map_err(|error| Error::invalid(format!("{what} cannot be written as JSON: {error}")))?;
    serde_json::to_string(value).map_err(|error| Error::invalid(format!("{what} cannot be written as JSON: {error}")))
}

fn parse<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| {
        Error::new(crate::ErrorKind::Decode {
            reason: format!("the stored JSON does not fit {}", std::any::type_name::<T>()).into(),
        })
        .with_source(error)
    })
}

fn refused(what: &str, error: canonical::JsonError) -> Error {
    Error::invalid(format!("{what} is refused: {error}")).with_source(error)
}

macro_rules! json_texts {
    ($($Name:ident = $what:literal;)*) => {$(
        impl $Name {
            /// JSON text as a backend read it. It is not checked: if it is damaged, parsing or verifying it fails.
            #[must_use]
            pub fn from_stored(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }

            pub(crate) fn into_text(self) -> Arc<str> {
                self.0
            }

            /// The JSON text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Parses the text into a type of the caller.
            ///
            /// # Errors
            ///
            /// [`Decode`](crate::ErrorKind::Decode) if the text does not fit the type.
            pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
                parse(&self.0)
            }

            /// The canonical form: [RFC 8785](https://www.rfc-editor.org/rfc/rfc8785), but with all digits of numbers that are not exactly
            /// a double. See [`canonical`](crate::canonical).
            ///
            /// # Errors
            ///
            /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the stored text was damaged and is no longer JSON.
            pub fn canonical(&self) -> Result<String> {
                canonical::canonicalize(&self.0).map_err(|error| refused($what, error))
            }

            /// SHA-256 of the canonical form.
            ///
            /// # Errors
            ///
            /// As [`canonical`](Self::canonical).
            pub fn checksum(&self) -> Result<Checksum> {
                canonical::checksum(&self.0).map_err(|error| refused($what, error))
            }
        }

        impl fmt::Debug for $Name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Display for $Name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

json_texts! {
    EventData = "data";
    Metadata = "metadata";
}
