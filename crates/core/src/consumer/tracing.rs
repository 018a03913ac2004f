//! What consumers do, as events of `tracing`.

use std::error::Error as StdError;
use std::time::Duration;

use ::tracing::{debug, error, info, warn};

use super::observer::{ConsumerEvent, Observer};

/// Writes what consumers do to the program's [`tracing`] subscriber, with the target `firefly_eventstore::consumer`.
///
/// | message | level | fields beside `consumer` |
/// |---|---|---|
/// | `consumer started` | info | `position` |
/// | `events handled` | debug | `events`, `position`, `elapsed_ms` |
/// | `checkpoint moved by another process` | info | `position` |
/// | `waiting for the end of an outage` | warn | `error`, `pause_ms`; without `consumer` for the watcher of the log |
/// | `going on` | info | after the waiting; without `consumer` for the watcher of the log |
/// | `event failed` | warn | `global_sequence`, `attempts`, `error` |
/// | `event parked` | error | `global_sequence`, `aggregate_id`, `reason` |
/// | `slot taken`, `slot given up` | info | `slot` |
/// | `consumer stopped` | info, or error if it did so by itself | `error` if it did so by itself |
///
/// How far a consumer has come without events, and where the log ends, is reported as metrics only. Times are in milliseconds, with
/// fractions. If no subscriber is interested, an event costs one comparison.
///
/// ```
/// use firefly_eventstore_core::MemoryEventStore;
/// use firefly_eventstore_core::consumer::{Runner, TracingObserver};
///
/// let running = Runner::new(MemoryEventStore::new()).observer(TracingObserver).start()?;
/// # running.stop();
/// # Ok::<(), firefly_eventstore_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct TracingObserver;

const TARGET: &str = "firefly_eventstore::consumer";

impl Observer for TracingObserver {
    fn observe(&self, event: &ConsumerEvent<'_>) {
        match *event {
            ConsumerEvent::Started { consumer, position } => {
                info!(target: TARGET, consumer, position = position.get(), "consumer started");
            }
            ConsumerEvent::Handled {
                consumer,
                events,
                position,
                elapsed,
            } => {
                let (position, elapsed_ms) = (position.get(), milliseconds(elapsed));
                debug!(target: TARGET, consumer, events, position, elapsed_ms, "events handled");
            }
            ConsumerEvent::Overtaken { consumer, position } => {
                info!(target: TARGET, consumer, position = position.get(), "checkpoint moved by another process");
            }
            ConsumerEvent::Outage { consumer, error, pause } => {
                let pause_ms = milliseconds(pause);
                warn!(target: TARGET, consumer, error, pause_ms, "waiting for the end of an outage");
            }
            ConsumerEvent::Recovered { consumer } => {
                info!(target: TARGET, consumer, "going on");
            }
            ConsumerEvent::Failing {
                consumer,
                sequence,
                attempts,
                error,
            } => {
                let global_sequence = sequence.get();
                warn!(target: TARGET, consumer, global_sequence, attempts, error, "event failed");
            }
            ConsumerEvent::Parked {
                consumer,
                sequence,
                aggregate_id,
                reason,
            } => {
                let global_sequence = sequence.get();
                error!(target: TARGET, consumer, global_sequence, %aggregate_id, reason, "event parked");
            }
            ConsumerEvent::SlotTaken { consumer, slot } => {
                info!(target: TARGET, consumer, slot, "slot taken");
            }
            ConsumerEvent::SlotLost { consumer, slot } => {
                info!(target: TARGET, consumer, slot, "slot given up");
            }
            ConsumerEvent::Stopped { consumer, error: None } => {
                info!(target: TARGET, consumer, "consumer stopped");
            }
            ConsumerEvent::Stopped {
                consumer,
                error: Some(error),
            } => {
                let error: &(dyn StdError + 'static) = error;
                error!(target: TARGET, consumer, error, "consumer stopped");
            }
            ConsumerEvent::Progress { .. } | ConsumerEvent::Grown { .. } => {}
        }
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}
