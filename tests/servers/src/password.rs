//! Random passwords.

use std::fs::File;
use std::io::Read;

/// A new password.
pub(crate) fn password() -> Result<String, String> {
    let mut random = [0; 16];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut random))
        .map_err(|error| format!("/dev/urandom: {error}"))?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}
