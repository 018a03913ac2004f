//! Loading aggregates, and executing commands on them.

use std::fmt;
use std::thread;

use uuid::Uuid;

use super::aggregate::{Aggregate, Root, Snapshotted};
use super::context::{Context, event_id};
use super::executed::{ExecuteError, Executed};
use super::snapshots::{self, SnapshotPolicy, Snapshots};
use super::vocabulary::Vocabulary;
use crate::{
    AggregateKey, AggregateType, Appended, Backoff, Error, EventEnvelope, EventQuery, EventStore, EventStoreExt,
    EventStream, GlobalSequence, NewEvent, Result, Snapshot, SnapshotStore, StreamRange, Version,
};

/// The aggregates of one type in a store: loads them, and executes commands on them.
///
/// It works with every store: a driver's own, `Arc<dyn Store>`, `Box<dyn Store>`, a [`TenantStore`](crate::TenantStore). It has no state of
/// any aggregate. Create one per type and share it between threads.
///
/// Its promises, which the suite tests on every store:
///
/// - A decision has seen all stored events of the aggregate. If others append meanwhile, the command decides again.
/// - A command that is refused, or decides nothing, stores nothing.
/// - A command [with an id](Context::command_id) takes effect once, however often it is executed, even by several processes at once.
/// - If an answer is lost, the same append is repeated to get it. An outage never stores a decision twice.
/// - A [snapshot](Self::with_snapshots) makes loading cheaper. It never changes a result, even if it is damaged or lost.
///
/// ```
/// use firefly_eventstore_core::{Aggregate, DomainEvent, MemoryEventStore, Repository, prelude::*};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// enum AccountEvent {
///     #[serde(rename = "account.opened")]
///     Opened { owner: String },
///     #[serde(rename = "money.deposited")]
///     Deposited { cents: i64 },
///     #[serde(rename = "money.withdrawn")]
///     Withdrawn { cents: i64 },
/// }
///
/// impl DomainEvent for AccountEvent {}
///
/// #[derive(Default, Debug)]
/// struct Account { is_open: bool, cents: i64 }
///
/// impl Aggregate for Account {
///     const TYPE: &'static str = "Account";
///     type Event = AccountEvent;
///
///     fn evolve(&mut self, event: AccountEvent) {
///         match event {
///             AccountEvent::Opened { .. } => self.is_open = true,
///             AccountEvent::Deposited { cents } => self.cents += cents,
///             AccountEvent::Withdrawn { cents } => self.cents -= cents,
///         }
///     }
/// }
///
/// impl Account {
///     fn open(&self, owner: &str) -> Result<Vec<AccountEvent>, String> {
///         if self.is_open {
///             return Ok(vec![]); // nothing to do, nothing is appended
///         }
///         Ok(vec![AccountEvent::Opened { owner: owner.into() }, AccountEvent::Deposited { cents: 100 }])
///     }
///
///     fn withdraw(&self, cents: i64) -> Result<Vec<AccountEvent>, String> {
///         if cents > self.cents {
///             return Err(format!("there are only {} cents", self.cents));
///         }
///         Ok(vec![AccountEvent::Withdrawn { cents }])
///     }
/// }
///
/// let accounts = Repository::<_, Account>::new(MemoryEventStore::new())?;
/// let id = Uuid::now_v7();
///
/// accounts.execute(id, |account| account.open("Ada"))?;
/// let executed = accounts.execute(id, |account| account.withdraw(70))?;
/// assert_eq!((executed.version().get(), executed.state().cents), (3, 30));
///
/// let error = accounts.execute(id, |account| account.withdraw(70)).unwrap_err();
/// assert_eq!(error.refusal().unwrap(), "there are only 30 cents");
/// assert_eq!(accounts.load(id)?.version(), 3);
/// # Ok::<(), firefly_eventstore_core::ExecuteError<String>>(())
/// ```
pub struct Repository<S, A> {
    store: S,
    aggregate_type: AggregateType,
    vocabulary: &'static Vocabulary,
    snapshots: Option<Snapshots<S, A>>,
    attempts: u32,
}

impl<S: EventStore, A: Aggregate> Repository<S, A> {
    /// The aggregates of a type in a store, without snapshots.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the aggregate type is not a valid name, or the enum
    /// [cannot be used for events](crate::DomainEvent).
    pub fn new(store: S) -> Result<Self> {
        Ok(Self {
            store,
            aggregate_type: AggregateType::new(A::TYPE)?,
            vocabulary: Vocabulary::of::<A::Event>()?,
            snapshots: None,
            attempts: 10,
        })
    }

    /// Saves snapshots, so that a load need not begin at the first event.
    ///
    /// A load takes one round trip, as without snapshots, and reads the snapshot and the events from its version on. If the snapshot cannot
    /// be used, it takes one more, for all events. Saving a snapshot takes three round trips, after the commit. Only the last one of each
    /// [form](Snapshotted::FORM) is kept.
    ///
    /// A snapshot is a cache. One that is missing, unreadable, damaged, or made from other events than the stored ones is ignored. If it
    /// cannot be saved, the command still succeeds. The result is the same, and [`Root::snapshot_error`] says why.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the number of events is 0, or the form is not a valid name.
    pub fn with_snapshots(mut self, policy: SnapshotPolicy) -> Result<Self>
    where
        S: SnapshotStore,
        A: Snapshotted,
    {
        self.snapshots = Some(Snapshots::new(policy)?);
        Ok(self)
    }

    /// Sets how often a command may decide if others append to the same aggregate meanwhile; 10 unless set.
    #[must_use]
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &S {
        &self.store
    }

    /// The key of an aggregate.
    #[must_use]
    pub fn key(&self, id: Uuid) -> AggregateKey {
        AggregateKey::of(self.aggregate_type.clone(), id)
    }

    /// Loads an aggregate. Without events, it has its default state and version 0. While the store [cannot answer](Error::is_retryable),
    /// the load is repeated for some seconds.
    ///
    /// # Errors
    ///
    /// As [`EventStore::load_range`]; [`Decode`](crate::ErrorKind::Decode), with the name of the event, if the enum does not know its type
    /// or the data does not fit.
    pub fn load(&self, id: Uuid) -> Result<Root<A>> {
        let loaded = self.load_for(&self.key(id), None, Trust::Snapshots)?;
        Ok(self.with_snapshot(loaded.root.version(), loaded.taken_in, loaded.root))
    }

    /// Executes a command without an id or context: see [`execute_as`](Self::execute_as).
    ///
    /// # Errors
    ///
    /// As [`execute_as`](Self::execute_as).
    pub fn execute<E>(
        &self,
        id: Uuid,
        decide: impl Fn(&A) -> Result<Vec<A::Event>, E>,
    ) -> Result<Executed<A>, ExecuteError<E>> {
        self.execute_as(&Context::new(), id, decide)
    }

    /// Executes a command: loads the aggregate, decides, and appends the decided events, if the aggregate got no other events meanwhile.
    ///
    /// If it did, the call pauses, loads and decides again, [10 times](Self::attempts) at most. If the store
    /// [cannot answer](Error::is_retryable), the call repeats for some seconds; it repeats an append with the same events, never with another
    /// decision. So `decide` may run several times: let it only read the state, without side effects.
    ///
    /// A decision without events succeeds and appends nothing. An event that could not be read back is refused.
    ///
    /// # A command with an id acts once
    ///
    /// The ids of its events are [computed](Context::event_id) from the command's. If the aggregate already has events with these ids, the
    /// command was executed before: by this process or another, today or last year. Then nothing is decided. The result is that of the first
    /// execution, [marked](Executed::was_executed_before), with the aggregate's current state. If two processes execute the command at once,
    /// one of them stores its events, and the other finds them.
    ///
    /// - A refusal, or a decision without events, is not stored. If such a command is repeated, it decides again, and may then append,
    ///   once.
    /// - An id is for one aggregate. If the command is executed on another one, the store refuses it as
    ///   [`Duplicate`](crate::ErrorKind::Duplicate).
    /// - If a snapshot hides older events, the log is queried: two more round trips on a server.
    ///
    /// ```
    /// # use firefly_eventstore_core::{Aggregate, Context, DomainEvent, MemoryEventStore, Repository, prelude::*};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Serialize, Deserialize)]
    /// # enum Counted { Up {} }
    /// # impl DomainEvent for Counted {}
    /// # #[derive(Default)]
    /// # struct Counter(u64);
    /// # impl Aggregate for Counter {
    /// #     const TYPE: &'static str = "Counter";
    /// #     type Event = Counted;
    /// #     fn evolve(&mut self, _: Counted) { self.0 += 1; }
    /// # }
    /// let counters = Repository::<_, Counter>::new(MemoryEventStore::new())?;
    /// let id = Uuid::now_v7();
    /// let up = |_: &Counter| Ok::<_, String>(vec![Counted::Up {}]);
    ///
    /// let request = Context::new().command_id(Uuid::now_v7()).created_by("clerk-7")?;
    /// counters.execute_as(&request, id, up)?;
    /// let again = counters.execute_as(&request, id, up)?; // the client did not hear the answer
    /// assert!(again.was_executed_before());
    /// assert_eq!(again.state().0, 1);
    /// # Ok::<(), firefly_eventstore_core::ExecuteError<String>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// - [`Refused`](ExecuteError::Refused), with the error of `decide`;
    /// - [`Store`](ExecuteError::Store), with an error as of [`load`](Self::load) or [`EventStore::append_all`]. If it is retryable, the
    ///   events may be stored or not.
    pub fn execute_as<E>(
        &self,
        context: &Context,
        id: Uuid,
        decide: impl Fn(&A) -> Result<Vec<A::Event>, E>,
    ) -> Result<Executed<A>, ExecuteError<E>> {
        self.run(context, id, decide, |key, version, events| {
            self.store.append(key, version, events)
        })
    }

    /// The loop of every command. `commit` appends, with everything else that belongs to the same commit.
    pub(crate) fn run<E>(
        &self,
        context: &Context,
        id: Uuid,
        decide: impl Fn(&A) -> Result<Vec<A::Event>, E>,
        commit: impl Fn(&AggregateKey, Version, &[NewEvent]) -> Result<Appended>,
    ) -> Result<Executed<A>, ExecuteError<E>> {
        let key = self.key(id);
        let command = context.id();
        let mut pauses = Backoff::attempts(self.attempts);
        let mut trust = Trust::Snapshots;
        let mut refused = None;
        loop {
            let Loaded {
                mut root,
                taken_in,
                executed_at,
            } = self.load_for(&key, command, trust)?;
            if let (Some(command), Some(first)) = (command, executed_at) {
                let appended = Backoff::new().repeat(|| self.appended_by(&key, command, first))?;
                return Ok(Executed::new(root, Some(appended)));
            }
            if let Some(error) = refused {
                return Err(ExecuteError::Store(error));
            }
            let before = root.version();
            let decided = decide(root.state()).map_err(ExecuteError::Refused)?;
            if decided.is_empty() {
                return Ok(Executed::new(self.with_snapshot(before, taken_in, root), None));
            }
            let (events, read_again) = self
                .encode(context, &decided)
                .map_err(|error| error.during(format_args!("append to {key}")))?;
            match Backoff::new().repeat(|| commit(&key, before, &events)) {
                // An earlier attempt stored them, perhaps in another process, and on another state than this.
                Ok(appended) if appended.is_already_stored() => {
                    return Ok(Executed::new(self.load(id)?, Some(appended)));
                }
                Ok(appended) => {
                    let taken_in = taken_in + read_again.len() as u64;
                    read_again.into_iter().for_each(|event| root.evolve(event));
                    let last = events.last().expect("something was decided");
                    root.move_to(appended.version(), last.event_id());
                    return Ok(Executed::new(
                        self.with_snapshot(before, taken_in, root),
                        Some(appended),
                    ));
                }
                Err(error) if error.is_conflict() => match pauses.next() {
                    Some(pause) => thread::sleep(pause),
                    None => return Err(ExecuteError::Store(error)),
                },
                // The same command was executed meanwhile on another state; or on another aggregate, which is an error.
                Err(error) if error.is_duplicate() && command.is_some() => {
                    trust = Trust::Events;
                    refused = Some(error);
                }
                Err(error) => return Err(ExecuteError::Store(error)),
            }
        }
    }

    /// The events in their stored form, and as they will be read back.
    fn encode(&self, context: &Context, decided: &[A::Event]) -> Result<(Vec<NewEvent>, Vec<A::Event>)> {
        let mut events = Vec::with_capacity(decided.len());
        let mut read_again = Vec::with_capacity(decided.len());
        for (place, event) in decided.iter().enumerate() {
            let event = context.apply(place, self.vocabulary.encode(event)?)?;
            self.vocabulary
                .read(event.event_type().as_str(), event.data().as_str(), &mut |event| {
                    read_again.push(event);
                })?;
            events.push(event);
        }
        Ok((events, read_again))
    }

    fn load_for(&self, key: &AggregateKey, command: Option<Uuid>, trust: Trust) -> Result<Loaded<A>> {
        Backoff::new().repeat(|| {
            let mut wrong = None;
            if let Some(snapshots) = self.snapshots.as_ref().filter(|_| trust == Trust::Snapshots) {
                match snapshots.load(&self.store, key) {
                    Ok((None, stream)) => return self.take_in(self.new_root(key), stream, command),
                    Ok((Some(snapshot), stream)) => match self.load_after(snapshots, &snapshot, stream, command)? {
                        After::Loaded(loaded) => return Ok(loaded),
                        After::Unknown => {}
                        After::Wrong(error) => wrong = Some(error),
                    },
                    // If it is an event's, all events have the same one.
                    Err(error) => wrong = Some(error),
                }
            }
            let stream = self.store.load(key)?;
            self.take_in(self.new_root(key).with_snapshot_error(wrong), stream, command)
        })
    }

    fn new_root(&self, key: &AggregateKey) -> Root<A> {
        Root::new(key.clone(), Version::ZERO, A::default())
    }

    /// Applies the events after a snapshot, and finds out whether a command was executed before it.
    fn load_after(
        &self,
        snapshots: &Snapshots<S, A>,
        snapshot: &Snapshot,
        stream: EventStream,
        command: Option<Uuid>,
    ) -> Result<After<A>> {
        let state = match snapshots.state(snapshot, &stream) {
            Ok(state) => state,
            Err(error) => return Ok(After::Wrong(error)),
        };
        // Every mark covers the archived events.
        let hidden = stream
            .events()
            .first()
            .map_or(GlobalSequence::ZERO, |event| event.global_sequence);
        let key = stream.aggregate().clone();
        let root = Root::new(key.clone(), snapshot.version, state);
        let mut loaded = self.take_in(root, stream, command)?;
        if let (Some(command), None) = (command, loaded.executed_at) {
            let first = EventQuery::new().event_ids([event_id(command, 0)]);
            // The log is known only up to the high-water mark. If the mark is behind the snapshot, or cannot be proved, all of the
            // aggregate's own events are loaded.
            let Ok(page) = self.store.read_page(&first, None) else {
                return Ok(After::Unknown);
            };
            let of_key = page.events.iter().find(|event| event.aggregate == key);
            loaded.executed_at = of_key.map(|event| event.version);
            if loaded.executed_at.is_none() && page.high_water_mark < hidden {
                return Ok(After::Unknown);
            }
        }
        Ok(After::Loaded(loaded))
    }

    /// Applies the events that are not applied yet, and finds the first event of a command.
    fn take_in(&self, mut root: Root<A>, stream: EventStream, command: Option<Uuid>) -> Result<Loaded<A>> {
        let first = command.map(|command| event_id(command, 0));
        let (mut taken_in, mut executed_at, start) = (0, None, root.version());
        for event in stream.events() {
            if Some(event.event_id) == first {
                executed_at = Some(event.version);
            }
            if event.version > start {
                self.vocabulary.decode(event, |event| root.evolve(event))?;
                taken_in += 1;
            }
            root.move_to(event.version, event.event_id);
        }
        Ok(Loaded {
            root,
            taken_in,
            executed_at,
        })
    }

    /// The versions and sequences of a command's events. `first` is the version of the first one.
    fn appended_by(&self, key: &AggregateKey, command: Uuid, first: Version) -> Result<Appended> {
        const PAGE: u64 = 100;
        let mut sequences = Vec::new();
        let mut next = first;
        loop {
            let range = StreamRange::all().from_version(next).limit(PAGE);
            let page = self.store.load_range(key, &range)?;
            let before = sequences.len();
            let is_of_command = |(place, event): &(usize, &EventEnvelope)| event.event_id == event_id(command, *place);
            let of_command = (before..).zip(page.events()).take_while(is_of_command);
            sequences.extend(of_command.map(|(_, event)| event.global_sequence));
            let found = (sequences.len() - before) as u64;
            next = next.checked_add(found).expect("these versions are stored");
            if found < PAGE {
                let last = Version::new(next.get() - 1)?;
                return Ok(Appended::new(key.clone(), last, sequences).already_stored());
            }
        }
    }

    /// Saves a snapshot if one is due after the aggregate went from the version `before` to its current one.
    fn with_snapshot(&self, before: Version, taken_in: u64, root: Root<A>) -> Root<A> {
        let Some(snapshots) = &self.snapshots else { return root };
        let saved = snapshots.save_if_due(&self.store, before, taken_in, &root);
        root.with_snapshot_error(saved.err())
    }
}

impl<S: EventStore + SnapshotStore, A: Snapshotted> Repository<S, A> {
    /// Replays an aggregate, and compares each of its snapshots of this [form](Snapshotted::FORM) with the state that results from the
    /// events.
    ///
    /// Returns an error for each wrong snapshot: one that was changed or moved, one that was made from other events than the stored ones,
    /// and one that this program would make differently. The causes of the last are a changed [`evolve`](Aggregate::evolve) with the same
    /// form, and a state whose JSON is not the same each time, such as that of a `HashSet`.
    ///
    /// ```no_run
    /// # use firefly_eventstore_core::{EventStore, Repository, SnapshotStore, Snapshotted, prelude::*};
    /// # fn check<A: Snapshotted>(accounts: &Repository<impl EventStore + SnapshotStore, A>, id: Uuid) -> Result<(), Error> {
    /// for wrong in accounts.verify_snapshots(id)? {
    ///     eprintln!("{wrong}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load), and as [`SnapshotStore::list_snapshots`].
    pub fn verify_snapshots(&self, id: Uuid) -> Result<Vec<Error>> {
        let key = self.key(id);
        let mut snapshots = self.store.list_snapshots(None, &key)?;
        snapshots.retain(|snapshot| snapshot.snapshot_type == A::FORM);
        let stream = self.store.load(&key)?;
        let (mut state, mut last_event, mut wrong) = (A::default(), Uuid::nil(), Vec::new());
        let mut events = stream.events().iter().peekable();
        // The newest comes first.
        for snapshot in snapshots.iter().rev() {
            if snapshot.version > stream.version() {
                wrong.push(snapshots::beyond_end(&key, snapshot.version, stream.version()));
                continue;
            }
            while let Some(event) = events.next_if(|event| event.version <= snapshot.version) {
                self.vocabulary.decode(event, |event| state.evolve(event))?;
                last_event = event.event_id;
            }
            wrong.extend(snapshots::compare(snapshot, last_event, &state).err());
        }
        Ok(wrong)
    }
}

impl<S: Clone, A> Clone for Repository<S, A> {
    fn clone(&self) -> Self {
        Self {
            store: self.store.clone(),
            aggregate_type: self.aggregate_type.clone(),
            vocabulary: self.vocabulary,
            snapshots: self.snapshots.clone(),
            attempts: self.attempts,
        }
    }
}

impl<S: fmt::Debug, A> fmt::Debug for Repository<S, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repository")
            .field("store", &self.store)
            .field("aggregate_type", &self.aggregate_type)
            .finish_non_exhaustive()
    }
}

/// What a load may use.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// Snapshots, if there are any, and the events after them.
    Snapshots,
    /// Events only.
    Events,
}

/// An aggregate that was loaded.
struct Loaded<A> {
    root: Root<A>,
    /// How many events were applied to it.
    taken_in: u64,
    /// The version of the command's first event, if it was executed before.
    executed_at: Option<Version>,
}

/// The result of applying the events after a snapshot.
enum After<A> {
    Loaded(Loaded<A>),
    /// It is unknown whether the command was executed.
    Unknown,
    /// The snapshot does not belong to them.
    Wrong(Error),
}
