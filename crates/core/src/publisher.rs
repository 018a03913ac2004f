//! Publishing the high-water mark for those who read on replicas.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::{Error, GlobalSequence, Result};

/// A thread that publishes the high-water mark, at once and then at an interval, until this is dropped. For those who write a
/// backend.
///
/// A publication that fails is tried again after the interval: whoever reads the mark sees from its age that it stands still.
#[derive(Debug)]
pub struct Publisher {
    /// Dropped to stop the thread.
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Publisher {
    /// Starts the thread. What it publishes with must not own this publisher, which would then never be dropped.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for an interval of zero; [`Io`](crate::ErrorKind::Io) if there can be no
    /// more threads.
    pub fn start(
        interval: Duration,
        mut publish: impl FnMut() -> Result<GlobalSequence> + Send + 'static,
    ) -> Result<Self> {
        if interval.is_zero() {
            return Err(Error::invalid(
                "the mark cannot be published at an interval of zero; 100 milliseconds are often",
            ));
        }
        let (stop, stopped) = mpsc::channel::<()>();
        let run = move || {
            loop {
                let _ = publish();
                if stopped.recv_timeout(interval) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        };
        let thread = thread::Builder::new()
            .name("firefly-publish-mark".to_owned())
            .spawn(run)
            .map_err(|error| Error::io("start the thread that publishes the mark", error))?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Publisher {
    /// Waits for a publication that is under way.
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic was told by the thread itself.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn it_publishes_again_and_again_also_after_a_failure_until_it_is_dropped() {
        let published = Arc::new(AtomicU64::new(0));
        let (told, count) = mpsc::channel();
        let publisher = Publisher::start(Duration::from_millis(1), {
            let published = Arc::clone(&published);
            move || {
                let so_far = published.fetch_add(1, Ordering::SeqCst) + 1;
                let _ = told.send(so_far);
                Err(Error::invalid("the server is gone"))
            }
        })
        .unwrap();
        while count.recv().unwrap() < 3 {}
        drop(publisher);
        let last = published.load(Ordering::SeqCst);
        assert!(count.into_iter().all(|told| told <= last), "the thread is gone");
        assert_eq!(Arc::strong_count(&published), 1);
    }

    #[test]
    fn an_interval_of_zero_is_refused() {
        let error = Publisher::start(Duration::ZERO, || Ok(GlobalSequence::ZERO)).unwrap_err();
        assert!(error.is_invalid_input(), "{error}");
    }
}
