//! The sealed log, and which check finds each kind of tampering, as in the table in `sql/README.md`.

use std::collections::HashSet;
use std::thread;

use firefly_eventstore_core::operate::{
    Audit, Audited, Diagnosis, Export, Finding, FindingKind, LogDigest, Seal, Severity, diagnose, seal,
};
use firefly_eventstore_core::prelude::*;
use firefly_eventstore_core::{AggregateType, EventData, MemoryEventStore, SnapshotCover, time};

use super::operate::{audit, export};
use crate::ability::Ability;
use crate::environment::{Damage, Environment};
use crate::support::*;

fn sealed(store: &Handle) -> Seal {
    seal(&**store, |_| {}).unwrap()
}

fn seals(store: &Handle) -> Vec<Seal> {
    store.seals_after(GlobalSequence::ZERO, 100).unwrap()
}

/// Three interleaved streams with every kind of event, and holes between their sequences. The third belongs to a tenant. The first half is
/// sealed, then the second; the last two events are not.
fn given_sealed(env: &dyn Environment) -> (Handle, Vec<EventEnvelope>) {
    let source = MemoryEventStore::new();
    let (ada, bob, owned) = (account(), account(), aggregate("Order"));
    let full = |round: i64| {
        event_with(&format!(r#"{{"number":{round}}}"#))
            .metadata_json(r#"{"branch":"Oslo"}"#)
            .and_then(|event| event.created_at(at(round)))
            .and_then(|event| event.created_by("clerk"))
            .and_then(|event| event.correlation_id("corr"))
            .and_then(|event| event.causation_id("cause"))
            .unwrap()
    };
    for round in 0..4 {
        for account in [&ada, &bob] {
            source.append(account, ExpectedVersion::Any, &[full(round)]).unwrap();
        }
        let acme = source.for_tenant(tenant("acme"));
        acme.append(&owned, ExpectedVersion::Any, &[full(round)]).unwrap();
    }
    source.append(&ada, ExpectedVersion::Any, &[full(4), full(5)]).unwrap();
    let mut events = log(&source);
    for event in &mut events {
        event.global_sequence = GlobalSequence::new(event.global_sequence.get() * 10).unwrap();
    }
    let store = env.store();
    store.import_events(&events[..6]).unwrap();
    assert_eq!(sealed(&store).global_sequence, 60);
    store.import_events(&events[6..12]).unwrap();
    assert_eq!(sealed(&store).global_sequence, 120);
    store.import_events(&events[12..]).unwrap();
    (store, events)
}

/// Opens the store again after the log was rewritten, so that it has not seen the old log.
fn rewritten(env: &dyn Environment, events: &[EventEnvelope]) -> Handle {
    env.rewrite_log(events);
    let store = env.reopen();
    // A database in memory cannot be opened again: its store reports once that the log was truncated.
    let _ = store.high_water_mark();
    store
}

fn kinds(findings: &[Finding]) -> HashSet<FindingKind> {
    findings.iter().map(|finding| finding.kind).collect()
}

/// The parts of the log that differ from their seals.
fn broken(findings: &[Finding]) -> Vec<&str> {
    let of_seals = findings.iter().filter(|finding| finding.kind == FindingKind::Seal);
    of_seals.map(|finding| &*finding.reason).collect()
}

pub(crate) fn a_seal_is_the_digest_of_an_export_up_to_it(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let mut made = Vec::new();
    for count in [3, 1, 4] {
        given(&*store, &account, count);
        made.push(sealed(&store));
    }
    assert_eq!(made.iter().map(|seal| seal.events).collect::<Vec<_>>(), [3, 4, 8]);
    for seal in &made {
        let part = Export::of(EventQuery::new().until(seal.global_sequence));
        let exported = part.json_lines(&*store, std::io::sink(), |_| {}).unwrap();
        assert_eq!((exported.events, exported.digest), (seal.events, seal.digest));
        assert_eq!(seal.to_string().parse::<Seal>().unwrap(), *seal);
    }
    assert_eq!(made[2].digest, export(&*store).1);
    assert_eq!(seals(&env.reopen()), made);
    assert_eq!(store.seals_after(made[0].global_sequence, 1).unwrap(), made[1..2]);
    assert_eq!(env.reopen().newest_seals(2).unwrap(), [made[2], made[1]]);
}

pub(crate) fn sealing_again_seals_only_what_is_new(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let nothing = sealed(&store);
    assert_eq!((nothing.events, nothing.digest), (0, LogDigest::OF_NOTHING));
    assert_eq!(seals(&store), []);
    given(&*store, &account, 5);
    let first = sealed(&store);
    assert_eq!(sealed(&env.reopen()), first);
    given(&*store, &account, 2);
    let second = sealed(&store);
    given(&*store, &account, 1);
    let mut looked_at = 0;
    seal(&*store, |progress| looked_at = progress.done).unwrap();
    assert_eq!(looked_at, 3, "what the last seal covers, and what is new");
    assert_eq!(seals(&store)[..2], [first, second]);
}

pub(crate) fn a_seal_that_there_is_stays(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    given(&*store, &account, 2);
    let first = sealed(&store);
    let other = Seal::new(first.global_sequence, 7, LogDigest::OF_NOTHING, first.sealed_at);
    store.insert_seal(&other).unwrap();
    assert_eq!(seals(&store), [first]);
    let mut later = other;
    later.global_sequence = GlobalSequence::from(1_000);
    later.sealed_at = at(0) + time::Duration::microseconds(123_456);
    store.insert_seal(&later).unwrap();
    assert_eq!(seals(&store), [first, later]);
}

pub(crate) fn a_seal_that_is_stored_meanwhile_must_say_the_same(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    given(&*store, &account, 2);
    let mut theirs = None;
    let first = seal(&*store, |_| theirs = Some(sealed(&env.reopen()))).unwrap();
    assert_eq!(Some(first), theirs, "theirs was there first");
    given(&*store, &account, 1);
    let last = store.high_water_mark().unwrap();
    let mut forged = first;
    forged.global_sequence = last;
    let error = seal(&*store, |_| store.insert_seal(&forged).unwrap()).unwrap_err();
    assert!(error.is_integrity(), "{error:?}");
    let told = format!("there is another seal at global sequence {last}");
    assert!(error.to_string().contains(&told), "{error}");
    assert_eq!(seals(&store), [first, forged]);
}

pub(crate) fn threads_that_seal_at_once_agree(env: &dyn Environment) {
    needs(env, Ability::Operations);
    let store = env.store();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let account = account();
                for _ in 0..5 {
                    given(&*store, &account, 1);
                    sealed(&store);
                }
            });
        }
    });
    let last = sealed(&store);
    assert_eq!((last.events, last.digest), (20, export(&*store).1));
    let (audited, findings) = audit(&store, Audit::new());
    assert_eq!(findings, []);
    assert_eq!((audited.seals, audited.unsealed), (seals(&store).len() as u64, 0));
}

pub(crate) fn an_audit_compares_the_log_with_its_seals(env: &dyn Environment) {
    let (store, _) = given_sealed(env);
    let made = seals(&store);
    let compared = |audited: &Audited| (audited.seals, audited.newest_seal, audited.unsealed);
    let (audited, findings) = audit(&env.reopen(), Audit::new().against(made[1]));
    assert_eq!(findings, []);
    assert_eq!(compared(&audited), (2, Some(made[1]), 2));
    // The audit of the rest continues from the remembered digest.
    let (audited, findings) = audit(&store, Audit::new().only_after(made[0].into()));
    assert_eq!(findings, []);
    assert_eq!(compared(&audited), (1, Some(made[1]), 2));
    assert_eq!(audited.events, 8);
}

pub(crate) fn an_audit_names_the_part_that_is_not_what_was_sealed(env: &dyn Environment) {
    let (store, mut events) = given_sealed(env);
    store.import_events(&[]).unwrap();
    let third = sealed(&store);
    events[8].created_by = None;
    let (audited, findings) = audit(&rewritten(env, &events), Audit::new());
    let [named] = broken(&findings)[..] else {
        panic!("{findings:?}");
    };
    assert!(named.starts_with("after global sequence 60, up to 120, "), "{named}");
    assert!(named.contains("its 6 events"), "{named}");
    assert_eq!((audited.seals, audited.newest_seal), (3, Some(third)));

    events.remove(8);
    events.remove(1);
    let (_, findings) = audit(&rewritten(env, &events), Audit::new());
    let [first, second] = broken(&findings)[..] else {
        panic!("{findings:?}");
    };
    assert!(first.starts_with("after global sequence 0, up to 60, "), "{first}");
    assert!(first.contains("6 events were sealed there, and 5 are there"), "{first}");
    assert!(second.starts_with("after global sequence 60, up to 120, "), "{second}");
}

pub(crate) fn nothing_is_sealed_on_top_of_what_is_not_as_sealed(env: &dyn Environment) {
    let (store, events) = given_sealed(env);
    let made = seals(&store);
    let refused = |store: &Handle| {
        let error = seal(&**store, |_| {}).unwrap_err();
        assert!(error.is_integrity(), "{error}");
        assert_eq!(seals(store), made);
        error.to_string()
    };
    let mut changed = events.clone();
    changed[7].event_type = EventType::new("money.withdrawn").unwrap();
    assert!(refused(&rewritten(env, &changed)).starts_with("seal the log: "));
    let told = refused(&rewritten(env, &events[..9]));
    assert!(
        told.contains("sealed up to global sequence 120, and ends at 90"),
        "{told}"
    );
    let danger = diagnosis(&env.reopen());
    assert_eq!(danger.severity, Severity::Danger, "{danger:?}");
    // After a purge of the beginning, sealing still works, and the audit reports the purge.
    let reopened = rewritten(env, &events[6..]);
    assert_eq!(seal(&*reopened, |_| {}).unwrap().events, 14);
    let (_, findings) = audit(&reopened, Audit::new());
    let [named] = broken(&findings)[..] else {
        panic!("{findings:?}");
    };
    assert!(named.contains("6 events were sealed there, and 0 are there"), "{named}");
}

pub(crate) fn damaged_events_are_not_sealed(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    let events = given(&*store, &account, 3);
    env.damage(events[1].event_id(), &Damage::Data("[1]"));
    let error = seal(&*env.reopen(), |_| {}).unwrap_err();
    assert_damaged(&error, events[1].event_id());
    assert_eq!(seals(&store), []);
}

/// The diagnosis of the seals.
fn diagnosis(store: &Handle) -> Diagnosis {
    let mut diagnoses = diagnose(&**store).unwrap();
    diagnoses.retain(|diagnosis| diagnosis.subject == "seals");
    diagnoses.pop().unwrap()
}

pub(crate) fn a_diagnosis_tells_how_much_is_sealed(env: &dyn Environment) {
    let (store, _) = given_sealed(env);
    let told = diagnosis(&store);
    assert_eq!(told.severity, Severity::Good);
    assert!(told.found.contains("up to global sequence 120; "), "{told:?}");
    assert!(told.found.ends_with("the log ends 20 after it"), "{told:?}");
    env.rewrite_seals(&[]);
    assert_eq!(diagnosis(&store).found, "none; the log is not sealed");
}

/// A change of the log, and what detects it: checksums, the structure of the log, its seals, a seal that was kept elsewhere.
type Tampering = (&'static str, fn(&mut Vec<EventEnvelope>), &'static [FindingKind]);

use FindingKind::{Checksum, History, Owner, Seal as Sealed, Versions};

const TAMPERINGS: &[Tampering] = &[
    ("nothing", |_| {}, &[]),
    (
        "data changed",
        |log| set_data(&mut log[3]),
        &[Checksum, Sealed, History],
    ),
    (
        "data changed, and the checksum computed anew",
        |log| {
            set_data(&mut log[3]);
            log[3].checksum = log[3].data.checksum().ok();
        },
        &[Sealed, History],
    ),
    (
        "metadata changed",
        |log| log[3].metadata = Some(Metadata::from_stored(r#"{"branch":"Rome"}"#)),
        &[Sealed, History],
    ),
    ("metadata removed", |log| log[3].metadata = None, &[Sealed, History]),
    (
        "type changed",
        |log| log[3].event_type = EventType::new("money.withdrawn").unwrap(),
        &[Sealed, History],
    ),
    ("id changed", |log| log[3].event_id = Uuid::now_v7(), &[Sealed, History]),
    ("creator removed", |log| log[3].created_by = None, &[Sealed, History]),
    (
        "correlation id changed",
        |log| log[3].correlation_id = Some("other".try_into().unwrap()),
        &[Sealed, History],
    ),
    (
        "causation id removed",
        |log| log[3].causation_id = None,
        &[Sealed, History],
    ),
    ("time changed", |log| log[3].created_at = at(99), &[Sealed, History]),
    (
        "time of correction set",
        |log| log[3].updated_at = Some(at(99)),
        &[Sealed, History],
    ),
    (
        "one event given to another tenant",
        |log| log[3].tenant = Some(tenant("globex")),
        &[Owner, Sealed, History],
    ),
    (
        "a stream given to another tenant",
        |log| stream_of(log, 2).for_each(|event| event.tenant = Some(tenant("globex"))),
        &[Sealed, History],
    ),
    (
        "the type of a stream changed",
        |log| {
            let other = AggregateType::new("Invoice").unwrap();
            stream_of(log, 2)
                .for_each(|event| event.aggregate = AggregateKey::new(other.clone(), event.aggregate.id()).unwrap());
        },
        &[Sealed, History],
    ),
    (
        "the id of a stream changed",
        |log| {
            let other = account();
            stream_of(log, 1).for_each(|event| event.aggregate = other.clone());
        },
        &[Sealed, History],
    ),
    (
        "streams swapped",
        |log| {
            let (ada, bob) = (log[0].aggregate.clone(), log[1].aggregate.clone());
            for event in log {
                if event.aggregate == ada {
                    event.aggregate = bob.clone();
                } else if event.aggregate == bob {
                    event.aggregate = ada.clone();
                }
            }
        },
        &[Sealed, History],
    ),
    (
        "a stream deleted",
        |log| {
            let bob = log[1].aggregate.clone();
            log.retain(|event| event.aggregate != bob);
        },
        &[Sealed, History],
    ),
    (
        "a stream cut at its end",
        |log| drop(log.remove(10)),
        &[Sealed, History],
    ),
    (
        "a stream cut at its beginning",
        |log| drop(log.remove(1)),
        &[Versions, Sealed, History],
    ),
    (
        "an event in the midst of a stream deleted",
        |log| drop(log.remove(4)),
        &[Versions, Sealed, History],
    ),
    (
        "events of two streams moved",
        |log| exchange(log, 3, 4),
        &[Sealed, History],
    ),
    (
        "an event moved within its stream",
        |log| exchange(log, 3, 6),
        &[Versions, Sealed, History],
    ),
    (
        "an event inserted into a hole",
        |log| {
            let mut forged = log[3].clone();
            forged.event_id = Uuid::now_v7();
            forged.aggregate = account();
            forged.version = version(1);
            forged.global_sequence = GlobalSequence::from(45);
            log.insert(4, forged);
        },
        &[Sealed, History],
    ),
    ("the log cut at its end", |log| log.truncate(8), &[Sealed, History]),
    (
        "the beginning of the log purged",
        |log| drop(log.drain(..6)),
        &[Versions, Sealed, History],
    ),
    ("the log emptied", Vec::clear, &[Sealed, History]),
    ("what is not sealed yet changed", |log| log[13].created_by = None, &[]),
    ("what is not sealed yet cut off", |log| log.truncate(12), &[]),
];

fn set_data(event: &mut EventEnvelope) {
    event.data = EventData::from_stored(r#"{"number":9}"#);
}

/// The events of the stream that an event belongs to.
fn stream_of(log: &mut [EventEnvelope], place: usize) -> impl Iterator<Item = &mut EventEnvelope> {
    let aggregate = log[place].aggregate.clone();
    log.iter_mut().filter(move |event| event.aggregate == aggregate)
}

fn exchange(log: &mut [EventEnvelope], one: usize, other: usize) {
    let sequence = log[one].global_sequence;
    log[one].global_sequence = log[other].global_sequence;
    log[other].global_sequence = sequence;
    log.swap(one, other);
}

/// The checks that find it, except those of the database itself.
fn finders(findings: &[Finding]) -> HashSet<FindingKind> {
    let mut kinds = kinds(findings);
    kinds.remove(&FindingKind::Sequence);
    kinds.remove(&FindingKind::Storage);
    kinds
}

pub(crate) fn each_kind_of_tampering_is_found_by_what_the_reference_says(env: &dyn Environment) {
    let (store, events) = given_sealed(env);
    let kept = sealed_at(&store, 120);
    for (what, tamper, found_by) in TAMPERINGS {
        let mut tampered = events.clone();
        tamper(&mut tampered);
        let store = rewritten(env, &tampered);
        let (_, findings) = audit(&store, Audit::new().against(kept));
        let expected: HashSet<FindingKind> = found_by.iter().copied().collect();
        assert_eq!(finders(&findings), expected, "{what}: {findings:?}");
    }
}

/// The seal at a sequence, as it was kept elsewhere.
fn sealed_at(store: &Handle, sequence: u32) -> Seal {
    let of_sequence = |seal: &Seal| seal.global_sequence == GlobalSequence::from(sequence);
    let line = seals(store).into_iter().find(of_sequence).unwrap().to_string();
    line.parse().unwrap()
}

pub(crate) fn rewritten_seals_are_found_by_one_that_was_kept(env: &dyn Environment) {
    let (store, mut events) = given_sealed(env);
    let (made, kept) = (seals(&store), sealed_at(&store, 120));
    events[3].created_by = None;
    env.rewrite_log(&events);
    let forge = |seal: &Seal| {
        let part = events
            .iter()
            .filter(|event| event.global_sequence <= seal.global_sequence);
        let digest = part.fold(LogDigest::OF_NOTHING, |digest, event| digest.with(event).unwrap().0);
        Seal::new(seal.global_sequence, seal.events, digest, seal.sealed_at)
    };
    env.rewrite_seals(&made.iter().map(forge).collect::<Vec<_>>());
    let (audited, findings) = audit(&env.reopen(), Audit::new());
    assert_eq!(
        finders(&findings),
        HashSet::new(),
        "a rewrite of everything is not detected here"
    );
    assert_eq!(audited.seals, 2);
    let (_, findings) = audit(&env.reopen(), Audit::new().against(kept));
    assert_eq!(finders(&findings), HashSet::from([History]), "{findings:?}");
}

pub(crate) fn a_seal_that_was_changed_or_deleted_does_not_blame_the_rest(env: &dyn Environment) {
    let (store, _) = given_sealed(env);
    let made = seals(&store);
    let mut other_digest = made[0];
    other_digest.digest = LogDigest::OF_NOTHING;
    let mut other_count = made[0];
    other_count.events = 5;
    for changed in [other_digest, other_count] {
        env.rewrite_seals(&[changed, made[1]]);
        let (_, findings) = audit(&env.reopen(), Audit::new());
        let [named] = broken(&findings)[..] else {
            panic!("{findings:?}");
        };
        assert!(named.starts_with("after global sequence 0, up to 60, "), "{named}");
    }
    env.rewrite_seals(&made[1..]);
    let (audited, findings) = audit(&env.reopen(), Audit::new().against(made[0]));
    assert_eq!(findings, [], "the next seal covers the same");
    assert_eq!(audited.seals, 1);
}

/// A change of a snapshot, and whether it is detected.
type Forgery = (&'static str, fn(&mut Snapshot), bool);

const FORGERIES: &[Forgery] = &[
    ("nothing", |_| {}, false),
    ("state changed", |snapshot| set_state(snapshot), true),
    ("checksum removed", |snapshot| snapshot.checksum = None, true),
    (
        "moved to another version",
        |snapshot| snapshot.version = version(1),
        true,
    ),
    (
        "type changed",
        |snapshot| snapshot.snapshot_type = "AccountState.v2".try_into().unwrap(),
        true,
    ),
    ("id changed", |snapshot| snapshot.snapshot_id = Uuid::now_v7(), true),
    ("time changed", |snapshot| snapshot.created_at = at(99), true),
    (
        "tenant changed",
        |snapshot| snapshot.tenant = Some(tenant("acme")),
        true,
    ),
    (
        "state changed, and the checksum computed anew as it was of old",
        |snapshot| {
            set_state(snapshot);
            snapshot.checksum = snapshot.state.checksum().ok();
        },
        false,
    ),
];

fn set_state(snapshot: &mut Snapshot) {
    snapshot.state = EventData::from_stored(r#"{"balance":1000000}"#);
}

pub(crate) fn a_snapshot_that_was_changed_or_moved_is_found_out(env: &dyn Environment) {
    let (store, ada, bob) = (env.store(), account(), account());
    given(&*store, &ada, 3);
    given(&*store, &bob, 3);
    store.save(&snapshot(&ada, 2)).unwrap();
    let saved = store.latest_snapshot(&ada).unwrap().unwrap();
    assert_eq!(saved.cover(), Some(SnapshotCover::Row));
    let finds = |what: &str, forged: &Snapshot, is_found: bool| {
        env.rewrite_snapshots(std::slice::from_ref(forged));
        let (audited, findings) = audit(&env.reopen(), Audit::new());
        assert_eq!(audited.snapshots, 1);
        assert_eq!(
            kinds(&findings).contains(&FindingKind::Snapshot),
            is_found,
            "{what}: {findings:?}"
        );
        let read = env.verifying_store().latest_snapshot(&forged.aggregate);
        assert_eq!(read.is_err_and(|error| error.is_integrity()), is_found, "{what}");
    };
    for (what, forge, is_found) in FORGERIES {
        let mut forged = saved.clone();
        forge(&mut forged);
        finds(what, &forged, *is_found);
    }
    let mut moved = saved.clone();
    moved.aggregate = bob;
    finds("moved to another aggregate", &moved, true);
}

pub(crate) fn a_snapshot_with_a_checksum_of_old_is_accepted_and_told(env: &dyn Environment) {
    let (store, account) = (env.store(), account());
    given(&*store, &account, 3);
    store.save(&snapshot(&account, 2)).unwrap();
    let mut old = store.latest_snapshot(&account).unwrap().unwrap();
    assert_eq!(audit(&store, Audit::new()).0.old_snapshots, 0);
    old.checksum = old.state.checksum().ok();
    env.rewrite_snapshots(std::slice::from_ref(&old));
    let (audited, findings) = audit(&env.reopen(), Audit::new());
    assert_eq!(findings, []);
    assert_eq!((audited.snapshots, audited.old_snapshots), (1, 1));
    let read = env.verifying_store().latest_snapshot(&account).unwrap().unwrap();
    assert_eq!(read.cover(), Some(SnapshotCover::State));
}
