//! A thread that adds partitions to a log while a case runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use firefly_eventstore_core::operate::Operations;

/// Adds partitions while a case runs, until there are as many as a log should have, or this is dropped.
pub(super) struct Splitter {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Splitter {
    pub(super) fn of(store: impl Operations + Send + 'static) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let thread = thread::spawn(move || {
            while !over.load(Ordering::Acquire) {
                // This fails if the case holds locks for long, or changed the schema.
                if let Ok(Some(made)) = store.add_partitions()
                    && partitions(&made) >= 12
                {
                    return;
                }
                thread::park_timeout(Duration::from_millis(20));
            }
        });
        Self {
            is_over,
            thread: Some(thread),
        }
    }
}

/// How many partitions there are, as `add_partitions` says: the log has 12, …
fn partitions(made: &str) -> u64 {
    let digits = made.chars().skip_while(|character| !character.is_ascii_digit());
    let digits: String = digits.take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

impl Drop for Splitter {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            thread.join().unwrap();
        }
    }
}
