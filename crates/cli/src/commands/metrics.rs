//! `metrics`: figures of a store for a monitoring system.

use std::fmt::Write as _;

use clap::Args;
use firefly_eventstore::consumer::{self, ConsumerState, ConsumerStatus};
use firefly_eventstore::{EventStore as _, Health, SnapshotStatistics, SnapshotStore as _, Statistics};

use crate::console::Console;
use crate::exit::{Exit, Result};
use crate::store::Chosen;

/// Print figures of the store and its consumers, for Prometheus
///
/// In the text format that Prometheus scrapes. Reads the health of the store and the status of each consumer; with --statistics also the
/// whole log. If the store cannot be reached, the command fails and prints nothing.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  firefly-eventstore metrics
  firefly-eventstore metrics > /var/lib/node_exporter/ledger.prom.new &&
    mv /var/lib/node_exporter/ledger.prom.new /var/lib/node_exporter/ledger.prom
  firefly-eventstore metrics --statistics | grep events")]
pub(crate) struct Metrics {
    /// Count events and snapshots too, which reads the whole log
    #[arg(long)]
    statistics: bool,
}

impl Metrics {
    pub(crate) fn run(self, store: &Chosen, console: &mut Console) -> Result<Exit> {
        let store = store.open()?;
        let mut text = Text::default();
        text.health(&store.health()?);
        text.consumers(&consumer::status(&*store, None)?);
        if self.statistics {
            text.statistics(&store.statistics(None)?);
            text.snapshots(&store.snapshot_statistics(None)?);
        }
        console.raw(text.0.as_bytes())?;
        Ok(Exit::Fine)
    }
}

/// The text format of Prometheus. Libraries for it keep metrics that a running program changes; this writes each metric once.
#[derive(Default)]
struct Text(String);

impl Text {
    /// A metric that goes up and down, with a value for each set of labels.
    fn gauge<'l>(&mut self, name: &str, help: &str, values: impl IntoIterator<Item = (Labels<'l>, f64)>) {
        let name = format!("firefly_eventstore_{name}");
        let mut write = |line: std::fmt::Arguments<'_>| writeln!(self.0, "{line}").expect("a string takes everything");
        write(format_args!("# HELP {name} {help}"));
        write(format_args!("# TYPE {name} gauge"));
        for (labels, value) in values {
            let labels: Vec<_> = labels
                .iter()
                .map(|(label, value)| format!("{label}=\"{}\"", escaped(value)))
                .collect();
            match labels.is_empty() {
                true => write(format_args!("{name} {value}")),
                false => write(format_args!("{name}{{{}}} {value}", labels.join(","))),
            }
        }
    }

    fn single(&mut self, name: &str, help: &str, value: f64) {
        self.gauge(name, help, [(Vec::new(), value)]);
    }

    fn health(&mut self, health: &Health) {
        let schema = health.schema_version.as_deref().unwrap_or_default();
        let labels = vec![
            ("backend", health.backend),
            ("server_version", &*health.server_version),
            ("schema_version", schema),
        ];
        self.gauge("info", "What the store is.", [(labels, 1.0)]);
        let (mark, latency) = (health.high_water_mark.get() as f64, health.latency.as_secs_f64());
        self.single(
            "writable",
            "Whether the store accepts appends.",
            f64::from(u8::from(health.writable)),
        );
        self.single("high_water_mark", "The last final position of the log.", mark);
        self.single("latency_seconds", "How long the store took to answer.", latency);
    }

    fn consumers(&mut self, consumers: &[ConsumerStatus]) {
        let each = |value: fn(&ConsumerStatus) -> f64| {
            let of = move |consumer: &'_ ConsumerStatus| value(consumer);
            consumers
                .iter()
                .map(move |consumer| (vec![("consumer", &*consumer.name)], of(consumer)))
                .collect::<Vec<_>>()
        };
        let position = each(|consumer| consumer.position.get() as f64);
        let behind = each(|consumer| consumer.behind as f64);
        let age = each(|consumer| consumer.age.unwrap_or_default().as_secs_f64());
        let parked = each(|consumer| consumer.parked as f64);
        self.gauge(
            "consumer_position",
            "Everything up to this global sequence is handled.",
            position,
        );
        self.gauge(
            "consumer_behind_sequences",
            "How many sequences are not handled yet.",
            behind,
        );
        self.gauge(
            "consumer_behind_seconds",
            "How old the oldest event is that is not handled yet.",
            age,
        );
        self.gauge("consumer_parked_events", "How many events were put aside.", parked);
        let states = consumers.iter().flat_map(|consumer| {
            STATES.map(|state| {
                let labels = vec![("consumer", &*consumer.name), ("state", state.as_str())];
                (labels, f64::from(u8::from(consumer.state() == state)))
            })
        });
        self.gauge("consumer_state", "1 for the state that a consumer is in.", states);
    }

    fn statistics(&mut self, statistics: &Statistics) {
        let events = statistics.details.iter().map(|row| {
            let labels = vec![
                ("aggregate_type", row.aggregate_type.as_str()),
                ("event_type", row.event_type.as_str()),
            ];
            (labels, row.event_count as f64)
        });
        self.gauge("events", "How many events there are.", events);
        let aggregates = statistics.aggregate_types.iter().map(|row| {
            (
                vec![("aggregate_type", row.aggregate_type.as_str())],
                row.aggregate_count as f64,
            )
        });
        self.gauge("aggregates", "How many aggregates there are.", aggregates);
    }

    fn snapshots(&mut self, snapshots: &SnapshotStatistics) {
        self.single("snapshots", "How many snapshots there are.", snapshots.snapshots as f64);
        self.single(
            "snapshot_bytes",
            "How many bytes the states of snapshots have.",
            snapshots.total_bytes as f64,
        );
    }
}

type Labels<'l> = Vec<(&'static str, &'l str)>;

const STATES: [ConsumerState; 4] = [
    ConsumerState::Running,
    ConsumerState::Paused,
    ConsumerState::Failed,
    ConsumerState::Inline,
];

/// The value of a label, escaped for the format.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_cannot_end_its_line() {
        let mut text = Text::default();
        text.gauge("events", "How many.", [(vec![("event_type", "a\"b\\c\nd")], 2.0)]);
        assert_eq!(
            text.0,
            "# HELP firefly_eventstore_events How many.\n# TYPE firefly_eventstore_events gauge\n\
             firefly_eventstore_events{event_type=\"a\\\"b\\\\c\\nd\"} 2\n"
        );
    }
}
