//! What makes a test of each case.

/// Makes a test of every case, for one backend: `directory::append::rejects_a_stale_expected_version`.
///
/// It takes a name, and the path of a function that makes a fresh [`Environment`](crate::Environment):
/// `fn() -> Option<Box<dyn Environment>>`. The function returns none if the backend is not there, such as a server that is not installed:
/// then it says so itself, or panics. See the [guide](crate::guide).
///
/// The tests are in a module of that name: the cases of a store in modules by topic, those that run consumers in `running`, and
/// `model::agrees_with_the_reference`. To have some of them only, see [`stores!`](crate::stores), [`indexes!`](crate::indexes),
/// [`consumers!`](crate::consumers) and [`model!`](crate::model!).
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

/// Makes a test of every case but those that run consumers, in a module for each topic.
#[macro_export]
macro_rules! stores {
    ($fresh:path) => {
        $crate::with_cases!([$crate::tests_of_topics] $fresh =>);
    };
}

/// Makes a test of those cases of [`stores!`](crate::stores) that read the log, statistics and snapshots: for a backend that is tested with
/// [`conformance!`](crate::conformance), and is to be tested once more without some indexes.
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
