//! `tilefleet status OUTPUT`

use std::time::SystemTime;

use crate::cli::output_args::OutputArgs;
use crate::cli::run::{SUPERSEDED, say_limit};
use crate::cli::{block_on, print_json, show};
use crate::output::current_rows::{Standings, how_to_accept};
use crate::output::status::Status;
use crate::output::{Output, RunId, Scope, Snapshot};
use crate::vocabulary::error::Result;

/// Shows the progress of an output's runs
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
    let all = block_on(look(&output, only.as_ref()))?;
    if args.output.json {
        return print_json(&all);
    }
    for status in &all {
        print(&output, status);
    }
    Ok(())
}

/// Which runs are current only all of them tell, also if one is asked for.
async fn look(output: &Output, only: Option<&RunId>) -> Result<Vec<Status>> {
    output.consistently(Scope::All, async |snapshot: Snapshot| look_at(output, &snapshot, only).await).await
}

async fn look_at(output: &Output, snapshot: &Snapshot, only: Option<&RunId>) -> Result<Vec<Status>> {
    let standings = Standings::of(snapshot).await?;
    let wanted = |id: &RunId| only.is_none_or(|only| only == id);
    let runs = standings.oldest_first().into_iter().filter(|standing| wanted(standing.run.id()));
    let leftovers = snapshot.deleted.iter().filter(|run| run.num_left() > 0 && wanted(&run.id));
    let now = SystemTime::now();
    let all: Vec<Status> = runs
        .map(|standing| Status::of(standing, &standings, now))
        .chain(leftovers.map(Status::of_deleted))
        .collect();
    if all.is_empty() { Err(snapshot.nothing(output, only)) } else { Ok(all) }
}

fn print(output: &Output, status: &Status) {
    let of_what = show::origin(&status.origin);
    if let Some(num_left) = status.left_of_deleted {
        println!("{}  deleted, but {} of it left", status.run_id, show::counted(num_left, "object"));
        return;
    }
    if !status.planned {
        println!("{}{of_what}  being planned: its plan is not complete", status.run_id);
        return;
    }
    let state = match (status.complete, status.accepted) {
        (true, true) => "complete",
        (true, false) => "complete, not accepted",
        (false, _) => "open",
    };
    println!(
        "{}{of_what}  {state}: {}, {}, {}",
        status.run_id,
        show::counted_of(status.committed.into(), status.shards.into(), "shard"),
        show::counted_of(status.tiles_committed, status.tiles, "tile"),
        show::bytes(status.bytes)
    );
    say_limit(status.limit, status.rest_is_open);
    if status.superseded {
        println!("  {SUPERSEDED}");
    } else if !status.accepted {
        let how = how_to_accept(&output.uri, &status.run_id);
        let why = format!("too many rejects, so `tiles` does not show it; {how}");
        println!("  {}", show::hanging(&why, 2));
    }
    if let Some(pace) = pace(status) {
        println!("  {pace}");
    }
}

/// Says how fast an open run gets on.
fn pace(status: &Status) -> Option<String> {
    let without_commit = show::seconds(status.seconds_without_commit?);
    if status.stalled {
        return Some(format!("no progress for {without_commit}: is a worker running?"));
    }
    if status.committed == 0 {
        return Some(format!("nothing committed yet; planned {without_commit} ago"));
    }
    let rate = status.tiles_per_second.map(|rate| format!("{rate:.1} tiles/s"));
    let left = status.seconds_left.map(|left| format!("{} left", show::seconds(left)));
    let last = format!("last commit {without_commit} ago");
    Some(rate.into_iter().chain(left).chain([last]).collect::<Vec<_>>().join(", "))
}
