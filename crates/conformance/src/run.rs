//! Running one case, and its outcome.

use std::any::Any;
use std::io::{Write as _, stderr};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::ability::{Ability, Missing};
use crate::environment::Environment;
use crate::quiet;

/// One case of the suite.
///
/// The macros of this crate make a test of each. Use this type to run cases in another way, as the tests of the suite itself do.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    topic: &'static str,
    name: &'static str,
    /// Whether the case runs consumers on threads, and waits for them.
    runs_consumers: bool,
    run: fn(&dyn Environment),
}

/// The outcome of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The store behaves as it must.
    Passed,
    /// The store does not, or the case needs an ability that the environment neither implements nor [lacks](Environment::lacks).
    Failed,
    /// The case needs an ability that the environment lacks.
    NotApplicable(Ability),
}

macro_rules! list {
    ($runs_consumers:literal; $($topic:ident: $($case:ident),+;)+) => {
        &[$($(Case {
            topic: stringify!($topic),
            name: stringify!($case),
            runs_consumers: $runs_consumers,
            run: crate::cases::$topic::$case,
        },)+)+]
    };
}

const CASES: &[Case] = crate::with_cases!([list] false;);
const CASES_OF_CONSUMERS: &[Case] = crate::with_cases_of_consumers!([list] true;);

/// Every case except those that run consumers: on a store with a bug, these may wait for ever.
#[must_use]
pub fn cases() -> &'static [Case] {
    CASES
}

impl Case {
    /// Its topic, such as `append`.
    #[must_use]
    pub fn topic(&self) -> &'static str {
        self.topic
    }

    /// The behaviour that it asserts, such as `rejects_a_stale_expected_version`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Runs the case in a fresh environment. Panics of a case that fails are not printed.
    #[must_use]
    pub fn outcome(&self, environment: &dyn Environment) -> Outcome {
        match quiet::unprinted(|| self.attempt(environment)) {
            Ok(None) => Outcome::Passed,
            Ok(Some(ability)) if environment.lacks().contains(&ability) => Outcome::NotApplicable(ability),
            Ok(Some(_)) | Err(_) => Outcome::Failed,
        }
    }

    /// Runs the case. If it needs an ability that the environment lacks, it ends there, and this returns the ability.
    fn attempt(&self, environment: &dyn Environment) -> Result<Option<Ability>, Box<dyn Any + Send>> {
        // Threads that run consumers would count the end of a case as a failure of an event.
        if self.runs_consumers && environment.lacks().contains(&Ability::Consumers) {
            return Ok(Some(Ability::Consumers));
        }
        let Err(payload) = catch_unwind(AssertUnwindSafe(|| (self.run)(environment))) else {
            return Ok(None);
        };
        payload.downcast::<Missing>().map(|missing| Some(missing.0))
    }
}

/// Runs a case as a test with the name of its module, its topic and the case.
///
/// # Panics
///
/// If the case fails, or needs an ability that the environment neither implements nor lacks.
#[doc(hidden)]
pub fn check(module: &str, topic: &str, name: &str, fresh: fn() -> Option<Box<dyn Environment>>) {
    let Some(environment) = fresh() else { return };
    let case = CASES.iter().chain(CASES_OF_CONSUMERS);
    let case = case.clone().find(|case| case.topic == topic && case.name == name);
    let case = case.expect("tests are made of the same list");
    match case.attempt(&*environment) {
        Ok(None) => (),
        Ok(Some(ability)) if environment.lacks().contains(&ability) => not_applicable(module, name, ability),
        Ok(Some(ability)) => panic!("the case needs {ability}: implement it, or name it in Environment::lacks"),
        Err(panic) => resume_unwind(panic),
    }
}

/// Reports that a case is not applicable, even if the output of passing tests is not shown.
pub(crate) fn not_applicable(module: &str, name: &str, ability: Ability) {
    let test = module.split_once("::").map_or(module, |(_, module)| module);
    writeln!(stderr(), "not applicable: {test}::{name} needs {ability}").ok();
}
