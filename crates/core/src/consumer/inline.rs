//! Projections within appends: their read models are always current.

use std::error::Error as StdError;
use std::fmt;
use std::marker::PhantomData;

use uuid::Uuid;

use super::failure::BoxError;
use super::projection::{Projection, registration};
use super::stored::slot::ConsumerState;
use super::stored::store::Transactional;
use super::stored::transaction::ConsumerTransaction as _;
use crate::domain::{Aggregate, Context, ExecuteError, Executed, Repository};
use crate::{
    Error, ErrorKind, EventEnvelope, EventQuery, EventTransaction as _, EventTransactionExt as _, Result, StreamRange,
};

/// A projection that is applied in the commit of each append, so that its read model is always current: see [`Repository::execute_with`].
///
/// It applies only events that are appended through it, after it was registered. So every program that appends such events must append
/// through it. A [runner](super::Runner) refuses to follow the log for the same projection, because that would apply each event twice.
pub struct Inline<S, P> {
    projection: P,
    query: EventQuery,
    store: PhantomData<fn() -> S>,
}

impl<S: Transactional, P: Projection<S>> Inline<S, P> {
    /// Registers the projection as one that is applied within appends.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if a runner already follows the log for this projection; those of the store.
    pub fn new(store: &S, projection: P) -> Result<Self> {
        let query = projection.query()?;
        store.commit_together(|tx| tx.register(&registration(projection.name(), &query, ConsumerState::Inline)))?;
        Ok(Self {
            projection,
            query,
            store: PhantomData,
        })
    }

    /// Applies the events that the projection asks for, within the transaction that appended them.
    ///
    /// # Errors
    ///
    /// Those of the projection.
    pub fn apply(&self, tx: &mut S::Transaction<'_>, events: Vec<EventEnvelope>) -> Result<(), BoxError> {
        let mut wanted = Vec::with_capacity(events.len());
        for event in events {
            if self.query.filter().matches(&event)? {
                wanted.push(event);
            }
        }
        match wanted.is_empty() {
            true => Ok(()),
            false => self.projection.apply_all(tx, &wanted),
        }
    }

    /// The store's own errors keep their kind, so that a conflict runs the command again.
    fn refused(&self, store: &S, error: BoxError) -> Error {
        let error = match error.downcast::<Error>() {
            Ok(error) => return *error,
            Err(error) => error,
        };
        let reason = format!("projection {} failed: {error}", self.projection.name()).into();
        let kind = match store.is_transient(&*error) {
            true => ErrorKind::Unavailable { reason },
            false => ErrorKind::Backend { reason },
        };
        Error::new(kind).with_source(Cause(error))
    }
}

/// An error of the caller's code, as the source of an error of the store.
#[derive(Debug)]
struct Cause(BoxError);

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for Cause {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}

impl<S: Transactional, P: Projection<S>> fmt::Debug for Inline<S, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inline")
            .field("name", &self.projection.name())
            .finish_non_exhaustive()
    }
}

impl<S: Transactional, A: Aggregate> Repository<S, A> {
    /// Executes a command as [`execute_as`](Self::execute_as) does, and changes a read model in the commit of the append.
    ///
    /// A query right after the call sees the appended events. The transaction takes three round trips more than an append: to begin, to
    /// read the appended events as they are stored, and to commit. The statements of the projection come on top. Until the commit, readers
    /// of the log do not pass the appended events: keep the projection short.
    ///
    /// # Errors
    ///
    /// As [`execute_as`](Self::execute_as). An error of the projection is [`Store`](ExecuteError::Store): after some attempts with
    /// [`Unavailable`](crate::ErrorKind::Unavailable) if the server caused it, else with [`Backend`](crate::ErrorKind::Backend). Nothing is
    /// appended then.
    pub fn execute_with<P: Projection<S>, E>(
        &self,
        inline: &Inline<S, P>,
        context: &Context,
        id: Uuid,
        decide: impl Fn(&A) -> Result<Vec<A::Event>, E>,
    ) -> Result<Executed<A>, ExecuteError<E>> {
        let store = self.store();
        self.run(context, id, decide, |key, version, events| {
            store.commit_together(|tx| {
                let appended = tx.append(key, version, events)?;
                if !appended.is_already_stored() {
                    let range = StreamRange::all().from_version(version.checked_add(1).unwrap_or(version));
                    let stored = tx.load_range(key, &range)?.into_events();
                    inline.apply(tx, stored).map_err(|error| inline.refused(store, error))?;
                }
                Ok(appended)
            })
        })
    }
}
