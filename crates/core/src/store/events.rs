//! The events of a read, page by page.

use crate::{Cursor, EventEnvelope, EventQuery, EventStore, GlobalSequence, Result};

/// The events of a read: see [`EventStoreExt::read`](crate::EventStoreExt::read).
#[derive(Debug)]
pub struct Events<'a, S: EventStore + ?Sized> {
    store: &'a S,
    query: EventQuery,
    cursor: Option<Cursor>,
    page: std::vec::IntoIter<EventEnvelope>,
    mark: Option<GlobalSequence>,
    checkpoint: GlobalSequence,
    /// The checkpoint after the last page.
    at_the_end: Option<GlobalSequence>,
    finished: bool,
}

impl<'a, S: EventStore + ?Sized> Events<'a, S> {
    pub(crate) fn new(store: &'a S, query: EventQuery) -> Self {
        Self {
            store,
            checkpoint: query.bounds().0,
            query,
            cursor: None,
            page: Vec::new().into_iter(),
            mark: None,
            at_the_end: None,
            finished: false,
        }
    }

    /// The checkpoint to store when every returned event is handled. A read that continues [after](EventQuery::after) it skips nothing and
    /// repeats nothing, whatever ended this read.
    ///
    /// It is the sequence of the last returned event. After the iterator has returned `None`, it is the smaller of the high-water mark and
    /// the query's `until`, even if filters left out the last events; but if the query's limit ended the read, it is the last event. For
    /// reads in the order of time, or backwards, it is the query's `after` until the end of the log. After an error, it is the last
    /// returned event.
    ///
    /// ```
    /// use firefly_eventstore_core::{prelude::*, MemoryEventStore};
    ///
    /// let store = MemoryEventStore::new();
    /// let account = AggregateKey::new("Account", Uuid::now_v7())?;
    /// let deposits = (0..25).map(|n| NewEvent::new("money.deposited", &n)).collect::<Result<Vec<_>, Error>>()?;
    /// store.append(&account, ExpectedVersion::NoStream, &deposits)?;
    ///
    /// let mut events = store.read(EventQuery::new().limit(10));
    /// assert_eq!((&mut events).count(), 10);
    /// assert_eq!(events.checkpoint(), 10); // the high-water mark is 25, but 15 events are still to be read
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use]
    pub fn checkpoint(&self) -> GlobalSequence {
        self.checkpoint
    }

    /// The high-water mark of this read; none before it began. It is not a checkpoint: the read may have ended before it.
    #[must_use]
    pub fn high_water_mark(&self) -> Option<GlobalSequence> {
        self.mark
    }
}

impl<S: EventStore + ?Sized> Iterator for Events<'_, S> {
    type Item = Result<EventEnvelope>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(event) = self.page.next() {
                if self.query.is_log_order() {
                    self.checkpoint = event.global_sequence;
                }
                return Some(Ok(event));
            }
            if self.finished {
                self.checkpoint = self.at_the_end.unwrap_or(self.checkpoint);
                return None;
            }
            match self.store.read_page(&self.query, self.cursor.as_ref()) {
                Ok(page) => {
                    self.mark = Some(page.high_water_mark);
                    self.page = page.events.into_iter();
                    self.finished = page.next.is_none();
                    self.at_the_end = self.finished.then_some(page.checkpoint);
                    self.cursor = page.next;
                }
                Err(error) => {
                    self.finished = true;
                    return Some(Err(error));
                }
            }
        }
    }
}

impl<S: EventStore + ?Sized> std::iter::FusedIterator for Events<'_, S> {}
