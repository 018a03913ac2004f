//! Records which thread is within a transaction of which store, so that a call of the store gets an error instead of a deadlock.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Error, Result};

/// Identifies a store, so that a thread can record that it is within a transaction of it. Clones share one. For authors of backends.
#[derive(Debug)]
pub struct Within(u64);

/// Marks this thread as within a transaction, until it is dropped: see [`Within::enter`].
#[derive(Debug)]
#[must_use = "it ends when it is dropped"]
pub struct Entered<'a> {
    store: &'a Within,
    /// Must be dropped in the thread that created it.
    not_send: PhantomData<*const ()>,
}

thread_local! {
    /// The stores whose transactions this thread is within: rarely more than one.
    static STORES: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

impl Within {
    /// A store that no thread is within.
    #[must_use]
    pub fn new() -> Self {
        static STORES: AtomicU64 = AtomicU64::new(0);
        Self(STORES.fetch_add(1, Ordering::Relaxed))
    }

    /// Records that this thread is within a transaction of the store.
    pub fn enter(&self) -> Entered<'_> {
        STORES.with_borrow_mut(|stores| stores.push(self.0));
        Entered {
            store: self,
            not_send: PhantomData,
        }
    }

    /// Refuses a call of the store by a thread that is within a transaction of it: the thread might wait for itself. Takes no lock.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the calling thread is within a transaction of the store.
    pub fn check_outside(&self) -> Result<()> {
        if STORES.with_borrow(|stores| stores.contains(&self.0)) {
            return Err(Error::invalid(
                "this thread is within a transaction of this store; use the transaction instead of the store",
            ));
        }
        Ok(())
    }
}

impl Default for Within {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        STORES.with_borrow_mut(|stores| stores.retain(|store| *store != self.store.0));
    }
}
