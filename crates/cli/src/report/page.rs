//! The page: its sections, in the order in which they are read.

use std::fmt::Write as _;

use firefly_eventstore::consumer::{ConsumerState, ConsumerStatus};
use firefly_eventstore::operate::{CONSUMERS, Diagnosis, Finding, FindingKind, IndexState, Severity};

use super::about::{About, Condition};
use super::calendar::Step;
use super::distribution::{Bin, Distribution};
use super::html::{Escaped, bytes, count, cut, name, number, rate, share, time};
use super::plot::{Anchor, Bar, Mark, Plot, Tick};
use super::survey::{Groups, Grown, Survey, Tally, Timeline};
use crate::age::age_text;

/// How many names a table has before it sums up the rest.
const NAMES: usize = 20;
/// How many findings are listed.
const LISTED: usize = 100;
/// How many indexes, and how many judgements of the database.
const LISTED_OF_DATABASE: usize = 50;
/// How long a text may be that is not the one name a row is about.
const TEXT_CHARS: usize = 200;
const NAME_CHARS: usize = 60;
/// The most labels under an axis.
const LABELS: usize = 40;

/// Builds the page.
pub(super) struct Page {
    html: String,
}

impl Page {
    /// The whole document.
    pub(super) fn of(about: &About, survey: &Survey, condition: &Condition) -> String {
        let mut page = Self { html: String::new() };
        page.head(about, condition);
        page.summary(about, survey, condition);
        page.integrity(about, survey);
        page.over_time(survey);
        page.event_types(survey);
        page.aggregate_types(survey);
        page.stream_lengths(survey);
        page.event_sizes(survey);
        page.tenants(survey);
        page.growth(survey);
        page.snapshots(condition);
        page.consumers(condition);
        page.database(condition);
        page.put("</main>\n</body>\n</html>\n");
        page.html
    }

    fn put(&mut self, html: &str) {
        self.html.push_str(html);
    }

    fn section(&mut self, title: &str, content: impl FnOnce(&mut Self)) {
        let _ = write!(self.html, "<section>\n<h2>{title}</h2>\n");
        content(self);
        self.put("</section>\n");
    }

    fn paragraph(&mut self, html: &str) {
        let _ = writeln!(self.html, "<p>{html}</p>");
    }

    fn note(&mut self, html: &str) {
        let _ = writeln!(self.html, "<p class=\"note\">{html}</p>");
    }

    /// A table in a box of its own, which scrolls where the page is too narrow for it.
    fn table(&mut self, caption: &str, columns: &[Column], rows: impl IntoIterator<Item = Vec<String>>) {
        let _ = write!(
            self.html,
            "<div class=\"scroll\" role=\"region\" aria-label=\"{caption}\" tabindex=\"0\">\n<table>\n\
             <caption>{caption}</caption>\n<thead><tr>"
        );
        for column in columns {
            let _ = write!(self.html, "<th scope=\"col\"{}>{}</th>", column.class, column.title);
        }
        self.put("</tr></thead>\n<tbody>\n");
        for row in rows {
            self.put("<tr>");
            for (cell, (place, column)) in row.iter().zip(columns.iter().enumerate()) {
                let _ = match place {
                    0 => write!(self.html, "<th scope=\"row\"{}>{cell}</th>", column.class),
                    _ => write!(self.html, "<td{}>{cell}</td>", column.class),
                };
            }
            self.put("</tr>\n");
        }
        self.put("</tbody>\n</table>\n</div>\n");
    }

    fn plot(&mut self, plot: &Plot, columns: &[Column], rows: impl IntoIterator<Item = Vec<String>>) {
        let _ = write!(
            self.html,
            "<figure>\n{plot}</figure>\n<details>\n<summary>The same in numbers</summary>\n"
        );
        self.table(&Escaped(&plot.title).to_string(), columns, rows);
        self.put("</details>\n");
    }

    fn head(&mut self, about: &About, condition: &Condition) {
        let title = about.title.as_deref().unwrap_or("Event store report");
        let title = cut(title, TEXT_CHARS);
        let store = cut(&about.store, TEXT_CHARS);
        let part = match &about.tenant {
            Some(tenant) => format!(", only tenant {}", name(tenant.as_str())),
            None => String::new(),
        };
        let _ = write!(
            self.html,
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n\
             <title>{title}</title>\n<link rel=\"icon\" href=\"data:,\">\n<style>\n{style}</style>\n</head>\n<body>\n\
             <header>\n<h1><bdi>{title}</bdi></h1>\n<p class=\"store\"><code>{store}</code>{part}</p>\n\
             <p class=\"note\">Made {at} by firefly-eventstore {version}</p>\n</header>\n<main>\n",
            title = Escaped(&title),
            store = name(&store),
            style = include_str!("style.css"),
            at = time(condition.at),
            version = env!("CARGO_PKG_VERSION"),
        );
    }

    fn summary(&mut self, about: &About, survey: &Survey, condition: &Condition) {
        let total = survey.total;
        let edge = |edge: fn(&Timeline) -> _| {
            survey
                .timeline
                .as_ref()
                .map_or("none".to_owned(), |line| time(edge(line)))
        };
        let tiles = [
            ("Events", number(total.events)),
            ("Aggregates", number(total.aggregates)),
            ("Event types", number(survey.event_types.len() as u64)),
            ("Aggregate types", number(survey.aggregate_types.len() as u64)),
            ("Tenants", number(tenants(survey))),
            ("Snapshots", number(condition.snapshots.snapshots)),
            ("Data of events", bytes(total.bytes)),
            ("High-water mark", number(survey.high_water_mark.get())),
            ("First event", edge(|line| line.first)),
            ("Last event", edge(|line| line.last)),
        ];
        self.section("Summary", |page| {
            page.put("<dl class=\"tiles\">\n");
            for (name, value) in tiles {
                let _ = writeln!(page.html, "<div><dt>{name}</dt><dd>{value}</dd></div>");
            }
            page.put("</dl>\n");
            let state = match &about.audited {
                None => badge("unknown", "?", "Not audited"),
                Some((audited, _)) if audited.is_intact() => badge("good", "✓", "Audited and intact"),
                Some((audited, _)) => badge("danger", "✕", &count(audited.findings, "finding", "findings")),
            };
            page.paragraph(&format!("Integrity: {state}"));
            if about.tenant.is_some() {
                page.note("The high-water mark, and the state of the database, are those of the whole store.");
            }
        });
    }

    fn integrity(&mut self, about: &About, survey: &Survey) {
        self.section("Integrity", |page| {
            let Some((audited, findings)) = &about.audited else {
                page.paragraph(&badge("unknown", "?", "Not audited"));
                page.paragraph(
                    "This report did not check whether stored data was changed or damaged. <code>report --verify</code> does, and so does <code>verify</code>: it checks the checksum and the size of every event, the versions of every aggregate, the seals, the snapshots, and the database’s own structures.",
                );
                return;
            };
            let looked = format!(
                "{} and {} were looked at",
                count(audited.events, "event", "events"),
                count(audited.snapshots, "snapshot", "snapshots")
            );
            if audited.is_intact() {
                page.paragraph(&badge("good", "✓", "Audited and intact"));
                page.paragraph(&format!("{looked}: nothing was changed or damaged."));
            } else {
                page.paragraph(&badge("danger", "✕", &count(audited.findings, "finding", "findings")));
                page.paragraph(&format!("{looked}."));
            }
            if let Some(newest) = &audited.newest_seal {
                page.note(&format!(
                    "Sealed up to {}; {} after it.",
                    number(newest.global_sequence.get()),
                    count(audited.unsealed, "event", "events")
                ));
            }
            if audited.events != survey.total.events {
                page.note(&format!("This report is about {}.", count(survey.total.events, "event", "events")));
            }
            if let Some(remembered) = &audited.remembered {
                page.note(&format!(
                    "Digest of the log up to {}: <code class=\"long\">{}</code>",
                    number(remembered.global_sequence.get()),
                    remembered.digest
                ));
            }
            page.findings(audited.findings, findings);
        });
    }

    fn findings(&mut self, total: u64, findings: &[Finding]) {
        if findings.is_empty() {
            return;
        }
        let columns = [prose("What"), prose("Where")];
        let rows = findings.iter().take(LISTED).map(|finding| {
            let what = format!(
                "<strong>{}</strong><br>{}",
                kind(finding.kind),
                Escaped(&cut(&finding.reason, TEXT_CHARS))
            );
            vec![what, place(finding)]
        });
        self.table("Findings", &columns, rows);
        let listed = findings.len().min(LISTED) as u64;
        if total > listed {
            self.note(&format!("The first {} of {}.", number(listed), number(total)));
        }
    }

    fn over_time(&mut self, survey: &Survey) {
        self.section("Events over time", |page| {
            let Some(line) = &survey.timeline else {
                return page.paragraph("There are no events.");
            };
            let step = line.step;
            let names = || (line.begin..).map(|index| step.name_of(index));
            let columns = [text("From (UTC)"), figure("Events")];
            let rows = names()
                .zip(&line.counts)
                .map(|(name, count)| vec![name, number(*count)]);
            page.plot(&timeline(line, survey.total.events), &columns, rows);
        });
    }

    fn event_types(&mut self, survey: &Survey) {
        self.section("Event types", |page| {
            let columns = [text("Event type"), figure("Events"), figure("Share"), figure("Data")];
            let cells = |tally: &Tally| {
                vec![
                    number(tally.events),
                    share(tally.events, survey.total.events),
                    bytes(tally.bytes),
                ]
            };
            page.groups(
                "Events per event type",
                &columns,
                &survey.event_types,
                |kind| name(kind.as_str()),
                cells,
            );
        });
    }

    fn aggregate_types(&mut self, survey: &Survey) {
        self.section("Aggregate types", |page| {
            let columns = [
                text("Aggregate type"),
                figure("Events"),
                figure("Share"),
                figure("Aggregates"),
                figure("Data"),
            ];
            let cells = |tally: &Tally| counts(tally, survey);
            page.groups(
                "Events per aggregate type",
                &columns,
                &survey.aggregate_types,
                |kind| name(kind.as_str()),
                cells,
            );
        });
    }

    fn tenants(&mut self, survey: &Survey) {
        self.section("Tenants", |page| {
            let columns = [
                text("Tenant"),
                figure("Events"),
                figure("Share"),
                figure("Aggregates"),
                figure("Data"),
            ];
            if survey.total.events > 0 && tenants(survey) == 0 {
                return page.paragraph("No event belongs to a tenant.");
            }
            let named = |tenant: &Option<_>| match tenant {
                Some(tenant) => name(firefly_eventstore::TenantId::as_str(tenant)),
                None => "<em>no tenant</em>".to_owned(),
            };
            page.groups("Events per tenant", &columns, &survey.tenants, named, |tally| {
                counts(tally, survey)
            });
        });
    }

    /// A table with a row for each name, and a bar under each row. The longest bar is as wide as the table.
    fn groups<N>(
        &mut self,
        caption: &str,
        columns: &[Column],
        groups: &Groups<N>,
        named: impl Fn(&N) -> String,
        cells: impl Fn(&Tally) -> Vec<String>,
    ) {
        if groups.len() == 0 {
            return self.paragraph("There are no events.");
        }
        let others = groups
            .iter()
            .skip(NAMES)
            .fold(Tally::default(), |sum, (_, tally)| Tally {
                events: sum.events + tally.events,
                aggregates: sum.aggregates + tally.aggregates,
                bytes: sum.bytes + tally.bytes,
            });
        let most = groups
            .iter()
            .next()
            .map_or(1, |(_, tally)| tally.events)
            .max(others.events);
        let row = |name: String, tally: &Tally| {
            let width = tally.events as f64 / most as f64 * 100.0;
            let bar = format!(
                "<span class=\"share\" aria-hidden=\"true\"><span class=\"bar\" style=\"width:{width:.2}%\"></span></span>"
            );
            [format!("{name}{bar}")]
                .into_iter()
                .chain(cells(tally))
                .collect::<Vec<_>>()
        };
        let mut rows: Vec<_> = groups
            .iter()
            .take(NAMES)
            .map(|(name, tally)| row(named(name), tally))
            .collect();
        if groups.len() > NAMES {
            let name = count((groups.len() - NAMES) as u64, "other", "others");
            rows.push(row(format!("<em>{name}</em>"), &others));
        }
        self.table(caption, columns, rows);
    }

    fn stream_lengths(&mut self, survey: &Survey) {
        self.section("Stream lengths", |page| {
            let plot = Histogram {
                id: "lengths",
                title: "Aggregates by the number of their events",
                counted: "Aggregates",
                along: "Events per aggregate, logarithmic",
                things: ("aggregate", "aggregates"),
                amount: number,
            };
            page.histogram(&plot, &survey.lengths);
        });
    }

    fn event_sizes(&mut self, survey: &Survey) {
        self.section("Event sizes", |page| {
            let plot = Histogram {
                id: "sizes",
                title: "Events by the size of their data",
                counted: "Events",
                along: "Bytes of data per event, logarithmic",
                things: ("event", "events"),
                amount: bytes,
            };
            page.histogram(&plot, &survey.sizes);
        });
    }

    fn histogram(&mut self, histogram: &Histogram, numbers: &Distribution) {
        let bins = numbers.histogram();
        if bins.is_empty() {
            return self.paragraph("There are no events.");
        }
        let columns = [text("Range"), figure(histogram.counted)];
        let rows = bins.iter().map(|bin| vec![histogram.name_of(bin), number(bin.count)]);
        self.plot(&histogram.plot(numbers, &bins), &columns, rows);
    }

    fn growth(&mut self, survey: &Survey) {
        self.section("Growth", |page| {
            let growth = &survey.growth;
            let (Some(lately), Some(line)) = (growth.lately, &survey.timeline) else {
                return page.paragraph("There are no events.");
            };
            page.put("<h3>The fastest-growing aggregates</h3>\n");
            page.grown("The fastest-growing aggregates", &growth.fastest);
            if !growth.slowest.is_empty() {
                page.put("<h3>The slowest-growing aggregates</h3>\n");
                page.grown("The slowest-growing aggregates", &growth.slowest);
            }
            page.note(&format!(
                "Growth is events a day: over its life, from an aggregate’s first event to the last of all, {}; lately, in the \
                 last tenth of the time between the first and the last event of all, since {}. A life shorter than that tenth \
                 counts as a tenth, and less than a day as a day.",
                time(line.last),
                time(lately)
            ));
        });
    }

    fn grown(&mut self, caption: &str, grown: &[Grown]) {
        let columns = [
            text("Aggregate"),
            figure("Events"),
            figure("Over its life"),
            figure("Lately"),
            text("First event"),
        ];
        let rows = grown.iter().map(|grown| {
            let kind = cut(grown.aggregate_type.as_str(), NAME_CHARS);
            vec![
                format!("{}<br><code class=\"id\">{}</code>", name(&kind), grown.id),
                number(grown.events),
                rate(grown.over_its_life),
                rate(grown.lately),
                time(grown.first),
            ]
        });
        self.table(caption, &columns, rows);
    }

    fn snapshots(&mut self, condition: &Condition) {
        self.section("Snapshots", |page| {
            let snapshots = &condition.snapshots;
            if snapshots.snapshots == 0 {
                return page.paragraph("There are no snapshots.");
            }
            let edge = |edge: Option<_>| edge.map_or("none".to_owned(), time);
            let rows = [
                ("Snapshots", number(snapshots.snapshots)),
                ("Aggregates with snapshots", number(snapshots.aggregates)),
                ("Size of their states", bytes(snapshots.total_bytes)),
                ("Oldest", edge(snapshots.oldest)),
                ("Newest", edge(snapshots.newest)),
            ];
            page.facts(&rows);
        });
    }

    fn consumers(&mut self, condition: &Condition) {
        let Some(consumers) = &condition.consumers else { return };
        self.section("Consumers", |page| match consumers {
            Ok(consumers) if consumers.is_empty() => page.paragraph("No consumer has begun."),
            Ok(consumers) => {
                page.each_consumer(consumers);
                if let Ok(diagnoses) = &condition.diagnoses {
                    let of_consumers = diagnoses.iter().filter(|diagnosis| diagnosis.subject == CONSUMERS);
                    page.diagnoses("Health of consumers", of_consumers, NAMES);
                }
            }
            Err(error) => page.not_told("its consumers", error),
        });
    }

    fn each_consumer(&mut self, consumers: &[ConsumerStatus]) {
        let is_well = |consumer: &ConsumerStatus| {
            let state = consumer.state();
            (
                state != ConsumerState::Failed,
                state != ConsumerState::Paused,
                std::cmp::Reverse(consumer.behind),
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
            let error = consumer.failing().map(|failing| {
                let error = cut(&failing.error, TEXT_CHARS);
                format!("<br><bdi>{}</bdi>", Escaped(&error))
            });
            vec![
                format!(
                    "{}{}",
                    name(&cut(&consumer.name, NAME_CHARS)),
                    error.unwrap_or_default()
                ),
                state(consumer.state()),
                number(consumer.position.get()),
                number(consumer.behind),
                consumer.age.map_or("none".to_owned(), age_text),
                number(consumer.parked),
            ]
        });
        self.table("Consumers", &columns, rows);
        if consumers.len() > NAMES {
            self.note(&format!("The first {NAMES} of {}.", number(consumers.len() as u64)));
        }
        self.note(
            "Behind is how many sequences the log goes beyond what is handled; the age is that of the oldest event there. An error is \
             that of the event at which the consumer stands.",
        );
    }

    fn database(&mut self, condition: &Condition) {
        self.section("Database", |page| {
            let health = &condition.health;
            let latency = health.latency.as_secs_f64() * 1_000.0;
            let rows = [
                ("Backend", name(health.backend)),
                ("Version", name(&cut(&health.server_version, TEXT_CHARS))),
                (
                    "Schema",
                    health.schema_version.as_deref().map_or("none".to_owned(), name),
                ),
                ("Accepts appends", if health.writable { "yes" } else { "no" }.to_owned()),
                ("Round trip", format!("{latency:.2}\u{a0}ms")),
            ];
            page.facts(&rows);

            page.put("<h3>Health</h3>\n");
            match &condition.diagnoses {
                Ok(diagnoses) => {
                    let of_database = diagnoses.iter().filter(|diagnosis| diagnosis.subject != CONSUMERS);
                    page.diagnoses("Health", of_database, LISTED_OF_DATABASE);
                }
                Err(error) => page.not_told("its settings", error),
            }

            page.put("<h3>Indexes</h3>\n");
            match &condition.indexes {
                Ok(indexes) if indexes.is_empty() => page.paragraph("There are no indexes."),
                Ok(indexes) => {
                    let columns = [
                        text("Index"),
                        text("Table"),
                        text("State"),
                        figure("Size"),
                        figure("Reads"),
                    ];
                    let unknown = || "unknown".to_owned();
                    let rows = indexes.iter().take(LISTED_OF_DATABASE).map(|index| {
                        let state = match index.state {
                            IndexState::Present => badge("good", "✓", "there"),
                            IndexState::Missing => badge("warning", "!", "missing"),
                            IndexState::Foreign => badge("unknown", "?", "not ours"),
                        };
                        vec![
                            name(&cut(&index.name, NAME_CHARS)),
                            name(&cut(&index.table, NAME_CHARS)),
                            state,
                            index.bytes.map_or_else(unknown, bytes),
                            index.scans.map_or_else(unknown, number),
                        ]
                    });
                    page.table("Indexes", &columns, rows);
                    if indexes.len() > LISTED_OF_DATABASE {
                        page.note(&format!(
                            "The first {LISTED_OF_DATABASE} of {}.",
                            number(indexes.len() as u64)
                        ));
                    }
                }
                Err(error) => page.not_told("its indexes", error),
            }
        });
    }

    fn diagnoses<'a>(&mut self, caption: &str, diagnoses: impl Iterator<Item = &'a Diagnosis>, most: usize) {
        let mut worst_first: Vec<_> = diagnoses.collect();
        if worst_first.is_empty() {
            return self.paragraph("There is nothing to tell.");
        }
        worst_first.sort_by_key(|diagnosis| std::cmp::Reverse(diagnosis.severity));
        let columns = [text("Subject"), text("State"), prose("What was found, and what to do")];
        let rows = worst_first.iter().take(most).map(|diagnosis| {
            let advice = diagnosis.advice.as_deref().map(|advice| {
                let advice = cut(advice, TEXT_CHARS);
                format!("<br>{}", Escaped(&advice))
            });
            vec![
                name(&cut(&diagnosis.subject, NAME_CHARS)),
                severity(diagnosis.severity),
                format!(
                    "{}{}",
                    Escaped(&cut(&diagnosis.found, TEXT_CHARS)),
                    advice.unwrap_or_default()
                ),
            ]
        });
        self.table(caption, &columns, rows);
    }

    fn not_told(&mut self, what: &str, error: &firefly_eventstore::Error) {
        let error = error.to_string();
        let said = Escaped(&error);
        self.paragraph(&format!(
            "{} The database did not tell {what}: {said}",
            badge("warning", "!", "unknown")
        ));
    }

    fn facts(&mut self, facts: &[(&str, String)]) {
        self.put("<dl class=\"facts\">\n");
        for (name, value) in facts {
            let _ = writeln!(self.html, "<div><dt>{name}</dt><dd>{value}</dd></div>");
        }
        self.put("</dl>\n");
    }
}

/// A column of a table.
struct Column {
    title: &'static str,
    class: &'static str,
}

fn text(title: &'static str) -> Column {
    Column { title, class: "" }
}

/// Whole sentences.
fn prose(title: &'static str) -> Column {
    let class = " class=\"prose\"";
    Column { title, class }
}

fn figure(title: &'static str) -> Column {
    let class = " class=\"figure\"";
    Column { title, class }
}

/// A state, told by a word and a sign as well as by a colour.
fn badge(class: &str, sign: &str, word: &str) -> String {
    format!("<span class=\"badge {class}\"><span aria-hidden=\"true\">{sign}</span> {word}</span>")
}

fn severity(severity: Severity) -> String {
    match severity {
        Severity::Good => badge("good", "✓", "good"),
        Severity::Notice => badge("notice", "i", "notice"),
        Severity::Warning => badge("warning", "!", "warning"),
        Severity::Danger => badge("danger", "✕", "danger"),
    }
}

fn state(state: ConsumerState) -> String {
    match state {
        ConsumerState::Running => badge("good", "✓", "running"),
        ConsumerState::Inline => badge("good", "✓", "inline"),
        ConsumerState::Paused => badge("notice", "i", "paused"),
        ConsumerState::Failed => badge("warning", "!", "failed"),
        _ => badge("unknown", "?", "unknown"),
    }
}

fn kind(kind: FindingKind) -> &'static str {
    match kind {
        FindingKind::Checksum => "Checksum",
        FindingKind::Unreadable => "Unreadable",
        FindingKind::Size => "Size",
        FindingKind::Versions => "Versions",
        FindingKind::Owner => "Owner",
        FindingKind::Snapshot => "Snapshot",
        FindingKind::OrphanedSnapshot => "Orphaned snapshot",
        FindingKind::Sequence => "Sequence",
        FindingKind::Storage => "Storage",
        FindingKind::History => "History",
        FindingKind::Seal => "Seal",
        _ => "Other",
    }
}

fn place(finding: &Finding) -> String {
    let mut lines = Vec::new();
    if let Some(sequence) = finding.global_sequence {
        lines.push(format!("global sequence {}", number(sequence.get())));
    }
    if let Some(id) = finding.event_id {
        lines.push(format!("event <code class=\"id\">{id}</code>"));
    }
    if let Some(aggregate) = &finding.aggregate {
        let kind = cut(aggregate.aggregate_type().as_str(), NAME_CHARS);
        lines.push(format!(
            "{}<br><code class=\"id\">{}</code>",
            name(&kind),
            aggregate.id()
        ));
    }
    if let Some(version) = finding.version {
        lines.push(format!("version {}", number(version.get())));
    }
    match lines.is_empty() {
        true => "the store".to_owned(),
        false => lines.join("<br>"),
    }
}

fn counts(tally: &Tally, survey: &Survey) -> Vec<String> {
    vec![
        number(tally.events),
        share(tally.events, survey.total.events),
        number(tally.aggregates),
        bytes(tally.bytes),
    ]
}

fn tenants(survey: &Survey) -> u64 {
    survey.tenants.iter().filter(|(tenant, _)| tenant.is_some()).count() as u64
}

fn timeline(line: &Timeline, events: u64) -> Plot {
    let step = line.step;
    let end = line.begin + line.counts.len() as i64;
    let (from, to) = (step.start(line.begin), step.start(end));
    let at = |time| (time - from) / (to - from);
    let bars = (line.begin..).zip(&line.counts).map(|(index, count)| Bar {
        from: at(step.start(index)),
        to: at(step.start(index + 1)),
        count: *count,
        name: step.name_of(index),
    });
    let labels = |labels: Step| {
        let indexes = labels.index(from)..=labels.index(to);
        let ticks = indexes
            .take(LABELS + 1)
            .map(|index| tick(labels, index, at(labels.start(index)), Anchor::Middle));
        let ticks: Vec<_> = ticks.filter(|tick| (0.0..1.0).contains(&tick.at)).collect();
        (ticks.len() < LABELS).then_some(ticks)
    };
    let ends = match line.counts.len() {
        1 => vec![tick(step, line.begin, 0.5, Anchor::Middle)],
        _ => vec![
            tick(step, line.begin, 0.0, Anchor::Start),
            tick(step, end - 1, 1.0, Anchor::End),
        ],
    };
    let busiest = (line.begin..end).zip(&line.counts).max_by_key(|(_, count)| **count);
    let (busiest, most) = busiest.expect("a timeline has a step");
    Plot {
        id: "time",
        title: format!("Events per {}", step.name),
        description: format!(
            "{}; the most, {}, in {}.",
            count(events, "event", "events"),
            number(*most),
            step.name_of(busiest)
        ),
        counted: "Events",
        along: format!("Time (UTC), a bar per {}", step.name),
        bars: bars.collect(),
        marks: Vec::new(),
        ticks: step.and_coarser().filter_map(labels).collect(),
        ends,
    }
}

fn tick(step: Step, index: i64, at: f64, anchor: Anchor) -> Tick {
    let (label, below) = step.label_of(index);
    Tick {
        at,
        anchor,
        label,
        below,
    }
}

/// A histogram on a logarithmic axis.
struct Histogram {
    id: &'static str,
    title: &'static str,
    counted: &'static str,
    along: &'static str,
    /// What is counted: one, and more.
    things: (&'static str, &'static str),
    /// How a number is written.
    amount: fn(u64) -> String,
}

impl Histogram {
    fn plot(&self, numbers: &Distribution, bins: &[Bin]) -> Plot {
        let low = bins.first().map_or(1, |bin| bin.low) as f64;
        let end = bins.last().map_or(2, |bin| bin.end) as f64;
        let at = |number: u64| (number.max(1) as f64 / low).ln() / (end / low).ln();
        let statistics = [
            ("max", numbers.max),
            ("95\u{a0}% ≤", numbers.percentile(95)),
            ("median", numbers.percentile(50)),
        ];
        let said = statistics.map(|(name, value)| format!("{name} {}", (self.amount)(value)));
        let tick = |number: u64, anchor| Tick {
            at: at(number),
            anchor,
            label: (self.amount)(number),
            below: None,
        };
        let ticks = |digits: &'static [u64]| {
            let powers = (0..20).map(|power| 10_u64.saturating_pow(power));
            let all = powers.flat_map(|power| digits.iter().map(move |digit| power.saturating_mul(*digit)));
            let inside = all.filter(|number| (low..end).contains(&(*number as f64)));
            inside.map(|number| tick(number, Anchor::Middle)).collect::<Vec<_>>()
        };
        let every_second = |ticks: Vec<Tick>| ticks.into_iter().step_by(2).collect();
        Plot {
            id: self.id,
            title: self.title.to_owned(),
            description: format!(
                "{}; {}.",
                count(numbers.count, self.things.0, self.things.1),
                said.join(", ")
            ),
            counted: self.counted,
            along: self.along.to_owned(),
            bars: bins.iter().map(|bin| self.bar(bin, at)).collect(),
            marks: statistics
                .iter()
                .zip(said.clone())
                .map(|((_, value), label)| Mark { at: at(*value), label })
                .collect(),
            ticks: vec![
                ticks(&[1, 2, 3, 4, 5, 6, 8]),
                ticks(&[1, 2, 5]),
                ticks(&[1]),
                every_second(ticks(&[1])),
            ],
            ends: vec![
                tick(low as u64, Anchor::Start),
                Tick {
                    at: 1.0,
                    ..tick(end as u64 - 1, Anchor::End)
                },
            ],
        }
    }

    fn bar(&self, bin: &Bin, at: impl Fn(u64) -> f64) -> Bar {
        Bar {
            from: at(bin.low),
            to: at(bin.end),
            count: bin.count,
            name: self.name_of(bin),
        }
    }

    fn name_of(&self, bin: &Bin) -> String {
        match bin.end - bin.low {
            1 => (self.amount)(bin.low),
            _ => format!("{} – {}", (self.amount)(bin.low), (self.amount)(bin.end - 1)),
        }
    }
}
