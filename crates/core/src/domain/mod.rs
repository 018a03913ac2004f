//! The layer that programs use: events as enums, aggregates, commands.

mod codec;
mod upcast;
mod vocabulary;

pub use upcast::Upcasts;
pub use vocabulary::DomainEvent;
