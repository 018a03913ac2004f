//! The parts of sections: tables, plots, facts and badges.

use firefly_eventstore::consumer::ConsumerState;
use firefly_eventstore::operate::{FindingKind, Severity};
use maud::{Markup, html};

use super::html::Text;
use super::plot::Plot;

/// A section with its heading.
pub(super) fn section(title: &str, content: impl FnOnce() -> Markup) -> Markup {
    html! {
        section {
            h2 { (title) }
            (content())
        }
        "\n"
    }
}

/// A remark below its subject.
pub(super) fn note(text: Markup) -> Markup {
    html! { p.note { (text) } }
}

/// A column of a table.
pub(super) struct Column {
    title: &'static str,
    class: Option<&'static str>,
}

pub(super) fn text(title: &'static str) -> Column {
    Column { title, class: None }
}

/// Whole sentences.
pub(super) fn prose(title: &'static str) -> Column {
    let class = Some("prose");
    Column { title, class }
}

pub(super) fn figure(title: &'static str) -> Column {
    let class = Some("figure");
    Column { title, class }
}

/// A table in a box of its own, which scrolls where the page is too narrow for it.
pub(super) fn table(caption: &str, columns: &[Column], rows: impl IntoIterator<Item = Vec<Markup>>) -> Markup {
    html! {
        div.scroll role="region" aria-label=(Text(caption)) tabindex="0" {
            table {
                caption { (Text(caption)) }
                thead {
                    tr {
                        @for Column { title, class } in columns { th scope="col" class=[class] { (title) } }
                    }
                }
                tbody {
                    @for row in rows {
                        tr {
                            @for (cell, (place, Column { class, .. })) in row.iter().zip(columns.iter().enumerate()) {
                                @if place == 0 {
                                    th scope="row" class=[class] { (cell) }
                                } @else {
                                    td class=[class] { (cell) }
                                }
                            }
                        }
                        "\n"
                    }
                }
            }
        }
    }
}

/// Says that a table shows only the first rows, and how many there are.
pub(super) fn first_of(listed: &str, total: &str) -> Markup {
    note(html! { "The first " (listed) " of " (total) "." })
}

/// A plot, and its numbers.
pub(super) fn plot(plot: &Plot, columns: &[Column], rows: impl IntoIterator<Item = Vec<Markup>>) -> Markup {
    html! {
        figure { (plot) }
        details {
            summary { "The same in numbers" }
            (table(&plot.title, columns, rows))
        }
    }
}

/// Names with their values.
pub(super) fn facts(class: &str, facts: &[(&str, Markup)]) -> Markup {
    html! {
        dl class=(class) {
            @for (name, value) in facts {
                div { dt { (name) } dd { (value) } }
            }
        }
    }
}

/// A state, shown by a word and a sign as well as by a colour.
pub(super) fn badge(class: &str, sign: &str, word: &str) -> Markup {
    html! {
        span class={ "badge " (class) } {
            span aria-hidden="true" { (sign) }
            " " (word)
        }
    }
}

/// Says what the database refused to show.
pub(super) fn not_told(what: &str, error: &firefly_eventstore::Error) -> Markup {
    html! {
        p {
            (badge("warning", "!", "unknown"))
            " The database did not tell " (what) ": " (Text(&error.to_string()))
        }
    }
}

pub(super) fn severity(severity: Severity) -> Markup {
    match severity {
        Severity::Good => badge("good", "✓", "good"),
        Severity::Notice => badge("notice", "i", "notice"),
        Severity::Warning => badge("warning", "!", "warning"),
        Severity::Danger => badge("danger", "✕", "danger"),
    }
}

pub(super) fn state(state: ConsumerState) -> Markup {
    match state {
        ConsumerState::Running => badge("good", "✓", "running"),
        ConsumerState::Inline => badge("good", "✓", "inline"),
        ConsumerState::Paused => badge("notice", "i", "paused"),
        ConsumerState::Failed => badge("warning", "!", "failed"),
        _ => badge("unknown", "?", "unknown"),
    }
}

pub(super) fn kind(kind: FindingKind) -> &'static str {
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
