//! `firefly-eventstore`: the tool for operators of a store.

mod age;
mod arguments;
mod commands;
mod condition;
mod console;
mod exit;
mod file;
mod filter;
mod json;
mod parse;
mod progress;
mod report;
mod signal;
mod store;
mod table;
mod text;
mod url;

use std::env;
use std::io::Write as _;
use std::process::ExitCode;

use crate::arguments::Arguments;
use crate::console::Console;
use crate::exit::{Exit, Failure};
use crate::url::{STORE_VARIABLE, Secrets};

fn main() -> ExitCode {
    let secrets = Secrets::of(env::args_os(), env::var_os(STORE_VARIABLE));
    let arguments = match Arguments::read() {
        Ok(arguments) => arguments,
        Err(answer) => return answer_usage(&answer, &secrets).into(),
    };
    let mut console = Console::new(arguments.json, arguments.quiet, secrets);
    let done = arguments.run(&mut console);
    let exit = done.and_then(|exit| {
        console.flush()?;
        Ok(exit)
    });
    exit.unwrap_or_else(|failure| told(&failure, &console)).into()
}

/// Says in one line why the command failed.
fn told(failure: &Failure, console: &Console) -> Exit {
    // The reader of the output, such as `head`, has closed it.
    if failure.is_closed_pipe() {
        return Exit::Fine;
    }
    let message = console.hidden(&failure.to_string());
    let message = text::escaped(&message);
    let style = console::DANGER;
    // If the error output is closed, the message is lost.
    let _ = writeln!(anstream::stderr(), "{style}error:{style:#} {message}");
    failure.exit()
}

/// Writes the requested help, or what is wrong with the command line.
fn answer_usage(answer: &clap::Error, secrets: &Secrets) -> Exit {
    let answer_text = secrets.hidden_in(&answer.render().ansi().to_string());
    // A closed pipe is no error. Any other error cannot be reported either, since the output is closed.
    let _ = match answer.use_stderr() {
        true => anstream::stderr().write_all(answer_text.as_bytes()),
        false => anstream::stdout().write_all(answer_text.as_bytes()),
    };
    match answer.use_stderr() {
        true => Exit::Usage,
        false => Exit::Fine,
    }
}
