//! Running one case, and telling how it went.

use std::any::Any;
use std::io::{Write as _, stderr};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::ability::{Ability, Missing};
use crate::environment::Environment;
use crate::quiet;

/// One case of the suite.
///
/// The macros of this crate make a test of each. Use this to run cases in another way, such as the tests of the suite itself do.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    topic: &'static str,
    name: &'static str,
    /// It has threads that run consumers, and waits for what they do.
    runs_consumers: bool,
    run: fn(&dyn Environment),
}

/// How a case went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The store behaves as it must.
    Passed,
    /// It does not, or the case needs what the environment neither has nor [lacks](Environment::lacks).
    Failed,
    /// The case needs what the environment lacks.
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

/// Every case but those that run consumers, which wait for what may never happen on a store with a bug.
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

    /// Runs the case. It may need an ability that the environment does not have; then it ended there.
    fn attempt(&self, environment: &dyn Environment) -> Result<Option<Ability>, Box<dyn Any + Send>> {
        // Threads that run consumers would take what ends a case for the failure of an event.
        if self.runs_consumers && environment.lacks().contains(&Ability::Consumers) {
            return Ok(Some(Ability::Consumers));
        }
        let Err(payload) = catch_unwind(AssertUnwindSafe(|| (self.run)(environment))) else {
            return Ok(None);
        };
        payload.downcast::<Missing>().map(|missing| Some(missing.0))
    }
}

/// Runs a case as a test, named by its module, its topic and itself.
///
/// # Panics
///
/// If the case fails, or needs an ability that the environment neither has nor lacks.
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

/// Tells that a case is not applicable, also where the output of tests that pass is not shown.
pub(crate) fn not_applicable(module: &str, name: &str, ability: Ability) {
    let test = module.split_once("::").map_or(module, |(_, module)| module);
    writeln!(stderr(), "not applicable: {test}::{name} needs {ability}").ok();
}
