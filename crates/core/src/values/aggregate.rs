//! The key of an aggregate.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{AggregateType, Error, Result};

/// Identifies an aggregate, and so the stream of its events: its type and its id.
///
/// An id belongs to one type and, if the store uses tenants, to one tenant. A store refuses to append to it under
/// another one
/// ([`TypeMismatch`](crate::ErrorKind::TypeMismatch), [`TenantMismatch`](crate::ErrorKind::TenantMismatch)).
///
/// ```
/// use firefly_eventstore_core::AggregateKey;
/// use uuid::Uuid;
///
/// let id = Uuid::now_v7();
/// let account = AggregateKey::new("Account", id)?;
/// assert_eq!(account.to_string(), format!("Account {id}"));
/// # Ok::<(), firefly_eventstore_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AggregateKey {
    aggregate_type: AggregateType,
    id: Uuid,
}

impl AggregateKey {
    /// A key from a type's name, or a ready [`AggregateType`], and an id.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the type is not a valid name.
    pub fn new(aggregate_type: impl TryInto<AggregateType, Error: Into<Error>>, id: Uuid) -> Result<Self> {
        Ok(Self {
            aggregate_type: aggregate_type.try_into().map_err(Into::into)?,
            id,
        })
    }

    pub(crate) fn of(aggregate_type: AggregateType, id: Uuid) -> Self {
        Self { aggregate_type, id }
    }

    /// The type of the aggregate.
    #[must_use]
    pub fn aggregate_type(&self) -> &AggregateType {
        &self.aggregate_type
    }

    /// The id of the aggregate.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.id
    }
}

impl fmt::Display for AggregateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.aggregate_type, self.id)
    }
}
