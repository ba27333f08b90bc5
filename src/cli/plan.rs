//! `tilefleet plan PIPELINE`

use crate::answers::inspect::preview;
use crate::cli::first_process::or_interrupted;
use crate::cli::run::{all_done, limit_line, print_below};
use crate::cli::{PipelineArgs, block_on, print_json, show};
use crate::observe::stderr::{Level, say};
use crate::output;
use crate::output::current_rows::Change;
use crate::stages::plan::{MAX_SHARD_TIME, Preview};
use crate::vocabulary::error::Result;

/// Plans a run: counts what it covers and publishes its plan
///
/// With --dry-run nothing is written. It shows how the table would change, and exits 65 if the headers reject more
/// than `limits.max_reject_ratio`. Planning does not read the headers of whole images; --dry-run reads all of them,
/// or 1,000 spread evenly.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tilefleet plan photos.toml --dry-run
  tilefleet plan photos.toml --share auto --set plan.wait=30m
  tilefleet plan pipelines/tiles.toml --input images/ \\
      --model resnet152.onnx --output table")]
pub struct Args {
    #[command(flatten)]
    pipeline: PipelineArgs,

    /// As of `run`. In an array job (`auto`) the first worker plans; the others wait for its plan, at most as long as
    /// `plan.wait` says
    #[arg(long, value_name = "I/N|auto", conflicts_with = "dry_run")]
    share: Option<String>,

    /// Write nothing
    #[arg(long)]
    dry_run: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let share = args.share.as_deref().map(super::run::share).transpose()?;
    let job = super::run::open(&args.pipeline.load()?)?;
    let job = match share {
        Some((share, array)) => job.sharing(share, array),
        None => job,
    };
    super::run::say_what_is_assumed(&job);
    let preview = block_on(or_interrupted(async {
        if args.dry_run { preview(&job).await } else { job.plan().await }
    }))?;
    output::warn_if_short(job.output(), preview.table_bytes);
    warn_of_long_shards(&preview);
    if args.json {
        print_json(&preview)?;
    } else {
        print(&preview);
    }
    if args.dry_run { job.check_preview(&preview) } else { Ok(()) }
}

/// Says that a lost machine costs more work than it should.
fn warn_of_long_shards(preview: &Preview) {
    let (Some(fitting), Some(seconds)) = (preview.fitting_shard_tiles(), preview.shard_seconds) else {
        return;
    };
    let later = if preview.published { " for the next run" } else { "" };
    let message = format!(
        "a shard of {} is in work for about {}, as in earlier runs: a machine that is lost takes as much work with it; \
         with `plan.shard_tiles = {fitting}`{later} it is {}",
        show::counted(preview.shard_tiles.into(), "tile"),
        show::seconds(seconds),
        show::seconds(MAX_SHARD_TIME.as_secs_f64())
    );
    say(Level::Warn, &message);
}

fn print(preview: &Preview) {
    if preview.nothing_new && !preview.published {
        super::run::say_nothing_found();
        return;
    }
    let state = match (preview.published, preview.nothing_new) {
        (true, true) => format!("nothing new: {}", all_done(preview.limit)),
        (true, false) => "planned".to_owned(),
        (false, _) => "not planned yet".to_owned(),
    };
    println!("{}  {state}", preview.run_id);
    println!("  {}, {}", show::counted(preview.sources, "source"), show::bytes(preview.source_bytes));
    if !preview.nothing_new {
        print_below(limit_line(preview.limit, true));
    }
    if preview.sources_outside > 0 {
        println!("  {} outside tiles.aoi, left out", show::counted(preview.sources_outside, "source"));
    }
    println!(
        "  {} in {}, {} committed",
        show::counted(preview.tiles, "tile"),
        show::counted(preview.shards, "shard"),
        preview.committed_shards
    );
    if let Some(looked_at) = preview.looked_at.filter(|looked_at| *looked_at < preview.sources) {
        println!(
            "  headers of {} of {} read",
            show::count(looked_at),
            show::counted(preview.sources, "source")
        );
    }
    if preview.unanswered > 0 {
        println!("  {} could not be read", show::counted(preview.unanswered, "source"));
    }
    for (reason, number) in &preview.rejected {
        println!("  {} rejected {}: {reason}", show::counted(*number, "source"), show::by_header(*number));
    }
    println!("  about {} of table to write", show::bytes(preview.table_bytes));
    if let Some(Change { lost, replaced, gained }) = preview.table {
        println!(
            "  `tiles` would gain {}, show other rows of {}, and lose {}",
            show::counted(gained, "tile"),
            show::count(replaced),
            show::count(lost)
        );
    }
}
