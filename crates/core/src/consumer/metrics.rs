//! What consumers do, as metrics.

use ::metrics::{Label, counter, gauge, histogram};

use super::observer::{ConsumerEvent, Observer, WATCHER};

/// Counts what consumers do, with the program's recorder of the [`metrics`] crate, such as that of `metrics-exporter-prometheus`.
///
/// Every metric but the first has the label `consumer`, the consumer's name.
///
/// | metric | kind | |
/// |---|---|---|
/// | `firefly_log_position` | gauge | the high-water mark: the log's last final position |
/// | `firefly_consumer_position` | gauge | everything up to this position is handled; for a group, in all slots of this process |
/// | `firefly_consumer_events_total` | counter | events that were handled |
/// | `firefly_consumer_handling_seconds` | histogram | how long a batch took, including its commit |
/// | `firefly_consumer_failures_total` | counter | attempts at an event that failed |
/// | `firefly_consumer_parked_total` | counter | events that were parked, not counting later events of their aggregates |
/// | `firefly_consumer_outages_total` | counter | pauses because the store, or a service that a handler needs, could not be reached |
/// | `firefly_consumer_waiting` | gauge | 1 during such an outage, else 0 |
/// | `firefly_consumer_overtaken_total` | counter | batches that were dropped, because another process moved the checkpoint |
/// | `firefly_consumer_slots` | gauge | slots of a group that this process holds |
/// | `firefly_consumer_running` | gauge | 1 while the consumer runs, 0 after it stopped |
///
/// The lag of a consumer, in sequences, is the first metric minus the second, even while the consumer is stopped. In PromQL:
/// `scalar(max(firefly_log_position)) - min by (consumer) (firefly_consumer_position)`.
///
/// ```
/// use firefly_eventstore_core::MemoryEventStore;
/// use firefly_eventstore_core::consumer::{MetricsObserver, Runner};
///
/// let running = Runner::new(MemoryEventStore::new()).observer(MetricsObserver).start()?;
/// # running.stop();
/// # Ok::<(), firefly_eventstore_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct MetricsObserver;

impl Observer for MetricsObserver {
    // A gauge of 64-bit floating-point numbers is exact up to 2^53, which no log reaches.
    #[expect(clippy::cast_precision_loss, reason = "metrics are floating-point numbers")]
    fn observe(&self, event: &ConsumerEvent<'_>) {
        match *event {
            ConsumerEvent::Grown { mark } => gauge!("firefly_log_position").set(mark.get() as f64),
            ConsumerEvent::Progress { consumer, position } => {
                gauge!("firefly_consumer_position", of(consumer)).set(position.get() as f64);
            }
            ConsumerEvent::Started { consumer, .. } => {
                gauge!("firefly_consumer_running", of(consumer)).set(1);
            }
            ConsumerEvent::Handled {
                consumer,
                events,
                elapsed,
                ..
            } => {
                counter!("firefly_consumer_events_total", of(consumer)).increment(events as u64);
                histogram!("firefly_consumer_handling_seconds", of(consumer)).record(elapsed);
                gauge!("firefly_consumer_running", of(consumer)).set(1);
            }
            ConsumerEvent::Overtaken { consumer, .. } => {
                counter!("firefly_consumer_overtaken_total", of(consumer)).increment(1);
            }
            ConsumerEvent::Outage { consumer, .. } => {
                let consumer = consumer.unwrap_or(WATCHER);
                counter!("firefly_consumer_outages_total", of(consumer)).increment(1);
                gauge!("firefly_consumer_waiting", of(consumer)).set(1);
            }
            ConsumerEvent::Recovered { consumer } => {
                gauge!("firefly_consumer_waiting", of(consumer.unwrap_or(WATCHER))).set(0);
            }
            ConsumerEvent::Failing { consumer, .. } => {
                counter!("firefly_consumer_failures_total", of(consumer)).increment(1);
            }
            ConsumerEvent::Parked { consumer, .. } => {
                counter!("firefly_consumer_parked_total", of(consumer)).increment(1);
            }
            ConsumerEvent::SlotTaken { consumer, .. } => {
                gauge!("firefly_consumer_slots", of(consumer)).increment(1);
            }
            ConsumerEvent::SlotLost { consumer, .. } => {
                gauge!("firefly_consumer_slots", of(consumer)).decrement(1);
            }
            ConsumerEvent::Stopped { consumer, error } => {
                gauge!("firefly_consumer_running", of(consumer)).set(0);
                gauge!("firefly_consumer_waiting", of(consumer)).set(0);
                if error.is_none() {
                    // A stopped consumer holds no slots.
                    gauge!("firefly_consumer_slots", of(consumer)).set(0);
                }
            }
        }
    }
}

fn of(consumer: &str) -> Vec<Label> {
    vec![Label::new("consumer", consumer.to_owned())]
}
