//! What a crash of the server cannot take back.
//!
//! Without a binary log, InnoDB shows a commit to others before its redo log is on the disk. A reader must not report such a commit before
//! the redo log is flushed up to where it was when the rows were read. MariaDB shows both positions. MySQL shows them too, but late. There
//! the library commits a row of its own: the server answers once everything before it is flushed.

use std::thread;
use std::time::{Duration, Instant};

use firefly_eventstore_core::backend::Columns as _;
use firefly_eventstore_core::backend::kinds;
use firefly_eventstore_core::{Error, Result};
use mysql::prelude::Queryable;

use crate::error::{classify, is_lost};
use crate::session::{Flavour, Session};
use crate::sql;

/// How long a mark waits for the disk. Then what it saw is left for the next one.
const PATIENCE: Duration = Duration::from_secs(1);

const PAUSE: Duration = Duration::from_millis(2);

/// A flush that is under way, or the flush of the next append, ends within this many pauses. Without appends, the server flushes once a
/// second.
const PAUSES_BEFORE_ASKING: usize = 2;

/// Whether the rows that the session has seen so far are on the disk. Waits for that: with MariaDB not for long, and one round trip
/// if they are.
pub(crate) fn is_flushed<C: Queryable>(session: &mut Session<'_, C>, flush_soon: &dyn Fn()) -> Result<bool> {
    if !session.server.shows_before_flush {
        return Ok(true);
    }
    if session.server.flavour == Flavour::Mysql {
        return flush(session).map_err(classify).map(|()| true);
    }
    let RedoLog { current, mut flushed } = redo_log(session)?;
    let until = Instant::now() + PATIENCE;
    let mut pauses = 0;
    while flushed < current {
        if Instant::now() > until {
            return Ok(false);
        }
        if pauses == PAUSES_BEFORE_ASKING {
            flush_soon();
        }
        pauses += 1;
        thread::sleep(PAUSE);
        flushed = redo_log(session)?.flushed;
    }
    Ok(true)
}

/// Waits until the rows that the session has seen so far are on the disk, however long that takes.
///
/// Within an open transaction (`is_within`), MariaDB is not asked to flush: it does so by itself once a second. On MySQL, the commit of the
/// transaction waits for the flush.
pub(crate) fn until_flushed<C: Queryable>(session: &mut Session<'_, C>, is_within: bool) -> Result<()> {
    if !session.server.shows_before_flush {
        return Ok(());
    }
    if session.server.flavour == Flavour::Mysql {
        return flush(session).map_err(classify);
    }
    let RedoLog { current, mut flushed } = redo_log(session)?;
    if flushed < current && !is_within {
        match flush(session) {
            Ok(()) => return Ok(()),
            Err(error) if is_lost(&error) => return Err(classify(error)),
            Err(_) => {} // the user may not, or the server takes no writes: it flushes by itself
        }
    }
    while flushed < current {
        thread::sleep(PAUSE);
        flushed = redo_log(session)?.flushed;
    }
    Ok(())
}

/// Has the server flush its redo log, by a commit, and waits for that.
pub(crate) fn flush<C: Queryable>(session: &mut Session<'_, C>) -> Result<(), mysql::Error> {
    session.execute(sql::FLUSH, Vec::new()).map(drop)
}

/// How far MariaDB's redo log goes, in its own numbers.
struct RedoLog {
    current: u64,
    flushed: u64,
}

fn redo_log<C: Queryable>(session: &mut Session<'_, C>) -> Result<RedoLog> {
    let positions = session.select(sql::REDO_LOG, [], |row| {
        Ok((row.text(0)?.to_lowercase(), row.text(1)?.parse().ok()))
    })?;
    let position = |name: &str| positions.iter().find(|(found, _)| found == name)?.1;
    match (position("innodb_lsn_current"), position("innodb_lsn_flushed")) {
        (Some(current), Some(flushed)) => Ok(RedoLog { current, flushed }),
        _ => Err(Error::new(kinds::backend(
            "the server does not tell how far its redo log is flushed (Innodb_lsn_flushed)",
        ))),
    }
}
