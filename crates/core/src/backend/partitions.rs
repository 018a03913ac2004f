//! What maintenance of partitions reports.

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
