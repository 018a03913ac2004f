//! Positions: in one aggregate's stream, and in the log of all events.

use std::cmp::Ordering;
use std::fmt;
use std::ops::{Add, AddAssign};

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

macro_rules! positions {
    ($($(#[$doc:meta])* $Name:ident = $what:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "u64", into = "u64")]
        pub struct $Name(u64);

        impl $Name {
            /// The position before the first.
            pub const ZERO: Self = Self(0);
            /// The largest position: the largest number in a database's signed 64-bit column.
            pub const MAX: Self = Self(i64::MAX as u64);

            /// Creates a position, if the number is valid.
            ///
            /// # Errors
            ///
            /// [`InvalidInput`](crate::ErrorKind::InvalidInput) beyond `i64::MAX`, which no backend stores.
            pub fn new(number: u64) -> Result<Self> {
                if number > Self::MAX.0 {
                    return Err(Error::invalid(format!(concat!($what, " {} is beyond the greatest, {}"), number, i64::MAX)));
                }
                Ok(Self(number))
            }

            /// The number.
            #[must_use]
            pub const fn get(self) -> u64 {
                self.0
            }

            /// The number, as databases store it.
            #[must_use]
            pub const fn as_i64(self) -> i64 {
                self.0.cast_signed()
            }

            /// The position `steps` later, or none beyond [`MAX`](Self::MAX).
            #[must_use]
            pub const fn checked_add(self, steps: u64) -> Option<Self> {
                match self.0.checked_add(steps) {
                    Some(sum) if sum <= Self::MAX.0 => Some(Self(sum)),
                    _ => None,
                }
            }
        }

        impl fmt::Display for $Name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<u32> for $Name {
            fn from(number: u32) -> Self {
                Self(u64::from(number))
            }
        }

        impl TryFrom<u64> for $Name {
            type Error = Error;

            fn try_from(number: u64) -> Result<Self> {
                Self::new(number)
            }
        }

        impl TryFrom<i64> for $Name {
            type Error = Error;

            fn try_from(number: i64) -> Result<Self> {
                u64::try_from(number)
                    .map(Self)
                    .map_err(|_| Error::invalid(format!(concat!($what, " {} is negative"), number)))
            }
        }

        impl From<$Name> for u64 {
            fn from(position: $Name) -> Self {
                position.0
            }
        }

        impl PartialEq<u64> for $Name {
            fn eq(&self, other: &u64) -> bool {
                self.0 == *other
            }
        }

        impl PartialOrd<u64> for $Name {
            fn partial_cmp(&self, other: &u64) -> Option<Ordering> {
                self.0.partial_cmp(other)
            }
        }

        /// The position this many steps later. Panics beyond [`MAX`](Self::MAX), as integers do on overflow. If that
        /// may happen, use [`checked_add`](Self::checked_add).
        impl Add<u64> for $Name {
            type Output = Self;

            fn add(self, steps: u64) -> Self {
                self.checked_add(steps)
                    .expect(concat!("attempt to add to a ", $what, " with overflow"))
            }
        }

        impl AddAssign<u64> for $Name {
            fn add_assign(&mut self, steps: u64) {
                *self = *self + steps;
            }
        }
    )*};
}

positions! {
    /// A position in one aggregate's stream: 1 is its first event, [`ZERO`](Self::ZERO) means that there is none yet.
    ///
    /// Versions of a stream are contiguous. Ranges from 0 to `i64::MAX`.
    ///
    /// It works like a number: it can be compared with numbers and added to, and functions that take a version also
    /// accept a literal.
    ///
    /// ```
    /// use firefly_eventstore_core::{StreamRange, Version, prelude::*};
    ///
    /// let store = MemoryEventStore::new();
    /// let account = AggregateKey::new("Account", Uuid::now_v7())?;
    /// let deposits = (0..4).map(|n| NewEvent::new("money.deposited", &n)).collect::<Result<Vec<_>>>()?;
    /// let version = store.append(&account, 0, &deposits)?.version();
    ///
    /// assert!(version == 4 && version > 3 && version + 1 == 5);
    /// assert_eq!(store.load_as_of(&account, 3)?.version(), 3);
    /// assert_eq!(store.load_range(&account, &StreamRange::all().from_version(2))?.len(), 3);
    /// assert_eq!(store.read(EventQuery::new().after(1)).count(), 3);
    /// # Ok::<(), Error>(())
    /// ```
    Version = "version";
    /// A position in the log of all events: [`ZERO`](Self::ZERO) is before the first.
    ///
    /// Sequences ascend in the order of the log but may have holes, left by transactions that rolled back. A consumer
    /// of the log needs to remember only this one integer. Ranges from 0 to `i64::MAX`.
    GlobalSequence = "global sequence";
}

/// The version that the caller expects an aggregate to have when it appends: the optimistic lock of event sourcing.
///
/// The design follows `object_store`'s `PutMode` and the expected revision of EventStoreDB.
///
/// ```
/// use firefly_eventstore_core::{ExpectedVersion, Version};
///
/// assert_eq!(ExpectedVersion::from(Version::from(4)), ExpectedVersion::Exact(4.into()));
/// assert_eq!(ExpectedVersion::from(4), ExpectedVersion::Exact(4.into())); // so an append takes `4`
/// assert!(ExpectedVersion::Exact(4.into()).admits(4.into()));
/// assert!(!ExpectedVersion::Exact(4.into()).admits(5.into()));
/// assert!(ExpectedVersion::NoStream.admits(Version::ZERO));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExpectedVersion {
    /// Any version: there is never a conflict.
    Any,
    /// The aggregate has no event yet.
    NoStream,
    /// The aggregate has at least one event.
    Exists,
    /// The aggregate is at exactly this version; `Exact(0)` means the same as [`NoStream`](Self::NoStream).
    Exact(Version),
}

impl ExpectedVersion {
    /// Whether version `actual` of an aggregate is as expected.
    #[must_use]
    pub fn admits(self, actual: Version) -> bool {
        match self {
            Self::Any => true,
            Self::NoStream => actual == Version::ZERO,
            Self::Exists => actual > Version::ZERO,
            Self::Exact(version) => actual == version,
        }
    }
}

/// Exactly this version.
impl From<u32> for ExpectedVersion {
    fn from(version: u32) -> Self {
        Self::Exact(version.into())
    }
}

impl From<Version> for ExpectedVersion {
    fn from(version: Version) -> Self {
        Self::Exact(version)
    }
}

impl fmt::Display for ExpectedVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any version"),
            Self::NoStream => f.write_str("no stream"),
            Self::Exists => f.write_str("an existing stream"),
            Self::Exact(version) => write!(f, "version {version}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_numbers_no_database_can_keep() {
        assert_eq!(Version::new(i64::MAX as u64).unwrap(), Version::MAX);
        assert!(Version::new(i64::MAX as u64 + 1).is_err());
        assert!(
            GlobalSequence::try_from(-1_i64)
                .unwrap_err()
                .to_string()
                .contains("negative")
        );
        assert_eq!(Version::MAX.checked_add(1), None);
    }

    #[test]
    #[should_panic(expected = "overflow")]
    fn counting_beyond_the_greatest_is_an_overflow() {
        let _ = GlobalSequence::MAX + 1;
    }
}
