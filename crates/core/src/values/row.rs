//! The bytes of a row whose hash is stored or compared.

use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::Checksum;

/// The SHA-256 of a row, column by column. The encoding is unambiguous: two different rows never have the same bytes.
pub(crate) struct Row(Vec<u8>);

impl Row {
    /// A row that begins with other bytes.
    pub(crate) fn after(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    pub(crate) fn number(&mut self, number: u64) {
        self.0.extend(number.to_be_bytes());
    }

    pub(crate) fn id(&mut self, id: Uuid) {
        self.0.extend(id.as_bytes());
    }

    pub(crate) fn hash(&mut self, checksum: &Checksum) {
        self.0.extend(checksum.as_bytes());
    }

    /// Adds a text with its length before it. Absent and empty are different.
    pub(crate) fn text(&mut self, text: Option<&str>) {
        match text {
            None => self.number(u64::MAX),
            Some(text) => {
                self.number(text.len() as u64);
                self.0.extend(text.as_bytes());
            }
        }
    }

    pub(crate) fn checksum(&mut self, checksum: Option<Checksum>) {
        match checksum {
            None => self.0.push(0),
            Some(checksum) => {
                self.0.push(1);
                self.hash(&checksum);
            }
        }
    }

    pub(crate) fn time(&mut self, time: Option<OffsetDateTime>) {
        match time {
            None => self.0.push(0),
            Some(time) => {
                self.0.push(1);
                self.0.extend(time.unix_timestamp_nanos().to_be_bytes());
            }
        }
    }

    /// The bytes of the columns so far.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn digest(self) -> Checksum {
        Checksum::from_bytes(Sha256::digest(&self.0).into())
    }
}
