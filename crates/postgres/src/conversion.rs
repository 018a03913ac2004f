//! The state of a conversion of the log into partitions or back.

use firefly_eventstore_core::backend::{checks, kinds};
use firefly_eventstore_core::operate::Diagnosis;
use firefly_eventstore_core::{Error, Partitions, Result};
use postgres::Client;

use crate::error::classify;
use crate::row::{decode, get};
use crate::session::Session;
use crate::sql;

/// What the next step of a conversion depends on.
pub(crate) struct State {
    pub(crate) is_partitioned: bool,
    pub(crate) begun: Option<Begun>,
    /// The last allocated sequence, or `None` if the role has no right to read it.
    pub(crate) allocated: Option<i64>,
    /// The size of the table of events in bytes; 0 if it is partitioned.
    pub(crate) bytes: i64,
    /// Whether the summaries of aggregates are read from the table itself, without a view.
    pub(crate) are_summaries_of_table: bool,
}

/// A conversion that is not finished.
pub(crate) struct Begun {
    /// What the log is divided into, or `None` if it becomes one table.
    pub(crate) into: Option<Chosen>,
    /// The sequence up to which the events from before the conversion are prepared.
    pub(crate) prepared: i64,
    pub(crate) prepare_until: i64,
    /// The first sequence of the second partition, if it is chosen.
    pub(crate) bound: Option<i64>,
    /// Whether the table has a constraint that refuses events beyond the bound.
    pub(crate) is_bound: bool,
    /// Whether the other table has the name `events` already.
    pub(crate) is_swapped: bool,
}

impl State {
    pub(crate) fn of(session: &mut Session<'_, Client>) -> Result<Self> {
        let rows = session.query(sql::CONVERSION, &[]).map_err(classify)?;
        let states = decode(&rows, |row| {
            let begun = match get::<Option<i64>>(row, 1)? {
                None => None,
                Some(_) => Some(Begun {
                    into: match (get(row, 3)?, Chosen::recorded(get(row, 2)?, get(row, 12)?)) {
                        (false, Chosen::Month) => None,
                        (_, chosen) => Some(chosen),
                    },
                    prepared: get(row, 4)?,
                    prepare_until: get(row, 5)?,
                    bound: get(row, 6)?,
                    is_swapped: get(row, 7)?,
                    is_bound: get(row, 10)?,
                }),
            };
            Ok(Self {
                is_partitioned: get(row, 0)?,
                begun,
                allocated: get(row, 8)?,
                bytes: get(row, 9)?,
                are_summaries_of_table: get(row, 11)?,
            })
        })?;
        states.into_iter().next().ok_or_else(changed)
    }
}

impl Begun {
    /// The conversion that is not finished, also if the schema has no table of conversions yet.
    pub(crate) fn pending(session: &mut Session<'_, Client>) -> Result<Option<Diagnosis>> {
        let table = session.query(sql::HAS_TABLE, &[&"firefly_conversions"]);
        match table.map_err(classify)?.is_empty() {
            true => Ok(None),
            false => Ok(State::of(session)?.begun.as_ref().map(Self::diagnosis)),
        }
    }

    /// How far it is, and the call that continues it.
    fn diagnosis(&self) -> Diagnosis {
        let (into, call) = match &self.into {
            Some(_) => (
                "partitions",
                "convert_to_partitions, or the tool's partition --events, --by-month or --by-type",
            ),
            None => ("one table", "convert_to_one_table, or the tool's partition --undo"),
        };
        let done = match self.is_swapped {
            true => "done, except that what only the earlier table needs is not dropped yet".to_owned(),
            false => format!("{} of {} sequences are prepared", self.prepared, self.prepare_until),
        };
        let limit = match self.bound.filter(|_| self.is_bound && !self.is_swapped) {
            Some(bound) => format!("; until it is finished, appends from the sequence {bound} on are refused"),
            None => String::new(),
        };
        checks::conversion(into, &format!("{done}{limit}"), call)
    }
}

/// A choice of partitions that the database can record.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Chosen {
    /// How many sequences a partition has.
    Events(i64),
    Month,
    /// The aggregate types that have partitions of their own.
    Types(Vec<String>),
}

impl Chosen {
    pub(crate) fn of(partitions: &Partitions) -> Result<Self> {
        if let Some(types) = partitions.checked_aggregate_types()? {
            return Ok(Self::Types(types.to_vec()));
        }
        match partitions.events() {
            Some(_) => partitions.checked_events().map(Self::Events),
            None => Ok(Self::Month),
        }
    }

    /// The choice that the database has recorded.
    pub(crate) fn recorded(events: Option<i64>, types: Option<Vec<String>>) -> Self {
        match (events, types) {
            (_, Some(types)) => Self::Types(types),
            (Some(events), None) => Self::Events(events),
            (None, None) => Self::Month,
        }
    }

    pub(crate) fn partitions(&self) -> Partitions {
        match self {
            Self::Events(events) => Partitions::by_events(events.unsigned_abs()),
            Self::Month => Partitions::by_month(),
            Self::Types(types) => Partitions::by_aggregate_type(types),
        }
    }

    /// What is recorded of it: the number of sequences, and the types.
    pub(crate) fn to_record(&self) -> (Option<i64>, Option<&[String]>) {
        match self {
            Self::Events(events) => (Some(*events), None),
            Self::Month => (None, None),
            Self::Types(types) => (None, Some(types)),
        }
    }
}

/// The error when another session has changed the schema meanwhile.
pub(crate) fn changed() -> Error {
    Error::new(kinds::unavailable(
        "the store changed while it was converted: call again",
    ))
}
