//! What may be stored.

/// What a store accepts, so that everything it accepts can be kept exactly.
///
/// [`PORTABLE`](Self::PORTABLE) is what every backend keeps, and what every store starts with, so that a log can move.
/// A store's builder takes other limits, up to what its own backend keeps.
///
/// What no limit lifts: names have one to 255 characters without U+0000; JSON is well-formed, without duplicate keys,
/// lone surrogates, or nesting beyond [`MAX_DEPTH`](crate::canonical::MAX_DEPTH).
///
/// ```
/// use firefly_eventstore_core::{Limits, MemoryEventStore, prelude::*};
///
/// let mut limits = Limits::PORTABLE;
/// limits.max_depth = 64;
/// let (portable, deeper) = (MemoryEventStore::new(), MemoryEventStore::new().with_limits(limits));
///
/// let tree = AggregateKey::new("Tree", Uuid::now_v7())?;
/// let grown = NewEvent::from_json("tree.grown", "[".repeat(40) + &"]".repeat(40))?;
/// assert!(portable.append(&tree, ExpectedVersion::NoStream, &[grown.clone()]).unwrap_err().is_invalid_input());
/// assert_eq!(deeper.append(&tree, ExpectedVersion::NoStream, &[grown])?.version(), 1);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The most bytes the JSON text of one event's data, or of a snapshot's, may have.
    pub max_data_bytes: usize,
    /// The most bytes the JSON text of one event's metadata may have.
    pub max_metadata_bytes: usize,
    /// How deep arrays and objects may nest; MariaDB checks no deeper than 31.
    pub max_depth: usize,
    /// The most bytes a key of a JSON object may have, as UTF-8 and without its escapes; MySQL keeps no longer ones than 65,535.
    pub max_key_bytes: usize,
    /// Whether strings may contain U+0000, which PostgreSQL cannot keep.
    pub allow_nul: bool,
    /// Whether numbers may be other than 64-bit integers and decimals that a double carries exactly. MySQL would round
    /// those.
    pub allow_inexact_numbers: bool,
}

impl Limits {
    /// What every backend keeps exactly.
    ///
    /// Eight MiB of data and one MiB of metadata fit into one packet of a MariaDB server with its default settings.
    pub const PORTABLE: Self = Self {
        max_data_bytes: 8 << 20,
        max_metadata_bytes: 1 << 20,
        max_depth: 31,
        max_key_bytes: 65_535,
        allow_nul: false,
        allow_inexact_numbers: false,
    };

    /// What a backend that keeps JSON as text can keep: SQLite and the in-memory store.
    pub const TEXT: Self = Self {
        max_data_bytes: 256 << 20,
        max_metadata_bytes: 256 << 20,
        max_depth: super::canonical::MAX_DEPTH,
        max_key_bytes: 256 << 20,
        allow_nul: true,
        allow_inexact_numbers: true,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::PORTABLE
    }
}
