//! `tilefleet model inspect`: looks into any ONNX file.

use std::path::PathBuf;

use crate::cli::print_json;
use crate::error::Result;
use crate::model::inspect::Report;

/// The arguments of `tilefleet model inspect`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tilefleet model inspect resnet152.onnx
  tilefleet model inspect resnet152.onnx --json")]
pub struct Args {
    /// The ONNX file
    #[arg(value_name = "FILE.onnx")]
    file: PathBuf,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

/// Says what an ONNX file holds.
///
/// # Errors
///
/// [`Kind::Config`](crate::error::Kind::Config) where the file cannot be read or is no ONNX.
pub fn run(args: &Args) -> Result<()> {
    let report = Report::of(&args.file)?;
    if args.json {
        return print_json(&report);
    }
    print!("{report}");
    Ok(())
}
