//! `tilefleet status OUTPUT`

use crate::cli::output_args::OutputArgs;
use crate::cli::{block_on, print_json, show};
use crate::error::Result;
use crate::status::{Status, status};

/// Says how far the runs of an output have got
///
/// Exit 0 also while a run is not complete; `tilefleet verify` is the one that judges.
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
    let all = block_on(async {
        let mut all = Vec::new();
        for run in output.runs(only.as_ref()).await? {
            all.push(status(&run).await?);
        }
        Ok(all)
    })?;
    if all.is_empty() {
        return Err(output.no_run(only.as_ref()));
    }
    if args.output.json {
        return print_json(&all);
    }
    all.iter().for_each(print);
    Ok(())
}

fn print(status: &Status) {
    if !status.planned {
        println!("{}  being planned: its plan is not complete", status.run_id);
        return;
    }
    let state = if status.complete { "complete" } else { "open" };
    println!(
        "{}  {state}: {} of {} shards, {} of {} tiles, {}",
        status.run_id,
        status.committed,
        status.shards,
        show::count(status.tiles_committed),
        show::count(status.tiles),
        show::bytes(status.bytes)
    );
    if let (false, Some(rate)) = (status.complete, status.tiles_per_second) {
        let left =
            status.seconds_left.map_or_else(String::new, |left| format!(", {} left", show::seconds(left)));
        println!("  {rate:.1} tiles/s{left}");
    }
}
