//! `tilefleet completions SHELL`

use clap_complete::{Shell, generate};

/// Prints a shell's completion script for commands and flags
///
/// Put it where the shell looks for completions, or source it in the shell's start-up file.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tilefleet completions bash \\
      > ~/.local/share/bash-completion/completions/tilefleet
  tilefleet completions zsh > ~/.zfunc/_tilefleet
  tilefleet completions fish > ~/.config/fish/completions/tilefleet.fish")]
pub struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Runs the command.
pub fn run(args: Args) {
    // Into memory first: clap_complete panics where it cannot write.
    let mut script = Vec::new();
    generate(args.shell, &mut super::command(), "tilefleet", &mut script);
    std::print!("{}", String::from_utf8_lossy(&script));
}
