//! The choice of a store's optional indexes.

/// The optional indexes of a store. Each makes a kind of read fast, and every append slower.
///
/// Reads return the same events with every choice; without a suitable index, they scan the log. The repository's `sql/README.md` lists the
/// indexes of each database and their costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Indexes {
    /// None: for a log with many appends that is read by aggregate or as a whole.
    Lean,
    /// By event type, aggregate type, time, correlation id, causation id and tenant.
    #[default]
    Standard,
    /// All indexes in the schema of the Firefly Event Sourcing Library: also by creator, by type and time together, and by metadata (all
    /// metadata on PostgreSQL, only its correlation id on the other databases).
    Full,
}
