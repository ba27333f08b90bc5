//! `tilefleet submit PIPELINE`

use std::sync::Arc;

use crate::cli::queue::connect;
use crate::cli::run::{all_done, limit_line, print_below, say_nothing_found};
use crate::cli::{PipelineArgs, block_on, print_json, show};
use crate::stages::worker::Submitted;
use crate::vocabulary::error::Result;

/// Plans a run if needed, and puts its open shards into a queue
///
/// `tilefleet work` takes them from there. Submit again at any time: what is in the queue already stays there once, and what
/// a broker has lost is put into it again. The queue and its consumer are made even if there is nothing to do, so that an
/// autoscaler finds them.
///
/// Exit codes: as `tilefleet plan`; 75 if the queue does not answer, 78 if it refuses.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tilefleet submit photos.toml --set queue.url=nats://queue:4222
  tilefleet submit photos.toml --input s3://photos/2026-12-01/ --json")]
pub struct Args {
    #[command(flatten)]
    pipeline: PipelineArgs,

    /// Accept the run in advance: `tiles` shows it even if more of it is rejected than `limits.max_reject_ratio`
    #[arg(long)]
    accept: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let job = super::run::open(&args.pipeline.load()?)?.accepting(args.accept);
    super::run::say_what_is_assumed(&job);
    let (submitted, name) = block_on(async {
        let queue = Arc::new(connect(&job).await?);
        Ok((job.submit(&*queue).await?, queue.name().to_owned()))
    })?;
    if args.json {
        return print_json(&submitted);
    }
    print(&submitted, &name);
    Ok(())
}

fn print(submitted: &Submitted, queue: &str) {
    let Some(run_id) = &submitted.run_id else { return say_nothing_found() };
    if submitted.nothing_new {
        println!("{run_id}  nothing new: {}", all_done(submitted.limit));
        return;
    }
    let Submitted { shards, queued, queued_before, .. } = *submitted;
    println!("{run_id}  {} put into the queue {queue}", show::counted(queued, "shard"));
    if queued_before > 0 {
        println!("  {} there already", show::count(queued_before));
    }
    println!(
        "  {} of {} committed",
        show::count(shards - queued - queued_before),
        show::counted(shards, "shard")
    );
    print_below(limit_line(submitted.limit, true));
}
