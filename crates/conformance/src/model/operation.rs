//! The operations of the model test: small numbers, which each side turns into calls by its own state.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

/// How many aggregates there are. Their numbers decide their owners and types.
pub(super) const AGGREGATES: u8 = 4;

/// How many forms of snapshots there are.
const FORMS: u8 = 2;

#[derive(Clone, Debug)]
pub(super) enum Operation {
    Append(Vec<Member>),
    /// Repeats an earlier append, unchanged or nearly.
    Repeat {
        attempt: prop::sample::Index,
        change: Change,
        expected: Expected,
    },
    Transaction {
        steps: Vec<Member>,
        ending: Ending,
    },
    Load {
        target: Target,
        from: u32,
        to: Option<u32>,
        backwards: bool,
        limit: Option<u64>,
        as_of: Option<Point>,
    },
    Read(Box<Query>),
    FindEvent(u8),
    SaveSnapshot {
        target: Target,
        form: u8,
        /// How far behind the aggregate's current version.
        behind: i64,
        seconds: i64,
    },
    FindSnapshot {
        target: Target,
        form: Option<u8>,
        at: Option<(u32, bool)>,
    },
    ListSnapshots(Target),
    DeleteSnapshots {
        target: Target,
        which: Which,
    },
    Statistics(Option<u8>),
    Summaries {
        tenant: Option<u8>,
        kind: Option<u8>,
        after: Option<u8>,
        limit: Option<u32>,
    },
    Reopen,
}

impl Operation {
    /// Whether the operation needs a store with snapshots.
    pub(super) fn needs_snapshots(&self) -> bool {
        matches!(
            self,
            Self::SaveSnapshot { .. }
                | Self::FindSnapshot { .. }
                | Self::ListSnapshots(_)
                | Self::DeleteSnapshots { .. }
        )
    }
}

/// An aggregate, with its right or a wrong name.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) aggregate: u8,
    pub(super) wrong_type: bool,
    pub(super) wrong_tenant: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) target: Target,
    pub(super) expected: Expected,
    pub(super) events: Vec<Event>,
}

#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) kind: u8,
    pub(super) data: u8,
    pub(super) metadata: Option<u8>,
    pub(super) correlation: Option<u8>,
    pub(super) causation: Option<u8>,
    pub(super) creator: Option<u8>,
    pub(super) seconds: i64,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Expected {
    Any,
    NoStream,
    Exists,
    /// The current version plus this number.
    Current(i64),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    Nothing,
    Reverse,
    DropFirst,
    DropLast,
    AddOne,
    OtherAggregate,
    OtherData,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Ending {
    Commit,
    /// Returns the first error of a step, as `?` does.
    Propagate,
    RollBack,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Point {
    Version(u32),
    Time(i64),
    /// After this many events of the log.
    Rank(usize),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Which {
    Exactly(u32),
    Before(u32),
    AllButLatest(u64),
    AllButLatestOf(u8, u64),
    Aggregate,
    OlderThan(i64),
    All,
}

#[derive(Clone, Debug)]
pub(super) struct Query {
    pub(super) kinds: Option<Vec<u8>>,
    pub(super) aggregate_types: Option<Vec<u8>>,
    pub(super) aggregate: Option<u8>,
    pub(super) events: Option<Vec<u8>>,
    pub(super) tenant: Option<u8>,
    pub(super) correlation: Option<u8>,
    pub(super) causation: Option<u8>,
    pub(super) creator: Option<u8>,
    pub(super) times: Option<(i64, i64)>,
    pub(super) metadata: Option<u8>,
    pub(super) after: Option<usize>,
    pub(super) until: Option<usize>,
    pub(super) backwards: bool,
    pub(super) by_time: Option<bool>,
    pub(super) limit: Option<u64>,
    pub(super) page: u32,
}

/// Any operation; appends and reads are the most frequent.
pub(super) fn any() -> impl Strategy<Value = Operation> {
    prop_oneof![
        10 => prop_oneof![3 => vec(member(), 1), 1 => vec(member(), 2..4)].prop_map(Operation::Append),
        4 => (prop::arbitrary::any::<prop::sample::Index>(), change(), expected())
            .prop_map(|(attempt, change, expected)| Operation::Repeat { attempt, change, expected }),
        3 => (vec(member(), 0..4), ending()).prop_map(|(steps, ending)| Operation::Transaction { steps, ending }),
        5 => load(),
        10 => query().prop_map(|query| Operation::Read(Box::new(query))),
        1 => (0..40_u8).prop_map(Operation::FindEvent),
        6 => (target(), 0..FORMS, -1..4_i64, 0..6_i64)
            .prop_map(|(target, form, behind, seconds)| Operation::SaveSnapshot { target, form, behind, seconds }),
        5 => (target(), option::of(0..FORMS), option::of((0..6_u32, prop::bool::ANY)))
            .prop_map(|(target, form, at)| Operation::FindSnapshot { target, form, at }),
        1 => target().prop_map(Operation::ListSnapshots),
        3 => (target(), which()).prop_map(|(target, which)| Operation::DeleteSnapshots { target, which }),
        1 => option::of(0..3_u8).prop_map(Operation::Statistics),
        1 => (option::weighted(0.2, 0..3_u8), option::of(0..2_u8), option::of(0..AGGREGATES), option::of(0..4_u32))
            .prop_map(|(tenant, kind, after, limit)| Operation::Summaries { tenant, kind, after, limit }),
        1 => Just(Operation::Reopen),
    ]
}

fn target() -> impl Strategy<Value = Target> {
    (0..AGGREGATES, prop::bool::weighted(0.05), prop::bool::weighted(0.05)).prop_map(
        |(aggregate, wrong_type, wrong_tenant)| Target {
            aggregate,
            wrong_type,
            wrong_tenant,
        },
    )
}

fn member() -> impl Strategy<Value = Member> {
    (target(), expected(), vec(event(), 0..4)).prop_map(|(target, expected, events)| Member {
        target,
        expected,
        events,
    })
}

fn event() -> impl Strategy<Value = Event> {
    let context = (
        option::weighted(0.3, 0..2_u8),
        option::weighted(0.3, 0..2_u8),
        option::weighted(0.3, 0..2_u8),
    );
    // The last document is refused, and its whole append too.
    let data = prop_oneof![30 => 0..5_u8, 1 => Just(5)];
    (0..3_u8, data, option::of(0..5_u8), context, 0..6_i64).prop_map(
        |(kind, data, metadata, (correlation, causation, creator), seconds)| Event {
            kind,
            data,
            metadata,
            correlation,
            causation,
            creator,
            seconds,
        },
    )
}

fn expected() -> impl Strategy<Value = Expected> {
    prop_oneof![
        4 => Just(Expected::Any),
        1 => Just(Expected::NoStream),
        1 => Just(Expected::Exists),
        4 => Just(Expected::Current(0)),
        2 => (-2..=2_i64).prop_map(Expected::Current),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => Just(Change::Nothing),
        1 => Just(Change::Reverse),
        1 => Just(Change::DropFirst),
        1 => Just(Change::DropLast),
        1 => Just(Change::AddOne),
        1 => Just(Change::OtherAggregate),
        1 => Just(Change::OtherData),
    ]
}

fn ending() -> impl Strategy<Value = Ending> {
    prop_oneof![2 => Just(Ending::Commit), 3 => Just(Ending::Propagate), 1 => Just(Ending::RollBack)]
}

fn which() -> impl Strategy<Value = Which> {
    prop_oneof![
        (0..6_u32).prop_map(Which::Exactly),
        (0..6_u32).prop_map(Which::Before),
        (0..3_u64).prop_map(Which::AllButLatest),
        (0..FORMS, 0..3_u64).prop_map(|(form, count)| Which::AllButLatestOf(form, count)),
        Just(Which::Aggregate),
        (0..6_i64).prop_map(Which::OlderThan),
        Just(Which::All),
    ]
}

fn load() -> impl Strategy<Value = Operation> {
    let point = prop_oneof![
        (0..8_u32).prop_map(Point::Version),
        (-1..7_i64).prop_map(Point::Time),
        (0..40_usize).prop_map(Point::Rank),
    ];
    (
        target(),
        0..8_u32,
        option::weighted(0.3, 0..8_u32),
        prop::bool::ANY,
        option::weighted(0.3, 0..5_u64),
        option::weighted(0.4, point),
    )
        .prop_map(|(target, from, to, backwards, limit, as_of)| Operation::Load {
            target,
            from,
            to,
            backwards,
            limit,
            as_of,
        })
}

fn query() -> impl Strategy<Value = Query> {
    let names = (
        option::weighted(0.3, vec(0..4_u8, 0..3)),
        option::weighted(0.2, vec(0..3_u8, 0..3)),
        option::weighted(0.2, 0..AGGREGATES),
        option::weighted(0.1, vec(0..40_u8, 0..20)),
        option::weighted(0.2, 0..3_u8),
    );
    let context = (
        option::weighted(0.15, 0..2_u8),
        option::weighted(0.15, 0..2_u8),
        option::weighted(0.15, 0..2_u8),
        option::weighted(0.3, (-1..6_i64, -1..6_i64)),
        option::weighted(0.2, 0..5_u8),
    );
    let window = (
        option::weighted(0.3, 0..40_usize),
        option::weighted(0.2, 0..40_usize),
        prop::bool::ANY,
        option::weighted(0.3, prop::bool::ANY),
        option::weighted(0.4, 0..8_u64),
        1..7_u32,
    );
    (names, context, window).prop_map(
        |(
            (kinds, aggregate_types, aggregate, events, tenant),
            (correlation, causation, creator, times, metadata),
            (after, until, backwards, by_time, limit, page),
        )| Query {
            kinds,
            aggregate_types,
            aggregate,
            events,
            tenant,
            correlation,
            causation,
            creator,
            times,
            metadata,
            after,
            until,
            backwards,
            by_time,
            limit,
            page,
        },
    )
}
