//! Archives: moving events out of the log and back, in a transaction during which no other writes events.

use std::collections::HashMap;

use firefly_eventstore_core::backend::{
    self, ArchivedStream, Columns as _, EventKey, Fingerprint, Retirement, kinds, rows,
};
use firefly_eventstore_core::{Error, EventEnvelope, GlobalSequence, Result, TenantId};
use postgres::types::ToSql;
use postgres::{Client, Transaction};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::error::classify;
use crate::import::copy;
use crate::read::{archived_streams, end_of_log};
use crate::row::{Cells, is_null};
use crate::session::Session;
use crate::sql;

/// Removes events from the log and keeps their keys.
///
/// A statement that has waited for the table's lock sees everything that was committed before it got the lock. So an append that comes
/// later sees what is archived here. No append that looked earlier is still active: it would find neither an event nor its key, and use a
/// version again.
pub(crate) fn retire(
    session: &mut Session<'_, Transaction<'_>>,
    events: &[EventEnvelope],
    fingerprints: &HashMap<GlobalSequence, Fingerprint>,
) -> Result<u64> {
    session.client.batch_execute(sql::LOCK_TO_MOVE).map_err(classify)?;
    let newest = end_of_log(session)?;
    let Keys { live, archived } = keys(session, events)?;
    let streams = streams(session, events)?;
    let retired = backend::admit_retirement(events, &live, &archived, &streams, newest)?;
    let retired = Retired::of(&retired, fingerprints);
    let moved = session.select(sql::RETIRE, &retired.values(), |row| Cells(row).count(0))?;
    Ok(moved.into_iter().sum())
}

/// What is kept of retired events, as arrays.
pub(crate) struct Retired<'r> {
    sequences: Vec<i64>,
    fingerprints: Vec<&'r [u8]>,
    ids: Vec<Uuid>,
    types: Vec<&'r str>,
    tenants: Vec<Option<&'r str>>,
    versions: Vec<i64>,
    last_ids: Vec<Uuid>,
    firsts: Vec<i64>,
    lasts: Vec<i64>,
    until: Vec<OffsetDateTime>,
}

impl<'r> Retired<'r> {
    pub(crate) fn of(retired: &'r Retirement<'_>, fingerprints: &'r HashMap<GlobalSequence, Fingerprint>) -> Self {
        let events = || retired.events.iter();
        let streams = || retired.streams.iter();
        let fingerprints = events().map(|event| fingerprints[&event.global_sequence].as_bytes().as_slice());
        let types = streams().map(|stream| stream.aggregate.aggregate_type().as_str());
        let tenants = streams().map(|stream| stream.tenant.as_ref().map(TenantId::as_str));
        Self {
            sequences: events().map(|event| event.global_sequence.as_i64()).collect(),
            fingerprints: fingerprints.collect(),
            ids: streams().map(|stream| stream.aggregate.id()).collect(),
            types: types.collect(),
            tenants: tenants.collect(),
            versions: streams().map(|stream| stream.version.as_i64()).collect(),
            last_ids: streams().map(|stream| stream.last_event_id).collect(),
            firsts: streams().map(|stream| stream.first_sequence.as_i64()).collect(),
            lasts: streams().map(|stream| stream.last_sequence.as_i64()).collect(),
            until: streams().map(|stream| stream.created_until).collect(),
        }
    }

    /// In the order of the statements' parameters.
    pub(crate) fn values(&self) -> [&(dyn ToSql + Sync); 10] {
        [
            &self.sequences,
            &self.fingerprints,
            &self.ids,
            &self.types,
            &self.tenants,
            &self.versions,
            &self.last_ids,
            &self.firsts,
            &self.lasts,
            &self.until,
        ]
    }
}

/// Updates the planner's statistics after the tables have grown. In most stores they are empty for long. A plan from that time reads the
/// whole tables at every append.
pub(crate) fn analyze_if_grown(session: &mut Session<'_, Client>) -> Result<()> {
    let grew = session.query(sql::ARCHIVED_GREW, &[]).map_err(classify)?;
    if !grew.is_empty() {
        session.execute(sql::ANALYZE_ARCHIVED, &[]).map_err(classify)?;
    }
    Ok(())
}

/// Inserts archived events into the log again.
pub(crate) fn attach(
    session: &mut Session<'_, Transaction<'_>>,
    events: &[EventEnvelope],
    fingerprints: &HashMap<GlobalSequence, Fingerprint>,
) -> Result<u64> {
    session.client.batch_execute(sql::LOCK_TO_MOVE).map_err(classify)?;
    // From here on, nobody can begin to detach partitions. If somebody has, their streams would be attached and archived at once.
    if !session.select(sql::LEAVING, &[], |_| Ok(()))?.is_empty() {
        return Err(Error::new(kinds::unavailable(
            "another process began to archive whole partitions: attach again",
        )));
    }
    let Keys { live, archived } = keys(session, events)?;
    let streams = streams(session, events)?;
    let attached = backend::admit_attachment(events, &live, &archived, fingerprints, &streams)?;
    let sequences = attached.events.iter().map(|event| event.global_sequence.as_i64());
    let sequences: Vec<i64> = sequences.collect();
    let (ids, versions): (Vec<Uuid>, Vec<i64>) = attached
        .versions
        .iter()
        .map(|(id, version)| (*id, version.as_i64()))
        .unzip();
    session
        .execute(sql::ATTACH, &[&sequences, &ids, &versions])
        .map_err(classify)?;
    copy(session, attached.events.iter().copied()).map_err(classify)?;
    Ok(attached.events.len() as u64)
}

/// Keys of events by sequence.
struct Keys {
    live: HashMap<GlobalSequence, EventKey>,
    archived: HashMap<GlobalSequence, (EventKey, Fingerprint)>,
}

/// The keys at the sequences of these events, in the log and in the archive.
fn keys(session: &mut Session<'_, Transaction<'_>>, events: &[EventEnvelope]) -> Result<Keys> {
    let sequences: Vec<i64> = events.iter().map(|event| event.global_sequence.as_i64()).collect();
    let rows = session.query(sql::KEYS, &[&sequences]).map_err(classify)?;
    let mut keys = Keys {
        live: HashMap::with_capacity(rows.len()),
        archived: HashMap::new(),
    };
    for row in &rows {
        match is_null(row, 4)? {
            true => {
                let key = rows::event_key(&Cells(row))?;
                keys.live.insert(key.global_sequence, key);
            }
            false => {
                let key = rows::archived_key(&Cells(row))?;
                keys.archived.insert(key.0.global_sequence, key);
            }
        }
    }
    Ok(keys)
}

/// The archived parts of the streams that these events belong to.
fn streams(
    session: &mut Session<'_, Transaction<'_>>,
    events: &[EventEnvelope],
) -> Result<HashMap<Uuid, ArchivedStream>> {
    let streams = archived_streams(session, &backend::aggregate_ids(events))?.into_iter();
    Ok(streams.map(|stream| (stream.aggregate.id(), stream)).collect())
}
