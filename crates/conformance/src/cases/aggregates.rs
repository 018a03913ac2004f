//! Aggregates: what a command appends, when it decides again, that a repeated command takes effect once, and that snapshots change no
//! result.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use firefly_eventstore_core::prelude::*;
use firefly_eventstore_core::{
    AggregateSummary, Cursor, EventData, ExecuteError, Executed, Health, Page, SnapshotAt, SnapshotSelection,
    SnapshotStatistics, Statistics, SummaryQuery, Upcasts,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::environment::Environment;
use crate::support::*;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum AccountEvent {
    #[serde(rename = "account.opened")]
    Opened { owner: String },
    #[serde(rename = "money.deposited", alias = "deposit")]
    Deposited { cents: i64 },
    #[serde(rename = "money.withdrawn")]
    Withdrawn { cents: i64 },
    #[serde(rename = "account.closed")]
    Closed,
}

impl DomainEvent for AccountEvent {
    fn upcasts() -> Upcasts {
        Upcasts::new().split(
            "money.exchanged",
            ["money.withdrawn", "money.deposited"],
            |old: (i64, i64)| {
                let cents = |cents| json!({ "cents": cents });
                [("money.withdrawn", cents(old.0)), ("money.deposited", cents(old.1))]
            },
        )
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Account {
    owner: String,
    cents: i64,
    /// How many events were applied. Shows events that are applied twice.
    events: u64,
    is_closed: bool,
}

impl Aggregate for Account {
    const TYPE: &'static str = "Account";
    type Event = AccountEvent;

    fn evolve(&mut self, event: AccountEvent) {
        self.events += 1;
        match event {
            AccountEvent::Opened { owner } => self.owner = owner,
            AccountEvent::Deposited { cents } => self.cents += cents,
            AccountEvent::Withdrawn { cents } => self.cents -= cents,
            AccountEvent::Closed => self.is_closed = true,
        }
    }
}

impl Snapshotted for Account {
    const FORM: &'static str = "Account.v1";
}

#[derive(Clone, Debug, PartialEq)]
struct Overdrawn(i64);

impl Account {
    fn deposit(&self, cents: i64) -> Result<Vec<AccountEvent>, Overdrawn> {
        Ok(vec![AccountEvent::Deposited { cents }])
    }

    fn withdraw(&self, cents: i64) -> Result<Vec<AccountEvent>, Overdrawn> {
        match self.cents - cents {
            missing if missing < 0 => Err(Overdrawn(-missing)),
            _ => Ok(vec![AccountEvent::Withdrawn { cents }]),
        }
    }
}

/// The same aggregate in a newer program, with another form of state.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct NewerAccount(i64);

impl Aggregate for NewerAccount {
    const TYPE: &'static str = Account::TYPE;
    type Event = AccountEvent;

    fn evolve(&mut self, event: AccountEvent) {
        if let AccountEvent::Deposited { cents } = event {
            self.0 += cents;
        }
    }
}

impl Snapshotted for NewerAccount {
    const FORM: &'static str = "Account.v2";
}

type Accounts = Repository<Handle, Account>;

fn accounts(store: Handle) -> Accounts {
    Repository::new(store).unwrap()
}

fn with_snapshots<S: EventStore + SnapshotStore>(store: S, policy: SnapshotPolicy) -> Repository<S, Account> {
    Repository::new(store).unwrap().with_snapshots(policy).unwrap()
}

fn deposit(accounts: &Repository<impl EventStore, Account>, id: Uuid, cents: i64) -> Executed<Account> {
    accounts.execute(id, |account| account.deposit(cents)).unwrap()
}

fn command() -> Context {
    Context::new().command_id(Uuid::now_v7())
}

/// An account computed from its events without snapshots, and its stored events.
fn replayed(store: &Handle, id: Uuid) -> (Account, Vec<EventEnvelope>) {
    let root = accounts(Arc::clone(store)).load(id).unwrap();
    let stream = store.load(root.key()).unwrap();
    assert_eq!(root.version(), stream.version());
    (root.into_state(), stream.into_events())
}

fn types(events: &[EventEnvelope]) -> Vec<&str> {
    events.iter().map(|event| event.event_type.as_str()).collect()
}

fn snapshots(store: &Handle, id: Uuid) -> Vec<(String, u64)> {
    let key = AggregateKey::new(Account::TYPE, id).unwrap();
    let found = store.list_snapshots(None, &key).unwrap();
    found
        .iter()
        .map(|snapshot| (snapshot.snapshot_type.to_string(), snapshot.version.get()))
        .collect()
}

fn of_v1(version: u64) -> (String, u64) {
    (Account::FORM.to_owned(), version)
}

// Commands.

pub(crate) fn a_command_appends_what_it_decides(env: &dyn Environment) {
    let (accounts, id) = (accounts(env.store()), Uuid::now_v7());
    let context = Context::new()
        .created_by("clerk-7")
        .unwrap()
        .correlation_id("c-1")
        .unwrap()
        .causation_id("k-1")
        .unwrap()
        .metadata(&json!({ "branch": "Oslo" }))
        .unwrap();
    let executed = accounts
        .execute_as(&context, id, |account| {
            assert_eq!(*account, Account::default());
            let owner = "Ada".to_owned();
            Ok::<_, Overdrawn>(vec![
                AccountEvent::Opened { owner },
                AccountEvent::Deposited { cents: 100 },
            ])
        })
        .unwrap();
    assert_eq!((executed.version().get(), executed.state().cents), (2, 100));
    assert!(!executed.was_executed_before());
    let (state, events) = replayed(accounts.store(), id);
    assert_eq!(state, *executed.state());
    assert_eq!(types(&events), ["account.opened", "money.deposited"]);
    assert_eq!(events[1].data.canonical().unwrap(), r#"{"cents":100}"#);
    assert_eq!(executed.appended().unwrap().global_sequences(), sequences(&events));
    assert_eq!(executed.last_sequence(), Some(events[1].global_sequence));
    for event in &events {
        assert_eq!(event.created_by.as_ref().unwrap(), &"clerk-7");
        assert_eq!(event.correlation_id.as_ref().unwrap(), &"c-1");
        assert_eq!(event.causation_id.as_ref().unwrap(), &"k-1");
        let metadata = event.metadata.as_ref().unwrap().canonical().unwrap();
        assert_eq!(metadata, r#"{"branch":"Oslo"}"#);
    }
    let root = accounts.load(id).unwrap();
    assert_eq!((root.state(), root.version().get()), (executed.state(), 2));
}

pub(crate) fn a_refusal_and_a_decision_for_nothing_append_nothing(env: &dyn Environment) {
    let (accounts, id) = (accounts(env.store()), Uuid::now_v7());
    assert!(!accounts.load(id).unwrap().exists());
    deposit(&accounts, id, 30);
    let refused = accounts.execute_as(&command(), id, |account| account.withdraw(31));
    assert_eq!(refused.unwrap_err().refusal(), Some(&Overdrawn(1)));
    let nothing = accounts.execute(id, |_| Ok::<_, Overdrawn>(vec![])).unwrap();
    assert_eq!((nothing.appended(), nothing.version().get()), (None, 1));
    assert_eq!(nothing.state().cents, 30);
    assert_eq!(log(accounts.store()).len(), 1);
}

pub(crate) fn a_conflict_is_decided_again_on_what_is_stored_by_then(env: &dyn Environment) {
    let (others, id) = (accounts(env.store()), Uuid::now_v7());
    deposit(&others, id, 100);
    let store = Watched::new(env.reopen());
    let accounts = Repository::<_, Account>::new(store).unwrap();
    // Two conflicting appends come one after the other. Then the account is empty.
    accounts
        .store()
        .before_append(&others, move |others| _ = deposit(others, id, 50));
    accounts.store().before_append(&others, move |others| {
        others.execute(id, |account| account.withdraw(90)).unwrap();
    });
    let seen = Mutex::new(Vec::new());
    let executed = accounts
        .execute(id, |account| {
            seen.lock().unwrap().push(account.cents);
            account.withdraw(60)
        })
        .unwrap();
    assert_eq!(*seen.lock().unwrap(), [100, 150, 60]);
    assert_eq!((executed.version().get(), executed.state().cents), (4, 0));
    assert_eq!(replayed(others.store(), id).0, *executed.state());
}

pub(crate) fn conflicts_end_after_so_many_attempts(env: &dyn Environment) {
    let (others, id) = (accounts(env.store()), Uuid::now_v7());
    let store = Watched::new(env.reopen());
    let accounts = Repository::<_, Account>::new(store).unwrap().attempts(3);
    for _ in 0..3 {
        accounts
            .store()
            .before_append(&others, move |others| _ = deposit(others, id, 1));
    }
    let decided = AtomicU64::new(0);
    let error = accounts
        .execute(id, |account| {
            decided.fetch_add(1, SeqCst);
            account.deposit(1_000)
        })
        .unwrap_err();
    assert!(error.store_error().unwrap().is_conflict());
    assert_eq!(decided.into_inner(), 3);
    assert_eq!(replayed(others.store(), id).0.cents, 3);
}

pub(crate) fn threads_that_execute_commands_lose_none(env: &dyn Environment) {
    let (accounts, id) = (accounts(env.store()).attempts(20), Uuid::now_v7());
    let versions = in_parallel(8, |thread| {
        let commands = 0..3;
        commands
            .map(|number| deposit(&accounts, id, 10_i64.pow(thread as u32) * (number + 1)).version())
            .collect::<Vec<_>>()
    });
    let mut versions: Vec<_> = versions.into_iter().flatten().map(Version::get).collect();
    versions.sort_unstable();
    assert_eq!(versions, (1..=24).collect::<Vec<_>>());
    let (state, _) = replayed(accounts.store(), id);
    assert_eq!((state.cents, state.events), (66_666_666, 24));
}

pub(crate) fn a_lost_answer_is_learnt_by_the_same_append_not_by_another_decision(env: &dyn Environment) {
    for context in [Context::new(), command()] {
        let (others, id) = (accounts(env.store()), Uuid::now_v7());
        deposit(&others, id, 1);
        let accounts = Repository::<_, Account>::new(Watched::new(env.reopen())).unwrap();
        accounts.store().lose_answers(2);
        // Another append comes before the answer is known.
        accounts
            .store()
            .after_lost_answer(&others, move |others| _ = deposit(others, id, 10));
        let decided = AtomicU64::new(0);
        let executed = accounts
            .execute_as(&context, id, |account| {
                decided.fetch_add(1, SeqCst);
                account.deposit(100)
            })
            .unwrap();
        assert_eq!(decided.into_inner(), 1);
        assert!(executed.was_executed_before());
        assert_eq!(executed.appended().unwrap().version(), 2);
        let (state, events) = replayed(others.store(), id);
        assert_eq!((state.cents, state.events), (111, 3));
        assert_eq!((executed.state(), executed.version()), (&state, events[2].version));
    }
}

// A command with an id acts once.

pub(crate) fn a_command_with_an_id_acts_once(env: &dyn Environment) {
    let (accounts, id) = (accounts(env.store()), Uuid::now_v7());
    deposit(&accounts, id, 100);
    let request = command();
    let two = |account: &Account| Ok::<_, Overdrawn>([account.withdraw(60)?, account.deposit(5)?].concat());
    let first = accounts.execute_as(&request, id, two).unwrap();
    assert!(!first.was_executed_before());
    assert_eq!(first.version(), 3);
    let ids = stored_ids(&replayed(accounts.store(), id).1);
    assert_eq!(ids[1..], [request.event_id(0).unwrap(), request.event_id(1).unwrap()]);
    deposit(&accounts, id, 7);

    // Another process repeats the command later. After the effect of the first, the decision would refuse.
    let again = Accounts::new(env.reopen()).unwrap();
    let again = again
        .execute_as(&request, id, |account| -> Result<_, Overdrawn> {
            panic!("decided again, on {account:?}")
        })
        .unwrap();
    assert!(again.was_executed_before());
    assert_eq!(
        *again.appended().unwrap(),
        first.appended().unwrap().clone().already_stored()
    );
    assert_eq!((again.version().get(), again.state().cents), (4, 52));
    assert_eq!(replayed(accounts.store(), id).0, *again.state());
}

pub(crate) fn threads_that_repeat_commands_execute_each_once(env: &dyn Environment) {
    let (accounts, id) = (accounts(env.store()).attempts(20), Uuid::now_v7());
    let requests: Vec<_> = (0..4).map(|_| command()).collect();
    let results = in_parallel(8, |thread| {
        let mut firsts = 0;
        for turn in 0..requests.len() {
            let number = (turn + thread) % requests.len();
            let executed = accounts
                .execute_as(&requests[number], id, |account| {
                    account.deposit(10_i64.pow(number as u32))
                })
                .unwrap();
            firsts += u64::from(!executed.was_executed_before());
            let of_command = executed.appended().unwrap().global_sequences().len();
            assert_eq!(of_command, 1);
        }
        firsts
    });
    assert_eq!(results.iter().sum::<u64>(), 4);
    let (state, _) = replayed(accounts.store(), id);
    assert_eq!((state.cents, state.events), (1_111, 4));
}

pub(crate) fn a_command_that_another_decided_otherwise_is_recognised(env: &dyn Environment) {
    let (others, id) = (accounts(env.store()), Uuid::now_v7());
    deposit(&others, id, 100);
    // Withdraws everything. The amounts differ, so the two commands' events have the same ids and different data.
    fn all(account: &Account) -> Result<Vec<AccountEvent>, Overdrawn> {
        account.withdraw(account.cents)
    }
    for with_more in [false, true] {
        let (request, theirs) = (command(), move |account: &Account| {
            let more = if with_more { account.deposit(1)? } else { vec![] };
            Ok::<_, Overdrawn>([all(account)?, more].concat())
        });
        let accounts = Repository::<_, Account>::new(Watched::new(env.reopen())).unwrap();
        let same = request.clone();
        accounts.store().before_append(&others, move |others| {
            deposit(others, id, 23);
            others.execute_as(&same, id, theirs).unwrap();
            deposit(others, id, 1);
        });
        let executed = accounts.execute_as(&request, id, all).unwrap();
        assert!(executed.was_executed_before());
        let appended = executed.appended().unwrap();
        assert_eq!(appended.global_sequences().len(), 1 + usize::from(with_more));
        let (state, events) = replayed(others.store(), id);
        assert_eq!(executed.state(), &state);
        let first = usize::try_from(appended.first_version().unwrap().get()).unwrap() - 1;
        assert_eq!(events[first].event_id, request.event_id(0).unwrap());
        assert_eq!(
            appended.last_sequence().unwrap(),
            events[first + usize::from(with_more)].global_sequence
        );
    }
}

pub(crate) fn a_command_behind_a_snapshot_is_recognised(env: &dyn Environment) {
    let (accounts, id) = (with_snapshots(env.store(), SnapshotPolicy::Every(4)), Uuid::now_v7());
    let request = command();
    let many = |account: &Account| {
        assert!(account.cents < 200, "decided again");
        // More events than one search reads.
        Ok::<_, Overdrawn>(vec![AccountEvent::Deposited { cents: 2 }; 101])
    };
    let first = accounts.execute_as(&request, id, many).unwrap();
    for _ in 0..4 {
        deposit(&accounts, id, 1);
    }
    assert_eq!(snapshots(accounts.store(), id), [of_v1(104)]);
    for version in [105, 108] {
        let again = accounts.execute_as(&request, id, many).unwrap();
        assert_eq!(
            *again.appended().unwrap(),
            first.appended().unwrap().clone().already_stored()
        );
        assert_eq!((again.version().get(), again.state().events), (version, version));
        assert_eq!(replayed(accounts.store(), id).0, *again.state());
        for _ in 0..3 {
            deposit(&accounts, id, 1);
        }
    }
    // A command that was not executed does not count as executed.
    let other = accounts
        .execute_as(&command(), id, |account| account.deposit(1))
        .unwrap();
    assert!(!other.was_executed_before());
}

pub(crate) fn a_command_behind_a_snapshot_and_the_mark_is_recognised(env: &dyn Environment) {
    let store = env.store();
    let (accounts, id) = (with_snapshots(env.reopen(), SnapshotPolicy::Every(2)), Uuid::now_v7());
    deposit(&accounts, id, 100);
    let request = command();
    let execute = || {
        accounts
            .execute_as(&request, id, |account| account.withdraw(100))
            .unwrap()
    };
    let repeat = || {
        let first = in_another_thread(execute);
        in_another_thread(|| (deposit(&accounts, id, 1), deposit(&accounts, id, 1)));
        let again = in_another_thread(execute);
        assert!(again.was_executed_before());
        assert_eq!(
            again.appended().unwrap().global_sequences(),
            first.appended().unwrap().global_sequences()
        );
        assert_eq!((again.state().cents, again.version().get()), (2, 4));
    };
    if env.writes_beside_a_transaction() {
        store
            .in_transaction(|tx| -> Result<_, Error> {
                tx.append(&aggregate("Other"), ExpectedVersion::NoStream, &events(1))?;
                repeat();
                Ok(())
            })
            .unwrap();
    } else {
        repeat();
    }
    assert_eq!(snapshots(&store, id), [of_v1(4)]);

    // If the log is final only up to here, all events are loaded, unless the command is found earlier.
    let stored = replayed(&store, id).1;
    let accounts = with_snapshots(Watched::new(env.reopen()), SnapshotPolicy::Every(2));
    let loaded = |known: usize, request: &Context| {
        accounts.store().hold_mark(stored[known].global_sequence);
        accounts.store().count_events();
        let executed = accounts.execute_as(request, id, |account| account.withdraw(100));
        (executed.is_ok(), accounts.store().count_events())
    };
    let (the_snapshots, all, those_of_the_command) = (1, 4, 3);
    assert_eq!(loaded(0, &request), (true, the_snapshots + all + those_of_the_command));
    assert_eq!(loaded(1, &request), (true, the_snapshots + those_of_the_command));
    assert_eq!(loaded(2, &command()), (false, the_snapshots + all));
    assert_eq!(loaded(3, &command()), (false, the_snapshots));
}

pub(crate) fn the_id_of_a_command_is_for_one_aggregate(env: &dyn Environment) {
    let (accounts, ada, bob) = (accounts(env.store()), Uuid::now_v7(), Uuid::now_v7());
    let request = command();
    accounts
        .execute_as(&request, ada, |account| account.deposit(1))
        .unwrap();
    for other in [bob, ada] {
        deposit(&accounts, other, 5);
    }
    let error = accounts
        .execute_as(&request, bob, |account| account.deposit(1))
        .unwrap_err();
    let key = accounts.key(bob);
    assert_duplicate(error.store_error().unwrap(), &key, &[request.event_id(0).unwrap()]);
    assert_eq!(replayed(accounts.store(), bob).0.cents, 5);
}

pub(crate) fn an_event_causes_a_command_once(env: &dyn Environment) {
    let (accounts, ada, bob) = (accounts(env.store()), Uuid::now_v7(), Uuid::now_v7());
    let request = Context::new().correlation_id("transfer-19").unwrap();
    accounts
        .execute_as(&request, ada, |account| account.deposit(1))
        .unwrap();
    let cause = &replayed(accounts.store(), ada).1[0];
    for step in ["credit", "credit", "bonus"] {
        accounts
            .execute_as(&Context::caused_by(cause, step), bob, |account| account.deposit(10))
            .unwrap();
    }
    let (state, events) = replayed(accounts.store(), bob);
    assert_eq!(state.cents, 20);
    for event in events {
        assert_eq!(event.causation_id.unwrap().as_str(), cause.event_id.to_string());
        assert_eq!(event.correlation_id.unwrap(), "transfer-19");
    }
}

// Snapshots change nothing.

pub(crate) fn a_snapshot_is_due_when_a_multiple_is_passed(env: &dyn Environment) {
    let (accounts, id) = (with_snapshots(env.store(), SnapshotPolicy::Every(5)), Uuid::now_v7());
    let three = |_: &Account| Ok::<_, Overdrawn>(vec![AccountEvent::Deposited { cents: 1 }; 3]);
    let mut kept = Vec::new();
    for _ in 0..6 {
        let executed = accounts.execute(id, three).unwrap();
        assert!(executed.root().snapshot_error().is_none());
        assert_eq!(replayed(accounts.store(), id).0, *executed.state());
        kept.push(
            snapshots(accounts.store(), id)
                .first()
                .map_or(0, |(_, version)| *version),
        );
    }
    assert_eq!(kept, [0, 6, 6, 12, 15, 15]);
    assert_eq!(snapshots(accounts.store(), id), [of_v1(15)]);
    let root = accounts.load(id).unwrap();
    assert_eq!((root.version().get(), root.state().events), (18, 18));
}

pub(crate) fn a_snapshot_saves_reading_the_events_before_it(env: &dyn Environment) {
    let id = Uuid::now_v7();
    let accounts = with_snapshots(Watched::new(env.store()), SnapshotPolicy::Every(4));
    for _ in 0..5 {
        deposit(&accounts, id, 1);
    }
    accounts.store().count_events();
    let root = accounts.load(id).unwrap();
    assert_eq!(
        (root.version().get(), root.state().events, root.state().cents),
        (5, 5, 5)
    );
    // The snapshot's own, and the one after it.
    assert_eq!(accounts.store().count_events(), 2);
}

pub(crate) fn an_aggregate_that_is_only_read_gets_a_snapshot(env: &dyn Environment) {
    let (store, id) = (env.store(), Uuid::now_v7());
    let by_hand = accounts(Arc::clone(&store));
    for _ in 0..7 {
        deposit(&by_hand, id, 1);
    }
    let accounts = with_snapshots(Arc::clone(&store), SnapshotPolicy::AfterReading(5));
    let read = || {
        let root = accounts.load(id).unwrap();
        assert_eq!(
            (root.state().cents, root.state().events),
            (root.version().get() as i64, root.version().get())
        );
        snapshots(&store, id)
    };
    assert_eq!(read(), [of_v1(7)]);
    for _ in 0..4 {
        deposit(&by_hand, id, 1);
    }
    assert_eq!(read(), [of_v1(7)]);
    // Appended events count, and so do events that were only read.
    deposit(&accounts, id, 1);
    assert_eq!(snapshots(&store, id), [of_v1(12)]);
    for _ in 0..5 {
        deposit(&by_hand, id, 1);
    }
    accounts.execute(id, |_| Ok::<_, Overdrawn>(vec![])).unwrap();
    assert_eq!(snapshots(&store, id), [of_v1(17)]);
}

pub(crate) fn a_snapshot_that_cannot_be_used_changes_nothing(env: &dyn Environment) {
    let (store, id) = (env.store(), Uuid::now_v7());
    let accounts = with_snapshots(Arc::clone(&store), SnapshotPolicy::Every(4));
    for _ in 0..6 {
        deposit(&accounts, id, 1);
    }
    let good = store.list_snapshots(None, &accounts.key(id)).unwrap().remove(0);
    let with_state = |state: &str| {
        let new = NewSnapshot::from_json(&good.aggregate, good.version, Account::FORM, state).unwrap();
        new.with_id(good.snapshot_id).stored(None)
    };
    let mut moved = good.clone();
    moved.version = version(5);
    let mut forged = good.clone();
    forged.state = EventData::from_stored(r#"{"owner":"","cents":1000000,"events":4,"is_closed":false}"#);
    // With a correct checksum, but up to an event of another aggregate, or of a log that was truncated and then continued.
    let other = NewSnapshot::new(
        &good.aggregate,
        good.version,
        Account::FORM,
        &good.state::<Account>().unwrap(),
    );
    let other = other.unwrap().stored(None);
    let mut bare = good.clone();
    bare.checksum = None;
    for snapshot in [
        moved,
        forged,
        bare,
        other,
        with_state(r#"{"cents":"many"}"#),
        with_state("null"),
    ] {
        env.rewrite_snapshots(std::slice::from_ref(&snapshot));
        let root = accounts.load(id).unwrap();
        assert_eq!(
            (root.state().cents, root.state().events, root.version().get()),
            (6, 6, 6)
        );
        let error = root.snapshot_error().unwrap();
        assert!(error.to_string().contains(&id.to_string()), "{error}");
        let refused = accounts.execute(id, |account| account.withdraw(7));
        assert_eq!(refused.unwrap_err().refusal(), Some(&Overdrawn(1)));
    }
    env.rewrite_snapshots(std::slice::from_ref(&good));
    assert!(accounts.load(id).unwrap().snapshot_error().is_none());
}

pub(crate) fn a_snapshot_of_another_form_is_passed_over_and_stays(env: &dyn Environment) {
    let (store, id) = (env.store(), Uuid::now_v7());
    let old = with_snapshots(Arc::clone(&store), SnapshotPolicy::Every(2));
    let new = Repository::<_, NewerAccount>::new(Arc::clone(&store)).unwrap();
    let new = new.with_snapshots(SnapshotPolicy::Every(3)).unwrap();
    for _ in 0..2 {
        deposit(&old, id, 1);
    }
    assert_eq!(new.load(id).unwrap().into_state(), NewerAccount(2));
    new.execute(id, |_| Ok::<_, Overdrawn>(vec![AccountEvent::Deposited { cents: 1 }]))
        .unwrap();
    let of_v2 = |version| (NewerAccount::FORM.to_owned(), version);
    assert_eq!(snapshots(&store, id), [of_v2(3), of_v1(2)]);
    for number in 4..=5 {
        deposit(&old, id, 1);
        let root = new.load(id).unwrap();
        assert!(root.snapshot_error().is_none());
        assert_eq!(*root.state(), NewerAccount(number));
    }
    assert_eq!(snapshots(&store, id), [of_v1(4), of_v2(3)]);
    assert_eq!(old.load(id).unwrap().state().cents, 5);
}

pub(crate) fn two_versions_of_a_program_keep_each_its_snapshot_of_one_version(env: &dyn Environment) {
    let (store, id) = (env.store(), Uuid::now_v7());
    let after_three = SnapshotPolicy::AfterReading(3);
    let old = with_snapshots(Watched::new(Arc::clone(&store)), after_three);
    let new = Repository::<_, NewerAccount>::new(Watched::new(Arc::clone(&store))).unwrap();
    let new = new.with_snapshots(after_three).unwrap();
    for _ in 0..3 {
        deposit(&accounts(Arc::clone(&store)), id, 1);
    }
    let of_v2 = |version| (NewerAccount::FORM.to_owned(), version);
    for _ in 0..2 {
        assert_eq!(old.load(id).unwrap().state().cents, 3);
        assert_eq!(*new.load(id).unwrap().state(), NewerAccount(3));
    }
    assert_eq!(snapshots(&store, id), [of_v2(3), of_v1(3)]);
    for events in [old.store().count_events(), new.store().count_events()] {
        // All the first time, and then the snapshot's own.
        assert_eq!(events, 3 + 1);
    }
}

pub(crate) fn a_snapshot_beyond_the_end_of_the_events_is_not_trusted(env: &dyn Environment) {
    let (store, id) = (env.store(), Uuid::now_v7());
    let accounts = with_snapshots(Arc::clone(&store), SnapshotPolicy::Every(4));
    for _ in 0..4 {
        deposit(&accounts, id, 1);
    }
    let kept = store.list_snapshots(None, &accounts.key(id)).unwrap();
    let events = log(&*store);
    env.rewrite_snapshots(&[]);
    env.rewrite_log(&events[..2]);
    env.rewrite_snapshots(&kept);
    let root = accounts.load(id).unwrap();
    assert_eq!(
        (root.version().get(), root.state().cents, root.state().events),
        (2, 2, 2)
    );
    assert!(root.snapshot_error().unwrap().to_string().contains("version 2"));
    for context in [Context::new(), command()] {
        let executed = accounts
            .execute_as(&context, id, |account| account.withdraw(1))
            .unwrap();
        assert_eq!(replayed(&store, id).0, *executed.state());
        env.rewrite_log(&events[..2]);
    }
    assert_eq!(accounts.verify_snapshots(id).unwrap().len(), 1);
}

pub(crate) fn a_failing_snapshot_store_changes_nothing(env: &dyn Environment) {
    let id = Uuid::now_v7();
    let accounts = with_snapshots(Watched::new(env.store()), SnapshotPolicy::Every(2));
    accounts.store().fail_snapshots(true);
    for number in 1..=4_u64 {
        let executed = deposit(&accounts, id, 1);
        assert_eq!((executed.state().events, executed.version().get()), (number, number));
        assert!(executed.root().snapshot_error().unwrap().is_retryable());
        let (state, _) = replayed(&accounts.store().store, id);
        assert_eq!(state, *executed.state());
    }
    assert_eq!(snapshots(&accounts.store().store, id), []);
    accounts.store().fail_snapshots(false);
    assert!(accounts.load(id).unwrap().snapshot_error().is_none());
}

pub(crate) fn replaying_finds_snapshots_that_the_events_do_not_make(env: &dyn Environment) {
    let (store, id) = (env.store(), Uuid::now_v7());
    let accounts = with_snapshots(Arc::clone(&store), SnapshotPolicy::Every(3));
    for _ in 0..5 {
        deposit(&accounts, id, 1);
    }
    assert_eq!(accounts.verify_snapshots(id).unwrap().len(), 0);
    // With a correct checksum and id, as a forger or an older program would save it.
    let (_, events) = replayed(&store, id);
    let stale = |at: u32, cents: u64| {
        let state = json!({ "owner": "", "cents": cents, "events": at, "is_closed": false });
        let new = NewSnapshot::new(&accounts.key(id), version(at), Account::FORM, &state).unwrap();
        new.with_id(Uuid::new_v5(
            &events[at as usize - 1].event_id,
            Account::FORM.as_bytes(),
        ))
    };
    for snapshot in [
        stale(1, 1),
        stale(2, 2_000),
        stale(4, 4),
        stale(5, 5).with_id(Uuid::now_v7()),
    ] {
        store.save(&snapshot).unwrap();
    }
    let wrong = accounts.verify_snapshots(id).unwrap();
    assert_eq!(wrong.len(), 2, "{wrong:?}");
    for (error, says) in wrong.iter().zip([
        "at version 2: it is not the state",
        "at version 5: it was made of another event",
    ]) {
        assert!(error.is_integrity());
        assert!(error.to_string().contains(says), "{error}");
    }
}

// Stores of any kind.

pub(crate) fn aggregates_belong_to_the_tenant_of_the_store(env: &dyn Environment) {
    let (store, id) = (env.store(), Uuid::now_v7());
    let acme = with_snapshots(scoped(&store, "acme"), SnapshotPolicy::Every(2));
    let globex = with_snapshots(scoped(&store, "globex"), SnapshotPolicy::Every(2));
    let request = command();
    for _ in 0..3 {
        deposit(&acme, id, 5);
    }
    acme.execute_as(&request, id, |account| account.deposit(5)).unwrap();
    assert!(
        acme.execute_as(&request, id, |account| account.deposit(5))
            .unwrap()
            .was_executed_before()
    );
    assert_eq!(acme.load(id).unwrap().state().cents, 20);
    let stream = store.load(&acme.key(id)).unwrap();
    assert!(stream.events().iter().all(|event| event.tenant == Some(tenant("acme"))));
    assert!(!globex.load(id).unwrap().exists());
    let error = globex.execute(id, |account| account.deposit(1)).unwrap_err();
    assert_tenant_mismatch(error.store_error().unwrap(), &globex.key(id));
}

pub(crate) fn any_store_keeps_aggregates(env: &dyn Environment) {
    fn three_deposits<S: EventStore + SnapshotStore>(store: S) -> u64 {
        let (accounts, id) = (with_snapshots(store, SnapshotPolicy::Every(2)), Uuid::now_v7());
        for _ in 0..3 {
            deposit(&accounts, id, 1);
        }
        accounts.load(id).unwrap().state().events
    }
    let boxed: Box<dyn Store> = Box::new(env.store());
    let shared: Arc<dyn Store> = Arc::new(env.store());
    assert_eq!(three_deposits(boxed), 3);
    assert_eq!(three_deposits(Arc::clone(&shared)), 3);
    assert_eq!(three_deposits(shared.for_tenant(tenant("acme"))), 3);
    assert_eq!(log(&*env.store()).len(), 9);
}

// Events as a vocabulary.

pub(crate) fn older_names_and_forms_are_read(env: &dyn Environment) {
    let (accounts, id) = (accounts(env.store()), Uuid::now_v7());
    let of_old = [
        NewEvent::new("deposit", &json!({ "cents": 100, "clerk": 7 })).unwrap(),
        NewEvent::new("money.exchanged", &(30, 25)).unwrap(),
        NewEvent::new("account.closed", &()).unwrap(),
    ];
    let key = accounts.key(id);
    accounts
        .store()
        .append(&key, ExpectedVersion::NoStream, &of_old)
        .unwrap();
    let root = accounts.load(id).unwrap();
    assert_eq!(
        (root.version().get(), root.state().events, root.state().cents),
        (3, 4, 95)
    );
    let executed = deposit(&accounts, id, 5);
    assert_eq!(
        (
            executed.version().get(),
            executed.state().events,
            executed.state().cents
        ),
        (4, 5, 100)
    );
    given(accounts.store(), &aggregate("Other"), 1);
    accounts
        .store()
        .append(
            &aggregate("Other"),
            ExpectedVersion::NoStream,
            &[event("other.happened")],
        )
        .unwrap();

    // Older names are part of the query.
    let found = read(&**accounts.store(), EventQuery::of::<AccountEvent>().unwrap());
    let names = [
        "deposit",
        "money.exchanged",
        "account.closed",
        "money.deposited",
        "money.deposited",
    ];
    assert_eq!(types(&found), names);
    let cents = |cents| AccountEvent::Deposited { cents };
    assert_eq!(found[0].decode::<AccountEvent>().unwrap(), [cents(100)]);
    assert_eq!(
        found[1].decode::<AccountEvent>().unwrap(),
        [AccountEvent::Withdrawn { cents: 30 }, cents(25)]
    );
}

pub(crate) fn an_unknown_event_is_an_error_that_names_it(env: &dyn Environment) {
    let (accounts, id) = (accounts(env.store()), Uuid::now_v7());
    deposit(&accounts, id, 1);
    let unknown = event("account.frozen");
    let key = accounts.key(id);
    accounts
        .store()
        .append(&key, exact(1), std::slice::from_ref(&unknown))
        .unwrap();
    let failed = accounts.execute(id, |account| account.deposit(1)).unwrap_err();
    for error in [accounts.load(id).unwrap_err(), failed.store_error().unwrap().clone()] {
        assert!(matches!(error.kind(), ErrorKind::Decode { .. }), "{error:?}");
        let text = error.to_string();
        for part in [
            unknown.event_id().to_string().as_str(),
            "account.frozen",
            "AccountEvent",
            &key.to_string(),
        ] {
            assert!(text.contains(part), "{text}");
        }
    }
}

pub(crate) fn what_could_not_be_read_again_is_not_appended(env: &dyn Environment) {
    #[derive(Serialize, Deserialize)]
    enum Careless {
        Happened {
            #[serde(skip_serializing)]
            lost: u8,
        },
        Fine {
            ratio: f64,
        },
    }
    impl DomainEvent for Careless {}
    #[derive(Default)]
    struct Thing;
    impl Aggregate for Thing {
        const TYPE: &'static str = "Thing";
        type Event = Careless;

        fn evolve(&mut self, _: Careless) {}
    }
    let (things, id) = (Repository::<_, Thing>::new(env.store()).unwrap(), Uuid::now_v7());
    let execute = |event: fn() -> Careless| things.execute(id, |_| Ok::<_, Overdrawn>(vec![event()]));
    execute(|| Careless::Fine { ratio: 0.1 }).unwrap();
    for event in [(|| Careless::Happened { lost: 1 }) as fn() -> Careless, || {
        Careless::Fine { ratio: f64::NAN }
    }] {
        let Err(ExecuteError::Store(error)) = execute(event) else {
            panic!("it was appended");
        };
        assert!(error.to_string().contains(&things.key(id).to_string()), "{error}");
    }
    assert_eq!(log(&**things.store()).len(), 1);
}

type Work = Box<dyn FnOnce() + Send>;

/// A store of any backend that runs other work at chosen moments.
struct Watched {
    store: Handle,
    plan: Mutex<Plan>,
}

#[derive(Default)]
struct Plan {
    before_append: Vec<Work>,
    after_lost_answer: Vec<Work>,
    lost_answers: u64,
    failing_snapshots: bool,
    mark: Option<GlobalSequence>,
    events: usize,
}

impl Watched {
    fn new(store: Handle) -> Self {
        Self {
            store,
            plan: Mutex::default(),
        }
    }

    /// Runs `work` before the next append for which no other work is planned.
    fn before_append(&self, others: &Accounts, work: impl FnOnce(&Accounts) + Send + 'static) {
        let others = others.clone();
        self.plan
            .lock()
            .unwrap()
            .before_append
            .push(Box::new(move || work(&others)));
    }

    fn after_lost_answer(&self, others: &Accounts, work: impl FnOnce(&Accounts) + Send + 'static) {
        let others = others.clone();
        self.plan
            .lock()
            .unwrap()
            .after_lost_answer
            .push(Box::new(move || work(&others)));
    }

    /// Loses this many answers to appends, after the commit.
    fn lose_answers(&self, answers: u64) {
        self.plan.lock().unwrap().lost_answers = answers;
    }

    fn fail_snapshots(&self, fail: bool) {
        self.plan.lock().unwrap().failing_snapshots = fail;
    }

    /// Limits the high-water mark to a sequence, as an open transaction does.
    fn hold_mark(&self, at: GlobalSequence) {
        self.plan.lock().unwrap().mark = Some(at);
    }

    /// How many events were loaded since the last call.
    fn count_events(&self) -> usize {
        std::mem::take(&mut self.plan.lock().unwrap().events)
    }

    fn happen(&self, next: impl FnOnce(&mut Plan) -> &mut Vec<Work>) {
        let work = {
            let mut plan = self.plan.lock().unwrap();
            let works = next(&mut plan);
            if works.is_empty() { None } else { Some(works.remove(0)) }
        };
        if let Some(work) = work {
            work();
        }
    }

    fn snapshots(&self) -> Result<&Handle, Error> {
        match self.plan.lock().unwrap().failing_snapshots {
            true => Err(unavailable()),
            false => Ok(&self.store),
        }
    }
}

fn unavailable() -> Error {
    Error::new(ErrorKind::Unavailable {
        reason: "the case says so".into(),
    })
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.store.fmt(f)
    }
}

impl EventStore for Watched {
    fn append_all(&self, appends: &[Append<'_>]) -> Result<Vec<Appended>, Error> {
        self.happen(|plan| &mut plan.before_append);
        let appended = self.store.append_all(appends)?;
        let is_lost = {
            let mut plan = self.plan.lock().unwrap();
            let left = plan.lost_answers.checked_sub(1);
            plan.lost_answers = left.unwrap_or_default();
            left.is_some()
        };
        if is_lost {
            self.happen(|plan| &mut plan.after_lost_answer);
            return Err(unavailable());
        }
        Ok(appended)
    }

    fn transact(&self, work: &mut dyn FnMut(&mut dyn EventTransaction) -> Result<(), Error>) -> Result<(), Error> {
        self.store.transact(work)
    }

    fn load_range(&self, aggregate: &AggregateKey, range: &StreamRange) -> Result<EventStream, Error> {
        let stream = self.store.load_range(aggregate, range)?;
        self.plan.lock().unwrap().events += stream.len();
        Ok(stream)
    }

    fn read_page(&self, query: &EventQuery, cursor: Option<&Cursor>) -> Result<Page, Error> {
        let mut page = self.store.read_page(query, cursor)?;
        if let Some(mark) = self.plan.lock().unwrap().mark {
            page.events.retain(|event| event.global_sequence <= mark);
            page.high_water_mark = page.high_water_mark.min(mark);
        }
        Ok(page)
    }

    fn high_water_mark(&self) -> Result<GlobalSequence, Error> {
        self.store.high_water_mark()
    }

    fn statistics(&self, tenant: Option<&TenantId>) -> Result<Statistics, Error> {
        self.store.statistics(tenant)
    }

    fn aggregate_summaries(&self, query: &SummaryQuery) -> Result<Vec<AggregateSummary>, Error> {
        self.store.aggregate_summaries(query)
    }

    fn refresh_aggregate_summaries(&self) -> Result<(), Error> {
        self.store.refresh_aggregate_summaries()
    }

    fn health(&self) -> Result<Health, Error> {
        self.store.health()
    }
}

impl SnapshotStore for Watched {
    fn save_snapshot(&self, tenant: Option<&TenantId>, snapshot: &NewSnapshot) -> Result<(), Error> {
        self.snapshots()?.save_snapshot(tenant, snapshot)
    }

    fn find_snapshot(
        &self,
        tenant: Option<&TenantId>,
        aggregate: &AggregateKey,
        at: SnapshotAt<'_>,
    ) -> Result<Option<Snapshot>, Error> {
        self.snapshots()?.find_snapshot(tenant, aggregate, at)
    }

    fn load_from_snapshot(
        &self,
        tenant: Option<&TenantId>,
        aggregate: &AggregateKey,
        at: SnapshotAt<'_>,
    ) -> Result<(Option<Snapshot>, EventStream), Error> {
        let (snapshot, stream) = self.snapshots()?.load_from_snapshot(tenant, aggregate, at)?;
        self.plan.lock().unwrap().events += stream.len();
        Ok((snapshot, stream))
    }

    fn list_snapshots(&self, tenant: Option<&TenantId>, aggregate: &AggregateKey) -> Result<Vec<Snapshot>, Error> {
        self.snapshots()?.list_snapshots(tenant, aggregate)
    }

    fn count_snapshots(&self, tenant: Option<&TenantId>, aggregate: &AggregateKey) -> Result<u64, Error> {
        self.snapshots()?.count_snapshots(tenant, aggregate)
    }

    fn delete_snapshots(&self, tenant: Option<&TenantId>, selection: SnapshotSelection<'_>) -> Result<u64, Error> {
        self.snapshots()?.delete_snapshots(tenant, selection)
    }

    fn snapshot_statistics(&self, tenant: Option<&TenantId>) -> Result<SnapshotStatistics, Error> {
        self.snapshots()?.snapshot_statistics(tenant)
    }
}
