//! The report: one HTML file about a store, which needs nothing else to be read, neither a network nor scripts.

mod about;
mod calendar;
mod charts;
mod distribution;
mod html;
mod page;
mod parts;
mod plot;
mod survey;

use std::io;

use firefly_eventstore::consumer::{self};
use firefly_eventstore::operate::{CONSUMERS, Operations, diagnose};
use firefly_eventstore::{Error, Result};
use time::OffsetDateTime;

pub(crate) use self::about::About;
use self::about::Condition;
use self::page::page;
use self::survey::Survey;

/// Writes the report. Reads the log once, in memory for every aggregate and type, some 100 bytes each; nothing is written before
/// everything is read.
///
/// `progress` gets the sequence that the reading is at, and the one that it goes up to, often enough to move a bar.
///
/// # Errors
///
/// Those of the store, and of `out`. If the database refuses to list its indexes or settings, the report says so.
pub(crate) fn write(
    store: &dyn Operations,
    about: &About,
    out: &mut dyn io::Write,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<()> {
    let survey = Survey::of(store, about.tenant.as_ref(), progress)?;
    // Consumers handle the events of every tenant, so their errors may be about any tenant.
    let is_whole = about.tenant.is_none();
    let condition = Condition {
        at: OffsetDateTime::now_utc(),
        health: store.health()?,
        snapshots: store.snapshot_statistics(about.tenant.as_ref())?,
        indexes: store.index_usage(),
        diagnoses: diagnose(store).map(|mut diagnoses| {
            diagnoses.retain(|diagnosis| is_whole || diagnosis.subject != CONSUMERS);
            diagnoses
        }),
        consumers: is_whole.then(|| consumer::status(store, None)),
    };
    let page = page(about, &survey, &condition).into_string();
    let written = out.write_all(page.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| Error::io("the report cannot be written", error))
}
