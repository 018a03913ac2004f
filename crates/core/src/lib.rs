#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod aggregate;
mod append;
pub mod backend;
mod backoff;
pub mod canonical;
mod columns;
pub mod consumer;
mod data;
mod domain;
mod error;
mod event;
mod finite;
mod follow;
mod indexes;
mod limits;
mod memory;
pub mod migration;
mod name;
pub mod operate;
mod outcome;
mod pipeline;
mod publisher;
mod query;
mod snapshot;
mod statistics;
mod store;
mod stream;
mod tenant;
pub mod testing;
mod timestamp;
mod verify;
mod version;
mod within;
mod writer;

pub use aggregate::AggregateKey;
pub use append::{Append, Appended};
pub use backoff::Backoff;
pub use canonical::Checksum;
pub use data::{EventData, Metadata};
pub use domain::{
    Aggregate, Context, DomainEvent, ExecuteError, Executed, Repository, Root, SnapshotPolicy, Snapshotted, Upcasts,
};
pub use error::{Error, ErrorKind, Result, SchemaProblem};
pub use event::{EventEnvelope, NewEvent};
pub use follow::{Follow, Stopper};
pub use indexes::Indexes;
pub use limits::Limits;
pub use memory::{FaultPoint, MemoryEventStore, MemoryTransaction};
pub use migration::Migration;
pub use name::{
    AggregateType, CausationId, CorrelationId, CreatedBy, EventType, MAX_NAME_CHARS, SnapshotType, TenantId,
};
pub use query::{Cursor, DEFAULT_PAGE_BYTES, DEFAULT_PAGE_SIZE, EventQuery, LOG_PAGE_SIZE, Order, Page};
pub use snapshot::{
    NewSnapshot, Snapshot, SnapshotAt, SnapshotCover, SnapshotDeletion, SnapshotSelection, SnapshotStatistics,
};
pub use statistics::{
    AggregateActivity, AggregateSummary, EventStatistics, EventTypeShare, Health, Statistics, SummaryQuery,
};
pub use store::{
    EventStore, EventStoreExt, EventTransaction, EventTransactionExt, Events, SnapshotStore, SnapshotStoreExt, Store,
};
pub use stream::{AsOf, Direction, EventStream, StreamRange};
pub use tenant::TenantStore;
pub use verify::{Verification, VerifyProgress, verify};
pub use version::{ExpectedVersion, GlobalSequence, Version};

pub(crate) use append::{Contents, LiveContents, Located};
pub(crate) use query::{EventFilter, Position, Window};

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
