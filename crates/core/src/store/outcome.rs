//! Passes the result of a caller's work through a transaction whose own work returns `()`.

use crate::{Error, Result};

/// Keeps the result of the work, and returns `Ok` if the transaction should commit.
pub(crate) fn keep<R, E>(kept: &mut Option<Result<R, E>>, returned: Result<R, E>) -> Result<()> {
    let returned = kept.insert(returned);
    match returned {
        Ok(_) => Ok(()),
        Err(_) => Err(Error::invalid("the work of this transaction failed")),
    }
}

/// The result for the caller: the error of the work, else that of the transaction, else the result of the work.
pub(crate) fn outcome<R, E: From<Error>>(kept: Option<Result<R, E>>, committed: Result<()>) -> Result<R, E> {
    match (kept, committed) {
        (Some(Err(error)), _) => Err(error),
        (_, Err(error)) => Err(error.into()),
        (Some(Ok(returned)), Ok(())) => Ok(returned),
        (None, Ok(())) => unreachable!("a transaction that succeeds ran its work"),
    }
}
