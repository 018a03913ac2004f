//! Operations: import, seals, archives.

use std::collections::HashSet;
use std::ops::Bound;
use std::sync::PoisonError;

use uuid::Uuid;

use super::store::{MemoryEventStore, lock, place_of};
use crate::backend::{self, ArchivedStream, EventKey, Fingerprint, Located};
use crate::operate::{Archive, Diagnosis, Finding, IndexUsage, LogDigest, Operations, RestorePoint, Seal, Severity};
use crate::{Error, EventEnvelope, GlobalSequence, Result, Snapshot};

impl Operations for MemoryEventStore {
    fn import_events(&self, events: &[EventEnvelope]) -> Result<()> {
        backend::check_import(events, &self.limits)?;
        let _writing = self.shared.writer.lock()?;
        let (end, heads, found) = self.look(|log| {
            let ids = || events.iter().map(|event| event.aggregate.id());
            let heads = ids().filter_map(|id| Some((id, log.head(id)?))).collect();
            let found: Vec<Located> = events.iter().filter_map(|event| log.locate(event.event_id)).collect();
            (log.mark(), heads, found)
        });
        backend::admit_import(events, end, &heads)?;
        if !found.is_empty() {
            return Err(backend::refuse_import(events, &found));
        }
        let mut log = self.shared.log.write().unwrap_or_else(PoisonError::into_inner);
        events.iter().for_each(|event| log.push(as_stored(event)));
        drop(log);
        self.shared.wake.tell();
        Ok(())
    }

    /// There are no tables: use [`restore`](crate::operate::restore) into another store.
    fn restore_table(&self, _point: RestorePoint) -> Result<u64> {
        Err(Error::invalid(
            "the in-memory store has no tables; restore into another store",
        ))
    }

    fn snapshots_after(&self, after: Option<&Snapshot>, limit: u32) -> Result<Vec<Snapshot>> {
        let from = after.map_or(Bound::Unbounded, |after| Bound::Excluded(place_of(after)));
        let snapshots = self.snapshots()?;
        let after = snapshots.range((from, Bound::Unbounded));
        Ok(after
            .take(limit as usize)
            .map(|(_, snapshot)| snapshot.clone())
            .collect())
    }

    fn insert_seal(&self, seal: &Seal) -> Result<()> {
        lock(&self.shared.seals).entry(seal.global_sequence).or_insert(*seal);
        Ok(())
    }

    fn seals_after(&self, sequence: GlobalSequence, limit: u32) -> Result<Vec<Seal>> {
        let seals = lock(&self.shared.seals);
        let after = seals.range((Bound::Excluded(sequence), Bound::Unbounded));
        Ok(after.take(limit as usize).map(|(_, seal)| *seal).collect())
    }

    fn newest_seals(&self, limit: u32) -> Result<Vec<Seal>> {
        let seals = lock(&self.shared.seals);
        Ok(seals.values().rev().take(limit as usize).copied().collect())
    }

    fn archives(&self) -> Result<Vec<Archive>> {
        self.shared.writer.check_not_held()?;
        Ok(lock(&self.shared.archives).clone())
    }

    fn archived_stream(&self, aggregate_id: Uuid) -> Result<Option<ArchivedStream>> {
        self.read(|log| log.archived_streams.get(&aggregate_id).cloned())
    }

    fn record_archive(&self, archive: &Archive) -> Result<()> {
        let mut archives = lock(&self.shared.archives);
        archives.retain(|other| other.digest != archive.digest);
        archives.push(archive.clone());
        archives.sort_by_key(|archive| archive.first);
        Ok(())
    }

    fn forget_archive(&self, digest: &LogDigest) -> Result<()> {
        lock(&self.shared.archives).retain(|archive| archive.digest != *digest);
        Ok(())
    }

    fn retire_events(&self, events: &[EventEnvelope]) -> Result<u64> {
        let fingerprints = Fingerprint::of_all(events)?;
        let _writing = self.shared.writer.lock()?;
        let mut log = self.shared.log.write().unwrap_or_else(PoisonError::into_inner);
        let archived = log.archived.clone().into_iter().collect();
        let retired = backend::admit_retirement(events, &log.keys(), &archived, &log.archived_streams, log.mark())?;
        let mut gone = HashSet::new();
        for event in &retired.events {
            let key = EventKey::of(event);
            let fingerprint = fingerprints[&key.global_sequence];
            log.archived.insert(key.global_sequence, (key, fingerprint));
            log.archived_ids.insert(key.event_id, key.global_sequence);
            gone.insert(key.global_sequence);
        }
        for stream in retired.streams {
            log.archived_streams.insert(stream.aggregate.id(), stream);
        }
        let mut left = std::mem::take(&mut log.events);
        left.retain(|event| !gone.contains(&event.global_sequence));
        log.replace(left);
        Ok(gone.len() as u64)
    }

    fn attach_events(&self, events: &[EventEnvelope]) -> Result<u64> {
        let fingerprints = Fingerprint::of_all(events)?;
        let _writing = self.shared.writer.lock()?;
        let mut log = self.shared.log.write().unwrap_or_else(PoisonError::into_inner);
        let archived = log.archived.clone().into_iter().collect();
        let streams = &log.archived_streams;
        let attached = backend::admit_attachment(events, &log.keys(), &archived, &fingerprints, streams)?;
        let count = attached.events.len() as u64;
        for event in &attached.events {
            log.archived.remove(&event.global_sequence);
            log.archived_ids.remove(&event.event_id);
        }
        for (id, version) in attached.versions {
            log.cut_archived_stream(id, version);
        }
        let mut all = std::mem::take(&mut log.events);
        all.extend(attached.events.into_iter().map(as_stored));
        all.sort_by_key(|event| event.global_sequence);
        log.replace(all);
        Ok(count)
    }

    fn update_statistics(&self) -> Result<String> {
        Ok("the in-memory store keeps no statistics".to_owned())
    }

    fn vacuum(&self) -> Result<String> {
        Ok("the in-memory store leaves no room unused".to_owned())
    }

    fn index_usage(&self) -> Result<Vec<IndexUsage>> {
        Ok(Vec::new())
    }

    fn check_storage(&self) -> Result<Vec<Finding>> {
        Ok(Vec::new())
    }

    fn diagnose(&self) -> Result<Vec<Diagnosis>> {
        Ok(vec![Diagnosis::bad(
            Severity::Notice,
            "durability",
            "everything is in memory",
            "use a database for what must outlive the process",
        )])
    }
}

/// An imported event, as the store keeps it.
fn as_stored(event: &EventEnvelope) -> EventEnvelope {
    let size_bytes = u32::try_from(event.data.as_str().len()).ok();
    EventEnvelope {
        size_bytes,
        ..event.clone()
    }
}
