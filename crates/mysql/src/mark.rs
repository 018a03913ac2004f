//! The high-water mark, proved by gates: whether a missing sequence can still be committed.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use firefly_eventstore_core::backend::Columns as _;
use firefly_eventstore_core::{GlobalSequence, Result, backend};
use mysql::Value;
use mysql::prelude::Queryable;

use crate::error::classify;
use crate::session::Session;
use crate::{flush, prepared, read, sql};

/// What a store has proved about its log.
///
/// If no sequence is missing, there is nothing to prove. A missing sequence was rolled back, or its transaction is still open. An append
/// takes a gate before it allocates a sequence, and holds it until its transaction ends. A reader notes the greatest sequence that it sees,
/// and then waits until it has seen each gate free once. Then every append that had allocated a sequence up to the noted one has ended.
/// What is missing then was rolled back. There are a hundred gates, which appends take in turn, so a gate is free again soon, and one that
/// was seen free is not looked at again. The proof needs no clock, and no append waits for it. The idea is the grace period of
/// read-copy-update.
///
/// This state outlives a crash of the server. After a crash, the server gives out a sequence again whose commit was not on the disk. So
/// only flushed rows count as seen.
#[derive(Debug, Default)]
pub(crate) struct Mark {
    /// The greatest sequence that is known to be there with nothing missing before it.
    settled: AtomicI64,
    proof: Mutex<Proof>,
}

/// What one thread at a time works on.
#[derive(Debug, Default)]
struct Proof {
    /// What is being proved.
    grace: Option<Grace>,
    /// When the log was looked at last.
    looked: Option<Instant>,
}

/// A grace period: it ends when every append that ran when a sequence was noted has ended.
#[derive(Debug)]
struct Grace {
    noted: i64,
    /// The gates that were not seen free since.
    held: Vec<i64>,
}

/// How many rows there are in `firefly_gate`.
pub(crate) const GATES: u8 = 100;

/// How many rows one statement looks at.
const ROWS_AT_ONCE: i64 = 10_000;

/// How many grace periods one call waits for, while other appends leave new holes.
const MOST_GRACES: usize = 8;

/// A caller that comes back within this time continues the grace period at its next call. Another caller waits here instead: otherwise an
/// append that happens to run now would stop it at an old hole.
const OFTEN: Duration = Duration::from_secs(1);

/// How long such a caller waits, and the pause between two looks at the gates. The gates of short appends are all free once within a turn
/// of 10 milliseconds.
const PATIENCE: Duration = Duration::from_millis(100);
const PAUSE: Duration = Duration::from_millis(2);

/// How often such a caller looks at least, even if one look takes longer than that time.
const LOOKS_AGAIN: usize = 2;

/// How the log is looked at.
pub(crate) struct View<'a, 's, C> {
    pub(crate) session: &'a mut Session<'s, C>,
    /// Has the server flush its redo log soon, and does not wait for that.
    pub(crate) flush_soon: &'a dyn Fn(),
}

impl Mark {
    /// The last final position that can be proved now: no event can still be committed at or before it. If the log ends before an earlier
    /// proof, this is an error, and the proof is dropped.
    pub(crate) fn take<C: Queryable>(&self, view: &mut View<'_, '_, C>) -> Result<GlobalSequence> {
        let mut proof = match self.proof.try_lock() {
            Ok(proof) => proof,
            Err(TryLockError::Poisoned(proof)) => proof.into_inner(), // a panic leaves what was proved
            Err(TryLockError::WouldBlock) => {
                let look = self.look(view)?;
                if !look.is_cut && look.contiguous == look.greatest {
                    self.settle(look.contiguous); // never what a look that is cut off found: whoever proves would end there
                    return GlobalSequence::try_from(look.contiguous);
                }
                // At a hole one thread proves for all.
                self.proof.lock().unwrap_or_else(PoisonError::into_inner)
            }
        };
        self.prove(&mut proof, view)?;
        self.proved()
    }

    /// The greatest mark that was proved so far.
    pub(crate) fn proved(&self) -> Result<GlobalSequence> {
        GlobalSequence::try_from(self.settled())
    }

    /// Takes nothing for proved any more.
    pub(crate) fn forget(&self) {
        *self.proof.lock().unwrap_or_else(PoisonError::into_inner) = Proof::default();
        self.settled.store(0, Ordering::Release);
    }

    fn settled(&self) -> i64 {
        self.settled.load(Ordering::Acquire)
    }

    fn settle(&self, sequence: i64) {
        self.settled.fetch_max(sequence, Ordering::AcqRel);
    }

    /// Proves as much as can be proved now.
    fn prove<C: Queryable>(&self, proof: &mut Proof, view: &mut View<'_, '_, C>) -> Result<()> {
        let mut patience = match proof.looked {
            Some(looked) if looked.elapsed() < OFTEN => Patience::none(),
            _ => Patience::begin(),
        };
        if proof.looked.is_none() {
            // A log that was there before is passed by a grace or by going along it, whichever is done first.
            let noted = view.greatest()?;
            let mut goes_on = true;
            while self.settled() < noted && !self.advance(proof, view, noted)? && (goes_on || patience.has_paused()) {
                goes_on = goes_on && self.look_on(view)?.goes_on();
            }
        }
        'graces: for _ in 0..MOST_GRACES {
            let greatest = self.walk(view)?;
            if greatest <= self.settled() {
                break;
            }
            while !self.advance(proof, view, greatest)? {
                if !patience.has_paused() {
                    break 'graces;
                }
            }
        }
        proof.looked = Some(Instant::now());
        Ok(())
    }

    /// Goes along the log to its end, or to a hole, and returns the greatest sequence that there is.
    ///
    /// A look that is cut off may end within an append, but not the walk: the rows of one are all visible or none.
    fn walk<C: Queryable>(&self, view: &mut View<'_, '_, C>) -> Result<i64> {
        loop {
            let look = self.look_on(view)?;
            match look.is_cut {
                false => return Ok(look.greatest),
                true if look.goes_on() => {}
                true => return view.greatest(),
            }
        }
    }

    /// Goes a look further along the log.
    fn look_on<C: Queryable>(&self, view: &mut View<'_, '_, C>) -> Result<Look> {
        let look = self.look(view)?;
        self.settle(look.contiguous);
        Ok(look)
    }

    fn look<C: Queryable>(&self, view: &mut View<'_, '_, C>) -> Result<Look> {
        let settled = self.settled();
        let look = view.beyond(settled)?;
        // What was settled before the server looked was committed then.
        let end = GlobalSequence::try_from(look.end)?;
        backend::check_end(GlobalSequence::try_from(settled)?, end, || Ok(end)).inspect_err(|_| {
            // This proof is void; if another was made meanwhile, its turn comes.
            let _ = self
                .settled
                .compare_exchange(settled, 0, Ordering::AcqRel, Ordering::Acquire);
        })?;
        Ok(look)
    }

    /// Goes on with the grace, or begins one that notes the greatest sequence that was seen. Whether it came to its end.
    fn advance<C: Queryable>(&self, proof: &mut Proof, view: &mut View<'_, '_, C>, greatest: i64) -> Result<bool> {
        // One that noted more than there is began before the log was cut off.
        let open = self.settled() + 1..=greatest;
        let unfinished = proof.grace.take().filter(|grace| open.contains(&grace.noted));
        let mut grace = unfinished.unwrap_or_else(|| Grace {
            noted: greatest,
            held: gates(),
        });
        // After noting, never before: a writer may have come in between.
        let free = free_gates(view.session, &grace.held).map_err(classify)?;
        grace.held.retain(|gate| !free.contains(gate));
        if grace.held.is_empty() {
            let free = prepared::free_up_to(view.session, self.settled(), grace.noted)?;
            self.settle(free);
            if free >= grace.noted {
                return Ok(true);
            }
        }
        proof.grace = Some(grace);
        Ok(false)
    }
}

/// All gates: those that appends take since the schema's version 6.2.0. There were three others before.
pub(crate) fn gates() -> Vec<i64> {
    (3..3 + GATES).map(i64::from).collect()
}

/// Which of some gates no append holds at this moment. One round trip, none without a gate.
pub(crate) fn free_gates<C: Queryable>(session: &mut Session<'_, C>, gates: &[i64]) -> Result<Vec<i64>, mysql::Error> {
    if gates.is_empty() {
        return Ok(Vec::new());
    }
    let statement = sql::FREE_GATES.replace("{list}", &sql::list(gates.len()));
    let gates = sql::padded(gates.iter().map(|gate| Value::from(*gate)).collect(), Value::NULL);
    let rows = session.query(&statement, gates)?;
    Ok(rows.iter().filter_map(|row| row.get(0)).collect())
}

/// The next rows after a sequence.
struct Look {
    /// The last of those that follow one another; the sequence itself if none does.
    contiguous: i64,
    /// The greatest of them.
    greatest: i64,
    /// Whether there may be more.
    is_cut: bool,
    /// Where the log ends.
    end: i64,
}

impl Look {
    /// Whether nothing is missing so far, and there may be more.
    fn goes_on(&self) -> bool {
        self.is_cut && self.contiguous == self.greatest
    }
}

impl<C: Queryable> View<'_, '_, C> {
    /// Looks at the log beyond a sequence. If what was seen cannot be flushed for long, nothing was.
    fn beyond(&mut self, settled: i64) -> Result<Look> {
        let values = [settled, settled, ROWS_AT_ONCE].map(Value::from);
        let look = self.session.select_one(sql::MARK, values.to_vec(), |row| {
            let contiguous = row.optional_integer(0)?.unwrap_or(settled);
            let greatest = row.optional_integer(1)?.unwrap_or(settled);
            Ok(Look {
                contiguous,
                greatest,
                is_cut: row.count(2)? == ROWS_AT_ONCE.cast_unsigned(),
                end: row.integer(3)?,
            })
        })?;
        if look.greatest > settled && !self.is_flushed()? {
            return Ok(Look {
                contiguous: settled,
                greatest: settled,
                is_cut: false,
                end: look.end,
            });
        }
        Ok(look)
    }

    /// The greatest sequence of the log, as far as it is flushed.
    fn greatest(&mut self) -> Result<i64> {
        let greatest = read::end(self.session)?.as_i64();
        Ok(if self.is_flushed()? { greatest } else { 0 })
    }

    fn is_flushed(&mut self) -> Result<bool> {
        flush::is_flushed(self.session, self.flush_soon)
    }
}

/// How long one call goes on at a hole.
struct Patience {
    until: Instant,
    looks_again: usize,
}

impl Patience {
    fn begin() -> Self {
        Self {
            until: Instant::now() + PATIENCE,
            looks_again: LOOKS_AGAIN,
        }
    }

    fn none() -> Self {
        Self {
            until: Instant::now(),
            looks_again: 0,
        }
    }

    /// Whether there is to be another look, after a pause that is then over.
    fn has_paused(&mut self) -> bool {
        let goes_on = self.looks_again > 0 || Instant::now() < self.until;
        if goes_on {
            self.looks_again = self.looks_again.saturating_sub(1);
            thread::sleep(PAUSE);
        }
        goes_on
    }
}
