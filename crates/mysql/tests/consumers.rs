//! Consumers: a handler's writes commit with the checkpoint, and errors of the caller's own statements are classified.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use firefly_eventstore_core::backend::{ConsumerChange, ConsumerTables};
use firefly_eventstore_core::consumer::{ConsumerStore, ConsumerTransaction, ParkedQuery, Registration, Transactional};
use firefly_eventstore_core::prelude::*;
use firefly_eventstore_mysql::driver::prelude::Queryable;
use firefly_eventstore_mysql::driver::{Conn, Error as DriverError, Opts, OptsBuilder, TxOpts};
use firefly_eventstore_mysql::{MysqlEventStore, MysqlTransaction, Partitions};
use firefly_eventstore_test_servers::{Database, Flavour, MysqlServer};

use crate::support::{account, builder, client, deposited, fresh, on_both, run};

type BoxError = Box<dyn StdError + Send + Sync>;

on_both!(
    a_read_model_and_its_checkpoint_change_in_one_commit,
    a_connection_that_leads_elsewhere_or_was_ended_moves_no_checkpoint,
    the_victim_of_a_deadlock_that_goes_on_moves_no_checkpoint,
    a_failed_statement_of_a_consumer_fails_the_transaction_even_if_it_is_ignored,
    members_that_write_that_they_live_do_not_wait_for_each_other,
    a_damaged_row_says_so,
    a_program_needs_few_rights_to_run_consumers,
    errors_of_the_callers_statements_are_the_servers_fault_or_the_events,
    appends_of_transactions_and_of_calls_wake_those_that_wait,
);

const NAME: &str = "balances.v1";

fn register(store: &MysqlEventStore, slots: u16) {
    let query = EventQuery::new();
    let registration = Registration::new(NAME, &query).slots(slots);
    store.commit_together(|tx| tx.register(&registration)).unwrap();
}

fn with_sums(server: &MysqlServer) -> (Database, MysqlEventStore) {
    let (database, store) = fresh(server);
    register(&store, 1);
    run(
        &mut client(&database),
        "CREATE TABLE sums (sum BIGINT NOT NULL PRIMARY KEY)",
    );
    (database, store)
}

fn position(store: &MysqlEventStore) -> GlobalSequence {
    store.consumers(Some(NAME)).unwrap()[0].position
}

fn advance(tx: &mut MysqlTransaction<'_>, to: u64) -> Result<(), Error> {
    let mut slot = tx.lock_slot(NAME, 0)?;
    tx.advance(&mut slot, GlobalSequence::new(to)?)
}

fn sums(database: &Database) -> Vec<i64> {
    client(database).query("SELECT sum FROM sums ORDER BY sum").unwrap()
}

fn a_read_model_and_its_checkpoint_change_in_one_commit(server: &MysqlServer) {
    let (database, store) = with_sums(server);
    let project = |sum: i64, to: u64, fails: bool| -> Result<(), BoxError> {
        store.commit_together(|tx| {
            tx.connection().exec_drop("INSERT INTO sums VALUES (?)", (sum,))?;
            advance(tx, to)?;
            match fails {
                true => Err("refused".into()),
                false => Ok(()),
            }
        })
    };
    project(7, 3, false).unwrap();
    assert!(project(9, 5, true).is_err());
    // The handler's own statement fails.
    assert!(project(7, 5, false).is_err());
    assert_eq!(position(&store), 3);
    assert_eq!(sums(&database), [7]);
}

fn a_connection_that_leads_elsewhere_or_was_ended_moves_no_checkpoint(server: &MysqlServer) {
    let (_database, store) = with_sums(server);
    let (elsewhere, other) = with_sums(server);
    let in_the_other = format!("USE {}", elsewhere.name());
    for (statement, why) in [
        (in_the_other.as_str(), "the connection uses the database"),
        ("SET NAMES latin1", "utf8mb4"),
        ("SET SESSION sql_mode = ''", "strict"),
        ("SET unique_checks = 0", "unique_checks"),
        ("SET autocommit = 1", "autocommit"),
        ("ROLLBACK", "ended before its work did"),
        ("COMMIT", "ended before its work did"),
        (
            "ALTER TABLE sums COMMENT = 'of the caller'",
            "ended before its work did",
        ),
    ] {
        for is_locked_before in [false, true] {
            let result = store.commit_together(|tx| -> Result<(), BoxError> {
                let locked = is_locked_before.then(|| tx.lock_slot("balances.v1", 0)).transpose()?;
                tx.connection().query_drop(statement)?;
                // A caller that ignores the result gets the error nevertheless.
                let _ = match locked {
                    Some(mut slot) => tx.advance(&mut slot, GlobalSequence::try_from(3_i64)?),
                    None => advance(tx, 3),
                };
                Ok(())
            });
            let message = result.unwrap_err().to_string();
            assert!(message.contains(why), "{statement}: {message}");
            assert_eq!(
                [position(&store), position(&other)],
                [GlobalSequence::ZERO; 2],
                "{statement}"
            );
        }
    }
}

/// Two transactions, each of which waits for the other. `work` runs in one of them. Returns the errors of both.
fn deadlock(
    database: &Database,
    store: &MysqlEventStore,
    after: impl Fn(&mut MysqlTransaction<'_>),
) -> [Option<BoxError>; 2] {
    let lock = |sum: i64| format!("UPDATE sums SET sum = sum WHERE sum = {sum}");
    let both_hold = Barrier::new(2);
    thread::scope(|scope| {
        let other = scope.spawn(|| {
            let mut other = client(database);
            // This one has changed more rows, so the server chooses the other as the victim.
            let mut transaction = other.start_transaction(TxOpts::default()).unwrap();
            for sum in 100..200 {
                transaction
                    .query_drop(format!("INSERT INTO sums VALUES ({sum})"))
                    .unwrap();
            }
            transaction.query_drop(lock(1)).unwrap();
            both_hold.wait();
            let waited = transaction.query_drop(lock(2));
            transaction.rollback().unwrap();
            waited.err().map(Into::into)
        });
        let failed = store.commit_together(|tx| -> Result<(), BoxError> {
            tx.connection().query_drop(lock(2))?;
            both_hold.wait();
            let waited = tx.connection().query_drop(lock(1));
            after(tx);
            Ok(waited?)
        });
        [other.join().unwrap(), failed.err()]
    })
}

fn the_victim_of_a_deadlock_that_goes_on_moves_no_checkpoint(server: &MysqlServer) {
    let (database, store) = with_sums(server);
    run(&mut client(&database), "INSERT INTO sums VALUES (1), (2)");
    let [other, failed] = deadlock(&database, &store, |tx| advance(tx, 3).unwrap());
    assert!(other.is_none(), "{other:?}");
    assert!(store.is_transient(&*failed.unwrap()));
    assert_eq!(position(&store), 0);
}

fn a_failed_statement_of_a_consumer_fails_the_transaction_even_if_it_is_ignored(server: &MysqlServer) {
    let (database, store) = with_sums(server);
    run(
        &mut client(&database),
        "ALTER TABLE firefly_consumers ADD CONSTRAINT refused CHECK (position < 3)",
    );
    let ignored = store.commit_together(|tx| -> Result<(), BoxError> {
        tx.connection().query_drop("INSERT INTO sums VALUES (7)")?;
        let _ = advance(tx, 3);
        Ok(())
    });
    let message = ignored.unwrap_err().to_string();
    assert!(message.contains("save slot 0 of consumer balances.v1"), "{message}");
    assert!(sums(&database).is_empty());
}

fn members_that_write_that_they_live_do_not_wait_for_each_other(server: &MysqlServer) {
    let (database, store) = fresh(server);
    register(&store, 4);
    let members = [Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7()];
    let lease = Duration::from_secs(60);
    let claim = |tx: &mut MysqlTransaction<'_>, member: Uuid| tx.claim(NAME, member, lease);
    for member in members {
        store.commit_together(|tx| claim(tx, member)).unwrap();
    }
    // One of them is not there any more.
    run(
        &mut client(&database),
        "UPDATE firefly_consumer_members SET seen_at = '2025-01-15 10:30:00' ORDER BY holder DESC LIMIT 1",
    );
    store
        .commit_together(|tx| -> Result<(), Error> {
            claim(tx, members[0])?;
            // It is still open, and a wait would end here with an error, or both with a deadlock.
            let beside = thread::scope(|scope| {
                let beside = scope.spawn(|| {
                    store.commit_together(|tx| -> Result<(), BoxError> {
                        tx.connection().query_drop("SET SESSION innodb_lock_wait_timeout = 1")?;
                        claim(tx, members[1])?;
                        Ok(())
                    })
                });
                beside.join().unwrap()
            });
            beside.unwrap();
            Ok(())
        })
        .unwrap();
    let left: u64 = client(&database)
        .query_first("SELECT COUNT(*) FROM firefly_consumer_members")
        .unwrap()
        .unwrap();
    assert_eq!(left, 2);
}

fn a_damaged_row_says_so(server: &MysqlServer) {
    let (database, store) = with_sums(server);
    let mut other = client(&database);
    for (damage, column, repair) in [
        ("state = 'asleep'", "asleep", "state = 'running'"),
        ("slot = 70000", "70000", "slot = 0"),
        (
            "failing_sequence = 1, attempts = 5000000000",
            "5000000000",
            "attempts = 0",
        ),
        ("position = -1", "-1", "position = 0"),
    ] {
        run(&mut other, &format!("UPDATE firefly_consumers SET {damage}"));
        let error = store.consumers(None).unwrap_err();
        assert!(error.is_integrity() && error.to_string().contains(column), "{error:?}");
        run(&mut other, &format!("UPDATE firefly_consumers SET {repair}"));
    }
}

/// Options for a connection of a new user with these limits.
fn of_a_new_user(server: &MysqlServer, database: &Database, with: &str) -> (String, Opts) {
    let user = format!("clerk_{}", &Uuid::now_v7().simple().to_string()[16..]);
    let create = format!("CREATE USER {user}@'%' IDENTIFIED BY 'secret' {with}");
    run(&mut client(database), &create);
    let opts = OptsBuilder::from_opts(Opts::from_url(&server.url(database.name())).unwrap());
    let opts = opts.user(Some(user.as_str())).pass(Some("secret"));
    (user, opts.into())
}

fn a_program_needs_few_rights_to_run_consumers(server: &MysqlServer) {
    let (database, store) = fresh(server);
    runs_consumers_with_few_rights(server, &database, &store);
    let database = server.new_database();
    let builder = builder(&database).partitions(Partitions::by_events(10));
    runs_consumers_with_few_rights(server, &database, &builder.migrate_on_open(true).open().unwrap());
}

fn runs_consumers_with_few_rights(server: &MysqlServer, database: &Database, store: &MysqlEventStore) {
    register(store, 2);
    let (user, opts) = of_a_new_user(server, database, "");
    for right in [
        "SELECT ON DB.*",
        "INSERT, UPDATE ON DB.firefly_consumers",
        "INSERT, UPDATE, DELETE ON DB.firefly_consumer_members",
        "INSERT, UPDATE, DELETE ON DB.firefly_parked_events",
    ] {
        let right = right.replace("DB", database.name());
        run(&mut client(database), &format!("GRANT {right} TO {user}@'%'"));
    }
    let limited = MysqlEventStore::configure(opts).open().unwrap();
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
}

/// A caller's error whose source is an error of the driver.
#[derive(Debug)]
struct Caused(DriverError);

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

fn errors_of_the_callers_statements_are_the_servers_fault_or_the_events(server: &MysqlServer) {
    let (database, store) = with_sums(server);
    let mut other = client(&database);
    run(&mut other, "INSERT INTO sums VALUES (1), (2)");
    let error_of = |statements: &[&str]| -> Caused {
        let failed = store.commit_together(|tx| -> Result<(), BoxError> {
            for statement in statements {
                tx.connection().query_drop(statement).map_err(Caused)?;
            }
            Ok(())
        });
        *failed.unwrap_err().downcast().unwrap()
    };
    for statement in [
        "INSERT INTO sums VALUES (1)",
        "INSERT INTO sums VALUES (NULL)",
        "INSERT INTO sums VALUES ('one')",
        "INSERT INTO sums VALUES (1 / 0)",
        "INSERT INTO sums VALUES (9223372036854775808)",
        "INSERT INTO sums",
        "INSERT INTO sum VALUES (1)",
    ] {
        let error = error_of(&[statement]);
        assert!(!store.is_transient(&error), "{statement}: {error:?}");
    }
    for statements in [
        &["START TRANSACTION READ ONLY", "INSERT INTO sums VALUES (3)"][..],
        &["KILL CONNECTION_ID()", "SELECT 1"],
        &["SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1114"], // a table that is full
        &["SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1317"], // a statement that was cancelled
    ] {
        let error = error_of(statements);
        assert!(store.is_transient(&error), "{statements:?}: {error:?}");
        assert!(!store.took_too_long(&error), "{statements:?}: {error:?}");
    }
    let too_long: &[&str] = match server.flavour() {
        Flavour::Mariadb => &["SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1969"],
        Flavour::Mysql => &["SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 3024"],
    };
    let error = error_of(too_long);
    assert!(store.is_transient(&error) && store.took_too_long(&error), "{error:?}");

    // Another session has locked the row.
    let mut holding = other.start_transaction(TxOpts::default()).unwrap();
    holding.query_drop("UPDATE sums SET sum = sum WHERE sum = 1").unwrap();
    let error = error_of(&["SELECT * FROM sums WHERE sum = 1 FOR UPDATE NOWAIT"]);
    assert!(store.is_transient(&error), "{error:?}");
    assert!(!store.took_too_long(&error), "somebody else holds it");
    holding.commit().unwrap();

    let [none, victim] = deadlock(&database, &store, |_| {});
    assert!(none.is_none(), "{none:?}");
    let victim = victim.unwrap();
    assert!(victim.is::<DriverError>() && store.is_transient(&*victim), "{victim:?}");

    // The caller's own connections cannot be made.
    let (_, opts) = of_a_new_user(server, &database, "WITH MAX_USER_CONNECTIONS 1");
    let opts = OptsBuilder::from_opts(opts).db_name(None::<String>);
    let _one = Conn::new(opts.clone()).unwrap();
    let error = Caused(Conn::new(opts).unwrap_err());
    assert!(store.is_transient(&error), "{error:?}");
    let error = Caused(Conn::new("mysql://nobody@127.0.0.1:1/nothing").unwrap_err());
    assert!(store.is_transient(&error), "{error:?}");
    assert!(!store.is_transient(&Error::invalid("refused")));
}

fn appends_of_transactions_and_of_calls_wake_those_that_wait(server: &MysqlServer) {
    let (_database, store) = fresh(server);
    let mut listening = store.wake().listen();
    store
        .append(&account(), ExpectedVersion::NoStream, &[deposited(1)])
        .unwrap();
    assert!(listening.wait(Duration::ZERO));
    let append = |tx: &mut MysqlTransaction<'_>| tx.append(&account(), ExpectedVersion::NoStream, &[deposited(1)]);
    store.transaction(append).unwrap();
    assert!(listening.wait(Duration::ZERO));
    store.transaction(|_| Ok::<_, Error>(())).unwrap();
    let failed: Result<(), Error> = store.transaction(|tx| append(tx).and(Err(Error::invalid("refused"))));
    assert!(failed.is_err());
    assert!(!listening.wait(Duration::ZERO));
}
