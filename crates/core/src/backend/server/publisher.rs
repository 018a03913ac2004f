//! Publishing the high-water mark for stores that read from replicas.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::operate::{Diagnosis, Severity};
use crate::store::query::check_end;
use crate::{Cursor, Error, ErrorKind, EventQuery, GlobalSequence, Result};

/// A thread that publishes the high-water mark, at once and then at an interval, until this is dropped. For authors of backends.
///
/// A failed publication is tried again after the interval. The age of the mark shows readers that it is not renewed.
#[derive(Debug)]
pub struct Publisher {
    /// Dropped to stop the thread.
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Publisher {
    /// Starts the thread. `publish` must not own this publisher: otherwise it would never be dropped.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for an interval of zero; [`Io`](crate::ErrorKind::Io) if the thread cannot be
    /// started.
    pub fn start(
        interval: Duration,
        mut publish: impl FnMut() -> Result<GlobalSequence> + Send + 'static,
    ) -> Result<Self> {
        if interval.is_zero() {
            return Err(Error::invalid(
                "the mark cannot be published at an interval of zero; 100 milliseconds is already frequent",
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
    /// Waits for a running publication.
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // The thread itself has reported a panic.
            let _ = thread.join();
        }
    }
}

/// The advice to publish the mark.
const PUBLISH: &str =
    "on the primary, open a store with publish_mark, or run firefly-eventstore publish-mark --every 1s";

/// How old, in seconds, a published mark may be.
const LONG_UNPUBLISHED: i64 = 60;

/// For authors of backends: the error of a store that reads from a replica, if no mark was published.
#[must_use]
pub fn never_published() -> Error {
    let reason =
        format!("no high-water mark was published, so this replica does not know how far the log is final; {PUBLISH}");
    Error::new(ErrorKind::Unprovable { reason: reason.into() })
}

/// For authors of backends: the published mark, as a server shows it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct PublishedMark {
    /// The mark.
    pub mark: GlobalSequence,
    /// The greatest committed sequence at the same moment.
    pub end: GlobalSequence,
    /// Whether the server may lack events that the primary has.
    pub may_be_behind: bool,
    /// The seconds since it was published.
    pub age: i64,
}

impl PublishedMark {
    /// The mark and the end of the log, as the primary itself shows them, just published. Set the other fields afterwards.
    #[must_use]
    pub fn new(mark: GlobalSequence, end: GlobalSequence) -> Self {
        Self {
            mark,
            end,
            may_be_behind: false,
            age: 0,
        }
    }

    /// Returns what the server shows, if a mark was published and the log reaches it.
    ///
    /// # Errors
    ///
    /// [`Unprovable`](ErrorKind::Unprovable) if none was published, [`BeyondEnd`](ErrorKind::BeyondEnd) if the log ends before the mark.
    pub fn checked(shown: Option<Self>) -> Result<Self> {
        let shown = shown.ok_or_else(never_published)?;
        check_end(shown.mark, shown.end, || Ok(shown.end))?;
        Ok(shown)
    }

    /// The mark for a page of the log. Read the published mark on the page's connection, because another replica may have more or fewer
    /// events.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](ErrorKind::Unavailable) if the read began on a replica that is ahead of this one; that of
    /// [`EventQuery::check_end`].
    pub fn of_page(&self, query: &EventQuery, cursor: Option<&Cursor>) -> Result<GlobalSequence> {
        match cursor.map(Cursor::high_water_mark) {
            Some(begun) if begun > self.mark => Err(Error::new(ErrorKind::Unavailable {
                reason: "this replica is behind the one that the read began on".into(),
            })),
            Some(begun) => Ok(begun),
            None => {
                // On a server that may be behind, a checkpoint beyond the end does not mean that events were lost.
                if !self.may_be_behind {
                    query.check_end(self.mark, || Ok(self.end))?;
                }
                Ok(self.mark)
            }
        }
    }
}

/// For authors of backends: the finding about the published mark, from the mark or from the error of reading it. That
/// [none was published](never_published) is bad only if it is `needed`.
///
/// # Errors
///
/// Errors that are not about the mark, such as a lost connection.
pub fn diagnose_published_mark(published: Result<PublishedMark>, needed: Option<Severity>) -> Result<Diagnosis> {
    let subject = "published mark";
    let bad = |severity, found: String, advice: String| Diagnosis::bad(severity, subject, found, advice);
    let error = match published {
        Ok(PublishedMark { mark, age, .. }) => {
            let found = format!("global sequence {mark}, published {age} s ago");
            return Ok(match age > LONG_UNPUBLISHED {
                false => Diagnosis::good(subject, found),
                true => {
                    let advice = format!("stores that read from replicas see nothing newer; {PUBLISH}");
                    bad(Severity::Notice, found, advice)
                }
            });
        }
        Err(error) => error,
    };
    Ok(match (error.kind(), needed) {
        (ErrorKind::Unprovable { .. }, None) => Diagnosis::good(subject, "none: no store reads the log from a replica"),
        (ErrorKind::Unprovable { .. }, Some(severity)) => {
            let advice = "the log cannot be read here until that is done";
            bad(severity, error.to_string(), advice.to_owned())
        }
        (ErrorKind::BeyondEnd { position, end }, _) => bad(
            Severity::Danger,
            format!("global sequence {position}, and the log ends at {end}"),
            "published events were lost; rebuild the read models that readers of replicas made of them, then run DELETE FROM \
             firefly_published_mark, and publish again"
                .to_owned(),
        ),
        (ErrorKind::PermissionDenied, _) => bad(
            Severity::Notice,
            "the server does not show it to this user".to_owned(),
            "give it SELECT on firefly_published_mark, or ask as an administrator".to_owned(),
        ),
        (ErrorKind::Schema(_), _) => {
            let advice = "see the finding about the schema";
            bad(Severity::Warning, error.to_string(), advice.to_owned())
        }
        _ => return Err(error),
    })
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
    fn a_published_mark_is_diagnosed() {
        let mark = GlobalSequence::from(7);
        let shown = |age| PublishedMark {
            mark,
            end: mark,
            may_be_behind: false,
            age,
        };
        let beyond = || {
            Error::new(ErrorKind::BeyondEnd {
                position: mark,
                end: GlobalSequence::ZERO,
            })
        };
        for (published, needed, severity, advice) in [
            (Ok(shown(60)), None, Severity::Good, None),
            (Ok(shown(61)), None, Severity::Notice, Some("--every 1s")),
            (Err(never_published()), None, Severity::Good, None),
            (
                Err(never_published()),
                Some(Severity::Danger),
                Severity::Danger,
                Some("cannot be read"),
            ),
            (Err(beyond()), None, Severity::Danger, Some("firefly_published_mark")),
            (
                Err(Error::new(ErrorKind::PermissionDenied)),
                None,
                Severity::Notice,
                Some("SELECT on"),
            ),
        ] {
            let diagnosis = diagnose_published_mark(published, needed).unwrap();
            assert_eq!(diagnosis.severity, severity, "{diagnosis:?}");
            let contains = |part| diagnosis.advice.as_ref().is_some_and(|text| text.contains(part));
            assert!(advice.map_or(diagnosis.advice.is_none(), contains), "{diagnosis:?}");
        }
        assert!(never_published().to_string().contains("--every 1s"));
        diagnose_published_mark(Err(Error::new(ErrorKind::ReadOnly)), None).unwrap_err();
    }

    #[test]
    fn an_interval_of_zero_is_refused() {
        let error = Publisher::start(Duration::ZERO, || Ok(GlobalSequence::ZERO)).unwrap_err();
        assert!(error.is_invalid_input(), "{error}");
    }
}
