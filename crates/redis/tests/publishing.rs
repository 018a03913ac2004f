//! Subscriptions keep publishing while servers and processes die.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::env;
use std::io::Read;
use std::path::Path;
use std::process::{self, Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use firefly_eventstore_core::consumer::{
    Batch, ConsumerEvent, ConsumerStore, Failure, OnFailure, Publish, Runner, Subscription,
};
use firefly_eventstore_core::{MemoryEventStore, prelude::*};
use firefly_eventstore_redis::RedisStreams;
use firefly_eventstore_sqlite::SqliteEventStore;
use firefly_eventstore_test_servers::RedisServer;

use support::{NAME, STREAM, account, append, assert_published, streams};

const SLOTS: u16 = 6;
const LONG: Duration = Duration::from_secs(120);

fn subscription(publisher: impl Publish) -> Subscription {
    Subscription::publishing(NAME, EventQuery::new(), publisher)
        .group(SLOTS)
        .lease(Duration::from_secs(1))
        .on_failure(OnFailure::retry(5).pauses(Duration::from_millis(1), Duration::from_millis(50)))
}

/// Counts the published events.
struct Counting {
    streams: RedisStreams,
    batches: Arc<AtomicU64>,
}

impl Publish for Counting {
    fn publish(&self, batch: &Batch<'_>) -> Result<(), Failure> {
        self.streams.publish(batch)?;
        self.batches.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

/// Waits until a count is greater than before.
fn wait_for_more(count: &AtomicU64, than: u64) {
    let deadline = Instant::now() + LONG;
    while count.load(Ordering::SeqCst) <= than {
        assert!(Instant::now() < deadline, "nothing is published any more");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Appends from several threads until `disturb` is done. Returns the log's last sequence.
fn append_while(store: &dyn EventStore, disturb: impl FnOnce()) -> GlobalSequence {
    struct Ends<'a>(&'a AtomicBool);
    impl Drop for Ends<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let accounts: [_; 9] = std::array::from_fn(|_| account());
                for account in accounts.iter().cycle().take(20_000) {
                    if is_done.load(Ordering::SeqCst) {
                        break;
                    }
                    append(store, account, 2);
                    thread::sleep(Duration::from_millis(1)); // or the log gets long
                }
            });
        }
        let _ends = Ends(&is_done);
        disturb();
    });
    append(store, &account(), 1)
}

#[test]
fn members_that_share_slots_publish_every_event_once_and_in_order() {
    let Some(server) = RedisServer::start_unless_missing(&[]) else {
        return;
    };
    let store = MemoryEventStore::new();
    let runner = || Runner::new(store.clone()).subscribe(subscription(streams(&server)));
    let first = runner().start().unwrap();
    let mut others = Vec::new();
    let last = append_while(&store, || {
        for _ in 0..2 {
            others.push(runner().start().unwrap());
            thread::sleep(Duration::from_millis(500)); // so that slots change hands under load
        }
        assert!(first.stop().is_empty());
    });
    others[0].wait_for(NAME, last, LONG).unwrap();
    assert_published(&server, &store, SLOTS);
}

#[test]
fn a_server_that_is_killed_under_load_loses_nothing_and_repeats_nothing() {
    let Some(server) = RedisServer::start_unless_missing(&[("appendfsync", "always")]) else {
        return;
    };
    let store = MemoryEventStore::new();
    let batches = Arc::new(AtomicU64::new(0));
    let publisher = Counting {
        streams: streams(&server),
        batches: Arc::clone(&batches),
    };
    let running = Runner::new(store.clone()).subscribe(subscription(publisher)).start();
    let running = running.unwrap();
    let last = append_while(&store, || {
        for _ in 0..8 {
            wait_for_more(&batches, batches.load(Ordering::SeqCst));
            server.kill("KILL");
            server.restart();
        }
    });
    running.wait_for(NAME, last, LONG).unwrap();
    assert!(running.stop().is_empty());
    assert_published(&server, &store, SLOTS);
}

#[test]
fn a_server_that_comes_later_is_waited_for() {
    let Some(server) = RedisServer::start_unless_missing(&[]) else {
        return;
    };
    server.kill("KILL");
    let store = MemoryEventStore::new();
    let last = append(&store, &account(), 3);
    let (sender, outages) = mpsc::channel();
    let running = Runner::new(store.clone())
        .subscribe(subscription(streams(&server)))
        .observer(move |event: &ConsumerEvent<'_>| match event {
            ConsumerEvent::Outage { consumer, error, .. } => {
                let _ = sender.send((consumer.map(str::to_owned), error.to_string()));
            }
            ConsumerEvent::Failing { .. } | ConsumerEvent::Parked { .. } => panic!("{event:?}"),
            _ => {}
        })
        .start()
        .unwrap();
    // Longer than failing events would be tried.
    for _ in 0..10 {
        let (consumer, error) = outages.recv_timeout(LONG).unwrap();
        assert_eq!(consumer.as_deref(), Some(NAME));
        assert!(error.starts_with("publish to Redis stream accounts:"), "{error}");
    }
    server.restart();
    running.wait_for(NAME, last, LONG).unwrap();
    assert!(running.stop().is_empty());
    assert_published(&server, &store, SLOTS);
}

#[test]
fn a_stream_that_has_to_be_mended_stops_its_slot_until_it_is_resumed() {
    let Some(server) = RedisServer::start_unless_missing(&[]) else {
        return;
    };
    for slot in 0..SLOTS {
        let _: () = support::run(&server, &format!("SET {STREAM}:{slot} text"));
    }
    let store = MemoryEventStore::new();
    let last = append(&store, &account(), 2);
    let (sender, stopped) = mpsc::channel();
    let running = Runner::new(store.clone())
        .subscribe(subscription(streams(&server)))
        .observer(move |event: &ConsumerEvent<'_>| {
            if let ConsumerEvent::Stopped { error: Some(error), .. } = event {
                let _ = sender.send(error.to_string());
            }
        })
        .start()
        .unwrap();
    let error = stopped.recv_timeout(LONG).unwrap();
    assert!(error.contains("WRONGTYPE"), "{error}");
    let failed = store.consumers(Some(NAME)).unwrap();
    assert_eq!(failed.iter().filter(|slot| slot.failing.is_some()).count(), 1);
    let _: () = support::run(&server, "FLUSHALL");
    firefly_eventstore_core::consumer::resume(&store, NAME).unwrap();
    running.wait_for(NAME, last, LONG).unwrap();
    assert_published(&server, &store, SLOTS);
}

const URL: &str = "FIREFLY_TEST_REDIS_URL";
const PATH: &str = "FIREFLY_TEST_STORE_PATH";

/// Dies after it has published, and before it reports that.
struct Dying {
    streams: RedisStreams,
    left: AtomicU64,
}

impl Publish for Dying {
    fn publish(&self, batch: &Batch<'_>) -> Result<(), Failure> {
        self.streams.publish(batch)?;
        if self.left.fetch_sub(1, Ordering::SeqCst) == 0 {
            process::abort();
        }
        Ok(())
    }
}

/// The program of such a process.
#[test]
fn child_process() {
    let (Ok(url), Ok(path)) = (env::var(URL), env::var(PATH)) else {
        return;
    };
    let publisher = Dying {
        streams: RedisStreams::new(&url, STREAM).unwrap(),
        left: AtomicU64::new(3),
    };
    let store = SqliteEventStore::open(path).unwrap();
    let _running = Runner::new(store).subscribe(subscription(publisher)).start().unwrap();
    // It ends when its parent ends.
    let _ = std::io::stdin().read(&mut [0]);
}

fn member(server: &RedisServer, path: &Path) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "child_process"])
        .env(URL, server.url())
        .env(PATH, path)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn members_that_die_between_publishing_and_their_checkpoint_repeat_nothing() {
    let Some(server) = RedisServer::start_unless_missing(&[]) else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("accounts.db");
    let store = SqliteEventStore::open(&path).unwrap();
    let last = append_while(&store, || {
        let mut members = [(); 3].map(|()| member(&server, &path));
        let mut deaths = 0;
        let deadline = Instant::now() + LONG;
        while deaths < 9 {
            assert!(Instant::now() < deadline, "{deaths} members have died");
            for process in &mut members {
                if process.try_wait().unwrap().is_some() {
                    deaths += 1;
                    *process = member(&server, &path);
                }
            }
            thread::sleep(Duration::from_millis(1));
        }
        for mut member in members {
            member.kill().unwrap();
            member.wait().unwrap();
        }
    });
    let running = Runner::new(store.clone())
        .subscribe(subscription(streams(&server)))
        .start();
    let running = running.unwrap();
    running.wait_for(NAME, last, LONG).unwrap();
    assert!(running.stop().is_empty());
    assert_published(&server, &store, SLOTS);
}
