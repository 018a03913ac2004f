#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod backend; // for authors of backends: what must be the same on every database
pub mod consumer; // projections and subscriptions
mod domain; // events as enums, aggregates, commands
mod error; // the one error of every store
mod memory; // the in-memory store
pub mod operate; // export, import, audit, seals, archives
mod store; // the traits of a store, their requests and answers, and what is built on any store
pub mod testing; // tests of aggregates and commands
mod values; // names, keys, versions, events, JSON, checksums, times

pub use backend::migration::Migration;
pub use domain::{
    Aggregate, Context, DomainEvent, ExecuteError, Executed, Repository, Root, SnapshotPolicy, Snapshotted, Upcasts,
};
pub use error::{Error, ErrorKind, Result, SchemaProblem};
pub use memory::{FaultPoint, MemoryEventStore, MemoryTransaction};
pub use store::append::{Append, Appended};
pub use store::backoff::Backoff;
pub use store::events::Events;
pub use store::extensions::{EventStoreExt, EventTransactionExt, SnapshotStoreExt};
pub use store::follow::{Follow, Stopper};
pub use store::indexes::Indexes;
pub use store::partitions::Partitions;
pub use store::pointers::Store;
pub use store::query::{Cursor, DEFAULT_PAGE_BYTES, DEFAULT_PAGE_SIZE, EventQuery, LOG_PAGE_SIZE, Order, Page};
pub use store::snapshot::{NewSnapshot, Snapshot, SnapshotAt, SnapshotCover, SnapshotSelection, SnapshotStatistics};
pub use store::statistics::{
    AggregateActivity, AggregateSummary, EventStatistics, EventTypeShare, Health, Statistics, SummaryQuery,
};
pub use store::stream::{AsOf, Direction, EventStream, StreamRange};
pub use store::tenant::TenantStore;
pub use store::traits::{EventStore, EventTransaction, SnapshotStore};
pub use store::verify::{Verification, VerifyProgress, verify};
pub use values::aggregate::AggregateKey;
pub use values::canonical::{self, Checksum};
pub use values::data::{EventData, Metadata};
pub use values::event::{EventEnvelope, NewEvent};
pub use values::limits::Limits;
pub use values::name::{
    AggregateType, CausationId, CorrelationId, CreatedBy, EventType, MAX_NAME_CHARS, SnapshotType, TenantId,
};
pub use values::version::{ExpectedVersion, GlobalSequence, Version};

pub(crate) use store::append::{Contents, LiveContents, Located};
pub(crate) use store::query::{EventFilter, Position, Window};

pub use time;
pub use uuid;

/// What most programs need: `use firefly_eventstore::prelude::*`.
pub mod prelude {
    pub use time::OffsetDateTime;
    pub use uuid::Uuid;

    pub use crate::consumer::{ConsumerStore, Transactional};
    pub use crate::{
        Aggregate, AggregateKey, Append, Appended, AsOf, Context, DomainEvent, Error, ErrorKind, EventEnvelope,
        EventQuery, EventStore, EventStoreExt, EventStream, EventTransaction, EventTransactionExt, EventType,
        ExpectedVersion, GlobalSequence, MemoryEventStore, Metadata, NewEvent, NewSnapshot, Repository, Result,
        Snapshot, SnapshotPolicy, SnapshotStore, SnapshotStoreExt, Snapshotted, Store, StreamRange, TenantId, Version,
    };
}
