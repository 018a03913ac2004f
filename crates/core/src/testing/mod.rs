//! Tests of aggregates and commands: given events, when a command runs, then events follow.

mod check;
mod given;
mod scenario;
mod shown;

pub use check::{EventCheck, check_events};
pub use given::{Decided, Given};
pub use scenario::Scenario;
