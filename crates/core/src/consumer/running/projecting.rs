//! Runs a projection on a thread, until the runner stops.

use std::time::Duration;

use super::follower::{Follower, Step, Trouble};
use super::progress::Part;
use super::signals::Waited;
use super::worker::{Context, Worker};
use crate::Backoff;
use crate::consumer::failure::{BoxError, ConsumerError, Next};
use crate::consumer::observer::ConsumerEvent;
use crate::consumer::projection::Projection;
use crate::consumer::stored::store::Transactional;

/// How often a paused or failed consumer checks whether it was resumed.
const HALTED_LOOK: Duration = Duration::from_secs(1);

/// A projection on its thread.
pub(crate) struct Projecting<S, P> {
    pub(crate) store: S,
    pub(crate) projection: P,
}

impl<S: Transactional, P: Projection<S>> Worker for Projecting<S, P> {
    fn run(&mut self, context: &Context) {
        let name = self.projection.name();
        let mut pauses = Backoff::new();
        while !context.signals.is_stopping() {
            match Follower::begin(&self.store, &self.projection) {
                Ok(follower) => {
                    follow::<S, P>(name, follower, context);
                    break;
                }
                Err(error) => {
                    context.outage(name, &error, &mut pauses);
                }
            }
        }
        context.observer.observe(&ConsumerEvent::Stopped {
            consumer: name,
            error: None,
        });
    }
}

fn follow<S: Transactional, P: Projection<S>>(name: &str, mut follower: Follower<'_, S, P>, context: &Context) {
    let Context { signals, observer, .. } = context;
    observer.observe(&ConsumerEvent::Started {
        consumer: name,
        position: follower.handled(),
    });
    let mut pauses = Backoff::new();
    while !signals.is_stopping() {
        let nudges = signals.nudges();
        let end = signals.mark();
        let step = match context.progress.take_doubt() {
            true => follower.look_at_checkpoint().and_then(|()| follower.step(end)),
            false => follower.step(end),
        };
        match step {
            Ok(Step::Handled { events, elapsed }) => {
                pauses = Backoff::new();
                context.recovered(name, Part::Handling);
                observer.observe(&ConsumerEvent::Handled {
                    consumer: name,
                    events,
                    position: follower.handled(),
                    elapsed,
                });
                context.handled(name, follower.handled(), follower.token());
            }
            Ok(Step::Idle) => {
                pauses = Backoff::new();
                context.recovered(name, Part::Handling);
                context.handled(name, follower.handled(), follower.token());
                signals.wait_for_change(follower.handled(), nudges, follower.longest_idle());
            }
            Err(trouble) => {
                if let Err(trouble) = overcome(&mut follower, trouble, name, context) {
                    endure(&mut follower, trouble, name, context, &mut pauses);
                }
            }
        }
    }
    // Stores how far the log was read, although nothing was applied. If that fails, this part of the log is read again later.
    let _ = follower.keep_position();
}

/// Reacts to a trouble at once, if that is possible.
fn overcome<S: Transactional, P: Projection<S>>(
    follower: &mut Follower<'_, S, P>,
    trouble: Trouble,
    name: &str,
    context: &Context,
) -> Result<(), Trouble> {
    match trouble {
        Trouble::Batch => follower.apply_one_by_one(),
        Trouble::Overtaken(slot) => {
            follower.go_on_at(&slot)?;
            context.observer.observe(&ConsumerEvent::Overtaken {
                consumer: name,
                position: slot.position,
            });
            context.handled(name, slot.position, slot.token);
        }
        Trouble::Event(error) if !follower.is_outage(&error) => failed(follower, error, name, context)?,
        trouble => return Err(trouble),
    }
    Ok(())
}

/// Reacts to an event that could not be applied.
fn failed<S: Transactional, P: Projection<S>>(
    follower: &mut Follower<'_, S, P>,
    error: BoxError,
    name: &str,
    context: &Context,
) -> Result<(), Trouble> {
    let failed = follower.fail(&error)?;
    context.observer.observe(&ConsumerEvent::Failing {
        consumer: name,
        sequence: failed.sequence,
        attempts: failed.attempts,
        error: &*error,
    });
    match failed.next {
        Next::Retry(pause) => {
            context.signals.pause(pause);
        }
        Next::Park => context.observer.observe(&ConsumerEvent::Parked {
            consumer: name,
            sequence: failed.sequence,
            aggregate_id: failed.aggregate_id,
            reason: &error.to_string(),
        }),
        Next::Stop => {
            context.halt(
                name,
                ConsumerError::Event {
                    consumer: name.to_owned(),
                    sequence: failed.sequence,
                    error,
                },
            );
            stand_still(follower, context);
        }
    }
    Ok(())
}

/// Waits until the trouble is over, by itself or because the operator resumed the projection.
fn endure<S: Transactional, P: Projection<S>>(
    follower: &mut Follower<'_, S, P>,
    trouble: Trouble,
    name: &str,
    context: &Context,
    pauses: &mut Backoff,
) {
    match trouble {
        Trouble::Store(error) if error.is_retryable() || error.is_conflict() => {
            context.outage(name, &error, pauses);
        }
        Trouble::Event(error) => {
            context.outage(name, &*error, pauses);
        }
        trouble => {
            if let Err(error) = follower.bear(trouble) {
                context.halt(name, error);
            }
            stand_still(follower, context);
        }
    }
}

/// Waits until the stored state says that the projection runs.
fn stand_still<S: Transactional, P: Projection<S>>(follower: &mut Follower<'_, S, P>, context: &Context) {
    while context.signals.pause(HALTED_LOOK) != Waited::Stopping {
        if follower.wake_up().is_ok() {
            return;
        }
    }
}
