//! What maintenance of partitions reports, and what a conversion or an archiving refuses.

use crate::{Error, Result};

/// The report of [`Operations::add_partitions`](crate::operate::Operations::add_partitions): how many partitions the log has, how many of
/// them are new, and how many without events were joined to another.
#[must_use]
pub fn report_partitions(partitions: u64, added: u64, joined: u64) -> String {
    let new = match added {
        0 => "and needs no more".to_owned(),
        added => format!("{added} of them new"),
    };
    let gone = match joined {
        0 => String::new(),
        joined => format!("; {joined} whose events are archived were joined to another"),
    };
    format!("the log has {partitions}, {new}{gone}")
}

/// Refuses to convert a log on whose table there is something that cannot be moved to another table.
///
/// # Errors
///
/// [`InvalidInput`](crate::ErrorKind::InvalidInput), which names everything that was found.
pub fn refuse_hindrances(found: &[String]) -> Result<()> {
    match found.is_empty() {
        true => Ok(()),
        false => Err(Error::invalid(format!(
            "some things on the table of events cannot be moved to another table: {}; drop them, convert, and make them again",
            found.join(", ")
        ))),
    }
}

/// The error of an archiving that finds another one interrupted, whose file is at this location.
#[must_use]
pub fn interrupted_archiving(location: Option<&str>) -> Error {
    Error::invalid(format!(
        "the archiving of {} was interrupted: retire or attach that file first",
        location.unwrap_or("another file")
    ))
}

#[cfg(test)]
mod tests {
    use super::report_partitions;

    #[test]
    fn a_report_tells_what_changed() {
        assert_eq!(report_partitions(3, 0, 0), "the log has 3, and needs no more");
        assert_eq!(
            report_partitions(3, 1, 2),
            "the log has 3, 1 of them new; 2 whose events are archived were joined to another"
        );
    }
}
