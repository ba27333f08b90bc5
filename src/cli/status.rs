//! `tilefleet status OUTPUT`

use crate::cli::output_args::OutputArgs;
use crate::cli::{block_on, print_json, show};
use crate::error::Result;
use crate::plan::Scope;
use crate::status::Status;

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
    let snapshot = block_on(output.snapshot(Scope::of(only.as_ref())))?;
    if snapshot.is_empty() {
        return Err(snapshot.nothing(&output, only.as_ref()));
    }
    let leftovers = snapshot.deleted.iter().filter(|run| run.num_left() > 0);
    let all: Vec<Status> =
        snapshot.runs.iter().map(Status::of).chain(leftovers.map(Status::of_deleted)).collect();
    if args.output.json {
        return print_json(&all);
    }
    all.iter().for_each(print);
    Ok(())
}

fn print(status: &Status) {
    let of_what = show::origin(&status.origin);
    if let Some(num_left) = status.left_of_deleted {
        println!("{}  deleted, and {} of it left", status.run_id, show::counted(num_left, "object"));
        return;
    }
    if !status.planned {
        println!("{}{of_what}  being planned: its plan is not complete", status.run_id);
        return;
    }
    let state = if status.complete { "complete" } else { "open" };
    println!(
        "{}{of_what}  {state}: {} of {} shards, {} of {} tiles, {}",
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
