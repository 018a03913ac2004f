//! Reading the log: queries, and their pages.

use std::num::{NonZeroU32, NonZeroU64};
use std::ops::{Bound, RangeBounds};

use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::{
    AggregateType, CausationId, CorrelationId, CreatedBy, Direction, Error, ErrorKind, EventEnvelope, EventType,
    GlobalSequence, Metadata, Result, TenantId,
};

/// The default page size of a query with filters, or in the order of time. Such a query uses an index, which may find many events: a
/// database that expects more than a page uses the index in its order, and one that expects fewer may sort them instead.
pub const DEFAULT_PAGE_SIZE: NonZeroU32 = NonZeroU32::new(500).expect("500 is not zero");

/// The default page size of a query of the whole log. Adjacent rows are read faster in larger pages.
pub const LOG_PAGE_SIZE: NonZeroU32 = NonZeroU32::new(2_000).expect("2,000 is not zero");

/// The default size of a page's data and metadata: 16 MiB.
pub const DEFAULT_PAGE_BYTES: NonZeroU64 = NonZeroU64::new(16 << 20).expect("16 MiB is not zero");

/// The order of a read of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    /// By global sequence.
    Sequence,
    /// By time of creation; events of the same microsecond by global sequence.
    Time,
}

/// Selects events of the log: every filter that is set must match.
///
/// Without filters, everything is read, oldest first. A read ends at the high-water mark of its first page. So it ends even while others
/// append, and no event can still be committed at or before its end.
///
/// ```
/// use firefly_eventstore_core::{EventQuery, Order};
/// use time::macros::datetime;
///
/// let query = EventQuery::new()
///     .event_types(["money.deposited", "money.withdrawn"])?
///     .after(1_000)
///     .limit(50);
/// assert_eq!(query.order(), Order::Sequence);
///
/// let january = EventQuery::new().created_at(datetime!(2025-01-01 0:00 UTC)..datetime!(2025-02-01 0:00 UTC));
/// assert_eq!(january.order(), Order::Time);
/// # Ok::<(), firefly_eventstore_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventQuery {
    pub(crate) filter: EventFilter,
    after: GlobalSequence,
    until: GlobalSequence,
    direction: Direction,
    order: Option<Order>,
    limit: Option<u64>,
    page_size: Option<NonZeroU32>,
    page_bytes: NonZeroU64,
    skips_archived: bool,
}

/// The filters of a query, for authors of backends: each one that is set must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventFilter {
    /// Any of these event ids, sorted, each once.
    pub event_ids: Option<Vec<Uuid>>,
    /// Any of these types, sorted, each once.
    pub event_types: Option<Vec<EventType>>,
    /// Any of these types, sorted, each once.
    pub aggregate_types: Option<Vec<AggregateType>>,
    /// This aggregate.
    pub aggregate_id: Option<Uuid>,
    /// This tenant.
    pub tenant: Option<TenantId>,
    /// This correlation id.
    pub correlation_id: Option<CorrelationId>,
    /// This causation id.
    pub causation_id: Option<CausationId>,
    /// This creator.
    pub created_by: Option<CreatedBy>,
    /// Created at this time or later.
    pub created_from: Option<OffsetDateTime>,
    /// Created at this time or earlier.
    pub created_until: Option<OffsetDateTime>,
    /// Metadata that contains this: see [`Metadata::contains`].
    pub metadata: Option<Metadata>,
}

impl EventFilter {
    /// Whether an event matches.
    ///
    /// # Errors
    ///
    /// As [`Metadata::contains`], if stored metadata is damaged.
    pub fn matches(&self, event: &EventEnvelope) -> Result<bool> {
        fn equals<T: PartialEq>(wanted: Option<&T>, found: Option<&T>) -> bool {
            wanted.is_none_or(|wanted| found == Some(wanted))
        }
        fn among<T: Ord>(wanted: Option<&Vec<T>>, found: &T) -> bool {
            wanted.is_none_or(|wanted| wanted.binary_search(found).is_ok())
        }

        let columns_match = among(self.event_ids.as_ref(), &event.event_id)
            && among(self.event_types.as_ref(), &event.event_type)
            && among(self.aggregate_types.as_ref(), event.aggregate.aggregate_type())
            && equals(self.aggregate_id.as_ref(), Some(&event.aggregate.id()))
            && equals(self.tenant.as_ref(), event.tenant.as_ref())
            && equals(self.correlation_id.as_ref(), event.correlation_id.as_ref())
            && equals(self.causation_id.as_ref(), event.causation_id.as_ref())
            && equals(self.created_by.as_ref(), event.created_by.as_ref())
            && self.created_from.is_none_or(|from| event.created_at >= from)
            && self.created_until.is_none_or(|until| event.created_at <= until);
        let Some(part) = &self.metadata else {
            return Ok(columns_match);
        };
        let Some(metadata) = event.metadata.as_ref().filter(|_| columns_match) else {
            return Ok(false);
        };
        metadata.contains(part)
    }

    /// Whether usually few events match the filters.
    fn selects_few(&self) -> bool {
        self.event_ids.is_some()
            || self.aggregate_id.is_some()
            || self.correlation_id.is_some()
            || self.causation_id.is_some()
            || self.metadata.is_some()
    }
}

impl Default for EventQuery {
    fn default() -> Self {
        Self {
            filter: EventFilter::default(),
            after: GlobalSequence::ZERO,
            until: GlobalSequence::MAX,
            direction: Direction::Forwards,
            order: None,
            limit: None,
            page_size: None,
            page_bytes: DEFAULT_PAGE_BYTES,
            skips_archived: false,
        }
    }
}

impl EventQuery {
    /// Every event, oldest first.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Only events of any of these types; none at all if the list is empty.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if one is not a valid name.
    pub fn event_types<T: TryInto<EventType, Error: Into<Error>>>(
        mut self,
        types: impl IntoIterator<Item = T>,
    ) -> Result<Self> {
        self.filter.event_types = Some(distinct(types)?);
        Ok(self)
    }

    /// Only events of aggregates of any of these types; none at all if the list is empty.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if one is not a valid name.
    pub fn aggregate_types<T: TryInto<AggregateType, Error: Into<Error>>>(
        mut self,
        types: impl IntoIterator<Item = T>,
    ) -> Result<Self> {
        self.filter.aggregate_types = Some(distinct(types)?);
        Ok(self)
    }

    /// Only events with any of these ids; none if there are no ids. MySQL and MariaDB accept at most 32,768 ids; a read with more fails
    /// with [`InvalidInput`](crate::ErrorKind::InvalidInput).
    #[must_use]
    pub fn event_ids(mut self, ids: impl IntoIterator<Item = Uuid>) -> Self {
        let mut ids: Vec<_> = ids.into_iter().collect();
        ids.sort_unstable();
        ids.dedup();
        self.filter.event_ids = Some(ids);
        self
    }

    /// Only events of this aggregate.
    #[must_use]
    pub fn aggregate_id(mut self, id: Uuid) -> Self {
        self.filter.aggregate_id = Some(id);
        self
    }

    /// Only events of this tenant's aggregates.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if it is not a valid name.
    pub fn tenant(mut self, tenant: impl TryInto<TenantId, Error: Into<Error>>) -> Result<Self> {
        self.filter.tenant = Some(tenant.try_into().map_err(Into::into)?);
        Ok(self)
    }

    /// Only events with this correlation id.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if it is not a valid name.
    pub fn correlation_id(mut self, id: impl TryInto<CorrelationId, Error: Into<Error>>) -> Result<Self> {
        self.filter.correlation_id = Some(id.try_into().map_err(Into::into)?);
        Ok(self)
    }

    /// Only events with this causation id.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if it is not a valid name.
    pub fn causation_id(mut self, id: impl TryInto<CausationId, Error: Into<Error>>) -> Result<Self> {
        self.filter.causation_id = Some(id.try_into().map_err(Into::into)?);
        Ok(self)
    }

    /// Only events created by this user or service.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if it is not a valid name.
    pub fn created_by(mut self, created_by: impl TryInto<CreatedBy, Error: Into<Error>>) -> Result<Self> {
        self.filter.created_by = Some(created_by.try_into().map_err(Into::into)?);
        Ok(self)
    }

    /// Only events created in a range of time. They are read in the order of time, unless [`ordered_by`](Self::ordered_by) is set. Bounds
    /// finer than a microsecond are exact.
    #[must_use]
    pub fn created_at(mut self, range: impl RangeBounds<OffsetDateTime>) -> Self {
        const TICK: Duration = Duration::MICROSECOND;
        let floor = |time: OffsetDateTime| OffsetDateTime::truncate_to_microsecond(crate::values::event::to_utc(time));
        let whole = |time: OffsetDateTime| floor(time) == time;
        self.filter.created_from = match range.start_bound() {
            Bound::Included(&time) if whole(time) => Some(floor(time)),
            Bound::Included(&time) | Bound::Excluded(&time) => Some(floor(time).saturating_add(TICK)),
            Bound::Unbounded => None,
        };
        self.filter.created_until = match range.end_bound() {
            Bound::Excluded(&time) if whole(time) => Some(floor(time).saturating_sub(TICK)),
            Bound::Included(&time) | Bound::Excluded(&time) => Some(floor(time)),
            Bound::Unbounded => None,
        };
        self
    }

    /// Only events whose metadata contains this JSON object: see [`Metadata::contains`].
    #[must_use]
    pub fn metadata(mut self, part: Metadata) -> Self {
        self.filter.metadata = Some(part);
        self
    }

    /// Only events after this global sequence. Pass a consumer's checkpoint here, such as
    /// [`Events::checkpoint`](crate::Events::checkpoint).
    ///
    /// Beyond the end of the log, the read is a [`BeyondEnd`](crate::ErrorKind::BeyondEnd) error: a consumer with such a checkpoint has
    /// read events that no longer exist.
    #[must_use]
    pub fn after(mut self, sequence: impl Into<GlobalSequence>) -> Self {
        self.after = sequence.into();
        self
    }

    /// Only events up to this global sequence, inclusive.
    #[must_use]
    pub fn until(mut self, sequence: impl Into<GlobalSequence>) -> Self {
        self.until = sequence.into();
        self
    }

    /// Newest first.
    #[must_use]
    pub fn backwards(mut self) -> Self {
        self.direction = Direction::Backwards;
        self
    }

    /// Orders by sequence or by time. Unless set: by time if a range of time is set, else by sequence.
    #[must_use]
    pub fn ordered_by(mut self, order: Order) -> Self {
        self.order = Some(order);
        self
    }

    /// At most this many events, counted after every filter.
    #[must_use]
    pub fn limit(mut self, limit: u64) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Sets the largest number of events in one page. Unless set, [`LOG_PAGE_SIZE`] for the whole log in its order, else [`DEFAULT_PAGE_SIZE`].
    ///
    /// ```
    /// # use firefly_eventstore_core::prelude::*;
    /// # use std::num::{NonZeroU32, NonZeroU64};
    /// let rows = |query: EventQuery| query.window(None, GlobalSequence::MAX).rows;
    /// assert_eq!(rows(EventQuery::new().after(1_000)), 2_000);
    /// assert_eq!(rows(EventQuery::new().tenant("acme")?), 500);
    /// assert_eq!(rows(EventQuery::new().page_size(NonZeroU32::MIN)), 1);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use]
    pub fn page_size(mut self, events: NonZeroU32) -> Self {
        self.page_size = Some(events);
        self
    }

    /// Sets about how many bytes of data and metadata one page has, which limits the memory of a read. A page ends with the event that reaches
    /// this size, so it has at least one event. [`DEFAULT_PAGE_BYTES`] unless set.
    ///
    /// ```
    /// # use firefly_eventstore_core::{MemoryEventStore, prelude::*};
    /// # use std::num::NonZeroU64;
    /// let store = MemoryEventStore::new();
    /// let note = AggregateKey::new("Note", Uuid::now_v7())?;
    /// let text = "x".repeat(1_000);
    /// let notes = (0..4).map(|_| NewEvent::new("note.taken", &text)).collect::<Result<Vec<_>, Error>>()?;
    /// store.append(&note, ExpectedVersion::NoStream, &notes)?;
    ///
    /// let query = EventQuery::new().page_bytes(NonZeroU64::new(1_500).expect("not zero"));
    /// let page = store.read_page(&query, None)?;
    /// assert_eq!(page.events.len(), 2);
    /// assert_eq!(store.read(query).count(), 4);
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use]
    pub fn page_bytes(mut self, bytes: NonZeroU64) -> Self {
        self.page_bytes = bytes;
        self
    }

    /// Skips events that were [archived](crate::operate::Archiving). Without this, a read that may need one of them is an
    /// [`Archived`](crate::ErrorKind::Archived) error.
    ///
    /// Only the id, aggregate, tenant and position of an archived event are known, and the range of times of its archive. Filters by
    /// anything else count as matching.
    #[must_use]
    pub fn skip_archived(mut self) -> Self {
        self.skips_archived = true;
        self
    }

    /// For authors of backends: whether archived events are skipped.
    #[must_use]
    pub fn skips_archived(&self) -> bool {
        self.skips_archived
    }

    /// The query in the order of the log, for following it.
    pub(crate) fn in_sequence(mut self) -> Result<Self> {
        if self.direction == Direction::Backwards || self.order == Some(Order::Time) {
            return Err(Error::invalid("the log is followed in its own order, oldest first"));
        }
        self.order = Some(Order::Sequence);
        Ok(self)
    }

    /// The limit of the number of events.
    pub(crate) fn limited_to(&self) -> Option<u64> {
        self.limit
    }

    /// The query without order and limit: all matching events, oldest first.
    pub(crate) fn in_log_order(mut self) -> Self {
        self.direction = Direction::Forwards;
        self.order = Some(Order::Sequence);
        self.limit = None;
        self
    }

    /// Whether the events come in the order of the log, oldest first, so that each is a checkpoint.
    pub(crate) fn is_log_order(&self) -> bool {
        self.order() == Order::Sequence && self.direction == Direction::Forwards
    }

    /// Whether this many events reach the limit.
    pub(crate) fn is_reached_by(&self, events: usize) -> bool {
        self.limit.is_some_and(|limit| events as u64 >= limit)
    }

    /// The window of a first page up to an earlier proved mark, if a newer mark is unlikely to change the page: see
    /// [`read_page`](crate::backend::ServerLog::read_page).
    pub(crate) fn settled_window(&self, proved: GlobalSequence) -> Option<Window> {
        let window = self.window(None, proved);
        let rows = u64::from(window.rows);
        let is_worth_it = self.until <= proved
            || (self.is_log_order()
                && self.limit == Some(rows)
                && proved.get().saturating_sub(self.after.get()) >= rows
                && !self.filter.selects_few());
        (is_worth_it && rows > 0 && window.after < window.until).then_some(window)
    }

    /// Whether the number of events is limited.
    pub(crate) fn is_limited(&self) -> bool {
        self.limit.is_some()
    }

    /// The bounds of the sequences: after the first, up to the second.
    pub(crate) fn bounds(&self) -> (GlobalSequence, GlobalSequence) {
        (self.after, self.until)
    }

    /// For authors of backends: refuses a first page that begins [beyond the end of the log](crate::backend::check_end).
    ///
    /// # Errors
    ///
    /// [`BeyondEnd`](crate::ErrorKind::BeyondEnd), and those of `end`.
    pub fn check_end(&self, mark: GlobalSequence, end: impl FnOnce() -> Result<GlobalSequence>) -> Result<()> {
        check_end(self.after, mark, end)
    }

    /// The filters.
    #[must_use]
    pub fn filter(&self) -> &EventFilter {
        &self.filter
    }

    /// The order of the events.
    #[must_use]
    pub fn order(&self) -> Order {
        let by_time = self.filter.created_from.is_some() || self.filter.created_until.is_some();
        self.order
            .unwrap_or(if by_time { Order::Time } else { Order::Sequence })
    }

    /// Oldest or newest first.
    #[must_use]
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// For authors of backends: the bounds of the page at `cursor`, with the mark of the read.
    #[must_use]
    pub fn window(&self, cursor: Option<&Cursor>, mark: GlobalSequence) -> Window {
        let is_whole_log = self.filter == EventFilter::default() && self.order() == Order::Sequence;
        let usual = if is_whole_log { LOG_PAGE_SIZE } else { DEFAULT_PAGE_SIZE };
        let page_size = self.page_size.unwrap_or(usual).get();
        let remaining = cursor.map_or(self.limit, |cursor| cursor.remaining);
        let mut window = Window {
            after: self.after,
            until: self.until.min(mark),
            beyond: None,
            rows: remaining.map_or(page_size, |left| {
                u32::try_from(left).map_or(page_size, |left| left.min(page_size))
            }),
            bytes: self.page_bytes.get(),
        };
        if let Some(at) = cursor.map(|cursor| cursor.position) {
            window.go_on_beyond(self, at);
        }
        window
    }
}

/// The bounds of one page, computed from the query, the cursor and the mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Window {
    /// Only sequences greater than this.
    pub after: GlobalSequence,
    /// Only sequences up to this.
    pub until: GlobalSequence,
    /// In the order of time: only events after this position, in the direction of the query.
    pub beyond: Option<Position>,
    /// The most events.
    pub rows: u32,
    /// The page ends after this many bytes of data and metadata: see [`PageEvents`].
    pub bytes: u64,
}

impl Window {
    /// Continues after the event at this position, for backends that read a page with several statements. The number of rows stays.
    pub fn go_on_beyond(&mut self, query: &EventQuery, at: Position) {
        match (query.order(), query.direction) {
            (Order::Sequence, Direction::Forwards) => self.after = at.global_sequence,
            (Order::Sequence, Direction::Backwards) => {
                self.until = GlobalSequence::new(at.global_sequence.get().saturating_sub(1))
                    .expect("a smaller sequence is a sequence");
            }
            (Order::Time, _) => self.beyond = Some(at),
        }
    }
}

/// The position of an event in the log, in both orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct Position {
    /// When it was created.
    pub created_at: OffsetDateTime,
    /// Its sequence.
    pub global_sequence: GlobalSequence,
}

impl Position {
    /// The position of an event.
    #[must_use]
    pub fn of(event: &EventEnvelope) -> Self {
        Self {
            created_at: event.created_at,
            global_sequence: event.global_sequence,
        }
    }
}

/// Where a read continues. Opaque: pass it to the next call of [`read_page`](crate::EventStore::read_page) with the same query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    mark: GlobalSequence,
    position: Position,
    remaining: Option<u64>,
}

impl Cursor {
    /// The high-water mark of the read. The first page set it, and all later pages use it.
    #[must_use]
    pub fn high_water_mark(&self) -> GlobalSequence {
        self.mark
    }
}

/// A page of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page {
    /// The events, in the order of the query.
    pub events: Vec<EventEnvelope>,
    /// The checkpoint to store when every event of this page, and of the pages before it, is handled. A read that continues
    /// [after](EventQuery::after) it skips nothing and repeats nothing.
    ///
    /// If more events may follow, or the query's limit ended the page, it is the last event of the page. At the end of the log, it is the
    /// smaller of the high-water mark and the query's `until`, even if filters left out the last events. Pages in the order of time, or
    /// backwards, have the query's `after` until the end of the log.
    pub checkpoint: GlobalSequence,
    /// The final position at which this read ends: no event can still be committed at or before it. It is the high-water mark at the start
    /// of the read, or an earlier one if the later one would add no event to this read. It is not a checkpoint: the page may end before it.
    pub high_water_mark: GlobalSequence,
    /// Where the next page begins, if there may be one.
    pub next: Option<Cursor>,
}

impl Page {
    /// For authors of backends: makes a page from the events in the window of `query` at `cursor`.
    #[must_use]
    pub fn new(
        query: &EventQuery,
        cursor: Option<&Cursor>,
        high_water_mark: GlobalSequence,
        events: Vec<EventEnvelope>,
    ) -> Self {
        let mut found = PageEvents::new(&query.window(cursor, high_water_mark));
        events.into_iter().for_each(|event| found.push(event));
        found.into_page(query, cursor, high_water_mark)
    }
}

/// For authors of backends: refuses a read that begins beyond the end of the log. In that case, events that were read earlier are lost.
///
/// `position` is the beginning of the read, or a mark that was proved earlier; `mark` is proved now. Another store may have proved a
/// greater mark. So if the position is beyond the mark, it is compared with `end`, the greatest committed sequence.
///
/// # Errors
///
/// [`BeyondEnd`](ErrorKind::BeyondEnd), and those of `end`.
pub fn check_end(
    position: GlobalSequence,
    mark: GlobalSequence,
    end: impl FnOnce() -> Result<GlobalSequence>,
) -> Result<()> {
    if position <= mark {
        return Ok(());
    }
    match end()? {
        end if position <= end => Ok(()),
        end => Err(Error::new(ErrorKind::BeyondEnd { position, end })),
    }
}

/// For authors of backends: collects the events of a page, until it has as many events or bytes as its window allows.
///
/// ```
/// # use firefly_eventstore_core::{EventEnvelope, EventQuery, GlobalSequence, Page, backend::PageEvents};
/// # fn page(rows: impl Iterator<Item = EventEnvelope>, query: &EventQuery, mark: GlobalSequence) -> Page {
/// let mut events = PageEvents::new(&query.window(None, mark));
/// for event in rows {
///     events.push(event);
///     if events.is_full() {
///         break;
///     }
/// }
/// events.into_page(query, None, mark)
/// # }
/// # let page = page(std::iter::empty(), &EventQuery::new(), GlobalSequence::ZERO);
/// # assert!(page.events.is_empty() && page.next.is_none());
/// ```
#[derive(Debug)]
pub struct PageEvents {
    events: Vec<EventEnvelope>,
    rows: usize,
    bytes: u64,
    bytes_left: u64,
}

impl PageEvents {
    /// An empty page with this window.
    #[must_use]
    pub fn new(window: &Window) -> Self {
        Self {
            events: Vec::new(),
            rows: window.rows as usize,
            bytes: 0,
            bytes_left: window.bytes,
        }
    }

    /// Reserves memory for this many more events.
    pub fn reserve(&mut self, events: usize) {
        self.events.reserve(events);
    }

    /// Adds the next event.
    pub fn push(&mut self, event: EventEnvelope) {
        let bytes = event.data.as_str().len() + event.metadata.as_ref().map_or(0, |metadata| metadata.as_str().len());
        self.bytes += bytes as u64;
        self.bytes_left = self.bytes_left.saturating_sub(bytes as u64);
        self.events.push(event);
    }

    /// Adds later events.
    pub(crate) fn add(&mut self, others: Self) {
        others.events.into_iter().for_each(|event| self.push(event));
    }

    /// Whether the page ends here: it has as many events or bytes as its window allows.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.events.len() >= self.rows || self.bytes_left == 0
    }

    /// The event that was added last.
    #[must_use]
    pub fn last(&self) -> Option<&EventEnvelope> {
        self.events.last()
    }

    /// How many events there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether there is no event.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// How many bytes of data and metadata the events have.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Makes the page.
    #[must_use]
    pub fn into_page(self, query: &EventQuery, cursor: Option<&Cursor>, high_water_mark: GlobalSequence) -> Page {
        let remaining = cursor
            .map_or(query.limit, |cursor| cursor.remaining)
            .map(|left| left.saturating_sub(self.events.len() as u64));
        let next = self
            .events
            .last()
            .filter(|_| self.is_full() && remaining != Some(0))
            .map(|last| Cursor {
                mark: high_water_mark,
                position: Position::of(last),
                remaining,
            });
        let is_exhausted = next.is_none() && remaining != Some(0);
        let checkpoint = match self.events.last() {
            _ if is_exhausted => query.until.min(high_water_mark).max(query.after),
            Some(last) if query.is_log_order() => last.global_sequence,
            None if query.is_log_order() => query.window(cursor, high_water_mark).after,
            _ => query.after,
        };
        Page {
            events: self.events,
            checkpoint,
            high_water_mark,
            next,
        }
    }
}

fn distinct<T: Ord, S: TryInto<T, Error: Into<Error>>>(names: impl IntoIterator<Item = S>) -> Result<Vec<T>> {
    let mut names = names
        .into_iter()
        .map(|name| name.try_into().map_err(Into::into))
        .collect::<Result<Vec<_>>>()?;
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn bounds_finer_than_a_microsecond_mean_what_they_say() {
        let tick = datetime!(2025-01-15 10:30:00.000_001 UTC);
        let finer = tick + Duration::NANOSECOND;
        let bounds = |range: (Bound<OffsetDateTime>, Bound<OffsetDateTime>)| {
            let query = EventQuery::new().created_at(range);
            (query.filter.created_from, query.filter.created_until)
        };

        assert_eq!(
            bounds((Bound::Included(tick), Bound::Included(tick))),
            (Some(tick), Some(tick))
        );
        assert_eq!(
            bounds((Bound::Included(finer), Bound::Included(finer))),
            (Some(tick + Duration::MICROSECOND), Some(tick))
        );
        assert_eq!(
            bounds((Bound::Excluded(tick), Bound::Excluded(tick))),
            (Some(tick + Duration::MICROSECOND), Some(tick - Duration::MICROSECOND))
        );
        assert_eq!(
            bounds((Bound::Excluded(finer), Bound::Excluded(finer))),
            (Some(tick + Duration::MICROSECOND), Some(tick))
        );
        assert_eq!(bounds((Bound::Unbounded, Bound::Unbounded)), (None, None));
    }
}
