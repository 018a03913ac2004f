//! Macros that make a test of each case.

/// Makes a test of every case, for one backend: `directory::append::rejects_a_stale_expected_version`.
///
/// The arguments are a name, and the path of a function that makes a fresh [`Environment`](crate::Environment):
/// `fn() -> Option<Box<dyn Environment>>`. If the backend is missing, such as a server that is not installed, the function reports that and
/// returns none, or panics. See the [guide](crate::guide).
///
/// The tests are in a module of that name: the cases of a store in modules by topic, those that run consumers in `running`, and
/// `model::agrees_with_the_reference`. To make only some of the tests, use [`stores!`](crate::stores), [`layouts!`](crate::layouts),
/// [`indexes!`](crate::indexes), [`consumers!`](crate::consumers) and [`model!`](crate::model!).
#[macro_export]
macro_rules! conformance {
    ($backend:ident: $fresh:path) => {
        mod $backend {
            #[allow(unused_imports, reason = "the path may be relative")]
            use super::*;

            $crate::stores!($fresh);
            $crate::model!($fresh);

            mod running {
                #[allow(unused_imports, reason = "the path may be relative")]
                use super::*;

                $crate::consumers!($fresh);
            }
        }
    };
}

/// Makes a test of every case except those that run consumers, in a module for each topic.
#[macro_export]
macro_rules! stores {
    ($fresh:path) => {
        $crate::with_cases!([$crate::tests_of_topics] $fresh =>);
    };
}

/// Makes tests of those cases of [`stores!`](crate::stores) that append, load, search and move events: for a backend that is tested with
/// [`conformance!`](crate::conformance), and again with another layout of the log, such as partitions.
#[macro_export]
macro_rules! layouts {
    ($fresh:path) => {
        $crate::with_cases_of_layouts!([$crate::tests_of_topics] $fresh =>);
    };
}

/// Makes tests of those cases of [`stores!`](crate::stores) that read the log, statistics and snapshots: for a backend that is tested with
/// [`conformance!`](crate::conformance), and again without some indexes.
#[macro_export]
macro_rules! indexes {
    ($fresh:path) => {
        $crate::with_cases_of_indexes!([$crate::tests_of_topics] $fresh =>);
    };
}

/// Makes a test of every case that runs consumers: projections, subscriptions, followers.
#[macro_export]
macro_rules! consumers {
    ($fresh:path) => {
        $crate::with_cases_of_consumers!([$crate::tests_of_topics] $fresh =>);
    };
}

/// Makes the test that compares random operations with the in-memory store.
///
/// It tries 64 sequences of operations, or as many as the environment variable `PROPTEST_CASES` says.
#[macro_export]
macro_rules! model {
    ($fresh:path) => {
        mod model {
            #[allow(unused_imports, reason = "the path may be relative")]
            use super::*;

            #[test]
            fn agrees_with_the_reference() {
                $crate::agrees_with_the_reference($fresh);
            }
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! tests_of_topics {
    ($fresh:path => $($topic:ident: $($case:ident),+;)+) => {
        $(mod $topic {
            #[allow(unused_imports, reason = "the path may be relative")]
            use super::*;

            $(#[test]
            fn $case() {
                $crate::check(module_path!(), stringify!($topic), stringify!($case), $fresh);
            })+
        })+
    };
}
