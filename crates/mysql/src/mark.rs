//! The high-water mark, by gates: what is settled below a sequence, although some sequences are missing.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use firefly_eventstore_core::{GlobalSequence, Result};
use mysql::Value;
use mysql::prelude::Queryable;

use crate::error::classify;
use crate::pool::Session;
use crate::row::{count, decode, integer, optional};
use crate::{prepared, sql};

/// What a store has proved about its log.
///
/// Without a hole there is nothing to prove: whatever was allocated up to the last row is there. A sequence that is missing was
/// rolled back, or its transaction is still open. An append holds a gate from before it allocates a sequence until its
/// transaction ends. So, once each gate was free at some time after a sequence was seen, whoever allocated one up to that is
/// done, and what is missing then will never come. Which gate an append takes is a matter of the moment, so that each is free again
/// soon; nothing depends on clocks, and nobody waits.
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

/// The time until whoever is at work when a sequence is noted is done.
#[derive(Debug)]
struct Grace {
    noted: i64,
    seen_free: [bool; GATES],
}

pub(crate) const GATES: usize = 3;

/// How many rows one statement looks at.
const ROWS_AT_ONCE: i64 = 10_000;

/// How many graces one call goes through, where others leave holes as fast.
const MOST_GRACES: usize = 8;

/// Who looks as often as this goes on with the grace the next time. Who does not would stop at a hole that was left long ago,
/// because somebody happens to be appending now.
const OFTEN: Duration = Duration::from_secs(1);

/// How long somebody who does not look often goes on with graces, and the pause before another look at the gates: those of short
/// appends are all free once within three turns, which take 60 milliseconds.
const PATIENCE: Duration = Duration::from_millis(100);
const PAUSE: Duration = Duration::from_millis(2);

impl Mark {
    /// The greatest committed sequence at or below which nothing can appear any more, as far as this moment can prove it.
    pub(crate) fn take<C: Queryable>(&self, session: &mut Session<'_, C>) -> Result<GlobalSequence> {
        let mut proof = match self.proof.try_lock() {
            Ok(proof) => proof,
            Err(TryLockError::Poisoned(proof)) => proof.into_inner(), // a panic leaves what was proved
            Err(TryLockError::WouldBlock) => {
                let look = Look::beyond(self.settled(), session)?;
                if !look.is_cut && look.contiguous == look.greatest {
                    self.settle(look.contiguous); // never what a look that is cut off found: whoever proves would end there
                    return GlobalSequence::try_from(look.contiguous);
                }
                // At a hole one thread proves for all.
                self.proof.lock().unwrap_or_else(PoisonError::into_inner)
            }
        };
        self.prove(&mut proof, session)?;
        GlobalSequence::try_from(self.settled())
    }

    fn settled(&self) -> i64 {
        self.settled.load(Ordering::Acquire)
    }

    fn settle(&self, sequence: i64) {
        self.settled.fetch_max(sequence, Ordering::AcqRel);
    }

    /// Proves as much as can be proved now.
    fn prove<C: Queryable>(&self, proof: &mut Proof, session: &mut Session<'_, C>) -> Result<()> {
        let patience = match proof.looked {
            Some(looked) if looked.elapsed() < OFTEN => Duration::ZERO,
            _ => PATIENCE,
        };
        let until = Instant::now() + patience;
        if proof.looked.is_none() {
            // A log that was there before is passed by a grace or by going along it, whichever is done first.
            let noted = greatest(session)?;
            let mut goes_on = true;
            while self.settled() < noted && !self.advance(proof, session, noted)? && (goes_on || has_paused(until)) {
                goes_on = goes_on && self.look_on(session)?.goes_on();
            }
        }
        'graces: for _ in 0..MOST_GRACES {
            let greatest = self.walk(session)?;
            if greatest <= self.settled() {
                break;
            }
            while !self.advance(proof, session, greatest)? {
                if !has_paused(until) {
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
    fn walk<C: Queryable>(&self, session: &mut Session<'_, C>) -> Result<i64> {
        loop {
            let look = self.look_on(session)?;
            match look.is_cut {
                false => return Ok(look.greatest),
                true if look.goes_on() => {}
                true => return greatest(session),
            }
        }
    }

    /// Goes a look further along the log.
    fn look_on<C: Queryable>(&self, session: &mut Session<'_, C>) -> Result<Look> {
        let look = Look::beyond(self.settled(), session)?;
        self.settle(look.contiguous);
        Ok(look)
    }

    /// Goes on with the grace, or begins one that notes the greatest sequence that was seen. Whether it came to its end.
    fn advance<C: Queryable>(&self, proof: &mut Proof, session: &mut Session<'_, C>, greatest: i64) -> Result<bool> {
        let unfinished = proof.grace.take().filter(|grace| grace.noted > self.settled());
        let mut grace = unfinished.unwrap_or(Grace {
            noted: greatest,
            seen_free: [false; GATES],
        });
        // After noting, never before: a writer may have come in between.
        let free = session.query(sql::FREE_GATES, Vec::new()).map_err(classify)?;
        for gate in decode(&free, |row| integer(row, 0))? {
            if let Some(seen) = usize::try_from(gate)
                .ok()
                .and_then(|gate| grace.seen_free.get_mut(gate))
            {
                *seen = true;
            }
        }
        if grace.seen_free == [true; GATES] {
            let free = prepared::free_up_to(session, self.settled(), grace.noted)?;
            self.settle(free);
            if free >= grace.noted {
                return Ok(true);
            }
        }
        proof.grace = Some(grace);
        Ok(false)
    }
}

/// The next rows after a sequence.
struct Look {
    /// The last of those that follow one another; the sequence itself if none does.
    contiguous: i64,
    /// The greatest of them.
    greatest: i64,
    /// Whether there may be more.
    is_cut: bool,
}

impl Look {
    /// Whether nothing is missing so far, and there may be more.
    fn goes_on(&self) -> bool {
        self.is_cut && self.contiguous == self.greatest
    }

    fn beyond<C: Queryable>(settled: i64, session: &mut Session<'_, C>) -> Result<Self> {
        let values = [settled, settled, ROWS_AT_ONCE].map(Value::from);
        let rows = session.query(sql::MARK, values.to_vec()).map_err(classify)?;
        let looks = decode(&rows, |row| {
            let contiguous = optional(row, 0, integer)?.unwrap_or(settled);
            let greatest = optional(row, 1, integer)?.unwrap_or(settled);
            Ok(Self {
                contiguous,
                greatest,
                is_cut: count(row, 2)? == ROWS_AT_ONCE.cast_unsigned(),
            })
        })?;
        Ok(looks.into_iter().next().expect("an aggregate query returns one row"))
    }
}

/// Whether there is still time, some of which is then over.
fn has_paused(until: Instant) -> bool {
    let is_early = Instant::now() < until;
    if is_early {
        thread::sleep(PAUSE);
    }
    is_early
}

fn greatest<C: Queryable>(session: &mut Session<'_, C>) -> Result<i64> {
    let rows = session.query(sql::GREATEST, Vec::new()).map_err(classify)?;
    let greatest = decode(&rows, |row| integer(row, 0))?;
    Ok(greatest.into_iter().next().expect("an aggregate query returns one row"))
}
