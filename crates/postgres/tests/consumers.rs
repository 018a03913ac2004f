//! Consumers: their work commits with their writes, and errors of the caller's own statements are classified correctly.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use firefly_eventstore_core::backend::{ConsumerChange, ConsumerTables};
use firefly_eventstore_core::consumer::{ConsumerStore, ConsumerTransaction, ParkedQuery, Registration, Transactional};
use firefly_eventstore_core::prelude::*;
use firefly_eventstore_postgres::driver::{self as postgres, Client, Config, NoTls};
use firefly_eventstore_postgres::{PostgresEventStore, PostgresTransaction};
use firefly_eventstore_test_servers::Database;

use crate::support::{account, client, deposited, fresh};

type BoxError = Box<dyn StdError + Send + Sync>;

const NAME: &str = "balances.v1";

fn register(store: &PostgresEventStore, slots: u16) {
    let query = EventQuery::new();
    let registration = Registration::new(NAME, &query).slots(slots);
    store.commit_together(|tx| tx.register(&registration)).unwrap();
}

fn with_sums() -> Option<(Database, PostgresEventStore)> {
    let (database, store) = fresh()?;
    register(&store, 1);
    client(&database)
        .batch_execute("CREATE TABLE sums (sum BIGINT NOT NULL PRIMARY KEY)")
        .unwrap();
    Some((database, store))
}

fn position(store: &PostgresEventStore) -> GlobalSequence {
    store.consumers(Some(NAME)).unwrap()[0].position
}

fn advance(tx: &mut PostgresTransaction<'_>, to: u64) -> Result<(), Error> {
    let mut slot = tx.lock_slot(NAME, 0)?;
    tx.advance(&mut slot, GlobalSequence::new(to)?)
}

fn sums(database: &Database) -> Vec<i64> {
    let rows = client(database)
        .query("SELECT sum FROM sums ORDER BY sum", &[])
        .unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[test]
fn a_read_model_and_its_checkpoint_change_in_one_commit() {
    let Some((database, store)) = with_sums() else { return };
    let project = |sum: i64, to: u64, fails: bool| -> Result<(), BoxError> {
        store.commit_together(|tx| {
            tx.connection().execute("INSERT INTO sums VALUES ($1)", &[&sum])?;
            advance(tx, to)?;
            match fails {
                true => Err("refused".into()),
                false => Ok(()),
            }
        })
    };
    project(7, 3, false).unwrap();
    assert!(project(9, 5, true).is_err());
    // The projection's own statement fails.
    assert!(project(7, 5, false).is_err());
    assert_eq!(position(&store), 3);
    assert_eq!(sums(&database), [7]);
}

#[test]
fn a_connection_that_leads_elsewhere_moves_no_checkpoint() {
    let Some((database, store)) = with_sums() else { return };
    PostgresEventStore::builder(database.url())
        .schema("elsewhere")
        .migrate()
        .unwrap();
    let other = PostgresEventStore::builder(database.url())
        .schema("elsewhere")
        .open()
        .unwrap();
    register(&other, 1);
    for (statements, why) in [
        ("SET search_path = elsewhere", "another server, database or schema"),
        (
            "RESET ALL; SET search_path = elsewhere",
            "another server, database or schema",
        ),
        (
            "SET LOCAL search_path = pg_catalog",
            "another server, database or schema",
        ),
        ("SET client_encoding = 'LATIN1'", "client_encoding"),
        ("ROLLBACK", "the transaction had ended"),
        ("COMMIT", "the transaction had ended"),
    ] {
        for is_locked_before in [false, true] {
            let result = store.commit_together(|tx| -> Result<(), BoxError> {
                let locked = is_locked_before.then(|| tx.lock_slot("balances.v1", 0)).transpose()?;
                tx.connection().batch_execute(statements)?;
                // The transaction fails even if the result is ignored.
                let _ = match locked {
                    Some(mut slot) => tx.advance(&mut slot, GlobalSequence::try_from(3_i64)?),
                    None => advance(tx, 3),
                };
                Ok(())
            });
            let message = result.unwrap_err().to_string();
            assert!(message.contains(why), "{statements}: {message}");
            assert_eq!(
                (position(&store), position(&other)),
                (GlobalSequence::ZERO, GlobalSequence::ZERO),
                "{statements}"
            );
        }
    }
    // What leads nowhere else is forgiven, and the store knows itself again.
    store
        .commit_together(|tx| -> Result<(), BoxError> {
            tx.connection()
                .batch_execute("RESET firefly.store; SET LOCAL work_mem = '1MB'")?;
            Ok(advance(tx, 3)?)
        })
        .unwrap();
    assert_eq!(position(&store), 3);
}

#[test]
fn a_failed_statement_of_a_consumer_fails_the_transaction_even_if_it_is_ignored() {
    let Some((database, store)) = with_sums() else { return };
    client(&database)
        .batch_execute("ALTER TABLE firefly_consumers ADD CONSTRAINT refused CHECK (position < 3)")
        .unwrap();
    let ignored = store.commit_together(|tx| -> Result<(), BoxError> {
        tx.connection().execute("INSERT INTO sums VALUES (7)", &[])?;
        let _ = advance(tx, 3);
        Ok(())
    });
    let message = ignored.unwrap_err().to_string();
    assert!(message.contains("save slot 0 of consumer balances.v1"), "{message}");
    assert!(sums(&database).is_empty());
}

#[test]
fn a_damaged_row_says_so() {
    let Some((database, store)) = with_sums() else { return };
    for (damage, column, repair) in [
        ("state = 'asleep'", "asleep", "state = 'running'"),
        ("slot = 70000", "70000", "slot = 0"),
        (
            "failing_sequence = 1, attempts = 5000000000",
            "5000000000",
            "attempts = 0",
        ),
    ] {
        client(&database)
            .batch_execute(&format!("UPDATE firefly_consumers SET {damage}"))
            .unwrap();
        let error = store.consumers(None).unwrap_err();
        assert!(error.is_integrity() && error.to_string().contains(column), "{error:?}");
        client(&database)
            .batch_execute(&format!("UPDATE firefly_consumers SET {repair}"))
            .unwrap();
    }
}

#[test]
fn checkpoints_are_written_into_the_pages_that_they_were_in_and_into_no_index() {
    let Some((database, store)) = with_sums() else { return };
    for to in 1..=500 {
        store.commit_together(|tx| advance(tx, to)).unwrap();
    }
    // The server updates the counters of a session when the session ends.
    drop(store);
    let mut client = client(&database);
    let mut updated = || {
        let counted = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'firefly_consumers'";
        let row = client.query_one(counted, &[]).unwrap();
        (row.get::<_, i64>(0), row.get::<_, i64>(1))
    };
    let mut told = updated();
    while told.0 < 500 {
        thread::yield_now();
        told = updated();
    }
    assert!(
        told.1 > 400,
        "{told:?}: a page that somebody still looks at may be left now and then"
    );
}

#[test]
fn a_program_needs_few_rights_to_run_consumers() {
    let Some((database, store)) = fresh() else { return };
    register(&store, 2);
    let clerk = format!("clerk_{}", database.name());
    client(&database)
        .batch_execute(&format!(
            "CREATE ROLE {clerk} LOGIN;
             GRANT SELECT ON ALL TABLES IN SCHEMA public TO {clerk};
             GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO {clerk};
             GRANT INSERT, UPDATE ON firefly_consumers TO {clerk};
             GRANT INSERT, UPDATE, DELETE ON firefly_consumer_members, firefly_parked_events TO {clerk}"
        ))
        .unwrap();
    let mut config: Config = database.url().parse().unwrap();
    let limited = PostgresEventStore::configure(config.user(&clerk).clone())
        .open()
        .unwrap();
    register(&limited, 2);
    let [me, aggregate] = [Uuid::now_v7(), Uuid::now_v7()];
    limited
        .commit_together(|tx| {
            let claimed = tx.claim(NAME, me, Duration::from_secs(60))?;
            assert_eq!(claimed.slots.len(), 2);
            let mut slot = tx.lock_slot(NAME, 1)?;
            tx.advance(&mut slot, GlobalSequence::new(1)?)?;
            tx.release(NAME, 1, me)?;
            tx.park(NAME, GlobalSequence::new(1)?, aggregate, 1, "refused")?;
            tx.change(ConsumerChange::Replay {
                consumer: NAME,
                aggregate_id: aggregate,
            })?;
            tx.change(ConsumerChange::Unpark {
                consumer: NAME,
                global_sequence: GlobalSequence::new(1)?,
            })?;
            tx.change(ConsumerChange::ForgetMember {
                consumer: NAME,
                holder: me,
            })
        })
        .unwrap();
    let all = ParkedQuery::All {
        after: ("", GlobalSequence::ZERO),
        limit: 10,
    };
    assert!(limited.parked_events(all).unwrap().is_empty());
    drop(limited);
    let drop_role = format!("DROP OWNED BY {clerk}; DROP ROLE {clerk}");
    client(&database).batch_execute(&drop_role).unwrap();
}

/// An error of the caller with a PostgreSQL error as its cause.
#[derive(Debug)]
struct Caused(postgres::Error);

impl fmt::Display for Caused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the balance was not written")
    }
}

impl StdError for Caused {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.0)
    }
}

type Transaction<'a, 'b> = &'a mut postgres::Transaction<'b>;

#[test]
fn errors_of_the_callers_statements_are_the_servers_fault_or_the_events() {
    let Some((database, store)) = with_sums() else { return };
    let mut other = client(&database);
    other.batch_execute("INSERT INTO sums VALUES (1), (2)").unwrap();
    let error_of = |work: &mut dyn FnMut(Transaction<'_, '_>) -> postgres::Error| -> Caused {
        let failed = store.commit_together(|tx| -> Result<(), BoxError> { Err(Caused(work(tx.connection())).into()) });
        *failed.unwrap_err().downcast().unwrap()
    };
    let fails = |tx: Transaction<'_, '_>, statements: &str| tx.batch_execute(statements).unwrap_err();
    let is_transient = |error: &Caused, code: &str| {
        assert_eq!(error.0.code().map_or("", |found| found.code()), code, "{error:?}");
        store.is_transient(error)
    };

    for (statements, code) in [
        ("INSERT INTO sums VALUES (1)", "23505"),
        ("INSERT INTO sums VALUES (NULL)", "23502"),
        ("INSERT INTO sums", "42601"),
        ("INSERT INTO sum VALUES (1)", "42P01"),
        ("SELECT 1 / 0", "22012"),
        ("SELECT 'one'::bigint", "22P02"),
    ] {
        let error = error_of(&mut |tx| fails(tx, statements));
        assert!(!is_transient(&error, code), "{error:?}");
    }
    for (statements, code) in [
        ("SET TRANSACTION READ ONLY; INSERT INTO sums VALUES (3)", "25006"),
        ("SET LOCAL statement_timeout = 1; SELECT pg_sleep(60)", "57014"),
        (
            "DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'disk_full'; END $$",
            "53100",
        ),
    ] {
        let error = error_of(&mut |tx| fails(tx, statements));
        assert!(is_transient(&error, code), "{error:?}");
        assert_eq!(store.took_too_long(&error), code == "57014", "{error:?}");
    }
    // The server ends a connection that is idle in a transaction for too long, or the driver finds it closed.
    let error = error_of(&mut |tx| {
        // Where the driver is slow, it finds the connection closed at once.
        let set = tx.batch_execute("SET LOCAL idle_in_transaction_session_timeout = 1");
        set.err().unwrap_or_else(|| {
            thread::sleep(Duration::from_millis(200));
            fails(tx, "SELECT")
        })
    });
    assert!(store.is_transient(&error), "{error:?}");
    assert_eq!(store.took_too_long(&error), error.0.code().is_some(), "{error:?}");

    // The server reports that it ends the connection, or the driver finds it closed before it reads that.
    let error = error_of(&mut |tx| fails(tx, "SELECT pg_terminate_backend(pg_backend_pid())"));
    assert!(store.is_transient(&error), "{error:?}");

    // Another transaction has locked the row.
    let mut holding = other.transaction().unwrap();
    holding
        .batch_execute("UPDATE sums SET sum = sum WHERE sum = 1")
        .unwrap();
    let error = error_of(&mut |tx| {
        fails(
            tx,
            "SET LOCAL lock_timeout = 1; UPDATE sums SET sum = sum WHERE sum = 1",
        )
    });
    assert!(is_transient(&error, "55P03"));
    assert!(!store.took_too_long(&error), "somebody else holds it");
    holding.commit().unwrap();

    // Another transaction has changed the row since the snapshot.
    let error = error_of(&mut |tx| {
        tx.batch_execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT FROM sums")
            .unwrap();
        other.batch_execute("UPDATE sums SET sum = 3 WHERE sum = 2").unwrap();
        fails(tx, "UPDATE sums SET sum = 4 WHERE sum = 2")
    });
    assert!(is_transient(&error, "40001"));

    // Each holds what the other waits for.
    let both_hold = Barrier::new(2);
    let (first, second) = thread::scope(|scope| {
        let held = scope.spawn(|| {
            let mut other = client(&database);
            let mut transaction = other.transaction().unwrap();
            transaction
                .batch_execute("UPDATE sums SET sum = sum WHERE sum = 1")
                .unwrap();
            both_hold.wait();
            let waited = transaction.batch_execute("UPDATE sums SET sum = sum WHERE sum = 3");
            transaction.rollback().map(|()| waited.err()).unwrap()
        });
        let failed = store.commit_together(|tx| -> Result<(), BoxError> {
            let tx = tx.connection();
            tx.batch_execute("UPDATE sums SET sum = sum WHERE sum = 3")?;
            both_hold.wait();
            tx.batch_execute("UPDATE sums SET sum = sum WHERE sum = 1")?;
            Ok(())
        });
        (held.join().unwrap(), failed.err())
    });
    match (first, second) {
        (Some(victim), None) => assert!(is_transient(&Caused(victim), "40P01")),
        (None, Some(victim)) => assert!(is_transient(&Caused(*victim.downcast().unwrap()), "40P01")),
        both => panic!("not one victim: {both:?}"),
    }

    // A connection of the caller that cannot be opened.
    let clerk = format!("clerk_{}", database.name());
    other
        .batch_execute(&format!("CREATE ROLE {clerk} LOGIN CONNECTION LIMIT 0"))
        .unwrap();
    let mut config: Config = database.url().parse().unwrap();
    let error = Caused(config.user(&clerk).connect(NoTls).err().unwrap());
    assert!(is_transient(&error, "53300"));
    other.batch_execute(&format!("DROP ROLE {clerk}")).unwrap();
    let nowhere = Client::connect("host=/nowhere user=nobody", NoTls).err().unwrap();
    assert!(is_transient(&Caused(nowhere), ""));
    assert!(!store.is_transient(&Error::invalid("refused")));
}

#[test]
fn appends_of_transactions_and_of_calls_wake_those_that_wait() {
    let Some((_database, store)) = fresh() else { return };
    let mut listening = store.wake().listen();
    store
        .append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
        .unwrap();
    assert!(listening.wait(Duration::ZERO));
    let append = |tx: &mut PostgresTransaction<'_>| tx.append(&account(), ExpectedVersion::NoStream, &[deposited(1)]);
    store.transaction(append).unwrap();
    assert!(listening.wait(Duration::ZERO));
    store.transaction(|_| Ok::<_, Error>(())).unwrap();
    let failed: Result<(), Error> = store.transaction(|tx| append(tx).and(Err(Error::invalid("refused"))));
    assert!(failed.is_err());
    assert!(!listening.wait(Duration::ZERO));
}
