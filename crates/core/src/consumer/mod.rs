//! Consumers: they follow the log and keep their position in the store.
//!
//! | to | use |
//! |---|---|
//! | keep a read model in the store's database, applying each event exactly once | a [`Projection`] |
//! | change a read model in the commit of each append, so that it is always current | [`Inline`] |
//! | send, call or publish, at least once per event, from one or several processes | a [`Subscription`] |
//! | run consumers on threads, and wait for their progress | a [`Runner`] |
//! | run a projection in the calling thread, as tests do | [`project`] |
//! | build a read model again | [`reset`] |
//! | monitor consumers, and repair failures | [`status`], [`pause`], [`resume`], [`reposition`], [`replay`], [`discard`] |
//! | log and measure what consumers do | an [`Observer`]; features add observers for `tracing` and `metrics` |
//!
//! # What they promise
//!
//! - **A read model and its checkpoint change in one commit.** No event is applied twice or left out, even if the process is killed at any
//!   point, runs twice, or is reset while it runs.
//! - **A subscription handles every event at least once, in the order of its aggregate**, by one process or by several that share slots.
//!   A process that lost a slot cannot move the slot's checkpoint.
//! - **A checkpoint never passes the high-water mark.** So all events before it are handled, and [`wait_for`] can rely on it.
//! - **An event that cannot be handled stops its consumer, or is parked** with all later events of its aggregate. A checkpoint
//!   passes such an event only after its row in `firefly_parked_events` was written. An outage parks nothing.
//! - **Threads end.** Stopping finishes the current events, releases the leases and joins the threads. A panic counts as a failure of its
//!   event.
//!
//! Everything is stored in three tables of the store: `firefly_consumers`, `firefly_consumer_members` and `firefly_parked_events`. Times
//! come from the database's clock. There is no background service.
//!
//! A backend implements the statements ([`ConsumerTables`](crate::backend::ConsumerTables)), and for its store [`ConsumerStore`] and
//! [`Transactional`]. [`ConsumerTransaction`] is built from the statements.

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
