//! `tilefleet status OUTPUT`

use crate::cli::output_args::OutputArgs;
use crate::cli::report::{progress, trouble};
use crate::cli::{block_on, print_json};
use crate::output::report::{ReportDetail, report};
use crate::vocabulary::error::Result;

/// Shows the progress of an output's runs, and what may be wrong with those that are open
///
/// In the order in which they were planned. Exits 0 even if a run is not complete; `tilefleet verify` exits 75 then.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tilefleet status s3://tables/photos
  tilefleet status table --run photos-0123abcd-0001 --json")]
pub struct Args {
    #[command(flatten)]
    output: OutputArgs,
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let (output, only) = args.output.open()?;
    let runs = block_on(report(&output, only.as_ref(), ReportDetail::Trouble))?;
    if args.output.json {
        return print_json(&runs);
    }
    for run in &runs {
        println!("{}", progress(run, &output.uri));
        let lines = run.trouble.iter().flat_map(|found| trouble(found, output.process.now()));
        lines.for_each(|line| println!("  {line}"));
    }
    Ok(())
}
