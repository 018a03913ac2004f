//! The standard output and the error output: what is written to which, and in which form.

use std::fmt;
use std::io::{self, BufWriter, IsTerminal as _, Write};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use crate::exit::Result;
use crate::progress::Bar;
use crate::table::Table;
use crate::text::{escaped, escaped_json};
use crate::url::Secrets;

pub(crate) const HEADING: Style = Style::new().bold();
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
pub(crate) const NOTICE: Style = AnsiColor::Cyan.on_default();
pub(crate) const WARNING: Style = AnsiColor::Yellow.on_default();
pub(crate) const DANGER: Style = AnsiColor::Red.on_default().bold();

/// The outputs of a command: results go to the standard output, progress and remarks to the error output.
pub(crate) struct Console {
    out: Box<dyn Write>,
    json: bool,
    quiet: bool,
    width: Option<u16>,
    secrets: Secrets,
}

impl Console {
    pub(crate) fn new(json: bool, quiet: bool, secrets: Secrets) -> Self {
        let width = terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| width.0);
        Self {
            out: match json {
                true => Box::new(BufWriter::new(io::stdout())),
                // Removes colours unless the output is a terminal.
                false => Box::new(BufWriter::new(anstream::stdout())),
            },
            json,
            quiet,
            width: width.filter(|_| io::stdout().is_terminal()),
            secrets,
        }
    }

    /// The text without any password of the command line.
    pub(crate) fn hidden(&self, text: &str) -> String {
        self.secrets.hidden_in(text)
    }

    /// Whether answers are to be JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Writes a line of an answer for people.
    pub(crate) fn line(&mut self, line: impl fmt::Display) -> Result<()> {
        Ok(writeln!(self.out, "{}", escaped(&line.to_string()))?)
    }

    /// Writes a line whose beginning is marked by a style.
    pub(crate) fn marked_line(&mut self, style: Style, mark: &str, line: impl fmt::Display) -> Result<()> {
        let line = line.to_string();
        Ok(writeln!(
            self.out,
            "{style}{}{style:#}{}",
            escaped(mark),
            escaped(&line)
        )?)
    }

    /// Writes an empty line.
    pub(crate) fn gap(&mut self) -> Result<()> {
        Ok(writeln!(self.out)?)
    }

    /// Writes a table, fitted to the terminal if there is one; a remark says if it is empty.
    pub(crate) fn table(&mut self, table: Table) -> Result<()> {
        let is_empty = table.is_empty();
        for (number, line) in table.lines(self.width).iter().enumerate() {
            match number {
                0 => writeln!(self.out, "{HEADING}{line}{HEADING:#}")?,
                _ => writeln!(self.out, "{line}")?,
            }
        }
        if is_empty {
            self.flush()?;
            self.remark("nothing was found");
        }
        Ok(())
    }

    /// Writes a JSON value on a line of its own.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<()> {
        let json = serde_json::to_string(value).expect("what is written are plain structs");
        Ok(writeln!(self.out, "{}", escaped_json(&json))?)
    }

    /// Writes text that the tool made itself, without changing it.
    pub(crate) fn raw(&mut self, text: &[u8]) -> Result<()> {
        Ok(self.out.write_all(text)?)
    }

    /// Writes JSON to the error output, because the answer itself goes to the standard output.
    pub(crate) fn json_remark(&self, value: &impl Serialize) {
        let json = serde_json::to_string(value).expect("what is written are plain structs");
        self.tell(format_args!("{}", escaped_json(&json)));
    }

    /// Writes a remark to the error output, unless `--quiet` is set.
    pub(crate) fn remark(&self, remark: impl fmt::Display) {
        self.tell(format_args!("{}", escaped(&remark.to_string())));
    }

    fn tell(&self, line: fmt::Arguments<'_>) {
        if !self.quiet {
            // It is no error if a remark cannot be written.
            let _ = writeln!(io::stderr(), "{line}");
        }
    }

    /// A progress bar, unless the output is quiet or no terminal shows it.
    pub(crate) fn bar(&self, what: &'static str) -> Bar {
        Bar::new(what, self.quiet)
    }

    /// Flushes what was written so far.
    pub(crate) fn flush(&mut self) -> Result<()> {
        Ok(self.out.flush()?)
    }
}
