//! Runs a subscription on two threads: one handles events, the other keeps the leases.

use std::thread;

use super::handling::Handling;
use super::keeper::Keeper;
use super::member::Member;
use super::worker::{Context, Worker};
use crate::Error;
use crate::consumer::failure::ConsumerError;
use crate::consumer::observer::ConsumerEvent;
use crate::consumer::stored::store::ConsumerStore;

/// A member of a subscription, with its two threads.
pub(crate) struct Subscribing<S>(pub(crate) Member<S>);

impl<S: ConsumerStore> Worker for Subscribing<S> {
    fn run(&mut self, context: &Context) {
        let member = &self.0;
        thread::scope(|scope| {
            let keeper = thread::Builder::new()
                .name("firefly-leases".to_owned())
                .spawn_scoped(scope, || Keeper { member, context }.run());
            match keeper {
                Ok(_) => Handling::new(member, context).run(),
                Err(error) => context.halt(
                    member.name(),
                    ConsumerError::Store {
                        consumer: member.name().to_owned(),
                        error: Error::io("start the thread that keeps the leases", error),
                    },
                ),
            }
        });
        member.leave();
        context.observer.observe(&ConsumerEvent::Stopped {
            consumer: member.name(),
            error: None,
        });
    }
}
