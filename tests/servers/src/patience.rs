//! Time limits for servers.

use std::time::Duration;

/// The longest time that a server may take to start or to stop.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The pause between two checks.
pub(crate) const POLL: Duration = Duration::from_millis(20);
