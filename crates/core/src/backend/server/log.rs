//! Reading the log of a store on a server: which mark a page goes up to, and how it is found.

use super::options::ServerOptions;
use super::page::{FirstPage, Found, first_page};
use super::publisher::PublishedMark;
use crate::backend::damaged::verified_page;
use crate::backend::snapshots::Connections;
use crate::store::query::PageEvents;
use crate::{Cursor, EventQuery, GlobalSequence, Page, Result, Window};

/// The log of a store on a server: see [`read_page`] and [`mark`].
pub trait ServerLog: Connections {
    /// How the store was opened.
    fn options(&self) -> &ServerOptions;

    /// The greatest mark that the store has proved so far.
    fn proved(&self) -> GlobalSequence;

    /// Proves the current mark.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn prove(&self) -> Result<GlobalSequence>;

    /// Whether this server certainly shows all events up to a proved mark. Another one may be a replica that is behind.
    fn shows_all(session: &Self::Session<'_>) -> bool;

    /// The events in a window of the log. Fails if archived events are needed.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn find(
        &self,
        session: &mut Self::Session<'_>,
        query: &EventQuery,
        window: &Window,
        reading: WindowReading,
    ) -> Result<Found>;

    /// The published mark, as this server shows it.
    ///
    /// # Errors
    ///
    /// Those of [`PublishedMark::checked`], and of the backend.
    fn published_mark(session: &mut Self::Session<'_>) -> Result<PublishedMark>;

    /// The greatest committed sequence.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn end_of_log(session: &mut Self::Session<'_>) -> Result<GlobalSequence>;
}

/// Where a window is in a read of the log.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct WindowReading {
    /// Whether the last event of an earlier page is just outside the window.
    pub is_resumed: bool,
    /// Whether the [end of the log](Found::end) is needed, too.
    pub with_end: bool,
}

/// The high-water mark: the published one in a store that reads from a replica, else the proved one.
///
/// # Errors
///
/// Those of the log.
pub fn mark<L: ServerLog>(log: &L) -> Result<GlobalSequence> {
    match log.options().read_replica {
        true => Ok(log.read(L::published_mark)?.mark),
        false => log.prove(),
    }
}

/// [`EventStore::read_page`](crate::EventStore::read_page): a page up to a mark. That is the current one, an earlier one if that suffices, or
/// the one of the read's first page. The rows are read after the mark, with their own snapshot.
///
/// # Errors
///
/// As there.
pub fn read_page<L: ServerLog>(log: &L, query: &EventQuery, cursor: Option<&Cursor>) -> Result<Page> {
    let find = |session: &mut L::Session<'_>, mark| {
        let reading = WindowReading {
            is_resumed: cursor.is_some(),
            with_end: false,
        };
        let found = log.find(session, query, &query.window(cursor, mark), reading)?;
        Ok(found.events.into_page(query, cursor, mark))
    };
    let page = match (log.options().read_replica, cursor) {
        (true, _) => log.read(|session| {
            let mark = L::published_mark(session)?.of_page(query, cursor)?;
            find(session, mark)
        }),
        (false, Some(cursor)) => log.read(|session| find(session, cursor.high_water_mark())),
        (false, None) => first_page(&mut Beginning { log, query }, query, log.proved()),
    };
    page.and_then(|page| verified_page(page, log.data_rules().verify_on_read))
        .map_err(|error| error.during("read the log"))
}

/// The beginning of a read of the log.
struct Beginning<'a, L> {
    log: &'a L,
    query: &'a EventQuery,
}

impl<L: ServerLog> FirstPage for Beginning<'_, L> {
    fn find(&mut self, window: &Window) -> Result<Option<Found>> {
        let reading = WindowReading {
            is_resumed: false,
            with_end: true,
        };
        self.log.read(|session| match L::shows_all(session) {
            true => self.log.find(session, self.query, window, reading).map(Some),
            false => Ok(None),
        })
    }

    fn prove(&mut self) -> Result<GlobalSequence> {
        let mark = self.log.prove()?;
        self.query.check_end(mark, || self.log.read(L::end_of_log))?;
        Ok(mark)
    }

    fn read(&mut self, window: &Window) -> Result<PageEvents> {
        let reading = WindowReading::default();
        let found = self
            .log
            .read(|session| self.log.find(session, self.query, window, reading))?;
        Ok(found.events)
    }
}
