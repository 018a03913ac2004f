//! The page: its sections, in the order in which they are read.

use std::cmp::Reverse;

use firefly_eventstore::consumer::{ConsumerState, ConsumerStatus};
use firefly_eventstore::operate::{Audited, CONSUMERS, Diagnosis, Finding, IndexState, IndexUsage};
use firefly_eventstore::{AggregateType, TenantId};
use maud::{DOCTYPE, Markup, PreEscaped, Render as _, html};
use time::OffsetDateTime;
use uuid::Uuid;

use super::about::{About, Condition};
use super::charts::{Histogram, timeline};
use super::distribution::Distribution;
use super::html::{Text, bytes, count, cut, name, number, rate, share, time};
use super::parts::{
    Column, badge, facts, figure, first_of, kind, not_told, note, plot, prose, section, severity, state, table, text,
};
use super::survey::{Groups, Grown, Survey, Tally, Timeline};
use crate::age::age_text;

/// How many names a table lists. The rest is summed up.
const NAMES: usize = 20;
/// How many findings are listed.
const LISTED: usize = 100;
/// How many indexes, and how many diagnoses, are listed.
const LISTED_OF_DATABASE: usize = 50;
/// The maximal length of a text other than the row's own name.
const TEXT_CHARS: usize = 200;
const NAME_CHARS: usize = 60;

/// The whole document.
pub(super) fn page(about: &About, survey: &Survey, condition: &Condition) -> Markup {
    let title = about.title.as_deref().unwrap_or("Event store report");
    let title = cut(title, TEXT_CHARS);
    html! {
        (DOCTYPE) "\n"
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy"
                    content="default-src 'none'; style-src 'unsafe-inline'; img-src data:";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (Text(&title)) }
                link rel="icon" href="data:,";
                style { (PreEscaped(include_str!("style.css"))) }
            }
            "\n"
            body {
                header {
                    h1 { bdi { (Text(&title)) } }
                    p.store {
                        code { (name(&cut(&about.store, TEXT_CHARS))) }
                        @if let Some(tenant) = &about.tenant { ", only tenant " (name(tenant.as_str())) }
                    }
                    p.note { "Made " (time(condition.at)) " by firefly-eventstore " (env!("CARGO_PKG_VERSION")) }
                }
                "\n"
                main {
                    (summary(about, survey, condition))
                    (integrity(about, survey))
                    (over_time(survey))
                    (event_types(survey))
                    (aggregate_types(survey))
                    (stream_lengths(survey))
                    (event_sizes(survey))
                    (tenants(survey))
                    (growth(survey))
                    (snapshots(condition))
                    (consumers(condition))
                    (database(condition))
                }
            }
        }
        "\n"
    }
}

fn summary(about: &About, survey: &Survey, condition: &Condition) -> Markup {
    let total = survey.total;
    let edge = |edge: fn(&Timeline) -> _| time_or_none(survey.timeline.as_ref().map(edge));
    let tiles = [
        ("Events", number(total.events).render()),
        ("Aggregates", number(total.aggregates).render()),
        ("Event types", number(survey.event_types.len() as u64).render()),
        ("Aggregate types", number(survey.aggregate_types.len() as u64).render()),
        ("Tenants", number(count_of_tenants(survey)).render()),
        ("Snapshots", number(condition.snapshots.snapshots).render()),
        ("Data of events", bytes(total.bytes).render()),
        ("High-water mark", number(survey.high_water_mark.get()).render()),
        ("First event", edge(|line| line.first)),
        ("Last event", edge(|line| line.last)),
    ];
    section("Summary", || {
        html! {
            (facts("tiles", &tiles))
            p { "Integrity: " (integrity_badge(about)) }
            @if about.tenant.is_some() {
                (note(html! { "The high-water mark, and the state of the database, are those of the whole store." }))
            }
        }
    })
}

fn integrity(about: &About, survey: &Survey) -> Markup {
    section("Integrity", || {
        html! {
            p { (integrity_badge(about)) }
            @match &about.audited {
                Some((audited, findings)) => (audit(audited, findings, survey)),
                None => p {
                    "This report did not check whether stored data was changed or damaged. "
                    code { "report --verify" } " does, and so does " code { "verify" }
                    ": it checks the checksum and the size of every event, the versions of every aggregate, the seals, the \
                     snapshots, and the database’s own structures."
                },
            }
        }
    })
}

fn integrity_badge(about: &About) -> Markup {
    match &about.audited {
        None => badge("unknown", "?", "Not audited"),
        Some((audited, _)) if audited.is_intact() => badge("good", "✓", "Audited and intact"),
        Some((audited, _)) => badge("danger", "✕", &count(audited.findings, "finding", "findings")),
    }
}

fn audit(audited: &Audited, findings: &[Finding], survey: &Survey) -> Markup {
    html! {
        p {
            (count(audited.events, "event", "events")) " and " (count(audited.snapshots, "snapshot", "snapshots"))
            " were looked at"
            @if audited.is_intact() { ": nothing was changed or damaged." } @else { "." }
        }
        @if let Some(newest) = &audited.newest_seal {
            (note(html! {
                "Sealed up to " (number(newest.global_sequence.get())) "; "
                (count(audited.unsealed, "event", "events")) " after it."
            }))
        }
        @if audited.events != survey.total.events {
            (note(html! { "This report is about " (count(survey.total.events, "event", "events")) "." }))
        }
        @if let Some(remembered) = &audited.remembered {
            (note(html! {
                "Digest of the log up to " (number(remembered.global_sequence.get())) ": "
                code.long { (remembered.digest.to_string()) }
            }))
        }
        @if !findings.is_empty() { (list_of_findings(audited.findings, findings)) }
    }
}

fn list_of_findings(total: u64, findings: &[Finding]) -> Markup {
    let columns = [prose("What"), prose("Where")];
    let rows = findings.iter().take(LISTED).map(|finding| {
        let what = html! {
            strong { (kind(finding.kind)) } br;
            (Text(&cut(&finding.reason, TEXT_CHARS)))
        };
        vec![what, place(finding)]
    });
    let listed = findings.len().min(LISTED) as u64;
    html! {
        (table("Findings", &columns, rows))
        @if total > listed { (first_of(&number(listed), &number(total))) }
    }
}

fn place(finding: &Finding) -> Markup {
    let mut lines = Vec::new();
    if let Some(sequence) = finding.global_sequence {
        lines.push(html! { "global sequence " (number(sequence.get())) });
    }
    if let Some(id) = finding.event_id {
        lines.push(html! { "event " (id_code(id)) });
    }
    if let Some(aggregate) = &finding.aggregate {
        lines.push(aggregate_lines(aggregate.aggregate_type(), aggregate.id()));
    }
    if let Some(version) = finding.version {
        lines.push(html! { "version " (number(version.get())) });
    }
    html! {
        @for (place, line) in lines.iter().enumerate() {
            @if place > 0 { br; }
            (line)
        }
        @if lines.is_empty() { "the store" }
    }
}

fn over_time(survey: &Survey) -> Markup {
    section("Events over time", || {
        let Some(line) = &survey.timeline else {
            return no_events();
        };
        let columns = [text("From (UTC)"), figure("Events")];
        let names = (line.begin..).map(|index| line.step.name_of(index));
        let rows = names
            .zip(&line.counts)
            .map(|(name, count)| vec![name.render(), number(*count).render()]);
        plot(&timeline(line, survey.total.events), &columns, rows)
    })
}

fn event_types(survey: &Survey) -> Markup {
    let columns = [text("Event type"), figure("Events"), figure("Share"), figure("Data")];
    let cells = |tally: &Tally| {
        vec![
            number(tally.events).render(),
            share(tally.events, survey.total.events).render(),
            bytes(tally.bytes).render(),
        ]
    };
    section("Event types", || {
        groups(
            "Events per event type",
            &columns,
            &survey.event_types,
            |kind| name(kind.as_str()),
            cells,
        )
    })
}

fn aggregate_types(survey: &Survey) -> Markup {
    section("Aggregate types", || {
        groups(
            "Events per aggregate type",
            &columns_of_groups("Aggregate type"),
            &survey.aggregate_types,
            |kind| name(kind.as_str()),
            |tally| cells_of_group(tally, survey),
        )
    })
}

fn tenants(survey: &Survey) -> Markup {
    let named = |tenant: &Option<TenantId>| match tenant {
        Some(tenant) => name(tenant.as_str()),
        None => html! { em { "no tenant" } },
    };
    section("Tenants", || {
        if survey.total.events > 0 && count_of_tenants(survey) == 0 {
            return html! { p { "No event belongs to a tenant." } };
        }
        groups(
            "Events per tenant",
            &columns_of_groups("Tenant"),
            &survey.tenants,
            named,
            |tally| cells_of_group(tally, survey),
        )
    })
}

fn count_of_tenants(survey: &Survey) -> u64 {
    survey.tenants.iter().filter(|(tenant, _)| tenant.is_some()).count() as u64
}

fn columns_of_groups(of: &'static str) -> [Column; 5] {
    [
        text(of),
        figure("Events"),
        figure("Share"),
        figure("Aggregates"),
        figure("Data"),
    ]
}

fn cells_of_group(tally: &Tally, survey: &Survey) -> Vec<Markup> {
    vec![
        number(tally.events).render(),
        share(tally.events, survey.total.events).render(),
        number(tally.aggregates).render(),
        bytes(tally.bytes).render(),
    ]
}

/// A table with a row for each name, and a bar under each row. The longest bar is as wide as the table.
fn groups<N>(
    caption: &str,
    columns: &[Column],
    groups: &Groups<N>,
    named: impl Fn(&N) -> Markup,
    cells: impl Fn(&Tally) -> Vec<Markup>,
) -> Markup {
    let Some((_, largest)) = groups.iter().next() else {
        return no_events();
    };
    let others = groups
        .iter()
        .skip(NAMES)
        .fold(Tally::default(), |sum, (_, tally)| Tally {
            events: sum.events + tally.events,
            aggregates: sum.aggregates + tally.aggregates,
            bytes: sum.bytes + tally.bytes,
        });
    let most = largest.events.max(others.events);
    let row = |name: Markup, tally: &Tally| {
        let width = tally.events as f64 / most as f64 * 100.0;
        let head = html! {
            (name)
            span.share aria-hidden="true" { span.bar style=(format!("width:{width:.2}%")) {} }
        };
        let mut row = vec![head];
        row.extend(cells(tally));
        row
    };
    let first = groups.iter().take(NAMES);
    let mut rows: Vec<_> = first.map(|(name, tally)| row(named(name), tally)).collect();
    if groups.len() > NAMES {
        let name = count((groups.len() - NAMES) as u64, "other", "others");
        rows.push(row(html! { em { (name) } }, &others));
    }
    table(caption, columns, rows)
}

fn stream_lengths(survey: &Survey) -> Markup {
    let histogram = Histogram {
        id: "lengths",
        title: "Aggregates by the number of their events",
        counted: "Aggregates",
        along: "Events per aggregate, logarithmic",
        things: ("aggregate", "aggregates"),
        amount: number,
    };
    section("Stream lengths", || histogram_of(&histogram, &survey.lengths))
}

fn event_sizes(survey: &Survey) -> Markup {
    let histogram = Histogram {
        id: "sizes",
        title: "Events by the size of their data",
        counted: "Events",
        along: "Bytes of data per event, logarithmic",
        things: ("event", "events"),
        amount: bytes,
    };
    section("Event sizes", || histogram_of(&histogram, &survey.sizes))
}

fn histogram_of(histogram: &Histogram, numbers: &Distribution) -> Markup {
    let bins = numbers.histogram();
    if bins.is_empty() {
        return no_events();
    }
    let columns = [text("Range"), figure(histogram.counted)];
    let rows = bins
        .iter()
        .map(|bin| vec![histogram.name_of(bin).render(), number(bin.count).render()]);
    plot(&histogram.plot(numbers, &bins), &columns, rows)
}

fn growth(survey: &Survey) -> Markup {
    section("Growth", || {
        let growth = &survey.growth;
        let (Some(lately), Some(line)) = (growth.lately, &survey.timeline) else {
            return no_events();
        };
        html! {
            h3 { "The fastest-growing aggregates" }
            (grown("The fastest-growing aggregates", &growth.fastest))
            @if !growth.slowest.is_empty() {
                h3 { "The slowest-growing aggregates" }
                (grown("The slowest-growing aggregates", &growth.slowest))
            }
            (note(html! {
                "Growth is events a day: over its life, from an aggregate’s first event to the last of all, " (time(line.last))
                "; lately, in the last tenth of the time between the first and the last event of all, since " (time(lately))
                ". A life shorter than that tenth counts as a tenth, and less than a day as a day."
            }))
        }
    })
}

fn grown(caption: &str, grown: &[Grown]) -> Markup {
    let columns = [
        text("Aggregate"),
        figure("Events"),
        figure("Over its life"),
        figure("Lately"),
        text("First event"),
    ];
    let rows = grown.iter().map(|grown| {
        vec![
            aggregate_lines(&grown.aggregate_type, grown.id),
            number(grown.events).render(),
            rate(grown.over_its_life).render(),
            rate(grown.lately).render(),
            time(grown.first),
        ]
    });
    table(caption, &columns, rows)
}

fn snapshots(condition: &Condition) -> Markup {
    let snapshots = &condition.snapshots;
    let rows = [
        ("Snapshots", number(snapshots.snapshots).render()),
        ("Aggregates with snapshots", number(snapshots.aggregates).render()),
        ("Size of their states", bytes(snapshots.total_bytes).render()),
        ("Oldest", time_or_none(snapshots.oldest)),
        ("Newest", time_or_none(snapshots.newest)),
    ];
    section("Snapshots", || match snapshots.snapshots {
        0 => html! { p { "There are no snapshots." } },
        _ => facts("facts", &rows),
    })
}

fn consumers(condition: &Condition) -> Markup {
    let Some(consumers) = &condition.consumers else {
        return Markup::default();
    };
    section("Consumers", || match consumers {
        Ok(consumers) if consumers.is_empty() => html! { p { "No consumer has begun." } },
        Ok(consumers) => html! {
            (each_consumer(consumers))
            @if let Ok(diagnoses) = &condition.diagnoses {
                (list_of_diagnoses(
                    "Health of consumers",
                    diagnoses.iter().filter(|diagnosis| diagnosis.subject == CONSUMERS),
                    NAMES,
                ))
            }
        },
        Err(error) => not_told("its consumers", error),
    })
}

fn each_consumer(consumers: &[ConsumerStatus]) -> Markup {
    let is_well = |consumer: &ConsumerStatus| {
        let state = consumer.state();
        (
            state != ConsumerState::Failed,
            state != ConsumerState::Paused,
            Reverse(consumer.behind),
        )
    };
    let mut worst_first: Vec<_> = consumers.iter().collect();
    worst_first.sort_by_key(|consumer| is_well(consumer));
    let columns = [
        prose("Consumer"),
        text("State"),
        figure("Position"),
        figure("Behind"),
        figure("Age"),
        figure("Parked"),
    ];
    let rows = worst_first.iter().take(NAMES).map(|consumer| {
        let named = html! {
            (name(&cut(&consumer.name, NAME_CHARS)))
            @if let Some(failing) = consumer.failing() {
                br; bdi { (Text(&cut(&failing.error, TEXT_CHARS))) }
            }
        };
        vec![
            named,
            state(consumer.state()),
            number(consumer.position.get()).render(),
            number(consumer.behind).render(),
            consumer.age.map_or("none".to_owned(), age_text).render(),
            number(consumer.parked).render(),
        ]
    });
    html! {
        (table("Consumers", &columns, rows))
        @if consumers.len() > NAMES { (first_of(&NAMES.to_string(), &number(consumers.len() as u64))) }
        (note(html! {
            "Behind is how many sequences the log goes beyond what is handled; the age is that of the oldest event there. An \
             error is that of the event at which the consumer stands."
        }))
    }
}

fn database(condition: &Condition) -> Markup {
    let health = &condition.health;
    let latency = health.latency.as_secs_f64() * 1_000.0;
    let rows = [
        ("Backend", name(health.backend)),
        ("Version", name(&cut(&health.server_version, TEXT_CHARS))),
        ("Schema", name(health.schema_version.as_deref().unwrap_or("none"))),
        (
            "Accepts appends",
            if health.writable { "yes" } else { "no" }.to_owned().render(),
        ),
        ("Round trip", format!("{latency:.2}\u{a0}ms").render()),
    ];
    section("Database", || {
        html! {
            (facts("facts", &rows))
            h3 { "Health" }
            @match &condition.diagnoses {
                Ok(diagnoses) => (list_of_diagnoses(
                    "Health",
                    diagnoses.iter().filter(|diagnosis| diagnosis.subject != CONSUMERS),
                    LISTED_OF_DATABASE,
                )),
                Err(error) => (not_told("its settings", error)),
            }
            h3 { "Indexes" }
            @match &condition.indexes {
                Ok(indexes) if indexes.is_empty() => p { "There are no indexes." },
                Ok(indexes) => (list_of_indexes(indexes)),
                Err(error) => (not_told("its indexes", error)),
            }
        }
    })
}

fn list_of_diagnoses<'a>(caption: &str, diagnoses: impl Iterator<Item = &'a Diagnosis>, most: usize) -> Markup {
    let mut worst_first: Vec<_> = diagnoses.collect();
    if worst_first.is_empty() {
        return html! { p { "There are no findings." } };
    }
    worst_first.sort_by_key(|diagnosis| Reverse(diagnosis.severity));
    let columns = [text("Subject"), text("State"), prose("What was found, and what to do")];
    let rows = worst_first.iter().take(most).map(|diagnosis| {
        let told = html! {
            (Text(&cut(&diagnosis.found, TEXT_CHARS)))
            @if let Some(advice) = &diagnosis.advice { br; (Text(&cut(advice, TEXT_CHARS))) }
        };
        vec![
            name(&cut(&diagnosis.subject, NAME_CHARS)),
            severity(diagnosis.severity),
            told,
        ]
    });
    table(caption, &columns, rows)
}

fn list_of_indexes(indexes: &[IndexUsage]) -> Markup {
    let columns = [
        text("Index"),
        text("Table"),
        text("State"),
        figure("Size"),
        figure("Reads"),
    ];
    let known = |amount: Option<u64>, written: fn(u64) -> String| match amount {
        Some(amount) => written(amount).render(),
        None => "unknown".to_owned().render(),
    };
    let rows = indexes.iter().take(LISTED_OF_DATABASE).map(|index| {
        let state = match index.state {
            IndexState::Present => badge("good", "✓", "there"),
            IndexState::Missing => badge("warning", "!", "missing"),
            _ => badge("unknown", "?", "not ours"),
        };
        vec![
            name(&cut(&index.name, NAME_CHARS)),
            name(&cut(&index.table, NAME_CHARS)),
            state,
            known(index.bytes, bytes),
            known(index.scans, number),
        ]
    });
    html! {
        (table("Indexes", &columns, rows))
        @if indexes.len() > LISTED_OF_DATABASE {
            (first_of(&LISTED_OF_DATABASE.to_string(), &number(indexes.len() as u64)))
        }
    }
}

fn no_events() -> Markup {
    html! { p { "There are no events." } }
}

fn time_or_none(at: Option<OffsetDateTime>) -> Markup {
    match at {
        Some(at) => time(at),
        None => html! { "none" },
    }
}

/// The type of an aggregate, and below it its id.
fn aggregate_lines(aggregate_type: &AggregateType, id: Uuid) -> Markup {
    html! {
        (name(&cut(aggregate_type.as_str(), NAME_CHARS))) br;
        (id_code(id))
    }
}

fn id_code(id: Uuid) -> Markup {
    html! { code.id { (id.to_string()) } }
}
