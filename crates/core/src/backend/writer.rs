//! One writer at a time, without a deadlock for a thread that already is the writer.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::within::{Entered, Within};
use crate::Result;

/// A resource that only one thread at a time may use for writing, such as the writing connection of an embedded
/// database.
///
/// If a thread requests it a second time, from within its own transaction, it gets an error, not a deadlock as with a
/// plain mutex. For authors of backends.
#[derive(Debug)]
pub struct Writer<T> {
    value: Mutex<T>,
    within: Within,
}

/// The right to write: see [`Writer::lock`].
#[derive(Debug)]
pub struct WriterGuard<'a, T> {
    value: MutexGuard<'a, T>,
    _entered: Entered<'a>,
}

impl<T> Writer<T> {
    /// A writer of this resource.
    #[must_use]
    pub fn new(value: T) -> Self {
        Self {
            value: Mutex::new(value),
            within: Within::new(),
        }
    }

    /// Waits until no other thread writes.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the calling thread is already the writer.
    pub fn lock(&self) -> Result<WriterGuard<'_, T>> {
        self.check_not_held()?;
        // A panic within a transaction leaves only changes that the rollback reverts.
        let value = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(self.held(value))
    }

    /// The right to write, if it is free at once.
    pub fn try_lock(&self) -> Option<WriterGuard<'_, T>> {
        match self.value.try_lock() {
            Ok(value) => Some(self.held(value)),
            Err(std::sync::TryLockError::Poisoned(poisoned)) => Some(self.held(poisoned.into_inner())),
            Err(std::sync::TryLockError::WouldBlock) => None,
        }
    }

    /// Refuses a call that this thread must not make while it writes.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the calling thread is already the writer.
    pub fn check_not_held(&self) -> Result<()> {
        self.within.check_outside()
    }

    fn held<'a>(&'a self, value: MutexGuard<'a, T>) -> WriterGuard<'a, T> {
        WriterGuard {
            value,
            _entered: self.within.enter(),
        }
    }
}

impl<T> Deref for WriterGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for WriterGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}
