//! Consumers: what follows the log, and keeps in the store how far it came.
//!
//! | to | use |
//! |---|---|
//! | keep a read model in the store's database, exactly once | a [`Projection`] |
//! | change it in the commit of each append, so that it is never behind | [`Inline`] |
//! | send, call, publish: at least once, by several processes | a [`Subscription`] |
//! | run them on threads, and wait for them | a [`Runner`] |
//! | run a projection in the own thread, as tests do | [`project`] |
//! | build a read model anew | [`reset`] |
//! | look at them and see to what fails | [`status`], [`pause`], [`resume`], [`reposition`], [`replay`], [`discard`] |
//! | be told what they do | an [`Observer`]; those for `tracing` and `metrics` are features |
//!
//! # What they promise
//!
//! - **A read model and its checkpoint change in one commit.** Killed anywhere, run twice, reset while it runs: no event is applied twice or
//!   left out.
//! - **A subscription handles every event at least once, in the order of its aggregate**, by one process or by several that share slots.
//!   Whoever lost a slot cannot move its checkpoint.
//! - **A checkpoint never passes the high-water mark.** So "up to here" is about everything before it, and [`wait_for`] is sound.
//! - **An event that cannot be handled stops its consumer, or is parked** with all later events of its aggregate. It is never passed
//!   without a row. An outage parks nothing.
//! - **Threads end.** Stopping finishes what is in hand, gives leases back and joins. A panic is a failure of its event.
//!
//! Everything is kept in three tables of the store, `firefly_consumers`, `firefly_consumer_members` and `firefly_parked_events`, by the
//! database's clock. There is no background service.
//!
//! For those who write a backend: [`ConsumerTables`](crate::backend::ConsumerTables) are the statements, [`ConsumerTransaction`] what is made of them,
//! [`ConsumerStore`] and [`Transactional`] what a store offers.

mod control;
mod failure;
mod inline;
#[cfg(feature = "metrics")]
mod metrics;
mod observer;
mod projection;
mod running;
pub(crate) mod stored;
mod subscription;
#[cfg(feature = "tracing")]
mod tracing;

pub use control::{
    ConsumerStatus, discard, discard_aggregate, find_parked, pause, replay, replay_all, reposition, resume, status,
};
pub use failure::{BoxError, ConsumerError, OnFailure};
pub use inline::Inline;
#[cfg(feature = "metrics")]
pub use metrics::MetricsObserver;
pub use observer::{ConsumerEvent, Observer};
pub use projection::{DEFAULT_BATCH, Projection};
pub use running::project::{project, reset};
pub use running::runner::{Runner, Running};
pub use running::wait::wait_for;
pub use stored::slot::{ConsumerSlot, ConsumerState, Failing, Lease, ParkedEvent, slot_of};
pub use stored::store::{Appends, ConsumerStore, DynTransaction, Transactional};
pub use stored::tables::ParkedQuery;
pub use stored::transaction::{Claimed, ConsumerTransaction, Registration, StartAt};
pub use stored::wake::{Listening, Wake};
pub use subscription::{Batch, Delivery, Failure, Publish, Start, Subscription};
#[cfg(feature = "tracing")]
pub use tracing::TracingObserver;

pub(crate) use observer::with_causes;
pub(crate) use running::idle::{FIRST_LOOK, LONGEST_LISTEN, LONGEST_LOOK};
pub(crate) use running::progress::time_left;
pub(crate) use running::worker::LONGEST_PAUSE;
