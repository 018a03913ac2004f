//! Other event stores, each in a process of its own, compared with the raw driver on the lean schema: an async one on PostgreSQL, an engine
//! for events compared with SQLite, and one in another language. They are built and started only on request, because they need two hundred
//! more crates: `cargo bench -p firefly-eventstore-tests --bench speed -- peers`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use firefly_eventstore_core::Result;
use firefly_eventstore_core::prelude::*;
use firefly_eventstore_sqlite::Synchronous;
use serde_json::json;

use crate::append::{append, fill, raw_workers, store_workers};
use crate::backend::{Backend, Database, Schema};
use crate::events::{self, Dice};
use crate::harness::{Bench, Comparison, Contender, compete, rate, report};
use crate::machine;
use crate::postgres::Postgres;
use crate::sqlite::Sqlite;

/// The package of the peers.
const PACKAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers");

/// A peer, and the program that runs it.
#[derive(Clone, Copy)]
enum Program {
    /// A binary of the package.
    Binary(&'static str),
    /// A script for the Python that `PEERS_PYTHON` names, which has the packages of the script.
    Python(&'static str),
}

/// A peer that a case compares with.
struct Kind {
    name: &'static str,
    program: Program,
    /// Whether it has a log of all events.
    has_log: bool,
}

const POSTGRES_ES: Kind = Kind {
    name: "postgres-es/raw",
    program: Program::Binary("postgres_es"),
    has_log: false,
};

const UMADB: Kind = Kind {
    name: "umadb/raw",
    program: Program::Binary("umadb"),
    has_log: true,
};

const EVENTSOURCING: Kind = Kind {
    name: "eventsourcing (Python)/raw",
    program: Program::Python("eventsourcing_peer.py"),
    has_log: true,
};

/// Runs the comparisons that the filter names. Without a filter, nothing is built.
pub(crate) fn run(bench: &Bench, scratch: &Path) {
    let asked = |backend: &str| Case::ALL.iter().any(|case| bench.asks_for(&case.name(backend)));
    if !["postgres", "sqlite FULL"].into_iter().any(asked) {
        return;
    }
    let mut build = Command::new(env!("CARGO"));
    build
        .args(["build", "--release", "--manifest-path"])
        .arg(format!("{PACKAGE}/Cargo.toml"));
    machine::run(build.arg("--target-dir").arg(target()));
    let samples = scratch.join("samples");
    write_samples(&samples).unwrap();
    if let Some(postgres) = Postgres::start() {
        compare(bench, &postgres, &[POSTGRES_ES, EVENTSOURCING], &samples);
    }
    let sqlite = Sqlite {
        synchronous: Synchronous::Full,
        scratch: scratch.to_owned(),
    };
    compare(bench, &sqlite, &[UMADB, EVENTSOURCING], &samples);
}

/// The operations that are compared.
#[derive(Clone, Copy)]
enum Case {
    Append { threads: usize, batch: usize },
    Load,
    Scan,
}

impl Case {
    const ALL: [Self; 5] = [
        Self::Append { threads: 1, batch: 1 },
        Self::Append { threads: 16, batch: 1 },
        Self::Append { threads: 1, batch: 100 },
        Self::Load,
        Self::Scan,
    ];

    fn name(self, backend: &str) -> String {
        let work = match self {
            Self::Append { threads: 1, batch: 1 } => "append 1 event, 1 thread".to_owned(),
            Self::Append { threads, batch: 1 } => format!("append 1 event, {threads} threads"),
            Self::Append { batch, .. } => format!("append {batch} in a batch"),
            Self::Load => format!("load a stream of {VERSIONS}"),
            Self::Scan => format!("scan {} events", AGGREGATES * VERSIONS),
        };
        format!("peers, {backend}: {work}")
    }
}

const AGGREGATES: usize = 1_000;
const VERSIONS: usize = 100;

fn compare(bench: &Bench, backend: &dyn Backend, kinds: &[Kind], samples: &Path) {
    for case in Case::ALL {
        let name = case.name(backend.name());
        if !bench.asks_for(&name) {
            continue;
        }
        // The store has stored the events that are read, so that the raw driver finds them.
        let [raw, ours] = match case {
            Case::Append { .. } => [Schema::Lean, Schema::Ours],
            Case::Load | Case::Scan => [Schema::Ours; 2],
        }
        .map(|schema| backend.database(schema));
        let threads = if let Case::Append { threads, .. } = case {
            threads
        } else {
            1
        };
        let has_it = |kind: &&Kind| kind.has_log || !matches!(case, Case::Scan);
        let databases: Vec<_> = kinds
            .iter()
            .filter(has_it)
            .map(|kind| (kind, backend.database(Schema::Empty)))
            .collect();
        let started = databases.iter().filter_map(|(kind, database)| {
            let peer = Peer::start(kind.program, &database.name(), threads, samples)?;
            Some((kind.name, peer))
        });
        let (mut names, mut peers): (Vec<_>, Vec<_>) = started.unzip();
        names.insert(0, "store/raw");
        let mut contenders = match case {
            Case::Append { batch, .. } => append_all(bench, [&*raw, &*ours], &mut peers, threads, batch),
            Case::Load => load_all(bench, &*ours, &mut peers),
            Case::Scan => scan_all(&*ours, &mut peers),
        };
        compete(bench.rounds(), &mut contenders);
        let (raw, others) = contenders.split_first().unwrap();
        let comparison = |(name, contender): (&'static str, &Contender<'_>)| Comparison {
            name,
            ratio: contender.ratio_to(raw),
            target: None,
        };
        let comparisons: Vec<_> = names.into_iter().zip(others).map(comparison).collect();
        report(&name, raw.rate(), &comparisons);
    }
}

fn append_all<'a>(
    bench: &Bench,
    [lean, ours]: [&dyn Database; 2],
    peers: &'a mut [Peer],
    threads: usize,
    batch: usize,
) -> Vec<Contender<'a>> {
    let events = bench.scaled(4_000, 2_000) * if batch > 1 { 6 } else { 1 };
    let (mut raw, mut store) = (raw_workers(lean, threads), store_workers(ours, threads));
    let own = [
        Contender::new(move || append(&mut raw, events, batch)),
        Contender::new(move || append(&mut store, events, batch)),
    ];
    let of_peer = |peer: &'a mut Peer| Contender::new(move || peer.rate(&format!("append {events} {batch}"), events));
    own.into_iter().chain(peers.iter_mut().map(of_peer)).collect()
}

fn load_all<'a>(bench: &Bench, database: &dyn Database, peers: &'a mut [Peer]) -> Vec<Contender<'a>> {
    let (store, mut raw) = (database.store(), database.raw());
    let keys = fill(&*store, AGGREGATES, VERSIONS);
    for peer in &mut *peers {
        peer.fill();
    }
    let times = bench.scaled(2_000, 500);
    let (mut raw_turns, mut store_turns) = (keys.clone().into_iter().cycle(), keys.into_iter().cycle());
    let own = [
        Contender::new(move || rate(times, || assert_eq!(raw.load(raw_turns.next().unwrap().id()), VERSIONS))),
        Contender::new(move || {
            rate(times, || {
                let stream = store.load(&store_turns.next().unwrap()).unwrap();
                assert_eq!(stream.events().len(), VERSIONS);
            })
        }),
    ];
    let of_peer = |peer: &'a mut Peer| Contender::new(move || peer.rate(&format!("load {times}"), times));
    own.into_iter().chain(peers.iter_mut().map(of_peer)).collect()
}

fn scan_all<'a>(database: &dyn Database, peers: &'a mut [Peer]) -> Vec<Contender<'a>> {
    const EVENTS: usize = AGGREGATES * VERSIONS;
    let (store, mut raw) = (database.store(), database.raw());
    fill(&*store, AGGREGATES, VERSIONS);
    for peer in &mut *peers {
        peer.fill();
    }
    let read = move || {
        store
            .read(EventQuery::new())
            .map(|event| event.map(drop))
            .collect::<Result<Vec<()>>>()
    };
    let own = [
        Contender::new(move || EVENTS as f64 * rate(1, || assert_eq!(raw.scan(EVENTS as i64), EVENTS))),
        Contender::new(move || EVENTS as f64 * rate(1, || assert_eq!(read().unwrap().len(), EVENTS))),
    ];
    let of_peer = |peer: &'a mut Peer| Contender::new(move || peer.rate(&format!("scan {EVENTS}"), EVENTS));
    own.into_iter().chain(peers.iter_mut().map(of_peer)).collect()
}

/// The process of a peer. It ends when its input ends.
struct Peer {
    process: Child,
    tasks: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts a peer. None if it cannot be run, which is printed.
    fn start(program: Program, place: &str, threads: usize, samples: &Path) -> Option<Self> {
        let mut command = match program {
            Program::Binary(name) => Command::new(target().join("release").join(name)),
            Program::Python(script) => {
                let python = std::env::var_os("PEERS_PYTHON").or_else(|| {
                    println!("{script} is left out: PEERS_PYTHON names no Python with its packages");
                    None
                })?;
                let mut command = Command::new(python);
                command.arg(format!("{PACKAGE}/{script}"));
                command
            }
        };
        command.arg(place).arg(threads.to_string()).arg(samples);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        Some(Self {
            tasks: process.stdin.take(),
            answers: BufReader::new(process.stdout.take().unwrap()),
            process,
        })
    }

    fn fill(&mut self) {
        self.seconds(&format!("fill {AGGREGATES} {VERSIONS}"));
    }

    /// Runs a task and returns the number of operations per second.
    fn rate(&mut self, task: &str, times: usize) -> f64 {
        times as f64 / self.seconds(task)
    }

    fn seconds(&mut self, task: &str) -> f64 {
        writeln!(self.tasks.as_mut().unwrap(), "{task}").unwrap();
        let mut line = String::new();
        loop {
            line.clear();
            assert!(
                self.answers.read_line(&mut line).unwrap() > 0,
                "the peer ends at: {task}"
            );
            if let Some(seconds) = line.strip_prefix("took ") {
                return seconds.trim().parse().unwrap();
            }
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.tasks.take());
        drop(self.process.wait());
    }
}

/// Where the peers are built.
fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("peers")
}

/// Writes the events that the store appends, for the peer.
fn write_samples(path: &Path) -> io::Result<()> {
    let mut file = io::BufWriter::new(File::create(path)?);
    for sample in events::pool(&mut Dice::new(7)) {
        let row = &sample.row;
        let json = |text: &str| serde_json::from_str::<serde_json::Value>(text);
        let metadata = row.metadata.as_deref().map(json).transpose()?;
        let line = json!({ "event_type": row.event_type, "data": json(&row.data)?, "metadata": metadata });
        writeln!(file, "{line}")?;
    }
    file.flush()
}
