//! Replicas and clusters: what they can prove, and what remains after a failover.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use firefly_eventstore_core::ErrorKind;
use firefly_eventstore_core::operate::{Diagnosis, Operations, Severity};
use firefly_eventstore_core::prelude::*;
use firefly_eventstore_mysql::driver::prelude::Queryable;
use firefly_eventstore_mysql::driver::{Conn, Opts, OptsBuilder};
use firefly_eventstore_mysql::{MysqlBuilder, MysqlEventStore};
use firefly_eventstore_test_servers::{Flavour, MysqlServer, mysql_unless_missing};

use crate::support::{account, append_one, deposited, on_both, run, write_with_delays_and_rollbacks};

on_both!(a_replica_reads_what_was_published_and_takes_over);

/// Short enough to fall into the middle of transactions.
const INTERVAL: Duration = Duration::from_millis(5);

/// How long a test waits for the servers at most.
const PATIENCE: Duration = Duration::from_secs(60);

fn a_replica_reads_what_was_published_and_takes_over(server: &MysqlServer) {
    let flavour = server.flavour();
    let primary = MysqlServer::start_forgetful(flavour, &[("log_bin", "binlog"), ("server_id", "1")]).unwrap();
    let parallel = match flavour {
        Flavour::Mysql => &[
            ("replica_parallel_workers", "4"),
            ("replica_preserve_commit_order", "ON"),
        ][..],
        Flavour::Mariadb => &[("slave_parallel_threads", "4"), ("slave_parallel_mode", "optimistic")],
    };
    let replica = primary
        .replica(&[flavour.forgetful(), parallel, &[("read_only", "ON")]].concat())
        .unwrap();
    let database = primary.new_database();
    let store = MysqlEventStore::builder(database.url())
        .max_connections(16)
        .migrate_on_open(true)
        .open()
        .unwrap();
    let url = replica.url(database.name());
    eventually("the schema is there", || MysqlEventStore::open(&url).is_ok());

    a_replica_proves_no_mark_and_reads_none_before_one_is_published(&url, &store);
    let followed = follow_under_load(&store, database.url(), &[&url, &url], &url);
    assert!(followed.naive < followed.stored, "the hammer finds nothing");
    a_replica_that_commits_in_another_order_is_refused(flavour, &url);
    what_was_not_replicated_is_told_after_a_failover(&primary, &store, database.url(), &url);
    primary.restart();
    calls_go_where_writes_are_taken_after_a_switchover(&primary, &replica, database.name());
}

fn on_a_replica(url: &str) -> MysqlBuilder {
    MysqlEventStore::builder(url).read_replica(true)
}

fn a_replica_proves_no_mark_and_reads_none_before_one_is_published(url: &str, store: &MysqlEventStore) {
    let plain = MysqlEventStore::open(url).unwrap();
    let error = plain.high_water_mark().unwrap_err();
    assert!(error.is_unprovable() && !error.is_retryable(), "{error:?}");
    assert!(error.to_string().contains("read_replica"), "{error}");
    plain.read(EventQuery::new()).next().unwrap().unwrap_err();
    assert!(plain.publish_mark().unwrap_err().is_unprovable());
    assert_eq!(diagnosed(&plain, "topology"), Severity::Danger);

    let reader = on_a_replica(url).open().unwrap();
    let error = reader.high_water_mark().unwrap_err();
    assert!(
        error.is_unprovable() && error.to_string().contains("publish-mark"),
        "{error:?}"
    );
    assert_eq!(diagnosed(&reader, "published mark"), Severity::Danger);
    let appended = append_one(store);
    assert_eq!(store.publish_mark().unwrap().as_i64(), appended);
    eventually("the mark is there", || reader.high_water_mark().is_ok());
    assert_eq!(reader.read(EventQuery::new()).count(), 1);
    for subject in ["topology", "published mark", "replica", "read_only"] {
        assert_eq!(diagnosed(&reader, subject), Severity::Good);
    }

    let refused = [
        reader
            .append(&account(), ExpectedVersion::Any, &[deposited(1)])
            .map(drop),
        reader.transaction(|_| Ok(())),
        reader.publish_mark().map(drop),
        reader.update_statistics().map(drop),
    ];
    for refused in refused {
        assert_eq!(*refused.unwrap_err().kind(), ErrorKind::ReadOnly);
    }
    assert_eq!(*on_a_replica(url).migrate().unwrap_err().kind(), ErrorKind::ReadOnly);
    let error = on_a_replica(url).publish_mark(INTERVAL).open().unwrap_err();
    assert!(error.is_invalid_input(), "{error}");
}

fn diagnosed(store: &MysqlEventStore, subject: &str) -> Severity {
    let diagnoses = store.diagnose().unwrap();
    let found = diagnoses.iter().find(|diagnosis| diagnosis.subject == subject);
    found.unwrap_or_else(|| panic!("nothing of {subject}")).severity
}

/// The number of events at the end, and the number that a naive reader saw. It takes the last row for the end of the log.
struct Followed {
    stored: usize,
    naive: usize,
}

/// Writers append on one server, which publishes the mark. Readers follow the log elsewhere by that mark. No reader misses or repeats an
/// event.
fn follow_under_load(store: &MysqlEventStore, url: &str, readers: &[&str], naive: &str) -> Followed {
    let publisher = store.clone();
    let goal = OnceLock::new();
    publisher.publish_mark().unwrap();
    for url in readers {
        let reader = on_a_replica(url).open().unwrap();
        eventually("a mark is there", || reader.high_water_mark().is_ok());
    }
    let stored_on = |url: &str, condition: &str| -> Vec<i64> {
        let select = format!("SELECT global_sequence FROM events WHERE {condition} ORDER BY global_sequence");
        Conn::new(url).unwrap().query(select).unwrap()
    };
    thread::scope(|scope| {
        let follow = |url: &str| {
            let reader = on_a_replica(url).open().unwrap();
            let (mut checkpoint, mut seen) = (GlobalSequence::ZERO, Vec::new());
            while goal.get().is_none_or(|goal| *goal > checkpoint.as_i64()) {
                let mut events = reader.read(EventQuery::new().after(checkpoint));
                seen.extend(events.by_ref().map(|event| event.unwrap().global_sequence.as_i64()));
                checkpoint = events.checkpoint();
            }
            seen
        };
        let following: Vec<_> = readers.iter().map(|url| scope.spawn(move || follow(url))).collect();
        let naive = scope.spawn(|| {
            let mut client = Conn::new(naive).unwrap();
            let (mut position, mut seen) = (0, 0);
            while goal.get().is_none_or(|goal| *goal > position) {
                let select = "SELECT global_sequence FROM events WHERE global_sequence > ? ORDER BY 1";
                let found: Vec<i64> = client.exec(select, (position,)).unwrap();
                position = found.last().copied().unwrap_or(position);
                seen += found.len();
            }
            seen
        });
        let publishing = scope.spawn(|| {
            while goal.get().is_none() {
                publisher.publish_mark().unwrap();
                thread::sleep(INTERVAL);
            }
            publisher.publish_mark().unwrap()
        });
        thread::scope(|writing| {
            for writer in 0..8 {
                writing.spawn(move || {
                    let random = &mut fastrand::Rng::with_seed(writer);
                    for _ in 0..40 {
                        write_with_delays_and_rollbacks(store, url, random);
                    }
                });
            }
        });
        let stored = stored_on(url, "TRUE");
        goal.set(*stored.last().unwrap()).unwrap();
        assert_eq!(publishing.join().unwrap().as_i64(), *goal.get().unwrap());
        for seen in following {
            assert_eq!(seen.join().unwrap(), stored);
        }
        Followed {
            stored: stored.len(),
            naive: naive.join().unwrap(),
        }
    })
}

fn a_replica_that_commits_in_another_order_is_refused(flavour: Flavour, url: &str) {
    let (unsafe_order, safe) = match flavour {
        Flavour::Mysql => (
            "STOP REPLICA SQL_THREAD; SET GLOBAL replica_preserve_commit_order = OFF; START REPLICA",
            "STOP REPLICA SQL_THREAD; SET GLOBAL replica_preserve_commit_order = ON; START REPLICA",
        ),
        Flavour::Mariadb => (
            "STOP REPLICA; SET GLOBAL gtid_slave_pos = '0-1-1,7-1-1'; START REPLICA",
            "STOP REPLICA; SET GLOBAL gtid_slave_pos = ''; START REPLICA",
        ),
    };
    let set = |statements: &str| {
        let mut client = Conn::new(url).unwrap();
        statements.split("; ").for_each(|statement| run(&mut client, statement));
    };
    set(unsafe_order);
    let reader = on_a_replica(url).open().unwrap();
    let error = reader.high_water_mark().unwrap_err();
    assert!(
        error.is_unprovable() && error.to_string().contains("order"),
        "{error:?}"
    );
    assert_eq!(diagnosed(&reader, "topology"), Severity::Danger);
    set(safe);
    on_a_replica(url).open().unwrap().high_water_mark().unwrap();
}

fn what_was_not_replicated_is_told_after_a_failover(
    primary: &MysqlServer,
    store: &MysqlEventStore,
    primary_url: &str,
    url: &str,
) {
    let mut replica = Conn::new(url).unwrap();
    let caught_up = |replica: &mut Conn| {
        let count = "SELECT COUNT(*) FROM events";
        let there: Option<u64> = replica.query_first(count).unwrap();
        there == Conn::new(primary_url).unwrap().query_first(count).unwrap()
    };
    eventually("the replica has caught up", || caught_up(&mut replica));
    let kept = store.high_water_mark().unwrap();
    run(&mut replica, "STOP REPLICA");
    let lost = GlobalSequence::try_from(append_one(store)).unwrap();
    assert_eq!(store.high_water_mark().unwrap(), lost);
    primary.kill("KILL");
    let promoted = MysqlEventStore::open(url).unwrap();
    let error = promoted.high_water_mark().unwrap_err();
    assert!(error.to_string().contains("RESET REPLICA ALL"), "{error}");
    run(&mut replica, "RESET REPLICA ALL");
    run(&mut replica, "SET GLOBAL read_only = OFF");

    let promoted = MysqlEventStore::open(url).unwrap();
    assert_eq!(promoted.high_water_mark().unwrap(), kept);
    let error = promoted
        .read(EventQuery::new().after(lost))
        .next()
        .unwrap()
        .unwrap_err();
    assert!(error.is_beyond_end(), "{error:?}");
    append_one(&promoted);
    assert_eq!(promoted.read(EventQuery::new().after(kept)).count(), 1);
}

/// An address that leads to one server, and then to another.
struct MovingAddress(tempfile::TempDir);

impl MovingAddress {
    fn of(server: &MysqlServer) -> Self {
        let address = Self(tempfile::tempdir_in("/tmp").unwrap());
        address.move_to(server);
        address
    }

    fn socket(&self) -> PathBuf {
        self.0.path().join("socket")
    }

    fn move_to(&self, server: &MysqlServer) {
        let opts = Opts::from_url(&server.url("mysql")).unwrap();
        let new = self.0.path().join("new");
        symlink(opts.get_socket().expect("the server has a socket"), &new).unwrap();
        fs::rename(new, self.socket()).unwrap();
    }
}

type Call<'a> = &'a dyn Fn(&MysqlEventStore) -> Result<(), Error>;

/// Both servers were the primary at some time, so both have the store.
fn calls_go_where_writes_are_taken_after_a_switchover(old: &MysqlServer, new: &MysqlServer, name: &str) {
    // A user without the right to write on a read-only server.
    for server in [old, new] {
        let mut admin = Conn::new(Opts::from_url(&server.url(name)).unwrap()).unwrap();
        run(&mut admin, "CREATE USER clerk@'%' IDENTIFIED BY 'secret'");
        run(&mut admin, &format!("GRANT ALL ON {name}.* TO clerk@'%'"));
        let watch = match server.flavour() {
            Flavour::Mysql => "REPLICATION CLIENT",
            Flavour::Mariadb => "REPLICA MONITOR",
        };
        run(&mut admin, &format!("GRANT {watch} ON *.* TO clerk@'%'"));
    }
    let mut admin = Conn::new(Opts::from_url(&old.url(name)).unwrap()).unwrap();
    let known = account();
    let calls: [Call<'_>; 5] = [
        &|store| {
            store
                .append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
                .map(drop)
        },
        &|store| store.append(&known, ExpectedVersion::Any, &[deposited(1)]).map(drop),
        &|store| store.high_water_mark().map(drop),
        &|store| store.publish_mark().map(drop),
        &|store| {
            store.transaction(|tx| {
                tx.append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
                    .map(drop)
            })
        },
    ];
    let change_source = match old.flavour() {
        Flavour::Mysql => "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = 1",
        Flavour::Mariadb => "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = 1",
    };
    for (number, call) in calls.into_iter().enumerate() {
        run(&mut admin, "SET GLOBAL read_only = OFF");
        run(&mut admin, "RESET REPLICA ALL");
        let address = MovingAddress::of(old);
        let open = || {
            let opts = OptsBuilder::from_opts(Opts::from_url(&old.url(name)).unwrap());
            let opts = opts
                .socket(address.socket().to_str())
                .user(Some("clerk"))
                .pass(Some("secret"));
            MysqlEventStore::configure(opts).max_connections(1).open().unwrap()
        };
        let store = open();
        // The next mark is proved without a lock.
        store.high_water_mark().unwrap();
        run(&mut admin, "SET GLOBAL read_only = ON");
        run(&mut admin, change_source);
        address.move_to(new);
        call(&store).unwrap_or_else(|error| panic!("{number}: {error:?}"));
        // A store checks a server's role once a second.
        let there = MysqlEventStore::open(&new.url(name))
            .unwrap()
            .high_water_mark()
            .unwrap();
        eventually("the mark is that of the new server", || {
            store.high_water_mark().unwrap() == there
        });
        // A connection from the time when the address led to the old server.
        address.move_to(old);
        let store = open();
        call(&store).unwrap_err();
        address.move_to(new);
        call(&store).unwrap_or_else(|error| panic!("{number}, made too early: {error:?}"));
    }
    run(&mut admin, "RESET REPLICA ALL");
}

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn of_a_cluster_one_node_writes_and_the_others_read_and_take_over() {
    let Some(nodes) = MysqlServer::cluster_unless_missing(Flavour::Mariadb.forgetful()) else {
        return;
    };
    let database = nodes[0].new_database();
    let urls = nodes.each_ref().map(|node| node.url(database.name()));

    for url in &urls {
        eventually("the database is there", || Conn::new(url.as_str()).is_ok());
    }
    // One node at a time: the server can stop if several nodes change tables at once.
    for url in &urls {
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| MysqlEventStore::builder(url).migrate().unwrap());
            }
        });
    }

    for url in &urls {
        let store = MysqlEventStore::open(url).unwrap();
        let error = store.high_water_mark().unwrap_err();
        assert!(
            error.is_unprovable() && error.to_string().contains("only_writer"),
            "{error:?}"
        );
        assert_eq!(diagnosed(&store, "topology"), Severity::Danger);
    }

    let store = |url: &str| {
        MysqlEventStore::builder(url)
            .max_connections(16)
            .only_writer(true)
            .open()
            .unwrap()
    };
    let writes = store(&urls[0]);
    assert_eq!(diagnosed(&writes, "topology"), Severity::Good);
    let followed = follow_under_load(&writes, &urls[0], &[&urls[1], &urls[2]], &urls[1]);
    assert!(followed.naive < followed.stored, "the hammer finds nothing");

    // Every acknowledged event is on all nodes.
    let acknowledged: HashSet<i64> = thread::scope(|scope| {
        let append = || {
            let mut acknowledged = Vec::new();
            while let Ok(appended) = writes.append(&account(), ExpectedVersion::NoStream, &[deposited(1)]) {
                acknowledged.push(appended.last_sequence().unwrap().as_i64());
            }
            acknowledged
        };
        let appending = [(); 4].map(|()| scope.spawn(append));
        thread::sleep(Duration::from_millis(300));
        nodes[0].kill("KILL");
        appending.into_iter().flat_map(|each| each.join().unwrap()).collect()
    });
    assert!(acknowledged.len() > 20, "{}", acknowledged.len());
    let mut survivor = None;
    eventually("the others go on", || {
        survivor = MysqlEventStore::builder(&urls[1]).only_writer(true).open().ok();
        survivor.is_some()
    });
    let survivor = survivor.unwrap();
    let last = append_one(&survivor);
    assert_eq!(survivor.high_water_mark().unwrap().as_i64(), last);
    let there: HashSet<i64> = survivor
        .read(EventQuery::new())
        .map(|event| event.unwrap().global_sequence.as_i64())
        .collect();
    assert!(acknowledged.is_subset(&there));
}

#[test]
fn of_a_group_the_primary_proves_its_mark_and_the_other_reads_what_was_published() {
    if mysql_unless_missing().is_none() {
        return;
    }
    // Its statements are for those who know the members.
    let forgetful = Flavour::Mysql.forgetful().iter().copied();
    let without = ["skip_log_bin", "performance_schema"];
    let options: Vec<_> = forgetful.filter(|(name, _)| !without.contains(name)).collect();
    let members = MysqlServer::group(&options).unwrap();
    let database = members[0].new_database();
    let urls = members.each_ref().map(|member| member.url(database.name()));
    let store = MysqlEventStore::builder(&urls[0])
        .max_connections(16)
        .migrate_on_open(true)
        .open()
        .unwrap();
    assert_eq!(append_one(&store), store.high_water_mark().unwrap().as_i64());
    let told = topology(&store);
    assert_eq!(told.severity, Severity::Good);
    assert!(told.found.starts_with("the primary of a replication group"), "{told:?}");
    assert_eq!(diagnosed(&store, "replica"), Severity::Good);

    eventually("the schema is there", || MysqlEventStore::open(&urls[1]).is_ok());
    let secondary = MysqlEventStore::open(&urls[1]).unwrap();
    is_refused_as(&secondary, "a secondary member of a replication group");
    let error = secondary.append(&account(), ExpectedVersion::NoStream, &[deposited(1)]);
    assert_eq!(*error.unwrap_err().kind(), ErrorKind::ReadOnly);
    let followed = follow_under_load(&store, &urls[0], &[&urls[1]], &urls[1]);
    assert!(followed.naive < followed.stored, "the hammer finds nothing");

    // A server outside of the group may replicate to it.
    let mut admin = Conn::new(urls[0].as_str()).unwrap();
    let feed = "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = 1 FOR CHANNEL 'outside'";
    run(&mut admin, feed);
    is_refused_as(&MysqlEventStore::open(&urls[0]).unwrap(), "a replica");
    run(&mut admin, "RESET REPLICA ALL FOR CHANNEL 'outside'");

    // The other member becomes the primary.
    let [first, second] = urls.each_ref().map(|url| -> String {
        let mut member = Conn::new(url.as_str()).unwrap();
        member.query_first("SELECT @@server_uuid").unwrap().unwrap()
    });
    let mut ask = |function: &str| drop(admin.query_first::<String, _>(format!("SELECT {function}")).unwrap());
    ask(&format!("group_replication_set_as_primary('{second}')"));
    let promoted = MysqlEventStore::open(&urls[1]).unwrap();
    let last = append_one(&promoted);
    assert_eq!(promoted.high_water_mark().unwrap().as_i64(), last);
    is_refused_as(
        &MysqlEventStore::open(&urls[0]).unwrap(),
        "a secondary member of a replication group",
    );

    // Both members become primaries, then only the first one is.
    ask("group_replication_switch_to_multi_primary_mode()");
    for url in &urls {
        is_refused_as(
            &MysqlEventStore::open(url).unwrap(),
            "one of several primaries of a replication group",
        );
    }
    ask(&format!("group_replication_switch_to_single_primary_mode('{first}')"));
    let alone = MysqlEventStore::open(&urls[0]).unwrap();
    assert_eq!(append_one(&alone), alone.high_water_mark().unwrap().as_i64());
}

/// Asserts that such a member proves no mark, and that `doctor` says what it is.
fn is_refused_as(store: &MysqlEventStore, what: &str) {
    let error = store.high_water_mark().unwrap_err();
    assert!(error.is_unprovable() && !error.is_retryable(), "{error:?}");
    assert!(
        store
            .read(EventQuery::new())
            .next()
            .unwrap()
            .unwrap_err()
            .is_unprovable()
    );
    let told = topology(store);
    assert_eq!(told.severity, Severity::Danger);
    assert!(told.found.starts_with(what), "{told:?}");
}

fn topology(store: &MysqlEventStore) -> Diagnosis {
    let diagnoses = store.diagnose().unwrap();
    let mut of_topology = diagnoses
        .into_iter()
        .filter(|diagnosis| diagnosis.subject == "topology");
    of_topology.next().unwrap()
}
