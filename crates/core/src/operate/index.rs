//! The indexes of a store, and their use.

/// An index, and its use.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct IndexUsage {
    /// The table it is on.
    pub table: String,
    /// Its name.
    pub name: String,
    /// Its size in bytes; none if the database does not report it.
    pub bytes: Option<u64>,
    /// How often it was read since the database's counters began; none if the database does not count.
    pub scans: Option<u64>,
    /// Whether it exists, and whether it is the store's.
    pub state: IndexState,
}

impl IndexUsage {
    /// For authors of backends: an index of unknown size and use. Set the fields that the database knows.
    #[must_use]
    pub fn new(table: impl Into<String>, name: impl Into<String>, state: IndexState) -> Self {
        Self {
            table: table.into(),
            name: name.into(),
            bytes: None,
            scans: None,
            state,
        }
    }
}

/// Whether an index exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum IndexState {
    /// The index is the store's, and exists.
    Present,
    /// The index should exist by the chosen [`Indexes`](crate::Indexes), but does not exist, or cannot be used. `migrate()` creates the
    /// optional ones again.
    Missing,
    /// The index exists, but is not the store's.
    Foreign,
}

impl IndexState {
    /// Its name: `present`, `missing` or `foreign`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Present => "present",
            Self::Missing => "missing",
            Self::Foreign => "foreign",
        }
    }
}
