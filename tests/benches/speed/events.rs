//! Events as a bank would have them: about 200 bytes of data, metadata on every other one, creator and cause.
//!
//! The events of one append have the same correlation id, a random one, like most ids from outside. It is in the column, not in the
//! metadata.

use std::sync::Arc;

use firefly_eventstore_core::{AggregateKey, CorrelationId, NewEvent};
use serde::Serialize;
use uuid::Uuid;

/// How many different events there are to append.
pub(crate) const POOL: usize = 1_000;

/// An event to append again and again, each time with a new id: as the store takes it, and as the columns of a row.
pub(crate) struct Sample {
    pub(crate) event: NewEvent,
    pub(crate) row: Row,
}

/// The values that the raw driver binds besides the ids and the time. They are computed before the measurement.
pub(crate) struct Row {
    pub(crate) event_type: String,
    pub(crate) data: Arc<str>,
    pub(crate) metadata: Option<Arc<str>>,
    pub(crate) created_by: String,
    pub(crate) checksum: String,
}

/// The data of an event.
#[derive(Serialize)]
pub(crate) struct Payment {
    account: Uuid,
    counterparty: String,
    amount_cents: u64,
    currency: &'static str,
    reference: String,
    booked_on: &'static str,
    category: &'static str,
    approved: bool,
}

#[derive(Serialize)]
struct Context {
    channel: &'static str,
    branch: u64,
    session: Uuid,
}

const EVENT_TYPES: [&str; 6] = [
    "account.opened",
    "money.deposited",
    "money.withdrawn",
    "transfer.requested",
    "transfer.completed",
    "fee.charged",
];

const AGGREGATE_TYPES: [&str; 2] = ["Account", "Transfer"];

/// Numbers that look random and are the same in every run.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        (self.number() % sides as u64) as usize
    }

    fn number(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn id(&mut self) -> Uuid {
        uuid::Builder::from_random_bytes(((u128::from(self.number()) << 64) | u128::from(self.number())).to_be_bytes())
            .into_uuid()
    }
}

/// The data of one event.
pub(crate) fn payment(dice: &mut Dice) -> Payment {
    Payment {
        account: dice.id(),
        counterparty: format!("NO93{:011}", dice.roll(100_000_000_000)),
        amount_cents: dice.roll(1_000_000) as u64,
        currency: ["EUR", "NOK", "USD"][dice.roll(3)],
        reference: format!("invoice {}", dice.roll(1_000_000)),
        booked_on: "2025-01-15",
        category: ["salary", "rent", "groceries", "café"][dice.roll(4)],
        approved: dice.roll(20) > 0,
    }
}

/// An event, created as a program creates it.
pub(crate) fn event(dice: &mut Dice) -> NewEvent {
    let event = NewEvent::new(EVENT_TYPES[dice.roll(EVENT_TYPES.len())], &payment(dice))
        .and_then(|event| event.created_by(format!("clerk-{}", dice.roll(50))))
        .unwrap();
    if dice.roll(2) == 0 {
        return event;
    }
    let context = Context {
        channel: ["branch", "web", "mobile"][dice.roll(3)],
        branch: dice.roll(200) as u64,
        session: dice.id(),
    };
    event.metadata(&context).unwrap()
}

/// The events that one thread appends.
pub(crate) fn pool(dice: &mut Dice) -> Vec<Sample> {
    (0..POOL).map(|_| Sample::of(event(dice))).collect()
}

/// The correlation id of one append.
pub(crate) fn correlation_id(dice: &mut Dice) -> CorrelationId {
    CorrelationId::new(dice.id().to_string()).unwrap()
}

/// The key of an aggregate.
pub(crate) fn aggregate(dice: &mut Dice) -> AggregateKey {
    AggregateKey::new(AGGREGATE_TYPES[dice.roll(AGGREGATE_TYPES.len())], dice.id()).unwrap()
}

impl Sample {
    fn of(event: NewEvent) -> Self {
        let row = Row {
            event_type: event.event_type().to_string(),
            data: event.data().as_str().into(),
            metadata: event.details().metadata.map(|metadata| metadata.as_str().into()),
            created_by: event.details().created_by.unwrap().to_string(),
            checksum: event.checksum().to_string(),
        };
        Self { event, row }
    }

    /// A copy of the event with a new id.
    pub(crate) fn fresh(&self, correlation_id: &CorrelationId) -> NewEvent {
        let event = self.event.clone().with_id(Uuid::now_v7());
        event.correlation_id(correlation_id).unwrap()
    }
}
