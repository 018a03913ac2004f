//! Which indexes a store has beside those that it needs.

/// Which indexes a store has beside the unique ones. Each makes a kind of read fast, and every append slower.
///
/// Reads find the same events with any choice; without an index that would serve them, they walk the log.
/// The repository's `sql/README.md` has the indexes of each database and what they cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Indexes {
    /// None: for a log that is appended to much, and read by aggregate or as a whole.
    Lean,
    /// By event type, aggregate type, time, correlation id, causation id and tenant.
    #[default]
    Standard,
    /// All that the schema of the Firefly Event Sourcing Library has: also by creator, by a type and time together, and by metadata:
    /// all of it on PostgreSQL, its correlation id on the other databases.
    Full,
}

impl Indexes {
    /// The least choice that has every index that there is. For authors of backends: a store does not remember its choice.
    ///
    /// `optional` are the indexes that a store may be without, each with the least choice that has it.
    #[must_use]
    pub fn of_those_there(optional: &[(&str, Self)], is_there: impl Fn(&str) -> bool) -> Self {
        let there = optional.iter().filter(|(name, _)| is_there(name));
        there.map(|(_, least)| *least).max().unwrap_or(Self::Lean)
    }
}
