//! Limits of what may be stored.

/// What a store accepts. It refuses everything that it could not store exactly.
///
/// Every backend can store what [`PORTABLE`](Self::PORTABLE) allows, and every store uses these limits by default, so that a log can be
/// moved. A store's builder accepts other limits, up to those of its own backend.
///
/// Some limits are fixed: names have 1 to 255 characters without U+0000; JSON is well-formed, without duplicate keys, lone surrogates, or
/// nesting beyond [`MAX_DEPTH`](crate::canonical::MAX_DEPTH).
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
    /// The largest size of the JSON text of one event's data, or of a snapshot's, in bytes.
    pub max_data_bytes: usize,
    /// The largest size of the JSON text of one event's metadata, in bytes.
    pub max_metadata_bytes: usize,
    /// How deep arrays and objects may nest. MariaDB checks no deeper than 31.
    pub max_depth: usize,
    /// The largest size of a key of a JSON object, in bytes of UTF-8 without its escapes. MySQL stores at most 65,535.
    pub max_key_bytes: usize,
    /// Whether strings may contain U+0000, which PostgreSQL cannot store.
    pub allow_nul: bool,
    /// Whether numbers are allowed that are neither 64-bit integers nor decimals that are exactly a double. MySQL would round them.
    pub allow_inexact_numbers: bool,
}

impl Limits {
    /// What every backend stores exactly.
    ///
    /// 8 MiB of data and 1 MiB of metadata fit into one packet of a MariaDB server with default settings.
    pub const PORTABLE: Self = Self {
        max_data_bytes: 8 << 20,
        max_metadata_bytes: 1 << 20,
        max_depth: 31,
        max_key_bytes: 65_535,
        allow_nul: false,
        allow_inexact_numbers: false,
    };

    /// What a backend stores that keeps JSON as text: SQLite and the in-memory store.
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
