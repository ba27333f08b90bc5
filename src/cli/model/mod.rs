//! `tilefleet model …`: a file a command.

mod build;
pub(in crate::cli) mod head;
mod inspect;
mod quantize;

use clap::Subcommand;

use crate::vocabulary::error::Result;

/// `tilefleet model …`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Builds the ONNX file and the contract of a network from trained or seeded weights
    Build(Box<build::Args>),
    Inspect(inspect::Args),
    Head(Box<head::Args>),
    Quantize(Box<quantize::Args>),
}

/// Runs `tilefleet model`.
///
/// # Errors
///
/// As the command says.
pub fn run(command: Command) -> Result<()> {
    match command {
        Command::Build(args) => build::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Head(args) => head::run(&args),
        Command::Quantize(args) => quantize::run(&args),
    }
}
