//! The protocol between the benches and a peer. The benches start the peer with the place of its database, the number of threads, and a
//! file of events, one JSON document on each line. Then each line of its input is a task. The peer answers how many seconds the task took:
//!
//! - `append EVENTS BATCH`: all threads append, each to its own aggregates, until this many events are stored.
//! - `fill AGGREGATES EVENTS`: creates aggregates with this many events each.
//! - `load TIMES`: loads these aggregates in turn.
//! - `scan EVENTS`: reads the log's first events.
//!
//! An answer begins with `took`, since a peer may print other lines.

use std::error::Error;
use std::io::{self, BufRead};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;

/// Any error. The benches print it and end.
pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// An event to append again and again.
#[derive(Clone, Deserialize)]
pub struct Sample {
    /// Its type.
    pub event_type: String,
    /// Its data.
    pub data: Value,
    /// Its metadata, or null.
    pub metadata: Value,
}

/// An event store.
pub trait Peer {
    /// See [`serve`].
    fn append(&mut self, events: usize, batch: usize) -> Result<Duration>;
    /// See [`serve`].
    fn fill(&mut self, aggregates: usize, events: usize) -> Result<()>;
    /// See [`serve`].
    fn load(&mut self, times: usize) -> Result<()>;
    /// See [`serve`].
    fn scan(&mut self, events: usize) -> Result<()>;
}

/// The arguments that the benches start the peer with.
pub struct Arguments {
    /// The database's URL or directory.
    pub place: String,
    /// How many threads append at once.
    pub threads: usize,
    /// The events to append.
    pub samples: Vec<Sample>,
}

impl Arguments {
    /// Reads the command line.
    pub fn read() -> Result<Self> {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let [place, threads, samples] = &arguments[..] else {
            return Err("usage: PLACE THREADS EVENTS_FILE".into());
        };
        let samples = std::fs::read_to_string(samples)?;
        Ok(Self {
            place: place.clone(),
            threads: threads.parse()?,
            samples: samples
                .lines()
                .map(serde_json::from_str)
                .collect::<std::result::Result<_, _>>()?,
        })
    }
}

/// Executes tasks until the input ends.
pub fn serve(peer: &mut dyn Peer) -> Result<()> {
    for line in io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split(' ').collect();
        let number = |index: usize| words.get(index).copied().unwrap_or_default().parse::<usize>();
        let start = Instant::now();
        let took = match words[0] {
            "append" => peer.append(number(1)?, number(2)?)?,
            task => {
                match task {
                    "fill" => peer.fill(number(1)?, number(2)?)?,
                    "load" => peer.load(number(1)?)?,
                    "scan" => peer.scan(number(1)?)?,
                    _ => return Err(format!("{task} is no task").into()),
                }
                start.elapsed()
            }
        };
        println!("took {}", took.as_secs_f64());
    }
    Ok(())
}

/// When a thread began to append, and when it stored its last event, if it stored any.
pub type Span = (Instant, Option<Instant>);

/// How long all threads took together.
pub fn took(spans: &[Span]) -> Result<Duration> {
    let started = spans.iter().map(|(started, _)| *started).min().ok_or("no thread")?;
    let finished = spans.iter().find_map(|(_, finished)| *finished).ok_or("no end")?;
    Ok(finished - started)
}

/// Aggregates that one thread appends to, in turn.
pub struct Turns {
    /// The aggregates, each with its version.
    aggregates: Vec<(String, u64)>,
    turn: usize,
}

impl Turns {
    /// A hundred new aggregates.
    pub fn new() -> Self {
        Self {
            aggregates: (0..100).map(|_| (uuid::Uuid::new_v4().to_string(), 0)).collect(),
            turn: 0,
        }
    }

    /// The next aggregate to get this many events: its id, its version, and a number that chooses samples.
    pub fn next(&mut self, events: usize) -> (&str, u64, usize) {
        let turn = self.turn;
        self.turn += 1;
        let count = self.aggregates.len();
        let (id, version) = &mut self.aggregates[turn % count];
        let before = *version;
        *version += events as u64;
        (id, before, turn * events)
    }
}

impl Default for Turns {
    fn default() -> Self {
        Self::new()
    }
}
