//! The layer above the store: commands compared with code by hand, loading with and without snapshots, and the delay until an event is in a
//! read model.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use firefly_eventstore_core::consumer::{BoxError, ConsumerEvent, Projection, Runner, Transactional};
use firefly_eventstore_core::operate::Operations;
use firefly_eventstore_core::prelude::*;
use firefly_eventstore_core::{Aggregate, DomainEvent, Repository, SnapshotPolicy, Snapshotted};
use serde::{Deserialize, Serialize};

use crate::backend::{Applied, Backend, PROJECTED, Schema};
use crate::harness::{Bench, Comparison, Contender, compete, per_second, rate, report};

pub(crate) fn run(bench: &Bench, backend: &dyn Backend) {
    command(bench, backend);
    for events in [10, 20, 50, 100, 1_000] {
        snapshot(bench, backend, events);
    }
    delay(bench, backend);
    catch_up(bench, backend);
    idle(bench, backend);
}

#[derive(Serialize, Deserialize)]
enum AccountEvent {
    #[serde(rename = "money.deposited")]
    Deposited { cents: i64, reference: String },
}

impl DomainEvent for AccountEvent {}

#[derive(Default, Serialize, Deserialize)]
struct Account {
    cents: i64,
}

impl Aggregate for Account {
    const TYPE: &'static str = "Account";
    type Event = AccountEvent;

    fn evolve(&mut self, event: AccountEvent) {
        let AccountEvent::Deposited { cents, .. } = event;
        self.cents += cents;
    }
}

impl Snapshotted for Account {
    const FORM: &'static str = "Account.v1";
}

fn deposit(cents: i64) -> AccountEvent {
    AccountEvent::Deposited {
        cents,
        reference: "invoice 4711".to_owned(),
    }
}

type Store = Arc<dyn Operations>;

/// Creates an aggregate with this many events.
fn given(store: &Store, events: usize) -> Uuid {
    let key = AggregateKey::new(Account::TYPE, Uuid::now_v7()).unwrap();
    let events: Vec<_> = (0..events).map(|_| NewEvent::of(&deposit(1)).unwrap()).collect();
    store.append(&key, ExpectedVersion::NoStream, &events).unwrap();
    key.id()
}

/// Load, decide, append, on aggregates of ten events and more.
fn command(bench: &Bench, backend: &dyn Backend) {
    let name = format!("{}: a command", backend.name());
    if !bench.wants(&name) {
        return;
    }
    let database = backend.database(Schema::Ours);
    let store = database.store();
    let accounts = Repository::<_, Account>::new(Arc::clone(&store)).unwrap();
    let (by_hand, by_repository) = (given(&store, 10), given(&store, 10));
    let times = bench.scaled(30, 20);
    let mut contenders = [
        Contender::new(|| {
            let key = accounts.key(by_hand);
            rate(times, || {
                let stream = store.load(&key).unwrap();
                let mut account = Account::default();
                for event in &stream {
                    account.cents += event.data::<Deposited>().unwrap().cents;
                }
                let deposited = Deposited {
                    cents: account.cents % 2,
                    reference: "invoice 4711".to_owned(),
                };
                let event = NewEvent::new("money.deposited", &deposited).unwrap();
                store.append(&key, stream.version(), &[event]).unwrap();
            })
        }),
        Contender::new(|| {
            rate(times, || {
                let decide = |account: &Account| Ok::<_, BoxError>(vec![deposit(account.cents % 2)]);
                black_box(accounts.execute(by_repository, decide).unwrap());
            })
        }),
    ];
    compete(bench.rounds(), &mut contenders);
    tell(&name, "repository", &contenders);
}

/// The data of an event, for the code by hand.
#[derive(Serialize, Deserialize)]
struct Deposited {
    cents: i64,
    reference: String,
}

/// Loading an aggregate with a snapshot of all its events but one, compared with loading all of them.
fn snapshot(bench: &Bench, backend: &dyn Backend, events: usize) {
    let name = format!("{}: load an aggregate of {events}", backend.name());
    if !bench.wants(&name) {
        return;
    }
    let database = backend.database(Schema::Ours);
    let store = database.store();
    let plain = Repository::<_, Account>::new(Arc::clone(&store)).unwrap();
    let policy = SnapshotPolicy::Every(events as u64 - 1);
    let with_snapshots = Repository::<_, Account>::new(Arc::clone(&store))
        .unwrap()
        .with_snapshots(policy)
        .unwrap();
    let id = given(&store, events - 2);
    for _ in 0..2 {
        with_snapshots
            .execute(id, |_| Ok::<_, BoxError>(vec![deposit(1)]))
            .unwrap();
    }
    assert!(store.latest_snapshot(&plain.key(id)).unwrap().is_some());
    let times = bench.scaled(40_000, 10_000) / (events + 20);
    let load = |accounts: &Repository<Store, Account>| {
        rate(times, || {
            assert_eq!(black_box(accounts.load(id)).unwrap().state().cents, events as i64);
        })
    };
    let mut contenders = [
        Contender::new(|| load(&plain)),
        Contender::new(|| load(&with_snapshots)),
    ];
    compete(bench.rounds(), &mut contenders);
    tell(&name, "with a snapshot", &contenders);
}

fn tell(name: &str, what: &'static str, contenders: &[Contender<'_>; 2]) {
    let comparison = Comparison {
        name: what,
        ratio: contenders[1].ratio_to(&contenders[0]),
        target: None,
    };
    report(name, contenders[0].rate(), &[comparison]);
}

/// Building a read model of the whole log with a projection, compared with code by hand: it reads and decodes pages of the log, and for
/// each page makes a commit that locks the checkpoint, applies the page and moves the checkpoint.
fn catch_up(bench: &Bench, backend: &dyn Backend) {
    for (how, told) in [
        (Applied::Together, "all of a commit at once"),
        (Applied::OneByOne, "one by one"),
    ] {
        let name = format!("{}: catch up, {told}", backend.name());
        if !bench.wants(&name) {
            continue;
        }
        let database = backend.database(Schema::Ours);
        let store = database.store();
        let events = bench.scaled(200_000, 40_000);
        for _ in 0..events / 1_000 {
            // Aggregates of 20 events, 50 at a time.
            let batch: Vec<NewEvent> = (0..1_000).map(|_| NewEvent::of(&deposit(1)).unwrap()).collect();
            let keys: Vec<AggregateKey> = (0..50)
                .map(|_| AggregateKey::new(Account::TYPE, Uuid::now_v7()).unwrap())
                .collect();
            let appends = keys.iter().zip(batch.chunks(20));
            let appends: Vec<Append<'_>> = appends
                .map(|(key, events)| Append::new(key, ExpectedVersion::NoStream, events))
                .collect();
            store.append_all(&appends).unwrap();
        }
        database.make_read_model();
        let project = database.projector();
        let mut raw = database.raw();
        let (mut by_hand, mut by_projection) = (0.., 0..);
        let mut contenders = [
            Contender::new(|| {
                let name = format!("by hand {}", by_hand.next().unwrap());
                raw.begin_read_model(&name);
                let start = Instant::now();
                let (mut applied, mut after) = (0, 0);
                loop {
                    let page = raw.page(after, i64::MAX, PROJECTED);
                    let Some(&(last, _)) = page.last() else { break };
                    let aggregates: Vec<Uuid> = page.iter().map(|(_, aggregate)| *aggregate).collect();
                    raw.apply(&name, &aggregates, how, last);
                    (applied, after) = (applied + page.len(), last);
                }
                assert_eq!(applied, events);
                per_second(events, start.elapsed())
            }),
            Contender::new(|| {
                let name = format!("projection {}", by_projection.next().unwrap());
                let start = Instant::now();
                assert_eq!(project(&name, how), events as u64);
                per_second(events, start.elapsed())
            }),
        ];
        // One round takes long enough.
        compete(3, &mut contenders);
        let comparison = Comparison {
            name: "projection",
            ratio: contenders[1].ratio_to(&contenders[0]),
            target: Some(0.9),
        };
        report(&name, contenders[0].rate(), &[comparison]);
    }
}

/// How often twenty consumers of one process query the server while there is nothing to handle.
fn idle(bench: &Bench, backend: &dyn Backend) {
    const CONSUMERS: u32 = 20;
    let name = format!("{}: {CONSUMERS} idle consumers", backend.name());
    if !bench.wants(&name) {
        return;
    }
    let database = backend.database(Schema::Ours);
    if database.statements().is_none() {
        println!("{name:52} its statements are not counted");
        return;
    }
    let store = database.store();
    given(&store, 100);
    let mark = store.high_water_mark().unwrap();
    let names = (0..CONSUMERS).map(|number| format!("noted-{number}.v1"));
    let runner = Runner::new(store).observer(|_: &ConsumerEvent<'_>| {});
    let runner = names.clone().fold(runner, |runner, name| runner.project(Noted(name)));
    let running = runner.start().unwrap();
    for name in names {
        running.wait_for(&name, mark, Duration::from_secs(60)).unwrap();
    }
    // Until each has read the log once more, and the watcher's pauses have their full length.
    thread::sleep(Duration::from_secs(3));
    let before = database.statements().unwrap();
    let start = Instant::now();
    thread::sleep(Duration::from_secs(bench.scaled(60, 15) as u64));
    let statements = database.statements().unwrap() - before;
    let seconds = start.elapsed().as_secs_f64();
    println!("{name:52} {:.2} statements/s", statements as f64 / seconds);
}

/// Records when its batches are applied. Its read model costs nothing, so that only the delay is measured.
struct Noted(String);

impl<S: Transactional> Projection<S> for Noted {
    fn name(&self) -> &str {
        &self.0
    }

    fn query(&self) -> firefly_eventstore_core::Result<EventQuery> {
        Ok(EventQuery::new())
    }

    fn apply(&self, _: &mut S::Transaction<'_>, _: &EventEnvelope) -> Result<(), BoxError> {
        Ok(())
    }
}

/// The time from a commit until the event is in a projection's read model, while four threads of another program append.
fn delay(bench: &Bench, backend: &dyn Backend) {
    let name = format!("{}: delay of a projection", backend.name());
    if !bench.wants(&name) {
        return;
    }
    let database = backend.database(Schema::Ours);
    let (own, others) = (database.store(), database.store());
    let running = Runner::new(own)
        .observer(|_: &ConsumerEvent<'_>| {})
        .project(Noted("noted.v1".to_owned()))
        .start()
        .unwrap();
    let is_over = AtomicBool::new(false);
    let mut delays: Vec<Duration> = thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let key = AggregateKey::new(Account::TYPE, Uuid::now_v7()).unwrap();
                while !is_over.load(Ordering::Relaxed) {
                    others
                        .append(&key, ExpectedVersion::Any, &[NewEvent::of(&deposit(1)).unwrap()])
                        .unwrap();
                    thread::sleep(Duration::from_millis(2));
                }
            });
        }
        let key = AggregateKey::new(Account::TYPE, Uuid::now_v7()).unwrap();
        let delays = (0..bench.scaled(1_000, 200)).map(|_| {
            let appended = others
                .append(&key, ExpectedVersion::Any, &[NewEvent::of(&deposit(1)).unwrap()])
                .unwrap();
            let committed = Instant::now();
            running
                .wait_for("noted.v1", appended.last_sequence().unwrap(), Duration::from_secs(60))
                .unwrap();
            committed.elapsed()
        });
        let delays = delays.collect();
        is_over.store(true, Ordering::Relaxed);
        delays
    });
    delays.sort_unstable();
    let at = |part: usize| delays[(delays.len() - 1) * part / 100];
    println!("{name:52} median {:.1?}, p99 {:.1?}", at(50), at(99));
}
