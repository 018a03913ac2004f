#![doc = include_str!("../guide/guide.md")]

#[doc = include_str!("../guide/aggregates.md")]
pub mod aggregates {}

#[doc = include_str!("../guide/evolving.md")]
pub mod evolving {}

#[doc = include_str!("../guide/production.md")]
pub mod production {}

#[doc = include_str!("../guide/projections.md")]
pub mod projections {}

#[doc = include_str!("../guide/subscriptions.md")]
pub mod subscriptions {}

#[doc = include_str!("../guide/testing.md")]
pub mod testing {}
