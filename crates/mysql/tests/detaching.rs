//! Archived partitions that leave the log at once: nothing is missing, and nothing is there twice, at any step.

use std::collections::HashSet;
use std::io::Cursor;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use firefly_eventstore_core::operate::{
    self, Archive, Archiving, Detachment, LogDigest, Operations, Remembered, Severity,
};
use firefly_eventstore_core::prelude::*;
use firefly_eventstore_core::{AsOf, ErrorKind, SnapshotAt};
use firefly_eventstore_mysql::driver::prelude::Queryable;
use firefly_eventstore_mysql::driver::{self, Conn, Opts, OptsBuilder, Row};
use firefly_eventstore_mysql::{MysqlEventStore, Partitions};
use firefly_eventstore_test_servers::{Database, MysqlServer, Proxy};

use crate::support::{
    account, all_events, builder, client, deposited, eventually, on_both, run, until_somebody_waits_for_a_table,
};

on_both!(
    archived_partitions_leave_at_once_and_the_rest_one_by_one,
    what_is_prepared_is_in_the_log_until_its_partition_is_emptied,
    events_that_are_leaving_are_not_changed_by_others,
    who_looks_back_is_refused_and_never_misses_an_event,
    events_leave_one_by_one_if_somebody_uses_the_log_for_long,
    who_holds_the_log_briefly_is_waited_for,
    a_user_who_may_not_alter_the_log_archives_one_by_one,
    an_error_that_lasts_freezes_nothing,
    an_event_that_the_file_lacks_stays,
    events_that_are_put_into_a_leaving_partition_by_hand_stay,
    keys_stay_if_an_event_is_deleted_while_its_partition_begins_to_leave,
    keys_of_a_partition_that_was_emptied_by_hand_stay,
    whole_streams_leave_one_by_one,
    of_two_that_retire_at_once_one_does,
    who_is_killed_at_any_step_leaves_each_event_in_one_place_and_the_next_call_goes_on,
    what_was_interrupted_at_any_step_is_undone_by_attaching_the_archive,
    a_server_that_dies_while_events_leave_loses_nothing,
    nobody_misses_an_event_or_gets_a_version_twice_while_partitions_leave_and_come_back,
    who_reads_on_a_replica_finds_each_event_once_or_is_refused,
);

/// A store in partitions of ten sequences, with 45 events of three accounts, in turn.
struct Ledger {
    database: Database,
    store: MysqlEventStore,
    accounts: [AggregateKey; 3],
    events: Vec<EventEnvelope>,
}

impl Ledger {
    fn fresh(server: &MysqlServer) -> Self {
        let database = server.new_database();
        let store = builder(&database)
            .migrate_on_open(true)
            .partitions(Partitions::by_events(10))
            .open()
            .unwrap();
        let accounts = [account(), account(), account()];
        for amount in 0..45 {
            let account = &accounts[amount as usize % 3];
            store
                .append(account, ExpectedVersion::Any, &[deposited(amount)])
                .unwrap();
            if amount % 8 == 0 {
                store.add_partitions().unwrap();
            }
        }
        let events = all_events(&store);
        Self {
            database,
            store,
            accounts,
            events,
        }
    }

    /// A file with the events up to a sequence.
    fn file(&self, until: u32) -> Vec<u8> {
        let mut file = Vec::new();
        Archiving::until(until)
            .json_lines(&self.store, &mut file, |_| ())
            .unwrap();
        file
    }

    fn retire(&self, file: &[u8]) -> Result<Archive, Error> {
        operate::retire(&self.store, Cursor::new(file), "elsewhere", |_| ())
    }

    fn attach(&self, file: &[u8]) {
        operate::attach(&self.store, Cursor::new(file), |_| ()).unwrap();
        assert_eq!(all_events(&self.store), self.events);
        assert_sound(self);
    }

    fn client(&self) -> Conn {
        client(&self.database)
    }

    /// How many events each partition has.
    fn partitions(&self) -> Vec<u64> {
        let mut client = self.client();
        let names: Vec<String> = client
            .query(
                "SELECT partition_name FROM information_schema.partitions
                 WHERE table_schema = DATABASE() AND table_name = 'events' ORDER BY partition_ordinal_position",
            )
            .unwrap();
        let count = |name| format!("SELECT COUNT(*) FROM events PARTITION ({name})");
        let count = |name| client.query_first(count(name)).unwrap().unwrap();
        names.into_iter().map(count).collect()
    }

    /// Lets no row up to a sequence be deleted: those events can only leave with their partitions.
    fn forbid_deletions(&self, until: u32) {
        run(
            &mut self.client(),
            &format!(
                "CREATE TRIGGER nobody_deletes BEFORE DELETE ON events FOR EACH ROW
                 IF OLD.global_sequence <= {until} THEN SIGNAL SQLSTATE '45000'; END IF"
            ),
        );
    }

    fn allow_deletions(&self) {
        run(&mut self.client(), "DROP TRIGGER nobody_deletes");
    }

    fn live(&self) -> Vec<u64> {
        let events = self.store.read(EventQuery::new().skip_archived());
        events.map(|event| event.unwrap().global_sequence.get()).collect()
    }
}

/// Each event is in the log or archived, with its key in one of the two places, and nothing of the work is left.
fn assert_sound(ledger: &Ledger) {
    let wrong = "SELECT
        (SELECT COUNT(*) FROM events LEFT JOIN firefly_event_keys USING (event_id, global_sequence, aggregate_id, aggregate_version)
         WHERE firefly_event_keys.aggregate_type IS NULL),
        (SELECT COUNT(*) FROM firefly_event_keys LEFT JOIN events USING (global_sequence) WHERE events.event_type IS NULL),
        (SELECT COUNT(*) FROM firefly_archived_events JOIN firefly_event_keys USING (global_sequence)),
        (SELECT COUNT(*) FROM firefly_leaving),
        (SELECT COUNT(*) FROM firefly_archived_streams AS stream WHERE version <>
            COALESCE((SELECT MAX(aggregate_version) FROM firefly_archived_events AS event WHERE event.aggregate_id = stream.aggregate_id), 0))";
    let row: Row = ledger.client().query_first(wrong).unwrap().unwrap();
    let wrong: Vec<i64> = (0..5).map(|column| row.get(column).unwrap()).collect();
    assert_eq!(wrong, [0; 5]);
    assert_eq!(ledger.store.check_storage().unwrap(), []);
}

/// Reads everything in every way. The first `archived` events are archived, the others are in the log.
fn assert_reads(store: &MysqlEventStore, ledger: &Ledger, archived: usize) {
    let events = &ledger.events;
    let sequences = |query: EventQuery| -> Vec<u64> {
        let read = store.read(query.skip_archived());
        read.map(|event| event.unwrap().global_sequence.get()).collect()
    };
    let left: Vec<u64> = events[archived..]
        .iter()
        .map(|event| event.global_sequence.get())
        .collect();
    assert_eq!(sequences(EventQuery::new()), left);
    for until in [5_u32, 10, 15, 20, 22, 30, 45] {
        let whole = store.read_page(&EventQuery::new().until(until), None);
        match archived {
            0 => assert_eq!(whole.unwrap().events, events[..until as usize]),
            _ => assert!(whole.unwrap_err().is_archived()),
        }
        let after = store.read_page(&EventQuery::new().after(until), None);
        match archived > until as usize {
            false => assert_eq!(after.unwrap().events, events[until as usize..]),
            true => assert!(after.unwrap_err().is_archived()),
        }
    }
    for account in &ledger.accounts {
        let stream: Vec<_> = events.iter().filter(|event| event.aggregate == *account).collect();
        let gone = events[..archived]
            .iter()
            .filter(|event| event.aggregate == *account)
            .count();
        assert_eq!(store.version(account).unwrap(), 15);
        for from in 1..=15_u32 {
            let there = &stream[from as usize - 1..];
            for range in [StreamRange::all(), StreamRange::all().backwards()] {
                let loaded = store.load_range(account, &range.from_version(from));
                if from as usize <= gone {
                    assert!(loaded.unwrap_err().is_archived());
                    continue;
                }
                assert_eq!(loaded.unwrap().len(), there.len());
            }
        }
        for event in &stream {
            let past = StreamRange::all().as_of(AsOf::Sequence(event.global_sequence));
            let is_known = gone == 0 || event.version.get() >= gone as u64;
            for (range, is_there) in [(past.clone(), gone == 0), (past.from_version(16), is_known)] {
                let loaded = store.load_range(account, &range);
                match is_there {
                    true => assert_eq!(loaded.unwrap().version(), event.version),
                    false => assert!(loaded.unwrap_err().is_archived()),
                }
            }
            let found = store.read_page(&EventQuery::new().event_ids([event.event_id]), None);
            match event.version.get() > gone as u64 {
                true => assert_eq!(found.unwrap().events.len(), 1),
                false => assert!(found.unwrap_err().is_archived()),
            }
            let repeated = deposited(event.global_sequence.get() - 1).with_id(event.event_id);
            let appended = store.append(&crate::support::account(), ExpectedVersion::NoStream, &[repeated]);
            assert!(appended.unwrap_err().is_duplicate());
        }
        let of_account = store.read_page(&EventQuery::new().aggregate_id(account.id()), None);
        assert_eq!(of_account.is_err_and(|error| error.is_archived()), gone > 0);
        let (_, snapshot_stream) = match store.load_from_snapshot(None, account, SnapshotAt::Latest) {
            Ok(found) => found,
            Err(error) => {
                assert!(error.is_archived() && gone > 0);
                continue;
            }
        };
        assert_eq!((snapshot_stream.len(), gone), (15, 0));
    }
    let statistics = store.statistics(None).unwrap();
    assert_eq!(
        (statistics.total_events, statistics.archived_events),
        (45 - archived as u64, archived as u64)
    );
}

fn archived_partitions_leave_at_once_and_the_rest_one_by_one(server: &MysqlServer) {
    let ledger = Ledger::fresh(server);
    let before = ledger.partitions();
    assert_eq!(before[..4], [10; 4]);
    let file = ledger.file(25);
    ledger.forbid_deletions(20);
    let archive = ledger.retire(&file).unwrap();
    assert!(archive.is_retired);
    assert_reads(&ledger.store, &ledger, 25);
    assert_sound(&ledger);
    let after = ledger.partitions();
    assert_eq!((&after[..3], &after[3..]), (&[0, 0, 5][..], &before[3..]));
    // The next archive continues in the middle of a partition, which then leaves at once.
    let next = ledger.file(40);
    ledger.allow_deletions();
    ledger.forbid_deletions(40);
    ledger.retire(&next).unwrap();
    ledger.allow_deletions();
    assert_reads(&ledger.store, &ledger, 40);
    assert_sound(&ledger);
    for account in &ledger.accounts {
        let appended = ledger
            .store
            .append(account, ExpectedVersion::Exact(15.into()), &[deposited(1)]);
        assert_eq!(appended.unwrap().version(), 16);
    }
    // Empty partitions are joined, and keep their place.
    let told = ledger.store.add_partitions().unwrap().unwrap();
    assert!(told.contains("3 whose events are archived were joined"), "{told}");
    assert_eq!(ledger.partitions()[..2], [0, 8]);
    operate::attach(&ledger.store, Cursor::new(&next), |_| ()).unwrap();
    operate::attach(&ledger.store, Cursor::new(&file), |_| ()).unwrap();
    assert_eq!(all_events(&ledger.store)[..45], ledger.events);
    assert_eq!(ledger.partitions()[..2], [40, 8]);
    assert_sound(&ledger);
    // And again.
    ledger.retire(&file).unwrap();
    assert_sound(&ledger);
}

/// Begins, and prepares everything.
fn prepared<'l>(
    ledger: &'l Ledger,
    store: &'l MysqlEventStore,
    archive: &Archive,
) -> Result<Box<dyn Detachment + 'l>, Error> {
    let mut detachment = store.detachment(archive)?.unwrap();
    let sequences = detachment.sequences();
    let leaving: Vec<EventEnvelope> = ledger
        .events
        .iter()
        .filter(|event| sequences.contains(&event.global_sequence))
        .cloned()
        .collect();
    for batch in leaving.chunks(7) {
        detachment.prepare(batch)?;
    }
    Ok(detachment)
}

/// A file with the events up to a sequence, and its archive, which is recorded. The events are still in the log.
fn recorded(ledger: &Ledger, until: u32) -> (Vec<u8>, Archive) {
    let mut file = Vec::new();
    let exported = Archiving::until(until)
        .json_lines(&ledger.store, &mut file, |_| ())
        .unwrap();
    let read = ledger.store.read(EventQuery::new().until(until).skip_archived());
    let events: Vec<EventEnvelope> = read.map(Result::unwrap).collect();
    let times = || events.iter().map(|event| event.created_at);
    let mut archive = Archive::new(
        LogDigest::OF_NOTHING,
        events[0].global_sequence..=events[events.len() - 1].global_sequence,
        events.len() as u64,
        times().min().unwrap()..=times().max().unwrap(),
        "elsewhere",
        times().max().unwrap(),
    );
    archive.digest = exported.digest;
    archive.log = Some(Remembered::new(until.into(), until.into(), exported.digest));
    ledger.store.record_archive(&archive).unwrap();
    (file, archive)
}

fn told_of_archiving(store: &MysqlEventStore) -> Option<String> {
    let told = store.diagnose().unwrap();
    let told = told.into_iter().find(|told| told.subject == "archiving")?;
    assert_eq!(told.severity, Severity::Warning, "{told:?}");
    Some(told.found)
}

fn what_is_prepared_is_in_the_log_until_its_partition_is_emptied(server: &MysqlServer) {
    let ledger = Ledger::fresh(server);
    ledger.retire(&ledger.file(5)).unwrap();
    let (file, archive) = recorded(&ledger, 20);
    assert_eq!(archive.first.get(), 6);
    for archived in [10, 20] {
        let detachment = prepared(&ledger, &ledger.store, &archive).unwrap();
        let first = detachment.sequences().start().get();
        assert_reads(&ledger.store, &ledger, first as usize - 1);
        let told = told_of_archiving(&ledger.store).unwrap();
        assert!(told.contains(&format!("{first} to {archived}")), "{told:?}");
        assert!(detachment.detach().unwrap());
        assert_reads(&ledger.store, &ledger, archived);
        assert_sound(&ledger);
    }
    assert!(ledger.store.detachment(&archive).unwrap().is_none());
    ledger.retire(&file).unwrap();
    assert_sound(&ledger);
    assert_eq!(told_of_archiving(&ledger.store), None);
    // What began and is given up is undone.
    let (file, archive) = recorded(&ledger, 30);
    drop(prepared(&ledger, &ledger.store, &archive).unwrap());
    assert_reads(&ledger.store, &ledger, 20);
    assert_sound(&ledger);
    ledger.retire(&file).unwrap();
    assert_reads(&ledger.store, &ledger, 30);
}

fn events_that_are_leaving_are_not_changed_by_others(server: &MysqlServer) {
    let ledger = Ledger::fresh(server);
    let (file, archive) = recorded(&ledger, 20);
    let detachment = prepared(&ledger, &ledger.store, &archive).unwrap();
    let mut other = ledger.client();
    let insert = "INSERT INTO events (event_id, aggregate_id, aggregate_type, aggregate_version, event_type, event_data, global_sequence)
        SELECT UUID(), '1', 'Account', 1, 'money.deposited', '{}', -1";
    let insert = insert
        .replace("UUID()", "'0123456789abcdef'")
        .replace("'1'", "'0123456789abcdef'");
    for isolation in ["READ COMMITTED", "REPEATABLE READ"] {
        run(
            &mut other,
            &format!("SET SESSION TRANSACTION ISOLATION LEVEL {isolation}"),
        );
        for change in [
            "DELETE FROM events WHERE global_sequence = 3",
            "UPDATE events SET event_type = 'other' WHERE global_sequence = 3",
            "UPDATE events SET global_sequence = 1000 WHERE global_sequence = 3",
            "UPDATE events SET global_sequence = -1 WHERE global_sequence = 33",
            &insert,
        ] {
            let error = other.query_drop(change).unwrap_err();
            assert!(
                matches!(&error, driver::Error::MySqlError(error) if error.code == 1644),
                "{change}: {error:?}"
            );
        }
    }
    // Other programs do not move events meanwhile, except earlier ones.
    for moved in [
        ledger.store.retire_events(&ledger.events[20..25]),
        ledger.store.attach_events(&ledger.events[..5]),
    ] {
        assert!(moved.unwrap_err().is_retryable());
    }
    // Other events may be changed, other partitions added.
    run(
        &mut other,
        "UPDATE events SET event_type = 'other' WHERE global_sequence = 33",
    );
    run(
        &mut other,
        "UPDATE events SET event_type = 'money.deposited' WHERE global_sequence = 33",
    );
    for account in &ledger.accounts {
        ledger
            .store
            .append(account, ExpectedVersion::Exact(15.into()), &[deposited(1)])
            .unwrap();
    }
    ledger.store.add_partitions().unwrap();
    assert!(detachment.detach().unwrap());
    ledger.retire(&file).unwrap();
    assert_sound(&ledger);
    operate::attach(&ledger.store, Cursor::new(&file), |_| ()).unwrap();
    assert_eq!(all_events(&ledger.store).len(), 48);

    // An event that was deleted before is noticed, and nothing is left behind.
    run(&mut other, "DELETE FROM events WHERE global_sequence = 15");
    let error = ledger.retire(&file).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Contradiction { .. }), "{error:?}");
    assert_sound(&ledger);
    run(
        &mut other,
        "UPDATE events SET event_type = event_type, updated_at = NULL",
    );
    assert_eq!(ledger.live().len(), 37);
}

/// Begins a transaction that sees the present state from now on, and has not used the log.
fn looking_back(url: &str) -> Conn {
    let mut client = Conn::new(url).unwrap();
    run(&mut client, "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ");
    run(&mut client, "START TRANSACTION WITH CONSISTENT SNAPSHOT");
    client
}

/// The code of the server's error of a statement.
fn code(client: &mut Conn, statement: &str) -> u16 {
    match client.query::<Row, _>(statement) {
        Err(driver::Error::MySqlError(error)) => error.code,
        other => panic!("{statement}: {other:?}"),
    }
}

const TABLE_DEF_CHANGED: u16 = 1412;

/// Statements that need events which have left.
const NEEDS_WHAT_LEFT: [&str; 3] = [
    "SELECT COUNT(*) FROM events",
    "SELECT * FROM events WHERE global_sequence = 3",
    "SELECT firefly_event_keys.global_sequence FROM firefly_event_keys JOIN events ON events.global_sequence = firefly_event_keys.global_sequence
     WHERE firefly_event_keys.global_sequence < 15",
];

fn who_looks_back_is_refused_and_never_misses_an_event(server: &MysqlServer) {
    let ledger = Ledger::fresh(server);
    let file = ledger.file(25);
    // The events of the third partition leave one by one: who looks back sees them.
    let mut old = [(); 3].map(|()| looking_back(ledger.database.url()));
    ledger.retire(&file).unwrap();
    let is_refused = |old: &mut Conn| {
        for statement in NEEDS_WHAT_LEFT {
            assert_eq!(code(old, statement), TABLE_DEF_CHANGED, "{statement}");
        }
        let later = "SELECT global_sequence FROM events WHERE global_sequence BETWEEN 22 AND 44";
        let later: Vec<u64> = old.query(later).unwrap();
        assert_eq!(later, (22..=44).collect::<Vec<_>>());
        run(old, "COMMIT");
    };
    is_refused(&mut old[0]);
    // Also after the empty partitions were joined, and after their events came back.
    ledger.store.add_partitions().unwrap();
    is_refused(&mut old[1]);
    ledger.attach(&file);
    is_refused(&mut old[2]);
    // Who appends on such a connection gets an answer.
    ledger.retire(&file).unwrap();
    let mut behind = Conn::new(ledger.database.url()).unwrap();
    let isolation = driver::TxOpts::default()
        .set_isolation_level(Some(driver::IsolationLevel::RepeatableRead))
        .set_with_consistent_snapshot(true);
    let mut transaction = behind.start_transaction(isolation).unwrap();
    operate::attach(&ledger.store, Cursor::new(&file), |_| ()).unwrap();
    ledger.retire(&file).unwrap();
    let events = [deposited(46)];
    let append = [Append::new(
        &ledger.accounts[0],
        ExpectedVersion::Exact(15.into()),
        &events,
    )];
    let appended = ledger.store.append_within(&mut transaction, &append);
    assert_eq!(appended.unwrap()[0].version(), 16);
    let again = [deposited(0).with_id(ledger.events[0].event_id)];
    let repeated = [Append::new(&ledger.accounts[0], ExpectedVersion::NoStream, &again)];
    let repeated = ledger.store.append_within(&mut transaction, &repeated);
    assert!(
        repeated.as_ref().is_ok_and(|appended| appended[0].is_already_stored())
            || repeated.as_ref().is_err_and(Error::is_retryable),
        "{repeated:?}"
    );
    transaction.commit().unwrap();
    ledger.attach_beyond(&file);
}

impl Ledger {
    /// Attaches an archive to a log that has grown.
    fn attach_beyond(&self, file: &[u8]) {
        operate::attach(&self.store, Cursor::new(file), |_| ()).unwrap();
        assert_eq!(all_events(&self.store)[..45], self.events);
        assert_sound(self);
    }
}

fn events_leave_one_by_one_if_somebody_uses_the_log_for_long(server: &MysqlServer) {
    let ledger = Ledger::fresh(server);
    let file = ledger.file(20);
    let mut holder = ledger.client();
    run(&mut holder, "START TRANSACTION");
    run(
        &mut holder,
        "SELECT global_sequence FROM events WHERE global_sequence = 45",
    );
    ledger.retire(&file).unwrap();
    assert_reads(&ledger.store, &ledger, 20);
    run(&mut holder, "COMMIT");
    assert_sound(&ledger);
    ledger.attach(&file);
    // What is left of the attempt does not matter.
    run(&mut holder, "UPDATE events SET event_type = event_type");
    ledger.forbid_deletions(20);
    ledger.retire(&file).unwrap();
    assert_sound(&ledger);
}

fn who_holds_the_log_briefly_is_waited_for(server: &MysqlServer) {
    let ledger = Ledger::fresh(server);
    let file = ledger.file(20);
    ledger.forbid_deletions(20);
    let mut holder = ledger.client();
    run(&mut holder, "START TRANSACTION");
    run(
        &mut holder,
        "SELECT global_sequence FROM events WHERE global_sequence = 45",
    );
    thread::scope(|scope| {
        let retired = scope.spawn(|| ledger.retire(&file));
        until_somebody_waits_for_a_table(&ledger.database);
        assert_eq!(
            holder.query_first::<u64, _>("SELECT COUNT(*) FROM events").unwrap(),
            Some(45)
        );
        run(&mut holder, "COMMIT");
        retired.join().unwrap().unwrap();
    });
    assert_reads(&ledger.store, &ledger, 20);
    assert_sound(&ledger);
}

fn a_user_who_may_not_alter_the_log_archives_one_by_one(server: &MysqlServer) {
    let ledger = Ledger::fresh(server);
    let name = ledger.database.name();
    let mut admin = ledger.client();
    let (clerk, partitions) = (format!("clerk_{}", &name[name.len() - 8..]), ledger.partitions().len());
    run(&mut admin, &format!("CREATE USER {clerk}@'%' IDENTIFIED BY 'secret'"));
    for (rights, until) in [("SELECT, INSERT, UPDATE, DELETE", 10), ("LOCK TABLES", 20)] {
        run(&mut admin, &format!("GRANT {rights} ON {name}.* TO {clerk}@'%'"));
        let opts = OptsBuilder::from_opts(Opts::from_url(ledger.database.url()).unwrap());
        let opts = opts.user(Some(&clerk)).pass(Some("secret"));
        let limited = MysqlEventStore::configure(opts).only_writer(true).open().unwrap();
        let file = ledger.file(until);
        operate::retire(&limited, Cursor::new(&file), "elsewhere", |_| ()).unwrap();
        assert_eq!(ledger.live().first(), Some(&(u64::from(until) + 1)));
        assert_eq!(ledger.partitions().len(), partitions);
        assert_sound(&ledger);
    }
    run(&mut admin, &format!("DROP USER {clerk}@'%'"));
}

/// Such as a full disk.
fn an_error_that_lasts_freezes_nothing(server: &MysqlServer) {
    let ledger = Ledger::fresh(server);
    let file = ledger.file(20);
    let mut admin = ledger.client();
    for (table, fails) in [
        ("firefly_archived_events", "NEW.global_sequence = 9"),
        ("firefly_archived_streams", "TRUE"),
    ] {
        let trigger = format!(
            "CREATE TRIGGER fails BEFORE INSERT ON {table} FOR EACH ROW
             IF {fails} THEN SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1114; END IF"
        );
        run(&mut admin, &trigger);
        let error = ledger.retire(&file).unwrap_err();
        assert_eq!(error.kind(), &ErrorKind::StorageFull, "{error:?}");
        assert_reads(&ledger.store, &ledger, 0);
        assert_sound(&ledger);
        run(
            &mut admin,
            "UPDATE events SET event_type = event_type WHERE global_sequence = 3",
        );
        run(&mut admin, "DROP TRIGGER fails");
    }
    ledger.forbid_deletions(20);
    ledger.retire(&file).unwrap();
    assert_reads(&ledger.store, &ledger, 20);
    assert_sound(&ledger);
}

fn an_event_that_the_file_lacks_stays(server: &MysqlServer) {
    let ledger = Ledger::fresh(server);
    let rolled_back = ledger.store.transaction(|transaction| {
        transaction.append(&account(), ExpectedVersion::NoStream, &[deposited(1)])?;
        Err::<(), _>(Error::invalid("changed my mind"))
    });
    rolled_back.unwrap_err();
    for amount in 0..14 {
        let appended = ledger
            .store
            .append(&ledger.accounts[0], ExpectedVersion::Any, &[deposited(amount)]);
        appended.unwrap();
        ledger.store.add_partitions().unwrap();
    }
    let before = ledger.partitions();
    let file = ledger.file(55);
    run(
        &mut ledger.client(),
        "INSERT INTO events (event_id, aggregate_id, aggregate_type, aggregate_version, event_type, event_data, global_sequence)
         SELECT '0123456789abcdef', '0123456789abcdef', 'Account', 1, 'money.deposited', '{}', 46",
    );
    ledger.forbid_deletions(40);
    ledger.retire(&file).unwrap();
    assert_eq!(ledger.live(), [46, 56, 57, 58, 59, 60]);
    assert_eq!(ledger.partitions().len(), before.len());
    assert_sound(&ledger);
}

/// A change that began before is waited for, and is not taken for the events' leaving.
fn keys_stay_if_an_event_is_deleted_while_its_partition_begins_to_leave(server: &MysqlServer) {
    let ledger = Ledger::fresh(server);
    let file = ledger.file(20);
    let mut other = ledger.client();
    run(&mut other, "SET TRANSACTION ISOLATION LEVEL READ COMMITTED");
    run(&mut other, "START TRANSACTION");
    run(&mut other, "DELETE FROM events WHERE global_sequence = 1");
    let retired = thread::scope(|scope| {
        let retiring = scope.spawn(|| ledger.retire(&file));
        until_somebody_waits_for_a_table(&ledger.database);
        run(&mut other, "COMMIT");
        retiring.join().unwrap()
    });
    // The file has an event that the log lacks.
    retired.unwrap_err();
    let keys = "SELECT COUNT(*) FROM firefly_event_keys";
    assert_eq!(other.query_first(keys).unwrap(), Some(44));
    // As if the process had died before it looked again.
    run(
        &mut other,
        "INSERT INTO firefly_leaving (id, digest, first_sequence, last_sequence, end_sequence)
         SELECT 1, digest, 1, 10, 11 FROM firefly_archives",
    );
    assert!(told_of_archiving(&ledger.store).unwrap().contains("are in the log"));
    ledger.retire(&file).unwrap_err();
    assert_eq!(told_of_archiving(&ledger.store), None);
    assert_eq!(other.query_first(keys).unwrap(), Some(44));
}

fn keys_of_a_partition_that_was_emptied_by_hand_stay(server: &MysqlServer) {
    let ledger = Ledger::fresh(server);
    let file = ledger.file(10);
    let mut client = ledger.client();
    run(
        &mut client,
        "ALTER TABLE events TRUNCATE PARTITION events_from_11_to_20",
    );
    // A process took them for events that can leave, and died before it looked at the partition.
    run(
        &mut client,
        "INSERT INTO firefly_leaving (id, digest, first_sequence, last_sequence, end_sequence) VALUES (1, '', 11, 20, 21)",
    );
    ledger.retire(&file).unwrap();
    let keys = "SELECT COUNT(*) FROM firefly_event_keys WHERE global_sequence BETWEEN 11 AND 20";
    assert_eq!(client.query_first(keys).unwrap(), Some(10));
    let again = deposited(0).with_id(ledger.events[10].event_id);
    let again = ledger.store.append(&account(), ExpectedVersion::NoStream, &[again]);
    again.unwrap_err();
}

/// The store's own changes of partitions wait for the archiving. Those of others need not.
fn events_that_are_put_into_a_leaving_partition_by_hand_stay(server: &MysqlServer) {
    let ledger = Ledger::fresh(server);
    let (file, archive) = recorded(&ledger, 10);
    let mut holder = ledger.client();
    let join = "ALTER TABLE events REORGANIZE PARTITION events_from_1_to_10, events_from_11_to_20 INTO
        (PARTITION events_from_1_to_20 VALUES LESS THAN (21))";
    let detachment = prepared(&ledger, &ledger.store, &archive).unwrap();
    // It waits for this transaction, gives up for a moment, and tries again.
    run(&mut holder, "START TRANSACTION");
    run(
        &mut holder,
        "SELECT global_sequence FROM events WHERE global_sequence = 45",
    );
    let detached = thread::scope(|scope| {
        scope.spawn(|| {
            until_somebody_waits_for_a_table(&ledger.database);
            let mut other = ledger.client();
            eventually(|| !waits_for_a_table(&mut other));
            run(&mut holder, "COMMIT");
            run(&mut holder, join);
        });
        detachment.detach()
    });
    if let Err(error) = &detached {
        assert!(error.is_retryable(), "{error:?}");
    }
    // Where the machine is slow, the partition leaves before they are joined.
    let left = if matches!(detached, Ok(true)) { 10 } else { 0 };
    assert_eq!(assert_finds_each_once(&mut ledger.client()), left);
    assert_sound(&ledger);
    operate::attach(&ledger.store, Cursor::new(&file), |_| ()).unwrap();
    assert_eq!(all_events(&ledger.store), ledger.events);
}

fn whole_streams_leave_one_by_one(server: &MysqlServer) {
    let ledger = Ledger::fresh(server);
    for account in &ledger.accounts {
        let closed = NewEvent::from_json("account.closed", "{}").unwrap();
        ledger.store.append(account, ExpectedVersion::Any, &[closed]).unwrap();
    }
    let last = ledger
        .store
        .append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
        .unwrap();
    let mut file = Vec::new();
    let until = all_events(&ledger.store).last().unwrap().created_at;
    Archiving::ended(["account.closed"], until)
        .json_lines(&ledger.store, &mut file, |_| ())
        .unwrap();
    ledger.retire(&file).unwrap();
    assert_eq!(ledger.live(), [last.last_sequence().unwrap().get()]);
    assert_sound(&ledger);
    ledger.attach_beyond(&file);
}

fn of_two_that_retire_at_once_one_does(server: &MysqlServer) {
    let ledger = Ledger::fresh(server);
    let file = ledger.file(30);
    thread::scope(|scope| {
        let both = [(); 2].map(|()| scope.spawn(|| ledger.retire(&file)));
        let both = both.map(|one| one.join().unwrap());
        assert!(both.iter().any(Result::is_ok), "{both:?}");
        assert!(
            both.iter()
                .all(|one| one.is_ok() || one.as_ref().is_err_and(Error::is_retryable)),
            "{both:?}"
        );
    });
    assert_reads(&ledger.store, &ledger, 30);
    assert_sound(&ledger);
    ledger.attach(&file);
    let (_, archive) = recorded(&ledger, 30);
    let first = prepared(&ledger, &ledger.store, &archive).unwrap();
    let second = ledger.store.detachment(&archive).map(drop).unwrap_err();
    assert!(second.is_retryable(), "{second:?}");
    let attached = ledger.store.attach_events(&ledger.events[..5]).unwrap_err();
    assert!(attached.is_retryable(), "{attached:?}");
    drop(first);
}

/// Between these statements the database does not change.
const CHANGES: [&str; 6] = [
    "COMMIT",
    "ALTER TABLE",
    "LOCK TABLES",
    "DELETE FROM",
    "UPDATE",
    "INSERT INTO firefly_leaving",
];

/// A store whose connections end before they send one of these statements.
struct Killed {
    store: MysqlEventStore,
    _proxy: Proxy,
    /// How many of them are passed on before; none if all are.
    left: Arc<Mutex<Option<usize>>>,
}

impl Killed {
    fn new(ledger: &Ledger) -> Self {
        let opts = Opts::from_url(ledger.database.url()).unwrap();
        let (left, mut has_begun) = (Arc::new(Mutex::new(None)), false);
        let (until, mut admin, name) = (Arc::clone(&left), ledger.client(), ledger.database.name().to_owned());
        let proxy = Proxy::with(Path::new(opts.get_socket().unwrap()), move |said| {
            let said = String::from_utf8_lossy(said);
            has_begun |= said.contains("GET_LOCK");
            let mut left = until.lock().unwrap();
            match *left {
                Some(0) => end_connections(&mut admin, &name),
                Some(more) if has_begun && CHANGES.iter().any(|change| said.contains(change)) => {
                    *left = Some(more - 1);
                    if more == 1 {
                        end_connections(&mut admin, &name);
                    }
                }
                _ => {}
            }
        });
        // The proxy recognizes a statement by its text, which a prepared statement does not send.
        let opts = OptsBuilder::from_opts(opts).stmt_cache_size(0);
        let opts = opts.socket(proxy.socket().to_str());
        let store = MysqlEventStore::configure(opts).open().unwrap();
        Self {
            store,
            _proxy: proxy,
            left,
        }
    }

    fn kill_at(&self, statement: usize) {
        *self.left.lock().unwrap() = Some(statement);
    }

    fn let_live(&self) {
        *self.left.lock().unwrap() = None;
    }
}

/// Ends the connections to a database, except this one, and waits until they are gone.
fn end_connections(admin: &mut Conn, database: &str) {
    let own = admin.connection_id();
    loop {
        let rows: Vec<Row> = admin.query("SHOW PROCESSLIST").unwrap();
        let ids: Vec<u64> = rows
            .iter()
            .filter(|row| row.get::<Option<String>, _>("db").unwrap().as_deref() == Some(database))
            .map(|row| row.get("Id").unwrap())
            .filter(|id| *id != u64::from(own))
            .collect();
        if ids.is_empty() {
            return;
        }
        for id in ids {
            // It may be gone by now.
            drop(admin.query_drop(format!("KILL {id}")));
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// The events that a session finds in the log, and those that count as archived for it, each once. Returns how many are archived.
fn assert_finds_each_once(client: &mut Conn) -> usize {
    let has_left = include_str!("../sql/partitions/has_left.sql");
    let found = format!(
        "SELECT global_sequence, 0 FROM events UNION ALL SELECT global_sequence, 1 FROM firefly_archived_events AS event WHERE\n{has_left}"
    );
    let mut found: Vec<(u64, usize)> = client.query(found).unwrap();
    found.sort_unstable();
    let sequences: Vec<u64> = found.iter().map(|(sequence, _)| *sequence).collect();
    assert_eq!(sequences, (1..=45).collect::<Vec<_>>());
    found.iter().map(|(_, archived)| archived).sum()
}

/// Moves the events of an archive that is recorded out of the log at once, as far as that is possible.
fn detached(store: &MysqlEventStore, ledger: &Ledger, archive: &Archive) -> Result<(), Error> {
    while let Some(mut detachment) = store.detachment(archive)? {
        let leaving = ledger
            .events
            .iter()
            .filter(|event| detachment.sequences().contains(&event.global_sequence));
        let leaving: Vec<EventEnvelope> = leaving.cloned().collect();
        for batch in leaving.chunks(7) {
            detachment.prepare(batch)?;
        }
        assert!(detachment.detach()?);
    }
    Ok(())
}

/// Each kill is before a later statement. After it everything is read; then the archive is taken back, or the work goes on.
fn goes_on_after_kills(server: &MysqlServer, takes_back: bool) {
    let ledger = Ledger::fresh(server);
    let (mut kills, mut were_archived, mut are_told) = (0, HashSet::new(), 0);
    let (file, archive) = recorded(&ledger, 10);
    for statement in 1.. {
        let killed = Killed::new(&ledger);
        killed.kill_at(statement);
        let retired = detached(&killed.store, &ledger, &archive);
        killed.let_live();
        let archived = assert_finds_each_once(&mut ledger.client());
        if were_archived.insert((archived, told_of_archiving(&ledger.store).is_some())) {
            assert_reads(&ledger.store, &ledger, archived);
        }
        are_told += usize::from(told_of_archiving(&ledger.store).is_some());
        match retired {
            Ok(()) => {
                assert_eq!(archived, 10);
                break;
            }
            Err(error) => {
                assert!(error.is_retryable(), "{error:?}");
                kills += 1;
            }
        }
        if takes_back {
            operate::attach(&ledger.store, Cursor::new(&file), |_| ()).unwrap();
            ledger.store.record_archive(&archive).unwrap();
            assert_sound(&ledger);
        }
    }
    assert!(
        were_archived.contains(&(0, true)) && were_archived.contains(&(10, true)),
        "{were_archived:?}"
    );
    assert!(kills >= 10 && are_told >= 6, "{kills} {are_told}");
    assert_sound(&ledger);
    ledger.attach(&file);
}

fn who_is_killed_at_any_step_leaves_each_event_in_one_place_and_the_next_call_goes_on(server: &MysqlServer) {
    goes_on_after_kills(server, false);
}

fn what_was_interrupted_at_any_step_is_undone_by_attaching_the_archive(server: &MysqlServer) {
    goes_on_after_kills(server, true);
}

/// The server dies at any moment of a statement.
fn a_server_that_dies_while_events_leave_loses_nothing(server: &MysqlServer) {
    let server = MysqlServer::start(server.flavour(), &[]).unwrap();
    let ledger = Ledger::fresh(&server);
    let file = ledger.file(40);
    // It does not wait for the server to come back.
    let dying = builder(&ledger.database).pool_timeout(Duration::from_secs(1));
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..2 {
        let store = dying.clone().open().unwrap();
        thread::scope(|scope| {
            let retired = scope.spawn(|| operate::retire(&store, Cursor::new(&file), "elsewhere", |_| ()).map(drop));
            thread::sleep(Duration::from_millis(random.u64(100..400)));
            server.kill("KILL");
            drop(retired.join().unwrap());
        });
        server.restart();
        let archived = assert_finds_each_once(&mut ledger.client());
        let store = builder(&ledger.database).open().unwrap();
        assert_reads(&store, &ledger, archived);
    }
    ledger.retire(&file).unwrap();
    assert_eq!(assert_finds_each_once(&mut ledger.client()), 40);
    assert_sound(&ledger);
    ledger.attach(&file);
}

fn nobody_misses_an_event_or_gets_a_version_twice_while_partitions_leave_and_come_back(server: &MysqlServer) {
    let ledger = Ledger::fresh(server);
    let file = ledger.file(30);
    let is_over = AtomicBool::new(false);
    let (store, accounts) = (&ledger.store, &ledger.accounts);
    let read = |query: EventQuery| {
        let (mut whole, mut refused) = (0, 0);
        while !is_over.load(Ordering::Acquire) {
            match store.read_page(&query, None) {
                Ok(page) => {
                    assert_eq!(page.events.len(), 10);
                    whole += 1;
                }
                Err(error) => {
                    assert!(error.is_archived(), "{error:?}");
                    refused += 1;
                }
            }
        }
        (whole, refused)
    };
    let load = |account: &AggregateKey| {
        let (mut whole, mut refused) = (0, 0);
        while !is_over.load(Ordering::Acquire) {
            match store.load(account) {
                Ok(stream) => {
                    assert_eq!(stream.len() as u64, stream.version().get());
                    whole += 1;
                }
                Err(error) => {
                    assert!(error.is_archived(), "{error:?}");
                    refused += 1;
                }
            }
            let after = store.load_range(account, &StreamRange::all().from_version(11)).unwrap();
            assert_eq!(after.len() as u64, after.version().get() - 10);
            let known = store.statistics(None).unwrap();
            assert!(known.total_events + known.archived_events >= 45);
        }
        (whole, refused)
    };
    let append = |account: &AggregateKey| {
        let mut random = fastrand::Rng::with_seed(1);
        let mut version = 15;
        while !is_over.load(Ordering::Acquire) {
            let expected = match random.u8(..3) {
                0 => ExpectedVersion::Any,
                1 => ExpectedVersion::Exists,
                _ => ExpectedVersion::Exact(version.into()),
            };
            let appended = store.append(account, expected, &[deposited(1)]).unwrap();
            version += 1;
            assert_eq!(appended.version(), u64::from(version));
            store
                .append(account, ExpectedVersion::NoStream, &[deposited(1)])
                .unwrap_err();
        }
    };
    thread::scope(|scope| {
        let ends = Ends(&is_over);
        let queries = [
            EventQuery::new().until(10_u32),
            EventQuery::new().after(10_u32).until(20_u32).backwards(),
            EventQuery::new().aggregate_id(accounts[0].id()).until(30_u32),
        ];
        let mut readers: Vec<_> = queries.into_iter().map(|query| scope.spawn(|| read(query))).collect();
        readers.push(scope.spawn(|| load(&accounts[1])));
        for account in accounts {
            scope.spawn(|| append(account));
        }
        for _ in 0..4 {
            ledger.retire(&file).unwrap();
            operate::attach(store, Cursor::new(&file), |_| ()).unwrap();
        }
        drop(ends);
        for reader in readers {
            let (whole, refused) = reader.join().unwrap();
            assert!(whole > 0 && refused > 0, "{whole} and {refused}");
        }
    });
    assert_sound(&ledger);
    assert_eq!(all_events(store)[..45], ledger.events);
    // No sequence was given twice: each append has one, and none is missing but those of refused appends.
    let sequences: Vec<u64> = ledger.live();
    assert!(sequences.is_sorted_by(|one, next| one < next));
}

/// Lets the other threads end, also where a test fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

fn who_reads_on_a_replica_finds_each_event_once_or_is_refused(server: &MysqlServer) {
    let flavour = server.flavour();
    let logged = [("log_bin", "binlog"), ("server_id", "1")];
    let primary = MysqlServer::start_forgetful(flavour, &logged).unwrap();
    let replica = primary.replica(flavour.forgetful()).unwrap();
    let ledger = Ledger::fresh(&primary);
    let url = replica.url(ledger.database.name());
    let mark = ledger.store.publish_mark().unwrap();
    eventually(|| {
        MysqlEventStore::builder(&url)
            .read_replica(true)
            .open()
            .is_ok_and(|store| store.high_water_mark().is_ok_and(|found| found == mark))
    });
    let reader = MysqlEventStore::builder(&url).read_replica(true).open().unwrap();
    assert_reads_on_replica(&reader, &ledger, 0);
    // One looks back, and one holds the log: the replica waits for that one.
    let mut old = looking_back(&url);
    let mut holder = looking_back(&url);
    run(&mut holder, "SELECT * FROM events WHERE global_sequence = 45");
    ledger.retire(&ledger.file(20)).unwrap();
    eventually(|| waits_for_a_table(&mut Conn::new(url.as_str()).unwrap()));
    assert_eq!(
        holder.query_first::<u64, _>("SELECT COUNT(*) FROM events").unwrap(),
        Some(45)
    );
    run(&mut holder, "COMMIT");
    eventually(|| reader.load(&ledger.accounts[0]).is_err());
    eventually(|| {
        let left = "SELECT COUNT(*) FROM firefly_archived_events JOIN firefly_event_keys USING (global_sequence)";
        let mut client = Conn::new(url.as_str()).unwrap();
        client.query_first::<u64, _>(left).unwrap() == Some(0) && reader.statistics(None).unwrap().archived_events == 20
    });
    assert_reads_on_replica(&reader, &ledger, 20);
    for statement in NEEDS_WHAT_LEFT {
        assert_eq!(code(&mut old, statement), TABLE_DEF_CHANGED, "{statement}");
    }
}

fn assert_reads_on_replica(reader: &MysqlEventStore, ledger: &Ledger, archived: usize) {
    let whole = reader.read_page(&EventQuery::new(), None);
    match archived {
        0 => assert_eq!(whole.unwrap().events, ledger.events),
        _ => assert!(whole.unwrap_err().is_archived()),
    }
    assert_eq!(reader.read(EventQuery::new().skip_archived()).count(), 45 - archived);
    for account in &ledger.accounts {
        assert_eq!(
            reader.load(account).is_err_and(|error| error.is_archived()),
            archived > 0
        );
    }
}

fn waits_for_a_table(client: &mut Conn) -> bool {
    let database: Option<String> = client.query_first("SELECT DATABASE()").unwrap();
    let rows: Vec<Row> = client.query("SHOW PROCESSLIST").unwrap();
    let cell = |row: &Row, name| row.get::<Option<String>, _>(name).flatten();
    rows.iter()
        .filter(|row| cell(row, "db") == database)
        .any(|row| cell(row, "State").is_some_and(|state| state.contains("Waiting for table metadata lock")))
}
