//! `tilefleet run PIPELINE`

use std::sync::Arc;
use std::time::Duration;

use crate::cli::{PipelineArgs, block_on, block_on_threads, print_json, show};
use crate::config::Loaded;
use crate::models::{ContractOrigin, Model};
use crate::observe::stderr::{Level, say};
use crate::observe::{Monitor, Progress, ProgressSnapshot, Stage, Ticker};
use crate::output::{ArrayJob, Limit};
use crate::stages::pipeline::Stop;
use crate::stages::work::{ArrayTask, Share};
use crate::stages::worker::{Job, Report};
use crate::vocabulary::error::{Kind, Result};

/// Plans a run if needed, then processes all open shards on this machine
///
/// Without a pipeline file, the flags and the defaults apply.
///
/// Run it again after a crash or an interruption: it processes only the open shards. When the run is complete, a new
/// one covers sources that are new or have changed.
///
/// Several workers may run it at once, on one machine or many: they share the run. In an array job give each
/// `--share auto`.
///
/// Exit codes: 0 done; 65 too many rejects, the run must be accepted (of several workers one says so); 75 try again
/// later; 78 the pipeline, the model or the credentials are wrong; 130 interrupted; 143 drained after SIGTERM.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tilefleet run pipelines/tiles.toml --input s3://photos/2026/ \\
      --model resnet152.onnx --output s3://tables/photos
  tilefleet run photos.toml --set run.batch=32 --json
  tilefleet run photos.toml --share auto
  tilefleet run --input images/ --model resnet152.onnx --output table")]
pub struct Args {
    #[command(flatten)]
    pipeline: PipelineArgs,

    /// The part of the shards to begin with: of 8 workers the first has `0/8`, the last `7/8`. `auto`: as a Kubernetes
    /// Indexed Job (with the count in `TILEFLEET_SHARE_COUNT`), a SLURM array or an AWS Batch array says. Then the
    /// worker helps with whatever is open
    #[arg(long, value_name = "I/N|auto")]
    share: Option<String>,

    /// Accept the run in advance: `tiles` shows it even if more of it is rejected than `limits.max_reject_ratio`.
    /// Otherwise such a run needs `tilefleet runs OUTPUT accept ID`
    #[arg(long)]
    accept: bool,

    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let share = args.share.as_deref().map(share).transpose()?;
    let job = open(&args.pipeline.load()?)?.accepting(args.accept);
    let job = match share {
        Some((share, array)) => job.sharing(share, array),
        None => job,
    };
    say_what_is_assumed(&job);
    let report = work(&job)?;
    if args.json {
        print_json(&report)?;
    } else {
        print(&job, &report);
    }
    job.check_rejects(&report)
}

/// Reads `--share`, and says what `auto` came to.
pub fn share(text: &str) -> Result<(Share, Option<ArrayJob>)> {
    if text != "auto" {
        return Ok((text.parse()?, None));
    }
    let ArrayTask { share, variable, job } = ArrayTask::of_engine(|name| std::env::var(name).ok())?;
    say(Level::Info, &format!("share {share}, by {variable}"));
    Ok((share, job))
}

/// Checks a pipeline, and brings its model.
///
/// # Errors
///
/// As [`Job::open`].
pub fn open(loaded: &Loaded) -> Result<Job> {
    block_on(Job::open(loaded))
}

/// Works on a job with progress on standard error, until done or told to stop.
///
/// # Errors
///
/// As [`Job::run`].
pub fn work(job: &Job) -> Result<Report> {
    drive(job, async |progress, stop| Box::pin(job.run(progress, stop)).await)
}

/// Does work of a job with progress on standard error, until done or told to stop.
///
/// # Errors
///
/// As `work`.
pub fn drive<T>(job: &Job, work: impl AsyncFnOnce(Arc<Progress>, Stop) -> Result<T>) -> Result<T> {
    let progress = Arc::new(Progress::default());
    block_on_threads(Some(job.threads()), async {
        let stop = Stop::default();
        let signals = tokio::spawn(listen(stop.clone(), job.pipeline().run.grace, progress.clone()));
        let _monitor = monitor(job, &progress).await;
        let ticker = Ticker::start(progress.clone());
        let report = work(progress.clone(), stop).await;
        drop(ticker);
        signals.abort();
        report
    })
}

/// Opens the port of `observe.listen`, if there is one. A run does not depend on being watched: two workers of one machine may
/// have the same setting.
async fn monitor(job: &Job, progress: &Arc<Progress>) -> Option<Monitor> {
    let address = job.pipeline().observe.listen?;
    match Monitor::start(address, progress.clone()).await {
        Ok(monitor) => {
            tracing::info!(address = %monitor.address(), "monitoring is answered");
            Some(monitor)
        }
        Err(error) => {
            let why = format!(
                "`observe.listen`: cannot listen at {address}, so nobody can watch this process: {error}"
            );
            say(Level::Warn, &why);
            None
        }
    }
}

/// Asks the stages to stop at the first signal, and leaves at once when a person interrupts again. Engines may send SIGTERM
/// several times: SLURM does to all processes of a task, whose script passes it on.
async fn listen(stop: Stop, grace: Duration, progress: Arc<Progress>) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        tracing::warn!("signals cannot be caught here, so an interruption ends the process at once");
        return;
    };
    loop {
        let kind = tokio::select! {
            _ = interrupt.recv() => Kind::Interrupted,
            _ = terminate.recv() => Kind::Drained,
        };
        if stop.stopped() {
            if kind == Kind::Interrupted {
                std::process::exit(kind.exit_code().into());
            }
            continue;
        }
        let at_most = humantime::format_duration(grace);
        say(
            Level::Info,
            &format!(
                "finishing shards that are nearly done, for at most {at_most}; interrupt again to stop now"
            ),
        );
        progress.stops();
        stop.request(kind);
    }
}

/// Says on standard error what no contract says.
pub fn say_what_is_assumed(job: &Job) {
    if let Some(assumed) = assumptions(job.model()) {
        say(Level::Warn, &format!("{assumed} (recorded with the run; write a contract to be sure)"));
    }
}

/// Says what no contract says of a model; `None` if one says all.
pub fn assumptions(model: &Model) -> Option<String> {
    if model.assumed.is_empty() {
        return None;
    }
    let lacks = match model.contract_origin {
        ContractOrigin::Assumed => "has no contract",
        ContractOrigin::Stac => "has an incomplete STAC Item",
        ContractOrigin::File | ContractOrigin::Metadata => "has an incomplete contract",
    };
    Some(format!("{} {lacks}; assumed: {}", model.name, model.assumed.join("; ")))
}

/// Prints what a run amounts to.
pub fn print(job: &Job, report: &Report) {
    let (Some(run_id), Some(summary)) = (&report.run_id, &report.summary) else {
        say_nothing_found();
        return;
    };
    if report.nothing_new {
        println!("{run_id}  nothing new: {}", all_done(report.limit));
        if report.table.is_none() {
            let counts = show::counts(&summary.counts).replace('\n', "\n  ");
            println!("  in this newest run: {}: {counts}", show::counted(summary.tiles, "tile"));
        }
    } else {
        println!(
            "{run_id}  complete{}: {} in {}",
            if report.current { "" } else { ", not accepted" },
            show::counted(summary.tiles, "tile"),
            show::counted(summary.shards.into(), "shard")
        );
        println!("  {}", show::counts(&summary.counts).replace('\n', "\n  "));
        print_below(rejected_sources_line(report.rejected_sources, summary.sources));
        print_below(limit_line(report.limit, true));
    }
    if let Some(table) = &report.table {
        let counts = show::counts(&table.counts).replace('\n', "\n  ");
        println!("  in the table: {}: {counts}", show::counted(table.tiles, "tile"));
    }
    let ours = &report.this_process;
    if ours.settled > 0 {
        println!(
            "  {} here in {}: {:.1} tiles/s, {} fetched",
            show::counted(ours.settled, "tile"),
            show::seconds(ours.seconds),
            ours.tiles_per_second,
            show::bytes(ours.fetched_bytes)
        );
        println!("  {}", where_the_time_went(ours));
    }
    println!("  table: {}", job.output().bucket.uri(&job.output().layout.table()));
}

/// Prints a line that belongs to the one above it, if there is one.
pub fn print_below(line: Option<String>) {
    if let Some(line) = line {
        println!("  {line}");
    }
}

/// Says why nothing is new.
///
/// - `limit`: set if only a part of what was found was looked at
pub fn all_done(limit: Option<Limit>) -> String {
    match limit {
        None => "every source has its rows".to_owned(),
        Some(limit) => format!("each {limit} has its rows; {}", how_to_cover_rest(limit)),
    }
}

/// Says that a run does not cover everything.
///
/// - `rest_is_open`: whether nobody has covered the rest since
pub fn limit_line(limit: Option<Limit>, rest_is_open: bool) -> Option<String> {
    let limit = limit?;
    Some(if rest_is_open { format!("{limit}; {}", how_to_cover_rest(limit)) } else { limit.to_string() })
}

fn how_to_cover_rest(limit: Limit) -> String {
    let left = limit.of.saturating_sub(limit.sources);
    format!("a run without --limit covers the {} left", show::counted(left, "source"))
}

/// Says how many sources could not be cut into windows, each of which is one tile.
pub fn rejected_sources_line(rejected: u64, sources: u64) -> Option<String> {
    let by_header = show::by_header(rejected);
    let line = || format!("{} rejected {by_header}", show::counted_of(rejected, sources, "source"));
    (rejected > 0).then(line)
}

/// What is to be said of a run that nobody has accepted and nobody need accept.
pub const SUPERSEDED: &str = "too many rejects; newer runs have covered its sources since then";

/// Says why there may be nothing to do in an output that has no run.
pub fn say_nothing_found() {
    println!(
        "nothing found: no source lies within tiles.aoi, input.stac.dates and input.stac.max_cloud_cover (-v lists \
         what was found)"
    );
}

/// Names the slowest stage, and says how busy all of them were.
fn where_the_time_went(ours: &ProgressSnapshot) -> String {
    let stages = Stage::ALL.map(|stage| format!("{stage} {:.0} %", 100.0 * ours.busy.of(stage)));
    let slowest = ours.slowest.map_or_else(String::new, |stage| format!("; {stage} is the slowest"));
    format!("busy: {}{slowest}", stages.join(", "))
}
