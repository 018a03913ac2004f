//! Checks of a diagnosis that are the same for every database.

use time::{Duration, OffsetDateTime};

use crate::operate::{Diagnosis, Severity};
use crate::{ErrorKind, Limits, Result, SchemaProblem};

/// Whether the schema is the one that this program needs: given the answer of the driver's own check, and the version of the schema.
///
/// # Errors
///
/// Errors that are not about the schema, such as a lost connection.
pub fn schema(current: Result<()>, version: Option<&str>) -> Result<Diagnosis> {
    let subject = "schema";
    let error = match current {
        Ok(()) => {
            let version = version.unwrap_or("none");
            return Ok(Diagnosis::good(
                subject,
                format!("version {version}, as this program needs"),
            ));
        }
        Err(error) => error,
    };
    let (severity, advice) = match error.kind() {
        ErrorKind::Schema(SchemaProblem::NotMigrated { .. }) => (Severity::Warning, "run migrate"),
        ErrorKind::Schema(SchemaProblem::TooNew { .. }) => (Severity::Warning, "update this program"),
        ErrorKind::Schema(_) => (
            Severity::Danger,
            "make what is missing again as the migrations do, or restore a backup: a store does not open with it",
        ),
        _ => return Err(error),
    };
    Ok(Diagnosis::bad(severity, subject, error.kind().to_string(), advice))
}

/// The greatest difference of two clocks that is good.
const CLOCKS_APART: Duration = Duration::SECOND;

/// Whether the server's clock agrees with this machine's: the server's time, and when it was asked and has answered by this machine's clock.
#[must_use]
pub fn clock(asked: OffsetDateTime, server: OffsetDateTime, answered: OffsetDateTime) -> Diagnosis {
    let subject = "clock";
    // The server read its clock at an unknown time between the two. So a time between them is no difference.
    let ahead = server - server.clamp(asked, answered.max(asked));
    let seconds = ahead.abs().as_seconds_f64();
    if ahead.abs() <= CLOCKS_APART {
        return Diagnosis::good(subject, format!("{seconds:.1} s from this machine's"));
    }
    let side = if ahead.is_positive() { "ahead of" } else { "behind" };
    Diagnosis::bad(
        Severity::Warning,
        subject,
        format!("the server's is {seconds:.1} s {side} this machine's"),
        "synchronize both clocks by NTP: times of events come from both, and as-of reads and restores use them",
    )
}

/// Whether the connection is encrypted. `in_use` says how, if it is. `options` are those of a URL that turn encryption on.
#[must_use]
pub fn encryption(in_use: Option<&str>, is_local: bool, options: &str) -> Diagnosis {
    let subject = "TLS";
    match (in_use, is_local) {
        (Some(how), _) => Diagnosis::good(subject, how),
        (None, true) => Diagnosis::good(subject, "not in use, and the server is on this machine"),
        (None, false) => Diagnosis::bad(
            Severity::Notice,
            subject,
            "not in use, and the server is on another machine",
            format!(
                "others on the network can read events, and perhaps the password; add {options} to the URL, of a program that was built \
                 with the feature rustls"
            ),
        ),
    }
}

/// Whether the limits of events are those that every database accepts.
#[must_use]
pub fn limits(limits: &Limits) -> Diagnosis {
    let subject = "limits";
    let portable = Limits::PORTABLE;
    let beyond = limits.max_data_bytes > portable.max_data_bytes
        || limits.max_metadata_bytes > portable.max_metadata_bytes
        || limits.max_depth > portable.max_depth
        || limits.max_key_bytes > portable.max_key_bytes
        || limits.allow_nul
        || limits.allow_inexact_numbers;
    match beyond {
        true => Diagnosis::bad(
            Severity::Notice,
            subject,
            "beyond the portable ones: other databases may refuse what is stored here",
            "use Limits::PORTABLE for a log that may move to another database",
        ),
        false => Diagnosis::good(subject, "portable"),
    }
}

/// How many partitions a log should have at most.
pub const MANY_PARTITIONS: u64 = 24;

/// Whether the last partition of a log is empty, and there are not too many: given a description of them, their number, and the end of the log
/// if that has reached the last one. `afterwards` says what to do after old events were archived.
#[must_use]
pub fn partitions(found: String, count: u64, reached: Option<i64>, afterwards: &str) -> Diagnosis {
    let subject = "partitions";
    match reached {
        Some(end) => Diagnosis::bad(
            Severity::Warning,
            subject,
            format!("{found}, and the log is at {end}"),
            "what is appended goes into the last one, which is to stay empty; run maintain now, and more often than a partition fills",
        ),
        None if count > MANY_PARTITIONS => Diagnosis::bad(
            Severity::Notice,
            subject,
            found,
            format!(
                "reads and appends get slower with each; archive the oldest events, then {afterwards}, or let partitions(…) choose larger \
                 ones for the events to come"
            ),
        ),
        None => Diagnosis::good(subject, found),
    }
}

/// A conversion of the log that is not finished: what it makes of the log, how far it is, and the call that continues it.
#[must_use]
pub fn conversion(into: &str, done: &str, call: &str) -> Diagnosis {
    Diagnosis::bad(
        Severity::Warning,
        "conversion",
        format!("the log is being converted into {into}, or the conversion was interrupted: {done}"),
        format!("if no process converts the store, run {call}: it continues"),
    )
}

/// Events that leave the log with their partitions, from one sequence to another, and the location of their file. `left` says what remains to
/// be done if they have left.
#[must_use]
pub fn leaving(first: i64, last: i64, location: Option<&str>, left: Option<&str>) -> Diagnosis {
    let events = format!("the events with the global sequences {first} to {last} are");
    let file = location.unwrap_or("an archive");
    let found = match left {
        None => format!("{events} in the log, and are prepared to leave it with their partitions, into {file}"),
        Some(left) => format!("{events} archived in {file}; {left}"),
    };
    let advice = "if no program is archiving now, that was interrupted: retire the file again, or attach it to undo it";
    Diagnosis::bad(Severity::Warning, "archiving", found, advice)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use crate::Error;

    #[test]
    fn clocks_that_differ_by_more_than_a_second_are_told_and_slow_answers_are_not() {
        let asked = datetime!(2025-01-15 10:30 UTC);
        let at = |server: Duration, answer: Duration| {
            let diagnosis = clock(asked, asked + server, asked + answer);
            (diagnosis.severity, diagnosis.found)
        };
        let (second, none) = (Duration::SECOND, Duration::ZERO);
        assert_eq!(at(second, none).0, Severity::Good);
        assert_eq!(
            at(second * 5, second * 5).0,
            Severity::Good,
            "it may have looked at the end"
        );
        let (severity, found) = at(second * 5, second * 2);
        assert_eq!(
            (severity, found.as_str()),
            (Severity::Warning, "the server's is 3.0 s ahead of this machine's")
        );
        let (severity, found) = at(second * -2, second * 9);
        assert_eq!(
            (severity, found.as_str()),
            (Severity::Warning, "the server's is 2.0 s behind this machine's")
        );
        // The clock was set back before the answer arrived.
        assert_eq!(at(none, -second).0, Severity::Good);
    }

    #[test]
    fn a_connection_without_tls_is_told_where_it_leaves_the_machine() {
        let severity = |in_use, is_local| encryption(in_use, is_local, "sslmode=verify-full").severity;
        assert_eq!(severity(None, true), Severity::Good);
        assert_eq!(severity(Some("TLSv1.3"), false), Severity::Good);
        assert_eq!(severity(None, false), Severity::Notice);
    }

    #[test]
    fn a_schema_is_current_older_newer_or_altered() {
        let of = |problem| schema(Err(Error::new(ErrorKind::Schema(problem))), None).unwrap();
        let older = of(SchemaProblem::NotMigrated {
            found: Some("1.0.0".into()),
            required: "2.0.0".into(),
        });
        assert_eq!(
            (older.severity, older.advice.as_deref()),
            (Severity::Warning, Some("run migrate"))
        );
        let newer = of(SchemaProblem::TooNew {
            found: "3.0.0".into(),
            required: "2.0.0".into(),
        });
        assert_eq!(newer.advice.as_deref(), Some("update this program"));
        let altered = of(SchemaProblem::Altered {
            reason: "a table is missing".into(),
        });
        assert_eq!(altered.severity, Severity::Danger);
        assert_eq!(schema(Ok(()), Some("2.0.0")).unwrap().severity, Severity::Good);
        schema(Err(Error::new(ErrorKind::PermissionDenied)), None).unwrap_err();
    }
}
