use std::collections::BTreeMap;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use super::*;
use crate::{Error, ErrorKind, GlobalSequence, NewEvent};

/// A database whose statements take their time.
#[derive(Default)]
struct Slow {
    line: Line,
    versions: Mutex<BTreeMap<Uuid, u64>>,
    /// What statements are appending to.
    in_hand: Mutex<HashSet<Uuid>>,
    alone: AtomicUsize,
    groups: Mutex<Vec<usize>>,
}

impl Slow {
    fn append(&self, append: &Append<'_>) -> Result<Appended> {
        self.line
            .append(append, || self.alone(append), |group| self.lead(&group.appends()))
    }

    fn lead(&self, group: &[Append<'_>]) -> Result<Vec<Option<Appended>>> {
        match group {
            [append] => self.alone(append).map(|appended| vec![Some(appended)]),
            group => self.together(group),
        }
    }

    fn alone(&self, append: &Append<'_>) -> Result<Appended> {
        self.alone.fetch_add(1, Ordering::Relaxed);
        thread::sleep(Duration::from_micros(500));
        self.store(append)
            .ok_or_else(|| Error::invalid("the aggregate is elsewhere"))
    }

    fn together(&self, group: &[Append<'_>]) -> Result<Vec<Option<Appended>>> {
        assert!(group.len() > 1);
        assert!(group.is_sorted_by_key(|append| append.aggregate.id()));
        let ids: HashSet<Uuid> = group.iter().map(|append| append.aggregate.id()).collect();
        for id in &ids {
            assert!(lock(&self.in_hand).insert(*id), "two groups append to one aggregate");
        }
        thread::sleep(Duration::from_millis(1));
        let results = group.iter().map(|append| self.store(append)).collect();
        for id in &ids {
            lock(&self.in_hand).remove(id);
        }
        lock(&self.groups).push(group.len());
        Ok(results)
    }

    fn store(&self, append: &Append<'_>) -> Option<Appended> {
        let mut versions = lock(&self.versions);
        let version = versions.entry(append.aggregate.id()).or_default();
        let is_expected = match append.expected {
            ExpectedVersion::Any => true,
            ExpectedVersion::NoStream => *version == 0,
            ExpectedVersion::Exists => *version > 0,
            ExpectedVersion::Exact(expected) => expected.get() == *version,
        };
        is_expected.then(|| {
            *version += append.events.len() as u64;
            appended(append, *version)
        })
    }

    /// Waits until this many appends wait in the line.
    fn wait_for(&self, waiting: usize) {
        while lock(&self.line.state).waiting.len() < waiting {
            thread::yield_now();
        }
    }
}

fn appended(append: &Append<'_>, version: u64) -> Appended {
    let sequences = vec![GlobalSequence::ZERO; append.events.len()];
    Appended::new(append.aggregate.clone(), Version::new(version).unwrap(), sequences)
}

fn account() -> AggregateKey {
    AggregateKey::new("Account", Uuid::now_v7()).unwrap()
}

fn deposited() -> NewEvent {
    NewEvent::new("money.deposited", &1).unwrap()
}

fn at_once(threads: usize, work: impl Fn(usize) + Sync) {
    let start = Barrier::new(threads);
    thread::scope(|scope| {
        for thread in 0..threads {
            let (start, work) = (&start, &work);
            scope.spawn(move || {
                start.wait();
                work(thread);
            });
        }
    });
}

/// Appends to an aggregate of its own, each time after the version before.
fn append_in_turn(database: &Slow, appends: u64) {
    let account = account();
    for version in 0..appends {
        let expected = Version::new(version).unwrap();
        let result = database
            .append(&Append::new(&account, expected, &[deposited()]))
            .unwrap();
        assert_eq!((result.aggregate(), result.version().get()), (&account, version + 1));
    }
}

#[test]
fn few_threads_append_alone() {
    let database = Slow::default();
    at_once(FEW, |_| append_in_turn(&database, 50));
    assert!(lock(&database.groups).is_empty());
    assert_eq!(database.alone.load(Ordering::Relaxed), FEW * 50);
}

#[test]
fn fewer_threads_share_statements_where_a_backend_says_so() {
    let database = Slow {
        line: Line::of_few(2),
        ..Slow::default()
    };
    at_once(2, |_| append_in_turn(&database, 50));
    assert!(lock(&database.groups).is_empty());
    at_once(4, |_| append_in_turn(&database, 50));
    assert!(!lock(&database.groups).is_empty());
}

#[test]
fn two_lead_where_several_append_and_one_where_many_do() {
    for (usual, leaders) in [(3, 2), (SEVERAL, 2), (SEVERAL + 1, 1)] {
        let mut state = State {
            few: 2,
            leading: vec![Instant::now()],
            usual,
            ..State::default()
        };
        for _ in 0..usual {
            let (account, events) = (account(), [deposited()]);
            let append = Append::new(&account, ExpectedVersion::Any, &events);
            state.waiting.push_back(Arc::new(Ticket::new(&append)));
        }
        state.hand_on();
        assert_eq!(state.leading.len(), leaders);
    }
}

#[test]
fn many_threads_share_statements_and_each_gets_its_own_answer() {
    let database = Slow::default();
    at_once(16, |_| append_in_turn(&database, 100));
    let (alone, groups) = (database.alone.load(Ordering::Relaxed), lock(&database.groups));
    assert_eq!(groups.iter().sum::<usize>() + alone, 1_600);
    assert!(
        groups.len() + alone < 1_600 / 2,
        "{} groups, {alone} alone",
        groups.len()
    );
    let state = lock(&database.line.state);
    assert_eq!((state.leading.len(), state.present, state.waiting.len()), (0, 0, 0));
    assert!(state.busy.is_empty());
}

#[test]
fn who_is_refused_is_told_alone_and_its_neighbours_are_stored() {
    let database = Slow::default();
    at_once(16, |thread| {
        if thread % 4 > 0 {
            return append_in_turn(&database, 20);
        }
        for _ in 0..20 {
            let refused = database.append(&Append::new(&account(), ExpectedVersion::Exists, &[deposited()]));
            assert!(refused.unwrap_err().to_string().contains("elsewhere"));
        }
    });
    assert!(!lock(&database.groups).is_empty());
}

#[test]
fn the_members_of_a_group_that_fails_append_alone() {
    let database = Slow::default();
    let failures = AtomicUsize::new(0);
    at_once(16, |_| {
        let account = account();
        for version in 1..=20 {
            let events = [deposited()];
            let append = Append::new(&account, ExpectedVersion::Any, &events);
            let fail = |group: &mut Group<'_>| {
                if let [append] = &group.appends()[..] {
                    return database.alone(append).map(|appended| vec![Some(appended)]);
                }
                failures.fetch_add(1, Ordering::Relaxed);
                Err(Error::new(ErrorKind::Unavailable { reason: "lost".into() }))
            };
            let result = database.line.append(&append, || database.alone(&append), fail).unwrap();
            assert_eq!(result.version().get(), version);
        }
    });
    assert!(failures.load(Ordering::Relaxed) > 0);
    assert_eq!(database.alone.load(Ordering::Relaxed), 16 * 20);
}

#[test]
fn a_leader_that_panics_leaves_nobody_waiting() {
    let database = Slow::default();
    at_once(16, |_| {
        for _ in 0..20 {
            let (account, events) = (account(), [deposited()]);
            let append = Append::new(&account, ExpectedVersion::Any, &events);
            let panicking = |group: &mut Group<'_>| panic!("as a leader of {:?}", group.appends());
            let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                database.line.append(&append, || database.alone(&append), panicking)
            }));
            if let Ok(result) = panicked {
                assert_eq!(result.unwrap().version().get(), 1);
            }
        }
    });
    let state = lock(&database.line.state);
    assert_eq!((state.leading.len(), state.present, state.waiting.len()), (0, 0, 0));
    assert!(state.busy.is_empty());
}

#[test]
fn threads_that_append_to_one_aggregate_share_statements_if_any_version_will_do() {
    let database = Slow::default();
    let account = account();
    let versions = Mutex::new(Vec::new());
    at_once(100, |_| {
        for _ in 0..10 {
            let result = database.append(&Append::new(&account, ExpectedVersion::Any, &[deposited()]));
            lock(&versions).push(result.unwrap().version().get());
        }
    });
    let mut versions = versions.into_inner().unwrap();
    versions.sort_unstable();
    assert_eq!(versions, (1..=1_000).collect::<Vec<_>>());
    let statements = lock(&database.groups).len() + database.alone.load(Ordering::Relaxed);
    assert!(statements < 500, "{statements} statements");
}

#[test]
fn appends_to_one_aggregate_share_a_group_only_if_one_can_follow_the_other() {
    let (account, other) = (account(), AggregateKey::new("Order", Uuid::now_v7()).unwrap());
    let same_id = AggregateKey::new("Order", account.id()).unwrap();
    let tenant = TenantId::new("acme").unwrap();
    let (one, two) = ([deposited()], [deposited(), deposited()]);
    let exactly = |version| Append::new(&account, Version::new(version).unwrap(), &one);
    let any = Append::new(&account, ExpectedVersion::Any, &one);
    let none = Append::new(&account, ExpectedVersion::NoStream, &two);
    let exists = Append::new(&account, ExpectedVersion::Exists, &one);
    for (first, second, together) in [
        (none, any, true),
        (none, exists, true),
        (none, exactly(2), true),
        (none, exactly(1), false),
        (none, none, false),
        (exactly(4), exactly(5), true),
        (exactly(4), exactly(4), false),
        (exactly(4), none, false),
        (any, any, true),
        (any, exactly(1), false),
        (any, any.tenant(&tenant), false),
        (any, Append::new(&same_id, ExpectedVersion::Any, &one), false),
        (exactly(4), Append::new(&other, Version::new(4).unwrap(), &one), true),
    ] {
        let mut state = State::default();
        state.waiting.push_back(Arc::new(Ticket::new(&second)));
        let taken = state.take_followers(&first).len();
        assert_eq!(taken == 1, together, "{first:?} and {second:?}");
        assert_eq!(state.waiting.len(), 1 - taken);
    }
}

#[test]
fn what_another_group_is_appending_to_stays_in_the_line() {
    let (first, second) = (account(), account());
    let events = [deposited()];
    let mut state = State::default();
    state.busy.insert(second.id());
    for account in [&second, &first] {
        let append = Append::new(account, ExpectedVersion::Any, &events);
        state.waiting.push_back(Arc::new(Ticket::new(&append)));
    }
    let own = account();
    let taken = state.take_followers(&Append::new(&own, ExpectedVersion::Any, &events));
    assert_eq!(taken[0].append.borrow().aggregate, &first);
    assert_eq!(taken.len(), 1);
}

#[test]
fn groups_are_bounded_and_in_the_order_of_the_line() {
    let events: Vec<NewEvent> = (0..100).map(|_| deposited()).collect();
    let accounts: Vec<AggregateKey> = (0..10).map(|_| account()).collect();
    let mut state = State::default();
    for account in &accounts {
        let append = Append::new(account, ExpectedVersion::Any, &events);
        state.waiting.push_back(Arc::new(Ticket::new(&append)));
    }
    let own = account();
    let taken = state.take_followers(&Append::new(&own, ExpectedVersion::Any, &events[..56]));
    let taken: Vec<_> = taken
        .iter()
        .map(|ticket| ticket.append.borrow().aggregate.clone())
        .collect();
    assert_eq!(taken, accounts[..2]);
    let next = state.waiting.front().unwrap().append.borrow().aggregate.clone();
    assert_eq!(next, accounts[2]);
}

/// So a thread waits for the groups that are at work when it comes, and for its own: never for a third.
#[test]
fn a_group_begins_without_someone_who_waits_only_if_it_is_full() {
    const THREADS: usize = 64;
    // A group has its leader, who may come from the middle of the line, and as many of the first as it has room for.
    let most_groups_before = |size: usize| match MOST_EVENTS / size {
        room if room > THREADS => 0,
        room => THREADS.div_ceil(room - 1),
    };
    for size in [1, 16] {
        let database = Slow::default();
        let passed_over: Mutex<HashMap<Uuid, usize>> = Mutex::default();
        let waiting = || {
            let state = lock(&database.line.state);
            let ids = state
                .waiting
                .iter()
                .map(|ticket| ticket.append.borrow().events[0].event_id());
            ids.collect::<HashSet<Uuid>>()
        };
        at_once(THREADS, |_| {
            let account = account();
            for _ in 0..20 {
                let events: Vec<NewEvent> = (0..size).map(|_| deposited()).collect();
                let append = Append::new(&account, ExpectedVersion::Any, &events);
                let lead = |group: &mut Group<'_>| {
                    let before = waiting();
                    let appends = group.appends();
                    for id in before.intersection(&waiting()) {
                        *lock(&passed_over).entry(*id).or_default() += 1;
                    }
                    database.lead(&appends)
                };
                database.line.append(&append, || database.alone(&append), lead).unwrap();
            }
        });
        assert!(!lock(&database.groups).is_empty());
        let most = lock(&passed_over).values().copied().max().unwrap_or(0);
        assert!(
            most <= most_groups_before(size),
            "{most} groups began without one that waited"
        );
    }
}

#[test]
fn who_leads_for_long_keeps_nobody_from_leading() {
    let long_ago = Instant::now().checked_sub(LONGEST_WAIT).unwrap();
    let not_yet = Instant::now() + Duration::from_secs(3_600);
    for (since, leads) in [(long_ago, true), (not_yet, false)] {
        let mut state = State {
            leading: vec![since],
            usual: FEW + 1,
            ..State::default()
        };
        let (accounts, events) = ([(); FEW + 1].map(|()| account()), [deposited()]);
        for account in &accounts {
            let append = Append::new(account, ExpectedVersion::Any, &events);
            state.waiting.push_back(Arc::new(Ticket::new(&append)));
        }
        state.hand_on();
        assert_eq!(state.leading.len() == 2, leads);
        assert_eq!(state.waiting.len(), FEW + usize::from(!leads));
    }
}

#[test]
fn what_is_large_joins_no_group() {
    let database = Slow::default();
    let large = NewEvent::new("note", &"x".repeat(MOST_BYTES)).unwrap();
    let many: Vec<NewEvent> = (0..=MOST_EVENTS).map(|_| deposited()).collect();
    for events in [vec![large], many] {
        let append = |account: &AggregateKey| {
            let append = Append::new(account, ExpectedVersion::Any, &events);
            let alone = || {
                assert_eq!(lock(&database.line.state).present, 0);
                database.alone(&append)
            };
            database.line.append(&append, alone, |_| unreachable!()).unwrap();
        };
        append(&account());
    }
}

#[test]
fn nobody_waits_long_for_a_leader_that_waits_for_a_lock() {
    let database = Slow::default();
    let (unlock, locked) = mpsc::channel::<()>();
    let (locked, account, events) = (Mutex::new(locked), account(), [deposited()]);
    thread::scope(|scope| {
        let stuck = scope.spawn(|| {
            let append = Append::new(&account, ExpectedVersion::Any, &events);
            let wait = |_: &mut Group<'_>| {
                lock(&locked).recv().unwrap();
                database.alone(&append).map(|appended| vec![Some(appended)])
            };
            database.line.append(&append, || unreachable!(), wait).unwrap()
        });
        while lock(&database.line.state).leading.is_empty() {
            thread::yield_now();
        }
        lock(&database.line.state).usual = 16;
        at_once(8, |_| append_in_turn(&database, 5));
        // One that wants the same aggregate waits for it.
        let next = scope.spawn(|| database.append(&Append::new(&account, ExpectedVersion::Exists, &events)));
        database.wait_for(1);
        unlock.send(()).unwrap();
        assert_eq!(stuck.join().unwrap().version().get(), 1);
        assert_eq!(next.join().unwrap().unwrap().version().get(), 2);
    });
}
