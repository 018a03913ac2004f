//! How long servers may take.

use std::time::Duration;

/// How long a server may take to start or to stop.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How long to wait before looking again whether it has.
pub(crate) const POLL: Duration = Duration::from_millis(20);
