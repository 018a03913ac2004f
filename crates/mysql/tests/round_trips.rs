//! How many round trips each call takes, counted by a proxy, and what a call does when the answer is lost.

use std::path::Path;

use firefly_eventstore_core::consumer::{ConsumerTransaction, Registration};
use firefly_eventstore_core::prelude::*;
use firefly_eventstore_core::{SnapshotAt, SnapshotType};
use firefly_eventstore_mysql::MysqlEventStore;
use firefly_eventstore_mysql::driver::prelude::Queryable;
use firefly_eventstore_mysql::driver::{Opts, OptsBuilder};
use firefly_eventstore_test_servers::{Database, MysqlServer, Proxy};
use serde::{Deserialize, Serialize};

use crate::support::{account, all_events, deposited, fresh, on_both};

on_both!(
    an_append_takes_one_round_trip_and_one_more_to_look_up_a_version,
    a_load_a_snapshot_and_a_mark_take_one_round_trip_each_and_a_page_two_at_most,
    a_transaction_takes_a_round_trip_to_begin_and_one_to_commit_and_one_for_each_append,
    each_statement_of_a_consumer_takes_a_round_trip_also_a_checkpoint_after_the_connection_was_used,
    an_append_whose_answer_was_cut_off_is_stored_once_and_acknowledged,
);

fn behind_a_proxy(server: &MysqlServer) -> (Database, Proxy, MysqlEventStore) {
    let (database, _) = fresh(server);
    let opts = Opts::from_url(database.url()).unwrap();
    let proxy = Proxy::of(Path::new(opts.get_socket().expect("the server has a socket")));
    let opts = OptsBuilder::from_opts(opts).socket(proxy.socket().to_str());
    let store = MysqlEventStore::configure(opts).max_connections(1).open().unwrap();
    (database, proxy, store)
}

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

/// The name of a call, the expected round trips, and the call.
type Call<'a> = (&'static str, usize, &'a dyn Fn() -> Result<(), Error>);

fn an_append_takes_one_round_trip_and_one_more_to_look_up_a_version(server: &MysqlServer) {
    let (_database, proxy, store) = behind_a_proxy(server);
    let known = account();
    store
        .append(&known, ExpectedVersion::NoStream, &[deposited(1)])
        .unwrap();
    let batch = || (0..1_000).map(deposited).collect::<Vec<_>>();
    let fifty = || {
        let accounts: Vec<AggregateKey> = (0..50).map(|_| account()).collect();
        let events: Vec<[NewEvent; 1]> = (0..50).map(|_| [deposited(1)]).collect();
        let appends = accounts.iter().zip(&events);
        let appends: Vec<Append<'_>> = appends
            .map(|(account, events)| Append::new(account, ExpectedVersion::NoStream, events))
            .collect();
        store.append_all(&appends).map(drop)
    };
    let version = || store.version(&known).unwrap();
    let appends: [Call<'_>; 6] = [
        ("any", 2, &|| {
            store.append(&known, ExpectedVersion::Any, &[deposited(2)]).map(drop)
        }),
        ("exists", 2, &|| {
            store.append(&known, ExpectedVersion::Exists, &[deposited(2)]).map(drop)
        }),
        ("no stream", 1, &|| {
            store
                .append(&account(), ExpectedVersion::NoStream, &[deposited(2)])
                .map(drop)
        }),
        ("a thousand", 1, &|| {
            store.append(&account(), ExpectedVersion::NoStream, &batch()).map(drop)
        }),
        ("a thousand anywhere", 2, &|| {
            store.append(&known, ExpectedVersion::Any, &batch()).map(drop)
        }),
        ("fifty aggregates", 1, &fifty),
    ];
    for (name, expected, append) in appends {
        // The first use of each statement prepares it.
        append().unwrap();
        let before = proxy.turns();
        append().unwrap();
        assert_eq!(proxy.turns() - before, expected, "{name}");
    }
    let exactly = || {
        let version = version();
        let before = proxy.turns();
        store.append(&known, version, &[deposited(3)]).unwrap();
        proxy.turns() - before
    };
    exactly(); // which prepares the statement
    for _ in 0..2 {
        assert_eq!(exactly(), 1, "exact");
    }
}

fn a_load_a_snapshot_and_a_mark_take_one_round_trip_each_and_a_page_two_at_most(server: &MysqlServer) {
    let (_database, proxy, store) = behind_a_proxy(server);
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
    let reads: [(&str, usize, &dyn Fn()); 32] = [
        ("load", 1, &|| drop(store.load(&known).unwrap())),
        // The log has no event of the aggregate, so the events may be archived.
        ("nothing", 2, &|| drop(store.load(&account()).unwrap())),
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
        ("page of a rare type", 3, &|| page(of_type("account.closed").limit(5))),
        ("page backwards", 2, &|| page(everything().limit(5).backwards())),
        ("page from the end on", 1, &|| page(everything().after(mark).limit(5))),
        ("page up to a mark", 1, &|| page(everything().until(mark))),
        ("page up to a mark backwards", 1, &|| {
            page(everything().until(mark).backwards());
        }),
        ("nothing up to a mark", 3, &|| {
            page(of_type("account.closed").until(mark));
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

fn a_transaction_takes_a_round_trip_to_begin_and_one_to_commit_and_one_for_each_append(server: &MysqlServer) {
    let (_database, proxy, store) = behind_a_proxy(server);
    let transaction = |appends| {
        store
            .transaction(|tx| {
                for _ in 0..appends {
                    tx.append(&account(), ExpectedVersion::NoStream, &[deposited(1)])?;
                }
                Ok::<_, Error>(())
            })
            .unwrap();
    };
    transaction(1);
    for appends in 0..4 {
        let before = proxy.turns();
        transaction(appends);
        assert_eq!(proxy.turns() - before, 2 + appends, "{appends} appends");
    }
}

fn each_statement_of_a_consumer_takes_a_round_trip_also_a_checkpoint_after_the_connection_was_used(
    server: &MysqlServer,
) {
    let (_database, proxy, store) = behind_a_proxy(server);
    let name = "balances.v1";
    let query = EventQuery::new();
    let registration = Registration::new(name, &query);
    store.transaction(|tx| tx.register(&registration)).unwrap();
    let project = |has_tables: bool| {
        let project = store.transaction(|tx| -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
            let mut slot = tx.lock_slot(name, 0)?;
            if has_tables {
                tx.connection().query_drop("SET @balance = 1")?;
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
        let before = proxy.turns();
        project(has_tables);
        assert_eq!(proxy.turns() - before, expected, "with tables of its own: {has_tables}");
    }
}

fn an_append_whose_answer_was_cut_off_is_stored_once_and_acknowledged(server: &MysqlServer) {
    let (_database, proxy, store) = behind_a_proxy(server);
    store
        .append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
        .unwrap();
    for round in 0..10 {
        let account = account();
        store
            .append(&account, ExpectedVersion::NoStream, &[deposited(1)])
            .unwrap();
        proxy.cut_next_answer();
        let second = [deposited(round)];
        let appended = store
            .append(&account, ExpectedVersion::Exact(1.into()), &second)
            .unwrap();
        assert_eq!(appended.version(), 2, "round {round}");
        assert_eq!(store.load(&account).unwrap().version(), 2);
    }
    assert_eq!(all_events(&store).len(), 21);
}
