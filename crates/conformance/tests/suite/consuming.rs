//! Stores with one bug each in the statements for consumers: the transaction works, but its statements on their tables are changed.

use std::fmt;
use std::marker::PhantomData;
use std::sync::OnceLock;
use std::time::Duration;

use firefly_eventstore_core::MemoryEventStore;
use firefly_eventstore_core::backend::{ConsumerChange, ConsumerTables, SlotsQuery};
use firefly_eventstore_core::consumer::{ConsumerSlot, ConsumerTransaction, ParkedEvent, ParkedQuery, Wake};
use firefly_eventstore_core::prelude::*;

use super::mutant::{Bug, Consuming};

/// How statements are changed. What is not overridden works.
pub(super) trait Alter: fmt::Debug + Default + Send + Sync + 'static {
    fn change(tx: &mut dyn ConsumerTransaction, change: ConsumerChange<'_>) -> Result<(), Error> {
        tx.change(change)
    }

    fn slots(tx: &mut dyn ConsumerTransaction, which: SlotsQuery<'_>) -> Result<Vec<ConsumerSlot>, Error> {
        tx.slots(which)
    }

    fn parked(tx: &mut dyn ConsumerTransaction, which: ParkedQuery<'_>) -> Result<Vec<ParkedEvent>, Error> {
        tx.parked(which)
    }

    fn members(tx: &mut dyn ConsumerTransaction, consumer: &str, seen_within: Duration) -> Result<u64, Error> {
        tx.members(consumer, seen_within)
    }

    fn scope(tx: &mut dyn ConsumerTransaction, tenant: &TenantId) -> Result<(), Error> {
        tx.scope(tenant)
    }
}

struct Altered<'a, A>(&'a mut dyn ConsumerTransaction, PhantomData<A>);

impl<A> EventTransaction for Altered<'_, A> {
    fn append_all(&mut self, appends: &[Append<'_>]) -> Result<Vec<Appended>, Error> {
        self.0.append_all(appends)
    }

    fn load_range(&mut self, aggregate: &AggregateKey, range: &StreamRange) -> Result<EventStream, Error> {
        self.0.load_range(aggregate, range)
    }
}

impl<A: Alter> ConsumerTables for Altered<'_, A> {
    fn change(&mut self, change: ConsumerChange<'_>) -> Result<(), Error> {
        A::change(self.0, change)
    }

    fn slots(&mut self, which: SlotsQuery<'_>) -> Result<Vec<ConsumerSlot>, Error> {
        A::slots(self.0, which)
    }

    fn parked(&mut self, which: ParkedQuery<'_>) -> Result<Vec<ParkedEvent>, Error> {
        A::parked(self.0, which)
    }

    fn members(&mut self, consumer: &str, seen_within: Duration) -> Result<u64, Error> {
        A::members(self.0, consumer, seen_within)
    }
}

impl<A: Alter> ConsumerTransaction for Altered<'_, A> {
    fn scope(&mut self, tenant: &TenantId) -> Result<(), Error> {
        A::scope(self.0, tenant)
    }
}

/// A store whose statements for consumers are changed in this way.
#[derive(Debug, Default)]
pub(super) struct Consumes<A>(PhantomData<A>);

impl<A: Alter> Bug for Consumes<A> {
    fn consume(&self, memory: &MemoryEventStore, work: Consuming<'_>) -> Result<(), Error> {
        memory.consume(&mut |tx| work(&mut Altered::<A>(tx, PhantomData)))
    }
}

macro_rules! altered {
    ($Mutant:ident as $Bug:ident $($alteration:tt)*) => {
        #[derive(Debug, Default)]
        pub(super) struct $Bug;

        impl Alter for $Bug {
            $($alteration)*
        }

        pub(super) type $Mutant = Consumes<$Bug>;
    };
}

altered! { ClaimsWithoutLookingAtTheLease as WithoutLookingAtTheLease
    fn slots(tx: &mut dyn ConsumerTransaction, which: SlotsQuery<'_>) -> Result<Vec<ConsumerSlot>, Error> {
        match which {
            SlotsQuery::LockFree(consumer) => tx.slots(SlotsQuery::Of(consumer)),
            which => tx.slots(which),
        }
    }
}

altered! { DoesNotRaiseTheToken as WithoutRaisingTheToken
    fn change(tx: &mut dyn ConsumerTransaction, change: ConsumerChange<'_>) -> Result<(), Error> {
        match change {
            ConsumerChange::Hand {
                consumer,
                slot,
                token,
                holder,
            } => tx.change(ConsumerChange::Hand {
                consumer,
                slot,
                token: token - 1,
                holder,
            }),
            change => tx.change(change),
        }
    }
}

altered! { TakesOverNoLease as WithoutTakingOver
    fn slots(tx: &mut dyn ConsumerTransaction, which: SlotsQuery<'_>) -> Result<Vec<ConsumerSlot>, Error> {
        let mut slots = tx.slots(which)?;
        if matches!(which, SlotsQuery::LockFree(_)) {
            slots.retain(|slot| slot.holder.is_none());
        }
        Ok(slots)
    }
}

altered! { BeginsAConsumerAnew as WithBeginningAnew
    fn change(tx: &mut dyn ConsumerTransaction, change: ConsumerChange<'_>) -> Result<(), Error> {
        tx.change(change)?;
        let ConsumerChange::Register { consumer, slot, position, .. } = change else {
            return Ok(());
        };
        let mut slot = tx.lock_slot(consumer, slot)?;
        slot.position = position;
        slot.token += 1;
        tx.change(ConsumerChange::Save(&slot))
    }
}

altered! { KeepsAFailureThatIsOver as WithKeepingFailures
    fn change(tx: &mut dyn ConsumerTransaction, change: ConsumerChange<'_>) -> Result<(), Error> {
        let ConsumerChange::Save(slot) = change else {
            return tx.change(change);
        };
        let mut slot = slot.clone();
        slot.failing = slot.failing.or(tx.lock_slot(&slot.consumer, slot.slot)?.failing);
        tx.change(ConsumerChange::Save(&slot))
    }
}

altered! { CountsMembersThatAreGone as WithCountingTheGone
    fn members(tx: &mut dyn ConsumerTransaction, consumer: &str, _: Duration) -> Result<u64, Error> {
        tx.members(consumer, Duration::from_secs(1_000_000))
    }
}

altered! { RenewsTheLeasesOfAll as WithRenewingAll
    fn change(tx: &mut dyn ConsumerTransaction, change: ConsumerChange<'_>) -> Result<(), Error> {
        let ConsumerChange::Renew { consumer, lease, .. } = change else {
            return tx.change(change);
        };
        for slot in tx.slots(SlotsQuery::Of(consumer))? {
            if let Some(holder) = slot.holder {
                tx.change(ConsumerChange::Renew { consumer, holder, lease })?;
            }
        }
        Ok(())
    }
}

altered! { KeepsOneParkedEventOfAnAggregate as WithOneParkedEvent
    fn change(tx: &mut dyn ConsumerTransaction, change: ConsumerChange<'_>) -> Result<(), Error> {
        match change {
            ConsumerChange::Park { consumer, aggregate_id, .. } if tx.is_parked(consumer, aggregate_id)? => Ok(()),
            change => tx.change(change),
        }
    }
}

altered! { ForgetsTheTenantOfAConsumer as WithoutScope
    fn scope(_: &mut dyn ConsumerTransaction, _: &TenantId) -> Result<(), Error> {
        Ok(())
    }
}

/// Returns a slot as it was before the lock was acquired.
#[derive(Debug, Default)]
pub(super) struct ReadsASlotBeforeItIsLocked;

impl Bug for ReadsASlotBeforeItIsLocked {
    fn consume(&self, memory: &MemoryEventStore, work: Consuming<'_>) -> Result<(), Error> {
        struct Stale<'a>(&'a mut dyn ConsumerTransaction, &'a [ConsumerSlot]);

        impl EventTransaction for Stale<'_> {
            fn append_all(&mut self, appends: &[Append<'_>]) -> Result<Vec<Appended>, Error> {
                self.0.append_all(appends)
            }

            fn load_range(&mut self, aggregate: &AggregateKey, range: &StreamRange) -> Result<EventStream, Error> {
                self.0.load_range(aggregate, range)
            }
        }

        impl ConsumerTables for Stale<'_> {
            fn change(&mut self, change: ConsumerChange<'_>) -> Result<(), Error> {
                self.0.change(change)
            }

            fn slots(&mut self, which: SlotsQuery<'_>) -> Result<Vec<ConsumerSlot>, Error> {
                let slots = self.0.slots(which)?;
                let stale = |slot: &ConsumerSlot| {
                    let is_it = |before: &&ConsumerSlot| (&before.consumer, before.slot) == (&slot.consumer, slot.slot);
                    self.1.iter().find(is_it).unwrap_or(slot).clone()
                };
                match which {
                    SlotsQuery::Lock(..) => Ok(slots.iter().map(stale).collect()),
                    _ => Ok(slots),
                }
            }

            fn parked(&mut self, which: ParkedQuery<'_>) -> Result<Vec<ParkedEvent>, Error> {
                self.0.parked(which)
            }

            fn members(&mut self, consumer: &str, seen_within: Duration) -> Result<u64, Error> {
                self.0.members(consumer, seen_within)
            }
        }

        impl ConsumerTransaction for Stale<'_> {
            fn scope(&mut self, tenant: &TenantId) -> Result<(), Error> {
                self.0.scope(tenant)
            }
        }

        let before = memory.consumers(None)?;
        std::thread::yield_now();
        memory.consume(&mut |tx| work(&mut Stale(tx, &before)))
    }
}

/// Keeps the changes of a failed transaction to consumers.
#[derive(Debug, Default)]
pub(super) struct KeepsCheckpointsDespiteAnError;

impl Bug for KeepsCheckpointsDespiteAnError {
    fn consume(&self, memory: &MemoryEventStore, work: Consuming<'_>) -> Result<(), Error> {
        let mut reached = Vec::new();
        let result = memory.consume(&mut |tx| {
            let result = work(tx);
            reached = tx.slots(SlotsQuery::All)?;
            result
        });
        if result.is_err() {
            memory.consume(&mut |tx| {
                reached
                    .iter()
                    .try_for_each(|slot| tx.change(ConsumerChange::Save(slot)))
            })?;
        }
        result
    }
}

/// Ignores the letter case of names.
#[derive(Debug, Default)]
pub(super) struct FindsConsumersInAnyCase;

impl Bug for FindsConsumersInAnyCase {
    fn consumers(&self, memory: &MemoryEventStore, name: Option<&str>) -> Result<Vec<ConsumerSlot>, Error> {
        let mut slots = memory.consumers(None)?;
        slots.retain(|slot| name.is_none_or(|name| slot.consumer.eq_ignore_ascii_case(name)));
        Ok(slots)
    }
}

/// Lists parked events from the first one on.
#[derive(Debug, Default)]
pub(super) struct ListsParkedEventsFromTheFirst;

impl Bug for ListsParkedEventsFromTheFirst {
    fn parked_events(&self, memory: &MemoryEventStore, which: ParkedQuery<'_>) -> Result<Vec<ParkedEvent>, Error> {
        memory.parked_events(match which {
            ParkedQuery::All {
                after: (name, _),
                limit,
            } => ParkedQuery::All {
                after: (name, GlobalSequence::ZERO),
                limit,
            },
            which => which,
        })
    }
}

/// Counts the parked events of every aggregate.
#[derive(Debug, Default)]
pub(super) struct CountsParkedEventsOfAllAggregates;

impl Bug for CountsParkedEventsOfAllAggregates {
    fn count_parked(&self, memory: &MemoryEventStore, consumer: &str, _: Option<Uuid>) -> Result<u64, Error> {
        memory.count_parked(consumer, None)
    }
}

/// Does not wake consumers after appends.
#[derive(Debug, Default)]
pub(super) struct WakesNobody;

impl Bug for WakesNobody {
    fn wake<'a>(&'a self, _: &'a MemoryEventStore) -> &'a Wake {
        static NOBODYS: OnceLock<Wake> = OnceLock::new();
        NOBODYS.get_or_init(Wake::default)
    }
}
