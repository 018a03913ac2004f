//! Running consumers: the threads, what they wait for, and how they handle events.

mod follower;
mod handling;
pub(crate) mod idle;
mod keeper;
mod member;
pub(crate) mod progress;
pub(crate) mod project;
mod projecting;
pub(crate) mod runner;
mod signals;
mod subscribing;
pub(crate) mod wait;
pub(crate) mod worker;
