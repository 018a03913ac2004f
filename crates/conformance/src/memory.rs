//! The in-memory store, and wrappers of it.

use std::fmt;
use std::num::NonZeroU32;

use firefly_eventstore_core::operate::Seal;
use firefly_eventstore_core::prelude::*;
use firefly_eventstore_core::{Checksum, EventData, FaultPoint, Limits, MemoryEventStore};

use crate::ability::Ability;
use crate::environment::{Damage, Environment, Handle};

/// An in-memory store behind a wrapper: for testing a wrapper of a store, such as one that caches or encrypts. The tests of the suite
/// itself use it for wrappers with one bug each.
///
/// ```
/// use firefly_eventstore_conformance::{Environment, MemoryEnvironment};
/// use firefly_eventstore_core::EventStore;
/// use std::sync::Arc;
///
/// let environment = MemoryEnvironment::new(|memory| Arc::new(memory)); // or Arc::new(Cached::new(memory))
/// assert_eq!(environment.store().high_water_mark().unwrap(), 0);
/// ```
pub struct MemoryEnvironment {
    memory: MemoryEventStore,
    wrap: Box<dyn Fn(MemoryEventStore) -> Handle>,
}

impl MemoryEnvironment {
    /// A fresh store. All stores of this environment are wrapped by `wrap`.
    pub fn new(wrap: impl Fn(MemoryEventStore) -> Handle + 'static) -> Self {
        Self {
            memory: MemoryEventStore::new(),
            wrap: Box::new(wrap),
        }
    }
}

impl fmt::Debug for MemoryEnvironment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryEnvironment").finish_non_exhaustive()
    }
}

impl Environment for MemoryEnvironment {
    fn store(&self) -> Handle {
        (self.wrap)(self.memory.clone())
    }

    fn reopen(&self) -> Handle {
        self.store()
    }

    fn lacks(&self) -> &[Ability] {
        &[Ability::CutLog, Ability::Timeouts, Ability::Schema]
    }

    fn store_with(&self, limits: Limits) -> Handle {
        (self.wrap)(self.memory.clone().with_limits(limits))
    }

    fn verifying_store(&self) -> Handle {
        (self.wrap)(self.memory.clone().verify_on_read(true))
    }

    fn damage(&self, event: Uuid, damage: &Damage<'_>) {
        self.memory.tamper(event, |stored| match damage {
            Damage::Data(data) => stored.data = EventData::from_stored(*data),
            Damage::Checksum(checksum) => stored.checksum = Some(checksum.parse::<Checksum>().unwrap()),
            Damage::NoChecksum => stored.checksum = None,
            Damage::Version(version) => stored.version = Version::new(*version).unwrap(),
        });
    }

    fn rewrite_log(&self, events: &[EventEnvelope]) {
        self.memory.tamper_with_log(events.to_vec());
    }

    fn rewrite_snapshots(&self, snapshots: &[Snapshot]) {
        self.memory.tamper_with_snapshots(snapshots.to_vec());
    }

    fn rewrite_seals(&self, seals: &[Seal]) {
        self.memory.tamper_with_seals(seals.to_vec());
    }

    fn break_at(&self, position: u64) {
        self.memory.fail_at(FaultPoint::AtEvent(position));
    }

    fn repair(&self) {
        // A fault happens once.
    }

    fn make_hole(&self) -> GlobalSequence {
        let last = EventQuery::new().backwards().limit(1).page_size(NonZeroU32::MIN);
        let Some(last) = self.memory.read(last).next() else {
            return GlobalSequence::from(1);
        };
        let last = last.unwrap();
        self.memory.tamper(last.event_id, |stored| {
            stored.global_sequence = stored.global_sequence.checked_add(1).unwrap();
        });
        last.global_sequence
    }

    fn has_driver(&self) -> bool {
        false
    }
}
