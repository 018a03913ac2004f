//! Migrations: idempotent, safe in several processes at once, and refused if they do not fit.

use firefly_eventstore_core::SchemaProblem;
use firefly_eventstore_core::prelude::*;

use crate::ability::Ability;
use crate::environment::{Environment, Unmigrated};
use crate::support::*;

fn problem(error: &Error) -> &SchemaProblem {
    let ErrorKind::Schema(problem) = error.kind() else {
        panic!("not about the schema: {error:?}");
    };
    problem
}

/// Runs `case` on a database without a schema. Not applicable if the backend has no schema.
fn on_unmigrated(env: &dyn Environment, case: impl FnOnce(&dyn Unmigrated)) {
    if env.lacks().contains(&Ability::Schema) {
        works(&env.store());
    }
    case(&*env.unmigrated());
}

fn works(store: &Handle) {
    let account = account();
    let events = given(&**store, &account, 2);
    assert_stream(&store.load(&account).unwrap(), &events);
}

pub(crate) fn pending_shows_what_migrate_then_runs(env: &dyn Environment) {
    on_unmigrated(env, |database| {
        let pending = database.pending().unwrap();
        assert!(pending.len() >= 4, "{pending:?}");
        assert_eq!(database.pending().unwrap(), pending, "asking changes nothing");
        assert_eq!(database.migrate().unwrap(), pending);
        assert_eq!(database.pending().unwrap(), Vec::<String>::new());
        works(&database.open().unwrap());
    });
}

pub(crate) fn migrating_again_does_nothing(env: &dyn Environment) {
    on_unmigrated(env, |database| {
        assert!(!database.migrate().unwrap().is_empty());
        let store = database.open().unwrap();
        works(&store);
        let before = log(&*store);
        assert_eq!(database.migrate().unwrap(), Vec::<String>::new());
        assert_eq!(log(&*database.open().unwrap()), before);
    });
}

pub(crate) fn migrating_at_once_runs_each_migration_once(env: &dyn Environment) {
    on_unmigrated(env, |database| {
        let pending = database.pending().unwrap();
        let mut ran: Vec<_> = in_parallel(6, |_| database.migrate().unwrap()).concat();
        ran.sort_unstable();
        let mut expected = pending;
        expected.sort_unstable();
        assert_eq!(ran, expected);
        works(&database.open().unwrap());
    });
}

pub(crate) fn opening_without_a_schema_is_refused(env: &dyn Environment) {
    on_unmigrated(env, |database| {
        let error = database.open().unwrap_err();
        assert!(
            matches!(problem(&error), SchemaProblem::NotMigrated { found: None, .. }),
            "{error:?}"
        );
        database.migrate().unwrap();
        works(&database.open().unwrap());
    });
}

pub(crate) fn opening_an_older_schema_is_refused_until_it_is_migrated(env: &dyn Environment) {
    on_unmigrated(env, |database| {
        database.migrate().unwrap();
        database.make_older();
        let error = database.open().unwrap_err();
        assert!(
            matches!(problem(&error), SchemaProblem::NotMigrated { found: Some(_), .. }),
            "{error:?}"
        );
        assert_eq!(database.pending().unwrap().len(), 1);
    });
}

pub(crate) fn opening_a_newer_schema_is_refused(env: &dyn Environment) {
    on_unmigrated(env, |database| {
        database.migrate().unwrap();
        works(&database.open().unwrap());
        database.make_newer();
        let error = database.open().unwrap_err();
        assert!(matches!(problem(&error), SchemaProblem::TooNew { .. }), "{error:?}");
        assert!(matches!(
            problem(&database.migrate().unwrap_err()),
            SchemaProblem::TooNew { .. }
        ));
    });
}

pub(crate) fn an_altered_history_is_refused(env: &dyn Environment) {
    on_unmigrated(env, |database| {
        database.migrate().unwrap();
        database.alter_history();
        let error = database.open().unwrap_err();
        assert!(matches!(problem(&error), SchemaProblem::Altered { .. }), "{error:?}");
        assert!(matches!(
            problem(&database.migrate().unwrap_err()),
            SchemaProblem::Altered { .. }
        ));
    });
}
