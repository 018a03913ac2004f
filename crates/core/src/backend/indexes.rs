//! The indexes of a store: which a choice includes, which exist, and what to do about it.

use crate::Indexes;
use crate::operate::{Diagnosis, IndexState, IndexUsage, Severity};

/// An optional index of `events`, and the least choice that includes it.
pub type OptionalIndex = (&'static str, Indexes);

/// The optional indexes of every database.
pub const OPTIONAL: &[OptionalIndex] = &[
    ("idx_events_type", Indexes::Standard),
    ("idx_events_aggregate_type", Indexes::Standard),
    ("idx_events_created_at", Indexes::Standard),
    ("idx_events_correlation_id", Indexes::Standard),
    ("idx_events_causation_id", Indexes::Standard),
    ("idx_events_tenant_id", Indexes::Standard),
    ("idx_events_created_by", Indexes::Full),
    ("idx_events_aggregate_type_created", Indexes::Full),
    ("idx_events_type_created", Indexes::Full),
    ("idx_events_tenant_aggregate", Indexes::Full),
    ("idx_events_metadata_correlation", Indexes::Full),
];

/// The choice that is nearest to the existing indexes: a store does not record its choice.
pub fn nearest_choice(optional: &[OptionalIndex], is_there: impl Fn(&str) -> bool) -> Indexes {
    let differs = |chosen: Indexes| {
        let differs = |(name, least): &&OptionalIndex| (*least <= chosen) != is_there(name);
        optional.iter().filter(differs).count()
    };
    [Indexes::Lean, Indexes::Standard, Indexes::Full]
        .into_iter()
        .min_by_key(|chosen| differs(*chosen))
        .unwrap_or_default()
}

/// The state of the indexes that exist or should exist, by their tables and names.
///
/// `found` are the existing ones. An index that cannot be used has the state [`IndexState::Missing`]. `required` are the tables and names of
/// those that every store has. Without a choice, the [nearest](nearest_choice) one counts.
#[must_use]
pub fn usage(
    mut found: Vec<IndexUsage>,
    required: &[(&str, &str)],
    optional: &[OptionalIndex],
    chosen: Option<Indexes>,
) -> Vec<IndexUsage> {
    let is_there = |table: &str, name: &str| found.iter().any(|index| index.table == table && index.name == name);
    let chosen = chosen.unwrap_or_else(|| nearest_choice(optional, |name| is_there("events", name)));
    let expected = optional.iter().filter(|(_, least)| *least <= chosen);
    let expected = required
        .iter()
        .copied()
        .chain(expected.map(|(name, _)| ("events", *name)));
    let missing: Vec<IndexUsage> = expected
        .filter(|(table, name)| !is_there(table, name))
        .map(|(table, name)| IndexUsage::new(table, name, IndexState::Missing))
        .collect();
    for index in &mut found {
        let is_required = required.contains(&(&*index.table, &*index.name));
        if !is_required && !is_optional(optional, index) {
            index.state = IndexState::Foreign;
        }
    }
    found.extend(missing);
    found.sort_by(|one, other| (&one.table, &one.name).cmp(&(&other.table, &other.name)));
    found
}

/// The findings about the indexes of a store: those that are missing, foreign or unused.
///
/// An optional index that was not read counts as unused if `counts_long`: the database has counted for long enough.
#[must_use]
pub fn diagnose(usage: &[IndexUsage], optional: &[OptionalIndex], counts_long: bool) -> Vec<Diagnosis> {
    let is_optional = |index: &IndexUsage| is_optional(optional, index);
    let told = |severity, subject, is_meant: &dyn Fn(&IndexUsage) -> bool, advice: &str| {
        let names: Vec<String> = usage
            .iter()
            .filter(|index| is_meant(index))
            .map(|index| format!("{}.{}", index.table, index.name))
            .collect();
        (!names.is_empty()).then(|| Diagnosis::bad(severity, subject, names.join(", "), advice))
    };
    let found = [
        told(
            Severity::Warning,
            "missing required indexes",
            &|index| index.state == IndexState::Missing && !is_optional(index),
            "every store needs them: without them, statements fail or are slow; make them again as the migrations do",
        ),
        told(
            Severity::Notice,
            "missing indexes",
            &|index| index.state == IndexState::Missing && is_optional(index),
            "reads that could use them scan the log instead; let a program migrate with the indexes(…) that the store is to have",
        ),
        told(
            Severity::Notice,
            "foreign indexes",
            &|index| index.state == IndexState::Foreign,
            "they are not the store's, and each makes writes slower; drop those that no query of yours needs",
        ),
        told(
            Severity::Notice,
            "unused indexes",
            &|index| counts_long && index.state == IndexState::Present && index.scans == Some(0) && is_optional(index),
            "each makes appends slower; if they stay unused, let a program migrate with indexes(…) that leave them out",
        ),
    ];
    let found: Vec<Diagnosis> = found.into_iter().flatten().collect();
    match found.is_empty() {
        true => vec![Diagnosis::good("indexes", format!("{}, all in order", usage.len()))],
        false => found,
    }
}

fn is_optional(optional: &[OptionalIndex], index: &IndexUsage) -> bool {
    index.table == "events" && optional.iter().any(|(name, _)| *name == index.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(names: &[&str]) -> Vec<IndexUsage> {
        let index = |name: &&str| IndexUsage::new("events", *name, IndexState::Present);
        names.iter().map(index).collect()
    }

    fn standard() -> Vec<&'static str> {
        let standard = OPTIONAL.iter().filter(|(_, least)| *least <= Indexes::Standard);
        standard.map(|(name, _)| *name).collect()
    }

    #[test]
    fn a_store_that_differs_a_little_from_a_choice_has_that_choice() {
        let choice = |names: &[&str]| nearest_choice(OPTIONAL, |name| names.contains(&name));
        assert_eq!(choice(&[]), Indexes::Lean);
        assert_eq!(choice(&["idx_events_type"]), Indexes::Lean);
        assert_eq!(choice(&standard()), Indexes::Standard);
        assert_eq!(choice(&standard()[1..]), Indexes::Standard);
        assert_eq!(
            choice(&[&standard()[..], &["idx_events_created_by"]].concat()),
            Indexes::Standard
        );
        let full: Vec<&str> = OPTIONAL.iter().map(|(name, _)| *name).collect();
        assert_eq!(choice(&full[1..]), Indexes::Full);
    }

    #[test]
    fn indexes_are_present_missing_or_foreign() {
        let required = [("events", "events_pkey"), ("snapshots", "snapshots_pkey")];
        let mut names = standard();
        names[0] = "mine";
        names.push("events_pkey");
        let usage = usage(found(&names), &required, OPTIONAL, None);
        let strange = usage.iter().filter(|index| index.state != IndexState::Present);
        let strange: Vec<_> = strange.map(|index| (&*index.name, index.state)).collect();
        assert_eq!(
            strange,
            [
                ("idx_events_type", IndexState::Missing),
                ("mine", IndexState::Foreign),
                ("snapshots_pkey", IndexState::Missing),
            ]
        );
        let subjects: Vec<_> = diagnose(&usage, OPTIONAL, true)
            .into_iter()
            .map(|diagnosis| (diagnosis.severity, diagnosis.subject, diagnosis.found))
            .collect();
        let told = |severity, subject: &str, found: &str| (severity, subject.to_owned(), found.to_owned());
        assert_eq!(
            subjects,
            [
                told(
                    Severity::Warning,
                    "missing required indexes",
                    "snapshots.snapshots_pkey"
                ),
                told(Severity::Notice, "missing indexes", "events.idx_events_type"),
                told(Severity::Notice, "foreign indexes", "events.mine"),
            ]
        );
    }

    #[test]
    fn an_unused_index_is_told_once_it_was_unused_for_long_and_is_no_key() {
        let subject = |name, scans, counts_long| {
            let mut usage = found(&[name]);
            usage[0].scans = scans;
            diagnose(&usage, OPTIONAL, counts_long)[0].subject.clone()
        };
        assert_eq!(subject("idx_events_type", Some(0), true), "unused indexes");
        assert_eq!(subject("idx_events_type", Some(0), false), "indexes");
        assert_eq!(subject("idx_events_type", Some(1), true), "indexes");
        assert_eq!(subject("idx_events_type", None, true), "indexes", "not counted");
        assert_eq!(subject("events_pkey", Some(0), true), "indexes", "a key is always used");
    }
}
