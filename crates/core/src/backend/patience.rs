//! Steps that wait for a lock, and give way to others meanwhile.

use std::thread;
use std::time::Duration;

use crate::{Error, Result};

/// How often a step is tried that waits for a lock only briefly because others queue behind it, and the pauses, in which they go on.
/// For authors of backends.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    attempts: u32,
    pause: Duration,
}

impl Patience {
    /// This many attempts, at least one, with this pause between two.
    #[must_use]
    pub const fn new(attempts: u32, pause: Duration) -> Self {
        Self { attempts, pause }
    }

    /// Runs a step, and again after each pause while another session holds a lock.
    ///
    /// # Errors
    ///
    /// That of the last attempt, or the first one that is not about a lock.
    pub fn repeat<R>(self, is_locked: impl Fn(&Error) -> bool, mut step: impl FnMut() -> Result<R>) -> Result<R> {
        for _ in 1..self.attempts {
            match step() {
                Err(error) if is_locked(&error) => thread::sleep(self.pause),
                done => return done,
            }
        }
        step()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn a_step_is_repeated_while_it_is_locked() {
        let attempted = |locked: u32, other: bool| {
            let patience = Patience::new(3, Duration::ZERO);
            let mut attempts = 0;
            let is_locked = |error: &Error| matches!(error.kind(), ErrorKind::PoolTimeout);
            let result = patience.repeat(is_locked, || {
                attempts += 1;
                match attempts <= locked {
                    true if other => Err(Error::new(ErrorKind::ReadOnly)),
                    true => Err(Error::new(ErrorKind::PoolTimeout)),
                    false => Ok(()),
                }
            });
            (attempts, result.is_ok())
        };
        assert_eq!(attempted(0, false), (1, true));
        assert_eq!(attempted(2, false), (3, true));
        assert_eq!(attempted(3, false), (3, false));
        assert_eq!(attempted(3, true), (1, false));
    }
}
