//! UmaDB, an engine for events in one file, within this process: as its server uses it, with one thread that writes for all.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use firefly_eventstore_peers::{Arguments, Peer, Result, Sample, Turns, serve, took};
use tokio::sync::{mpsc, oneshot, watch};
use umadb_core::db::UmaDb;
use umadb_core::mvcc::{Mvcc, StorageOptions};
use umadb_core::writer_thread_blocking::writer_thread_blocking;
use umadb_core::writer_thread_request::WriterThreadRequest;
use umadb_dcb::{DcbAppendCondition, DcbEvent, DcbEventStoreSync, DcbQuery, DcbQueryItem};
use uuid::Uuid;

/// How many events its server puts into one commit by default.
const MOST_EVENTS: usize = 2_000;

struct Uma {
    database: UmaDb,
    requests: mpsc::Sender<WriterThreadRequest>,
    samples: Vec<Sample>,
    workers: Vec<Worker>,
    filled: Vec<String>,
    loaded: usize,
}

/// A thread's aggregates, and the position at which it wrote last: nobody else writes to them.
struct Worker {
    turns: Turns,
    position: u64,
}

fn main() -> Result<()> {
    let Arguments {
        place,
        threads,
        samples,
    } = Arguments::read()?;
    let mvcc = Arc::new(Mvcc::new(false, StorageOptions::default().db_path(Path::new(&place)))?);
    let (requests, received) = mpsc::channel(1_024);
    let (head, _) = watch::channel(None);
    let writer = Arc::clone(&mvcc);
    thread::spawn(move || writer_thread_blocking(writer, received, head, MOST_EVENTS));
    serve(&mut Uma {
        database: UmaDb::from_arc(mvcc),
        requests,
        samples,
        workers: (0..threads)
            .map(|_| Worker {
                turns: Turns::new(),
                position: 0,
            })
            .collect(),
        filled: Vec::new(),
        loaded: 0,
    })
}

impl Peer for Uma {
    fn append(&mut self, events: usize, batch: usize) -> Result<Duration> {
        let stored = AtomicUsize::new(0);
        let barrier = Barrier::new(self.workers.len());
        let (samples, requests) = (&self.samples, &self.requests);
        let spans = thread::scope(|scope| {
            let threads: Vec<_> = self
                .workers
                .iter_mut()
                .map(|worker| {
                    scope.spawn(|| {
                        barrier.wait();
                        let started = Instant::now();
                        let mut finished = None;
                        while stored.load(Ordering::Relaxed) < events {
                            let (id, _, first) = worker.turns.next(batch);
                            let new = new_events(samples, id, first, batch);
                            worker.position = store(requests, id, new, Some(worker.position))?;
                            let before = stored.fetch_add(batch, Ordering::Relaxed);
                            if (before..before + batch).contains(&(events - 1)) {
                                finished = Some(Instant::now());
                            }
                        }
                        Result::Ok((started, finished))
                    })
                })
                .collect();
            let ends = threads
                .into_iter()
                .map(|thread| thread.join().map_err(|_| "a thread panicked")?);
            ends.collect::<Result<Vec<_>>>()
        })?;
        took(&spans)
    }

    fn fill(&mut self, aggregates: usize, events: usize) -> Result<()> {
        self.filled = (0..aggregates).map(|_| Uuid::new_v4().to_string()).collect();
        for (index, id) in self.filled.iter().enumerate() {
            let new = new_events(&self.samples, id, index * events, events);
            store(&self.requests, id, new, None)?;
        }
        Ok(())
    }

    fn load(&mut self, times: usize) -> Result<()> {
        for _ in 0..times {
            let id = &self.filled[self.loaded % self.filled.len()];
            self.loaded += 1;
            let mut events = self.database.read(Some(of_aggregate(id)), None, false, None)?;
            if events.collect_with_head()?.0.is_empty() {
                return Err(format!("nothing was stored for {id}").into());
            }
        }
        Ok(())
    }

    fn scan(&mut self, events: usize) -> Result<()> {
        const PAGE: u32 = 1_000;
        let mut read = 0;
        let mut start = None;
        while read < events {
            let (page, head) = self
                .database
                .read(None, start, false, Some(PAGE))?
                .collect_with_head()?;
            if page.is_empty() {
                return Err(format!("the log has {read} events only").into());
            }
            read += page.len();
            start = head.map(|position| position + 1);
        }
        Ok(())
    }
}

/// Appends, on the condition that nobody appended to the aggregate since, and returns the position of the last event.
fn store(
    requests: &mpsc::Sender<WriterThreadRequest>,
    id: &str,
    events: Vec<DcbEvent>,
    after: Option<u64>,
) -> Result<u64> {
    let (response_tx, response) = oneshot::channel();
    let condition = DcbAppendCondition::new(of_aggregate(id)).after(after.filter(|position| *position > 0));
    requests.blocking_send(WriterThreadRequest::Append {
        events,
        condition: Some(condition),
        tracking_info: None,
        response_tx,
        cancel: None,
    })?;
    Ok(response.blocking_recv()??)
}

fn of_aggregate(id: &str) -> DcbQuery {
    DcbQuery::new().item(DcbQueryItem::new().tags([id]))
}

fn new_events(samples: &[Sample], id: &str, first: usize, count: usize) -> Vec<DcbEvent> {
    (0..count)
        .map(|index| {
            let sample = &samples[(first + index) % samples.len()];
            let mut event = DcbEvent::new()
                .event_type(sample.event_type.clone())
                .tags([id])
                .uuid(Uuid::now_v7())
                .data(sample.data.to_string());
            if !sample.metadata.is_null() {
                event = event.metadata_entry("context", sample.metadata.to_string());
            }
            event
        })
        .collect()
}
