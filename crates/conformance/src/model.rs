//! Random operations on a store and on the in-memory reference: the answers and errors must be the same.

mod operation;
mod side;

use std::env;

use firefly_eventstore_core::MemoryEventStore;
use proptest::collection::vec;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use crate::ability::Ability;
use crate::environment::Environment;
use crate::quiet;
use operation::Operation;
use side::Side;

/// Cases per backend, unless `PROPTEST_CASES` is set.
const CASES: u32 = 64;

/// Compares a backend with the in-memory store: [`model!`](crate::model!) makes a test of it.
///
/// # Panics
///
/// If their answers differ. The message has the shortest sequence of operations that was found.
pub fn agrees_with_the_reference(fresh: fn() -> Option<Box<dyn Environment>>) {
    if fresh().is_none() {
        return;
    }
    let mut config = Config::default();
    if env::var_os("PROPTEST_CASES").is_none() {
        config.cases = CASES;
    }
    config.failure_persistence = None;
    let fresh = || fresh().expect("the backend was there a moment ago");
    if let Err(error) = compare(TestRunner::new(config), fresh) {
        panic!("the backend and the reference disagree: {error}");
    }
}

/// Whether random operations, always the same ones, find a difference between these environments and the reference.
pub fn finds_out<E: Environment + 'static>(fresh: impl Fn() -> E) -> bool {
    let config = Config {
        cases: 200,
        max_shrink_iters: 0,
        failure_persistence: None,
        ..Config::default()
    };
    let seed = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let runner = TestRunner::new_with_rng(config, seed);
    quiet::unprinted(|| matches!(compare(runner, || Box::new(fresh())), Err(TestError::Fail(..))))
}

fn compare(mut runner: TestRunner, fresh: impl Fn() -> Box<dyn Environment>) -> Result<(), TestError<Vec<Operation>>> {
    runner.run(&vec(operation::any(), 1..80), |operations| {
        let environment = fresh();
        let mut store = Side::new(environment.store());
        let mut reference = Side::new(std::sync::Arc::new(MemoryEventStore::new()));
        for (number, operation) in operations.iter().enumerate() {
            if operation.needs_snapshots() && environment.lacks().contains(&Ability::Snapshots) {
                continue;
            }
            if matches!(operation, Operation::Reopen) {
                store.reopen(environment.reopen());
                continue;
            }
            let (answer, expected) = (store.run(operation), reference.run(operation));
            if answer != expected {
                return Err(TestCaseError::fail(format!(
                    "operation {number}, {operation:#?}\nanswered {answer:#?}\ninstead of {expected:#?}"
                )));
            }
        }
        Ok(())
    })
}
