//! The reports. Each is made from the store alone.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};
use std::io::Write;

use firefly_eventstore::prelude::*;
use firefly_eventstore::{SummaryQuery, verify as verify_events};
use time::macros::format_description;

use crate::Result;
use crate::import::{FILE, File, FileChange};
use crate::progress::Progress;

const SHOWN: usize = 10;
const MONTHS: usize = 24;
const BAR: u64 = 50;

/// Events, files, authors and the activity by month; returns how many events there are.
pub(crate) fn overview(out: &mut impl Write, history: &impl EventStore) -> Result<u64> {
    let statistics = history.statistics(None)?;
    let mut authors = HashSet::new();
    let mut months: BTreeMap<(i32, u8), u64> = BTreeMap::new();
    for event in history.read(EventQuery::new()) {
        let event = event?;
        let (time, author) = (event.created_at, event.created_by);
        *months.entry((time.year(), time.month().into())).or_default() += 1;
        authors.extend(author);
    }
    let (events, files) = (statistics.total_events, statistics.total_aggregates);
    writeln!(out, "\n{events} changes of {files} files, authors: {}", authors.len())?;
    for share in &statistics.event_types {
        let (event_type, count) = (share.event_type.as_str(), share.event_count);
        writeln!(out, "  {event_type:<18} {count:>8} {:>7.2} %", share.percentage)?;
    }

    writeln!(out, "\nActivity by month")?;
    let earlier = months.len().saturating_sub(MONTHS);
    if earlier > 0 {
        let changes: u64 = months.values().take(earlier).sum();
        writeln!(out, "  … {changes} changes in {earlier} earlier months")?;
    }
    let most = months.values().skip(earlier).max().copied().unwrap_or(1);
    for ((year, month), changes) in months.iter().skip(earlier) {
        let bar = "█".repeat(usize::try_from((changes * BAR).div_ceil(most))?);
        writeln!(out, "  {year:04}-{month:02} {changes:>8} {bar}")?;
    }
    Ok(events)
}

pub(crate) fn most_changed(out: &mut impl Write, history: &impl EventStore) -> Result<()> {
    let mut most = Vec::new();
    let mut pages = SummaryQuery::new().limit(1_000);
    loop {
        let page = history.aggregate_summaries(&pages)?;
        let Some(last) = page.last() else { break };
        pages = pages.after(last.aggregate_id);
        most.extend(page);
        most.sort_by_key(|summary| Reverse(summary.total_events));
        most.truncate(SHOWN);
    }
    writeln!(out, "\nThe most changed files")?;
    for summary in most {
        let key = AggregateKey::new(FILE, summary.aggregate_id)?;
        let stream = history.load_range(&key, &StreamRange::all().last(1))?;
        let change: FileChange = stream.events().first().ok_or("a file has an event")?.data()?;
        let gone = if change.file.is_none() { " (deleted)" } else { "" };
        writeln!(out, "  {:>6}  {}{gone}", summary.total_events, change.path)?;
    }
    Ok(())
}

/// Prints the tree as of `tip`, or as of the newest commit on the way to it that was made at or before `until`.
pub(crate) fn tree(
    out: &mut impl Write,
    history: &impl EventStore,
    tip: Option<&str>,
    until: Option<OffsetDateTime>,
    list_files: bool,
) -> Result<()> {
    let Some(tree) = Tree::load(history, tip, until)? else {
        writeln!(out, "\nThere was no file yet.")?;
        return Ok(());
    };
    let minute = format_description!("[year]-[month]-[day] [hour]:[minute] UTC");
    let (commit, time) = (&tree.commit[..12], tree.committed.format(minute)?);
    writeln!(out, "\nThe tree as of {commit}, {time}: {} files", tree.files.len())?;
    if list_files {
        for (path, File { mode, blob }) in &tree.files {
            writeln!(out, "{mode} {blob}\t{path}")?;
        }
        return Ok(());
    }
    let mut entries: BTreeMap<&str, u64> = BTreeMap::new();
    for path in tree.files.keys() {
        let end = path.find('/').map_or(path.len(), |slash| slash + 1);
        *entries.entry(&path[..end]).or_default() += 1;
    }
    for (entry, files) in entries.iter().take(2 * SHOWN) {
        if entry.ends_with('/') {
            writeln!(out, "  {entry:<24} {files:>6} files")?;
        } else {
            writeln!(out, "  {entry}")?;
        }
    }
    if entries.len() > 2 * SHOWN {
        writeln!(out, "  … and {} more", entries.len() - 2 * SHOWN)?;
    }
    Ok(())
}

struct Tree {
    commit: String,
    committed: OffsetDateTime,
    files: BTreeMap<String, File>,
}

impl Tree {
    /// Reads the log backwards. The first change that is found of a file is its state as of the commit. Changes by
    /// commits that `tip` does not follow belong to another branch, and are left out.
    fn load(history: &impl EventStore, tip: Option<&str>, until: Option<OffsetDateTime>) -> Result<Option<Self>> {
        let Some(tip) = tip else { return Ok(None) };
        let of_tip = EventQuery::new().correlation_id(tip)?.backwards().limit(1);
        let Some(last) = history.read(of_tip).next().transpose()? else {
            return Ok(None);
        };
        let mut tree: Option<Self> = None;
        let mut known = HashSet::new();
        let (mut current, mut next) = (None, Some(tip.to_owned()));
        for event in history.read(EventQuery::new().until(last.global_sequence).backwards()) {
            let event = event?;
            let commit = event.correlation_id.as_ref().map(|id| id.as_str());
            if commit != current.as_deref() {
                if next.is_none() {
                    break;
                }
                if commit != next.as_deref() {
                    continue;
                }
                current = next;
                next = event.data::<FileChange>()?.follows;
            }
            if tree.is_none() && until.is_some_and(|until| event.created_at > until) {
                continue;
            }
            let tree = tree.get_or_insert_with(|| Self {
                commit: current.clone().unwrap_or_default(),
                committed: event.created_at,
                files: BTreeMap::new(),
            });
            if known.insert(event.aggregate.id()) {
                let change: FileChange = event.data()?;
                tree.files.extend(change.file.map(|file| (change.path, file)));
            }
        }
        Ok(tree)
    }
}

pub(crate) fn verify(out: &mut impl Write, history: &impl EventStore, events: u64) -> Result<()> {
    let mut progress = Progress::new("verify", events);
    let found = verify_events(history, EventQuery::new(), |now| {
        progress.at(now.checked, format_args!(" checksums, {} damaged", now.damaged));
    })?;
    drop(progress);
    for error in &found.damaged {
        writeln!(out, "  {error}")?;
    }
    writeln!(
        out,
        "\n{} checksums verified, {} damaged",
        found.checked,
        found.damaged.len()
    )?;
    if !found.is_intact() {
        out.flush()?;
        return Err("the store is damaged; delete the file and run this again".into());
    }
    Ok(())
}
