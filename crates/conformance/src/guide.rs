#![doc = include_str!("../guide.md")]
//!
//! ### `store.rs`, the backend
//!
//! ```ignore
#![doc = include_str!("../tests/directory/store.rs")]
//! ```
//!
//! ### `row.rs`, its format
//!
//! ```ignore
#![doc = include_str!("../tests/directory/row.rs")]
//! ```
//!
//! ### `main.rs`, what the suite needs to know of it
//!
//! ```ignore
#![doc = include_str!("../tests/directory/main.rs")]
//! ```
