//! Reading the log of a store on a server: which mark a page goes up to, and how it is found.

use super::options::ServerOptions;
use super::page::{FirstPage, Found, first_page};
use super::publisher::PublishedMark;
use crate::backend::damaged::verified_page;
use crate::backend::load::SnapshotSource;
use crate::backend::rules::DataRules;
use crate::backend::snapshots::Connections;
use crate::backend::sql::SqlSession;
use crate::store::query::PageEvents;
use crate::{Cursor, EventQuery, GlobalSequence, Page, Result, Window};

/// The connections and the log of a store on a server. Of it, [`Connections`] is made, which is the same for every server.
pub trait ServerLog: Sized {
    /// A connection, while statements run on it.
    type Session<'c>: SqlSession + SnapshotSource;

    /// How the store was opened.
    fn options(&self) -> &ServerOptions;

    /// Runs `work` on a connection. It may be run again on another one.
    ///
    /// # Errors
    ///
    /// Those of `work`, and of getting a connection.
    fn with<R>(&self, work: impl FnMut(&mut Self::Session<'_>) -> Result<R>) -> Result<R>;

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

    /// The high-water mark: the published one in a store that reads from a replica, else the proved one.
    ///
    /// # Errors
    ///
    /// Those of the backend.
    fn mark(&self) -> Result<GlobalSequence> {
        match self.options().read_replica {
            true => Ok(self.with(Self::published_mark)?.mark),
            false => self.prove(),
        }
    }

    /// [`EventStore::read_page`](crate::EventStore::read_page): a page up to a mark. That is the current one, an earlier one if that
    /// suffices, or the one of the read's first page. The rows are read after the mark, with their own snapshot.
    ///
    /// # Errors
    ///
    /// As there.
    fn read_page(&self, query: &EventQuery, cursor: Option<&Cursor>) -> Result<Page> {
        let find = |session: &mut Self::Session<'_>, mark| {
            let reading = WindowReading {
                is_resumed: cursor.is_some(),
                with_end: false,
            };
            let found = self.find(session, query, &query.window(cursor, mark), reading)?;
            Ok(found.events.into_page(query, cursor, mark))
        };
        let page = match (self.options().read_replica, cursor) {
            (true, _) => self.with(|session| {
                let mark = Self::published_mark(session)?.of_page(query, cursor)?;
                find(session, mark)
            }),
            (false, Some(cursor)) => self.with(|session| find(session, cursor.high_water_mark())),
            (false, None) => first_page(&mut Beginning { log: self, query }, query, self.proved()),
        };
        page.and_then(|page| verified_page(page, self.options().verify_on_read))
            .map_err(|error| error.during("read the log"))
    }
}

impl<L: ServerLog> Connections for L {
    type Session<'c> = L::Session<'c>;

    fn read<R>(&self, work: impl FnMut(&mut Self::Session<'_>) -> Result<R>) -> Result<R> {
        self.with(work)
    }

    fn write<R>(&self, work: impl FnMut(&mut Self::Session<'_>) -> Result<R>) -> Result<R> {
        self.options().require_writable()?;
        self.with(work)
    }

    fn data_rules(&self) -> DataRules {
        self.options().data_rules()
    }
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
        self.log.with(|session| match L::shows_all(session) {
            true => self.log.find(session, self.query, window, reading).map(Some),
            false => Ok(None),
        })
    }

    fn prove(&mut self) -> Result<GlobalSequence> {
        let mark = self.log.prove()?;
        self.query.check_end(mark, || self.log.with(L::end_of_log))?;
        Ok(mark)
    }

    fn read(&mut self, window: &Window) -> Result<PageEvents> {
        let reading = WindowReading::default();
        let found = self
            .log
            .with(|session| self.log.find(session, self.query, window, reading))?;
        Ok(found.events)
    }
}
