//! Which commits a crash of the server cannot undo.
//!
//! Without a binary log, InnoDB shows a commit to others before its redo log is on the disk. A reader must not report such a commit before
//! the redo log is flushed up to its position at the time of the read. MariaDB shows both positions. MySQL shows them too, but with a
//! delay. So on MySQL the library commits a row of its own: the server answers when everything before it is flushed.

use std::thread;
use std::time::{Duration, Instant};

use firefly_eventstore_core::backend::Columns as _;
use firefly_eventstore_core::backend::kinds;
use firefly_eventstore_core::{Error, Result};
use mysql::prelude::Queryable;

use crate::error::{classify, is_lost};
use crate::session::{Flavour, Session};
use crate::sql;

/// How long a mark waits for a flush. After that, the next mark covers what this one saw.
const PATIENCE: Duration = Duration::from_secs(1);

const PAUSE: Duration = Duration::from_millis(2);

/// Usually a flush is under way, or the next append makes one, and it ends within this many pauses. Without appends, the server flushes
/// once a second.
const PAUSES_BEFORE_ASKING: usize = 2;

/// Whether the rows that the session has seen are on the disk. Waits for that; on MariaDB only for a short time, and one round trip if they
/// are.
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

/// Waits, without a limit, until the rows that the session has seen are on the disk.
///
/// Within an open transaction (`is_within`), MariaDB is not asked to flush; it flushes once a second. On MySQL, the transaction's commit
/// waits for the flush.
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

/// Makes the server flush its redo log, by a commit, and waits for it.
pub(crate) fn flush<C: Queryable>(session: &mut Session<'_, C>) -> Result<(), mysql::Error> {
    session.execute(sql::FLUSH, Vec::new()).map(drop)
}

/// Positions in MariaDB's redo log.
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
