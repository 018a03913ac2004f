//! Shows progress: a bar on a terminal, otherwise a line now and then.

use std::fmt::Display;

use indicatif::{ProgressBar, ProgressStyle};

#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    what: &'static str,
    total: u64,
    told: u64,
}

impl Progress {
    pub(crate) fn new(what: &'static str, total: u64) -> Self {
        let style = ProgressStyle::with_template("{prefix} {bar:40} {human_pos} of {human_len}{msg}, {eta} left")
            .expect("the template is well-formed");
        Self {
            bar: ProgressBar::new(total).with_style(style).with_prefix(what),
            what,
            total,
            told: 0,
        }
    }

    pub(crate) fn at(&mut self, position: u64, message: impl Display) {
        if !self.bar.is_hidden() {
            self.bar.set_message(message.to_string());
            self.bar.set_position(position);
            return;
        }
        // A short run needs no progress.
        if self.total < 1_000 {
            return;
        }
        let tenths = position * 10 / self.total;
        if tenths > self.told {
            eprintln!("{}: {position} of {}{message}", self.what, self.total);
            self.told = tenths;
        }
    }

    /// Shows progress within a step.
    pub(crate) fn within(&self, message: impl Display) {
        if !self.bar.is_hidden() {
            self.bar.set_message(message.to_string());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
