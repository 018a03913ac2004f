//! The values in events and requests: names, keys, versions, JSON, checksums and times. Each is checked when it is created.

pub(crate) mod aggregate;
pub mod canonical;
pub(crate) mod columns;
pub(crate) mod data;
pub(crate) mod event;
pub(crate) mod fingerprint;
pub(crate) mod finite;
pub(crate) mod limits;
pub(crate) mod name;
pub(crate) mod row;
pub(crate) mod timestamp;
pub(crate) mod version;
