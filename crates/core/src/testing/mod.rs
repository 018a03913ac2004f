//! For test harnesses: what was, what is done, what must follow.

mod check;
mod given;
mod scenario;
mod shown;

pub use check::{EventCheck, check_events};
pub use given::{Decided, Given};
pub use scenario::Scenario;
