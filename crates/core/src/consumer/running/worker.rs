//! What runs a consumer on a thread, and what it shares with the runner.

use std::sync::Arc;
use std::time::Duration;

use super::progress::{Part, Progress};
use super::signals::{Signals, Waited};
use crate::consumer::failure::ConsumerError;
use crate::consumer::observer::{ConsumerEvent, Observer};
use crate::{Backoff, GlobalSequence};

/// The longest pause before a store that could not be reached is tried again.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A task on a thread of the runner, which runs until the runner stops.
pub(crate) trait Worker: Send {
    fn run(&mut self, context: &Context);
}

/// What the workers of a runner share.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) signals: Arc<Signals>,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) progress: Arc<Progress>,
}

impl Context {
    /// Reports that everything up to a position is handled, under the checkpoint with this token.
    pub(crate) fn handled(&self, consumer: &str, position: GlobalSequence, token: i64) {
        if self.progress.handled(position, token) {
            self.observer.observe(&ConsumerEvent::Progress { consumer, position });
        }
    }

    /// Reports that a part of a consumer waits no longer. If no other part waits, the consumer continues.
    pub(crate) fn recovered(&self, consumer: &str, part: Part) {
        if self.progress.recovered(part) {
            self.observer.observe(&ConsumerEvent::Recovered {
                consumer: Some(consumer),
            });
        }
    }

    /// Reports that a consumer is halted: it handles nothing until an operator acts.
    pub(crate) fn halt(&self, consumer: &str, error: ConsumerError) {
        self.progress.halted(error, |error| {
            self.observer.observe(&ConsumerEvent::Stopped {
                consumer,
                error: Some(error),
            });
        });
    }

    /// Reports that the store cannot be reached, and waits.
    pub(crate) fn outage(
        &self,
        consumer: &str,
        error: &(dyn std::error::Error + 'static),
        pauses: &mut Backoff,
    ) -> Waited {
        let pause = pauses.next().unwrap_or(LONGEST_PAUSE);
        self.tell_outage(consumer, Part::Handling, error, pause);
        self.signals.pause(pause)
    }

    pub(crate) fn tell_outage(
        &self,
        consumer: &str,
        part: Part,
        error: &(dyn std::error::Error + 'static),
        pause: Duration,
    ) {
        self.progress.waits(part);
        self.observer.observe(&ConsumerEvent::Outage {
            consumer: Some(consumer),
            error,
            pause,
        });
    }

    pub(crate) fn tell_lost(&self, consumer: &str, slot: u16) {
        self.observer.observe(&ConsumerEvent::SlotLost { consumer, slot });
    }
}
