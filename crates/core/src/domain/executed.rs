//! The result of a command.

use std::error::Error as StdError;
use std::fmt;

use super::aggregate::{Aggregate, Root};
use crate::{Appended, Error, GlobalSequence, Version};

/// The result of a command: the aggregate afterwards, and the appended events.
pub struct Executed<A> {
    root: Root<A>,
    appended: Option<Appended>,
}

impl<A: Aggregate> Executed<A> {
    pub(super) fn new(root: Root<A>, appended: Option<Appended>) -> Self {
        Self { root, appended }
    }

    /// The aggregate after the command. If the command was [executed before](Self::was_executed_before), its current state.
    #[must_use]
    pub fn root(&self) -> &Root<A> {
        &self.root
    }

    /// The aggregate, owned.
    #[must_use]
    pub fn into_root(self) -> Root<A> {
        self.root
    }

    /// The state of the aggregate.
    #[must_use]
    pub fn state(&self) -> &A {
        self.root.state()
    }

    /// The version of the aggregate.
    #[must_use]
    pub fn version(&self) -> Version {
        self.root.version()
    }

    /// The versions and sequences of the command's events; none if it decided no events.
    #[must_use]
    pub fn appended(&self) -> Option<&Appended> {
        self.appended.as_ref()
    }

    /// The global sequence of the command's last event; none if there is no event. Wait for it before you read a projection.
    #[must_use]
    pub fn last_sequence(&self) -> Option<GlobalSequence> {
        self.appended.as_ref()?.last_sequence()
    }

    /// Whether an earlier attempt stored the events: an execution of a command with the same id, or this call, if its answer was lost.
    #[must_use]
    pub fn was_executed_before(&self) -> bool {
        self.appended.as_ref().is_some_and(Appended::is_already_stored)
    }
}

impl<A: fmt::Debug> fmt::Debug for Executed<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executed")
            .field("root", &self.root)
            .field("appended", &self.appended)
            .finish()
    }
}

/// Why a command did nothing, or may have done nothing.
#[derive(Debug)]
#[non_exhaustive]
pub enum ExecuteError<E> {
    /// The command was refused, and why. Nothing was appended.
    Refused(E),
    /// The store failed. If the error [is retryable](Error::is_retryable), the events may be stored or not: execute the command again, if
    /// it has an [id](crate::Context::command_id). If it is a [conflict](Error::is_conflict), other appends came first each time, and
    /// nothing was appended.
    Store(Error),
}

impl<E> ExecuteError<E> {
    /// The caller's refusal, if it is one.
    #[must_use]
    pub fn refusal(&self) -> Option<&E> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            Self::Store(_) => None,
        }
    }

    /// The store's error, if it is one.
    #[must_use]
    pub fn store_error(&self) -> Option<&Error> {
        match self {
            Self::Refused(_) => None,
            Self::Store(error) => Some(error),
        }
    }
}

impl<E> From<Error> for ExecuteError<E> {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl<E: fmt::Display> fmt::Display for ExecuteError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl<E: StdError + 'static> StdError for ExecuteError<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Refused(refusal) => refusal.source(),
            Self::Store(error) => error.source(),
        }
    }
}
