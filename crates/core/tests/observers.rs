//! Observers for `metrics` and `tracing`: the calls that they get, and what they write.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::time::Duration;

use firefly_eventstore_core::consumer::{
    ConsumerError, ConsumerEvent, Failure, MetricsObserver, Observer, OnFailure, Runner, Subscription, TracingObserver,
};
use firefly_eventstore_core::{MemoryEventStore, prelude::*};
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata as About, Recorder, SharedString, Unit};
use serde_json::json;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata as Callsite, Subscriber};

const LONG: Duration = Duration::from_secs(60);

/// Keeps metrics by their names and labels.
#[derive(Clone, Default)]
struct Metrics(Arc<Mutex<BTreeMap<String, f64>>>);

impl Metrics {
    fn value(&self, metric: &str) -> Option<f64> {
        self.0.lock().unwrap().get(metric).copied()
    }

    fn metric(&self, key: &Key) -> Arc<Metric> {
        let labels: Vec<_> = key
            .labels()
            .map(|label| format!("{}={}", label.key(), label.value()))
            .collect();
        Arc::new(Metric {
            all: self.clone(),
            name: format!("{}{{{}}}", key.name(), labels.join(",")),
        })
    }
}

struct Metric {
    all: Metrics,
    name: String,
}

impl Metric {
    fn change(&self, change: impl FnOnce(f64) -> f64) {
        let mut metrics = self.all.0.lock().unwrap();
        let value = metrics.entry(self.name.clone()).or_default();
        *value = change(*value);
    }
}

impl metrics::CounterFn for Metric {
    fn increment(&self, value: u64) {
        self.change(|before| before + value as f64);
    }

    fn absolute(&self, value: u64) {
        self.change(|_| value as f64);
    }
}

impl metrics::GaugeFn for Metric {
    fn increment(&self, value: f64) {
        self.change(|before| before + value);
    }

    fn decrement(&self, value: f64) {
        self.change(|before| before - value);
    }

    fn set(&self, value: f64) {
        self.change(|_| value);
    }
}

impl metrics::HistogramFn for Metric {
    fn record(&self, value: f64) {
        self.change(|before| before + value);
    }
}

impl Recorder for Metrics {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &About<'_>) -> Counter {
        Counter::from_arc(self.metric(key))
    }

    fn register_gauge(&self, key: &Key, _: &About<'_>) -> Gauge {
        Gauge::from_arc(self.metric(key))
    }

    fn register_histogram(&self, key: &Key, _: &About<'_>) -> Histogram {
        Histogram::from_arc(self.metric(key))
    }
}

/// Keeps events as lines: level, target, fields.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Subscriber for Lines {
    fn enabled(&self, _: &Callsite<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        struct Fields(String);
        impl Visit for Fields {
            fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
                self.0 += &format!(" {}={value:?}", field.name());
            }

            fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
                self.0 += &format!(" {}!{value}", field.name());
            }
        }
        let mut fields = Fields(String::new());
        event.record(&mut fields);
        let (level, target) = (*event.metadata().level(), event.metadata().target());
        let level = match level {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            Level::DEBUG => "debug",
            _ => "trace",
        };
        self.0.lock().unwrap().push(format!("{level} {target}{}", fields.0));
    }
}

/// One event of each kind, about a consumer.
fn one_of_each(tell: &mut dyn FnMut(ConsumerEvent<'_>)) {
    let consumer = "mails.v1";
    let position = GlobalSequence::from(7_u32);
    let error = Error::invalid("it is ill");
    let ms = Duration::from_micros;
    tell(ConsumerEvent::Grown { mark: 9_u32.into() });
    tell(ConsumerEvent::Started { consumer, position });
    tell(ConsumerEvent::SlotTaken { consumer, slot: 3 });
    tell(ConsumerEvent::SlotTaken { consumer, slot: 4 });
    tell(ConsumerEvent::SlotLost { consumer, slot: 4 });
    tell(ConsumerEvent::Handled {
        consumer,
        events: 5,
        position,
        elapsed: ms(2_500),
    });
    tell(ConsumerEvent::Progress { consumer, position });
    tell(ConsumerEvent::Overtaken { consumer, position });
    for consumer in [Some(consumer), None] {
        tell(ConsumerEvent::Outage {
            consumer,
            error: &error,
            pause: ms(500),
        });
        tell(ConsumerEvent::Recovered { consumer });
    }
    tell(ConsumerEvent::Failing {
        consumer,
        sequence: 8_u32.into(),
        attempts: 2,
        error: &error,
    });
    tell(ConsumerEvent::Parked {
        consumer,
        sequence: 8_u32.into(),
        aggregate_id: Uuid::nil(),
        reason: "it is ill",
    });
    let error = ConsumerError::Store {
        consumer: consumer.to_owned(),
        error,
    };
    tell(ConsumerEvent::Stopped {
        consumer,
        error: Some(&error),
    });
    tell(ConsumerEvent::Stopped { consumer, error: None });
}

#[test]
fn every_event_is_a_line_for_tracing() {
    let lines = Lines::default();
    tracing::subscriber::with_default(lines.clone(), || {
        one_of_each(&mut |event| TracingObserver.observe(&event));
    });
    let expected = [
        r#"info message=consumer started consumer="mails.v1" position=7"#,
        r#"info message=slot taken consumer="mails.v1" slot=3"#,
        r#"info message=slot taken consumer="mails.v1" slot=4"#,
        r#"info message=slot given up consumer="mails.v1" slot=4"#,
        r#"debug message=events handled consumer="mails.v1" events=5 position=7 elapsed_ms=2.5"#,
        r#"info message=checkpoint moved by another process consumer="mails.v1" position=7"#,
        r#"warn message=waiting for the end of an outage consumer="mails.v1" error!it is ill pause_ms=0.5"#,
        r#"info message=going on consumer="mails.v1""#,
        r#"warn message=waiting for the end of an outage error!it is ill pause_ms=0.5"#,
        r#"info message=going on"#,
        r#"warn message=event failed consumer="mails.v1" global_sequence=8 attempts=2 error!it is ill"#,
        concat!(
            r#"error message=event parked consumer="mails.v1" global_sequence=8 "#,
            r#"aggregate_id=00000000-0000-0000-0000-000000000000 reason="it is ill""#
        ),
        r#"error message=consumer stopped consumer="mails.v1" error!consumer mails.v1: it is ill"#,
        r#"info message=consumer stopped consumer="mails.v1""#,
    ];
    let expected = expected.map(|line| line.replacen(' ', " firefly_eventstore::consumer ", 1));
    assert_eq!(*lines.0.lock().unwrap(), expected);
}

#[test]
fn every_event_is_counted_for_metrics() {
    let metrics = Metrics::default();
    metrics::with_local_recorder(&metrics, || {
        let mut gauges = Vec::new();
        one_of_each(&mut |event| {
            MetricsObserver.observe(&event);
            let gauge = |name: &str| metrics.value(&format!("firefly_consumer_{name}{{consumer=mails.v1}}"));
            gauges.push((gauge("running"), gauge("slots")));
        });
        gauges.dedup();
        let (zero, one, two) = (Some(0.0), Some(1.0), Some(2.0));
        let expected = [
            (None, None),
            (one, None),
            (one, one),
            (one, two),
            (one, one),
            (zero, one),
            (zero, zero),
        ];
        assert_eq!(gauges, expected);
    });
    let found = metrics.0.lock().unwrap().clone();
    let expected = [
        ("firefly_consumer_events_total{consumer=mails.v1}", 5.0),
        ("firefly_consumer_failures_total{consumer=mails.v1}", 1.0),
        ("firefly_consumer_handling_seconds{consumer=mails.v1}", 0.0025),
        ("firefly_consumer_outages_total{consumer=mails.v1}", 1.0),
        ("firefly_consumer_outages_total{consumer=the watcher of the log}", 1.0),
        ("firefly_consumer_overtaken_total{consumer=mails.v1}", 1.0),
        ("firefly_consumer_parked_total{consumer=mails.v1}", 1.0),
        ("firefly_consumer_position{consumer=mails.v1}", 7.0),
        ("firefly_consumer_running{consumer=mails.v1}", 0.0),
        ("firefly_consumer_slots{consumer=mails.v1}", 0.0),
        ("firefly_consumer_waiting{consumer=mails.v1}", 0.0),
        ("firefly_consumer_waiting{consumer=the watcher of the log}", 0.0),
        ("firefly_log_position{}", 9.0),
    ];
    assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value)).into());
}

/// All tests of this process write here, because consumers have threads of their own.
fn global() -> &'static (Metrics, Lines) {
    static GLOBAL: OnceLock<(Metrics, Lines)> = OnceLock::new();
    GLOBAL.get_or_init(|| {
        let (metrics, lines) = (Metrics::default(), Lines::default());
        metrics::set_global_recorder(metrics.clone()).unwrap();
        tracing::subscriber::set_global_default(lines.clone()).unwrap();
        (metrics, lines)
    })
}

#[test]
fn observers_see_a_consumer_that_parks_an_event_and_goes_on() {
    let (metrics, lines) = global();
    let store = MemoryEventStore::new();
    let accounts = [(); 2].map(|()| AggregateKey::new("Account", Uuid::now_v7()).unwrap());
    let append = |account: &AggregateKey, event_type: &str| {
        let version = store.load(account).unwrap().version();
        let events = [NewEvent::new(event_type, &json!({})).unwrap()];
        store
            .append(account, version, &events)
            .unwrap()
            .last_sequence()
            .unwrap()
    };
    append(&accounts[0], "account.opened");
    append(&accounts[1], "account.closed");
    append(&accounts[0], "account.renamed");
    let last = append(&accounts[0], "account.ignored");
    let query = EventQuery::new().event_types(["account.opened", "account.closed", "account.renamed"]);
    let subscription = Subscription::of("global.v1", query.unwrap(), |delivery| {
        match delivery.event.event_type.as_str() {
            "account.closed" => Err(Failure::Park("it is closed".into())),
            _ => Ok(()),
        }
    });
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (sender, marks) = mpsc::channel();
    let see = {
        let seen = Arc::clone(&seen);
        move |event: &ConsumerEvent<'_>| match event {
            ConsumerEvent::Progress { position, .. } => seen.lock().unwrap().push(*position),
            ConsumerEvent::Grown { mark } => sender.send(*mark).unwrap(),
            _ => {}
        }
    };
    let adapters: Vec<Arc<dyn Observer>> = vec![Arc::new(MetricsObserver), Arc::new(TracingObserver)];
    let running = Runner::new(store.clone())
        .subscribe(subscription.on_failure(OnFailure::retry(1).then_park()))
        .observer((adapters, see))
        .start()
        .unwrap();
    running.wait_for("global.v1", last, LONG).unwrap();
    assert_eq!(marks.recv_timeout(LONG), Ok(last));
    assert!(running.stop().is_empty());
    let value = |name: &str| metrics.value(&format!("firefly_consumer_{name}{{consumer=global.v1}}"));
    assert_eq!(value("events_total"), Some(2.0));
    assert_eq!(value("failures_total"), Some(1.0));
    assert_eq!(value("parked_total"), Some(1.0));
    assert_eq!(value("running"), Some(0.0));
    // Events that the consumer does not ask for count as handled, too: there is no lag.
    assert_eq!(value("position"), Some(4.0));
    assert_eq!(metrics.value("firefly_log_position{}"), Some(4.0));
    let seen = seen.lock().unwrap();
    assert_eq!(seen.last(), Some(&last));
    assert!(seen.is_sorted_by(|one, next| one < next), "told without news: {seen:?}");
    let lines = lines.0.lock().unwrap();
    let of_consumer: Vec<_> = lines.iter().filter(|line| line.contains("global.v1")).collect();
    assert!(
        of_consumer
            .iter()
            .any(|line| line.contains("event parked") && line.contains("it is closed"))
    );
    assert!(
        of_consumer.last().unwrap().contains("consumer stopped"),
        "{of_consumer:?}"
    );
}
