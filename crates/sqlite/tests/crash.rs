//! A shop's bookkeeping program is killed, again and again, in the middle of its work.
//!
//! Several clerks book at once: a single event, three events in one append, or a transfer between accounts. When the
//! store acknowledges a booking, the customer gets a receipt. Then the process is killed. When the shop opens again,
//! every booking with a receipt must be stored once, at the position on the receipt. Bookings that were in progress
//! must be stored completely or not at all. The clerks who got no answer repeat their bookings, and each must be stored
//! once. The next day the same happens, with the same books.
//!
//! (Stores that write several rows without a transaction leave half a transfer behind. Those that acknowledge before
//! the commit lose bookings. Those without client-side ids store bookings twice.)

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroU32;
use std::path::Path;
use std::thread;

use firefly_eventstore_core::prelude::*;
use firefly_eventstore_sqlite::{SqliteEventStore, Synchronous, driver::Connection};
use serde::Deserialize;

use support::{Peer, another, assert_intact, role, tell};

const ROUNDS: u64 = 50;
const CLERKS: u64 = 4;
const SHARED_ACCOUNTS: u64 = 8;

/// Far more than fit into a round, so that a process whose parent is gone ends at some time.
const MOST_BOOKINGS: u64 = 5_000;

#[test]
fn what_was_acknowledged_survives_kills_at_random_moments_once_and_whole() {
    let seed = match std::env::var("FIREFLY_TEST_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => fastrand::u64(..),
    };
    println!("run again with FIREFLY_TEST_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("books.db");
    let mut receipts = Receipts::default();

    for round in 0..ROUNDS {
        work_until_killed(&path, seed, round, random.u64(0..=40), &mut receipts);
        let store = SqliteEventStore::open(&path).unwrap();
        check_books(&store, &path, seed, &receipts);
        book_the_last_again(&store, seed, round, &mut receipts);
    }

    let store = SqliteEventStore::open(&path).unwrap();
    check_books(&store, &path, seed, &receipts);
    assert!(
        receipts.0.len() as u64 > ROUNDS * CLERKS,
        "{} bookings",
        receipts.0.len()
    );
}

/// The program of the process that is killed.
#[test]
fn child_process() {
    let Some((_, argument)) = role() else { return };
    let [path, seed, round] = argument.split('|').collect::<Vec<_>>()[..] else {
        panic!("{argument}")
    };
    let (seed, round): (u64, u64) = (seed.parse().unwrap(), round.parse().unwrap());
    let synchronous = match round % 2 {
        0 => Synchronous::Full,
        _ => Synchronous::Normal,
    };
    let store = SqliteEventStore::builder(path).synchronous(synchronous).open().unwrap();
    thread::scope(|scope| {
        for clerk in 0..CLERKS {
            let store = &store;
            scope.spawn(move || {
                for number in 0..MOST_BOOKINGS {
                    let name = Name { round, clerk, number };
                    let results = Booking::of(seed, name).append_to(store).unwrap();
                    tell(&receipt_line(name, &results));
                }
            });
        }
    });
}

fn work_until_killed(path: &Path, seed: u64, round: u64, acknowledged: u64, receipts: &mut Receipts) {
    let mut shop = Peer::start(another("shop", &format!("{}|{seed}|{round}", path.display())));
    for _ in 0..acknowledged {
        let line = shop.hear().expect("the shop works until it is killed");
        receipts.keep(&line);
    }
    shop.kill();
    // Receipts that were written before the kill are still in the pipe.
    while let Some(line) = shop.hear() {
        receipts.keep(&line);
    }
    assert!(!shop.wait().success());
}

/// The clerks who got no answer to their last booking repeat it, and also the one before.
fn book_the_last_again(store: &SqliteEventStore, seed: u64, round: u64, receipts: &mut Receipts) {
    for clerk in 0..CLERKS {
        let unknown = (0..)
            .map(|number| Name { round, clerk, number })
            .find(|name| !receipts.0.contains_key(name))
            .unwrap();
        if let Some(number) = unknown.number.checked_sub(1) {
            let known = Name { number, ..unknown };
            let again = Booking::of(seed, known).append_to(store).unwrap();
            assert!(again.iter().all(Appended::is_already_stored), "{known:?}");
            assert_eq!(Receipt::of(&again), receipts.0[&known], "{known:?}");
        }
        let booking = Booking::of(seed, unknown);
        let first = booking.append_to(store).unwrap();
        let second = booking.append_to(store).unwrap();
        assert!(second.iter().all(Appended::is_already_stored), "{unknown:?}");
        assert_eq!(Receipt::of(&first), Receipt::of(&second), "{unknown:?}");
        receipts.0.insert(unknown, Receipt::of(&first));
    }
}

fn check_books(store: &SqliteEventStore, path: &Path, seed: u64, receipts: &Receipts) {
    assert_intact(path);
    let mut versions: HashMap<Uuid, u64> = HashMap::new();
    let mut places: HashMap<Uuid, Place> = HashMap::new();
    let mut names = BTreeSet::new();
    let mut last_sequence = 0;
    for event in store.read(EventQuery::new().page_size(NonZeroU32::new(10_000).unwrap())) {
        let event = event.unwrap();
        event.verify().unwrap();
        let version = versions.entry(event.aggregate.id()).or_default();
        *version += 1;
        assert_eq!(event.version, *version, "{event:?}");
        assert!(event.global_sequence.get() > last_sequence, "{event:?}");
        last_sequence = event.global_sequence.get();
        names.insert(event.data::<Name>().unwrap());
        let place = Place {
            aggregate: event.aggregate.id(),
            version: event.version.get(),
            sequence: event.global_sequence.get(),
        };
        assert_eq!(places.insert(event.event_id, place), None, "stored twice");
    }

    let greatest: i64 = Connection::open(path)
        .unwrap()
        .query_row("SELECT COALESCE(MAX(global_sequence), 0) FROM events", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(last_sequence.cast_signed(), greatest);
    assert_eq!(store.high_water_mark().unwrap(), last_sequence);

    for name in &names {
        check_whole(&Booking::of(seed, *name), *name, &places);
    }
    for (name, receipt) in &receipts.0 {
        assert_eq!(
            Booking::of(seed, *name).receipt_from(&places).as_ref(),
            Some(receipt),
            "{name:?} was acknowledged"
        );
    }
}

/// Checks that either all events of a booking are stored, one after the other, or none.
fn check_whole(booking: &Booking, name: Name, places: &HashMap<Uuid, Place>) {
    let sequences: Option<Vec<u64>> = booking
        .events()
        .map(|event| places.get(&event.event_id()).map(|place| place.sequence))
        .collect();
    let sequences = sequences.unwrap_or_else(|| panic!("{name:?} is there in part"));
    let expected: Vec<u64> = (sequences[0]..).take(sequences.len()).collect();
    assert_eq!(sequences, expected, "{name:?}");
}

/// Identifies a booking. Everything else about it follows from this and the seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
struct Name {
    round: u64,
    clerk: u64,
    number: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    aggregate: Uuid,
    version: u64,
    sequence: u64,
}

struct Booking(Vec<(AggregateKey, ExpectedVersion, Vec<NewEvent>)>);

impl Booking {
    fn of(seed: u64, name: Name) -> Self {
        let Name { round, clerk, number } = name;
        let mut random = fastrand::Rng::with_seed(seed ^ (round << 48) ^ (clerk << 40) ^ number);
        let mut events = |count: u64| -> Vec<NewEvent> {
            let event = |part| {
                let data = serde_json::json!({
                    "round": round, "clerk": clerk, "number": number, "part": part,
                    "note": "n".repeat(random.usize(0..400)),
                });
                NewEvent::new("booking.made", &data)
                    .unwrap()
                    .with_id(Uuid::from_u64_pair(random.u64(..), random.u64(..)))
            };
            (0..count).map(event).collect()
        };
        let own = AggregateKey::new("Till", Uuid::from_u64_pair(seed, (1 << 60) | (round << 8) | clerk)).unwrap();
        let at = |within: u64| ExpectedVersion::Exact(Version::new(number / 3 * 5 + within).unwrap());
        Self(match number % 3 {
            0 => vec![(own, at(0), events(1))],
            1 => vec![(own, at(1), events(3))],
            _ => {
                let from = (clerk + number) % SHARED_ACCOUNTS;
                let to = (from + 1 + number % 5) % SHARED_ACCOUNTS;
                vec![
                    (shared(seed, from), ExpectedVersion::Any, events(2)),
                    (own, at(4), events(1)),
                    (shared(seed, to), ExpectedVersion::Any, events(1)),
                ]
            }
        })
    }

    fn append_to(&self, store: &SqliteEventStore) -> Result<Vec<Appended>, Error> {
        let appends: Vec<_> = self
            .0
            .iter()
            .map(|(aggregate, expected, events)| Append::new(aggregate, *expected, events))
            .collect();
        store.append_all(&appends)
    }

    fn events(&self) -> impl Iterator<Item = &NewEvent> {
        self.0.iter().flat_map(|(_, _, events)| events)
    }

    /// The receipt for the stored events; none if one is missing or at another position.
    fn receipt_from(&self, places: &HashMap<Uuid, Place>) -> Option<Receipt> {
        let one = |(aggregate, _, events): &(AggregateKey, ExpectedVersion, Vec<NewEvent>)| {
            let found: Vec<_> = events
                .iter()
                .map(|event| {
                    places
                        .get(&event.event_id())
                        .filter(|place| place.aggregate == aggregate.id())
                })
                .collect::<Option<_>>()?;
            let contiguous = found.windows(2).all(|pair| pair[0].version + 1 == pair[1].version);
            let sequences = found.iter().map(|place| place.sequence).collect();
            contiguous.then_some((found.last()?.version, sequences))
        };
        self.0.iter().map(one).collect::<Option<_>>().map(Receipt)
    }
}

fn shared(seed: u64, number: u64) -> AggregateKey {
    AggregateKey::new("Account", Uuid::from_u64_pair(seed, number)).unwrap()
}

/// The acknowledgement of a booking: for each aggregate, its version and the sequences of the events.
#[derive(Debug, PartialEq, Eq)]
struct Receipt(Vec<(u64, Vec<u64>)>);

impl Receipt {
    fn of(results: &[Appended]) -> Self {
        let one = |result: &Appended| {
            let sequences = result
                .global_sequences()
                .iter()
                .map(|sequence| sequence.get())
                .collect();
            (result.version().get(), sequences)
        };
        Self(results.iter().map(one).collect())
    }
}

fn receipt_line(name: Name, results: &[Appended]) -> String {
    let Name { round, clerk, number } = name;
    let receipt = Receipt::of(results);
    format!("{round} {clerk} {number} {}", serde_json::json!(receipt.0))
}

#[derive(Default)]
struct Receipts(BTreeMap<Name, Receipt>);

impl Receipts {
    fn keep(&mut self, line: &str) {
        let [round, clerk, number, receipt] = line.splitn(4, ' ').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let name = Name {
            round: round.parse().unwrap(),
            clerk: clerk.parse().unwrap(),
            number: number.parse().unwrap(),
        };
        self.0.insert(name, Receipt(serde_json::from_str(receipt).unwrap()));
    }
}
