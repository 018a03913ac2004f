//! The publisher to Redis Streams.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use firefly_eventstore_core::consumer::{Batch, Failure, Publish};
use firefly_eventstore_core::{GlobalSequence, Result};
use redis::{Client, Cmd, Connection};

use crate::entry::fields;
use crate::error::Error;

const SCRIPT: &str = include_str!("publish.lua");

/// Publishes events to Redis Streams, one stream for each slot of the subscription: `accounts:0`, `accounts:1` and so on.
///
/// Pass it to [`Subscription::publishing`](firefly_eventstore_core::consumer::Subscription::publishing). It connects when there is
/// something to publish, and again after a failure.
///
/// ```no_run
/// use firefly_eventstore_core::consumer::{Runner, Subscription};
/// use firefly_eventstore_core::{MemoryEventStore, prelude::*};
/// use firefly_eventstore_redis::RedisStreams;
///
/// let streams = RedisStreams::new("redis://localhost", "accounts")?.max_len(1_000_000);
/// let accounts = Subscription::publishing("accounts-to-redis.v1", EventQuery::new().aggregate_types(["Account"])?, streams).group(4);
/// let running = Runner::new(MemoryEventStore::new()).subscribe(accounts).start()?;
/// # Ok::<(), Error>(())
/// ```
pub struct RedisStreams {
    client: Client,
    stream: String,
    max_len: u64,
    replicas: u32,
    timeout: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    connection: Option<Connection>,
    /// The last event of each slot that the server has confirmed to this process.
    confirmed: HashMap<u16, GlobalSequence>,
}

impl RedisStreams {
    /// Creates a publisher to streams whose names begin with `stream`. The URL is `redis://user:password@host:port/database`, or
    /// `redis+unix:///path/to/socket`. This does not connect.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](firefly_eventstore_core::ErrorKind::InvalidInput) if the URL is not valid.
    pub fn new(url: &str, stream: impl Into<String>) -> Result<Self> {
        let client = Client::open(url).map_err(|error| {
            firefly_eventstore_core::Error::invalid(format!("the URL of the Redis server is not valid: {error}"))
        })?;
        Ok(Self {
            client,
            stream: stream.into(),
            max_len: 0,
            replicas: 0,
            timeout: Duration::from_secs(10),
            state: Mutex::default(),
        })
    }

    /// Sets about how many entries each stream keeps, and not fewer. The oldest entries are removed, even if nobody has read them. Unless
    /// this is set, nothing is removed.
    #[must_use]
    pub fn max_len(mut self, entries: u64) -> Self {
        self.max_len = entries;
        self
    }

    /// Sets how many replicas must confirm the events, too; 0 unless set. This takes one more round trip within Redis. If there
    /// are fewer replicas, nothing is published. A failover can still lose events, if the new primary is a replica that did not confirm
    /// them.
    #[must_use]
    pub fn replicas(mut self, replicas: u32) -> Self {
        self.replicas = replicas;
        self
    }

    /// Sets how long to wait for a connection, for the answer to a batch, and for the replicas: 10 seconds each unless set, at least 1
    /// millisecond. Keep it well below the subscription's [`deadline`](firefly_eventstore_core::consumer::Subscription::deadline).
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout.max(Duration::from_millis(1));
        self
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_publish(&self, stream: &str, batch: &Batch<'_>) -> Result<(), Error> {
        let Some(last) = batch.events.last() else {
            return Ok(());
        };
        if batch.is_replay {
            return Err(Error::Replayed);
        }
        let mut state = self.state();
        let known = state.confirmed.get(&batch.slot).copied().unwrap_or_default();
        let connection = match &mut state.connection {
            Some(connection) => connection,
            none => none.insert(self.connect()?),
        };
        let (outcome, id): (String, String) = self.command(stream, batch, known).query(connection)?;
        match &*outcome {
            "published" => {}
            "another" => return Err(Error::Another { last: id }),
            "lost" => {
                return Err(Error::Lost {
                    last: id,
                    known: known.to_string(),
                });
            }
            _ => return Err(Error::Answer(outcome)),
        }
        if self.replicas > 0 {
            let patience = self.timeout.as_millis().to_string();
            let confirmed = redis::cmd("WAIT").arg(self.replicas).arg(patience).query(connection)?;
            if confirmed < self.replicas {
                return Err(Error::Replicas {
                    wanted: self.replicas,
                    confirmed,
                });
            }
        }
        state.confirmed.insert(batch.slot, last.global_sequence);
        Ok(())
    }

    fn connect(&self) -> Result<Connection, Error> {
        let mut connection = self.client.get_connection_with_timeout(self.timeout)?;
        // The server itself waits for the replicas this long, and checks the end of that time ten times a second.
        let grace = Duration::from_secs(u64::from(self.replicas > 0));
        connection.set_read_timeout(Some(self.timeout.saturating_add(grace)))?;
        connection.set_write_timeout(Some(self.timeout))?;
        // Without the password, a server refuses a batch before it reports what is missing.
        redis::cmd("PING").exec(&mut connection)?;
        Ok(connection)
    }

    fn command(&self, stream: &str, batch: &Batch<'_>, known: GlobalSequence) -> Cmd {
        let mut command = redis::cmd("EVAL");
        command.arg(SCRIPT).arg(1).arg(stream);
        command.arg(owner(batch.consumer, batch.slots));
        command.arg(u64::from(known)).arg(self.max_len);
        for event in batch.events {
            let fields = fields(event);
            command.arg(u64::from(event.global_sequence)).arg(2 * fields.len());
            for (name, value) in &fields {
                command.arg(*name).arg(&**value);
            }
        }
        command
    }
}

impl Publish for RedisStreams {
    fn publish(&self, batch: &Batch<'_>) -> Result<(), Failure> {
        let stream = format!("{}:{}", self.stream, batch.slot);
        self.try_publish(&stream, batch).map_err(|error| {
            if error.ends_connection() {
                self.state().connection = None;
            }
            error.failure(&stream)
        })
    }
}

/// A number that identifies the subscription in its entries' ids. It is never 0, because the ids of other programs' entries end in 0.
/// 32-bit FNV-1a over the subscription's name and its number of slots. With another number of slots, each slot has other events.
fn owner(consumer: &str, slots: u16) -> u32 {
    let bytes = consumer.bytes().chain(slots.to_be_bytes());
    let hash = bytes.fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    hash.max(1)
}

impl fmt::Debug for RedisStreams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStreams")
            .field("server", &self.client.get_connection_info().addr().to_string())
            .field("stream", &self.stream)
            .field("max_len", &self.max_len)
            .field("replicas", &self.replicas)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_owners_are_what_they_always_were() {
        assert_eq!(owner("accounts-to-redis.v1", 1), 1_636_241_821);
        assert_eq!(owner("accounts-to-redis.v1", 12), 1_418_132_774);
        assert_eq!(owner("accounts-to-redis.v2", 12), 631_268_107);
    }

    #[test]
    fn a_password_is_not_shown() {
        let streams = RedisStreams::new("redis://clerk:secret@localhost/1", "accounts").unwrap();
        let shown = format!("{streams:?}");
        assert!(shown.contains("localhost") && !shown.contains("secret"), "{shown}");
        let error = RedisStreams::new("http://clerk:secret@localhost", "accounts").unwrap_err();
        assert!(
            error.to_string().contains("Redis") && !format!("{error:?}").contains("secret"),
            "{error:?}"
        );
    }
}
