//! The mutants: for each promise a store with one bug.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, RwLock};
use std::thread;

use firefly_eventstore_conformance::finds_out;
use firefly_eventstore_core::backend::EventFilter;
use firefly_eventstore_core::operate::{Operations, Seal};
use firefly_eventstore_core::prelude::*;
use firefly_eventstore_core::time::Duration;
use firefly_eventstore_core::{
    AggregateSummary, AsOf, Cursor, DEFAULT_PAGE_SIZE, Direction, EventData, EventTypeShare, Limits, MemoryEventStore,
    Order, Page, SnapshotAt, SnapshotSelection, Statistics, SummaryQuery,
};

use super::consuming::*;
use super::mutant::{Bug, Reading, Work, environment};

/// Tests that some case catches each mutant, and prints which case does.
macro_rules! caught {
    ($($test:ident: $Mutant:ident,)+) => {$(
        #[test]
        fn $test() {
            let caught_by = super::failures(environment::<$Mutant>);
            assert!(!caught_by.is_empty(), "no case catches the store that {}", stringify!($test).replace('_', " "));
            println!("caught by {}: {}", caught_by.len(), caught_by.join(", "));
        }
    )+};
}

caught! {
    drops_the_version_check: DropsTheVersionCheck,
    accepts_a_higher_expected_version: AcceptsAHigherVersion,
    accepts_a_lower_expected_version: AcceptsALowerVersion,
    takes_no_stream_for_any: TakesNoStreamForAny,
    takes_exists_for_any: TakesExistsForAny,
    takes_any_for_no_stream: TakesAnyForNoStream,
    reports_a_wrong_actual_version: ReportsAWrongActualVersion,
    reports_conflicts_at_no_more_than_version_10: ReportsNoMoreThanTen,
    orders_versions_as_text: OrdersVersionsAsText,
    applies_half_a_batch: AppliesHalfABatch,
    is_not_atomic_over_aggregates: IsNotAtomicOverAggregates,
    cuts_batches_at_a_thousand: CutsBatchesAtAThousand,
    refuses_empty_appends: ChecksEmptyAppends,
    takes_the_same_aggregate_twice: TakesTheSameAggregateTwice,
    reports_a_repeated_append_as_a_conflict: RepeatsAreConflicts,
    does_not_mark_a_repeated_append: RepeatsAreNotMarked,
    stores_a_repeated_append_again: StoresRepeatsAgain,
    accepts_known_ids_in_another_order: AcceptsAnotherOrder,
    accepts_a_partial_overlap: AcceptsAPartialOverlap,
    accepts_known_ids_with_another_creator: AcceptsAnotherCreator,
    accepts_known_ids_with_other_metadata: AcceptsOtherMetadata,
    lists_only_one_known_id: ListsOnlyOneKnownId,
    ignores_the_type_of_an_aggregate: IgnoresTheTypeOfAnAggregate,
    reports_another_type_as_a_conflict: ReportsAnotherTypeAsAConflict,
    loads_nothing_of_another_type: LoadsNothingOfAnotherType,
    forgets_the_tenant_on_append: ForgetsTheTenantOnAppend,
    forgets_the_tenant_on_load: ForgetsTheTenantOnLoad,
    forgets_the_tenant_in_the_log: ForgetsTheTenantInTheLog,
    forgets_the_tenant_in_statistics: ForgetsTheTenantInStatistics,
    forgets_the_tenant_in_summaries: ForgetsTheTenantInSummaries,
    forgets_the_tenant_of_snapshots: ForgetsTheTenantOfSnapshots,
    forgets_the_tenant_when_deleting_snapshots: ForgetsTheTenantWhenDeleting,
    cuts_a_name_at_255_bytes: CutsNamesAt255Bytes,
    lowercases_names: LowercasesNames,
    trims_trailing_spaces: TrimsTrailingSpaces,
    lowercases_tenants: LowercasesTenants,
    composes_accents: ComposesAccents,
    stores_a_stale_checksum: StoresAStaleChecksum,
    makes_absent_metadata_empty: MakesAbsentMetadataEmpty,
    makes_empty_metadata_absent: MakesEmptyMetadataAbsent,
    rounds_numbers_through_doubles: RoundsNumbers,
    drops_microseconds: DropsMicroseconds,
    counts_characters_for_bytes: CountsCharactersForBytes,
    loses_the_causation: LosesTheCausation,
    lifts_every_limit: LiftsEveryLimit,
    takes_keys_of_any_length: TakesKeysOfAnyLength,
    never_verifies_on_read: NeverVerifies,
    loads_a_range_without_its_first_version: LoadsARangeWithoutItsFirst,
    forgets_the_version_of_a_part: ForgetsTheVersionOfAPart,
    limits_before_reversing: LimitsBeforeReversing,
    imports_before_the_end_of_the_log: ImportsBeforeTheEnd,
    imports_half_of_what_is_refused: ImportsHalf,
    renumbers_what_it_imports: RenumbersImports,
    sets_the_time_of_what_it_imports: SetsTheTimeOfImports,
    imports_damaged_data: ImportsDamagedData,
    lists_one_snapshot_too_few: ListsTooFewSnapshots,
    covers_no_more_than_the_state_of_a_snapshot: CoversTheStateOnly,
    forgets_what_it_retires: ForgetsWhatItRetires,
    keeps_what_it_retires: KeepsWhatItRetires,
    reads_what_is_left: ReadsWhatIsLeft,
    loads_what_is_left: LoadsWhatIsLeft,
    attaches_as_if_new: AttachesAsIfNew,
    attaches_less: AttachesLess,
    replaces_a_seal: ReplacesASeal,
    lists_only_the_newest_seal: ListsOnlyTheNewestSeal,
    lists_the_oldest_seals_as_the_newest: ListsTheOldestSeals,
    lists_the_seal_before_again: ListsTheSealBefore,
    cuts_the_time_of_a_seal: CutsTheTimeOfSeals,
    is_off_by_one_at_a_version: IsOffByOneAtAVersion,
    is_off_by_one_at_a_time: IsOffByOneAtATime,
    is_off_by_one_at_a_sequence: IsOffByOneAtASequence,
    picks_events_up_to_a_time: PicksEventsUpToATime,
    limits_before_filtering: LimitsBeforeFiltering,
    returns_an_event_twice_if_two_filters_match: ReturnsEventsTwice,
    reads_after_a_sequence_inclusive: ReadsAfterInclusive,
    reads_until_a_sequence_exclusive: ReadsUntilExclusive,
    reads_too_much_backwards: ReadsTooMuchBackwards,
    stops_at_a_hole: StopsAtAHole,
    ignores_ties_in_time_order: IgnoresTies,
    answers_a_time_query_by_sequence: AnswersBySequence,
    excludes_the_end_of_a_time_range: ExcludesTheEndOfTime,
    ignores_the_creator: IgnoresTheCreator,
    ignores_metadata: IgnoresMetadata,
    compares_metadata_as_a_whole: ComparesMetadataAsAWhole,
    takes_no_types_for_all: TakesNoTypesForAll,
    reads_later_pages_beyond_the_mark: ReadsBeyondTheMark,
    keeps_to_an_earlier_mark: KeepsToAnEarlierMark,
    skips_late_commits: SkipsLateCommits,
    lets_the_mark_go_back: LetsTheMarkGoBack,
    marks_the_last_match: MarksTheLastMatch,
    takes_the_mark_for_a_checkpoint: TakesTheMarkForACheckpoint,
    keeps_the_last_match_as_checkpoint: KeepsTheLastMatch,
    finds_nothing_beyond_the_end: FindsNothingBeyondTheEnd,
    forgets_the_bytes_of_a_page: ForgetsTheBytesOfAPage,
    ends_at_a_page_that_bytes_ended: EndsWithTheBytes,
    shows_uncommitted_events: ShowsUncommitted,
    commits_despite_an_error: CommitsDespiteAnError,
    commits_a_doomed_transaction: CommitsADoomedTransaction,
    goes_on_after_a_failed_append: GoesOnAfterAFailedAppend,
    does_not_read_its_own_appends: DoesNotReadItsOwnAppends,
    lets_its_own_thread_read_beside_a_transaction: LetsItsOwnThreadReadBesideATransaction,
    runs_a_transaction_twice: RunsTwice,
    hides_a_newer_snapshot_behind_an_older_one: HidesANewerSnapshot,
    does_not_replace_a_snapshot: DoesNotReplace,
    replaces_a_snapshot_of_another_form: ReplacesAnotherForm,
    lists_one_snapshot_of_each_version: ListsOneOfEachVersion,
    keeps_the_oldest_snapshots: KeepsTheOldest,
    finds_snapshots_before_a_version_only: FindsBeforeOnly,
    lists_the_oldest_snapshot_first: ListsTheOldestFirst,
    looks_a_version_up_after_the_events: LooksTheVersionUpAfterwards,
    finds_snapshots_of_any_form: FindsAnyForm,
    looks_for_a_form_in_the_newest_snapshot_only: LooksAtTheNewestOnly,
    deletes_snapshots_of_any_form: DeletesAnyForm,
    deletes_older_snapshots_of_the_moment_too: DeletesOfTheMomentToo,
    accepts_snapshots_of_the_future: AcceptsSnapshotsOfTheFuture,
    loads_only_what_follows_a_snapshot: LoadsOnlyWhatFollows,
    loads_all_events_beside_a_snapshot: LoadsAllBesideASnapshot,
    loads_from_a_snapshot_of_any_form: LoadsFromAnyForm,
    loads_from_the_snapshot_of_another_tenant: LoadsFromAnothersSnapshot,
    loads_from_a_snapshot_without_verifying: LoadsWithoutVerifying,
    loads_the_events_after_a_snapshot_later: LoadsTheEventsLater,
    counts_shares_of_the_largest: CountsSharesOfTheLargest,
    averages_over_aggregates: AveragesOverAggregates,
    limits_summaries_before_filtering: LimitsSummariesBeforeFiltering,
    summarises_as_of_the_last_refresh: SummarisesAsOfTheLastRefresh,
    claims_without_looking_at_the_lease: ClaimsWithoutLookingAtTheLease,
    does_not_raise_the_token: DoesNotRaiseTheToken,
    takes_over_no_lease: TakesOverNoLease,
    begins_a_consumer_anew: BeginsAConsumerAnew,
    keeps_a_failure_that_is_over: KeepsAFailureThatIsOver,
    counts_members_that_are_gone: CountsMembersThatAreGone,
    renews_the_leases_of_all: RenewsTheLeasesOfAll,
    keeps_one_parked_event_of_an_aggregate: KeepsOneParkedEventOfAnAggregate,
    forgets_the_tenant_of_a_consumer: ForgetsTheTenantOfAConsumer,
    reads_a_slot_before_it_is_locked: ReadsASlotBeforeItIsLocked,
    keeps_checkpoints_despite_an_error: KeepsCheckpointsDespiteAnError,
    finds_consumers_in_any_case: FindsConsumersInAnyCase,
    lists_parked_events_from_the_first: ListsParkedEventsFromTheFirst,
    counts_parked_events_of_all_aggregates: CountsParkedEventsOfAllAggregates,
    wakes_nobody: WakesNobody,
}

macro_rules! found_out {
    ($($Mutant:ident),+ $(,)?) => {
        [$((stringify!($Mutant), finds_out(environment::<$Mutant>))),+]
    };
}

/// Some unrelated mutants, and whether random operations find them.
pub(super) fn found_out_by_the_model() -> impl IntoIterator<Item = (&'static str, bool)> {
    found_out![
        DropsTheVersionCheck,
        ReportsAWrongActualVersion,
        IsNotAtomicOverAggregates,
        AcceptsAPartialOverlap,
        ForgetsTheTenantOnLoad,
        MakesEmptyMetadataAbsent,
        IsOffByOneAtATime,
        LimitsBeforeFiltering,
        IgnoresTies,
        CommitsADoomedTransaction,
        HidesANewerSnapshot,
        ForgetsTheTenantInSummaries,
    ]
}

/// The reference, without a bug, behind the same wrapper.
#[derive(Debug, Default)]
pub(super) struct Sound;

impl Bug for Sound {}

/// The reference, without a bug, with the steps that mutants of reading use.
#[derive(Debug, Default)]
pub(super) struct SoundInSteps {
    /// Locked by reads for all of their steps. An event that moves between two steps would be found by neither.
    moving: RwLock<()>,
}

impl Bug for SoundInSteps {
    fn transact(&self, memory: &MemoryEventStore, work: Work<'_>) -> Result<(), Error> {
        memory.transact(&mut |transaction| {
            let recorded = &mut Recorded::new();
            work(&mut Recording { transaction, recorded })
        })
    }

    fn append_all(&self, memory: &MemoryEventStore, appends: &[Append<'_>]) -> Result<Vec<Appended>, Error> {
        let same = |event: &NewEvent| of_type(event, event.event_type().as_str());
        let events: Vec<Vec<_>> = appends
            .iter()
            .map(|append| append.events.iter().map(same).collect())
            .collect();
        let mut appends = appends.to_vec();
        for (append, events) in appends.iter_mut().zip(&events) {
            append.events = events;
        }
        memory.append_all(&appends)
    }

    fn read_page(&self, memory: &MemoryEventStore, query: &EventQuery, cursor: Option<&Cursor>) -> Result<Page, Error> {
        let _nothing_moves = self.moving.read().unwrap();
        Reading::new(memory, query, cursor)?.bounded(|_| ())
    }

    fn retire_events(&self, memory: &MemoryEventStore, events: &[EventEnvelope]) -> Result<u64, Error> {
        let _moving = self.moving.write().unwrap();
        memory.retire_events(events)
    }

    fn attach_events(&self, memory: &MemoryEventStore, events: &[EventEnvelope]) -> Result<u64, Error> {
        let _moving = self.moving.write().unwrap();
        memory.attach_events(events)
    }
}

/// A mutant that overrides the given methods.
macro_rules! mutant {
    ($Mutant:ident $($method:item)+) => {
        #[derive(Debug, Default)]
        struct $Mutant;

        impl Bug for $Mutant {
            $($method)+
        }
    };
}

/// A mutant that appends with another expected version or owner.
macro_rules! appends_otherwise {
    ($($Mutant:ident: $alter:expr;)+) => {$(
        mutant! { $Mutant
            fn append_all(&self, memory: &MemoryEventStore, appends: &[Append<'_>]) -> Result<Vec<Appended>, Error> {
                let alter: fn(&MemoryEventStore, &mut Append<'_>) = $alter;
                let mut appends = appends.to_vec();
                for append in &mut appends {
                    alter(memory, append);
                }
                memory.append_all(&appends)
            }
        }
    )+};
}

fn actual(memory: &MemoryEventStore, aggregate: &AggregateKey) -> Version {
    memory.version(aggregate).unwrap_or_default()
}

appends_otherwise! {
    DropsTheVersionCheck: |_, append| append.expected = ExpectedVersion::Any;
    AcceptsAHigherVersion: |memory, append| {
        let higher = matches!(append.expected, ExpectedVersion::Exact(at) if at > actual(memory, append.aggregate));
        if higher {
            append.expected = ExpectedVersion::Any;
        }
    };
    AcceptsALowerVersion: |memory, append| {
        let lower = matches!(append.expected, ExpectedVersion::Exact(at) if at < actual(memory, append.aggregate));
        if lower {
            append.expected = ExpectedVersion::Any;
        }
    };
    TakesNoStreamForAny: |_, append| {
        if append.expected == ExpectedVersion::NoStream {
            append.expected = ExpectedVersion::Any;
        }
    };
    TakesExistsForAny: |_, append| {
        if append.expected == ExpectedVersion::Exists {
            append.expected = ExpectedVersion::Any;
        }
    };
    TakesAnyForNoStream: |_, append| {
        if append.expected == ExpectedVersion::Any {
            append.expected = ExpectedVersion::NoStream;
        }
    };
    ForgetsTheTenantOnAppend: |_, append| append.tenant = None;
}

/// A mutant that returns another result for a failed append.
macro_rules! fails_otherwise {
    ($($Mutant:ident: $alter:expr;)+) => {$(
        mutant! { $Mutant
            fn append_all(&self, memory: &MemoryEventStore, appends: &[Append<'_>]) -> Result<Vec<Appended>, Error> {
                type Alter = fn(&MemoryEventStore, &[Append<'_>], Error) -> Result<Vec<Appended>, Error>;
                let alter: Alter = $alter;
                memory.append_all(appends).or_else(|error| alter(memory, appends, error))
            }
        }
    )+};
}

fn conflict(append: &Append<'_>, actual: Version) -> Error {
    Error::new(ErrorKind::Conflict {
        aggregate: append.aggregate.clone(),
        expected: append.expected,
        actual,
    })
}

fn nothing(append: &Append<'_>) -> Appended {
    Appended::new(append.aggregate.clone(), Version::ZERO, Vec::new())
}

fails_otherwise! {
    ReportsAWrongActualVersion: |_, appends, error| match error.kind() {
        ErrorKind::Conflict { actual, .. } => Err(conflict(&appends[0], actual.checked_add(1).unwrap())),
        _ => Err(error),
    };
    ReportsNoMoreThanTen: |_, appends, error| match error.kind() {
        ErrorKind::Conflict { actual, .. } => Err(conflict(&appends[0], (*actual).min(10.into()))),
        _ => Err(error),
    };
    AppliesHalfABatch: |memory, appends, error| {
        if matches!(error.kind(), ErrorKind::Unavailable { .. }) {
            let half = appends[0].events.len().div_ceil(2);
            memory.append(appends[0].aggregate, ExpectedVersion::Any, &appends[0].events[..half])?;
        }
        Err(error)
    };
    AcceptsAnotherOrder: |_, appends, error| match error.kind() {
        ErrorKind::Duplicate { event_ids, .. } if event_ids.len() == appends[0].events.len() => {
            Ok(appends.iter().map(nothing).map(Appended::already_stored).collect())
        }
        _ => Err(error),
    };
    AcceptsAnotherCreator: |_, appends, error| match error.to_string().contains("another creator") {
        true => Ok(appends.iter().map(nothing).map(Appended::already_stored).collect()),
        false => Err(error),
    };
    AcceptsOtherMetadata: |_, appends, error| match error.to_string().contains("other metadata") {
        true => Ok(appends.iter().map(nothing).map(Appended::already_stored).collect()),
        false => Err(error),
    };
    AcceptsAPartialOverlap: |memory, appends, error| match error.kind() {
        ErrorKind::Duplicate { event_ids, .. } => {
            let is_new = |event: &&NewEvent| !event_ids.contains(&event.event_id());
            let new: Vec<_> = appends[0].events.iter().filter(is_new).cloned().collect();
            memory.append(appends[0].aggregate, ExpectedVersion::Any, &new).map(|appended| vec![appended])
        }
        _ => Err(error),
    };
    ListsOnlyOneKnownId: |_, _, error| match error.kind().clone() {
        ErrorKind::Duplicate { aggregate, mut event_ids, reason } => {
            event_ids.truncate(1);
            Err(Error::new(ErrorKind::Duplicate { aggregate, event_ids, reason }))
        }
        _ => Err(error),
    };
    ReportsAnotherTypeAsAConflict: |_, appends, error| match error.kind() {
        ErrorKind::TypeMismatch { .. } => Err(conflict(&appends[0], 1.into())),
        _ => Err(error),
    };
    IgnoresTheTypeOfAnAggregate: |memory, appends, error| match error.kind() {
        ErrorKind::TypeMismatch { actual, .. } => {
            let key = AggregateKey::new(actual, appends[0].aggregate.id())?;
            memory.append(&key, appends[0].expected, appends[0].events).map(|appended| vec![appended])
        }
        _ => Err(error),
    };
    TakesTheSameAggregateTwice: |memory, appends, error| {
        if error.to_string().contains("the aggregate id") {
            return appends.iter().map(|append| memory.append_all(&[*append]).map(|mut one| one.remove(0))).collect();
        }
        Err(error)
    };
}

mutant! { IsNotAtomicOverAggregates
    fn append_all(&self, memory: &MemoryEventStore, appends: &[Append<'_>]) -> Result<Vec<Appended>, Error> {
        appends.iter().map(|append| memory.append_all(&[*append]).map(|mut one| one.remove(0))).collect()
    }
}

mutant! { CutsBatchesAtAThousand
    fn append_all(&self, memory: &MemoryEventStore, appends: &[Append<'_>]) -> Result<Vec<Appended>, Error> {
        let mut appends = appends.to_vec();
        for append in &mut appends {
            append.events = &append.events[..append.events.len().min(1_000)];
        }
        memory.append_all(&appends)
    }
}

mutant! { ChecksEmptyAppends
    fn append_all(&self, memory: &MemoryEventStore, appends: &[Append<'_>]) -> Result<Vec<Appended>, Error> {
        for append in appends {
            let actual = actual(memory, append.aggregate);
            if append.events.is_empty() && !append.expected.admits(actual) {
                return Err(conflict(append, actual));
            }
        }
        memory.append_all(appends)
    }
}

mutant! { RepeatsAreConflicts
    fn append_all(&self, memory: &MemoryEventStore, appends: &[Append<'_>]) -> Result<Vec<Appended>, Error> {
        let appended = memory.append_all(appends)?;
        match appended.iter().position(Appended::is_already_stored) {
            Some(index) => Err(conflict(&appends[index], appended[index].version())),
            None => Ok(appended),
        }
    }
}

mutant! { StoresRepeatsAgain
    fn append_all(&self, memory: &MemoryEventStore, appends: &[Append<'_>]) -> Result<Vec<Appended>, Error> {
        let appended = memory.append_all(appends)?;
        if !appended.iter().all(Appended::is_already_stored) || appended.is_empty() {
            return Ok(appended);
        }
        let renamed = |event: &NewEvent| event.clone().with_id(Uuid::now_v7());
        let again: Vec<_> = appends[0].events.iter().map(renamed).collect();
        let mut append = appends[0];
        append.expected = ExpectedVersion::Any;
        append.events = &again;
        memory.append_all(&[append])
    }
}

mutant! { RepeatsAreNotMarked
    fn append_all(&self, memory: &MemoryEventStore, appends: &[Append<'_>]) -> Result<Vec<Appended>, Error> {
        let unmarked = |appended: Appended| {
            Appended::new(appended.aggregate().clone(), appended.version(), appended.global_sequences().to_vec())
        };
        Ok(memory.append_all(appends)?.into_iter().map(unmarked).collect())
    }
}

/// A mutant that stores other events than the given ones.
macro_rules! stores_others {
    ($($Mutant:ident: $alter:expr;)+) => {$(
        mutant! { $Mutant
            fn append_all(&self, memory: &MemoryEventStore, appends: &[Append<'_>]) -> Result<Vec<Appended>, Error> {
                let alter: fn(&NewEvent) -> NewEvent = $alter;
                let others: Vec<Vec<_>> = appends.iter().map(|append| append.events.iter().map(alter).collect()).collect();
                let mut appends = appends.to_vec();
                for (append, others) in appends.iter_mut().zip(&others) {
                    append.events = others;
                }
                memory.append_all(&appends)
            }
        }
    )+};
}

/// The event with another type.
fn of_type(event: &NewEvent, event_type: &str) -> NewEvent {
    let mut other = NewEvent::from_json(event_type, event.data().as_str())
        .unwrap()
        .with_id(event.event_id());
    if let Some(metadata) = event.details().metadata {
        other = other.metadata_json(metadata.as_str()).unwrap();
    }
    if let Some(name) = event.details().created_by {
        other = other.created_by(name).unwrap();
    }
    if let Some(id) = event.details().correlation_id {
        other = other.correlation_id(id).unwrap();
    }
    if let Some(id) = event.details().causation_id {
        other = other.causation_id(id).unwrap();
    }
    match event.details().created_at {
        Some(time) => other.created_at(time).unwrap(),
        None => other,
    }
}

stores_others! {
    CutsNamesAt255Bytes: |event| {
        let name = event.event_type().as_str();
        let whole = (0..=name.len().min(255)).rev().find(|end| name.is_char_boundary(*end));
        of_type(event, &name[..whole.unwrap_or_default()])
    };
    LowercasesNames: |event| of_type(event, &event.event_type().as_str().to_lowercase());
    TrimsTrailingSpaces: |event| of_type(event, event.event_type().as_str().trim_end_matches(' '));
    ComposesAccents: |event| of_type(event, &event.event_type().as_str().replace("o\u{301}", "\u{f3}"));
}

mutant! { LowercasesTenants
    fn append_all(&self, memory: &MemoryEventStore, appends: &[Append<'_>]) -> Result<Vec<Appended>, Error> {
        let lower = |append: &Append<'_>| append.tenant.map(|name| TenantId::new(name.as_str().to_lowercase()).unwrap());
        let tenants: Vec<_> = appends.iter().map(lower).collect();
        let mut appends = appends.to_vec();
        for (append, tenant) in appends.iter_mut().zip(&tenants) {
            append.tenant = tenant.as_ref();
        }
        memory.append_all(&appends)
    }
}

/// A mutant that damages what it stores.
macro_rules! damages {
    ($($Mutant:ident: $damage:expr;)+) => {$(
        mutant! { $Mutant
            fn append_all(&self, memory: &MemoryEventStore, appends: &[Append<'_>]) -> Result<Vec<Appended>, Error> {
                let damage: fn(&mut EventEnvelope) = $damage;
                let appended = memory.append_all(appends)?;
                for event in appends.iter().flat_map(|append| append.events) {
                    memory.tamper(event.event_id(), damage);
                }
                Ok(appended)
            }
        }
    )+};
}

damages! {
    StoresAStaleChecksum: |event| {
        if event.version > Version::from(1) {
            event.checksum = Some(EventData::new(&serde_json::json!({ "number": 1 })).unwrap().checksum().unwrap());
        }
    };
    MakesAbsentMetadataEmpty: |event| {
        event.metadata.get_or_insert_with(|| Metadata::from_stored("{}"));
    };
    MakesEmptyMetadataAbsent: |event| {
        event.metadata.take_if(|metadata| metadata.as_str() == "{}");
    };
    RoundsNumbers: |event| {
        let mut value: serde_json::Value = event.data.parse().unwrap();
        round(&mut value);
        event.data = EventData::new(&value).unwrap();
    };
    DropsMicroseconds: |event| event.created_at = event.created_at.truncate_to_millisecond();
    CountsCharactersForBytes: |event| {
        event.size_bytes = u32::try_from(event.data.as_str().chars().count()).ok();
    };
    LosesTheCausation: |event| event.causation_id = None;
}

fn round(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Array(values) => values.iter_mut().for_each(round),
        serde_json::Value::Object(members) => members.values_mut().for_each(round),
        serde_json::Value::Number(number) => {
            let rounded = number.as_f64().unwrap_or_default();
            if rounded.to_string() != number.to_string() {
                *value = rounded.into();
            }
        }
        _ => (),
    }
}

mutant! { LiftsEveryLimit
    fn prepare(memory: MemoryEventStore) -> MemoryEventStore {
        memory.with_limits(Limits::TEXT)
    }
}

mutant! { TakesKeysOfAnyLength
    fn prepare(memory: MemoryEventStore) -> MemoryEventStore {
        let mut limits = Limits::PORTABLE;
        limits.max_key_bytes = Limits::TEXT.max_key_bytes;
        memory.with_limits(limits)
    }
}

mutant! { NeverVerifies
    fn prepare(memory: MemoryEventStore) -> MemoryEventStore {
        memory.verify_on_read(false)
    }
}

/// A mutant that loads another range, or returns another result.
macro_rules! loads_otherwise {
    ($($Mutant:ident: $load:expr;)+) => {$(
        mutant! { $Mutant
            fn load_range(
                &self,
                memory: &MemoryEventStore,
                aggregate: &AggregateKey,
                range: &StreamRange,
            ) -> Result<EventStream, Error> {
                type Load = fn(&MemoryEventStore, &AggregateKey, StreamRange) -> Result<EventStream, Error>;
                let load: Load = $load;
                load(memory, aggregate, range.clone())
            }
        }
    )+};
}

fn before(position: u64) -> u64 {
    position.saturating_sub(1)
}

loads_otherwise! {
    OrdersVersionsAsText: |memory, aggregate, range| {
        let stream = memory.load_range(aggregate, &range)?;
        let version = stream.version();
        let mut events = stream.into_events();
        events.sort_by_key(|event| event.version.to_string());
        if range.direction == Direction::Backwards {
            events.reverse();
        }
        Ok(EventStream::new(aggregate.clone(), version, events))
    };
    LoadsNothingOfAnotherType: |memory, aggregate, range| match memory.load_range(aggregate, &range) {
        Err(error) if matches!(error.kind(), ErrorKind::TypeMismatch { .. }) => {
            Ok(EventStream::new(aggregate.clone(), Version::ZERO, Vec::new()))
        }
        result => result,
    };
    ForgetsTheTenantOnLoad: |memory, aggregate, mut range| {
        range.tenant = None;
        memory.load_range(aggregate, &range)
    };
    LoadsARangeWithoutItsFirst: |memory, aggregate, mut range| {
        range.from = range.from.checked_add(u64::from(range.from > Version::from(1))).unwrap_or(range.from);
        memory.load_range(aggregate, &range)
    };
    ForgetsTheVersionOfAPart: |memory, aggregate, range| {
        let events = memory.load_range(aggregate, &range)?.into_events();
        let version = events.iter().map(|event| event.version).max().unwrap_or_default();
        Ok(EventStream::new(aggregate.clone(), version, events))
    };
    LimitsBeforeReversing: |memory, aggregate, mut range| {
        let backwards = range.direction == Direction::Backwards;
        range.direction = Direction::Forwards;
        let stream = memory.load_range(aggregate, &range)?;
        let version = stream.version();
        let mut events = stream.into_events();
        if backwards {
            events.reverse();
        }
        Ok(EventStream::new(aggregate.clone(), version, events))
    };
    IsOffByOneAtAVersion: |memory, aggregate, range| match range.as_of {
        Some(AsOf::Version(at)) => memory.load_range(aggregate, &range.as_of(Version::new(before(at.get()))?)),
        _ => memory.load_range(aggregate, &range),
    };
    IsOffByOneAtATime: |memory, aggregate, range| match range.as_of {
        Some(AsOf::Time(at)) => memory.load_range(aggregate, &range.as_of(at.saturating_sub(Duration::MICROSECOND))),
        _ => memory.load_range(aggregate, &range),
    };
    IsOffByOneAtASequence: |memory, aggregate, range| match range.as_of {
        Some(AsOf::Sequence(at)) => memory.load_range(aggregate, &range.as_of(GlobalSequence::new(before(at.get()))?)),
        _ => memory.load_range(aggregate, &range),
    };
    PicksEventsUpToATime: |memory, aggregate, mut range| {
        let Some(AsOf::Time(at)) = range.as_of else {
            return memory.load_range(aggregate, &range);
        };
        range.as_of = None;
        let mut events = memory.load_range(aggregate, &range)?.into_events();
        events.retain(|event| event.created_at <= at);
        let version = events.iter().map(|event| event.version).max().unwrap_or_default();
        Ok(EventStream::new(aggregate.clone(), version, events))
    };
}

/// A mutant that reads other pages of the log.
macro_rules! reads_otherwise {
    ($($Mutant:ident: $read:expr;)+) => {$(
        mutant! { $Mutant
            fn read_page(
                &self,
                memory: &MemoryEventStore,
                query: &EventQuery,
                cursor: Option<&Cursor>,
            ) -> Result<Page, Error> {
                let read: fn(Reading<'_>) -> Result<Page, Error> = $read;
                read(Reading::new(memory, query, cursor)?)
            }
        }
    )+};
}

reads_otherwise! {
    ForgetsTheTenantInTheLog: |read| read.filtered(|filter| filter.tenant = None);
    IgnoresTheCreator: |read| read.filtered(|filter| filter.created_by = None);
    IgnoresMetadata: |read| read.filtered(|filter| filter.metadata = None);
    TakesNoTypesForAll: |read| read.filtered(|filter| {
        filter.event_types.take_if(|types| types.is_empty());
        filter.aggregate_types.take_if(|types| types.is_empty());
    });
    ExcludesTheEndOfTime: |read| read.filtered(|filter| {
        filter.created_until = filter.created_until.map(|until| until.saturating_sub(Duration::MICROSECOND));
    });
    ComparesMetadataAsAWhole: |read| {
        let wanted = read.query.filter().metadata.clone();
        let window = read.window();
        let mut found = read.matches(&window);
        found.retain(|event| wanted.is_none() || event.metadata == wanted);
        read.page(&window, found)
    };
    LimitsBeforeFiltering: |read| {
        let window = read.window();
        let mut found = read.candidates(&window);
        found.truncate(window.rows as usize);
        found.retain(|event| read.query.filter().matches(event).unwrap());
        read.page(&window, found)
    };
    ReturnsEventsTwice: |read| {
        let filter = read.query.filter();
        let single = |part: fn(&EventFilter, &mut EventFilter)| {
            let mut single = EventFilter::default();
            part(filter, &mut single);
            single
        };
        let by_type = single(|from, to| to.event_types.clone_from(&from.event_types));
        let by_aggregate = single(|from, to| to.aggregate_types.clone_from(&from.aggregate_types));
        let both = filter.event_types.is_some() && filter.aggregate_types.is_some();
        let window = read.window();
        let found = read.matches(&window).into_iter().flat_map(|event| {
            let twice = both && by_type.matches(&event).unwrap() && by_aggregate.matches(&event).unwrap();
            vec![event; 1 + usize::from(twice)]
        });
        read.page(&window, found.collect())
    };
    ReadsAfterInclusive: |read| read.bounded(|window| {
        if read.cursor.is_none() {
            window.after = GlobalSequence::new(before(window.after.get())).unwrap();
        }
    });
    ReadsUntilExclusive: |read| read.bounded(|window| {
        if window.until < read.mark {
            window.until = GlobalSequence::new(before(window.until.get())).unwrap();
        }
    });
    ReadsTooMuchBackwards: |read| read.bounded(|window| {
        if read.query.direction() == Direction::Backwards && read.cursor.is_none() {
            window.until = window.until.checked_add(1).unwrap_or(GlobalSequence::MAX);
        }
    });
    StopsAtAHole: |read| {
        let window = read.window();
        let mut expected = window.after;
        let mut found = read.candidates(&window);
        if read.query.direction() == Direction::Forwards && read.query.order() == Order::Sequence {
            found.retain(|event| {
                let next = expected.checked_add(1) == Some(event.global_sequence);
                expected = if next { event.global_sequence } else { expected };
                next
            });
        }
        found.retain(|event| read.query.filter().matches(event).unwrap());
        read.page(&window, found)
    };
    IgnoresTies: |read| {
        let window = read.window();
        let mut found = read.matches(&window);
        if window.beyond.is_some() || read.query.order() == Order::Time {
            // Orders equal times the wrong way round.
            let backwards = read.query.direction() == Direction::Backwards;
            found.sort_by_key(|event| event.event_id);
            found.reverse();
            found.sort_by_key(|event| event.created_at);
            if backwards {
                found.reverse();
            }
        }
        read.page(&window, found)
    };
    AnswersBySequence: |read| {
        let window = read.window();
        let mut found = read.matches(&window);
        found.sort_by_key(|event| event.global_sequence);
        if read.query.direction() == Direction::Backwards {
            found.reverse();
        }
        read.page(&window, found)
    };
    ReadsBeyondTheMark: |read| {
        let fresh = read.memory.high_water_mark().unwrap();
        read.bounded(|window| {
            if read.cursor.is_some() && window.until == read.mark {
                window.until = fresh;
            }
        })
    };
    TakesTheMarkForACheckpoint: |read| {
        let mut page = read.memory.read_page(read.query, read.cursor)?;
        page.checkpoint = page.high_water_mark;
        Ok(page)
    };
    KeepsTheLastMatch: |read| {
        let mut page = read.memory.read_page(read.query, read.cursor)?;
        page.checkpoint = page.events.last().map_or(GlobalSequence::ZERO, |event| event.global_sequence);
        Ok(page)
    };
    FindsNothingBeyondTheEnd: |read| match read.memory.read_page(read.query, read.cursor) {
        Err(error) if error.is_beyond_end() => Ok(Page::new(read.query, read.cursor, read.mark, Vec::new())),
        page => page,
    };
    ForgetsTheBytesOfAPage: |read| read.memory.read_page(&read.query.clone().page_bytes(NonZeroU64::MAX), read.cursor);
    EndsWithTheBytes: |read| {
        let mut page = read.memory.read_page(read.query, read.cursor)?;
        page.next = page.next.filter(|_| page.events.len() as u64 >= u64::from(read.window().rows));
        Ok(page)
    };
    MarksTheLastMatch: |read| {
        let mut page = read.memory.read_page(read.query, read.cursor)?;
        page.high_water_mark = page.events.last().map_or(GlobalSequence::ZERO, |event| event.global_sequence);
        Ok(page)
    };
}

/// If there is a limit, reads only up to the mark that was last asked for.
#[derive(Debug, Default)]
struct KeepsToAnEarlierMark(AtomicU64);

impl Bug for KeepsToAnEarlierMark {
    fn read_page(&self, memory: &MemoryEventStore, query: &EventQuery, cursor: Option<&Cursor>) -> Result<Page, Error> {
        let known = GlobalSequence::new(self.0.load(Ordering::SeqCst))?;
        let is_limited = query.window(cursor, GlobalSequence::MAX).rows < DEFAULT_PAGE_SIZE.get();
        match is_limited && known > GlobalSequence::ZERO {
            true => memory.read_page(&query.clone().until(known), cursor),
            false => memory.read_page(query, cursor),
        }
    }

    fn high_water_mark(&self, memory: &MemoryEventStore) -> Result<GlobalSequence, Error> {
        let mark = memory.high_water_mark()?;
        self.0.store(mark.get(), Ordering::SeqCst);
        Ok(mark)
    }
}

/// Announces the sequences of a transaction that is still open.
#[derive(Debug, Default)]
struct SkipsLateCommits(AtomicU64);

struct Announcing<'a> {
    transaction: &'a mut dyn EventTransaction,
    open: &'a AtomicU64,
}

impl EventTransaction for Announcing<'_> {
    fn append_all(&mut self, appends: &[Append<'_>]) -> Result<Vec<Appended>, Error> {
        let appended = self.transaction.append_all(appends)?;
        let count: usize = appended.iter().map(|one| one.global_sequences().len()).sum();
        self.open.fetch_add(count as u64, Ordering::SeqCst);
        Ok(appended)
    }

    fn load_range(&mut self, aggregate: &AggregateKey, range: &StreamRange) -> Result<EventStream, Error> {
        self.transaction.load_range(aggregate, range)
    }
}

impl SkipsLateCommits {
    fn mark(&self, proved: GlobalSequence) -> GlobalSequence {
        proved.checked_add(self.0.load(Ordering::SeqCst)).unwrap()
    }
}

impl Bug for SkipsLateCommits {
    fn transact(&self, memory: &MemoryEventStore, work: Work<'_>) -> Result<(), Error> {
        let result = memory.transact(&mut |transaction| {
            work(&mut Announcing {
                transaction,
                open: &self.0,
            })
        });
        self.0.store(0, Ordering::SeqCst);
        result
    }

    fn read_page(&self, memory: &MemoryEventStore, query: &EventQuery, cursor: Option<&Cursor>) -> Result<Page, Error> {
        let mut page = memory.read_page(query, cursor)?;
        page.high_water_mark = self.mark(page.high_water_mark);
        Ok(page)
    }

    fn high_water_mark(&self, memory: &MemoryEventStore) -> Result<GlobalSequence, Error> {
        Ok(self.mark(memory.high_water_mark()?))
    }
}

/// Every other mark is one smaller, as if another reader had proved less.
#[derive(Debug, Default)]
struct LetsTheMarkGoBack(AtomicU64);

impl Bug for LetsTheMarkGoBack {
    fn high_water_mark(&self, memory: &MemoryEventStore) -> Result<GlobalSequence, Error> {
        let less = self.0.fetch_add(1, Ordering::SeqCst) % 2;
        GlobalSequence::new(memory.high_water_mark()?.get().saturating_sub(less))
    }
}

/// What a transaction appended, owned.
type Recorded = Vec<(AggregateKey, ExpectedVersion, Vec<NewEvent>, Option<TenantId>)>;

fn record(recorded: &mut Recorded, appends: &[Append<'_>]) {
    recorded.extend(appends.iter().map(|append| {
        let (aggregate, events) = (append.aggregate.clone(), append.events.to_vec());
        (aggregate, append.expected, events, append.tenant.cloned())
    }));
}

fn replay(memory: &MemoryEventStore, recorded: &Recorded) -> Result<(), Error> {
    for (aggregate, expected, events, tenant) in recorded {
        let mut append = Append::new(aggregate, *expected, events);
        append.tenant = tenant.as_ref();
        memory.append_all(&[append])?;
    }
    Ok(())
}

struct Recording<'a> {
    transaction: &'a mut dyn EventTransaction,
    recorded: &'a mut Recorded,
}

impl EventTransaction for Recording<'_> {
    fn append_all(&mut self, appends: &[Append<'_>]) -> Result<Vec<Appended>, Error> {
        let appended = self.transaction.append_all(appends)?;
        record(self.recorded, appends);
        Ok(appended)
    }

    fn load_range(&mut self, aggregate: &AggregateKey, range: &StreamRange) -> Result<EventStream, Error> {
        self.transaction.load_range(aggregate, range)
    }
}

mutant! { CommitsADoomedTransaction
    fn transact(&self, memory: &MemoryEventStore, work: Work<'_>) -> Result<(), Error> {
        let mut recorded = Recorded::new();
        let mut succeeded = false;
        let result = memory.transact(&mut |transaction| {
            let result = work(&mut Recording { transaction, recorded: &mut recorded });
            succeeded = result.is_ok();
            result
        });
        match result {
            Err(_) if succeeded => replay(memory, &recorded),
            result => result,
        }
    }
}

mutant! { CommitsDespiteAnError
    fn transact(&self, memory: &MemoryEventStore, work: Work<'_>) -> Result<(), Error> {
        let mut result = Ok(());
        memory.transact(&mut |transaction| {
            result = work(transaction);
            Ok(())
        })?;
        result
    }
}

/// Not a transaction: every append is stored at once.
struct AtOnce<'a>(&'a MemoryEventStore);

impl EventTransaction for AtOnce<'_> {
    fn append_all(&mut self, appends: &[Append<'_>]) -> Result<Vec<Appended>, Error> {
        self.0.append_all(appends)
    }

    fn load_range(&mut self, aggregate: &AggregateKey, range: &StreamRange) -> Result<EventStream, Error> {
        self.0.load_range(aggregate, range)
    }
}

mutant! { ShowsUncommitted
    fn transact(&self, memory: &MemoryEventStore, work: Work<'_>) -> Result<(), Error> {
        work(&mut AtOnce(memory))
    }
}

/// Reports success for everything after the failed append; the rest works.
struct GoesOn<'a> {
    transaction: &'a mut dyn EventTransaction,
    failed: bool,
}

impl EventTransaction for GoesOn<'_> {
    fn append_all(&mut self, appends: &[Append<'_>]) -> Result<Vec<Appended>, Error> {
        if self.failed {
            return Ok(appends.iter().map(nothing).collect());
        }
        let result = self.transaction.append_all(appends);
        self.failed = result.is_err();
        result
    }

    fn load_range(&mut self, aggregate: &AggregateKey, range: &StreamRange) -> Result<EventStream, Error> {
        self.transaction.load_range(aggregate, range)
    }
}

mutant! { GoesOnAfterAFailedAppend
    fn transact(&self, memory: &MemoryEventStore, work: Work<'_>) -> Result<(), Error> {
        memory.transact(&mut |transaction| work(&mut GoesOn { transaction, failed: false }))
    }
}

struct Blind<'a> {
    transaction: &'a mut dyn EventTransaction,
    memory: &'a MemoryEventStore,
}

/// Runs `work` in another thread and waits for it.
fn in_another_thread<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    thread::scope(|scope| scope.spawn(work).join()).unwrap_or_else(|panic| resume_unwind(panic))
}

impl EventTransaction for Blind<'_> {
    fn append_all(&mut self, appends: &[Append<'_>]) -> Result<Vec<Appended>, Error> {
        self.transaction.append_all(appends)
    }

    fn load_range(&mut self, aggregate: &AggregateKey, range: &StreamRange) -> Result<EventStream, Error> {
        in_another_thread(|| self.memory.load_range(aggregate, range))
    }
}

mutant! { DoesNotReadItsOwnAppends
    fn transact(&self, memory: &MemoryEventStore, work: Work<'_>) -> Result<(), Error> {
        memory.transact(&mut |transaction| work(&mut Blind { transaction, memory }))
    }
}

mutant! { LetsItsOwnThreadReadBesideATransaction
    fn load_range(
        &self,
        memory: &MemoryEventStore,
        aggregate: &AggregateKey,
        range: &StreamRange,
    ) -> Result<EventStream, Error> {
        in_another_thread(|| memory.load_range(aggregate, range))
    }
}

mutant! { RunsTwice
    fn transact(&self, memory: &MemoryEventStore, work: Work<'_>) -> Result<(), Error> {
        memory.transact(&mut |transaction| {
            // As after a lost connection, before the commit.
            let first = work(transaction);
            work(transaction).or(first)
        })
    }
}

mutant! { ForgetsTheTenantInStatistics
    fn statistics(&self, memory: &MemoryEventStore, _: Option<&TenantId>) -> Result<Statistics, Error> {
        memory.statistics(None)
    }
}

mutant! { CountsSharesOfTheLargest
    fn statistics(&self, memory: &MemoryEventStore, tenant: Option<&TenantId>) -> Result<Statistics, Error> {
        let mut statistics = memory.statistics(tenant)?;
        let largest = statistics.event_types.first().map_or(1, |share| share.event_count);
        for share in &mut statistics.event_types {
            *share = EventTypeShare::new(share.event_type.clone(), share.event_count, largest);
        }
        Ok(statistics)
    }
}

mutant! { AveragesOverAggregates
    fn statistics(&self, memory: &MemoryEventStore, tenant: Option<&TenantId>) -> Result<Statistics, Error> {
        let mut statistics = memory.statistics(tenant)?;
        for activity in &mut statistics.aggregate_types {
            activity.average_version = activity.max_version.get() as f64 / activity.aggregate_count as f64;
        }
        Ok(statistics)
    }
}

mutant! { ForgetsTheTenantInSummaries
    fn aggregate_summaries(
        &self,
        memory: &MemoryEventStore,
        query: &SummaryQuery,
    ) -> Result<Vec<AggregateSummary>, Error> {
        let mut query = query.clone();
        query.tenant = None;
        memory.aggregate_summaries(&query)
    }
}

mutant! { LimitsSummariesBeforeFiltering
    fn aggregate_summaries(
        &self,
        memory: &MemoryEventStore,
        query: &SummaryQuery,
    ) -> Result<Vec<AggregateSummary>, Error> {
        let mut all = query.clone();
        all.aggregate_type = None;
        let mut summaries = memory.aggregate_summaries(&all)?;
        summaries.retain(|summary| query.aggregate_type.as_ref().is_none_or(|name| *name == summary.aggregate_type));
        Ok(summaries)
    }
}

/// The mark of the last refresh.
#[derive(Debug, Default)]
struct SummarisesAsOfTheLastRefresh(AtomicU64);

impl Bug for SummarisesAsOfTheLastRefresh {
    fn refresh_aggregate_summaries(&self, memory: &MemoryEventStore) -> Result<(), Error> {
        self.0.store(memory.high_water_mark()?.get(), Ordering::SeqCst);
        Ok(())
    }

    fn aggregate_summaries(
        &self,
        memory: &MemoryEventStore,
        query: &SummaryQuery,
    ) -> Result<Vec<AggregateSummary>, Error> {
        let refreshed = GlobalSequence::new(self.0.load(Ordering::SeqCst))?;
        let old: Vec<_> = memory
            .read(EventQuery::new().until(refreshed))
            .collect::<Result<_, _>>()?;
        let kept = MemoryEventStore::new().with_limits(Limits::TEXT);
        kept.import_events(&old)?;
        kept.aggregate_summaries(query)
    }
}

mutant! { ForgetsTheTenantOfSnapshots
    fn find_snapshot(
        &self,
        memory: &MemoryEventStore,
        _: Option<&TenantId>,
        aggregate: &AggregateKey,
        at: SnapshotAt<'_>,
    ) -> Result<Option<Snapshot>, Error> {
        memory.find_snapshot(None, aggregate, at)
    }
}

mutant! { ForgetsTheTenantWhenDeleting
    fn delete_snapshots(
        &self,
        memory: &MemoryEventStore,
        _: Option<&TenantId>,
        selection: SnapshotSelection<'_>,
    ) -> Result<u64, Error> {
        memory.delete_snapshots(None, selection)
    }
}

/// Returns the snapshot that was saved last as the latest.
#[derive(Debug, Default)]
struct HidesANewerSnapshot(Mutex<HashMap<AggregateKey, Version>>);

impl Bug for HidesANewerSnapshot {
    fn save_snapshot(
        &self,
        memory: &MemoryEventStore,
        tenant: Option<&TenantId>,
        snapshot: &NewSnapshot,
    ) -> Result<(), Error> {
        let mut saved = self.0.lock().unwrap();
        saved.insert(snapshot.aggregate().clone(), snapshot.version());
        memory.save_snapshot(tenant, snapshot)
    }

    fn find_snapshot(
        &self,
        memory: &MemoryEventStore,
        tenant: Option<&TenantId>,
        aggregate: &AggregateKey,
        at: SnapshotAt<'_>,
    ) -> Result<Option<Snapshot>, Error> {
        let last = self.0.lock().unwrap().get(aggregate).copied();
        match (at, last) {
            (SnapshotAt::Latest, Some(last)) => memory.find_snapshot(tenant, aggregate, SnapshotAt::Exactly(last)),
            _ => memory.find_snapshot(tenant, aggregate, at),
        }
    }
}

mutant! { DoesNotReplace
    fn save_snapshot(
        &self,
        memory: &MemoryEventStore,
        tenant: Option<&TenantId>,
        snapshot: &NewSnapshot,
    ) -> Result<(), Error> {
        let there = memory.find_snapshot(tenant, snapshot.aggregate(), SnapshotAt::Exactly(snapshot.version()))?;
        match there {
            Some(_) => Ok(()),
            None => memory.save_snapshot(tenant, snapshot),
        }
    }
}

mutant! { ReplacesAnotherForm
    fn save_snapshot(
        &self,
        memory: &MemoryEventStore,
        tenant: Option<&TenantId>,
        snapshot: &NewSnapshot,
    ) -> Result<(), Error> {
        let there = SnapshotSelection::Exactly(snapshot.aggregate(), snapshot.version());
        memory.delete_snapshots(tenant, there)?;
        memory.save_snapshot(tenant, snapshot)
    }
}

mutant! { ListsOneOfEachVersion
    fn snapshots_after(
        &self,
        memory: &MemoryEventStore,
        after: Option<&Snapshot>,
        limit: u32,
    ) -> Result<Vec<Snapshot>, Error> {
        let place = |snapshot: &Snapshot| (snapshot.aggregate.id(), snapshot.version);
        let mut rest = memory.snapshots_after(after, u32::MAX)?;
        rest.retain(|snapshot| after.is_none_or(|after| place(after) != place(snapshot)));
        rest.truncate(limit as usize);
        Ok(rest)
    }
}

mutant! { AcceptsSnapshotsOfTheFuture
    fn save_snapshot(
        &self,
        memory: &MemoryEventStore,
        tenant: Option<&TenantId>,
        snapshot: &NewSnapshot,
    ) -> Result<(), Error> {
        match memory.save_snapshot(tenant, snapshot) {
            Err(error) if error.to_string().contains("append the events first") => Ok(()),
            result => result,
        }
    }
}

mutant! { FindsBeforeOnly
    fn find_snapshot(
        &self,
        memory: &MemoryEventStore,
        tenant: Option<&TenantId>,
        aggregate: &AggregateKey,
        at: SnapshotAt<'_>,
    ) -> Result<Option<Snapshot>, Error> {
        let at = match at {
            SnapshotAt::LatestUpTo(version) => SnapshotAt::LatestUpTo(Version::new(before(version.get()))?),
            at => at,
        };
        memory.find_snapshot(tenant, aggregate, at)
    }
}

/// Its events belong to one state of the log, and its version to a later one.
#[derive(Debug, Default)]
struct LooksTheVersionUpAfterwards;

impl Bug for LooksTheVersionUpAfterwards {
    fn load_range(
        &self,
        memory: &MemoryEventStore,
        aggregate: &AggregateKey,
        range: &StreamRange,
    ) -> Result<EventStream, Error> {
        let found = memory.load_range(aggregate, range)?;
        if !found.is_empty() || range.as_of.is_some() {
            return Ok(found);
        }
        // As long as a second statement takes.
        thread::sleep(std::time::Duration::from_millis(1));
        let mut head = StreamRange::all().last(1);
        head.tenant.clone_from(&range.tenant);
        let version = memory.load_range(aggregate, &head)?.version();
        Ok(EventStream::new(aggregate.clone(), version, Vec::new()))
    }
}

mutant! { FindsAnyForm
    fn find_snapshot(
        &self,
        memory: &MemoryEventStore,
        tenant: Option<&TenantId>,
        aggregate: &AggregateKey,
        at: SnapshotAt<'_>,
    ) -> Result<Option<Snapshot>, Error> {
        let at = match at {
            SnapshotAt::LatestOf(_) => SnapshotAt::Latest,
            SnapshotAt::LatestOfUpTo(_, version) => SnapshotAt::LatestUpTo(version),
            at => at,
        };
        memory.find_snapshot(tenant, aggregate, at)
    }
}

mutant! { LooksAtTheNewestOnly
    fn find_snapshot(
        &self,
        memory: &MemoryEventStore,
        tenant: Option<&TenantId>,
        aggregate: &AggregateKey,
        at: SnapshotAt<'_>,
    ) -> Result<Option<Snapshot>, Error> {
        let (any, form) = match at {
            SnapshotAt::LatestOf(form) => (SnapshotAt::Latest, form),
            SnapshotAt::LatestOfUpTo(form, version) => (SnapshotAt::LatestUpTo(version), form),
            at => return memory.find_snapshot(tenant, aggregate, at),
        };
        let newest = memory.find_snapshot(tenant, aggregate, any)?;
        Ok(newest.filter(|snapshot| snapshot.snapshot_type == *form))
    }
}

/// A snapshot, and the events from a version on.
fn snapshot_and_events(
    memory: &MemoryEventStore,
    tenant: Option<&TenantId>,
    aggregate: &AggregateKey,
    at: SnapshotAt<'_>,
    from: impl FnOnce(&Snapshot) -> u64,
) -> Result<(Option<Snapshot>, EventStream), Error> {
    let snapshot = memory.find_snapshot(tenant, aggregate, at)?;
    let mut range = StreamRange::all().from_version(Version::new(snapshot.as_ref().map_or(0, from))?);
    range.tenant = tenant.cloned();
    Ok((snapshot, memory.load_range(aggregate, &range)?))
}

mutant! { LoadsOnlyWhatFollows
    fn load_from_snapshot(
        &self,
        memory: &MemoryEventStore,
        tenant: Option<&TenantId>,
        aggregate: &AggregateKey,
        at: SnapshotAt<'_>,
    ) -> Result<(Option<Snapshot>, EventStream), Error> {
        snapshot_and_events(memory, tenant, aggregate, at, |snapshot| snapshot.version.get() + 1)
    }
}

mutant! { LoadsAllBesideASnapshot
    fn load_from_snapshot(
        &self,
        memory: &MemoryEventStore,
        tenant: Option<&TenantId>,
        aggregate: &AggregateKey,
        at: SnapshotAt<'_>,
    ) -> Result<(Option<Snapshot>, EventStream), Error> {
        snapshot_and_events(memory, tenant, aggregate, at, |_| 0)
    }
}

mutant! { LoadsFromAnyForm
    fn load_from_snapshot(
        &self,
        memory: &MemoryEventStore,
        tenant: Option<&TenantId>,
        aggregate: &AggregateKey,
        at: SnapshotAt<'_>,
    ) -> Result<(Option<Snapshot>, EventStream), Error> {
        let at = match at {
            SnapshotAt::LatestOf(_) => SnapshotAt::Latest,
            SnapshotAt::LatestOfUpTo(_, version) => SnapshotAt::LatestUpTo(version),
            at => at,
        };
        memory.load_from_snapshot(tenant, aggregate, at)
    }
}

mutant! { LoadsFromAnothersSnapshot
    fn load_from_snapshot(
        &self,
        memory: &MemoryEventStore,
        tenant: Option<&TenantId>,
        aggregate: &AggregateKey,
        at: SnapshotAt<'_>,
    ) -> Result<(Option<Snapshot>, EventStream), Error> {
        let (snapshot, _) = memory.load_from_snapshot(None, aggregate, at)?;
        let (_, stream) = memory.load_from_snapshot(tenant, aggregate, at)?;
        Ok((snapshot, stream))
    }
}

mutant! { LoadsWithoutVerifying
    fn load_from_snapshot(
        &self,
        memory: &MemoryEventStore,
        tenant: Option<&TenantId>,
        aggregate: &AggregateKey,
        at: SnapshotAt<'_>,
    ) -> Result<(Option<Snapshot>, EventStream), Error> {
        memory.clone().verify_on_read(false).load_from_snapshot(tenant, aggregate, at)
    }
}

mutant! { LoadsTheEventsLater
    fn load_from_snapshot(
        &self,
        memory: &MemoryEventStore,
        tenant: Option<&TenantId>,
        aggregate: &AggregateKey,
        at: SnapshotAt<'_>,
    ) -> Result<(Option<Snapshot>, EventStream), Error> {
        snapshot_and_events(memory, tenant, aggregate, at, |snapshot| {
            // As long as a second statement takes.
            thread::sleep(std::time::Duration::from_millis(1));
            snapshot.version.get()
        })
    }
}

mutant! { DeletesAnyForm
    fn delete_snapshots(
        &self,
        memory: &MemoryEventStore,
        tenant: Option<&TenantId>,
        selection: SnapshotSelection<'_>,
    ) -> Result<u64, Error> {
        let selection = match selection {
            SnapshotSelection::AllButLatestOf(aggregate, _, count) => SnapshotSelection::AllButLatest(aggregate, count),
            selection => selection,
        };
        memory.delete_snapshots(tenant, selection)
    }
}

mutant! { ListsTheOldestFirst
    fn list_snapshots(
        &self,
        memory: &MemoryEventStore,
        tenant: Option<&TenantId>,
        aggregate: &AggregateKey,
    ) -> Result<Vec<Snapshot>, Error> {
        let mut snapshots = memory.list_snapshots(tenant, aggregate)?;
        snapshots.reverse();
        Ok(snapshots)
    }
}

mutant! { KeepsTheOldest
    fn delete_snapshots(
        &self,
        memory: &MemoryEventStore,
        tenant: Option<&TenantId>,
        selection: SnapshotSelection<'_>,
    ) -> Result<u64, Error> {
        let SnapshotSelection::AllButLatest(aggregate, count) = selection else {
            return memory.delete_snapshots(tenant, selection);
        };
        let mut snapshots = memory.list_snapshots(tenant, aggregate)?;
        let doomed = snapshots.len().saturating_sub(usize::try_from(count).unwrap_or(usize::MAX));
        snapshots.truncate(doomed);
        for snapshot in &snapshots {
            memory.delete_snapshots(tenant, SnapshotSelection::Exactly(aggregate, snapshot.version))?;
        }
        Ok(snapshots.len() as u64)
    }
}

mutant! { DeletesOfTheMomentToo
    fn delete_snapshots(
        &self,
        memory: &MemoryEventStore,
        tenant: Option<&TenantId>,
        selection: SnapshotSelection<'_>,
    ) -> Result<u64, Error> {
        let selection = match selection {
            SnapshotSelection::OlderThan(time) => SnapshotSelection::OlderThan(time + Duration::MICROSECOND),
            selection => selection,
        };
        memory.delete_snapshots(tenant, selection)
    }
}

#[derive(Debug, Default)]
struct ImportsBeforeTheEnd;

impl Bug for ImportsBeforeTheEnd {
    fn import_events(&self, memory: &MemoryEventStore, events: &[EventEnvelope]) -> Result<(), Error> {
        let end = memory.high_water_mark()?.get();
        let mut events = events.to_vec();
        for (event, place) in events.iter_mut().zip(1..) {
            if event.global_sequence.get() <= end {
                event.global_sequence = GlobalSequence::new(end + place)?;
            }
        }
        memory.import_events(&events)
    }
}

#[derive(Debug, Default)]
struct ImportsHalf;

impl Bug for ImportsHalf {
    fn import_events(&self, memory: &MemoryEventStore, events: &[EventEnvelope]) -> Result<(), Error> {
        events
            .iter()
            .try_for_each(|event| memory.import_events(std::slice::from_ref(event)))
    }
}

#[derive(Debug, Default)]
struct RenumbersImports;

impl Bug for RenumbersImports {
    fn import_events(&self, memory: &MemoryEventStore, events: &[EventEnvelope]) -> Result<(), Error> {
        memory.import_events(events)?;
        let holes = events
            .iter()
            .zip(events.first().map_or(0, |first| first.global_sequence.get())..);
        for (event, sequence) in holes {
            memory.tamper(event.event_id, |stored| {
                stored.global_sequence = GlobalSequence::new(sequence).unwrap();
            });
        }
        Ok(())
    }
}

#[derive(Debug, Default)]
struct SetsTheTimeOfImports;

impl Bug for SetsTheTimeOfImports {
    fn import_events(&self, memory: &MemoryEventStore, events: &[EventEnvelope]) -> Result<(), Error> {
        memory.import_events(events)?;
        for event in events {
            memory.tamper(event.event_id, |stored| stored.created_at += Duration::HOUR);
        }
        Ok(())
    }
}

#[derive(Debug, Default)]
struct ImportsDamagedData;

impl Bug for ImportsDamagedData {
    fn import_events(&self, memory: &MemoryEventStore, events: &[EventEnvelope]) -> Result<(), Error> {
        let mut events = events.to_vec();
        for event in &mut events {
            event.checksum = Some(event.data.checksum()?);
        }
        memory.import_events(&events)
    }
}

#[derive(Debug, Default)]
struct ListsTooFewSnapshots;

impl Bug for ListsTooFewSnapshots {
    fn snapshots_after(
        &self,
        memory: &MemoryEventStore,
        after: Option<&Snapshot>,
        limit: u32,
    ) -> Result<Vec<Snapshot>, Error> {
        let mut page = memory.snapshots_after(after, limit)?;
        if page.len() > 1 {
            page.remove(0);
        }
        Ok(page)
    }
}

mutant! { CoversTheStateOnly
    fn save_snapshot(
        &self,
        memory: &MemoryEventStore,
        tenant: Option<&TenantId>,
        snapshot: &NewSnapshot,
    ) -> Result<(), Error> {
        memory.save_snapshot(tenant, snapshot)?;
        let mut snapshots = memory.snapshots_after(None, u32::MAX)?;
        for snapshot in &mut snapshots {
            snapshot.checksum = snapshot.state.checksum().ok();
        }
        memory.tamper_with_snapshots(snapshots);
        Ok(())
    }
}

mutant! { ReplacesASeal
    fn insert_seal(&self, memory: &MemoryEventStore, seal: &Seal) -> Result<(), Error> {
        let mut seals = memory.seals_after(GlobalSequence::ZERO, u32::MAX)?;
        seals.push(*seal);
        memory.tamper_with_seals(seals);
        Ok(())
    }
}

mutant! { ListsOnlyTheNewestSeal
    fn seals_after(&self, memory: &MemoryEventStore, _: GlobalSequence, _: u32) -> Result<Vec<Seal>, Error> {
        memory.newest_seals(1)
    }
}

mutant! { ListsTheOldestSeals
    fn newest_seals(&self, memory: &MemoryEventStore, limit: u32) -> Result<Vec<Seal>, Error> {
        memory.seals_after(GlobalSequence::ZERO, limit)
    }
}

mutant! { ListsTheSealBefore
    fn seals_after(&self, memory: &MemoryEventStore, sequence: GlobalSequence, limit: u32) -> Result<Vec<Seal>, Error> {
        let before = sequence.get().saturating_sub(1);
        memory.seals_after(GlobalSequence::new(before)?, limit)
    }
}

mutant! { CutsTheTimeOfSeals
    fn insert_seal(&self, memory: &MemoryEventStore, seal: &Seal) -> Result<(), Error> {
        let mut cut = *seal;
        cut.sealed_at = seal.sealed_at.truncate_to_second();
        memory.insert_seal(&cut)
    }
}

mutant! { ForgetsWhatItRetires
    fn retire_events(&self, memory: &MemoryEventStore, events: &[EventEnvelope]) -> Result<u64, Error> {
        let mut left: Vec<_> = memory.read(EventQuery::new()).collect::<Result<_, _>>()?;
        left.retain(|event| !events.contains(event));
        memory.tamper_with_log(left);
        Ok(events.len() as u64)
    }
}

mutant! { KeepsWhatItRetires
    fn retire_events(&self, _: &MemoryEventStore, _: &[EventEnvelope]) -> Result<u64, Error> {
        Ok(0)
    }
}

mutant! { ReadsWhatIsLeft
    fn read_page(
        &self,
        memory: &MemoryEventStore,
        query: &EventQuery,
        cursor: Option<&Cursor>,
    ) -> Result<Page, Error> {
        memory.read_page(&query.clone().skip_archived(), cursor)
    }
}

mutant! { LoadsWhatIsLeft
    fn load_range(
        &self,
        memory: &MemoryEventStore,
        aggregate: &AggregateKey,
        range: &StreamRange,
    ) -> Result<EventStream, Error> {
        memory.load_range(aggregate, range).or_else(|error| {
            let Some(archived) = memory.archived_stream(aggregate.id())?.filter(|_| error.is_archived()) else {
                return Err(error);
            };
            let left = range.clone().from_version(archived.version.checked_add(1).unwrap_or_default());
            memory.load_range(aggregate, &left)
        })
    }
}

mutant! { AttachesAsIfNew
    fn attach_events(&self, memory: &MemoryEventStore, events: &[EventEnvelope]) -> Result<u64, Error> {
        let mut events = events.to_vec();
        for event in &mut events {
            event.created_at = OffsetDateTime::now_utc();
        }
        memory.attach_events(&events)
    }
}

mutant! { AttachesLess
    fn attach_events(&self, memory: &MemoryEventStore, events: &[EventEnvelope]) -> Result<u64, Error> {
        memory.attach_events(events.get(1..).unwrap_or_default())
    }
}
