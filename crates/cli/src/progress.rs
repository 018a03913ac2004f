//! The progress of long work: a bar on a terminal, nothing elsewhere.

use firefly_eventstore::operate::Progress;
use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar that shows progress. It disappears when this is dropped.
#[derive(Debug)]
pub(crate) struct Bar(ProgressBar);

impl Bar {
    pub(crate) fn new(what: &'static str, quiet: bool) -> Self {
        // Plain characters: not every terminal has the others.
        let style = ProgressStyle::with_template("{prefix} [{bar:30}] {human_pos} of {human_len}, {msg}")
            .expect("the template is well-formed")
            .progress_chars("=> ");
        let target = match quiet {
            true => ProgressDrawTarget::hidden(),
            // Hidden unless it is a terminal.
            false => ProgressDrawTarget::stderr(),
        };
        Self(
            ProgressBar::with_draw_target(Some(0), target)
                .with_style(style)
                .with_prefix(what),
        )
    }

    /// Moves the bar.
    pub(crate) fn show(&self, progress: Progress) {
        self.show_at(progress.done, progress.total.unwrap_or(progress.done));
    }

    /// Moves the bar to a position, and sets its end.
    pub(crate) fn show_at(&self, done: u64, total: u64) {
        self.0.set_length(total.max(done));
        self.0.set_position(done);
        self.0.set_message(format!("{}/s", HumanCount(self.0.per_sec() as u64)));
    }

    /// Hides the bar while something is written.
    pub(crate) fn aside<R>(&self, write: impl FnOnce() -> R) -> R {
        self.0.suspend(write)
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
