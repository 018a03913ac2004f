//! Events: before they are stored, and as they are stored.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use time::{OffsetDateTime, PrimitiveDateTime};
use uuid::Uuid;

use super::canonical::Checksum;
use super::data::Checked;
use crate::{
    AggregateKey, CausationId, CorrelationId, CreatedBy, Error, ErrorKind, EventData, EventType, GlobalSequence,
    Limits, Metadata, Result, TenantId, Version,
};

/// An event that is not stored yet.
///
/// The client makes the id (UUID v7, so ids ascend with time). That makes an append safe to repeat. The event is checked and its checksum
/// computed when it is created, so that the store does not do it while it holds a lock. Cheap to clone.
///
/// ```
/// use firefly_eventstore_core::NewEvent;
/// use serde::Serialize;
///
/// #[derive(Serialize)]
/// struct Deposited { amount_cents: u64 }
///
/// let event = NewEvent::new("money.deposited", &Deposited { amount_cents: 25_000 })?
///     .created_by("clerk-7")?
///     .correlation_id("transfer-19")?
///     .metadata(&serde_json::json!({ "branch": "Oslo" }))?;
/// assert_eq!(event.event_type(), "money.deposited");
/// assert_eq!(event.data().as_str(), r#"{"amount_cents":25000}"#);
/// # Ok::<(), firefly_eventstore_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    event_id: Uuid,
    event_type: EventType,
    data: Checked<EventData>,
    metadata: Option<Checked<Metadata>>,
    created_at: Option<OffsetDateTime>,
    created_by: Option<CreatedBy>,
    correlation_id: Option<CorrelationId>,
    causation_id: Option<CausationId>,
}

impl NewEvent {
    /// Creates an event with a value as its data.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the type is not a valid name, or as [`EventData::new`].
    pub fn new(
        event_type: impl TryInto<EventType, Error: Into<Error>>,
        data: &(impl Serialize + ?Sized),
    ) -> Result<Self> {
        Ok(Self::made(
            event_type.try_into().map_err(Into::into)?,
            Checked::<EventData>::new(data)?,
        ))
    }

    /// Creates an event with JSON text as its data, unchanged.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the type is not a valid name, or as [`EventData::from_json`].
    pub fn from_json(
        event_type: impl TryInto<EventType, Error: Into<Error>>,
        data: impl Into<Arc<str>>,
    ) -> Result<Self> {
        Ok(Self::made(
            event_type.try_into().map_err(Into::into)?,
            Checked::<EventData>::from_json(data)?,
        ))
    }

    fn made(event_type: EventType, data: Checked<EventData>) -> Self {
        Self {
            event_id: Uuid::now_v7(),
            event_type,
            data,
            metadata: None,
            created_at: None,
            created_by: None,
            correlation_id: None,
            causation_id: None,
        }
    }

    /// Replaces the id of the event, such as by one derived from its source with `Uuid::new_v5`.
    #[must_use]
    pub fn with_id(mut self, event_id: Uuid) -> Self {
        self.event_id = event_id;
        self
    }

    /// Sets the metadata from a value that is written as a JSON object.
    ///
    /// # Errors
    ///
    /// As [`Metadata::new`].
    pub fn metadata(self, metadata: &(impl Serialize + ?Sized)) -> Result<Self> {
        let metadata = Metadata::new(metadata)?;
        self.metadata_json(metadata.as_str())
    }

    /// Sets the metadata from the text of a JSON object, unchanged.
    ///
    /// # Errors
    ///
    /// As [`Metadata::from_json`].
    pub fn metadata_json(mut self, metadata: impl Into<Arc<str>>) -> Result<Self> {
        self.metadata = Some(Checked::<Metadata>::from_json(metadata)?);
        Ok(self)
    }

    /// Sets the user or service that created the event.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if it is not a valid name.
    pub fn created_by(mut self, created_by: impl TryInto<CreatedBy, Error: Into<Error>>) -> Result<Self> {
        self.created_by = Some(created_by.try_into().map_err(Into::into)?);
        Ok(self)
    }

    /// Sets the trace or conversation that the event belongs to.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if it is not a valid name.
    pub fn correlation_id(mut self, correlation_id: impl TryInto<CorrelationId, Error: Into<Error>>) -> Result<Self> {
        self.correlation_id = Some(correlation_id.try_into().map_err(Into::into)?);
        Ok(self)
    }

    /// Sets the cause of the event.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if it is not a valid name.
    pub fn causation_id(mut self, causation_id: impl TryInto<CausationId, Error: Into<Error>>) -> Result<Self> {
        self.causation_id = Some(causation_id.try_into().map_err(Into::into)?);
        Ok(self)
    }

    /// Marks the event as caused by another one. The causation id becomes the other event's id. The correlation id becomes the other
    /// event's correlation id, or its event id if it has none.
    ///
    /// ```
    /// use firefly_eventstore_core::prelude::*;
    ///
    /// let store = MemoryEventStore::new();
    /// let order = AggregateKey::new("Order", Uuid::now_v7())?;
    /// store.append(&order, 0, &[NewEvent::new("order.paid", &())?.correlation_id("basket-7")?])?;
    /// let paid = &store.load(&order)?.into_events()[0];
    ///
    /// store.append(&order, 1, &[NewEvent::new("order.shipped", &())?.caused_by(paid)])?;
    /// let shipped = &store.load(&order)?.into_events()[1];
    /// assert_eq!(shipped.correlation_id, paid.correlation_id);
    /// assert_eq!(shipped.causation_id.as_ref().expect("it is set").as_str(), paid.event_id.to_string());
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use]
    pub fn caused_by(mut self, event: &EventEnvelope) -> Self {
        let (correlation_id, causation_id) = event.consequence();
        self.correlation_id = Some(correlation_id);
        self.causation_id = Some(causation_id);
        self
    }

    /// Sets the time of the event, for imported history. Unless set, the store's clock sets it.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the time is finer than a microsecond (see
    /// [`OffsetDateTime::truncate_to_microsecond`]) or outside of the UTC years 1000 to 9999: not every database stores such times exactly.
    pub fn created_at(mut self, created_at: OffsetDateTime) -> Result<Self> {
        self.created_at = Some(check_time(created_at)?);
        Ok(self)
    }

    /// The id of the event.
    #[must_use]
    pub fn event_id(&self) -> Uuid {
        self.event_id
    }

    /// The type of the event.
    #[must_use]
    pub fn event_type(&self) -> &EventType {
        &self.event_type
    }

    /// The data of the event.
    #[must_use]
    pub fn data(&self) -> &EventData {
        &self.data.json
    }

    /// The checksum of the data's canonical JSON.
    #[must_use]
    pub fn checksum(&self) -> Checksum {
        self.data.findings.checksum
    }

    /// The optional fields that were set: for authors of backends.
    #[must_use]
    pub fn details(&self) -> EventDetails<'_> {
        EventDetails {
            metadata: self.metadata.as_ref().map(|metadata| &metadata.json),
            created_at: self.created_at,
            created_by: self.created_by.as_ref(),
            correlation_id: self.correlation_id.as_ref(),
            causation_id: self.causation_id.as_ref(),
        }
    }

    /// For authors of backends: the event as it is stored. Its time is `now`, unless the caller set a time.
    #[must_use]
    pub fn stored(
        &self,
        aggregate: &AggregateKey,
        tenant: Option<&TenantId>,
        version: Version,
        global_sequence: GlobalSequence,
        now: OffsetDateTime,
    ) -> EventEnvelope {
        EventEnvelope {
            metadata: self.details().metadata.cloned(),
            created_by: self.created_by.clone(),
            tenant: tenant.cloned(),
            correlation_id: self.correlation_id.clone(),
            causation_id: self.causation_id.clone(),
            checksum: Some(self.checksum()),
            ..EventEnvelope::new(
                self.event_id,
                aggregate.clone(),
                version,
                global_sequence,
                self.event_type.clone(),
                self.data().clone(),
                self.created_at.unwrap_or(now),
            )
        }
    }

    /// The checksum of the metadata's canonical JSON, if any was given.
    pub(crate) fn metadata_checksum(&self) -> Option<Checksum> {
        self.metadata.as_ref().map(|metadata| metadata.findings.checksum)
    }

    /// Refuses an event that a store with these limits cannot keep exactly. Compares numbers only: the text was examined when the event was
    /// created.
    pub(crate) fn admit(&self, limits: &Limits) -> Result<()> {
        admit(&self.data, self.metadata.as_ref(), limits)
    }
}

/// The optional fields of a [`NewEvent`], as far as they were set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventDetails<'e> {
    /// The metadata.
    pub metadata: Option<&'e Metadata>,
    /// The time that the caller set, in UTC.
    pub created_at: Option<OffsetDateTime>,
    /// The creator.
    pub created_by: Option<&'e CreatedBy>,
    /// The correlation id.
    pub correlation_id: Option<&'e CorrelationId>,
    /// The causation id.
    pub causation_id: Option<&'e CausationId>,
}

fn admit(data: &Checked<EventData>, metadata: Option<&Checked<Metadata>>, limits: &Limits) -> Result<()> {
    data.admit("data", data.json.as_str().len(), limits.max_data_bytes, limits)?;
    metadata.map_or(Ok(()), |metadata| {
        metadata.admit(
            "metadata",
            metadata.json.as_str().len(),
            limits.max_metadata_bytes,
            limits,
        )
    })
}

/// The time in UTC. If it is outside of the range of UTC times, the first or the last of them. For authors of backends.
#[must_use]
pub fn to_utc(time: OffsetDateTime) -> OffsetDateTime {
    let limit = if time.offset().is_positive() {
        PrimitiveDateTime::MIN
    } else {
        PrimitiveDateTime::MAX
    };
    time.checked_to_utc().map_or(limit.assume_utc(), Into::into)
}

/// The time in UTC. Refuses a time that some database does not store exactly.
pub(crate) fn check_time(time: OffsetDateTime) -> Result<OffsetDateTime> {
    let utc = time
        .checked_to_utc()
        .filter(|utc| (1000..=9999).contains(&utc.year()))
        .ok_or_else(|| Error::invalid(format!("the time {time} is outside of the UTC years 1000 to 9999")))?
        .into();
    if utc != OffsetDateTime::truncate_to_microsecond(utc) {
        return Err(Error::invalid(format!(
            "the time {time} is finer than a microsecond; call truncate_to_microsecond() on it first"
        )));
    }
    Ok(utc)
}

/// A stored event, with all of its columns.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventEnvelope {
    /// The id of the event. The client that appended it made it.
    pub event_id: Uuid,
    /// The aggregate that the event belongs to (columns `aggregate_id` and `aggregate_type`).
    pub aggregate: AggregateKey,
    /// Its position in the aggregate's stream, from 1 (column `aggregate_version`).
    pub version: Version,
    /// Its position in the log of all events.
    pub global_sequence: GlobalSequence,
    /// What happened.
    pub event_type: EventType,
    /// The data, as JSON text that only [`data`](Self::data) parses (column `event_data`). A database may have reordered keys and respelled
    /// numbers; the checksum stays the same.
    pub data: EventData,
    /// The metadata. Absent metadata and an empty object are different.
    pub metadata: Option<Metadata>,
    /// When the event was stored, or the time that the appending program set, in UTC, to the microsecond.
    pub created_at: OffsetDateTime,
    /// When the row was last corrected, in UTC; none if it never was. On MySQL and MariaDB, this is the local time of the session that
    /// corrected it, read as UTC.
    pub updated_at: Option<OffsetDateTime>,
    /// The user or service that created the event.
    pub created_by: Option<CreatedBy>,
    /// The tenant that owns the aggregate (column `tenant_id`).
    pub tenant: Option<TenantId>,
    /// The trace or conversation that the event belongs to.
    pub correlation_id: Option<CorrelationId>,
    /// What caused the event.
    pub causation_id: Option<CausationId>,
    /// The size of the data's text in the database that stores it, in bytes (column `event_size_bytes`).
    pub size_bytes: Option<u32>,
    /// SHA-256 of the data's canonical JSON; none only in rows that another program wrote.
    pub checksum: Option<Checksum>,
}

impl EventEnvelope {
    /// For authors of backends: an event with its mandatory fields. Set the optional ones afterwards. `size_bytes` is the size of the
    /// data's text.
    #[must_use]
    pub fn new(
        event_id: Uuid,
        aggregate: AggregateKey,
        version: Version,
        global_sequence: GlobalSequence,
        event_type: EventType,
        data: EventData,
        created_at: OffsetDateTime,
    ) -> Self {
        Self {
            event_id,
            aggregate,
            version,
            global_sequence,
            event_type,
            size_bytes: u32::try_from(data.as_str().len()).ok(),
            data,
            metadata: None,
            created_at,
            updated_at: None,
            created_by: None,
            tenant: None,
            correlation_id: None,
            causation_id: None,
            checksum: None,
        }
    }

    /// Parses the data into a type of the caller.
    ///
    /// # Errors
    ///
    /// [`Decode`](crate::ErrorKind::Decode) if the data does not fit the type.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T> {
        self.data.parse().map_err(|error| error.during(self.name()))
    }

    /// Recomputes the checksum of the data and compares it.
    ///
    /// # Errors
    ///
    /// [`Integrity`](crate::ErrorKind::Integrity), with the name of the event, if the data was changed or damaged, or there is no checksum.
    pub fn verify(&self) -> Result<()> {
        let reason: Cow<'static, str> = match (self.data.checksum(), self.checksum) {
            (Ok(computed), Some(stored)) if computed == stored => return Ok(()),
            (Ok(computed), Some(stored)) => {
                format!("the checksum of its data is {computed}, stored was {stored}").into()
            }
            (Ok(_), None) => "it has no checksum".into(),
            (Err(error), _) => format!("its data is damaged: {error}").into(),
        };
        Err(self.damaged(reason))
    }

    /// The error of this event if its stored data was changed or damaged.
    #[must_use]
    pub fn damaged(&self, reason: impl Into<Box<str>>) -> Error {
        Error::new(ErrorKind::Integrity {
            event_id: Some(self.event_id),
            global_sequence: Some(self.global_sequence),
            reason: reason.into(),
        })
        .during(self.name())
    }

    /// Refuses an event that a store with these limits cannot keep exactly, or whose data does not match its checksum.
    pub(crate) fn admit(&self, limits: &Limits) -> Result<()> {
        let data = Checked::<EventData>::from_json(self.data.clone().into_text())
            .map_err(|error| self.damaged(error.to_string()))?;
        if let Some(stored) = self.checksum.filter(|stored| *stored != data.findings.checksum) {
            return Err(self.damaged(format!(
                "the checksum of its data is {}, not {stored}",
                data.findings.checksum
            )));
        }
        let metadata = self
            .metadata
            .clone()
            .map(|metadata| Checked::<Metadata>::from_json(metadata.into_text()));
        let metadata = metadata.transpose()?;
        admit(&data, metadata.as_ref(), limits)?;
        check_time(self.created_at)?;
        self.updated_at.map_or(Ok(()), |time| check_time(time).map(drop))
    }

    /// The correlation id and the causation id of events that this event causes.
    pub(crate) fn consequence(&self) -> (CorrelationId, CausationId) {
        const VALID: &str = "the text of a UUID is a valid name";
        let id = self.event_id.to_string();
        let begun = || CorrelationId::new(id.as_str()).expect(VALID);
        let correlation_id = self.correlation_id.clone().unwrap_or_else(begun);
        (correlation_id, CausationId::new(id.as_str()).expect(VALID))
    }

    /// The name of the event in errors.
    pub(crate) fn name(&self) -> String {
        format!(
            "event {} (global sequence {}, {}, version {}, {})",
            self.event_id, self.global_sequence, self.aggregate, self.version, self.event_type
        )
    }
}
