//! The output of `--json`. The names are those of the columns; NULL is null.

use firefly_eventstore::consumer::{ConsumerSlot, ConsumerStatus, Lease, ParkedEvent};
use firefly_eventstore::operate::{
    Archive, Diagnosis, Finding, FindingKind, IndexUsage, LogDigest, Remembered, Seal, Severity,
};
use firefly_eventstore::{
    AggregateSummary, Error, EventData, EventStatistics, GlobalSequence, Migration, Snapshot, Version,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::parse::time_text;

/// A snapshot, with the columns of `snapshots`.
#[derive(Debug, Serialize)]
pub(crate) struct SnapshotRow<'a> {
    snapshot_id: Uuid,
    aggregate_type: &'a str,
    aggregate_id: Uuid,
    version: Version,
    snapshot_type: &'a str,
    snapshot_data: &'a EventData,
    created_at: String,
    tenant_id: Option<&'a str>,
    checksum: Option<String>,
}

impl<'a> From<&'a Snapshot> for SnapshotRow<'a> {
    fn from(snapshot: &'a Snapshot) -> Self {
        Self {
            snapshot_id: snapshot.snapshot_id,
            aggregate_type: snapshot.aggregate.aggregate_type().as_str(),
            aggregate_id: snapshot.aggregate.id(),
            version: snapshot.version,
            snapshot_type: snapshot.snapshot_type.as_str(),
            snapshot_data: &snapshot.state,
            created_at: time_text(snapshot.created_at),
            tenant_id: snapshot.tenant.as_ref().map(|name| name.as_str()),
            checksum: snapshot.checksum.map(|checksum| checksum.to_string()),
        }
    }
}

/// A row of `mv_aggregate_summary`.
#[derive(Debug, Serialize)]
pub(crate) struct SummaryRow<'a> {
    aggregate_id: Uuid,
    aggregate_type: &'a str,
    current_version: Version,
    total_events: u64,
    created_at: String,
    last_modified_at: String,
    total_size_bytes: u64,
    tenant_id: Option<&'a str>,
}

impl<'a> From<&'a AggregateSummary> for SummaryRow<'a> {
    fn from(summary: &'a AggregateSummary) -> Self {
        Self {
            aggregate_id: summary.aggregate_id,
            aggregate_type: summary.aggregate_type.as_str(),
            current_version: summary.current_version,
            total_events: summary.total_events,
            created_at: time_text(summary.created_at),
            last_modified_at: time_text(summary.last_modified_at),
            total_size_bytes: summary.total_size_bytes,
            tenant_id: summary.tenant.as_ref().map(|name| name.as_str()),
        }
    }
}

/// A row of `v_event_statistics`.
#[derive(Debug, Serialize)]
pub(crate) struct StatisticsRow<'a> {
    aggregate_type: &'a str,
    event_type: &'a str,
    event_count: u64,
    avg_size_bytes: f64,
    max_size_bytes: u64,
    first_event_at: String,
    last_event_at: String,
    unique_aggregates: u64,
}

impl<'a> From<&'a EventStatistics> for StatisticsRow<'a> {
    fn from(row: &'a EventStatistics) -> Self {
        Self {
            aggregate_type: row.aggregate_type.as_str(),
            event_type: row.event_type.as_str(),
            event_count: row.event_count,
            avg_size_bytes: row.average_size_bytes,
            max_size_bytes: row.max_size_bytes,
            first_event_at: time_text(row.first_event_at),
            last_event_at: time_text(row.last_event_at),
            unique_aggregates: row.unique_aggregates,
        }
    }
}

/// A step of the schema.
#[derive(Debug, Serialize)]
pub(crate) struct MigrationRow {
    version: &'static str,
    name: &'static str,
}

impl From<&Migration> for MigrationRow {
    fn from(migration: &Migration) -> Self {
        Self {
            version: migration.version,
            name: migration.name,
        }
    }
}

/// A finding of an audit.
#[derive(Debug, Serialize)]
pub(crate) struct FindingRow<'a> {
    finding: &'static str,
    global_sequence: Option<GlobalSequence>,
    event_id: Option<Uuid>,
    aggregate_type: Option<&'a str>,
    aggregate_id: Option<Uuid>,
    version: Option<Version>,
    reason: &'a str,
}

impl<'a> From<&'a Finding> for FindingRow<'a> {
    fn from(finding: &'a Finding) -> Self {
        let aggregate = finding.aggregate.as_ref();
        Self {
            finding: kind_of(finding.kind),
            global_sequence: finding.global_sequence,
            event_id: finding.event_id,
            aggregate_type: aggregate.map(|aggregate| aggregate.aggregate_type().as_str()),
            aggregate_id: aggregate.map(|aggregate| aggregate.id()),
            version: finding.version,
            reason: &finding.reason,
        }
    }
}

/// The kind of a finding, as a word that never changes.
pub(crate) fn kind_of(kind: FindingKind) -> &'static str {
    match kind {
        FindingKind::Checksum => "checksum",
        FindingKind::Unreadable => "unreadable",
        FindingKind::Size => "size",
        FindingKind::Versions => "versions",
        FindingKind::Owner => "owner",
        FindingKind::Snapshot => "snapshot",
        FindingKind::OrphanedSnapshot => "orphaned_snapshot",
        FindingKind::Sequence => "sequence",
        FindingKind::Storage => "storage",
        FindingKind::History => "history",
        FindingKind::Seal => "seal",
        _ => "other",
    }
}

/// The end of a log that `verify` remembers in a file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RememberedRow {
    global_sequence: GlobalSequence,
    events: u64,
    digest: String,
}

impl From<&Remembered> for RememberedRow {
    fn from(remembered: &Remembered) -> Self {
        Self {
            global_sequence: remembered.global_sequence,
            events: remembered.events,
            digest: remembered.digest.to_string(),
        }
    }
}

impl TryFrom<RememberedRow> for Remembered {
    type Error = Error;

    fn try_from(row: RememberedRow) -> Result<Self, Error> {
        let digest = row.digest.parse::<LogDigest>()?;
        Ok(Self::new(row.global_sequence, row.events, digest))
    }
}

/// A seal, with the line to store elsewhere.
#[derive(Debug, Serialize)]
pub(crate) struct SealRow {
    global_sequence: GlobalSequence,
    events: u64,
    digest: String,
    sealed_at: String,
    line: String,
}

impl From<&Seal> for SealRow {
    fn from(seal: &Seal) -> Self {
        Self {
            global_sequence: seal.global_sequence,
            events: seal.events,
            digest: seal.digest.to_string(),
            sealed_at: time_text(seal.sealed_at),
            line: seal.to_string(),
        }
    }
}

/// An archive.
#[derive(Debug, Serialize)]
pub(crate) struct ArchiveRow<'a> {
    first_sequence: GlobalSequence,
    last_sequence: GlobalSequence,
    events: u64,
    digest: String,
    location: &'a str,
    archived_at: String,
    retired: bool,
}

impl<'a> From<&'a Archive> for ArchiveRow<'a> {
    fn from(archive: &'a Archive) -> Self {
        Self {
            first_sequence: archive.first,
            last_sequence: archive.last,
            events: archive.events,
            digest: archive.digest.to_string(),
            location: &archive.location,
            archived_at: time_text(archive.archived_at),
            retired: archive.is_retired,
        }
    }
}

/// An index, and its use.
#[derive(Debug, Serialize)]
pub(crate) struct IndexRow<'a> {
    table: &'a str,
    name: &'a str,
    bytes: Option<u64>,
    scans: Option<u64>,
    state: &'static str,
}

impl<'a> From<&'a IndexUsage> for IndexRow<'a> {
    fn from(index: &'a IndexUsage) -> Self {
        Self {
            table: &index.table,
            name: &index.name,
            bytes: index.bytes,
            scans: index.scans,
            state: index.state.as_str(),
        }
    }
}

/// A finding about the store, its server or a setting.
#[derive(Debug, Serialize)]
pub(crate) struct DiagnosisRow<'a> {
    severity: &'static str,
    subject: &'a str,
    found: &'a str,
    advice: Option<&'a str>,
}

impl<'a> From<&'a Diagnosis> for DiagnosisRow<'a> {
    fn from(diagnosis: &'a Diagnosis) -> Self {
        Self {
            severity: severity_of(diagnosis.severity),
            subject: &diagnosis.subject,
            found: &diagnosis.found,
            advice: diagnosis.advice.as_deref(),
        }
    }
}

pub(crate) fn severity_of(severity: Severity) -> &'static str {
    match severity {
        Severity::Good => "good",
        Severity::Notice => "notice",
        Severity::Warning => "warning",
        Severity::Danger => "danger",
    }
}

/// A consumer, with its rows of `firefly_consumers`.
#[derive(Debug, Serialize)]
pub(crate) struct ConsumerRow<'a> {
    name: &'a str,
    state: &'static str,
    position: GlobalSequence,
    behind: u64,
    behind_seconds: Option<f64>,
    parked: u64,
    holders: Vec<Uuid>,
    failing_sequence: Option<GlobalSequence>,
    attempts: u32,
    last_error: Option<&'a str>,
    slots: Vec<SlotRow<'a>>,
}

#[derive(Debug, Serialize)]
struct SlotRow<'a> {
    slot: u16,
    state: &'static str,
    position: GlobalSequence,
    token: i64,
    holder: Option<Uuid>,
    lease_left_seconds: Option<f64>,
    failing_sequence: Option<GlobalSequence>,
    attempts: u32,
    last_error: Option<&'a str>,
    definition: Option<&'a str>,
    updated_at: String,
}

impl<'a> From<&'a ConsumerStatus> for ConsumerRow<'a> {
    fn from(consumer: &'a ConsumerStatus) -> Self {
        let failing = consumer.failing();
        Self {
            name: &consumer.name,
            state: consumer.state().as_str(),
            position: consumer.position,
            behind: consumer.behind,
            behind_seconds: consumer.age.map(|age| age.as_secs_f64()),
            parked: consumer.parked,
            holders: consumer.holders(),
            failing_sequence: failing.map(|failing| failing.sequence),
            attempts: failing.map_or(0, |failing| failing.attempts),
            last_error: failing.map(|failing| &*failing.error),
            slots: consumer.slots.iter().map(SlotRow::from).collect(),
        }
    }
}

/// The seconds that are left of a lease; negative if it ended.
fn lease_seconds(lease: Lease) -> f64 {
    match lease {
        Lease::Left(left) => left.as_secs_f64(),
        Lease::Ended(since) => -since.as_secs_f64(),
        _ => 0.0,
    }
}

impl<'a> From<&'a ConsumerSlot> for SlotRow<'a> {
    fn from(slot: &'a ConsumerSlot) -> Self {
        let failing = slot.failing.as_ref();
        Self {
            slot: slot.slot,
            state: slot.state.as_str(),
            position: slot.position,
            token: slot.token,
            holder: slot.holder,
            lease_left_seconds: slot.lease.map(lease_seconds),
            failing_sequence: failing.map(|failing| failing.sequence),
            attempts: failing.map_or(0, |failing| failing.attempts),
            last_error: failing.map(|failing| &*failing.error),
            definition: slot.definition.as_deref(),
            updated_at: time_text(slot.updated_at),
        }
    }
}

/// A parked event: a row of `firefly_parked_events`.
#[derive(Debug, Serialize)]
pub(crate) struct ParkedRow<'a> {
    name: &'a str,
    global_sequence: GlobalSequence,
    aggregate_id: Uuid,
    attempts: u32,
    reason: &'a str,
    parked_at: String,
    replay: bool,
}

impl<'a> From<&'a ParkedEvent> for ParkedRow<'a> {
    fn from(parked: &'a ParkedEvent) -> Self {
        Self {
            name: &parked.consumer,
            global_sequence: parked.global_sequence,
            aggregate_id: parked.aggregate_id,
            attempts: parked.attempts,
            reason: &parked.reason,
            parked_at: time_text(parked.parked_at),
            replay: parked.replay,
        }
    }
}
