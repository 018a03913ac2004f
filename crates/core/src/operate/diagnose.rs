//! The diagnosis of a store: the findings of its backend, and those about consumers, seals and archives.

use super::archiving::diagnose_archives;
use super::consumers::diagnose_consumers;
use super::diagnosis::Diagnosis;
use super::operations::Operations;
use super::sealing::diagnose_seals;
use crate::{EventStore, GlobalSequence, Result};

/// The findings of [`Operations::diagnose`]; how much of the log is sealed, with the subject `seals`; how much of it is archived, with the
/// subject `archives`; and which consumers stand still, with the subject `consumers`.
///
/// # Errors
///
/// Those of the store.
pub fn diagnose(store: &dyn Operations) -> Result<Vec<Diagnosis>> {
    let mut diagnoses = store.diagnose()?;
    let mark = known_mark(store)?;
    diagnoses.push(diagnose_seals(store, mark).map_err(|error| error.during("look at the seals"))?);
    diagnoses.extend(diagnose_archives(
        &store.archives().map_err(|error| error.during("list the archives"))?,
    ));
    diagnoses.extend(diagnose_consumers(store, mark).map_err(|error| error.during("look at the consumers"))?);
    Ok(diagnoses)
}

/// The high-water mark; none if it cannot be proved.
fn known_mark(store: &(impl EventStore + ?Sized)) -> Result<Option<GlobalSequence>> {
    match store.high_water_mark() {
        Err(error) if error.is_unprovable() => Ok(None),
        // The store reports lost events, once.
        Err(error) if error.is_beyond_end() => store.high_water_mark().map(Some),
        mark => mark.map(Some),
    }
}
