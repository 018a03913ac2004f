//! The high-water mark, proved by gates: whether a missing sequence can still be committed.

use std::sync::{Mutex, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use firefly_eventstore_core::backend::{Columns as _, ProvedMark};
use firefly_eventstore_core::{GlobalSequence, Result};
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
    /// The greatest known sequence without a gap before it.
    settled: ProvedMark,
    proof: Mutex<Proof>,
}

/// The state that one thread at a time works on.
#[derive(Debug, Default)]
struct Proof {
    /// The grace period that is under way.
    grace: Option<Grace>,
    /// When the log was last looked at.
    looked: Option<Instant>,
}

/// A grace period: it ends when every append that ran when a sequence was noted has ended.
#[derive(Debug)]
struct Grace {
    noted: i64,
    /// The gates that were not yet seen free.
    held: Vec<i64>,
}

/// The number of rows in `firefly_gate`.
pub(crate) const GATES: u8 = 100;

/// How many rows one statement reads.
const ROWS_AT_ONCE: i64 = 10_000;

/// How many grace periods a call waits for while other appends leave new gaps.
const MOST_GRACES: usize = 8;

/// A caller that comes back within this time continues the grace period at its next call. Any other caller waits: otherwise an append that
/// runs at this moment would stop it at an old gap.
const OFTEN: Duration = Duration::from_secs(1);

/// How long such a caller waits, and the pause between two looks at the gates. Appends that are short free each gate within 10
/// milliseconds.
const PATIENCE: Duration = Duration::from_millis(100);
const PAUSE: Duration = Duration::from_millis(2);

/// How many looks such a caller takes at least, even if a look takes longer than that time.
const LOOKS_AGAIN: usize = 2;

/// How the log is read.
pub(crate) struct View<'a, 's, C> {
    pub(crate) session: &'a mut Session<'s, C>,
    /// Makes the server flush its redo log soon, without waiting.
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
                    self.settle(look.contiguous)?; // not if the look was cut off: the thread that proves would stop at its result
                    return GlobalSequence::try_from(look.contiguous);
                }
                // At a gap, one thread proves for all.
                self.proof.lock().unwrap_or_else(PoisonError::into_inner)
            }
        };
        self.prove(&mut proof, view)?;
        Ok(self.proved())
    }

    /// The greatest mark that was proved so far.
    pub(crate) fn proved(&self) -> GlobalSequence {
        self.settled.get()
    }

    /// Forgets everything that was proved.
    pub(crate) fn forget(&self) {
        *self.proof.lock().unwrap_or_else(PoisonError::into_inner) = Proof::default();
        self.settled.forget();
    }

    fn settled(&self) -> i64 {
        self.settled.get().as_i64()
    }

    fn settle(&self, sequence: i64) -> Result<()> {
        self.settled.raise(GlobalSequence::try_from(sequence)?);
        Ok(())
    }

    /// Proves as much as possible now.
    fn prove<C: Queryable>(&self, proof: &mut Proof, view: &mut View<'_, '_, C>) -> Result<()> {
        let mut patience = match proof.looked {
            Some(looked) if looked.elapsed() < OFTEN => Patience::none(),
            _ => Patience::begin(),
        };
        if proof.looked.is_none() {
            // An existing log is passed by a grace period or by reading it without gaps, whichever ends first.
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

    /// Reads along the log to its end or to a gap, and returns the greatest sequence.
    ///
    /// A look that reaches its limit may end within an append, but the walk does not: the rows of an append are all visible or none.
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

    /// Reads the next rows of the log.
    fn look_on<C: Queryable>(&self, view: &mut View<'_, '_, C>) -> Result<Look> {
        let look = self.look(view)?;
        self.settle(look.contiguous)?;
        Ok(look)
    }

    fn look<C: Queryable>(&self, view: &mut View<'_, '_, C>) -> Result<Look> {
        let settled = self.settled.get();
        let look = view.beyond(settled.as_i64())?;
        let end = GlobalSequence::try_from(look.end)?;
        // What was settled before the server was asked was committed by then.
        self.settled.check(settled, end, || Ok(end))?;
        Ok(look)
    }

    /// Continues the grace period, or begins one that notes the greatest seen sequence. Returns whether it has ended.
    fn advance<C: Queryable>(&self, proof: &mut Proof, view: &mut View<'_, '_, C>, greatest: i64) -> Result<bool> {
        // If the noted sequence is beyond the end, the log was cut off since.
        let open = self.settled() + 1..=greatest;
        let unfinished = proof.grace.take().filter(|grace| open.contains(&grace.noted));
        let mut grace = unfinished.unwrap_or_else(|| Grace {
            noted: greatest,
            held: gates(),
        });
        // The gates are read after the sequence was noted: a writer may have come in between.
        let free = free_gates(view.session, &grace.held).map_err(classify)?;
        grace.held.retain(|gate| !free.contains(gate));
        if grace.held.is_empty() {
            let free = prepared::free_up_to(view.session, self.settled(), grace.noted)?;
            self.settle(free)?;
            if free >= grace.noted {
                return Ok(true);
            }
        }
        proof.grace = Some(grace);
        Ok(false)
    }
}

/// All gates of the schema since version 6.2.0. Before, there were three others.
pub(crate) fn gates() -> Vec<i64> {
    (3..3 + GATES).map(i64::from).collect()
}

/// The given gates that no append holds now. One round trip, or none if there are no gates.
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
    /// The last sequence without a gap before it, or the given one.
    contiguous: i64,
    /// The greatest sequence among them.
    greatest: i64,
    /// Whether there may be more rows.
    is_cut: bool,
    /// The end of the log.
    end: i64,
}

impl Look {
    /// Whether there is no gap so far, and there may be more rows.
    fn goes_on(&self) -> bool {
        self.is_cut && self.contiguous == self.greatest
    }
}

impl<C: Queryable> View<'_, '_, C> {
    /// Reads the log beyond a sequence. If the rows are not flushed in time, they do not count as seen.
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

    /// The greatest sequence that is flushed.
    fn greatest(&mut self) -> Result<i64> {
        let greatest = read::end(self.session)?.as_i64();
        Ok(if self.is_flushed()? { greatest } else { 0 })
    }

    fn is_flushed(&mut self) -> Result<bool> {
        flush::is_flushed(self.session, self.flush_soon)
    }
}

/// How long a call waits at a gap.
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

    /// Pauses before another look. Returns false if the call has waited enough.
    fn has_paused(&mut self) -> bool {
        let goes_on = self.looks_again > 0 || Instant::now() < self.until;
        if goes_on {
            self.looks_again = self.looks_again.saturating_sub(1);
            thread::sleep(PAUSE);
        }
        goes_on
    }
}
