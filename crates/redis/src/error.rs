//! Why events were not published, and what to do about it.

use std::error::Error as StdError;
use std::fmt;

use firefly_eventstore_core::consumer::Failure;
use redis::{ErrorKind, RedisError};

/// Why events were not published.
#[derive(Debug)]
pub(crate) enum Error {
    /// The server, or the connection to it, failed.
    Redis(RedisError),
    /// Fewer replicas than wanted confirmed in time.
    Replicas { wanted: u32, confirmed: u32 },
    /// Another subscription, or another program, wrote the stream's last entry.
    Another { last: String },
    /// The stream no longer has events that the server had confirmed.
    Lost { last: String, known: String },
    /// A parked event was replayed. Later events of its stream were published already.
    Replayed,
    /// The script returned an unknown answer.
    Answer(String),
}

impl Error {
    /// Whether to close the connection: it may be broken, still have an answer to come, or lead to the wrong server.
    pub(crate) fn ends_connection(&self) -> bool {
        matches!(self, Self::Redis(_))
    }

    /// Whether the error may pass without a change to the stream or the events.
    fn passes(&self) -> bool {
        match self {
            Self::Replicas { .. } => true,
            Self::Redis(error) => match error.code() {
                Some(code) => PASSING.contains(&code),
                None => matches!(
                    error.kind(),
                    ErrorKind::Io | ErrorKind::Parse | ErrorKind::AuthenticationFailed
                ),
            },
            _ => false,
        }
    }

    /// The failure that tells the consumer what to do.
    pub(crate) fn failure(self, stream: &str) -> Failure {
        let passes = self.passes();
        let error = Box::new(PublishError {
            stream: stream.to_owned(),
            error: self,
        });
        match passes {
            true => Failure::Later(error),
            false => Failure::Stop(error),
        }
    }
}

/// The codes of errors that the server causes, not the command.
const PASSING: [&str; 15] = [
    "BUSY",        // another script runs
    "CLUSTERDOWN", //
    "LOADING",     // it reads its data after a start
    "MASTERDOWN",  // a replica without its primary
    "MISCONF",     // it cannot write to its disk
    "NOAUTH",      // without a password, which it may get
    "NOGOODSLAVE", // a failover
    "NOPERM",      // a right that it may be given
    "NOREPLICAS",  // fewer replicas than min-replicas-to-write
    "OOM",         // its memory is full
    "READONLY",    // a replica, or a primary no more
    "TRYAGAIN",    //
    "UNBLOCKED",   // it became a replica
    "UNKILLABLE",  // another script runs
    "WRONGPASS",   // a password that it may get
];

impl From<RedisError> for Error {
    fn from(error: RedisError) -> Self {
        Self::Redis(error)
    }
}

/// An error with the name of the stream.
#[derive(Debug)]
struct PublishError {
    stream: String,
    error: Error,
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stream = &self.stream;
        write!(f, "publish to Redis stream {stream}: ")?;
        match &self.error {
            Error::Redis(error) => write!(f, "{error}"),
            Error::Replicas { wanted, confirmed } => {
                write!(f, "{confirmed} of {wanted} replicas have confirmed in time")
            }
            Error::Another { last } => write!(
                f,
                "its last entry, {last}, was written by another program or subscription; no other may write to the stream: \
                 delete it, or publish to another stream"
            ),
            Error::Lost { last, known } => write!(
                f,
                "events up to global sequence {known} were confirmed, and its last entry is {last}: the server has lost the events between; \
                 reposition the consumer to {}, and resume it",
                last.split_once('-').map_or("0", |(sequence, _)| sequence)
            ),
            Error::Replayed => write!(
                f,
                "the event was parked, and later ones are there already; publish it by other means, and discard it"
            ),
            Error::Answer(answer) => write!(f, "the script returned an unknown answer, {answer:?}"),
        }
    }
}

impl StdError for PublishError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.error {
            Error::Redis(error) => Some(error),
            _ => None,
        }
    }
}
