//! The threads that run consumers.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::follower::Follower;
use super::idle::{FIRST_LOOK, LONGEST_LISTEN, LONGEST_LOOK};
use super::member::Member;
use super::progress::Progress;
use super::projecting::Projecting;
use super::signals::Signals;
use super::subscribing::Subscribing;
use super::wait::wait_for;
use super::worker::{Context, Worker};
use crate::consumer::failure::{ConsumerError, unless_panicked};
use crate::consumer::observer::{ConsumerEvent, LogObserver, Observer};
use crate::consumer::projection::Projection;
use crate::consumer::stored::store::{Appends, ConsumerStore, Transactional};
use crate::consumer::subscription::Subscription;
use crate::{Error, GlobalSequence, Result};

/// A consumer that the runner will register and run.
struct Consumer {
    name: String,
    kind: Kind,
    begin: Box<dyn FnOnce() -> Result<Box<dyn Worker>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Projection,
    Subscription,
}

impl Kind {
    /// How many connections the consumer uses at once.
    fn connections(self) -> u32 {
        match self {
            Self::Projection => 1,
            Self::Subscription => 2,
        }
    }
}

/// Runs projections and subscriptions on threads of its own.
///
/// Each projection has one thread. Each subscription has two, one of which renews its leases. One more thread, the watcher, looks at the
/// high-water mark for all of them: 20 milliseconds after the last event, then after longer and longer pauses, up to one second. An append
/// of this process through the same store wakes it at once. So an idle process asks for one mark per second, however many consumers it has:
/// one statement, three on MySQL and MariaDB. On PostgreSQL, if appends notify, appends of other processes wake it at once, too. For that,
/// one more thread listens, on a connection of its own that is not in the pool.
///
/// A projection uses one connection, and a second one to read the next page while it catches up; if none is free, it waits. A subscription
/// uses two, the watcher one.
///
/// ```
/// # use firefly_eventstore_core::consumer::{BoxError, Projection, Transactional};
/// use std::time::Duration;
/// use firefly_eventstore_core::consumer::Runner;
/// use firefly_eventstore_core::{MemoryEventStore, prelude::*};
/// # struct Welcome;
/// # impl<S: Transactional> Projection<S> for Welcome {
/// #     fn name(&self) -> &str { "welcome.v1" }
/// #     fn query(&self) -> Result<EventQuery, Error> { EventQuery::new().event_types(["account.opened"]) }
/// #     fn apply(&self, tx: &mut S::Transaction<'_>, event: &EventEnvelope) -> Result<(), BoxError> {
/// #         let letter = AggregateKey::new("Letter", event.event_id)?;
/// #         tx.append(&letter, ExpectedVersion::NoStream, &[NewEvent::new("letter.written", &serde_json::json!({}))?])?;
/// #         Ok(())
/// #     }
/// # }
///
/// let store = MemoryEventStore::new();
/// let running = Runner::new(store.clone()).project(Welcome).start()?;
///
/// let account = AggregateKey::new("Account", Uuid::now_v7())?;
/// let opened = NewEvent::new("account.opened", &serde_json::json!({}))?;
/// let appended = store.append(&account, ExpectedVersion::NoStream, &[opened])?;
///
/// running.wait_for("welcome.v1", appended.last_sequence().expect("one event"), Duration::from_secs(10))?;
/// assert_eq!(store.read(EventQuery::new()).count(), 2);
/// assert!(running.stop().is_empty());
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
#[must_use = "it runs nothing until it is started"]
pub struct Runner<S> {
    store: S,
    observer: Arc<dyn Observer>,
    consumers: Vec<Consumer>,
}

impl<S: std::fmt::Debug> std::fmt::Debug for Runner<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.consumers.iter().map(|consumer| &consumer.name).collect();
        f.debug_struct("Runner")
            .field("store", &self.store)
            .field("consumers", &names)
            .finish_non_exhaustive()
    }
}

impl<S: ConsumerStore + Clone> Runner<S> {
    /// Creates a runner for consumers of a store.
    pub fn new(store: S) -> Self {
        Self {
            store,
            observer: Arc::new(LogObserver::default()),
            consumers: Vec::new(),
        }
    }

    /// Sets the observer. Without one, a line is written to the `log` crate when a consumer stops because of an error, when it begins to
    /// wait because the store or another service cannot be reached, and when it continues after that.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observer = Arc::new(observer);
        self
    }

    /// Runs a projection.
    pub fn project<P: Projection<S>>(mut self, projection: P) -> Self
    where
        S: Transactional,
    {
        let store = self.store.clone();
        self.consumers.push(Consumer {
            name: projection.name().to_owned(),
            kind: Kind::Projection,
            begin: Box::new(move || {
                Follower::begin(&store, &projection)?;
                Ok(Box::new(Projecting { store, projection }))
            }),
        });
        self
    }

    /// Takes part in a subscription.
    pub fn subscribe(mut self, subscription: Subscription) -> Self {
        let store = self.store.clone();
        self.consumers.push(Consumer {
            name: subscription.name.clone(),
            kind: Kind::Subscription,
            begin: Box::new(move || {
                subscription.register(&store)?;
                Ok(Box::new(Subscribing(Member::new(store, subscription))))
            }),
        });
        self
    }

    /// Registers the consumers, and starts their threads.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if two consumers have the same name, if a consumer was started before with another
    /// query, or if the store's pool has too few connections; [`Io`](crate::ErrorKind::Io) if the threads cannot be created; those of the
    /// store.
    pub fn start(self) -> Result<Running> {
        let needed = 1 + self
            .consumers
            .iter()
            .map(|consumer| consumer.kind.connections())
            .sum::<u32>();
        if let Some(most) = self.store.max_connections().filter(|most| *most < needed) {
            return Err(Error::invalid(format!(
                "these consumers use up to {needed} connections at once, and the store has {most}: give it more, by max_connections, \
                 and some for the rest of the program"
            )));
        }
        let signals = Arc::new(Signals::default());
        let mut running = Running {
            signals: Arc::clone(&signals),
            store: Box::new(self.store.clone()),
            consumers: HashMap::new(),
            threads: Vec::new(),
        };
        let mut workers = Vec::new();
        for consumer in self.consumers {
            let progress = Arc::new(Progress::default());
            if running
                .consumers
                .insert(consumer.name.clone(), (consumer.kind, Arc::clone(&progress)))
                .is_some()
            {
                return Err(Error::invalid(format!(
                    "there are two consumers with the name {}",
                    consumer.name
                )));
            }
            let worker =
                (consumer.begin)().map_err(|error| error.during(format_args!("begin consumer {}", consumer.name)))?;
            let context = Context {
                signals: Arc::clone(&signals),
                observer: Arc::clone(&self.observer),
                progress,
            };
            workers.push((consumer.name, worker, context));
        }
        for (name, mut worker, context) in workers {
            let run = move || {
                if let Err(error) = unless_panicked(|| worker.run(&context)) {
                    let error = ConsumerError::Event {
                        consumer: name.clone(),
                        sequence: GlobalSequence::ZERO,
                        error,
                    };
                    context.halt(&name, error);
                }
            };
            running.spawn("firefly-consumer", run)?;
        }
        if let Some(appends) = self.store.appends()? {
            let (store, signals) = (self.store.clone(), Arc::clone(&signals));
            running.spawn("firefly-listener", move || listen(appends, &store, &signals))?;
        }
        let (store, observer) = (self.store, self.observer);
        running.spawn("firefly-watcher", move || watch(&store, &signals, &*observer))?;
        Ok(running)
    }
}

/// Running consumers. Dropping this stops them, as [`stop`](Self::stop) does.
#[must_use = "the consumers stop when it is dropped"]
pub struct Running {
    signals: Arc<Signals>,
    store: Box<dyn ConsumerStore>,
    consumers: HashMap<String, (Kind, Arc<Progress>)>,
    threads: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running")
            .field("consumers", &self.consumers.keys())
            .finish_non_exhaustive()
    }
}

impl Running {
    /// Waits until a consumer of this runner has handled the log up to a sequence, such as that of an append. Then its read model contains
    /// the event with that sequence and all earlier ones.
    ///
    /// A projection wakes the waiting thread. Then one round trip checks whether the projection was reset; if so, the call waits until the
    /// read model is built again. For a subscription, the stored checkpoints of all slots count, including those that other processes hold,
    /// as in [`wait_for`](crate::consumer::wait_for()).
    ///
    /// # Errors
    ///
    /// [`ConsumerError::Behind`] if the consumer does not get there in time. [`ConsumerError::Store`] with
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if this runner has no such consumer.
    pub fn wait_for(&self, consumer: &str, sequence: GlobalSequence, timeout: Duration) -> Result<(), ConsumerError> {
        let Some((kind, progress)) = self.consumers.get(consumer) else {
            return Err(ConsumerError::Store {
                consumer: consumer.to_owned(),
                error: Error::invalid("this runner has no such consumer"),
            });
        };
        if *kind == Kind::Subscription {
            progress.want(sequence);
            self.signals.nudge();
            return wait_for(&*self.store, consumer, sequence, timeout);
        }
        let deadline = Instant::now().checked_add(timeout);
        let mut least_token = i64::MIN;
        loop {
            let token =
                progress
                    .wait_for(sequence, least_token, deadline)
                    .map_err(|position| ConsumerError::Behind {
                        consumer: consumer.to_owned(),
                        position,
                        wanted: sequence,
                    })?;
            let stored = self
                .store
                .consumers(Some(consumer))
                .map_err(|error| ConsumerError::Store {
                    consumer: consumer.to_owned(),
                    error,
                })?;
            least_token = stored.iter().map(|slot| slot.token).max().unwrap_or(token);
            if least_token <= token {
                return Ok(());
            }
            progress.doubt();
            self.signals.nudge();
        }
    }

    /// Lets every consumer finish its current batch or event, joins the threads, and returns the errors of the consumers that had stopped
    /// by themselves.
    pub fn stop(mut self) -> Vec<ConsumerError> {
        self.end();
        self.consumers
            .values()
            .filter_map(|(_, progress)| progress.take_halted())
            .collect()
    }

    fn end(&mut self) {
        self.signals.stop();
        self.store.wake().tell();
        for thread in self.threads.drain(..) {
            // The thread itself has reported a panic.
            let _ = thread.join();
        }
    }

    fn spawn(&mut self, name: &str, run: impl FnOnce() + Send + 'static) -> Result<()> {
        let thread = thread::Builder::new().name(name.to_owned()).spawn(run);
        self.threads
            .push(thread.map_err(|error| Error::io("start a thread of a consumer", error))?);
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// Wakes the watcher after each append of any process.
fn listen(mut appends: Box<dyn Appends>, store: &impl ConsumerStore, signals: &Signals) {
    while !signals.is_stopping() {
        match appends.wait(LONGEST_LISTEN) {
            Ok(true) => store.wake().tell(),
            Ok(false) => {}
            Err(_) => {
                // The watcher reports the outage, and polls meanwhile.
                signals.pause(LONGEST_LOOK);
            }
        }
    }
}

/// Watches the high-water mark for all consumers of a runner.
fn watch(store: &impl ConsumerStore, signals: &Signals, observer: &dyn Observer) {
    let mut listening = store.wake().listen();
    let mut interval = FIRST_LOOK;
    let mut mark = GlobalSequence::ZERO;
    let mut is_waiting = false;
    while !signals.is_stopping() {
        let looked = store.high_water_mark();
        if is_waiting && looked.is_ok() {
            observer.observe(&ConsumerEvent::Recovered { consumer: None });
        }
        is_waiting = looked.is_err();
        match looked {
            Ok(found) if found == mark => interval = (interval * 2).min(LONGEST_LOOK),
            Ok(found) => {
                mark = found;
                interval = FIRST_LOOK;
                signals.set_mark(mark);
                observer.observe(&ConsumerEvent::Grown { mark });
            }
            Err(error) => {
                interval = LONGEST_LOOK;
                observer.observe(&ConsumerEvent::Outage {
                    consumer: None,
                    error: &error,
                    pause: interval,
                });
            }
        }
        if listening.wait(interval) {
            interval = FIRST_LOOK;
        }
    }
}
