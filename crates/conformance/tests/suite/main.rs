//! Tests of the suite itself: each case must fail on a store that does nothing, and each promise has a mutant, a store with that one bug,
//! which some case must catch.

#![allow(clippy::unwrap_used, reason = "these are tests, although clippy sees only functions")]

mod consuming;
mod mutant;
mod mutants;
mod nothing;

use firefly_eventstore_conformance::{Case, Environment, Outcome, cases, finds_out};

/// The cases that fail in environments of this kind, each in a fresh one.
fn failures<E: Environment>(fresh: impl Fn() -> E) -> Vec<String> {
    let fails = |case: &&Case| case.outcome(&fresh()) == Outcome::Failed;
    cases().iter().filter(fails).map(name).collect()
}

fn name(case: &Case) -> String {
    format!("{}::{}", case.topic(), case.name())
}

#[test]
fn every_case_passes_on_the_reference() {
    let failures = failures(mutant::environment::<mutants::Sound>);
    assert!(failures.is_empty(), "{failures:?}");
}

#[test]
fn every_case_passes_on_the_reference_in_the_mutants_clothes() {
    let failures = failures(mutant::environment::<mutants::SoundInSteps>);
    assert!(failures.is_empty(), "{failures:?}");
}

#[test]
fn every_case_fails_on_a_store_that_does_nothing() {
    let failures = failures(nothing::environment);
    let mut missed: Vec<_> = cases().iter().map(name).collect();
    missed.retain(|name| !failures.contains(name));
    assert!(missed.is_empty(), "these cases cannot fail: {missed:?}");
}

#[test]
fn every_case_has_a_name_of_its_own() {
    let mut names: Vec<_> = cases().iter().map(name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), cases().len());
}

#[test]
fn the_model_finds_mutants_out() {
    let finds_fault = finds_out(mutant::environment::<mutants::SoundInSteps>);
    assert!(!finds_fault, "the model finds fault with the reference");
    for (name, found_out) in mutants::found_out_by_the_model() {
        assert!(found_out, "the model does not find out {name}");
    }
}
