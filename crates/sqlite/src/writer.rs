//! The writing connection, and the queue of threads that wait for it: group commit.
//!
//! A thread that finds no other thread writing becomes the leader. In one transaction it writes its own append, and then the appends of the
//! threads that have come meanwhile. It commits once for all of them, and hands the lead to the first thread that waits. So one `fsync`
//! serves all appends that came during the previous one. No thread waits for others to come, and each gets its own result. The idea is the
//! group commit of PostgreSQL and InnoDB, and the leader of LevelDB's writer queue.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use firefly_eventstore_core::backend::kinds;
use firefly_eventstore_core::backend::{self, OwnedAppend, Writer};
use firefly_eventstore_core::{Append, Appended, Error, Result};
use rusqlite::Connection;

use crate::append::{self, Failure};
use crate::lent::WritingConnection;
use crate::pool::Database;
use crate::transaction;

/// The writing connection and its queue.
#[derive(Debug)]
pub(crate) struct WriteLine {
    connection: Writer<WritingConnection>,
    line: Mutex<Line>,
    database: Arc<Database>,
}

#[derive(Debug, Default)]
struct Line {
    led: bool,
    waiting: VecDeque<Arc<Ticket>>,
}

/// The place of a thread in the queue.
#[derive(Debug)]
struct Ticket {
    /// The appends, or `None` if the thread needs the connection alone.
    appends: Option<Vec<OwnedAppend>>,
    since: Instant,
    turn: Mutex<Turn>,
    changed: Condvar,
}

#[derive(Debug)]
enum Turn {
    Waiting,
    Leading,
    Done(Result<Vec<Appended>>),
}

impl WriteLine {
    pub(crate) fn new(connection: WritingConnection, database: Arc<Database>) -> Self {
        Self {
            connection: Writer::new(connection),
            line: Mutex::default(),
            database,
        }
    }

    /// Fails if the thread is within its own transaction. Call it before the thread joins the queue.
    pub(crate) fn check_not_held(&self) -> Result<()> {
        self.connection.check_not_held()
    }

    /// Appends, in one transaction with those of other threads.
    pub(crate) fn append(&self, appends: &[Append<'_>]) -> Result<Vec<Appended>> {
        {
            let mut line = lock(&self.line);
            if !line.led {
                line.led = true;
                drop(line);
                return self.lead(appends);
            }
            let ticket = Arc::new(Ticket::new(Some(appends.iter().map(OwnedAppend::of).collect())));
            line.waiting.push_back(Arc::clone(&ticket));
            drop(line);
            if let Some(result) = ticket.wait() {
                return result;
            }
        }
        self.lead(appends)
    }

    /// Runs `work` alone with the connection.
    pub(crate) fn alone<R>(&self, work: impl FnOnce(&mut WritingConnection) -> R) -> Result<R> {
        let mut line = lock(&self.line);
        if line.led {
            let ticket = Arc::new(Ticket::new(None));
            line.waiting.push_back(Arc::clone(&ticket));
            drop(line);
            ticket.wait();
        } else {
            line.led = true;
            drop(line);
        }
        let _lead = Lead(self);
        let mut connection = self.connection.lock()?;
        Ok(work(&mut connection))
    }

    fn lead(&self, own: &[Append<'_>]) -> Result<Vec<Appended>> {
        let _lead = Lead(self);
        let name = |error: Error| error.during(backend::describe(own));
        let mut connection = self.connection.lock()?;
        let connection = connection.get().map_err(name)?;
        if let Err(error) = transaction::begin(connection) {
            self.dismiss_late(&error);
            return Err(name(error));
        }
        let mut followers = Followers::default();
        match self.write_group(connection, own, &mut followers) {
            Ok(result) => {
                followers.finish();
                result
            }
            Err(failure) if followers.0.is_empty() => failure.explain(connection, own),
            // The transaction of the group failed. Each member is appended again, alone, and gets its own answer.
            Err(_) => {
                let alone = |appends: &[Append<'_>]| append::alone(connection, &self.database, appends);
                let own = alone(own);
                for Follower { ticket, result } in &mut followers.0 {
                    *result = ticket.with_appends(alone);
                }
                followers.finish();
                own
            }
        }
    }

    /// Writes the leader's append and those of the waiting threads, until none waits. Then commits, or rolls all of it back.
    fn write_group(
        &self,
        connection: &Connection,
        own: &[Append<'_>],
        followers: &mut Followers,
    ) -> Result<Result<Vec<Appended>>, Failure> {
        let _rollback = transaction::RollbackOnDrop(connection);
        let own = append::shared(connection, own)?;
        while let Some(ticket) = self.next_append() {
            let written = ticket.with_appends(|appends| append::shared(connection, appends));
            let (result, failure) = match written {
                Ok(result) => (result, None),
                Err(failure) => (Err(failure.error().clone()), Some(failure)),
            };
            followers.0.push(Follower { ticket, result });
            failure.map_or(Ok(()), Err)?;
        }
        transaction::commit(connection, Some(&self.database)).map_err(Failure::other)?;
        Ok(own)
    }

    /// Passes the error on to the threads that have waited as long as the leader. Otherwise each of them would become the leader and wait
    /// as long again.
    fn dismiss_late(&self, error: &Error) {
        let mut line = lock(&self.line);
        line.waiting.retain(|ticket| {
            let late = ticket.appends.is_some() && ticket.since.elapsed() >= self.database.options.busy_timeout;
            if late {
                let error = ticket.with_appends(|appends| error.clone().during(backend::describe(appends)));
                ticket.take_turn(Turn::Done(Err(error)));
            }
            !late
        });
    }

    /// The next waiting thread, if it waits to append.
    fn next_append(&self) -> Option<Arc<Ticket>> {
        let mut line = lock(&self.line);
        line.waiting.front()?.appends.as_ref()?;
        line.waiting.pop_front()
    }
}

/// The lead of the queue. Dropping it hands it on.
struct Lead<'a>(&'a WriteLine);

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        let mut line = lock(&self.0.line);
        match line.waiting.pop_front() {
            Some(next) => next.take_turn(Turn::Leading),
            None => line.led = false,
        }
    }
}

/// The threads whose appends the leader has taken, with their results.
#[derive(Default)]
struct Followers(Vec<Follower>);

struct Follower {
    ticket: Arc<Ticket>,
    result: Result<Vec<Appended>>,
}

impl Followers {
    fn finish(&mut self) {
        for Follower { ticket, result } in self.0.drain(..) {
            ticket.take_turn(Turn::Done(result));
        }
    }
}

impl Drop for Followers {
    /// If the leader panics, its followers must not wait for ever.
    fn drop(&mut self) {
        for Follower { ticket, .. } in self.0.drain(..) {
            ticket.take_turn(Turn::Done(Err(Error::new(kinds::unavailable(
                "the thread that was to commit this append panicked",
            )))));
        }
    }
}

impl Ticket {
    fn new(appends: Option<Vec<OwnedAppend>>) -> Self {
        Self {
            appends,
            since: Instant::now(),
            turn: Mutex::new(Turn::Waiting),
            changed: Condvar::new(),
        }
    }

    /// Waits for a result, or for the lead.
    fn wait(&self) -> Option<Result<Vec<Appended>>> {
        let mut turn = lock(&self.turn);
        loop {
            match std::mem::replace(&mut *turn, Turn::Waiting) {
                Turn::Waiting => turn = self.changed.wait(turn).unwrap_or_else(PoisonError::into_inner),
                Turn::Leading => return None,
                Turn::Done(result) => return Some(result),
            }
        }
    }

    fn take_turn(&self, turn: Turn) {
        *lock(&self.turn) = turn;
        self.changed.notify_one();
    }

    fn with_appends<R>(&self, work: impl FnOnce(&[Append<'_>]) -> R) -> R {
        let appends: Vec<_> = self.appends.iter().flatten().map(OwnedAppend::borrow).collect();
        work(&appends)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
