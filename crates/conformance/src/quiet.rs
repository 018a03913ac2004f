//! Suppresses the output of expected panics, when the suite itself is tested.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work` and returns whether it panicked, without printing the panic.
pub(crate) fn panics(work: impl FnOnce()) -> bool {
    unprinted(|| panic::catch_unwind(AssertUnwindSafe(work)).is_err())
}

/// Runs `work`, which catches panics, without printing them.
pub(crate) fn unprinted<R>(work: impl FnOnce() -> R) -> R {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !is_quiet() {
                print(info);
            }
        }));
    });
    let before = QUIET.replace(true);
    let result = work();
    QUIET.set(before);
    result
}

/// Whether panics of this thread are not printed.
pub(crate) fn is_quiet() -> bool {
    QUIET.get()
}

/// Makes a thread print panics or not, as the thread that started it.
pub(crate) fn inherit(quiet: bool) {
    QUIET.set(quiet);
}
