//! postgres-es, the repository of events of cqrs-es on PostgreSQL: async, by sqlx.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cqrs_es::event_sink::EventSink;
use cqrs_es::persist::{PersistedEventRepository, SerializedEvent};
use cqrs_es::{Aggregate, DomainEvent};
use firefly_eventstore_peers::{Arguments, Peer, Result, Sample, Turns, serve, took};
use postgres_es::PostgresEventRepository;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::postgres::PgPoolOptions;
use tokio::runtime::Runtime;
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use uuid::Uuid;

/// Its own schema's table of events.
const TABLE: &str = "
    CREATE TABLE events (
        aggregate_type TEXT NOT NULL,
        aggregate_id   TEXT NOT NULL,
        sequence       BIGINT CHECK (sequence >= 0) NOT NULL,
        event_type     TEXT NOT NULL,
        event_version  TEXT NOT NULL,
        payload        JSON NOT NULL,
        metadata       JSON NOT NULL,
        PRIMARY KEY (aggregate_type, aggregate_id, sequence)
    )";

/// The repository is generic over what its events are about.
#[derive(Default, Serialize, Deserialize)]
struct Account;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Changed;

impl DomainEvent for Changed {
    fn event_type(&self) -> String {
        "changed".to_owned()
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}

impl Aggregate for Account {
    const TYPE: &'static str = "Account";
    type Command = ();
    type Event = Changed;
    type Error = std::fmt::Error;
    type Services = ();

    async fn handle(&mut self, (): (), (): &(), _: &EventSink<Self>) -> std::result::Result<(), std::fmt::Error> {
        Ok(())
    }

    fn apply(&mut self, _: Changed) {}
}

struct PostgresEs {
    runtime: Runtime,
    repository: Arc<PostgresEventRepository>,
    samples: Arc<Vec<Sample>>,
    workers: Vec<Turns>,
    filled: Vec<String>,
    loaded: usize,
}

fn main() -> Result<()> {
    let Arguments {
        place,
        threads,
        samples,
    } = Arguments::read()?;
    let runtime = Runtime::new()?;
    let pool = runtime.block_on(async {
        let pool = PgPoolOptions::new().max_connections(32).connect(&place).await?;
        sqlx::query(TABLE).execute(&pool).await?;
        Ok::<_, sqlx::Error>(pool)
    })?;
    serve(&mut PostgresEs {
        repository: Arc::new(runtime.block_on(async { PostgresEventRepository::new(pool) })),
        runtime,
        samples: Arc::new(samples),
        workers: (0..threads).map(|_| Turns::new()).collect(),
        filled: Vec::new(),
        loaded: 0,
    })
}

impl Peer for PostgresEs {
    fn append(&mut self, events: usize, batch: usize) -> Result<Duration> {
        let stored = Arc::new(AtomicUsize::new(0));
        let barrier = Arc::new(Barrier::new(self.workers.len()));
        let workers = std::mem::take(&mut self.workers);
        let (workers, spans): (Vec<_>, Vec<_>) = self.runtime.block_on(async {
            let mut tasks = JoinSet::new();
            for mut turns in workers {
                let repository = Arc::clone(&self.repository);
                let samples = Arc::clone(&self.samples);
                let (stored, barrier) = (Arc::clone(&stored), Arc::clone(&barrier));
                tasks.spawn(async move {
                    barrier.wait().await;
                    let started = Instant::now();
                    let mut finished = None;
                    while stored.load(Ordering::Relaxed) < events {
                        let (id, version, first) = turns.next(batch);
                        let new = new_events(&samples, id, version, first, batch);
                        repository.persist::<Account>(&new, None).await?;
                        let before = stored.fetch_add(batch, Ordering::Relaxed);
                        if (before..before + batch).contains(&(events - 1)) {
                            finished = Some(Instant::now());
                        }
                    }
                    Result::Ok((turns, (started, finished)))
                });
            }
            let mut ends = Vec::new();
            while let Some(end) = tasks.join_next().await {
                ends.push(end??);
            }
            Result::Ok(ends.into_iter().unzip())
        })?;
        self.workers = workers;
        took(&spans)
    }

    fn fill(&mut self, aggregates: usize, events: usize) -> Result<()> {
        self.filled = (0..aggregates).map(|_| Uuid::new_v4().to_string()).collect();
        self.runtime.block_on(async {
            for (index, id) in self.filled.iter().enumerate() {
                let new = new_events(&self.samples, id, 0, index * events, events);
                self.repository.persist::<Account>(&new, None).await?;
            }
            Ok(())
        })
    }

    fn load(&mut self, times: usize) -> Result<()> {
        self.runtime.block_on(async {
            for _ in 0..times {
                let id = &self.filled[self.loaded % self.filled.len()];
                self.loaded += 1;
                if self.repository.get_events::<Account>(id).await?.is_empty() {
                    return Err(format!("nothing was stored for {id}").into());
                }
            }
            Ok(())
        })
    }

    /// It has no log: the events of all aggregates of a type come in no order.
    fn scan(&mut self, _: usize) -> Result<()> {
        Err("there is no log to scan".into())
    }
}

fn new_events(samples: &[Sample], id: &str, version: u64, first: usize, count: usize) -> Vec<SerializedEvent> {
    (0..count)
        .map(|index| {
            let sample = &samples[(first + index) % samples.len()];
            let metadata = match &sample.metadata {
                Value::Null => json!({}),
                metadata => metadata.clone(),
            };
            SerializedEvent::new(
                id.to_owned(),
                version as usize + index + 1,
                Account::TYPE.to_owned(),
                sample.event_type.clone(),
                "1".to_owned(),
                sample.data.clone(),
                metadata,
            )
        })
        .collect()
}
