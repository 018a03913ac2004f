#![doc = include_str!("../README.md")]

mod entry;
mod error;
mod streams;

pub use streams::RedisStreams;
