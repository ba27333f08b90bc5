//! `tilefleet status OUTPUT`

use crate::cli::{block_on, print_json, show};
use crate::error::{Error, Result};
use crate::plan::{Output, Run, RunId};
use crate::status::{Status, status};
use crate::storage::{ObjectUri, Storage, StorageOptions};

/// Says how far the runs of an output have got
///
/// Exit 0 also while a run is not complete; `tilefleet verify` is the one that judges.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The output's folder or bucket prefix.
    output: String,

    /// Only this run.
    #[arg(long, value_name = "ID")]
    run: Option<String>,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    block_on(async {
        let mut all = Vec::new();
        for run in open_runs(&args.output, args.run.as_deref()).await? {
            all.push(status(&run).await?);
        }
        if args.json {
            return print_json(&all);
        }
        all.iter().for_each(print);
        Ok(())
    })
}

/// Opens one run of an output, or all whose plan is complete.
///
/// # Errors
///
/// `Config` if there is none; as the store answers otherwise.
pub async fn open_runs(output: &str, run: Option<&str>) -> Result<Vec<Run>> {
    let uri = ObjectUri::parse(output)?;
    let output = Output::open(&Storage::new(StorageOptions::default())?, &uri);
    let wanted = run.map(RunId::parse).transpose()?;
    let mut runs = Vec::new();
    for id in output.run_ids().await? {
        if wanted.as_ref().is_none_or(|wanted| *wanted == id) {
            runs.extend(Run::open(&output, &id).await?);
        }
    }
    if runs.is_empty() {
        let what = wanted.map_or_else(|| "no run".to_owned(), |id| format!("no run {id}"));
        return Err(Error::config(format!("there is {what} in {uri}"))
            .hint("check the output's address; `tilefleet run` makes runs"));
    }
    Ok(runs)
}

fn print(status: &Status) {
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
