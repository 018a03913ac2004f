#![doc = include_str!("../README.md")]
#![deny(dead_code)] // a case that is not listed
#![allow(clippy::unwrap_used, reason = "these are tests, although clippy sees only functions")]

mod ability;
mod cases;
mod environment;
pub mod guide;
mod list;
mod macros;
mod memory;
mod model;
mod partial;
mod quiet;
mod run;
mod support;

pub use ability::Ability;
pub use environment::{Damage, Environment, FAULTY, Handle, Unmigrated};
pub use memory::MemoryEnvironment;
pub use model::{agrees_with_the_reference, finds_out};
pub use partial::Partial;
#[doc(hidden)]
pub use run::check;
pub use run::{Case, Outcome, cases};
