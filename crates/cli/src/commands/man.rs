//! `man`: the manual.

use std::path::PathBuf;

use clap::{Args, Command};
use clap_mangen::Man as Page;

use crate::console::Console;
use crate::exit::{Exit, Failure, Result};

/// Write the manual, with a chapter for each command
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  firefly-eventstore man | man -l -
  firefly-eventstore man --directory /usr/local/share/man/man1")]
pub(crate) struct Man {
    /// Write a page for the tool and one for each command into this folder
    #[arg(long, value_name = "FOLDER")]
    directory: Option<PathBuf>,
}

impl Man {
    pub(crate) fn run(self, tool: Command, console: &mut Console) -> Result<Exit> {
        match self.directory {
            Some(directory) => clap_mangen::generate_to(tool, &directory)
                .map_err(|error| Failure::io(format_args!("{} cannot be written", directory.display()), &error))?,
            None => console.raw(&manual(tool)?)?,
        }
        Ok(Exit::Fine)
    }
}

/// The tool's page, and then those of the commands.
fn manual(mut command: Command) -> Result<Vec<u8>> {
    let mut manual = Vec::new();
    command = command.disable_help_subcommand(true);
    command.build();
    Page::new(command.clone()).render(&mut manual)?;
    chapters(&command, &mut manual)?;
    Ok(manual)
}

/// The pages of a command's subcommands, and of theirs.
fn chapters(command: &Command, manual: &mut Vec<u8>) -> Result<()> {
    for chapter in command.get_subcommands() {
        let page = Page::new(chapter.clone());
        page.render_name_section(manual)?;
        page.render_synopsis_section(manual)?;
        page.render_description_section(manual)?;
        page.render_options_section(manual)?;
        page.render_extra_section(manual)?;
        chapters(chapter, manual)?;
    }
    Ok(())
}
