//! `tilefleet plan PIPELINE`

use crate::cli::{PipelineArgs, block_on, print_json, show};
use crate::error::Result;
use crate::plan::Preview;
use crate::worker::Job;

/// Says what a run would cover, and publishes its plan unless told not to
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tilefleet plan photos.toml --dry-run
  tilefleet plan pipelines/tiles.toml --input images/ \\
      --model resnet152.onnx --output table")]
pub struct Args {
    #[command(flatten)]
    pipeline: PipelineArgs,

    /// Write nothing
    #[arg(long)]
    dry_run: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let job = Job::open(&args.pipeline.load()?)?;
    super::run::say_what_is_assumed(&job);
    let preview = block_on(async { if args.dry_run { job.preview().await } else { job.plan().await } })?;
    if args.json {
        return print_json(&preview);
    }
    print(&preview);
    Ok(())
}

fn print(preview: &Preview) {
    let state = if preview.published { "planned" } else { "not planned yet" };
    println!("{}  {state}", preview.run_id);
    println!("  {}, {}", show::counted(preview.sources, "source"), show::bytes(preview.source_bytes));
    println!(
        "  {} in {}, {} committed",
        show::counted(preview.tiles, "tile"),
        show::counted(preview.shards, "shard"),
        preview.committed_shards
    );
    println!("  about {} of table still to write", show::bytes(preview.table_bytes));
}
