//! The context of a command: its user, its cause, its conversation and its id.

use serde::Serialize;
use uuid::Uuid;

use crate::{CausationId, CorrelationId, CreatedBy, Error, EventEnvelope, Metadata, NewEvent, Result};

/// The common context of all events of a command: the user, the conversation, the cause and the command's id.
///
/// ```
/// use firefly_eventstore_core::{Context, prelude::*};
///
/// let context = Context::new()
///     .command_id(Uuid::now_v7()) // sent by the client, the same each time that it repeats the request
///     .created_by("clerk-7")?
///     .correlation_id("transfer-19")?
///     .metadata(&serde_json::json!({ "branch": "Oslo" }))?;
/// assert!(context.event_id(0).is_some());
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    command_id: Option<Uuid>,
    created_by: Option<CreatedBy>,
    correlation_id: Option<CorrelationId>,
    causation_id: Option<CausationId>,
    metadata: Option<Metadata>,
}

impl Context {
    /// An empty context.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives the command an id, so that it takes effect once, however often it is executed: see
    /// [`Repository::execute_as`](crate::Repository::execute_as).
    ///
    /// A repeated command must have the same id. So the client that sends it, or the queue that delivers it, must make the id. A command is
    /// for one aggregate. An operation on several aggregates needs one id for each, such as `Uuid::new_v5(&transfer, b"deposit")`.
    #[must_use]
    pub fn command_id(mut self, command_id: Uuid) -> Self {
        self.command_id = Some(command_id);
        self
    }

    /// The context of a command that follows from an event. The event becomes its cause, and the conversation continues.
    ///
    /// The id of the command is computed from the event's id and the name of the step. So if a handler is called again with the same event,
    /// the command takes effect once. Use another name for each command that the handler executes.
    ///
    /// ```
    /// use firefly_eventstore_core::{Context, MemoryEventStore, prelude::*};
    ///
    /// let store = MemoryEventStore::new();
    /// let order = AggregateKey::new("Order", Uuid::now_v7())?;
    /// store.append(&order, ExpectedVersion::NoStream, &[NewEvent::new("order.paid", &serde_json::json!({}))?])?;
    ///
    /// let paid = &store.load(&order)?.into_events()[0];
    /// assert_eq!(Context::caused_by(paid, "ship"), Context::caused_by(paid, "ship"));
    /// assert_ne!(Context::caused_by(paid, "ship"), Context::caused_by(paid, "thank"));
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use]
    pub fn caused_by(event: &EventEnvelope, step: &str) -> Self {
        let (correlation_id, causation_id) = event.consequence();
        Self {
            command_id: Some(Uuid::new_v5(&event.event_id, step.as_bytes())),
            created_by: None,
            correlation_id: Some(correlation_id),
            causation_id: Some(causation_id),
            metadata: None,
        }
    }

    /// Sets the user or service that sends the command.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if it is not a valid name.
    pub fn created_by(mut self, created_by: impl TryInto<CreatedBy, Error: Into<Error>>) -> Result<Self> {
        self.created_by = Some(created_by.try_into().map_err(Into::into)?);
        Ok(self)
    }

    /// Sets the trace or conversation.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if it is not a valid name.
    pub fn correlation_id(mut self, correlation_id: impl TryInto<CorrelationId, Error: Into<Error>>) -> Result<Self> {
        self.correlation_id = Some(correlation_id.try_into().map_err(Into::into)?);
        Ok(self)
    }

    /// Sets the cause of the command.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if it is not a valid name.
    pub fn causation_id(mut self, causation_id: impl TryInto<CausationId, Error: Into<Error>>) -> Result<Self> {
        self.causation_id = Some(causation_id.try_into().map_err(Into::into)?);
        Ok(self)
    }

    /// Sets metadata, from a value that is written as a JSON object.
    ///
    /// # Errors
    ///
    /// As [`Metadata::new`].
    pub fn metadata(mut self, metadata: &(impl Serialize + ?Sized)) -> Result<Self> {
        self.metadata = Some(Metadata::new(metadata)?);
        Ok(self)
    }

    /// The id of the command, if it has one.
    pub(super) fn id(&self) -> Option<Uuid> {
        self.command_id
    }

    /// The id of the command's event with this index, from 0; none without a command id.
    ///
    /// It is UUID version 5 of the index, in decimal digits, in the namespace that is the command's id. So a program in any language, or
    /// PostgreSQL's `uuid_generate_v5(command, '0')`, can find out whether a command was executed.
    #[must_use]
    pub fn event_id(&self, place: usize) -> Option<Uuid> {
        self.command_id.map(|command| event_id(command, place))
    }

    /// Adds the context to the event of a command with this index.
    pub(super) fn apply(&self, place: usize, mut event: NewEvent) -> Result<NewEvent> {
        if let Some(id) = self.event_id(place) {
            event = event.with_id(id);
        }
        if let Some(created_by) = &self.created_by {
            event = event.created_by(created_by)?;
        }
        if let Some(correlation_id) = &self.correlation_id {
            event = event.correlation_id(correlation_id)?;
        }
        if let Some(causation_id) = &self.causation_id {
            event = event.causation_id(causation_id)?;
        }
        if let Some(metadata) = &self.metadata {
            event = event.metadata_json(metadata.as_str())?;
        }
        Ok(event)
    }
}

pub(super) fn event_id(command: Uuid, place: usize) -> Uuid {
    Uuid::new_v5(&command, place.to_string().as_bytes())
}
