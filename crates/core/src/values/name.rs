//! Names that are valid by construction: types of aggregates, events and snapshots, tenants, context ids.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The most characters (Unicode scalar values) a name may have: the width of its database column.
pub const MAX_NAME_CHARS: usize = 255;

pub(crate) fn check(what: &str, text: &str) -> Result<()> {
    if text.is_empty() {
        return Err(Error::invalid(format!("{what} is empty")));
    }
    // A name of at most 255 bytes has at most 255 characters, so the characters of a usual name are not counted.
    if text.len() > MAX_NAME_CHARS {
        let chars = text.chars().count();
        if chars > MAX_NAME_CHARS {
            return Err(Error::invalid(format!(
                "{what} has {chars} characters, at most {MAX_NAME_CHARS} can be stored"
            )));
        }
    }
    if text.contains('\0') {
        return Err(Error::invalid(format!(
            "{what} contains U+0000, which PostgreSQL cannot store"
        )));
    }
    Ok(())
}

/// Panics if a text is not a valid name. For constants.
const fn check_static(text: &str) {
    let bytes = text.as_bytes();
    assert!(!bytes.is_empty(), "a name is empty");
    let (mut index, mut chars) = (0, 0);
    while index < bytes.len() {
        assert!(bytes[index] != 0, "a name contains U+0000");
        // Counts every byte except continuation bytes, so it counts characters.
        if bytes[index] & 0b1100_0000 != 0b1000_0000 {
            chars += 1;
        }
        index += 1;
    }
    assert!(chars <= MAX_NAME_CHARS, "a name has more than 255 characters");
}

/// Text that is cheap to clone: created at run time, or a constant.
#[derive(Clone)]
enum Text {
    Shared(Arc<str>),
    Static(&'static str),
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Shared(text) => text,
            Self::Static(text) => text,
        }
    }
}

macro_rules! names {
    ($($(#[$doc:meta])* $Name:ident = $what:literal;)*) => {$(
        $(#[$doc])*
        ///
        /// 1 to 255 characters, without U+0000. Compared and ordered by its bytes: letter case, accents, combining characters and trailing
        /// spaces are all significant, on every backend. Cheap to clone.
        #[derive(Clone, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $Name(Text);

        impl $Name {
            /// Creates the name, if it is valid.
            ///
            /// # Errors
            ///
            /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if it is empty, longer than 255 characters or
            /// contains U+0000.
            pub fn new(name: impl Into<Arc<str>>) -> Result<Self> {
                let name = name.into();
                check($what, &name)?;
                Ok(Self(Text::Shared(name)))
            }

            /// A name from text in the program, for constants. If it is not valid, the program does not compile.
            ///
            /// ```
            #[doc = concat!("use firefly_eventstore_core::", stringify!($Name), ";")]
            ///
            #[doc = concat!("const NAME: ", stringify!($Name), " = ", stringify!($Name), "::from_static(\"ledger.main\");")]
            /// assert_eq!(NAME, "ledger.main");
            /// ```
            #[must_use]
            pub const fn from_static(name: &'static str) -> Self {
                check_static(name);
                Self(Text::Static(name))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $Name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $Name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl PartialEq for $Name {
            fn eq(&self, other: &Self) -> bool {
                *self.0 == *other.0
            }
        }

        impl Eq for $Name {}

        impl PartialOrd for $Name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl Ord for $Name {
            fn cmp(&self, other: &Self) -> Ordering {
                self.0.cmp(&other.0)
            }
        }

        impl Hash for $Name {
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.0.hash(state);
            }
        }

        impl AsRef<str> for $Name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl PartialEq<str> for $Name {
            fn eq(&self, other: &str) -> bool {
                &*self.0 == other
            }
        }

        impl PartialEq<&str> for $Name {
            fn eq(&self, other: &&str) -> bool {
                &*self.0 == *other
            }
        }

        impl TryFrom<&str> for $Name {
            type Error = Error;

            fn try_from(name: &str) -> Result<Self> {
                Self::new(name)
            }
        }

        impl TryFrom<String> for $Name {
            type Error = Error;

            fn try_from(name: String) -> Result<Self> {
                Self::new(name)
            }
        }

        impl TryFrom<&$Name> for $Name {
            type Error = Error;

            fn try_from(name: &$Name) -> Result<Self> {
                Ok(name.clone())
            }
        }

        impl From<$Name> for String {
            fn from(name: $Name) -> Self {
                name.as_str().to_owned()
            }
        }

        impl std::str::FromStr for $Name {
            type Err = Error;

            fn from_str(name: &str) -> Result<Self> {
                Self::new(name)
            }
        }
    )*};
}

names! {
    /// The kind of an aggregate, such as `Account` (column `aggregate_type`).
    AggregateType = "aggregate type";
    /// What happened, such as `money.deposited` (column `event_type`).
    ///
    /// A program that does not keep its events in an [enum](crate::DomainEvent) can match on the text:
    ///
    /// ```
    /// use firefly_eventstore_core::prelude::*;
    ///
    /// const OPENED: &str = "account.opened";
    /// const DEPOSITED: &str = "money.deposited";
    ///
    /// fn apply(balance: &mut i64, event: &EventEnvelope) -> Result<()> {
    ///     match event.event_type.as_str() {
    ///         OPENED => *balance = 0,
    ///         DEPOSITED => *balance += event.data::<i64>()?,
    ///         _ => {}
    ///     }
    ///     Ok(())
    /// }
    /// ```
    EventType = "event type";
    /// The format of a snapshot's state, such as `AccountState.v2` (column `snapshot_type`).
    SnapshotType = "snapshot type";
    /// An isolated owner of aggregates (column `tenant_id`).
    TenantId = "tenant id";
    /// The trace or conversation that an event belongs to (column `correlation_id`).
    CorrelationId = "correlation id";
    /// What caused an event, usually another event's id (column `causation_id`).
    CausationId = "causation id";
    /// The user or service that created an event (column `created_by`).
    CreatedBy = "created by";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_255_characters_of_any_width_and_refuses_256() {
        for c in ["a", "é", "漢", "😀"] {
            assert_eq!(EventType::new(c.repeat(255)).unwrap().as_str(), c.repeat(255));
            let error = EventType::new(c.repeat(256)).unwrap_err();
            assert!(error.to_string().contains("256 characters"), "{error}");
        }
    }

    #[test]
    fn a_constant_is_the_name_that_is_made_at_run_time() {
        const DEPOSITED: EventType = EventType::from_static("money.deposited");
        let made = EventType::new("money.deposited").unwrap();
        assert_eq!(DEPOSITED, made);
        assert_eq!(DEPOSITED.cmp(&made), Ordering::Equal);
        assert!(std::collections::HashSet::from([DEPOSITED]).contains(&made));
        assert_eq!(format!("{DEPOSITED} {DEPOSITED:?}"), format!("{made} {made:?}"));
    }

    #[test]
    fn refuses_constants_that_are_no_names() {
        let widest: &'static str = String::leak("漢".repeat(255));
        assert_eq!(EventType::from_static(widest).as_str(), widest);
        let longer: &'static str = String::leak("漢".repeat(256));
        for name in ["", "a\0b", longer] {
            assert!(
                std::panic::catch_unwind(|| EventType::from_static(name)).is_err(),
                "{name:?}"
            );
        }
    }

    #[test]
    fn refuses_the_empty_name_and_the_nul_character() {
        assert!(
            TenantId::new("")
                .unwrap_err()
                .to_string()
                .contains("tenant id is empty")
        );
        assert!(TenantId::new("a\0b").unwrap_err().to_string().contains("U+0000"));
    }
}
