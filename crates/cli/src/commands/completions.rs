//! `completions`: completions for shells.

use clap::{Args, Command};
use clap_complete::Shell;

use crate::console::Console;
use crate::exit::{Exit, Result};

/// Write the completions for a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  firefly-eventstore completions bash > /etc/bash_completion.d/firefly-eventstore
  firefly-eventstore completions zsh > ~/.zfunc/_firefly-eventstore
  firefly-eventstore completions fish > ~/.config/fish/completions/firefly-eventstore.fish")]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(self, mut tool: Command, console: &mut Console) -> Result<Exit> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut tool, "firefly-eventstore", &mut script);
        console.raw(&script)?;
        Ok(Exit::Fine)
    }
}
