//! Decoding the columns of rows.

use std::error::Error as StdError;

pub(crate) use firefly_eventstore_core::backend::rows::decode;
use firefly_eventstore_core::backend::{self, ArchivedStream, Columns, Fingerprint};
use firefly_eventstore_core::{AggregateKey, Error, Result};
use postgres::Row;
use postgres::types::{FromSql, Type};
use time::OffsetDateTime;
use time::macros::datetime;
use uuid::Uuid;

/// The text of a JSONB column, as the server writes it, without parsing.
pub(crate) struct Json<'a>(pub(crate) &'a str);

impl<'a> FromSql<'a> for Json<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        let [1, text @ ..] = raw else {
            return Err("a version of JSONB that this library does not know".into());
        };
        Ok(Self(std::str::from_utf8(text)?))
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::JSONB
    }
}

/// An integer of any width.
struct Whole(i64);

impl FromSql<'_> for Whole {
    fn from_sql(ty: &Type, raw: &[u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(Self(match raw.len() {
            4 => i32::from_sql(ty, raw)?.into(),
            _ => i64::from_sql(ty, raw)?,
        }))
    }

    fn accepts(ty: &Type) -> bool {
        matches!(*ty, Type::INT4 | Type::INT8)
    }
}

/// A row, for the decoders of the core.
#[expect(missing_debug_implementations, reason = "core alone uses it")]
pub struct Cells<'r>(pub(crate) &'r Row);

impl Columns for Cells<'_> {
    fn optional_text(&self, index: usize) -> Result<Option<&str>> {
        get(self.0, index)
    }

    fn optional_json(&self, index: usize) -> Result<Option<&str>> {
        Ok(get::<Option<Json<'_>>>(self.0, index)?.map(|json| json.0))
    }

    fn optional_integer(&self, index: usize) -> Result<Option<i64>> {
        Ok(get::<Option<Whole>>(self.0, index)?.map(|whole| whole.0))
    }

    fn optional_id(&self, index: usize) -> Result<Option<Uuid>> {
        get(self.0, index)
    }

    fn optional_time(&self, index: usize) -> Result<Option<OffsetDateTime>> {
        get(self.0, index)
    }

    fn double(&self, index: usize) -> Result<f64> {
        get(self.0, index)
    }

    fn fingerprint(&self, index: usize) -> Result<Fingerprint> {
        let bytes = get::<&[u8]>(self.0, index)?.try_into();
        let bytes = bytes.map_err(|_| Error::invalid(format!("column {index} does not have 32 bytes")))?;
        Ok(Fingerprint::from_bytes(bytes))
    }

    fn boolean(&self, index: usize) -> Result<bool> {
        get(self.0, index)
    }
}

/// The archived part of a stream, from a row of `load.sql`, or `None` if the row is an event.
pub(crate) fn archived_among_events(row: &Cells<'_>) -> Result<Option<ArchivedStream>> {
    let archived = || match row.optional_integer(16)? {
        None => Ok(None),
        Some(_) => archived_stream(row).map(Some),
    };
    archived().map_err(|error| backend::damaged(&error, None))
}

fn archived_stream(row: &Cells<'_>) -> Result<ArchivedStream> {
    Ok(ArchivedStream::new(
        AggregateKey::new(row.text(2)?, row.id(1)?)?,
        row.name(11)?,
        row.version(3)?,
        row.id(0)?,
        row.sequence(4)?,
        row.sequence(16)?,
        row.time(8)?,
    ))
}

/// A column.
pub(crate) fn get<'a, T: FromSql<'a>>(row: &'a Row, index: usize) -> Result<T> {
    row.try_get(index).map_err(|error| {
        let cause = error.source().map(ToString::to_string).unwrap_or_default();
        Error::invalid(format!("column {index}: {error}: {cause}")).with_source(error)
    })
}

/// Whether a column has no value.
pub(crate) fn is_null(row: &Row, index: usize) -> Result<bool> {
    struct Something;

    impl FromSql<'_> for Something {
        fn from_sql(_: &Type, _: &[u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
            Ok(Self)
        }

        fn accepts(_: &Type) -> bool {
            true
        }
    }

    Ok(get::<Option<Something>>(row, index)?.is_none())
}

/// The microsecond that contains a time. Times before the least time of PostgreSQL become that one: no event is so old.
pub(crate) fn floor(time: OffsetDateTime) -> OffsetDateTime {
    OffsetDateTime::truncate_to_microsecond(backend::to_utc(time)).max(datetime!(0001-01-01 0:00 UTC))
}
