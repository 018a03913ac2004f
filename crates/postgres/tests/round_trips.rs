//! How many round trips each call takes, counted by a proxy, and what a call does when the answer is lost.

use std::num::NonZeroU32;
use std::thread;
use std::time::{Duration, Instant};

use firefly_eventstore_core::consumer::{BoxError, ConsumerTransaction, Projection, Registration, Runner, project};
use firefly_eventstore_core::prelude::*;
use firefly_eventstore_core::{SnapshotAt, SnapshotType};
use firefly_eventstore_postgres::{Partitions, PostgresEventStore, PostgresTransaction};
use firefly_eventstore_test_servers::{Database, Proxy, postgres};
use serde::{Deserialize, Serialize};

use crate::support::{account, all_events, archive, database, deposited, fresh, movable};

fn behind_a_proxy() -> Option<(Database, Proxy, PostgresEventStore)> {
    let (database, _) = fresh()?;
    Some(proxied(database))
}

/// Checks a log in one table, and a log in partitions.
fn in_each_layout(check: impl Fn(&Proxy, &PostgresEventStore, Layout)) {
    let Some((_database, proxy, store)) = behind_a_proxy() else {
        return;
    };
    check(&proxy, &store, Layout::Whole);
    let Some(database) = database() else { return };
    let builder = PostgresEventStore::builder(database.url()).partitions(Partitions::by_events(5));
    builder.migrate().unwrap();
    let (_database, proxy, store) = proxied(database);
    check(&proxy, &store, Layout::Partitioned);
}

#[derive(Clone, Copy, PartialEq)]
enum Layout {
    Whole,
    Partitioned,
}

fn proxied(database: Database) -> (Database, Proxy, PostgresEventStore) {
    let proxy = Proxy::of(&postgres().unwrap().directory().join(".s.PGSQL.5432"));
    let store = PostgresEventStore::builder(&through(&proxy, &database))
        .max_connections(1)
        .open()
        .unwrap();
    // The first use of each statement prepares it.
    let [one, other] = [account(), account()];
    let events = [deposited(1), deposited(1)];
    let each = [deposited(1), deposited(1)];
    store.append(&one, ExpectedVersion::NoStream, &[deposited(1)]).unwrap();
    store.append(&one, ExpectedVersion::Any, &[deposited(1)]).unwrap();
    store.append(&one, ExpectedVersion::Any, &events).unwrap();
    let both = [
        Append::new(&one, ExpectedVersion::Any, &each[..1]),
        Append::new(&other, ExpectedVersion::Any, &each[1..]),
    ];
    store.append_all(&both).unwrap();
    (database, proxy, store)
}

fn through(proxy: &Proxy, database: &Database) -> String {
    let directory = proxy.socket().parent().unwrap();
    format!("host={} user=postgres dbname={}", directory.display(), database.name())
}

/// The number of events that are appended so that each statement is prepared.
const STORED_BEFORE: usize = 6;

#[derive(Clone, Serialize, Deserialize)]
enum Deposited {
    #[serde(rename = "money.deposited")]
    Deposited {},
}

impl DomainEvent for Deposited {}

#[derive(Default, Serialize, Deserialize)]
struct Account(u64);

impl Aggregate for Account {
    const TYPE: &'static str = "Account";
    type Event = Deposited;

    fn evolve(&mut self, _: Deposited) {
        self.0 += 1;
    }
}

impl Snapshotted for Account {
    const FORM: &'static str = "Account.v1";
}

/// The name of a call, and the call.
type Call<'a> = (&'static str, &'a dyn Fn() -> Result<(), Error>);

#[test]
fn an_append_takes_one_round_trip() {
    in_each_layout(check_appends);
}

fn check_appends(proxy: &Proxy, store: &PostgresEventStore, _: Layout) {
    let known = account();
    let thousand: Vec<NewEvent> = (0..1_000).map(deposited).collect();
    store
        .append(&known, ExpectedVersion::NoStream, &[deposited(1)])
        .unwrap();
    let others: Vec<AggregateKey> = (0..50).map(|_| account()).collect();
    let one = [deposited(1)];
    let one_each: Vec<[NewEvent; 1]> = (0..50).map(|_| [deposited(1)]).collect();
    let several: Vec<Append<'_>> = others
        .iter()
        .zip(&one_each)
        .map(|(other, events)| Append::new(other, ExpectedVersion::NoStream, events))
        .collect();
    let appends: [Call<'_>; 6] = [
        ("exact", &|| {
            store.append(&known, ExpectedVersion::Exact(1.into()), &one).map(drop)
        }),
        ("any", &|| {
            store.append(&known, ExpectedVersion::Any, &[deposited(2)]).map(drop)
        }),
        ("exists", &|| {
            store.append(&known, ExpectedVersion::Exists, &[deposited(2)]).map(drop)
        }),
        ("no stream", &|| {
            store
                .append(&account(), ExpectedVersion::NoStream, &[deposited(2)])
                .map(drop)
        }),
        ("a thousand", &|| {
            store.append(&known, ExpectedVersion::Any, &thousand).map(drop)
        }),
        ("fifty aggregates", &|| store.append_all(&several).map(drop)),
    ];
    for (name, append) in appends {
        let before = proxy.turns();
        append().unwrap();
        assert_eq!(proxy.turns() - before, 1, "{name}");
    }
}

#[test]
fn a_load_a_snapshot_and_a_mark_take_one_round_trip_each_and_a_page_a_few() {
    in_each_layout(check_reads);
}

fn check_reads(proxy: &Proxy, store: &PostgresEventStore, layout: Layout) {
    let known = account();
    store
        .append(&known, ExpectedVersion::NoStream, &[1, 2, 3, 4].map(deposited))
        .unwrap();
    let owned = account();
    let acme = store.for_tenant(TenantId::new("acme").unwrap());
    acme.append(&owned, ExpectedVersion::NoStream, &[1, 2].map(deposited))
        .unwrap();
    let state = serde_json::json!({ "balance": 3 });
    store
        .save(&NewSnapshot::new(&known, 2, "State.v1", &state).unwrap())
        .unwrap();
    let load = |range: StreamRange| drop(store.load_range(&known, &range).unwrap());
    let (all, at) = (StreamRange::all, |version: u32| Version::from(version));
    let times = [OffsetDateTime::UNIX_EPOCH, OffsetDateTime::now_utc()];
    let forms = ["State.v1", "State.v2"].map(|form| SnapshotType::new(form).unwrap());
    let from_snapshot = |form| {
        let loaded = store.load_from_snapshot(None, &known, SnapshotAt::LatestOf(form));
        loaded.unwrap()
    };
    let accounts = Repository::<_, Account>::new(store.clone()).unwrap();
    let accounts = accounts.with_snapshots(SnapshotPolicy::Every(2)).unwrap();
    let deposit = |id| accounts.execute(id, |_| Ok::<_, Error>(vec![Deposited::Deposited {}; 3]));
    let [kept, forged] = [(); 2].map(|()| Uuid::now_v7());
    for id in [kept, forged] {
        assert!(deposit(id).unwrap().root().snapshot_error().is_none());
    }
    let by_hand = NewSnapshot::new(&accounts.key(forged), 3, Account::FORM, &"three").unwrap();
    store.save(&by_hand).unwrap();
    let of = |tenant: &str| store.for_tenant(TenantId::new(tenant).unwrap());
    let page = |query: EventQuery| drop(store.read_page(&query, None).unwrap());
    let everything = EventQuery::new;
    let of_type = |name: &str| everything().event_types([name]).unwrap();
    let mark = store.high_water_mark().unwrap();
    let third = GlobalSequence::from(3);
    // These events are looked for in one partition, and then in the others.
    let rest = usize::from(layout == Layout::Partitioned);
    let reads: [(&str, usize, &dyn Fn()); 32] = [
        ("load", 1, &|| drop(store.load(&known).unwrap())),
        ("nothing", 1, &|| drop(store.load(&account()).unwrap())),
        ("version", 1, &|| drop(store.version(&known).unwrap().get().to_string())),
        ("version of nothing", 1, &|| {
            drop(store.version(&account()).unwrap().get().to_string());
        }),
        ("version of a tenant", 1, &|| {
            assert_eq!(of("acme").version(&owned).unwrap(), 2);
        }),
        ("version of nothing of a tenant", 1, &|| {
            assert_eq!(of("other").version(&owned).unwrap(), 0);
        }),
        ("from a version", 1, &|| load(all().from_version(at(3)))),
        ("from beyond the end", 2, &|| load(all().from_version(at(5)))),
        ("to a version", 2, &|| load(all().to_version(at(2)))),
        ("to beyond the end", 1, &|| load(all().to_version(at(9)))),
        ("limit", 2, &|| load(all().limit(2))),
        ("as of a version", 1, &|| load(all().as_of(at(2)))),
        ("as of a time", 2, &|| load(all().as_of(times[1]))),
        ("as of a time before", 3, &|| load(all().as_of(times[0]))),
        ("snapshot of a form", 1, &|| {
            drop(store.latest_snapshot_of(&known, "State.v1").unwrap().unwrap());
        }),
        ("from a snapshot", 1, &|| {
            let (snapshot, stream) = from_snapshot(&forms[0]);
            assert_eq!((snapshot.is_some(), stream.len()), (true, 3));
        }),
        ("from a snapshot that is not there", 1, &|| {
            let (snapshot, stream) = from_snapshot(&forms[1]);
            assert_eq!((snapshot.is_some(), stream.len()), (false, 4));
        }),
        ("an aggregate with a snapshot", 1, &|| {
            let root = accounts.load(kept).unwrap();
            assert!(root.snapshot_error().is_none());
            assert_eq!(root.state().0, 3);
        }),
        ("an aggregate without one", 1, &|| {
            assert!(!accounts.load(Uuid::now_v7()).unwrap().exists());
        }),
        ("an aggregate whose snapshot cannot be used", 2, &|| {
            let root = accounts.load(forged).unwrap();
            assert!(root.snapshot_error().is_some());
            assert_eq!(root.state().0, 3);
        }),
        ("mark", 1, &|| drop(store.high_water_mark().unwrap().get().to_string())),
        ("page", 2, &|| page(everything())),
        ("page that earlier events fill", 1, &|| page(everything().limit(5))),
        ("page that they do not fill", 2, &|| page(everything().limit(500))),
        ("page of a type", 1, &|| page(of_type("money.deposited").limit(5))),
        ("page of a rare type", 2 + rest, &|| {
            page(of_type("account.closed").limit(5));
        }),
        ("page backwards", 2, &|| page(everything().limit(5).backwards())),
        ("page from the end on", 1, &|| page(everything().after(mark).limit(5))),
        ("page up to a mark", 1, &|| page(everything().until(mark))),
        ("page up to a mark backwards", 1, &|| {
            page(everything().until(mark).backwards());
        }),
        ("nothing up to a mark", 1 + rest, &|| {
            page(of_type("account.closed").until(mark).limit(5));
        }),
        ("one event", 1, &|| {
            page(everything().after(third).until(third.checked_add(1).unwrap()));
        }),
    ];
    for (name, expected, read) in reads {
        read();
        let before = proxy.turns();
        read();
        assert_eq!(proxy.turns() - before, expected, "{name}");
    }
}

#[test]
fn what_is_archived_takes_no_more_round_trips_where_it_is_not_needed() {
    let Some((database, proxy, store)) = behind_a_proxy() else {
        return;
    };
    let [known, gone] = [account(), account()];
    for account in [&known, &gone] {
        store
            .append(account, ExpectedVersion::NoStream, &[1, 2, 3].map(deposited))
            .unwrap();
    }
    store.append(&known, ExpectedVersion::Any, &[deposited(4)]).unwrap();
    let aside = PostgresEventStore::open(database.url()).unwrap();
    archive(&aside, &movable(&aside));
    let mark = store.high_water_mark().unwrap();
    let archived = GlobalSequence::new(mark.get() - 1).unwrap();
    let rest = || {
        store
            .read_page(&EventQuery::new().after(archived).until(mark), None)
            .unwrap()
    };
    let load = |range: &StreamRange| store.load_range(&known, range).unwrap();
    let calls: [Call<'_>; 6] = [
        ("exact", &|| {
            store
                .append(&gone, ExpectedVersion::Exact(3.into()), &[deposited(4)])
                .map(drop)
        }),
        ("any", &|| {
            store.append(&gone, ExpectedVersion::Any, &[deposited(5)]).map(drop)
        }),
        ("a batch", &|| {
            store
                .append(&known, ExpectedVersion::Any, &[5, 6].map(deposited))
                .map(drop)
        }),
        ("from a version", &|| {
            assert_eq!(load(&StreamRange::all().from_version(Version::from(4))).len(), 3);
            Ok(())
        }),
        ("the last", &|| {
            assert_eq!(load(&StreamRange::all().last(1)).version(), 6);
            Ok(())
        }),
        ("a page", &|| {
            assert_eq!(rest().events.len(), 1);
            Ok(())
        }),
    ];
    rest();
    for range in [
        StreamRange::all().last(1),
        StreamRange::all().from_version(Version::from(4)),
    ] {
        load(&range);
    }
    for (name, call) in calls {
        let before = proxy.turns();
        call().unwrap();
        assert_eq!(proxy.turns() - before, 1, "{name}");
    }
}

/// The round trips of a call that uses transactions. At most once a second, a transaction also checks whether the store was converted. So of
/// two calls within a second, at least one contains no such check.
fn turns(proxy: &Proxy, mut call: impl FnMut()) -> usize {
    loop {
        let began = Instant::now();
        let [first, second] = [(); 2].map(|()| {
            let before = proxy.turns();
            call();
            proxy.turns() - before
        });
        if began.elapsed() < Duration::from_secs(1) {
            return first.min(second);
        }
    }
}

#[test]
fn a_transaction_takes_a_round_trip_to_begin_and_one_to_commit_and_three_for_each_append() {
    in_each_layout(check_transactions);
}

fn check_transactions(proxy: &Proxy, store: &PostgresEventStore, _: Layout) {
    for appends in 0..4 {
        let append = |tx: &mut PostgresTransaction<'_>| {
            for _ in 0..appends {
                tx.append(&account(), ExpectedVersion::NoStream, &[deposited(1)])?;
            }
            Ok::<_, Error>(())
        };
        let turns = turns(proxy, || store.transaction(append).unwrap());
        assert_eq!(turns, 2 + 3 * appends, "{appends} appends");
    }
}

#[test]
fn each_statement_of_a_consumer_takes_a_round_trip_also_a_checkpoint_after_the_connection_was_used() {
    let Some((_database, proxy, store)) = behind_a_proxy() else {
        return;
    };
    let name = "balances.v1";
    let query = EventQuery::new();
    let registration = Registration::new(name, &query);
    store.transaction(|tx| tx.register(&registration)).unwrap();
    let project = |has_tables: bool| {
        let project = store.transaction(|tx| -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
            let mut slot = tx.lock_slot(name, 0)?;
            if has_tables {
                tx.connection().batch_execute("SET LOCAL work_mem = '1MB'")?;
            }
            let to = slot.position;
            tx.advance(&mut slot, to)?;
            tx.fail(&mut slot, to.checked_add(1).unwrap(), "refused")?;
            Ok(())
        });
        project.unwrap();
    };
    project(false); // these prepare the statements
    project(true);
    for (has_tables, expected) in [(false, 2 + 3), (true, 2 + 3 + 1)] {
        let turns = turns(&proxy, || project(has_tables));
        assert_eq!(turns, expected, "with tables of its own: {has_tables}");
    }
}

/// A projection whose read model takes no round trip.
struct Nothing(String);

impl Projection<PostgresEventStore> for Nothing {
    fn name(&self) -> &str {
        &self.0
    }

    fn query(&self) -> Result<EventQuery, Error> {
        Ok(EventQuery::new())
    }

    fn apply(&self, _: &mut PostgresTransaction<'_>, _: &EventEnvelope) -> Result<(), BoxError> {
        Ok(())
    }

    fn batch(&self) -> NonZeroU32 {
        NonZeroU32::new(10).unwrap()
    }
}

#[test]
fn twenty_idle_projections_ask_for_nothing_but_one_mark_a_second() {
    let Some((database, proxy, store)) = behind_a_proxy() else {
        return;
    };
    let pooled = PostgresEventStore::builder(&through(&proxy, &database))
        .max_connections(22)
        .open()
        .unwrap();
    let names: Vec<String> = (0..20).map(|number| format!("nothing-{number}.v1")).collect();
    let last = store.high_water_mark().unwrap();
    let runner = Runner::new(pooled);
    let running = names
        .iter()
        .fold(runner, |runner, name| runner.project(Nothing(name.clone())));
    let running = running.start().unwrap();
    for name in &names {
        running.wait_for(name, last, Duration::from_secs(60)).unwrap();
    }
    let turns_in = |time: Duration| {
        let before = proxy.turns();
        thread::sleep(time);
        proxy.turns() - before
    };
    // Each projection looks at the log once more unless the watcher has seen its end by then.
    let began = Instant::now();
    while turns_in(Duration::from_secs(1)) > 2 {
        assert!(began.elapsed() < Duration::from_secs(60), "they do not come to rest");
    }
    // Longer than the ten seconds after which an idle projection checks whether to move its checkpoint.
    let turns = turns_in(Duration::from_secs(13));
    assert!(turns <= 25, "{turns} round trips in 13 seconds");
    assert!(running.stop().is_empty());
}

#[test]
fn a_projection_that_catches_up_reads_each_page_in_one_round_trip() {
    let Some((_database, proxy, store)) = behind_a_proxy() else {
        return;
    };
    let mut names = (0..).map(|number| Nothing(format!("nothing-{number}.v1")));
    let mut catch_up = || {
        project(&store, &names.next().unwrap()).unwrap();
    };
    catch_up(); // which prepares the statements
    let few = turns(&proxy, &mut catch_up);
    let events: Vec<NewEvent> = (0..100).map(deposited).collect();
    store.append(&account(), ExpectedVersion::NoStream, &events).unwrap();
    // One page, and a transaction that locks the checkpoint and moves it.
    assert_eq!(turns(&proxy, &mut catch_up) - few, 10 * (1 + 4));
}

#[test]
fn a_transaction_whose_first_answer_was_cut_off_does_its_work_once() {
    let Some((_database, proxy, store)) = behind_a_proxy() else {
        return;
    };
    for round in 0..20 {
        let mut runs = 0;
        proxy.cut_next_answer();
        store
            .transaction(|tx| {
                runs += 1;
                tx.append(&account(), ExpectedVersion::NoStream, &[deposited(round)])
            })
            .unwrap();
        assert_eq!(runs, 1, "round {round}");
    }
    assert_eq!(all_events(&store).len(), STORED_BEFORE + 20);
}

#[test]
fn an_append_whose_answer_was_cut_off_is_stored_once_and_acknowledged() {
    let Some((_database, proxy, store)) = behind_a_proxy() else {
        return;
    };
    for round in 0..20 {
        let account = account();
        proxy.cut_next_answer();
        let appended = store
            .append(&account, ExpectedVersion::NoStream, &[deposited(round)])
            .unwrap();
        assert!(
            appended.is_already_stored(),
            "round {round}: the first statement was committed"
        );
        assert_eq!(store.load(&account).unwrap().version(), 1);
    }
    assert_eq!(all_events(&store).len(), STORED_BEFORE + 20);
}
