//! An account ledger in an SQLite file: what a program does with an event store, from the first event to the statistics. The program checks
//! what it prints, and fails if the store breaks its promises.
//!
//! ```text
//! cargo run --example ledger              # in a temporary directory, removed at the end
//! cargo run --example ledger -- bank.db   # in a file that is kept; run it again and the ledger grows
//! ```

use std::{cell::Cell, env, fmt, path::PathBuf, sync::Barrier, thread};

use firefly_eventstore::prelude::*;
use firefly_eventstore::sqlite::driver::{Connection, params};
use firefly_eventstore::{Aggregate, Context, DomainEvent, Repository, SnapshotPolicy, Snapshotted};
use serde::{Deserialize, Serialize};
use time::Duration;

type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

/// What can happen to an account. An event is a fact: written once, in the past tense, never changed.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
enum AccountEvent {
    #[serde(rename = "account.created")]
    Created {
        account_number: String,
        initial_balance: Cents,
    },
    #[serde(rename = "money.deposited")]
    Deposited(Movement),
    #[serde(rename = "money.withdrawn")]
    Withdrawn(Movement),
    #[serde(rename = "money.transferred")]
    Transferred(Movement),
    #[serde(rename = "money.received")]
    Received(Movement),
}

#[derive(Debug, Serialize, Deserialize)]
struct Movement {
    amount: Cents,
    reference: String,
}

/// An amount in the smallest unit, so that nothing is rounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd, Serialize, Deserialize)]
struct Cents(i64);

impl DomainEvent for AccountEvent {}

impl AccountEvent {
    /// The event, ready to be appended.
    fn by(&self, clerk: &str) -> Result<NewEvent> {
        Ok(NewEvent::of(self)?.created_by(clerk)?)
    }
}

fn euros(amount: i64) -> Cents {
    Cents(amount * 100)
}

impl Movement {
    fn new(amount: Cents, reference: &str) -> Self {
        let reference = reference.into();
        Self { amount, reference }
    }
}

/// The state of an account: the result of applying its events one after the other.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Account {
    number: String,
    balance: Cents,
}

impl Aggregate for Account {
    const TYPE: &'static str = "Account";
    type Event = AccountEvent;

    fn evolve(&mut self, event: AccountEvent) {
        match event {
            AccountEvent::Created {
                account_number: number,
                initial_balance: balance,
            } => *self = Self { number, balance },
            AccountEvent::Deposited(it) | AccountEvent::Received(it) => self.balance.0 += it.amount.0,
            AccountEvent::Withdrawn(it) | AccountEvent::Transferred(it) => self.balance.0 -= it.amount.0,
        }
    }
}

impl Snapshotted for Account {
    const FORM: &'static str = "AccountState.v1";
}

impl Account {
    /// Builds the account from a stream. A repository does this for you.
    fn of(stream: &EventStream) -> Result<Self> {
        Self::default().followed_by(stream)
    }

    fn followed_by(mut self, stream: &EventStream) -> Result<Self> {
        for event in stream {
            event.decode()?.into_iter().for_each(|event| self.evolve(event));
        }
        Ok(self)
    }

    /// A decision: checks the rule against the state, and returns an event or a refusal.
    fn withdraw(&self, amount: Cents, reference: &str) -> Result<AccountEvent, Refusal> {
        self.check_covers(amount)?;
        Ok(AccountEvent::Withdrawn(Movement::new(amount, reference)))
    }

    fn transfer(&self, amount: Cents, to: &Self) -> Result<AccountEvent, Refusal> {
        self.check_covers(amount)?;
        Ok(AccountEvent::Transferred(Movement::new(amount, &to.number)))
    }

    fn receive(&self, amount: Cents, from: &Self) -> AccountEvent {
        AccountEvent::Received(Movement::new(amount, &from.number))
    }

    fn check_covers(&self, amount: Cents) -> Result<(), Refusal> {
        if amount > self.balance {
            return Err(Refusal(format!(
                "{} holds {}, asked for was {amount}",
                self.number, self.balance
            )));
        }
        Ok(())
    }
}

/// Why a command was refused.
#[derive(Debug)]
struct Refusal(String);

impl std::error::Error for Refusal {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Moves an amount between two accounts and updates the table of balances, in one transaction.
fn transfer(store: &SqliteEventStore, from: &AggregateKey, to: &AggregateKey, amount: Cents) -> Result<()> {
    store.transaction(|tx| {
        let (payer, payee) = (tx.load(from)?, tx.load(to)?);
        let (sender, receiver) = (Account::of(&payer)?, Account::of(&payee)?);
        let sent = [sender.transfer(amount, &receiver)?.by("clerk-2")?];
        let received = receiver.receive(amount, &sender).by("clerk-2")?;
        let received = [received.causation_id(sent[0].event_id().to_string())?];
        tx.append_all(&[
            Append::new(from, payer.version(), &sent),
            Append::new(to, payee.version(), &received),
        ])?;
        for key in [from, to] {
            let account = Account::of(&tx.load(key)?)?;
            write_balance(tx.connection(), key, &account)?;
        }
        Ok(())
    })
}

const CREATE_BALANCES: &str = "CREATE TABLE IF NOT EXISTS balances
    (account_id TEXT PRIMARY KEY, number TEXT NOT NULL, cents INTEGER NOT NULL CHECK (cents >= 0))";
const WRITE_BALANCE: &str = "REPLACE INTO balances (account_id, number, cents) VALUES (?1, ?2, ?3)";

fn write_balance(connection: &Connection, key: &AggregateKey, account: &Account) -> Result<()> {
    let row = params![key.id().to_string(), account.number, account.balance.0];
    connection.execute(WRITE_BALANCE, row)?;
    println!("  {}: balances.cents = {}", account.number, account.balance.0);
    Ok(())
}

fn main() -> Result<()> {
    let (given, temporary) = (env::args_os().nth(1), tempfile::tempdir()?);
    let path = given.map_or_else(|| temporary.path().join("ledger.db"), PathBuf::from);
    let store = SqliteEventStore::open(&path)?;
    println!("The ledger is in {}", path.display());
    let before = store.statistics(None)?.total_events;
    let accounts = Repository::<_, Account>::new(store.clone())?.with_snapshots(SnapshotPolicy::Every(5))?;
    let balance = |key: &AggregateKey| -> Result<Cents> { Ok(accounts.load(key.id())?.state().balance) };
    let days_ago = |days| OffsetDateTime::now_utc().truncate_to_microsecond() - Duration::days(days);

    println!("\nTwo accounts, opened three days ago");
    let ada = AggregateKey::new("Account", Uuid::now_v7())?;
    let bob = AggregateKey::new("Account", Uuid::now_v7())?;
    for (key, number, balance) in [(&ada, "ACC001", euros(1_000)), (&bob, "ACC002", euros(50))] {
        let created = AccountEvent::Created {
            account_number: number.into(),
            initial_balance: balance,
        };
        let created = created.by("clerk-1")?.created_at(days_ago(3))?;
        store.append(key, ExpectedVersion::NoStream, &[created])?;
        println!("  {number} {balance:>12}   {key}");
    }

    println!("\nA deposit and a withdrawal, two days ago");
    let deposited = AccountEvent::Deposited(Movement::new(euros(250), "DEP-001"));
    let deposited = [deposited.by("clerk-1")?.created_at(days_ago(2))?];
    let first = store.append(&ada, ExpectedVersion::Exact(1.into()), &deposited)?;
    // The answer to an append may be lost. Repeating the append is safe, because an event brings its own id.
    let again = store.append(&ada, ExpectedVersion::Exact(1.into()), &deposited)?;
    assert!(again.is_already_stored() && again.version() == first.version());
    let withdrawn = Account::of(&store.load(&ada)?)?
        .withdraw(euros(100), "ATM-001")?
        .by("clerk-1")?;
    store.append(
        &ada,
        first.version(),
        &[withdrawn.created_at(days_ago(2) + Duration::MINUTE)?],
    )?;
    for event in &store.load(&ada)? {
        let (version, day) = (event.version, event.created_at.date());
        println!("  {version}  {day}  {:<16} {}", event.event_type.as_str(), event.data);
    }
    assert_eq!(balance(&ada)?, euros(1_150));

    println!("\nAn overdraft is rejected and leaves no trace");
    let too_much = |account: &Account| Ok(vec![account.withdraw(Cents(5_001), "ATM-002")?]);
    let rejected: Result<_, firefly_eventstore::ExecuteError<Refusal>> = accounts.execute(bob.id(), too_much);
    println!("  rejected: {}", rejected.expect_err("the account does not cover it"));
    assert_eq!(store.version(&bob)?, 1);

    println!("\nTwo clerks at once: one wins, the other decides again");
    let both_have_loaded = Barrier::new(2);
    let clerk = |name: &str, amount| {
        let decisions = Cell::new(0);
        // Loads the account, decides, and appends the event. If another process has appended meanwhile, the decision was made on an
        // outdated state, so it loads and decides again.
        let executed = accounts.execute_as(&Context::new().created_by(name)?, ada.id(), |account| {
            decisions.set(decisions.get() + 1);
            // At first both see the same version, so only one of them can succeed.
            if decisions.get() == 1 {
                both_have_loaded.wait();
            }
            Ok::<_, Refusal>(vec![account.withdraw(amount, "counter")?])
        })?;
        let decisions = decisions.get();
        println!("  {name}: version {}, decided {decisions} time(s)", executed.version());
        Result::Ok(decisions)
    };
    let decisions = thread::scope(|scope| {
        let one = scope.spawn(|| clerk("clerk-1", euros(300)));
        let two = scope.spawn(|| clerk("clerk-2", euros(200)));
        [one, two].map(|thread| thread.join().expect("a clerk does not panic"))
    });
    assert_eq!(decisions.into_iter().sum::<Result<u32>>()?, 3);
    assert_eq!((balance(&ada)?, store.version(&ada)?.get()), (euros(650), 5));

    println!("\nA snapshot, and only what came after it");
    let deposited = AccountEvent::Deposited(Movement::new(euros(50), "DEP-002"));
    store.append(&ada, ExpectedVersion::Exact(5.into()), &[deposited.by("clerk-2")?])?;
    // The repository saved a snapshot when the fifth event was appended. Later loads begin there.
    let snapshot = store.latest_snapshot(&ada)?.expect("one was saved");
    let next = snapshot.version.checked_add(1).expect("there are versions left");
    let rest = store.load_range(&ada, &StreamRange::all().from_version(next))?;
    let account = snapshot.state::<Account>()?.followed_by(&rest)?;
    println!("  version {}, 1 event after it: {}", snapshot.version, account.balance);
    assert_eq!((&account, rest.len()), (accounts.load(ada.id())?.state(), 1));

    println!("\nThe balance as of yesterday");
    let stream = store.load_as_of(&ada, days_ago(1))?;
    let yesterday = Account::of(&stream)?.balance;
    println!("  version {}: {yesterday}, today {}", stream.version(), account.balance);
    assert_eq!((yesterday, account.balance), (euros(1_150), euros(700)));

    println!("\nA transfer: two accounts and a table of balances, in one commit");
    store.transaction(|tx| -> Result<()> { Ok(tx.connection().execute_batch(CREATE_BALANCES)?) })?;
    transfer(&store, &ada, &bob, euros(400))?;
    assert_eq!((balance(&ada)?, balance(&bob)?), (euros(300), euros(450)));
    // No rule has checked this withdrawal. The table refuses it, so the event is not stored either.
    let refused = store.transaction(|tx| {
        let unchecked = AccountEvent::Withdrawn(Movement::new(euros(999), "unchecked")).by("clerk-3")?;
        tx.append(&ada, ExpectedVersion::Exists, &[unchecked])?;
        let account = Account::of(&tx.load(&ada)?)?;
        write_balance(tx.connection(), &ada, &account)
    });
    println!("  refused: {}", refused.expect_err("no balance is negative"));
    assert_eq!((balance(&ada)?, store.version(&ada)?.get()), (euros(300), 7));

    println!("\nWhat is in the store");
    let statistics = store.statistics(None)?;
    let (events, accounts) = (statistics.total_events, statistics.total_aggregates);
    println!("  {events} events of {accounts} accounts");
    for share in &statistics.event_types {
        let (event_type, count) = (share.event_type.as_str(), share.event_count);
        println!("  {event_type:<18} {count:>5} {:>7.2} %", share.percentage);
    }
    for it in &statistics.aggregate_types {
        let (kind, count, max) = (it.aggregate_type.as_str(), it.aggregate_count, it.max_version);
        println!(
            "  {kind:<18} {count:>5} average version {:.2}, max {max}",
            it.average_version
        );
    }
    assert_eq!(events - before, 9);
    assert!(firefly_eventstore::verify(&store, EventQuery::new(), |_| ())?.is_intact());
    println!("\nEverything adds up.");
    Ok(())
}

impl fmt::Display for Cents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}.{:02}", self.0 / 100, (self.0 % 100).abs()))
    }
}
