//! Standbys: what they can prove, which calls go to them, and what remains after a failover.

use std::collections::HashSet;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

use firefly_eventstore_core::ErrorKind;
use firefly_eventstore_core::operate::{LogDigest, Operations, RestorePoint, Severity};
use firefly_eventstore_core::prelude::*;
use firefly_eventstore_postgres::driver::{Client, NoTls};
use firefly_eventstore_postgres::{PostgresBuilder, PostgresEventStore};
use firefly_eventstore_test_servers::{Database, PostgresServer, postgres_unless_missing};

use crate::support::{
    account, all_events, archive, client, deposited, movable, stored_sequences, write_with_delays_and_rollbacks,
};

/// A primary and its streaming standby, with a store.
struct Pair {
    primary: PostgresServer,
    standby: PostgresServer,
}

impl Pair {
    fn start() -> Option<Self> {
        postgres_unless_missing()?;
        let primary = PostgresServer::start(&[("fsync", "off")]).unwrap();
        let standby = primary.standby(&[]).unwrap();
        Some(Self { primary, standby })
    }

    /// The pair that tests share if they stop neither server.
    fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Pair>> = OnceLock::new();
        SHARED.get_or_init(Self::start).as_ref()
    }

    /// A database on both servers, with a store on the primary.
    fn fresh(&self) -> (Database, PostgresEventStore) {
        let database = self.primary.new_database();
        let store = PostgresEventStore::builder(database.url())
            .max_connections(16)
            .migrate_on_open(true)
            .open()
            .unwrap();
        self.catch_up();
        (database, store)
    }

    fn catch_up(&self) {
        self.standby.has_caught_up(&self.primary);
    }

    fn on_the_standby(&self, database: &Database) -> PostgresBuilder {
        PostgresEventStore::builder(&self.standby.url(database.name()))
    }
}

/// A connection string with several servers.
fn hosts(directories: &[&Path], database: &Database) -> String {
    let directories: Vec<String> = directories.iter().map(|at| at.display().to_string()).collect();
    let hosts = directories.join(",");
    format!("host={hosts} user=postgres dbname={}", database.name())
}

/// An address that leads to one server and then to another, as one that moves at a failover.
struct MovingAddress(tempfile::TempDir);

impl MovingAddress {
    fn of(server: &PostgresServer) -> Self {
        let address = Self(tempfile::tempdir_in("/tmp").unwrap());
        address.move_to(server);
        address
    }

    fn move_to(&self, server: &PostgresServer) {
        let (at, new) = (self.0.path().join(".s.PGSQL.5432"), self.0.path().join("new"));
        symlink(server.directory().join(".s.PGSQL.5432"), &new).unwrap();
        fs::rename(new, at).unwrap();
    }
}

fn append(store: &PostgresEventStore) -> Result<Appended, Error> {
    store.append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
}

/// A call on a store.
type Call<'a> = dyn FnMut(&PostgresEventStore) -> Result<(), Error> + 'a;

#[test]
fn a_replica_tells_what_is_archived_as_the_primary_does() {
    let Some(pair) = Pair::shared() else { return };
    let (database, store) = pair.fresh();
    let (ada, bob) = (account(), account());
    for account in [&ada, &ada, &bob] {
        store.append(account, ExpectedVersion::Any, &[deposited(1)]).unwrap();
    }
    archive(&store, &movable(&store));
    store.publish_mark().unwrap();
    pair.catch_up();
    let replica = pair.on_the_standby(&database).read_replica(true).open().unwrap();
    assert_eq!(replica.archives().unwrap(), store.archives().unwrap());
    assert_eq!(replica.version(&ada).unwrap(), 2);
    for error in [
        replica.load(&ada).unwrap_err(),
        replica.read(EventQuery::new()).next().unwrap().unwrap_err(),
    ] {
        assert!(error.is_archived(), "{error}");
    }
    assert_eq!(replica.read(EventQuery::new().skip_archived()).count(), 1);
    let rest = EventQuery::new().after(GlobalSequence::from(2));
    assert_eq!(replica.read(rest).count(), 1);
}

#[test]
fn a_standby_refuses_the_mark_and_says_what_to_do() {
    let Some(pair) = Pair::shared() else { return };
    let (database, store) = pair.fresh();
    let known = account();
    store
        .append(&known, ExpectedVersion::NoStream, &[deposited(1)])
        .unwrap();
    pair.catch_up();
    let standby = pair.on_the_standby(&database).open().unwrap();
    assert_eq!(standby.load(&known).unwrap().version(), 1, "a stream needs no mark");
    let calls: [&dyn Fn() -> Result<(), Error>; 4] = [
        &|| standby.high_water_mark().map(drop),
        &|| standby.read(EventQuery::new()).next().unwrap().map(drop),
        &|| standby.health().map(drop),
        &|| {
            standby
                .restore_table(RestorePoint::Sequence(GlobalSequence::MAX))
                .map(drop)
        },
    ];
    for call in calls {
        let error = call().unwrap_err();
        assert!(error.is_unprovable() && !error.is_retryable(), "{error}");
        let text = error.to_string();
        assert!(
            text.contains("on the primary") && text.contains("read_replica"),
            "{text}"
        );
    }
    for error in [append(&standby).unwrap_err(), standby.publish_mark().unwrap_err()] {
        assert_eq!(*error.kind(), ErrorKind::ReadOnly, "{error}");
    }
    let mut other = Client::connect(&pair.standby.url(database.name()), NoTls).unwrap();
    let error = other.query("SELECT firefly_high_water_mark()", &[]).unwrap_err();
    assert!(
        error.as_db_error().unwrap().message().contains("recovery"),
        "other programs are told, too"
    );
}

#[test]
fn followers_on_a_standby_miss_nothing_and_those_without_the_published_mark_do() {
    let Some(pair) = Pair::shared() else { return };
    let (database, store) = pair.fresh();
    let publishing = PostgresEventStore::builder(database.url())
        .publish_mark(Duration::from_millis(5))
        .open()
        .unwrap();
    let replica = pair.on_the_standby(&database).read_replica(true).open().unwrap();
    let (working, last) = (AtomicBool::new(true), AtomicBool::new(false));
    let (followed, naive) = thread::scope(|scope| {
        let follower = scope.spawn(|| {
            let (mut checkpoint, mut seen) = (GlobalSequence::ZERO, Vec::new());
            loop {
                let is_last = last.load(Ordering::SeqCst);
                let mut events = replica.read(EventQuery::new().after(checkpoint));
                let read: Result<Vec<_>, Error> = events.by_ref().collect();
                match read {
                    Ok(read) => seen.extend(read.iter().map(|event| event.global_sequence.as_i64())),
                    // No mark is published yet, or the standby cancelled the query to apply the log.
                    Err(error) if error.is_unprovable() || error.is_retryable() => continue,
                    Err(error) => panic!("{error:?}"),
                }
                checkpoint = events.checkpoint();
                if is_last {
                    return seen;
                }
            }
        });
        let naive = scope.spawn(|| {
            let mut client = Client::connect(&pair.standby.url(database.name()), NoTls).unwrap();
            let (mut position, mut seen) = (0_i64, HashSet::new());
            while working.load(Ordering::SeqCst) {
                let select = "SELECT global_sequence FROM events WHERE global_sequence > $1 ORDER BY 1";
                for row in client.query(select, &[&position]).unwrap() {
                    position = row.get(0);
                    seen.insert(position);
                }
            }
            (position, seen)
        });
        write_with_delays_and_rollbacks(&store);
        working.store(false, Ordering::SeqCst);
        drop(publishing);
        store.publish_mark().unwrap();
        pair.catch_up();
        last.store(true, Ordering::SeqCst);
        (follower.join().unwrap(), naive.join().unwrap())
    });
    let stored = stored_sequences(&database);
    assert!(followed.is_sorted_by(|a, b| a < b), "out of order, or twice");
    assert_eq!(followed.into_iter().collect::<HashSet<_>>(), stored);
    let (position, seen) = naive;
    let missed = stored
        .iter()
        .filter(|sequence| **sequence <= position && !seen.contains(sequence));
    assert!(missed.count() > 0, "the hammer finds nothing");
}

#[test]
fn a_store_for_reading_from_a_replica_reads_up_to_what_was_published_and_writes_nothing() {
    let Some(pair) = Pair::shared() else { return };
    let (database, store) = pair.fresh();
    append(&store).unwrap();
    pair.catch_up();
    let replica = pair.on_the_standby(&database).read_replica(true).open().unwrap();
    let error = replica.read(EventQuery::new()).next().unwrap().unwrap_err();
    assert!(error.is_unprovable(), "{error}");
    assert!(error.to_string().contains("firefly-eventstore publish-mark"), "{error}");

    assert_eq!(store.publish_mark().unwrap(), 1);
    append(&store).unwrap();
    pair.catch_up();
    assert_eq!(replica.high_water_mark().unwrap(), 1);
    assert_eq!(all_events(&replica).len(), 1);
    assert_eq!(Operations::publish_mark(&store).unwrap(), 2);
    pair.catch_up();
    assert_eq!(all_events(&replica).len(), 2);
    let health = replica.health().unwrap();
    assert_eq!((health.high_water_mark.as_i64(), health.writable), (2, false));

    // A checkpoint that the standby does not have yet is no error.
    let ahead = EventQuery::new().after(GlobalSequence::from(1_000));
    let page = replica.read_page(&ahead, None).unwrap();
    assert_eq!((page.events.len(), page.checkpoint.as_i64()), (0, 1_000));

    let known = account();
    let snapshot = NewSnapshot::new(&known, Version::from(1), "balance", &1).unwrap();
    let event = deposited(1);
    let mut elsewhere = client(&database);
    let mut elsewhere = elsewhere.transaction().unwrap();
    let append_within = &mut |replica: &PostgresEventStore| {
        let append = Append::new(&known, ExpectedVersion::Any, std::slice::from_ref(&event));
        replica.append_within(&mut elsewhere, &[append]).map(drop)
    };
    let digest = LogDigest::OF_NOTHING;
    let calls: [&mut Call<'_>; 13] = [
        &mut |replica| append(replica).map(drop),
        &mut |replica| replica.transaction(|_| Ok(())),
        &mut |replica| replica.transact(&mut |_| panic!("nothing is begun")),
        append_within,
        &mut |replica| replica.save(&snapshot),
        &mut |replica| replica.delete_snapshots_older_than(OffsetDateTime::now_utc()).map(drop),
        &mut |replica| replica.refresh_aggregate_summaries(),
        &mut |replica| replica.vacuum().map(drop),
        &mut |replica| replica.update_statistics().map(drop),
        &mut |replica| replica.publish_mark().map(drop),
        &mut |replica| replica.retire_events(&[]).map(drop),
        &mut |replica| replica.attach_events(&[]).map(drop),
        &mut |replica| replica.forget_archive(&digest),
    ];
    for (number, call) in calls.into_iter().enumerate() {
        let error = call(&replica).unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::ReadOnly, "{number}: {error:?}");
        assert!(
            std::error::Error::source(&error).is_none(),
            "{number}: the server was asked"
        );
    }
    let builder = || pair.on_the_standby(&database).read_replica(true);
    assert_eq!(*builder().migrate().unwrap_err().kind(), ErrorKind::ReadOnly);
    assert!(builder().migrate_on_open(true).open().unwrap_err().is_invalid_input());
    assert!(
        builder()
            .publish_mark(Duration::from_secs(1))
            .open()
            .unwrap_err()
            .is_invalid_input()
    );
}

#[test]
fn a_replica_that_is_behind_the_one_that_a_read_began_on_does_not_go_on_with_it() {
    let Some(pair) = Pair::shared() else { return };
    let (database, store) = pair.fresh();
    for _ in 0..4 {
        append(&store).unwrap();
    }
    store.publish_mark().unwrap();
    pair.catch_up();
    let mut standby = Client::connect(&pair.standby.url("postgres"), NoTls).unwrap();
    standby.batch_execute("SELECT pg_wal_replay_pause()").unwrap();
    append(&store).unwrap();
    store.publish_mark().unwrap();

    let address = MovingAddress::of(&pair.primary);
    let url = hosts(&[address.0.path()], &database);
    let replica = PostgresEventStore::builder(&url).read_replica(true).open().unwrap();
    let query = EventQuery::new().page_size(2.try_into().unwrap());
    let first = replica.read_page(&query, None).unwrap();
    assert_eq!(first.high_water_mark, 5);
    address.move_to(&pair.standby);
    let terminate = "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'";
    client(&database).query(terminate, &[]).unwrap();
    let error = replica.read_page(&query, first.next.as_ref()).unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert_eq!(all_events(&replica).len(), 4, "a new read goes as far as this one does");
    standby.batch_execute("SELECT pg_wal_replay_resume()").unwrap();
    pair.catch_up();
    let second = replica.read_page(&query, first.next.as_ref()).unwrap();
    assert_eq!(second.events.len(), 2);
}

#[test]
fn a_store_publishes_until_its_last_clone_is_gone() {
    let Some(pair) = Pair::shared() else { return };
    let (database, _store) = pair.fresh();
    let store = PostgresEventStore::builder(database.url())
        .publish_mark(Duration::from_millis(1))
        .open()
        .unwrap();
    let published = || {
        let mark = "SELECT global_sequence, published_at FROM firefly_published_mark";
        let mark = client(&database).query_opt(mark, &[]).unwrap();
        mark.map(|mark| (mark.get::<_, i64>(0), mark.get::<_, OffsetDateTime>(1)))
    };
    append(&store).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while published().is_none_or(|(mark, _)| mark < 1) {
        assert!(Instant::now() < deadline, "nothing is published");
    }
    let clone = store.clone();
    drop(store);
    append(&clone).unwrap();
    while published().is_none_or(|(mark, _)| mark < 2) {
        assert!(Instant::now() < deadline, "nothing is published any more");
    }
    drop(clone);
    let last = published();
    thread::sleep(Duration::from_millis(20));
    assert_eq!(published(), last);
    let error = PostgresEventStore::builder(database.url())
        .publish_mark(Duration::ZERO)
        .open()
        .unwrap_err();
    assert!(error.is_invalid_input(), "{error}");
}

#[test]
fn what_was_published_beyond_the_end_of_the_log_is_told_and_not_read_up_to() {
    let Some(pair) = Pair::shared() else { return };
    let (database, store) = pair.fresh();
    for _ in 0..5 {
        append(&store).unwrap();
    }
    assert_eq!(store.publish_mark().unwrap(), 5);
    let replica = pair.on_the_standby(&database).read_replica(true).open().unwrap();
    let mut other = client(&database);
    other.batch_execute("TRUNCATE events RESTART IDENTITY").unwrap();
    append(&store).unwrap();
    pair.catch_up();
    let expected = ErrorKind::BeyondEnd {
        position: GlobalSequence::from(5),
        end: GlobalSequence::from(1),
    };
    assert_eq!(*store.publish_mark().unwrap_err().kind(), expected);
    assert_eq!(*replica.high_water_mark().unwrap_err().kind(), expected);
    let read = replica.read(EventQuery::new()).next().unwrap();
    assert_eq!(*read.unwrap_err().kind(), expected);
    // The statement that the documentation names.
    other.batch_execute("DELETE FROM firefly_published_mark").unwrap();
    assert_eq!(store.publish_mark().unwrap(), 1);
    pair.catch_up();
    assert_eq!(all_events(&replica).len(), 1);
}

#[test]
fn a_connection_that_turns_out_to_be_to_a_standby_is_given_up_and_the_call_made_elsewhere() {
    let Some(pair) = Pair::shared() else { return };
    let (database, _store) = pair.fresh();
    let event = [deposited(1)];
    let calls: [&mut Call<'_>; 4] = [
        &mut |store| append(store).map(drop),
        &mut |store| store.high_water_mark().map(drop),
        &mut |store| store.publish_mark().map(drop),
        &mut |store| store.transaction(|tx| tx.append(&account(), ExpectedVersion::NoStream, &event).map(drop)),
    ];
    for (number, call) in calls.into_iter().enumerate() {
        let address = MovingAddress::of(&pair.standby);
        let store = PostgresEventStore::open(&hosts(&[address.0.path()], &database)).unwrap();
        store.load(&account()).unwrap();
        address.move_to(&pair.primary);
        call(&store).unwrap_or_else(|error| panic!("{number}: {error:?}"));
    }
}

#[test]
fn a_store_with_several_hosts_stays_with_the_one_that_accepts_writes() {
    let Some(pair) = Pair::start() else { return };
    let (database, _store) = pair.fresh();
    let both = hosts(&[pair.standby.directory(), pair.primary.directory()], &database);
    let store = PostgresEventStore::builder(&both)
        .pool_timeout(Duration::from_millis(500))
        .open()
        .unwrap();
    append(&store).unwrap();
    assert_eq!(store.high_water_mark().unwrap(), 1);

    // While the primary is stopped, and after its restart.
    pair.primary.kill("KILL");
    for _ in 0..2 {
        let error = append(&store).unwrap_err();
        assert!(error.is_retryable(), "{error:?}");
        assert!(store.high_water_mark().unwrap_err().is_retryable());
    }
    pair.primary.restart();
    let appended = append(&store).unwrap();
    assert_eq!(Some(store.high_water_mark().unwrap()), appended.last_sequence());
    assert_eq!(all_events(&store).len(), 2);

    // A URL that asks for a read-only server gets one, for reads only.
    let reader = PostgresEventStore::builder(&format!("{both} target_session_attrs=read-only"))
        .open()
        .unwrap();
    assert!(reader.high_water_mark().unwrap_err().is_unprovable());
    // Any replica serves, and the first one is preferred.
    store.publish_mark().unwrap();
    pair.catch_up();
    let replica = PostgresEventStore::builder(&both).read_replica(true).open().unwrap();
    assert_eq!(all_events(&replica).len(), 2);
    let topology = replica.diagnose().unwrap();
    let topology = topology.iter().find(|told| told.subject == "replication").unwrap();
    assert!(topology.found.contains("standby"), "{topology:?}");

    // A primary that is not restarted.
    pair.catch_up();
    pair.primary.kill("KILL");
    assert!(append(&store).unwrap_err().is_retryable());
    pair.standby.promote();
    append(&store).unwrap();
    assert_eq!(all_events(&store).len(), 3);
    assert!(store.health().unwrap().writable);
    assert_eq!(
        all_events(&replica).len(),
        2,
        "its server is the primary now, and publishes nothing yet"
    );
    store.publish_mark().unwrap();
    assert_eq!(all_events(&replica).len(), 3);
}

/// Appends while the servers fail, and returns the acknowledged events.
fn acknowledged(store: &PostgresEventStore, working: &AtomicBool, count: &AtomicUsize) -> Vec<(AggregateKey, i64)> {
    let mut acknowledged = Vec::new();
    while working.load(Ordering::SeqCst) {
        let account = account();
        if let Ok(appended) = store.append(&account, ExpectedVersion::NoStream, &[deposited(1), deposited(2)]) {
            acknowledged.push((account, appended.last_sequence().unwrap().as_i64()));
            count.fetch_add(1, Ordering::SeqCst);
        }
    }
    acknowledged
}

#[test]
fn a_failover_to_a_synchronous_standby_loses_nothing_that_was_acknowledged() {
    let Some(pair) = Pair::start() else { return };
    let (database, store) = pair.fresh();
    let mut primary = client(&database);
    primary
        .batch_execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        .unwrap();
    primary.batch_execute("SELECT pg_reload_conf()").unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    let is_synchronous = "SELECT EXISTS (SELECT FROM pg_stat_replication WHERE sync_state = 'sync')";
    while !primary.query_one(is_synchronous, &[]).unwrap().get::<_, bool>(0) {
        assert!(Instant::now() < deadline, "the standby is not synchronous");
    }
    let topology = store.diagnose().unwrap();
    let topology = topology.iter().find(|told| told.subject == "replication").unwrap();
    assert_eq!(
        (topology.severity, topology.found.contains("1 synchronous")),
        (Severity::Good, true),
        "{topology:?}"
    );

    let both = hosts(&[pair.primary.directory(), pair.standby.directory()], &database);
    let store = PostgresEventStore::open(&both).unwrap();
    let (working, count) = (AtomicBool::new(true), AtomicUsize::new(0));
    let twenty_more = || {
        let enough = count.load(Ordering::SeqCst) + 20;
        while count.load(Ordering::SeqCst) < enough {
            assert!(Instant::now() < deadline, "nothing is appended");
            thread::yield_now();
        }
    };
    let (kept, followed) = thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| acknowledged(&store, &working, &count)))
            .collect();
        let follower = scope.spawn(|| {
            let (mut checkpoint, mut seen) = (GlobalSequence::ZERO, Vec::new());
            loop {
                let is_last = !working.load(Ordering::SeqCst);
                let mut events = store.read(EventQuery::new().after(checkpoint));
                for event in events.by_ref() {
                    match event {
                        Ok(event) => seen.push(event.global_sequence.as_i64()),
                        Err(error) => assert!(error.is_retryable(), "{error:?}"),
                    }
                }
                checkpoint = events.checkpoint();
                if is_last {
                    return seen;
                }
            }
        });
        twenty_more();
        pair.primary.kill("KILL");
        pair.standby.promote();
        twenty_more();
        working.store(false, Ordering::SeqCst);
        let kept: Vec<_> = writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect();
        (kept, follower.join().unwrap())
    });
    for (account, sequence) in &kept {
        let stream = store.load(account).unwrap();
        assert_eq!(stream.version(), 2, "{account} was acknowledged at {sequence}");
    }
    // The last events may have been appended after the reader's last look.
    let checkpoint = GlobalSequence::try_from(*followed.last().unwrap()).unwrap();
    let rest = store
        .read(EventQuery::new().after(checkpoint))
        .map(|event| event.unwrap().global_sequence.as_i64());
    let followed: Vec<i64> = followed.iter().copied().chain(rest).collect();
    assert!(followed.is_sorted_by(|a, b| a < b), "out of order, or twice");
    let promoted: HashSet<i64> = all_events(&store)
        .iter()
        .map(|event| event.global_sequence.as_i64())
        .collect();
    assert_eq!(followed.into_iter().collect::<HashSet<_>>(), promoted);
}

#[test]
fn what_a_failover_to_an_asynchronous_standby_loses_is_told() {
    let Some(pair) = Pair::start() else { return };
    let (database, _store) = pair.fresh();
    let both = hosts(&[pair.primary.directory(), pair.standby.directory()], &database);
    let store = PostgresEventStore::open(&both).unwrap();
    append(&store).unwrap();
    pair.catch_up();
    pair.standby.kill("QUIT");
    append(&store).unwrap();
    append(&store).unwrap();
    let checkpoint = store.high_water_mark().unwrap();
    pair.primary.kill("KILL");
    pair.standby.restart();
    pair.standby.promote();
    let expected = ErrorKind::BeyondEnd {
        position: checkpoint,
        end: GlobalSequence::from(1),
    };
    assert_eq!(*store.high_water_mark().unwrap_err().kind(), expected);
    assert_eq!(store.high_water_mark().unwrap(), 1, "it is told once");
    let read = store.read(EventQuery::new().after(checkpoint)).next().unwrap();
    assert_eq!(*read.unwrap_err().kind(), expected);
    append(&store).unwrap();
    assert_eq!(all_events(&store).len(), 2);
}
